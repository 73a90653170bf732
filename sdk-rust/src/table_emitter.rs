//! What a table stage makes of a batch: which rows go on, what is set on them, which rows it makes, which it
//! refuses.

use crate::bindings::types::{columns::BlobColumn, outcomes};
use crate::columns::ColumnBuilder;
use crate::emitter::forwarded;
use crate::fields::Field;
use crate::origins::{OriginsBuilder, order_of};
use crate::plan::{Output, Port};
use crate::row::{RowColumns, WriteRow};
use crate::table::{At, Table};
use crate::varlen::BlobBuilder;
use crate::{Failure, Result, raw};

/// Takes what a stage makes of a table. A row that is neither forwarded nor made into others nor rejected is
/// filtered out. A port whose output sets columns gets a value of each for every row that leaves by it.
///
/// Whatever the order of the calls, rows leave a port in the order of the input rows that they are or come
/// from: a forwarded one before those made from it, made ones in the order in which they were made.
#[derive(Debug)]
pub struct TableEmitter {
    rows: u32,
    ports: Vec<Leaving>,
    rejections: Vec<outcomes::Rejection>,
    held: u32,
}

#[derive(Debug)]
struct Leaving {
    all: bool,
    forwarded: Vec<u32>,
    set: Vec<ColumnBuilder>,
    origins: OriginsBuilder,
    times: Option<Vec<Option<i64>>>,
    keys: Option<OwnKeys>,
    made: Vec<ColumnBuilder>,
}

/// Keys of made rows, and which of them said nothing.
#[derive(Debug, Default)]
struct OwnKeys {
    keys: BlobBuilder,
    unsaid: Vec<bool>,
}

/// A row that is being made from another.
#[derive(Debug)]
#[must_use = "a row is made by `row`, `columns` or `copy`"]
pub struct MakeRow<'e, 'k> {
    out: &'e mut TableEmitter,
    origin: At,
    port: Port,
    time: Option<i64>,
    key: Option<Option<&'k [u8]>>,
}

impl TableEmitter {
    pub(crate) fn new<'o>(outputs: impl Iterator<Item = &'o Output>) -> Self {
        let ports = outputs.map(|output| Leaving::new(&output.set)).collect();
        TableEmitter { rows: 0, ports, rejections: Vec::new(), held: 0 }
    }

    /// Passes a row on, by the main port.
    #[inline(always)]
    pub fn forward(&mut self, at: At) {
        self.forward_to(Port::MAIN, at);
    }

    /// Passes a row on where `condition` holds, without a branch.
    #[inline(always)]
    pub fn forward_if(&mut self, at: At, condition: bool) {
        raw::push_if(&mut self.leaving(Port::MAIN).forwarded, at.0, condition);
    }

    /// Passes a row on, by `port`.
    ///
    /// # Panics
    /// Where the plan has no such port, as everything here that names one.
    #[inline(always)]
    pub fn forward_to(&mut self, port: Port, at: At) {
        self.leaving(port).forwarded.push(at.0);
    }

    /// Passes every row on by the main port.
    pub fn forward_all(&mut self) {
        self.forward_all_to(Port::MAIN);
    }

    /// Passes every row on by `port`.
    pub fn forward_all_to(&mut self, port: Port) {
        self.leaving(port).all = true;
    }

    /// Passes on the rows for which `keep` holds, by the main port: a loop over columns, without a branch on
    /// the answer.
    #[inline(always)]
    pub fn forward_where(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let kept = raw::indices_where(self.rows, |index| keep(index as usize));
        let leaving = self.leaving(Port::MAIN);
        if leaving.forwarded.is_empty() {
            leaving.forwarded = kept;
        } else {
            leaving.forwarded.extend(kept);
        }
    }

    /// Passes a row on by the main port, with the columns that the output sets.
    #[inline(always)]
    pub fn forward_with(&mut self, at: At, set: &impl WriteRow) {
        self.forward_with_to(Port::MAIN, at, set);
    }

    /// Passes a row on by `port`, with the columns that the output sets.
    #[inline(always)]
    pub fn forward_with_to(&mut self, port: Port, at: At, set: &impl WriteRow) {
        let leaving = self.leaving(port);
        leaving.forwarded.push(at.0);
        set.write(&mut RowColumns::new(&mut leaving.set));
    }

    /// The columns that `port` sets on forwarded rows, to be filled beside `forward`: one value each for every
    /// row that is forwarded.
    #[inline]
    pub fn set(&mut self, port: Port) -> RowColumns<'_> {
        RowColumns::new(&mut self.leaving(port).set)
    }

    /// Makes a row from `origin`: what is selected is that of the origin, what is set is its own.
    pub fn make<'k>(&mut self, origin: At) -> MakeRow<'_, 'k> {
        MakeRow { out: self, origin, port: Port::MAIN, time: None, key: None }
    }

    /// Refuses a row. `code` is short and stable, for counting and routing: `unknown-currency`.
    pub fn reject(&mut self, at: At, code: impl Into<String>, message: impl Into<String>) {
        self.rejections.push(outcomes::Rejection { of: at.0, code: code.into(), message: message.into() });
    }

    /// Says that the stage keeps `rows` more of the input in its state, to make something of them later.
    pub fn hold(&mut self, rows: u32) {
        self.held += rows;
    }

    pub(crate) fn start(&mut self, rows: u32) {
        self.rows = rows;
        for leaving in &mut self.ports {
            leaving.set.iter_mut().for_each(|column| column.reserve(rows as usize));
        }
        // The main port takes most of what goes on; the others grow as they need.
        if let Some(main) = self.ports.first_mut() {
            main.forwarded.reserve(rows as usize);
        }
    }

    #[inline(never)]
    pub(crate) fn finish(&mut self, table: &Table) -> Result<outcomes::TableOutcome> {
        let mut emissions = Vec::with_capacity(self.ports.len());
        let mut problem = None;
        for (port, leaving) in self.ports.iter_mut().enumerate() {
            match leaving.finish(port as u32, table) {
                Ok(emission) => emissions.extend(emission),
                Err(failure) => problem = problem.or(Some(failure)),
            }
            leaving.clear();
        }
        let rejections = std::mem::take(&mut self.rejections);
        let held = std::mem::take(&mut self.held);
        match problem {
            None => Ok(outcomes::TableOutcome { emissions, rejections, held }),
            Some(problem) => Err(Failure::fatal(problem)),
        }
    }

    #[inline(always)]
    fn leaving(&mut self, port: Port) -> &mut Leaving {
        let outputs = self.ports.len();
        match self.ports.get_mut(port.0 as usize) {
            Some(leaving) => leaving,
            None => panic!("{port:?} is used, but the plan of the stage has {outputs} outputs"),
        }
    }
}

