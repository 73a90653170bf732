//! What goes to a registry: uploads that break off, and registries that do not do what others do.

use std::sync::atomic::{AtomicBool, Ordering};

use super::odd::{Ask, Odd, Reply};
use super::*;

/// As docker-registry 2.8 does it: a `digest` with `POST` is not looked at, and every byte of a `PUT` is the next one,
/// whatever `Content-Range` says. It keeps whole blocks of what came before the line broke.
struct Appends {
    uploads: Mutex<HashMap<String, Vec<u8>>>,
    begun: std::sync::atomic::AtomicUsize,
    blobs: Mutex<Vec<Digest>>,
    /// Bytes of which it keeps whole ones of what breaks off.
    block: usize,
    /// What it answers where it is asked how far an upload is.
    knows: fn(usize) -> Reply,
}

fn said(bytes: usize) -> Reply {
    Reply::of(204).header("range", format!("0-{}", bytes.saturating_sub(1)))
}

impl Appends {
    fn new(block: usize, knows: fn(usize) -> Reply) -> Arc<Self> {
        let (uploads, begun, blobs) = Default::default();
        Arc::new(Self { uploads, begun, blobs, block, knows })
    }

    fn answer(&self, ask: &Ask) -> Reply {
        let (method, target) = ask.line.split_once(' ').expect("a line");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest="));
        let digest = digest.map(|digest| digest.replace("%3A", ":").parse::<Digest>().expect("a digest"));
        let mut uploads = self.uploads.lock().expect("no test has died");
        match (method, uploads.get_mut(path)) {
            ("HEAD", _) => {
                let blobs = self.blobs.lock().expect("no test has died");
                let is_there = blobs.iter().any(|known| path.ends_with(&known.to_string()));
                Reply::of(if is_there { 200 } else { 404 })
            }
            ("POST", _) => {
                let path = format!("/v2/a/b/blobs/uploads/{}", self.begun.fetch_add(1, Ordering::Relaxed));
                uploads.insert(path.clone(), vec![]);
                Reply::of(202).header("location", format!("{path}?_state=x")).header("range", "0-0")
            }
            ("GET", Some(upload)) => (self.knows)(upload.len()),
            ("DELETE", Some(_)) => {
                uploads.remove(path);
                Reply::of(204)
            }
            ("PUT", Some(upload)) => {
                assert!(query.starts_with("_state=x&"), "what `Location` says is kept: {query}");
                let whole: usize =
                    ask.header("content-length").and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
                if ask.body.len() < whole {
                    let kept = ask.body.len() / self.block * self.block;
                    upload.extend_from_slice(&ask.body[..kept]);
                    return Reply::of(500);
                }
                upload.extend_from_slice(&ask.body);
                let came = Digest::of(upload);
                if Some(came) != digest {
                    return Reply::of(400).body(r#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#);
                }
                self.blobs.lock().expect("no test has died").push(came);
                Reply::of(201)
            }
            ("GET", None) if path == "/v2/" => Reply::of(200),
            _ => Reply::of(404),
        }
    }

    async fn serve(self: &Arc<Self>) -> Odd {
        let appends = self.clone();
        Odd::new(move |ask| appends.answer(ask)).await
    }
}

#[tokio::test]
async fn an_upload_goes_on_behind_what_the_registry_says_to_have() {
    let registry = Appends::new(4096, said);
    let odd = registry.serve().await;
    let all = content(1_000_000);
    odd.cut("PUT", 300_000);
    odd.cut("PUT", 300_001);
    odd.repository()
        .put_blob(&descriptor(&all), Content::Bytes(all.clone().into()), &())
        .await
        .expect("pushed");
    let puts = odd.asked("PUT");
    let ranges: Vec<_> = puts.iter().map(|put| put.header("content-range")).collect();
    assert_eq!(ranges, [None, Some("299008-999999"), Some("598016-999999")]);
    assert_eq!(registry.begun.load(Ordering::Relaxed), 1);
    assert!(odd.repository().has_blob(&descriptor(&all)).await.expect("asked"));
}

#[tokio::test]
async fn an_upload_that_cannot_go_on_is_begun_anew() {
    let cases: [fn(usize) -> Reply; 5] = [
        |_| Reply::of(404),
        |_| Reply::of(405),
        |_| Reply::of(204),
        // One byte, or none: nobody knows.
        |_| said(1),
        // It says to have what it has not.
        |bytes| said(bytes + 10),
    ];
    let all = content(600_000);
    for knows in cases {
        let registry = Appends::new(4096, knows);
        let odd = registry.serve().await;
        odd.cut("PUT", 300_000);
        let pushed =
            odd.repository().put_blob(&descriptor(&all), Content::Bytes(all.clone().into()), &()).await;
        pushed.expect("pushed");
        assert_eq!(registry.begun.load(Ordering::Relaxed), 2);
        assert_eq!(odd.asked("PUT").last().and_then(|put| put.header("content-range")), None);
    }
}

#[tokio::test]
async fn a_small_blob_goes_along_with_the_question_until_a_registry_does_not_look_at_it() {
    let registry = Appends::new(1, said);
    let odd = registry.serve().await;
    let remote = odd.repository();
    for blob in [&b"one"[..], b"two", b""] {
        let pushed = remote.put_blob(&descriptor(blob), Content::Bytes(blob.to_vec().into()), &()).await;
        pushed.expect("pushed");
    }
    let posts = odd.asked("POST");
    let bodies: Vec<usize> = posts.iter().map(|post| post.body.len()).collect();
    assert_eq!(bodies, [3, 0, 0]);
    assert!(posts[0].line.contains("?digest=sha256%3A") && !posts[1].line.contains("digest="));
    let puts: Vec<usize> = odd.asked("PUT").iter().map(|put| put.body.len()).collect();
    assert_eq!(puts, [3, 3, 0]);
    assert_eq!(registry.blobs.lock().expect("no test has died").len(), 3);
}

#[tokio::test]
async fn a_registry_that_refuses_a_body_with_the_question_is_asked_without() {
    let registry = Appends::new(1, said);
    let appends = registry.clone();
    let odd = Odd::new(move |ask| match ask.is("POST") && !ask.body.is_empty() {
        true => Reply::of(400),
        false => appends.answer(ask),
    })
    .await;
    let pushed = odd.repository().put_blob(&descriptor(b"one"), Content::Bytes("one".into()), &()).await;
    pushed.expect("pushed");
    assert_eq!(odd.asked("POST").len(), 2);
}

#[tokio::test]
async fn a_blob_that_is_there_is_not_sent() {
    let registry = Appends::new(1, said);
    registry.blobs.lock().expect("no test has died").push(Digest::of(b""));
    let odd = registry.serve().await;
    odd.repository().put_blob(&descriptor(b""), Content::Bytes(Bytes::new()), &()).await.expect("there");
    assert!(odd.asked("POST").is_empty() && odd.asked("PUT").is_empty());
}

#[tokio::test]
async fn a_content_that_is_not_what_it_should_be_is_not_sent_for_nothing() {
    let registry = Appends::new(1, said);
    let odd = registry.serve().await;
    let told = odd.repository().put_blob(&descriptor(b"12345"), Content::Bytes("1234".into()), &()).await;
    assert!(matches!(told.expect_err("too short"), ClientError::Corrupt { .. }));
    let nowhere = Content::File("/nowhere/blob".into());
    let told = odd.repository().put_blob(&descriptor(b"12345"), nowhere, &()).await.expect_err("no file");
    assert!(told.to_string().contains("/nowhere/blob"), "{told}");
    assert!(odd.asked("POST").is_empty());
    // Of the right length, and other bytes: the registry looks, and is not asked again and again.
    let told = odd.repository().put_blob(&descriptor(b"12345"), Content::Bytes("54321".into()), &()).await;
    assert!(told.expect_err("other bytes").to_string().contains("DIGEST_INVALID"));
    assert_eq!(odd.asked("PUT").len(), 1);
}

#[tokio::test]
async fn a_file_is_sent_from_the_disk_and_told_of_as_it_goes() {
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);
    impl Progress for Told {
        fn begin(&self, what: &Descriptor) {
            self.0.lock().expect("no test has died").push(format!("begin {}", what.size));
        }
        fn end(&self, _what: &Descriptor, how: Moved) {
            self.0.lock().expect("no test has died").push(format!("{how:?}"));
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("large.wasm");
    let all = content(700_000);
    std::fs::write(&path, &all).expect("written");
    let registry = Appends::new(4096, said);
    let odd = registry.serve().await;
    let told = Told::default();
    odd.cut("PUT", 500_000);
    for _ in 0..2 {
        odd.repository()
            .put_blob(&descriptor(&all), Content::File(path.clone()), &told)
            .await
            .expect("pushed");
    }
    let told = told.0.into_inner().expect("no test has died");
    assert_eq!(told, ["begin 700000", "Brought", "begin 700000", "There"]);
}

#[tokio::test]
async fn a_push_that_is_led_elsewhere_tells_nobody_there_who_one_is() {
    // Where a blob is to be sent may be a store that has a key of its own in its address.
    let store = Odd::new(|ask| match ask.is("PUT") {
        true => Reply::of(201),
        false => Reply::of(500),
    })
    .await;
    let at = format!("http://{}/store?key=k", store.host);
    let odd = Odd::new(move |ask| {
        if ask.header("authorization").is_none() {
            return Reply::of(401).header("www-authenticate", "Basic realm=\"x\"");
        }
        match ask.line.split(' ').next() {
            Some("HEAD") => Reply::of(404),
            Some("POST") => Reply::of(202).header("location", at.clone()),
            _ => Reply::of(200),
        }
    })
    .await;
    let remote = super::auth::somebody(&odd);
    remote.put_blob(&descriptor(b"one"), Content::Bytes("one".into()), &()).await.expect("pushed");
    let puts = store.asked("PUT");
    assert_eq!((puts.len(), puts[0].header("authorization")), (1, None));
    assert!(puts[0].line.contains("key=k&digest=sha256%3A"), "{}", puts[0].line);
}

#[tokio::test]
async fn what_cannot_be_deleted_says_what_can() {
    let bytes = image(b"{}", &[]).to_string();
    let odd = Odd::new(move |ask| match ask.is("DELETE") {
        true => Reply::of(405).body(r#"{"errors":[{"code":"UNSUPPORTED","message":"no"}]}"#),
        false => Reply::of(200).header("content-type", IMAGE).body(bytes.as_bytes()),
    })
    .await;
    let told = odd.repository().delete(&tag("1")).await.expect_err("not done").to_string();
    assert!(told.contains("405 UNSUPPORTED") && told.contains("by its digest"), "{told}");
}

/// A registry that keeps manifests and knows nothing of referrers, which is overwritten by somebody else at times.
#[derive(Default)]
struct Plain {
    manifests: Mutex<HashMap<String, Vec<u8>>>,
    overwrites: AtomicBool,
}

impl Plain {
    fn answer(&self, ask: &Ask) -> Reply {
        let (method, path) = ask.line.split_once(' ').expect("a line");
        let mut manifests = self.manifests.lock().expect("no test has died");
        match method {
            "PUT" if path.contains("/manifests/") => {
                // Somebody who had read before writes behind this.
                let is_index = path.contains("/manifests/sha256-");
                let body = match is_index && self.overwrites.swap(false, Ordering::Relaxed) {
                    true => {
                        let before = manifests.get(path).map(|bytes| serde_json::from_slice(bytes));
                        let before = before.transpose().expect("JSON").unwrap_or(serde_json::json!({}));
                        let mut theirs: serde_json::Value = before;
                        if theirs.get("manifests").is_none() {
                            theirs["manifests"] = serde_json::json!([]);
                        }
                        theirs["annotations"] = serde_json::json!({ "by": "somebody else" });
                        theirs.to_string().into_bytes()
                    }
                    false => ask.body.clone(),
                };
                manifests.insert(path.to_owned(), body);
                Reply::of(201)
            }
            "DELETE" => Reply::of(if manifests.remove(path).is_some() { 202 } else { 404 }),
            _ if path == "/v2/" => Reply::of(200),
            _ => match manifests.get(path) {
                Some(bytes) => {
                    let value: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
                    let named = value["mediaType"].as_str().unwrap_or(crate::manifest::INDEX).to_owned();
                    Reply::of(200).header("content-type", named).body(bytes.as_slice())
                }
                None => Reply::of(404).body("404 page not found"),
            },
        }
    }

    fn index(&self, subject: &Digest) -> serde_json::Value {
        let path = format!("/v2/a/b/manifests/sha256-{}", subject.hex());
        let manifests = self.manifests.lock().expect("no test has died");
        serde_json::from_slice(manifests.get(&path).expect("an index")).expect("JSON")
    }
}

#[tokio::test]
async fn referrers_are_kept_under_a_tag_where_a_registry_knows_none() {
    let plain = Arc::new(Plain::default());
    let served = plain.clone();
    let odd = Odd::new(move |ask| served.answer(ask)).await;
    let remote = odd.repository();
    let subject = Digest::of(b"subject");
    assert_eq!(remote.referrers(&subject, None).await.expect("none"), []);
    let signature = |name: &str| {
        let mut manifest = image(name.as_bytes(), &[]);
        manifest["artifactType"] = "application/x-signature".into();
        manifest["annotations"] = serde_json::json!({ "name": name });
        manifest["subject"] = serde_json::json!({ "mediaType": IMAGE, "digest": subject, "size": 1 });
        Bytes::from(manifest.to_string())
    };
    let mut digests = vec![];
    for name in ["one", "two", "one"] {
        // Each is overwritten once by somebody who does not know of it.
        plain.overwrites.store(true, Ordering::Relaxed);
        let before = odd.asked("PUT /v2/a/b/manifests/sha256-").len();
        let bytes = signature(name);
        let digest =
            remote.put_manifest(&Reference::Digest(Digest::of(&bytes)), IMAGE, bytes).await.expect("put");
        let is_new = !digests.contains(&digest);
        let written = odd.asked("PUT /v2/a/b/manifests/sha256-").len() - before;
        assert_eq!(written, if is_new { 2 } else { 0 }, "{name}");
        digests.push(digest);
    }
    let found = remote.referrers(&subject, Some("application/x-signature")).await.expect("found");
    let names: Vec<_> = found.iter().map(|entry| entry.annotations["name"].as_str()).collect();
    // What somebody else wrote is gone on with, and what is there is not written again.
    assert_eq!(names, ["one", "two"]);
    assert!(found.iter().all(|entry| entry.artifact_type.as_deref() == Some("application/x-signature")));
    assert_eq!(remote.referrers(&subject, Some("other")).await.expect("none"), []);
    let index = plain.index(&subject);
    assert_eq!(
        (&index["mediaType"], &index["annotations"]["by"]),
        (&crate::manifest::INDEX.into(), &"somebody else".into())
    );
    remote.delete(&Reference::Digest(digests[1])).await.expect("deleted");
    let found = remote.referrers(&subject, None).await.expect("found");
    assert_eq!(found.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [digests[0]]);
}

#[tokio::test]
async fn a_manifest_is_not_put_under_a_digest_that_is_not_its_own() {
    let odd = Odd::new(|_| Reply::of(201)).await;
    let reference = Reference::Digest(Digest::of(b"other"));
    let bytes = Bytes::from(image(b"{}", &[]).to_string());
    let told = odd.repository().put_manifest(&reference, IMAGE, bytes.clone()).await.expect_err("another");
    assert!(matches!(told, ClientError::Corrupt { .. }), "{told}");
    let told =
        odd.repository().put_manifest(&tag("1"), crate::manifest::INDEX, bytes).await.expect_err("two types");
    assert!(matches!(told, ClientError::Manifest { .. }), "{told}");
    assert!(odd.asked("PUT").is_empty());
}
