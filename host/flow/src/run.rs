//! A plan with everything opened becomes running loops.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::{Hits, Pool};
use model::limits::RECORD_BYTES_MAX;
use model::manifest::{OnError, OnFailure, Retry};
use model::plan::Plan;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::belt::{Belt, Context, Station};
use crate::chain::{Chain, Head, SourceHead};
use crate::checkpoint::{Checkpoint, CheckpointStore, Desk, Finish, KeptSource, Pace};
use crate::connector::{Figures, PullLimits, Sink, Source};
use crate::edge::{Receiver, Sender, meeting};
use crate::error::RunError;
use crate::fault::{self, Point};
use crate::letters::Letters;
use crate::meters::{MeteredPart, Meters};
use crate::pacing::Pacing;
use crate::replay::Feeds;
use crate::state::{StageState, StateGauge};
use crate::suspects::Suspects;
use crate::turns::Seat;

/// What runs a stage.
pub enum Part {
    Source {
        source: Box<dyn Source>,
        limits: PullLimits,
    },
    Transform(Transform),
    Sink(Box<dyn Sink>),
    /// Nothing, since it has failed for good: what comes for it is kept, and the rest goes on.
    Cut(CutOff),
    /// A source that is not read: what is made of records that it had refused comes out of it.
    Fed {
        record_bytes_max: u64,
    },
    /// Nothing: the job runs what is behind other stages.
    Absent,
}

/// A sink that failed for good in an earlier life of its pipeline.
#[derive(Clone, Debug)]
pub struct CutOff {
    /// The reason, in one line.
    pub why: Arc<str>,
    /// Whether its token of the checkpoint that stands is committed.
    pub is_committed: bool,
}

/// What runs a transform.
#[derive(Clone)]
pub struct Transform {
    pub pool: Pool,
    /// What it remembers, where it does: the pool was given the same.
    pub state: Option<Arc<StageState>>,
}

/// A pipeline, ready to run.
pub struct Job {
    pub plan: Arc<Plan>,
    /// By stage of the plan, each of the stage's own role.
    pub parts: Vec<Part>,
    pub rules: Rules,
    pub letters: Box<dyn Letters>,
    /// Higher than that of any earlier run of the pipeline: sinks that are components were told it.
    pub epoch: u64,
    /// None where a run that dies begins anew.
    pub checkpoints: Option<Checkpoints>,
}

/// How a pipeline goes on after it died.
pub struct Checkpoints {
    pub store: Box<dyn CheckpointStore>,
    /// Where it goes on; sources and sinks were opened there.
    pub standing: Checkpoint,
    pub pace: Pace,
    pub setbacks: Setbacks,
}

/// What a pipeline keeps in mind when it goes back to a checkpoint within one process.
#[derive(Clone, Debug, Default)]
pub struct Setbacks {
    /// Whether it does. Otherwise any failure is for good.
    pub goes_back: bool,
    /// Whether a sink that has failed for good is cut off in a life that begins at the last checkpoint, so that it lacks
    /// no record that it took since. Otherwise it is cut off where it is.
    pub goes_back_to_cut: bool,
    /// Sinks that are cut off from the start, by stage of the plan, with the reason in one line.
    pub cut: BTreeMap<usize, Arc<str>>,
    pub suspects: Suspects,
    /// That go on counting.
    pub meters: Option<Meters>,
}

/// What the manifest says of things that go wrong.
#[derive(Clone, Debug)]
pub struct Rules {
    /// By stage of the plan.
    pub on_error: Vec<OnError>,
    /// By stage of the plan.
    pub retry: Vec<Retry>,
    /// By stage of the plan: how large a record may be that it makes.
    pub record_bytes: Vec<u64>,
    pub on_failure: OnFailure,
    /// What all stages together may burn.
    pub fuel_per_second: Option<u64>,
}

impl Rules {
    /// As if the manifest said nothing.
    pub fn defaults(plan: &Plan) -> Self {
        let stages = plan.stages.len();
        Self {
            on_error: vec![OnError::default(); stages],
            retry: vec![Retry::default(); stages],
            record_bytes: vec![RECORD_BYTES_MAX as u64; stages],
            on_failure: OnFailure::default(),
            fuel_per_second: None,
        }
    }
}

impl Part {
    fn hits(&self) -> Option<Arc<Hits>> {
        match self {
            Self::Source { source, .. } => source.hits(),
            Self::Transform(transform) => Some(transform.pool.hits()),
            Self::Sink(sink) => sink.hits(),
            Self::Cut(_) | Self::Fed { .. } | Self::Absent => None,
        }
    }

    fn state(&self) -> Option<StateGauge> {
        match self {
            Self::Transform(Transform { state: Some(state), .. }) => Some(state.gauge().clone()),
            _ => None,
        }
    }

    fn is_uncommitted(&self) -> bool {
        matches!(self, Self::Cut(CutOff { is_committed: false, .. }))
    }

