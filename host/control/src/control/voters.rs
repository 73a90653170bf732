//! Three voters in one process.

use super::*;
use crate::network::in_process::InProcess;

struct Cluster {
    network: InProcess,
    disks: Vec<Rough>,
    dirs: Vec<TempDir>,
    controls: Vec<Control>,
    tuning: Tuning,
}

fn quick() -> Tuning {
    Tuning {
        heartbeat: Duration::from_millis(200),
        election_least: Duration::from_millis(1200),
        election_most: Duration::from_millis(2400),
        entry_stall: Duration::from_millis(500),
        ..Tuning::default()
    }
}

impl Cluster {
    async fn open(disk: impl Fn() -> Rough, tuning: Tuning) -> Self {
        let network = InProcess::default();
        let (mut disks, mut dirs, mut controls) = (Vec::new(), Vec::new(), Vec::new());
        // The first one last, since it speaks to the others.
        for number in [3, 2, 1] {
            let (disk, dir) = (disk(), dir());
            controls.push(start(&network, &disk, &dir, number, tuning.clone()).await);
            disks.push(disk);
            dirs.push(dir);
        }
        let cluster = Self { network, disks, dirs, controls, tuning };
        cluster.leader().await;
        cluster
    }

    fn all(&self) -> impl Iterator<Item = &Control> {
        self.controls.iter()
    }

    async fn leader(&self) -> Control {
        self.leader_among(|_| true).await
    }

