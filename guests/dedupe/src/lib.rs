//! Drops rows whose key was seen before: of rows with the same key the first goes on. It is exact, whatever becomes of
//! the instance, the process or the machine, as long as its state is kept.

use conveyor_sdk::{
    Field, Fields, Fingerprint, Port, Result, Table, TableEmitter, TablePlan, TableTransform, state,
    table_transform,
};
use expr::{Input, TableScope, stage};
use row_key::KeyBy;

/// What `dedupe` can be told: `columns`, or `key`.
#[conveyor_sdk::config]
#[derive(Debug)]
pub struct Config {
    /// The columns whose values are the key; null is a value as any other.
    #[serde(default)]
    columns: Vec<String>,
    /// Whether the record's key is it. A row without one is rejected.
    #[serde(default)]
    key: bool,
}

#[derive(Debug)]
pub struct Dedupe {
    by: KeyBy,
    wanted: Vec<Field>,
}

impl Dedupe {
    fn new(config: &Config, input: &Fields) -> Result<Self> {
        let mut scope = TableScope::new(input);
        let by = KeyBy::new("columns", &config.columns, config.key, &mut scope)?;
        Ok(Dedupe { by, wanted: scope.wanted() })
    }
}

impl TableTransform for Dedupe {
    type Config = Config;

    fn plan(config: &Config, input: &Fields) -> Result<TablePlan> {
        let Dedupe { by, wanted } = Dedupe::new(config, input)?;
        Ok(by.plan(wanted))
    }

    fn fingerprint(config: &Config) -> Option<Fingerprint> {
        Some(Fingerprint::new().part("columns", &config.columns).part("key", &config.key))
    }

    fn open(config: Config, input: &Fields) -> Result<Self> {
        Dedupe::new(&config, input)
    }

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result {
        let mut asked = Vec::with_capacity(table.len());
        let input = Input::of_table(table, &self.wanted, 0);
        let keys = self.by.keys(table, &input, out, |row, is_there| {
            if is_there {
                asked.push(row);
            }
        });
        let mut entries = state::Entries::named("");
        entries.reserve(asked.len(), keys.total_bytes());
        asked.iter().for_each(|row| entries.push(keys.get(*row)));
        let inserted = state::insert(entries);
        let mut kept = vec![0; table.len()];
        for (nth, row) in asked.into_iter().enumerate() {
            kept[row] = u8::from(inserted.get(nth));
        }
        stage::forward(out, Port::MAIN, &kept);
        Ok(())
    }
}

table_transform!(Dedupe);

#[cfg(test)]
mod tests;
