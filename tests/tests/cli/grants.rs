//! What stages need and are granted, as the command line tells it, and what the machine allows.

use std::os::unix::fs::symlink;

use crate::places;
use crate::scene::Scene;

/// `probe-grants` with these grants, asked what stands in `in.txt`.
fn probe(grants: &str, asked: &str) -> Scene {
    let scene = Scene::with(&format!(
        "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: in.txt }} }}\n  probe:\n    transform: \
         GUEST(probe-grants)\n    from: in\n    grants: {grants}\n  out: {{ sink: stdout, from: probe }}\n"
    ));
    scene.write("in.txt", asked);
    scene
}

/// Grants that `probe-grants` cannot do without, and more.
fn with_http(more: &str) -> String {
    format!("{{ http: [localhost:9], {more} }}")
}

#[test]
fn each_need_that_is_not_granted_is_told_with_the_line_that_grants_it() {
    let manifest = |grants: &str| {
        format!(
            "pipeline: p\nstages:\n  in: {{ source: generate, with: {{ template: x, count: 1 }} }}\n  a: {{ transform: \
             GUEST(probe-bytes), from: in, with: {{ do: all }}{grants} }}\n  b: {{ transform: GUEST(probe-grants), \
             from: a }}\n  out: {{ sink: discard, from: b }}\n"
        )
    };
    let scene = Scene::with(&manifest(""));
    scene.run(&["validate", "pipeline.yaml"]).code(2).says(&[
        "`a` cannot do without `http api.example.com:443`, which is not granted",
        "add `grants: { http: [api.example.com:443] }` to the stage",
        "`b` sends HTTP requests, and no host is granted to it",
        "add `grants: { http: [HOST:443] }` to the stage",
    ]);
    scene.write("pipeline.yaml", manifest(", grants: { http: [api.example.com:80] }"));
    let ran = scene.run_pipeline().code(2);
    ran.says(&["which is not granted", "add `http: [api.example.com:443]` to its `grants`"]);
}

#[test]
fn inspect_prints_the_lines_that_grant_what_a_stage_needs() {
    let scene = Scene::new();
    let cases = [
        ("probe-bytes", "grants:\n  http: [api.example.com:443]\n"),
        ("probe-grants", "grants:\n  http: [HOST:443]\n"),
        ("probe-run", ""),
    ];
    for (name, expected) in cases {
        let stage = places::guest(name).display().to_string();
        let ran = scene.run(&["inspect", &stage, "--grants"]).code(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (expected, ""), "{name}");
    }
    assert_eq!(scene.run(&["inspect", "file", "--grants"]).code(0).stdout, "");
}

