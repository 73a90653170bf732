//! A loop of calls: each batch goes through every stage behind it before the next one comes.
//!
//! Stages that sit behind one another are called in turn, with no channel between them. What leaves for a
//! stage at which streams meet goes into that edge. Nothing in here happens per record.
//!
//! One loop does all the waiting, in `work`; everything else returns at once. A future that waits inside
//! another is moved with it each time it is made, and the future of a call into a guest is large.

mod checkpoints;
mod ends;
mod failures;
mod isolation;
mod parts;
mod states;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use engine::Lease;
use model::batch::Batch;
use model::ids::RecordId;
use model::limits;
use model::manifest::{OnFailure, Retry};
use model::outcome::{Applied, Outcome, OutcomeError, OutputShape, Rejection, Tally, apply};
use model::plan::{Plan, TransformWork, Work};

use crate::connector::Sink;
use crate::edge::Sender;
use crate::error::{Records, RunError};
use crate::input_mapping::{Crossing, Mapped, as_it_is, map_input};
use crate::job::{Rules, Transform};
use crate::letters::{KeptAs, Letters};
use crate::meters::{BatchCount, Meters};
use crate::poison::Poison;
use crate::quota::Quota;
use crate::refuse::Refusing;
use crate::state::StageState;
pub(crate) use ends::{Cuts, Stopped};
use failures::{Failed, FailedKind, Failure, failed, not_opened};

/// Sees every batch that leaves a port, and those that reach a sink.
pub(crate) type Tap = Box<dyn FnMut(usize, Option<usize>, &Batch) + Send>;

/// What a belt needs to know of its pipeline.
#[derive(Clone)]
pub(crate) struct Context {
    pub plan: Arc<Plan>,
    pub meters: Meters,
    pub refusing: Refusing,
    /// By stage of the plan.
    pub retry: Arc<[Retry]>,
    /// By stage of the plan: how large a record may be that comes from it.
    pub record_bytes: Arc<[u64]>,
    pub on_failure: OnFailure,
    pub cuts: Cuts,
    pub stopped: Stopped,
    pub quota: Quota,
    pub poison: Poison,
    /// Whether the pipeline may begin again at its last committed checkpoint when something fails.
    pub restarts: bool,
    /// Whether it does so to cut off a sink that has failed for good.
    pub restarts_to_cut: bool,
    /// Whether what a stage does not take because it has failed becomes dead letters: where sources do not give it again
    /// to the next run.
    pub keeps_cut: bool,
    /// Of this run.
    pub epoch: u64,
}

impl Context {
    pub fn new(plan: &Arc<Plan>, rules: Rules, meters: &Meters, letters: Box<dyn Letters>) -> Self {
        let Rules { on_error, retry, record_bytes, on_failure, fuel_per_second } = rules;
        let (plan, meters) = (plan.clone(), meters.clone());
        let letters = Arc::new(Mutex::new(letters));
        let refusing =
            Refusing { plan: plan.clone(), on_error: on_error.into(), meters: meters.clone(), letters };
        let (cuts, stopped, quota) = (Cuts::default(), Stopped::default(), Quota::new(fuel_per_second));
        let (retry, record_bytes) = (retry.into(), parts::record_bytes(&plan, record_bytes));
        Self {
            plan,
            meters,
            refusing,
            retry,
            record_bytes,
            on_failure,
            cuts,
            stopped,
            quota,
            poison: Poison::default(),
            restarts: false,
            restarts_to_cut: false,
            keeps_cut: false,
            epoch: 0,
        }
    }
}

/// What runs a stage.
pub(crate) enum Station {
    /// The lease is kept while records flow.
    Transform {
        transform: Transform,
        lease: Option<Lease>,
    },
    Sink(Box<dyn Sink>),
    /// A sink of which only the tap is watched.
    Nowhere,
    /// It has failed, for the reason `why`, and the rest goes on without it.
    Cut {
        why: Arc<str>,
    },
    /// It runs on another belt.
    Elsewhere,
}

/// Where a batch goes next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Out of a source, its key to be set.
    Source(usize),
    Edge(usize),
    /// Into a stage, in the form of the stage's input.
    Stage(usize),
    /// As `Stage`, part of a batch on which the stage died.
    Part(usize),
    /// Rows on which the sink died, to be refused.
    Killers(usize),
}

