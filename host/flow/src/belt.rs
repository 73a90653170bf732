//! A loop of calls: each batch goes through every stage behind it before the next one comes.
//!
//! Stages that sit behind one another are called in turn, with no channel between them. What leaves for a
//! stage at which streams meet goes into that edge. Nothing in here happens per record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use engine::{Call, Lease, Pool};
use model::batch::{Batch, Column};
use model::convert::{JsonWriter, to_json};
use model::ids::RecordId;
use model::manifest::OnError;
use model::outcome::{Applied, Rejection, Tally, apply};
use model::plan::{Edge, Plan, PlannedStage, TransformWork, Work};

use crate::connector::{ConnectError, Pulled, Refused, Sink};
use crate::edge::Sender;
use crate::error::{Records, RunError};
use crate::feed::{Crossing, Fed, as_it_is, feed, is_plain, rows_without, set_key};
use crate::letters::{Blob, DeadLetter, LetterOrigin, Letters, Record};
use crate::meters::{BatchCount, Meters};

/// Sees every batch that leaves a port, and those that reach a sink.
pub(crate) type Tap = Box<dyn FnMut(usize, Option<usize>, &Batch) + Send>;

pub(crate) type SharedLetters = Arc<Mutex<Box<dyn Letters>>>;

/// What a belt needs to know of its pipeline.
#[derive(Clone)]
pub(crate) struct Context {
    pub plan: Arc<Plan>,
    pub on_error: Arc<[OnError]>,
    pub meters: Meters,
    pub letters: SharedLetters,
}

/// What runs a stage.
pub(crate) enum Station {
    /// The lease is kept while records flow.
    Transform {
        pool: Pool,
        lease: Option<Box<Lease>>,
    },
    Sink(Box<dyn Sink>),
    /// A sink of which only the tap is watched.
    Nowhere,
}

pub(crate) struct Belt {
    context: Context,
    stations: HashMap<usize, Station>,
    /// By edge: how a batch comes in, for edges that end on this belt.
    crossings: HashMap<usize, Crossing>,
    /// By edge, for edges that lead away.
    outboxes: HashMap<usize, Sender>,
    tap: Option<Tap>,
    /// Batches on their way, the next one last.
    waiting: Vec<(usize, Batch)>,
}

impl Belt {
    pub fn new(
        context: Context,
        stations: HashMap<usize, Station>,
        outboxes: HashMap<usize, Sender>,
        tap: Option<Tap>,
    ) -> Result<Self, RunError> {
        let plan = &context.plan;
        let mut crossings = HashMap::new();
        for (index, edge) in plan.edges.iter().enumerate() {
            if stations.contains_key(&edge.to) {
                let from = &plan.stages[edge.from].ports[edge.port].stream;
                let crossing = Crossing::new(edge, from, &plan.stages[edge.to].input);
                let broke = |why: crate::feed::FeedError| RunError::Broke {
                    stage: plan.stages[edge.to].name.to_string(),
                    why: why.to_string(),
                };
                crossings.insert(index, crossing.map_err(broke)?);
            }
        }
        Ok(Self { context, stations, crossings, outboxes, tap, waiting: Vec::new() })
    }

    /// What a source has read goes on its way.
    pub async fn take_from_source(&mut self, source: usize, pulled: Pulled) -> Result<(), RunError> {
        let Pulled { batch, refused } = pulled;
        let refusals = refused.len() as u64;
        let rows = batch.as_ref().map_or(0, |batch| batch.rows() as u64);
        let mut count = BatchCount { records_in: rows + refusals, ..BatchCount::default() };
        count.tally.rejected = refusals;
        for refused in refused {
            self.refuse_raw(source, refused)?;
        }
        let batch = match batch {
            Some(batch) => self.key_of_source(source, batch, &mut count)?,
            None => None,
        };
        let rows = batch.as_ref().map_or(0, |batch| batch.rows() as u64);
        (count.records_out, count.tally.forwarded) = (rows, rows);
        self.context.meters.stages[source].count(&count);
        match batch {
            Some(batch) => self.send(source, 0, batch).await,
            None => Ok(()),
        }
    }

