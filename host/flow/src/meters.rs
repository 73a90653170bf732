//! What each stage did, counted once per batch.
//!
//! Loops write, anybody reads: the live table, the metrics endpoint, the summary at the end. Counters only
//! grow; rates are the reader's to compute.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::Hits;
use hdrhistogram::Histogram;
use model::outcome::Tally;
use model::plan::Plan;
use model::stage::Role;
use serde::Serialize;

use crate::connector::{Figure, Figures};
use crate::state::{StateGauge, StateSize};

/// The meters of one pipeline, one per stage in the order of the plan.
#[derive(Clone, Debug)]
pub struct Meters {
    pub pipeline: Arc<str>,
    pub stages: Arc<[StageMeter]>,
    pub checkpoints: Arc<CheckpointMeter>,
}

/// What became of the checkpoints of one pipeline.
#[derive(Debug, Default)]
pub struct CheckpointMeter(Mutex<CheckpointReport>);

/// The same, as data.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CheckpointReport {
    /// Whether the run keeps checkpoints at all.
    #[serde(skip)]
    pub keeps: bool,
    /// Of the last committed one; 0 where there is none.
    pub number: u64,
    /// Of the one from which the run went on; 0 at the very start.
    pub from: u64,
    /// Stored in this run.
    pub stored: u64,
    /// How often the run went back to the last one, because a source or a sink died or a disk was full.
    pub restarts: u64,
    /// From its beginning until it was committed.
    pub took_ms: u64,
    /// That were new in it.
    pub bytes: u64,
    /// When it was found last that everything up to here is durable: now, where nothing has moved since.
    #[serde(skip)]
    pub committed_at: Option<Instant>,
    /// Nothing has moved since the last one was committed.
    #[serde(skip)]
    pub rests: bool,
    /// Since when one is under way.
    #[serde(skip)]
    pub begun_at: Option<Instant>,
}

impl CheckpointMeter {
    fn with(&self, change: impl FnOnce(&mut CheckpointReport)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn goes_on(&self, number: u64) {
        self.with(|report| {
            if !report.keeps {
                report.from = number;
            }
            (report.keeps, report.number, report.begun_at) = (true, number, None);
            report.rests = false;
        });
    }

    /// The pipeline goes back to the last checkpoint, within its process.
    pub fn goes_back(&self) {
        self.with(|report| report.restarts += 1);
    }

    pub(crate) fn begin(&self) {
        self.with(|report| report.begun_at = Some(Instant::now()));
    }

    pub(crate) fn committed(&self, number: u64, took: Duration, bytes: u64) {
        self.with(|report| {
            (report.number, report.bytes, report.begun_at) = (number, bytes, None);
            report.stored += 1;
            report.took_ms = took.as_millis() as u64;
            report.committed_at = Some(Instant::now());
        });
    }

    /// Nothing had changed, so that the one before is good for now as well.
    pub(crate) fn unchanged(&self) {
        self.with(|report| (report.begun_at, report.committed_at) = (None, Some(Instant::now())));
    }

    /// Nothing has moved since the last one was found to be good.
    pub(crate) fn rests(&self) {
        self.with(|report| report.rests = true);
    }

    pub(crate) fn moves(&self) {
        self.with(|report| {
            if std::mem::take(&mut report.rests) {
                report.committed_at = Some(Instant::now());
            }
        });
    }

    pub fn report(&self) -> CheckpointReport {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if report.rests {
            report.committed_at = Some(Instant::now());
        }
        report
    }
}

/// The counters of one stage.
#[derive(Debug)]
pub struct StageMeter {
    pub name: Arc<str>,
    pub role: Role,
    is_cut: AtomicBool,
    has_lag: AtomicBool,
    ended_early: AtomicBool,
    counts: Counts,
    /// Of a component: how often it ran into its limits.
    hits: Mutex<HitsSoFar>,
    /// Of a transform that keeps state.
    state: Mutex<Option<StateGauge>>,
    /// Of a connector that has some.
    figures: Mutex<Option<Arc<dyn Figures>>>,
    /// Microseconds a batch took, guest and host together.
    times: Mutex<Histogram<u64>>,
}

/// How often a component ran into its limits, over all lives of its pipeline.
#[derive(Debug)]
struct HitsSoFar {
    now: Option<Arc<Hits>>,
    before: BTreeMap<&'static str, u64>,
}

impl HitsSoFar {
    /// Only what came up.
    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = self.before.clone();
        for (code, count) in self.now.iter().flat_map(|hits| hits.counts()).filter(|(_, count)| *count > 0) {
            *counts.entry(code).or_default() += count;
        }
        counts
    }
}

