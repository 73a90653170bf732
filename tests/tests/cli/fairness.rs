//! Pipelines that share one core get the shares that their weights say, and a quota holds a pipeline back up to
//! its sources. Measured in fuel, which counts work, between two looks at the meters while all of them run.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::scene::Scene;
use crate::watching::{Sample, Watched};

/// How far a share may be from what its weight says.
const TOLERANCE: f64 = 0.15;
const WINDOW: Duration = Duration::from_millis(1500);

/// One race at a time: they are not to race one another.
static CORE: Mutex<()> = Mutex::new(());

/// A pipeline that always has work: a stage that does `what` with every record of a source without end.
fn busy(name: &str, settings: &str, what: &str, records: usize) -> String {
    format!(
        "pipeline: {name}
{settings}
stages:
  in: {{ source: generate, with: {{ template: x }}, batch: {{ records: {records} }} }}
  work:
    transform: GUEST(probe-bytes)
    from: in
    with: {{ do: {what} }}
    grants: {{ http: [api.example.com:443] }}
    limits: {{ fuel-per-batch: 100M }}
    retry: {{ attempts: 1000, backoff: 1ms..1ms }}
    on-error: drop
  out: {{ sink: discard, from: work }}
  side: {{ sink: discard, from: work.side }}
"
    )
}

/// What both of two pipelines on one core burn within the window.
fn race(a: &str, b: &str) -> (f64, f64) {
    let _alone = CORE.lock().unwrap_or_else(PoisonError::into_inner);
    let scene = Scene::with(a);
    scene.write("other.yaml", b);
    let run = Watched::start(&scene, &["pipeline.yaml", "other.yaml", "--threads", "1"]);
    let fuel = |sample: &Sample, of: &str| sample.count(of, "work", "fuel");
    let first = run.until("both run", |sample| fuel(sample, "a") > 0 && fuel(sample, "b") > 0);
    std::thread::sleep(WINDOW);
    let last = run.sample();
    run.terminate();
    run.wait().code(0);
    let burnt = |of: &str| (fuel(&last, of) - fuel(&first, of)) as f64;
    (burnt("a"), burnt("b"))
}

#[track_caller]
fn assert_share(part: f64, rest: f64, due: f64) {
    let share = part / (part + rest);
    assert!((share / due - 1.0).abs() < TOLERANCE, "it got {share} of the work, and {due} is its due");
}

#[test]
fn two_pipelines_on_one_core_get_the_shares_of_their_weights() {
    for weight in [100, 200, 400] {
        let (a, b) =
            race(&busy("a", "weight: 100", "burn", 16), &busy("b", &format!("weight: {weight}"), "burn", 16));
        assert_share(b, a, f64::from(weight) / f64::from(100 + weight));
        assert_share(a, b, 100.0 / f64::from(100 + weight));
    }
}

#[test]
fn the_size_of_batches_does_not_change_the_shares() {
    // Turns of few long calls beside turns of many short ones.
    let (a, b) = race(&busy("a", "weight: 100", "burn", 8), &busy("b", "weight: 100", "burn", 1024));
    assert_share(a, b, 0.5);
}

#[test]
fn a_neighbour_that_loops_burns_no_more_than_its_share() {
    // Each call of it ends when its fuel does.
    let (a, b) = race(&busy("a", "weight: 100", "burn", 16), &busy("b", "weight: 100", "loop", 1));
    let share = a / (a + b);
    assert!(share > 0.5 * (1.0 - TOLERANCE), "it was left {share} of the work beside one that loops");
    assert!(b > 0.0);
}

#[test]
fn a_quota_holds_a_pipeline_to_its_rate_and_its_sources_back() {
    const FUEL_PER_SECOND: f64 = 50e6;
    let _alone = CORE.lock().unwrap_or_else(PoisonError::into_inner);
    // Two loops in front of the one that burns, so that edges lie between.
    let scene = Scene::with(
        "pipeline: a
quota: { fuel-per-second: 50M }
stages:
  one: { source: generate, with: { template: x }, batch: { records: 16 } }
  two: { source: generate, with: { template: x }, batch: { records: 16 } }
  work:
    transform: GUEST(probe-bytes)
    from: [one, two]
    with: { do: burn }
    grants: { http: [api.example.com:443] }
  out: { sink: discard, from: work }
  side: { sink: discard, from: work.side }
",
    );
    let run = Watched::start(&scene, &["pipeline.yaml"]);
    // What it starts with is gone, and the edges are full.
    let first = run.until("it burns", |sample| sample.count("a", "work", "batches") > 20);
    std::thread::sleep(WINDOW);
    let last = run.sample();
    run.terminate();
    run.wait().code(0);
    let took = (last.at - first.at).as_secs_f64();
    let burnt = (last.count("a", "work", "fuel") - first.count("a", "work", "fuel")) as f64;
    let rate = burnt / took;
    assert!((rate / FUEL_PER_SECOND - 1.0).abs() < TOLERANCE, "{rate} a second");
    let read = last.count("a", "one", "records_out") + last.count("a", "two", "records_out");
    let done = last.count("a", "work", "records_in");
    let waiting = (read - done) / 16;
    let room = 3 + model::limits::EDGE_BATCHES_MAX as u64;
    assert!(waiting <= room, "{waiting} batches were read ahead, the edges have room for {room}");
}
