//! Requests, answered without a socket: what the conformance suite does not look at.

use std::sync::LazyLock;

use http::header::{AUTHORIZATION, CONTENT_RANGE, IF_NONE_MATCH, LINK, RANGE, WWW_AUTHENTICATE};
use http_body_util::BodyExt as _;
use model::ids::Algorithm;
use model::limits::REGISTRY_BODY_TIME;
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::auth::{Access, Challenge, Keys, Passwords, Secret, Tokens};
use crate::manifest::{IMAGE, INDEX};
use crate::store::StoreOptions;

struct Scene {
    dir: TempDir,
    registry: Arc<Registry>,
}

struct Given {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
    /// Whether the body came to its end.
    is_whole: bool,
}

impl Given {
    fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) -> Value {
        let error = self.json()["errors"][0].clone();
        assert_eq!((self.status, error["code"].as_str()), (status, Some(code)), "{error}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
        assert_eq!(self.header(CONTENT_TYPE), "application/json");
        error
    }
}

impl Scene {
    fn with(change: impl FnOnce(&TempDir, &mut Registry)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(StoreOptions::new(dir.path()).open().expect("a store"));
        let mut registry = Registry {
            store,
            auth: Auth::default(),
            is_read_only: false,
            url: None,
            is_tls: false,
            writes: Writes::default(),
            body_time: REGISTRY_BODY_TIME,
        };
        change(&dir, &mut registry);
        Self { dir, registry: Arc::new(registry) }
    }

    fn open() -> Self {
        Self::with(|_, _| {})
    }

    /// `alice` may do everything, `bob` pull, and nobody anything but for `open/*`.
    fn closed(challenge: Challenge) -> Self {
        Self::with(|dir, registry| {
            let users =
                ["alice", "bob"].map(|user| format!("{user}:{}\n", bcrypt::hash(user, 4).expect("a hash")));
            let path = dir.path().join("users");
            std::fs::write(&path, users.concat()).expect("written");
            let secret = Secret::of([9; 32]);
            let rules = "[[rule]]\nrepositories = [\"*\"]\nusers = [\"alice\"]\nallow = [\"pull\", \"push\", \"delete\"]\n\
                         [[rule]]\nrepositories = [\"*\"]\nusers = [\"bob\"]\nallow = [\"pull\"]\n\
                         [[rule]]\nrepositories = [\"open/*\"]\nusers = [\"anonymous\"]\nallow = [\"pull\"]";
            let passwords = Arc::new(Passwords::open(path, &secret).expect("passwords"));
            let keys = Keys { passwords, tokens: Tokens::new(&secret), challenge };
            registry.auth = Auth { keys: Some(keys), access: Access::parse(rules).expect("rules") };
        })
    }

    async fn ask(&self, line: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Given {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let mut request = Request::builder().method(method).uri(path).header("host", "r.example.com");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        let response = self.registry.clone().answer(request).await;
        let (head, mut body) = response.into_parts();
        let mut given =
            Given { status: head.status.as_u16(), headers: head.headers, body: Vec::new(), is_whole: true };
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => given.body.extend_from_slice(&frame.into_data().expect("data")),
                Err(_) => given.is_whole = false,
            }
        }
        given
    }

    async fn push(&self, name: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let line = format!("POST /v2/{name}/blobs/uploads/?digest={digest}");
        let length = content.len().to_string();
        let given = self.ask(&line, &[("content-length", &length)], content.to_vec()).await;
        assert_eq!(given.status, 201, "{}", String::from_utf8_lossy(&given.body));
        digest
    }

    async fn push_image(&self, name: &str, reference: &str, change: impl FnOnce(&mut Value)) -> Given {
        let config = self.push(name, b"{}").await;
        let mut manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE, "layers": [],
            "config": { "mediaType": "application/x", "digest": config, "size": 2 } });
        change(&mut manifest);
        self.ask(
            &format!("PUT /v2/{name}/manifests/{reference}"),
            &[("content-type", IMAGE)],
            manifest.to_string(),
        )
        .await
    }
}

