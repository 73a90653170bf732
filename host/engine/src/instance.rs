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
use crate::compile::Compiled;
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
}

impl Budget {
    pub(crate) fn of(limits: &StageLimits, rows: usize) -> Self {
        let StageLimits { batch_time: time, host_call_time, .. } = *limits;
        Self { fuel: limits.fuel(rows), ticks: limits.ticks(), time, host_call_time }
    }
}

pub(crate) struct Instance {
    pub store: Store<State>,
    pub exports: wasmtime::component::Instance,
    pub last_fuel: u64,
    metered: bool,
    beats: Arc<AtomicU64>,
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
        let state = State::new(limits.memory_bytes, Voice::new(log), access.clone());
        let mut store = component.store(state.map_err(|error| CallError::Start(error.to_string()))?);
        let metered = component.is_metered();
        if metered {
            store.limiter(|state| &mut state.memory);
            store.epoch_deadline_callback(|mut store| store.data_mut().clock.tick());
        }
        // A stage cannot give more than it can hold; lists that overlap count each time.
        store.set_hostcall_fuel(limits.memory_bytes);
        store.set_max_component_handles(limits::RESOURCES_MAX);
        let budget = Budget::of(limits, 0);
        arm(&mut store, budget, metered)?;
        let beats = store.data().clock.beats().clone();
        let started = {
            let start = pin!(component.pre().instantiate_async(&mut store));
            watched(start, &beats, budget.host_call_time).await?
        };
        match started {
            Ok(exports) => Ok(Self { store, exports, last_fuel: 0, metered, beats }),
            Err(error) => Err(explain(&store, error, budget, true)),
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
        match self.call(func, params, budget).await?.0 {
            Ok(answer) => Ok(answer),
            Err(failure) => Err(CallError::Failure(failure.into())),
        }
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
        arm(&mut self.store, budget, self.metered)?;
        let answer = {
            let call = pin!(func.call_async(&mut self.store, params));
            watched(call, &self.beats, budget.host_call_time).await?
        };
        if self.metered {
            let left = self.store.get_fuel().unwrap_or_default();
            self.last_fuel = budget.fuel.saturating_sub(left);
        }
        answer.map_err(|error| explain(&self.store, error, budget, false))
    }
}

fn arm(store: &mut Store<State>, budget: Budget, metered: bool) -> Result<(), CallError> {
    if metered {
        store.set_fuel(budget.fuel).map_err(|e| CallError::Start(e.to_string()))?;
        store.set_epoch_deadline(1);
    }
    let state = store.data_mut();
    state.clock.arm(budget.ticks);
    state.memory.arm();
    state.voice.hush();
    Ok(())
}

fn explain(store: &Store<State>, error: wasmtime::Error, budget: Budget, starting: bool) -> CallError {
    let state = store.data();
    Failed {
        error,
        memory: &state.memory,
        fuel: budget.fuel,
        time: budget.time,
        last_words: state.voice.last_words(),
        starting,
    }
    .explain()
}

/// Waits for `call`. Most return at the first poll. One that does not has either yielded, and its beats go
/// on, or waits inside a host function; that is given up after a while.
async fn watched<T>(
    mut call: Pin<&mut impl Future<Output = T>>,
    beats: &AtomicU64,
    host_call_time: Duration,
) -> Result<T, CallError> {
    let first = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    if let Poll::Ready(answer) = first {
        return Ok(answer);
    }
    loop {
        let before = beats.load(Ordering::Relaxed);
        if let Ok(answer) = tokio::time::timeout(host_call_time, call.as_mut()).await {
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
