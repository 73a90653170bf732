//! `conveyor test FILE...`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use super::Output;
use crate::exit::{Code, Failure, Result};
use crate::manifest_tests::{self, Verdict};
use crate::terminal;
use crate::wiring::{self, Resolver};
use crate::words::Words;

/// Runs the tests that manifests hold
///
/// Each test feeds records to stages and looks at what leaves others, through the same loops that `run` uses.
/// Sources are looked at and not read, and nothing is written.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Test {
    /// Manifests
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Put a value into a stage's config
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    set: Vec<String>,
    /// Build stages that are directories
    #[arg(long)]
    build: bool,
    #[command(flatten)]
    policy: super::policy::Policy,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Test {
    pub(super) fn execute(self) -> Result {
        let resolver = Resolver::under(self.policy.read()?.needing_secrets(), self.build)?;
        let mut data = Vec::new();
        let (mut passed, mut failed) = (0, 0);
        for file in &self.files {
            let mut draft = wiring::read(file)?;
            draft.set(&self.set)?;
            if draft.pipeline.tests.is_empty() {
                return Err(Failure::Input(anyhow!(
                    "{} has no tests: add some under `tests:`, each with `name`, `feed` and `expect`",
                    file.display()
                )));
            }
            let resolved = super::block_on(resolver.resolve_keeping_all(draft))??;
            let verdicts = super::block_on(manifest_tests::run(&resolved))??;
            for verdict in &verdicts {
                if verdict.passes() {
                    passed += 1
                } else {
                    failed += 1
                }
                match self.output {
                    Output::Text => terminal::say(text(verdict)),
                    Output::Json => data.push(verdict_json(&file.display().to_string(), verdict)),
                }
            }
        }
        match self.output {
            Output::Text => terminal::say(format!("{passed} passed, {failed} failed")),
            Output::Json => {
                terminal::print_json(&json!({ "passed": passed, "failed": failed, "tests": data }))?;
            }
        }
        if failed == 0 { Ok(()) } else { Err(Failure::Told(Code::Failed)) }
    }
}

fn text(verdict: &Verdict) -> Words {
    let mut words =
        Words::from(format!("{}  {}", if verdict.passes() { "ok  " } else { "FAIL" }, verdict.name));
    for line in verdict.problems.iter().flat_map(Words::lines) {
        words.push(format!("      {line}"));
    }
    words
}

fn verdict_json(file: &str, verdict: &Verdict) -> Value {
    let problems: Vec<String> = verdict.problems.iter().map(Words::to_string).collect();
    json!({ "file": file, "name": verdict.name, "passes": verdict.passes(), "problems": problems })
}
