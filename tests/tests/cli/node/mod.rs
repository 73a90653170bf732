//! A node that stays (`conveyor up`), and pipelines that come and go on it.

mod deploys;
mod kills;
mod refusals;
mod survival;

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::scene::{Ran, Scene};
use crate::watching::PATIENCE;

/// Killed where the test does not get to its end.
struct Up {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// On stderr, so far.
    said: String,
    address: String,
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Up {
    /// `conveyor up`, over the directory `data` of the scene, on a port that the system chooses.
    fn start(scene: &Scene) -> Self {
        Self::start_by(verb(scene, &["up", "--data", "data", "--listen", "127.0.0.1:0", "--threads", "2"]))
    }

    /// The same as a server has it.
    fn start_server(scene: &Scene) -> Self {
        Self::start_by(verb(scene, &["node", "start", "--data", "data", "--listen", "127.0.0.1:0"]))
    }

    fn start_by(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut up = Self { child, stderr, said: String::new(), address: String::new() };
        while up.address.is_empty() {
            let from = up.said.len();
            let read = up.stderr.read_line(&mut up.said).expect("a line");
            assert!(read > 0, "it says {}", up.said);
            let rest =
                up.said[from..].split_once("http://").and_then(|(_, rest)| rest.split_once(" has the API"));
            up.address = rest.map(|(address, _)| address.to_owned()).unwrap_or_default();
        }
        up
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, and all that it says until it has ended.
    fn stop(mut self) -> Ran {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
        let mut stderr = std::mem::take(&mut self.said);
        self.stderr.read_to_string(&mut stderr).expect("text");
        let code = self.child.wait().expect("it ends").code();
        Ran { code, stdout: String::new(), stderr }
    }

    /// The status code and the body of one request.
    fn ask(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        ask(&self.address, line, headers, body).expect("it answers")
    }
}

/// The status code and the body of one request; none where nobody answers.
fn ask(address: &str, line: &str, headers: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let head =
        format!("{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    let mut all = String::new();
    let _ = stream.read_to_string(&mut all);
    let (head, body) = all.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// A verb of whoever started the node in this scene.
fn verb(scene: &Scene, args: &[&str]) -> Command {
    let mut command = scene.command(args);
    command.env("XDG_STATE_HOME", scene.path("home")).env("XDG_CONFIG_HOME", scene.path("config"));
    command
}

fn run(scene: &Scene, args: &[&str]) -> Ran {
    Ran::of(verb(scene, args).output().expect("the binary starts"))
}

/// The status of a pipeline, as data.
#[track_caller]
fn status(scene: &Scene, name: &str) -> Value {
    run(scene, &["status", name, "--output", "json"]).code(0).json()
}

/// Waits until something is so of a pipeline.
#[track_caller]
fn until(scene: &Scene, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let status = status(scene, name);
        if is_so(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a file has so many lines, and gives them.
#[track_caller]
fn lines(scene: &Scene, file: &str, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(scene.path(file)).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            return text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        }
        assert!(begun.elapsed() < PATIENCE, "it has {} of {count} lines", text.lines().count());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Adds rows to a file that is followed.
fn append(scene: &Scene, file: &str, ids: std::ops::Range<u32>) {
    append_to(&scene.path(file), ids);
}

fn append_to(path: &Path, ids: std::ops::Range<u32>) {
    let rows: String = ids.map(|id| format!("{id}\n")).collect();
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.expect("a file").write_all(rows.as_bytes()).expect("written");
}

/// Follows `in.csv`, and writes each row with `rev` into `out.jsonl`.
fn manifest(rev: &str) -> String {
    format!(
        "pipeline: orders\nstages:\n  in: {{ source: file, schema: {{ id: int }}, with: {{ path: in.csv, follow: true, poll: \
         10ms }} }}\n  rev: {{ transform: GUEST(project), from: in, with: {{ set: {{ rev: \"{rev}\" }} }} }}\n  out: {{ sink: \
         file, from: rev, with: {{ path: out.jsonl }} }}\ncheckpoint: {{ interval: 50ms }}\n"
    )
}

/// The ids of records in the order in which they are, which has to be that of the source.
#[track_caller]
fn in_order(records: &[Value], count: u32) {
    let ids: Vec<u64> = records.iter().filter_map(|record| record["id"].as_u64()).collect();
    assert_eq!(ids, (0..u64::from(count)).collect::<Vec<_>>(), "each record once, in order");
}
