//! Sinks: stages where records end.

use crate::batch::{Batch, Record};
use crate::bindings::types::{outcomes, records, tables};
use crate::bindings::{sink::exports::conveyor::stage::sink as wit, table_sink};
use crate::columns::FieldsOf;
use crate::config::{self, Config};
use crate::fields::{Field, Fields};
use crate::glue::{self, Exported, Slot};
use crate::plan::Parts;
use crate::table::{At, Table};
use crate::{Failure, Fingerprint, Result};
use table_sink::exports::conveyor::stage::table_sink as table_wit;

pub use crate::bindings::types::commits::Context;

/// A sink of records that the host does not look into. It is exported with [`sink!`](crate::sink!).
pub trait Sink: Sized + 'static {
    /// The stage's `with:`; [`NoConfig`](crate::NoConfig) where there is nothing to set.
    type Config: Config;

    /// What it cannot do without, as grants are written in a manifest: `http api.example.com:443`.
    const NEEDS: &'static [&'static str] = &[];

    /// Which parts of the records it gets, and whether it commits.
    fn plan(config: &Self::Config) -> Result<SinkPlan> {
        let _ = config;
        Ok(SinkPlan::new())
    }

    /// Which parts of the config its place rests on: where one of them is another, a run does not go on from a checkpoint.
    /// None stands for nothing.
    fn fingerprint(config: &Self::Config) -> Option<Fingerprint> {
        let _ = config;
        None
    }

    /// Called once per instance.
    fn open(config: Self::Config, context: Context) -> Result<Self>;

    /// Writes a batch. What is wrong with one record is rejected, the rest is written.
    fn write(&mut self, batch: &Batch, ids: Ids<'_>, rejected: &mut Rejected) -> Result;

    /// Makes all that was written so far durable, ready to be committed. The token is stored with the
    /// checkpoint. `checkpoint` ascends, and with the epoch of `open` it is there once; a run without checkpoints
    /// prepares once, at its end, with its epoch as the number.
    fn prepare(&mut self, checkpoint: u64) -> Result<Vec<u8>> {
        let _ = checkpoint;
        Ok(Vec::new())
    }

    /// The checkpoint stands. May be asked again with the same token.
    fn commit(&mut self, token: &[u8]) -> Result {
        let _ = token;
        Ok(())
    }
}

/// A sink of rows with typed columns. It is exported with [`table_sink!`](crate::table_sink!).
pub trait TableSink: Sized + 'static {
    /// The stage's `with:`; [`NoConfig`](crate::NoConfig) where there is nothing to set.
    type Config: Config;

    /// What it cannot do without, as grants are written in a manifest: `http api.example.com:443`.
    const NEEDS: &'static [&'static str] = &[];

    /// Which of the columns that come it takes, and as what.
    fn plan(config: &Self::Config, input: &Fields) -> Result<TableSinkPlan>;

    /// Which parts of the config its place rests on: where one of them is another, a run does not go on from a checkpoint.
    /// None stands for nothing.
    fn fingerprint(config: &Self::Config) -> Option<Fingerprint> {
        let _ = config;
        None
    }

    /// Called once per instance.
    fn open(config: Self::Config, input: &Fields, context: Context) -> Result<Self>;

    /// Writes a table. What is wrong with one row is rejected, the rest is written.
    fn write(&mut self, table: &Table, ids: Ids<'_>, rejected: &mut Rejected) -> Result;

    /// Makes all that was written so far durable, ready to be committed. The token is stored with the
    /// checkpoint. `checkpoint` ascends, and with the epoch of `open` it is there once; a run without checkpoints
    /// prepares once, at its end, with its epoch as the number.
    fn prepare(&mut self, checkpoint: u64) -> Result<Vec<u8>> {
        let _ = checkpoint;
        Ok(Vec::new())
    }

    /// The checkpoint stands. May be asked again with the same token.
    fn commit(&mut self, token: &[u8]) -> Result {
        let _ = token;
        Ok(())
    }
}

/// The plan of a [`Sink`]. It gets the values alone, and makes visible what it writes at once, unless it says
/// more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinkPlan {
    parts: Parts,
    ids: bool,
    commits: bool,
}

/// The plan of a [`TableSink`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableSinkPlan {
    wanted: Vec<Field>,
    plan: SinkPlan,
}

impl SinkPlan {
    pub fn new() -> Self {
        Self::default()
    }

    /// Gets the event times of the records.
    pub fn times(mut self) -> Self {
        self.parts.times = true;
        self
    }

    /// Gets the keys of the records.
    pub fn keys(mut self) -> Self {
        self.parts.keys = true;
        self
    }

    /// Gets the headers of the records.
    pub fn headers(mut self) -> Self {
        self.parts.headers = true;
        self
    }

    /// Gets the ids of the records.
    pub fn ids(mut self) -> Self {
        self.ids = true;
        self
    }