pub(crate) struct Belt {
    pub(crate) context: Context,
    /// By stage of the plan.
    pub(crate) stations: Vec<Station>,
    /// What stages remember, with their indices. It stays when a stage has failed: what it did before counts.
    pub(crate) states: Vec<(usize, Arc<StageState>)>,
    /// By stage: how it fails.
    pub(crate) failures: Vec<Option<Box<Failure>>>,
    /// By edge: how a batch comes in, for edges that end on this belt.
    crossings: Vec<Option<Crossing>>,
    /// By edge, for edges that lead away.
    pub(crate) outboxes: Vec<Option<Sender>>,
    tap: Option<Tap>,
    /// By stage: whether records may come on which it died.
    pub(crate) careful: Vec<bool>,
    /// By stage: whether records may come that are kept as dead letters because it had failed.
    pub(crate) keeps_cut: Vec<bool>,
    /// By sink: the records that it had taken when it prepared last.
    pub(crate) prepared_out: Vec<u64>,
    /// A sink has not committed a token that a checkpoint has, and has been cut off.
    pub(crate) has_uncommitted: bool,
    /// Batches on their way, the next one last.
    pub(crate) waiting: Vec<(Way, Batch)>,
}

impl Belt {
    pub fn new(
        context: Context,
        mut stations: HashMap<usize, Station>,
        mut outboxes: HashMap<usize, Sender>,
        tap: Option<Tap>,
    ) -> Result<Self, RunError> {
        let plan = &context.plan;
        let mut crossings = Vec::with_capacity(plan.edges.len());
        for edge in &plan.edges {
            if !stations.contains_key(&edge.to) {
                crossings.push(None);
                continue;
            }
            let from = &plan.stages[edge.from].ports[edge.port].stream;
            let to = &plan.stages[edge.to];
            let is_written = matches!(&to.work, Work::Sink(sink) if sink.component.is_none());
            let crossing = Crossing::new(edge, from, &to.input, is_written);
            let broke = |why: crate::input_mapping::MappingError| RunError::Broke {
                stage: plan.stages[edge.to].name.to_string(),
                why: why.to_string(),
            };
            crossings.push(Some(crossing.map_err(broke)?));
        }
        let states = states::of_stations(&stations);
        let station = |stage| stations.remove(&stage).unwrap_or(Station::Elsewhere);
        let stations: Vec<Station> = (0..plan.stages.len()).map(station).collect();
        let failures = plan.stages.iter().map(|_| None).collect();
        let outboxes = (0..plan.edges.len()).map(|edge| outboxes.remove(&edge)).collect();
        let poisoned = context.poison.stages();
        let is_alive = |stage: usize| matches!(stations[stage], Station::Transform { .. } | Station::Sink(_));
        let of = |holds: &dyn Fn(usize) -> bool| -> Vec<bool> {
            (0..stations.len()).map(|stage| is_alive(stage) && holds(stage)).collect()
        };
        let careful = of(&|stage| poisoned.contains(&stage));
        let keeps_cut = of(&|stage| context.refusing.keeps_cut(stage));
        let prepared_out = context.meters.stages.iter().map(|meter| meter.taken()).collect();
        let waiting = Vec::new();
        let has_uncommitted = false;
        Ok(Self {
            context,
            stations,
            states,
            failures,
            crossings,
            outboxes,
            tap,
            careful,
            keeps_cut,
            prepared_out,
            has_uncommitted,
            waiting,
        })
    }

    /// A batch that came by an edge is to go through its stage with the next `work`.
    pub fn receive(&mut self, edge: usize, batch: Batch) {
        self.waiting.push((Way::Edge(edge), batch));
    }

    /// A batch, in the form of the stage's input, is to go through the stage with the next `work`.
    pub fn enter(&mut self, stage: usize, batch: Batch) {
        self.waiting.push((Way::Stage(stage), batch));
    }

    /// Rows that cannot come into a stage. `kept_as`: what they are, where a source refuses them.
    pub fn refuse(
        &self,
        stage: usize,
        batch: &Batch,
        rejections: Vec<Rejection>,
        kept_as: Option<KeptAs>,
    ) -> Result<(), RunError> {
        self.context.meters.stages[stage].count_refused(rejections.len());
        self.context.refusing.rows(stage, batch, rejections, kept_as)
    }

