//! The meters of the belt as families of samples, read when asked for.

use std::collections::BTreeMap;

use flow::connector::Figure;
use flow::meters::{CheckpointReport, Meters, StageReport};
use flow::state::StateSize;

use super::exposition::{Family, Kind, Sample, Value};

type Count = (&'static str, &'static str, fn(&StageReport) -> u64);

const COUNTS: [Count; 13] = [
    ("stage_batches", "Batches that a stage took", |report| report.batches),
    ("stage_records_in", "Records that came into a stage, or that a source read", |report| report.records_in),
    ("stage_records_out", "Records that left a stage", |report| report.records_out),
    ("stage_records_forwarded", "Records that a stage let through as they came", |report| report.forwarded),
    ("stage_records_made", "Records that a stage made", |report| report.made),
    ("stage_records_filtered", "Records that a stage took out", |report| report.filtered),
    ("stage_records_rejected", "Records that a stage refused", |report| report.rejected),
    ("stage_records_dropped", "Refused records that nobody keeps", |report| report.dropped),
    ("stage_records_held", "Records that a stage keeps for later", |report| report.held),
    ("stage_deaths", "Calls on which a stage died", |report| report.deaths),
    ("stage_retries", "Waits before a stage was tried again", |report| report.retries),
    ("stage_records_cut", "Records that did not reach a stage that has failed", |report| report.cut),
    ("stage_fuel", "Fuel that a stage used up", |report| report.fuel),
];

type CheckpointFigure = (&'static str, &'static str, fn(&CheckpointReport) -> f64);

const CHECKPOINTS: [CheckpointFigure; 4] = [
    ("checkpoint_number", "The checkpoint from which a restart would go on", |report| report.number as f64),
    ("checkpoint_duration_seconds", "What the last one took, from its beginning until it stood", |report| {
        report.took_ms as f64 / 1e3
    }),
    ("checkpoint_bytes", "What was new in the last one", |report| report.bytes as f64),
    (
        "checkpoint_age_seconds",
        "Since everything read so far was durable; with no checkpoint yet, since nothing was",
        |report| report.committed_at.map_or(0.0, |at| at.elapsed().as_secs_f64()),
    ),
];

type StateFigure = (&'static str, &'static str, fn(&StateSize) -> u64);

const STATES: [StateFigure; 2] = [
    ("stage_state_keys", "Entries that a stage remembers, at the last checkpoint", |size| size.keys),
    ("stage_state_bytes", "Bytes of their keys, names and values", |size| size.bytes),
];

const MICROS: f64 = 1e6;
const MILLIS: f64 = 1e3;

/// All that is known of pipelines now.
pub fn families(pipelines: &[Meters]) -> Vec<Family> {
    let reports: Vec<(&str, StageReport)> = pipelines
        .iter()
        .flat_map(|meters| meters.report().into_iter().map(|report| (&*meters.pipeline, report)))
        .collect();
    let mut all: Vec<Family> = COUNTS
        .iter()
        .map(|(name, help, count)| {
            of_stages(name, help, Kind::Counter, &reports, |report| Some(Value::Whole(count(report))))
        })
        .collect();
    all.extend(figures(pipelines));
    all.push(limit_hits(&reports));
    all.extend(STATES.iter().map(|(name, help, figure)| {
        of_stages(name, help, Kind::Gauge, &reports, |report| {
            report.state.as_ref().map(|size| Value::Whole(figure(size)))
        })
    }));
    let help = "Records that a source gave and that no checkpoint covers yet: a restart reads them again";
    all.push(of_stages("source_lag_records", help, Kind::Gauge, &reports, |report| {
        report.lag.map(Value::Whole)
    }));
    all.extend(checkpoints(pipelines));
    let help = "Time that batches took";
    all.push(of_stages("stage_busy_seconds", help, Kind::Counter, &reports, |report| {
        Some(Value::Real(report.busy_ms as f64 / MILLIS))
    }));
    all.push(batches(&reports));
    all
}

fn family(name: &str, help: &'static str, kind: Kind, samples: Vec<Sample>) -> Family {
    Family { name: format!("conveyor_{name}"), help, kind, samples }
}

