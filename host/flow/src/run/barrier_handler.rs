//! The barrier handler of one loop: its part in the checkpoints of its pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::batch::Batch;
use model::ids::RecordId;
use model::signal::Barrier;
use tokio::sync::{Notify, mpsc, watch};

use super::moved::Moved;
use crate::belt::Belt;
use crate::checkpoint::{Ack, BarrierStep, CoordinatorStatus, LoopId, LoopReport, ON_BARRIER, Participant};
use crate::connector::{ConnectError, Places, Pulled, Source};
use crate::error::RunError;
use crate::fault::{self, Point};
use crate::state::StateDelta;

/// The source at the head of a loop.
pub(super) struct TrackedSource {
    pub name: Arc<str>,
    /// Its index in the plan.
    pub stage: usize,
    /// Where it goes on.
    pub places: Places,
}

/// The barrier handler of one loop, beside its belt: it knows where its source is, does what is due on
/// a barrier, and has sinks commit.
pub(super) struct BarrierHandler {
    id: LoopId,
    status: watch::Receiver<CoordinatorStatus>,
    reports: mpsc::Sender<(LoopId, LoopReport)>,
    wanted: Arc<Notify>,
    moved: Arc<Moved>,
    /// The source at the head of the loop, where there is one, and where it is.
    source: Option<TrackedSource>,
    places: Places,
    /// By split: the offset behind the last record that came in this run.
    reached: BTreeMap<Arc<str>, u64>,
    /// Letters that came in a replay since the last barrier, with their records.
    sent_in: Vec<(u64, RecordId)>,
    /// Splits that are forgotten, of which the next checkpoint has still to say how far they came.
    forgotten: Vec<Arc<str>>,
    participant: Participant,
    prepared: Vec<(usize, Vec<u8>)>,
    /// Where the source was then.
    prepared_places: Places,
    /// What had changed then in the states of its stages.
    prepared_states: BTreeMap<Arc<str>, StateDelta>,
    prepared_reached: BTreeMap<Arc<str>, u64>,
    /// How many records the source had given by then.
    prepared_given: u64,
    /// What the source has not been told yet.
    to_release: Option<Places>,
    /// What it has been told.
    released: Option<Places>,
}

impl BarrierHandler {
    pub fn new(
        id: LoopId,
        status: watch::Receiver<CoordinatorStatus>,
        reports: mpsc::Sender<(LoopId, LoopReport)>,
        (wanted, moved): (Arc<Notify>, Arc<Moved>),
        mut source: Option<TrackedSource>,
    ) -> Self {
        let places = source.as_mut().map(|source| std::mem::take(&mut source.places)).unwrap_or_default();
        Self {
            id,
            status,
            reports,
            wanted,
            moved,
            source,
            places,
            reached: BTreeMap::new(),
            sent_in: Vec::new(),
            forgotten: Vec::new(),
            participant: Participant::default(),
            prepared: Vec::new(),
            prepared_places: Places::new(),
            prepared_states: BTreeMap::new(),
            prepared_reached: BTreeMap::new(),
            prepared_given: 0,
            to_release: None,
            released: None,
        }
    }

    /// Takes the place up to which the source has read, and splits that never go on, out of what it brought. Whether there
    /// was a place.
    pub fn note(&mut self, pulled: &mut Pulled) -> bool {
        // A source that is asked again and again says each time where it is.
        if !pulled.is_empty() || !pulled.forgotten.is_empty() {
            self.moved.tell();
        }
        for split in pulled.forgotten.drain(..) {
            self.places.remove(&split);
            self.forgotten.push(split);
        }
        let Some(cursor) = pulled.cursor.take() else { return false };
        let is_new = !self.places.contains_key(&cursor.split);
        // Of a split that is new it is known that nothing has come.
        let behind = pulled.last_offset().map(|last| last.saturating_add(1)).or(is_new.then_some(0));
        if let Some(behind) = behind {
            match self.reached.get_mut(&cursor.split) {
                Some(reached) => *reached = behind,
                None => {
                    self.reached.insert(cursor.split.clone(), behind);
                }
            }
        }
        match self.places.get_mut(&cursor.split) {
            Some(place) if *place == cursor.place => {}
            Some(place) => {
                *place = cursor.place;
                self.moved.tell();
            }
            None => {
                self.places.insert(cursor.split, cursor.place);
                self.moved.tell();
            }
        }
        true
    }

