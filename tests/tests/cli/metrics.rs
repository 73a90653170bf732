//! `run --metrics`: what Prometheus and a supervisor see.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::scene::Scene;

fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let code = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (code, body)
}

/// What it says as the first thing. The rest that it says goes nowhere.
fn metrics_address(child: &mut Child) -> String {
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let address =
        line.trim().strip_prefix("metrics are on http://").and_then(|rest| rest.strip_suffix("/metrics"));
    address.unwrap_or_else(|| panic!("{line}")).to_owned()
}

/// Killed where the test does not get to its end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn meters_and_readiness_are_served_on_the_address_that_was_asked_for() {
    let scene = Scene::with(
        "pipeline: endless\nstages:\n  in: { source: generate, with: { template: \"{{seq}}\", rate: 2000 } }\n  probe: \
         { transform: GUEST(probe-run), from: in, with: { at: \"5\", then: reject } }\n  out: { sink: discard, from: \
         probe }\n",
    );
    let mut command = scene.command(&["run", "pipeline.yaml", "--metrics", "127.0.0.1:0"]);
    let mut child = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts"));
    let address = metrics_address(&mut child.0);

    let start = Instant::now();
    let wanted = "conveyor_stage_records_rejected_total{pipeline=\"endless\",stage=\"probe\"} 1";
    let text = loop {
        let (code, text) = get(&address, "/metrics");
        assert_eq!(code, 200);
        if text.contains(wanted) {
            break text;
        }
        assert!(start.elapsed() < Duration::from_secs(8), "{text}");
        std::thread::sleep(Duration::from_millis(20));
    };
    for name in ["records_in", "records_out", "fuel", "batches", "busy_seconds"] {
        let line = format!("conveyor_stage_{name}_total{{pipeline=\"endless\",stage=\"probe\"}} ");
        assert!(text.contains(&line), "{name}: {text}");
    }
    assert!(
        text.contains("conveyor_stage_batch_seconds{pipeline=\"endless\",stage=\"out\",quantile=\"0.99\"} "),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(get(&address, "/livez").0, 200);
    assert_eq!(get(&address, "/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(get(&address, "/elsewhere").0, 404);

    let stop = Command::new("kill").arg(child.0.id().to_string()).status();
    assert!(stop.expect("kill runs").success());
    assert_eq!(child.0.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_pipeline_that_failed_is_named_while_the_others_go_on() {
    let scene = Scene::with(
        "pipeline: endless\nstages:\n  in: { source: generate, with: { template: \"{{seq}}\", rate: 1000 } }\n  out: { \
         sink: discard, from: in }\n",
    );
    scene.write(
        "bad.yaml",
        "pipeline: bad\nstages:\n  in: { source: generate, with: { template: \"{{seq}}\", rate: 1000 } }\n  probe: { \
         transform: GUEST(probe-run), from: in, with: { at: \"5\", then: fail } }\n  out: { sink: discard, from: probe \
         }\n",
    );
    let mut command = scene.command(&["run", "pipeline.yaml", "bad.yaml", "--metrics", "127.0.0.1:0"]);
    let mut child = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts"));
    let address = metrics_address(&mut child.0);
    let start = Instant::now();
    while get(&address, "/readyz") != (503, "not ready: failed: `bad`\n".to_owned()) {
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", get(&address, "/readyz"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(get(&address, "/livez").0, 200);
    let read = || {
        let metric = "conveyor_stage_records_in_total{pipeline=\"endless\",stage=\"in\"} ";
        let (_, text) = get(&address, "/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(metric)).expect("a count").to_owned();
        line.parse::<u64>().expect("a number")
    };
    let before = read();
    while read() <= before {
        assert!(start.elapsed() < Duration::from_secs(8), "the other one does not go on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let stop = Command::new("kill").arg(child.0.id().to_string()).status();
    assert!(stop.expect("kill runs").success());
    assert_eq!(child.0.wait().expect("it ends").code(), Some(1));
}

#[test]
fn an_address_that_is_taken_ends_it_before_anything_runs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.txt } }\n  out: { sink: file, from: in, with: { \
         path: out.txt } }\n",
    );
    scene.write("in.txt", "a\n");
    let ran = scene.run(&["run", "pipeline.yaml", "--metrics", &address]).code(1);
    ran.says(&[&format!("metrics cannot be served on {address}"), "that nobody uses"]);
    assert!(!scene.path("out.txt").exists());
}