    /// Who leads of those that count, and has said that it started.
    async fn leader_among(&self, counts: impl Fn(NodeId) -> bool) -> Control {
        loop {
            for control in self.all().filter(|control| counts(control.node())) {
                let started = |state: &State| state.nodes().contains_key(&control.node());
                if control.leads(soon()).await && control.read(soon(), started).await == Ok(true) {
                    return control.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All have what this one has.
    async fn settle(&self, like: &Control) {
        let wanted = like.read(late(), Clone::clone).await.expect("read");
        for control in self.all() {
            let mut tries = 0;
            while control.look(|state| *state != wanted) {
                tries += 1;
                assert!(tries < 1500, "node {} is behind", control.node());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn restart(&mut self, number: usize) {
        let at = 3 - number;
        self.network.remove(NodeId(number as u64));
        self.controls[at].shutdown().await;
        let (disk, dir) = (&self.disks[at], &self.dirs[at]);
        self.controls[at] = start(&self.network, disk, dir, number as u64, self.tuning.clone()).await;
    }

    async fn shutdown(self) {
        for control in self.all() {
            control.shutdown().await;
        }
    }
}

async fn start(network: &InProcess, disk: &Rough, dir: &TempDir, number: u64, tuning: Tuning) -> Control {
    let node = NodeId(number);
    let id = ClusterId(7);
    let voters = (1..=3).map(|number| (NodeId(number), format!("node {number}"))).collect();
    let new = if number == 1 { New::Cluster { id, voters } } else { New::Voter { id } };
    let network_of = network.of(node);
    let options = Options { node, new, network: network_of, tuning, ..options(disk, dir.path()) };
    let control = Control::open(options).await.expect("it opens");
    network.add(node, control.clone());
    control
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_does_not_lead_and_what_it_began_is_done_once_at_most() {
    let cluster = Cluster::open(Rough::default, quick()).await;
    let old = cluster.leader().await;
    done(&old, deploy(1, "a")).await;
    cluster.network.set_away(old.node(), true);
    let mut proposal = old.proposal(deploy(2, "b"));
    proposal.key = Some("k".parse().expect("a key"));
    assert_eq!(old.propose(proposal.clone(), soon()).await, Err(ProposeError::Unknown));
    assert!(old.0.raft.metrics().borrow().state.is_leader(), "the metrics say that it leads");
    assert!(!old.leads(soon()).await);
    assert!(matches!(old.read(late(), |_| ()).await, Err(ReadError::NoQuorum)));
    // That one waits in its log, and no other goes behind it.
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(old.propose(old.proposal(deploy(4, "d")), late()).await);
    }
    assert_eq!(told[2], Err(ProposeError::NoQuorum), "{told:?}");
    let new = cluster.leader_among(|node| node != old.node()).await;
    new.propose(proposal.clone(), late()).await.expect("done");
    cluster.network.set_away(old.node(), false);
    cluster.settle(&new).await;
    let told = new.propose(proposal, late()).await.expect("done");
    let made = new.look(|state| state.pipelines()[&pipeline(2)].revisions_made);
    assert_eq!(
        (made, told.answer),
        (1, state::Answer::Deployed { revision: RevisionNumber(1), version: Version(1), is_new: true })
    );
    let follower = cluster.all().find(|control| control.node() != new.node()).expect("another").clone();
    if !follower.leads(soon()).await {
        let error = follower.propose(follower.proposal(deploy(3, "c")), late()).await;
        assert!(matches!(error, Err(ProposeError::NotLeader { .. })), "{error:?}");
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_was_away_for_long_gets_a_snapshot_and_goes_on_from_it() {
    let tuning = Tuning { snapshot_entries: 20, kept_entries: 5, lag_entries: 10, ..quick() };
    let mut cluster = Cluster::open(Rough::default, tuning).await;
    let leader = cluster.leader().await;
    let away = cluster.all().find(|control| control.node() != leader.node()).expect("another").clone();
    let mut watch = away.watch(None);
    cluster.network.set_away(away.node(), true);
    for number in 0..60 {
        done(&leader, deploy(number, &"x".repeat(20_000))).await;
    }
    let mut metrics = leader.0.raft.metrics();
    metrics
        .wait_for(|metrics| metrics.purged.is_some_and(|purged| purged.index > 20))
        .await
        .expect("it runs");
    cluster.network.set_away(away.node(), false);
    let leader = cluster.leader().await;
    cluster.settle(&leader).await;
    assert!(cluster.network.pieces() >= 2, "{} pieces", cluster.network.pieces());
    // Whoever watched there has missed something, and is told.
    let behind = watch.next().await.map(|_| ());
    assert!(matches!(behind, Err(WatchError::Behind { .. })), "{behind:?}");
    let number = away.node().0 as usize;
    cluster.restart(number).await;
    let leader = cluster.leader().await;
    done(&leader, deploy(100, "after")).await;
    cluster.settle(&leader).await;
    cluster.shutdown().await;
}

/// One entry for each of them took the leader its seat.
#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_writers_on_slow_disks_do_not_cost_the_leader_its_seat() {
    let cluster = Cluster::open(|| Rough::slow(Duration::from_millis(4)), Tuning::default()).await;
    let leader = cluster.leader().await;
    let term = leader.0.raft.metrics().borrow().current_term;
    let writers = (0..400u64).map(|writer| {
        let leader = leader.clone();
        async move {
            for nth in 0..4 {
                done(&leader, deploy(writer, &format!("m{nth}"))).await;
            }
        }
    });
    futures::future::join_all(writers).await;
    assert_eq!(leader.0.raft.metrics().borrow().current_term, term);
    assert!(leader.leads(late()).await);
    let made: u64 = leader.look(|state| state.pipelines().values().map(|known| known.revisions_made).sum());
    assert_eq!(made, 1600);
    cluster.settle(&leader).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_outlives_the_restart_of_all_voters() {
    let mut cluster = Cluster::open(Rough::default, quick()).await;
    let leader = cluster.leader().await;
    done(&leader, deploy(1, "a")).await;
    for number in 1..=3 {
        cluster.restart(number).await;
    }
    let leader = cluster.leader().await;
    assert_eq!(count(&leader).await, 1);
    let own = leader.look(|state| state.nodes()[&leader.node()].boot);
    done(&leader, deploy(2, "b")).await;
    cluster.settle(&leader).await;
    assert_eq!(leader.look(|state| state.nodes()[&leader.node()].boot), own);
    cluster.shutdown().await;
}
