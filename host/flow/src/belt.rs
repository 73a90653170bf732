//! A loop of calls: each batch goes through every stage behind it before the next one comes.
//!
//! Stages that sit behind one another are called in turn, with no channel between them. What leaves for a
//! stage at which streams meet goes into that edge. Nothing in here happens per record.
//!
//! One loop does all the waiting, in `work`; everything else returns at once. A future that waits inside
//! another is moved with it each time it is made, and the future of a call into a guest is large.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use engine::{CallError, Lease, Pool};
use model::batch::Batch;
use model::ids::RecordId;
use model::manifest::OnError;
use model::outcome::{Applied, Outcome, Rejection, Tally, apply};
use model::plan::{Plan, TransformWork, Work};

use crate::connector::{ConnectError, Pulled, Sink};
use crate::edge::Sender;
use crate::error::{Records, RunError};
use crate::feed::{Crossing, Fed, as_it_is, feed, rows_without, set_key};
use crate::letters::Letters;
use crate::meters::{BatchCount, Meters};
use crate::refuse::Refusing;

/// Sees every batch that leaves a port, and those that reach a sink.
pub(crate) type Tap = Box<dyn FnMut(usize, Option<usize>, &Batch) + Send>;

/// What a belt needs to know of its pipeline.
#[derive(Clone)]
pub(crate) struct Context {
    pub plan: Arc<Plan>,
    pub meters: Meters,
    pub refusing: Refusing,
}

impl Context {
    pub fn new(plan: &Arc<Plan>, on_error: Vec<OnError>, meters: &Meters, letters: Box<dyn Letters>) -> Self {
        let (plan, meters) = (plan.clone(), meters.clone());
        let letters = Arc::new(Mutex::new(letters));
        let refusing =
            Refusing { plan: plan.clone(), on_error: on_error.into(), meters: meters.clone(), letters };
        Self { plan, meters, refusing }
    }
}

/// What runs a stage.
pub(crate) enum Station {
    /// The lease is kept while records flow.
    Transform {
        pool: Pool,
        lease: Option<Lease>,
    },
    Sink(Box<dyn Sink>),
    /// A sink of which only the tap is watched.
    Nowhere,
    /// It runs on another belt.
    Elsewhere,
}

/// Where a batch goes next.
#[derive(Clone, Copy)]
enum Way {
    Edge(usize),
    /// Into a stage, in the form of the stage's input.
    Stage(usize),
}

