//! What a stage says that it made of a batch, and the batches that follow from it.
//!
//! The host believes nothing: indices, orders, counts and types are checked before a row moves. What is
//! forwarded keeps its buffers and gets a selection; what is made brings columns of its own; where a port
//! gets both, they are merged in the order of their origins.

mod made;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use crate::batch::{Batch, BatchError, Column, Parts, Picker, Rows};
use crate::lineage::Descent;

/// The answer of a stage to one batch, in the host's own types.
#[derive(Debug, Default)]
pub struct Outcome {
    pub emissions: Vec<Emission>,
    pub rejections: Vec<Rejection>,
    /// Input records that the stage keeps for later.
    pub held: u32,
}

/// What leaves by one port.
#[derive(Debug, Default)]
pub struct Emission {
    pub port: u32,
    pub forwarded: Forwarded,
    /// For tables: the columns that the plan sets, one value per forwarded row. Empty for opaque records.
    pub set: Vec<ArrayRef>,
    pub origins: Origins,
    pub made: Made,
}

/// Which input rows made rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// One was made from each, in their order.
    Each,
    /// For each made row, the one that it comes from: ascending, may repeat.
    These(Vec<u32>),
}

impl Default for Origins {
    /// Those of nothing.
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Origins {
    /// How many rows were made from a batch of `rows`.
    pub fn len(&self, rows: usize) -> usize {
        match self {
            Self::Each => rows,
            Self::These(list) => list.len(),
        }
    }
}

/// Input rows that go on as they came.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Forwarded {
    All,
    #[default]
    None,
    /// Strictly ascending.
    These(Vec<u32>),
}

/// Rows that the stage made. What is none is the origin's.
#[derive(Debug, Default)]
pub struct Made {
    pub times: Option<ArrayRef>,
    pub keys: Option<ArrayRef>,
    pub headers: Option<ArrayRef>,
    /// For tables: the columns that the plan sets. For opaque records: one column, the values.
    pub set: Vec<ArrayRef>,
}

/// An input row that the stage refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub row: u32,
    pub code: String,
    pub message: String,
}

/// How the columns of one output port come about, worked out in the plan.
#[derive(Clone, Debug)]
pub struct OutputShape {
    pub stage: Arc<str>,
    /// The columns that anybody downstream wants.
    pub schema: SchemaRef,
    pub columns: Vec<OutputColumn>,
    /// How many columns the stage sets, wanted or not, and of which types.
    pub set: Vec<DataType>,
}

/// Where an output column comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputColumn {
    /// Column of the input, for forwarded and made rows alike.
    Input(usize),
    /// Column that the stage sets.
    Set(usize),
    /// The value of an opaque record: the input's where forwarded, the stage's own where made.
    Value,
}

/// What became of the rows of one input batch. The four add up to the rows that came in, unless a row was
/// both forwarded and the origin of made ones; it counts as forwarded then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Input rows that went on, or that made rows come from.
    pub forwarded: u64,
    /// Rows that the stage made.
    pub made: u64,
    pub filtered: u64,
    pub rejected: u64,
    pub held: u64,
}