#[tokio::test]
async fn tags_come_in_pages_and_a_link_says_where_the_rest_is() {
    let scene = Scene::open();
    for tag in ["b", "a", "C", "d", "a.1"] {
        assert_eq!(scene.push_image("acme/x", tag, |_| {}).await.status, 201);
    }
    let given = scene.ask("GET /v2/acme/x/tags/list", &[], "").await;
    assert_eq!(given.json(), json!({ "name": "acme/x", "tags": ["C", "a", "a.1", "b", "d"] }));
    assert_eq!(given.header(LINK), "");
    let (mut line, mut seen) = ("/v2/acme/x/tags/list?n=2".to_owned(), Vec::new());
    for pages in 1.. {
        let given = scene.ask(&format!("GET {line}"), &[], "").await;
        let tags = given.json()["tags"].as_array().expect("tags").clone();
        assert!(tags.len() <= 2 && pages <= 3);
        seen.extend(tags);
        let link = given.header(LINK);
        if link.is_empty() {
            break;
        }
        line = link
            .strip_prefix('<')
            .and_then(|link| link.strip_suffix(">; rel=\"next\""))
            .expect(link)
            .to_owned();
    }
    assert_eq!(seen, ["C", "a", "a.1", "b", "d"]);
    // A page that is full and the last has no link, and one behind the last is empty.
    assert_eq!(scene.ask("GET /v2/acme/x/tags/list?n=2&last=a.1", &[], "").await.header(LINK), "");
    assert_eq!(scene.ask("GET /v2/acme/x/tags/list?last=zz", &[], "").await.json()["tags"], json!([]));
    let none = scene.ask("GET /v2/acme/x/tags/list?n=0", &[], "").await;
    assert_eq!((none.json()["tags"].clone(), none.header(LINK)), (json!([]), ""));
    scene.ask("GET /v2/acme/x/tags/list?n=-1", &[], "").await.refused(400, "PAGINATION_NUMBER_INVALID");
    scene.ask("GET /v2/acme/y/tags/list", &[], "").await.refused(404, "NAME_UNKNOWN");
    let catalog = scene.ask("GET /v2/_catalog?n=1", &[], "").await;
    assert_eq!((catalog.json(), catalog.header(LINK)), (json!({ "repositories": ["acme/x"] }), ""));
}

#[tokio::test]
async fn refusals_are_those_of_the_specification() {
    let scene = Scene::open();
    let digest = Digest::of(b"gone");
    let error = scene.ask(&format!("GET /v2/a/blobs/{digest}"), &[], "").await.refused(404, "BLOB_UNKNOWN");
    assert_eq!(error["detail"]["digest"], digest.to_string());
    scene.ask("GET /v2/a/manifests/latest", &[], "").await.refused(404, "MANIFEST_UNKNOWN");
    let error = scene.ask("GET /v2/Acme/x/manifests/latest", &[], "").await.refused(400, "NAME_INVALID");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("`acme/x`")), "{error}");
    scene.ask("POST /v2/a/blobs/uploads/?digest=md5:1", &[], "").await.refused(400, "DIGEST_INVALID");
    scene
        .ask("PATCH /v2/a/blobs/uploads/0123456789abcdef0123456789abcdef", &[], "")
        .await
        .refused(404, "BLOB_UPLOAD_UNKNOWN");
    scene.ask("PUT /v2/a/manifests/t", &[], "{").await.refused(400, "MANIFEST_INVALID");
    scene.ask("PUT /v2/a/manifests/t", &[], vec![b' '; (4 << 20) + 1]).await.refused(413, "SIZE_INVALID");
    let missing = scene.push_image("a", "t", |manifest| {
        manifest["layers"] = json!([{ "mediaType": "x/y", "digest": digest, "size": 4 }]);
    });
    assert_eq!(missing.await.refused(404, "MANIFEST_BLOB_UNKNOWN")["detail"]["digest"], digest.to_string());
    let given = scene.ask("PUT /v2/a/tags/list", &[], "").await;
    given.refused(405, "UNSUPPORTED");
    assert_eq!(given.header("allow"), "GET, HEAD");
    let given = scene.ask("HEAD /v2/a/manifests/latest", &[], "").await;
    assert_eq!((given.status, given.body.len()), (404, 0));
    assert_eq!(given.header(VERSION), "registry/2.0");
}

