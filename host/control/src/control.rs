//! The control state as a node has it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use disk::Disk;
use model::limits::{
    CONTROL_ELECTION_LEAST, CONTROL_ELECTION_MOST, CONTROL_ENTRY_STALL, CONTROL_FULL_POLL, CONTROL_HEARTBEAT,
    CONTROL_KEPT_ENTRIES, CONTROL_LAG_ENTRIES, CONTROL_LEAD_WAIT, CONTROL_MESSAGE_ENTRIES,
    CONTROL_SNAPSHOT_ENTRIES, CONTROL_SNAPSHOT_PIECE_BYTES, CONTROL_SNAPSHOT_TIME,
};
use openraft::error::{CheckIsLeaderError, Fatal, RaftError};
use openraft::{Config, ServerState, SnapshotPolicy};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::events::Watch;
use crate::machine::{Machine, OnPanic};
use crate::network::{Message, Network, Voter, Ways, answer};
use crate::raft::{Peer, Raft};
use crate::state::{Boot, BootId, ClusterId, Command, NodeId, Proposal, State};
use crate::store::{Head, Store, StoreError};
use crate::writer::{Done, ProposeError, Queue, ended};

/// How a node takes part.
pub struct Options {
    pub disk: Arc<dyn Disk>,
    /// In which everything is kept.
    pub dir: PathBuf,
    pub node: NodeId,
    /// Another one at each start.
    pub boot: BootId,
    /// At which other nodes reach this one.
    pub address: String,
    pub version: String,
    /// What begins where nothing is in the directory.
    pub new: New,
    pub network: Arc<dyn Network>,
    /// Microseconds since the Unix epoch.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub tuning: Tuning,
}

/// What a node with an empty directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum New {
    /// The first of a cluster, with these voters and where they are reached; the others join it.
    Cluster { id: ClusterId, voters: BTreeMap<NodeId, String> },
    /// One that waits for those who know of it.
    Voter { id: ClusterId },
    /// A mistake.
    Refused,
}

/// How long and how much. The default is what `model::limits` says.
#[derive(Clone)]
pub struct Tuning {
    pub heartbeat: Duration,
    pub election_least: Duration,
    pub election_most: Duration,
    pub snapshot_entries: u64,
    pub kept_entries: u64,
    pub lag_entries: u64,
    /// How long an entry is waited for before its commands are answered with [`ProposeError::Unknown`].
    pub entry_stall: Duration,
    /// What is done where an entry cannot be applied, once it was said why: the process is aborted.
    pub on_panic: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            heartbeat: CONTROL_HEARTBEAT,
            election_least: CONTROL_ELECTION_LEAST,
            election_most: CONTROL_ELECTION_MOST,
            snapshot_entries: CONTROL_SNAPSHOT_ENTRIES,
            kept_entries: CONTROL_KEPT_ENTRIES,
            lag_entries: CONTROL_LAG_ENTRIES,
            entry_stall: CONTROL_ENTRY_STALL,
            on_panic: Arc::new(|_| std::process::abort()),
        }
    }
}

impl Tuning {
    fn config(&self, cluster: ClusterId) -> Config {
        let ms = |duration: Duration| duration.as_millis() as u64;
        Config {
            cluster_name: cluster.to_string(),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(self.election_least),
            election_timeout_max: ms(self.election_most),
            install_snapshot_timeout: ms(CONTROL_SNAPSHOT_TIME),
            max_payload_entries: CONTROL_MESSAGE_ENTRIES,
            replication_lag_threshold: self.lag_entries,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            snapshot_max_chunk_size: CONTROL_SNAPSHOT_PIECE_BYTES as u64,
            max_in_snapshot_log_to_keep: self.kept_entries,
            purge_batch_size: 1,
            enable_tick: true,
            enable_heartbeat: true,
            enable_elect: true,
            ..Config::default()
        }
    }
}

/// Why there is no control state.
#[derive(thiserror::Error, Debug)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the control state cannot be started: {0}")]
    Raft(String),
    #[error("node {0} has become no leader of itself; its disk may be too slow. Start it again")]
    NoLeader(NodeId),
    #[error("this start cannot be written down: {0}")]
    Boot(ProposeError),
}

