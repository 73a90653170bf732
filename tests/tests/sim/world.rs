//! What outlives a crash: the disk, whoever is outside, and whoever watches.

use std::collections::BTreeSet;
use std::fmt;

use fastrand::Rng;

use super::bug::Bug;
use super::disk::{SimDisk, Struck};
use super::graph::{Graph, Kind, Origin};
use super::invariants::{self, Facts, Invariant, Seen};

/// Why a life ends before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    Crashed,
    Broken(Broken),
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub invariant: &'static str,
    pub why: String,
}

pub type Step<T = ()> = Result<T, Stop>;

/// Not an invariant: a pipeline that never comes to its end.
pub const STUCK: &str = "it comes to an end";

/// All that happened, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace(pub Vec<String>);

/// Whoever posts to a source that cannot be read again.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    pub requests_left: u64,
    /// The number of the next record.
    pub next: u64,
}

/// How often things happened, to show that they did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub struck: Struck,
    pub lives: u64,
    pub stops: u64,
    pub checkpoints: u64,
    /// Records that were read again after a crash.
    pub read_again: u64,
    /// Records that came to a sink that cannot commit more than once.
    pub repeats: u64,
    pub acked: u64,
    /// Requests that a full spool turned away.
    pub turned_away: u64,
    pub letters: u64,
    pub events: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.struck.add(&other.struck);
        self.lives += other.lives;
        self.stops += other.stops;
        self.checkpoints += other.checkpoints;
        self.read_again += other.read_again;
        self.repeats += other.repeats;
        self.acked += other.acked;
        self.turned_away += other.turned_away;
        self.letters += other.letters;
        self.events += other.events;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Struck { kills, power_cuts, within_operations, torn_writes, lost_writes, .. } = self.struck;
        let Struck { out_of_order, lost_names, lost_syncs, .. } = self.struck;
        write!(
            f,
            "{kills} kills and {power_cuts} power cuts, {within_operations} of them within an operation of the disk; \
             {torn_writes} writes torn, {lost_writes} lost, {out_of_order} there before earlier ones, {lost_names} names \
             lost, {lost_syncs} syncs cut off; {} lives, {} stops, {} checkpoints, {} records read again, {} repeats \
             where nothing commits, {} records acknowledged, {} requests turned away, {} dead letters, {} events",
            self.lives,
            self.stops,
            self.checkpoints,
            self.read_again,
            self.repeats,
            self.acked,
            self.turned_away,
            self.letters,
            self.events,
        )
    }
}

pub struct World {
    pub facts: Facts,
    pub random: Rng,
    pub bug: Option<Bug>,
    pub trace: Trace,
    /// By node.
    pub clients: Vec<Clients>,
    /// Records that have to arrive: somebody was told that they are safe, or they were read when they were.
    pub taken: BTreeSet<Origin>,
    pub tally: Tally,
    invariants: Vec<Box<dyn Invariant>>,
}

impl World {
    pub fn of_seed(seed: u64, bug: Option<Bug>) -> Self {
        let mut random = Rng::with_seed(seed);
        let graph = Graph::of_seed(&mut random);
        let mut given = BTreeSet::new();
        let mut clients = Vec::new();
        for (source, node) in graph.nodes.iter().enumerate() {
            clients.push(Clients::default());
            match node.kind {
                Kind::Log { splits, records } => {
                    let splits =
                        (0..splits).flat_map(|split| (0..records).map(move |number| (split, number)));
                    given.extend(splits.map(|(split, number)| Origin {
                        source: source as u8,
                        split,
                        number,
                    }));
                }
                Kind::Spool { requests } => clients[source].requests_left = requests,
                _ => {}
            }
        }
        let disk = SimDisk::new(random.fork());
        let trace = Trace(vec![graph.shown()]);
        let remote = vec![Vec::new(); graph.nodes.len()];
        let taken = given.clone();
        let facts = Facts { graph, disk, given, remote };
        let (tally, invariants) = (Tally::default(), invariants::all());
        Self { facts, random, bug, trace, clients, taken, tally, invariants }
    }

    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub fn graph(&self) -> &Graph {
        &self.facts.graph
    }

    pub fn disk(&self) -> &SimDisk {
        &self.facts.disk
    }

    pub fn note(&mut self, now: u64, what: impl fmt::Display) {
        self.trace.0.push(format!("{now:>6} {what}"));
    }

    /// Shows to all invariants what happened.
    pub fn see(&mut self, seen: &Seen<'_>) -> Step {
        for invariant in &mut self.invariants {
            if let Err(why) = invariant.see(seen, &self.facts) {
                return Err(Stop::Broken(Broken { invariant: invariant.name(), why }));
            }
        }
        Ok(())
    }

    /// What a part answered that uses the disk: after a crash its error says nothing.
    pub fn done<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Step<T> {
        match result {
            // What came back while the disk went down was not heard.
            _ if self.disk().is_down() => Err(Stop::Crashed),
            Ok(done) => Ok(done),
            Err(error) => {
                let why = error.to_string();
                self.see(&Seen::Refused { why: &why })?;
                Err(Stop::Broken(Broken { invariant: STUCK, why }))
            }
        }
    }
}
