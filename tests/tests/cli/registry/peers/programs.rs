//! The programs, each run in a scene with settings of its own, and a transcript of what they print.

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::scene::{Ran, Scene};
use crate::watching::PATIENCE;

/// Names the directory that has them, as `cargo xtask` fills it.
const DIRECTORY: &str = "CONVEYOR_PEERS";
/// Has those run too that take long to build.
pub const ALL: &str = "CONVEYOR_PEERS_ALL";

/// Of a digest that oras shows.
const SHORT_DIGITS: usize = 12;

/// A program that somebody else wrote.
pub fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os(DIRECTORY).map(PathBuf::from);
    let program = directory.map(|directory| directory.join(name)).filter(|program| program.is_file());
    program.unwrap_or_else(|| {
        panic!("{DIRECTORY} names no directory with {name}: run `cargo xtask peers`, which fills it and runs this test")
    })
}

/// What others are run with: a scene, the words that stand for what differs from run to run, and what they printed.
pub struct Shell<'s> {
    scene: &'s Scene,
    /// What is written instead of what.
    words: Vec<(String, &'static str)>,
    variables: Vec<(&'static str, &'static str)>,
    pub transcript: String,
}

impl<'s> Shell<'s> {
    pub fn new(scene: &'s Scene) -> Self {
        let words = vec![(scene.path("").display().to_string(), "DIR/")];
        Self { scene, words, variables: Vec::new(), transcript: String::new() }
    }

    /// Has the transcript name something by a word.
    pub fn name(&mut self, what: impl Into<String>, word: &'static str) {
        self.words.push((what.into(), word));
    }

    /// Gives all programs these variables.
    pub fn set(&mut self, variables: &[(&'static str, &'static str)]) {
        self.variables.extend(variables);
    }

    /// Runs a program with words that are split at spaces. What one of others prints is noted, its lines sorted: many things
    /// are done at the same time.
    pub fn run(&mut self, line: &str) -> Ran {
        let ran = self.quietly(line);
        if line.starts_with("conveyor ") {
            return ran;
        }
        let mut lines: Vec<String> = [&ran.stdout, &ran.stderr]
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| self.plain(line))
            .collect();
        lines.retain(|line| !line.is_empty());
        lines.sort();
        let code = match ran.code {
            Some(0) => String::new(),
            code => format!("exit code {}\n", code.unwrap_or(-1)),
        };
        let text = lines.iter().fold(String::new(), |text, line| text + line + "\n");
        let _ = write!(self.transcript, "$ {}\n{text}{code}", self.plain(line));
        ran
    }

    /// Runs it, and does not note it.
    pub fn quietly(&self, line: &str) -> Ran {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a program");
        let home = self.scene.path("home");
        std::fs::create_dir_all(&home).expect("a directory");
        let mut command = match name {
            "conveyor" => self.scene.command(&[]),
            name => Command::new(program(name)),
        };
        command
            .args(words)
            .current_dir(self.scene.path(""))
            .stdin(Stdio::null())
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_RUNTIME_DIR", &home)
            .env("DOCKER_CONFIG", home.join("docker"))
            .env("REGISTRY_AUTH_FILE", home.join("docker/config.json"))
            .env("SSL_CERT_FILE", self.scene.path("ca.pem"))
            .env("NO_COLOR", "1")
            .envs(self.variables.iter().copied());
        Ran::of(command.output().expect("it starts"))
    }

    /// A line with words for what differs from run to run: digests that have no word of their own, whole or by their first
    /// digits, and times.
    fn plain(&self, line: &str) -> String {
        let line = self.words.iter().fold(line.to_owned(), |line, (what, word)| line.replace(what, word));
        let is_digest = |word: &str| {
            let digits = word.strip_prefix("sha256:").unwrap_or(word);
            [SHORT_DIGITS, 64].contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        // Such as 2026/11/30 19:00:09, or 2026-11-30T19:00:09Z.
        let is_time = |word: &str| {
            let word = word.trim_matches('"');
            word.len() >= 8
                && word.contains(['/', ':'])
                && word.bytes().all(|byte| byte.is_ascii_digit() || b"/:-TZ".contains(&byte))
        };
        let words = line.split(' ').filter(|word| !is_time(word)).map(|word| match word.rsplit_once('@') {
            Some((before, digest)) if is_digest(digest) => format!("{before}@DIGEST"),
            _ if is_digest(word) => "DIGEST".to_owned(),
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }
}

/// Debian's registry, in the clear. It ends with this value.
pub struct DockerRegistry {
    child: Child,
    pub address: String,
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl DockerRegistry {
    pub fn start(scene: &Scene) -> Self {
        // It does not say which port it was given.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port").to_string();
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: data }}, delete: {{ enabled: true }} \
             }}\nhttp: {{ addr: '{address}', secret: tests }}\n"
        );
        scene.write("docker-registry.yml", config);
        let child = Command::new(program("docker-registry"))
            .args(["serve", "docker-registry.yml"])
            .current_dir(scene.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut registry = Self { child: child.expect("it starts"), address };
        let begun = Instant::now();
        while TcpStream::connect(&registry.address).is_err() {
            assert!(registry.child.try_wait().expect("a child").is_none(), "it has ended");
            assert!(begun.elapsed() < PATIENCE, "it does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        registry
    }
}

/// A file of PEM with what a file of the tests has.
pub fn pem(scene: &Scene, name: &str, label: &str, to: &str) {
    use base64::Engine as _;
    let der = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls").join(name);
    let digits = base64::engine::general_purpose::STANDARD.encode(std::fs::read(der).expect("a file"));
    scene.write(to, format!("-----BEGIN {label}-----\n{digits}\n-----END {label}-----\n"));
}
