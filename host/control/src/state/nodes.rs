//! Nodes: they start, and they go for good.

use model::limits::CONTROL_NODES_MAX;
use serde::{Deserialize, Serialize};

use super::State;
use super::command::{Answer, Boot};
use super::effect::Effect;
use super::ids::{BootId, NodeId, PipelineName};
use super::pipeline::{How, Moment};
use super::refusal::{Kind, Refusal};

/// Removed ones that are remembered one by one. Of more, the lowest number stands for all below it.
const REMOVED_MAX: usize = 10 * CONTROL_NODES_MAX;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub boot: BootId,
    pub started_at_us: u64,
    pub address: String,
    pub version: String,
}

impl State {
    pub(super) fn boot(
        &mut self,
        now: Moment,
        boot: &Boot,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        let Boot { node, boot, address, version } = boot;
        match self.nodes.get(node) {
            Some(known) if known.boot == *boot => return Ok(Answer::Done),
            Some(_) => {}
            None if *node <= self.nodes_gone || self.nodes_removed.contains(node) => {
                return Err(Refusal::NodeGone { node: *node });
            }
            None if self.nodes.len() == CONTROL_NODES_MAX => {
                return Err(Refusal::TooMany { what: Kind::Nodes, max: CONTROL_NODES_MAX as u64 });
            }
            None => {}
        }
        let (address, version) = (address.clone(), version.clone());
        self.nodes.insert(*node, Node { boot: *boot, started_at_us: now.at_us, address, version });
        effects.push(Effect::NodeStarted { node: *node, boot: *boot });
        self.lose_runs(now, *node, false, effects);
        Ok(Answer::Done)
    }

    pub(super) fn remove_node(
        &mut self,
        now: Moment,
        node: NodeId,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        self.nodes.remove(&node).ok_or(Refusal::NoNode { node })?;
        self.nodes_removed.insert(node);
        if self.nodes_removed.len() > REMOVED_MAX
            && let Some(lowest) = self.nodes_removed.pop_first()
        {
            self.nodes_gone = self.nodes_gone.max(lowest);
        }
        effects.push(Effect::NodeRemoved { node });
        self.lose_runs(now, node, true, effects);
        Ok(Answer::Done)
    }

    /// What a node ran does not run any more. `for_good`: nor has it anything of its pipelines.
    fn lose_runs(&mut self, now: Moment, node: NodeId, for_good: bool, effects: &mut Vec<Effect>) {
        let mut gone: Vec<PipelineName> = Vec::new();
        for (name, pipeline) in &mut self.pipelines {
            if pipeline.run.is_some_and(|run| run.node == node) {
                pipeline.run = None;
            }
            if pipeline.node == Some(node) {
                // It is told again, and what failed is tried again.
                pipeline.is_removing = false;
                pipeline.rests &= pipeline.stopped.as_ref().is_none_or(|stop| stop.how != How::Failed);
                if for_good {
                    pipeline.node = None;
                }
            }
            if pipeline.settle(&mut self.epochs, now, effects) {
                gone.push(name.clone());
            }
        }
        gone.iter().for_each(|name| self.forget(name));
    }
}