    /// What is written becomes visible only on `commit`.
    pub fn commits(mut self) -> Self {
        self.commits = true;
        self
    }
}

impl TableSinkPlan {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the columns of a derived [`Row`](derive@crate::Row), to be read with `table.rows::<R>()`.
    pub fn of<R: FieldsOf>() -> Self {
        TableSinkPlan { wanted: R::fields(), ..Self::default() }
    }

    /// Takes every column that comes, as it is. Those that do not cross come as texts.
    pub fn all(input: &Fields) -> Self {
        let wanted = input.iter().map(|field| match field.kind {
            crate::Kind::Opaque => {
                Field { kind: crate::Kind::Texts, logical: String::new(), ..field.clone() }
            }
            _ => field.clone(),
        });
        TableSinkPlan { wanted: wanted.collect(), ..Self::default() }
    }

    /// Takes one more column, as this kind.
    pub fn want(mut self, field: Field) -> Self {
        self.wanted.push(field);
        self
    }

    /// Gets the event times of the rows.
    pub fn times(mut self) -> Self {
        self.plan = self.plan.times();
        self
    }

    /// Gets the keys of the rows.
    pub fn keys(mut self) -> Self {
        self.plan = self.plan.keys();
        self
    }

    /// Gets the ids of the rows.
    pub fn ids(mut self) -> Self {
        self.plan = self.plan.ids();
        self
    }

    /// What is written becomes visible only on `commit`.
    pub fn commits(mut self) -> Self {
        self.plan = self.plan.commits();
        self
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl SinkPlan {
    pub(crate) fn parts(&self) -> Parts {
        self.parts
    }

    pub(crate) fn wants_ids(&self) -> bool {
        self.ids
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl TableSinkPlan {
    pub(crate) fn wanted(&self) -> &[Field] {
        &self.wanted
    }

    pub(crate) fn records(&self) -> SinkPlan {
        self.plan
    }
}

impl From<SinkPlan> for wit::SinkPlan {
    fn from(SinkPlan { parts: Parts { times, keys, headers }, ids, commits }: SinkPlan) -> Self {
        wit::SinkPlan { times, keys, headers, ids, commits }
    }
}

impl From<TableSinkPlan> for table_wit::TableSinkPlan {
    fn from(TableSinkPlan { wanted, plan }: TableSinkPlan) -> Self {
        let SinkPlan { parts: Parts { times, keys, .. }, ids, commits } = plan;
        table_wit::TableSinkPlan { wanted, times, keys, ids, commits }
    }
}

/// The ids of the records of a batch: they name them for ever, so that repeats can be told.
#[derive(Debug, Clone, Copy)]
pub struct Ids<'a>(&'a [u8]);

impl<'a> Ids<'a> {
    /// None where the plan did not ask for ids.
    pub fn get(self, of: impl Into<u32>) -> Option<&'a [u8; 16]> {
        let start = of.into() as usize * 16;
        self.0.get(start..start + 16).and_then(|id| id.try_into().ok())
    }
}

/// Takes the records that a sink refuses.
#[derive(Debug, Default)]
pub struct Rejected(Vec<outcomes::Rejection>);

impl Rejected {
    /// Refuses a record or a row. `code` is short and stable, for counting and routing.
    pub fn reject(&mut self, of: impl Into<u32>, code: impl Into<String>, message: impl Into<String>) {
        self.0.push(outcomes::Rejection { of: of.into(), code: code.into(), message: message.into() });
    }
}

impl From<Record<'_>> for u32 {
    fn from(record: Record<'_>) -> u32 {
        record.index()
    }
}

impl From<At> for u32 {
    fn from(At(index): At) -> u32 {
        index
    }
}

/// A sink that was opened. What the host drives, and tests do.
#[derive(Debug)]
pub struct OpenSink<S> {
    pub(crate) stage: S,
    parts: Parts,
}

/// A table sink that was opened. What the host drives, and tests do.
#[derive(Debug)]
pub struct OpenTableSink<S> {
    pub(crate) stage: S,
    parts: Parts,
}

impl<S: Sink> OpenSink<S> {
    pub(crate) fn plan(config: &str) -> Result<SinkPlan> {
        S::plan(&config::parse(config)?)
    }

    pub(crate) fn open(config: &str, context: Context) -> Result<Self> {
        let config = config::parse(config)?;
        let parts = S::plan(&config)?.parts;
        Ok(OpenSink { stage: S::open(config, context)?, parts })
    }

    pub(crate) fn write(
        &mut self,
        wire: records::Batch,
        ids: Option<&[u8]>,
    ) -> Result<Vec<outcomes::Rejection>> {
        let (batch, mut rejected) = (Batch::new(wire, self.parts)?, Rejected::default());
        self.stage.write(&batch, checked(ids, batch.len())?, &mut rejected)?;
        Ok(rejected.0)
    }
}

impl<S: TableSink> OpenTableSink<S> {
    pub(crate) fn plan(config: &str, input: Vec<Field>) -> Result<TableSinkPlan> {
        S::plan(&config::parse(config)?, &Fields::new(input))
    }

