//! What has come is delivered, and does not wait for what comes next.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::scene::{Ran, Scene};

/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes the first records, and the next one when it has come out.
fn one_by_one(
    scene: &Scene,
    open: impl FnOnce(Option<std::process::ChildStdin>) -> Box<dyn Write>,
    steps: &[(&str, &str)],
) {
    let mut command = scene.command(&["run", "pipeline.yaml"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let (sender, lines) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let reader = std::thread::spawn(move || {
        out.lines().map_while(Result::ok).for_each(|line| sender.send(line).unwrap_or_default());
    });
    let mut input = open(child.stdin.take());
    for (record, expected) in steps {
        input.write_all(record.as_bytes()).expect("written");
        input.flush().expect("written");
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{record:?}: {error}"));
        assert_eq!(line, *expected);
    }
    drop(input);
    Ran::of(child.wait_with_output().expect("it ends")).code(0);
    reader.join().expect("no panic");
}

fn manifest(source: &str) -> String {
    format!(
        "pipeline: p\nstages:\n  in: {{ {source} }}\n  out: {{ sink: stdout, from: in, with: {{ format: jsonl }} }}\n"
    )
}

#[test]
fn the_first_record_of_standard_input_waits_for_no_second_one() {
    let ones = [r#"{"a":1}"#, r#"{"a":2}"#];
    let cases: [(&str, [&str; 2], [&str; 2]); 5] = [
        ("jsonl", ["\n{\"a\":1}\n", "{\"a\":2}\n"], ones),
        ("csv", ["a\n1\n", "2\n"], ones),
        ("csv, header: false, columns: [a]", ["1\n", "2\n"], ones),
        ("csv, skip-lines: 2, comment: \"#\"", ["by\n\n# hand\n\"a\"\n1\n", "2\n"], ones),
        ("zeek", ["#separator \\x09\n#fields\ta\n#types\tint\n1\n", "2\n"], ones),
    ];
    for (format, records, expected) in cases {
        let scene = Scene::with(&manifest(&format!("source: stdin, with: {{ format: {format} }}")));
        let steps = [(records[0], expected[0]), (records[1], expected[1])];
        one_by_one(&scene, |stdin| Box::new(stdin.expect("a pipe")), &steps);
    }
}

#[test]
fn a_fifo_gives_what_was_written_into_it() {
    // By itself it is looked at whether it is packed.
    for packing in ["", ", compression: none"] {
        let scene = Scene::with(&manifest(&format!(
            "source: file, schema: {{ a: int }}, with: {{ path: in.jsonl{packing} }}"
        )));
        let made = Command::new("mkfifo").arg(scene.path("in.jsonl")).status();
        assert!(made.is_ok_and(|status| status.success()));
        let open = |_| -> Box<dyn Write> {
            Box::new(OpenOptions::new().write(true).open(scene.path("in.jsonl")).expect("a pipe"))
        };
        one_by_one(&scene, open, &[("{}\n", r#"{"a":null}"#), ("{\"a\":2}\n", r#"{"a":2}"#)]);
    }
}
