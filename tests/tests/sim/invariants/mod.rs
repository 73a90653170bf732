//! What must hold, whatever happens: one property a file. Each is told all that can be seen, and says what is wrong.

pub mod cursors_never_go_back;
pub mod no_ack_before_durable;
pub mod no_duplicate;
pub mod no_end_from_a_stop;
pub mod no_loss;

use std::collections::BTreeSet;
use std::path::PathBuf;

use flow::checkpoint::Checkpoint;
use flow::connector::Places;
use model::signal::Then;

use super::disk::SimDisk;
use super::graph::{Expected, Graph, Origin};
use super::record::Record;
use super::store::{Counts, LastCommitted};

/// Something that happened.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A life has begun, and goes on from here.
    Recovered(&'a LastCommitted),
    /// A sink has been opened: what was committed is there.
    SinkOpened {
        sink: usize,
    },
    Read {
        source: usize,
        split: &'a str,
        from: u64,
        to: u64,
    },
    /// A client was told that its records are safe.
    Acked {
        source: usize,
        records: &'a [Origin],
    },
    /// The store says that it is durable.
    Stored(&'a Checkpoint),
    /// A sink has prepared, at a barrier that is followed by this. `is_read`: whether nothing is left of any input.
    Prepared {
        sink: usize,
        then: Then,
        is_read: bool,
        is_stopping: bool,
    },
    /// A sink was told that a checkpoint is committed, and has committed what it gave this token for.
    Committed {
        sink: usize,
        token: &'a [u8],
    },
    /// A source was told that it may forget what is before these places.
    Released {
        source: usize,
        places: &'a Places,
    },
    /// A part does not go on, though the disk works.
    Refused {
        why: &'a str,
    },
    /// All is over.
    Over(&'a Outcome),
}

/// What came of it in the end.
#[derive(Debug)]
pub struct Outcome {
    /// What was given and has to have arrived.
    pub expected: Expected,
    pub letters: Vec<String>,
    pub state: Counts,
}

/// What can be looked at.
#[derive(Debug)]
pub struct Facts {
    pub graph: Graph,
    pub disk: SimDisk,
    /// All that anybody gave, answered for or not.
    pub given: BTreeSet<Origin>,
    /// What came to sinks that cannot commit.
    pub remote: Vec<Vec<Record>>,
}

/// Why it does not hold.
pub type Broken = String;

pub trait Invariant {
    fn name(&self) -> &'static str;
    fn see(&mut self, seen: &Seen<'_>, facts: &Facts) -> Result<(), Broken>;
}

pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<no_loss::NoLoss>::default(),
        Box::<no_duplicate::NoDuplicate>::default(),
        Box::<no_ack_before_durable::NoAckBeforeDurable>::default(),
        Box::<cursors_never_go_back::CursorsNeverGoBack>::default(),
        Box::<no_end_from_a_stop::NoEndFromAStop>::default(),
    ]
}

/// Where a sink writes.
pub fn directory(sink: &str) -> PathBuf {
    PathBuf::from(format!("/{sink}"))
}

impl Facts {
    /// The lines that a reader of a sink's files sees; none where it cannot commit.
    pub fn lines(&self, sink: usize) -> Vec<String> {
        let node = &self.graph.nodes[sink];
        if !node.kind.commits() {
            return Vec::new();
        }
        let dir = directory(&node.name);
        let names = self.disk.names(&dir).into_iter().filter(|name| !name.starts_with('.'));
        let text: Vec<u8> =
            names.flat_map(|name| self.disk.contents(&dir.join(name)).unwrap_or_default()).collect();
        String::from_utf8_lossy(&text).split_inclusive('\n').map(str::to_owned).collect()
    }

    /// The same as records; an error where a line is none, or was cut.
    pub fn visible(&self, sink: usize) -> Result<Vec<Record>, Broken> {
        let name = &self.graph.nodes[sink].name;
        let record = |line: &String| {
            let whole = line.strip_suffix('\n').and_then(|line| line.parse::<Record>().ok());
            let record = whole.ok_or_else(|| format!("{name} shows a line that nobody wrote: {line:?}"))?;
            match self.given.contains(&record.origin) {
                true => Ok(record),
                false => Err(format!("{name} shows a record that nobody gave: {line:?}")),
            }
        };
        self.lines(sink).iter().map(record).collect()
    }
}