    /// A batch goes through everything behind a port.
    pub async fn send(&mut self, stage: usize, port: usize, batch: Batch) -> Result<(), RunError> {
        self.leave(stage, port, batch);
        self.work().await
    }

    /// A batch that came by an edge goes through its stage and everything behind it.
    pub async fn receive(&mut self, edge: usize, batch: Batch) -> Result<(), RunError> {
        self.waiting.push((edge, batch));
        self.work().await
    }

    /// A batch, in the form of the stage's input, goes through the stage and everything behind it.
    pub async fn enter(&mut self, stage: usize, batch: Batch) -> Result<(), RunError> {
        self.run_stage(stage, batch).await?;
        self.work().await
    }

    async fn work(&mut self) -> Result<(), RunError> {
        while let Some((index, batch)) = self.waiting.pop() {
            if batch.is_empty() {
                continue;
            }
            match self.outboxes.get(&index) {
                // The loop over there is gone: it ended well, or its own failure ends the run.
                Some(outbox) => {
                    if outbox.send(batch).await.is_err() {
                        self.outboxes.remove(&index);
                    }
                }
                None => self.cross(index, batch).await?,
            }
        }
        Ok(())
    }

    async fn cross(&mut self, index: usize, batch: Batch) -> Result<(), RunError> {
        let plan = self.context.plan.clone();
        let edge: &Edge = &plan.edges[index];
        // What lies behind an edge without a crossing was once here and has ended.
        let Some(crossing) = self.crossings.get_mut(&index) else { return Ok(()) };
        if crossing.is_plain() {
            return self.run_stage(edge.to, batch).await;
        }
        let came = batch.clone();
        let (batch, rejections) =
            crossing.cross(batch).map_err(|error| feed_error(&plan, edge.to, &came, error))?;
        if !rejections.is_empty() {
            let refused = rejections.len() as u64;
            self.refuse(edge.to, &came, rejections)?;
            let tally = Tally { rejected: refused, ..Tally::default() };
            self.context.meters.stages[edge.to].count(&BatchCount {
                records_in: refused,
                tally,
                ..BatchCount::default()
            });
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.run_stage(edge.to, batch).await
    }

    async fn run_stage(&mut self, stage: usize, batch: Batch) -> Result<(), RunError> {
        match self.stations.get(&stage) {
            Some(Station::Transform { .. }) => self.transform(stage, batch).await,
            Some(Station::Sink(_)) => self.write(stage, batch).await,
            Some(Station::Nowhere) => {
                self.watch(stage, None, &batch);
                Ok(())
            }
            None => {
                let why = "a batch came to a stage that does not run here".to_owned();
                Err(RunError::Broke { stage: self.context.plan.stages[stage].name.to_string(), why })
            }
        }
    }

    async fn transform(&mut self, stage: usize, batch: Batch) -> Result<(), RunError> {
        let started = Instant::now();
        let plan = self.context.plan.clone();
        let planned = &plan.stages[stage];
        let Work::Transform(work) = &planned.work else { return Err(not_a(planned, "transform")) };
        let came = batch.rows() as u64;
        let fed = match is_plain(&work.feed) {
            true => as_it_is(batch, &work.feed),
            false => self.fit(stage, batch, work)?,
        };
        let Fed { batch, columns, rejections } = fed;
        let mut refused = rejections.len() as u64;
        if batch.is_empty() {
            let tally = Tally { rejected: refused, ..Tally::default() };
            let count =
                BatchCount { records_in: came, tally, took: started.elapsed(), ..BatchCount::default() };
            self.context.meters.stages[stage].count(&count);
            return Ok(());
        }
        let (outcome, fuel) = self.call(stage, work, &batch, &columns).await?;
        let applied = apply(&batch, &work.outputs, outcome).map_err(|error| RunError::Outcome {
            stage: planned.name.to_string(),
            records: Records::of(&batch),
            error: Box::new(error),
        })?;
        let Applied { batches, rejections, mut tally } = applied;
        refused += tally.rejected;
        tally.rejected = refused;
        let records_out = batches.iter().map(|(_, batch)| batch.rows() as u64).sum();
        let count = BatchCount { records_in: came, records_out, tally, fuel, took: started.elapsed() };
        self.context.meters.stages[stage].count(&count);
        if !rejections.is_empty() {
            self.refuse(stage, &batch, rejections)?;
        }
        for (port, batch) in batches.into_iter().rev() {
            self.leave(stage, port as usize, batch);
        }
        Ok(())
    }

    /// Sets the key and casts; rows that do not fit are refused.
    fn fit(&mut self, stage: usize, batch: Batch, work: &TransformWork) -> Result<Fed, RunError> {
        let plan = self.context.plan.clone();
        let fed = feed(batch.clone(), &work.feed, &plan.stages[stage].input);
        let fed = fed.map_err(|error| feed_error(&plan, stage, &batch, error))?;
        if !fed.rejections.is_empty() {
            self.refuse(stage, &batch, fed.rejections.clone())?;
        }
        Ok(fed)
    }

    async fn call(
        &mut self,
        stage: usize,
        work: &TransformWork,
        batch: &Batch,
        columns: &[Column],
    ) -> Result<(model::outcome::Outcome, u64), RunError> {
        let name = || self.context.plan.stages[stage].name.to_string();
        let Some(Station::Transform { pool, lease }) = self.stations.get_mut(&stage) else {
            return Err(RunError::Broke { stage: name(), why: "it is no transform".to_owned() });
        };
        let mut leased = match lease.take() {
            Some(leased) => leased,
            None => {
                let started = pool.lease().await;
                Box::new(started.map_err(|error| RunError::Start { stage: name(), error: Box::new(error) })?)
            }
        };
        let parts = batch.parts();
        let call = Call {
            rows: batch.rows(),
            times: parts.times.as_ref().filter(|_| work.feed.times),
            keys: parts.keys.as_ref().filter(|_| work.feed.keys),
            headers: parts.headers.as_ref().filter(|_| work.feed.headers),
            columns,
        };
        // On the heap, since the future of a call is large, and those around it would be moved with it.
        match Box::pin(leased.process(call)).await {
            Ok(outcome) => {
                let fuel = leased.last_fuel();
                *lease = Some(leased);
                Ok((outcome, fuel))
            }
            // The instance goes with the lease: after a death nothing in it can be trusted.
            Err(error) => {
                Err(RunError::Call { stage: name(), records: Records::of(batch), error: Box::new(error) })
            }
        }
    }

    async fn write(&mut self, stage: usize, batch: Batch) -> Result<(), RunError> {
        self.watch(stage, None, &batch);
        let started = Instant::now();
        let Some(Station::Sink(sink)) = self.stations.get_mut(&stage) else {
            return Err(not_a(&self.context.plan.stages[stage], "sink"));
        };
        let ids: Vec<RecordId> = match sink.wants_ids() {
            true => (0..batch.rows()).map(|row| batch.lineage().id(row)).collect(),
            false => Vec::new(),
        };
        let refusals = match sink.write(&batch, &ids).await {
            Ok(refusals) => refusals,
            Err(error) => return self.close(stage, error),
        };
        let (rows, rejected) = (batch.rows() as u64, refusals.len() as u64);
        let records_out = rows.saturating_sub(rejected);
        let tally = Tally { forwarded: records_out, rejected, ..Tally::default() };
        let count = BatchCount { records_in: rows, records_out, tally, fuel: 0, took: started.elapsed() };
        self.context.meters.stages[stage].count(&count);
        if refusals.is_empty() {
            return Ok(());
        }
        self.refuse(stage, &batch, refusals)
    }

    /// A sink that nobody reads any more ends well, and what comes for it goes nowhere; any other error is
    /// the run's.
    fn close(&mut self, stage: usize, error: ConnectError) -> Result<(), RunError> {
        if !error.is_closed() {
            return Err(connect_error(&self.context.plan, stage, error));
        }
        self.stations.insert(stage, Station::Nowhere);
        Ok(())
    }

    /// Whether nobody is left behind this belt to whom a record could go.
    pub fn is_over(&self) -> bool {
        let sink = |station: &Station| matches!(station, Station::Sink(_));
        self.outboxes.is_empty() && !self.stations.values().any(sink)
    }

    /// Puts a batch on every edge of a port; the first edge is worked off first.
    fn leave(&mut self, stage: usize, port: usize, batch: Batch) {
        self.watch(stage, Some(port), &batch);
        let plan = &self.context.plan;
        let Some(port) = plan.stages[stage].ports.get(port) else { return };
        for &edge in port.edges.iter().skip(1).rev() {
            self.waiting.push((edge, batch.clone()));
        }
        if let Some(&first) = port.edges.first() {
            self.waiting.push((first, batch));
        }
    }

    fn watch(&mut self, stage: usize, port: Option<usize>, batch: &Batch) {
        if let Some(tap) = &mut self.tap {
            tap(stage, port, batch);
        }
    }

    /// The key of a source's records. None where no record is left.
    fn key_of_source(
        &mut self,
        source: usize,
        batch: Batch,
        count: &mut BatchCount,
    ) -> Result<Option<Batch>, RunError> {
        let plan = self.context.plan.clone();
        let Work::Source(work) = &plan.stages[source].work else { return Ok(Some(batch)) };
        let Some(key) = &work.key else { return Ok(Some(batch)) };
        let (keyed, rejections) =
            set_key(batch.clone(), key).map_err(|error| feed_error(&plan, source, &batch, error))?;
        if rejections.is_empty() {
            return Ok(Some(keyed));
        }
        count.tally.rejected += rejections.len() as u64;
        let kept = keyed.pick(&rows_without(keyed.rows(), &rejections));
        self.refuse(source, &batch, rejections)?;
        Ok((!kept.is_empty()).then_some(kept))
    }

    fn refuse_raw(&mut self, source: usize, refused: Refused) -> Result<(), RunError> {
        let origin = model::lineage::Origin {
            source: self.context.plan.stages[source].name.clone(),
            split: refused.split,
            offset: refused.offset,
        };
        match self.context.on_error[source] {
            OnError::Fail => Err(RunError::Refused {
                stage: origin.source.to_string(),
                records: Records::one(origin),
                code: refused.code,
                message: refused.message,
            }),
            OnError::Drop => {
                self.context.meters.stages[source].count_dropped(1);
                Ok(())
            }
            OnError::DeadLetter => {
                let plan = &self.context.plan;
                let id = RecordId::of_source(&plan.pipeline, &origin.source, &origin.split, origin.offset);
                let letter = DeadLetter {
                    pipeline: plan.pipeline.to_string(),
                    stage: origin.source.to_string(),
                    code: refused.code,
                    message: refused.message,
                    origin: origin.into(),
                    id: Some(id.to_string()),
                    time_us: None,
                    key: None,
                    record: Record::Opaque(Blob::new(&refused.raw)),
                };
                self.letters().put(&letter).map_err(RunError::from)
            }
        }
    }

    fn letters(&self) -> std::sync::MutexGuard<'_, Box<dyn Letters>> {
        self.context.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a stage refuses go where its `on-error` says.
    fn refuse(&mut self, stage: usize, batch: &Batch, rejections: Vec<Rejection>) -> Result<(), RunError> {
        let name = self.context.plan.stages[stage].name.clone();
        match self.context.on_error[stage] {
            OnError::Drop => {
                self.context.meters.stages[stage].count_dropped(rejections.len() as u64);
                Ok(())
            }
            OnError::Fail => match rejections.into_iter().next() {
                None => Ok(()),
                Some(first) => Err(RunError::Refused {
                    stage: name.to_string(),
                    records: Records::one(batch.lineage().origin(first.row as usize)),
                    code: first.code,
                    message: first.message,
                }),
            },
            OnError::DeadLetter => {
                let broke = |error: arrow::error::ArrowError| RunError::Broke {
                    stage: name.to_string(),
                    why: format!("a refused record cannot be written down: {error}"),
                };
                let pipeline = self.context.plan.pipeline.to_string();
                let letters = dead_letters(&pipeline, &name, batch, rejections).map_err(broke)?;
                let mut file = self.letters();
                letters.iter().try_for_each(|letter| file.put(letter)).map_err(RunError::from)
            }
        }
    }

    /// What sinks have buffered becomes visible.
    pub async fn flush(&mut self) -> Result<(), RunError> {
        let mut failed = Vec::new();
        for (&stage, station) in &mut self.stations {
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
        for station in self.stations.values_mut() {
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
        for (&stage, station) in &mut self.stations {
            if let Station::Sink(sink) = station {
                match sink.prepare(CHECKPOINT).await {
                    Ok(token) => tokens.push((stage, token)),
                    Err(error) if error.is_closed() => {}
                    Err(error) => first = first.and(Err(connect_error(&plan, stage, error))),
                }
            }
        }
        let synced = self.letters().sync().map_err(RunError::from);
        first = first.and(synced);
        for (stage, token) in tokens {
            if let Some(Station::Sink(sink)) = self.stations.get_mut(&stage)
                && let Err(error) = sink.commit(&token).await
                && !error.is_closed()
            {
                first = first.and(Err(connect_error(&plan, stage, error)));
            }
        }
        first
    }
}

fn not_a(stage: &PlannedStage, role: &str) -> RunError {
    RunError::Broke { stage: stage.name.to_string(), why: format!("it is no {role}") }
}

fn connect_error(plan: &Plan, stage: usize, error: ConnectError) -> RunError {
    RunError::Connect { stage: plan.stages[stage].name.to_string(), error }
}

fn feed_error(plan: &Plan, stage: usize, batch: &Batch, error: crate::feed::FeedError) -> RunError {
    let stage = plan.stages[stage].name.to_string();
    RunError::Feed { stage, records: Records::of(batch), error: Box::new(error) }
}

/// One letter for each refused row, with the row as it came into the stage.
fn dead_letters(
    pipeline: &str,
    stage: &str,
    batch: &Batch,
    rejections: Vec<Rejection>,
) -> Result<Vec<DeadLetter>, arrow::error::ArrowError> {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::TimestampMicrosecondType;

    let rows: Arc<[u32]> = rejections.iter().map(|rejection| rejection.row).collect();
    let picked = batch.pick(&rows);
    let opaque = *picked.schema() == model::batch::opaque_schema();
    let values = match opaque {
        true => picked.columns()[0].flat()?.as_binary::<i32>().clone(),
        false => to_json(&JsonWriter::new(picked.schema()), &picked)?,
    };
    let flat = |column: &Option<Column>| column.as_ref().map(Column::flat).transpose();
    let (keys, times) = (flat(&picked.parts().keys)?, flat(&picked.parts().times)?);
    let letter = |(row, rejection): (usize, Rejection)| {
        let record = match (values.is_valid(row), opaque) {
            (false, _) => Record::None,
            (true, true) => Record::Opaque(Blob::new(values.value(row))),
            (true, false) => {
                let json = String::from_utf8_lossy(values.value(row)).into_owned();
                match serde_json::value::RawValue::from_string(json) {
                    Ok(row) => Record::Row(row),
                    Err(_) => Record::Opaque(Blob::new(values.value(row))),
                }
            }
        };
        let key = keys.as_ref().filter(|keys| keys.is_valid(row));
        let times = times.as_ref().and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        DeadLetter {
            pipeline: pipeline.to_owned(),
            stage: stage.to_owned(),
            code: rejection.code,
            message: rejection.message,
            origin: LetterOrigin::from(picked.lineage().origin(row)),
            id: Some(picked.lineage().id(row).to_string()),
            time_us: times.filter(|times| times.is_valid(row)).map(|times| times.value(row)),
            key: key.map(|keys| Blob::new(keys.as_binary::<i32>().value(row))),
            record,
        }
    };
    Ok(rejections.into_iter().enumerate().map(letter).collect())
}
