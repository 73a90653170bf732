//! The same work as pipelines of three stages: over typed tables, and with JSON between the stages.

use std::path::Path;

use crate::guests;

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
