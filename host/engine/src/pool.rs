//! Instances of one transform, leased and given back: warm and opened, never shared with another pipeline,
//! and thrown away after anything but an answer.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use model::fields::FieldSpec;
use model::limits;
use model::stage::TransformPlan;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::TypedFunc;

use crate::access::Access;
use crate::contract::Field;
use crate::data::{Call, Scratch, lower_records, lower_table, outcome_of_records, outcome_of_table};
use crate::engine::Component;
use crate::error::CallError;
use crate::hits::Hits;
use crate::instance::{Budget, Instance, answered, watched};
use crate::keyed::KeyedState;
use crate::link::log::StageLog;
use crate::meter::StageLimits;
use crate::plan::fields_in;
use crate::signatures::{Answer, Open, OpenTable, Process, ProcessTable, Signature};
use model::outcome::Outcome;

/// A transform as one pipeline uses it.
#[derive(Clone, Debug)]
pub struct StageSetup {
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
    /// The stage's `with:`.
    pub config: serde_json::Value,
    /// For tables: every column that comes, as the stage was told when it was planned.
    pub input: Vec<FieldSpec>,
    /// What the stage said when it was planned.
    pub plan: TransformPlan,
    pub limits: StageLimits,
    pub access: Access,
    /// What it remembers; none where it has nothing of the kind.
    pub state: Option<Arc<dyn KeyedState>>,
}

/// The instances of one transform of one pipeline. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    component: Component,
    /// As it crosses.
    config: String,
    input: Vec<Field>,
    plan: TransformPlan,
    limits: StageLimits,
    access: Access,
    state: Option<Arc<dyn KeyedState>>,
    log: Arc<StageLog>,
    /// Room for as many instances as may be alive at once.
    alive: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

/// Boxed, since they move in and out of leases: a lease takes the box, and the instance stays where it is.
type Idle = Vec<Box<Warm>>;

/// An instance that was opened.
struct Warm {
    instance: Instance,
    process: ProcessFn,
    scratch: Scratch,
    calls: u64,
    _alive: OwnedSemaphorePermit,
}

#[derive(Clone, Copy)]
enum ProcessFn {
    Records(TypedFunc<<Process<'static> as Signature>::Params, <Process<'static> as Signature>::Results>),
    Table(
        TypedFunc<
            <ProcessTable<'static> as Signature>::Params,
            <ProcessTable<'static> as Signature>::Results,
        >,
    ),
}