#[test]
fn what_is_granted_is_there_and_nothing_of_the_process_is() {
    let grants = with_http("env: { REGION: eu }, dirs: [{ host: data, guest: /lookup }], clock: true");
    let scene = probe(&grants, "env\ndirs\nread /lookup a\nwrite /lookup a x\n");
    scene.write("data/a", "inside");
    let ran = scene.run_pipeline().code(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[..3], [r#"[("REGION", "eu")]"#, "/lookup", "inside"], "{}", ran.stdout);
    assert!(lines[3].starts_with("error: "), "{}", ran.stdout);
    assert_eq!(scene.read("data/a"), "inside");
}

#[test]
fn a_refused_request_is_one_line_of_the_log_with_what_to_add() {
    let ran = probe(&with_http(""), "get http://api.test/\n").run_pipeline().code(0);
    assert!(ran.stdout.contains("HttpRequestDenied"), "{}", ran.stdout);
    ran.says(&["`api.test:80` is not granted; add `grants: { http: [api.test:80] }` to the stage"]);
}

#[test]
fn secrets_come_from_the_environment_or_from_files_and_are_shown_nowhere() {
    const VALUE: &str = "hunter2-is-a-secret";
    let scene = probe(&with_http("secrets: [API_KEY]"), "secret API_KEY\nsecret OTHER\n");
    let missing = scene.run_pipeline().code(2);
    missing.says(&["secret `API_KEY` of `probe` has no value", "CONVEYOR_SECRET_API_KEY"]);
    // What only looks at the manifest does without the value.
    scene.run(&["validate", "pipeline.yaml"]).code(0);

    let set = |args: &[&str]| {
        let mut command = scene.command(args);
        command.env("CONVEYOR_SECRET_API_KEY", VALUE).env("CONVEYOR_SECRET_OTHER", "other");
        crate::scene::Ran::of(command.env("CONVEYOR_LOG", "trace").output().expect("the binary starts"))
    };
    let ran = set(&["run", "pipeline.yaml"]).code(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], VALUE);
    assert!(lines[1].contains("not granted: add `grants: { secrets: [OTHER] }`"), "{}", ran.stdout);
    assert!(!ran.stderr.contains(VALUE), "{}", ran.stderr);
    for args in [&["graph", "pipeline.yaml"][..], &["validate", "pipeline.yaml", "--output", "json"]] {
        let ran = set(args).code(0);
        assert!(!ran.stdout.contains(VALUE) && !ran.stderr.contains(VALUE), "{args:?}");
    }

    let from_dir = |args: &[&str]| scene.run(&[&["run", "pipeline.yaml", "--secrets"], args].concat());
    from_dir(&["nowhere"]).code(2).says(&["`--secrets nowhere`", "no directory"]);
    scene.write("secrets/OTHER", "x");
    from_dir(&["secrets"]).code(2).says(&["has no value", "secrets/API_KEY"]);
    scene.write("secrets/API_KEY", format!("{VALUE}\n"));
    assert_eq!(from_dir(&["secrets"]).code(0).stdout.lines().next(), Some(VALUE));
}

#[test]
fn a_directory_that_is_not_there_is_told_at_its_line() {
    let scene =
        probe(&with_http("dirs: [{ host: nowhere, guest: /in }, { host: in.txt, guest: /file }]"), "dirs\n");
    scene
        .run(&["validate", "pipeline.yaml"])
        .code(2)
        .says(&["`probe` cannot be granted nowhere", "`probe` cannot be granted in.txt: it is no directory"]);
}

#[test]
fn files_and_directories_lie_inside_the_roots_of_the_machine() {
    let scene = probe(&with_http("dirs: [{ host: data, guest: /in }]"), "read /in a\n");
    scene.write("data/a", "inside").write("other/b.txt", "outside");
    let run = |roots: &[&str]| {
        let mut args = vec!["run", "pipeline.yaml"];
        args.extend(roots.iter().flat_map(|root| ["--allow-root", *root]));
        scene.run(&args)
    };
    assert_eq!(run(&["."]).code(0).stdout, "inside\n");
    run(&["data"])
        .code(2)
        .says(&["in.txt: it lies outside of", "`--allow-root`"])
        .says_nothing_of(&["granted data"]);
    run(&["other"])
        .code(2)
        .says(&["in.txt: it lies outside of", "`probe` cannot be granted data: it lies outside of"]);
    run(&["nowhere"]).code(2).says(&["`--allow-root`"]);

    // A link inside that leads outside.
    symlink(scene.path("other"), scene.path("data/link")).expect("a link");
    scene.write(
        "linked.yaml",
        "pipeline: p\nstages:\n  in: { source: file, with: { path: \"data/*/b.txt\" } }\n  out: { sink: file, from: in, \
         with: { path: data/link/new.txt } }\n",
    );
    scene.run(&["run", "linked.yaml"]).code(0);
    std::fs::remove_file(scene.path("other/new.txt")).expect("it was written");
    scene.run(&["run", "linked.yaml", "--allow-root", "data"]).code(2).says(&["it lies outside of"]);
    scene.write(
        "out.yaml",
        "pipeline: p\nstages:\n  in: { source: file, with: { path: data/a, format: lines } }\n  out: { sink: file, \
         from: in, with: { path: data/link/new.txt } }\n",
    );
    scene.run(&["run", "out.yaml", "--allow-root", "data"]).code(2).says(&["it lies outside of"]);
    assert!(!scene.path("other/new.txt").exists());
}

#[test]
fn a_new_version_of_a_stage_is_compared_with_the_old_one() {
    let manifest = |stage: &str, grants: &str| {
        format!(
            "pipeline: p\nstages:\n  in: {{ source: generate, with: {{ template: x, count: 1 }} }}\n  mid:\n    \
             transform: GUEST({stage})\n    from: in\n    grants: {grants}\n  out: {{ sink: discard, from: mid }}\n"
        )
    };
    let scene = Scene::with(&manifest("probe-grants", "{ http: [a.com:443], clock: true }"));
    scene.write("old.yaml", manifest("probe-run", "{ clock: true, env: { A: 1 } }"));
    let ran = scene.run(&["validate", "pipeline.yaml", "--against", "old.yaml"]).code(0);
    let expected = "mid\n  + is granted http a.com:443\n  - is granted env A=1\n  + needs http\n";
    assert_eq!(ran.stdout, expected);
    let ran = scene.run(&["validate", "pipeline.yaml", "--against", "old.yaml", "--output", "json"]).code(0);
    assert_eq!(ran.json()["files"][0]["changes"][0]["needs"]["added"], serde_json::json!(["http"]));
    let same = scene.run(&["validate", "pipeline.yaml", "--against", "pipeline.yaml"]).code(0);
    assert!(same.stdout.starts_with("no stage needs"), "{}", same.stdout);
    scene
        .run(&["validate", "pipeline.yaml", "old.yaml", "--against", "old.yaml"])
        .code(2)
        .says(&["name one FILE"]);
}
