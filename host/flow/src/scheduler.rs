//! The fair scheduler: pipelines that take turns on a busy machine by their weights. A loop whose pipeline is ahead of its
//! share waits before it is polled again. `model::share` decides; what a loop works is the processor time of its polls, so
//! that what other processes take is nobody's fault, and a guest that runs for long yields at each tick of the epoch, so no
//! turn is longer than that.
//!
//! Whoever ends a turn wakes those that may go on by then. A timer alone would not do: a thread that always has a loop
//! to run looks at its timers once in dozens of polls.
//!
//! A loop wants to work from when it is woken until a poll of it leaves it with nothing to do, which is when it was not
//! woken again meanwhile. So it is polled with a waker of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use model::share::Shares;
use rustix::time::ClockId;

/// The pipelines of one process.
#[derive(Clone, Debug)]
pub struct FairScheduler {
    state: Arc<Mutex<State>>,
    /// How late it is: what has nothing to do for a while leaves its share to the others.
    clock: fn() -> Duration,
}

#[derive(Debug)]
struct State {
    shares: Shares,
    /// Loops of pipelines that are ahead, by pipeline.
    waiting: Vec<(usize, Waker)>,
}

/// The place of one pipeline among the others; its loops share it. When the last of them drops it, the pipeline leaves.
#[derive(Clone, Debug)]
pub struct ShareHandle(Arc<Joined>);

#[derive(Debug)]
struct Joined {
    scheduler: FairScheduler,
    number: usize,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.scheduler.leave(self.number);
    }
}

/// How long a loop whose pipeline is ahead waits before it asks again by itself: the others may have nothing to do and
/// end no turn.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(1);

impl FairScheduler {
    /// On so many threads.
    pub fn new(threads: usize) -> Self {
        Self::by_clock(threads, monotonic_time)
    }

    fn by_clock(threads: usize, clock: fn() -> Duration) -> Self {
        let state = State { shares: Shares::new(threads), waiting: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)), clock }
    }

    pub fn join(&self, weight: u32) -> ShareHandle {
        let number = self.with(|state, _| state.shares.join(weight));
        ShareHandle(Arc::new(Joined { scheduler: self.clone(), number }))
    }

    /// Whoever waited for this pipeline need not any more.
    fn leave(&self, pipeline: usize) {
        let left = self.with(|state, _| {
            state.shares.leave(pipeline);
            state.waiting.extract_if(.., |(waiting, _)| *waiting == pipeline).collect::<Vec<_>>()
        });
        // What they belong to may go with them, and is not to go within the lock.
        drop(left);
        self.change(|_, _| ());
    }

    fn with<T>(&self, decide: impl FnOnce(&mut State, Duration) -> T) -> T {
        let now = (self.clock)();
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

    /// Changes shares, and wakes those that may go on by then.
    fn change(&self, change: impl FnOnce(&mut Shares, Duration)) {
        let woken = self.with(|state, now| {
            change(&mut state.shares, now);
            let State { shares, waiting } = state;
            let woken = waiting.extract_if(.., |(pipeline, _)| shares.may_work(*pipeline, now));
            woken.map(|(_, waker)| waker).collect::<Vec<_>>()
        });
        woken.into_iter().for_each(Waker::wake);
    }
}

impl ShareHandle {
    /// Runs `work` in the turns of its pipeline.
    pub async fn schedule<T>(self, work: impl Future<Output = T> + Send) -> T {
        let tracker = Arc::new(WakeTracker { share: self, state: Mutex::default() });
        let waker = tracker.clone().into();
        Scheduled { tracker, waker, wait: None, work: Box::pin(work) }.await
    }

    fn wants(&self) {
        let Joined { scheduler, number } = &*self.0;
        scheduler.with(|state, now| state.shares.wants(*number, now));
    }

    fn rests(&self) {
        let Joined { scheduler, number } = &*self.0;
        scheduler.change(|shares, now| shares.rests(*number, now));
    }
}

/// Knows whether a loop wants to work.
struct WakeTracker {
    share: ShareHandle,
    state: Mutex<WakeState>,
}

#[derive(Debug, Default)]
struct WakeState {
    /// It counts as one that wants to work.
    wants: bool,
    /// It is polled just now.
    runs: bool,
    /// It was woken since that poll began.
    woken: bool,
    /// Of the task.
    task: Option<Waker>,
}

impl WakeTracker {
    fn state(&self) -> MutexGuard<'_, WakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its task is polled, for whatever reason.
    fn called(&self, task: &Waker) {
        let mut state = self.state();
        if !state.task.as_ref().is_some_and(|old| old.will_wake(task)) {
            state.task = Some(task.clone());
        }
        if !std::mem::replace(&mut state.wants, true) {
            self.share.wants();
        }
    }

    fn begins(&self) {
        let mut state = self.state();
        (state.runs, state.woken) = (true, false);
    }

    fn ends(&self) {
        let mut state = self.state();
        state.runs = false;
        if !state.woken && std::mem::take(&mut state.wants) {
            self.share.rests();
        }
    }
}

impl Wake for WakeTracker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state();
        state.woken = true;
        if !state.runs && !std::mem::replace(&mut state.wants, true) {
            self.share.wants();
        }
        let task = state.task.clone();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

struct Scheduled<'a, T> {
    tracker: Arc<WakeTracker>,
    /// Tells the tracker.
    waker: Waker,
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
    work: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
}