    /// There is something for the next checkpoint. Where streams meet nobody says so of what comes by the edges: a checkpoint
    /// that has the record of a source has all that came of it.
    pub fn moved(&self) {
        self.moved.tell();
    }

    /// Whether the next checkpoint has nothing to begin for, and none is on its way to this loop.
    pub fn rests(&self) -> bool {
        !self.moved.is_told() && self.participant.has_acked(self.status.borrow().begun)
    }

    /// A replay sends these records in.
    pub fn note_sent_in(&mut self, rows: &Batch) {
        let lineage = rows.lineage();
        let sent_in = |row| Some((lineage.letter(row)?, lineage.id(row)));
        self.sent_in.extend((0..rows.rows()).filter_map(sent_in));
    }

    /// Whether there is anything to heed. Cheap: it is asked for every batch.
    pub fn has_news(&self) -> bool {
        // Once nobody coordinates any more, it is not told whether the last status was seen.
        self.participant.is_behind() || self.status.has_changed().unwrap_or(true)
    }

    /// Waits until there is something new to heed.
    pub async fn changed(&mut self) {
        // The coordinator ends before this loop is done only where something has failed, and has said that by then.
        let _ = self.status.changed().await;
    }

    /// Whether nothing will be committed any more: another loop or the store has failed. The coordinator says so; that
    /// it is gone says nothing, least of all that something was committed.
    pub fn is_over(&self) -> bool {
        self.status.borrow().has_failed
    }

    /// Waits until nothing will be committed any more.
    pub async fn until_over(&mut self) {
        let _ = self.status.wait_for(|status| status.has_failed).await;
    }

    /// Has sinks commit the last checkpoint, and does what is due where the next one has begun. `begins`: whether it is this
    /// loop that sees a barrier first. A loop with a stage that backs off does so later: what waits there was before the
    /// barrier.
    pub async fn heed(&mut self, belt: &mut Belt, begins: bool) -> Result<(), RunError> {
        let status = *self.status.borrow_and_update();
        if status.has_failed {
            return Ok(());
        }
        self.commit(belt, status).await?;
        let begun = match begins {
            true => self.participant.begins(status.begun, belt.wakes_at().is_some()),
            false => None,
        };
        match begun {
            Some(barrier) => self.on_barrier(belt, barrier).await,
            None => Ok(()),
        }
    }

    async fn commit(&mut self, belt: &mut Belt, status: CoordinatorStatus) -> Result<(), RunError> {
        if let Some(last) = self.participant.commits(status.committed) {
            let prepared = std::mem::take(&mut self.prepared);
            belt.states_stored();
            fault::hit(Point::SinksCommitting);
            belt.commit(&prepared).await?;
            fault::hit(Point::SinksCommitted);
            if last.is_last() {
                let (number, all_sinks) = (last.number, belt.has_committed_all());
                self.report(LoopReport::SinksCommitted { number, all_sinks }).await;
            }
            let places = std::mem::take(&mut self.prepared_places);
            if let Some(source) = &self.source {
                belt.context.meters.stages[source.stage].set_committed(self.prepared_given);
                self.to_release = Some(places).filter(|places| self.released.as_ref() != Some(places));
            }
        }
        Ok(())
    }

    /// Everything before the barrier has been worked off on this belt.
    pub async fn on_barrier(&mut self, belt: &mut Belt, barrier: Barrier) -> Result<(), RunError> {
        // Where a barrier has come, the checkpoint before it is committed.
        let status = *self.status.borrow();
        self.commit(belt, status).await?;
        let letters = belt.context.refusing.next();
        for step in ON_BARRIER {
            match step {
                BarrierStep::Freeze => self.prepared_states = belt.freeze_states(),
                BarrierStep::Forward => {
                    belt.forward_barrier(barrier).await;
                    fault::hit(Point::BarrierPassed);
                }
                BarrierStep::Prepare => {
                    let (tokens, prepared) = belt.prepare(barrier).await;
                    prepared?;
                    fault::hit(Point::SinksPrepared);
                    (self.prepared, self.prepared_places) = (tokens, self.places.clone());
                    self.prepared_reached.clone_from(&self.reached);
                    for split in self.forgotten.drain(..) {
                        self.reached.remove(&split);
                    }
                    if let Some(source) = &self.source {
                        self.prepared_given = belt.context.meters.stages[source.stage].given();
                    }
                }
                BarrierStep::Ack => {
                    self.participant.acked(barrier);
                    belt.context.refusing.sent_in(std::mem::take(&mut self.sent_in));
                    let ack = self.ack(belt, letters);
                    self.report(LoopReport::Acked { number: barrier.number, ack }).await;
                    fault::hit(Point::LoopAnswered);
                }
            }
        }
        Ok(())
    }

