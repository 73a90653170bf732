//! `conveyor dlq export [DIR]`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use flow::letters::{Entry, Outcome};
use model::plain;

use super::{Data, Store, Which, for_each, tell_damage};
use crate::exit::{Failure, Result};
use crate::report::number;
use crate::terminal;

/// Writes what was refused as JSON lines
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    store: Store,
    #[command(flatten)]
    which: Which,
    /// Those too that were sent in again or thrown away
    #[arg(long)]
    all: bool,
    /// Write to this file, which must not be there yet; stdout unless set
    #[arg(short = 'o', long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Export {
    pub(super) fn execute(self) -> Result {
        let (_, reading) = self.store.read()?;
        let filter = self.which.filter(self.all);
        let Some(path) = &self.out else {
            for_each(&reading, &filter, |entries| terminal::print_data(&lines(&entries)?))?;
            return tell_damage(&reading);
        };
        let name = path.display();
        let file = File::create_new(path).map_err(|error| {
            Failure::Input(anyhow!("{name} cannot be made: {error}; name a file that is not there yet"))
        })?;
        let failed = |error: std::io::Error| Failure::Ran(anyhow!("{name} cannot be written: {error}"));
        let mut file = BufWriter::new(file);
        let mut count = 0;
        for_each(&reading, &filter, |entries| {
            count += entries.len() as u64;
            file.write_all(lines(&entries)?.as_bytes()).map_err(failed)
        })?;
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(failed)?;
        terminal::say(format!("{name} has them: {}", number(count)));
        tell_damage(&reading)
    }
}

fn lines(entries: &[(Entry, Option<Outcome>)]) -> Result<String> {
    let mut lines = String::new();
    for entry in entries {
        let line = serde_json::to_string(&Data::of(entry)).map_err(Failure::ran)?;
        lines.push_str(&plain::json(&line));
        lines.push('\n');
    }
    Ok(lines)
}
