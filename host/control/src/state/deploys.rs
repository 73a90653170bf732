//! What becomes of pipelines: they come, change, pause, move and go.

use model::ids::{CheckpointNumber, Epoch};
use model::limits::{CONTROL_PIPELINES_MAX, EPOCH_TAKEN_OVER_MAX};

use super::State;
use super::command::{Answer, Deploy, Expects, TakenOver};
use super::effect::Effect;
use super::ids::{NodeId, PipelineId, PipelineName, RevisionNumber};
use super::pipeline::{Desired, How, Moment, Pipeline, Revision, Stop};
use super::refusal::{Kind, Refusal};
use super::things::room;

impl State {
    /// Whether something may be deployed under this name as things are now, for whoever tries it out beforehand. What is
    /// deployed is not looked at.
    pub fn may_deploy(&self, name: &PipelineName, expects: Expects) -> Result<(), Refusal> {
        self.namespace(&name.namespace)?;
        match (self.pipelines.contains_key(name), expects) {
            (true, _) => self.wanted(name, expects).map(|_| ()),
            (false, Expects::Something | Expects::Version(_)) => {
                Err(Refusal::NoPipeline { pipeline: name.clone() })
            }
            (false, Expects::Nothing | Expects::Anything) => Ok(()),
        }
    }

    pub(super) fn deploy(
        &mut self,
        now: Moment,
        by: &Option<String>,
        deploy: &Deploy,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        let Deploy { pipeline: name, content, expects, node, taken_over } = deploy;
        self.may_deploy(name, *expects)?;
        if let Some(node) = node.filter(|node| !self.nodes.contains_key(node)) {
            return Err(Refusal::NoNode { node });
        }
        if self.pipelines.contains_key(name) {
            if taken_over.is_some() {
                return Err(Refusal::CannotTakeOver { pipeline: name.clone() });
            }
            return self.redeploy(now, by, deploy, effects);
        }
        if let Some(TakenOver { epoch, .. }) = taken_over.filter(|over| over.epoch.0 > EPOCH_TAKEN_OVER_MAX) {
            return Err(Refusal::EpochTooHigh { epoch });
        }
        room(Kind::Pipelines, self.pipelines.len(), CONTROL_PIPELINES_MAX)?;
        let mut made = Pipeline::new(PipelineId(self.pipelines_made + 1), name.clone(), now.at_us);
        let revision = made.next_revision(content.clone(), now.at_us, by.clone());
        self.bytes = self.bytes_with(revision.bytes(), 0)?;
        self.pipelines_made += 1;
        made.add(revision);
        made.node = *node;
        if let Some(over) = taken_over {
            self.epochs.pass(over.epoch);
            made.take_over(*over, now.at_us);
        }
        made.want(None, effects);
        made.settle(&mut self.epochs, now, effects);
        let answer = Answer::Deployed { revision: made.revision, version: made.version, is_new: true };
        self.pipelines.insert(name.clone(), made);
        Ok(answer)
    }

    fn redeploy(
        &mut self,
        now: Moment,
        by: &Option<String>,
        deploy: &Deploy,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        let Deploy { pipeline: name, content, expects, node, .. } = deploy;
        let known = self.wanted(name, *expects)?;
        let is_new = known.current().is_none_or(|current| current.content != *content);
        let revision = is_new.then(|| known.next_revision(content.clone(), now.at_us, by.clone()));
        self.bytes = self.bytes_with(revision.as_ref().map_or(0, Revision::bytes), 0)?;
        let Self { pipelines, epochs, bytes, .. } = self;
        let known = found(pipelines.get_mut(name), name)?;
        let gets_node = known.node.is_none() && node.is_some();
        if let Some(revision) = revision {
            *bytes -= known.add(revision);
        }
        if gets_node {
            known.node = *node;
        }
        if is_new || gets_node || known.rests {
            known.want(None, effects);
        }
        known.settle(epochs, now, effects);
        Ok(Answer::Deployed { revision: known.revision, version: known.version, is_new })
    }

    pub(super) fn use_revision(
        &mut self,
        now: Moment,
        name: &PipelineName,
        revision: RevisionNumber,
        (expects, why): (Expects, Option<&str>),
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        let known = self.wanted(name, expects)?;
        if !known.revisions.contains_key(&revision) {
            let mut numbers = known.revisions.keys().copied();
            let least = numbers.next().unwrap_or_default();
            let most = numbers.next_back().unwrap_or(least);
            return Err(Refusal::NoRevision { pipeline: name.clone(), revision, least, most });
        }
        self.change(now, name, why, effects, |pipeline| {
            std::mem::replace(&mut pipeline.revision, revision) != revision || pipeline.rests
        })
    }

