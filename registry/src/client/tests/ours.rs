//! Against our own registry, over a socket: all that a client does, with passwords and with tokens.

use std::time::Duration;

use model::limits::REGISTRY_BODY_TIME;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::auth::{Access, Auth, Challenge, Keys, Passwords, Secret, Tokens};
use crate::copy::copy;
use crate::server::{Registry, Server, ServerOptions, Tls, Writes, router};
use crate::store::StoreOptions;

/// A registry that is served until the test is over.
pub struct Ours {
    pub host: RegistryHost,
    dir: tempfile::TempDir,
    stop: CancellationToken,
}

impl Ours {
    /// `alice` may do everything and `bob` pull, each with their name as the password; without a challenge everybody may do
    /// everything.
    pub async fn new(challenge: Option<Challenge>) -> Self {
        Self::by(challenge, None).await
    }

    async fn by(challenge: Option<Challenge>, tls: Option<Tls>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(StoreOptions::new(dir.path().join("data")).open().expect("a store"));
        let auth = match challenge {
            None => Auth::default(),
            Some(challenge) => {
                let users = ["alice", "bob"]
                    .map(|user| format!("{user}:{}\n", bcrypt::hash(user, 4).expect("a hash")));
                let path = dir.path().join("users");
                std::fs::write(&path, users.concat()).expect("written");
                let secret = Secret::of([9; 32]);
                let passwords = Arc::new(Passwords::open(path, &secret).expect("passwords"));
                let rules = "[[rule]]\nrepositories = [\"*\"]\nusers = [\"alice\"]\nallow = [\"pull\", \"push\", \"delete\"]\n\
                             [[rule]]\nrepositories = [\"*\"]\nusers = [\"bob\"]\nallow = [\"pull\"]\n";
                let keys = Keys { passwords, tokens: Tokens::new(&secret), challenge };
                Auth { keys: Some(keys), access: Access::parse(rules).expect("rules") }
            }
        };
        let is_tls = tls.is_some();
        let server = ServerOptions { listen: "127.0.0.1:0".parse().expect("an address"), tls };
        let server: Server = server.bind().await.expect("a port");
        let host = server.address().expect("an address").to_string().parse().expect("a host");
        let registry = Registry {
            store,
            auth,
            is_read_only: false,
            url: None,
            is_tls,
            writes: Writes::default(),
            body_time: REGISTRY_BODY_TIME,
        };
        let stop = CancellationToken::new();
        tokio::spawn(server.run(router(Arc::new(registry)), stop.clone(), Duration::ZERO));
        Self { host, dir, stop }
    }

