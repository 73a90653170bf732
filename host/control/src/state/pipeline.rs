//! One pipeline: what is wanted of it, what runs of it, and what has to happen so that the two agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::ids::{CheckpointNumber, Epoch};
use model::limits::CONTROL_REVISIONS_KEPT;
use serde::{Deserialize, Serialize};

use super::command::Content;
use super::effect::Effect;
use super::ids::{NodeId, PipelineId, PipelineName, RevisionNumber, Version};
use crate::bytes::kept_bytes;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    pub id: PipelineId,
    pub name: Arc<PipelineName>,
    pub made_at_us: u64,
    pub version: Version,
    pub desired: Desired,
    /// That is to run.
    pub revision: RevisionNumber,
    /// The last ones.
    pub revisions: BTreeMap<RevisionNumber, Arc<Revision>>,
    pub revisions_made: u64,
    /// Which node is to run it, and has what it left there.
    pub node: Option<NodeId>,
    pub run: Option<Run>,
    /// How the last run ended of which a node said so.
    pub stopped: Option<Stop>,
    /// The highest that it had.
    pub epoch: Epoch,
    /// Whether it has ended or failed for good, and runs again only when somebody wants something of it.
    pub rests: bool,
    /// Whether its node was told to remove what it has of it.
    pub is_removing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Desired {
    Running,
    Paused,
    Deleted { keeps_dead_letters: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub number: RevisionNumber,
    pub content: Content,
    pub made_at_us: u64,
    pub by: Option<String>,
}

/// What a node runs, or opens, or stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub node: NodeId,
    pub revision: RevisionNumber,
    pub epoch: Epoch,
    pub since_us: u64,
    /// Whether the node was told to stop it.
    pub is_stopping: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub epoch: Epoch,
    pub revision: RevisionNumber,
    pub how: How,
    /// At which it stopped; none where it had taken none.
    pub checkpoint: Option<CheckpointNumber>,
    pub at_us: u64,
    pub why: Option<String>,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It was told to.
    Asked,
    /// There is nothing more to read.
    Ended,
    /// Its node does not try again.
    Failed,
}

/// What gives out epochs: each is higher than any before it, of whatever pipeline, and not lower than the index of the
/// entry of the log that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epochs {
    pub last: Epoch,
}

impl Epochs {
    fn next(&mut self, index: u64) -> Epoch {
        self.last = Epoch((self.last.0 + 1).max(index));
        self.last
    }

    /// None is given any more that is not above `seen`.
    pub fn pass(&mut self, seen: Epoch) {
        self.last = self.last.max(seen);
    }
}

/// Which entry of the log it is, and when.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub index: u64,
    pub at_us: u64,
}

impl Revision {
    /// What it takes, as far as it counts.
    pub fn bytes(&self) -> u64 {
        kept_bytes(self)
    }
}

