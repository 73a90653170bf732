//! The key by which a stage keeps state: the record's own, or the values of some columns, as bytes that no other
//! values have. They stay the same whatever the width of a number or the form of a text, since what was written with
//! them is read by later versions.

use conveyor_sdk::{Failure, Field, Result, Table, TableEmitter, TablePlan};
use expr::{Input, Scope as _, TableScope, Vector};

/// The code of rows without a key.
pub const NO_KEY: &str = "no-key";

/// Before the bytes of a column.
const NULL: u8 = 0;
const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const TIME: u8 = 4;
const DAY: u8 = 5;
const TEXT: u8 = 6;
const BYTES: u8 = 7;

/// What the key of a row is.
#[derive(Debug)]
pub enum KeyBy {
    /// The record's key.
    Record,
    /// These columns, by their places among those that the stage wants.
    Columns(Vec<usize>),
}

/// The keys of a batch, one behind the other.
#[derive(Debug, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyBy {
    /// `place`: the key of the config that names the columns. They are wanted in `scope`.
    pub fn new(place: &str, columns: &[String], key: bool, scope: &mut TableScope<'_>) -> Result<Self> {
        match (columns.is_empty(), key) {
            (true, true) => Ok(KeyBy::Record),
            (true, false) => {
                Err(Failure::invalid(format!("config: say by what, `{place}: [...]` or `key: true`")))
            }
            (false, true) => Err(Failure::invalid(format!("config: `key`: say either `{place}` or `key`"))),
            (false, false) => {
                let index = |name: &String| match scope.column(name, None) {
                    Ok(slot) => Ok(slot.index),
                    Err(problem) => Err(Failure::invalid(format!("config: `{place}`: {problem}"))),
                };
                Ok(KeyBy::Columns(columns.iter().map(index).collect::<Result<_>>()?))
            }
        }
    }

    /// A plan that wants these columns, and the record's key where it is needed.
    pub fn plan(&self, wanted: Vec<Field>) -> TablePlan {
        let plan = wanted.into_iter().fold(TablePlan::new(), TablePlan::want);
        match self {
            KeyBy::Record => plan.keys(),
            KeyBy::Columns(_) => plan,
        }
    }

    /// The keys of all rows. One without a key is rejected; its place in the list is empty, and `is_there` is told.
    /// `input`: the columns that are wanted.
    pub fn keys(
        &self,
        table: &Table,
        input: &Input<'_>,
        out: &mut TableEmitter,
        mut is_there: impl FnMut(usize, bool),
    ) -> Keys {
        let columns = match self {
            KeyBy::Record => {
                let found = table.keys();
                let mut keys = Keys::with_capacity(table.len(), found.total_bytes());
                for row in 0..table.len() {
                    let key = found.get(row);
                    if key.is_none() {
                        out.reject(conveyor_sdk::At(row as u32), NO_KEY, "the record has no key");
                    }
                    is_there(row, key.is_some());
                    keys.bytes.extend_from_slice(key.unwrap_or_default());
                    keys.close();
                }
                return keys;
            }
            KeyBy::Columns(columns) => columns,
        };
        let mut keys = Keys::with_capacity(table.len(), 16 * table.len());
        match &columns[..] {
            [only] => column(&input.columns[*only], table.len(), |row, tag, value| {
                keys.bytes.push(tag);
                keys.bytes.extend_from_slice(value);
                keys.close();
                is_there(row, true);
            }),
            several => {
                let mut parts: Vec<Keys> = Vec::with_capacity(several.len());
                for index in several {
                    let mut part = Keys::with_capacity(table.len(), 16 * table.len());
                    column(&input.columns[*index], table.len(), |_, tag, value| {
                        // With its length, so that the end of one is not taken for the beginning of the next.
                        part.bytes.push(tag);
                        part.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
                        part.bytes.extend_from_slice(value);
                        part.close();
                    });
                    parts.push(part);
                }
                for row in 0..table.len() {
                    parts.iter().for_each(|part| keys.bytes.extend_from_slice(part.get(row)));
                    keys.close();
                    is_there(row, true);
                }
            }
        }
        keys
    }
}

/// The value of each row, with what kind it is.
fn column(vector: &Vector<'_>, rows: usize, mut see: impl FnMut(usize, u8, &[u8])) {
    let known = vector.known();
    macro_rules! each {
        ($tag:expr, |$row:ident| $value:expr) => {
            for $row in 0..rows {
                match known.is_none_or(|known| known[$row] == 1) {
                    true => see($row, $tag, $value),
                    false => see($row, NULL, &[]),
                }
            }
        };
    }
    match vector {
        Vector::Const(_) => {}
        Vector::Bools(mask) => each!(BOOL, |row| &[mask.truth[row]]),
        Vector::Ints(ints, _) => each!(INT, |row| &ints.get(row).to_le_bytes()),
        Vector::Floats(values, _) => each!(FLOAT, |row| &one_of_its_kind(values[row]).to_le_bytes()),
        Vector::Times(values, _) => each!(TIME, |row| &values[row].to_le_bytes()),
        Vector::Days(values, _) => each!(DAY, |row| &values[row].to_le_bytes()),
        Vector::Texts(texts, _) => each!(TEXT, |row| texts.row(row)),
        Vector::Bytes(texts, _) => each!(BYTES, |row| texts.row(row)),
    }
}

/// Both zeros are one number, and all that are none are one.
fn one_of_its_kind(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

impl Keys {
    fn with_capacity(rows: usize, bytes: usize) -> Self {
        Keys { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(rows) }
    }

    fn close(&mut self) {
        self.ends.push(self.bytes.len());
    }

    pub fn get(&self, row: usize) -> &[u8] {
        let from = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[from..self.ends[row]]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|row| self.get(row))
    }

    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }
}
