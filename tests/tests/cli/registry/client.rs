//! A registry that runs, and the few requests that the tests make of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use model::ids::Digest;
use serde_json::{Value, json};

use crate::scene::{Ran, Scene};
use crate::watching::PATIENCE;

/// Killed where the test does not get to its end.
pub struct Served {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// On stderr, so far.
    said: String,
    pub address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A component, and what is claimed of it.
pub struct Stage {
    pub wasm: Vec<u8>,
    pub annotations: Value,
}

/// What was answered.
#[derive(Debug)]
pub struct Given {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Given {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl Served {
    /// `conveyor registry serve --data data ARGS`, on a port that the system chooses. `fault`: where it dies.
    pub fn start(scene: &Scene, args: &[&str], fault: Option<&str>) -> Self {
        let mut command = scene.command(&["registry", "serve", "--data", "data", "--listen", "127.0.0.1:0"]);
        command.args(args).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(fault) = fault {
            command.env(disk::fault::VARIABLE, fault);
        }
        let mut child = command.spawn().expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut served = Self { child, stderr, said: String::new(), address: String::new() };
        // Warnings come before it.
        while served.address.is_empty() {
            let from = served.said.len();
            let read = served.stderr.read_line(&mut served.said).expect("a line");
            assert!(read > 0, "it says {}", served.said);
            let rest = served.said[from..].split_once("://").and_then(|(_, rest)| rest.split_once("/v2/"));
            served.address = rest.map(|(address, _)| address.to_owned()).unwrap_or_default();
        }
        served
    }

    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("it ends");
    }

    /// Waits for it to end by itself, which it is about to.
    pub fn dies(mut self) {
        let begun = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(begun.elapsed() < PATIENCE, "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn stop(mut self) -> Ran {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
        let mut stderr = std::mem::take(&mut self.said);
        self.stderr.read_to_string(&mut stderr).expect("text");
        let code = self.child.wait().expect("it ends").code();
        Ran { code, stdout: String::new(), stderr }
    }

    /// One request on a connection of its own. None where the registry went away before it had answered.
    pub fn ask(&self, line: &str, headers: &str, body: &[u8]) -> Option<Given> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            self.address,
            body.len()
        );
        // It may answer before it has read all, and close.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let end = all.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some(Given { status, head, body: all[end + 4..].to_vec() })
    }

    pub fn push_blob(&self, name: &str, content: &[u8]) -> Option<u16> {
        let line = format!("POST /v2/{name}/blobs/uploads/?digest={}", Digest::of(content));
        self.ask(&line, "", content).map(|given| given.status)
    }

    /// Pushes an image of one layer. Its digest, where all of it was acknowledged.
    pub fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> Option<Digest> {
        for content in [b"{}", layer] {
            self.push_blob(name, content).filter(|status| *status == 201)?;
        }
        let manifest = image(layer);
        let line = format!("PUT /v2/{name}/manifests/{tag}");
        let type_ = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        let given = self.ask(&line, type_, manifest.as_bytes())?;
        assert_eq!(given.status, 201, "{given:?}");
        Some(Digest::of(manifest.as_bytes()))
    }

    /// Pushes a stage as simple tools do: a config that says nothing, and the component.
    pub fn push_stage(&self, name: &str, tag: &str, stage: &Stage) -> Option<Digest> {
        for content in [b"{}", &stage.wasm[..]] {
            self.push_blob(name, content).filter(|status| *status == 201)?;
        }
        let named = |media_type: &str, content: &[u8]| -> Value {
            json!({ "mediaType": media_type, "digest": Digest::of(content), "size": content.len() })
        };
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": named("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [named("application/wasm", &stage.wasm)],
            "annotations": stage.annotations,
        });
        let manifest = manifest.to_string();
        let line = format!("PUT /v2/{name}/manifests/{tag}");
        let given = self.ask(&line, &format!("Content-Type: {media_type}\r\n"), manifest.as_bytes())?;
        assert_eq!(given.status, 201, "{given:?}");
        Some(Digest::of(manifest.as_bytes()))
    }

    /// That an image is there, with all that it names, and what it is.
    #[track_caller]
    pub fn has_image(&self, name: &str, reference: &str, layer: &[u8]) {
        let given = self.ask(&format!("GET /v2/{name}/manifests/{reference}"), "", b"").expect("an answer");
        assert_eq!((given.status, given.body), (200, image(layer).into_bytes()), "{name}:{reference}");
        let given =
            self.ask(&format!("GET /v2/{name}/blobs/{}", Digest::of(layer)), "", b"").expect("an answer");
        assert_eq!(given.status, 200);
        assert!(given.body == layer, "{name}:{reference} has another layer");
    }
}

fn image(layer: &[u8]) -> String {
    let named = |content: &[u8]| -> Value {
        json!({ "mediaType": "application/x", "digest": Digest::of(content), "size": content.len() })
    };
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    json!({ "schemaVersion": 2, "mediaType": media_type, "config": named(b"{}"), "layers": [named(layer)] })
        .to_string()
}