#[tokio::test]
async fn a_manifest_is_given_whatever_is_accepted_and_not_again_to_whoever_has_it() {
    let scene = Scene::open();
    let put = scene.push_image("a", "t", |_| {}).await;
    let digest = put.header(DIGEST).to_owned();
    for accept in ["*/*", "application/json", "text/html"] {
        let given = scene.ask("GET /v2/a/manifests/t", &[("accept", accept)], "").await;
        assert_eq!(
            (given.status, given.header(CONTENT_TYPE), given.header(DIGEST)),
            (200, IMAGE, digest.as_str())
        );
        assert_eq!(Digest::of(&given.body).to_string(), digest);
    }
    let etag = format!("\"{digest}\"");
    let headers = [(IF_NONE_MATCH.as_str(), "\"x\""), (IF_NONE_MATCH.as_str(), etag.as_str())];
    let given = scene.ask("GET /v2/a/manifests/t", &headers, "").await;
    assert_eq!((given.status, given.body.len(), given.header(ETAG)), (304, 0, etag.as_str()));
    assert_eq!(scene.ask("GET /v2/a/manifests/t", &[("if-match", "\"x\"")], "").await.status, 412);
}

#[tokio::test]
async fn parts_of_a_blob_are_given_and_a_damaged_one_is_not() {
    let scene = Scene::open();
    let content: Vec<u8> = (0..700_000u32).map(|at| (at % 253) as u8).collect();
    let digest = scene.push("a", &content).await;
    let line = format!("GET /v2/a/blobs/{digest}");
    let given = scene.ask(&line, &[(RANGE.as_str(), "bytes=300000-599999")], "").await;
    assert_eq!((given.status, given.header(CONTENT_RANGE)), (206, "bytes 300000-599999/700000"));
    assert_eq!(given.body, content[300_000..600_000]);
    let given = scene.ask(&line, &[(RANGE.as_str(), "bytes=700000-")], "").await;
    given.refused(416, "RANGE_INVALID");
    assert_eq!(given.header(CONTENT_RANGE), "bytes */700000");
    assert_eq!(scene.ask(&line, &[], "").await.body, content);
    let mut damaged = content.clone();
    damaged[699_999] ^= 1;
    let path = scene.dir.path().join("content").join(digest.to_string().replace(':', "-"));
    std::fs::write(&path, &damaged).expect("written");
    let given = scene.ask(&line, &[], "").await;
    assert!(!given.is_whole && given.body.len() < content.len(), "{} bytes were given", given.body.len());
    scene.ask(&line, &[], "").await.refused(404, "BLOB_UNKNOWN");
    scene.push("a", &content).await;
    std::fs::write(&path, &damaged).expect("written");
    // A part is not given of what is damaged elsewhere.
    scene.ask(&line, &[(RANGE.as_str(), "bytes=0-9")], "").await.refused(500, "UNKNOWN");
}

#[tokio::test]
async fn chunks_follow_one_another_and_the_upload_outlives_those_that_do_not() {
    let scene = Scene::open();
    let begun = scene.ask("POST /v2/a/blobs/uploads/", &[], "").await;
    assert_eq!((begun.status, begun.header("range")), (202, "0-0"));
    let place = begun.header(LOCATION).to_owned();
    let patch = format!("PATCH {place}");
    let given = scene.ask(&patch, &[("content-range", "0-4")], "hello").await;
    assert_eq!((given.status, given.header("range"), given.header(LOCATION)), (202, "0-4", place.as_str()));
    for (range, body, status) in [
        ("0-4", "hello", 416),
        ("9-13", "world", 416),
        ("5-8", "world", 400),
        ("5-10", "world", 400),
        ("bytes 5-9/10", "world", 400),
    ] {
        let given = scene.ask(&patch, &[("content-range", range)], body).await;
        assert_eq!(given.status, status, "{range}");
        if status == 416 {
            assert_eq!((given.header(LOCATION), given.header("range")), (place.as_str(), "0-4"));
        }
        let now = scene.ask(&format!("GET {place}"), &[], "").await;
        assert_eq!((now.status, now.header("range")), (204, "0-4"), "{range}");
    }
    let digest = Digest::by(Algorithm::Sha512, b"helloworld");
    let given =
        scene.ask(&format!("PUT {place}?digest={digest}"), &[("content-range", "5-9")], "world").await;
    assert_eq!((given.status, given.header(DIGEST)), (201, digest.to_string().as_str()));
    assert_eq!(given.header(LOCATION), format!("/v2/a/blobs/{digest}"));
    assert_eq!(scene.ask(&format!("GET {place}"), &[], "").await.status, 404);
    assert_eq!(scene.ask(&format!("GET /v2/a/blobs/{digest}"), &[], "").await.body, b"helloworld");
}

