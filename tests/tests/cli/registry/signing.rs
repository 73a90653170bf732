//! Keys, signatures and trust, by the binary against a registry that runs. What is refused is tried over values in
//! `registry/src/trust/tests.rs`.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::client::Served;
use crate::scene::{Ran, Scene};

const PASSWORD: &str = "correct horse";

/// A cache of its own: what was required is remembered there.
fn run(scene: &Scene, args: &[&str]) -> Ran {
    let mut command = scene.command(args);
    for (variable, directory) in
        [("XDG_CACHE_HOME", "cache"), ("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "kept")]
    {
        command.env(variable, scene.path(directory));
    }
    command.env("COSIGN_PASSWORD", PASSWORD).env_remove("CONVEYOR_KEY_PASSWORD").env_remove("CONVEYOR_TRUST");
    Ran::of(command.output().expect("the binary starts"))
}

#[test]
fn keys_are_made_once_and_for_their_owner_alone() {
    let scene = Scene::new();
    run(&scene, &["key", "generate", "--out", "a"])
        .code(0)
        .says(&["a.key: the key that signs (P-256)", "sealed with the password"]);
    let mode = scene.path("a.key").metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = (scene.read("a.key"), scene.read("a.pub"));
    run(&scene, &["key", "generate", "--out", "a", "--ed25519"])
        .code(2)
        .says(&["a.key is there", "never replaced"]);
    std::fs::remove_file(scene.path("a.key")).expect("removed");
    run(&scene, &["key", "generate", "--out", "a"]).code(2).says(&["a.pub is there"]);
    assert!(!scene.path("a.key").exists());
    assert_eq!(scene.read("a.pub"), before.1);
    let mut command = scene.command(&["key", "generate", "--out", "b"]);
    command.env_remove("COSIGN_PASSWORD").env_remove("CONVEYOR_KEY_PASSWORD");
    let asked = Ran::of(command.output().expect("the binary starts"));
    asked.code(2).says(&["nobody can be asked: set CONVEYOR_KEY_PASSWORD"]);
    assert!(!scene.path("b.key").exists() && !scene.path("b.pub").exists());
    run(&scene, &["key", "generate", "--out", "c", "--unencrypted"])
        .code(0)
        .says(&["whoever reads it can sign"]);
    assert!(scene.read("c.key").starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

#[test]
fn what_is_signed_is_verified_by_its_key_and_by_a_policy() {
    let scene = Scene::new();
    let served = Served::start(&scene, &[], None);
    served.push_image("acme/large", "1", b"one").expect("pushed");
    let image = format!("{}/acme/large:1", served.address);
    for (key, more) in [("a", &[][..]), ("b", &["--ed25519", "--unencrypted"][..])] {
        run(&scene, &[&["key", "generate", "--out", key][..], more].concat()).code(0);
    }
    let verify = |key: &str| run(&scene, &["verify", &image, "--key", key]);
    verify("a.pub").code(1).says(&["is not trusted", "by a.pub", "came: no signature"]);
    let signed = run(&scene, &["sign", &image, "--key", "a.key", "--output", "json"]).code(0);
    let signed: Value = serde_json::from_str(&signed.stdout).expect("JSON");
    let layouts: Vec<&str> = signed["signatures"]
        .as_array()
        .expect("two")
        .iter()
        .filter_map(|put| put["layout"].as_str())
        .collect();
    assert_eq!(layouts, ["bundle", "tag"]);
    verify("a.pub").code(0).prints(&["is trusted by a signature by a.pub"]);
    verify("b.pub").code(1).says(&["by another key"]);
    verify("a.key").code(2).says(&["this one is private"]);
    run(&scene, &["sign", &image, "--key", "a.key"]).code(0).says(&["was signed by this key before"]);
    run(&scene, &["sign", &image, "--key", "b.key", "--layout", "bundle"]).code(0);
    verify("a.pub").code(0);
    verify("b.pub").code(0).prints(&["(bundle)"]);
    let mut wrong = scene.command(&["sign", &image, "--key", "a.key"]);
    wrong.env("CONVEYOR_KEY_PASSWORD", "wrong").env("COSIGN_PASSWORD", PASSWORD);
    Ran::of(wrong.output().expect("the binary starts"))
        .code(2)
        .says(&["the key a.key", "the password is wrong"]);

    let policy = format!(
        "keys: {{ b: {{ file: b.pub }} }}\nrepositories: {{ {}/acme/*: {{ keys: [b] }} }}\n",
        served.address
    );
    scene.write("config/conveyor/trust.yaml", policy).write("config/conveyor/b.pub", scene.read("b.pub"));
    run(&scene, &["verify", &image]).code(0).prints(&["is trusted by a signature by b (bundle)"]);
    // The tag is moved to what nobody has signed.
    served.push_image("acme/large", "1", b"two").expect("pushed");
    let refused = run(&scene, &["verify", &image, "--output", "json"]).code(1);
    let refused: Value = serde_json::from_str(&refused.stdout).expect("JSON");
    assert_eq!((&refused["is_signed"], &refused["came"]), (&Value::Bool(false), &"no signature".into()));
    let other = format!("{}/other:1", served.address);
    run(&scene, &["verify", &other]).code(2).says(&["no rule of", "trust.yaml", "/other"]);
    run(&scene, &["verify", &image, "--trust", "gone.yaml"]).code(2).says(&["gone.yaml"]);
    served.stop().code(0);
}
