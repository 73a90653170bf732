//! Writes commands: those that wait at the same time share an entry of the log.
//!
//! openraft appends one entry after the other and waits for each to be synced, so an entry for each command would be a
//! sync for each. One entry is under way at a time, and what comes meanwhile is the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::limits::{
    CONTROL_COMMAND_BYTES_MAX, CONTROL_ENTRY_BYTES, CONTROL_ENTRY_COMMANDS_MAX, CONTROL_SNAPSHOT_LOG_BYTES,
    CONTROL_WAITING_MAX,
};
use openraft::error::{ClientWriteError, Fatal, RaftError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::raft::{Answers, Batch, Raft};
use crate::state::{Answer, NodeId, Proposal, Refusal};
use crate::store::{Store, StoreError};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub answer: Answer,
    /// Of the entry of the log in which it was done.
    pub index: u64,
}

/// Why something was not done, or may not have been.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum ProposeError {
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    #[error("too many wait for the control state; nothing was done, try again in a moment")]
    Busy,
    /// It is full, or fails.
    #[error("nothing was done: {0}")]
    Disk(StoreError),
    #[error("this node does not lead{}; nothing was done, ask there", leader.map(|leader| format!(", node {leader} does")).unwrap_or_default())]
    NotLeader { leader: Option<NodeId> },
    #[error("too few of the voters answer; nothing was done. Look at the nodes that are away, and try again")]
    NoQuorum,
    #[error(
        "nobody knows yet whether it was done; ask again with the same idempotency key, which does it once at most"
    )]
    Unknown,
    #[error("the control state ended: {0}")]
    Ended(String),
    #[error("the node is stopping; nothing was done, ask again when it is back")]
    Stopping,
}

type Told = Result<Done, ProposeError>;

struct Waiting {
    proposal: Proposal,
    bytes: usize,
    /// Taken by whoever comes first: the writer, to write it, or the one who waits, to give up.
    is_taken: Arc<AtomicBool>,
    told: oneshot::Sender<Told>,
    _permit: OwnedSemaphorePermit,
}

/// In front of Raft.
pub(crate) struct Queue {
    waiting: mpsc::Sender<Waiting>,
    permits: Arc<Semaphore>,
}

/// What takes from the queue.
pub(crate) struct Writer {
    waiting: mpsc::Receiver<Waiting>,
    raft: Raft,
    store: Store,
    stop: CancellationToken,
    /// How long an entry is waited for.
    stall: Duration,
    /// Whether the last entry was waited for in vain: none goes behind it before a quorum answers.
    is_stalled: bool,
}

impl Queue {
    pub fn new(raft: Raft, store: Store, stop: CancellationToken, stall: Duration) -> (Self, Writer) {
        let (sender, waiting) = mpsc::channel(CONTROL_WAITING_MAX);
        let permits = Arc::new(Semaphore::new(CONTROL_WAITING_MAX));
        (Self { waiting: sender, permits }, Writer { waiting, raft, store, stop, stall, is_stalled: false })
    }

    /// Has it written, and gives what came of it; an error at `deadline`.
    pub async fn propose(&self, proposal: Proposal, deadline: Instant) -> Told {
        let bytes = serde_json::to_vec(&proposal).map_or(usize::MAX, |json| json.len());
        if bytes > CONTROL_COMMAND_BYTES_MAX {
            return Err(ProposeError::Refused(Box::new(Refusal::CommandTooLarge)));
        }
        let permit = timeout_at(deadline, self.permits.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| ProposeError::Busy)?.map_err(|_| ProposeError::Stopping)?;
        let is_taken = Arc::new(AtomicBool::new(false));
        let (told, answer) = oneshot::channel();
        let waiting = Waiting { proposal, bytes, is_taken: is_taken.clone(), told, _permit: permit };
        // There is room for each that has a permit.
        self.waiting.send(waiting).await.map_err(|_| ProposeError::Stopping)?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(told)) => told,
            // Whoever had it is gone.
            Ok(Err(_)) if is_taken.load(Ordering::SeqCst) => Err(ProposeError::Unknown),
            Ok(Err(_)) => Err(ProposeError::Stopping),
            Err(_) if take(&is_taken) => Err(ProposeError::Busy),
            Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// Nothing more is taken.
    pub fn close(&self) {
        self.permits.close();
    }
}

fn take(is_taken: &AtomicBool) -> bool {
    !is_taken.swap(true, Ordering::SeqCst)
}