/// What is wrong with an answer. The stage has broken the contract; nothing of the answer is used.
#[derive(thiserror::Error, Debug)]
pub enum OutcomeError {
    #[error("it emits by port {port}, its plan has {ports}")]
    Port { port: u32, ports: usize },
    #[error("it emits twice by port {0}")]
    PortTwice(u32),
    #[error("{list}[{at}] names row {row} of a batch of {rows}")]
    Row { list: &'static str, at: usize, row: u32, rows: usize },
    #[error("{list}[{at}] is {row} after {before}: the list must ascend")]
    Order { list: &'static str, at: usize, row: u32, before: u32 },
    #[error("{what} has {found} values for {expected} rows")]
    Length { what: String, found: usize, expected: usize },
    #[error("it sets {found} columns on port {port}, its plan says {expected}")]
    Columns { port: u32, found: usize, expected: usize },
    #[error("{what} is {found}, the plan says {expected}")]
    Type { what: String, found: DataType, expected: DataType },
    #[error("it holds {held} rows, and of {rows} that came {left} are in no list of its answer")]
    Held { held: u32, rows: usize, left: u64 },
    #[error(
        "its answer is too large: the rows that it made stand for {bytes} bytes, more than the {allowed} that what came in \
         allows; raise `limits.output-ratio`"
    )]
    TooLarge { bytes: u64, allowed: u64 },
    #[error("its columns do not make a batch: {0}")]
    Batch(#[from] BatchError),
    #[error("its columns cannot be put together: {0}")]
    Arrow(#[from] ArrowError),
}

impl OutcomeError {
    /// The short, stable code under which this is counted.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "output-too-large",
            _ => "bad-answer",
        }
    }

    /// As it is told of the stage.
    pub fn told(&self) -> String {
        match self {
            Self::TooLarge { .. } => self.to_string(),
            _ => format!("its answer breaks the contract: {self}"),
        }
    }
}

/// What follows from an answer.
#[derive(Debug)]
pub struct Applied {
    /// One per emission with rows, with its port.
    pub batches: Vec<(u32, Batch)>,
    pub rejections: Vec<Rejection>,
    pub tally: Tally,
}

/// Checks an answer and does what it says. `ratio`: how many bytes its made rows may stand for, for each that came in.
pub fn apply(
    input: &Batch,
    outputs: &[OutputShape],
    outcome: Outcome,
    ratio: u64,
) -> Result<Applied, OutcomeError> {
    let rows = input.rows();
    check(input, outputs, &outcome)?;
    made::check(input, outputs, &outcome, ratio)?;
    let tally = tally(rows, &outcome)?;
    let mut batches = Vec::with_capacity(outcome.emissions.len());
    for emission in outcome.emissions {
        let port = emission.port;
        let shape = &outputs[port as usize];
        if let Some(batch) = emit(input, shape, emission)? {
            batches.push((port, batch));
        }
    }
    Ok(Applied { batches, rejections: outcome.rejections, tally })
}

fn check(input: &Batch, outputs: &[OutputShape], outcome: &Outcome) -> Result<(), OutcomeError> {
    let rows = input.rows();
    let mut seen = 0u128;
    for emission in &outcome.emissions {
        let port = emission.port;
        let Some(shape) = outputs.get(port as usize) else {
            return Err(OutcomeError::Port { port, ports: outputs.len() });
        };
        if seen & (1 << port) != 0 {
            return Err(OutcomeError::PortTwice(port));
        }
        seen |= 1 << port;
        let forwarded = match &emission.forwarded {
            Forwarded::All => rows,
            Forwarded::None => 0,
            Forwarded::These(list) => {
                check_indices("forwarded", list, rows, true)?;
                list.len()
            }
        };
        if let Origins::These(list) = &emission.origins {
            check_indices("origins", list, rows, false)?;
        }
        let made_rows = emission.origins.len(rows);
        let opaque = shape.columns.contains(&OutputColumn::Value);
        if !opaque {
            check_set(shape, port, "set column", &emission.set, forwarded)?;
        }
        check_set(shape, port, "made column", &emission.made.set, made_rows)?;
        let made = &emission.made;
        for (what, part) in
            [("made times", &made.times), ("made keys", &made.keys), ("made headers", &made.headers)]
        {
            if let Some(array) = part
                && array.len() != made_rows
            {
                let (what, found) = (what.to_owned(), array.len());
                return Err(OutcomeError::Length { what, found, expected: made_rows });
            }
        }
    }
    for (at, rejection) in outcome.rejections.iter().enumerate() {
        if rejection.row as usize >= rows {
            return Err(OutcomeError::Row { list: "rejections", at, row: rejection.row, rows });
        }
    }
    Ok(())
}

