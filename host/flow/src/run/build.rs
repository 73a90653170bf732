//! A job becomes loops that wait to be run: one for each chain of the plan, with the edges between them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use model::plan::Plan;

use super::Run;
use super::barrier_handler::TrackedSource;
use super::chain::{Chain, Head, SourceHead};
use super::coordinator_task::CoordinatorTask;
use crate::belt::{Belt, Context, Station};
use crate::checkpoint::LoopId;
use crate::edge::{Receiver, Sender, meeting};
use crate::error::RunError;
use crate::job::{Checkpoints, CutOff, Job, Part, Rules};
use crate::letters::Letters;
use crate::meters::{MeteredPart, Meters};
use crate::pacing::Pacing;
use crate::replay::Injections;

impl Job {
    /// Makes the loops. Nothing flows yet.
    pub fn build(self) -> Result<Run, RunError> {
        self.build_loops(None)
    }

    /// Makes the loops behind the stages into which records are sent, by stage of the plan. Each such stage and each behind one
    /// has its part, a source [`Part::Injected`]; the others are [`Part::Absent`].
    pub fn build_behind(self, injections: BTreeMap<usize, Injections>) -> Result<Run, RunError> {
        self.build_loops(Some(injections))
    }

    fn build_loops(self, mut injections: Option<BTreeMap<usize, Injections>>) -> Result<Run, RunError> {
        let Self { plan, parts, rules, letters, epoch, checkpoints } = self;
        let metered = parts.iter().map(|part| (part.hits(), part.state())).collect();
        let mut context = context(&plan, rules, metered, letters, checkpoints.as_ref());
        context.epoch = epoch;
        for (meter, part) in context.meters.stages.iter().zip(&parts) {
            if let Some(figures) = part.figures() {
                meter.show(figures);
            }
        }
        let mut parts: Vec<Option<Part>> = parts.into_iter().map(Some).collect();
        // So that a barrier, of which there may be a few such stretches in front, comes through within its interval.
        let within = checkpoints.as_ref().map(|checkpoints| checkpoints.pace.interval / 4);
        let (mut senders, mut receivers) = meetings(&plan, within);
        if injections.is_some() {
            leave_out_absent(&mut receivers, &plan, &parts);
        }
        let mut chains = Vec::with_capacity(plan.chains.len());
        for chain in &plan.chains {
            let mut head = None;
            let mut stations = HashMap::new();
            let mut outboxes = HashMap::new();
            let (mut has_uncommitted, mut injected) = (false, None);
            for &stage in &chain.stages {
                let name = plan.stages[stage].name.to_string();
                match parts.get_mut(stage).and_then(Option::take) {
                    Some(Part::Source { source, limits }) => {
                        let pacing = within.map(Pacing::new);
                        head = Some(Head::Source(SourceHead { stage, name, source, limits, pacing }))
                    }
                    Some(Part::Injected { record_bytes_max }) => injected = Some(record_bytes_max),
                    Some(Part::Absent) => continue,
                    Some(part) => {
                        has_uncommitted |= part.is_uncommitted();
                        stations.extend(station_of(part).map(|station| (stage, station)));
                    }
                    None => {
                        return Err(RunError::Broke {
                            stage: name,
                            why: "nothing was given to run it".to_owned(),
                        });
                    }
                }
                for edge in plan.stages[stage].ports.iter().flat_map(|port| &port.edges) {
                    if let Some(sender) = senders.remove(edge) {
                        outboxes.insert(*edge, sender);
                    }
                }
            }
            if head.is_none() && injected.is_none() && stations.is_empty() {
                continue;
            }
            let first = chain.stages[0];
            let name = plan.stages[first].name.to_string();
            let receiver = receivers.remove(&first);
            let head = match &mut injections {
                Some(injections) => Some(injected_head(injections, &chain.stages, receiver, injected)),
                None => head.or_else(|| receiver.map(Head::Meeting)),
            };
            let Some(head) = head else {
                return Err(RunError::Broke { stage: name, why: "nothing feeds it".to_owned() });
            };
            let mut belt = Belt::new(context.clone(), stations, outboxes, None)?;
            belt.has_uncommitted = has_uncommitted;
            chains.push((LoopId::only(first), Chain { head, belt, handler: None }));
        }
        let coordinator = checkpoints.map(|checkpoints| attend(checkpoints, &mut chains, &context));
        Ok(Run { chains, meters: context.meters.clone(), context, share: None, coordinator })
    }
}

