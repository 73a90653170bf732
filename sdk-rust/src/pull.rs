//! What a source gives when it is pulled: records or rows of one split, and how to go on after them.

use crate::bindings::types::columns::BlobColumn;
use crate::bindings::types::{records, splits, tables};
use crate::columns::ColumnBuilder;
use crate::fields::Fields;
use crate::made::HeadersBuilder;
use crate::row::{RowColumns, WriteRow};
use crate::varlen::BlobBuilder;
use crate::{Failure, Result};

pub use crate::bindings::types::splits::Split;

/// How much a pull may give, and how long it may wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub records_max: u32,
    pub bytes_max: u32,
    pub wait_ms_max: u32,
}

/// Takes the records of one pull: all of one split. What nothing is put into says that no split has anything
/// yet.
#[derive(Debug)]
pub struct Pull {
    place: Place,
    values: BlobBuilder,
    own: Own,
    headers: HeadersBuilder,
}

/// Takes the rows of one pull, as [`Pull`] does records.
#[derive(Debug)]
pub struct TablePull {
    place: Place,
    columns: Vec<ColumnBuilder>,
    wanted: Vec<u32>,
    own: Own,
    bytes: usize,
}

/// A record that is being added to a [`Pull`].
#[derive(Debug)]
#[must_use = "a record is added by `value` or `deletion`"]
pub struct PullRecord<'p, 'k> {
    pull: &'p mut Pull,
    offset: u64,
    time: Option<i64>,
    key: Option<&'k [u8]>,
}

/// A row that is being added to a [`TablePull`].
#[derive(Debug)]
#[must_use = "a row is added by `row` or `columns`"]
pub struct PullRow<'p, 'k> {
    pull: &'p mut TablePull,
    offset: u64,
    time: Option<i64>,
    key: Option<&'k [u8]>,
}

/// Where what is pulled comes from.
#[derive(Debug)]
struct Place {
    room: Room,
    split: Option<u32>,
    offsets: Vec<u64>,
    refused: Vec<splits::Refused>,
    refused_bytes: usize,
    cursor: Option<Vec<u8>>,
    ended: bool,
    problem: Option<String>,
}

/// Times and keys, which records may have.
#[derive(Debug, Default)]
struct Own {
    times: Vec<i64>,
    keys: BlobBuilder,
    any_key: bool,
}

