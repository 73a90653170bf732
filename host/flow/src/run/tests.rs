//! Whole runs with sources and sinks that a test holds in its hands.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, BinaryArray};
use async_trait::async_trait;
use model::batch::{Batch, Parts};
use model::ids::RecordId;
use model::lineage::{Lineage, Offsets, SourceRows};
use model::manifest::{self, Context as ManifestContext, OnError};
use model::plan::{Answer, Form, Plan, Planner, Stream};
use model::stage::Role;

use super::*;
use crate::connector::{Barrier, ConnectError, PullLimits, Pulled, Refusals, Refused, Sink, Source};
use crate::job::{Job, Part, Rules};
use crate::letters::{Group, Letters, LettersError};

/// Gives what it was given; then ends, fails, or waits for ever.
struct Scripted {
    name: &'static str,
    pulls: VecDeque<Vec<&'static str>>,
    offset: u64,
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    End,
    Fail,
    Wait,
}

#[async_trait]
impl Source for Scripted {
    async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        let Some(values) = self.pulls.pop_front() else {
            return match self.then {
                Then::End => Ok(None),
                Then::Fail => Err(ConnectError::failed("the disk", "it is on fire", "run")),
                Then::Wait => std::future::pending().await,
            };
        };
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: self.name.into(),
            split: "0".into(),
            offsets: Offsets::From(self.offset),
        });
        self.offset += values.len() as u64;
        let (bad, good): (Vec<&str>, Vec<&str>) =
            values.into_iter().partition(|value| value.starts_with('!'));
        let refused = bad.iter().map(|raw| Refused {
            split: "0".into(),
            offset: 0,
            code: "bad".into(),
            message: "no".into(),
            raw: raw.as_bytes().into(),
            is_cut: false,
        });
        let values = BinaryArray::from_iter_values(good);
        let batch = Batch::from_values(values, Parts::default(), lineage).expect("a batch");
        Ok(Some(Pulled {
            batch: (!batch.is_empty()).then_some(batch),
            refused: refused.collect(),
            ..Pulled::default()
        }))
    }
}

/// What a sink was asked to do, in order.
type Log = Arc<Mutex<Vec<String>>>;

struct Recording {
    log: Log,
    ids: Arc<Mutex<Vec<RecordId>>>,
    /// Its reader goes away after so many batches.
    open_for: usize,
    /// Is cancelled when it prepares.
    stops: Arc<Mutex<Option<CancellationToken>>>,
}

impl Recording {
    fn say(&self, what: impl Into<String>) {
        self.log.lock().expect("the log").push(what.into());
    }
}

#[async_trait]
impl Sink for Recording {
    async fn write(&mut self, batch: &Batch, ids: &[RecordId]) -> Result<Refusals, ConnectError> {
        if self.open_for == 0 {
            return Err(ConnectError::closed("stdout"));
        }
        self.open_for -= 1;
        self.ids.lock().expect("the ids").extend_from_slice(ids);
        let values = batch.columns()[0].flat().expect("flat");
        for value in values.as_binary::<i32>().iter().flatten() {
            self.say(String::from_utf8_lossy(value));
        }
        Ok(Vec::new())
    }

    fn wants_ids(&self) -> bool {
        true
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        self.say("flush");
        Ok(())
    }

    async fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        self.say(format!("prepare, then {:?}", barrier.then));
        if let Some(stop) = &*self.stops.lock().expect("the token") {
            stop.cancel();
        }
        Ok(b"token".to_vec())
    }

    async fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        assert_eq!(token, b"token");
        self.say("commit");
        Ok(())
    }
}

/// How many letters there were; and, among what the first sink was asked, when they were made durable.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicUsize>, Log);

impl Letters for Counted {
    fn put(&mut self, group: &Group) -> Result<(), LettersError> {
        assert!(group.refusals.iter().all(|refusal| refusal.code == "bad"));
        self.0.fetch_add(group.refusals.len(), Ordering::Relaxed);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        self.1.lock().expect("the log").push("letters are durable".to_owned());
        Ok(())
    }
}

/// The plan of a pipeline of built-in sources and sinks, whose stages are these lines.
pub(crate) fn plan(stages: &str) -> Arc<Plan> {
    let context = ManifestContext { sources: &["stdin"], sinks: &["stdout"], env: &|_| None };
    let text = format!("pipeline: p\nstages:\n{stages}");
    let pipeline = manifest::parse("p.yaml", &text, &context).expect("a manifest");
    let mut planner = Planner::new(&pipeline, vec![Form::Any; pipeline.stages.len()]);
    while let Some(ask) = planner.next_ask() {
        planner.answer(match *pipeline.stages[ask.stage].role {
            Role::Source => Answer::Source(Stream::Opaque),
            _ => Answer::BuiltInSink { columns: true },
        });
    }
    Arc::new(planner.finish().expect("a plan"))
}

