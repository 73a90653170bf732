//! Sources that are components: what they are told while they wait, and when they wait for too long.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::scene::{Ran, Scene};
use crate::stopping::signal;

/// Longer than it takes until a source is asked again which splits there are.
const PATIENCE: Duration = Duration::from_secs(20);

fn scene(settings: &str) -> Scene {
    let scene = Scene::with(&format!(
        "pipeline: p\ncheckpoint: {{ interval: 50ms }}\nstages:\n  in:\n    source: GUEST(probe-queue)\n    grants: {{ \
         dirs: [{{ host: held, guest: /held, mode: rw }}] }}\n{settings}  out: {{ sink: file, from: in, with: {{ path: \
         out.txt }} }}\n"
    ));
    std::fs::create_dir(scene.path("held")).expect("a directory");
    scene.write("held/queue", "one\ntwo\n");
    scene
}

/// Waits until the source was told that it may forget so many bytes of a file.
fn wait_for_release(scene: &Scene, file: &str, bytes: &str) {
    let start = Instant::now();
    let path = scene.path(&format!("held/released-{file}"));
    let released = || std::fs::read_to_string(&path).unwrap_or_default();
    while released() != bytes {
        assert!(start.elapsed() < PATIENCE, "it was told of {:?}, not of {bytes}", released());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_source_that_waits_is_told_what_it_may_forget_and_a_stop_lets_it_end() {
    // Nearly all the time it is in the middle of a pull.
    let scene = scene("    batch: { delay: 300ms }\n");
    let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    wait_for_release(&scene, "queue", "8");
    scene.write("held/queue", "one\ntwo\nthree\n");
    wait_for_release(&scene, "queue", "14");
    assert_eq!(scene.read("out.txt"), "one\ntwo\nthree\n");
    signal(&child, "TERM");
    let ran = Ran::of(child.wait_with_output().expect("it ends")).code(0);
    ran.says(&["pipeline p: stopped"]);
    // The next run has nothing to do, and goes on.
    scene.write("held/queue", "one\ntwo\nthree\nfour\n");
    let child = scene.command(&["run", "pipeline.yaml", "--state", "state"]).spawn().expect("it starts");
    wait_for_release(&scene, "queue", "19");
    signal(&child, "TERM");
    Ran::of(child.wait_with_output().expect("it ends")).code(0);
    assert_eq!(scene.read("out.txt"), "one\ntwo\nthree\nfour\n");
}

#[test]
fn a_pull_that_is_not_back_in_time_is_ended() {
    let scene = scene(
        "    with: { wait-ms: 3600000 }\n    limits: { host-call-time: 100ms }\n    retry: { attempts: 2, backoff: \
         1ms..5ms }\n",
    );
    let start = Instant::now();
    let ran = scene.run(&["run", "pipeline.yaml", "--state", "state"]).code(1);
    ran.says(&[
        "its `pull` was to be back within 5 ms, and waited in the host for more than 10",
        "host-call-time",
    ]);
    assert!(start.elapsed() < PATIENCE, "it took {:?}", start.elapsed());
}

#[test]
fn splits_that_come_while_the_source_runs_are_read_and_gone_on_with() {
    // At the first try it does not take the second one.
    let scene = scene("    with: { shy: true }\n");
    let run = || scene.command(&["run", "pipeline.yaml", "--state", "state"]).spawn().expect("it starts");
    let child = run();
    wait_for_release(&scene, "queue", "8");
    scene.write("held/queue-2", "three\n");
    wait_for_release(&scene, "queue-2", "6");
    scene.write("held/queue-3", "four\n");
    wait_for_release(&scene, "queue-3", "5");
    signal(&child, "TERM");
    Ran::of(child.wait_with_output().expect("it ends")).code(0);
    scene.write("held/queue-2", "three\nfive\n");
    let child = run();
    wait_for_release(&scene, "queue-2", "11");
    signal(&child, "TERM");
    Ran::of(child.wait_with_output().expect("it ends")).code(0);
    assert_eq!(scene.read("out.txt"), "one\ntwo\nthree\nfour\nfive\n");
}