/// The common case has no violation, so the whole list is checked without a branch per entry, and walked
/// again only to say which entry it was.
fn check_indices(
    list: &'static str,
    indices: &[u32],
    rows: usize,
    strictly: bool,
) -> Result<(), OutcomeError> {
    let least = u32::from(strictly);
    let ascending = indices
        .iter()
        .zip(indices.iter().skip(1))
        .fold(true, |ok, (a, b)| ok & (a.saturating_add(least) <= *b));
    if ascending && indices.last().is_none_or(|&last| (last as usize) < rows) {
        return Ok(());
    }
    for (at, &row) in indices.iter().enumerate() {
        if row as usize >= rows {
            return Err(OutcomeError::Row { list, at, row, rows });
        }
        if at > 0 && row < indices[at - 1].saturating_add(least) {
            return Err(OutcomeError::Order { list, at, row, before: indices[at - 1] });
        }
    }
    Ok(())
}

fn check_set(
    shape: &OutputShape,
    port: u32,
    what: &str,
    set: &[ArrayRef],
    rows: usize,
) -> Result<(), OutcomeError> {
    // A stage that makes or forwards nothing need not send empty columns.
    if rows == 0 && set.iter().all(|array| array.is_empty()) {
        return Ok(());
    }
    if set.len() != shape.set.len() {
        return Err(OutcomeError::Columns { port, found: set.len(), expected: shape.set.len() });
    }
    for (i, (array, expected)) in set.iter().zip(&shape.set).enumerate() {
        if array.data_type() != expected {
            let (found, expected) = (array.data_type().clone(), expected.clone());
            return Err(OutcomeError::Type { what: format!("{what} {i} of port {port}"), found, expected });
        }
        if array.len() != rows {
            let what = format!("{what} {i} of port {port}");
            return Err(OutcomeError::Length { what, found: array.len(), expected: rows });
        }
    }
    Ok(())
}

fn tally(rows: usize, outcome: &Outcome) -> Result<Tally, OutcomeError> {
    let made = outcome.emissions.iter().map(|emission| emission.origins.len(rows) as u64).sum();
    // What is usual needs no look at single rows.
    let (forwarded, rejected) = match (&*outcome.emissions, &*outcome.rejections) {
        ([], []) => (0, 0),
        ([only], []) if only.uses_all() => (rows as u64, 0),
        ([only], []) if only.origins.len(rows) == 0 => match &only.forwarded {
            Forwarded::These(list) => (list.len() as u64, 0),
            _ => (0, 0),
        },
        _ => count_distinct(rows, outcome),
    };
    let left = (rows as u64).saturating_sub(forwarded + rejected);
    let held = u64::from(outcome.held);
    match left.checked_sub(held) {
        Some(filtered) => Ok(Tally { forwarded, made, filtered, rejected, held }),
        None => Err(OutcomeError::Held { held: outcome.held, rows, left }),
    }
}

impl Emission {
    /// Whether it is plain that every input row goes on or has a made one.
    fn uses_all(&self) -> bool {
        self.forwarded == Forwarded::All || self.origins == Origins::Each
    }
}

/// Input rows that went on or have made rows, and those that were only rejected.
fn count_distinct(rows: usize, outcome: &Outcome) -> (u64, u64) {
    let mut used = vec![0u8; rows];
    for emission in &outcome.emissions {
        if emission.uses_all() {
            used.fill(1);
            continue;
        }
        if let Forwarded::These(list) = &emission.forwarded {
            list.iter().for_each(|&row| used[row as usize] = 1);
        }
        if let Origins::These(list) = &emission.origins {
            list.iter().for_each(|&row| used[row as usize] = 1);
        }
    }
    let forwarded = used.iter().map(|&used| u64::from(used)).sum();
    let mut rejected = 0;
    for rejection in &outcome.rejections {
        let used = &mut used[rejection.row as usize];
        rejected += u64::from(*used == 0);
        *used = 1;
    }
    (forwarded, rejected)
}