    /// Everything that waits goes through all that is behind it.
    pub async fn work(&mut self) -> Result<(), RunError> {
        let plan = self.context.plan.clone();
        while let Some((way, batch)) = self.waiting.pop() {
            if batch.is_empty() {
                continue;
            }
            if let Way::Edge(edge) = way
                && let Some(outbox) = &self.outboxes[edge]
            {
                // The loop over there is gone: it ended well, or its own failure ends the run.
                if outbox.send(batch).await.is_err() {
                    self.outboxes[edge] = None;
                }
                continue;
            }
            let Some((stage, batch)) = self.cross(&plan, way, batch)? else { continue };
            let way = if let Way::Part(_) = way { way } else { Way::Stage(stage) };
            let Some(batch) = self.put_aside(stage, way, batch) else {
                if let Some(until) = self.full_until(stage) {
                    tokio::time::sleep_until(until).await;
                    self.wake(until);
                }
                continue;
            };
            let Some(batch) = self.admit(stage, way, batch) else { continue };
            let started = Instant::now();
            match &mut self.stations[stage] {
                Station::Transform { .. } => {
                    let Some(mapped) = self.fit(&plan, stage, batch)? else { continue };
                    let answer = self.call(&plan, stage, mapped).await?;
                    let answer =
                        answer.and_then(|answered| self.take_answer(&plan, stage, answered, started));
                    match answer {
                        Ok(rejections) => {
                            self.went_through(stage, way)?;
                            if let Some((batch, rejections)) = rejections {
                                self.context.refusing.rows(stage, &batch, rejections, None)?;
                            }
                        }
                        // It is rare, and its future is not to make this one larger.
                        Err(failed) => Box::pin(self.fails(&plan, stage, *failed)).await?,
                    }
                }
                Station::Sink(sink) => {
                    watch(&mut self.tap, stage, None, &batch);
                    let ids = ids_for(&**sink, &batch);
                    match sink.write(&batch, &ids).await {
                        Ok(refusals) => {
                            self.went_through(stage, way)?;
                            if self.careful[stage] {
                                self.went_isolated(stage, &batch);
                            }
                            self.written(stage, &batch, refusals, started)?;
                        }
                        Err(error) => self.sink_fails(stage, Some(batch), error)?,
                    }
                }
                Station::Nowhere => watch(&mut self.tap, stage, None, &batch),
                Station::Cut { why } => {
                    let why = why.clone();
                    self.not_taken(stage, &batch, &why)?;
                }
                Station::Elsewhere => {
                    let why = "a batch came to a stage that does not run here".to_owned();
                    return Err(RunError::Broke { stage: plan.stages[stage].name.to_string(), why });
                }
            }
        }
        Ok(())
    }

    /// The stage that a batch goes into, and the batch as it comes in; none where no row is left.
    fn cross(&mut self, plan: &Plan, way: Way, batch: Batch) -> Result<Option<(usize, Batch)>, RunError> {
        let index = match way {
            Way::Stage(stage) | Way::Part(stage) => return Ok(Some((stage, batch))),
            Way::Source(source) => {
                let mut count = BatchCount::default();
                self.leave_source(source, batch, &mut count)?;
                self.context.meters.stages[source].count(&count);
                return Ok(None);
            }
            Way::Killers(stage) => return self.refuse_poison(stage, &batch).map(|()| None),
            Way::Edge(index) => index,
        };
        let stage = plan.edges[index].to;
        // What lies behind an edge without a crossing was once here and has ended.
        let Some(crossing) = &mut self.crossings[index] else { return Ok(None) };
        let record_bytes_max = self.context.record_bytes[plan.edges[index].from];
        if let Some(cut) = crossing.cut(&batch, record_bytes_max) {
            return self.hand_on_in_parts(index, &batch, cut).map(|()| None);
        }
        if crossing.is_plain() {
            return Ok(Some((stage, batch)));
        }
        let came = batch.clone();
        let (batch, rejections) =
            crossing.cross(batch).map_err(|error| mapping_error(plan, stage, &came, error))?;
        if !rejections.is_empty() {
            self.refuse(stage, &came, rejections, None)?;
        }
        Ok((!batch.is_empty()).then_some((stage, batch)))
    }

    /// The batch as the stage gets it, with its key set and its columns cast; rows that do not fit are refused and
    /// counted. None where no row is left.
    pub(crate) fn fit(
        &mut self,
        plan: &Plan,
        stage: usize,
        batch: Batch,
    ) -> Result<Option<Mapped>, RunError> {
        let work = transform(plan, stage)?;
        if work.mapping.is_plain() {
            return Ok(Some(as_it_is(batch, &work.mapping)));
        }
        let mapped = map_input(batch.clone(), &work.mapping, &plan.stages[stage].input);
        let mut mapped = mapped.map_err(|error| mapping_error(plan, stage, &batch, error))?;
        let rejections = std::mem::take(&mut mapped.rejections);
        if !rejections.is_empty() {
            self.refuse(stage, &batch, rejections, None)?;
        }
        Ok((!mapped.batch.is_empty()).then_some(mapped))
    }

