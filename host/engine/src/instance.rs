//! One live instance and the one way to call into it: meters armed before, the error explained after.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use model::limits;
use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift, Lower, TypedFunc};

use crate::access::Access;
use crate::compile::{Compiled, Symbols};
use crate::contract::FailureOut;
use crate::error::{CallError, Failure};
use crate::link::log::{StageLog, Voice};
use crate::meter::{Failed, StageLimits};
use crate::state::State;

/// What one call may use up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub fuel: u64,
    pub ticks: u64,
    pub time: Duration,
    pub host_call_time: Duration,
    /// Bytes that the guest may hand over, in one answer or one call into the host.
    pub output_bytes: usize,
}

impl Budget {
    pub(crate) fn of(limits: &StageLimits, rows: usize) -> Self {
        let StageLimits { batch_time: time, host_call_time, .. } = *limits;
        let (fuel, ticks, output_bytes) = (limits.fuel(rows), limits.ticks(), limits.output_bytes);
        Self { fuel, ticks, time, host_call_time, output_bytes }
    }

    /// For a call that hands `input_bytes` in.
    pub(crate) fn with_input(self, limits: &StageLimits, input_bytes: usize) -> Self {
        Self { output_bytes: limits.output(input_bytes), ..self }
    }
}

pub(crate) struct Instance {
    pub store: Store<State>,
    pub exports: wasmtime::component::Instance,
    pub last_fuel: u64,
    metered: bool,
    pub beats: Arc<AtomicU64>,
    symbols: Arc<Symbols>,
}

/// What a call of the contract answers: a value, or the stage's own failure.
pub(crate) type Answer<R> = (Result<R, FailureOut>,);

impl Instance {
    /// A fresh instance; its own start functions run within the limits too.
    pub(crate) async fn start(
        component: &Compiled,
        limits: &StageLimits,
        log: Arc<StageLog>,
        access: &Access,
    ) -> Result<Self, CallError> {
        let state = State::new(limits, Voice::new(log), access.clone());
        let mut store = component.store(state.map_err(|error| CallError::Start(error.to_string()))?);
        let metered = component.is_metered();
        if metered {
            store.limiter(|state| &mut state.memory);
            store.epoch_deadline_callback(|mut store| store.data_mut().clock.tick());
        }
        store.set_max_component_handles(limits.resources);
        let budget = Budget::of(limits, 0);
        arm(&mut store, budget, metered)?;
        let beats = store.data().clock.beats().clone();
        let started = {
            let start = pin!(component.pre().instantiate_async(&mut store));
            watched(start, &beats, budget.host_call_time).await?
        };
        match started {
            Ok(exports) => {
                let symbols = component.symbols().clone();
                Ok(Self { store, exports, last_fuel: 0, metered, beats, symbols })
            }
            Err(error) => Err(explain(&store, component.symbols(), error, budget, true)),
        }
    }

    pub(crate) fn func<P, R>(
        &mut self,
        component: &Compiled,
        name: &'static str,
    ) -> Result<TypedFunc<P, R>, CallError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let index =
            component.function(name).ok_or_else(|| CallError::Start(format!("it has no `{name}`")))?;
        self.exports.get_typed_func(&mut self.store, index).map_err(|e| CallError::Start(e.to_string()))
    }

    /// Calls `func`; an answer that is a failure of the stage's own is an error, after which the instance
    /// may go on. After any other error it must not.
    pub(crate) async fn ask<P, R>(
        &mut self,
        func: &TypedFunc<P, Answer<R>>,
        params: P,
        budget: Budget,
    ) -> Result<R, CallError>
    where
        P: ComponentNamedList + Lower,
        R: Lift + Send + Sync + 'static,
    {
        answered(self.call(func, params, budget).await?)
    }

    pub(crate) async fn call<P, R>(
        &mut self,
        func: &TypedFunc<P, R>,
        params: P,
        budget: Budget,
    ) -> Result<R, CallError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        self.arm(budget)?;
        let answer = {
            let call = pin!(func.call_async(&mut self.store, params));
            watched(call, &self.beats, budget.host_call_time).await
        };
        self.settle(answer, budget)
    }

    /// Sets the meters for one call. `call` does this by itself.
    pub(crate) fn arm(&mut self, budget: Budget) -> Result<(), CallError> {
        arm(&mut self.store, budget, self.metered)
    }

    /// What became of a call: `watched` waited for it.
    pub(crate) fn settle<R>(
        &mut self,
        answer: Result<wasmtime::Result<R>, CallError>,
        budget: Budget,
    ) -> Result<R, CallError> {
        let answer = answer?;
        if self.metered {
            let left = self.store.get_fuel().unwrap_or_default();
            self.last_fuel = budget.fuel.saturating_sub(left);
        }
        answer.map_err(|error| explain(&self.store, &self.symbols, error, budget, false))
    }

    /// Counts that a call ended at a limit or in a death.
    pub(crate) fn note(&self, error: &CallError) {
        self.store.data().voice.hits().count(error.code());
    }
}