fn emit(input: &Batch, shape: &OutputShape, emission: Emission) -> Result<Option<Batch>, OutcomeError> {
    let forwards = match &emission.forwarded {
        Forwarded::None => false,
        Forwarded::These(list) => !list.is_empty(),
        Forwarded::All => true,
    };
    let makes = emission.origins.len(input.rows()) > 0;
    match (forwards, makes) {
        (false, false) => Ok(None),
        (true, false) => {
            let picked = match emission.forwarded {
                Forwarded::These(list) => input.pick(&list.into()),
                _ => input.clone(),
            };
            forward(picked, input, shape, emission.set).map(Some)
        }
        (false, true) if emission.origins == Origins::Each => map(input, shape, emission).map(Some),
        (_, true) => merge(input, shape, emission).map(Some),
    }
}

/// Only forwarded rows: the columns of the input as they are, and the set ones beside them.
fn forward(
    picked: Batch,
    input: &Batch,
    shape: &OutputShape,
    set: Vec<ArrayRef>,
) -> Result<Batch, OutcomeError> {
    let column = |from: &OutputColumn| match *from {
        OutputColumn::Input(i) => picked.columns()[i].clone(),
        OutputColumn::Value => picked.columns()[0].clone(),
        OutputColumn::Set(i) => Column::new(set[i].clone()),
    };
    if Arc::ptr_eq(&shape.schema, input.schema()) && set.is_empty() {
        return Ok(picked);
    }
    let columns = shape.columns.iter().map(column).collect();
    Ok(picked.with_columns(shape.schema.clone(), columns)?)
}

/// One made row for each input row and nothing else: the columns that were made as they came, and those of
/// the input as they are.
fn map(input: &Batch, shape: &OutputShape, emission: Emission) -> Result<Batch, OutcomeError> {
    let Made { times, keys, headers, set } = emission.made;
    let column = |from: &OutputColumn| match *from {
        OutputColumn::Input(i) => input.columns()[i].clone(),
        OutputColumn::Value => Column::new(set[0].clone()),
        OutputColumn::Set(i) => Column::new(set[i].clone()),
    };
    let columns = shape.columns.iter().map(column).collect();
    let part = |made: Option<ArrayRef>, old: &Option<Column>| made.map(Column::new).or_else(|| old.clone());
    let old = input.parts();
    let parts = Parts {
        times: part(times, &old.times),
        keys: part(keys, &old.keys),
        headers: part(headers, &old.headers),
    };
    let lineage = input.lineage().through(&shape.stage, emission.port, Descent::Each);
    let batch = Batch::new(shape.schema.clone(), input.rows(), columns, parts, lineage)?;
    Ok(batch.repeating(input.repeats()))
}

/// Forwarded and made rows together, in the order of their origins, a forwarded one before those made
/// from it.
fn merge(input: &Batch, shape: &OutputShape, emission: Emission) -> Result<Batch, OutcomeError> {
    let forwarded: Vec<u32> = match emission.forwarded {
        Forwarded::All => (0..input.rows() as u32).collect(),
        Forwarded::None => Vec::new(),
        Forwarded::These(list) => list,
    };
    let origins = match emission.origins {
        Origins::Each => (0..input.rows() as u32).collect(),
        Origins::These(list) => list,
    };
    let order = Order::of(&forwarded, origins);
    let mut picker = Picker::new(&order.origins);
    let made = &emission.made;
    let mut columns = Vec::with_capacity(shape.columns.len());
    for from in &shape.columns {
        columns.push(match *from {
            OutputColumn::Input(i) => picker.column(&input.columns()[i]),
            OutputColumn::Set(i) => order.join(emission.set.get(i).cloned(), made.set[i].clone())?,
            OutputColumn::Value => {
                let old = order.forwarded_of(&input.columns()[0], &forwarded)?;
                order.join(old, made.set[0].clone())?
            }
        });
    }
    let from_input = picker.parts(input.parts());
    let part = |made: &Option<ArrayRef>, old: &Option<Column>, inherited: Option<Column>| match (made, old) {
        (None, _) => Ok::<_, OutcomeError>(inherited),
        (Some(made), Some(old)) => Ok(Some(order.join(order.forwarded_of(old, &forwarded)?, made.clone())?)),
        (Some(made), None) if forwarded.is_empty() => Ok(Some(Column::new(made.clone()))),
        (Some(made), None) => {
            let absent = arrow::array::new_null_array(made.data_type(), forwarded.len());
            Ok(Some(order.join(Some(absent), made.clone())?))
        }
    };
    let old = input.parts();
    let parts = Parts {
        times: part(&made.times, &old.times, from_input.times)?,
        keys: part(&made.keys, &old.keys, from_input.keys)?,
        headers: part(&made.headers, &old.headers, from_input.headers)?,
    };
    let rows = order.origins.len();
    let repeats = input.repeats().saturating_mul(order.repeats());
    let lineage = input.lineage().through(&shape.stage, emission.port, order.descent());
    Ok(Batch::new(shape.schema.clone(), rows, columns, parts, lineage)?.repeating(repeats))
}

