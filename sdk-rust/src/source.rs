//! Sources: stages that records come from.

use crate::bindings::types::{outcomes, records, splits, tables};
use crate::bindings::{source::exports::conveyor::stage::source as wit, table_source};
use crate::config::{self, Config};
use crate::fields::{Field, Fields};
use crate::glue::{self, Exported, Slot};
use crate::pull::{Pull, Room, Split, TablePull};
use crate::{Fingerprint, Result};
use table_source::exports::conveyor::stage::table_source as table_wit;

/// A source of records that the host does not look into. It is exported with [`source!`](crate::source!).
pub trait Source: Sized + 'static {
    /// The stage's `with:`; [`NoConfig`](crate::NoConfig) where there is nothing to set.
    type Config: Config;

    /// What it cannot do without, as grants are written in a manifest: `http api.example.com:443`.
    const NEEDS: &'static [&'static str] = &[];

    /// The names of the splits that there are now: parts that are each read in order. Asked again from time
    /// to time.
    fn splits(config: &Self::Config) -> Result<Vec<String>>;

    /// Which parts of the config its place rests on: where one of them is another, a run does not go on from a checkpoint.
    /// None stands for nothing.
    fn fingerprint(config: &Self::Config) -> Option<Fingerprint> {
        let _ = config;
        None
    }

    /// Called once per instance.
    fn open(config: Self::Config) -> Result<Self>;

    /// Splits to read beside those that it has, each with the cursor from where to go on.
    fn assign(&mut self, splits: Vec<Split>) -> Result;

    /// Gives what there is of one split, within the room that there is and the time that it may wait.
    fn pull(&mut self, out: &mut Pull) -> Result;

    /// All of split `split` up to `cursor` is durable downstream and may be released.
    fn committed(&mut self, split: u32, cursor: &[u8]) -> Result {
        let _ = (split, cursor);
        Ok(())
    }
}

/// A source of rows with typed columns. It is exported with [`table_source!`](crate::table_source!).
pub trait TableSource: Sized + 'static {
    /// The stage's `with:`; [`NoConfig`](crate::NoConfig) where there is nothing to set.
    type Config: Config;

    /// What it cannot do without, as grants are written in a manifest: `http api.example.com:443`.
    const NEEDS: &'static [&'static str] = &[];

    /// Every column that it can give. Asked when a pipeline is planned, and once more for each instance.
    fn schema(config: &Self::Config) -> Result<Fields>;

    /// The names of the splits that there are now: parts that are each read in order. Asked again from time
    /// to time.
    fn splits(config: &Self::Config) -> Result<Vec<String>>;

    /// Which parts of the config its place rests on: where one of them is another, a run does not go on from a checkpoint.
    /// None stands for nothing.
    fn fingerprint(config: &Self::Config) -> Option<Fingerprint> {
        let _ = config;
        None
    }

    /// Called once per instance. What is not among the `wanted` columns nobody reads: a source need not decode
    /// it, and may add any value in its place.
    fn open(config: Self::Config, wanted: &Wanted) -> Result<Self>;

    /// Splits to read beside those that it has, each with the cursor from where to go on.
    fn assign(&mut self, splits: Vec<Split>) -> Result;

    /// Gives what there is of one split, within the room that there is and the time that it may wait.
    fn pull(&mut self, out: &mut TablePull) -> Result;

    /// All of split `split` up to `cursor` is durable downstream and may be released.
    fn committed(&mut self, split: u32, cursor: &[u8]) -> Result {
        let _ = (split, cursor);
        Ok(())
    }
}

/// The columns of a source's schema that anybody downstream reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(Vec<u32>);

impl Wanted {
    pub fn new(indices: impl Into<Vec<u32>>) -> Self {
        Wanted(indices.into())
    }

    /// Whether column `index` of the schema is read.
    pub fn has(&self, index: usize) -> bool {
        self.0.iter().any(|wanted| *wanted as usize == index)
    }

    pub fn indices(&self) -> &[u32] {
        &self.0
    }
}

/// A source that was opened. What the host drives, and tests do.
#[derive(Debug)]
pub struct OpenSource<S> {
    pub(crate) stage: S,
}

/// A table source that was opened. What the host drives, and tests do.
#[derive(Debug)]
pub struct OpenTableSource<S> {
    pub(crate) stage: S,
    schema: Fields,
    wanted: Wanted,
}

impl<S: Source> OpenSource<S> {
    pub(crate) fn open(config: &str) -> Result<Self> {
        Ok(OpenSource { stage: S::open(config::parse(config)?)? })
    }

