//! The loops: a source, or a place where streams meet, with the belt behind it.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use model::limits;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::belt::Belt;
use crate::connector::{PullLimits, Pulled, Source};
use crate::edge::{Parcel, Receiver};
use crate::error::RunError;
use crate::replay::{Entrance, Feed, Feeds};

/// Where the records of a loop come from.
pub(crate) enum Head {
    Source {
        stage: usize,
        name: String,
        source: Box<dyn Source>,
        limits: PullLimits,
    },
    Meeting(Receiver),
    /// Batches that were kept, and then what comes of those of other loops, where streams meet.
    Fed {
        feeds: Vec<Feeds>,
        then: Option<Receiver>,
    },
}

/// One loop. It owns its head and everything behind it.
pub(crate) struct Chain {
    pub head: Head,
    pub belt: Belt,
}

impl Chain {
    /// Runs until the head has ended, `stop` is cancelled, or something fails. In each case what sinks have
    /// been given is made durable first. `stop` ends sources only: a meeting ends when all that feed it
    /// have, so that what was read is delivered.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), RunError> {
        let driven = match self.head {
            Head::Source { stage, name, source, limits } => {
                drive_source(&mut self.belt, SourceHead { stage, name, source, limits }, &stop).await
            }
            Head::Meeting(receiver) => drive_meeting(&mut self.belt, receiver).await,
            Head::Fed { feeds, then } => drive_feeds(&mut self.belt, feeds, then).await,
        };
        let drained = match driven {
            Ok(()) => self.belt.drain().await,
            failed => failed,
        };
        drained.and(self.belt.finish().await)
    }
}

struct SourceHead {
    stage: usize,
    name: String,
    source: Box<dyn Source>,
    limits: PullLimits,
}

async fn drive_source(
    belt: &mut Belt,
    mut head: SourceHead,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let mut tries = 0;
    while !stop.is_cancelled() && !belt.is_over() {
        belt.context.quota.wait().await;
        let pull = head.source.pull(head.limits);
        let pulled: Option<Pulled> = match wait(belt, pull, Some(stop)).await? {
            None => break,
            Some(Ok(pulled)) => pulled,
            Some(Err(error)) => {
                tries += 1;
                match belt.source_waits(head.stage, tries, &error) {
                    Some(wait) => {
                        tokio::select! {
                            () = stop.cancelled() => return Ok(()),
                            () = tokio::time::sleep(wait) => continue,
                        }
                    }
                    None => {
                        let error = RunError::Connect { stage: head.name.clone(), records: None, error };
                        return belt.give_up(head.stage, error, 0);
                    }
                }
            }
        };
        tries = 0;
        match pulled {
            Some(pulled) => belt.take_from_source(head.stage, pulled)?,
            None => return Ok(()),
        }
        belt.work().await?;
        // A source that always has something would never let its neighbours on this thread run.
        tokio::task::consume_budget().await;
    }
    if belt.is_over() {
        belt.context.meters.stages[head.stage].end_early();
    }
    Ok(())
}

async fn drive_meeting(belt: &mut Belt, mut receiver: Receiver) -> Result<(), RunError> {
    loop {
        if belt.is_over() {
            // What comes for a branch that was cut is counted, as long as others make the sources read on.
            receiver.only_counts();
            if !belt.counts() {
                return Ok(());
            }
        }
        belt.context.quota.wait().await;
        match wait(belt, receiver.recv(), None).await? {
            // The room that the batch takes up on the edge is free once it is worked off.
            Some(Some(parcel)) => {
                let Parcel { edge, ref batch, .. } = parcel;
                belt.receive(edge, batch.clone());
                belt.work().await?;
            }
            Some(None) | None => return Ok(()),
        }
    }
}

async fn drive_feeds(belt: &mut Belt, feeds: Vec<Feeds>, then: Option<Receiver>) -> Result<(), RunError> {
    for feed in feeds.into_iter().flatten() {
        let Feed { stage, entrance, batch, misfits } = feed?;
        if let Some((came, rejections)) = misfits {
            belt.refuse(stage, &came, rejections)?;
        }
        match entrance {
            Entrance::Stage(stage) => belt.enter(stage, batch),
            Entrance::Edge(edge) => belt.receive(edge, batch),
        }
        belt.work().await?;
        tokio::task::consume_budget().await;
    }
    match then {
        Some(receiver) => drive_meeting(belt, receiver).await,
        None => Ok(()),
    }
}

/// Waits for the next batch. While there is none, what sinks have buffered becomes visible, stages that are held are
/// tried again, and after a while the instances are let go. None when `stop` came first, or, where there is one, nobody
/// is left to take a record.
async fn wait<T>(
    belt: &mut Belt,
    next: impl Future<Output = T>,
    stop: Option<&CancellationToken>,
) -> Result<Option<T>, RunError> {
    let mut next = pin!(next);
    if let Some(at) = belt.wakes_at()
        && at <= Instant::now()
    {
        belt.wake(at);
        belt.work().await?;
        if stop.is_some() && belt.is_over() {
            return Ok(None);
        }
    }
    if let Poll::Ready(ready) = futures::poll!(next.as_mut()) {
        return Ok(Some(ready));
    }
    belt.flush().await?;
    let stopped = async {
        match stop {
            Some(stop) => stop.cancelled().await,
            None => std::future::pending().await,
        }
    };
    let mut stopped = pin!(stopped);
    let mut cools = pin!(tokio::time::sleep(limits::IDLE_AFTER));
    let mut is_warm = true;
    loop {
        let wakes_at = belt.wakes_at();
        let wakes = async {
            match wakes_at {
                Some(at) => {
                    tokio::time::sleep_until(at).await;
                    at
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(None),
            ready = next.as_mut() => return Ok(Some(ready)),
            at = wakes => {
                belt.wake(at);
                belt.work().await?;
                belt.flush().await?;
                // The last one that could take a record was given up: the source may have none for hours.
                if stop.is_some() && belt.is_over() {
                    return Ok(None);
                }
            }
            () = cools.as_mut(), if is_warm => {
                belt.cool();
                is_warm = false;
            }
        }
    }
}
