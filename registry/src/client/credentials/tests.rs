use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::*;

struct Scene {
    dir: TempDir,
}

fn host(text: &str) -> RegistryHost {
    text.parse().expect("a host")
}

fn password(user: &str, password: &str) -> Credential {
    Credential::Password { user: user.to_owned(), password: password.to_owned() }
}

impl Scene {
    fn with(config: &Value) -> Self {
        let scene = Self { dir: tempfile::tempdir().expect("a directory") };
        fs::write(scene.path(), config.to_string()).expect("written");
        scene
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("config.json")
    }

    fn keyring(&self) -> Keyring {
        let mut programs = self.dir.path().as_os_str().to_owned();
        programs.push(":/usr/bin:/bin");
        Keyring { path: Some(self.path()), programs: Some(programs), given: None }
    }

    /// A program of a name, as a script of the shell.
    fn program(&self, name: &str, script: &str) {
        let path = self.dir.path().join(format!("docker-credential-{name}"));
        // Written by a process of its own: a file that another thread's child still has open for writing cannot be run.
        let status = std::process::Command::new("sh")
            .args(["-c", "printf '%s\\n' '#!/bin/sh' \"$1\" > \"$0\" && chmod 755 \"$0\""])
            .args([path.as_os_str(), script.as_ref()])
            .status();
        assert!(status.expect("a shell").success());
    }

    fn find(&self, of: &str) -> Result<Credential, CredentialsError> {
        self.keyring().find(&host(of))
    }

