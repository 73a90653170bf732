//! A component as a sink: one instance that takes batches, makes them durable and commits.

use std::sync::Arc;

use model::fields::FieldSpec;
use model::ids::RecordId;
use model::outcome::Rejection;
use model::stage::SinkPlan;
use wasmtime::component::TypedFunc;

use crate::access::Access;
use crate::contract::Context;
use crate::data::{Call, Scratch, lower_records, lower_table, rejections};
use crate::engine::Component;
use crate::error::CallError;
use crate::hits::Hits;
use crate::instance::{Budget, Instance};
use crate::link::log::StageLog;
use crate::meter::StageLimits;
use crate::plan::fields_in;
use crate::signatures::{Answer, Commit, OpenSink, OpenTableSink, Prepare, Signature, Write, WriteTable};

/// A sink as one pipeline uses it.
#[derive(Clone, Debug)]
pub struct SinkSetup {
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
    /// The stage's `with:`.
    pub config: serde_json::Value,
    /// For tables: every column that comes, as the sink was told when it was planned.
    pub input: Vec<FieldSpec>,
    /// What the sink said when it was planned.
    pub plan: SinkPlan,
    pub context: SinkContext,
    pub limits: StageLimits,
    pub access: Access,
}

/// Which replica of the sink this is, and what stands already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkContext {
    pub replica: u32,
    pub replicas: u32,
    pub epoch: u64,
    /// Tokens of the last committed checkpoint.
    pub committed: Vec<Vec<u8>>,
}

impl Default for SinkContext {
    /// The only replica, at its first start.
    fn default() -> Self {
        Self { replica: 0, replicas: 1, epoch: 1, committed: Vec::new() }
    }
}

/// A sink that was opened.
pub struct SinkDriver {
    instance: Instance,
    /// False once a call left the instance in an unknown state.
    alive: bool,
    limits: StageLimits,
    plan: SinkPlan,
    scratch: Scratch,
    ids: Vec<u8>,
    write: WriteFn,
    prepare: Func<Prepare>,
    commit: Func<Commit<'static>>,
}

type Func<S> = TypedFunc<<S as Signature>::Params, <S as Signature>::Results>;

#[derive(Clone, Copy)]
enum WriteFn {
    Records(Func<Write<'static>>),
    Table(Func<WriteTable<'static>>),
}

impl SinkDriver {
    pub async fn open(component: &Component, setup: SinkSetup) -> Result<Self, CallError> {
        let compiled = &component.inner.compiled;
        let SinkSetup { pipeline, stage, config, input, plan, context, limits, access } = setup;
        let mut instance =
            Instance::start(compiled, &limits, StageLog::new(pipeline, stage, limits.log_lines), &access)
                .await?;
        let (config, budget) = (config.to_string(), Budget::of(&limits, 0));
        let SinkContext { replica, replicas, epoch, committed } = context;
        let context = Context { replica, replicas, epoch, committed };
        let write = if compiled.kind.is_table() {
            let open: TypedFunc<<OpenTableSink<'_> as Signature>::Params, Answer<()>> =
                instance.func(compiled, "open")?;
            instance.ask(&open, (&config, &fields_in(&input), &context), budget).await?;
            WriteFn::Table(instance.func(compiled, "write")?)
        } else {
            let open: TypedFunc<<OpenSink<'_> as Signature>::Params, Answer<()>> =
                instance.func(compiled, "open")?;
            instance.ask(&open, (&config, &context), budget).await?;
            WriteFn::Records(instance.func(compiled, "write")?)
        };
        let prepare = instance.func(compiled, "prepare")?;
        let commit = instance.func(compiled, "commit")?;
        let (scratch, ids) = (Scratch::default(), Vec::new());
        Ok(Self { instance, alive: true, limits, plan, scratch, ids, write, prepare, commit })
    }

    /// How often it ran into its limits.
    pub fn hits(&self) -> Arc<Hits> {
        self.instance.store.data().voice.log().hits().clone()
    }

    /// Takes all rows in order. `ids` name them where the plan asks for that, else they are left out.
    pub async fn write(&mut self, call: Call<'_>, ids: &[RecordId]) -> Result<Vec<Rejection>, CallError> {
        self.enter()?;
        let answer = self.write_inner(&call, ids).await;
        self.leave(answer)
    }

    async fn write_inner(&mut self, call: &Call<'_>, ids: &[RecordId]) -> Result<Vec<Rejection>, CallError> {
        let budget = Budget::of(&self.limits, call.rows);
        self.ids.clear();
        let ids = self.plan.ids.then(|| {
            self.ids.extend(ids.iter().flat_map(|id| id.to_bytes()));
            &*self.ids
        });
        let refused = match self.write {
            WriteFn::Records(write) => {
                let batch = lower_records(call, &mut self.scratch)?;
                self.instance.ask(&write, (batch, ids), budget).await?
            }
            WriteFn::Table(write) => {
                let mut columns = Vec::with_capacity(call.columns.len());
                let table = lower_table(call, &self.plan.wanted, &mut self.scratch, &mut columns)?;
                self.instance.ask(&write, (table, ids), budget).await?
            }
        };
        Ok(rejections(refused, call.rows)?)
    }

    /// Makes all that was written so far durable, ready to be committed, and names it.
    pub async fn prepare(&mut self, checkpoint: u64) -> Result<Vec<u8>, CallError> {
        self.enter()?;
        let (func, budget) = (self.prepare, Budget::of(&self.limits, 0));
        let answer = self.instance.ask(&func, (checkpoint,), budget).await;
        self.leave(answer)
    }

    /// The checkpoint is committed. May be asked again with the same token.
    pub async fn commit(&mut self, token: &[u8]) -> Result<(), CallError> {
        self.enter()?;
        let (func, budget) = (self.commit, Budget::of(&self.limits, 0));
        let answer = self.instance.ask(&func, (token,), budget).await;
        self.leave(answer)
    }

    /// Fuel that the last call used up.
    pub fn last_fuel(&self) -> u64 {
        self.instance.last_fuel
    }

    /// A call that is dropped in the middle leaves the instance dead.
    fn enter(&mut self) -> Result<(), CallError> {
        if std::mem::take(&mut self.alive) {
            return Ok(());
        }
        Err(CallError::Start("its instance died in an earlier call".into()))
    }

    fn leave<T>(&mut self, answer: Result<T, CallError>) -> Result<T, CallError> {
        self.alive = matches!(answer, Ok(_) | Err(CallError::Failure(_) | CallError::Input(_)));
        if let Err(error) = &answer {
            self.instance.note(error);
        }
        answer
    }
}
