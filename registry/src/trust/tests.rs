//! What is refused, with what was expected and what came: over signatures that are really there.

use bytes::Bytes;
use model::ids::Digest;
use model::trust::Verify;

use super::*;
use crate::client::Target as _;
use crate::manifest::Descriptor;
use crate::name::Reference;
use crate::sign::fake::Fake;
use crate::sign::{Key, KeyKind, Layout, sign, signatures};

const NOW: i64 = 1_800_000_000;
const BOTH: [Layout; 2] = [Layout::Tag, Layout::Bundle];
const LARGE: &str = "registry.example.com/acme/large:1";

struct Scene {
    target: Fake,
    manifest: Descriptor,
    release: Key,
    ops: Key,
    policy: Policy,
}

fn image(text: &str) -> ImageRef {
    text.parse().expect("an image")
}

/// The key `release` may sign for acme, and `ops` for the rest.
async fn scene(rules: &str) -> Scene {
    let target = Fake::default();
    let manifest = target.image("1", "{}", "wasm").await;
    let [release, ops] = [(); 2].map(|()| Key::generate(KeyKind::P256).expect("a key"));
    let policy = policy(rules, &release, &ops);
    Scene { target, manifest, release, ops, policy }
}

fn policy(rules: &str, release: &Key, ops: &Key) -> Policy {
    let text = format!(
        "keys:\n  release: {{ file: release.pub, expires: 2030-01-01 }}\n  ops: {{ file: ops.pub }}\nrepositories:\n{rules}"
    );
    let decl = model::trust::parse("trust.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let load = |file: &str| {
        let key = if file == "ops.pub" { ops } else { release };
        Ok(key.public().and_then(|public| public.to_pem()).expect("PEM"))
    };
    Policy::of(&decl, load).unwrap_or_else(|problems| panic!("{problems}"))
}

const RULES: &str =
    "  registry.example.com/acme/*: { keys: [release] }\n  registry.example.com/*: { keys: [ops] }\n";

impl Scene {
    async fn sign(&self, image_: &str, key: &Key, layouts: &[Layout]) {
        sign(&self.target, &image(image_), &self.manifest, key, layouts, NOW).await.expect("signed");
    }

    async fn judge(&self, image_: &str) -> Verdict {
        self.judge_at(image_, &self.manifest.digest, NOW).await
    }

    async fn judge_at(&self, image_: &str, digest: &Digest, now: i64) -> Verdict {
        let found = signatures(&self.target, digest).await.expect("signatures");
        judge(&self.policy, &Seen::default(), &image(image_), digest, &found, now)
    }
}

#[track_caller]
fn refused(verdict: &Verdict, expected_: &[&str], came_: &[&str]) {
    let Verdict::Refused { expected, came } = verdict else { panic!("{verdict:?}") };
    assert!(expected_.iter().all(|part| expected.contains(part)), "{expected}");
    assert!(came_.iter().all(|part| came.contains(part)), "{came}");
}

#[tokio::test]
async fn each_layout_by_itself_is_enough() {
    for layout in BOTH {
        let scene = scene(RULES).await;
        refused(
            &scene.judge(LARGE).await,
            &["registry.example.com/acme/large", "by release"],
            &["no signature"],
        );
        scene.sign(LARGE, &scene.release, &[layout]).await;
        let verdict = scene.judge(LARGE).await;
        let Verdict::Accepted { by: By::Key { name, layout: by, is_required, .. } } = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!((name.as_str(), by, is_required), ("release", layout, true));
    }
}

#[tokio::test]
async fn a_moved_tag_is_refused() {
    let scene = scene(RULES).await;
    scene.sign(LARGE, &scene.release, &BOTH).await;
    let moved = scene.target.image("1", "{}", "other").await;
    let (was, is) = (scene.manifest.digest, moved.digest);
    let verdict = scene.judge_at(LARGE, &is, NOW).await;
    refused(&verdict, &[&is.to_string()], &["no signature"]);
    // The lock says what it was.
    let locked = image(LARGE).with_digest(was);
    let verdict = judge(&Policy::default(), &Seen::default(), &locked, &is, &[], NOW);
    refused(&verdict, &[&was.to_string(), LARGE], &[&is.to_string()]);
}