#[tokio::test]
async fn what_came_of_a_body_that_broke_is_there_to_be_gone_on_with() {
    let scene = Scene::open();
    let place = scene.ask("POST /v2/a/blobs/uploads/", &[], "").await.header(LOCATION).to_owned();
    let pieces = [Ok(bytes::Bytes::from_static(b"hello")), Err(std::io::Error::other("the client is gone"))];
    let body = Body::from_stream(futures::stream::iter(pieces));
    assert_eq!(scene.ask(&format!("PATCH {place}"), &[], body).await.status, 400);
    assert_eq!(scene.ask(&format!("GET {place}"), &[], "").await.header("range"), "0-4");
    assert_eq!(scene.ask(&format!("PATCH {place}"), &[("content-range", "5-6")], "!!").await.status, 202);
    assert_eq!(scene.ask(&format!("DELETE {place}"), &[], "").await.status, 204);
    assert_eq!(scene.ask(&format!("PATCH {place}"), &[], "x").await.status, 404);
    assert_eq!(std::fs::read_dir(scene.dir.path().join("content")).expect("a directory").count(), 0);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_left_and_may_come_back() {
    let scene = Scene::with(|_, registry| registry.body_time = Duration::from_millis(50));
    let place = scene.ask("POST /v2/a/blobs/uploads/", &[], "").await.header(LOCATION).to_owned();
    let silent = || {
        let first = futures::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"hello"))]);
        Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()))
    };
    assert_eq!(scene.ask(&format!("PATCH {place}"), &[], silent()).await.status, 408);
    assert_eq!(scene.ask(&format!("GET {place}"), &[], "").await.header("range"), "0-4");
    // While one has it, another is told so; what the first sent is there behind it.
    let line = format!("PATCH {place}");
    let (one, other) = tokio::join!(scene.ask(&line, &[], silent()), scene.ask(&line, &[], "!"));
    assert!(one.status == 408 && [202, 409].contains(&other.status), "{} {}", one.status, other.status);
    assert_eq!(scene.ask("PUT /v2/a/manifests/t", &[], silent()).await.status, 408);
}

#[tokio::test]
async fn referrers_are_filtered_by_what_they_are() {
    let scene = Scene::open();
    let subject = scene.push_image("a", "t", |_| {}).await.header(DIGEST).to_owned();
    for of in ["application/one", "application/other"] {
        let tag = format!("tag-{}", of.len());
        let given = scene.push_image("a", &tag, |manifest| {
            manifest["artifactType"] = json!(of);
            manifest["annotations"] = json!({ "of": of });
            manifest["subject"] = json!({ "mediaType": IMAGE, "digest": subject, "size": 1 });
        });
        assert_eq!(given.await.header(SUBJECT), subject);
    }
    let all = scene.ask(&format!("GET /v2/a/referrers/{subject}"), &[], "").await;
    assert_eq!((all.header(CONTENT_TYPE), all.header(FILTERS)), (INDEX, ""));
    assert_eq!(all.json()["manifests"].as_array().map(Vec::len), Some(2));
    let one =
        scene.ask(&format!("GET /v2/a/referrers/{subject}?artifactType=application%2Fone"), &[], "").await;
    assert_eq!(one.header(FILTERS), "artifactType");
    let found = one.json()["manifests"].clone();
    assert_eq!(
        (found.as_array().map(Vec::len), &found[0]["annotations"]["of"]),
        (Some(1), &json!("application/one"))
    );
    let none = scene.ask(&format!("GET /v2/b/referrers/{}", Digest::of(b"none")), &[], "").await;
    assert_eq!((none.status, none.json()["manifests"].clone()), (200, json!([])));
}

fn basic(user: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{user}")))
}