    /// A client with a keyring of its own.
    pub fn client(&self, name: &str) -> Client {
        let keyring =
            Keyring { path: Some(self.dir.path().join(name).join("config.json")), ..Keyring::default() };
        Client::new(Settings { keyring, ..Settings::default() }).expect("a client")
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn name(text: &str) -> Repository {
    text.parse().expect("a name")
}

/// Pushes an image with one layer, and gives its digest.
async fn push(
    to: &dyn Target,
    reference: &Reference,
    layer: &[u8],
    change: impl FnOnce(&mut serde_json::Value),
) -> Digest {
    for blob in [b"{}", layer] {
        to.put_blob(&descriptor(blob), Content::Bytes(blob.to_vec().into()), &()).await.expect("pushed");
    }
    let mut manifest = image(b"{}", &[layer]);
    change(&mut manifest);
    to.put_manifest(reference, IMAGE, manifest.to_string().into()).await.expect("pushed")
}

/// What becomes of each blob.
#[derive(Default)]
struct Counted(Mutex<Vec<(u64, Moved)>>);

impl Progress for Counted {
    fn end(&self, what: &Descriptor, how: Moved) {
        self.0.lock().expect("no test has died").push((what.size, how));
    }
}

impl Counted {
    fn take(&self) -> Vec<(u64, Moved)> {
        let mut all = std::mem::take(&mut *self.0.lock().expect("no test has died"));
        all.sort_by_key(|(size, _)| *size);
        all
    }
}

#[tokio::test]
async fn whoever_signs_in_pushes_and_pulls() {
    for challenge in [Challenge::Basic, Challenge::Bearer] {
        let ours = Ours::new(Some(challenge)).await;
        let (alice, bob) = (ours.client("alice"), ours.client("bob"));
        assert!(alice.login(&ours.host, "alice", "wrong").await.is_err());
        for (client, user) in [(&alice, "alice"), (&bob, "bob")] {
            client.login(&ours.host, user, user).await.expect("let in");
        }
        // What is kept is no password where the registry gives something in its place.
        let kept = ours.client("alice").keyring.find(&ours.host).expect("kept");
        assert_eq!(matches!(kept, Credential::Identity { .. }), challenge == Challenge::Bearer, "{kept:?}");
        let layer = content(600_000);
        let to = alice.repository(&ours.host, &name("a/b"));
        let digest = push(&to, &tag("1.0"), &layer, |_| {}).await;
        let from = bob.repository(&ours.host, &name("a/b"));
        assert_eq!(from.resolve(&tag("1.0")).await.expect("found").digest, digest);
        assert_eq!(from.manifest(&tag("1.0")).await.expect("found").descriptor.digest, digest);
        assert_eq!(from.blob_bytes(&descriptor(&layer), 1 << 20).await.expect("found"), layer);
        assert_eq!(from.tags().await.expect("tags").len(), 1);
        assert_eq!(bob.repositories(&ours.host).await.expect("repositories"), [name("a/b")]);
        let told = from
            .put_blob(&descriptor(b"new"), Content::Bytes("new".into()), &())
            .await
            .expect_err("bob may not");
        assert!(matches!(&told, ClientError::Denied { why, .. } if why.contains("bob")), "{told}");
        assert!(to.mount(&descriptor(&layer), &name("a/b")).await.expect("mounted"));
        to.delete(&tag("1.0")).await.expect("deleted");
        assert!(from.resolve(&tag("1.0")).await.is_err_and(|error| error.is_not_found()));
        let nobody = client().repository(&ours.host, &name("a/b"));
        assert!(matches!(nobody.tags().await, Err(ClientError::Denied { .. })));
    }
}

#[tokio::test]
async fn a_copy_brings_all_and_what_is_said_of_it_and_nothing_twice() {
    let (one, two) = (Ours::new(None).await, Ours::new(None).await);
    let from = client().repository(&one.host, &name("a/b"));
    let layer = content(700_000);
    let image_digest = push(&from, &tag("image"), &layer, |_| {}).await;
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": crate::manifest::INDEX, "manifests": [
        { "mediaType": IMAGE, "digest": image_digest, "size": image(b"{}", &[&layer]).to_string().len() }] });
    let digest =
        from.put_manifest(&tag("1.0"), crate::manifest::INDEX, index.to_string().into()).await.expect("put");
    // Signed by a referrer of the image, and by a tag of the index.
    let about = serde_json::json!({ "mediaType": IMAGE, "digest": image_digest, "size": 1 });
    let signature = push(&from, &tag("x"), b"signature", |manifest| manifest["subject"] = about).await;
    let sig = Reference::Tag(Tag::about(&digest, ".sig"));
    push(&from, &sig, b"tagged", |_| {}).await;
    let counted = Counted::default();
    let to = client().repository(&two.host, &name("c"));
    let (source, target) = (tag("1.0"), tag("2.0"));
    let copied = copy(&from, &to, &source, &target, true, &counted).await.expect("copied");
    assert_eq!(copied, digest);
    let brought = |size| (size, Moved::Brought);
    assert_eq!(
        counted.take(),
        [brought(2), (2, Moved::There), (2, Moved::There), brought(6), brought(9), brought(700_000)]
    );
    assert_eq!(to.resolve(&target).await.expect("found").digest, digest);
    assert_eq!(to.blob_bytes(&descriptor(&layer), 1 << 20).await.expect("found"), layer);
    let found = to.referrers(&image_digest, None).await.expect("found");
    assert_eq!(found.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [signature]);
    assert!(to.resolve(&sig).await.is_ok());
    // Once more: nothing moves.
    copy(&from, &to, &source, &target, true, &counted).await.expect("copied");
    assert_eq!(counted.take(), []);
    // Within one registry nothing goes through here.
    let beside = client().repository(&one.host, &name("d"));
    copy(&from, &beside, &source, &target, false, &counted).await.expect("copied");
    assert_eq!(counted.take(), [(2, Moved::Mounted), (700_000, Moved::Mounted)]);
    assert!(
        beside.referrers(&image_digest, None).await.expect("none").is_empty(),
        "signatures were not asked for"
    );
}

