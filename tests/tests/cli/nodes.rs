//! Which node verbs speak to, and what they say where none answers. What they do on one is where a node runs.

use serde_json::json;

use super::scene::{Ran, Scene};

/// With a home of its own, in which nothing is known.
fn run(scene: &Scene, variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = scene.command(args);
    for name in ["CONVEYOR_NODE", "CONVEYOR_CONTEXT", "CONVEYOR_TOKEN", "CONVEYOR_TOKEN_FILE"] {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", scene.path("config")).env("XDG_STATE_HOME", scene.path("state"));
    command.envs(variables.iter().copied());
    Ran::of(command.output().expect("the binary starts"))
}

/// A port on which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    format!("http://{}", listener.local_addr().expect("an address"))
}

#[test]
fn where_no_node_answers_a_verb_ends_with_3_and_says_what_to_do() {
    let (scene, node) = (Scene::new(), nobody());
    let none = run(&scene, &[], &["list"]).code(3);
    assert!(none.stderr.contains("start it, or name a node with `--node`"), "{}", none.stderr);
    for args in [
        &["list"][..],
        &["status", "orders"],
        &["history", "team/orders"],
        &["diff", "orders", "1", "2"],
        &["pause", "orders"],
        &["resume", "orders", "-n", "team"],
        &["restart", "orders", "--output", "json"],
        &["rollback", "orders", "1"],
        &["delete", "orders", "--yes"],
        &["events"],
        &["secret", "list"],
        &["secret", "remove", "KEY"],
    ] {
        let ran = run(&scene, &[("CONVEYOR_NODE", &node)], args).code(3);
        assert!(ran.stderr.contains(&format!("no node answers at {node}")), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
    // One that has ended, and had no time to say so.
    let up = json!({ "url": node, "token_file": scene.path("token") });
    scene.write("state/conveyor/up.json", up.to_string()).write("token", "secret");
    let ended = run(&scene, &[], &["list"]).code(3);
    assert!(
        ended.stderr.contains("does not run here") && !ended.stderr.contains("secret"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_is_typed_wrong_reaches_no_node() {
    let (scene, node) = (Scene::new(), nobody());
    for (args, expected) in [
        (&["status", "Orders"][..], "`Orders` is no name"),
        (&["status", "a/b/c"], "`b/c` is no name"),
        (&["pause", "a/b", "-n", "c"], "leave `-n` out"),
        (&["list", "-n", "A"], "`A` is no name"),
        (&["secret", "set", "A-B"], "names no secret"),
        // A value there could be read by whoever lists processes.
        (&["secret", "set", "KEY", "hunter2"], "unexpected argument"),
        (&["secret", "set", "KEY"], "standard input has nothing"),
        (&["secret", "set", "KEY", "--from-file", "none"], "none"),
        (&["list", "--node", "localhost:5000"], "write http://HOST:PORT"),
        (&["list", "--token-file", "none"], "there is no such file"),
    ] {
        let ran = run(&scene, &[("CONVEYOR_NODE", &node)], args).code(2);
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
    }
    let clear = run(&scene, &[("CONVEYOR_TOKEN", "t")], &["list", "--node", "http://node.example"]).code(2);
    assert!(clear.stderr.contains("in the clear"), "{}", clear.stderr);
}

#[test]
fn a_context_is_a_name_for_a_node_until_it_is_taken_away() {
    let (scene, node) = (Scene::new(), nobody());
    scene.write("token", "secret\n");
    assert!(run(&scene, &[], &["context", "list"]).code(0).stderr.contains("context add NAME URL"));
    run(&scene, &[], &["context", "add", "here", &node, "--token-file", "token", "-n", "team"]).code(0);
    run(&scene, &[], &["context", "add", "there", "https://node.example:5000"]).code(0);
    let listed = run(&scene, &[], &["context", "list", "--output", "json"]).code(0).stdout;
    let line = |name, url, token_file, namespace: Option<&str>, is_current| {
        json!({ "name": name, "url": url, "token_file": token_file, "ca_cert": null, "namespace": namespace,
            "is_current": is_current })
    };
    let here = line("here", &*node, Some(scene.path("token")), Some("team"), false);
    let there = line("there", "https://node.example:5000", None, None, true);
    let expected = json!({ "contexts": [here, there] });
    assert_eq!(serde_json::from_str::<serde_json::Value>(&listed).expect("JSON"), expected);
    run(&scene, &[], &["context", "use", "here"]).code(0);
    let table = run(&scene, &[], &["context", "list"]).code(0).stdout;
    assert!(table.lines().any(|line| line.starts_with(" *") && line.contains("here")), "{table}");
    let unreachable = run(&scene, &[], &["list"]).code(3);
    assert!(unreachable.stderr.contains("the context `here`"), "{}", unreachable.stderr);
    let other = run(&scene, &[("CONVEYOR_CONTEXT", "none")], &["list"]).code(2);
    assert!(other.stderr.contains("there is no context `none`"), "{}", other.stderr);
    run(&scene, &[], &["context", "use", "none"]).code(2);
    for args in [["bad", "node.example"], ["bad", "http://u:p@a"]] {
        run(&scene, &[], &["context", "add", args[0], args[1]]).code(2);
    }
    run(&scene, &[], &["context", "add", "bad", &node, "--token-file", "missing"]).code(2);
    assert!(run(&scene, &[], &["context", "remove", "here"]).code(0).stderr.contains("context use"));
    run(&scene, &[], &["context", "remove", "here"]).code(2);
    scene.write("config/conveyor/config.toml", "current = 1");
    let broken = run(&scene, &[], &["list"]).code(2);
    assert!(
        broken.stderr.contains("config.toml") && broken.stderr.contains("mend the file"),
        "{}",
        broken.stderr
    );
}
