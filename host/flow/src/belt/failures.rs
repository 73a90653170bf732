//! A stage that fails: which records it dies on, when it is tried again, and when it is given up.
//!
//! A transform that dies on a batch is tried again with parts of it, in fresh instances, until the records that kill it
//! are alone (`model::search` decides); those are refused, and the rest goes on in order, since the parts lie on top
//! of all else that waits. A stage that asks for another try, or on which nothing goes through, backs off: what comes
//! for it waits, bounded in bytes, and the rest of the belt goes on. When its tries are used up it has failed: the run
//! ends, or, with `on-failure: continue`, its branch is cut: what it would have got is counted, and becomes dead letters
//! in a run with checkpoints, whose sources do not give it again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use engine::CallError;
use model::batch::Batch;
use model::limits::{self, SINK_KILLERS_MAX};
use model::manifest::OnFailure;
use model::plan::Plan;
use model::search::{self, Search, Verdict};
use model::stage::Role;
use tokio::time::Instant;

use super::{Belt, Context, Station, Way};
use crate::connector::{ConnectError, ConnectErrorKind};
use crate::error::{Records, RunError};
use crate::refuse::Refusal;

/// What is the matter with one stage. Most never have any.
#[derive(Default)]
pub(crate) struct Failure {
    /// Tries since something last went through.
    tries: u32,
    bisection: Option<Bisection>,
    backoff: Option<Backoff>,
}

/// The search for the records of one batch that kill the stage.
struct Bisection {
    search: Search,
    whole: Batch,
    started: Instant,
    /// Parts that are still to be tried.
    parts: usize,
    /// Records that killed it, before any other went through: until then it may be the stage's fault.
    found: Vec<(Batch, Vec<Refusal>)>,
}

/// What waits until the stage is tried again.
struct Backoff {
    until: Instant,
    waiting: VecDeque<(Way, Batch)>,
    bytes: usize,
}

/// Why a transform did not take a batch.
pub(crate) struct Failed {
    /// As the stage got it.
    pub batch: Batch,
    pub error: RunError,
    /// How it is counted and what a dead letter says.
    pub code: &'static str,
    pub message: String,
    pub kind: FailedKind,
}

/// What can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailedKind {
    /// It died on the batch, or answered against the contract.
    Death,
    /// It wants another try, or the host has no room for it just now.
    Later(Duration),
    /// No try helps.
    Final,
}

impl FailedKind {
    pub fn of(error: &CallError) -> Self {
        match error {
            CallError::Failure(engine::Failure::Retry { after, .. }) => Self::Later(*after),
            CallError::NoRoom | CallError::TooManyInstances { .. } => Self::Later(Duration::ZERO),
            error if error.is_death() => Self::Death,
            _ => Self::Final,
        }
    }
}

impl Belt {
    /// A transform did not take a batch: what becomes of the batch and the stage.
    pub(crate) async fn fails(&mut self, plan: &Plan, stage: usize, failed: Failed) -> Result<(), RunError> {
        match failed.kind {
            FailedKind::Final => self.give_up(stage, failed.error, Some(failed.batch)),
            FailedKind::Later(asked) => {
                let way = self.way_again(stage);
                self.back_off(stage, way, failed.batch, asked, failed.error)
            }
            FailedKind::Death => {
                self.context.meters.stages[stage].count_death();
                self.bisect(plan, stage, failed).await
            }
        }
    }

    /// A transform took a batch. Cheap where the stage never had any failure.
    #[inline]
    pub(crate) fn went_through(&mut self, stage: usize, way: Way) -> Result<(), RunError> {
        if self.failures[stage].is_none() { Ok(()) } else { self.on_success(stage, way) }
    }

