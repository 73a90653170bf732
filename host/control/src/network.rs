//! What voters say to one another, as bytes: whoever carries them needs to know nothing of Raft.

pub mod in_process;

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::limits::CONTROL_SNAPSHOT_BYTES_MAX;
use openraft::error::{
    InstallSnapshotError, NetworkError as Lost, RPCError, RaftError, RemoteError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::raft::{Peer, Raft, Types};
use crate::state::NodeId;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    Entries,
    Vote,
    Snapshot,
}

/// From one voter to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: Topic,
    pub body: Vec<u8>,
}

/// Why a message has no answer. The other one may have had it.
#[derive(thiserror::Error, Debug)]
pub enum NetworkError {
    #[error("node {0} cannot be reached: {1}")]
    Unreachable(NodeId, String),
    #[error("what was sent to node {0}, or its answer, was lost: {1}")]
    Lost(NodeId, String),
}

/// Carries messages to other voters.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// The answer of `to`, which is reached at `address`. Given up after `within`.
    async fn ask(
        &self,
        to: NodeId,
        address: &str,
        message: Message,
        within: Duration,
    ) -> Result<Vec<u8>, NetworkError>;
}

/// Answers messages of other voters.
#[async_trait]
pub trait Voter: Send + Sync + 'static {
    /// What is no message of a voter is an error.
    async fn answer(&self, message: Message) -> io::Result<Vec<u8>>;
}

/// For a node that is alone: nobody is reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNetwork;

#[async_trait]
impl Network for NoNetwork {
    async fn ask(
        &self,
        to: NodeId,
        _address: &str,
        _message: Message,
        _within: Duration,
    ) -> Result<Vec<u8>, NetworkError> {
        Err(NetworkError::Unreachable(to, "this node is alone".to_owned()))
    }
}

/// Answers for this node.
pub(crate) async fn answer(raft: &Raft, Message { topic, body }: Message) -> io::Result<Vec<u8>> {
    match topic {
        Topic::Entries => encode(&raft.append_entries(decode(&body)?).await),
        Topic::Vote => encode(&raft.vote(decode(&body)?).await),
        Topic::Snapshot => encode(&raft.install_snapshot(split(&body)?).await),
    }
}

fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(value)?)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(bytes)?)
}

/// The piece of a snapshot stands as it is behind what is said of it, whose length comes first.
fn join(mut request: InstallSnapshotRequest<Types>) -> io::Result<Vec<u8>> {
    let piece = std::mem::take(&mut request.data);
    let about = encode(&request)?;
    let bytes = u32::try_from(about.len()).map_err(|_| ErrorKind::InvalidInput)?;
    Ok([&bytes.to_le_bytes()[..], &about, &piece].concat())
}

fn split(body: &[u8]) -> io::Result<InstallSnapshotRequest<Types>> {
    let short = || io::Error::new(ErrorKind::InvalidData, "a piece of a snapshot is cut");
    let (bytes, rest) = body.split_first_chunk().ok_or_else(short)?;
    let (about, piece) = rest.split_at_checked(u32::from_le_bytes(*bytes) as usize).ok_or_else(short)?;
    let mut request: InstallSnapshotRequest<Types> = decode(about)?;
    let bytes = request.offset.saturating_add(piece.len() as u64);
    if bytes > CONTROL_SNAPSHOT_BYTES_MAX {
        let why =
            format!("a snapshot has {bytes} bytes or more, and {CONTROL_SNAPSHOT_BYTES_MAX} are the most");
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    request.data = piece.to_vec();
    Ok(request)
}

/// Makes the ways to other voters.
pub(crate) struct Ways(pub Arc<dyn Network>);

/// The way to one of them.
pub(crate) struct Way {
    network: Arc<dyn Network>,
    to: NodeId,
    address: String,
}

impl RaftNetworkFactory<Types> for Ways {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Way {
        Way { network: self.0.clone(), to: NodeId(target), address: node.address.clone() }
    }
}

/// How an exchange ends, for Raft.
type Exchanged<T, E = openraft::error::Infallible> = Result<T, RPCError<u64, Peer, RaftError<u64, E>>>;

impl Way {
    async fn exchange<T, E>(
        &self,
        topic: Topic,
        body: io::Result<Vec<u8>>,
        option: RPCOption,
    ) -> Exchanged<T, E>
    where
        T: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        let lost = |error: io::Error| RPCError::Network(Lost::new(&error));
        let message = Message { topic, body: body.map_err(lost)? };
        let answer = self.network.ask(self.to, &self.address, message, option.hard_ttl()).await;
        let answer = answer.map_err(|error| match error {
            NetworkError::Unreachable(..) => RPCError::Unreachable(Unreachable::new(&error)),
            NetworkError::Lost(..) => RPCError::Network(Lost::new(&error)),
        })?;
        let answer: Result<T, RaftError<u64, E>> = decode(&answer).map_err(lost)?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.to.0, error)))
    }
}

impl RaftNetwork<Types> for Way {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Exchanged<AppendEntriesResponse<u64>> {
        self.exchange(Topic::Entries, encode(&request), option).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Exchanged<InstallSnapshotResponse<u64>, InstallSnapshotError> {
        self.exchange(Topic::Snapshot, join(request), option).await
    }

    async fn vote(&mut self, request: VoteRequest<u64>, option: RPCOption) -> Exchanged<VoteResponse<u64>> {
        self.exchange(Topic::Vote, encode(&request), option).await
    }

    /// Soon: whoever was away for a moment stands for election if it hears nothing.
    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(200)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{SnapshotMeta, Vote};

    #[test]
    fn a_piece_arrives_as_it_was_and_one_that_is_cut_or_too_far_behind_is_refused() {
        let piece = |offset| InstallSnapshotRequest::<Types> {
            vote: Vote::new_committed(3, 1),
            meta: SnapshotMeta::default(),
            offset,
            data: b"not JSON".to_vec(),
            done: false,
        };
        let body = join(piece(7)).expect("a body");
        assert_eq!(split(&body).expect("a piece"), piece(7));
        for bytes in [0, 3, 20] {
            split(&body[..bytes]).expect_err("it is cut");
        }
        let last = CONTROL_SNAPSHOT_BYTES_MAX - 8;
        split(&join(piece(last)).expect("a body")).expect("the last one");
        for offset in [last + 1, u64::MAX] {
            let error = split(&join(piece(offset)).expect("a body")).expect_err("too large").to_string();
            assert!(error.contains("1073741824 are the most"), "{error}");
        }
    }
}