fn labels(pipeline: &str, stage: &str) -> Vec<(&'static str, String)> {
    vec![("pipeline", pipeline.to_owned()), ("stage", stage.to_owned())]
}

/// One sample for each stage that has such a value.
fn of_stages(
    name: &str,
    help: &'static str,
    kind: Kind,
    reports: &[(&str, StageReport)],
    value: impl Fn(&StageReport) -> Option<Value>,
) -> Family {
    let sample = |(pipeline, report): &(&str, StageReport)| {
        Some(Sample { suffix: "", labels: labels(pipeline, &report.stage), value: value(report)? })
    };
    family(name, help, kind, reports.iter().filter_map(sample).collect())
}

/// What connectors show beside what every stage counts: one family for each name.
fn figures(pipelines: &[Meters]) -> Vec<Family> {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    for meters in pipelines {
        for stage in meters.stages.iter() {
            for Figure { name, help, label, value, counts } in stage.figures() {
                let kind = if counts { Kind::Counter } else { Kind::Gauge };
                let mut labels = labels(&meters.pipeline, &stage.name);
                labels.extend(label);
                let family = families.entry(name).or_insert_with(|| family(name, help, kind, Vec::new()));
                family.samples.push(Sample { suffix: "", labels, value: Value::Whole(value) });
            }
        }
    }
    families.into_values().collect()
}

fn limit_hits(reports: &[(&str, StageReport)]) -> Family {
    let mut samples = Vec::new();
    for (pipeline, report) in reports {
        for (limit, count) in &report.limits {
            let mut labels = labels(pipeline, &report.stage);
            labels.push(("limit", (*limit).to_owned()));
            samples.push(Sample { suffix: "", labels, value: Value::Whole(*count) });
        }
    }
    let help = "How often a stage ran into a limit, or ended in another way, by its code";
    family("stage_limit_hits", help, Kind::Counter, samples)
}

/// What is known of each pipeline's checkpoints, and how often it went back to one.
fn checkpoints(pipelines: &[Meters]) -> Vec<Family> {
    let reports: Vec<(&Meters, CheckpointReport)> =
        pipelines.iter().map(|meters| (meters, meters.checkpoints.report())).collect();
    let sample = |meters: &Meters, value| {
        let labels = vec![("pipeline", meters.pipeline.to_string())];
        Sample { suffix: "", labels, value }
    };
    let figure = |(name, help, figure): &CheckpointFigure| {
        let kept = reports.iter().filter(|(_, report)| report.keeps);
        let samples = kept.map(|(meters, report)| sample(meters, Value::Real(figure(report))));
        family(name, help, Kind::Gauge, samples.collect())
    };
    let mut all: Vec<Family> = CHECKPOINTS.iter().map(figure).collect();
    let help =
        "How often a pipeline went back to its last checkpoint: a source or sink died, or a disk was full";
    let restarts = reports.iter().map(|(meters, report)| sample(meters, Value::Whole(report.restarts)));
    all.push(family("pipeline_restarts", help, Kind::Counter, restarts.collect()));
    all
}

/// Of no batches there are no quantiles.
fn batches(reports: &[(&str, StageReport)]) -> Family {
    let mut samples = Vec::new();
    for (pipeline, report) in reports {
        let mut add = |suffix, quantile: Option<&str>, value| {
            let mut labels = labels(pipeline, &report.stage);
            labels.extend(quantile.map(|quantile| ("quantile", quantile.to_owned())));
            samples.push(Sample { suffix, labels, value });
        };
        if report.batches > 0 {
            add("", Some("0.5"), Value::Real(report.batch_p50_us as f64 / MICROS));
            add("", Some("0.99"), Value::Real(report.batch_p99_us as f64 / MICROS));
        }
        add("_sum", None, Value::Real(report.busy_ms as f64 / MILLIS));
        add("_count", None, Value::Whole(report.batches));
    }
    family("stage_batch_seconds", "Time that one batch took, since the start", Kind::Summary, samples)
}