#[tokio::test]
async fn rights_are_for_each_repository() {
    let scene = Scene::closed(Challenge::Basic);
    let given = scene.ask("GET /v2/", &[], "").await;
    given.refused(401, "UNAUTHORIZED");
    assert_eq!(given.header(WWW_AUTHENTICATE), "Basic realm=\"conveyor\"");
    let (alice, bob) = (basic("alice"), basic("bob"));
    let (alice, bob) = ([("authorization", alice.as_str())], [("authorization", bob.as_str())]);
    assert_eq!(scene.ask("GET /v2/", &alice, "").await.status, 200);
    scene.ask("GET /v2/", &[("authorization", &basic("eve"))], "").await.refused(401, "UNAUTHORIZED");
    let digest = Digest::of(b"x");
    let push = |name: &str| format!("POST /v2/{name}/blobs/uploads/?digest={digest}");
    scene.ask(&push("acme/a"), &bob, "x").await.refused(403, "DENIED");
    scene.ask(&push("acme/a"), &[], "x").await.refused(401, "UNAUTHORIZED");
    for name in ["acme/a", "open/a"] {
        assert_eq!(scene.ask(&push(name), &alice, "x").await.status, 201);
    }
    let get = |name: &str| format!("GET /v2/{name}/blobs/{digest}");
    assert_eq!(scene.ask(&get("open/a"), &[], "").await.status, 200);
    assert_eq!(scene.ask(&get("acme/a"), &bob, "").await.status, 200);
    scene.ask(&get("acme/a"), &[], "").await.refused(401, "UNAUTHORIZED");
    scene.ask(&get("acme/a").replace("GET", "DELETE"), &bob, "").await.refused(403, "DENIED");
    assert_eq!(scene.ask("GET /v2/_catalog", &[], "").await.json()["repositories"], json!(["open/a"]));
    // Nobody names a client's header differently.
    assert_eq!(scene.ask("GET /v2/", &[(AUTHORIZATION.as_str(), alice[0].1)], "").await.status, 200);
}

