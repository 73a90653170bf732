//! The loops: a source, or a place where streams meet, with the belt behind it.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use model::batch::Batch;
use model::limits;
use model::signal::Then;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::barrier_handler::BarrierHandler;
use crate::belt::Belt;
use crate::checkpoint::{Alignment, Step};
use crate::connector::{ConnectError, PullLimits, Pulled, Source};
use crate::edge::{Parcel, Receiver};
use crate::error::RunError;
use crate::pacing::Pacing;
use crate::replay::{Entrance, Injection, Injections, RefusedNow};

/// Where the records of a loop come from.
pub(super) enum Head {
    Source(SourceHead),
    Meeting(Receiver),
    /// Batches that were kept, and then what comes of those of other loops, where streams meet.
    Injected {
        injections: Vec<Injections>,
        then: Option<Receiver>,
        /// Of the source at the head of the loop, where records come out of it.
        record_bytes_max: u64,
    },
}

/// One loop. It owns its head and everything behind it.
pub(super) struct Chain {
    pub head: Head,
    pub belt: Belt,
    /// None in a run without checkpoints.
    pub handler: Option<BarrierHandler>,
}

impl Chain {
    /// Runs until the head has ended, `stop` is cancelled, or something fails. `stop` ends sources only: a meeting ends
    /// when all that feed it have, so that what was read is delivered. Without checkpoints, what sinks have been given
    /// is made durable and committed in each case; with them, when the last checkpoint is committed.
    pub async fn run(self, stop: CancellationToken) -> Result<(), RunError> {
        let Self { head, mut belt, mut handler } = self;
        match head {
            Head::Source(mut head) => {
                let driven = drive_source(&mut belt, &mut handler, &mut head, &stop).await;
                if let Ok(true) = driven {
                    belt.context.stopped.set();
                }
                close(driven, &mut belt, &mut handler, Some(head)).await
            }
            Head::Meeting(receiver) => {
                let driven = drive_meeting(&mut belt, &mut handler, receiver).await;
                close(driven, &mut belt, &mut handler, None).await
            }
            Head::Injected { injections, then, record_bytes_max } => {
                let driven =
                    drive_injections(&mut belt, &mut handler, injections, then, record_bytes_max).await;
                close(driven, &mut belt, &mut handler, None).await
            }
        }
    }
}

/// What is left to do when nothing more comes. `driven`: whether that is so since sources were told to stop.
async fn close(
    driven: Result<bool, RunError>,
    belt: &mut Belt,
    handler: &mut Option<BarrierHandler>,
    mut head: Option<SourceHead>,
) -> Result<(), RunError> {
    match handler {
        None => {
            // A failure says nothing of the input either.
            let then = Then::of_last(driven.as_ref().map_or(true, |is_stopped| *is_stopped));
            let drained = match driven {
                Ok(_) => belt.drain().await,
                Err(failed) => Err(failed),
            };
            if drained.is_ok() {
                belt.end().await;
            }
            drained.and(belt.finish(then).await)
        }
        Some(handler) => {
            let is_stopped = driven?;
            if handler.is_over() {
                return Ok(());
            }
            belt.drain().await?;
            belt.end().await;
            handler.ended(is_stopped).await;
            loop {
                let is_finished = handler.finish(belt).await?;
                if let Some(head) = &mut head
                    && let Err(error) = handler.release(&mut *head.source).await
                {
                    // Everything is delivered, and the next run tells it again.
                    tracing::warn!(stage = head.name, %error, "the source could not be told what it may release");
                }
                if is_finished {
                    return Ok(());
                }
                handler.changed().await;
            }
        }
    }
}

/// A source at the head of a loop.
pub(super) struct SourceHead {
    pub stage: usize,
    pub name: String,
    pub source: Box<dyn Source>,
    pub limits: PullLimits,
    /// None where no barrier has to come through in time.
    pub pacing: Option<Pacing>,
}

impl SourceHead {
    /// On the heap, since it is large and goes through many hands.
    async fn pull(&mut self) -> Result<Option<Box<Pulled>>, ConnectError> {
        let limits = self.pacing.map_or(self.limits, |pacing| pacing.limit(self.limits));
        Ok(self.source.pull(limits).await?.map(Box::new))
    }

    fn failed(&self, error: ConnectError) -> RunError {
        RunError::Connect { stage: self.name.clone(), records: None, error }
    }

    /// `begun`: when the work on `rows` did, where somebody paces.
    fn worked_off(&mut self, rows: usize, begun: Option<Instant>) {
        if let (Some(pacing), Some(begun)) = (&mut self.pacing, begun) {
            let now = Instant::now();
            pacing.worked_off(rows, now - begun, now.into_std());
        }
    }
}

