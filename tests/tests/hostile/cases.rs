//! One case of the corpus: a stage that dies, the limit that stops it, and what is to be seen of it.

use std::path::Path;
use std::time::Duration;

use crate::beside::{self, Seen, Until};
use crate::measure::{STOP_SLACK, alone, until_it_holds};
use crate::places;
use crate::scene::Scene;

/// What a stage may use in all cases, unless one says otherwise.
pub const MEMORY_BYTES: u64 = 32 << 20;
const OUTPUT_BYTES: u64 = 4 << 20;
pub const BATCH_MS: u64 = 150;
pub const HOST_CALL_MS: u64 = 100;
/// Fuel that does not run out before the time does.
const AMPLE: &str = "fuel-per-record: 1000G, fuel-per-batch: 1000G";

/// A transform that dies on every record.
#[derive(Clone, Debug)]
pub struct Case {
    pub component: &'static str,
    /// Of every dead letter.
    pub code: &'static str,
    /// In the message of every dead letter.
    pub says: &'static str,
    /// In milliseconds.
    pub deadline_ms: u64,
    pub memory_bytes: u64,
    /// Limits beside the usual ones.
    pub limits: &'static str,
    /// Records that it gets, one by one, and dies on.
    pub deaths: usize,
    /// Records in a second; without end if 0.
    pub rate: u32,
    /// What each record has beside the time at which it was made.
    pub pad_bytes: usize,
}

impl Case {
    /// One that dies at once.
    pub fn instant(component: &'static str, code: &'static str, says: &'static str) -> Self {
        let (deadline_ms, memory_bytes, limits, deaths, rate) = (0, MEMORY_BYTES, "", 10, 40);
        Self { component, code, says, deadline_ms, memory_bytes, limits, deaths, rate, pad_bytes: 0 }
    }

    /// One that goes on until its time is over.
    pub fn slow(component: &'static str, code: &'static str, says: &'static str) -> Self {
        let (deadline_ms, deaths, rate) = (BATCH_MS, 3, 0);
        Self { deadline_ms, deaths, rate, limits: AMPLE, ..Self::instant(component, code, says) }
    }

    pub fn deadline_ms(self, deadline_ms: u64) -> Self {
        Self { deadline_ms, ..self }
    }

    pub fn limits(self, limits: &'static str) -> Self {
        Self { limits, ..self }
    }

    pub fn padded(self, pad_bytes: usize) -> Self {
        Self { pad_bytes, ..self }
    }

    pub fn memory(self, memory_bytes: u64) -> Self {
        Self { memory_bytes, ..self }
    }

    fn manifest(&self) -> String {
        let Self { component, memory_bytes, limits, deaths, rate, .. } = self;
        let pad = match self.pad_bytes {
            0 => String::new(),
            bytes => format!(",\"pad\":\"{}\"", "p".repeat(bytes)),
        };
        let record = match is_of_tables(component) {
            true => format!("{{\"at\":\"{{{{now}}}}\"{pad}}}"),
            false => "{{now}}".to_owned(),
        };
        let format = if is_of_tables(component) { "jsonl" } else { "lines" };
        let rate = if *rate == 0 { String::new() } else { format!(", rate: {rate}") };
        let usual = format!(
            "memory: {memory_bytes}B, output-bytes: {OUTPUT_BYTES}B, batch-time: {BATCH_MS}ms, host-call-time: \
             {HOST_CALL_MS}ms"
        );
        let limits = if limits.is_empty() { usual } else { format!("{usual}, {limits}") };
        // The last death is one too many, so that the pipeline fails and says so.
        let attempts = deaths - 1;
        format!(
            "pipeline: hostile\nstages:\n  in:\n    source: generate\n    with: {{ template: '{record}', format: {format}, \
             count: {deaths}{rate} }}\n    batch: {{ records: 1 }}\n  bad:\n    transform: GUEST(hostile/{component})\n    \
             from: in\n    limits: {{ {limits} }}\n    retry: {{ attempts: {attempts}, backoff: \
             1ms..1ms }}\n  out: {{ {}, from: {} }}\n",
            if is_of_tables(component) { "sink: file, with: { path: out.jsonl }" } else { "sink: discard" },
            ports(component)
        )
    }

