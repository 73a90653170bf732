//! Stages of typed columns in, typed columns out.

use crate::bindings::table_transform::exports::conveyor::stage::table_transform as wit;
use crate::bindings::types::{columns, outcomes, tables};
use crate::config::{self, Config};
use crate::fields::Fields;
use crate::glue::{self, Exported, Slot};
use crate::plan::TablePlan;
use crate::table::Table;
use crate::table_emitter::TableEmitter;
use crate::{Fingerprint, Result};

/// A stage that looks at typed columns. It is exported with [`table_transform!`](crate::table_transform!).
///
/// An instance may vanish between any two calls: what must last longer does not belong into its fields.
pub trait TableTransform: Sized + 'static {
    /// The stage's `with:`; [`NoConfig`](crate::NoConfig) where there is nothing to set.
    type Config: Config;

    /// What it cannot do without, as grants are written in a manifest: `http api.example.com:443`.
    const NEEDS: &'static [&'static str] = &[];

    /// Which columns it wants, and which go on and are set on which output. `input` has every column that
    /// comes. Asked when a pipeline is planned, and once more for each instance: the same has to give the same.
    fn plan(config: &Self::Config, input: &Fields) -> Result<TablePlan>;

    /// Which parts of the config its state rests on: where one of them is another, a run does not go on from a checkpoint.
    /// None stands for all of the config for a stage that keeps state.
    fn fingerprint(config: &Self::Config) -> Option<Fingerprint> {
        let _ = config;
        None
    }

    /// Called once per instance.
    fn open(config: Self::Config, input: &Fields) -> Result<Self>;

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result;
}

/// A stage that was opened, with what its plan says. What the host drives, and tests do.
#[derive(Debug)]
pub struct OpenTableTransform<S> {
    stage: S,
    times: bool,
    keys: bool,
    out: TableEmitter,
}

impl<S: TableTransform> OpenTableTransform<S> {
    pub(crate) fn plan(config: &str, input: Vec<columns::Field>) -> Result<TablePlan> {
        S::plan(&config::parse(config)?, &Fields::new(input))
    }

    pub(crate) fn open(config: &str, input: Vec<columns::Field>) -> Result<Self> {
        let (config, input) = (config::parse(config)?, Fields::new(input));
        let plan = S::plan(&config, &input)?;
        let out = TableEmitter::new(plan.outputs());
        Ok(OpenTableTransform { stage: S::open(config, &input)?, times: plan.times, keys: plan.keys, out })
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn stage(&self) -> &S {
        &self.stage
    }

    pub(crate) fn process(&mut self, wire: tables::Table) -> Result<outcomes::TableOutcome> {
        let table = Table::new(wire, self.times, self.keys)?;
        self.out.start(table.len() as u32);
        let processed = apart(&mut self.stage, &table, &mut self.out);
        let outcome = self.out.finish(&table);
        processed.and(outcome)
    }
}

/// The stage's own code in a function of its own: its loops have the registers to themselves.
#[inline(never)]
fn apart<S: TableTransform>(stage: &mut S, table: &Table, out: &mut TableEmitter) -> Result {
    stage.process(table, out)
}

impl<S: TableTransform> glue::Described for OpenTableTransform<S> {
    const NEEDS: &'static [&'static str] = S::NEEDS;
    type Config = S::Config;

    fn fingerprint(config: &S::Config) -> Option<Fingerprint> {
        S::fingerprint(config)
    }
}

impl<G, S> wit::Guest for Exported<G>
where
    G: Slot<Open = OpenTableTransform<S>>,
    S: TableTransform,
{
    fn plan(config: String, input: Vec<columns::Field>) -> Result<wit::TablePlan, outcomes::Failure> {
        glue::enter();
        Ok(G::Open::plan(&config, input)?.into())
    }

    fn open(config: String, input: Vec<columns::Field>) -> Result<(), outcomes::Failure> {
        glue::enter();
        let open = G::Open::open(&config, input)?;
        G::with(|slot| *slot = Some(open));
        Ok(())
    }

    fn process(input: tables::Table) -> Result<outcomes::TableOutcome, outcomes::Failure> {
        glue::with_open::<G, _>("process", |open| open.process(input))
    }
}

/// Exports a [`TableTransform`] as a component. Does nothing but check the type outside of WebAssembly, so
/// that the stage can be tested there.
#[macro_export]
macro_rules! table_transform {
    ($stage:ty) => {
        $crate::__export_stage!($stage, TableTransform, OpenTableTransform, table_transform);
    };
}