impl<'k> MakeRow<'_, 'k> {
    /// Leaves by this port.
    pub fn to(mut self, port: Port) -> Self {
        self.port = port;
        self
    }

    /// Its event time, in microseconds since the Unix epoch.
    pub fn time(mut self, micros: i64) -> Self {
        self.time = Some(micros);
        self
    }

    /// Its key, or that it has none.
    pub fn key(mut self, key: Option<&'k [u8]>) -> Self {
        self.key = Some(key);
        self
    }

    /// Makes it, with the columns that the output sets.
    #[inline]
    pub fn row(self, set: &impl WriteRow) {
        self.columns(|columns| set.write(columns));
    }

    /// Makes it; `set` adds one value to each column that the output sets.
    #[inline]
    pub fn columns(self, set: impl FnOnce(&mut RowColumns<'_>)) {
        let MakeRow { out, origin, port, time, key } = self;
        let leaving = out.leaving(port);
        leaving.note_own(time, key);
        leaving.origins.push(origin.0);
        set(&mut RowColumns::new(&mut leaving.made));
    }

    /// Makes it, where the output sets no columns.
    pub fn copy(self) {
        self.columns(|_| {});
    }
}

impl Leaving {
    fn new(set: &[Field]) -> Self {
        let columns = || set.iter().map(ColumnBuilder::new).collect();
        Leaving {
            all: false,
            forwarded: Vec::new(),
            set: columns(),
            origins: OriginsBuilder::default(),
            times: None,
            keys: None,
            made: columns(),
        }
    }

    fn note_own(&mut self, time: Option<i64>, key: Option<Option<&[u8]>>) {
        let before = self.origins.len();
        if time.is_some() && self.times.is_none() {
            self.times = Some(vec![None; before]);
        }
        if let Some(times) = &mut self.times {
            times.push(time);
        }
        if key.is_some() && self.keys.is_none() {
            let keys = self.keys.get_or_insert_default();
            (0..before).for_each(|_| keys.push(None));
        }
        if let Some(keys) = &mut self.keys {
            keys.push(key);
        }
    }

