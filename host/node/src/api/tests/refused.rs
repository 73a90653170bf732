//! What is refused: stale, repeated, by whom it may not be done, or what cannot be read.

use axum::extract::ConnectInfo;
use serde_json::json;

use super::*;

const ORDERS: &str = "/v1/namespaces/default/pipelines/orders";
const M: &str = r#"{"manifest": "m"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_overwrites_what_they_have_not_seen() {
    let scene = Scene::open().await;
    let put = async |header: (&'static str, &str), manifest: &str| {
        let body = json!({ "manifest": manifest }).to_string();
        scene.ask(&format!("PUT {ORDERS}"), ADMIN, &[header], &body).await
    };
    for tag in ["\"1\"", "*"] {
        put(("if-match", tag), "a").await.problem(412, "stale");
        let pause = scene.ask(&format!("POST {ORDERS}/pause"), ADMIN, &[("if-match", tag)], "").await;
        pause.problem(404, "unknown");
    }
    put(("if-none-match", "*"), "a").await.is(201);
    assert!(put(("if-none-match", "*"), "b").await.problem(412, "stale").contains("version 1"));
    let second = put(("if-match", "\"1\""), "b").await;
    assert_eq!((second.is(200)["version"].as_u64(), second.header("etag")), (Some(2), "\"2\""));
    let stale = put(("if-match", "\"1\""), "c").await;
    assert!(stale.problem(412, "stale").contains("try again with version 2"));
    put(("if-match", "*"), "c").await.is(200);
    for (verb, path) in [("POST", "/pause"), ("POST", "/restart"), ("POST", "/rollback"), ("DELETE", "")] {
        let stale = scene.ask(&format!("{verb} {ORDERS}{path}"), ADMIN, &[("if-match", "\"2\"")], "").await;
        stale.problem(412, "stale");
    }
    let dry = format!("PUT {ORDERS}?dry-run=true");
    scene.ask(&dry, ADMIN, &[("if-match", "\"2\"")], M).await.problem(412, "stale");
    scene.ask(&format!("POST {ORDERS}/pause"), ADMIN, &[("if-match", "\"3\"")], "").await.is(200);
    for (name, value) in [("if-match", "3"), ("if-match", "\"3\", \"4\""), ("if-none-match", "\"3\"")] {
        put((name, value), "d").await.problem(400, "bad-request");
    }
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_again_under_its_key_is_done_once_and_answered_the_same() {
    let scene = Scene::open().await;
    let put = format!("PUT {ORDERS}");
    let headers = [("idempotency-key", "deploy-1"), ("if-none-match", "*")];
    let first = scene.ask(&put, ADMIN, &headers, M).await;
    first.is(201);
    scene.admin(&format!("POST {ORDERS}/pause"), "").await.is(200);
    // The node would not take it now.
    *scene.fake.misfit.lock().expect("no panic") = Some(Misfit::Full { detail: "memory is short".into() });
    let again = scene.ask(&put, ADMIN, &headers, M).await;
    assert_eq!((&again.is(201)["version"], again.header("etag")), (&first.json["version"], "\"1\""));
    *scene.fake.misfit.lock().expect("no panic") = None;
    let other = scene.ask(&put, ADMIN, &headers, r#"{"manifest": "n"}"#).await;
    assert!(other.problem(422, "key-used").contains("deploy-1"));
    let somebody_else = scene.ask(&put, DEPLOYER, &headers[..1], r#"{"manifest": "n"}"#).await;
    assert_eq!(somebody_else.is(200)["version"], 3, "keys are each one's own");
    let restart = format!("POST {ORDERS}/restart");
    for _ in 0..2 {
        let restarted = scene.ask(&restart, ADMIN, &[("idempotency-key", "r")], "").await;
        assert_eq!(*restarted.is(200), json!({ "version": 4 }));
    }
    let unnamed =
        scene.ask(&format!("POST {ORDERS}/rollback"), ADMIN, &[("idempotency-key", "b")], "{}").await;
    assert!(unnamed.problem(400, "bad-request").contains("name the `revision`"));
    for _ in 0..2 {
        let body = r#"{"revision": 1}"#;
        let back =
            scene.ask(&format!("POST {ORDERS}/rollback"), ADMIN, &[("idempotency-key", "b")], body).await;
        assert_eq!(*back.is(200), json!({ "version": 5 }));
    }
    let long = "k".repeat(129);
    scene.ask(&restart, ADMIN, &[("idempotency-key", &long)], "").await.problem(400, "bad-request");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_may_do_what_its_role_says_and_nothing_else() {
    let scene = Scene::open().await;
    scene.admin("POST /v1/namespaces", r#"{"name": "team"}"#).await.is(201);
    scene.deploy("default/orders", "m").await.is(201);
    scene.deploy("team/a", "m").await.is(201);
    let team = "/v1/namespaces/team/pipelines/a";
    // By path and body, what each token gets: admin, deployer, viewer, one of `team`.
    for (what, body, expected) in [
        (format!("GET {ORDERS}"), "", [200, 200, 200, 403]),
        (format!("GET {ORDERS}/status"), "", [200, 200, 200, 403]),
        (format!("GET {ORDERS}/revisions"), "", [200, 200, 200, 403]),
        (format!("GET {ORDERS}/revisions/1"), "", [200, 200, 200, 403]),
        (format!("GET {team}"), "", [200; 4]),
        (format!("PUT {ORDERS}"), M, [200, 200, 403, 403]),
        (format!("PUT {team}"), M, [200, 200, 403, 200]),
        (format!("POST {ORDERS}/pause"), "", [200, 200, 403, 403]),
        (format!("POST {ORDERS}/resume"), "", [200, 200, 403, 403]),
        (format!("POST {team}/restart"), "", [200, 200, 403, 200]),
        (format!("POST {ORDERS}/rollback"), r#"{"revision": 1}"#, [200, 200, 403, 403]),
        ("GET /v1/namespaces/default/secrets".into(), "", [200, 200, 200, 403]),
        ("PUT /v1/namespaces/default/secrets/A".into(), r#"{"value": "a"}"#, [200, 200, 403, 403]),
        ("PUT /v1/namespaces/team/secrets/A".into(), r#"{"value": "a"}"#, [200, 200, 403, 200]),
        ("GET /v1/namespaces/default/secrets/A".into(), "", [200, 200, 200, 403]),
        ("DELETE /v1/namespaces/team/secrets/B".into(), "", [404, 404, 403, 404]),
        ("POST /v1/namespaces".into(), r#"{"name": "team"}"#, [409, 403, 403, 403]),
        ("DELETE /v1/namespaces/none".into(), "", [404, 403, 403, 403]),
        ("GET /v1/audit".into(), "", [200, 403, 403, 403]),
        ("GET /v1/nodes".into(), "", [200; 4]),
        ("GET /v1/node".into(), "", [200; 4]),
        ("GET /v1/openapi.json".into(), "", [200; 4]),
    ] {
        for (token, expected) in [ADMIN, DEPLOYER, VIEWER, TEAM].into_iter().zip(expected) {
            let got = scene.ask(&what, token, &[], body).await;
            assert_eq!(got.status.as_u16(), expected, "{what} with {token}: {}", got.json);
            if expected == 403 {
                assert!(got.problem(403, "forbidden").contains("another token"));
            }
        }
        for token in ["", "wrong", "ADMIN-TOKEN"] {
            let got = scene.ask(&what, token, &[], body).await;
            got.problem(401, "no-token");
            assert_eq!(got.header("www-authenticate"), "Bearer realm=\"conveyor\"");
        }
    }
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_its_machine_alone_reaches_lets_everybody_look_and_nobody_write() {
    let scene = Scene::with(|options| options.tokens = tokens(true)).await;
    scene.ask("GET /v1/pipelines", "", &[], "").await.is(200);
    scene.ask("GET /v1/node", "", &[], "").await.is(200);
    let put = scene.ask(&format!("PUT {ORDERS}"), "", &[], M).await;
    assert!(put.problem(401, "no-token").contains("Authorization: Bearer"));
    scene.ask("GET /v1/audit", "", &[], "").await.problem(401, "no-token");
    scene.ask("GET /v1/node", "wrong", &[], "").await.problem(401, "no-token");
    scene.ask(&format!("PUT {ORDERS}"), DEPLOYER, &[], M).await.is(201);
    // What a web page sends, by whatever name it has its own machine called.
    for (header, kind, status) in [
        (("host", "evil.example"), "wrong-host", 421),
        (("origin", "http://evil.example"), "foreign-page", 403),
        (("origin", "null"), "foreign-page", 403),
        (("sec-fetch-site", "cross-site"), "foreign-page", 403),
    ] {
        for what in ["GET /v1/pipelines", "GET /v1/nothing", "PATCH /v1/node"] {
            scene.ask(what, "", &[header], "").await.problem(status, kind);
        }
        scene.ask(&format!("PUT {ORDERS}"), DEPLOYER, &[header], M).await.problem(status, kind);
    }
    scene.ask("GET /v1/pipelines", "", &[("host", "node.example")], "").await.is(200);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_as_what_it_is() {
    let scene = Scene::open().await;
    for path in ["/v1", "/v1/", "/v1/nothing", "/v1/pipelines/", "/v1/namespaces/default/pipelines/a/nothing"]
    {
        scene.admin(&format!("GET {path}"), "").await.problem(404, "no-route");
    }
    let patched = scene.admin("PATCH /v1/pipelines", "").await;
    patched.problem(405, "method");
    assert_eq!(patched.header("allow"), "GET,HEAD");
    let head = scene.admin("HEAD /v1/pipelines", "").await;
    assert_eq!((head.status.as_u16(), head.bytes.len()), (200, 0));
    let put = format!("PUT {ORDERS}");
    for (body, status, name) in [
        ("", 415, "media-type"),
        ("{", 400, "bad-request"),
        ("{\"manifest\": \"m\"} x", 400, "bad-request"),
        ("[]", 422, "invalid"),
        ("{}", 422, "invalid"),
        (r#"{"manifest": 7}"#, 422, "invalid"),
        (r#"{"manifest": "m", "extra": 1}"#, 422, "invalid"),
        (r#"{"manifest": "m", "dir": "data"}"#, 422, "invalid"),
        (r#"{"manifest": "m", "grants": {"A B": []}}"#, 422, "invalid"),
    ] {
        let detail = scene.admin(&put, body).await;
        let detail = detail.problem(status, name);
        assert!(status == 415 || detail.contains('`') || detail.contains("the body: "), "{detail}");
    }
    let wrong = scene.admin(&put, r#"{"manifest": "m", "taken_over": {"epoch": -1, "checkpoint": 1}}"#).await;
    assert!(wrong.problem(422, "invalid").contains("`taken_over.epoch`"));
    let text = scene.ask(&put, ADMIN, &[("content-type", "text/yaml")], M).await;
    text.problem(415, "media-type");
    let with_charset =
        scene.ask(&put, ADMIN, &[("content-type", "Application/JSON; charset=utf-8")], M).await;
    with_charset.is(201);
    let large = format!("{{\"manifest\": \"{}\"}}", "x".repeat(model::limits::API_BODY_BYTES_MAX));
    scene.admin(&put, &large).await.problem(413, "too-large");
    let manifest = "x".repeat(model::limits::MANIFEST_BYTES_MAX + 1);
    let larger = scene.admin(&put, &json!({ "manifest": manifest }).to_string()).await;
    assert!(larger.problem(413, "too-large").contains("the manifest has 1048577 bytes"));
    for what in [
        "GET /v1/namespaces/Default/pipelines/orders",
        "GET /v1/namespaces/default/pipelines/-",
        "GET /v1/namespaces/%ff/pipelines/a",
        "GET /v1/namespaces/default/pipelines/orders/revisions/x",
        "GET /v1/pipelines?namespace=A",
        "GET /v1/pipelines?name=a",
        "DELETE /v1/namespaces/default/pipelines/orders?keep-dead-letters=perhaps",
        "DELETE /v1/namespaces/default/pipelines/orders?keep_dead_letters=false",
    ] {
        scene.admin(what, "").await.problem(400, "bad-request");
    }
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_given_up_and_nothing_is_done() {
    let scene = Scene::with(|options| {
        (options.body_time, options.check_time) = (Duration::from_millis(1), Duration::from_millis(1));
    })
    .await;
    scene.fake.hangs.store(true, Ordering::SeqCst);
    let tried = scene.deploy("default/orders", "m").await;
    assert!(tried.problem(503, "unavailable").contains("nothing was done"));
    // A body of which no more comes.
    let mut request = scene.request(&format!("PUT {ORDERS}"), ADMIN, &[], M);
    *request.body_mut() = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let response = scene.send(request).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (408, &HeaderValue::from_static(PROBLEM_JSON))
    );
    // One that breaks off.
    let mut request = scene.request(&format!("PUT {ORDERS}"), ADMIN, &[], M);
    let gone = futures::stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("gone"))]);
    *request.body_mut() = Body::from_stream(gone);
    assert_eq!(scene.send(request).await.status().as_u16(), 400);
    scene.admin(&format!("GET {ORDERS}"), "").await.problem(404, "unknown");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_too_often_waits_and_others_do_not() {
    let scene = Scene::with(|options| {
        options.rate = Rate { burst: 2.0, per_second: 1e-3 };
    })
    .await;
    let ask = async |token: &str, peer: [u8; 4]| {
        let mut request = scene.request("GET /v1/node", token, &[], "");
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer, 1))));
        scene.send(request).await
    };
    for (token, peer, expected) in [
        (ADMIN, [1, 1, 1, 1], 200),
        (ADMIN, [1, 1, 1, 2], 200),
        (ADMIN, [1, 1, 1, 3], 429),
        (VIEWER, [1, 1, 1, 1], 200),
        // Whoever guesses has as many tries.
        ("wrong", [1, 1, 1, 1], 401),
        ("wrong-again", [1, 1, 1, 1], 401),
        ("wrong-once-more", [1, 1, 1, 1], 429),
        ("wrong", [1, 1, 1, 2], 401),
    ] {
        let response = ask(token, peer).await;
        assert_eq!(response.status().as_u16(), expected, "{token} from {peer:?}");
        let waits =
            response.headers().get("retry-after").map(|wait| wait.to_str().expect("ASCII").to_owned());
        let waits = waits.map(|wait| wait.parse::<u64>().expect("seconds"));
        assert_eq!(waits.is_some_and(|wait| wait > 900 && wait <= 1000), expected == 429);
    }
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_says_that_nothing_was_done() {
    let scene = Scene::open().await;
    scene.control.shutdown().await;
    for what in [format!("POST {ORDERS}/pause"), format!("GET {ORDERS}"), "GET /v1/pipelines".into()] {
        let got = scene.admin(&what, "").await;
        assert!(got.problem(503, "unavailable").contains("again when it is back"), "{}", got.json);
        assert_eq!(got.header("retry-after"), "1");
    }
    assert_eq!(scene.admin("GET /v1/node", "").await.is(200)["leads"], false);
}
