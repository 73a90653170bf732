//! Sources and sinks that meet in one place: refused before anything is written, or allowed where one follows another.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::scene::{Ran, Scene};
use crate::stopping::signal;

fn pipeline(scene: &Scene, name: &str, source: &str, sink: &str) {
    let text = format!(
        "pipeline: {name}\nstages:\n  in: {{ source: file, with: {{ {source}, format: lines }} }}\n  \
         out: {{ sink: file, from: in, with: {{ {sink}, format: lines }} }}\n"
    );
    scene.write(&format!("{name}.yaml"), text);
}

#[test]
fn a_sink_that_writes_what_its_source_reads_is_refused_and_nothing_is_lost() {
    let scene = Scene::new();
    let lines: String = (0..1000).map(|line| format!("line {line}\n")).collect();
    scene.write("data/a.txt", &lines);
    std::fs::hard_link(scene.path("data/a.txt"), scene.path("hard.txt")).expect("a link");
    symlink("data/a.txt", scene.path("soft.txt")).expect("a link");
    symlink("data", scene.path("other")).expect("a link");
    let cases = [
        ("path: data/a.txt", "path: data/a.txt"),
        ("path: data/a.txt", "path: ./data/../data/a.txt"),
        ("path: data/a.txt, follow: true", "path: soft.txt"),
        ("path: hard.txt", "path: other/a.txt"),
        ("path: 'data/*.txt'", "path: data/new.txt"),
        ("path: [hard.txt, 'other/*.txt'], follow: true", "path: data/new.txt, rotate: { size: 1MiB }"),
    ];
    let inode = scene.path("data/a.txt").metadata().expect("a file").ino();
    for (source, sink) in cases {
        pipeline(&scene, "circle", source, sink);
        for verb in ["validate", "run"] {
            scene
                .run(&[verb, "circle.yaml"])
                .code(2)
                .says(&["`out` writes what `in` reads", "write somewhere else"]);
        }
        assert_eq!(scene.read("data/a.txt"), lines, "{source}, {sink}");
        assert_eq!(scene.path("data/a.txt").metadata().expect("a file").ino(), inode);
    }
    scene.write(
        "two.yaml",
        "pipeline: two\nstages:\n  in: { source: file, with: { path: data/a.txt } }\n  \
         one: { sink: file, from: in, with: { path: out.txt } }\n  \
         other: { sink: file, from: in, with: { path: ./out.txt } }\n  \
         nowhere: { sink: file, from: in, with: { path: /dev/null, format: lines } }\n  \
         neither: { sink: file, from: in, with: { path: /dev/null, format: lines } }\n",
    );
    let ran = scene.run(&["run", "two.yaml"]).code(2);
    ran.says(&["`one` and `other` both write to `./out.txt`"]).says_nothing_of(&["neither"]);
}

#[test]
fn pipelines_of_one_run_may_follow_one_another_and_nothing_else() {
    let scene = Scene::new();
    scene.write("a.txt", "one\ntwo\n").write("b.txt", "old\n");
    pipeline(&scene, "first", "path: a.txt", "path: b.txt");
    pipeline(&scene, "again", "path: c.txt, follow: true", "path: b.txt");
    pipeline(&scene, "back", "path: b.txt, follow: true", "path: a.txt");
    pipeline(&scene, "once", "path: b.txt", "path: c.txt");
    pipeline(&scene, "behind", "path: b.txt, follow: true, poll: 10ms", "path: c.txt");
    let cases = [
        ("again", "`out` of `first` and `out` of `again` both write to `b.txt`; give each a file of its own"),
        (
            "back",
            "`out` of `first` writes what `in` of `back` reads, `b.txt`; `out` of `back` writes what `in` of",
        ),
        (
            "once",
            "`in` of `once` reads once what `out` of `first` writes at the same time, `b.txt`; let the source",
        ),
    ];
    for (other, why) in cases {
        scene.run(&["run", "first.yaml", &format!("{other}.yaml")]).code(2).says(&[why]);
        assert_eq!(scene.read("b.txt"), "old\n", "{other}");
    }
    let ran = until(&scene, &["run", "first.yaml", "behind.yaml"], || {
        std::fs::read_to_string(scene.path("c.txt")).is_ok_and(|text| text.ends_with("one\ntwo\n"))
    });
    ran.code(0);
}