/// The order of forwarded and made rows of one emission.
struct Order {
    /// For each row that leaves, the input row that it is or comes from.
    origins: Arc<[u32]>,
    /// Which of them were made; none where all were, because nothing was forwarded.
    made: Option<Arc<[bool]>>,
    /// For each row that leaves, its place among the forwarded rows with the made ones behind them. None
    /// where nothing was forwarded, so that made rows are in order already.
    places: Option<Arc<[u32]>>,
}

impl Order {
    fn of(forwarded: &[u32], origins: Vec<u32>) -> Self {
        if forwarded.is_empty() {
            return Self { origins: origins.into(), made: None, places: None };
        }
        let rows = forwarded.len() + origins.len();
        let (mut from, mut made, mut places) =
            (Vec::with_capacity(rows), Vec::with_capacity(rows), Vec::with_capacity(rows));
        let (mut f, mut m) = (0, 0);
        while f < forwarded.len() || m < origins.len() {
            let take_forwarded = f < forwarded.len() && (m == origins.len() || forwarded[f] <= origins[m]);
            if take_forwarded {
                from.push(forwarded[f]);
                places.push(f as u32);
                f += 1;
            } else {
                from.push(origins[m]);
                places.push((forwarded.len() + m) as u32);
                m += 1;
            }
            made.push(!take_forwarded);
        }
        Self { origins: from.into(), made: Some(made.into()), places: Some(places.into()) }
    }

    /// How many rows have one origin at most. They stand side by side.
    fn repeats(&self) -> u32 {
        let runs = self.origins.chunk_by(|a, b| a == b);
        runs.map(|run| run.len() as u32).max().unwrap_or(1)
    }

    fn descent(self) -> Descent {
        let origins = self.origins;
        match self.made {
            Some(made) => Descent::Mixed { origins, made },
            None => Descent::Made { origins },
        }
    }

    /// One column of what forwarded and made rows bring, merged.
    fn join(&self, forwarded: Option<ArrayRef>, made: ArrayRef) -> Result<Column, ArrowError> {
        match (&self.places, forwarded) {
            (Some(places), Some(forwarded)) => {
                let both = concat(&[&*forwarded, &*made])?;
                Ok(Column::with_rows(both, Rows::At(places.clone())))
            }
            _ => Ok(Column::new(made)),
        }
    }

    fn forwarded_of(&self, column: &Column, forwarded: &[u32]) -> Result<Option<ArrayRef>, ArrowError> {
        if self.places.is_none() {
            return Ok(None);
        }
        let picks: Arc<[u32]> = forwarded.into();
        Column::with_rows(column.values().clone(), column.rows().pick(&picks)).flat().map(Some)
    }
}

#[cfg(test)]
mod tests;
