//! A server that answers 500 for a while: the pipeline waits for it, is killed, waits again, and delivers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::flights::same;
use crate::http::{Receiver, wait_until};
use crate::scene::{Ran, Scene};

const LINES: usize = 2_000;

#[test]
fn what_a_server_did_not_take_for_a_while_comes_to_it_and_to_the_others_once() {
    let receiver = Receiver::start(500);
    let scene = Scene::with(&format!(
        "pipeline: sent\ncheckpoint: {{ interval: 10ms }}\nstages:\n  in: {{ source: file, with: {{ path: in.txt }}, \
         batch: {{ records: 64 }} }}\n  out: {{ sink: http, from: in, with: {{ url: 'http://127.0.0.1:{}/', format: \
         record }}, retry: {{ attempts: 1000, backoff: 5ms..20ms }} }}\n  one: {{ sink: file, from: in, with: {{ \
         path: one.txt }} }}\n",
        receiver.port
    ));
    let lines: Vec<String> = (0..LINES).map(|n| format!("record {n:04}")).collect();
    scene.write("in.txt", lines.join("\n") + "\n");
    let start = || {
        let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state"]);
        command.stderr(std::process::Stdio::piped()).spawn().expect("the binary starts")
    };
    let asked = |more: usize| {
        let before = receiver.asked.load(Ordering::Relaxed);
        wait_until("another try", || receiver.asked.load(Ordering::Relaxed) >= before + more);
    };
    // Killed while it waits, and once more when some of it has come through.
    for status in [500, 200] {
        let mut child = start();
        asked(5);
        receiver.status.store(status, Ordering::Relaxed);
        asked(150 * usize::from(status == 200));
        receiver.status.store(500, Ordering::Relaxed);
        asked(3);
        child.kill().expect("killed");
        let ran = Ran::of(child.wait_with_output().expect("an end"));
        assert_eq!(ran.code, None, "it was done before: {}", ran.stderr);
    }
    assert!(!receiver.taken().is_empty() && receiver.taken().len() < LINES);
    let child = start();
    asked(5);
    receiver.status.store(200, Ordering::Relaxed);
    let ran = Ran::of(child.wait_with_output().expect("an end")).code(0).says(&["goes on from checkpoint"]);
    same(scene.read("one.txt").lines().map(str::to_owned).collect(), &lines, "one.txt");
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, body) in receiver.named.lock().expect("no panic").iter() {
        ids.entry(body.clone()).or_default().insert(id.clone());
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "a record has two ids: {}", ran.stderr);
    same(ids.into_keys().collect(), &lines, "what the server took, without repeats");
    assert!(!scene.path("sent.dead-letters").exists(), "no record is to blame");
}