/// Why the state was not looked at.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    #[error("this node does not lead{}; ask there", leader.map(|leader| format!(", node {leader} does")).unwrap_or_default())]
    NotLeader { leader: Option<NodeId> },
    #[error("too few of the voters answer; look at the nodes that are away, and try again")]
    NoQuorum,
    #[error("it took too long; try again")]
    Late,
    #[error("the control state ended: {0}")]
    Ended(String),
    #[error("the node is stopping; ask again when it is back")]
    Stopping,
}

/// Clones are the same one.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    node: NodeId,
    cluster: ClusterId,
    raft: Raft,
    store: Store,
    machine: Machine,
    queue: Queue,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    stop: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
    ended: watch::Receiver<Option<String>>,
}

impl Control {
    /// Opens what is in the directory, or begins there. Where this node is the only voter, it leads when this comes back,
    /// and its start is written down. On a full disk it waits for room, and says so in the log.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let Options { disk, dir, node, boot, address, version, new, network, clock, tuning } = options;
        let (id, voters) = match new {
            New::Cluster { id, voters } => (Some(id), Some(voters)),
            New::Voter { id } => (Some(id), None),
            New::Refused => (None, None),
        };
        let on_panic = told(tuning.on_panic.clone());
        let (store, machine, cluster) = opened(disk, dir, (node, id), on_panic).await?;
        let config = tuning.config(cluster).validate().map_err(|error| OpenError::Raft(error.to_string()))?;
        let parts = (store.clone(), machine.clone());
        let raft = match Raft::new(node.0, Arc::new(config), Ways(network), parts.0, parts.1).await {
            Ok(raft) => raft,
            Err(fatal) => {
                let error = store.broke().cloned();
                store.close();
                return Err(error.map_or_else(|| OpenError::Raft(fatal.to_string()), OpenError::Store));
            }
        };
        let control = Self::run((node, cluster), raft, store, machine, clock, tuning.entry_stall);
        let boot = Boot { node, boot, address, version };
        match control.start(voters, boot).await {
            Ok(()) => Ok(control),
            Err(error) => {
                control.shutdown().await;
                Err(error)
            }
        }
    }

    fn run(
        (node, cluster): (NodeId, ClusterId),
        raft: Raft,
        store: Store,
        machine: Machine,
        clock: Arc<dyn Fn() -> u64 + Send + Sync>,
        stall: Duration,
    ) -> Self {
        let stop = CancellationToken::new();
        let (queue, writer) = Queue::new(raft.clone(), store.clone(), stop.clone(), stall);
        let (tell, ended) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run());
        tasks.spawn(watch_end(raft.clone(), store.clone(), tell));
        let tasks = Mutex::new(tasks);
        Self(Arc::new(Inner { node, cluster, raft, store, machine, queue, clock, stop, tasks, ended }))
    }

    async fn start(&self, voters: Option<BTreeMap<NodeId, String>>, boot: Boot) -> Result<(), OpenError> {
        let raft = &self.0.raft;
        let failed = |error: &dyn std::fmt::Display| OpenError::Raft(error.to_string());
        if let Some(voters) = voters
            && !raft.is_initialized().await.map_err(|error| failed(&error))?
        {
            let voters = voters.into_iter().map(|(node, address)| (node.0, Peer { address }));
            let voters: BTreeMap<u64, Peer> = voters.collect();
            raft.initialize(voters).await.map_err(|error| failed(&error))?;
        }
        let node = self.0.node.0;
        let of_state = raft.with_raft_state(move |state| {
            let mut voters = state.membership_state.effective().voter_ids();
            (
                voters.next() == Some(node) && voters.next().is_none(),
                state.server_state == ServerState::Leader,
            )
        });
        match of_state.await.map_err(|error| failed(&error))? {
            (false, _) => {
                let control = self.clone();
                self.tasks().spawn(async move { control.boot_when_leading(boot).await });
                return Ok(());
            }
            // It does so anyway, in a while.
            (true, false) => raft.trigger().elect().await.map_err(|error| failed(&error))?,
            (true, true) => {}
        }
        self.wait_until_leading().await?;
        let mut told = false;
        loop {
            match self.boot(boot.clone()).await {
                Err(ProposeError::Disk(error)) => wait_for_room(error, &mut told).await?,
                // The same start is written down once, however often it is asked for.
                Err(ProposeError::Unknown) if let Some(error) = self.0.store.no_room() => {
                    wait_for_room(error, &mut told).await?;
                }
                booted => return booted.map_err(OpenError::Boot),
            }
        }
    }

    async fn wait_until_leading(&self) -> Result<(), OpenError> {
        loop {
            let leads = self.0.raft.wait(Some(CONTROL_LEAD_WAIT));
            let leads = leads.metrics(|metrics| metrics.state == ServerState::Leader, "it leads").await;
            if leads.is_ok() {
                return Ok(());
            }
            if let Some(error) = self.0.store.broke() {
                return Err(OpenError::Store(error.clone()));
            }
            // A vote that waits for room has been told of by the store.
            match self.0.store.no_room() {
                None => return Err(OpenError::NoLeader(self.0.node)),
                Some(StoreError::Full { .. }) => {}
                Some(error) => return Err(error.into()),
            }
        }
    }

    /// Writes down that this node has started, which ends what it ran before.
    async fn boot(&self, boot: Boot) -> Result<(), ProposeError> {
        let proposal = self.proposal(Command::Boot(boot));
        self.propose(proposal, Instant::now() + CONTROL_LEAD_WAIT).await.map(|_| ())
    }

    async fn boot_when_leading(&self, boot: Boot) {
        let mut metrics = self.0.raft.metrics();
        loop {
            let leads = metrics.wait_for(|metrics| metrics.state == ServerState::Leader);
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                leads = leads => if leads.is_err() { return },
            }
            match self.boot(boot.clone()).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(node = %self.0.node, %error, "this start is not written down yet")
                }
            }
            tokio::time::sleep(CONTROL_HEARTBEAT).await;
        }
    }

    /// A command of this node's own, now.
    pub fn proposal(&self, command: Command) -> Proposal {
        Proposal { at_us: self.now_us(), by: None, key: None, command }
    }

    /// What time it is to this node, in microseconds since the Unix epoch.
    pub fn now_us(&self) -> u64 {
        (self.0.clock)()
    }

    /// Has a command done. What came of it is durable; an error that is not [`ProposeError::Unknown`] says that nothing was
    /// done.
    pub async fn propose(&self, proposal: Proposal, deadline: Instant) -> Result<Done, ProposeError> {
        if let Some(why) = &*self.0.ended.borrow() {
            return Err(ProposeError::Ended(why.clone()));
        }
        self.0.queue.propose(proposal, deadline).await
    }

    /// Looks at the state as it is at some time between the call and its end, whoever has changed it where.
    pub async fn read<T>(&self, deadline: Instant, look: impl FnOnce(&State) -> T) -> Result<T, ReadError> {
        let asked = timeout_at(deadline, self.0.raft.ensure_linearizable()).await;
        match asked.map_err(|_| ReadError::Late)? {
            Ok(_) => Ok(self.0.machine.look(look)),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward))) => {
                Err(ReadError::NotLeader { leader: forward.leader_id.map(NodeId) })
            }
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => Err(ReadError::NoQuorum),
            Err(RaftError::Fatal(fatal)) => Err(self.read_ended(&fatal)),
        }
    }

    fn read_ended(&self, fatal: &Fatal<u64>) -> ReadError {
        match ended(&self.0.store, fatal) {
            ProposeError::Ended(why) => ReadError::Ended(why),
            _ => ReadError::Stopping,
        }
    }

    /// Looks at the state as it has come to this node, which may be behind.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.0.machine.look(look)
    }

    /// What follows from commands, from behind the effect of that number on; from now on, where there is none.
    pub fn watch(&self, seen: Option<u64>) -> Watch {
        self.0.machine.events.watch(seen)
    }

    /// The same, from the first on that is kept.
    pub fn watch_kept(&self) -> Watch {
        self.0.machine.events.watch_kept()
    }

    /// Whether this node leads: a quorum has said so just now. The metrics alone name leaders that are cut off or gone.
    pub async fn leads(&self, deadline: Instant) -> bool {
        let leads = {
            let metrics = self.0.raft.metrics();
            let metrics = metrics.borrow();
            metrics.running_state.is_ok() && metrics.state == ServerState::Leader
        };
        leads && matches!(timeout_at(deadline, self.0.raft.ensure_linearizable()).await, Ok(Ok(_)))
    }

    /// Comes back with the reason when the control state has ended by itself: the process has to end, too, and goes on
    /// when it is started again. Safe to cancel.
    pub async fn ended(&self) -> String {
        let mut ended = self.0.ended.clone();
        let why = ended.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            // It was shut down.
            None => std::future::pending().await,
        }
    }

    pub fn node(&self) -> NodeId {
        self.0.node
    }

    pub fn cluster(&self) -> ClusterId {
        self.0.cluster
    }

    /// Ends it, so that another process may have the directory. What is under way is ended or refused.
    pub async fn shutdown(&self) {
        let inner = &self.0;
        inner.stop.cancel();
        inner.queue.close();
        // What waits for room on a full disk is not waited for.
        if inner.store.no_room().is_some() {
            self.close_store().await;
        }
        let _ = inner.raft.shutdown().await;
        if let Err(error) = inner.store.flush().await {
            tracing::debug!(%error, "how far the log is committed was not written down; it is found out again");
        }
        inner.machine.events.close();
        let mut tasks = std::mem::take(&mut *self.tasks());
        while tasks.join_next().await.is_some() {}
        self.close_store().await;
    }

    async fn close_store(&self) {
        let store = self.0.store.clone();
        // It waits for what is being written.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.0.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Voter for Control {
    async fn answer(&self, message: Message) -> io::Result<Vec<u8>> {
        answer(&self.0.raft, message).await
    }
}

