//! The meters of the belt in the text format of OpenMetrics
//! (<https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>), read when asked for.

use std::collections::BTreeMap;
use std::fmt::Error;

use flow::connector::Figure;
use flow::meters::{CheckpointReport, Meters, StageReport};
use flow::state::StateSize;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
pub struct StageMetrics(Registry);

impl StageMetrics {
    pub fn new(pipelines: Vec<Meters>) -> Self {
        let mut registry = Registry::with_prefix("conveyor");
        registry.register_collector(Box::new(Stages(pipelines)));
        Self(registry)
    }

    pub fn text(&self) -> Result<String, Error> {
        let mut text = String::new();
        encode(&mut text, &self.0)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Stages(Vec<Meters>);

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
        |report| report.stood_at.map_or(0.0, |at| at.elapsed().as_secs_f64()),
    ),
];

type StateFigure = (&'static str, &'static str, fn(&StateSize) -> u64);

const STATES: [StateFigure; 2] = [
    ("stage_state_keys", "Entries that a stage remembers, at the last checkpoint", |size| size.keys),
    ("stage_state_bytes", "Bytes of their keys, names and values", |size| size.bytes),
];

const MICROS: f64 = 1e6;

impl Stages {
    fn restarts(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "How often a pipeline went back to its last checkpoint: a source or sink died, or a disk was full";
        let mut restarts = encoder.encode_descriptor("pipeline_restarts", help, None, MetricType::Counter)?;
        for meters in &self.0 {
            let labels = [("pipeline", &*meters.pipeline)];
            let restarts_so_far = meters.checkpoints.report().restarts;
            ConstCounter::new(restarts_so_far).encode(restarts.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// What connectors show beside what every stage counts: one family for each name.
    fn encode_figures(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut families: BTreeMap<&str, Vec<(&str, &str, Figure)>> = BTreeMap::new();
        for meters in &self.0 {
            for stage in meters.stages.iter() {
                for figure in stage.figures() {
                    families.entry(figure.name).or_default().push((&meters.pipeline, &stage.name, figure));
                }
            }
        }
        for (name, figures) in families {
            let Some((_, _, first)) = figures.first() else { continue };
            let kind = if first.counts { MetricType::Counter } else { MetricType::Gauge };
            let mut family = encoder.encode_descriptor(name, first.help, None, kind)?;
            for (pipeline, stage, figure) in &figures {
                let mut labels = vec![("pipeline", *pipeline), ("stage", *stage)];
                labels.extend(figure.label.as_ref().map(|(name, value)| (*name, value.as_str())));
                let labels = labels.as_slice();
                match figure.counts {
                    true => ConstCounter::new(figure.value).encode(family.encode_family(&labels)?)?,
                    false => ConstGauge::new(figure.value as f64).encode(family.encode_family(&labels)?)?,
                }
            }
        }
        Ok(())
    }
}

impl Collector for Stages {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let reports: Vec<(String, StageReport)> = self
            .0
            .iter()
            .flat_map(|meters| {
                meters.report().into_iter().map(|report| (meters.pipeline.to_string(), report))
            })
            .collect();
        for (name, help, count) in COUNTS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (pipeline, report) in &reports {
                let labels = [("pipeline", pipeline.as_str()), ("stage", report.stage.as_str())];
                ConstCounter::new(count(report)).encode(metric.encode_family(&labels)?)?;
            }
        }
        self.encode_figures(&mut encoder)?;
        let help = "How often a stage ran into a limit, or ended in another way, by its code";
        let mut hits = encoder.encode_descriptor("stage_limit_hits", help, None, MetricType::Counter)?;
        for (pipeline, report) in &reports {
            for (limit, count) in &report.limits {
                let labels =
                    [("pipeline", pipeline.as_str()), ("stage", report.stage.as_str()), ("limit", *limit)];
                ConstCounter::new(*count).encode(hits.encode_family(&labels)?)?;
            }
        }
        encode_states(&mut encoder, &reports)?;
        encode_lags(&mut encoder, &reports)?;
        for (name, help, figure) in CHECKPOINTS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for meters in &self.0 {
                let report = meters.checkpoints.report();
                if report.keeps {
                    let labels = [("pipeline", &*meters.pipeline)];
                    ConstGauge::new(figure(&report)).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        self.restarts(&mut encoder)?;
        let mut busy = encoder.encode_descriptor(
            "stage_busy_seconds",
            "Time that batches took",
            None,
            MetricType::Counter,
        )?;
        for (pipeline, report) in &reports {
            let labels = [("pipeline", pipeline.as_str()), ("stage", report.stage.as_str())];
            ConstCounter::new(report.busy_ms as f64 / 1e3).encode(busy.encode_family(&labels)?)?;
        }
        let help = "Time that one batch took, since the start";
        let mut batch = encoder.encode_descriptor("stage_batch_seconds", help, None, MetricType::Gauge)?;
        for (pipeline, report) in &reports {
            for (quantile, us) in [("0.5", report.batch_p50_us), ("0.99", report.batch_p99_us)] {
                let labels = [
                    ("pipeline", pipeline.as_str()),
                    ("stage", report.stage.as_str()),
                    ("quantile", quantile),
                ];
                ConstGauge::new(us as f64 / MICROS).encode(batch.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn encode_lags(encoder: &mut DescriptorEncoder<'_>, reports: &[(String, StageReport)]) -> Result<(), Error> {
    let help =
        "Records that a source gave and that no checkpoint stands behind yet: a restart reads them again";
    let mut metric = encoder.encode_descriptor("source_lag_records", help, None, MetricType::Gauge)?;
    for (pipeline, report) in reports {
        if let Some(lag) = report.lag {
            let labels = [("pipeline", pipeline.as_str()), ("stage", report.stage.as_str())];
            ConstGauge::new(lag as f64).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// How much each stage remembers that does.
fn encode_states(
    encoder: &mut DescriptorEncoder<'_>,
    reports: &[(String, StageReport)],
) -> Result<(), Error> {
    for (name, help, figure) in STATES {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (pipeline, report) in reports {
            if let Some(size) = &report.state {
                let labels = [("pipeline", pipeline.as_str()), ("stage", report.stage.as_str())];
                ConstGauge::new(figure(size) as f64).encode(metric.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}