    fn finish(&mut self, port: u32, table: &Table) -> Result<Option<outcomes::TableEmission>, String> {
        if !self.forwarded.is_sorted() {
            let order = order_of(&self.forwarded);
            self.set.iter_mut().for_each(|column| column.reorder(&order));
        }
        if let Some(order) = self.origins.sort() {
            self.reorder_made(&order);
        }
        let rows = table.len();
        let leaving = if self.all { rows } else { self.forwarded.len() };
        let forwarded = forwarded(self.all, std::mem::take(&mut self.forwarded), rows as u32, port)?;
        if matches!(forwarded, outcomes::Forwarded::Nothing) && self.origins.is_empty() {
            let stray = self.set.iter().chain(&self.made).find(|column| !column.is_empty());
            return match stray {
                None => Ok(None),
                Some(column) => {
                    Err(format!("column `{}` is set, but no row leaves by port {port}", column.field().name))
                }
            };
        }
        let set = self.set.iter_mut().map(|column| column.finish(leaving)).collect::<Result<_, _>>()?;
        let made = if self.origins.is_empty() { None } else { Some(self.finish_made(table)?) };
        Ok(Some(outcomes::TableEmission { port, forwarded, set, made }))
    }

    fn finish_made(&mut self, table: &Table) -> Result<outcomes::MadeRows, String> {
        let origins = std::mem::take(&mut self.origins);
        let columns = self.made.iter_mut().map(|column| column.finish(origins.len()));
        Ok(outcomes::MadeRows {
            set: columns.collect::<Result<_, _>>()?,
            times: self.times.take().map(|times| fill_times(&times, &origins, table)).transpose()?,
            keys: self.keys.take().map(|keys| keys.fill(&origins, table)).transpose()?,
            origins: origins.finish(table.len() as u32),
        })
    }

    fn reorder_made(&mut self, order: &[usize]) {
        self.made.iter_mut().for_each(|column| column.reorder(order));
        self.times = self.times.take().map(|times| order.iter().map(|index| times[*index]).collect());
        self.keys = self.keys.take().map(|own| OwnKeys {
            keys: own.keys.take(order),
            unsaid: order.iter().map(|index| own.unsaid[*index]).collect(),
        });
    }

    /// After a failure there may be something left that is not to be in the next batch.
    fn clear(&mut self) {
        self.all = false;
        self.forwarded.clear();
        self.origins = OriginsBuilder::default();
        self.times = None;
        self.keys = None;
        for column in self.set.iter_mut().chain(&mut self.made).filter(|column| !column.is_pristine()) {
            *column = ColumnBuilder::new(&column.field().clone());
        }
    }
}

impl OwnKeys {
    fn push(&mut self, key: Option<Option<&[u8]>>) {
        self.keys.push(key.flatten());
        self.unsaid.push(key.is_none());
    }

    fn fill(self, origins: &OriginsBuilder, table: &Table) -> Result<BlobColumn, String> {
        if !self.unsaid.contains(&true) {
            return Ok(self.keys.finish());
        }
        if !table.has_keys {
            return Err(unasked("key", "keys"));
        }
        let own = self.keys.finish();
        let own = crate::Blobs::of_column(&own);
        let mut filled = BlobBuilder::default();
        for (made, origin) in origins.iter().enumerate() {
            let from_origin = self.unsaid[made];
            filled.push(if from_origin { table.keys().get(origin as usize) } else { own.get(made) });
        }
        Ok(filled.finish())
    }
}

fn fill_times(times: &[Option<i64>], origins: &OriginsBuilder, table: &Table) -> Result<Vec<i64>, String> {
    if times.contains(&None) && !table.has_times {
        return Err(unasked("time", "times"));
    }
    let of_origin = |origin: u32| table.times().get(origin as usize).copied().unwrap_or_default();
    Ok(times
        .iter()
        .zip(origins.iter())
        .map(|(time, origin)| time.unwrap_or_else(|| of_origin(origin)))
        .collect())
}

fn unasked(one: &str, part: &str) -> String {
    format!(
        "the stage sets the {one} of some rows that it makes and leaves it to others to have that of their origin: \
         its plan has to ask for `{part}`"
    )
}

#[cfg(test)]
mod tests {
    use outcomes::Origins;

    use super::*;
    use crate::bindings::types::tables;

    #[test]
    fn one_row_made_of_each_leaves_without_a_list() {
        let wire = tables::Table { rows: 3, times: None, keys: None, columns: vec![] };
        let table = Table::new(wire, false, false).expect("a table");
        let cases: [(&[u32], Origins); 4] = [
            (&[0, 1, 2], Origins::Each),
            (&[0, 1], Origins::These(vec![0, 1])),
            (&[0, 2], Origins::These(vec![0, 2])),
            (&[2, 1, 0], Origins::These(vec![0, 1, 2])),
        ];
        let output = Output::new("main");
        let mut out = TableEmitter::new(std::iter::once(&output));
        for (made_of, expected) in cases {
            out.start(3);
            made_of.iter().for_each(|of| out.make(At(*of)).copy());
            let outcome = out.finish(&table).expect("an outcome");
            let made = outcome.emissions[0].made.as_ref().expect("made rows");
            assert_eq!((&made.origins, &made.times, &made.keys), (&expected, &None, &None), "{made_of:?}");
        }
    }
}