/// The store and the state of a node, once there is room for what they begin with.
async fn opened(
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    (node, id): (NodeId, Option<ClusterId>),
    on_panic: OnPanic,
) -> Result<(Store, Machine, ClusterId), OpenError> {
    let mut told = false;
    loop {
        let (disk, dir, on_panic) = (disk.clone(), dir.clone(), on_panic.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let (store, Head { cluster, .. }) = Store::open(disk, &dir, node, id)?;
            let machine = Machine::open(store.clone(), on_panic).inspect_err(|_| store.close())?;
            Ok((store, machine, cluster))
        });
        match opened.await.map_err(|error| OpenError::Raft(error.to_string()))? {
            Ok(opened) => return Ok(opened),
            Err(error) => wait_for_room(error, &mut told).await?,
        }
    }
}

/// Waits a moment for room where a disk is full. Any other error is given back.
async fn wait_for_room(error: StoreError, told: &mut bool) -> Result<(), StoreError> {
    if !matches!(error, StoreError::Full { .. }) {
        return Err(error);
    }
    if !std::mem::replace(told, true) {
        tracing::warn!(%error, "this start waits for room");
    }
    tokio::time::sleep(CONTROL_FULL_POLL).await;
    Ok(())
}

fn told(on_panic: Arc<dyn Fn(&str) + Send + Sync>) -> OnPanic {
    Arc::new(move |why| {
        tracing::error!(why, "the control state cannot go on");
        on_panic(why);
    })
}

/// Says when Raft has ended, and why. It goes on naming a leader then, and answers nobody.
async fn watch_end(raft: Raft, store: Store, tell: watch::Sender<Option<String>>) {
    let mut metrics = raft.metrics();
    let fatal = loop {
        if let Err(fatal) = &metrics.borrow_and_update().running_state {
            break fatal.clone();
        }
        if metrics.changed().await.is_err() {
            break Fatal::Panicked;
        }
    };
    if let ProposeError::Ended(why) = ended(&store, &fatal) {
        tracing::error!(%why, "the control state has ended");
        tell.send_replace(Some(why));
    }
}

#[cfg(test)]
mod tests;
