//! `login`, `logout`, and `registry list`, `tag`, `copy`, `delete`, against registries that run.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use serde_json::json;

use super::client::Served;
use crate::scene::{Ran, Scene};

/// The password of alice is `secret`.
const USERS: &str = "alice:$2b$05$aewet7O2NQ0NG14TYwfXI.9z138Ng29rmLQPxQKOZuQFUAQAUqiH.\n";

fn typed(scene: &Scene, args: &[&str], text: &str) -> Ran {
    let mut command = scene.command(args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // Whoever does not want to know closes its end.
    let _ = child.stdin.take().expect("a pipe").write_all(text.as_bytes());
    Ran::of(child.wait_with_output().expect("it ends"))
}

#[test]
fn whoever_has_signed_in_is_let_in_until_they_sign_out() {
    let scene = Scene::new();
    scene.write("users", USERS);
    let served = Served::start(&scene, &["--htpasswd", "users", "--auth", "bearer"], None);
    let host = served.address.as_str();
    let list = ["registry", "list", host];
    let login = ["login", host, "--username", "alice", "--password-stdin"];
    let nobody = format!("use `conveyor login {host}`");
    let image = format!("{host}/acme/large");
    let hidden = ["registry", "list", &image];
    scene.run(&hidden).code(1).says(&[&nobody]);
    typed(&scene, &login, "wrong\n").code(1).says(&["check the name and the password"]);
    assert!(!scene.path("docker/config.json").exists(), "a wrong password was kept");
    typed(&scene, &login, "secret\n")
        .code(0)
        .says(&[&format!("signed in to {host} as alice"), "docker/config.json"]);
    scene.run(&list).code(0);
    assert!(
        !scene.read("docker/config.json").contains("c2VjcmV0"),
        "a token is kept in place of the password"
    );
    let out = scene.run(&["logout", host, "--output", "json"]).code(0).json();
    assert_eq!(out, json!({ "registry": host, "was_signed_in": true }));
    scene.run(&["logout", host]).code(0).says(&["nobody was signed in"]);
    scene.run(&hidden).code(1).says(&[&nobody]);
    // It is seen by others, and said to be.
    let ran = scene.run(&["login", host, "-u", "alice", "-p", "secret", "--output", "json"]).code(0);
    assert_eq!(ran.json()["username"], "alice");
    ran.says(&["warning: whoever lists processes", "--password-stdin"]);
}

#[test]
fn what_is_typed_wrong_is_told_and_nobody_is_asked() {
    let scene = Scene::new();
    let cases: [(&[&str], &str); 13] = [
        (&["login", "r.example.com"], "a name is wanted, and nobody can be asked: give --username"),
        (
            &["login", "r.example.com", "-u", "a"],
            "a password is wanted, and nobody can be asked: give --password-stdin",
        ),
        (&["login", "r.example.com", "-u", "a", "--password-stdin"], "the password is empty"),
        (&["login", "r.example.com", "-u", "a:b", "-p", "x"], "it has a colon"),
        (&["login", "https://r.example.com", "-u", "a", "-p", "x"], "has a scheme: write it without"),
        (&["registry", "list", "acme/large"], "names no registry"),
        (
            &["registry", "list", "r.example.com/acme/large:1"],
            "a repository is wanted: write r.example.com/acme/large",
        ),
        (
            &["registry", "tag", "r.example.com/acme/large", "x"],
            "neither a tag nor a digest, and none is assumed",
        ),
        (&["registry", "tag", "r.example.com/acme/large:1", "a b"], "`a b` is no tag"),
        (&["registry", "delete", "r.example.com/Acme:1"], "write `acme`"),
        (&["registry", "copy", "oci:nothing", "oci:out"], "nothing"),
        (
            &["registry", "copy", "r.example.com/a:1", "r.example.com/b:1", "--ca-cert", "gone.pem"],
            "gone.pem",
        ),
        (&["registry", "list", "127.0.0.1:99999"], "is no host of a registry"),
    ];
    for (args, expected) in cases {
        scene.run(args).code(2).says(&[expected]);
    }
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let ran = scene.run(&["registry", "list", &format!("{port}/a")]).code(1);
    ran.says(&[&format!("{port} cannot be reached")]);
}

#[test]
fn proxies_are_asked_for_others_and_not_for_this_machine() {
    let scene = Scene::new();
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = format!("http://{}", proxy.local_addr().expect("an address"));
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = proxy.accept().expect("somebody asks");
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.extend(byte);
        }
        let body = r#"{"tags":["by-proxy"]}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).expect("written");
        String::from_utf8(head).expect("text")
    });
    let list = |place: &str, args: &[&str], proxy: &str| {
        let mut command = scene.command(&["registry", "list", place]);
        command.args(args).env("HTTP_PROXY", proxy).env("http_proxy", proxy).env("https_proxy", proxy);
        command.env_remove("NO_PROXY").env_remove("no_proxy").env_remove("REQUEST_METHOD");
        Ran::of(command.output().expect("the binary starts"))
    };
    let ran = list("registry.invalid/a", &["--plain-http"], &at).code(0);
    assert_eq!(ran.stdout, "by-proxy\n");
    let head = answering.join().expect("it answers");
    assert!(head.starts_with("GET http://registry.invalid/v2/a/tags/list?n=1000 "), "{head}");
    let served = Served::start(&scene, &[], None);
    list(&served.address, &[], "http://127.0.0.1:1").code(0);
}

