//! Pipelines, namespaces and secrets, from their first deploy until they are gone.

use control::state::{Command, How as Ended};
use serde_json::json;

use super::super::types::{CheckpointStatus, LastError, RunState, StageStatus, Time};
use super::*;

const ORDERS: &str = "/v1/namespaces/default/pipelines/orders";

/// What the node says: what ran has stopped, and nothing is left.
async fn remove(control: &Control) {
    let pipeline = control.look(|state| state.pipelines().values().next().cloned()).expect("one");
    let run = pipeline.run.expect("it runs");
    let stopped = Command::Stopped {
        pipeline: pipeline.id,
        epoch: run.epoch,
        how: Ended::Asked,
        checkpoint: None,
        why: None,
    };
    for command in [stopped, Command::Removed { pipeline: pipeline.id, node: NODE }] {
        let proposal = control.proposal(command);
        control.propose(proposal, Instant::now() + LATE).await.expect("done");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_deployed_replaced_rolled_back_and_deleted() {
    let scene = Scene::open().await;
    let put = format!("PUT {ORDERS}");
    let body = json!({
        "manifest": "pipeline: orders\n", "variables": { "CITY": "Ulm" }, "lock": "{}", "dir": "/srv/a b",
        "grants": { "in": ["file /srv"] },
    });
    let made = scene.ask(&put, DEPLOYER, &[], &body.to_string()).await;
    let first = json!({ "revision": 1, "version": 1, "is_new": true, "is_dry_run": false, "warnings": ["it is slow"] });
    assert_eq!(*made.is(201), first);
    assert_eq!((made.header("etag"), made.header("location")), ("\"1\"", ORDERS));
    let again = scene.ask(&put, DEPLOYER, &[], &body.to_string()).await;
    assert_eq!(again.is(200)["is_new"], false);

    let got = scene.ask(&format!("GET {ORDERS}"), VIEWER, &[], "").await;
    let json = got.is(200);
    assert_eq!(got.header("etag"), "\"1\"");
    let at = "2026-08-01T12:00:00Z";
    assert_eq!(
        json["revision"],
        json!({ "revision": 1, "made_at": at, "by": "dan", "manifest": "pipeline: orders\n",
            "variables": { "CITY": "Ulm" }, "lock": "{}", "dir": "/srv/a b", "grants": { "in": ["file /srv"] } })
    );
    assert_eq!((&json["id"], &json["desired"], &json["made_at"]), (&json!(1), &json!("running"), &json!(at)));
    let kept = scene.control.look(|state| {
        let pipeline = state.pipelines().values().next().expect("one");
        (pipeline.node, pipeline.current().expect("one").content.answers.as_slice().to_vec())
    });
    assert_eq!(kept, (Some(NODE), b"planned".to_vec()), "what the node found out is kept");

    assert_eq!(scene.deploy("default/orders", "second").await.is(200)["revision"], 2);
    for (verb, version) in [("pause", 3), ("pause", 3), ("resume", 4), ("restart", 5)] {
        let wanted = scene.admin(&format!("POST {ORDERS}/{verb}"), "").await;
        assert_eq!(
            (wanted.is(200), wanted.header("etag")),
            (&json!({ "version": version }), &*format!("\"{version}\""))
        );
    }
    let back = scene.admin(&format!("POST {ORDERS}/rollback"), "").await;
    assert_eq!(*back.is(200), json!({ "version": 6 }));
    for body in ["", "{}", "null"] {
        let none = scene.admin(&format!("POST {ORDERS}/rollback"), body).await;
        assert!(none.problem(404, "unknown").contains("no revision before 1"));
    }
    let named =
        scene.admin(&format!("POST {ORDERS}/rollback"), r#"{"revision": 2, "why": "it was right"}"#).await;
    assert_eq!(*named.is(200), json!({ "version": 7 }));
    scene.admin(&format!("POST {ORDERS}/rollback"), r#"{"revision": 9}"#).await.problem(404, "unknown");

    let revisions = scene.ask(&format!("GET {ORDERS}/revisions"), VIEWER, &[], "").await;
    let line = |revision, by, is_current, runs| json!({ "revision": revision, "made_at": at, "by": by, "is_current": is_current, "runs": runs });
    assert_eq!(
        *revisions.is(200),
        json!({ "revisions": [line(1, "dan", false, true), line(2, "ada", true, false)] })
    );
    let second = scene.admin(&format!("GET {ORDERS}/revisions/2"), "").await;
    assert_eq!(second.is(200)["manifest"], "second");
    scene.admin(&format!("GET {ORDERS}/revisions/3"), "").await.problem(404, "unknown");

    let deleted = scene.admin(&format!("DELETE {ORDERS}?keep-dead-letters=false"), "").await;
    assert_eq!(*deleted.is(202), json!({ "version": 8 }));
    let late = scene.admin(&format!("POST {ORDERS}/pause"), "").await;
    late.problem(409, "being-deleted");
    scene.deploy("default/orders", "third").await.problem(409, "being-deleted");
    let listed = scene.admin("GET /v1/pipelines", "").await;
    assert_eq!(listed.is(200)["pipelines"][0]["state"], "deleting");
    remove(&scene.control).await;
    scene.admin(&format!("GET {ORDERS}"), "").await.problem(404, "unknown");
    assert_eq!(scene.deploy("default/orders", "anew").await.is(201)["revision"], 1);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_status_say_what_runs_here() {
    let scene = Scene::open().await;
    scene.admin("POST /v1/namespaces", r#"{"name": "team"}"#).await.is(201);
    for place in ["default/a", "team/b"] {
        scene.deploy(place, "m").await.is(201);
    }
    let (id, epoch) = scene.control.look(|state| {
        let pipeline = state.pipelines().values().next().expect("one");
        (pipeline.id, pipeline.epoch.0)
    });
    let stage =
        StageStatus { stage: "in".into(), role: "source".into(), records_in: 7, ..StageStatus::default() };
    let error = LastError {
        at: Time(5),
        stage: Some("in".into()),
        message: "no such file: in.csv".into(),
        next: Some("name a file that is there".into()),
    };
    let here = PipelineStatus {
        state: RunState::BackingOff,
        since: Time(1),
        revision: 1,
        epoch,
        restarts: 3,
        retry_at: Some(Time(9)),
        last_error: Some(error),
        last_checkpoint: Some(CheckpointStatus { number: 4, taken_at: Time(2), took_us: 10, bytes: 11 }),
        stages: vec![stage],
    };
    scene.fake.runs.lock().expect("no panic").insert(id, here.clone());
    let status = scene.ask("GET /v1/namespaces/default/pipelines/a/status", VIEWER, &[], "").await;
    let json = status.is(200);
    assert_eq!((&json["state"], &json["detail"]), (&json!("backing-off"), &json!("no such file: in.csv")));
    assert_eq!(json["here"], serde_json::to_value(here).expect("JSON"));
    assert_eq!(
        (&json["node"], &json["run"]["epoch"], &json["stopped"]),
        (&json!(1), &json!(epoch), &Value::Null)
    );

    let line = |namespace, name, state, detail| {
        json!({ "namespace": namespace, "name": name, "version": 1, "desired": "running", "revision": 1,
            "state": state, "detail": detail })
    };
    let a = line("default", "a", "backing-off", Some("no such file: in.csv"));
    let b = line("team", "b", "starting", None);
    for (token, query, expected) in [
        (VIEWER, "", json!([a, b])),
        (VIEWER, "?namespace=team", json!([b])),
        (TEAM, "", json!([b])),
        (TEAM, "?namespace=team", json!([b])),
    ] {
        let listed = scene.ask(&format!("GET /v1/pipelines{query}"), token, &[], "").await;
        assert_eq!(listed.is(200)["pipelines"], expected);
    }
    scene.ask("GET /v1/pipelines?namespace=default", TEAM, &[], "").await.problem(403, "forbidden");
    scene.admin("GET /v1/pipelines?namespace=none", "").await.problem(404, "unknown");

    let node = scene.ask("GET /v1/node", TEAM, &[], "").await;
    let json = node.is(200);
    assert_eq!((&json["node"], &json["leads"]), (&json!(1), &json!(true)));
    assert_eq!(json["cluster"], format!("{:032x}", 7));
    let nodes = scene.admin("GET /v1/nodes", "").await;
    assert_eq!(nodes.is(200)["nodes"][0]["boot"], json["boot"]);
    assert_eq!(json["boot"].as_str().map(str::len), Some(32));
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_come_and_go_and_the_audit_log_says_who_did_what() {
    let scene = Scene::open().await;
    let made = scene.admin("POST /v1/namespaces", r#"{"name": "team"}"#).await;
    assert_eq!(made.is(201)["name"], "team");
    assert_eq!(made.header("location"), "/v1/namespaces/team");
    scene.admin("POST /v1/namespaces", r#"{"name": "team"}"#).await.problem(409, "taken");
    scene.admin("POST /v1/namespaces", r#"{"name": "Team"}"#).await.problem(422, "invalid");
    let names = |got: &Got| -> Vec<String> {
        let all = got.is(200)["namespaces"].as_array().cloned().unwrap_or_default();
        all.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(&scene.admin("GET /v1/namespaces", "").await), ["default", "team"]);
    assert_eq!(names(&scene.ask("GET /v1/namespaces", TEAM, &[], "").await), ["team"]);
    let put = "PUT /v1/namespaces/team/pipelines/a";
    scene.ask(put, TEAM, &[], r#"{"manifest": "m"}"#).await.is(201);
    scene.admin("DELETE /v1/namespaces/team", "").await.problem(409, "in-use");
    scene.admin("DELETE /v1/namespaces/default", "").await.problem(409, "in-use");
    scene.admin("DELETE /v1/namespaces/none", "").await.problem(404, "unknown");
    scene.ask("DELETE /v1/namespaces/team/pipelines/a", TEAM, &[], "").await.is(202);
    remove(&scene.control).await;
    let gone = scene.admin("DELETE /v1/namespaces/team", "").await;
    assert_eq!((gone.status.as_u16(), gone.bytes.len()), (204, 0));
    scene.deploy("team/a", "m").await.problem(404, "unknown");

    let audit = scene.admin("GET /v1/audit", "").await;
    let entries = audit.is(200)["entries"].as_array().cloned().unwrap_or_default();
    let told: Vec<String> = entries
        .iter()
        .map(|entry| format!("{} {} {}", entry["by"], entry["verb"], entry["object"]).replace('"', ""))
        .collect();
    assert_eq!(
        told,
        [
            "ada create-namespace namespace team",
            "tim deploy pipeline team/a",
            "tim delete pipeline team/a",
            "ada delete-namespace namespace team",
        ]
    );
    assert_eq!(audit.json["before"], Value::Null);
    let last = scene.admin("GET /v1/audit?limit=1", "").await;
    assert_eq!((&last.json["entries"][0], &last.json["before"]), (&entries[3], &json!(4)));
    let before = scene.admin("GET /v1/audit?limit=2&before=4", "").await;
    assert_eq!(before.json, json!({ "entries": [entries[1], entries[2]], "before": 2 }));
    for query in ["limit=0", "limit=1001", "limit=x", "no=1"] {
        scene.admin(&format!("GET /v1/audit?{query}"), "").await.problem(400, "bad-request");
    }
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_go_in_and_never_come_out() {
    let scene = Scene::open().await;
    let set = "PUT /v1/namespaces/default/secrets/API_KEY";
    assert_eq!(
        *scene.ask(set, DEPLOYER, &[], r#"{"value": "hunter2"}"#).await.is(200),
        json!({ "version": 1 })
    );
    assert_eq!(*scene.admin(set, r#"{"base64": "aHVudGVyMwA="}"#).await.is(200), json!({ "version": 2 }));
    let keyed = [("idempotency-key", "k")];
    for _ in 0..2 {
        let set = scene.ask(set, DEPLOYER, &keyed, r#"{"value": "hunter4"}"#).await;
        assert_eq!(*set.is(200), json!({ "version": 3 }), "it is set once");
    }
    scene.ask(set, DEPLOYER, &keyed, r#"{"value": "other"}"#).await.problem(422, "key-used");
    let shown = json!({ "name": "API_KEY", "version": 3, "set_at": "2026-08-01T12:00:00Z", "by": "dan" });
    let listed = scene.ask("GET /v1/namespaces/default/secrets", VIEWER, &[], "").await;
    assert_eq!(*listed.is(200), json!({ "secrets": [shown] }));
    let one = scene.ask("GET /v1/namespaces/default/secrets/API_KEY", VIEWER, &[], "").await;
    assert_eq!(*one.is(200), shown);
    for path in ["/v1/audit", "/v1/pipelines", "/v1/namespaces/default/secrets/API_KEY"] {
        let got = scene.admin(&format!("GET {path}"), "").await;
        let text = String::from_utf8_lossy(&got.bytes).into_owned();
        assert!(!text.contains("hunter") && !text.contains("aHVudGVy"), "{text}");
    }
    for body in [
        r#"{}"#,
        r#"{"value": "a", "base64": "YQ=="}"#,
        r#"{"base64": "!"}"#,
        r#"{"value": 1}"#,
        r#"{"secret": "x"}"#,
    ] {
        let refused = scene.admin(set, body).await;
        refused.problem(422, "invalid");
    }
    let large = json!({ "value": "x".repeat(model::limits::SECRET_BYTES_MAX + 1) });
    scene.admin(set, &large.to_string()).await.problem(413, "too-large");
    scene
        .admin("PUT /v1/namespaces/default/secrets/1A", r#"{"value": "a"}"#)
        .await
        .problem(400, "bad-request");
    scene.admin("PUT /v1/namespaces/none/secrets/A", r#"{"value": "a"}"#).await.problem(404, "unknown");
    let expects = scene.ask(set, ADMIN, &[("if-match", "\"3\"")], r#"{"value": "a"}"#).await;
    expects.problem(400, "bad-request");
    let delete = "DELETE /v1/namespaces/default/secrets/API_KEY";
    scene.admin(delete, "").await.is(204);
    scene.admin(delete, "").await.problem(404, "unknown");
    scene.admin("GET /v1/namespaces/default/secrets/API_KEY", "").await.problem(404, "unknown");
    scene.admin("GET /v1/namespaces/none/secrets", "").await.problem(404, "unknown");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_out_changes_nothing_and_what_does_not_fit_says_why() {
    let scene = Scene::open().await;
    let dry = |token| {
        scene.ask(
            "PUT /v1/namespaces/default/pipelines/orders?dry-run=true",
            token,
            &[],
            r#"{"manifest": "m"}"#,
        )
    };
    let would = json!({ "revision": 0, "version": 0, "is_new": true, "is_dry_run": true, "warnings": ["it is slow"] });
    assert_eq!(*dry(DEPLOYER).await.is(200), would);
    dry(VIEWER).await.problem(403, "forbidden");
    scene.admin(&format!("GET {ORDERS}"), "").await.problem(404, "unknown");
    scene.deploy("default/orders", "m").await.is(201);
    let same = dry(DEPLOYER).await;
    assert_eq!((&same.is(200)["is_new"], &same.json["revision"]), (&json!(false), &json!(1)));

    let source = model::diagnostics::SourceText::new("orders.yaml", "pipeline: orders\nstages: 1\n");
    let wrong = model::diagnostics::Diagnostic::new("manifest::type", "`stages` is a number")
        .label(model::diagnostics::Span::new(25, 1), "here")
        .help("write a mapping");
    let wrong = Misfit::from(&Diagnostics::new(source, vec![wrong]));
    let set = |misfit| *scene.fake.misfit.lock().expect("no panic") = Some(misfit);
    set(wrong);
    for got in [dry(ADMIN).await, scene.deploy("default/orders", "n").await] {
        assert!(got.problem(422, "manifest").contains("orders.yaml:2:9: `stages` is a number"));
        let label = json!({ "text": "here", "start": 25, "len": 1, "line": 2, "column": 9 });
        let problem = json!({ "code": "manifest::type", "message": "`stages` is a number", "labels": [label],
            "help": "write a mapping" });
        assert_eq!(got.json["problems"], json!([problem]));
    }
    set(Misfit::Full { detail: "memory is short: stop something".into() });
    assert_eq!(
        scene.deploy("default/orders", "n").await.problem(409, "full"),
        "memory is short: stop something"
    );
    set(Misfit::Failed { detail: "the registry fails: try again".into() });
    let failed = scene.deploy("default/orders", "n").await;
    failed.problem(503, "unavailable");
    assert_eq!(failed.header("retry-after"), "1");
    let kept = scene.admin(&format!("GET {ORDERS}"), "").await;
    assert_eq!(kept.is(200)["version"], 1, "what runs goes on");
    scene.close().await;
}