    #[cold]
    fn on_success(&mut self, stage: usize, way: Way) -> Result<(), RunError> {
        let Some(failure) = &mut self.failures[stage] else { return Ok(()) };
        failure.tries = 0;
        if let (Some(bisection), Way::Part(_)) = (&mut failure.bisection, way) {
            bisection.search.went_through();
            bisection.parts -= 1;
            let found = std::mem::take(&mut bisection.found);
            if bisection.parts == 0 {
                failure.bisection = None;
            }
            self.refuse_killers(stage, found)?;
        }
        if let Some(failure) = &self.failures[stage]
            && failure.bisection.is_none()
            && failure.backoff.is_none()
        {
            self.failures[stage] = None;
        }
        Ok(())
    }

    /// How a batch that is tried again comes: as the part of a search, if there is one.
    fn way_again(&self, stage: usize) -> Way {
        match &self.failures[stage] {
            Some(failure) if failure.bisection.is_some() => Way::Part(stage),
            _ => Way::Stage(stage),
        }
    }

    async fn bisect(&mut self, plan: &Plan, stage: usize, failed: Failed) -> Result<(), RunError> {
        let now = Instant::now();
        let failure = self.failures[stage].get_or_insert_default();
        let rows = failed.batch.rows();
        let mut verdict = match &mut failure.bisection {
            Some(bisection) => bisection.search.died(rows, now - bisection.started),
            None => {
                let search = Search::new(rows);
                let (whole, found) = (failed.batch.clone(), Vec::new());
                failure.bisection = Some(Bisection { search, whole, started: now, parts: 1, found });
                if rows == 1 { Verdict::Killer } else { Verdict::Split }
            }
        };
        if let Verdict::Probe(probes) = verdict {
            let whole = self.bisected(stage)?.whole.clone();
            let through = self.probe(plan, stage, &whole, &probes).await?;
            let bisection = self.bisected(stage)?;
            bisection.search.probed(through);
            if !through {
                return self.blame_the_stage(stage, failed.error);
            }
            verdict = bisection.search.died(rows, now - bisection.started);
        }
        match verdict {
            Verdict::Split => {
                let parts = search::parts(rows as u32);
                self.bisected(stage)?.parts += parts.len() - 1;
                for range in parts.rev() {
                    let part = failed.batch.pick(&range.collect());
                    self.waiting.push((Way::Part(stage), part));
                }
                Ok(())
            }
            // A second probe is not asked for.
            Verdict::Killer | Verdict::GiveUp | Verdict::Probe(_) => self.resolve(stage, failed),
        }
    }

    fn bisected(&mut self, stage: usize) -> Result<&mut Bisection, RunError> {
        let bisection = self.failures[stage].as_mut().and_then(|failure| failure.bisection.as_mut());
        let name = self.context.plan.stages[stage].name.to_string();
        bisection
            .ok_or_else(|| RunError::Broke { stage: name, why: "a search ended before its parts".to_owned() })
    }

    /// A part of the batch is known to kill the stage: one record, or several that could not be told apart.
    fn resolve(&mut self, stage: usize, failed: Failed) -> Result<(), RunError> {
        let Failed { batch, error, code, message, .. } = failed;
        // Only now is it looked up where the stage was: not for each part that it died on.
        let backtrace: Option<Arc<str>> = error.backtrace().map(|frames| frames.to_string().into());
        let bisection = self.bisected(stage)?;
        let (rows, attempts) = (batch.rows(), bisection.search.calls());
        let message = match rows {
            1 => message,
            _ => format!(
                "{message}; it is one of {rows} records that a search of {attempts} calls did not tell apart"
            ),
        };
        let refusal = |row: usize| Refusal {
            row: row as u32,
            code: code.to_owned(),
            message: message.clone(),
            backtrace: backtrace.clone(),
            attempts,
            is_cut: false,
        };
        bisection.found.push((batch, (0..rows).map(refusal).collect()));
        bisection.parts -= 1;
        let (survived, over) = (bisection.search.survived(), bisection.parts == 0);
        let found = if survived || over { std::mem::take(&mut bisection.found) } else { Vec::new() };
        if over && let Some(failure) = &mut self.failures[stage] {
            failure.bisection = None;
        }
        self.refuse_killers(stage, found)?;
        // Every record of a small batch killed it. They are dead letters, and it waits before the next batch.
        if over && !survived { self.pause(stage, error) } else { Ok(()) }
    }

