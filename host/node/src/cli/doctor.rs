//! `conveyor doctor`.

use std::path::Path;
use std::process::Command;

use clap::Args;
use engine::{Engine, EngineOptions};
use serde::Serialize;
use serde_json::json;

use super::Output;
use crate::exit::{Code, Failure, Result};
use crate::words::Words;
use crate::{build, places, terminal};

/// Shows what is installed, what is missing, and what to type
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    /// What it is needed for.
    purpose: &'static str,
    fine: bool,
    /// The version, the place, or what is wrong.
    found: String,
    /// What to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Doctor {
    pub(super) fn execute(self) -> Result {
        let findings = [engine(), cache(), cargo(), wasm()];
        match self.output {
            Output::Json => terminal::print_json(&json!({ "findings": findings }))?,
            Output::Text => terminal::print(text(&findings))?,
        }
        if findings.iter().all(|finding| finding.fine) { Ok(()) } else { Err(Failure::Told(Code::Failed)) }
    }
}

fn text(findings: &[Finding]) -> Words {
    let mut words = Words::default();
    for Finding { what, purpose, fine, found, next } in findings {
        let verdict = if *fine { "ok     " } else { "missing" };
        words.push(format!("{verdict}  {what} ({purpose}): {found}"));
        if let Some(next) = next {
            words.push(format!("         {next}"));
        }
    }
    words
}

fn engine() -> Finding {
    let (what, purpose) = ("engine", "runs stages");
    match Engine::new(EngineOptions::default()) {
        Ok(_) => Finding { what, purpose, fine: true, found: "starts".to_owned(), next: None },
        Err(error) => {
            let next =
                Some("lift the limit on address space, for example with `ulimit -v unlimited`".to_owned());
            Finding { what, purpose, fine: false, found: error.to_string(), next }
        }
    }
}

fn cache() -> Finding {
    let (what, purpose) = ("cache", "keeps compiled stages");
    let Some(dir) = places::cache() else {
        let next = Some("set HOME or XDG_CACHE_HOME; without it stages are compiled in every run".to_owned());
        return Finding { what, purpose, fine: false, found: "nobody says where it is".to_owned(), next };
    };
    match writable(&dir) {
        Ok(()) => Finding { what, purpose, fine: true, found: dir.display().to_string(), next: None },
        Err(error) => {
            let found = format!("{} cannot be written to: {error}", dir.display());
            let next = Some("make it writable, or set XDG_CACHE_HOME to a directory that is".to_owned());
            Finding { what, purpose, fine: false, found, next }
        }
    }
}

fn writable(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let probe = dir.join(format!("doctor.{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(probe)
}

fn cargo() -> Finding {
    let (what, purpose) = ("cargo", "builds stages in Rust");
    let output = Command::new("cargo").arg("--version").output();
    match output {
        Ok(output) if output.status.success() => {
            let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            Finding { what, purpose, fine: true, found, next: None }
        }
        Ok(output) => {
            let found = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Finding {
                what,
                purpose,
                fine: false,
                found,
                next: Some("install Rust: https://rustup.rs".to_owned()),
            }
        }
        Err(error) => {
            let next = Some("install Rust: https://rustup.rs".to_owned());
            Finding { what, purpose, fine: false, found: error.to_string(), next }
        }
    }
}

fn wasm() -> Finding {
    let (what, purpose) = ("Rust for WebAssembly", "builds stages in Rust");
    match build::find(Path::new(".")) {
        Ok(toolchain) => Finding { what, purpose, fine: true, found: toolchain.to_string(), next: None },
        Err(error) => {
            let next = Some(format!("install {}", build::INSTALL));
            Finding { what, purpose, fine: false, found: format!("{error:#}"), next }
        }
    }
}