/// Says whether it was told to stop, and its input had not ended by then.
async fn drive_source(
    belt: &mut Belt,
    handler: &mut Option<BarrierHandler>,
    head: &mut SourceHead,
    stop: &CancellationToken,
) -> Result<bool, RunError> {
    let mut tries = 0;
    while !stop.is_cancelled() && !belt.is_over() {
        belt.context.quota.wait().await;
        if let Some(handler) = handler
            && handler.has_news()
        {
            handler.heed(belt, true).await?;
            if handler.is_over() {
                return Ok(true);
            }
        }
        let released = match handler {
            Some(handler) => handler.release(&mut *head.source).await,
            None => Ok(()),
        };
        let pulled = match released {
            Ok(()) => match wait(belt, handler, head.pull(), Some(stop)).await? {
                Waited::Ready(pulled) => pulled,
                Waited::Release => continue,
                Waited::Over => break,
            },
            Err(error) => Err(error),
        };
        let pulled: Option<Box<Pulled>> = match pulled {
            Ok(pulled) => pulled,
            Err(error) => {
                tries += 1;
                match belt.source_waits(head.stage, tries, &error) {
                    Some(wait) => {
                        tokio::select! {
                            () = stop.cancelled() => return Ok(true),
                            () = tokio::time::sleep(wait) => continue,
                        }
                    }
                    None => {
                        let error = head.failed(error);
                        return belt.give_up(head.stage, error, None).map(|()| false);
                    }
                }
            }
        };
        tries = 0;
        let Some(mut pulled) = pulled else { return Ok(false) };
        if handler.as_mut().is_some_and(|handler| handler.note(&mut pulled)) {
            belt.context.meters.stages[head.stage].mark_replayable();
        }
        let rows = pulled.batch.as_ref().map_or(0, Batch::rows);
        belt.take_from_source(head.stage, pulled, head.source.record_bytes_max())?;
        let begun = head.pacing.is_some().then(Instant::now);
        belt.work().await?;
        head.worked_off(rows, begun);
        if let Some(handler) = handler {
            handler.relieve(belt, true).await?;
        }
        // A source that always has something would never let its neighbours on this thread run.
        tokio::task::consume_budget().await;
    }
    if belt.is_over() {
        belt.context.meters.stages[head.stage].end_early();
        return Ok(false);
    }
    Ok(stop.is_cancelled())
}

/// Says whether all that came has ended because sources were told to stop, or one is gone.
async fn drive_meeting(
    belt: &mut Belt,
    handler: &mut Option<BarrierHandler>,
    mut receiver: Receiver,
) -> Result<bool, RunError> {
    let mut alignment = Alignment::new(&receiver.edges);
    loop {
        if belt.is_over() {
            // What comes for a branch that was cut is counted, as long as others make the sources read on.
            receiver.only_counts();
            if !belt.counts() {
                return Ok(belt.context.stopped.is_set());
            }
        }
        belt.context.quota.wait().await;
        if let Some(handler) = handler
            && handler.has_news()
        {
            handler.heed(belt, false).await?;
            if handler.is_over() {
                return Ok(true);
            }
        }
        match alignment.step() {
            // The room that the batch takes up on the edge is free once it is worked off.
            Some(Step::Item(edge, parcel)) => {
                let Parcel { ref batch, .. } = parcel;
                belt.receive(edge, batch.clone());
                belt.work().await?;
                if let Some(handler) = handler {
                    handler.relieve(belt, false).await?;
                }
            }
            Some(Step::Barrier(barrier)) => {
                // What waits for stages that back off was before the barrier.
                belt.drain().await?;
                if let Some(handler) = handler {
                    handler.on_barrier(belt, barrier).await?;
                }
            }
            Some(Step::End) => return Ok(belt.context.stopped.is_set()),
            None => match wait(belt, handler, receiver.recv(), None).await? {
                Waited::Ready(Some((edge, signal))) => alignment.accept(edge, signal),
                Waited::Ready(None) => {
                    // Who feeds this loop is gone without having said that nothing follows: it has failed.
                    if let Some(handler) = handler {
                        handler.until_over().await;
                    }
                    return Ok(true);
                }
                Waited::Release | Waited::Over => return Ok(true),
            },
        }
    }
}

