//! Pipelines that take turns on a busy machine: a loop whose pipeline is ahead of its share waits before it is polled
//! again. `model::share` decides; what a loop works is the time that its polls take, and a guest that runs for long
//! yields at each tick of the epoch, so no turn is longer than that.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use model::share::Shares;

/// The pipelines of one process.
#[derive(Clone, Debug)]
pub struct Turns {
    shares: Arc<Mutex<Shares>>,
    since: Instant,
}

impl Default for Turns {
    fn default() -> Self {
        Self { shares: Arc::default(), since: Instant::now() }
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

/// How long a loop whose pipeline is ahead waits before it asks again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(1);

impl Turns {
    pub fn join(&self, weight: u32) -> Seat {
        let number = self.with(|shares, now| shares.join(weight, now));
        Seat { taken: Arc::new(Taken { turns: self.clone(), number }) }
    }

    fn with<T>(&self, decide: impl FnOnce(&mut Shares, Duration) -> T) -> T {
        let now = self.since.elapsed();
        decide(&mut self.shares.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

/// The last loop of a pipeline has ended.
impl Drop for Taken {
    fn drop(&mut self) {
        self.turns.with(|shares, _| shares.leave(self.number));
    }
}

impl Seat {
    /// Runs `work` in the turns of its pipeline.
    pub async fn take_turns<T>(self, work: impl Future<Output = T> + Send) -> T {
        Turn { seat: self, wait: None, work: Box::pin(work) }.await
    }
}

struct Turn<'a, T> {
    seat: Seat,
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
    work: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
}

impl<T> Future for Turn<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Taken { turns, number } = &*self.seat.taken.clone();
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            if turns.with(|shares, now| shares.may_work(*number, now)) {
                break;
            }
            self.wait = Some(Box::pin(tokio::time::sleep(ASK_AGAIN_AFTER)));
        }
        let started = Instant::now();
        let polled = self.work.as_mut().poll(cx);
        turns.with(|shares, now| shares.worked(*number, started.elapsed(), now));
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works for `turn` between yields until `until`; how long it worked.
    async fn work(turn: Duration, until: Instant) -> Duration {
        let mut worked = Duration::ZERO;
        while Instant::now() < until {
            let started = Instant::now();
            while started.elapsed() < turn {
                std::hint::spin_loop();
            }
            worked += started.elapsed();
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
}