    pub(crate) fn pull(&mut self, room: Room) -> Result<Option<(records::Batch, splits::Place)>> {
        let mut pull = Pull::new(room);
        self.stage.pull(&mut pull)?;
        pull.finish()
    }
}

impl<S: TableSource> OpenTableSource<S> {
    pub(crate) fn open(config: &str, wanted: Vec<u32>) -> Result<Self> {
        let (config, wanted) = (config::parse(config)?, Wanted(wanted));
        let schema = S::schema(&config)?;
        Ok(OpenTableSource { stage: S::open(config, &wanted)?, schema, wanted })
    }

    pub(crate) fn pull(&mut self, room: Room) -> Result<Option<(tables::Table, splits::Place)>> {
        let mut pull = TablePull::new(room, &self.schema, self.wanted.indices());
        self.stage.pull(&mut pull)?;
        pull.finish()
    }
}

impl<S: Source> glue::Described for OpenSource<S> {
    const NEEDS: &'static [&'static str] = S::NEEDS;
    type Config = S::Config;

    fn fingerprint(config: &S::Config) -> Option<Fingerprint> {
        S::fingerprint(config)
    }
}

impl<S: TableSource> glue::Described for OpenTableSource<S> {
    const NEEDS: &'static [&'static str] = S::NEEDS;
    type Config = S::Config;

    fn fingerprint(config: &S::Config) -> Option<Fingerprint> {
        S::fingerprint(config)
    }
}

impl<G, S> wit::Guest for Exported<G>
where
    G: Slot<Open = OpenSource<S>>,
    S: Source,
{
    fn splits(config: String) -> Result<Vec<String>, outcomes::Failure> {
        glue::enter();
        Ok(S::splits(&config::parse(&config)?)?)
    }

    fn open(config: String) -> Result<(), outcomes::Failure> {
        glue::enter();
        let open = OpenSource::open(&config)?;
        G::with(|slot| *slot = Some(open));
        Ok(())
    }

    fn assign(splits: Vec<Split>) -> Result<(), outcomes::Failure> {
        glue::with_open::<G, _>("assign", |open| open.stage.assign(splits))
    }

    fn pull(
        records_max: u32,
        bytes_max: u32,
        wait_ms_max: u32,
    ) -> Result<Option<(records::Batch, splits::Place)>, outcomes::Failure> {
        glue::with_open::<G, _>("pull", |open| open.pull(Room { records_max, bytes_max, wait_ms_max }))
    }

    fn committed(split: u32, cursor: Vec<u8>) -> Result<(), outcomes::Failure> {
        glue::with_open::<G, _>("committed", |open| open.stage.committed(split, &cursor))
    }
}

impl<G, S> table_wit::Guest for Exported<G>
where
    G: Slot<Open = OpenTableSource<S>>,
    S: TableSource,
{
    fn schema(config: String) -> Result<Vec<Field>, outcomes::Failure> {
        glue::enter();
        Ok(S::schema(&config::parse(&config)?)?.into_vec())
    }

    fn splits(config: String) -> Result<Vec<String>, outcomes::Failure> {
        glue::enter();
        Ok(S::splits(&config::parse(&config)?)?)
    }

    fn open(config: String, wanted: Vec<u32>) -> Result<(), outcomes::Failure> {
        glue::enter();
        let open = OpenTableSource::open(&config, wanted)?;
        G::with(|slot| *slot = Some(open));
        Ok(())
    }

    fn assign(splits: Vec<Split>) -> Result<(), outcomes::Failure> {
        glue::with_open::<G, _>("assign", |open| open.stage.assign(splits))
    }

    fn pull(
        records_max: u32,
        bytes_max: u32,
        wait_ms_max: u32,
    ) -> Result<Option<(tables::Table, splits::Place)>, outcomes::Failure> {
        glue::with_open::<G, _>("pull", |open| open.pull(Room { records_max, bytes_max, wait_ms_max }))
    }

    fn committed(split: u32, cursor: Vec<u8>) -> Result<(), outcomes::Failure> {
        glue::with_open::<G, _>("committed", |open| open.stage.committed(split, &cursor))
    }
}

/// Exports a [`Source`] as a component. Does nothing but check the type outside of WebAssembly, so that the
/// stage can be tested there.
#[macro_export]
macro_rules! source {
    ($stage:ty) => {
        $crate::__export_stage!($stage, Source, OpenSource, source);
    };
}

/// Exports a [`TableSource`] as a component. Does nothing but check the type outside of WebAssembly, so that
/// the stage can be tested there.
#[macro_export]
macro_rules! table_source {
    ($stage:ty) => {
        $crate::__export_stage!($stage, TableSource, OpenTableSource, table_source);
    };
}