    fn refuse_killers(&mut self, stage: usize, found: Vec<(Batch, Vec<Refusal>)>) -> Result<(), RunError> {
        let killers = found.iter().map(|(_, refusals)| refusals.len()).sum();
        if killers == 0 {
            return Ok(());
        }
        for (batch, refusals) in found {
            self.context.refusing.rows(stage, &batch, refusals, None)?;
        }
        self.context.meters.stages[stage].count_refused(killers);
        Ok(())
    }

    /// Tries single rows of a batch, until one goes through. What comes of it is thrown away.
    async fn probe(
        &mut self,
        plan: &Plan,
        stage: usize,
        whole: &Batch,
        probes: &[u32],
    ) -> Result<bool, RunError> {
        for &row in probes {
            let single = whole.pick(&[row].into());
            let Some(came) = self.fit(plan, stage, single)? else { continue };
            match self.call(plan, stage, came).await? {
                Ok(answered) => {
                    if answered.keeps_contract(plan, stage, &self.stations[stage]) {
                        return Ok(true);
                    }
                }
                // It is alive enough to ask for another try.
                Err(failed) if matches!(failed.kind, FailedKind::Later(_)) => return Ok(true),
                Err(_) => {}
            }
            self.context.meters.stages[stage].count_death();
        }
        Ok(false)
    }

    /// Nothing of a batch goes through: it is the stage. The batch is tried again after a while, as a whole.
    fn blame_the_stage(&mut self, stage: usize, error: RunError) -> Result<(), RunError> {
        let Some(bisection) = self.failures[stage].as_mut().and_then(|failure| failure.bisection.take())
        else {
            return Ok(());
        };
        self.waiting.retain(|(way, _)| !matches!(way, Way::Part(of) if *of == stage));
        self.back_off(stage, Way::Stage(stage), bisection.whole, Duration::ZERO, error)
    }

    /// What comes for a stage waits from now on, `batch` first.
    pub(crate) fn back_off(
        &mut self,
        stage: usize,
        way: Way,
        batch: Batch,
        asked: Duration,
        error: RunError,
    ) -> Result<(), RunError> {
        let Some(wait) = self.next_wait(stage, asked) else { return self.give_up(stage, error, Some(batch)) };
        tracing::warn!(stage = &*self.context.plan.stages[stage].name, ?wait, "{error}; it is tried again");
        let bytes = batch.weight_bytes();
        self.begin_backoff(stage, wait, [(way, batch)].into(), bytes);
        self.context.meters.stages[stage].count_retry();
        Ok(())
    }

    /// As `backoff`, with nothing that has to be tried again.
    fn pause(&mut self, stage: usize, error: RunError) -> Result<(), RunError> {
        let Some(wait) = self.next_wait(stage, Duration::ZERO) else {
            return self.give_up(stage, error, None);
        };
        self.begin_backoff(stage, wait, VecDeque::new(), 0);
        Ok(())
    }

    fn begin_backoff(&mut self, stage: usize, wait: Duration, waiting: VecDeque<(Way, Batch)>, bytes: usize) {
        let backoff = Backoff { until: Instant::now() + wait, waiting, bytes };
        self.failures[stage].get_or_insert_default().backoff = Some(backoff);
    }

    fn next_wait(&mut self, stage: usize, asked: Duration) -> Option<Duration> {
        let failure = self.failures[stage].get_or_insert_default();
        failure.tries += 1;
        self.context.retry[stage].wait(failure.tries, asked, fastrand::f64())
    }

