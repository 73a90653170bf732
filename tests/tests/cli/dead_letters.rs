//! `conveyor dlq` and `conveyor replay`: what was refused is found, looked at, and delivered in the end.

use serde_json::{Value, json};

use crate::scene::{Ran, Scene};

/// A stage that refuses `line 9` of twelve, in batches of four.
fn probe() -> Scene {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.txt }, batch: { records: 4 } }\n  probe: { \
         transform: GUEST(probe-run), from: in, with: { at: line 9, then: reject } }\n  out: { sink: file, from: probe, \
         with: { path: out.txt } }\n",
    );
    let lines: String = (0..12).map(|n| format!("line {n}\n")).collect();
    scene.write("in.txt", lines);
    scene
}

fn refused() -> Scene {
    let scene = probe();
    scene.run_pipeline().code(0);
    scene
}

/// The stage that refused it does so no more.
const MENDED: [&str; 2] = ["--set", "probe.at=nothing"];

fn replay(scene: &Scene, args: &[&str]) -> Ran {
    scene.run(&[&["dlq", "replay", "pipeline.yaml"], args].concat())
}

fn entries(scene: &Scene, args: &[&str]) -> Vec<Value> {
    let data = scene.run(&[&["dlq", "list", "--output", "json"], args].concat()).code(0).json();
    data["entries"].as_array().expect("a list").clone()
}

fn numbers(scene: &Scene, args: &[&str]) -> Vec<u64> {
    entries(scene, args).iter().filter_map(|entry| entry["entry"].as_u64()).collect()
}

#[test]
fn what_was_refused_is_listed_and_shown() {
    let scene = refused();
    let listed = scene.run(&["dlq", "list"]).code(0);
    let rows: Vec<Vec<&str>> = listed.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["entry", "refused", "at", "stage", "code", "offset", "message"]);
    assert_eq!(
        (rows.len(), rows[1][0], &rows[1][2..7]),
        (2, "1", &["probe", "disliked", "9", "of", "in.txt"][..])
    );
    let counted = scene.run(&["dlq", "list", "p.dead-letters", "--counts"]).code(0).stdout;
    let counts: Vec<&str> = counted.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(counts, ["1", "probe", "disliked"]);

    let shown = scene.run(&["dlq", "show", "1"]).code(0).stdout;
    for expected in [
        "stage       probe\n",
        "code        disliked\n",
        "offset      9 of in.txt (source in)\n",
        "component   sha256:",
        "6 bytes:\n  line 9\n",
        "to send it in again: conveyor replay pipeline.yaml --stage probe --record 1\n",
    ] {
        assert!(shown.contains(expected), "no `{expected}`:\n{shown}");
    }
    let entry = entries(&scene, &[]).swap_remove(0);
    let by_record = scene.run(&["dlq", "show", entry["id"].as_str().expect("an id")]).code(0).stdout;
    assert_eq!(by_record, shown, "an entry is found by the id of its record too");
    let revision = entry["revision"].as_str().expect("a revision");
    assert_eq!(revision.len(), 32, "{entry}");
}

#[test]
fn a_list_can_be_narrowed() {
    let scene = refused();
    let lines: [(&[&str], &[u64]); 7] = [
        (&["--stage", "probe"], &[1]),
        (&["--stage", "other"], &[]),
        (&["--code", "disliked"], &[1]),
        (&["--code", "other"], &[]),
        (&["--since", "1h"], &[1]),
        (&["--until", "2026-01-01"], &[]),
        (&["--limit", "0"], &[]),
    ];
    for (args, expected) in lines {
        assert_eq!(numbers(&scene, args), expected, "{args:?}");
    }
    scene
        .run(&["dlq", "list", "--stage", "other"])
        .code(0)
        .says(&["nothing of stage `other` is open; there are open entries of `"]);
}

#[test]
fn a_mended_stage_gets_the_rest_exactly_once() {
    let scene = refused();
    let before = scene.read("out.txt");
    assert_eq!(before.lines().count(), 11);
    let ran = replay(&scene, &MENDED).code(0);
    let ran = ran.says(&["writes behind what is in out.txt", "went through: 1; refused again: 0"]);
    assert_eq!(ran.stdout, "");
    assert_eq!(scene.read("out.txt"), format!("{before}line 9\n"));
    assert_eq!(numbers(&scene, &[]), [0; 0]);
    replay(&scene, &MENDED).code(0).says(&["nothing is open"]);
    assert_eq!(scene.read("out.txt").lines().count(), 12, "it came twice");
    let all = entries(&scene, &["--all"]);
    assert_eq!((all.len(), &all[0]["closed"]), (1, &json!("replayed")));
}

