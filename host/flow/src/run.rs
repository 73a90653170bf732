//! A plan with everything opened becomes running loops.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::{Hits, Pool};
use model::limits::RECORD_BYTES_MAX;
use model::manifest::{OnError, OnFailure, Retry};
use model::plan::Plan;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::belt::{Belt, Context, Station};
use crate::chain::{Chain, Head, SourceHead};
use crate::checkpoint::{Checkpoint, CheckpointStore, Desk, KeptSource, Pace, SharedStore};
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
    /// Nothing: the job runs what is behind other stages.
    Absent,
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
            Self::Absent => None,
        }
    }

    fn state(&self) -> Option<StateGauge> {
        match self {
            Self::Transform(Transform { state: Some(state), .. }) => Some(state.gauge().clone()),
            _ => None,
        }
    }

    fn figures(&self) -> Option<Arc<dyn Figures>> {
        match self {
            Self::Source { source, .. } => source.figures(),
            Self::Sink(sink) => sink.figures(),
            Self::Transform(_) | Self::Absent => None,
        }
    }
}

/// A job whose loops are made and wait to be run.
pub struct Run {
    chains: Vec<(String, Chain)>,
    meters: Meters,
    context: Context,
    seat: Option<Seat>,
    desk: Option<(Desk, SharedStore)>,
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

    /// Makes the loops behind the stages that are fed, by stage of the plan, without sources. Each stage that is
    /// fed or lies behind one that is has its part; the others are [`Part::Absent`].
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
        let mut chains = Vec::with_capacity(plan.chains.len());
        for chain in &plan.chains {
            let mut head = None;
            let mut stations = HashMap::new();
            let mut outboxes = HashMap::new();
            for &stage in &chain.stages {
                let name = plan.stages[stage].name.to_string();
                match parts.get_mut(stage).and_then(Option::take) {
                    Some(Part::Source { source, limits }) => {
                        let pacing = within.map(Pacing::new);
                        head = Some(Head::Source(SourceHead { stage, name, source, limits, pacing }))
                    }
                    Some(Part::Transform(transform)) => {
                        stations.insert(stage, Station::Transform { transform, lease: None });
                    }
                    Some(Part::Sink(sink)) => {
                        stations.insert(stage, Station::Sink(sink));
                    }
                    Some(Part::Absent) => continue,
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
            if head.is_none() && stations.is_empty() {
                continue;
            }
            let first = chain.stages[0];
            let name = plan.stages[first].name.to_string();
            let receiver = receivers.remove(&first);
            let head = match &mut feeds {
                Some(feeds) => {
                    let feeds = chain.stages.iter().filter_map(|stage| feeds.remove(stage)).collect();
                    Some(Head::Fed { feeds, then: receiver })
                }
                None => head.or_else(|| receiver.map(Head::Meeting)),
            };
            let head = match head {
                Some(head) => head,
                None => return Err(RunError::Broke { stage: name, why: "nothing feeds it".to_owned() }),
            };
            let belt = Belt::new(context.clone(), stations, outboxes, None)?;
            chains.push((name, Chain { head, belt, keeper: None }));
        }
        let desk = checkpoints.map(|checkpoints| checkpoints.attend(&mut chains, &context));
        Ok(Run { chains, meters: context.meters.clone(), context, seat: None, desk })
    }
}

impl Checkpoints {
    /// Sets somebody beside each loop who heeds checkpoints.
    fn attend(self, chains: &mut [(String, Chain)], context: &Context) -> (Desk, SharedStore) {
        let Self { store, standing, pace, setbacks: _ } = self;
        let store: SharedStore = Arc::new(Mutex::new(store));
        let places = standing.places.clone();
        let names = chains.iter().map(|(name, _)| name.clone()).collect();
        let desk = Desk::new(names, standing, store.clone(), pace, context);
        for (of, (_, chain)) in chains.iter_mut().enumerate() {
            let source = match &chain.head {
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
            chain.keeper = Some(desk.keeper(of, source));
        }
        (desk, store)
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
        let mut loops = JoinSet::new();
        let mut names = HashMap::new();
        let mut store = None;
        if let Some((desk, shared)) = self.desk {
            store = Some(shared);
            let handle = loops.spawn(desk.run(broken.clone()));
            names.insert(handle.id(), "checkpoints".to_owned());
        }
        for (name, chain) in self.chains {
            let chain = chain.run(halt.clone());
            let handle = match &self.seat {
                Some(seat) => loops.spawn(seat.clone().take_turns(chain)),
                None => loops.spawn(chain),
            };
            names.insert(handle.id(), name);
        }
        let mut failure: Option<RunError> = None;
        while let Some(ended) = loops.join_next().await {
            let error = match ended {
                Ok(Ok(())) => continue,
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
        if let (Some(store), None) = (store, &failure) {
            // All loops have ended well, so that all tokens were committed.
            fault::pass(Point::LoopsEnded);
            let settled = tokio::task::spawn_blocking(move || {
                store.lock().unwrap_or_else(PoisonError::into_inner).settled()
            });
            if let Ok(Err(error)) = settled.await {
                failure = Some(error.into());
            }
            fault::pass(Point::StateSettled);
        }
        Ended { failure, cuts: self.context.cuts.take() }
    }
}

#[cfg(test)]
pub(crate) mod tests;