impl<T> Future for Scheduled<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        this.tracker.called(cx.waker());
        let Joined { scheduler, number } = &*this.tracker.share.0;
        while !scheduler.may_work(*number, cx.waker()) {
            let timer = this.wait.insert(Box::pin(tokio::time::sleep(ASK_AGAIN_AFTER)));
            ready!(timer.as_mut().poll(cx));
        }
        this.wait = None;
        this.tracker.begins();
        let started = thread_time();
        let polled = this.work.as_mut().poll(&mut Context::from_waker(&this.waker));
        scheduler.change(|shares, _| shares.worked(*number, thread_time().saturating_sub(started)));
        this.tracker.ends();
        polled
    }
}

/// What has ended, or is dropped, wants nothing.
impl<T> Drop for Scheduled<'_, T> {
    fn drop(&mut self) {
        let mut state = self.tracker.state();
        // No late wake counts it in again.
        state.runs = true;
        if std::mem::take(&mut state.wants) {
            self.tracker.share.rests();
        }
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

fn monotonic_time() -> Duration {
    time_of(ClockId::Monotonic)
}

fn time_of(clock: ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn spin(turn: Duration) -> Duration {
        let started = thread_time();
        while thread_time() - started < turn {
            std::hint::spin_loop();
        }
        let worked = thread_time() - started;
        tokio::task::yield_now().await;
        worked
    }

    /// Works for `turn` between yields until its thread has worked for `all`, whoever for; how long it worked. What others
    /// do on the machine meanwhile makes it take longer and changes no share.
    async fn work(turn: Duration, all: Duration) -> Duration {
        let until = thread_time() + all;
        let mut worked = Duration::ZERO;
        while thread_time() < until {
            worked += spin(turn).await;
        }
        worked
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipeline_with_short_turns_gets_its_share_beside_one_with_long_ones() {
        // What others do on the machine puts the thread off, and is no rest of a pipeline.
        let scheduler = FairScheduler::by_clock(1, thread_time);
        let all = Duration::from_millis(600);
        let (light, heavy) = (scheduler.join(100), scheduler.join(300));
        let light = light.schedule(work(Duration::from_millis(5), all));
        let heavy = heavy.schedule(work(Duration::from_micros(50), all));
        let (light, heavy) = tokio::join!(tokio::spawn(light), tokio::spawn(heavy));
        let (light, heavy) = (light.expect("it ran").as_secs_f64(), heavy.expect("it ran").as_secs_f64());
        let share = heavy / (light + heavy);
        assert!((0.63..0.87).contains(&share), "three times the weight got {share} of the time");
    }

    /// Works for a short time in each millisecond, for ever.
    async fn work_now_and_then() {
        loop {
            let started = thread_time();
            while thread_time() - started < Duration::from_micros(50) {
                std::hint::spin_loop();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How often this thread has had nothing to do. That it was put off for others is not counted.
    fn parked() -> u64 {
        let status =
            std::fs::read_to_string("/proc/thread-self/status").expect("the system tells of this thread");
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.expect("a count of switches").trim().parse().expect("a number")
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipeline_that_works_now_and_then_holds_nobody_up() {
        let scheduler = FairScheduler::new(1);
        let (light, heavy) = (scheduler.join(100), scheduler.join(100));
        let light = tokio::spawn(light.schedule(work_now_and_then()));
        let before = parked();
        let heavy = heavy.schedule(work(Duration::from_millis(5), Duration::from_millis(200)));
        tokio::spawn(heavy).await.expect("it ran");
        let parked = parked() - before;
        light.abort();
        // Forty turns: were each held up, the thread would have waited as often. It waits for a lock now and then too.
        assert!(parked < 30, "with work to do, the thread waited {parked} times");
    }

    #[tokio::test]
    async fn pipelines_that_come_and_go_leave_nothing_behind() {
        let scheduler = FairScheduler::new(1);
        for round in 0..10_000 {
            let share = scheduler.join(100);
            match round % 3 {
                // It never runs, it runs to its end, or it is dropped where it waits.
                0 => {}
                1 => assert_eq!(share.clone().schedule(async { round }).await, round),
                _ => {
                    let mut waits = Box::pin(share.clone().schedule(std::future::pending::<()>()));
                    assert!(futures::poll!(&mut waits).is_pending());
                }
            }
        }
        let state = scheduler.state.lock().expect("the shares");
        assert!(state.shares.is_empty() && state.waiting.is_empty(), "{state:?}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_waits_goes_on_when_the_other_leaves() {
        let scheduler = FairScheduler::by_clock(1, || Duration::from_secs(1));
        let (ahead, other) = (scheduler.join(100), scheduler.join(100));
        other.wants();
        let waits = ahead.clone().schedule(async {});
        ahead.0.scheduler.change(|shares, _| shares.worked(ahead.0.number, Duration::from_secs(1)));
        let mut waits = Box::pin(waits);
        assert!(futures::poll!(&mut waits).is_pending(), "it is ahead");
        drop(other);
        assert!(futures::poll!(&mut waits).is_ready(), "nobody is left to wait for");
    }

    /// The workers of a busy runtime look at timers once in dozens of polls, each as long as a tick of the epoch.
    #[test]
    fn shares_do_not_rest_on_timers() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let shares = runtime.expect("a runtime").block_on(async {
            let scheduler = FairScheduler::new(1);
            let (turn, all) = (Duration::from_millis(8), Duration::from_millis(800));
            let (light, heavy) = (scheduler.join(100), scheduler.join(300));
            let light = tokio::spawn(light.schedule(work(turn, all)));
            let heavy = tokio::spawn(heavy.schedule(work(turn, all)));
            (light.await.expect("it ran").as_secs_f64(), heavy.await.expect("it ran").as_secs_f64())
        });
        let share = shares.1 / (shares.0 + shares.1);
        assert!((0.66..0.84).contains(&share), "three times the weight got {share} of the time");
    }
}