#[test]
fn another_component_takes_what_the_first_refused() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.jsonl, format: lines } }\n  judge: { transform: \
         GUEST(probe-run), from: in, with: { at: '{\"n\":2}', then: reject } }\n  out: { sink: file, from: judge, with: \
         { path: out.jsonl } }\n",
    );
    scene.write("in.jsonl", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    scene.run_pipeline().code(0);
    let first = entries(&scene, &[]).swap_remove(0);
    scene.write(
        "pipeline.yaml",
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.jsonl, format: lines } }\n  judge: { transform: \
         GUEST(json-filter), from: in, with: { where: /n > 5 } }\n  out: { sink: file, from: judge, with: { path: \
         out.jsonl } }\n",
    );
    let dry = replay(&scene, &["--dry-run"]).code(0);
    dry.says(&["entry 1: nothing comes of it: a stage leaves it out"]);
    let mended = scene.read("pipeline.yaml").replace("/n > 5", "/n > 0");
    scene.write("pipeline.yaml", mended);
    replay(&scene, &[]).code(0);
    assert_eq!(scene.read("out.jsonl"), "{\"n\":1}\n{\"n\":3}\n{\"n\":2}\n");
    assert!(first["component"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{first}");
}

#[test]
fn what_is_refused_again_points_at_what_it_was() {
    let scene = refused();
    replay(&scene, &["--set", "out.path=none.txt"]).code(0).says(&["went through: 0; refused again: 1"]);
    let open = entries(&scene, &[]);
    assert_eq!((open.len(), &open[0]["entry"], &open[0]["replay_of"]), (1, &json!(2), &json!(1)));
    let all = entries(&scene, &["--all"]);
    assert_eq!((&all[0]["closed"], &all[0]["id"]), (&json!("refused again"), &all[1]["id"]));
    let data = replay(&scene, &[&MENDED[..], &["--output", "json"]].concat()).code(0).json();
    let expected = json!({ "entry": 2, "outcome": "replayed", "reached": { "out": 1 }, "refused": [] });
    assert_eq!(data, json!({ "dry_run": false, "entries": [expected] }));
}

#[test]
fn a_dry_run_writes_nothing_and_closes_nothing() {
    let scene = refused();
    let before = scene.read("out.txt");
    let segment =
        || std::fs::read(scene.path("p.dead-letters/00000000000000000001.letters")).expect("a segment");
    let was = segment();
    let dry = |args: &[&str]| replay(&scene, &[args, &["--dry-run"]].concat()).code(0);
    dry(&MENDED).says(&["entry 1: 1 record to `out`", "which are not asked: 1; would be refused: 0"]);
    dry(&[]).says(&["entry 1: refused again by `probe` as disliked", "would be refused: 1"]);
    dry(&["--into", "out"]).says(&["entry 1: 1 record to `out`"]);
    assert_eq!((scene.read("out.txt"), segment()), (before, was));
}

#[test]
fn one_record_is_sent_in_alone_and_its_death_is_shown_in_full() {
    let scene = refused();
    let alone = |args: &[&str]| {
        let command: &[&str] = &["replay", "pipeline.yaml", "--stage", "probe", "--record", "1"];
        scene.run(&[command, args].concat())
    };
    let record = "entry 1: record 9 of in.txt (source in), 6 bytes:";
    alone(&["--dry-run"]).code(1).says(&[record, "line 9", "refused it again as disliked"]);
    alone(&["--set", "probe.then=panic"]).code(1).says(&[
        record,
        "`line 9` is not to my liking",
        "not_to_my_liking",
        "probe-run/src/lib.rs",
        "where the stage was",
    ]);
}

/// Lines of JSON, parsed for a stage of tables, which refuses fields that it does not know.
const TYPED: &str = "pipeline: p\nstages:\n  in: { source: file, with: { path: in.jsonl, format: lines } }\n  keep: { \
                     transform: GUEST(filter), from: in, schema: { n: int }, unknown: reject, with: { where: n > 0 } }\n  \
                     out: { sink: file, from: keep, with: { path: out.csv } }\n";

#[test]
fn a_record_that_could_not_be_parsed_is_parsed_again_and_a_file_that_is_there_stays() {
    let scene = Scene::with(TYPED);
    scene.write("in.jsonl", "{\"n\":1}\n{\"n\":2,\"m\":0}\n{\"n\":3}\n");
    scene.run_pipeline().code(0).says(&["1 x keep: bad-row"]);
    assert_eq!(scene.read("out.csv"), "n\n1\n3\n");
    replay(&scene, &["--dry-run"]).code(0).says(&["entry 1: refused again by `keep` as bad-row"]);
    let mended = scene.read("pipeline.yaml").replace("unknown: reject", "unknown: ignore");
    scene.write("pipeline.yaml", mended);
    let ran = replay(&scene, &[]).code(0);
    ran.says(&["writes a new file beside out.csv", "went through: 1"]);
    assert_eq!((scene.read("out.csv"), scene.read("out-000001.csv")), ("n\n1\n3\n".into(), "n\n2\n".into()));
}

#[test]
fn entries_that_do_not_fit_are_told_before_anything_is_written() {
    let scene = refused();
    let manifest = scene.read("pipeline.yaml");
    let cases: [(&[&str], &str); 4] = [
        (
            &["--into", "in"],
            "nothing can be sent into `in`: the stages of `p` that take records are probe, out",
        ),
        (&["--into", "nowhere"], "nothing can be sent into `nowhere`"),
        (&["--record", "7"], "no open entry `7` of"),
        (&["--dead-letters", "none"], "there is no dead-letter store in none"),
    ];
    for (args, expected) in cases {
        replay(&scene, args).code(2).says(&[expected]);
    }
    scene.write("pipeline.yaml", manifest.replace("probe", "renamed").replace("renamed-run", "probe-run"));
    replay(&scene, &[]).code(2).says(&["entry 1, refused by `probe`, cannot be sent in", "`--into STAGE`"]);
    replay(&scene, &["--into", "renamed"]).code(0).says(&["refused again: 1"]);
}

#[test]
fn what_a_source_refuses_once_more_is_told() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.csv } }\n  out: { sink: file, from: in, with: { \
         path: out.jsonl } }\n",
    );
    scene.write("in.csv", "a,b\n1,2\n3\n");
    scene.run_pipeline().code(0);
    replay(&scene, &["--dry-run"])
        .code(0)
        .says(&["refused again by `in` as bad-row: 1 fields where the header has 2"]);
    replay(&scene, &["--into", "out"]).code(2).says(&["they are records without columns", "`a`, `b`"]);
    assert_eq!(numbers(&scene, &[]), [1]);
    // What is refused again is what it was.
    replay(&scene, &[]).code(0).says(&["refused again: 1"]);
    assert_eq!(entries(&scene, &[])[0]["record"], "3");
    replay(&scene, &[]).code(0).says(&["refused again: 1"]);
}