#[tokio::test]
async fn a_signature_of_another_digest_or_another_config_is_refused() {
    let scene = scene(RULES).await;
    scene.sign(LARGE, &scene.release, &BOTH).await;
    let found = signatures(&scene.target, &scene.manifest.digest).await.expect("two");
    let other_layer = scene.target.image("2", "{}", "other").await;
    let other_config = scene.target.image("3", r#"{"os":"wasip2"}"#, "wasm").await;
    for other in [other_layer, other_config] {
        assert_ne!(other.digest, scene.manifest.digest);
        // Signatures of one are put where those of another are looked for.
        let verdict = judge(&scene.policy, &Seen::default(), &image(LARGE), &other.digest, &found, NOW);
        let came = format!("by release of {}", scene.manifest.digest);
        refused(&verdict, &[&other.digest.to_string()], &[&came]);
    }
}

#[tokio::test]
async fn a_flipped_byte_is_refused_wherever_it_is() {
    let scene = scene(RULES).await;
    scene.sign(LARGE, &scene.release, &BOTH).await;
    let found = signatures(&scene.target, &scene.manifest.digest).await.expect("two");
    for signature in &found {
        for flipped in signature.found.as_ref().expect("signed").flipped() {
            let flipped = Signature { layout: signature.layout, found: Ok(flipped) };
            let verdict = judge(
                &scene.policy,
                &Seen::default(),
                &image(LARGE),
                &scene.manifest.digest,
                &[flipped],
                NOW,
            );
            let came = match signature.layout {
                Layout::Tag => "by another key",
                Layout::Bundle => "said to be by release, and is not: it was changed",
            };
            refused(&verdict, &["by release"], &[came]);
        }
    }
}

#[tokio::test]
async fn another_key_is_refused_whether_the_policy_knows_it_or_not() {
    let scene = scene(RULES).await;
    scene.sign(LARGE, &scene.ops, &BOTH).await;
    refused(&scene.judge(LARGE).await, &["by release"], &["by ops, which may not sign for it"]);
    let stranger = Key::generate(KeyKind::Ed25519).expect("a key");
    scene.sign(LARGE, &stranger, &BOTH).await;
    let hint = stranger.public().expect("public").hint().to_owned();
    refused(&scene.judge(LARGE).await, &["by release"], &["by ops", "by another key", &hint]);
    // One that counts among many that do not is enough.
    scene.sign(LARGE, &scene.release, &[Layout::Bundle]).await;
    assert!(matches!(scene.judge(LARGE).await, Verdict::Accepted { .. }));
}

#[tokio::test]
async fn an_expired_key_is_refused_from_the_moment_on() {
    let scene = scene(RULES).await;
    scene.sign(LARGE, &scene.release, &BOTH).await;
    let expires = 1_893_456_000;
    let digest = scene.manifest.digest;
    assert!(matches!(scene.judge_at(LARGE, &digest, expires - 1).await, Verdict::Accepted { .. }));
    let verdict = scene.judge_at(LARGE, &digest, expires).await;
    refused(&verdict, &["by release"], &["expired at 2030-01-01T00:00:00Z"]);
}

#[tokio::test]
async fn a_signature_for_another_repository_is_refused_unless_it_may_be_a_copy() {
    let scene = scene(RULES).await;
    scene.sign("upstream.example.com/acme/large:1", &scene.release, &[Layout::Tag]).await;
    let verdict = scene.judge(LARGE).await;
    refused(
        &verdict,
        &["for registry.example.com/acme/large"],
        &["by release for upstream.example.com/acme/large"],
    );
    let rules =
        "  registry.example.com/acme/*: { keys: [release], signed-as: [upstream.example.com/acme/*] }\n";
    let scene = Scene { policy: policy(rules, &scene.release, &scene.ops), ..scene };
    assert!(matches!(scene.judge(LARGE).await, Verdict::Accepted { .. }));
}

#[tokio::test]
async fn an_attestation_is_no_signature_though_its_key_may_sign() {
    let scene = scene(RULES).await;
    let bundle =
        crate::sign::attested(&scene.manifest.digest, &scene.release, "https://slsa.dev/provenance/v1");
    let verdict =
        judge(&scene.policy, &Seen::default(), &image(LARGE), &scene.manifest.digest, &[bundle], NOW);
    refused(&verdict, &["by release"], &["says something else of it: https://slsa.dev/provenance/v1"]);
}

#[tokio::test]
async fn the_rule_that_says_most_counts_and_may_only_warn() {
    let rules = format!("{RULES}  registry.example.com/acme/trial/*: {{ verify: warn, keys: [release] }}\n");
    let scene = scene(&rules).await;
    let trial = "registry.example.com/acme/trial/one:1";
    let verdict = scene.judge(trial).await;
    assert!(matches!(&verdict, Verdict::Warn { came, .. } if came == "no signature"), "{verdict:?}");
    scene.sign(trial, &scene.release, &[Layout::Bundle]).await;
    let verdict = scene.judge(trial).await;
    assert!(matches!(&verdict, Verdict::Accepted { by: By::Key { is_required: false, .. } }), "{verdict:?}");
    let rule = scene.policy.rule(&image("registry.example.com/other:1")).expect("a rule");
    assert_eq!((rule.pattern.to_string().as_str(), rule.verify), ("registry.example.com/*", Verify::Require));
    assert_eq!(scene.policy.rule(&image("elsewhere.example.com/other:1")), None);
}

#[test]
fn without_a_rule_a_digest_is_enough_and_a_tag_is_told() {
    let (policy, seen, digest) = (Policy::default(), Seen::default(), Digest::of(b"manifest"));
    let verdict = judge(&policy, &seen, &image(LARGE), &digest, &[], NOW);
    assert!(
        matches!(&verdict, Verdict::Warn { expected, came } if expected.contains("lock") && came.contains(&digest.to_string()))
    );
    let verdict = judge(&policy, &seen, &image(LARGE).with_digest(digest), &digest, &[], NOW);
    assert_eq!(verdict, Verdict::Accepted { by: By::Digest });
}

#[tokio::test]
async fn what_was_required_and_seen_does_not_go_back_to_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("required");
    let scene = scene(RULES).await;
    let locked = image(LARGE).with_digest(scene.manifest.digest);
    let open = |policy: &Policy| Trust {
        policy: policy.clone(),
        memory: Some(Memory::open(path.clone()).expect("a memory")),
    };
    // Nothing was required yet, and nothing signed.
    let mut none = open(&Policy::default());
    let digest = &scene.manifest.digest;
    assert!(!none.wants_signatures(&locked));
    let verdict = none.check(&scene.target, &locked, digest, NOW).await.expect("a verdict");
    assert_eq!(verdict, Verdict::Accepted { by: By::Digest });
    scene.sign(LARGE, &scene.release, &BOTH).await;
    let verdict = open(&scene.policy).check(&scene.target, &locked, digest, NOW).await.expect("a verdict");
    assert!(matches!(verdict, Verdict::Accepted { by: By::Key { .. } }), "{verdict:?}");
    // The policy is gone, and then the signatures are.
    let mut none = open(&Policy::default());
    assert!(none.wants_signatures(&locked));
    let verdict = none.check(&scene.target, &locked, digest, NOW).await.expect("a verdict");
    assert!(matches!(verdict, Verdict::Accepted { by: By::Key { .. } }), "{verdict:?}");
    let unsigned = Fake::default();
    unsigned.image("1", "{}", "wasm").await;
    let verdict = none.check(&unsigned, &locked, digest, NOW).await.expect("a verdict");
    let hint = scene.release.public().expect("public").hint().to_owned();
    refused(
        &verdict,
        &["as it had when a trust policy asked for it", "verify: warn", &hint],
        &["no signature"],
    );
    // Somebody who says so may let it go.
    let rules = "  registry.example.com/acme/*: { verify: warn, keys: [release] }\n";
    let mut warns = open(&policy(rules, &scene.release, &scene.ops));
    let verdict = warns.check(&unsigned, &locked, digest, NOW).await.expect("a verdict");
    assert!(matches!(verdict, Verdict::Warn { .. }), "{verdict:?}");
    // Another repository is none of its business.
    let other = image("registry.example.com/acme/other:1").with_digest(scene.manifest.digest);
    assert!(!open(&Policy::default()).wants_signatures(&other));
}