    /// Sees to a checkpoint where a stage has written much since the last one, and waits where it has written too much.
    /// `begins`: whether it is this loop that sees a barrier first. It waits for what comes without any more batches
    /// being taken: for a checkpoint to begin, for one that it has acknowledged to be committed, and, where barriers begin
    /// here, for stages that back off. A barrier that comes by edges comes behind batches, which are worked off.
    pub async fn relieve(&mut self, belt: &mut Belt, begins: bool) -> Result<(), RunError> {
        while belt.is_state_heavy() && !self.is_over() {
            let CoordinatorStatus { begun, committed, .. } = *self.status.borrow();
            let number = |barrier: Option<Barrier>| barrier.map_or(0, |barrier| barrier.number);
            let is_under_way = number(begun) > number(committed);
            match (is_under_way, self.participant.has_acked(begun)) {
                (false, _) => {
                    self.wanted.notify_one();
                    self.changed().await;
                }
                (true, true) if belt.is_state_full() => self.changed().await,
                (true, false) if begins && belt.is_state_full() => Box::pin(belt.drain()).await?,
                (true, false) if begins && belt.wakes_at().is_none() => {}
                (true, _) => return Ok(()),
            }
            self.heed(belt, begins).await?;
        }
        Ok(())
    }

    /// What this loop adds to the checkpoint that it has prepared for. `letters`: the number of the next dead letter when
    /// the barrier came.
    fn ack(&mut self, belt: &Belt, letters: u64) -> Ack {
        let stages = &belt.context.plan.stages;
        let name = |stage: usize| stages[stage].name.clone();
        let tokens = self.prepared.iter().map(|(stage, token)| (name(*stage), token.clone())).collect();
        let places = self.source.iter().map(|source| (source.name.clone(), self.prepared_places.clone()));
        let reached = self.source.iter().map(|source| (source.name.clone(), self.prepared_reached.clone()));
        Ack {
            places: places.collect(),
            reached: reached.collect(),
            tokens,
            states: std::mem::take(&mut self.prepared_states),
            letters,
        }
    }

    /// Whether there is something to tell the source. An idle source is told nothing twice.
    pub fn releases(&self) -> bool {
        self.to_release.is_some()
    }

    /// Tells the source what it may release.
    pub async fn release(&mut self, source: &mut dyn Source) -> Result<(), ConnectError> {
        let Some(places) = &self.to_release else { return Ok(()) };
        fault::hit(Point::SourceReleasing);
        source.committed(places).await?;
        fault::hit(Point::SourceReleased);
        self.released = self.to_release.take();
        Ok(())
    }

    /// Nothing comes to this loop any more, and all that came has been worked off. `is_stopped`: since sources were told to
    /// stop.
    pub async fn ended(&mut self, is_stopped: bool) {
        self.report(LoopReport::Ended { is_stopped }).await;
    }

    /// Takes part in what checkpoints follow the end. Whether nothing is left to do: the sinks of this loop have committed
    /// the last one, or something has failed.
    pub async fn finish(&mut self, belt: &mut Belt) -> Result<bool, RunError> {
        self.heed(belt, true).await?;
        if self.participant.awaits_last() {
            fault::hold(Point::LastAwaited).await;
        }
        Ok(self.participant.is_done() || self.is_over())
    }

    async fn report(&self, report: LoopReport) {
        // Nobody listens when the run has failed, and then nothing depends on it.
        let _ = self.reports.send((self.id, report)).await;
    }
}
