//! A directory with a manifest and what it names, and the binary run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::places;

/// A directory that goes when the test ends.
pub struct Scene {
    dir: tempfile::TempDir,
}

/// What a run of the binary left.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Scene {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    /// With this manifest; `GUEST(name)` in it becomes the path of a stage.
    pub fn with(manifest: &str) -> Self {
        let scene = Self::new();
        scene.write("pipeline.yaml", manifest);
        scene
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let content = content.as_ref();
        match std::str::from_utf8(content) {
            Ok(text) if name.ends_with(".yaml") => std::fs::write(path, guests(text)),
            _ => std::fs::write(path, content),
        }
        .expect("written");
        self
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The dead letters of a store that are open, one value each.
    pub fn letters(&self, dir: &str) -> Vec<Value> {
        let lines = self.run(&["dlq", "export", dir]).code(0).stdout;
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The binary, to be run here with a plain environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(places::conveyor());
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_remove("CONVEYOR_LOG").env_remove("CARGO_TARGET_DIR").env_remove("CARGO_MANIFEST_DIR");
        // Whoever runs the tests has passwords of their own.
        command.env("DOCKER_CONFIG", self.path("docker"));
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().expect("the binary starts"))
    }

    /// `conveyor run pipeline.yaml`.
    pub fn run_pipeline(&self) -> Ran {
        self.run(&["run", "pipeline.yaml"])
    }
}

fn guests(manifest: &str) -> String {
    let mut parts = manifest.split("GUEST(");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(')').expect("a closing bracket");
        out.push_str(&places::guest(name).display().to_string());
        out.push_str(rest);
    }
    out
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, Some(expected), "--- stdout:\n{}--- stderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Each of these is said on stderr.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        // Diagnostics are broken into lines to fit: what is said counts, not where a line ends.
        let said = plain(&self.stderr);
        for text in texts {
            assert!(said.contains(&plain(text)), "it does not say `{text}`:\n{}", self.stderr);
        }
        self
    }

    /// Each of these is printed on stdout.
    #[track_caller]
    pub fn prints(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stdout.contains(text), "it does not print `{text}`:\n{}", self.stdout);
        }
        self
    }

    #[track_caller]
    pub fn says_nothing_of(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(!plain(&self.stderr).contains(&plain(text)), "it says `{text}`:\n{}", self.stderr);
        }
        self
    }

    /// What it printed as data.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// Without white space and the frames around diagnostics, which break lines anywhere.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '│').collect()
}

/// Whether a file is there and has something in it.
pub fn has_bytes(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() > 0)
}
