//! What is refused, with what to do, and that what runs goes on.

use super::{Up, append, in_order, lines, manifest, run, status, verb};
use crate::scene::{Ran, Scene};

#[test]
fn what_does_not_fit_is_refused_and_what_runs_goes_on() {
    let scene = Scene::with(&manifest("1"));
    scene.write("in.csv", "id\n");
    run(&scene, &["deploy", "pipeline.yaml", "--yes"]).code(3).says(&["conveyor up"]);
    let up = Up::start(&scene);
    run(&scene, &["deploy", "pipeline.yaml", "--yes"]).code(0);
    let cases = [
        (manifest("nowhere"), "nowhere"),
        (
            manifest("1")
                .replace("source: file,", "source: stdin,")
                .replace("path: in.csv, follow: true, poll: 10ms", "format: csv"),
            "stdin",
        ),
        (manifest("1").replace("path: out.jsonl", "paht: out.jsonl"), "paht"),
        (manifest("1").replace("from: rev", "from: ref"), "rev"),
    ];
    for (manifest, says) in cases {
        scene.write("pipeline.yaml", manifest);
        run(&scene, &["deploy", "pipeline.yaml", "--yes"]).code(2).says(&[says]);
    }
    for verb in ["status", "pause", "resume", "restart", "history"] {
        run(&scene, &[verb, "nobody"]).code(2).says(&["nobody", "conveyor list"]);
    }
    let again = ["up", "--data", "data", "--listen", "127.0.0.1:0"];
    run(&scene, &again).code(2).says(&["another node uses", "--data"]);
    run(&scene, &["up", "--data", "data", "--listen", "0.0.0.0:0"]).code(2).says(&["conveyor node start"]);
    run(&scene, &["node", "start", "--data", "d", "--listen", "0.0.0.0:0"]).code(2).says(&["--tls-cert"]);
    assert_eq!(status(&scene, "orders")["revision"], 1);
    append(&scene, "in.csv", 0..50);
    in_order(&lines(&scene, "out.jsonl", 50), 50);
    up.stop().code(0);
}

#[test]
fn no_web_page_and_nobody_without_the_token_changes_anything() {
    let scene = Scene::new();
    let up = Up::start(&scene);
    let host = format!("Host: {}\r\n", up.address);
    let path = "/v1/namespaces";
    let body = "{\"name\":\"a\"}";
    let json = "Content-Type: application/json\r\n";
    assert_eq!(up.ask(&format!("GET {path}"), &host, "").0, 200);
    assert_eq!(up.ask(&format!("GET {path}"), "Host: evil.example\r\n", "").0, 421);
    let foreign = format!("{host}Origin: http://evil.example\r\n");
    assert_eq!(up.ask(&format!("GET {path}"), &foreign, "").0, 403);
    assert_eq!(up.ask(&format!("POST {path}"), &format!("{host}{json}"), body).0, 401);
    let token = scene.read("data/token");
    let bearer = format!("{host}{json}Authorization: Bearer {}\r\n", token.trim());
    assert_eq!(up.ask(&format!("POST {path}"), &bearer, body).0, 201);
    // The registry is on the same port.
    assert_eq!(up.ask("GET /v2/", &host, "").0, 200);
    assert_eq!(up.ask("GET /readyz", &host, "").0, 200);
    let elsewhere = verb(&scene, &["list"]).env("XDG_STATE_HOME", scene.path("nowhere")).output();
    Ran::of(elsewhere.expect("the binary starts")).code(3).says(&["conveyor up", "--node"]);
    up.stop().code(0);
}

#[test]
fn a_server_wants_a_token_of_everybody_for_its_registry_too() {
    let scene = Scene::with(&manifest("1"));
    scene.write("in.csv", "id\n");
    let server = Up::start_server(&scene);
    let host = format!("Host: {}\r\n", server.address);
    assert_eq!(server.ask("GET /v1/pipelines", &host, "").0, 401);
    assert_eq!(server.ask("GET /v2/", &host, "").0, 401);
    assert_eq!(server.ask("POST /v2/a/blobs/uploads/", &host, "").0, 401);
    let url = format!("http://{}", server.address);
    let deploy = ["deploy", "pipeline.yaml", "--yes", "--node", &url];
    run(&scene, &deploy).code(2).says(&["token"]);
    run(&scene, &[&deploy[..], &["--token-file", "data/token"]].concat()).code(0).says(&["revision 1 runs"]);
    append(&scene, "in.csv", 0..5);
    in_order(&lines(&scene, "out.jsonl", 5), 5);
    server.stop().code(0);
}