    fn config(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path()).expect("a file")).expect("JSON")
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[test]
fn the_file_is_where_every_client_has_it() {
    let of = |set: &'static [(&'static str, &'static str)]| {
        Keyring::of(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())).path
    };
    assert_eq!(of(&[("HOME", "/h")]), Some("/h/.docker/config.json".into()));
    assert_eq!(of(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d")]), Some("/d/config.json".into()));
    assert_eq!(of(&[("HOME", "/h"), ("DOCKER_CONFIG", "")]), Some("/h/.docker/config.json".into()));
    assert_eq!(of(&[]), None);
}

#[test]
fn entries_are_found_by_the_names_that_clients_write() {
    let entry = |user: &str| json!({ "auth": STANDARD.encode(format!("{user}:p:w")) });
    let scene = Scene::with(&json!({ "auths": {
        "a.example.com": entry("a"),
        "https://b.example.com/v2/": entry("b"),
        "c.example.com:5000": { "username": "c", "password": "p:w" },
        "https://index.docker.io/v1/": entry("hub"),
        "d.example.com/team": entry("team"),
        "[::1]:5000": entry("six"),
        "e.example.com": {},
        "f.example.com": { "auth": STANDARD.encode("f:p:w\0\0") },
        "https://a.example.com": entry("later"),
    }}));
    for (name, user) in [
        ("a.example.com", "a"),
        ("A.Example.com", "a"),
        ("b.example.com", "b"),
        ("c.example.com:5000", "c"),
        ("docker.io", "hub"),
        ("registry-1.docker.io", "hub"),
        ("[::1]:5000", "six"),
        ("f.example.com", "f"),
    ] {
        assert_eq!(scene.find(name).expect(name), password(user, "p:w"), "{name}");
    }
    for name in ["c.example.com", "d.example.com", "e.example.com", "x.example.com"] {
        assert_eq!(scene.find(name).expect(name), Credential::Anonymous, "{name}");
    }
}

#[test]
fn tokens_come_before_passwords() {
    let auth = STANDARD.encode("00000000:");
    let scene = Scene::with(&json!({ "auths": {
        "i.example.com": { "auth": auth, "identitytoken": "t" },
        "r.example.com": { "registrytoken": "r" },
    }}));
    let identity = Credential::Identity { user: "00000000".to_owned(), token: "t".to_owned() };
    assert_eq!(scene.find("i.example.com").expect("found"), identity);
    assert_eq!(scene.find("r.example.com").expect("found"), Credential::Token("r".to_owned()));
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let scene = Scene::with(&json!({ "auths": { "a.example.com": { "auth": "!" } } }));
    let told = scene.find("a.example.com").expect_err("no base64").to_string();
    assert!(told.contains("config.json") && told.contains("`a.example.com`"), "{told}");
    for (text, part) in [("{", "no JSON"), ("[]", "no object")] {
        fs::write(scene.path(), text).expect("written");
        let told = scene.find("a.example.com").expect_err(text).to_string();
        assert!(told.contains(part), "{told}");
        // Nothing is written over what could not be read.
        assert!(scene.keyring().keep(&host("a.example.com"), &password("u", "p")).is_err());
        assert_eq!(fs::read_to_string(scene.path()).expect("a file"), text);
    }
    let nowhere = Keyring::default();
    assert_eq!(nowhere.find(&host("a.example.com")).expect("nobody"), Credential::Anonymous);
    assert!(nowhere.keep(&host("a.example.com"), &password("u", "p")).is_err());
}

#[test]
fn what_is_kept_is_found_and_the_rest_of_the_file_stays() {
    let scene = Scene::with(&json!({
        "HttpHeaders": { "x": "y" },
        "auths": { "https://a.example.com/v1/": { "auth": "eDp5" }, "b.example.com": { "auth": "eDp5" } },
        "currentContext": "c",
    }));
    let keyring = scene.keyring();
    let who = password("u", "p");
    assert_eq!(keyring.keep(&host("a.example.com"), &who).expect("kept"), Kept::File(scene.path()));
    assert_eq!(scene.find("a.example.com").expect("found"), who);
    assert_eq!(mode(&scene.path()), 0o600);
    let config = scene.config();
    let keys: Vec<&String> = config.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["HttpHeaders", "auths", "currentContext"]);
    assert_eq!(
        config["auths"],
        json!({ "b.example.com": { "auth": "eDp5" }, "a.example.com": { "auth": "dTpw" } })
    );
    let identity = Credential::Identity { user: "u".to_owned(), token: "t".to_owned() };
    keyring.keep(&host("docker.io"), &identity).expect("kept");
    assert_eq!(scene.find("docker.io").expect("found"), identity);
    assert!(scene.config()["auths"].get("https://index.docker.io/v1/").is_some());
    assert!(keyring.forget(&host("a.example.com")).expect("forgotten"));
    assert!(!keyring.forget(&host("a.example.com")).expect("nothing"));
    assert_eq!(scene.find("a.example.com").expect("nobody"), Credential::Anonymous);
    assert_eq!(scene.find("b.example.com").expect("found"), password("x", "y"));
    let left = fs::read_dir(scene.dir.path()).expect("a directory").count();
    assert_eq!(left, 1, "something was left beside it");
}

#[test]
fn a_file_that_is_a_link_stays_one_and_a_directory_that_is_missing_is_made() {
    let scene = Scene::with(&json!({}));
    let link = scene.dir.path().join("link.json");
    std::os::unix::fs::symlink(scene.path(), &link).expect("a link");
    let keyring = Keyring { path: Some(link.clone()), ..Keyring::default() };
    keyring.keep(&host("a.example.com"), &password("u", "p")).expect("kept");
    assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
    assert_eq!(scene.find("a.example.com").expect("found"), password("u", "p"));
    let path = scene.dir.path().join("new/.docker/config.json");
    let keyring = Keyring { path: Some(path.clone()), ..Keyring::default() };
    keyring.keep(&host("a.example.com"), &password("u", "p")).expect("kept");
    assert_eq!((mode(&path), mode(path.parent().expect("a directory"))), (0o600, 0o700));
}