#[tokio::test]
async fn tokens_are_given_for_passwords_and_for_tokens() {
    let scene = Scene::closed(Challenge::Bearer);
    let given = scene.ask("GET /v2/acme/a/tags/list", &[], "").await;
    let words = "Bearer realm=\"http://r.example.com/token\",service=\"conveyor-registry\",scope=\"repository:acme/a:pull\"";
    assert_eq!((given.status, given.header(WWW_AUTHENTICATE)), (401, words));
    let alice = basic("alice");
    let line = "GET /token?service=conveyor-registry&scope=repository:acme/a:pull&offline_token=true";
    let got = scene.ask(line, &[("authorization", &alice)], "").await.json();
    let bearer = |json: &Value| format!("Bearer {}", json["access_token"].as_str().expect("a token"));
    let pull = bearer(&got);
    scene.ask("GET /v2/acme/a/tags/list", &[("authorization", &pull)], "").await.refused(404, "NAME_UNKNOWN");
    let short = scene.ask("POST /v2/acme/a/blobs/uploads/", &[("authorization", &pull)], "").await;
    assert!(short.status == 401 && short.header(WWW_AUTHENTICATE).ends_with("insufficient_scope\""));
    let refresh = got["refresh_token"].as_str().expect("a token").to_owned();
    let form = format!("grant_type=refresh_token&refresh_token={refresh}&scope=repository:acme/a:pull,push");
    let again = scene.ask("POST /token", &[], form.clone()).await.json();
    assert_eq!(again["scope"], "repository:acme/a:pull,push");
    let push = bearer(&again);
    assert_eq!(
        scene.ask("POST /v2/acme/a/blobs/uploads/", &[("authorization", &push)], "").await.status,
        202
    );
    let form_of_bob = "grant_type=password&username=bob&password=bob&scope=repository:acme/a:pull,push";
    assert_eq!(scene.ask("POST /token", &[], form_of_bob).await.json()["scope"], "repository:acme/a:pull");
    scene
        .ask("POST /token", &[], form_of_bob.replace("password=bob", "password=x"))
        .await
        .refused(401, "UNAUTHORIZED");
    scene.ask("POST /token", &[], "grant_type=code").await.refused(400, "UNSUPPORTED");
    scene.ask("GET /v2/", &[("authorization", "Bearer x.y.z")], "").await.refused(401, "UNAUTHORIZED");
    let nobody = scene.ask("GET /token?scope=repository:open/a:pull,push", &[], "").await.json();
    assert_eq!(nobody["scope"], "repository:open/a:pull");
    assert!(nobody.get("refresh_token").is_none());
    // A token of before does not get anybody another once the password has changed.
    let path = scene.dir.path().join("users");
    std::fs::write(&path, format!("alice:{}\n", bcrypt::hash("other", 4).expect("a hash"))).expect("written");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    scene.ask("POST /token", &[], form).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_blob_is_mounted_from_where_somebody_may_pull_it() {
    let scene = Scene::closed(Challenge::Basic);
    let alice = basic("alice");
    let headers = [("authorization", alice.as_str())];
    let digest = Digest::of(b"x");
    let line = format!("POST /v2/one/blobs/uploads/?digest={digest}");
    assert_eq!(scene.ask(&line, &headers, "x").await.status, 201);
    let mounted =
        scene.ask(&format!("POST /v2/two/blobs/uploads/?mount={digest}&from=one"), &headers, "").await;
    assert_eq!((mounted.status, mounted.header(LOCATION)), (201, format!("/v2/two/blobs/{digest}").as_str()));
    let anonymous = scene.ask(&format!("POST /v2/three/blobs/uploads/?mount={digest}"), &headers, "").await;
    assert_eq!(anonymous.status, 201);
    let gone = Digest::of(b"gone");
    let begun = scene.ask(&format!("POST /v2/two/blobs/uploads/?mount={gone}&from=one"), &headers, "").await;
    assert_eq!((begun.status, begun.header("range")), (202, "0-0"));
}

#[tokio::test]
async fn a_registry_that_is_read_only_takes_nothing() {
    let scene = Scene::with(|_, registry| registry.is_read_only = true);
    scene.ask("POST /v2/a/blobs/uploads/", &[], "").await.refused(405, "UNSUPPORTED");
    scene.ask("DELETE /v2/a/manifests/t", &[], "").await.refused(405, "UNSUPPORTED");
    scene.ask("GET /v2/a/manifests/t", &[], "").await.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_blob_for_which_there_is_no_room_is_refused_before_it_is_written() {
    let scene = Scene::with(|_, registry| registry.auth.access.bytes_max = Some(300_000));
    let place = scene.ask("POST /v2/a/blobs/uploads/", &[], "").await.header(LOCATION).to_owned();
    scene.ask(&format!("PATCH {place}"), &[], vec![7; 300_001]).await.refused(403, "DENIED");
    let now = scene.ask(&format!("GET {place}"), &[], "").await;
    assert_eq!(now.header("range"), "0-0");
    let line = format!("POST /v2/a/blobs/uploads/?digest={}", Digest::of(&vec![7; 300_001]));
    scene.ask(&line, &[], vec![7; 300_001]).await.refused(403, "DENIED");
    let left = std::fs::metadata(scene.dir.path().join("content")).expect("a directory");
    assert!(left.is_dir());
}

/// One for all that is thrown at it.
static HIT: LazyLock<Scene> = LazyLock::new(Scene::open);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever comes gets an answer that is one: no panic, no status of a defect, and errors with a body.
    #[test]
    fn anything_gets_an_answer(
        method in prop::sample::select(vec!["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"]),
        parts in prop::collection::vec(prop::sample::select(vec![
            "v2", "a", "b/c", "A", "..", "%2e%2e", "%00", "blobs", "uploads", "", "manifests", "tags", "list", "referrers", "latest",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "sha512:00", "token", "_catalog",
            "0123456789abcdef0123456789abcdef",
        ]), 0..7),
        query in prop::sample::select(vec!["", "n=1", "n=x", "digest=sha256:0", "mount=x&from=A", "tag=.", "last=%ff", "a&&=&",
            "digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]),
        header in prop::sample::select(vec![("range", "bytes=5-1"), ("content-range", "5-1"), ("content-range", "0-0"),
            ("authorization", "Basic x"), ("content-type", ";;"), ("if-none-match", ",,"), ("content-length", "7")]),
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let scene = &*HIT;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let line = format!("{method} /v2/{}?{query}", parts.join("/"));
        let given = runtime.block_on(scene.ask(&line, &[header], body));
        prop_assert!(given.status < 500, "{line}: {}", given.status);
        if given.status >= 400 && method != "HEAD" {
            prop_assert!(given.json()["errors"][0]["code"].is_string(), "{line}");
        }
        // Nothing comes to be outside of where it belongs.
        let names: Vec<_> = std::fs::read_dir(scene.dir.path()).expect("a directory").flatten().map(|entry| entry.file_name()).collect();
        prop_assert_eq!(names.len(), 3, "{:?}", names);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Chunks in any order: those that follow what there is are kept, whole, and no others.
    #[test]
    fn an_upload_has_the_chunks_that_followed_one_another(
        chunks in prop::collection::vec((0u64..40, 1usize..30, -2i64..3, any::<bool>()), 1..12),
        is_512 in any::<bool>(),
    ) {
        let scene = &*HIT;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let place = scene.ask("POST /v2/chunks/blobs/uploads/", &[], "").await.header(LOCATION).to_owned();
            let mut model = Vec::new();
            for (jump, length, off, follows) in chunks {
                let first = if follows { model.len() as u64 } else { jump };
                let last = (first as i64 + length as i64 - 1 + off).max(0);
                let body: Vec<u8> = (0..length).map(|at| (at as u64 + jump) as u8).collect();
                let range = format!("{first}-{last}");
                let given = scene.ask(&format!("PATCH {place}"), &[("content-range", &range)], body.clone()).await;
                let is_next = first == model.len() as u64;
                let is_right = last - first as i64 + 1 == length as i64;
                let wanted = match (last as u64 >= first, is_next, is_right) {
                    (false, _, _) => 400,
                    (true, false, _) => 416,
                    (true, true, false) => 400,
                    (true, true, true) => 202,
                };
                assert_eq!(given.status, wanted, "{range} with {length} bytes at {}", model.len());
                if wanted == 202 {
                    model.extend(body);
                }
                let now = scene.ask(&format!("GET {place}"), &[], "").await;
                assert_eq!(now.header("range"), crate::range::had(model.len() as u64));
            }
            let algorithm = if is_512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let digest = Digest::by(algorithm, &model);
            assert_eq!(scene.ask(&format!("PUT {place}?digest={digest}"), &[], "").await.status, 201);
            assert_eq!(scene.ask(&format!("GET /v2/chunks/blobs/{digest}"), &[], "").await.body, model);
        });
    }
}

/// A file of PEM with what a file of the tests has.
fn pem(dir: &TempDir, name: &str, label: &str) -> std::path::PathBuf {
    use base64::Engine as _;
    let der = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tests/it/tls").join(name);
    let digits = base64::engine::general_purpose::STANDARD.encode(std::fs::read(der).expect("a file"));
    let lines: Vec<&str> =
        digits.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("digits")).collect();
    let path = dir.path().join(format!("{name}.pem"));
    std::fs::write(&path, format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")))
        .expect("written");
    path
}

#[tokio::test]
async fn it_speaks_tls_and_nothing_else_where_it_has_a_certificate() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let scene = Scene::open();
    let certificate = pem(&scene.dir, "localhost.der", "CERTIFICATE");
    let key = pem(&scene.dir, "localhost.key.der", "PRIVATE KEY");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let other = Tls { certificate: key.clone(), key: certificate.clone() };
    assert!(matches!(ServerOptions { listen, tls: Some(other) }.bind().await, Err(ListenError::Pem { .. })));
    let server = ServerOptions { listen, tls: Some(Tls { certificate, key }) }.bind().await.expect("bound");
    let address = server.address().expect("an address");
    let stop = tokio_util::sync::CancellationToken::new();
    let grace = std::time::Duration::from_secs(10);
    let running = tokio::spawn(server.run(router(scene.registry.clone()), stop.clone(), grace));
    let mut roots = rustls::RootCertStore::empty();
    let ca = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tests/it/tls/ca.der");
    roots.add(std::fs::read(ca).expect("a file").into()).expect("an authority");
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let name = "localhost".try_into().expect("a name");
    let mut stream =
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("agreed");
    stream
        .write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("{}"), "{answer}");
    // Who does not speak TLS is not answered.
    let mut plain = tokio::net::TcpStream::connect(address).await.expect("connected");
    plain.write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    stop.cancel();
    running.await.expect("it ends");
}