#[tokio::test]
async fn a_copy_takes_no_signature_away() {
    let ours = Ours::new(None).await;
    let (from, to) =
        (client().repository(&ours.host, &name("a")), client().repository(&ours.host, &name("b")));
    let digest = push(&from, &tag("1"), b"layer", |_| {}).await;
    push(&to, &tag("1"), b"layer", |_| {}).await;
    let sig = Reference::Tag(Tag::about(&digest, ".sig"));
    push(&to, &sig, b"theirs", |_| {}).await;
    push(&from, &sig, b"ours", |_| {}).await;
    let told = copy(&from, &to, &tag("1"), &tag("1"), true, &())
        .await
        .expect_err("theirs would be lost")
        .to_string();
    assert!(told.contains("would be lost"), "{told}");
    copy(&from, &to, &tag("1"), &tag("1"), false, &()).await.expect("copied");
    // With theirs among ours it goes.
    for blob in [&b"theirs"[..], b"ours"] {
        from.put_blob(&descriptor(blob), Content::Bytes(blob.to_vec().into()), &()).await.expect("pushed");
    }
    let both = image(b"{}", &[b"theirs", b"ours"]).to_string();
    from.put_manifest(&sig, IMAGE, both.clone().into()).await.expect("put");
    copy(&from, &to, &tag("1"), &tag("1"), true, &()).await.expect("copied");
    assert_eq!(to.manifest(&sig).await.expect("found").bytes, both.as_bytes());
}

#[tokio::test]
async fn what_is_not_there_is_not_copied() {
    let ours = Ours::new(None).await;
    let (from, to) =
        (client().repository(&ours.host, &name("a")), client().repository(&ours.host, &name("b")));
    assert!(copy(&from, &to, &tag("1"), &tag("1"), true, &()).await.is_err_and(|error| error.is_not_found()));
    assert!(to.delete(&tag("1")).await.is_err_and(|error| error.is_not_found()));
    let told = to.delete(&Reference::Digest(Digest::of(b"x"))).await;
    assert!(told.is_err_and(|error| error.is_not_found()));
}

#[tokio::test]
async fn a_certificate_is_trusted_where_it_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    // Of nobody but this test, for localhost, until 2120.
    let certificate = file("localhost.pem", include_str!("localhost.pem"));
    let key = file("localhost.key", include_str!("localhost.key"));
    let ours = Ours::by(Some(Challenge::Bearer), Some(Tls { certificate: certificate.clone(), key })).await;
    let keyring = Keyring { path: Some(dir.path().join("config.json")), ..Keyring::default() };
    let settings = Settings { ca_cert: Some(certificate), keyring, ..Settings::default() };
    let client = Client::new(settings).expect("a client");
    client.login(&ours.host, "alice", "alice").await.expect("let in");
    let repository = client.repository(&ours.host, &name("a/b"));
    let digest = push(&repository, &tag("1"), b"layer", |_| {}).await;
    assert_eq!(repository.resolve(&tag("1")).await.expect("found").digest, digest);
    let by_address = format!("localhost:{}", ours.host.port().expect("a port")).parse().expect("a host");
    assert!(matches!(
        client.repository(&by_address, &name("a/b")).tags().await,
        Err(ClientError::Denied { .. })
    ));
    let wrong = Settings { ca_cert: Some(file("wrong.pem", "nothing")), ..Settings::default() };
    let told = Client::new(wrong).expect_err("no certificate").to_string();
    assert!(told.contains("wrong.pem") && told.contains("no certificate"), "{told}");
    assert!(Client::new(Settings { ca_cert: Some("/nowhere.pem".into()), ..Settings::default() }).is_err());
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_told_at_once_with_what_helps() {
    let dir = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (dir.path().join("localhost.pem"), dir.path().join("localhost.key"));
    std::fs::write(&certificate, include_str!("localhost.pem")).expect("written");
    std::fs::write(&key, include_str!("localhost.key")).expect("written");
    let ours = Ours::by(None, Some(Tls { certificate, key })).await;
    let other = dir.path().join("other.pem");
    std::fs::write(&other, include_str!("other.pem")).expect("written");
    let client = Client::new(Settings { ca_cert: Some(other), ..Settings::default() }).expect("a client");
    let told = client.repository(&ours.host, &name("a")).tags().await.expect_err("not trusted").to_string();
    assert!(told.contains("its certificate is not trusted") && told.contains("--ca-cert"), "{told}");
}

/// What `openssl req -x509` makes unless it is told otherwise, which other clients take.
#[tokio::test]
async fn a_certificate_that_signs_others_is_told_as_that() {
    let dir = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (dir.path().join("authority.pem"), dir.path().join("localhost.key"));
    std::fs::write(&certificate, include_str!("authority.pem")).expect("written");
    std::fs::write(&key, include_str!("localhost.key")).expect("written");
    let ours = Ours::by(None, Some(Tls { certificate: certificate.clone(), key })).await;
    let client =
        Client::new(Settings { ca_cert: Some(certificate), ..Settings::default() }).expect("a client");
    let told = client.repository(&ours.host, &name("a")).tags().await.expect_err("not trusted").to_string();
    assert!(told.contains("signs others") && told.contains("CA:FALSE"), "{told}");
    assert!(!told.contains("--ca-cert"), "it is named already: {told}");
}