/// Runs until something is so, and then until a signal has ended it.
fn until(scene: &Scene, args: &[&str], is_so: impl Fn() -> bool) -> Ran {
    let mut command = scene.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(&child, "INT");
    Ran::of(child.wait_with_output().expect("an end"))
}

#[test]
fn bare_names_are_names_in_this_directory() {
    let scene = Scene::new();
    scene.write("app.log", "one\n");
    pipeline(
        &scene,
        "p",
        "path: app.log, follow: true, poll: 10ms",
        "path: out.txt, delivery: at-least-once",
    );
    let out = |expected: &'static str| {
        let path = scene.path("out.txt");
        move || std::fs::read_to_string(&path).is_ok_and(|text| text == expected)
    };
    let run = |expected| until(&scene, &["run", "p.yaml", "--state", "state"], out(expected)).code(0);
    run("one\n");
    // Rotated while nobody looks: the rest of it lies in the same directory, whatever its name looks like.
    scene.write("app.log", "one\ntwo\n");
    std::fs::rename(scene.path("app.log"), scene.path("app.log.1")).expect("renamed");
    scene.write("app.log", "three\n");
    run("one\ntwo\nthree\n").says_nothing_of(&["is gone"]);
    assert_eq!(scene.read("out.txt"), "one\ntwo\nthree\n");
}

#[test]
fn a_source_does_not_take_what_its_sink_writes_for_a_rotated_file() {
    let scene = Scene::new();
    let lines = |what: &str| -> String { (0..100).map(|line| format!("{what} line {line}\n")).collect() };
    let both = format!("{}{}", lines("old"), lines("new"));
    scene.write("app.log", lines("old"));
    pipeline(&scene, "p", "path: app.log, follow: true, poll: 10ms", "path: app.log.2");
    let child = scene.command(&["run", "p.yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("the binary starts");
    await_text(&scene, "app.log.2", &lines("old"));
    // Written anew: a copy of what was read is looked for, and there is one that is none.
    scene.write("app.log", lines("new"));
    await_text(&scene, "app.log.2", &both);
    signal(&child, "INT");
    Ran::of(child.wait_with_output().expect("an end")).code(0);
    assert_eq!(scene.read("app.log.2"), both);
}

fn await_text(scene: &Scene, name: &str, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::read_to_string(scene.path(name)).unwrap_or_default() != expected {
        assert!(Instant::now() < deadline, "{name} does not come to be {expected:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the first has prepared would be taken for what a crash has left.
#[test]
fn a_second_process_on_one_file_is_refused_while_the_first_writes_it() {
    let scene = Scene::new();
    let manifest = |name: &str, source: &str| {
        let text = format!(
            "pipeline: {name}\ncheckpoint: {{ interval: 20ms }}\nstages:\n  in: {source}\n  \
             out: {{ sink: file, from: in, with: {{ path: out.txt, format: lines }} }}\n"
        );
        scene.write(&format!("{name}.yaml"), text);
    };
    manifest("first", "{ source: stdin, with: { format: lines } }");
    manifest("second", "{ source: file, with: { path: in.txt } }");
    scene.write("in.txt", "of the second\n");
    let mut lines = String::new();
    // Killed, it leaves its lock behind, which is in nobody's way.
    for (round, is_killed) in [(0, true), (1, false)] {
        let mut command = scene.command(&["run", "first.yaml", "--state", "state"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        for part in 0..2 {
            let line = format!("line {round} {part}\n");
            stdin.write_all(line.as_bytes()).expect("written");
            lines.push_str(&line);
            await_text(&scene, "out.txt", &lines);
            for more in [&[][..], &["--state", "other"]] {
                let ran = scene.run(&[&["run", "second.yaml"], more].concat()).code(2);
                ran.says(&["is written to by another run", ".out.txt.lock", "let that one end first"]);
            }
        }
        if is_killed {
            child.kill().expect("killed");
            child.wait().expect("an end");
            assert!(scene.path(".out.txt.lock").exists(), "it is held by nobody, and there");
        } else {
            drop(stdin);
            Ran::of(child.wait_with_output().expect("an end")).code(0);
        }
    }
    assert_eq!(scene.read("out.txt"), lines);
    assert!(!scene.path(".out.txt.lock").exists(), "it is left behind");
    scene.run(&["run", "second.yaml"]).code(0);
    assert_eq!(scene.read("out.txt"), "of the second\n");
}