    /// Runs it beside the healthy pipeline. What does not depend on how fast the machine is holds at once.
    #[track_caller]
    pub fn run(&self) {
        let _alone = alone();
        compile(self.component);
        until_it_holds(self.component, |attempt| {
            let (own, own_peak) = beside::alone(attempt > 0);
            let scene = Scene::new();
            scene.write("hostile.yaml", self.manifest());
            let seen = beside::run(&scene, Until::Fails);
            let took = self.check(&scene, &seen);
            let longest = took.iter().max().copied().unwrap_or_default();
            let deadline = Duration::from_millis(self.deadline_ms) + STOP_SLACK;
            // What the stage holds, and what of it the host holds while it takes an answer over.
            let cap = self.memory_bytes + OUTPUT_BYTES;
            let more = seen.peak_bytes.saturating_sub(own_peak);
            eprintln!(
                "{}: stopped after {longest:?}; p99 {:?}, alone {:?}; {} KiB more",
                self.component,
                seen.latencies.p99(),
                own.p99(),
                more >> 10
            );
            let mut missed = Vec::new();
            missed.extend(seen.latencies.misses(&own));
            if longest > deadline {
                missed.push(format!("it was stopped after {longest:?}, {deadline:?} are allowed"));
            }
            if more > cap + cap / 10 {
                missed.push(format!("the process took {more} bytes more, the stage may have {cap}"));
            }
            missed
        });
    }

    /// What is told of the deaths, and how long each took.
    #[track_caller]
    fn check(&self, scene: &Scene, seen: &Seen) -> Vec<Duration> {
        let stderr = &seen.ran.stderr;
        assert_eq!(seen.ran.code, Some(1), "{stderr}");
        assert!(!stderr.contains('\u{1b}'), "it reached the terminal: {stderr:?}");
        let hits = format!("{} {}", self.deaths, self.code);
        assert!(stderr.contains(&hits), "no `{hits}` in {stderr}");
        let letters = scene.letters("hostile.dead-letters");
        assert_eq!(letters.len(), self.deaths, "{stderr}");
        let mut over: Option<&str> = None;
        let mut took = Vec::with_capacity(letters.len());
        for letter in &letters {
            assert_eq!(letter["code"], self.code, "{letter}");
            let message = letter["message"].as_str().unwrap_or_default();
            assert!(message.contains(self.says), "it does not say `{}`: {message}", self.says);
            let record = &letter["record"];
            let made = record["at"].as_str().or(record.as_str()).expect("the time at which it was made");
            let died = letter["refused_at"].as_str().expect("a time");
            // A record that is there already waits until the stage has died of the one before it.
            let waited = over.map_or(Duration::ZERO, |over| between(made, over));
            took.push(between(made, died).saturating_sub(waited));
            over = Some(died);
        }
        took
    }
}

/// A stage that is compiled before anything is measured: what that costs is not a matter of its limits.
pub fn compile(component: &str) {
    let path = places::guest(&format!("hostile/{component}"));
    Scene::new().run(&["inspect", &path.display().to_string()]).code(0);
}

fn is_of(component: &str, directory: &str, extension: &str) -> bool {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/hostile");
    corpus.join(directory).join(component).with_extension(extension).is_file()
}

fn is_of_tables(component: &str) -> bool {
    is_of(component, "c", "c")
}

/// What is read of a stage: those in text have two ports.
pub fn ports(component: &str) -> &'static str {
    if is_of(component, "wat", "wat") { "[bad, bad.side]" } else { "bad" }
}

/// The time between two times of RFC 3339 that are less than a day apart.
fn between(from: &str, to: &str) -> Duration {
    const DAY_US: u64 = 86_400_000_000;
    let us = (micros_of_day(to) + DAY_US - micros_of_day(from)) % DAY_US;
    // Two clocks that were read in the other order.
    Duration::from_micros(if us > DAY_US / 2 { 0 } else { us })
}

fn micros_of_day(time: &str) -> u64 {
    let time = time.split_once('T').map_or(time, |(_, time)| time).trim_end_matches('Z');
    let mut micros = 0;
    for (part, unit) in time.split(':').zip([3_600_000_000.0, 60_000_000.0, 1_000_000.0]) {
        micros += (part.parse::<f64>().expect("a number") * unit).round() as u64;
    }
    micros
}

#[test]
fn the_time_between_two_times() {
    let cases = [
        ("2026-11-21T08:14:10.428857Z", "2026-11-21T08:14:10.618375Z", 189_518),
        ("2026-11-21T23:59:59.9Z", "2026-11-22T00:00:00.1Z", 200_000),
        ("2026-11-21T08:14:10Z", "2026-11-21T08:14:09.999Z", 0),
        ("2026-11-21T08:14:10", "2026-11-21T09:15:11.5Z", 3_661_500_000),
    ];
    for (from, to, expected) in cases {
        assert_eq!(between(from, to), Duration::from_micros(expected), "{from} to {to}");
    }
}
