//! Stages of bytes in, bytes out.

use crate::batch::Batch;
use crate::bindings::transform::exports::conveyor::stage::transform as wit;
use crate::bindings::types::{outcomes, records};
use crate::config::{self, Config};
use crate::emitter::Emitter;
use crate::glue::{self, Exported, Slot};
use crate::plan::{Parts, RecordPlan};
use crate::{Fingerprint, Result};

/// A stage that looks at records as bytes. It is exported with [`transform!`](crate::transform!).
///
/// An instance may vanish between any two calls: what must last longer does not belong into its fields.
pub trait Transform: Sized + 'static {
    /// The stage's `with:`; [`NoConfig`](crate::NoConfig) where there is nothing to set.
    type Config: Config;

    /// What it cannot do without, as grants are written in a manifest: `http api.example.com:443`.
    const NEEDS: &'static [&'static str] = &[];

    /// Which parts of the records it gets and which outputs it has. Asked when a pipeline is planned, and
    /// once more for each instance: the same config has to give the same plan.
    fn plan(config: &Self::Config) -> Result<RecordPlan> {
        let _ = config;
        Ok(RecordPlan::new())
    }

    /// Which parts of the config its state rests on: where one of them is another, a run does not go on from a checkpoint.
    /// None stands for all of the config for a stage that keeps state.
    fn fingerprint(config: &Self::Config) -> Option<Fingerprint> {
        let _ = config;
        None
    }

    /// Called once per instance.
    fn open(config: Self::Config) -> Result<Self>;

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result;
}

/// A stage that was opened, with what its plan says. What the host drives, and tests do.
#[derive(Debug)]
pub struct OpenTransform<S> {
    stage: S,
    parts: Parts,
    out: Emitter,
}

impl<S: Transform> OpenTransform<S> {
    pub(crate) fn plan(config: &str) -> Result<RecordPlan> {
        S::plan(&config::parse(config)?)
    }

    pub(crate) fn open(config: &str) -> Result<Self> {
        let config = config::parse(config)?;
        let plan = S::plan(&config)?;
        let out = Emitter::new(plan.outputs().len());
        Ok(OpenTransform { stage: S::open(config)?, parts: plan.parts(), out })
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn stage(&self) -> &S {
        &self.stage
    }

    pub(crate) fn process(&mut self, wire: records::Batch) -> Result<outcomes::Outcome> {
        let batch = Batch::new(wire, self.parts)?;
        self.out.start(batch.len() as u32);
        let processed = apart(&mut self.stage, &batch, &mut self.out);
        let outcome = self.out.finish();
        processed.and(outcome)
    }
}

/// The stage's own code in a function of its own: its loops have the registers to themselves.
#[inline(never)]
fn apart<S: Transform>(stage: &mut S, batch: &Batch, out: &mut Emitter) -> Result {
    stage.process(batch, out)
}

impl<S: Transform> glue::Described for OpenTransform<S> {
    const NEEDS: &'static [&'static str] = S::NEEDS;
    type Config = S::Config;

    fn fingerprint(config: &S::Config) -> Option<Fingerprint> {
        S::fingerprint(config)
    }
}

impl<G, S> wit::Guest for Exported<G>
where
    G: Slot<Open = OpenTransform<S>>,
    S: Transform,
{
    fn plan(config: String) -> Result<wit::RecordPlan, outcomes::Failure> {
        glue::enter();
        Ok(G::Open::plan(&config)?.into())
    }

    fn open(config: String) -> Result<(), outcomes::Failure> {
        glue::enter();
        let open = G::Open::open(&config)?;
        G::with(|slot| *slot = Some(open));
        Ok(())
    }

    fn process(input: records::Batch) -> Result<outcomes::Outcome, outcomes::Failure> {
        glue::with_open::<G, _>("process", |open| open.process(input))
    }
}

/// Exports a [`Transform`] as a component. Does nothing but check the type outside of WebAssembly, so that the
/// stage can be tested there.
#[macro_export]
macro_rules! transform {
    ($stage:ty) => {
        $crate::__export_stage!($stage, Transform, OpenTransform, transform);
    };
}