struct Bench {
    plan: Arc<Plan>,
    logs: Vec<Log>,
    ids: Vec<Arc<Mutex<Vec<RecordId>>>>,
    letters: Counted,
    stops: Arc<Mutex<Option<CancellationToken>>>,
    run: Run,
}

impl Bench {
    /// A pipeline of built-in sources and sinks; sources read `pulls` in the order of the manifest.
    fn new(
        stages: &str,
        pulls: Vec<(Vec<Vec<&'static str>>, Then)>,
        open_for: usize,
        on_error: OnError,
    ) -> Self {
        let plan = plan(stages);
        let mut pulls: VecDeque<_> = pulls.into();
        let (mut logs, mut ids, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let stops = Arc::default();
        let limits = PullLimits { records_max: 1024, bytes_max: 1 << 20, delay: std::time::Duration::ZERO };
        for stage in &plan.stages {
            parts.push(match stage.role {
                Role::Source => {
                    let (pulls, then) = pulls.pop_front().expect("pulls for each source");
                    let name = if stage.name.as_ref() == "a" { "a" } else { "b" };
                    let source = Scripted { name, pulls: pulls.into(), offset: 0, then };
                    Part::Source { source: Box::new(source), limits }
                }
                _ => {
                    let (log, ids_seen, stops) = (Log::default(), Arc::default(), Arc::clone(&stops));
                    let sink = Recording { log, ids: ids_seen, open_for, stops };
                    logs.push(sink.log.clone());
                    ids.push(sink.ids.clone());
                    Part::Sink(Box::new(sink))
                }
            });
        }
        let letters = Counted(Arc::default(), logs.first().cloned().unwrap_or_default());
        let job = Job {
            epoch: 1,
            checkpoints: None,
            plan: plan.clone(),
            parts,
            rules: Rules { on_error: vec![on_error; plan.stages.len()], ..Rules::defaults(&plan) },
            letters: Box::new(letters.clone()),
        };
        let run = job.build().expect("loops");
        Self { plan, logs, ids, letters, stops, run }
    }

    fn log(logs: &[Log], sink: usize) -> Vec<String> {
        let ours = |line: &&String| *line != "flush" && *line != "letters are durable";
        logs[sink].lock().expect("the log").iter().filter(ours).cloned().collect()
    }
}

const ONE: &str = "  a: { source: stdin }\n  x: { sink: stdout, from: a }\n";
const FAN_OUT: &str =
    "  a: { source: stdin }\n  x: { sink: stdout, from: a }\n  y: { sink: stdout, from: a }\n";
const FAN_IN: &str = "  a: { source: stdin }\n  b: { source: stdin }\n  x: { sink: stdout, from: [a, b] }\n";

#[tokio::test]
async fn each_sink_behind_a_fan_out_gets_all_and_commits_once() {
    let bench =
        Bench::new(FAN_OUT, vec![(vec![vec!["1", "2"], vec!["3"]], Then::End)], 99, OnError::DeadLetter);
    let meters = bench.run.meters();
    let ended = bench.run.run(CancellationToken::new()).await;
    assert_eq!((ended.is_stopped, ended.checkpoint), (false, None));
    ended.result().expect("a good run");
    for sink in 0..2 {
        assert_eq!(Bench::log(&bench.logs, sink), ["1", "2", "3", "prepare, then End", "commit"]);
    }
    let report = meters.report();
    assert_eq!((report[0].records_in, report[0].records_out), (3, 3));
    assert_eq!((report[1].records_in, report[1].batches), (3, 2));
}

#[tokio::test]
async fn streams_meet_in_one_sink_which_ends_when_both_have() {
    let pulls = vec![(vec![vec!["a1"], vec!["a2"]], Then::End), (vec![vec!["b1"]], Then::End)];
    let bench = Bench::new(FAN_IN, pulls, 99, OnError::DeadLetter);
    assert_eq!(bench.plan.chains.len(), 3, "two sources and the place where they meet");
    bench.run.run(CancellationToken::new()).await.result().expect("a good run");
    let mut log = Bench::log(&bench.logs, 0);
    assert_eq!(log.split_off(3), ["prepare, then End", "commit"], "the sink commits once, at the end");
    let place = |record: &str| log.iter().position(|line| line == record).expect(record);
    assert!(place("a1") < place("a2"), "the order of one source is kept");
    assert_eq!(place("b1") + place("a1") + place("a2"), 3);
}

#[tokio::test]
async fn a_stop_ends_sources_that_wait_and_delivers_what_was_read() {
    let pulls = vec![(vec![vec!["a1"]], Then::Wait), (vec![vec!["b1"]], Then::Wait)];
    let bench = Bench::new(FAN_IN, pulls, 99, OnError::DeadLetter);
    let stop = CancellationToken::new();
    let running = tokio::spawn(bench.run.run(stop.clone()));
    while Bench::log(&bench.logs, 0).len() < 2 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    let ended = running.await.expect("it ends");
    assert!(ended.is_stopped);
    ended.result().expect("a stop is no failure");
    assert_eq!(Bench::log(&bench.logs, 0)[2..], ["prepare, then Stop", "commit"]);
}

#[tokio::test]
async fn a_stop_that_comes_to_one_of_two_sources_is_no_end_and_one_that_comes_too_late_is_no_stop() {
    let pulls = vec![(vec![vec!["a1"]], Then::End), (vec![vec!["b1"]], Then::Wait)];
    let bench = Bench::new(FAN_IN, pulls, 99, OnError::DeadLetter);
    let stop = CancellationToken::new();
    let running = tokio::spawn(bench.run.run(stop.clone()));
    while Bench::log(&bench.logs, 0).len() < 2 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    assert!(running.await.expect("it ends").is_stopped);
    assert_eq!(Bench::log(&bench.logs, 0)[2..], ["prepare, then Stop", "commit"]);

    // The sources have ended by themselves when it comes, and the rest drains.
    let stop = CancellationToken::new();
    let bench = Bench::new(ONE, vec![(vec![vec!["a1"]], Then::End)], 99, OnError::DeadLetter);
    *bench.stops.lock().expect("the token") = Some(stop.clone());
    let ended = bench.run.run(stop).await;
    assert!(!ended.is_stopped, "it had ended before");
    assert_eq!(Bench::log(&bench.logs, 0), ["a1", "prepare, then End", "commit"]);
}

#[tokio::test]
async fn what_was_written_before_a_failure_is_made_durable() {
    let pulls = vec![(vec![vec!["a1"]], Then::Fail), (vec![vec!["b1"]], Then::Wait)];
    let bench = Bench::new(FAN_IN, pulls, 99, OnError::DeadLetter);
    let error = bench.run.run(CancellationToken::new()).await.result().expect_err("a source fails");
    assert_eq!(error.to_string(), "stage `a`: the disk: it is on fire; run");
    let log = Bench::log(&bench.logs, 0);
    assert!(log.contains(&"a1".to_owned()), "what came before the failure is lost: {log:?}");
    assert_eq!(log[log.len() - 2..], ["prepare, then Stop", "commit"]);
}

#[tokio::test]
async fn a_sink_that_nobody_reads_any_more_ends_the_run_well() {
    let pulls = (0..1000).map(|_| vec!["x"]).collect();
    let bench = Bench::new(
        "  a: { source: stdin }\n  x: { sink: stdout, from: a }\n",
        vec![(pulls, Then::Wait)],
        3,
        OnError::DeadLetter,
    );
    bench.run.run(CancellationToken::new()).await.result().expect("a closed reader is no failure");
    assert_eq!(Bench::log(&bench.logs, 0), ["x", "x", "x"]);
}

#[tokio::test]
async fn refused_records_go_where_on_error_says() {
    let pulls = || vec![(vec![vec!["1", "!", "2"], vec!["!"]], Then::End)];
    let bench = Bench::new(ONE, pulls(), 99, OnError::DeadLetter);
    let meters = bench.run.meters();
    bench.run.run(CancellationToken::new()).await.result().expect("a good run");
    assert_eq!(Bench::log(&bench.logs, 0), ["1", "2", "prepare, then End", "commit"]);
    assert_eq!(bench.letters.0.load(Ordering::Relaxed), 2);
    let report = meters.report().swap_remove(0);
    assert_eq!((report.records_in, report.records_out, report.rejected), (4, 2, 2));

    let bench = Bench::new(ONE, pulls(), 99, OnError::Drop);
    let meters = bench.run.meters();
    bench.run.run(CancellationToken::new()).await.result().expect("a good run");
    assert_eq!(bench.letters.0.load(Ordering::Relaxed), 0);
    assert_eq!(meters.report()[0].dropped, 2);

    let bench = Bench::new(ONE, pulls(), 99, OnError::Fail);
    let error =
        bench.run.run(CancellationToken::new()).await.result().expect_err("a refused record ends the run");
    assert!(error.to_string().contains("stage `a` refused record 0 of `0`"), "{error}");
}

#[tokio::test]
async fn what_was_refused_is_durable_before_a_sink_commits() {
    let bench = Bench::new(ONE, vec![(vec![vec!["1", "!"]], Then::End)], 99, OnError::DeadLetter);
    bench.run.run(CancellationToken::new()).await.result().expect("a good run");
    let log = bench.logs[0].lock().expect("the log").clone();
    assert_eq!(log, ["1", "prepare, then End", "letters are durable", "commit"]);
}

#[tokio::test]
async fn a_record_has_one_id_in_every_branch_that_stays_apart() {
    let bench = Bench::new(FAN_OUT, vec![(vec![vec!["1"]], Then::End)], 99, OnError::DeadLetter);
    bench.run.run(CancellationToken::new()).await.result().expect("a good run");
    let first = bench.ids[0].lock().expect("the ids").clone();
    assert_eq!(first, *bench.ids[1].lock().expect("the ids"));
    assert_eq!(first, [RecordId::of_source("p", "a", "0", 0)]);
}