pub(crate) struct Belt {
    context: Context,
    /// By stage of the plan.
    stations: Vec<Station>,
    /// By edge: how a batch comes in, for edges that end on this belt.
    crossings: Vec<Option<Crossing>>,
    /// By edge, for edges that lead away.
    outboxes: Vec<Option<Sender>>,
    tap: Option<Tap>,
    /// Batches on their way, the next one last.
    waiting: Vec<(Way, Batch)>,
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
            let crossing = Crossing::new(edge, from, &plan.stages[edge.to].input);
            let broke = |why: crate::feed::FeedError| RunError::Broke {
                stage: plan.stages[edge.to].name.to_string(),
                why: why.to_string(),
            };
            crossings.push(Some(crossing.map_err(broke)?));
        }
        let station = |stage| stations.remove(&stage).unwrap_or(Station::Elsewhere);
        let stations = (0..plan.stages.len()).map(station).collect();
        let outboxes = (0..plan.edges.len()).map(|edge| outboxes.remove(&edge)).collect();
        Ok(Self { context, stations, crossings, outboxes, tap, waiting: Vec::new() })
    }

    /// What a source has read is to go on its way with the next `work`.
    pub fn take_from_source(&mut self, source: usize, pulled: Pulled) -> Result<(), RunError> {
        let Pulled { batch, refused } = pulled;
        let refusals = refused.len() as u64;
        let rows = batch.as_ref().map_or(0, |batch| batch.rows() as u64);
        let mut count = BatchCount { records_in: rows + refusals, ..BatchCount::default() };
        count.tally.rejected = refusals;
        self.context.refusing.raw(source, refused)?;
        let batch = match batch {
            Some(batch) => self.key_of_source(source, batch, &mut count)?,
            None => None,
        };
        let rows = batch.as_ref().map_or(0, |batch| batch.rows() as u64);
        (count.records_out, count.tally.forwarded) = (rows, rows);
        self.context.meters.stages[source].count(&count);
        if let Some(batch) = batch {
            self.leave(source, 0, batch);
        }
        Ok(())
    }

    /// A batch that came by an edge is to go through its stage with the next `work`.
    pub fn receive(&mut self, edge: usize, batch: Batch) {
        self.waiting.push((Way::Edge(edge), batch));
    }

    /// A batch, in the form of the stage's input, is to go through the stage with the next `work`.
    pub fn enter(&mut self, stage: usize, batch: Batch) {
        self.waiting.push((Way::Stage(stage), batch));
    }

    /// Rows that cannot come into a stage.
    pub fn refuse(&self, stage: usize, batch: &Batch, rejections: Vec<Rejection>) -> Result<(), RunError> {
        let refused = rejections.len() as u64;
        let tally = Tally { rejected: refused, ..Tally::default() };
        let count = BatchCount { records_in: refused, tally, ..BatchCount::default() };
        self.context.meters.stages[stage].count(&count);
        self.context.refusing.rows(stage, batch, rejections)
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
            let started = Instant::now();
            match &mut self.stations[stage] {
                Station::Transform { .. } => {
                    let Some(came) = self.fit(&plan, stage, batch, started)? else { continue };
                    let (outcome, fuel) = self.call(&plan, stage, &came).await?;
                    self.take_answer(&plan, stage, came, Answered { outcome, fuel, started })?;
                }
                Station::Sink(sink) => {
                    watch(&mut self.tap, stage, None, &batch);
                    let ids = ids_for(&**sink, &batch);
                    match sink.write(&batch, &ids).await {
                        Ok(refusals) => self.written(stage, &batch, refusals, started)?,
                        Err(error) => self.close(stage, error)?,
                    }
                }
                Station::Nowhere => watch(&mut self.tap, stage, None, &batch),
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
            Way::Stage(stage) => return Ok(Some((stage, batch))),
            Way::Edge(index) => index,
        };
        let stage = plan.edges[index].to;
        // What lies behind an edge without a crossing was once here and has ended.
        let Some(crossing) = &mut self.crossings[index] else { return Ok(None) };
        if crossing.is_plain() {
            return Ok(Some((stage, batch)));
        }
        let came = batch.clone();
        let (batch, rejections) =
            crossing.cross(batch).map_err(|error| feed_error(plan, stage, &came, error))?;
        if !rejections.is_empty() {
            self.refuse(stage, &came, rejections)?;
        }
        Ok((!batch.is_empty()).then_some((stage, batch)))
    }

    /// The batch as the stage gets it, with its key set and its columns cast; rows that do not fit are
    /// refused. None where no row is left.
    fn fit(
        &mut self,
        plan: &Plan,
        stage: usize,
        batch: Batch,
        started: Instant,
    ) -> Result<Option<Came>, RunError> {
        let work = transform(plan, stage)?;
        let records_in = batch.rows() as u64;
        let (refused, fed) = if work.feed.is_plain() {
            (0, as_it_is(batch, &work.feed))
        } else {
            let fed = feed(batch.clone(), &work.feed, &plan.stages[stage].input);
            let mut fed = fed.map_err(|error| feed_error(plan, stage, &batch, error))?;
            let rejections = std::mem::take(&mut fed.rejections);
            let refused = rejections.len() as u64;
            if !rejections.is_empty() {
                self.context.refusing.rows(stage, &batch, rejections)?;
            }
            (refused, fed)
        };
        if !fed.batch.is_empty() {
            return Ok(Some(Came { records_in, refused, fed }));
        }
        let tally = Tally { rejected: refused, ..Tally::default() };
        let count = BatchCount { records_in, tally, took: started.elapsed(), ..BatchCount::default() };
        self.context.meters.stages[stage].count(&count);
        Ok(None)
    }

    async fn call(&mut self, plan: &Plan, stage: usize, came: &Came) -> Result<(Outcome, u64), RunError> {
        let name = || plan.stages[stage].name.to_string();
        let work = transform(plan, stage)?;
        let Station::Transform { pool, lease } = &mut self.stations[stage] else {
            return Err(not_a(plan, stage, "transform"));
        };
        let leased = match lease {
            Some(leased) => leased,
            None => {
                let started = Box::pin(pool.lease()).await;
                let broke = |error: CallError| RunError::Start { stage: name(), error: Box::new(error) };
                lease.insert(started.map_err(broke)?)
            }
        };
        match leased.process(came.fed.call(&work.feed)).await {
            Ok(outcome) => Ok((outcome, leased.last_fuel())),
            Err(error) => {
                // The instance goes with the lease: after a death nothing in it can be trusted.
                *lease = None;
                let records = Records::of(&came.fed.batch);
                Err(RunError::Call { stage: name(), records, error: Box::new(error) })
            }
        }
    }

    /// What follows from an answer goes on its way.
    fn take_answer(
        &mut self,
        plan: &Plan,
        stage: usize,
        came: Came,
        answered: Answered,
    ) -> Result<(), RunError> {
        let Answered { outcome, fuel, started } = answered;
        let Came { records_in, refused, fed: Fed { batch, .. } } = came;
        let work = transform(plan, stage)?;
        let applied = apply(&batch, &work.outputs, outcome).map_err(|error| RunError::Outcome {
            stage: plan.stages[stage].name.to_string(),
            records: Records::of(&batch),
            error: Box::new(error),
        })?;
        let Applied { batches, rejections, mut tally } = applied;
        tally.rejected += refused;
        let records_out = batches.iter().map(|(_, batch)| batch.rows() as u64).sum();
        let count = BatchCount { records_in, records_out, tally, fuel, took: started.elapsed() };
        self.context.meters.stages[stage].count(&count);
        if !rejections.is_empty() {
            self.context.refusing.rows(stage, &batch, rejections)?;
        }
        for (port, batch) in batches.into_iter().rev() {
            self.leave(stage, port as usize, batch);
        }
        Ok(())
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
        self.context.refusing.rows(stage, batch, refusals)
    }

    /// A sink that nobody reads any more ends well, and what comes for it goes nowhere; any other error is
    /// the run's.
    fn close(&mut self, stage: usize, error: ConnectError) -> Result<(), RunError> {
        if !error.is_closed() {
            return Err(connect_error(&self.context.plan, stage, error));
        }
        self.stations[stage] = Station::Nowhere;
        Ok(())
    }

    /// Whether nobody is left behind this belt to whom a record could go.
    pub fn is_over(&self) -> bool {
        let sink = |station: &Station| matches!(station, Station::Sink(_));
        self.outboxes.iter().all(Option::is_none) && !self.stations.iter().any(sink)
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

    /// The key of a source's records. None where no record is left.
    fn key_of_source(
        &mut self,
        source: usize,
        batch: Batch,
        count: &mut BatchCount,
    ) -> Result<Option<Batch>, RunError> {
        let plan = &*self.context.plan;
        let Work::Source(work) = &plan.stages[source].work else { return Ok(Some(batch)) };
        let Some(key) = &work.key else { return Ok(Some(batch)) };
        let (keyed, rejections) =
            set_key(batch.clone(), key).map_err(|error| feed_error(plan, source, &batch, error))?;
        if rejections.is_empty() {
            return Ok(Some(keyed));
        }
        count.tally.rejected += rejections.len() as u64;
        let kept = keyed.pick(&rows_without(keyed.rows(), &rejections));
        self.context.refusing.rows(source, &batch, rejections)?;
        Ok((!kept.is_empty()).then_some(kept))
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
        failed.into_iter().try_for_each(|(stage, error)| self.close(stage, error))
    }

    /// Gives instances back and lets go of them: an idle pipeline holds none.
    pub fn cool(&mut self) {
        for station in &mut self.stations {
            if let Station::Transform { pool, lease } = station {
                if let Some(lease) = lease.take() {
                    lease.give_back();
                }
                pool.cool();
            }
        }
    }

    /// Makes durable what the sinks of this belt have been given, then lets it be seen. Each sink is asked,
    /// whatever became of the others; the first error is told.
    pub async fn finish(&mut self) -> Result<(), RunError> {
        const CHECKPOINT: u64 = 1;
        let plan = self.context.plan.clone();
        let mut first = Ok(());
        let mut tokens = Vec::new();
        for (stage, station) in self.stations.iter_mut().enumerate() {
            if let Station::Sink(sink) = station {
                match sink.prepare(CHECKPOINT).await {
                    Ok(token) => tokens.push((stage, token)),
                    Err(error) if error.is_closed() => {}
                    Err(error) => first = first.and(Err(connect_error(&plan, stage, error))),
                }
            }
        }
        let synced = self.context.refusing.sync();
        first = first.and(synced);
        for (stage, token) in tokens {
            if let Station::Sink(sink) = &mut self.stations[stage]
                && let Err(error) = sink.commit(&token).await
                && !error.is_closed()
            {
                first = first.and(Err(connect_error(&plan, stage, error)));
            }
        }
        first
    }
}

/// A batch that came to a transform, as the transform gets it.
struct Came {
    records_in: u64,
    /// Of them, those that did not fit what the stage takes.
    refused: u64,
    fed: Fed,
}

/// What a transform said to a batch.
struct Answered {
    outcome: Outcome,
    fuel: u64,
    started: Instant,
}

fn watch(tap: &mut Option<Tap>, stage: usize, port: Option<usize>, batch: &Batch) {
    if let Some(tap) = tap {
        tap(stage, port, batch);
    }
}

fn ids_for(sink: &dyn Sink, batch: &Batch) -> Vec<RecordId> {
    match sink.wants_ids() {
        true => (0..batch.rows()).map(|row| batch.lineage().id(row)).collect(),
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

fn connect_error(plan: &Plan, stage: usize, error: ConnectError) -> RunError {
    RunError::Connect { stage: plan.stages[stage].name.to_string(), error }
}

fn feed_error(plan: &Plan, stage: usize, batch: &Batch, error: crate::feed::FeedError) -> RunError {
    let stage = plan.stages[stage].name.to_string();
    RunError::Feed { stage, records: Records::of(batch), error: Box::new(error) }
}