    /// What stands on a belt; none of a source, which is at its head.
    fn into_station(self) -> Option<Station> {
        match self {
            Self::Transform(transform) => Some(Station::Transform { transform, lease: None }),
            Self::Sink(sink) => Some(Station::Sink(sink)),
            Self::Cut(CutOff { why, .. }) => Some(Station::Cut { why }),
            Self::Source { .. } | Self::Fed { .. } | Self::Absent => None,
        }
    }

    fn figures(&self) -> Option<Arc<dyn Figures>> {
        match self {
            Self::Source { source, .. } => source.figures(),
            Self::Sink(sink) => sink.figures(),
            Self::Transform(_) | Self::Cut(_) | Self::Fed { .. } | Self::Absent => None,
        }
    }
}

/// A job whose loops are made and wait to be run.
pub struct Run {
    chains: Vec<(String, Chain)>,
    meters: Meters,
    context: Context,
    seat: Option<Seat>,
    desk: Option<Desk>,
}

/// What stands for a stage where the coordinator is meant.
const CHECKPOINTS: &str = "checkpoints";

/// What a task of a run says when nothing went wrong in it.
enum Told {
    /// A loop: it has nothing left to do.
    Loop,
    /// The coordinator.
    Checkpoints(Finish),
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// Why it ended before its sources did.
    pub failure: Option<RunError>,
    /// Why branches were cut on the way.
    pub cuts: Vec<RunError>,
}

impl Ended {
    /// What went wrong first, if anything did.
    pub fn result(self) -> Result<(), RunError> {
        self.failure.into_iter().chain(self.cuts).next().map_or(Ok(()), Err)
    }
}

impl Job {
    /// Makes the loops. Nothing flows yet.
    pub fn build(self) -> Result<Run, RunError> {
        self.build_loops(None)
    }

    /// Makes the loops behind the stages that are fed, by stage of the plan. Each stage that is fed or lies behind one
    /// that is has its part, a source [`Part::Fed`]; the others are [`Part::Absent`].
    pub fn build_behind(self, feeds: BTreeMap<usize, Feeds>) -> Result<Run, RunError> {
        self.build_loops(Some(feeds))
    }

