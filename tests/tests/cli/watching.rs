//! A run that is watched through `--metrics` while it goes on.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use crate::scene::{Ran, Scene};

/// Long enough for a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Killed where the test does not get to its end.
pub struct Watched {
    child: Child,
    stderr: BufReader<ChildStderr>,
    pub address: String,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the endpoint said at one moment.
pub struct Sample {
    pub at: Instant,
    pub text: String,
}

impl Watched {
    /// `conveyor run ARGS`, with its stdin open and its meters served.
    pub fn start(scene: &Scene, args: &[&str]) -> Self {
        let mut command = scene.command(&[&["run"], args, &["--metrics", "127.0.0.1:0"]].concat());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the binary starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("metrics are on http://");
        let address = address.and_then(|rest| rest.strip_suffix("/metrics"));
        let address = address.map(str::to_owned);
        let mut watched = Self { child, stderr, address: String::new() };
        match address {
            Some(address) => watched.address = address,
            None => panic!("{line}{:?}", watched.wait()),
        }
        watched
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.child.stdin.as_mut().expect("it is open").write_all(bytes).expect("written");
    }

    pub fn sample(&self) -> Sample {
        let (code, text) = get(&self.address, "/metrics");
        assert_eq!(code, 200);
        Sample { at: Instant::now(), text }
    }

    /// The first sample for which `holds`.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&Sample) -> bool) -> Sample {
        let start = Instant::now();
        loop {
            let sample = self.sample();
            if holds(&sample) {
                return sample;
            }
            assert!(start.elapsed() < PATIENCE, "{what}:\n{}", sample.text);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn terminate(&self) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Closes its stdin and waits until it ends.
    pub fn wait(mut self) -> Ran {
        drop(self.child.stdin.take());
        let (mut stdout, mut stderr) = (String::new(), String::new());
        // One after the other: what these runs print fits into a pipe.
        self.stderr.read_to_string(&mut stderr).expect("text");
        self.child.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("text");
        let code = self.child.wait().expect("it ends").code();
        Ran { code, stdout, stderr }
    }
}

impl Sample {
    /// A counter of a stage, 0 where it is not there yet: `records_in`, `fuel`.
    pub fn count(&self, pipeline: &str, stage: &str, name: &str) -> u64 {
        let labels = format!("pipeline=\"{pipeline}\",stage=\"{stage}\"");
        self.value(&format!("conveyor_stage_{name}_total{{{labels}}} "))
    }

    /// How often a stage ran into a limit.
    pub fn hits(&self, pipeline: &str, stage: &str, limit: &str) -> u64 {
        let labels = format!("pipeline=\"{pipeline}\",stage=\"{stage}\",limit=\"{limit}\"");
        self.value(&format!("conveyor_stage_limit_hits_total{{{labels}}} "))
    }

    fn value(&self, start: &str) -> u64 {
        let value = self.text.lines().find_map(|line| line.strip_prefix(start));
        value.map_or(0, |value| value.parse().unwrap_or_else(|_| panic!("{start}{value}")))
    }
}

/// The status and the body of an answer.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let (code, _, body) = get_as(address, path, "");
    (code, body)
}

/// The same with its head, of a request with these headers besides.
pub fn get_as(address: &str, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let code = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (code, head.to_lowercase(), body.to_owned())
}
