//! What follows from commands, for as many as want to know, each at its own pace.
//!
//! All look at one bounded list, so that whoever does not read costs nobody anything. Who is too far behind is told so,
//! and looks at the state anew.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::limits::{CONTROL_EFFECTS_KEPT, CONTROL_EFFECTS_READ};
use tokio::sync::watch;

use crate::state::Event;

/// Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: Mutex<VecDeque<Arc<Event>>>,
    /// The number of the last one. Closed when nothing comes any more.
    last: Mutex<Option<watch::Sender<u64>>>,
    reader: watch::Receiver<u64>,
}

/// Somebody who looks on.
#[derive(Debug)]
pub struct Watch {
    events: Events,
    last: watch::Receiver<u64>,
    /// The number of the last one that was given.
    seen: u64,
}

/// Why no more comes.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchError {
    #[error("the effects behind {seen} are not kept any more; list what there is, and watch from there on")]
    Behind { seen: u64 },
    #[error("the node is stopping; watch again when it is back")]
    Stopped,
}

impl Events {
    /// `last`: the number of the last effect of a state.
    pub fn new(last: u64) -> Self {
        let (last, reader) = watch::channel(last);
        Self(Arc::new(Shared { kept: Mutex::default(), last: Mutex::new(Some(last)), reader }))
    }

    pub fn add(&self, events: impl IntoIterator<Item = Event>) {
        let mut kept = lock(&self.0.kept);
        kept.extend(events.into_iter().map(Arc::new));
        let too_many = kept.len().saturating_sub(CONTROL_EFFECTS_KEPT);
        kept.drain(..too_many);
        if let Some(last) = kept.back() {
            self.tell(last.number);
        }
    }

    /// A state came from elsewhere, and nobody knows what led to it.
    pub fn begin_anew(&self, last: u64) {
        lock(&self.0.kept).clear();
        self.tell(last);
    }

    /// Nothing comes any more.
    pub fn close(&self) {
        lock(&self.0.last).take();
    }

    fn tell(&self, last: u64) {
        if let Some(sender) = &*lock(&self.0.last) {
            sender.send_replace(last);
        }
    }

    /// Those behind `seen`; behind what there is now, where that is none.
    pub fn watch(&self, seen: Option<u64>) -> Watch {
        let last = self.0.reader.clone();
        let seen = seen.unwrap_or_else(|| *last.borrow());
        Watch { events: self.clone(), last, seen }
    }

    /// Those that are kept, from the first on, and those behind them.
    pub fn watch_kept(&self) -> Watch {
        let (kept, last) = (lock(&self.0.kept), self.0.reader.clone());
        let seen = kept.front().map_or_else(|| *last.borrow(), |first| first.number - 1);
        Watch { events: self.clone(), last, seen }
    }

    fn behind(&self, seen: u64) -> Result<Vec<Arc<Event>>, WatchError> {
        let kept = lock(&self.0.kept);
        let last = *self.0.reader.borrow();
        let first = kept.front().map_or(last + 1, |event| event.number);
        // One that has seen more than there is was watching another state.
        if seen + 1 < first || seen > last {
            return Err(WatchError::Behind { seen });
        }
        let skip = usize::try_from(seen + 1 - first).unwrap_or(usize::MAX);
        Ok(kept.iter().skip(skip).take(CONTROL_EFFECTS_READ).cloned().collect())
    }
}

impl Watch {
    /// The next effects, at least one, in order and without gaps. Safe to cancel.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        loop {
            self.last.borrow_and_update();
            let events = self.events.behind(self.seen)?;
            if let Some(last) = events.last() {
                self.seen = last.number;
                return Ok(events);
            }
            self.last.changed().await.map_err(|_| WatchError::Stopped)?;
        }
    }

    /// The number of the last effect that was given: another one that watches goes on behind it.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Effect, NodeId};

    fn events(numbers: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = Event> {
        let effect = Effect::NodeRemoved { node: NodeId(1) };
        numbers.map(move |number| Event { number, index: 1, at_us: 0, effect: effect.clone() })
    }

    async fn next(watch: &mut Watch) -> Result<Vec<u64>, WatchError> {
        watch.next().await.map(|events| events.iter().map(|event| event.number).collect())
    }

    #[tokio::test]
    async fn each_gets_all_behind_what_it_has_seen_and_goes_on_where_another_left_off() {
        let all = Events::new(3);
        let (mut early, mut late) = (all.watch(None), all.watch(Some(4)));
        all.add(events(4..=6));
        assert_eq!(next(&mut early).await, Ok(vec![4, 5, 6]));
        assert_eq!(next(&mut late).await, Err(WatchError::Behind { seen: 4 }).or(Ok(vec![5, 6])));
        all.add(events(7..=7));
        assert_eq!(next(&mut all.watch(Some(early.seen()))).await, Ok(vec![7]));
        for seen in [1, 9] {
            assert_eq!(next(&mut all.watch(Some(seen))).await, Err(WatchError::Behind { seen }));
        }
        all.close();
        assert_eq!(next(&mut early).await, Ok(vec![7]), "what is there is given before the end");
        assert_eq!(next(&mut early).await, Err(WatchError::Stopped));
    }

    #[tokio::test]
    async fn who_does_not_read_is_behind_and_costs_nothing() {
        let all = Events::new(0);
        let mut watches: Vec<Watch> = (0..500).map(|_| all.watch(None)).collect();
        all.add(events(1..=10));
        let mut reader = all.watch(Some(0));
        assert_eq!(next(&mut reader).await.expect("ten").len(), 10);
        all.add(events(11..=CONTROL_EFFECTS_KEPT as u64 + 10));
        assert_eq!(lock(&all.0.kept).len(), CONTROL_EFFECTS_KEPT);
        assert_eq!(next(&mut all.watch_kept()).await.expect("some")[0], 11);
        assert_eq!(next(&mut watches[7]).await, Err(WatchError::Behind { seen: 0 }));
        assert_eq!(next(&mut reader).await.expect("some").len(), CONTROL_EFFECTS_READ);
        all.begin_anew(70_000);
        assert_eq!(next(&mut reader).await, Err(WatchError::Behind { seen: reader.seen() }));
        all.add(events(70_001..=70_001));
        assert_eq!(next(&mut all.watch(Some(70_000))).await, Ok(vec![70_001]));
        assert_eq!(next(&mut all.watch_kept()).await, Ok(vec![70_001]));
    }
}
