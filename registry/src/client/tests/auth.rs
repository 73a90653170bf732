//! Who one is: passwords and tokens, and whom they are told to.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::odd::{Ask, Odd, Reply};
use super::*;

/// The repository `a/b` of a registry, for a client with this entry in its keyring.
fn with(odd: &Odd, entry: &serde_json::Value) -> Remote {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.json");
    let host = odd.host.to_string();
    std::fs::write(&path, serde_json::json!({ "auths": { host: entry } }).to_string()).expect("written");
    // It is read once, when a registry asks: the directory has to stay until then, and the system keeps it no longer.
    let keyring = Keyring { path: Some(dir.keep().join("config.json")), ..Keyring::default() };
    let client = Client::new(Settings { keyring, ..Settings::default() }).expect("a client");
    client.repository(&odd.host, &"a/b".parse().expect("a name"))
}

/// One whom the password `p` is of.
pub fn somebody(odd: &Odd) -> Remote {
    with(odd, &serde_json::json!({ "username": "alice", "password": "p" }))
}

fn basic() -> String {
    format!("Basic {}", STANDARD.encode("alice:p"))
}

/// A registry that wants tokens, which it gives itself, for so many seconds each; `knows` says what it answers who asks for one.
async fn by_token(seconds: u64, knows: impl Fn(&Ask) -> Option<u16> + Send + Sync + 'static) -> Odd {
    let host = Arc::new(Mutex::new(String::new()));
    let (named, given) = (host.clone(), AtomicUsize::new(0));
    let manifest = image(b"{}", &[]).to_string();
    let odd = Odd::new(move |ask| {
        let host = named.lock().expect("no test has died").clone();
        let is_token = ask.line.contains(" /token");
        if is_token {
            return match knows(ask) {
                None => {
                    let token = format!("t{}", given.fetch_add(1, Ordering::Relaxed));
                    Reply::of(200).body(format!(r#"{{"access_token":"{token}","expires_in":{seconds}}}"#))
                }
                Some(status) => Reply::of(status).body("no"),
            };
        }
        if ask.header("authorization").is_some_and(|shown| shown.starts_with("Bearer t")) {
            return match ask.is("POST") {
                true => Reply::of(201),
                false => Reply::of(200).header("content-type", IMAGE).body(manifest.as_bytes()),
            };
        }
        let challenge =
            format!("Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:a/b:pull\"");
        Reply::of(401).header("www-authenticate", challenge)
    })
    .await;
    *host.lock().expect("no test has died") = odd.host.to_string();
    odd
}

#[tokio::test]
async fn a_password_is_shown_where_it_is_asked_for() {
    let manifest = image(b"{}", &[]).to_string();
    let odd = Odd::new(move |ask| match ask.header("authorization") {
        Some(shown) if shown == basic() => {
            Reply::of(200).header("content-type", IMAGE).body(manifest.as_bytes())
        }
        _ => Reply::of(401).header("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    somebody(&odd).manifest(&tag("1")).await.expect("let in");
    let told = odd.repository().manifest(&tag("1")).await.expect_err("nobody").to_string();
    assert!(told.contains(&format!("use `conveyor login {}`", odd.host)), "{told}");
    let other = with(&odd, &serde_json::json!({ "username": "bob", "password": "p" }));
    let told = other.manifest(&tag("1")).await.expect_err("another").to_string();
    assert!(told.contains("does not take the name and the password of `bob`"), "{told}");
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_used_until_it_expires() {
    let odd = by_token(300, |_| None).await;
    let remote = somebody(&odd);
    for _ in 0..3 {
        remote.manifest(&tag("1")).await.expect("let in");
    }
    let asked = odd.asked("GET /token");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), Some(basic().as_str()));
    for part in ["service=s", "scope=repository%3Aa%2Fb%3Apull", "account=alice", "client_id=conveyor"] {
        assert!(asked[0].line.contains(part), "{}", asked[0].line);
    }
    // What pushes takes another token, which pulls as well.
    let what = descriptor(b"x");
    assert!(remote.has_blob(&what).await.is_err_and(|error| matches!(error, ClientError::Corrupt { .. })));
    assert_eq!(odd.asked("GET /token").len(), 2);
    assert!(odd.asked("GET /token")[1].line.contains("pull%2Cpush"));
    let odd = by_token(1, |_| None).await;
    let remote = somebody(&odd);
    remote.manifest(&tag("1")).await.expect("let in");
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    remote.manifest(&tag("1")).await.expect("let in");
    assert_eq!(odd.asked("GET /token").len(), 2, "a token that has expired was shown");
}

#[tokio::test]
async fn a_mount_is_asked_for_with_the_rights_on_both_repositories() {
    let odd = by_token(300, |_| None).await;
    let from = "c/d".parse().expect("a name");
    assert!(somebody(&odd).mount(&descriptor(b"x"), &from).await.expect("mounted"));
    let line = &odd.asked("GET /token")[0].line;
    assert!(
        line.contains("scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%2Fd%3Apull&"),
        "{line}"
    );
    let line = &odd.asked("POST /v2/a/b/blobs/uploads/")[0].line;
    assert!(line.contains("mount=sha256%3A") && line.contains("from=c%2Fd"), "{line}");
}

#[tokio::test]
async fn an_identity_token_is_shown_by_a_form_and_where_that_is_not_known_as_a_password() {
    let entry = serde_json::json!({ "auth": STANDARD.encode("u:"), "identitytoken": "i" });
    let odd = by_token(300, |_| None).await;
    with(&odd, &entry).manifest(&tag("1")).await.expect("let in");
    let form = String::from_utf8(odd.asked("POST /token")[0].body.clone()).expect("text");
    let wanted = "grant_type=refresh_token&client_id=conveyor&service=s&scope=repository%3Aa%2Fb%3Apull&refresh_token=i";
    assert_eq!(form, wanted);
    assert!(odd.asked("GET /token").is_empty());
    for status in [401, 404, 405] {
        let odd = by_token(300, move |ask| ask.is("POST").then_some(status)).await;
        with(&odd, &entry).manifest(&tag("1")).await.expect("let in");
        let shown = format!("Basic {}", STANDARD.encode("u:i"));
        assert_eq!(odd.asked("GET /token")[0].header("authorization"), Some(shown.as_str()));
    }
    let odd = by_token(300, |_| Some(401)).await;
    let told = with(&odd, &entry).manifest(&tag("1")).await.expect_err("not let in");
    assert!(matches!(&told, ClientError::Denied { why, .. } if why.contains("conveyor login")), "{told}");
}

#[tokio::test]
async fn a_token_that_is_not_enough_is_not_shown_for_ever() {
    let odd = Odd::new(|ask| match ask.line.contains("/token") {
        true => Reply::of(200).body(r#"{"token":"t"}"#),
        false => {
            let host = ask.header("host").unwrap_or_default();
            Reply::of(401).header("www-authenticate", format!("Bearer realm=\"http://{host}/token\""))
        }
    })
    .await;
    let told = odd.repository().manifest(&tag("1")).await.expect_err("not let in");
    assert!(matches!(told, ClientError::Denied { .. }), "{told}");
    assert!(odd.asked("GET /v2/a/b/manifests/1").len() <= 2);
}

#[tokio::test]
async fn whoever_a_redirect_leads_to_is_not_told_who_one_is() {
    let all = content(1000);
    let served = all.clone();
    let store = Odd::new(move |_| Reply::of(200).body(served.as_slice())).await;
    let to = format!("http://{}/store?key=k", store.host);
    let odd = Odd::new(move |ask| match ask.header("authorization") {
        Some(_) => Reply::of(307).header("location", to.clone()),
        None => Reply::of(401).header("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let bytes = somebody(&odd).blob_bytes(&descriptor(&all), 1000).await.expect("a blob");
    assert_eq!(bytes, all);
    assert_eq!(store.asked("GET")[0].header("authorization"), None);
    // Nor is it asked who one is there.
    let asks = Odd::new(|_| Reply::of(401).header("www-authenticate", "Basic realm=\"x\"")).await;
    let to = format!("http://{}/store", asks.host);
    let odd = Odd::new(move |ask| match ask.header("authorization") {
        Some(_) => Reply::of(307).header("location", to.clone()),
        None => Reply::of(401).header("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    assert!(somebody(&odd).blob_bytes(&descriptor(&all), 1000).await.is_err());
    assert_eq!(asks.asked("GET").len(), 1);
    assert_eq!(asks.asked("GET")[0].header("authorization"), None);
}

#[tokio::test]
async fn signing_in_asks_the_registry_before_anything_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let keyring = Keyring { path: Some(dir.path().join("config.json")), ..Keyring::default() };
    let client = Client::new(Settings { keyring: keyring.clone(), ..Settings::default() }).expect("a client");
    let odd = Odd::new(|ask| match ask.header("authorization") {
        Some(shown) if shown == basic() => Reply::of(200),
        // It lets anybody in who does not say who they are.
        None => Reply::of(200),
        Some(_) => Reply::of(401).header("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let told = client.login(&odd.host, "alice", "wrong").await.expect_err("a wrong password");
    assert!(matches!(told, ClientError::Denied { .. }), "{told}");
    assert!(!dir.path().join("config.json").exists());
    client.login(&odd.host, "alice", "p").await.expect("let in");
    let found = keyring.find(&odd.host).expect("found");
    assert_eq!(found, Credential::Password { user: "alice".to_owned(), password: "p".to_owned() });
    assert!(client.logout(&odd.host).await.expect("forgotten"));
    assert!(!client.logout(&odd.host).await.expect("nothing"));
}
