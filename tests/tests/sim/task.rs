//! One loop of the simulated pipeline: what it still has to do, one thing a turn, so that a crash or another loop may
//! come between any two.

use std::collections::VecDeque;

use flow::checkpoint::{Alignment, Participant};
use flow::connector::Places;
use model::signal::{Barrier, Signal};

use super::graph::Graph;
use super::record::Record;
use super::store::Counts;

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Todo {
    /// A batch goes over an edge: to another loop, or into the stage there.
    Edge(usize, Vec<Record>),
    /// A batch goes into a stage that has backed off.
    Stage(usize, Vec<Record>),
    /// What has waited has been worked off: the barrier has come, or the loop ends.
    OnBarrier(Barrier),
    Ends,
    /// The barrier goes over an edge to another loop.
    Forward(usize, Barrier),
    /// The state as it is at the barrier.
    Freeze,
    Prepare(usize, Barrier),
    SyncLetters,
    Ack(Barrier),
    Commit(usize, u64, Vec<u8>),
    Release(Places),
    /// Nothing follows on this edge.
    End(usize),
    /// `is_stopped`: because sources were told to stop.
    SayEnded {
        is_stopped: bool,
    },
}

/// A stage that wants its records another time.
#[derive(Clone, Debug)]
pub struct Backoff {
    pub stage: usize,
    pub until: u64,
    pub batches: VecDeque<Vec<Record>>,
}

/// Where streams meet.
pub struct Meeting {
    pub alignment: Alignment<Vec<Record>>,
    /// Has come over the edges, and nobody has looked at it.
    pub inbox: VecDeque<(usize, Signal<Vec<Record>>)>,
}

pub struct Task {
    pub head: usize,
    pub nodes: Vec<usize>,
    /// Edges that lead to other loops.
    pub away: Vec<usize>,
    pub todo: VecDeque<Todo>,
    pub participant: Participant,
    pub meeting: Option<Meeting>,
    pub backoff: Option<Backoff>,
    /// Where the source at the head is.
    pub places: Places,
    pub frozen: Counts,
    pub prepared: Vec<(usize, Vec<u8>)>,
    /// A mistake that is made on purpose: prepared, and in no ack yet.
    pub not_told: Vec<(usize, Vec<u8>)>,
    pub prepared_places: Places,
    /// The next dead letter when the barrier came.
    pub letters: u64,
    /// All that came has been worked off.
    pub has_ended: bool,
    /// A mistake that is made on purpose: the ack waits for what comes next.
    pub acks_late: Option<Barrier>,
    pub is_done: bool,
    /// The version of the status that it has looked at.
    pub heard: u64,
    /// How long it takes for a thing.
    pub slowness: u64,
}

impl Task {
    pub fn new(graph: &Graph, nodes: Vec<usize>, places: Places, slowness: u64) -> Self {
        let head = nodes[0];
        let away = nodes.iter().flat_map(|&node| &graph.nodes[node].outputs).copied();
        let away = away.filter(|&edge| !nodes.contains(&graph.edges[edge].to)).collect();
        let inputs = &graph.nodes[head].inputs;
        let meeting =
            (inputs.len() > 1).then(|| Meeting { alignment: Alignment::new(inputs), inbox: VecDeque::new() });
        Self {
            head,
            nodes,
            away,
            todo: VecDeque::new(),
            participant: Participant::default(),
            meeting,
            backoff: None,
            places,
            frozen: Counts::new(),
            prepared: Vec::new(),
            not_told: Vec::new(),
            prepared_places: Places::new(),
            letters: 0,
            has_ended: false,
            acks_late: None,
            is_done: false,
            heard: 0,
            slowness,
        }
    }

    /// Sends a batch over all edges of a stage; the first one is worked off first.
    pub fn leave(&mut self, graph: &Graph, node: usize, batch: &[Record]) {
        if !batch.is_empty() {
            for &edge in graph.nodes[node].outputs.iter().rev() {
                self.todo.push_front(Todo::Edge(edge, batch.to_vec()));
            }
        }
    }
}