impl Pipeline {
    pub fn new(id: PipelineId, name: PipelineName, at_us: u64) -> Self {
        Self {
            id,
            name: Arc::new(name),
            made_at_us: at_us,
            version: Version(0),
            desired: Desired::Running,
            revision: RevisionNumber(0),
            revisions: BTreeMap::new(),
            revisions_made: 0,
            node: None,
            run: None,
            stopped: None,
            epoch: Epoch(0),
            rests: false,
            is_removing: false,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.revisions.values().map(|revision| revision.bytes()).sum()
    }

    /// What is to run. None before the first deploy.
    pub fn current(&self) -> Option<&Arc<Revision>> {
        self.revisions.get(&self.revision)
    }

    pub fn is_being_deleted(&self) -> bool {
        matches!(self.desired, Desired::Deleted { .. })
    }

    /// What would be added next.
    pub fn next_revision(&self, content: Content, at_us: u64, by: Option<String>) -> Revision {
        Revision { number: RevisionNumber(self.revisions_made + 1), content, made_at_us: at_us, by }
    }

    /// Adds a revision, which is to run; those that are too many go. Gives their bytes.
    pub fn add(&mut self, revision: Revision) -> u64 {
        let number = revision.number;
        self.revisions_made = number.0;
        self.revisions.insert(number, Arc::new(revision));
        self.revision = number;
        let runs = self.run.map(|run| run.revision);
        let is_needed = |number: RevisionNumber| number == self.revision || Some(number) == runs;
        let mut freed = 0;
        while self.revisions.len() > CONTROL_REVISIONS_KEPT {
            let Some(oldest) = self.revisions.keys().copied().find(|number| !is_needed(*number)) else {
                break;
            };
            freed += self.revisions.remove(&oldest).map_or(0, |gone| gone.bytes());
        }
        freed
    }

    /// Something else is wanted of it.
    pub fn want(&mut self, why: Option<&str>, effects: &mut Vec<Effect>) {
        self.version.0 += 1;
        self.rests = false;
        effects.push(Effect::Wanted {
            pipeline: self.name.clone(),
            version: self.version,
            desired: self.desired,
            revision: self.revision,
            why: why.map(str::to_owned),
        });
    }

    /// What runs of it is told to stop, whatever is wanted.
    pub fn stop(&mut self, effects: &mut Vec<Effect>) {
        if let Some(run) = self.run.as_mut().filter(|run| !run.is_stopping) {
            run.is_stopping = true;
            let (node, epoch) = (run.node, run.epoch);
            effects.push(Effect::Stop { pipeline: self.name.clone(), id: self.id, node, epoch });
        }
    }

    /// What ran of it does not any more.
    pub fn ended(&mut self, stop: Stop, effects: &mut Vec<Effect>) {
        effects.push(Effect::Stopped {
            pipeline: self.name.clone(),
            id: self.id,
            epoch: stop.epoch,
            checkpoint: stop.checkpoint,
        });
        // Where it was told to stop, something else is wanted of it, whatever it ended with.
        let was_asked = self.run.is_some_and(|run| run.is_stopping);
        self.rests = stop.how != How::Asked && !was_asked;
        self.run = None;
        self.stopped = Some(stop);
    }

    /// What has to happen so that what is wanted comes about. Whether it is gone.
    pub fn settle(&mut self, epochs: &mut Epochs, now: Moment, effects: &mut Vec<Effect>) -> bool {
        let node = self.node.filter(|_| self.desired == Desired::Running && !self.rests);
        match (self.run, node) {
            (Some(run), Some(node)) if run.node == node && run.revision == self.revision => {}
            (Some(_), _) => self.stop(effects),
            (None, Some(node)) => self.start(node, epochs, now, effects),
            (None, None) => return self.remove(effects),
        }
        false
    }

    fn start(&mut self, node: NodeId, epochs: &mut Epochs, now: Moment, effects: &mut Vec<Effect>) {
        // Of the last run alone: after a crash only the pipeline's own directory knows.
        let last = self.stopped.as_ref().filter(|stopped| stopped.epoch == self.epoch);
        let checkpoint = last.and_then(|stopped| stopped.checkpoint);
        let epoch = epochs.next(now.index);
        self.epoch = epoch;
        let revision = self.revision;
        self.run = Some(Run { node, revision, epoch, since_us: now.at_us, is_stopping: false });
        let pipeline = self.name.clone();
        effects.push(Effect::Start { pipeline, id: self.id, node, revision, epoch, checkpoint });
    }

    fn remove(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Desired::Deleted { keeps_dead_letters } = self.desired else { return false };
        let Some(node) = self.node else {
            effects.push(Effect::Gone { pipeline: self.name.clone(), id: self.id });
            return true;
        };
        if !std::mem::replace(&mut self.is_removing, true) {
            let pipeline = self.name.clone();
            effects.push(Effect::Remove { pipeline, id: self.id, node, keeps_dead_letters });
        }
        false
    }
}