/// What runs a stage on a belt; none of a source, which is at its head.
fn station_of(part: Part) -> Option<Station> {
    match part {
        Part::Transform(transform) => Some(Station::Transform { transform, lease: None }),
        Part::Sink(sink) => Some(Station::Sink(sink)),
        Part::Cut(CutOff { why, .. }) => Some(Station::Cut { why }),
        Part::Source { .. } | Part::Injected { .. } | Part::Absent => None,
    }
}

/// Sets a barrier handler beside each loop, and makes the task that coordinates them.
fn attend(checkpoints: Checkpoints, chains: &mut [(LoopId, Chain)], context: &Context) -> CoordinatorTask {
    let Checkpoints { store, last_committed, pace, recovery: _ } = checkpoints;
    let places = last_committed.places.clone();
    let loops: Vec<LoopId> = chains.iter().map(|(id, _)| *id).collect();
    let coordinator = CoordinatorTask::new(&loops, last_committed, store, pace, context);
    for (id, chain) in chains {
        let source = match &chain.head {
            Head::Source(head) => {
                let (stage, name) = (head.stage, context.plan.stages[head.stage].name.clone());
                let places = places.get(&name).cloned().unwrap_or_default();
                // What an earlier run read behind the last checkpoint comes again.
                let meter = &context.meters.stages[stage];
                meter.set_committed(meter.given());
                Some(TrackedSource { name, stage, places })
            }
            _ => None,
        };
        chain.handler = coordinator.handler(*id, source);
    }
    coordinator
}

/// What all loops know, with what is left of earlier runs.
fn context(
    plan: &Arc<Plan>,
    rules: Rules,
    metered: Vec<MeteredPart>,
    letters: Box<dyn Letters>,
    checkpoints: Option<&Checkpoints>,
) -> Context {
    let recovery = checkpoints.map(|checkpoints| checkpoints.recovery.clone()).unwrap_or_default();
    let meters = match recovery.meters {
        Some(meters) => meters.go_on(metered),
        None => Meters::new(plan, metered),
    };
    let mut context = Context::new(plan, rules, &meters, letters);
    recovery.poison.begin(checkpoints.map_or(0, |checkpoints| checkpoints.last_committed.number));
    (context.poison, context.restarts) = (recovery.poison, recovery.restarts);
    (context.keeps_cut, context.restarts_to_cut) = (checkpoints.is_some(), recovery.restarts_to_cut);
    context
}

/// For each stage at which streams meet, the way in; by edge, the way there.
fn meetings(plan: &Plan, within: Option<Duration>) -> (HashMap<usize, Sender>, HashMap<usize, Receiver>) {
    let (mut senders, mut receivers) = (HashMap::new(), HashMap::new());
    for (index, stage) in plan.stages.iter().enumerate() {
        if stage.inputs.len() > 1 {
            let (ways, receiver) = meeting(&stage.inputs, within);
            senders.extend(stage.inputs.iter().copied().zip(ways));
            receivers.insert(index, receiver);
        }
    }
    (senders, receivers)
}

/// What comes into the stages of a chain, and then by edges. `injected`: of the source that is among them.
fn injected_head(
    injections: &mut BTreeMap<usize, Injections>,
    stages: &[usize],
    then: Option<Receiver>,
    injected: Option<u64>,
) -> Head {
    let injections = stages.iter().filter_map(|stage| injections.remove(stage)).collect();
    Head::Injected { injections, then, record_bytes_max: injected.unwrap_or(u64::MAX) }
}

/// Nothing comes from stages that are not there, not even an end.
fn leave_out_absent(receivers: &mut HashMap<usize, Receiver>, plan: &Plan, parts: &[Option<Part>]) {
    let is_there = |stage: usize| !matches!(parts.get(stage), None | Some(None | Some(Part::Absent)));
    for receiver in receivers.values_mut() {
        receiver.edges.retain(|&edge| is_there(plan.edges[edge].from));
    }
    receivers.retain(|_, receiver| !receiver.edges.is_empty());
}