    pub(crate) fn open(config: &str, input: Vec<Field>, context: Context) -> Result<Self> {
        let (config, input) = (config::parse(config)?, Fields::new(input));
        let parts = S::plan(&config, &input)?.plan.parts;
        Ok(OpenTableSink { stage: S::open(config, &input, context)?, parts })
    }

    pub(crate) fn write(
        &mut self,
        wire: tables::Table,
        ids: Option<&[u8]>,
    ) -> Result<Vec<outcomes::Rejection>> {
        let table = Table::new(wire, self.parts.times, self.parts.keys)?;
        let mut rejected = Rejected::default();
        self.stage.write(&table, checked(ids, table.len())?, &mut rejected)?;
        Ok(rejected.0)
    }
}

fn checked(ids: Option<&[u8]>, rows: usize) -> Result<Ids<'_>> {
    match ids {
        None => Ok(Ids(&[])),
        Some(ids) if ids.len() == rows * 16 => Ok(Ids(ids)),
        Some(ids) => {
            let bytes = ids.len();
            Err(Failure::fatal(format!("the host handed over {bytes} bytes of ids for {rows} records")))
        }
    }
}

impl<S: Sink> glue::Described for OpenSink<S> {
    const NEEDS: &'static [&'static str] = S::NEEDS;
    type Config = S::Config;

    fn fingerprint(config: &S::Config) -> Option<Fingerprint> {
        S::fingerprint(config)
    }
}

impl<S: TableSink> glue::Described for OpenTableSink<S> {
    const NEEDS: &'static [&'static str] = S::NEEDS;
    type Config = S::Config;

    fn fingerprint(config: &S::Config) -> Option<Fingerprint> {
        S::fingerprint(config)
    }
}

impl<G, S> wit::Guest for Exported<G>
where
    G: Slot<Open = OpenSink<S>>,
    S: Sink,
{
    fn plan(config: String) -> Result<wit::SinkPlan, outcomes::Failure> {
        glue::enter();
        Ok(G::Open::plan(&config)?.into())
    }

    fn open(config: String, context: Context) -> Result<(), outcomes::Failure> {
        glue::enter();
        let open = OpenSink::open(&config, context)?;
        G::with(|slot| *slot = Some(open));
        Ok(())
    }

    fn write(
        input: records::Batch,
        ids: Option<Vec<u8>>,
    ) -> Result<Vec<outcomes::Rejection>, outcomes::Failure> {
        glue::with_open::<G, _>("write", |open| open.write(input, ids.as_deref()))
    }

    fn prepare(checkpoint: u64) -> Result<Vec<u8>, outcomes::Failure> {
        glue::with_open::<G, _>("prepare", |open| open.stage.prepare(checkpoint))
    }

    fn commit(token: Vec<u8>) -> Result<(), outcomes::Failure> {
        glue::with_open::<G, _>("commit", |open| open.stage.commit(&token))
    }
}

impl<G, S> table_wit::Guest for Exported<G>
where
    G: Slot<Open = OpenTableSink<S>>,
    S: TableSink,
{
    fn plan(config: String, input: Vec<Field>) -> Result<table_wit::TableSinkPlan, outcomes::Failure> {
        glue::enter();
        Ok(G::Open::plan(&config, input)?.into())
    }

    fn open(config: String, input: Vec<Field>, context: Context) -> Result<(), outcomes::Failure> {
        glue::enter();
        let open = OpenTableSink::open(&config, input, context)?;
        G::with(|slot| *slot = Some(open));
        Ok(())
    }

    fn write(
        input: tables::Table,
        ids: Option<Vec<u8>>,
    ) -> Result<Vec<outcomes::Rejection>, outcomes::Failure> {
        glue::with_open::<G, _>("write", |open| open.write(input, ids.as_deref()))
    }

    fn prepare(checkpoint: u64) -> Result<Vec<u8>, outcomes::Failure> {
        glue::with_open::<G, _>("prepare", |open| open.stage.prepare(checkpoint))
    }

    fn commit(token: Vec<u8>) -> Result<(), outcomes::Failure> {
        glue::with_open::<G, _>("commit", |open| open.stage.commit(&token))
    }
}

/// Exports a [`Sink`] as a component. Does nothing but check the type outside of WebAssembly, so that the
/// stage can be tested there.
#[macro_export]
macro_rules! sink {
    ($stage:ty) => {
        $crate::__export_stage!($stage, Sink, OpenSink, sink);
    };
}

/// Exports a [`TableSink`] as a component. Does nothing but check the type outside of WebAssembly, so that
/// the stage can be tested there.
#[macro_export]
macro_rules! table_sink {
    ($stage:ty) => {
        $crate::__export_stage!($stage, TableSink, OpenTableSink, table_sink);
    };
}
