//! Sources and sinks that are components, driven as if they were built in.
//!
//! One that dies has failed: no search for the record at fault, as transforms get it. A sink's instance may hold what
//! it was given since it last made things durable, and part of the batch may be written, so that halves of it in a
//! fresh instance would lose the one and repeat the other. To go on without a record needs a checkpoint to go back to:
//! see `poison`.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use engine::{
    Absence, CallError, Failure, Hits, PullBounds, PulledBatch, SinkDriver, SourceDriver, SplitStart,
};
use futures::future::BoxFuture;
use model::batch::{Batch, Column, Parts};
use model::ids::RecordId;
use model::limits::SPLITS_ASKED_EVERY;
use model::lineage::{Lineage, Offsets, SourceRows};
use model::plan::{InputMapping, Stream};
use tokio::time::Instant;

use crate::connector::{
    Barrier, ConnectError, ConnectErrorKind, Cursor, Death, Places, PullLimits, Pulled, Refusals, Refused,
    Sink, Source,
};
use crate::input_mapping::map_input;

/// In front of a cursor of the guest's: whether its split goes on.
const OPEN: u8 = 0;
const ENDED: u8 = 1;
/// How long the host waits before it asks a source again that had nothing. A guest without a clock cannot
/// wait by itself and answers at once.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What a turn of the instance is for.
struct Turn {
    /// Whether it is asked for the splits that there are by now.
    asks: bool,
    /// Those that it is to read beside what it has.
    assigned: Vec<SplitStart>,
    bounds: PullBounds,
}

/// What a turn brought.
struct Brought {
    /// The splits that there are, where it was asked.
    splits: Option<Vec<String>>,
    /// Those that it did not take.
    refused: Vec<SplitStart>,
    pulled: Result<Option<PulledBatch>, CallError>,
}

impl Turn {
    async fn take(self, driver: &mut SourceDriver) -> Brought {
        let Self { asks, assigned, bounds } = self;
        if !assigned.is_empty()
            && let Err(error) = driver.assign(&assigned).await
        {
            return Brought { splits: None, refused: assigned, pulled: Err(error) };
        }
        let refused = Vec::new();
        let splits = match asks {
            true => driver.splits().await.map(Some),
            false => Ok(None),
        };
        match splits {
            Ok(splits) => Brought { splits, refused, pulled: driver.pull(bounds).await },
            Err(error) => Brought { splits: None, refused, pulled: Err(error) },
        }
    }
}

/// The instance of a source. A call cannot be left in the middle without losing the instance, so that one which nobody
/// waits for any more goes on when it is next needed.
enum Instance {
    Waits(Box<SourceDriver>),
    Pulls(BoxFuture<'static, (Box<SourceDriver>, Brought)>),
    /// It was to be called and is not here: what called it before has panicked.
    Lost,
}

impl Instance {
    /// Whether it has to be told what to do.
    fn waits(&self) -> bool {
        matches!(self, Self::Waits(_))
    }

    fn begin(&mut self, turn: Turn) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Waits(mut driver) => Self::Pulls(Box::pin(async move {
                let brought = turn.take(&mut driver).await;
                (driver, brought)
            })),
            other => other,
        };
    }

    /// Waits for the end of the turn that is under way, if one is. A wait that is dropped has lost nothing, and time in
    /// which the turn could have gone on is not its own.
    async fn end(&mut self, alarm: &Arc<Alarm>, absence: &Absence) -> Option<Brought> {
        let Self::Pulls(turn) = self else { return None };
        let waker = Waker::from(alarm.clone());
        let (driver, brought) = poll_fn(|cx| {
            absence.of(alarm.set(cx.waker()));
            turn.as_mut().poll(&mut Context::from_waker(&waker))
        })
        .await;
        *self = Self::Waits(driver);
        Some(brought)
    }
}

/// Wakes whoever waits, and knows since when they might have come.
#[derive(Default)]
struct Alarm(Mutex<Ringing>);

#[derive(Default)]
struct Ringing {
    waker: Option<Waker>,
    since: Option<Instant>,
}