#[derive(Debug, Default)]
struct Counts {
    batches: AtomicU64,
    records_in: AtomicU64,
    /// Of a source with checkpoints: those of `records_in` that a checkpoint covers, or that come again.
    covered: AtomicU64,
    records_out: AtomicU64,
    forwarded: AtomicU64,
    made: AtomicU64,
    filtered: AtomicU64,
    rejected: AtomicU64,
    dropped: AtomicU64,
    held: AtomicU64,
    deaths: AtomicU64,
    retries: AtomicU64,
    cut: AtomicU64,
    fuel: AtomicU64,
    busy_ns: AtomicU64,
}

/// What a stage did so far, as data. Counts are records unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StageReport {
    pub stage: String,
    pub role: String,
    pub batches: u64,
    /// Records that came in; for a source, records that it read, the refused ones among them.
    pub records_in: u64,
    /// Records that left, by all ports together; for a sink, records that it took.
    pub records_out: u64,
    pub forwarded: u64,
    pub made: u64,
    pub filtered: u64,
    /// Refused, by the stage or because they did not fit what it takes.
    pub rejected: u64,
    /// Of the rejected ones, those dropped because `on-error` says so.
    pub dropped: u64,
    pub held: u64,
    /// Calls on which the stage died, those of the search for the record at fault among them.
    pub deaths: u64,
    /// Waits before another try.
    pub retries: u64,
    /// Whether the stage has failed and the rest goes on without it.
    pub is_cut: bool,
    /// Records that it would have got since.
    pub cut: u64,
    /// Of a source: whether it was read no further, since nobody was left to take its records.
    pub ended_early: bool,
    /// Of a source that can be read again, in a run with checkpoints: records that it gave and that no checkpoint covers
    /// yet, so that a restart reads them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// How often the stage ran into each limit, or ended in each other way; only what came up.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<&'static str, u64>,
    /// Of a stage that keeps state: how much there is, at the last checkpoint where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateSize>,
    pub fuel: u64,
    /// None where the stage is built in.
    pub fuel_per_record: Option<f64>,
    pub batch_p50_us: u64,
    pub batch_p99_us: u64,
    pub busy_ms: u64,
}

/// What one batch cost and came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchCount {
    pub records_in: u64,
    pub records_out: u64,
    pub tally: Tally,
    pub fuel: u64,
    pub took: Duration,
}

/// What counts the limits of a stage that is a component, and its state where it keeps any.
pub(crate) type MeteredPart = (Option<Arc<Hits>>, Option<StateGauge>);

/// Microseconds that the histogram tells apart: up to ten minutes, to two digits.
const BATCH_US_MAX: u64 = 600_000_000;

impl Meters {
    /// `parts`: by stage, what counts for it as far as it is a component, and its state.
    pub(crate) fn new(plan: &Plan, parts: Vec<MeteredPart>) -> Self {
        let parts = parts.into_iter().chain(std::iter::repeat((None, None)));
        let stages = plan.stages.iter().zip(parts).map(|(stage, (hits, state))| StageMeter {
            hits: Mutex::new(HitsSoFar { now: hits, before: BTreeMap::new() }),
            state: Mutex::new(state),
            figures: Mutex::default(),
            is_cut: AtomicBool::new(false),
            has_lag: AtomicBool::new(false),
            ended_early: AtomicBool::new(false),
            name: stage.name.clone(),
            role: stage.role,
            counts: Counts::default(),
            times: Mutex::new(
                Histogram::new_with_max(BATCH_US_MAX, 2).expect("the bounds of the histogram are sane"),
            ),
        });
        Self { pipeline: plan.pipeline.clone(), stages: stages.collect(), checkpoints: Arc::default() }
    }

    /// The same meters for another life of the pipeline, whose components count their hits anew.
    pub(crate) fn go_on(self, parts: Vec<MeteredPart>) -> Self {
        for (stage, (now, state)) in self.stages.iter().zip(parts) {
            let mut hits = stage.hits.lock().unwrap_or_else(PoisonError::into_inner);
            hits.before = hits.counts();
            hits.now = now;
            *stage.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        }
        self
    }

    pub fn report(&self) -> Vec<StageReport> {
        self.stages.iter().map(StageMeter::report).collect()
    }

    /// Records that sources gave and that no checkpoint covers yet; none in a run without checkpoints.
    pub fn lag(&self) -> u64 {
        self.stages.iter().filter_map(StageMeter::lag).sum()
    }
}

impl StageMeter {
    /// What its connector shows from now on.
    pub(crate) fn show(&self, figures: Arc<dyn Figures>) {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = Some(figures);
    }