impl Writer {
    pub async fn run(mut self) {
        let mut left = None;
        loop {
            let first = match left.take() {
                Some(first) => Some(first),
                None => tokio::select! {
                    biased;
                    () = self.stop.cancelled() => None,
                    first = self.waiting.recv() => first,
                },
            };
            let Some(first) = first.filter(|_| !self.stop.is_cancelled()) else { break };
            let (batch, behind) = self.gather(first);
            left = behind;
            self.write(batch).await;
        }
        self.waiting.close();
        while let Some(waiting) = self.waiting.recv().await {
            let _ = waiting.told.send(Err(ProposeError::Stopping));
        }
    }

    /// What waits now, as much as one entry may have; and the first that did not fit.
    fn gather(&mut self, first: Waiting) -> (Vec<Waiting>, Option<Waiting>) {
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < CONTROL_ENTRY_COMMANDS_MAX {
            let Ok(next) = self.waiting.try_recv() else { break };
            bytes += next.bytes;
            if bytes > CONTROL_ENTRY_BYTES {
                return (batch, Some(next));
            }
            batch.push(next);
        }
        (batch, None)
    }

    async fn write(&mut self, batch: Vec<Waiting>) {
        if let Err(error) = self.may_write().await {
            return tell_all(batch.into_iter().map(|waiting| waiting.told), &error);
        }
        let wanted = batch.into_iter().filter(|waiting| take(&waiting.is_taken));
        let (proposals, waiting): (Vec<_>, Vec<_>) =
            wanted.map(|waiting| (waiting.proposal, (waiting.told, waiting._permit))).unzip();
        if proposals.is_empty() {
            return;
        }
        let written = timeout(self.stall, self.raft.client_write(Batch { proposals })).await;
        let told = waiting.into_iter().map(|(told, _permit)| told);
        match written {
            Ok(Ok(response)) => tell(told, response.data),
            Ok(Err(error)) => tell_all(told, &not_written(error)),
            Err(_) => {
                self.is_stalled = true;
                tell_all(told, &ProposeError::Unknown);
            }
        }
        if self.store.log_bytes() > CONTROL_SNAPSHOT_LOG_BYTES {
            // Where it is being taken already, this is nothing.
            let _ = self.raft.trigger().snapshot().await;
        }
    }

    async fn may_write(&mut self) -> Result<(), ProposeError> {
        if let Some(error) = self.store.no_room() {
            return Err(ProposeError::Disk(error));
        }
        self.check_leads()?;
        if self.is_stalled {
            // One that is cut off leads on, and would have each entry wait in its log.
            match timeout(self.stall, self.raft.ensure_linearizable()).await {
                Ok(Ok(_)) => self.is_stalled = false,
                Ok(Err(_)) | Err(_) => return Err(ProposeError::NoQuorum),
            }
        }
        Ok(())
    }

    fn check_leads(&self) -> Result<(), ProposeError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        if let Err(fatal) = &metrics.running_state {
            return Err(ended(&self.store, fatal));
        }
        if !metrics.state.is_leader() {
            return Err(ProposeError::NotLeader { leader: metrics.current_leader.map(NodeId) });
        }
        Ok(())
    }
}

fn tell(told: impl Iterator<Item = oneshot::Sender<Told>>, Answers { answers }: Answers) {
    for (told, (result, index)) in told.zip(answers) {
        let done = result.map(|answer| Done { answer, index });
        // Whoever waited may have given up.
        let _ = told.send(done.map_err(|refusal| ProposeError::Refused(Box::new(refusal))));
    }
}

fn tell_all(told: impl Iterator<Item = oneshot::Sender<Told>>, error: &ProposeError) {
    told.for_each(|told| {
        let _ = told.send(Err(error.clone()));
    });
}

/// An entry that is refused because somebody else leads was not begun, or another one has taken its place in the log.
fn not_written(error: RaftError<u64, ClientWriteError<u64, crate::raft::Peer>>) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader { leader: forward.leader_id.map(NodeId) }
        }
        // No such entry is written here.
        RaftError::APIError(ClientWriteError::ChangeMembershipError(_)) | RaftError::Fatal(_) => {
            ProposeError::Unknown
        }
    }
}

/// Why Raft does not run any more.
pub(crate) fn ended(store: &Store, fatal: &Fatal<u64>) -> ProposeError {
    match (store.broke(), fatal) {
        (Some(error), _) => ProposeError::Ended(error.to_string()),
        (None, Fatal::Stopped) => ProposeError::Stopping,
        (None, fatal) => ProposeError::Ended(fatal.to_string()),
    }
}