#[test]
fn entries_are_exported_as_lines() {
    let scene = refused();
    let lines = scene.letters("p.dead-letters");
    assert_eq!((lines.len(), &lines[0]["record"]), (1, &json!("line 9")));
    scene.run(&["dlq", "export", "-o", "letters.jsonl"]).code(0).says(&["letters.jsonl"]);
    assert_eq!(scene.read("letters.jsonl"), scene.run(&["dlq", "export"]).code(0).stdout);
    scene.run(&["dlq", "export", "-o", "letters.jsonl"]).code(2).says(&["name a file that is not there yet"]);
}

/// Numbers keep their digits, names that are there twice stay, and what no float holds ends nothing.
#[test]
fn the_json_of_a_row_is_shown_and_exported_as_it_stands() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, schema: { n: int, j: json }, with: { path: in.jsonl } }\n  over: { \
         transform: GUEST(filter), from: in, with: { where: n + 9223372036854775807 > 0 } }\n  out: { sink: file, from: over, \
         with: { path: out.jsonl } }\n",
    );
    let row = r#"{"n":1,"j":{"a":1.10,"a":2,"b":1e400,"c":123456789012345678901234567890}}"#;
    scene.write("in.jsonl", format!("{row}\n"));
    scene.run_pipeline().code(0).says(&["1 x over: overflow"]);
    let record = format!("\"record\":{row}");
    scene.run(&["dlq", "export"]).code(0).prints(&[&record, "\"entry\":1,", "\"refused_at\":\"20"]);
    for shown in [&["dlq", "list", "--output", "json"][..], &["dlq", "show", "1", "--output", "json"]] {
        scene.run(shown).code(0).prints(&[&format!("\"record\": {row}"), "\"entry\": 1,"]);
    }
    scene.run(&["dlq", "show", "1"]).code(0).prints(&[row]);
}

#[test]
fn pipelines_can_share_a_store_and_each_replays_its_own() {
    let scene = probe();
    let other = scene.read("pipeline.yaml").replace("pipeline: p", "pipeline: q").replace("out.txt", "q.txt");
    scene.write("q.yaml", other);
    scene.run(&["run", "pipeline.yaml", "q.yaml", "--dead-letters", "shared"]).code(0);
    assert_eq!(numbers(&scene, &["shared"]), [1, 2]);
    let shown = scene.run(&["dlq", "show", "1", "shared"]).code(0).stdout;
    assert!(shown.contains(" --record 1 --dead-letters shared\n"), "{shown}");
    replay(&scene, &[&MENDED[..], &["--dead-letters", "shared"]].concat()).code(0).says(&["went through: 1"]);
    let left = entries(&scene, &["shared"]);
    assert_eq!((left.len(), &left[0]["pipeline"]), (1, &json!("q")));
    assert_eq!((scene.read("out.txt").lines().count(), scene.read("q.txt").lines().count()), (12, 11));
}