    /// What its connector shows; nothing of most.
    pub fn figures(&self) -> Vec<Figure> {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        figures.map(|figures| figures.figures()).unwrap_or_default()
    }

    pub fn count(&self, batch: &BatchCount) {
        let add = |counter: &AtomicU64, n: u64| {
            if n > 0 {
                counter.fetch_add(n, Ordering::Relaxed);
            }
        };
        let counts = &self.counts;
        add(&counts.batches, 1);
        add(&counts.records_in, batch.records_in);
        add(&counts.records_out, batch.records_out);
        add(&counts.forwarded, batch.tally.forwarded);
        add(&counts.made, batch.tally.made);
        add(&counts.filtered, batch.tally.filtered);
        add(&counts.rejected, batch.tally.rejected);
        add(&counts.held, batch.tally.held);
        add(&counts.fuel, batch.fuel);
        add(&counts.busy_ns, batch.took.as_nanos() as u64);
        let took_us = (batch.took.as_micros() as u64).clamp(1, BATCH_US_MAX);
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.saturating_record(took_us);
    }

    /// Records that were refused and went no further.
    pub fn count_refused(&self, records: usize) {
        let records = records as u64;
        let tally = Tally { rejected: records, ..Tally::default() };
        self.count(&BatchCount { records_in: records, tally, ..BatchCount::default() });
    }

    /// Rejected records that nobody keeps.
    pub fn count_dropped(&self, records: u64) {
        self.counts.dropped.fetch_add(records, Ordering::Relaxed);
    }

    /// What a call burnt that came to nothing.
    pub fn count_fuel(&self, fuel: u64) {
        self.counts.fuel.fetch_add(fuel, Ordering::Relaxed);
    }

    /// A call on which the stage died.
    pub fn count_death(&self) {
        self.counts.deaths.fetch_add(1, Ordering::Relaxed);
    }

    /// A wait before another try.
    pub fn count_retry(&self) {
        self.counts.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that a stage would have got, had it not failed.
    pub fn count_cut(&self, records: u64) {
        self.is_cut.store(true, Ordering::Relaxed);
        self.counts.cut.fetch_add(records, Ordering::Relaxed);
    }

    /// Records that a sink took so far.
    pub(crate) fn taken(&self) -> u64 {
        self.counts.records_out.load(Ordering::Relaxed)
    }

    /// Records that a source gave so far.
    pub(crate) fn given(&self) -> u64 {
        self.counts.records_in.load(Ordering::Relaxed)
    }

    /// What a source gives comes again after a crash, from the last checkpoint on.
    pub(crate) fn mark_replayable(&self) {
        self.has_lag.store(true, Ordering::Relaxed);
    }

    /// A checkpoint covers the first so many of the records that a source gave, or they come again.
    pub(crate) fn set_committed(&self, given: u64) {
        self.counts.covered.store(given, Ordering::Relaxed);
    }

    fn lag(&self) -> Option<u64> {
        let covered = || self.counts.covered.load(Ordering::Relaxed);
        self.has_lag.load(Ordering::Relaxed).then(|| self.given().saturating_sub(covered()))
    }

    /// A source is read no further, since nobody is left to take its records.
    pub fn end_early(&self) {
        self.ended_early.store(true, Ordering::Relaxed);
    }

    pub fn report(&self) -> StageReport {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        let (p50, p99) = {
            let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
            (times.value_at_quantile(0.5), times.value_at_quantile(0.99))
        };
        let (fuel, records_in) = (get(&counts.fuel), get(&counts.records_in));
        StageReport {
            stage: self.name.to_string(),
            role: self.role.to_string(),
            batches: get(&counts.batches),
            records_in,
            records_out: get(&counts.records_out),
            forwarded: get(&counts.forwarded),
            made: get(&counts.made),
            filtered: get(&counts.filtered),
            rejected: get(&counts.rejected),
            dropped: get(&counts.dropped),
            held: get(&counts.held),
            deaths: get(&counts.deaths),
            retries: get(&counts.retries),
            is_cut: self.is_cut.load(Ordering::Relaxed),
            cut: get(&counts.cut),
            ended_early: self.ended_early.load(Ordering::Relaxed),
            lag: self.lag(),
            limits: self.hits.lock().unwrap_or_else(PoisonError::into_inner).counts(),
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(StateGauge::get),
            fuel,
            fuel_per_record: (fuel > 0 && records_in > 0).then(|| fuel as f64 / records_in as f64),
            batch_p50_us: p50,
            batch_p99_us: p99,
            busy_ms: get(&counts.busy_ns) / 1_000_000,
        }
    }
}
