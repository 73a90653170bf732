//! The source `generate`: records from a template, at a rate or as fast as they are taken.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{Array as _, BinaryArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use async_trait::async_trait;
use flow::checkpoint::{MarkPart, MarkParts};
use flow::connector::{ConnectError, Decode, Places, PullLimits, Pulled, Source};
use model::lineage::Offsets;
use model::manifest::TimeFrom;
use model::plan::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until};

use crate::again::JsonAgain;
use crate::decode::{JsonLines, LineRows as _, Refusal, Taken};
use crate::format::Format;
use crate::infer::Sample;
use crate::options::{self, OptionsError};
use crate::place::{cursor, read_places};
use crate::read::{ReadOptions, json_rows, time_column};
use crate::stream::Output;
use crate::template::Template;
use crate::{OpenSource, PlannedSource, SourceSpec, SpecError, Wanted};

/// What stands under `with:`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// What a record is, with placeholders: {{seq}}, {{uuid}}, {{now}}, {{rand 1 100}}, {{float 0 1}},
    /// {{pick a|b|c}}.
    #[serde(default = "default_template")]
    template: String,
    /// lines (the default): records that nobody looks into. jsonl: the template is a JSON object, and records
    /// are rows with its fields.
    format: Option<Format>,
    /// Records in a second. As fast as they are taken, unless said.
    rate: Option<f64>,
    /// How many records to make. Without end, unless said.
    count: Option<u64>,
    /// Makes the random parts the same in every run. A run that goes on from a checkpoint keeps them anyway.
    seed: Option<u64>,
}

fn default_template() -> String {
    "{\"seq\":{{seq}}}".to_owned()
}

/// Records that are made to find out the columns.
const SAMPLE_RECORDS: u64 = 100;
/// The most that `rate` may ask for: a record every nanosecond.
const RATE_MAX: f64 = 1e9;

struct Generate {
    spec: SourceSpec,
    template: Template,
    stream: Stream,
    rate: Option<f64>,
    count: u64,
    /// None where the manifest does not say it.
    seed: Option<u64>,
}

/// The name of its only split.
const SPLIT: &str = "generate";

/// Where records go on. Each depends on the seed and its number alone, but for `{{now}}`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place {
    next: u64,
    seed: u64,
}

pub(crate) fn plan(spec: &SourceSpec) -> Result<PlannedSource, SpecError> {
    let options: Options = options::read(&spec.with, "generate")?;
    let template = Template::parse(&options.template)
        .map_err(|error| OptionsError::new("/template", error.to_string(), "correct the template"))?;
    let format = options.format.unwrap_or(Format::Lines);
    if !matches!(format, Format::Lines | Format::Jsonl) {
        let message = format!("records are not generated as {}", format.as_str());
        return Err(OptionsError::new("/format", message, "use lines or jsonl").into());
    }
    if options.rate.is_some_and(|rate| !(rate > 0.0 && rate <= RATE_MAX)) {
        let message = "`rate` is a number of records in a second, above 0";
        return Err(OptionsError::new("/rate", message, "leave it out to go as fast as possible").into());
    }
    let read = ReadOptions::default().check(format, false)?;
    let samples = if format == Format::Jsonl {
        vec![sample(&template, options.seed.unwrap_or_default())]
    } else {
        Vec::new()
    };
    let stream = read.describe(spec, &samples)?.stream;
    if let TimeFrom::Column(name) = &spec.time {
        time_column(&stream, name)?;
    }
    let count = options.count.unwrap_or(u64::MAX);
    let (rate, seed) = (options.rate, options.seed);
    let planned = Generate { spec: spec.clone(), template, stream: stream.clone(), rate, count, seed };
    Ok(PlannedSource::new(stream, planned))
}

/// What the records behind a place rest on.
pub(crate) fn mark(with: &Map<String, Value>) -> Option<MarkParts> {
    let options: Options = options::read(with, "generate").ok()?;
    let format = options.format.unwrap_or(Format::Lines).as_str();
    let parts = [("template", MarkPart::hidden(&options.template)), ("format", MarkPart::shown(format))];
    // Without one, the seed of the first run is in the place.
    let seed = options.seed.map(|seed| ("seed", MarkPart::shown(seed.to_string())));
    Some(parts.into_iter().chain(seed).map(|(name, part)| (name.to_owned(), part)).collect())
}

fn sample(template: &Template, seed: u64) -> Sample {
    let mut data = Vec::new();
    for seq in 0..SAMPLE_RECORDS {
        template.write(seq, now(), seed, &mut data);
        data.push(b'\n');
    }
    Sample { name: "the template".to_owned(), data, ended: true }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64
}

impl OpenSource for Generate {
    fn again(&self, wanted: &Wanted) -> Result<Option<Box<dyn Decode>>, ConnectError> {
        let (rows, output) = json_rows(&self.spec, &self.stream, wanted)?;
        Ok(Some(Box::new(JsonAgain { rows, output })))
    }