    fn build_loops(self, mut feeds: Option<BTreeMap<usize, Feeds>>) -> Result<Run, RunError> {
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
        if feeds.is_some() {
            leave_out_absent(&mut receivers, &plan, &parts);
        }
        let mut chains = Vec::with_capacity(plan.chains.len());
        for chain in &plan.chains {
            let mut head = None;
            let mut stations = HashMap::new();
            let mut outboxes = HashMap::new();
            let (mut has_uncommitted, mut fed) = (false, None);
            for &stage in &chain.stages {
                let name = plan.stages[stage].name.to_string();
                match parts.get_mut(stage).and_then(Option::take) {
                    Some(Part::Source { source, limits }) => {
                        let pacing = within.map(Pacing::new);
                        head = Some(Head::Source(SourceHead { stage, name, source, limits, pacing }))
                    }
                    Some(Part::Fed { record_bytes_max }) => fed = Some(record_bytes_max),
                    Some(Part::Absent) => continue,
                    Some(part) => {
                        has_uncommitted |= part.is_uncommitted();
                        stations.extend(part.into_station().map(|station| (stage, station)));
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
            if head.is_none() && fed.is_none() && stations.is_empty() {
                continue;
            }
            let first = chain.stages[0];
            let name = plan.stages[first].name.to_string();
            let receiver = receivers.remove(&first);
            let head = match &mut feeds {
                Some(feeds) => Some(fed_head(feeds, &chain.stages, receiver, fed)),
                None => head.or_else(|| receiver.map(Head::Meeting)),
            };
            let Some(head) = head else {
                return Err(RunError::Broke { stage: name, why: "nothing feeds it".to_owned() });
            };
            let mut belt = Belt::new(context.clone(), stations, outboxes, None)?;
            belt.has_uncommitted = has_uncommitted;
            chains.push((name, Chain { head, belt, keeper: None }));
        }
        let desk = checkpoints.map(|checkpoints| checkpoints.attend(&mut chains, &context));
        Ok(Run { chains, meters: context.meters.clone(), context, seat: None, desk })
    }
}

impl Checkpoints {
    /// Sets somebody beside each loop who heeds checkpoints.
    fn attend(self, chains: &mut [(String, Chain)], context: &Context) -> Desk {
        let Self { store, standing, pace, setbacks: _ } = self;
        let places = standing.places.clone();
        let names = chains.iter().map(|(name, _)| name.clone()).collect();
        let source = |(_, chain): &(String, Chain)| match &chain.head {
            Head::Source(head) => {
                let (stage, name) = (head.stage, context.plan.stages[head.stage].name.clone());
                let places = places.get(&name).cloned().unwrap_or_default();
                // What an earlier life read behind the last checkpoint comes again.
                let meter = &context.meters.stages[stage];
                meter.cover(meter.given());
                Some(KeptSource { name, stage, places })
            }
            _ => None,
        };
        let sources = chains.iter().map(source).collect();
        let desk = Desk::new(names, standing, Arc::new(Mutex::new(store)), pace, context);
        for ((_, chain), keeper) in chains.iter_mut().zip(desk.keepers(sources)) {
            chain.keeper = Some(keeper);
        }
        desk
    }
}

/// What all loops know, with what is left of earlier lives.
fn context(
    plan: &Arc<Plan>,
    rules: Rules,
    metered: Vec<MeteredPart>,
    letters: Box<dyn Letters>,
    checkpoints: Option<&Checkpoints>,
) -> Context {
    let setbacks = checkpoints.map(|checkpoints| checkpoints.setbacks.clone()).unwrap_or_default();
    let meters = match setbacks.meters {
        Some(meters) => meters.go_on(metered),
        None => Meters::new(plan, metered),
    };
    let mut context = Context::new(plan, rules, &meters, letters);
    setbacks.suspects.begin(checkpoints.map_or(0, |checkpoints| checkpoints.standing.number));
    (context.suspects, context.goes_back) = (setbacks.suspects, setbacks.goes_back);
    (context.keeps_cut, context.goes_back_to_cut) = (checkpoints.is_some(), setbacks.goes_back_to_cut);
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

/// What comes into the stages of a chain, and then by edges. `fed`: of the source that is among them.
fn fed_head(
    feeds: &mut BTreeMap<usize, Feeds>,
    stages: &[usize],
    then: Option<Receiver>,
    fed: Option<u64>,
) -> Head {
    let feeds = stages.iter().filter_map(|stage| feeds.remove(stage)).collect();
    Head::Fed { feeds, then, record_bytes_max: fed.unwrap_or(u64::MAX) }
}

/// Nothing comes from stages that are not there, not even an end.
fn leave_out_absent(receivers: &mut HashMap<usize, Receiver>, plan: &Plan, parts: &[Option<Part>]) {
    let is_there = |stage: usize| !matches!(parts.get(stage), None | Some(None | Some(Part::Absent)));
    for receiver in receivers.values_mut() {
        receiver.edges.retain(|&edge| is_there(plan.edges[edge].from));
    }
    receivers.retain(|_, receiver| !receiver.edges.is_empty());
}

impl Run {
    /// Counters that can be read while the loops run and after.
    pub fn meters(&self) -> Meters {
        self.meters.clone()
    }

    /// How many loops it has.
    pub fn loops(&self) -> usize {
        self.chains.len()
    }

    /// Shares the cores with other runs.
    pub fn sit(&mut self, seat: Seat) {
        self.seat = Some(seat);
    }

    /// Runs all loops on the current runtime until they end. Cancelling `stop` ends the sources and drains
    /// the rest. When one loop fails, the others are stopped in the same way, unless the manifest says that they
    /// go on; the first failure is told. With checkpoints, nothing is committed after a failure: what was on its way
    /// comes again.
    pub async fn run(self, stop: CancellationToken) -> Ended {
        let halt = stop.child_token();
        let broken = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut names = HashMap::new();
        let keeps_checkpoints = self.desk.is_some();
        if let Some(desk) = self.desk {
            let desk = desk.run(broken.clone());
            let handle = tasks.spawn(async move { desk.await.map(Told::Checkpoints) });
            names.insert(handle.id(), CHECKPOINTS.to_owned());
        }
        for (name, chain) in self.chains {
            let chain = chain.run(halt.clone());
            let chain = async move { chain.await.map(|()| Told::Loop) };
            let handle = match &self.seat {
                Some(seat) => tasks.spawn(seat.clone().take_turns(chain)),
                None => tasks.spawn(chain),
            };
            names.insert(handle.id(), name);
        }
        let mut failure: Option<RunError> = None;
        let mut is_finished = !keeps_checkpoints;
        while let Some(ended) = tasks.join_next().await {
            let error = match ended {
                Ok(Ok(Told::Loop)) => continue,
                Ok(Ok(Told::Checkpoints(finish))) => {
                    is_finished = finish == Finish::Last;
                    continue;
                }
                Ok(Err(error)) => error,
                Err(broke) => {
                    let stage = names.get(&broke.id()).cloned().unwrap_or_default();
                    RunError::Broke { stage, why: broke.to_string() }
                }
            };
            halt.cancel();
            broken.cancel();
            failure = failure.or(Some(error));
        }
        fault::pass(Point::LoopsEnded);
        // Nothing is concluded from loops that ended: who has committed says so.
        if failure.is_none() && !is_finished {
            let why = "it ended before all sinks had committed the last checkpoint".to_owned();
            failure = Some(RunError::Broke { stage: CHECKPOINTS.to_owned(), why });
        }
        Ended { failure, cuts: self.context.cuts.take() }
    }
}

#[cfg(test)]
pub(crate) mod tests;