/// A stage's own failure is an error.
pub(crate) fn answered<R>((answer,): Answer<R>) -> Result<R, CallError> {
    answer.map_err(|failure| CallError::Failure(failure.into()))
}

fn arm(store: &mut Store<State>, budget: Budget, metered: bool) -> Result<(), CallError> {
    if metered {
        store.set_fuel(budget.fuel).map_err(|e| CallError::Start(e.to_string()))?;
        store.set_epoch_deadline(1);
    }
    // Lists that overlap in the guest's memory count each time.
    store.set_hostcall_fuel(budget.output_bytes);
    let state = store.data_mut();
    state.clock.arm(budget.ticks);
    state.memory.arm();
    state.voice.hush();
    Ok(())
}

#[cold]
fn explain(
    store: &Store<State>,
    symbols: &Arc<Symbols>,
    error: wasmtime::Error,
    budget: Budget,
    starting: bool,
) -> CallError {
    let state = store.data();
    Failed {
        error,
        memory: &state.memory,
        symbols,
        fuel: budget.fuel,
        time: budget.time,
        output_bytes: budget.output_bytes,
        last_words: state.voice.last_words(),
        starting,
    }
    .explain()
}

/// Waits for `call`. Most return at the first poll. One that does not has either yielded, and its beats go
/// on, or waits inside a host function; that is given up after a while.
pub(crate) async fn watched<T>(
    mut call: Pin<&mut impl Future<Output = T>>,
    beats: &AtomicU64,
    host_call_time: Duration,
) -> Result<T, CallError> {
    let first = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    if let Poll::Ready(answer) = first {
        return Ok(answer);
    }
    // Polled again at once, a call that yielded would go on, and its thread never come to anybody else.
    let mut just_polled = true;
    loop {
        let before = beats.load(Ordering::Relaxed);
        let answer = std::future::poll_fn(|cx| match std::mem::take(&mut just_polled) {
            true => Poll::Pending,
            false => call.as_mut().poll(cx),
        });
        if let Ok(answer) = tokio::time::timeout(host_call_time, answer).await {
            return Ok(answer);
        }
        if beats.load(Ordering::Relaxed) == before {
            return Err(CallError::HostCallTimedOut { limit: host_call_time });
        }
    }
}

impl From<FailureOut> for Failure {
    fn from(failure: FailureOut) -> Self {
        match failure {
            FailureOut::Retry(retry) => {
                let after = Duration::from_millis(u64::from(retry.after_ms));
                Self::Retry { after, message: cut(retry.message, limits::REJECTION_MESSAGE_BYTES_MAX) }
            }
            FailureOut::Invalid(message) => Self::Invalid(cut(message, limits::REJECTION_MESSAGE_BYTES_MAX)),
            FailureOut::Fatal(message) => Self::Fatal(cut(message, limits::REJECTION_MESSAGE_BYTES_MAX)),
        }
    }
}

/// Cuts a guest's text to `bytes_max`, at a character.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
    text
}