#[test]
fn a_keyring_that_fails_is_named() {
    let scene = Scene::new();
    scene.write("users", USERS);
    let served = Served::start(&scene, &["--htpasswd", "users"], None);
    let place = format!("{}/a", served.address);
    scene.write("docker/config.json", r#"{"credsStore":"of-nobody"}"#);
    let ran = scene.run(&["registry", "list", &place]).code(1);
    ran.says(&["`docker-credential-of-nobody`", "cannot be run", "docker/config.json"]);
    scene.write("docker/config.json", "{");
    scene.run(&["registry", "list", &place]).code(2).says(&["docker/config.json: it is no JSON"]);
    // Who asks nobody needs none.
    let other = Scene::new();
    other.write("docker/config.json", "{");
    let open = Served::start(&other, &[], None);
    other.run(&["registry", "list", &open.address]).code(0);
}

#[test]
fn images_are_listed_tagged_copied_and_deleted() {
    let (scene, other) = (Scene::new(), Scene::new());
    let (one, two) = (Served::start(&scene, &[], None), Served::start(&other, &[], None));
    let digest = one.push_image("acme/a", "1.0", b"layer").expect("pushed");
    let (from, to) = (format!("{}/acme/a", one.address), format!("{}/acme/b", two.address));
    let by_digest = format!("{from}:1.0@{digest}");
    let ran = scene.run(&["registry", "tag", &format!("{from}:1.0"), "stable", "latest"]).code(0);
    assert_eq!(ran.stdout, format!("{by_digest}\n"));
    assert_eq!(scene.run(&["registry", "list", &from]).code(0).stdout, "1.0\nlatest\nstable\n");
    let listed = scene.run(&["registry", "list", &one.address, "--output", "json"]).code(0).json();
    assert_eq!(listed, json!({ "registry": one.address, "repositories": ["acme/a"] }));

    let copied =
        scene.run(&["registry", "copy", &by_digest, &format!("{to}:2.0"), "--output", "json"]).code(0).json();
    assert_eq!(copied["digest"], digest.to_string());
    two.has_image("acme/b", "2.0", b"layer");
    // By way of a layout, into another repository.
    for layout in ["oci:out", "oci:out.tar"] {
        scene.run(&["registry", "copy", &format!("{from}:1.0"), layout]).code(0);
        scene
            .run(&["registry", "copy", &format!("{layout}:1.0"), &format!("{}/back:1", two.address)])
            .code(0);
        two.has_image("back", "1", b"layer");
    }
    let copy = ["registry", "copy", &format!("{from}:stable"), "oci:out.tar"];
    scene.run(&copy).code(2).says(&["out.tar is there", "--force"]);
    scene.run(&[&copy[..], &["--force"]].concat()).code(0);
    scene.run(&["registry", "copy", "oci:out.tar", &format!("{}/back:2", two.address)]).code(0);

    let delete = ["registry", "delete", &format!("{from}:latest")];
    scene.run(&delete).code(2).says(&[&format!("which stands for {digest}"), "--yes"]);
    scene.run(&[&delete[..], &["--yes"]].concat()).code(0).says(&["deleted"]);
    scene.run(&[&delete[..], &["--yes"]].concat()).code(1).says(&["is not there"]);
    assert_eq!(scene.run(&["registry", "list", &from]).code(0).stdout, "1.0\nstable\n");
    scene.run(&["registry", "delete", &by_digest, "--yes"]).code(0);
    assert_eq!(scene.run(&["registry", "list", &from, "--output", "json"]).code(0).json()["tags"], json!([]));
    let gone = scene.run(&["registry", "copy", &format!("{from}:1.0"), "oci:none"]).code(1);
    gone.says(&[&format!("{from}:1.0 is not there")]);
}
