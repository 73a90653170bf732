//! Keeps a part of the rows: a fraction, by the hash of columns or of the key, or every nth. By hash, what has the
//! same value is kept or left out together, on every node and in every run.

use conveyor_sdk::{
    Failure, Field, Fields, Port, Result, Table, TableEmitter, TablePlan, TableTransform, table_transform,
};
use expr::{Input, Scope, TableScope, stage};

mod hash;

use hash::Threshold;

/// What `sample` can be told: `fraction` with `columns` or `key`, or `every`.
#[conveyor_sdk::config]
#[derive(Debug)]
pub struct Config {
    /// How much is kept, from 0 to 1.
    #[serde(default)]
    fraction: Option<f64>,
    /// The columns whose values decide.
    #[serde(default)]
    columns: Vec<String>,
    /// Whether the record's key decides.
    #[serde(default)]
    key: bool,
    /// Another number gives another sample of the same size.
    #[serde(default)]
    seed: u64,
    /// Keeps the first row of each so many. Counted by each instance for itself, from where it begins.
    #[serde(default)]
    every: Option<u64>,
}

#[derive(Debug)]
pub struct Sample {
    by: By,
    wanted: Vec<Field>,
}

#[derive(Debug)]
enum By {
    Columns { threshold: Threshold, seed: u64 },
    Key { threshold: Threshold, seed: u64 },
    Every { every: u64, passed: u64 },
}

impl Sample {
    fn new(config: &Config, input: &Fields) -> Result<Self> {
        let mut scope = TableScope::new(input);
        for name in &config.columns {
            scope
                .column(name, None)
                .map_err(|problem| Failure::invalid(format!("config: `columns`: {problem}")))?;
        }
        Ok(Sample { by: By::new(config)?, wanted: scope.wanted() })
    }
}

impl By {
    fn new(config: &Config) -> Result<Self> {
        let invalid = |message: &str| Err(Failure::invalid(format!("config: {message}")));
        let (by_columns, seed) = (!config.columns.is_empty(), config.seed);
        match (config.fraction, config.every) {
            (Some(_), Some(_)) => invalid("`every`: say either `fraction` or `every`"),
            (None, None) => invalid("say either `fraction`, with `columns` or `key`, or `every`"),
            (None, Some(0)) => invalid("`every`: 1 keeps all rows, 2 every second; 0 means nothing"),
            (None, Some(_)) if by_columns || config.key => {
                invalid("`every`: rows are counted, so leave out `columns` and `key`")
            }
            (None, Some(every)) => Ok(By::Every { every, passed: 0 }),
            (Some(fraction), None) => {
                let Some(threshold) = Threshold::of(fraction) else {
                    return invalid(&format!("`fraction`: {fraction} is not from 0 to 1"));
                };
                match (by_columns, config.key) {
                    (true, true) => invalid("`key`: say either `columns` or `key`"),
                    (false, false) => {
                        invalid("`fraction`: say what decides, `columns: [...]` or `key: true`")
                    }
                    (true, false) => Ok(By::Columns { threshold, seed }),
                    (false, true) => Ok(By::Key { threshold, seed }),
                }
            }
        }
    }
}

impl TableTransform for Sample {
    type Config = Config;

    fn plan(config: &Config, input: &Fields) -> Result<TablePlan> {
        let sample = Sample::new(config, input)?;
        let plan = sample.wanted.into_iter().fold(TablePlan::new(), TablePlan::want);
        Ok(if config.key { plan.keys() } else { plan })
    }

    fn open(config: Config, input: &Fields) -> Result<Self> {
        Sample::new(&config, input)
    }

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result {
        match &mut self.by {
            By::Columns { threshold, seed } => {
                let input = Input::of_table(table, &self.wanted, 0);
                let mut hashes = vec![*seed; table.len()];
                input.columns.iter().for_each(|column| hash::mix(column, &mut hashes));
                let kept: Vec<u8> = hashes.iter().map(|hash| u8::from(threshold.keeps(*hash))).collect();
                stage::forward(out, Port::MAIN, &kept);
            }
            By::Key { threshold, seed } => {
                let keys = table.keys();
                out.forward_where(|row| threshold.keeps(hash::of_bytes(keys.get(row), *seed)));
            }
            By::Every { every, passed } => {
                out.forward_where(|_| {
                    let kept = *passed == 0;
                    *passed = (*passed + 1) % *every;
                    kept
                });
            }
        }
        Ok(())
    }
}

table_transform!(Sample);

#[cfg(test)]
mod tests;