#[test]
fn programs_are_asked_by_their_protocol() {
    let scene = Scene::with(&json!({
        "credsStore": "all",
        "credHelpers": { "one.example.com": "one", "none.example.com": "" },
        "auths": { "none.example.com": { "auth": "eDp5" }, "late.example.com": { "auth": "eDp5" } },
    }));
    scene.program("one", r#"[ "$1" = get ] && read -r url; echo "{\"ServerURL\":\"$url\",\"Username\":\"<token>\",\"Secret\":\"$url\"}""#);
    scene.program("all", "echo credentials not found in native keychain; exit 1");
    let identity = Credential::Identity { user: String::new(), token: "one.example.com".to_owned() };
    assert_eq!(scene.find("one.example.com").expect("found"), identity);
    // What the program does not have may stand in the file.
    assert_eq!(scene.find("two.example.com").expect("nobody"), Credential::Anonymous);
    assert_eq!(scene.find("late.example.com").expect("found"), password("x", "y"));
    assert_eq!(scene.find("none.example.com").expect("found"), password("x", "y"));
}

#[test]
fn a_program_that_fails_is_named_and_nobody_is_taken_for_nobody() {
    let scene = Scene::with(&json!({ "credsStore": "store" }));
    let cases = [
        ("echo the keychain is locked; exit 1", "the keychain is locked"),
        ("echo no agent >&2; exit 3", "no agent"),
        ("exit 1", "it does not say why"),
        ("echo no json", "in JSON"),
        ("echo credentials not found in native keychain", "in JSON"),
    ];
    for (script, part) in cases {
        scene.program("store", script);
        let told = scene.find("a.example.com").expect_err(script).to_string();
        assert!(told.contains("`docker-credential-store`") && told.contains(part), "{told}");
        assert!(told.contains("a.example.com"), "{told}");
    }
    fs::remove_file(scene.dir.path().join("docker-credential-store")).expect("removed");
    let told = scene.find("a.example.com").expect_err("no program").to_string();
    assert!(told.contains("cannot be run") && told.contains("install it"), "{told}");
    let scene = Scene::with(&json!({ "credsStore": "../store" }));
    assert!(matches!(scene.find("a.example.com"), Err(CredentialsError::Config { .. })));
}

#[test]
fn programs_keep_and_forget() {
    let scene = Scene::with(&json!({ "credsStore": "store" }));
    let kept = scene.dir.path().join("kept");
    let script = r#"case "$1" in
        store) cat > "$(dirname "$0")/kept" ;;
        get) [ -f "$(dirname "$0")/kept" ] || { echo credentials not found in native keychain; exit 1; }; cat "$(dirname "$0")/kept" ;;
        erase) rm "$(dirname "$0")/kept" ;;
        esac"#;
    scene.program("store", script);
    let keyring = scene.keyring();
    let who = password("u", "p");
    let told = keyring.keep(&host("a.example.com"), &who).expect("kept");
    assert_eq!(told, Kept::Helper("docker-credential-store".to_owned()));
    let stored: Value = serde_json::from_str(&fs::read_to_string(&kept).expect("a file")).expect("JSON");
    assert_eq!(stored, json!({ "ServerURL": "a.example.com", "Username": "u", "Secret": "p" }));
    assert_eq!(scene.config()["auths"], json!({ "a.example.com": {} }), "the file has no password");
    assert_eq!(scene.find("a.example.com").expect("found"), who);
    assert!(keyring.forget(&host("a.example.com")).expect("forgotten"));
    assert!(!kept.exists());
    assert!(!keyring.forget(&host("a.example.com")).expect("nothing"));
}

#[test]
fn what_is_given_for_a_registry_comes_before_the_file_and_is_for_no_other() {
    let given = Credential::Password { user: "token".to_owned(), password: "x".to_owned() };
    let keyring = Keyring { given: Some((host("node.example:4747"), given.clone())), ..Keyring::default() };
    assert_eq!(keyring.find(&host("node.example:4747")).expect("found"), given);
    assert_eq!(keyring.find(&host("node.example")).expect("nobody"), Credential::Anonymous);
}
