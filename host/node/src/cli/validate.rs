//! `conveyor validate FILE...`.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::Output;
use crate::exit::{Failure, Result};
use crate::report::reach::{self, Reach};
use crate::terminal;
use crate::wiring::{self, ResolvedPipeline, Resolver};

/// Checks manifests, with everything that their stages say, without running them
#[derive(Debug, Args)]
pub(super) struct Validate {
    /// Manifests
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Put a value into a stage's config
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    set: Vec<String>,
    /// Build stages that are directories
    #[arg(long)]
    build: bool,
    /// Show how needs and grants differ from those of this older manifest, stage by stage
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    #[command(flatten)]
    policy: super::policy::Policy,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Validate {
    pub(super) fn execute(self) -> Result {
        let resolver = Resolver::under(self.policy.read()?, self.build)?;
        let mut data = Vec::new();
        let mut code = None;
        if let Some(old) = &self.against {
            let [file] = &self.files[..] else {
                return Err(Failure::Input(anyhow!(
                    "`--against` compares one manifest with one: name one FILE"
                )));
            };
            let changes = reach::changes(&reach_of(&resolver, old)?, &reach_of(&resolver, file)?);
            match self.output {
                Output::Text => terminal::print(reach::text(&changes))?,
                Output::Json => data.push(reach::json(old, file, &changes)),
            }
        }
        for file in &self.files {
            let resolved = super::resolve(&resolver, file, &self.set);
            match (resolved, self.output) {
                (Ok(resolved), Output::Text) => terminal::say(fine(file, &resolved)),
                (Ok(resolved), Output::Json) => data.push(json!({
                    "file": file.display().to_string(), "count": 0, "diagnostics": [], "pipeline": resolved.name(),
                })),
                (Err(failure), output) => {
                    // What is wrong counts for more than a registry that has failed.
                    code = code.max(failure.code());
                    match (failure, output) {
                        (Failure::Manifest(all), Output::Json) => {
                            data.extend(all.iter().map(|diagnostics| diagnostics.to_json()));
                        }
                        (failure, _) => _ = failure.tell(),
                    }
                }
            }
        }
        if self.output == Output::Json {
            terminal::print_json(&json!({ "files": data }))?;
        }
        code.map_or(Ok(()), |code| Err(Failure::Told(code)))
    }
}

fn reach_of(resolver: &Resolver, file: &Path) -> Result<Vec<Reach>> {
    let draft = wiring::read(file)?;
    let needs = super::block_on(resolver.needs(&draft))?;
    Ok(Reach::of(&draft.pipeline, &needs))
}

fn fine(file: &Path, resolved: &ResolvedPipeline) -> String {
    let (stages, chains) = (resolved.plan.stages.len(), resolved.plan.chains.len());
    let plural = |n: usize, noun: &str| if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") };
    let keeping: Vec<&str> = (0..stages)
        .filter(|stage| resolved.keeps_state(*stage))
        .map(|stage| &*resolved.plan.stages[stage].name)
        .collect();
    let state = match keeping.is_empty() {
        true => String::new(),
        false => format!("; state is kept by {}", keeping.join(", ")),
    };
    format!("{}: fine, {} in {}{state}", file.display(), plural(stages, "stage"), plural(chains, "chain"))
}
