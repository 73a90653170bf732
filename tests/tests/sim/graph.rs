//! The pipeline of a seed: sources, stages that forward, refuse or count, sinks that commit or do not, joined by
//! chains, fan-outs, fan-ins and diamonds.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

/// What a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A log that can be read again, with so many splits.
    Log {
        splits: u8,
        records: u64,
    },
    /// Clients post to it; the spool is what can be read again.
    Spool {
        requests: u64,
    },
    Plain,
    /// Refuses some records: they are dead letters.
    Refusing,
    /// Counts records by key, in state that lasts, and says to each record which it was.
    Counting,
    /// One file that grows with each commit.
    OneFile,
    /// Files that are full get a name with a commit.
    FileRow,
    /// Somebody who cannot take back what came.
    Remote,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub kind: Kind,
    /// Indices of edges.
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

/// Names a record for ever: the stage that read it, its split, its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub source: u8,
    pub split: u8,
    pub number: u64,
}

/// A record at a place in the graph: where streams of one origin meet again, the way makes it another record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    pub origin: Origin,
    /// Nodes that it went through, the one where it is included.
    pub way: Vec<u8>,
}

/// What has to come of records that were given.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// By sink.
    pub sinks: BTreeMap<usize, BTreeSet<Arrival>>,
    pub letters: BTreeSet<Arrival>,
    /// By counting stage and key.
    pub counts: BTreeMap<(u8, u8), u64>,
}

/// A number that is the same for a record at a stage in every run.
fn mix(node: u8, origin: Origin) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in [u64::from(node), u64::from(origin.source), u64::from(origin.split), origin.number] {
        hash = (hash ^ part).wrapping_mul(0x0100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash
}

/// Whether a stage refuses a record.
pub fn refuses(kind: Kind, node: u8, origin: Origin) -> bool {
    match kind {
        Kind::Refusing => mix(node, origin).is_multiple_of(5),
        // A record with a line break is none that a file of lines takes.
        Kind::OneFile | Kind::FileRow => has_break(origin),
        _ => false,
    }
}

/// Whether the record has a line break in it.
pub fn has_break(origin: Origin) -> bool {
    mix(255, origin).is_multiple_of(19)
}

/// The key by which a stage counts a record.
pub fn key(node: u8, origin: Origin) -> u8 {
    (mix(node, origin) % 3) as u8
}

impl Kind {
    pub fn is_sink(self) -> bool {
        matches!(self, Self::OneFile | Self::FileRow | Self::Remote)
    }

    pub fn commits(self) -> bool {
        matches!(self, Self::OneFile | Self::FileRow)
    }
}

impl Graph {
    pub fn of_seed(random: &mut Rng) -> Self {
        let mut graph = Self::default();
        for index in 0..random.usize(1..=3) {
            let kind = match random.u8(2..5) {
                0..2 => Kind::Spool { requests: random.u64(5..20) },
                _ => Kind::Log { splits: random.u8(1..=3), records: random.u64(4..30) },
            };
            graph.add(format!("source{index}"), kind, &[]);
        }
        for index in 0..random.usize(0..=4) {
            let kind = [Kind::Plain, Kind::Refusing, Kind::Counting][random.usize(0..3)];
            let inputs = graph.choose(random, 4);
            graph.add(format!("stage{index}"), kind, &inputs);
        }
        for index in 0..random.usize(1..=2) {
            let kind = [Kind::OneFile, Kind::FileRow, Kind::OneFile, Kind::Remote][random.usize(0..4)];
            let inputs = graph.choose(random, 2);
            graph.add(format!("sink{index}"), kind, &inputs);
        }
        // Nothing is left without a sink behind it.
        let open: Vec<usize> = (0..graph.nodes.len())
            .filter(|&node| graph.nodes[node].outputs.is_empty() && !graph.nodes[node].kind.is_sink())
            .collect();
        if !open.is_empty() {
            graph.add("last".to_owned(), Kind::OneFile, &open);
        }
        graph
    }

    /// A stage to read from, or up to three in one of `meets` cases.
    fn choose(&self, random: &mut Rng, meets: usize) -> Vec<usize> {
        let mut open: Vec<usize> =
            (0..self.nodes.len()).filter(|&node| !self.nodes[node].kind.is_sink()).collect();
        random.shuffle(&mut open);
        open.truncate(if random.usize(0..meets) == 0 { 3 } else { 1 });
        open.sort_unstable();
        open
    }

    pub fn add(&mut self, name: String, kind: Kind, from: &[usize]) -> usize {
        let to = self.nodes.len();
        let mut inputs = Vec::new();
        for &from in from {
            inputs.push(self.edges.len());
            self.nodes[from].outputs.push(self.edges.len());
            self.edges.push(Edge { from, to });
        }
        self.nodes.push(Node { name, kind, inputs, outputs: Vec::new() });
        to
    }

    /// The loops: each source, and each stage at which streams meet, with what hangs behind it alone.
    pub fn loops(&self) -> Vec<Vec<usize>> {
        let mut of = vec![0; self.nodes.len()];
        let mut loops: Vec<Vec<usize>> = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            match &node.inputs[..] {
                &[edge] => {
                    of[index] = of[self.edges[edge].from];
                    loops[of[index]].push(index);
                }
                _ => {
                    of[index] = loops.len();
                    loops.push(vec![index]);
                }
            }
        }
        loops
    }

    pub fn sinks(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.kind.is_sink())
    }

    /// What has to come of these records.
    pub fn expected(&self, given: impl IntoIterator<Item = Origin>) -> Expected {
        let mut expected = Expected::default();
        for origin in given {
            self.follow(usize::from(origin.source), origin, &mut Vec::new(), &mut expected);
        }
        expected
    }

    fn follow(&self, node: usize, origin: Origin, way: &mut Vec<u8>, expected: &mut Expected) {
        let (name, kind) = (node as u8, self.nodes[node].kind);
        way.push(name);
        let arrival = || Arrival { origin, way: way.clone() };
        if refuses(kind, name, origin) {
            expected.letters.insert(arrival());
        } else if kind.is_sink() {
            expected.sinks.entry(node).or_default().insert(arrival());
        } else {
            if kind == Kind::Counting {
                *expected.counts.entry((name, key(name, origin))).or_default() += 1;
            }
            for &edge in &self.nodes[node].outputs {
                self.follow(self.edges[edge].to, origin, way, expected);
            }
        }
        way.pop();
    }

    /// All of it in a line, for whoever reads a trace.
    pub fn shown(&self) -> String {
        let edge = |edge: &Edge| format!("{} -> {}", self.nodes[edge.from].name, self.nodes[edge.to].name);
        let edges: Vec<String> = self.edges.iter().map(edge).collect();
        let nodes: Vec<String> =
            self.nodes.iter().map(|node| format!("{} {:?}", node.name, node.kind)).collect();
        format!("{}; {}", nodes.join(", "), edges.join(", "))
    }
}
