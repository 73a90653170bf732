//! Adds running totals to each row: how many rows of its key there were, itself included, and sums of their columns.
//! They go on where they were, whatever becomes of the instance, the process or the machine, as long as its state is
//! kept.

use std::collections::BTreeMap;

use conveyor_sdk::state::{KeyedState, StateValue};
use conveyor_sdk::{
    At, Failure, Field, Fields, Fingerprint, Kind, Port, Result, Table, TableEmitter, TablePlan,
    TableTransform, table_transform,
};
use expr::{Input, Scope as _, TableScope, Type, Vector, stage};
use row_key::KeyBy;

/// What `totals` can be told.
#[conveyor_sdk::config]
#[derive(Debug)]
pub struct Config {
    /// The columns whose values tell what is counted together; null is a value as any other.
    #[serde(default)]
    by: Vec<String>,
    /// Whether the record's key tells it. A row without one is rejected.
    #[serde(default)]
    key: bool,
    /// The column for the number of rows so far.
    #[serde(default = "count")]
    count: String,
    /// Columns for sums so far, each with the column of numbers that it sums up: `{ spent: amount }`. Null adds nothing.
    #[serde(default)]
    sum: BTreeMap<String, String>,
}

fn count() -> String {
    "count".to_owned()
}

const TOTALS: KeyedState<Totals> = KeyedState::new("");

/// What is known of a key: how many rows, and the sums in the order of their names.
#[derive(Debug, Clone, Default, PartialEq)]
struct Totals {
    /// Of what these are the totals: sums of other columns are not to be taken for these.
    layout: u32,
    count: u64,
    sums: Vec<Sum>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sum {
    Int(i64),
    Float(f64),
}

const INT: u8 = 0;
const FLOAT: u8 = 1;

impl StateValue for Totals {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.layout.to_le_bytes());
        to.extend_from_slice(&self.count.to_le_bytes());
        for sum in &self.sums {
            let (kind, bits) = match sum {
                Sum::Int(sum) => (INT, sum.to_le_bytes()),
                Sum::Float(sum) => (FLOAT, sum.to_le_bytes()),
            };
            to.push(kind);
            to.extend_from_slice(&bits);
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (layout, rest) = bytes.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (sums, rest) = rest.as_chunks::<9>();
        let sum = |[kind, bits @ ..]: &[u8; 9]| match *kind {
            INT => Some(Sum::Int(i64::from_le_bytes(*bits))),
            FLOAT => Some(Sum::Float(f64::from_le_bytes(*bits))),
            _ => None,
        };
        let sums = sums.iter().map(sum).collect::<Option<Vec<Sum>>>()?;
        let (layout, count) = (u32::from_le_bytes(*layout), u64::from_le_bytes(*count));
        rest.is_empty().then_some(Totals { layout, count, sums })
    }
}

/// What is asked of the stage, checked against the columns that come.
#[derive(Debug)]
pub struct RunningTotals {
    by: KeyBy,
    wanted: Vec<Field>,
    /// By sum: its column in `wanted`, and whether it has fractions.
    sums: Vec<(usize, bool)>,
    /// By sum: what its column is called.
    summed: Vec<String>,
    set: Vec<Field>,
    layout: u32,
}

impl RunningTotals {
    fn new(config: &Config, input: &Fields) -> Result<Self> {
        let mut scope = TableScope::new(input);
        let by = KeyBy::new("by", &config.by, config.key, &mut scope)?;
        let mut set = vec![Field::new(&config.count, Kind::S64s)];
        let mut sums = Vec::with_capacity(config.sum.len());
        for (name, column) in &config.sum {
            let slot = scope
                .column(column, None)
                .map_err(|problem| Failure::invalid(format!("config: `sum`: {problem}")))?;
            let has_fractions = match slot.kind {
                Type::Int => false,
                Type::Float => true,
                other => {
                    let message =
                        format!("config: `sum`: `{column}` holds {other:?}, and numbers are summed up");
                    return Err(Failure::invalid(message));
                }
            };
            if *name == config.count {
                return Err(Failure::invalid(format!("config: `sum`: `{name}` is the column of the count")));
            }
            sums.push((slot.index, has_fractions));
            set.push(Field::new(name, if has_fractions { Kind::F64s } else { Kind::S64s }));
        }
        let summed: Vec<String> = config.sum.values().cloned().collect();
        let layout = layout(&summed, sums.iter().map(|(_, has_fractions)| *has_fractions));
        Ok(RunningTotals { by, wanted: scope.wanted(), sums, summed, set, layout })
    }

    fn none_yet(&self) -> Totals {
        let zero = |(_, has_fractions): &(usize, bool)| {
            if *has_fractions { Sum::Float(0.0) } else { Sum::Int(0) }
        };
        Totals { layout: self.layout, count: 0, sums: self.sums.iter().map(zero).collect() }
    }

