//! Stages that ask for another try, give up, or are broken: what is held, what goes on, and how it ends.

use serde_json::Value;

use crate::limits::probe;
use crate::scene::{Ran, Scene};
use crate::watching::{Sample, Watched};

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("line {n}\n")).collect()
}

/// Runs with these lines on stdin; what is printed as data.
fn run_on(scene: &Scene, lines: &str, code: i32) -> Value {
    run_to(scene, lines, code).json()["pipelines"][0].clone()
}

fn run_to(scene: &Scene, lines: &str, code: i32) -> Ran {
    let mut child = scene
        .command(&["run", "pipeline.yaml", "--output", "json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // One that has failed reads no more.
    let _ = std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), lines.as_bytes());
    Ran::of(child.wait_with_output().expect("it ends")).code(code)
}

fn stage<'a>(pipeline: &'a Value, name: &str) -> &'a Value {
    let stages = pipeline["stages"].as_array().expect("stages");
    stages.iter().find(|stage| stage["stage"] == name).expect(name)
}

#[test]
fn a_stage_that_asks_for_another_try_twice_loses_nothing_and_repeats_nothing() {
    let scene = probe("retry-twice", 4, "");
    let pipeline = run_on(&scene, &lines(400), 0);
    assert_eq!(scene.read("out.txt"), lines(400));
    let probe = stage(&pipeline, "probe");
    assert_eq!((&probe["retries"], &probe["limits"]["retry"]), (&2.into(), &2.into()), "{probe}");
    assert_eq!((&probe["records_in"], &probe["forwarded"]), (&400.into(), &400.into()), "{probe}");
    assert_eq!((&probe["deaths"], &pipeline["dead_letters"]["records"]), (&0.into(), &0.into()));
    assert!(pipeline["seconds"].as_f64() >= Some(0.08), "it was asked before the time that it wanted");
}

