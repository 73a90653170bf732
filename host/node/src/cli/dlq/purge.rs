//! `conveyor dlq purge [DIR]`.

use anyhow::anyhow;
use clap::Args;
use flow::letters::{Filter, Outcome, StoreOptions};

use super::super::agree;
use super::{EntryName, Store, Which};
use crate::exit::{Failure, Result};
use crate::report::number;
use crate::terminal;

/// Throws entries away, and frees the space of those that are closed
#[derive(Debug, Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    store: Store,
    #[command(flatten)]
    which: Which,
    /// This entry, by its number or the id of its record; can be said more than once
    #[arg(long, value_name = "ID", value_parser = EntryName::parse)]
    record: Vec<EntryName>,
    /// Every entry that is open
    #[arg(long, conflicts_with_all = ["stage", "code", "since", "until", "record", "all_replayed"])]
    all: bool,
    /// No open entry: only free the space of those that were sent in again
    #[arg(long, conflicts_with_all = ["stage", "code", "since", "until", "record"])]
    all_replayed: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Purge {
    pub(super) fn execute(self) -> Result {
        let dir = self.store.dir()?;
        let mut filter = self.which.filter(false);
        self.record.iter().for_each(|record| record.ask(&mut filter));
        if is_empty(&filter) && !self.all && !self.all_replayed {
            return Err(Failure::Input(anyhow!(
                "say which entries: `--stage`, `--code`, `--until`, `--record`, `--all-replayed`, or `--all`"
            )));
        }
        // Locked before it is read, so that what is asked about is what is thrown away.
        let mut store = StoreOptions::new(&dir).open()?;
        let reading = super::Reading::open(&dir)?;
        let mut entries = Vec::new();
        if !self.all_replayed {
            for frame in reading.frames(&filter) {
                let Some((kept, rows)) = reading.rows(frame, &filter)? else { continue };
                entries.extend(rows.iter().map(|&row| (kept.id(row as usize), Outcome::Purged)));
            }
        }
        let count = match entries.len() {
            1 => "1 entry".to_owned(),
            count => format!("{} entries", number(count as u64)),
        };
        if !entries.is_empty() && !self.yes {
            agree(&format!("{count} of {} would be lost.", dir.display()), "nothing was thrown away")?;
        }
        store.mark(&entries)?;
        let bytes = store.reclaim()?;
        store.close()?;
        terminal::say(format!("thrown away: {count}; freed: {} bytes", number(bytes)));
        Ok(())
    }
}

fn is_empty(filter: &Filter) -> bool {
    let Filter { stage, code, since_us, until_us, entries, records, closed_too: _ } = filter;
    stage.is_none()
        && code.is_none()
        && since_us.is_none()
        && until_us.is_none()
        && entries.is_empty()
        && records.is_empty()
}
