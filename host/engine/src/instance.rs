//! One live instance and the one way to call into it: meters armed before, the error explained after.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use model::limits;
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift, Lower, TypedFunc};

use crate::access::Access;
use crate::contract::FailureOut;
use crate::engine::Compiled;
use crate::error::{CallError, Failure};
use crate::link::State;
use crate::link::log::{StageLog, Voice};
use crate::meter::{Failed, Pulse, StageLimits};
use crate::signatures::Answer;
use crate::symbols::Symbols;
use crate::texts::cut;

/// What one call may use up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub fuel: u64,
    pub ticks: u64,
    pub time: Duration,
    pub host_call_time: Duration,
    /// What all waits inside the host may take together.
    pub host_waits: Duration,
    /// Bytes that the guest may hand over, in one answer or one call into the host.
    pub output_bytes: usize,
}

impl Budget {
    pub(crate) fn of(limits: &StageLimits, rows: usize) -> Self {
        let StageLimits { batch_time: time, host_call_time, .. } = *limits;
        let (fuel, ticks, output_bytes) = (limits.fuel(rows), limits.ticks(), limits.output_bytes);
        let host_waits = host_call_time * limits::HOST_WAITS_MAX;
        Self { fuel, ticks, time, host_call_time, host_waits, output_bytes }
    }

    /// For a call that was told when to be back.
    pub(crate) fn back_after(self, wait: Duration) -> Self {
        Self { host_waits: wait + self.host_call_time, ..self }
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
    pub pulse: Arc<Pulse>,
    symbols: Arc<Symbols>,
}

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
        let pulse = store.data().clock.pulse().clone();
        let started = {
            let start = pin!(component.pre().instantiate_async(&mut store));
            watched(start, &pulse, budget).await?
        };
        match started {
            Ok(exports) => {
                let symbols = component.symbols().clone();
                Ok(Self { store, exports, last_fuel: 0, metered, pulse, symbols })
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
            watched(call, &self.pulse, budget).await
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

/// Waits for `call`. Most return at the first poll. One that does not has either yielded, or waits inside a host
/// function; a wait that takes too long is given up, and so are too many of them.
pub(crate) async fn watched<T>(
    mut call: Pin<&mut impl Future<Output = T>>,
    pulse: &Pulse,
    budget: Budget,
) -> Result<T, CallError> {
    let before = pulse.beats();
    pulse.take_away();
    let first = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    if let Poll::Ready(answer) = first {
        return Ok(answer);
    }
    let mut waits = Waits::new(budget.host_call_time, budget.host_waits, Instant::now());
    let mut over = pin!(tokio::time::sleep(budget.host_call_time));
    // Polled again at once, a call that yielded would go on, and its thread never come to anybody else.
    let mut just_polled = Some(before);
    std::future::poll_fn(|cx| {
        let before = match just_polled.take() {
            Some(before) => before,
            None => {
                waits.was_away(pulse.take_away());
                if waits.woken(Instant::now()) >= limits::EPOCH_TICK {
                    pulse.waited();
                }
                let before = pulse.beats();
                if let Poll::Ready(answer) = call.as_mut().poll(cx) {
                    return Poll::Ready(Ok(answer));
                }
                before
            }
        };
        // A tick always ends in a yield, so a poll without one ends in a host function.
        let yielded = pulse.beats() != before;
        let now = Instant::now();
        let Some((until, error)) = waits.pending(now, yielded) else { return Poll::Pending };
        // A timer that is set to now, again and again, never goes off.
        if until <= now {
            return Poll::Ready(Err(error));
        }
        over.as_mut().reset(until);
        over.as_mut().poll(cx).map(|()| Err(error))
    })
    .await
}

/// How long one call has waited inside host functions. Such a wait costs the guest neither fuel nor running time, so
/// that it is bounded by itself: each one, and all of them together.
struct Waits {
    each: Duration,
    all: Duration,
    /// What all of them may still take.
    left: Duration,
    /// When the wait that is under way began.
    since: Option<Instant>,
    /// From when on it has not been taken off `left`.
    counted: Instant,
}

impl Waits {
    fn new(each: Duration, all: Duration, now: Instant) -> Self {
        Self { each, all, left: all, since: Some(now), counted: now }
    }

    /// For so long it was over, and nobody looked.
    fn was_away(&mut self, time: Duration) {
        self.since = self.since.map(|since| since + time);
        self.counted += time;
    }

    /// It goes on, after a wait of this length.
    fn woken(&mut self, now: Instant) -> Duration {
        let Some(since) = self.since else { return Duration::ZERO };
        self.left = self.left.saturating_sub(now - self.counted);
        now - since
    }

    /// Until when it may wait now, and what it has gone past by then; none where it just gave up its thread.
    fn pending(&mut self, now: Instant, yielded: bool) -> Option<(Instant, CallError)> {
        if yielded {
            self.since = None;
            return None;
        }
        self.counted = now;
        let (one, all) = (*self.since.get_or_insert(now) + self.each, now + self.left);
        Some(match one <= all {
            true => (one, CallError::HostCallTimedOut { limit: self.each }),
            false => (all, CallError::HostCallsTimedOut { limit: self.all }),
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_nobody_looked_after_a_call_is_not_time_that_it_waited() {
        let each = Duration::from_millis(100);
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut waits = Waits::new(each, each, start);
        waits.was_away(Duration::from_millis(5000));
        assert_eq!(waits.woken(at(5030)), Duration::from_millis(30));
        let (until, _) = waits.pending(at(5030), false).expect("a wait");
        assert_eq!(until, at(5100), "70 ms are left");
    }

    #[test]
    fn waits_are_bounded_one_by_one_and_together() {
        let each = Duration::from_millis(100);
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let all = each * limits::HOST_WAITS_MAX;
        let mut waits = Waits::new(each, all, start);
        // One that goes on over several polls ends by its own bound.
        for ms in [10, 20, 90] {
            waits.woken(at(ms));
            let (until, error) = waits.pending(at(ms), false).expect("a wait");
            assert_eq!((until, error.code()), (at(100), "host-call-timed-out"));
        }
        // Short ones, with the guest running in between, end by the bound of all.
        let mut now = 90;
        let last = loop {
            now += 90;
            waits.woken(at(now));
            assert!(waits.pending(at(now), true).is_none(), "it has yielded");
            match waits.pending(at(now), false).expect("a wait") {
                (_, CallError::HostCallTimedOut { .. }) => assert!(now < 2000, "they have no end"),
                (until, error) => break (until, error),
            }
        };
        assert_eq!(last.0, start + all);
        assert!(matches!(last.1, CallError::HostCallsTimedOut { .. }));
    }
}