impl Pool {
    /// A pool without instances; the first lease makes one.
    pub fn new(component: Component, setup: StageSetup) -> Self {
        let shared = Shared {
            component,
            config: setup.config.to_string(),
            input: fields_in(&setup.input),
            plan: setup.plan,
            log: StageLog::new(setup.pipeline, setup.stage, setup.limits.log_lines),
            alive: Arc::new(Semaphore::new(setup.limits.instances as usize)),
            limits: setup.limits,
            access: setup.access,
            state: setup.state,
            idle: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A warm instance, or a new one.
    pub async fn lease(&self) -> Result<Lease, CallError> {
        let warm = self.shared.idle().pop();
        let warm = match warm {
            Some(warm) => warm,
            None => Box::pin(self.shared.start())
                .await
                .inspect_err(|error| self.shared.log.hits().count(error.code()))?,
        };
        Ok(Lease { shared: self.shared.clone(), warm: Some(warm), last_fuel: 0 })
    }

    /// Lets go of the instances that nobody uses just now, and of their memory.
    pub fn cool(&self) {
        let idle = std::mem::take(&mut *self.shared.idle());
        drop(idle);
    }

    /// How often the stage ran into its limits.
    pub fn hits(&self) -> Arc<Hits> {
        self.shared.log.hits().clone()
    }

    /// Bytes that rows which the stage makes may stand for, for each that came in.
    pub fn output_ratio(&self) -> u64 {
        self.shared.limits.output_ratio
    }

    /// Instances that wait for a lease.
    pub fn idle(&self) -> usize {
        self.shared.idle().len()
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self) -> Result<Box<Warm>, CallError> {
        let limit = self.limits.instances;
        let _alive =
            self.alive.clone().try_acquire_owned().map_err(|_| CallError::TooManyInstances { limit })?;
        let compiled = &self.component.inner.compiled;
        let mut instance = Instance::start(compiled, &self.limits, self.log.clone(), &self.access).await?;
        let budget = Budget::of(&self.limits, 0);
        let process = if compiled.kind.is_table() {
            let open: TypedFunc<<OpenTable<'_> as Signature>::Params, Answer<()>> =
                instance.func(compiled, "open")?;
            instance.ask(&open, (&self.config, &self.input), budget).await?;
            ProcessFn::Table(instance.func(compiled, "process")?)
        } else {
            let open: TypedFunc<<Open<'_> as Signature>::Params, Answer<()>> =
                instance.func(compiled, "open")?;
            instance.ask(&open, (&self.config,), budget).await?;
            ProcessFn::Records(instance.func(compiled, "process")?)
        };
        instance.store.data_mut().keyed = self.state.clone();
        Ok(Box::new(Warm { instance, process, scratch: Scratch::default(), calls: 0, _alive }))
    }
}

/// The use of one instance. Dropped without `give_back`, the instance goes with it.
pub struct Lease {
    shared: Arc<Shared>,
    /// None after a call that left the instance in an unknown state; the next call starts another.
    warm: Option<Box<Warm>>,
    last_fuel: u64,
}

impl Lease {
    /// Hands one batch to the stage. After an error other than the stage's own failure the instance is
    /// gone, and the next call gets a fresh one. Not cancel safe: dropped in the middle, the instance goes
    /// too, and what the stage would have answered is lost.
    pub async fn process(&mut self, call: Call<'_>) -> Result<Outcome, CallError> {
        // Taken out for the time of the call, so that whatever ends it early takes the instance along.
        let mut warm = match self.warm.take() {
            Some(warm) if warm.calls < self.shared.limits.instance_calls => warm,
            worn => {
                drop(worn);
                Box::pin(self.shared.start())
                    .await
                    .inspect_err(|error| self.shared.log.hits().count(error.code()))?
            }
        };
        warm.calls += 1;
        let answer = self.shared.process(&mut warm, &call).await;
        self.last_fuel = warm.instance.last_fuel;
        if let Err(error) = &answer {
            warm.instance.note(error);
        }
        if matches!(answer, Ok(_) | Err(CallError::Failure(_) | CallError::Input(_))) {
            self.warm = Some(warm);
        }
        answer
    }

    /// Fuel that the last call used up.
    pub fn last_fuel(&self) -> u64 {
        self.last_fuel
    }

    /// Bytes of memory that the instance holds; none while there is no instance.
    pub fn memory_bytes(&self) -> Option<usize> {
        self.warm.as_ref().map(|warm| warm.instance.store.data().memory.used_bytes())
    }

    /// Back to the pool, where it stays warm if there is room.
    pub fn give_back(mut self) {
        let Some(warm) = self.warm.take() else { return };
        if warm.calls >= self.shared.limits.instance_calls {
            return;
        }
        let mut idle = self.shared.idle();
        if idle.len() < limits::WARM_INSTANCES_MAX {
            idle.push(warm);
        }
    }
}

impl Shared {
    async fn process(&self, warm: &mut Warm, call: &Call<'_>) -> Result<Outcome, CallError> {
        let budget = Budget::of(&self.limits, call.rows).with_input(&self.limits, call.weight_bytes());
        let Warm { instance, process, scratch, .. } = warm;
        instance.arm(budget)?;
        // The calls stand here and not in functions of their own: each future around that of a call moves it
        // once more.
        match *process {
            ProcessFn::Records(process) => {
                let batch = lower_records(call, scratch)?;
                let answer = {
                    let call = pin!(process.call_async(&mut instance.store, (batch,)));
                    watched(call, &instance.pulse, budget).await
                };
                let outcome = answered(instance.settle(answer, budget)?)?;
                Ok(outcome_of_records(outcome, &self.plan.outputs, call.rows)?)
            }
            ProcessFn::Table(process) => {
                let mut columns = Vec::with_capacity(call.columns.len());
                let table = lower_table(call, &self.plan.wanted, scratch, &mut columns)?;
                let answer = {
                    let call = pin!(process.call_async(&mut instance.store, (table,)));
                    watched(call, &instance.pulse, budget).await
                };
                let outcome = answered(instance.settle(answer, budget)?)?;
                Ok(outcome_of_table(outcome, &self.plan.outputs, call.rows)?)
            }
        }
    }
}