impl Alarm {
    fn ringing(&self) -> MutexGuard<'_, Ringing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom to wake from now on. Gives how long it has been ringing.
    fn set(&self, waker: &Waker) -> Duration {
        let mut ringing = self.ringing();
        match &mut ringing.waker {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        ringing.since.take().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let waker = {
            let mut ringing = self.ringing();
            ringing.since.get_or_insert_with(Instant::now);
            ringing.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A component that was opened as a source and got its splits.
pub struct ComponentSource {
    instance: Instance,
    alarm: Arc<Alarm>,
    absence: Absence,
    hits: Arc<Hits>,
    record_bytes_max: u64,
    /// Of a turn that ended while nobody waited for it.
    brought: Option<Brought>,
    pipeline: Arc<str>,
    stage: Arc<str>,
    stream: Stream,
    /// By index of assignment.
    splits: Vec<Arc<str>>,
    ended: Vec<bool>,
    /// How many have not.
    open: usize,
    /// Where splits go on that were not there when it was opened.
    from: Places,
    /// That it is not told of yet.
    found: Vec<SplitStart>,
    /// What it was told that it may release.
    told: Places,
    /// None: not in this life.
    asked_at: Option<Instant>,
    /// It had nothing, and is not asked before.
    rests_until: Option<Instant>,
}

/// Where a split begins; none of one that was read to its end.
fn start(name: &str, from: &Places) -> Option<SplitStart> {
    let cursor = match from.get(name).map(Vec::as_slice) {
        None => None,
        Some([OPEN, cursor @ ..]) => Some(cursor.to_vec()),
        Some(_) => return None,
    };
    Some(SplitStart { name: name.to_owned(), cursor })
}

impl ComponentSource {
    /// Gives the source its splits, each to go on where `from` says. `stream`: what leaves it, with the wanted
    /// columns alone.
    pub async fn start(
        mut driver: SourceDriver,
        pipeline: Arc<str>,
        stage: Arc<str>,
        stream: Stream,
        splits: &[String],
        from: &Places,
    ) -> Result<Self, CallError> {
        let starts: Vec<SplitStart> = splits.iter().filter_map(|name| start(name, from)).collect();
        driver.assign(&starts).await?;
        let (hits, absence, record_bytes_max) = (driver.hits(), driver.absence(), driver.record_bytes_max());
        let instance = Instance::Waits(Box::new(driver));
        let (ended, open) = (vec![false; starts.len()], starts.len());
        let splits = starts.into_iter().map(|start| start.name.into()).collect();
        Ok(Self {
            instance,
            alarm: Arc::default(),
            absence,
            hits,
            record_bytes_max,
            brought: None,
            pipeline,
            stage,
            stream,
            splits,
            ended,
            open,
            from: from.clone(),
            found: Vec::new(),
            told: Places::new(),
            asked_at: None,
            rests_until: None,
        })
    }

    async fn pulled(&mut self, bounds: PullBounds) -> Result<Option<PulledBatch>, CallError> {
        if self.brought.is_none() && self.instance.waits() {
            let asks = self.asked_at.is_none_or(|at| at.elapsed() >= SPLITS_ASKED_EVERY);
            if asks {
                self.asked_at = Some(Instant::now());
            }
            self.instance.begin(Turn { asks, assigned: std::mem::take(&mut self.found), bounds });
        }
        let brought = match self.brought.take() {
            Some(brought) => Some(brought),
            None => self.instance.end(&self.alarm, &self.absence).await,
        };
        let Brought { splits, refused, pulled } = brought.ok_or_else(lost)?;
        // In the order in which they were found, which is that of their indices.
        self.found.splice(0..0, refused);
        self.find(splits.unwrap_or_default());
        pulled
    }

    /// Takes in what splits there are. One that is not named any more stays: only the source knows when it has ended.
    fn find(&mut self, names: Vec<String>) {
        // It is not asked for every batch, and there may be many splits.
        if names.is_empty() {
            return;
        }
        let known: HashSet<&str> = self.splits.iter().map(|split| &**split).collect();
        let is_new = |name: &String| !known.contains(name.as_str());
        let new: Vec<SplitStart> =
            names.into_iter().filter(is_new).filter_map(|name| start(&name, &self.from)).collect();
        for split in new {
            self.splits.push(split.name.as_str().into());
            self.ended.push(false);
            self.open += 1;
            self.found.push(split);
        }
    }

    fn take(&mut self, pulled: PulledBatch) -> Result<Pulled, ConnectError> {
        let PulledBatch { rows, times, keys, headers, columns, split, offsets, refused, cursor, ended } =
            pulled;
        let name = self.splits.get(split).cloned().unwrap_or_else(|| split.to_string().into());
        if ended
            && let Some(gone) = self.ended.get_mut(split)
            && !std::mem::replace(gone, true)
        {
            self.open -= 1;
        }
        let refused = refused.into_iter().map(|refused| Refused {
            split: name.clone(),
            offset: refused.offset,
            code: refused.code,
            message: refused.message,
            raw: refused.raw,
            is_cut: refused.is_cut,
        });
        let refused = refused.collect();
        let mut place = Vec::with_capacity(1 + cursor.len());
        place.push(if ended { ENDED } else { OPEN });
        place.extend(cursor);
        let cursor = Some(Cursor { split: name.clone(), place });
        if rows == 0 {
            return Ok(Pulled { refused, cursor, ..Pulled::default() });
        }
        let lineage = Lineage::of_source(SourceRows {
            pipeline: self.pipeline.clone(),
            source: self.stage.clone(),
            split: name,
            offsets: Offsets::These(offsets.into()),
        });
        let parts = Parts {
            times: times.map(Column::new),
            keys: keys.map(Column::new),
            headers: headers.map(Column::new),
        };
        let columns = columns.into_iter().map(Column::new).collect();
        let batch = Batch::new(self.stream.batch_schema(), rows, columns, parts, lineage);
        let batch = batch.map_err(|error| {
            ConnectError::failed(&*self.stage, error, "its author has to mend the source")
        })?;
        Ok(Pulled { batch: Some(batch), refused, cursor, ..Pulled::default() })
    }
}

#[async_trait]
impl Source for ComponentSource {
    async fn pull(&mut self, limits: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        let bounds = PullBounds {
            records_max: u32::try_from(limits.records_max).unwrap_or(u32::MAX),
            bytes_max: u32::try_from(limits.bytes_max).unwrap_or(u32::MAX),
            wait: limits.delay,
        };
        while self.open > 0 {
            if let Some(until) = self.rests_until {
                tokio::time::sleep_until(until).await;
                self.rests_until = None;
            }
            match self.pulled(bounds).await.map_err(died)? {
                Some(pulled) => {
                    let pulled = self.take(pulled)?;
                    // A batch of nothing says where the split is. Asked again at once, it would keep its thread for ever.
                    if pulled.batch.is_none() && pulled.refused.is_empty() && self.open > 0 {
                        self.rests_until = Some(Instant::now() + ASK_AGAIN_AFTER);
                    }
                    return Ok(Some(pulled));
                }
                None => self.rests_until = Some(Instant::now() + ASK_AGAIN_AFTER),
            }
        }
        Ok(None)
    }

    async fn committed(&mut self, places: &Places) -> Result<(), ConnectError> {
        match self.instance.end(&self.alarm, &self.absence).await {
            Some(Brought { pulled: Err(error), .. }) if error.is_death() => return Err(died(error)),
            Some(mut brought) => {
                self.found.splice(0..0, std::mem::take(&mut brought.refused));
                self.brought = Some(brought);
            }
            None => {}
        }
        let Instance::Waits(driver) = &mut self.instance else { return Err(died(lost())) };
        // Those that were found last are not its own yet.
        let own = self.splits.len() - self.found.len();
        for (index, split) in self.splits[..own].iter().enumerate() {
            let Some(place @ [_, cursor @ ..]) = places.get(split).map(Vec::as_slice) else { continue };
            if self.told.get(split).is_none_or(|told| told != place) {
                driver.committed(index as u32, cursor).await.map_err(died)?;
                self.told.insert(split.clone(), place.to_vec());
            }
        }
        Ok(())
    }

    fn record_bytes_max(&self) -> u64 {
        self.record_bytes_max
    }

    fn hits(&self) -> Option<Arc<Hits>> {
        Some(self.hits.clone())
    }
}

/// A component that was opened as a sink.
pub struct ComponentSink {
    driver: SinkDriver,
    mapping: InputMapping,
    input: Stream,
    ids: bool,
}

impl ComponentSink {
    /// `input`: what comes, as planned; `mapping`: what of it the sink gets.
    pub fn new(driver: SinkDriver, mapping: InputMapping, input: Stream, ids: bool) -> Self {
        Self { driver, mapping, input, ids }
    }
}

#[async_trait]
impl Sink for ComponentSink {
    async fn write(&mut self, batch: &Batch, ids: &[RecordId]) -> Result<Refusals, ConnectError> {
        let mapped = map_input(batch.clone(), &self.mapping, &self.input);
        let mut mapped =
            mapped.map_err(|error| ConnectError::failed("its input", error, "check the fields that come"))?;
        let mut refusals = std::mem::take(&mut mapped.rejections);
        let kept = crate::input_mapping::rows_without(batch.rows(), &refusals);
        if mapped.batch.is_empty() {
            return Ok(refusals);
        }
        let kept_ids: Vec<RecordId> = match self.ids {
            true => kept.iter().filter_map(|&row| ids.get(row as usize).copied()).collect(),
            false => Vec::new(),
        };
        let refused = self.driver.write(mapped.call(&self.mapping), &kept_ids).await.map_err(died)?;
        // The sink counts the rows that it got; the belt those that came.
        refusals.extend(refused.into_iter().map(|mut rejection| {
            rejection.row = kept[rejection.row as usize];
            rejection
        }));
        Ok(refusals)
    }

    fn wants_ids(&self) -> bool {
        self.ids
    }

    fn hits(&self) -> Option<Arc<Hits>> {
        Some(self.driver.hits())
    }

    /// A component has no such call: what it writes, it writes.
    async fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        self.driver.prepare(barrier.number).await.map_err(died)
    }

    async fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        self.driver.commit(token).await.map_err(died)
    }
}

fn lost() -> CallError {
    CallError::Start("its instance was lost in an earlier call".to_owned())
}

fn died(error: CallError) -> ConnectError {
    if let CallError::Failure(Failure::Retry { after, message }) = &error {
        return ConnectError::retry("its component", message, *after);
    }
    let (message, backtrace) = (error.to_string(), error.backtrace().map(ToString::to_string));
    let why = match &backtrace {
        Some(backtrace) => format!("{message}\n{backtrace}"),
        None => message.clone(),
    };
    let failed =
        ConnectError::failed("its component", why, "mend the component, or give it more with `limits`");
    if !error.is_death() {
        return failed;
    }
    let death = Death { code: error.code(), message, backtrace: backtrace.map(Arc::from) };
    ConnectError { kind: ConnectErrorKind::Died(Arc::new(death)), ..failed }
}