async fn drive_injections(
    belt: &mut Belt,
    handler: &mut Option<BarrierHandler>,
    injections: Vec<Injections>,
    then: Option<Receiver>,
    record_bytes_max: u64,
) -> Result<bool, RunError> {
    for injection in injections.into_iter().flatten() {
        let Injection { stage, entrance, batch, misfits } = injection?;
        if let Some(handler) = handler {
            handler.moved();
            handler.note_sent_in(&batch);
            misfits.iter().for_each(|misfits| handler.note_sent_in(&misfits.rows));
        }
        if let Some(RefusedNow { rows, rejections, kept_as }) = misfits {
            belt.refuse(stage, &rows, rejections, kept_as)?;
        }
        match entrance {
            Entrance::Source(source) => belt.return_to_source(source, batch, record_bytes_max)?,
            Entrance::Stage(stage) => belt.enter(stage, batch),
            Entrance::Edge(edge) => belt.receive(edge, batch),
        }
        belt.work().await?;
        if let Some(handler) = handler {
            // Where streams meet, a barrier comes by the edges.
            handler.relieve(belt, then.is_none()).await?;
            if handler.is_over() {
                return Ok(true);
            }
        }
        tokio::task::consume_budget().await;
    }
    match then {
        Some(receiver) => drive_meeting(belt, handler, receiver).await,
        None => Ok(false),
    }
}

/// What came of waiting.
enum Waited<T> {
    Ready(T),
    /// The source at the head of this loop is to be told what it may release, and then asked again.
    Release,
    /// `stop` came first, something else has failed, or nobody is left to take a record.
    Over,
}

/// Waits for the next batch. While there is none, what sinks have buffered becomes visible, stages that back off are
/// tried again, checkpoints go on, and after a while the instances are let go. `stop`: of a source.
async fn wait<T>(
    belt: &mut Belt,
    handler: &mut Option<BarrierHandler>,
    next: impl Future<Output = T>,
    stop: Option<&CancellationToken>,
) -> Result<Waited<T>, RunError> {
    let mut next = pin!(next);
    if let Some(at) = belt.wakes_at()
        && at <= Instant::now()
        && let Some(ended) = wake(belt, handler, at, stop.is_some()).await?
    {
        return Ok(ended);
    }
    if let Poll::Ready(ready) = futures::poll!(next.as_mut()) {
        return Ok(Waited::Ready(ready));
    }
    belt.flush().await?;
    let mut stopped = pin!(or_never(stop.map(CancellationToken::cancelled)));
    let mut cools = pin!(tokio::time::sleep(limits::IDLE_AFTER));
    let mut is_warm = true;
    loop {
        let wakes_at = belt.wakes_at();
        let wakes = or_never(wakes_at.map(|at| async move {
            tokio::time::sleep_until(at).await;
            at
        }));
        // What a sink makes of its records by itself, such as a file that is full by its age, is for the next checkpoint.
        let rests = handler.as_ref().is_some_and(BarrierHandler::rests);
        let due = or_never(rests.then(|| belt.due_in()).flatten().map(tokio::time::sleep));
        let changed = or_never(handler.as_mut().map(BarrierHandler::changed));
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(Waited::Over),
            () = changed => {
                if let Some(ended) = heed(belt, handler, stop.is_some()).await? {
                    return Ok(ended);
                }
            }
            ready = next.as_mut() => return Ok(Waited::Ready(ready)),
            at = wakes => {
                if let Some(ended) = wake(belt, handler, at, stop.is_some()).await? {
                    return Ok(ended);
                }
                belt.flush().await?;
            }
            () = due => {
                if let Some(handler) = handler {
                    handler.moved();
                }
            }
            () = cools.as_mut(), if is_warm => {
                belt.cool();
                is_warm = false;
            }
        }
    }
}

/// Tries stages that back off again. A barrier that waited for them comes then, and nothing else may ever wake this
/// loop: a source whose spool is full has records again only when a checkpoint is committed. Says whether the wait ends by it.
async fn wake<T>(
    belt: &mut Belt,
    handler: &mut Option<BarrierHandler>,
    at: Instant,
    is_source: bool,
) -> Result<Option<Waited<T>>, RunError> {
    belt.wake(at);
    belt.work().await?;
    // The last one that could take a record was given up: the source may have none for hours.
    if is_source && belt.is_over() {
        return Ok(Some(Waited::Over));
    }
    match handler.as_ref().is_some_and(BarrierHandler::has_news) {
        true => heed(belt, handler, is_source).await,
        false => Ok(None),
    }
}

/// Heeds checkpoints in the middle of a wait. Says whether it ends by that.
async fn heed<T>(
    belt: &mut Belt,
    handler: &mut Option<BarrierHandler>,
    is_source: bool,
) -> Result<Option<Waited<T>>, RunError> {
    let Some(handler) = handler else { return Ok(None) };
    handler.heed(belt, is_source).await?;
    Ok(match () {
        () if handler.is_over() => Some(Waited::Over),
        () if handler.releases() => Some(Waited::Release),
        () => None,
    })
}

/// What there is to wait for, or nothing that ever comes.
async fn or_never<T>(future: Option<impl Future<Output = T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