macro_rules! placing {
    ($pull:ident) => {
        impl $pull {
            /// The split that this pull is of: its index, in the order in which splits were assigned.
            pub fn of(&mut self, split: u32) -> &mut Self {
                self.place.of(split);
                self
            }

            /// What could not be made into a record, with the bytes that it was found as.
            pub fn refuse(&mut self, offset: u64, code: &str, message: &str, raw: &[u8]) {
                self.place.refuse(offset, code, message, raw);
            }

            /// Where to go on after what was pulled; opaque to the host. To be said in every pull that gives
            /// anything.
            pub fn cursor(&mut self, cursor: impl Into<Vec<u8>>) {
                self.place.cursor = Some(cursor.into());
            }

            /// Says that the split has ended: nothing comes after this pull.
            pub fn end(&mut self) {
                self.place.ended = true;
            }

            pub fn room(&self) -> Room {
                self.place.room
            }

            /// Whether as much as there was room for is in it.
            pub fn is_full(&self) -> bool {
                self.len() >= self.place.room.records_max as usize
                    || self.bytes() >= self.place.room.bytes_max as usize
            }

            /// How many records were added or refused.
            pub fn len(&self) -> usize {
                self.place.offsets.len() + self.place.refused.len()
            }

            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
}

placing!(Pull);
placing!(TablePull);

impl Pull {
    pub(crate) fn new(room: Room) -> Self {
        let (values, headers) = (BlobBuilder::default(), HeadersBuilder::default());
        Pull { place: Place::new(room), values, own: Own::default(), headers }
    }

    /// Adds a record that has no time, key or headers. `offset` is its place within the split, above that of
    /// the one before it: with the split's name it names the record for ever.
    pub fn push(&mut self, offset: u64, value: &[u8]) {
        self.record(offset).value(value);
    }

    /// Adds a record with more than a value.
    pub fn record<'k>(&mut self, offset: u64) -> PullRecord<'_, 'k> {
        PullRecord { pull: self, offset, time: None, key: None }
    }

    /// How many bytes of values and keys were added.
    pub fn bytes(&self) -> usize {
        self.values.bytes_len() + self.own.keys.bytes_len() + self.place.refused_bytes
    }

    pub(crate) fn finish(self) -> Result<Option<(records::Batch, splits::Place)>> {
        let Pull { place, values, mut own, headers } = self;
        let too_large = values.is_too_large();
        let Some(place) = place.finish(&own, too_large)? else { return Ok(None) };
        let batch = records::Batch {
            rows: place.offsets.len() as u32,
            keys: own.keys(),
            times: own.times(),
            headers: headers.finish_any(),
            values: values.finish(),
        };
        Ok(Some((batch, place)))
    }
}

impl<'k> PullRecord<'_, 'k> {
    /// Its event time, in microseconds since the Unix epoch. All records of a pull have one, or none has.
    pub fn time(mut self, micros: i64) -> Self {
        self.time = Some(micros);
        self
    }

    pub fn key(mut self, key: &'k [u8]) -> Self {
        self.key = Some(key);
        self
    }

    pub fn header(self, name: &str, value: &[u8]) -> Self {
        let of = self.pull.place.offsets.len() as u32;
        self.pull.headers.push(of, name, value);
        self
    }

    /// Adds it, with this value.
    pub fn value(self, value: &[u8]) {
        self.finish(Some(value));
    }

    /// Adds it, without a value.
    pub fn deletion(self) {
        self.finish(None);
    }

    fn finish(self, value: Option<&[u8]>) {
        let PullRecord { pull, offset, time, key } = self;
        pull.place.push(offset);
        pull.own.push(time, key);
        pull.values.push(value);
    }
}

impl TablePull {
    pub(crate) fn new(room: Room, schema: &Fields, wanted: &[u32]) -> Self {
        let column = |(index, field)| {
            if wanted.contains(&(index as u32)) {
                ColumnBuilder::new(field)
            } else {
                ColumnBuilder::unwanted(field)
            }
        };
        TablePull {
            place: Place::new(room),
            columns: schema.iter().enumerate().map(column).collect(),
            wanted: wanted.to_vec(),
            own: Own::default(),
            bytes: 0,
        }
    }

    /// Adds a row: a value for every column of the schema, of which those that nobody reads are not kept.
    /// `offset` is its place within the split, above that of the one before it.
    #[inline]
    pub fn push(&mut self, offset: u64, row: &impl WriteRow) {
        self.row(offset).row(row);
    }

    /// Adds a row with a time or a key, or one that is no derived [`Row`](derive@crate::Row).
    pub fn row<'k>(&mut self, offset: u64) -> PullRow<'_, 'k> {
        PullRow { pull: self, offset, time: None, key: None }
    }

    /// Counts `bytes` of what was read towards the room that there is.
    pub fn count_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// How many bytes were counted.
    pub fn bytes(&self) -> usize {
        self.bytes + self.place.refused_bytes
    }

    pub(crate) fn finish(mut self) -> Result<Option<(tables::Table, splits::Place)>> {
        let Some(place) = self.place.finish(&self.own, false)? else { return Ok(None) };
        let rows = place.offsets.len();
        let mut columns = Vec::with_capacity(self.wanted.len());
        for index in &self.wanted {
            let column = self.columns.get_mut(*index as usize);
            let column = column.ok_or_else(|| {
                Failure::fatal(format!("the host wants column {index}, which the schema lacks"))
            })?;
            columns.push(column.finish(rows).map_err(Failure::Fatal)?);
        }
        let (times, keys) = (self.own.times(), self.own.keys());
        Ok(Some((tables::Table { rows: rows as u32, times, keys, columns }, place)))
    }
}

