//! Lists, in all the ways in which registries give them.

use super::odd::{Odd, Reply};
use super::*;
use crate::manifest::INDEX;

async fn tags(
    script: impl Fn(&odd::Ask) -> Reply + Send + Sync + 'static,
) -> (Odd, Result<Vec<String>, ClientError>) {
    let odd = Odd::new(script).await;
    let tags = odd.repository().tags().await;
    (odd, tags.map(|tags| tags.iter().map(ToString::to_string).collect()))
}

#[tokio::test]
async fn tags_may_be_null_and_in_any_order() {
    for (body, wanted) in [
        (r#"{"name":"a/b","tags":null}"#, &[][..]),
        (r#"{"name":"a/b"}"#, &[]),
        (r#"{"tags":["b","a","c","a"]}"#, &["a", "b", "c"]),
    ] {
        let (_, found) = tags(move |_| Reply::of(200).body(body)).await;
        assert_eq!(found.expect("tags"), wanted);
    }
    let (_, told) = tags(|_| Reply::of(200).body("<html>")).await;
    assert!(told.expect_err("a page").to_string().contains("not what it should be"));
    let (_, told) = tags(|_| Reply::of(200).body(r#"{"tags":["../x"]}"#)).await;
    assert!(told.expect_err("no tag").to_string().contains("`../x` is no tag"));
    let (_, told) = tags(|ask| Reply::of(if ask.line == "GET /v2/" { 200 } else { 404 })).await;
    assert!(told.expect_err("nothing").is_not_found());
}

#[tokio::test]
async fn pages_are_followed_to_an_empty_one() {
    let host = Arc::new(Mutex::new(String::new()));
    let named = host.clone();
    let odd = Odd::new(move |ask| {
        let next = |to: String| format!("<{to}>; rel=\"next\"");
        let path = "/v2/a/b/tags/list";
        if ask.line.contains("page=3") {
            Reply::of(200).body(r#"{"tags":[]}"#)
        } else if ask.line.contains("page=2") {
            // In full.
            let host = named.lock().expect("no test has died").clone();
            Reply::of(200)
                .body(r#"{"tags":["a"]}"#)
                .header("link", next(format!("http://{host}{path}?page=3")))
        } else {
            Reply::of(200).body(r#"{"tags":["b"]}"#).header("link", next(format!("{path}?page=2")))
        }
    })
    .await;
    *host.lock().expect("no test has died") = odd.host.to_string();
    let found = odd.repository().tags().await.expect("tags");
    assert_eq!(found.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(odd.asked("GET /v2/a/b/tags/list").len(), 3);
}

#[tokio::test]
async fn a_list_that_leads_elsewhere_or_nowhere_is_no_list() {
    let elsewhere = Odd::new(|_| Reply::of(200).body(r#"{"tags":["x"]}"#)).await;
    let link = format!("<http://{}/v2/a/b/tags/list>; rel=\"next\"", elsewhere.host);
    let (_, told) =
        tags(move |_| Reply::of(200).body(r#"{"tags":["a"]}"#).header("link", link.clone())).await;
    assert!(told.expect_err("elsewhere").to_string().contains("another host"));
    assert!(elsewhere.asked("GET").is_empty());
    let link = "</v2/a/b/tags/list?n=1000>; rel=\"next\"";
    let (_, told) = tags(move |_| Reply::of(200).body(r#"{"tags":["a"]}"#).header("link", link)).await;
    assert!(told.expect_err("a circle").to_string().contains("leads to one before it"));
}

#[tokio::test]
async fn repositories_are_listed_where_a_registry_does() {
    let odd = Odd::new(|_| Reply::of(200).body(r#"{"repositories":["b","a/c"]}"#)).await;
    let found = client().repositories(&odd.host).await.expect("repositories");
    assert_eq!(found.iter().map(Repository::as_str).collect::<Vec<_>>(), ["a/c", "b"]);
    let odd = Odd::new(|ask| Reply::of(if ask.line == "GET /v2/" { 200 } else { 404 })).await;
    let told = client().repositories(&odd.host).await.expect_err("not listed").to_string();
    assert!(told.contains("does not list them"), "{told}");
}

#[tokio::test]
async fn referrers_are_filtered_here_where_a_registry_does_not() {
    let entry = |name: &str, artifact_type: &str| {
        serde_json::json!({ "mediaType": IMAGE, "digest": Digest::of(name.as_bytes()),
        "size": 1, "artifactType": artifact_type })
    };
    let body = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [entry("one", "x"), entry("two", "y"), entry("one", "x")] })
    .to_string();
    let odd = Odd::new(move |_| Reply::of(200).header("content-type", INDEX).body(body.as_bytes())).await;
    let found = odd.repository().referrers(&Digest::of(b"s"), Some("x")).await.expect("found");
    assert_eq!(found.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [Digest::of(b"one")]);
    assert_eq!(odd.repository().referrers(&Digest::of(b"s"), None).await.expect("found").len(), 2);
    assert!(odd.asked("GET /v2/a/b/referrers/")[0].line.ends_with("?artifactType=x"));
}

#[tokio::test]
async fn a_registry_that_answers_every_path_with_a_page_knows_no_referrers() {
    for (status, body) in [(200, "<html>"), (404, "404 page not found"), (405, "")] {
        let odd = Odd::new(move |ask| match ask.is("GET /v2/a/b/referrers/") {
            true => Reply::of(status).header("content-type", "text/html").body(body),
            false => Reply::of(if ask.line == "GET /v2/" { 200 } else { 404 }),
        })
        .await;
        assert_eq!(odd.repository().referrers(&Digest::of(b"s"), None).await.expect("none"), []);
        assert_eq!(odd.asked("GET /v2/a/b/manifests/sha256-").len(), 1);
    }
    let odd = Odd::new(|ask| Reply::of(if ask.line == "GET /v2/" { 200 } else { 403 })).await;
    assert!(
        odd.repository().referrers(&Digest::of(b"s"), None).await.is_err(),
        "what is not known is not none"
    );
}