    /// Takes a batch for a stage that backs off; gives it back where the stage does not.
    #[inline]
    pub(crate) fn put_aside(&mut self, stage: usize, way: Way, batch: Batch) -> Option<Batch> {
        let Some(backoff) = self.failures[stage].as_mut().and_then(|failure| failure.backoff.as_mut()) else {
            return Some(batch);
        };
        backoff.bytes = backoff.bytes.saturating_add(batch.weight_bytes());
        backoff.waiting.push_back((way, batch));
        None
    }

    /// When a stage that backs off has to be tried because no more can wait for it.
    pub(crate) fn full_until(&self, stage: usize) -> Option<Instant> {
        let backoff = self.failures[stage].as_ref()?.backoff.as_ref()?;
        let full =
            backoff.bytes >= limits::EDGE_BYTES_MAX || backoff.waiting.len() >= limits::EDGE_BATCHES_MAX;
        full.then_some(backoff.until)
    }

    /// When the next stage that backs off is to be tried again.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.failures.iter().flatten().filter_map(|failure| Some(failure.backoff.as_ref()?.until)).min()
    }

    /// Stages whose wait is over take what waited for them with the next `work`.
    pub fn wake(&mut self, now: Instant) {
        for failure in self.failures.iter_mut().flatten() {
            if failure.backoff.as_ref().is_some_and(|backoff| backoff.until <= now)
                && let Some(backoff) = failure.backoff.take()
            {
                // The last one pushed is the first one taken.
                self.waiting.extend(backoff.waiting.into_iter().rev());
            }
        }
    }

    /// Works off everything, stages that back off included.
    pub async fn drain(&mut self) -> Result<(), RunError> {
        loop {
            self.work().await?;
            let Some(until) = self.wakes_at() else { return Ok(()) };
            tokio::time::sleep_until(until).await;
            self.wake(until);
        }
    }

    /// How long a source that wants another try waits for it; none where it has failed.
    pub fn source_waits(&self, stage: usize, tries: u32, error: &ConnectError) -> Option<Duration> {
        let ConnectErrorKind::Retry { after } = error.kind else { return None };
        let wait = self.context.retry[stage].wait(tries, after, fastrand::f64())?;
        tracing::warn!(stage = &*self.context.plan.stages[stage].name, ?wait, "{error}; it is tried again");
        self.context.meters.stages[stage].count_retry();
        Some(wait)
    }

    /// A stage has failed for good, with a batch that it did not take. Its branch is cut off, here or, where it is a sink
    /// that may lack what it took since the last checkpoint, in a run that begins there.
    pub(crate) fn give_up(
        &mut self,
        stage: usize,
        error: RunError,
        batch: Option<Batch>,
    ) -> Result<(), RunError> {
        let Context { on_failure, restarts, restarts_to_cut, .. } = self.context;
        let restarts = restarts && error.restart_cause().is_some();
        let is_sink = self.context.plan.stages[stage].role == Role::Sink;
        if on_failure == OnFailure::Stop || restarts || (restarts_to_cut && is_sink) {
            return Err(error);
        }
        let why: Arc<str> = error.in_one_line().into();
        tracing::error!(stage = &*self.context.plan.stages[stage].name, "{error}; its branch is cut");
        let meter = &self.context.meters.stages[stage];
        meter.count_cut(0);
        if is_sink && self.context.keeps_cut {
            let records = meter.taken().saturating_sub(self.prepared_out[stage]);
            tracing::error!(
                stage = &*self.context.plan.stages[stage].name,
                records,
                "what it took since the last checkpoint may be missing: the sources cannot be read again"
            );
        }
        self.stations[stage] = Station::Cut { why: why.clone() };
        (self.careful[stage], self.keeps_cut[stage]) = (false, false);
        self.context.cuts.put(error);
        let Failure { bisection, backoff, .. } =
            self.failures[stage].take().map(|failure| *failure).unwrap_or_default();
        // They killed it, whatever becomes of it.
        self.refuse_killers(stage, bisection.map(|bisection| bisection.found).unwrap_or_default())?;
        let waited = backoff.into_iter().flat_map(|backoff| backoff.waiting).map(|(_, batch)| batch);
        batch.into_iter().chain(waited).try_for_each(|batch| self.not_taken(stage, &batch, &why))
    }

    /// A batch comes for a stage that has failed: it is counted, and kept where its source does not give it again.
    pub(crate) fn not_taken(&self, stage: usize, batch: &Batch, why: &str) -> Result<(), RunError> {
        self.context.meters.stages[stage].count_cut(batch.rows() as u64);
        match self.context.keeps_cut && !batch.is_empty() {
            true => self.context.refusing.cut(stage, batch, why),
            false => Ok(()),
        }
    }

    /// The batch as it may go into its stage; none where it is to come in parts, or no row is left.
    #[inline]
    pub(crate) fn admit(&mut self, stage: usize, way: Way, batch: Batch) -> Option<Batch> {
        // A part is of a batch that was looked at.
        let is_looked_at = matches!(way, Way::Part(_));
        if is_looked_at || !(self.careful[stage] || self.keeps_cut[stage]) {
            Some(batch)
        } else {
            self.look_at(stage, batch)
        }
    }

    #[cold]
    fn look_at(&mut self, stage: usize, batch: Batch) -> Option<Batch> {
        let mut batch = batch;
        if self.keeps_cut[stage] {
            let kept = self.context.refusing.kept_as_cut(stage, &batch);
            if !kept.is_empty() {
                // They count as what they are: dead letters of this stage.
                self.context.meters.stages[stage].count_refused(kept.len());
                let rest = (0..batch.rows() as u32).filter(|row| kept.binary_search(row).is_err());
                batch = batch.pick(&rest.collect());
            }
        }
        if batch.is_empty() {
            return None;
        }
        if self.careful[stage] {
            self.take_apart(stage, &batch);
            return None;
        }
        Some(batch)
    }

    /// A sink did not take a batch. One that nobody reads any more ends well, and what comes for it goes nowhere.
    pub(crate) fn sink_fails(
        &mut self,
        stage: usize,
        batch: Option<Batch>,
        mut error: ConnectError,
    ) -> Result<(), RunError> {
        if let (ConnectErrorKind::Died(death), Some(batch)) = (error.kind.clone(), &batch)
            && !self.isolate(stage, batch, &death)
        {
            error.kind = ConnectErrorKind::Failed;
            error.next = format!("it dies on more than {SINK_KILLERS_MAX} records: mend the component");
        }
        let kind = error.kind.clone();
        let records = batch.as_ref().map(Records::of);
        let name = self.context.plan.stages[stage].name.to_string();
        let error = RunError::Connect { stage: name, records, error };
        match (kind, batch) {
            (ConnectErrorKind::Closed, _) => {
                self.stations[stage] = Station::Nowhere;
                Ok(())
            }
            (ConnectErrorKind::Retry { after }, Some(batch)) => {
                self.back_off(stage, Way::Stage(stage), batch, after, error)
            }
            (_, batch) => self.give_up(stage, error, batch),
        }
    }
}

/// As [`failed`], where there was no instance yet: no record is to blame for it.
#[cold]
pub(crate) fn not_opened(plan: &Plan, stage: usize, batch: Batch, error: CallError) -> Box<Failed> {
    let mut failed = failed(plan, stage, batch, error);
    if failed.kind == FailedKind::Death {
        failed.kind = FailedKind::Later(Duration::ZERO);
    }
    failed
}

/// A death as the belt tells of it.
#[cold]
pub(crate) fn failed(plan: &Plan, stage: usize, batch: Batch, error: CallError) -> Box<Failed> {
    let (code, message, kind) = (error.code(), error.to_string(), FailedKind::of(&error));
    let name = plan.stages[stage].name.to_string();
    let error = match error {
        CallError::Start(_) => RunError::Start { stage: name, error: Box::new(error) },
        error => RunError::Call { stage: name, records: Records::of(&batch), error: Box::new(error) },
    };
    Box::new(Failed { batch, error, code, message, kind })
}