    pub(crate) async fn call(
        &mut self,
        plan: &Plan,
        stage: usize,
        mapped: Mapped,
    ) -> Result<Result<Answered, Box<Failed>>, RunError> {
        let work = transform(plan, stage)?;
        let Station::Transform { transform: Transform { pool, state }, lease } = &mut self.stations[stage]
        else {
            return Err(not_a(plan, stage, "transform"));
        };
        let leased = match lease {
            Some(leased) => leased,
            None => match Box::pin(pool.lease()).await {
                Ok(leased) => lease.insert(leased),
                Err(error) => return Ok(Err(not_opened(plan, stage, mapped.batch, error))),
            },
        };
        if let Some(state) = state {
            state.begin();
        }
        let answer = leased.process(mapped.call(&work.mapping)).await;
        let fuel = leased.last_fuel();
        self.context.quota.burn(fuel);
        match answer {
            Ok(outcome) => Ok(Ok(Answered { batch: mapped.batch, outcome, fuel })),
            Err(error) => {
                self.context.meters.stages[stage].count_fuel(fuel);
                if error.is_death() {
                    // The instance goes with the lease: after a death nothing in it can be trusted.
                    *lease = None;
                }
                Ok(Err(failed(plan, stage, mapped.batch, error)))
            }
        }
    }

    /// What follows from an answer goes on its way; gives the rows that the stage refuses. An answer against the
    /// contract is as good as a death.
    fn take_answer(
        &mut self,
        plan: &Plan,
        stage: usize,
        answered: Answered,
        started: Instant,
    ) -> Result<Option<(Batch, Vec<Rejection>)>, Box<Failed>> {
        let Answered { batch, outcome, fuel } = answered;
        let ratio = output_ratio(&self.stations[stage]);
        let Applied { batches, rejections, tally } = match apply(&batch, outputs(plan, stage), outcome, ratio)
        {
            Ok(applied) => applied,
            Err(error) => return Err(self.bad_answer(plan, stage, batch, error)),
        };
        self.stations[stage].keep_state();
        let records_out = batches.iter().map(|(_, batch)| batch.rows() as u64).sum();
        let records_in = batch.rows() as u64;
        let count = BatchCount { records_in, records_out, tally, fuel, took: started.elapsed() };
        self.context.meters.stages[stage].count(&count);
        for (port, batch) in batches.into_iter().rev() {
            self.leave(stage, port as usize, batch);
        }
        Ok((!rejections.is_empty()).then_some((batch, rejections)))
    }

    #[cold]
    fn bad_answer(&mut self, plan: &Plan, stage: usize, batch: Batch, error: OutcomeError) -> Box<Failed> {
        let (code, message) = (error.code(), error.told());
        if let Station::Transform { lease, transform } = &mut self.stations[stage] {
            *lease = None;
            transform.pool.hits().count(code);
        }
        let error = RunError::Outcome {
            stage: plan.stages[stage].name.to_string(),
            records: Records::of(&batch),
            error: Box::new(error),
        };
        let kind = FailedKind::Death;
        Box::new(Failed { batch, error, code, message, kind })
    }

    fn written(
        &mut self,
        stage: usize,
        batch: &Batch,
        refusals: Vec<Rejection>,
        started: Instant,
    ) -> Result<(), RunError> {
        let (rows, rejected) = (batch.rows() as u64, refusals.len() as u64);
        let records_out = rows.saturating_sub(rejected);
        let tally = Tally { forwarded: records_out, rejected, ..Tally::default() };
        let count = BatchCount { records_in: rows, records_out, tally, fuel: 0, took: started.elapsed() };
        self.context.meters.stages[stage].count(&count);
        if refusals.is_empty() {
            return Ok(());
        }
        self.context.refusing.rows(stage, batch, refusals, None)
    }

