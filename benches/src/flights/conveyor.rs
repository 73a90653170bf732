//! The same work as pipelines of three stages: over typed tables, and with JSON between the stages.

use std::path::Path;

use anyhow::{Result, ensure};
use engine::Engine;

use super::Flights;
use crate::guests;
use crate::measure::{Clock, Round};
use crate::pipeline::{self, Pipeline};

/// CSV in, three table stages, JSON lines out.
pub fn tables(input: &Path, output: &Path) -> String {
    let stages = format!(
        "  late: {{ transform: {filter}, from: in, with: {{ where: 'dep_delay >= 20' }} }}
  slim:
    transform: {project}
    from: late
    with: {{ columns: [carrier, flight, origin, dest, distance] }}
  metric: {{ transform: {project}, from: slim, with: {{ set: {{ kilometres: 'distance * 1.609344' }} }} }}",
        filter = guests::path("filter").display(),
        project = guests::path("project").display(),
    );
    manifest(&stages, input, output)
}

/// The same with stages that parse and print JSON.
pub fn json(input: &Path, output: &Path) -> String {
    let stages = format!(
        "  late: {{ transform: {}, from: in }}
  slim: {{ transform: {}, from: late }}
  metric: {{ transform: {}, from: slim }}",
        guests::path("json-late").display(),
        guests::path("json-slim").display(),
        guests::path("json-metric").display(),
    );
    manifest(&stages, input, output)
}

fn manifest(stages: &str, input: &Path, output: &Path) -> String {
    format!(
        "pipeline: flights
stages:
  in: {{ source: file, with: {{ path: {}, format: csv, null: NA }} }}
{stages}
  out: {{ sink: file, from: metric, with: {{ path: {}, format: jsonl }} }}
",
        input.display(),
        output.display()
    )
}

impl Flights {
    /// All of it: the manifest is read and planned, and everything is opened, run and committed.
    pub async fn run(&self, engine: &Engine, manifest: &str) -> Result<Round> {
        let clock = Clock::start(&[]);
        let job = Pipeline::new(engine, manifest).await?.open().await?;
        let reports = pipeline::finish(job.build()?).await?;
        let round = clock.stop(reports[0].records_out);
        ensure!(round.records == self.rows, "the source read {} of {} rows", round.records, self.rows);
        Ok(round)
    }
}
