//! The control state: what there is in a cluster and what is wanted of it, as a pure state machine.
//!
//! Commands come in the order of the log, each with the index of its entry. What comes of one depends on the state and on
//! the command alone, so that all nodes have the same state; a clock, chance or the environment are never asked. A
//! command is done as a whole or refused as a whole, and what follows from it is told as [`Effect`]s.

mod check;
mod command;
mod deploys;
mod effect;
mod ids;
mod nodes;
mod pipeline;
mod refusal;
mod seen;
mod things;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::ids::{Digest, Epoch};
use model::limits::CONTROL_AUDIT_MAX;
use model::manifest::Name;
use serde::{Deserialize, Serialize};

pub use command::{Answer, Boot, Command, Content, Deploy, Expects, Proposal, TakenOver};
pub use effect::{Effect, Event};
pub use ids::{
    BadName, BootId, ClusterId, IdempotencyKey, NoHex, NodeId, PipelineId, PipelineName, RevisionNumber,
    SecretName, TagName, Variable, Version,
};
pub use nodes::Node;
pub use pipeline::{Desired, Epochs, How, Pipeline, Revision, Run, Stop};
pub use refusal::{Kind, Refusal};
pub use things::{Namespace, Secret};

use pipeline::Moment;
use seen::{Answered, Seen};

/// Everything that is replicated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    epochs: Epochs,
    /// How many effects there were.
    effects: u64,
    pipelines_made: u64,
    /// What revisions and secrets take.
    bytes: u64,
    nodes: BTreeMap<NodeId, Node>,
    /// Those that were removed, and are not in `nodes_gone`.
    nodes_removed: BTreeSet<NodeId>,
    /// No node has this number or a lower one that is not in `nodes`.
    nodes_gone: NodeId,
    namespaces: BTreeMap<Name, Namespace>,
    pipelines: BTreeMap<PipelineName, Pipeline>,
    tags: BTreeMap<TagName, Digest>,
    secrets: BTreeMap<SecretName, Arc<Secret>>,
    audit: VecDeque<Arc<AuditEntry>>,
    audited: u64,
    seen: Seen,
}

/// Something that somebody had done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Counted from 1.
    pub number: u64,
    pub index: u64,
    pub at_us: u64,
    pub by: String,
    pub verb: String,
    pub object: String,
    pub why: Option<String>,
}

/// What came of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub result: Result<Answer, Refusal>,
    /// Of the entry in which it was done: an earlier one where its key was known.
    pub index: u64,
    pub events: Vec<Event>,
}

impl Default for State {
    fn default() -> Self {
        let default = Name::parse(DEFAULT_NAMESPACE).map(|name| (name, Namespace { made_at_us: 0 }));
        Self {
            epochs: Epochs::default(),
            effects: 0,
            pipelines_made: 0,
            bytes: 0,
            nodes: BTreeMap::new(),
            nodes_removed: BTreeSet::new(),
            nodes_gone: NodeId(0),
            namespaces: default.into_iter().collect(),
            pipelines: BTreeMap::new(),
            tags: BTreeMap::new(),
            secrets: BTreeMap::new(),
            audit: VecDeque::new(),
            audited: 0,
            seen: Seen::default(),
        }
    }
}

/// The namespace that is always there.
pub const DEFAULT_NAMESPACE: &str = "default";

impl State {
    /// Does what is proposed, or refuses it. `index`: of the entry of the log, which never goes back.
    pub fn apply(&mut self, index: u64, proposal: &Proposal) -> Outcome {
        let Proposal { at_us, by, key, command } = proposal;
        if let Some((result, index)) = self.answered(proposal) {
            return Outcome { result, index, events: Vec::new() };
        }
        let mut effects = Vec::new();
        let now = Moment { index, at_us: *at_us };
        let result = check::check(proposal).and_then(|()| self.act(now, by, command, &mut effects));
        debug_assert!(result.is_ok() || effects.is_empty(), "{command:?}: refused, and something was done");
        if result.is_ok()
            && let Some(by) = by
        {
            self.audit(now, by, command);
        }
        if let Some(key) = key {
            let (by, key, result) = (by.clone(), key.clone(), result.clone());
            let fingerprint = seen::fingerprint(command);
            self.seen.remember(Answered { by, key, fingerprint, at_us: *at_us, index, result });
        }
        Outcome { result, index, events: self.numbered(now, effects) }
    }