    /// Whether nobody is left behind this belt to whom a record could go.
    pub fn is_over(&self) -> bool {
        let reaches_sink = |(stage, station): (usize, &Station)| {
            matches!(station, Station::Sink(_)) && self.is_reached(stage)
        };
        let reaches_edge = |(edge, outbox): (usize, &Option<Sender>)| {
            outbox.as_ref().is_some_and(Sender::is_wanted)
                && self.is_reached(self.context.plan.edges[edge].from)
        };
        !self.stations.iter().enumerate().any(reaches_sink)
            && !self.outboxes.iter().enumerate().any(reaches_edge)
    }

    /// Whether what still comes to this belt is counted by somebody, here or behind another edge.
    pub fn counts(&self) -> bool {
        self.outboxes.iter().any(Option::is_some)
            || self.stations.iter().any(|station| matches!(station, Station::Cut { .. }))
    }

    /// Whether records still come as far as into this stage: no stage before it on this belt was cut.
    fn is_reached(&self, mut stage: usize) -> bool {
        let plan = &self.context.plan;
        loop {
            match (&self.stations[stage], &*plan.stages[stage].inputs) {
                (Station::Cut { .. } | Station::Nowhere, _) => return false,
                (Station::Transform { .. } | Station::Sink(_), &[edge]) => stage = plan.edges[edge].from,
                _ => return true,
            }
        }
    }

    /// Puts a batch on every edge of a port; the first edge is worked off first.
    pub fn leave(&mut self, stage: usize, port: usize, batch: Batch) {
        watch(&mut self.tap, stage, Some(port), &batch);
        let plan = &self.context.plan;
        let Some(port) = plan.stages[stage].ports.get(port) else { return };
        for &edge in port.edges.iter().skip(1).rev() {
            self.waiting.push((Way::Edge(edge), batch.clone()));
        }
        if let Some(&first) = port.edges.first() {
            self.waiting.push((Way::Edge(first), batch));
        }
    }

    /// What sinks have buffered becomes visible.
    pub async fn flush(&mut self) -> Result<(), RunError> {
        let mut failed = Vec::new();
        for (stage, station) in self.stations.iter_mut().enumerate() {
            if let Station::Sink(sink) = station
                && let Err(error) = sink.flush().await
            {
                failed.push((stage, error));
            }
        }
        failed.into_iter().try_for_each(|(stage, error)| self.sink_fails(stage, None, error))
    }

    /// Gives instances back and lets go of them: an idle pipeline holds none.
    pub fn cool(&mut self) {
        for station in &mut self.stations {
            if let Station::Transform { transform, lease } = station {
                if let Some(lease) = lease.take() {
                    lease.give_back();
                }
                transform.pool.cool();
            }
        }
    }
}

/// What a transform said to a batch.
pub(crate) struct Answered {
    batch: Batch,
    outcome: Outcome,
    fuel: u64,
}

impl Answered {
    /// Whether the answer keeps to the contract. Nothing is done with it.
    pub fn keeps_contract(self, plan: &Plan, stage: usize, station: &Station) -> bool {
        apply(&self.batch, outputs(plan, stage), self.outcome, output_ratio(station)).is_ok()
    }
}

fn output_ratio(station: &Station) -> u64 {
    match station {
        Station::Transform { transform, .. } => transform.pool.output_ratio(),
        _ => limits::OUTPUT_RATIO,
    }
}

fn outputs(plan: &Plan, stage: usize) -> &[OutputShape] {
    match &plan.stages[stage].work {
        Work::Transform(work) => &work.outputs,
        _ => &[],
    }
}

fn watch(tap: &mut Option<Tap>, stage: usize, port: Option<usize>, batch: &Batch) {
    if let Some(tap) = tap {
        tap(stage, port, batch);
    }
}

fn ids_for(sink: &dyn Sink, batch: &Batch) -> Vec<RecordId> {
    match sink.wants_ids() {
        true => batch.ids(),
        false => Vec::new(),
    }
}

fn transform(plan: &Plan, stage: usize) -> Result<&TransformWork, RunError> {
    match &plan.stages[stage].work {
        Work::Transform(work) => Ok(work),
        _ => Err(not_a(plan, stage, "transform")),
    }
}

fn not_a(plan: &Plan, stage: usize, role: &str) -> RunError {
    RunError::Broke { stage: plan.stages[stage].name.to_string(), why: format!("it is no {role}") }
}

pub(crate) fn mapping_error(
    plan: &Plan,
    stage: usize,
    batch: &Batch,
    error: crate::input_mapping::MappingError,
) -> RunError {
    let stage = plan.stages[stage].name.to_string();
    RunError::Mapping { stage, records: Records::of(batch), error: Box::new(error) }
}
