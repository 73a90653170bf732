//! The flights in other formats: JSON lines, Parquet, packed, nested, in eight files, and with running totals.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Flights;
use super::data::{run, script};
use crate::guests;
use crate::workload::Checksum;

/// How often the 336,776 rows are repeated.
const REPEATS: usize = 3;

/// What is done with the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// As in the bench of CSV: late flights, five columns and one more.
    Slim,
    /// Late flights, whole.
    Whole,
    /// Every flight, with how many of its carrier there were and how far they flew.
    Totals,
}

/// A row of the bench.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    pub name: &'static str,
    /// By which the scripts know it.
    kind: &'static str,
    file: &'static str,
    /// What the manifest says of it beside its path.
    with: &'static str,
    work: Work,
}

pub const FORMATS: [Format; 6] = [
    Format { name: "JSON lines", kind: "jsonl", file: "flights.jsonl", with: "", work: Work::Slim },
    Format { name: "Parquet", kind: "parquet", file: "flights.parquet", with: "", work: Work::Slim },
    Format { name: "CSV in gzip", kind: "csv", file: "flights.csv.gz", with: ", null: NA", work: Work::Slim },
    Format { name: "nested JSON", kind: "nested", file: "nested.jsonl", with: "", work: Work::Whole },
    Format {
        name: "eight CSV files",
        kind: "csv",
        file: "parts/part-*.csv",
        with: ", null: NA",
        work: Work::Slim,
    },
    Format {
        name: "running totals",
        kind: "totals",
        file: "flights.csv",
        with: ", null: NA",
        work: Work::Totals,
    },
];

/// Somebody else who does the same.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    DuckDb,
    Polars,
}

/// The files, which are made once and kept in the cache.
#[derive(Debug)]
pub struct Formats {
    pub flights: Flights,
    dir: PathBuf,
}

impl Formats {
    pub fn prepare() -> Result<Self> {
        let mut flights = Flights::prepare()?;
        let dir = guests::cache_dir().join(format!("bench/formats-{REPEATS}"));
        if !dir.exists() {
            let part = dir.with_extension("part");
            if part.exists() {
                std::fs::remove_dir_all(&part)
                    .with_context(|| format!("cannot remove {}", part.display()))?;
            }
            let mut command = Command::new(&flights.python);
            run(command.arg(script("formats.py")).arg(&flights.once).arg(&part).arg(REPEATS.to_string()))?;
            std::fs::rename(&part, &dir).with_context(|| format!("cannot rename {}", part.display()))?;
        }
        flights.rows = flights.rows / flights.repeats as u64 * REPEATS as u64;
        Ok(Self { flights, dir })
    }

    fn source(&self, format: &Format) -> PathBuf {
        self.dir.join(format.file)
    }

    /// The work of a row as a pipeline.
    pub fn manifest(&self, format: &Format, output: &Path) -> String {
        let (filter, project) = (guests::path("filter"), guests::path("project"));
        let (filter, project) = (filter.display(), project.display());
        let late =
            format!("  late: {{ transform: {filter}, from: in, with: {{ where: 'dep_delay >= 20' }} }}");
        let stages = match format.work {
            Work::Slim => format!(
                "{late}
  slim:
    transform: {project}
    from: late
    with: {{ columns: [carrier, flight, origin, dest, distance] }}
  done: {{ transform: {project}, from: slim, with: {{ set: {{ kilometres: 'distance * 1.609344' }} }} }}"
            ),
            Work::Whole => late.replace("late:", "done:"),
            Work::Totals => format!(
                "  totals:
    transform: {}
    from: in
    with: {{ by: [carrier], sum: {{ flown: distance }} }}
  done: {{ transform: {project}, from: totals, with: {{ columns: [carrier, count, flown] }} }}",
                guests::path("totals").display()
            ),
        };
        format!(
            "pipeline: formats
stages:
  in: {{ source: file, with: {{ path: '{}'{} }} }}
{stages}
  out: {{ sink: file, from: done, with: {{ path: {}, format: jsonl }} }}
",
            self.source(format).display(),
            format.with,
            output.display()
        )
    }

    /// How long the core worked for a row elsewhere.
    pub fn peer(&self, peer: Peer, format: &Format, output: &Path) -> Result<Duration> {
        let engine = match peer {
            Peer::DuckDb => "duckdb",
            Peer::Polars => "polars",
        };
        let mut command = Command::new(&self.flights.python);
        command
            .arg(script("formats_peer.py"))
            .args([engine, format.kind])
            .arg(self.source(format))
            .arg(output);
        let printed = run(&mut command)?;
        let seconds: f64 = printed.trim().parse().with_context(|| format!("{engine} printed `{printed}`"))?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// What an output says, as values, whatever the order of their keys.
    pub fn content(&self, output: &Path) -> Result<Checksum> {
        let mut checksum = Checksum::default();
        for line in std::fs::read(output)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let value: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_slice(line)?;
            checksum.add(serde_json::to_string(&value)?.as_bytes());
        }
        Ok(checksum)
    }
}
