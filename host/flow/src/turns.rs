//! Pipelines that take turns on a busy machine: a loop whose pipeline is ahead of its share waits before it is polled
//! again. `model::share` decides; what a loop works is the processor time of its polls, so that what other processes take
//! is nobody's fault, and a guest that runs for long yields at each tick of the epoch, so no turn is longer than that.
//!
//! Whoever ends a turn wakes those that may go on by then. A timer alone would not do: a thread that always has a loop
//! to run looks at its timers once in dozens of polls.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use model::share::Shares;
use tokio::time::Sleep;

/// The pipelines of one process.
#[derive(Clone, Debug)]
pub struct Turns {
    state: Arc<Mutex<State>>,
    since: Instant,
}

#[derive(Debug, Default)]
struct State {
    shares: Shares,
    /// Loops of pipelines that are ahead, by pipeline.
    waiting: Vec<(usize, Waker)>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { state: Arc::default(), since: Instant::now() }
    }
}

/// The place of one pipeline among the others; its loops share it.
#[derive(Clone, Debug)]
pub struct Seat {
    taken: Arc<Taken>,
}

#[derive(Debug)]
struct Taken {
    turns: Turns,
    number: usize,
}

/// How long a loop whose pipeline is ahead waits before it asks again by itself: the others may have nothing to do and
/// end no turn.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(1);

impl Turns {
    pub fn join(&self, weight: u32) -> Seat {
        let number = self.with(|state, now| state.shares.join(weight, now));
        Seat { taken: Arc::new(Taken { turns: self.clone(), number }) }
    }

    fn with<T>(&self, decide: impl FnOnce(&mut State, Duration) -> T) -> T {
        let now = self.since.elapsed();
        decide(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// Whether a pipeline may go on; if not, `waker` is told once it may.
    fn may_work(&self, pipeline: usize, waker: &Waker) -> bool {
        self.with(|state, now| {
            let may = state.shares.may_work(pipeline, now);
            if !may && !state.waiting.iter().any(|(_, waiting)| waiting.will_wake(waker)) {
                state.waiting.push((pipeline, waker.clone()));
            }
            may
        })
    }

    fn worked(&self, pipeline: usize, time: Duration) {
        let woken = self.with(|state, now| {
            state.shares.worked(pipeline, time, now);
            state.whoever_may(now)
        });
        woken.into_iter().for_each(Waker::wake);
    }
}

impl State {
    /// Those that wait and may go on now. Asking counts as wanting to, so that nobody who waits for long passes for
    /// one that went away.
    fn whoever_may(&mut self, now: Duration) -> Vec<Waker> {
        let Self { shares, waiting } = self;
        let woken = waiting.extract_if(.., |(pipeline, _)| shares.may_work(*pipeline, now));
        woken.map(|(_, waker)| waker).collect()
    }
}

/// The last loop of a pipeline has ended.
impl Drop for Taken {
    fn drop(&mut self) {
        let woken = self.turns.with(|state, now| {
            state.shares.leave(self.number);
            state.whoever_may(now)
        });
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Seat {
    /// Runs `work` in the turns of its pipeline.
    pub async fn take_turns<T>(self, work: impl Future<Output = T> + Send) -> T {
        Turn { seat: self, asks_again: None, work: Box::pin(work) }.await
    }
}

struct Turn<'a, T> {
    seat: Seat,
    asks_again: Option<Pin<Box<Sleep>>>,
    work: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
}

impl<T> Future for Turn<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Taken { turns, number } = &*self.seat.taken.clone();
        while !turns.may_work(*number, cx.waker()) {
            let timer = self.asks_again.insert(Box::pin(tokio::time::sleep(ASK_AGAIN_AFTER)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.asks_again = None;
        let started = thread_time();
        let polled = self.work.as_mut().poll(cx);
        turns.worked(*number, thread_time().saturating_sub(started));
        polled
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works for `turn` between yields until `until`; how long it worked.
    async fn work(turn: Duration, until: Instant) -> Duration {
        let mut worked = Duration::ZERO;
        while Instant::now() < until {
            let started = thread_time();
            while thread_time() - started < turn {
                std::hint::spin_loop();
            }
            worked += thread_time() - started;
            tokio::task::yield_now().await;
        }
        worked
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipeline_with_short_turns_gets_its_share_beside_one_with_long_ones() {
        let turns = Turns::default();
        let until = Instant::now() + Duration::from_millis(600);
        let (light, heavy) = (turns.join(100), turns.join(300));
        let light = light.take_turns(work(Duration::from_millis(5), until));
        let heavy = heavy.take_turns(work(Duration::from_micros(50), until));
        let (light, heavy) = tokio::join!(tokio::spawn(light), tokio::spawn(heavy));
        let (light, heavy) = (light.expect("it ran").as_secs_f64(), heavy.expect("it ran").as_secs_f64());
        let share = heavy / (light + heavy);
        assert!((0.63..0.87).contains(&share), "three times the weight got {share} of the time");
    }

    /// The workers of a busy runtime look at timers once in dozens of polls, each as long as a tick of the epoch.
    #[test]
    fn shares_do_not_rest_on_timers() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let shares = runtime.expect("a runtime").block_on(async {
            let turns = Turns::default();
            let until = Instant::now() + Duration::from_millis(800);
            let turn = Duration::from_millis(8);
            let (light, heavy) = (turns.join(100), turns.join(300));
            let light = tokio::spawn(light.take_turns(work(turn, until)));
            let heavy = tokio::spawn(heavy.take_turns(work(turn, until)));
            (light.await.expect("it ran").as_secs_f64(), heavy.await.expect("it ran").as_secs_f64())
        });
        let share = shares.1 / (shares.0 + shares.1);
        assert!((0.66..0.84).contains(&share), "three times the weight got {share} of the time");
    }
}
