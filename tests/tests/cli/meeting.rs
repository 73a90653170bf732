//! Sources and sinks that meet in one place: refused before anything is written, or allowed where one follows another.

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