#[test]
fn a_held_branch_stops_its_source_once_its_edge_is_full_and_not_before() {
    const BATCHES: u64 = 1000;
    let scene = Scene::with(&format!(
        "pipeline: p
stages:
  in: {{ source: generate, with: {{ template: \"line {{{{seq}}}}\", count: {} }}, batch: {{ records: 10 }} }}
  probe:
    transform: GUEST(probe-bytes)
    from: in
    with: {{ do: retry-long }}
    grants: {{ http: [api.example.com:443] }}
  out: {{ sink: file, from: probe, with: {{ path: out.txt }} }}
  side: {{ sink: discard, from: probe.side }}
  all: {{ sink: file, from: in, with: {{ path: all.txt }} }}
",
        10 * BATCHES
    ));
    let run = Watched::start(&scene, &["pipeline.yaml"]);
    let of = |sample: &Sample, stage: &str| sample.count("p", stage, "records_in") / 10;
    let held = |sample: &Sample| {
        sample.count("p", "probe", "retries") == 1 && of(sample, "probe") == 0 && of(sample, "all") > 1
    };
    run.until("the other branch goes on", held);
    // For as long as the stage is held, the other branch gets no more than fits into the edge of the first.
    let room = model::limits::EDGE_BATCHES_MAX as u64 + 2;
    let mut most = 0;
    loop {
        let sample = run.sample();
        if !held(&sample) {
            break;
        }
        most = of(&sample, "all");
        assert!(most <= room, "{most} batches were read past a branch that has room for {room}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(most > room / 2, "the source stopped after {most} batches, with room for {room}");
    run.wait().code(0);
    let due: String = (0..10 * BATCHES).map(|n| format!("line {n}\n")).collect();
    assert_eq!(scene.read("out.txt"), due);
    assert_eq!(scene.read("all.txt"), due);
}

const FEW_TRIES: &str = "retry: { attempts: 2, backoff: 1ms..2ms }";

#[test]
fn tries_that_run_out_end_the_run_with_the_reason() {
    let scene = probe("retry", 4, FEW_TRIES);
    let pipeline = run_on(&scene, &lines(8), 1);
    assert_eq!(pipeline["end"], "failed");
    assert_eq!(stage(&pipeline, "probe")["retries"], 2);
    let error = &pipeline["error"];
    assert_eq!((&error["stage"], &error["records"]["first"]["offset"]), (&"probe".into(), &0.into()));
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("not now") && message.contains("records 0 to 3"), "{message}");
    assert!(!scene.path("p.dead-letters").exists(), "no record is to blame");
}

/// With a branch beside the one of the stage, and the rest going on when that is cut.
fn with_another_branch(scene: &Scene) {
    let manifest = scene.read("pipeline.yaml");
    let more = "  all: { sink: file, from: in, with: { path: all.txt } }\non-failure: continue\n";
    scene.write("pipeline.yaml", manifest + more);
}

#[test]
fn tries_that_run_out_cut_the_branch_where_the_rest_is_to_go_on() {
    for (what, reason) in [("retry", "not now"), ("fatal", "never"), ("invalid", "not this")] {
        let scene = probe(what, 4, FEW_TRIES);
        with_another_branch(&scene);
        let pipeline = run_on(&scene, &lines(40), 1);
        assert_eq!(pipeline["end"], "done in part", "{what}");
        let probe = stage(&pipeline, "probe");
        assert_eq!((&probe["is_cut"], &probe["cut"]), (&true.into(), &40.into()), "{what}: {probe}");
        assert_eq!(stage(&pipeline, "in")["ended_early"], false, "{what}: somebody still reads it");
        let cuts = pipeline["cut"].as_array().expect("cuts");
        assert_eq!(cuts.len(), 1, "{what}");
        assert!(cuts[0]["message"].as_str().is_some_and(|said| said.contains(reason)), "{what}: {cuts:?}");
        assert_eq!(scene.read("all.txt"), lines(40), "{what}");
        assert_eq!(scene.read("out.txt"), "", "{what}");
    }
}

#[test]
fn a_source_that_nobody_is_left_to_read_ends_early_and_says_so() {
    // The second has streams that meet, and the stage that gives up behind them.
    let transforms =
        "transform: GUEST(probe-bytes), with: { do: fatal }, grants: { http: [api.example.com:443] }";
    for (sources, from) in [("in", "in"), ("in two", "[in, two]")] {
        let generate = "{ source: generate, with: { template: x } }";
        let sources: Vec<&str> = sources.split(' ').collect();
        let stages: String = sources.iter().map(|name| format!("  {name}: {generate}\n")).collect();
        let scene = Scene::with(&format!(
            "pipeline: p\non-failure: continue\nstages:\n{stages}  probe: {{ {transforms}, from: {from} }}\n  out: {{ \
             sink: file, from: probe, with: {{ path: out.txt }} }}\n  side: {{ sink: discard, from: probe.side }}\n"
        ));
        let ran = scene.run_pipeline().code(1);
        let ran = ran.says(&["it gave up: never", "went on without a branch"]);
        for source in &sources {
            let said = format!("`{source}` was read no further: nobody was left to take its records");
            assert!(ran.stderr.contains(&said), "{}", ran.stderr);
        }
    }
}

#[test]
fn a_branch_that_was_cut_behind_a_meeting_counts_on_while_others_make_its_sources_read() {
    let scene = Scene::with(
        "pipeline: p
on-failure: continue
stages:
  in: { source: file, with: { path: in.txt }, batch: { records: 4 } }
  two: { source: file, with: { path: in.txt }, batch: { records: 4 } }
  probe:
    transform: GUEST(probe-bytes)
    from: [in, two]
    with: { do: fatal }
    grants: { http: [api.example.com:443] }
  out: { sink: discard, from: probe }
  side: { sink: discard, from: probe.side }
  all: { sink: file, from: in, with: { path: all.txt } }
",
    );
    scene.write("in.txt", lines(4000));
    let ran = scene.run(&["run", "pipeline.yaml", "--output", "json"]).code(1);
    let pipeline = &ran.json()["pipelines"][0];
    assert_eq!(scene.read("all.txt"), lines(4000));
    let read =
        stage(pipeline, "in")["records_out"].as_u64().zip(stage(pipeline, "two")["records_out"].as_u64());
    let (one, two) = read.expect("counts");
    assert_eq!(stage(pipeline, "probe")["cut"], one + two, "{pipeline}");
    assert_eq!(one, 4000);
}

#[test]
fn a_stage_that_dies_on_everything_is_seen_early_and_no_record_is_blamed() {
    let scene = probe("panic", 1024, "retry: { attempts: 1, backoff: 1ms..2ms }");
    let pipeline = run_on(&scene, &lines(1024), 1);
    let probe = stage(&pipeline, "probe");
    let deaths = probe["deaths"].as_u64().expect("a count");
    // Two searches, each cut short by its probes.
    assert!((10..=80).contains(&deaths), "{deaths} calls died");
    assert_eq!((&probe["retries"], &probe["rejected"]), (&1.into(), &0.into()), "{probe}");
    assert!(!scene.path("p.dead-letters").exists(), "records were blamed");
    let message = pipeline["error"]["message"].as_str().expect("a message");
    assert!(message.contains("is not to my liking"), "{message}");
}

#[test]
fn an_instance_for_each_batch_carries_nothing_over() {
    for (isolation, expected) in [("stage", "1\n2\n3\n4\n5\n"), ("batch", "1\n1\n1\n1\n1\n")] {
        let scene = probe("count", 2, &format!("isolation: {isolation}"));
        run_on(&scene, &lines(10), 0);
        assert_eq!(scene.read("out.txt"), expected, "isolation: {isolation}");
    }
}

#[test]
fn what_a_call_had_made_before_it_failed_never_happened() {
    // `line 9` kills it, after it has let others of its batch through.
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: stdin, with: { format: lines } }\n  probe: { transform: \
         GUEST(probe-run), from: in, with: { at: line 9, then: panic } }\n  out: { sink: file, from: probe, with: { \
         path: out.txt } }\n",
    );
    let pipeline = run_on(&scene, &lines(1000), 0);
    assert_eq!(scene.read("out.txt"), lines(1000).replace("line 9\n", ""));
    let probe = stage(&pipeline, "probe");
    assert_eq!((&probe["forwarded"], &probe["rejected"]), (&999.into(), &1.into()), "{probe}");
    assert!(probe["deaths"].as_u64() > Some(1), "{probe}");
}

/// Lines into a sink that is a component.
fn component_sink(settings: &str) -> Scene {
    Scene::with(&format!(
        "pipeline: p\n{settings}stages:\n  in: {{ source: stdin, with: {{ format: lines }}, batch: {{ records: 4 }} }}\n  \
         store: {{ sink: GUEST(probe-sink), from: in }}\n  all: {{ sink: file, from: in, with: {{ path: all.txt }} }}\n"
    ))
}

#[test]
fn a_sink_that_asks_for_another_try_gets_its_batch_again_and_refuses_each_record_once() {
    let scene = component_sink("");
    // An empty line is refused by the sink.
    let pipeline = run_on(&scene, "a\n\nlater\nb\nc\n", 0);
    let store = stage(&pipeline, "store");
    assert_eq!((&store["retries"], &store["rejected"]), (&2.into(), &1.into()), "{store}");
    assert_eq!((&store["records_in"], &store["records_out"]), (&5.into(), &4.into()), "{store}");
    let letters = scene.letters("p.dead-letters");
    assert_eq!((letters.len(), &letters[0]["code"]), (1, &"empty".into()), "{letters:?}");
}

#[test]
fn a_sink_that_dies_has_failed_and_the_records_that_it_got_are_named() {
    let scene = component_sink("");
    let pipeline = run_on(&scene, "a\nb\nc\nd\ne\npanic\ng\nh\n", 1);
    let error = &pipeline["error"];
    assert_eq!((&error["stage"], &error["records"]["first"]["offset"]), (&"store".into(), &4.into()));
    assert!(error["message"].as_str().is_some_and(|said| said.contains("records 4 to 7")), "{error}");

    let scene = component_sink("on-failure: continue\n");
    let pipeline = run_on(&scene, "a\nb\nc\nd\ne\npanic\ng\nh\ni\n", 1);
    let store = stage(&pipeline, "store");
    assert_eq!((&store["is_cut"], &store["cut"]), (&true.into(), &5.into()), "{store}");
    assert_eq!(scene.read("all.txt").lines().count(), 9, "the other branch was held up");
}
