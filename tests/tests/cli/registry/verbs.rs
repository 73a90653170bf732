//! What `registry serve`, `gc` and `fsck` take, refuse and say.

use model::ids::Digest;

use super::client::Served;
use crate::scene::Scene;

#[test]
fn nobody_opens_a_registry_to_others_by_a_slip() {
    let scene = Scene::new();
    scene.write("users", "alice:$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n");
    let serve = ["registry", "serve", "--data", "data", "--listen"];
    let cases: [(&[&str], &str); 10] = [
        (&["0.0.0.0:0"], "others reach 0.0.0.0:0: give --tls-cert and --tls-key, or --plain-http"),
        (&["0.0.0.0:0", "--plain-http"], "say by --htpasswd who may sign in, or by --no-auth"),
        (&["0.0.0.0:0", "--htpasswd", "users"], "give --tls-cert and --tls-key"),
        (&["[::]:0", "--no-auth"], "others reach [::]:0"),
        (&["127.0.0.1:0", "--tls-cert", "x"], "--tls-key"),
        (&["127.0.0.1:0", "--anonymous-pull"], "--htpasswd"),
        (&["127.0.0.1:0", "--htpasswd", "gone"], "gone"),
        (&["127.0.0.1:0", "--tls-cert", "users", "--tls-key", "users"], "users"),
        (&["127.0.0.1:0", "--url", "registry.example.com"], "write a scheme and a host"),
        (&["127.0.0.1:0", "--max-bytes", "much"], "a size is a number and a unit"),
    ];
    for (args, expected) in cases {
        scene.run(&[&serve[..], args].concat()).code(2).says(&[expected]);
    }
    for data in ["users", "users/data"] {
        let refused = scene.run(&["registry", "serve", "--data", data, "--listen", "127.0.0.1:0"]).code(2);
        refused.says(&["users is no directory; name one with `--data`"]);
    }
    scene.run(&["registry", "gc", "--data", "none"]).code(2).says(&["there is no registry in none"]);
    assert!(!scene.path("none").exists());
}

#[test]
fn one_process_has_a_registry_and_does_for_others_what_needs_it() {
    let scene = Scene::new();
    let served = Served::start(&scene, &[], None);
    let again = ["registry", "serve", "--data", "data", "--listen", "127.0.0.1:0"];
    scene.run(&again).code(2).says(&["data is used by another process"]);
    served.push_image("a", "t", b"layer").expect("pushed");
    assert_eq!(served.push_blob("a", b"loose"), Some(201));
    scene.run(&["registry", "gc", "--data", "data"]).code(0).prints(&["removed 0 manifests, 0 blobs"]);
    let gc = ["registry", "gc", "--data", "data", "--grace", "0s"];
    scene.run(&gc).code(0).prints(&["removed 0 manifests, 1 blobs, 1 files and 0 uploads: 5 bytes"]);
    served.has_image("a", "t", b"layer");
    scene.run(&["registry", "fsck", "--data", "data"]).code(0).prints(&["nothing is wrong"]);
    let file = scene.path("data/content").join(Digest::of(b"layer").to_string().replace(':', "-"));
    std::fs::write(&file, b"lawyer").expect("written");
    let given = served.ask(&format!("GET /v2/a/blobs/{}", Digest::of(b"layer")), "", b"").expect("an answer");
    assert_eq!(given.status, 500, "{given:?}");
    let fsck = scene.run(&["registry", "fsck", "--data", "data"]).code(1);
    fsck.prints(&["is not there: push it again to a", "1 problems: 0 damaged, 1 missing"]);
    assert_eq!(served.push_blob("a", b"layer"), Some(201));
    served.stop().code(0);
    // And without it.
    scene
        .run(&["registry", "fsck", "--data", "data", "--output", "json"])
        .code(0)
        .prints(&["\"problems\": []"]);
    scene
        .run(&["registry", "gc", "--data", "data", "--untagged", "--grace", "0s"])
        .code(0)
        .prints(&["removed 0 manifests"]);
}

#[test]
fn rights_and_bounds_are_what_the_command_line_says() {
    let scene = Scene::new();
    // The password of alice is `secret`.
    scene.write("users", "alice:$2b$05$aewet7O2NQ0NG14TYwfXI.9z138Ng29rmLQPxQKOZuQFUAQAUqiH.\n");
    scene.write(
        "access.toml",
        "[[quota]]\nrepositories = [\"acme/*\"]\nbytes = \"10B\"\n\n[[rule]]\nrepositories = [\"*\"]\n\
        users = [\"alice\", \"eve\"]\nallow = [\"pull\", \"push\"]\n",
    );
    let args = ["--htpasswd", "users", "--access", "access.toml", "--anonymous-pull", "--auth", "bearer"];
    let served = Served::start(&scene, &args, None);
    let digest = Digest::of(b"x");
    let line = format!("POST /v2/acme/a/blobs/uploads/?digest={digest}");
    let given = served.ask(&line, "", b"x").expect("an answer");
    let asked = given.header("www-authenticate").unwrap_or_default();
    assert!(
        given.status == 401 && asked.contains(&format!("Bearer realm=\"http://{}/token\"", served.address)),
        "{given:?}"
    );
    let alice = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
    assert_eq!(served.ask(&line, alice, b"x").expect("an answer").status, 201);
    assert_eq!(served.ask(&format!("GET /v2/acme/a/blobs/{digest}"), "", b"").expect("an answer").body, b"x");
    let large = format!("POST /v2/acme/a/blobs/uploads/?digest={}", Digest::of(b"0123456789"));
    assert_eq!(served.ask(&large, alice, b"0123456789").expect("an answer").status, 403);
    let delete = format!("DELETE /v2/acme/a/blobs/{digest}");
    assert_eq!(served.ask(&delete, alice, b"").expect("an answer").status, 403);
    served.stop().code(0).says(&["rights are given to `eve`, who has no password in users"]);
    let served = Served::start(&scene, &["--read-only"], None);
    assert_eq!(served.ask(&line, "", b"x").expect("an answer").status, 405);
    served.stop().code(0);
}