    fn open(self: Box<Self>, wanted: &Wanted, from: &Places) -> Result<Box<dyn Source>, ConnectError> {
        let place = read_places::<Place>(from)?.remove(SPLIT);
        let next = place.map_or(0, |place| place.next);
        let seed = self.seed.or(place.map(|place| place.seed)).unwrap_or_else(|| fastrand::u64(..));
        let (rows, output) = json_rows(&self.spec, &self.stream, wanted)?;
        Ok(Box::new(GenerateSource {
            template: self.template,
            rows,
            output,
            split: SPLIT.into(),
            seed,
            next,
            count: self.count,
            pace: self.rate.map(|rate| Pace { rate, first: next, start: None }),
            prebuilt: None,
        }))
    }
}

struct GenerateSource {
    template: Template,
    /// None for opaque records.
    rows: Option<JsonLines>,
    output: Output,
    split: Arc<str>,
    seed: u64,
    next: u64,
    count: u64,
    pace: Option<Pace>,
    /// The values of a whole batch, where all records are the same.
    prebuilt: Option<BinaryArray>,
}

/// Spreads records evenly over time. Who falls behind catches up.
struct Pace {
    rate: f64,
    /// The record that is due at the start: a run that goes on does not catch up with the time between.
    first: u64,
    start: Option<Instant>,
}

impl Pace {
    /// When record `seq` is due.
    fn due(&self, seq: u64, start: Instant) -> Instant {
        let behind = seq.saturating_sub(self.first) as f64;
        start + Duration::try_from_secs_f64(behind / self.rate).unwrap_or(Duration::MAX / 4)
    }

    /// Waits for record `next`, then for those behind it as long as a batch may wait: how many are due.
    async fn wait(&mut self, next: u64, limits: &PullLimits) -> u64 {
        let start = *self.start.get_or_insert_with(Instant::now);
        let first = self.due(next, start);
        sleep_until(first).await;
        let full = self.due(next.saturating_add(limits.records_max as u64 - 1), start);
        sleep_until(full.min(first + limits.delay)).await;
        let due = self.first.saturating_add((start.elapsed().as_secs_f64() * self.rate) as u64 + 1);
        due.saturating_sub(next).max(1)
    }
}

#[async_trait]
impl Source for GenerateSource {
    async fn pull(&mut self, limits: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        let limits = PullLimits { records_max: limits.records_max.max(1), ..limits };
        let left = self.count.saturating_sub(self.next).min(limits.records_max as u64);
        if left == 0 {
            return Ok(None);
        }
        let count = match &mut self.pace {
            None => left,
            Some(pace) => left.min(pace.wait(self.next, &limits).await),
        };
        // Nothing below waits: a pull that is dropped above has taken nothing.
        let now = now();
        let taken = if self.rows.is_some() {
            self.make_rows(count, now, &limits)
        } else {
            self.make_values(count, now, &limits)
        };
        let place = Place { next: self.next, seed: self.seed };
        let raw = |&number: &u64| {
            let mut record = Vec::new();
            self.template.write(number, now, self.seed, &mut record);
            record
        };
        let raws = |lost: &[u64]| lost.iter().map(raw).collect();
        self.output.pulled(taken, &self.split, Some(cursor(&self.split, &place)), raws).map(Some)
    }
}

impl GenerateSource {
    fn make_values(&mut self, count: u64, now: i64, limits: &PullLimits) -> Taken {
        let offset = self.next;
        if let Some(values) = &self.prebuilt {
            let rows = values.len().min(count as usize);
            self.next += rows as u64;
            let values = values.slice(0, rows);
            return Taken {
                rows,
                columns: vec![Arc::new(values)],
                offsets: Offsets::From(offset),
                refused: Vec::new(),
            };
        }
        let (mut bytes, mut ends) = (Vec::new(), vec![0i32]);
        while ends.len() <= count as usize && bytes.len() < limits.bytes_max.max(1) {
            self.template.write(self.next, now, self.seed, &mut bytes);
            let Ok(end) = i32::try_from(bytes.len()) else { break };
            ends.push(end);
            self.next += 1;
        }
        let rows = ends.len() - 1;
        let values = BinaryArray::new(OffsetBuffer::new(ends.into()), Buffer::from_vec(bytes), None);
        if self.template.is_constant() {
            self.prebuilt = Some(values.clone());
        }
        Taken { rows, columns: vec![Arc::new(values)], offsets: Offsets::From(offset), refused: Vec::new() }
    }

    fn make_rows(&mut self, count: u64, now: i64, limits: &PullLimits) -> Taken {
        let Some(rows) = &mut self.rows else { return Taken::default() };
        let (mut record, mut offsets, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        for _ in 0..count {
            record.clear();
            self.template.write(self.next, now, self.seed, &mut record);
            match rows.push(&record) {
                Ok(()) => offsets.push(self.next),
                Err(error) => refused.push(Refusal::new(self.next, error.code, error.message, &record)),
            }
            self.next += 1;
            bytes += record.len();
            if bytes >= limits.bytes_max {
                break;
            }
        }
        Taken {
            rows: offsets.len(),
            columns: rows.finish(),
            offsets: Offsets::These(offsets.into()),
            refused,
        }
    }
}