    /// Why totals that are kept cannot be gone on with.
    fn other_totals(&self, kept: &Totals) -> Failure {
        let had_fractions = || kept.sums.iter().map(|sum| matches!(sum, Sum::Float(_)));
        let mut columns = self.summed.iter().zip(&self.sums).zip(had_fractions());
        let changed = columns.find(|((_, (_, has)), had)| has != had);
        // The same columns, of which one holds other numbers than it did.
        match changed.filter(|_| kept.layout == layout(&self.summed, had_fractions())) {
            Some(((column, _), had)) => {
                let [was, is] = if had { ["float", "int"] } else { ["int", "float"] };
                Failure::invalid(format!(
                    "`{column}` holds {is} now, and its state has the totals of {was}; declare \
                     `schema: {{ {column}: {was} }}` at the source, or throw its state away (`conveyor run --forget`)"
                ))
            }
            None => Failure::invalid(
                "its state has the totals of other columns than `sum` says; give it the `sum` that it had, or throw its \
                 state away (`conveyor run --forget`)",
            ),
        }
    }

    /// Adds a row; false where an integer would go beyond 64 bits, and nothing is added then.
    fn add(&self, totals: &mut Totals, columns: &[Vector<'_>], row: usize) -> Result<bool> {
        if totals.layout != self.layout {
            return Err(self.other_totals(totals));
        }
        let column = |index: usize| {
            let column = &columns[index];
            let is_there = column.known().is_none_or(|known| known[row] == 1);
            is_there.then_some(column)
        };
        for (sum, (index, _)) in totals.sums.iter().zip(&self.sums) {
            if let (Sum::Int(sum), Some(Vector::Ints(ints, _))) = (sum, column(*index))
                && sum.checked_add(ints.get(row)).is_none()
            {
                return Ok(false);
            }
        }
        totals.count += 1;
        for (sum, (index, _)) in totals.sums.iter_mut().zip(&self.sums) {
            match (sum, column(*index)) {
                (_, None) => {}
                (Sum::Int(sum), Some(Vector::Ints(ints, _))) => *sum += ints.get(row),
                (Sum::Float(sum), Some(Vector::Floats(values, _))) => *sum += values[row],
                _ => return Err(Failure::fatal("a column is of another kind than was planned")),
            }
        }
        Ok(true)
    }
}

/// A number for what the sums are: the columns that they sum up, by their order, and whether they have fractions.
fn layout(summed: &[String], fractions: impl Iterator<Item = bool>) -> u32 {
    // FNV-1a.
    let mut hash = 0x811c_9dc5_u32;
    let mut add = |byte: u8| hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    for (column, has_fractions) in summed.iter().zip(fractions) {
        column.bytes().for_each(&mut add);
        add(0);
        add(u8::from(has_fractions));
    }
    hash
}

impl TableTransform for RunningTotals {
    type Config = Config;

    fn plan(config: &Config, input: &Fields) -> Result<TablePlan> {
        let RunningTotals { by, wanted, set, .. } = RunningTotals::new(config, input)?;
        Ok(set.into_iter().fold(by.plan(wanted), TablePlan::set))
    }

    /// What the columns that it sets are called is no part of it.
    fn fingerprint(config: &Config) -> Option<Fingerprint> {
        let summed: Vec<&String> = config.sum.values().collect();
        Some(Fingerprint::new().part("by", &config.by).part("key", &config.key).part("sum", &summed))
    }

    fn open(config: Config, input: &Fields) -> Result<Self> {
        RunningTotals::new(&config, input)
    }

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result {
        let mut rows = Vec::with_capacity(table.len());
        let input = Input::of_table(table, &self.wanted, 0);
        let keys = self.by.keys(table, &input, out, |row, is_there| {
            if is_there {
                rows.push(row);
            }
        });
        let mut totals = TOTALS.read(rows.iter().map(|row| keys.get(*row)))?;
        for (nth, &row) in rows.iter().enumerate() {
            totals.change(nth, |totals| {
                let totals = totals.get_or_insert_with(|| self.none_yet());
                if !self.add(totals, &input.columns, row)? {
                    stage::reject_row(out, row as u32, "sum");
                    return Ok(());
                }
                out.forward(At(row as u32));
                let mut set = out.set(Port::MAIN);
                set.column(0).push_i64(totals.count as i64);
                for (index, sum) in totals.sums.iter().enumerate() {
                    match sum {
                        Sum::Int(sum) => set.column(1 + index).push_i64(*sum),
                        Sum::Float(sum) => set.column(1 + index).push_f64(*sum),
                    }
                }
                Ok::<_, Failure>(())
            })?;
        }
        totals.write();
        Ok(())
    }
}

table_transform!(RunningTotals);

#[cfg(test)]
mod tests;