#[tokio::test]
async fn what_is_no_signature_is_told_and_does_not_count() {
    let scene = scene(RULES).await;
    let tag = crate::sign::tag(&scene.manifest.digest).expect("a tag");
    let image_ = Bytes::from(
        r#"{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#,
    );
    scene.target.put_manifest(&Reference::Tag(tag), "", image_).await.expect("put");
    refused(&scene.judge(LARGE).await, &["by release"], &["no signature"]);
}

#[test]
fn keys_and_patterns_that_are_none_are_told_where_they_are_written() {
    let text = "keys:\n  a: { file: missing.pub }\n  b: { pem: x }\nrepositories:\n  acme/*: { keys: [a] }\n  \
                a.example/x: { keys: [b] }\n  A.example/x: { keys: [b] }\n  a.example/y: { keys: [b], signed-as: [a.example] }\n";
    let decl = model::trust::parse("trust.yaml", text).expect("a policy");
    let problems = Policy::of(&decl, |file| Err(format!("{file}: it is not there"))).expect_err("no keys");
    let told = problems.to_string();
    for part in [
        "2:14: there is no key `a`: missing.pub",
        "3:13: there is no key `b`",
        "5:3: `acme/*` names no",
        "7:3: there are two rules for a.example/x",
        "`a.example` names no",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[tokio::test]
async fn what_cannot_be_remembered_is_judged_all_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("file"), "").expect("a file");
    let scene = scene(RULES).await;
    scene.sign(LARGE, &scene.release, &BOTH).await;
    let memory = Memory::open(directory.path().join("file-of-a-cache/required")).expect("none yet");
    std::fs::rename(directory.path().join("file"), directory.path().join("file-of-a-cache"))
        .expect("in the way");
    let mut trust = Trust { policy: scene.policy.clone(), memory: Some(memory) };
    let verdict =
        trust.check(&scene.target, &image(LARGE), &scene.manifest.digest, NOW).await.expect("a verdict");
    assert!(matches!(verdict, Verdict::Accepted { by: By::Key { .. } }), "{verdict:?}");
    assert!(!trust.wants_signatures(&image("elsewhere.example.com/other:1")));
}
