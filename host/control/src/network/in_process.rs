//! Voters in one process, for tests: ways between them are cut and mended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Message, Network, NetworkError, Topic, Voter};
use crate::state::NodeId;

/// Clones are the same one.
#[derive(Clone, Default)]
pub struct InProcess(Arc<Mutex<Ways>>);

#[derive(Default)]
struct Ways {
    voters: BTreeMap<NodeId, Arc<dyn Voter>>,
    /// Cut off from all others.
    away: BTreeSet<NodeId>,
    /// How many messages of each kind were delivered.
    delivered: BTreeMap<u8, u64>,
}

impl InProcess {
    /// What the node with this number uses.
    pub fn of(&self, node: NodeId) -> Arc<dyn Network> {
        Arc::new(From { node, all: self.clone() })
    }

    /// Messages to this node are answered from now on. A later one of the same number takes its place.
    pub fn add(&self, node: NodeId, voter: impl Voter) {
        self.ways().voters.insert(node, Arc::new(voter));
    }

    pub fn remove(&self, node: NodeId) {
        self.ways().voters.remove(&node);
    }

    /// Nothing comes to this node or from it, or it does again.
    pub fn set_away(&self, node: NodeId, is_away: bool) {
        let mut ways = self.ways();
        if is_away {
            ways.away.insert(node)
        } else {
            ways.away.remove(&node)
        };
    }

    /// Pieces of snapshots that were delivered.
    pub fn pieces(&self) -> u64 {
        self.ways().delivered.get(&(Topic::Snapshot as u8)).copied().unwrap_or_default()
    }

    fn ways(&self) -> MutexGuard<'_, Ways> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cut(&self, one: NodeId, other: NodeId) -> bool {
        let ways = self.ways();
        ways.away.contains(&one) || ways.away.contains(&other)
    }
}

struct From {
    node: NodeId,
    all: InProcess,
}

#[async_trait]
impl Network for From {
    async fn ask(
        &self,
        to: NodeId,
        _address: &str,
        message: Message,
        within: Duration,
    ) -> Result<Vec<u8>, NetworkError> {
        let unreachable = |why: &str| NetworkError::Unreachable(to, why.to_owned());
        if self.all.is_cut(self.node, to) {
            return Err(unreachable("it is cut off"));
        }
        let voter = self.all.ways().voters.get(&to).cloned().ok_or_else(|| unreachable("it does not run"))?;
        let topic = message.topic;
        let answer = tokio::time::timeout(within, voter.answer(message)).await;
        // Cut meanwhile, the answer is lost.
        if self.all.is_cut(self.node, to) {
            return Err(NetworkError::Lost(to, "it was cut off".to_owned()));
        }
        *self.all.ways().delivered.entry(topic as u8).or_default() += 1;
        let lost = |why: String| NetworkError::Lost(to, why);
        answer.map_err(|_| lost("it took too long".to_owned()))?.map_err(|error| lost(error.to_string()))
    }
}
