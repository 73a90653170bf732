//! The state, as Raft has it: entries are applied to it, snapshots are taken of it and put into its place.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use disk::fault::{self, Point};
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError};
use serde::{Deserialize, Serialize};

use crate::events::Events;
use crate::raft::{Answers, Batch, Entry, LogId, SnapshotMeta, StorageError, StoredMembership, Types};
use crate::state::State;
use crate::store::{Store, StoreError};

/// Of what is in a snapshot.
const FORMAT: u64 = 1;

/// What is done where applying an entry panics: nothing after it can be right, and openraft would go on as a leader that
/// answers nobody.
pub(crate) type OnPanic = Arc<dyn Fn(&str) + Send + Sync>;

/// By whom a command is that cannot be applied.
#[cfg(test)]
pub(crate) const PANICS: &str = "a test, which wants a panic";

/// Clones are the same one.
#[derive(Clone)]
pub(crate) struct Machine {
    store: Store,
    applied: Arc<RwLock<Applied>>,
    pub events: Events,
    on_panic: OnPanic,
}

#[derive(Clone, Default)]
struct Applied {
    state: State,
    last: Option<LogId>,
    membership: StoredMembership,
}

#[derive(Serialize)]
struct Written<'a> {
    format: u64,
    state: &'a State,
}

#[derive(Deserialize)]
struct Layout {
    format: u64,
}

#[derive(Deserialize)]
struct Carried {
    state: State,
}

/// Why what came is no state.
#[derive(thiserror::Error, Debug)]
enum Unread {
    #[error(
        "the snapshot has layout number {0}, known is {FORMAT}; use the version that wrote it, or a later one"
    )]
    Foreign(u64),
    #[error("the snapshot is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl Machine {
    /// The state as the last snapshot has it. Blocks.
    pub fn open(store: Store, on_panic: OnPanic) -> Result<Self, StoreError> {
        let applied = match store.snapshot()? {
            None => Applied::default(),
            Some((meta, bytes)) => {
                let state = carried(&bytes).map_err(|unread| store.unread(unread.to_string()))?;
                Applied { state, last: meta.last_log_id, membership: meta.last_membership }
            }
        };
        let events = Events::new(applied.state.last_effect());
        Ok(Self { store, applied: Arc::new(RwLock::new(applied)), events, on_panic })
    }

    /// Looks at the state as it is now on this node.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.read().state)
    }

    fn read(&self) -> RwLockReadGuard<'_, Applied> {
        self.applied.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Applied> {
        self.applied.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply_one(&self, entry: Entry) -> Answers {
        let mut applied = self.write();
        let mut answers = Answers::default();
        let mut events = Vec::new();
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                applied.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            }
            EntryPayload::Normal(Batch { proposals }) => {
                for proposal in proposals {
                    #[cfg(test)]
                    assert_ne!(proposal.by.as_deref(), Some(PANICS), "as a test wants it");
                    let outcome = applied.state.apply(entry.log_id.index, proposal);
                    answers.answers.push((outcome.result, outcome.index));
                    events.extend(outcome.events);
                }
            }
        }
        applied.last = Some(entry.log_id);
        drop(applied);
        fault::hit(Point::EntryApplied);
        self.events.add(events);
        answers
    }

    async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Self) -> Result<T, AnyError> + Send + 'static,
    ) -> Result<T, AnyError> {
        let machine = self.clone();
        let done = tokio::task::spawn_blocking(move || ask(&machine)).await;
        done.unwrap_or_else(|error| Err(AnyError::new(&error)))
    }

    fn take(&self) -> Result<Snapshot<Types>, AnyError> {
        // One copy, so that entries are applied while it is written.
        let Applied { state, last, membership } = self.read().clone();
        let bytes = serde_json::to_vec(&Written { format: FORMAT, state: &state });
        let bytes = bytes.map_err(|error| AnyError::new(&error))?;
        let last_index = last.map_or(0, |last| last.index);
        let meta = SnapshotMeta {
            last_log_id: last,
            last_membership: membership,
            snapshot_id: format!("{last_index}-{}", state.last_effect()),
        };
        self.store.keep_snapshot(&meta, &bytes).map_err(|error| AnyError::new(&error))?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }

    fn put(&self, meta: &SnapshotMeta, bytes: &[u8]) -> Result<(), AnyError> {
        // Everything that takes long comes before the state is touched.
        let state = carried(bytes).map_err(|unread| AnyError::new(&unread))?;
        self.store.keep_snapshot(meta, bytes).map_err(|error| AnyError::new(&error))?;
        let last_effect = state.last_effect();
        let (last, membership) = (meta.last_log_id, meta.last_membership.clone());
        *self.write() = Applied { state, last, membership };
        self.events.begin_anew(last_effect);
        Ok(())
    }
}

fn carried(bytes: &[u8]) -> Result<State, Unread> {
    let Layout { format } = serde_json::from_slice(bytes)?;
    if format != FORMAT {
        return Err(Unread::Foreign(format));
    }
    let Carried { state } = serde_json::from_slice(bytes)?;
    Ok(state)
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it says nothing").to_owned()
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.read();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for entry in entries {
            let log_id = entry.log_id;
            match catch_unwind(AssertUnwindSafe(|| self.apply_one(entry))) {
                Ok(answer) => answers.push(answer),
                Err(panic) => {
                    let why = format!("applying entry {} panicked: {}", log_id.index, text_of(&*panic));
                    (self.on_panic)(&why);
                    return Err(StorageIOError::apply(log_id, AnyError::error(why)).into());
                }
            }
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let (signature, meta) = (meta.signature(), meta.clone());
        let put = self.blocking(move |machine| machine.put(&meta, snapshot.get_ref())).await;
        put.map_err(|error| StorageIOError::write_snapshot(Some(signature), error).into())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let found = self.blocking(|machine| machine.store.snapshot().map_err(|error| AnyError::new(&error)));
        let found = found.await.map_err(|error| StorageIOError::read_snapshot(None, error))?;
        Ok(found.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let taken = self.blocking(Self::take).await;
        taken.map_err(|error| StorageIOError::write_snapshot(None, error).into())
    }
}