    fn act(
        &mut self,
        now: Moment,
        by: &Option<String>,
        command: &Command,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        match command {
            Command::Boot(boot) => self.boot(now, boot, effects),
            Command::RemoveNode { node } => self.remove_node(now, *node, effects),
            Command::CreateNamespace { name } => self.create_namespace(now, name, effects),
            Command::DeleteNamespace { name } => self.delete_namespace(name, effects),
            Command::Deploy(deploy) => self.deploy(now, by, deploy, effects),
            Command::UseRevision { pipeline, revision, expects, why } => {
                self.use_revision(now, pipeline, *revision, (*expects, why.as_deref()), effects)
            }
            Command::Pause { pipeline, paused, expects } => {
                let desired = if *paused { Desired::Paused } else { Desired::Running };
                self.want(now, pipeline, desired, *expects, effects)
            }
            Command::Restart { pipeline, expects } => self.restart(now, pipeline, *expects, effects),
            Command::Delete { pipeline, keeps_dead_letters, expects } => {
                let desired = Desired::Deleted { keeps_dead_letters: *keeps_dead_letters };
                self.want(now, pipeline, desired, *expects, effects)
            }
            Command::Assign { pipeline, node } => self.assign(now, pipeline, *node, effects),
            Command::Stopped { pipeline, epoch, how, checkpoint, why } => {
                let stop = (*how, *checkpoint, why.clone());
                self.stopped(now, *pipeline, *epoch, stop, effects)
            }
            Command::Removed { pipeline, node } => self.removed(*pipeline, *node, effects),
            Command::SetTag { tag, digest } => self.set_tag(tag, *digest, effects),
            Command::DeleteTag { tag } => self.delete_tag(tag, effects),
            Command::SetSecret { secret, sealed } => self.set_secret(now, by, secret, sealed, effects),
            Command::DeleteSecret { secret } => self.delete_secret(secret, effects),
        }
    }

    fn audit(&mut self, now: Moment, by: &str, command: &Command) {
        self.audited += 1;
        self.audit.push_back(Arc::new(AuditEntry {
            number: self.audited,
            index: now.index,
            at_us: now.at_us,
            by: by.to_owned(),
            verb: command.verb().to_owned(),
            object: command.object(),
            why: command.why().map(str::to_owned),
        }));
        if self.audit.len() > CONTROL_AUDIT_MAX {
            self.audit.pop_front();
        }
    }

    fn numbered(&mut self, now: Moment, effects: Vec<Effect>) -> Vec<Event> {
        let from = self.effects + 1;
        self.effects += effects.len() as u64;
        let event = |(number, effect)| Event { number, index: now.index, at_us: now.at_us, effect };
        (from..).zip(effects).map(event).collect()
    }

    /// What was answered where this was asked for before under its key, and the index of the entry in which it was done. What
    /// nodes find out about a deploy may be left out: nobody has to find it out again for that.
    pub fn answered(&self, proposal: &Proposal) -> Option<(Result<Answer, Refusal>, u64)> {
        let Proposal { at_us, by, key, command } = proposal;
        let key = key.as_ref()?;
        let known = self.seen.find(by.as_deref(), key, *at_us)?;
        let is_same = known.fingerprint == seen::fingerprint(command);
        let result = if is_same { known.result.clone() } else { Err(Refusal::KeyUsed { key: key.clone() }) };
        Some((result, known.index))
    }

    /// The number of the last effect: whoever has looked at this state watches from there on.
    pub fn last_effect(&self) -> u64 {
        self.effects
    }

    /// The highest epoch that was given.
    pub fn last_epoch(&self) -> Epoch {
        self.epochs.last
    }

    /// What revisions and secrets take as they are kept, as JSON: manifests, answers and grants for the most part.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn nodes(&self) -> &BTreeMap<NodeId, Node> {
        &self.nodes
    }

    pub fn namespaces(&self) -> &BTreeMap<Name, Namespace> {
        &self.namespaces
    }

    pub fn pipelines(&self) -> &BTreeMap<PipelineName, Pipeline> {
        &self.pipelines
    }

    pub fn tags(&self) -> &BTreeMap<TagName, Digest> {
        &self.tags
    }

    pub fn secrets(&self) -> &BTreeMap<SecretName, Arc<Secret>> {
        &self.secrets
    }

    /// What somebody had done, oldest first, as far as it is kept.
    pub fn audit_log(&self) -> impl DoubleEndedIterator<Item = &Arc<AuditEntry>> + ExactSizeIterator {
        self.audit.iter()
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