impl<'k> PullRow<'_, 'k> {
    /// Its event time, in microseconds since the Unix epoch. All rows of a pull have one, or none has.
    pub fn time(mut self, micros: i64) -> Self {
        self.time = Some(micros);
        self
    }

    pub fn key(mut self, key: &'k [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// Adds it.
    #[inline]
    pub fn row(self, row: &impl WriteRow) {
        self.columns(|columns| row.write(columns));
    }

    /// Adds it; `set` adds one value to each column of the schema.
    #[inline]
    pub fn columns(self, set: impl FnOnce(&mut RowColumns<'_>)) {
        let PullRow { pull, offset, time, key } = self;
        pull.place.push(offset);
        pull.own.push(time, key);
        set(&mut RowColumns::new(&mut pull.columns));
    }
}

impl Place {
    fn new(room: Room) -> Self {
        Place {
            room,
            split: None,
            offsets: Vec::new(),
            refused: Vec::new(),
            refused_bytes: 0,
            cursor: None,
            ended: false,
            problem: None,
        }
    }

    fn of(&mut self, split: u32) {
        match self.split {
            Some(other) if other != split => {
                self.wrong(format!("a pull gives records of one split, not of {other} and {split}"));
            }
            _ => self.split = Some(split),
        }
    }

    fn push(&mut self, offset: u64) {
        match self.offsets.last() {
            Some(last) if *last >= offset => {
                self.wrong(format!("offset {offset} follows {last}: offsets ascend within a split"));
            }
            _ => self.offsets.push(offset),
        }
    }

    fn refuse(&mut self, offset: u64, code: &str, message: &str, raw: &[u8]) {
        self.refused_bytes += raw.len();
        self.refused.push(splits::Refused {
            offset,
            code: code.to_owned(),
            message: message.to_owned(),
            raw: raw.to_vec(),
        });
    }

    fn wrong(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    /// None where nothing was pulled and nothing ended.
    fn finish(mut self, own: &Own, too_large: bool) -> Result<Option<splits::Place>> {
        let rows = self.offsets.len();
        if own.times.len() != rows && !own.times.is_empty() {
            self.wrong("some records of a pull have a time and some have none".to_owned());
        }
        if too_large {
            self.wrong("one pull gives more than 2 GiB".to_owned());
        }
        let anything = rows > 0 || !self.refused.is_empty() || self.ended || self.cursor.is_some();
        if anything && self.split.is_none() {
            self.wrong("a pull has to say `of` which split it is".to_owned());
        }
        if (rows > 0 || !self.refused.is_empty()) && self.cursor.is_none() {
            self.wrong("a pull that gives records has to say with `cursor` where to go on".to_owned());
        }
        if let Some(problem) = self.problem {
            return Err(Failure::Fatal(problem));
        }
        let (true, Some(split)) = (anything, self.split) else { return Ok(None) };
        Ok(Some(splits::Place {
            split,
            offsets: self.offsets,
            refused: self.refused,
            cursor: self.cursor.unwrap_or_default(),
            ended: self.ended,
        }))
    }
}

impl Own {
    fn push(&mut self, time: Option<i64>, key: Option<&[u8]>) {
        self.times.extend(time);
        self.any_key |= key.is_some();
        self.keys.push(key);
    }

    /// None where no record has one.
    fn times(&mut self) -> Option<Vec<i64>> {
        let times = std::mem::take(&mut self.times);
        (!times.is_empty()).then_some(times)
    }

    /// None where no record has one.
    fn keys(&mut self) -> Option<BlobColumn> {
        let keys = std::mem::take(&mut self.keys);
        self.any_key.then(|| keys.finish())
    }
}