#[test]
fn a_replay_that_fails_closes_nothing() {
    let scene = refused();
    // A file stands where the sink would make a directory.
    let blocked = replay(&scene, &[&MENDED[..], &["--set", "out.path=in.txt/out.txt"]].concat()).code(2);
    blocked.says(&["`out` cannot be opened"]);
    // The disk is full.
    let to_full: &[&str] = &["--set", "out.path=/dev/full", "--set", "out.format=lines"];
    let full = replay(&scene, &[&MENDED[..], to_full].concat());
    full.code(1).says(&["what was sent in stays open"]);
    assert_eq!(numbers(&scene, &[]), [1]);
    replay(&scene, &MENDED).code(0).says(&["went through: 1"]);
}

#[test]
fn nothing_is_thrown_away_unless_that_is_meant() {
    let scene = refused();
    let purge = |args: &[&str]| scene.run(&[&["dlq", "purge"], args].concat());
    purge(&[]).code(2).says(&["say which entries"]);
    purge(&["--stage", "probe"]).code(2).says(&["1 entry of p.dead-letters would be lost", "`--yes`"]);
    purge(&["--all-replayed"]).code(0).says(&["thrown away: 0 entries"]);
    purge(&["--stage", "other", "--yes"]).code(0).says(&["thrown away: 0 entries"]);
    assert_eq!(numbers(&scene, &[]), [1]);
    purge(&["--code", "disliked", "--yes"]).code(0).says(&["thrown away: 1 entry; freed: "]);
    assert_eq!(numbers(&scene, &["--all"]), [0; 0]);
    // The next entry has a number of its own.
    scene.run_pipeline().code(0);
    assert_eq!(numbers(&scene, &[]), [2]);
}

#[test]
fn a_store_that_is_full_stops_the_pipeline() {
    let scene = probe();
    let ran = scene.run(&["run", "pipeline.yaml", "--dead-letters-max-bytes", "100B"]).code(1);
    ran.says(&["the dead-letter store p.dead-letters has", "`conveyor dlq purge`", "the most is 100"]);
}

#[test]
fn a_flipped_bit_in_the_last_letters_is_told_and_the_others_are_read() {
    let scene = refused();
    scene.run_pipeline().code(0);
    assert_eq!(numbers(&scene, &[]), [1, 2]);
    let path = scene.path("p.dead-letters").join("00000000000000000001.letters");
    let mut bytes = std::fs::read(&path).expect("a segment");
    let kind: &[u8] = b"\"kind\":\"refused\"";
    let at = bytes.windows(kind.len()).rposition(|window| window == kind).expect("the last letter");
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    for args in [&["dlq", "list"][..], &["dlq", "list", "--counts"], &["dlq", "export"]] {
        let ran =
            scene.run(args).code(1).says(&["00000000000000000001.letters is damaged in", "entry 2 is lost"]);
        assert!(ran.stdout.contains("disliked"), "{ran:?}");
    }
    scene.run(&["dlq", "show", "2"]).code(1).says(&["entry 2 is lost"]);
    scene.run(&["dlq", "show", "1"]).code(0);
    // A run goes on, and the number is not given again.
    scene.run_pipeline().code(0).says(&["dead letters are damaged", "entry 2 is lost"]);
    assert!(std::fs::read(&path).expect("a segment").starts_with(&bytes), "a damaged file was changed");
    scene.run(&["dlq", "show", "3"]).code(0);
    // What is left can be sent in, and the rest thrown away.
    replay(&scene, &MENDED).code(0).says(&["went through: 2"]);
    scene.run(&["dlq", "purge", "--all-replayed"]).code(0);
    assert_eq!(numbers(&scene, &["--all"]), [0; 0]);
}

#[test]
fn what_is_no_store_is_told_before_anything_runs() {
    let scene = probe();
    scene.write("p.dead-letters", "{}\n");
    scene.run_pipeline().code(2).says(&["p.dead-letters is a file", "an earlier version"]);
    assert!(!scene.path("out.txt").exists());
    scene.run(&["dlq", "list"]).code(2).says(&["no directory here has a name that ends with .dead-letters"]);
    scene.run(&["dlq", "list", "p.dead-letters"]).code(2).says(&["is a file"]);

    let scene = refused();
    scene.write("q.dead-letters/x", "");
    scene.run(&["dlq", "list"]).code(2).says(&["name one of p.dead-letters, q.dead-letters"]);
    let path = scene.path("p.dead-letters/00000000000000000001.letters");
    std::fs::write(&path, "something else, which has nothing of a segment").expect("written");
    scene
        .run(&["dlq", "list", "p.dead-letters"])
        .code(2)
        .says(&["is no dead-letter segment of this version"]);
    scene.run_pipeline().code(2).says(&["is no dead-letter segment of this version"]);
}