    /// Running, paused or deleted.
    pub(super) fn want(
        &mut self,
        now: Moment,
        name: &PipelineName,
        desired: Desired,
        expects: Expects,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        self.wanted(name, expects)?;
        self.change(now, name, None, effects, |pipeline| {
            let starts_again = pipeline.rests && desired == Desired::Running;
            std::mem::replace(&mut pipeline.desired, desired) != desired || starts_again
        })
    }

    pub(super) fn restart(
        &mut self,
        now: Moment,
        name: &PipelineName,
        expects: Expects,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        self.wanted(name, expects)?;
        let known = found(self.pipelines.get_mut(name), name)?;
        known.want(None, effects);
        known.stop(effects);
        known.settle(&mut self.epochs, now, effects);
        Ok(Answer::Wanted { version: known.version })
    }

    pub(super) fn assign(
        &mut self,
        now: Moment,
        name: &PipelineName,
        node: NodeId,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        self.wanted(name, Expects::Anything)?;
        if !self.nodes.contains_key(&node) {
            return Err(Refusal::NoNode { node });
        }
        self.change(now, name, None, effects, |pipeline| pipeline.node.replace(node) != Some(node))
    }

    pub(super) fn stopped(
        &mut self,
        now: Moment,
        id: PipelineId,
        epoch: Epoch,
        (how, checkpoint, why): (How, Option<CheckpointNumber>, Option<String>),
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        let name = self.numbered_pipeline(id)?;
        let known = found(self.pipelines.get_mut(&name), &name)?;
        let run = known.run.filter(|run| run.epoch == epoch);
        let Some(run) = run else {
            return Err(Refusal::OldEpoch { pipeline: id, epoch, current: known.epoch });
        };
        let stop = Stop { epoch, revision: run.revision, how, checkpoint, at_us: now.at_us, why };
        known.ended(stop, effects);
        if known.settle(&mut self.epochs, now, effects) {
            self.forget(&name);
        }
        Ok(Answer::Done)
    }

    pub(super) fn removed(
        &mut self,
        id: PipelineId,
        node: NodeId,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        let name = self.numbered_pipeline(id)?;
        let known = found(self.pipelines.get(&name), &name)?;
        if !known.is_being_deleted() || known.run.is_some() || known.node != Some(node) {
            return Err(Refusal::NotBeingDeleted { pipeline: id });
        }
        effects.push(Effect::Gone { pipeline: known.name.clone(), id });
        self.forget(&name);
        Ok(Answer::Done)
    }

    /// The pipeline, where something may be wanted of it.
    fn wanted(&self, name: &PipelineName, expects: Expects) -> Result<&Pipeline, Refusal> {
        let pipeline = || name.clone();
        let known = found(self.pipelines.get(name), name)?;
        if known.is_being_deleted() {
            return Err(Refusal::BeingDeleted { pipeline: pipeline() });
        }
        match expects {
            Expects::Nothing => Err(Refusal::Taken { pipeline: pipeline(), version: known.version }),
            Expects::Version(expected) if expected != known.version => {
                Err(Refusal::Stale { pipeline: pipeline(), expected, found: known.version })
            }
            Expects::Version(_) | Expects::Something | Expects::Anything => Ok(known),
        }
    }

    /// Changes what is wanted. `change` says whether that is something else.
    fn change(
        &mut self,
        now: Moment,
        name: &PipelineName,
        why: Option<&str>,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut Pipeline) -> bool,
    ) -> Result<Answer, Refusal> {
        let known = found(self.pipelines.get_mut(name), name)?;
        if change(known) {
            known.want(why, effects);
        }
        let version = known.version;
        if known.settle(&mut self.epochs, now, effects) {
            self.forget(name);
        }
        Ok(Answer::Wanted { version })
    }

    fn numbered_pipeline(&self, id: PipelineId) -> Result<PipelineName, Refusal> {
        let known = self.pipelines.values().find(|pipeline| pipeline.id == id);
        known.map(|known| PipelineName::clone(&known.name)).ok_or(Refusal::NoPipelineNumber { pipeline: id })
    }

    pub(super) fn forget(&mut self, name: &PipelineName) {
        if let Some(gone) = self.pipelines.remove(name) {
            self.bytes -= gone.bytes();
        }
    }
}

impl Pipeline {
    /// Goes on where another store of it has stopped.
    fn take_over(&mut self, over: TakenOver, at_us: u64) {
        self.epoch = over.epoch;
        self.stopped = Some(Stop {
            epoch: over.epoch,
            revision: self.revision,
            how: How::Asked,
            checkpoint: Some(over.checkpoint),
            at_us,
            why: None,
        });
    }
}

fn found<T>(pipeline: Option<T>, name: &PipelineName) -> Result<T, Refusal> {
    pipeline.ok_or_else(|| Refusal::NoPipeline { pipeline: name.clone() })
}
