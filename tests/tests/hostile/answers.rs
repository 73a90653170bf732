//! Answers that are small as they cross and stand for gigabytes, and what a stage slips into them: JSON that is none,
//! names without end, offsets that were there before, records that are too large.

use crate::beside;
use crate::cases::compile;
use crate::measure::{alone, watched};
use crate::scene::{Ran, Scene};

const ROWS: usize = 150;
const TEXT_BYTES: usize = 900_000;
/// What the process may take while 135 MB go through it, beside what it takes for nothing.
const MORE_BYTES: u64 = 160 << 20;

/// Runs a manifest to its end, and tells how much memory that took.
#[track_caller]
fn run(component: &str, manifest: &str, code: i32) -> (Scene, String, u64) {
    compile(component);
    let scene = Scene::with(manifest);
    let (output, peak_bytes) = watched(scene.command(&["run", "pipeline.yaml"]));
    (scene, Ran::of(output).code(code).stderr, peak_bytes)
}

fn expanding(behind: &str) -> String {
    format!(
        "pipeline: p\nstages:\n  in: {{ source: generate, with: {{ template: '{{\"at\":\"{{{{seq}}}}\"}}', format: jsonl, \
         count: {ROWS} }} }}\n  bad: {{ transform: GUEST(hostile/dictionary-expands), from: in, limits: {{ memory: 32MiB \
         }} }}\n{behind}"
    )
}

#[test]
fn a_dictionary_goes_in_parts_into_every_format_and_into_a_stage_of_bytes() {
    let behind = "  jsonl: { sink: file, from: bad, with: { path: out.jsonl } }\n  csv: { sink: file, from: bad, with: { \
                  path: out.csv } }\n  parquet: { sink: file, from: bad, with: { path: out.parquet } }\n  keep: { \
                  transform: GUEST(probe-run), from: bad, with: { at: nothing, then: panic } }\n  lines: { sink: file, \
                  from: keep, with: { path: out.txt, format: lines } }\n";
    let _alone = alone();
    let (scene, stderr, peak_bytes) = run("dictionary-expands", &expanding(behind), 0);
    let of_numbers: usize = (0..ROWS).map(|row| row.to_string().len()).sum();
    let line = r#"{"at":"","x":""}"#.len() + TEXT_BYTES + 1;
    let bytes = |name: &str| std::fs::metadata(scene.path(name)).expect("it is there").len() as usize;
    assert_eq!(bytes("out.jsonl"), ROWS * line + of_numbers, "{stderr}");
    assert_eq!(bytes("out.txt"), bytes("out.jsonl"), "{stderr}");
    assert_eq!(bytes("out.csv"), "at,x\n".len() + ROWS * (TEXT_BYTES + 2) + of_numbers, "{stderr}");
    assert!(bytes("out.parquet") > 0);
    assert!(!scene.path("p.dead-letters").exists(), "{stderr}");
    assert!(peak_bytes < beside::alone(false).1 + MORE_BYTES, "the process took {peak_bytes} bytes");
}

#[test]
fn a_dictionary_goes_in_parts_into_a_sink_that_is_a_component() {
    compile("sink-of-texts");
    let behind = "  out: { sink: GUEST(hostile/sink-of-texts), from: bad, limits: { memory: 32MiB } }\n";
    let (scene, stderr, _) = run("dictionary-expands", &expanding(behind), 0);
    assert!(!scene.path("p.dead-letters").exists(), "{stderr}");
}

#[test]
fn a_dictionary_of_a_source_becomes_keys_in_parts() {
    let manifest = "pipeline: p\nstages:\n  in: { source: GUEST(hostile/source-of-tables), with: { gives: dictionary }, \
                    key: x, limits: { fuel-per-batch: 100G } }\n  out: { sink: discard, from: in }\n";
    let _alone = alone();
    let (scene, stderr, peak_bytes) = run("source-of-tables", manifest, 0);
    assert!(!scene.path("p.dead-letters").exists(), "{stderr}");
    assert!(stderr.contains("150"), "{stderr}");
    assert!(peak_bytes < beside::alone(false).1 + MORE_BYTES, "the process took {peak_bytes} bytes");
}

#[test]
fn json_of_a_source_is_one_value() {
    let manifest = "pipeline: p\nstages:\n  in: { source: GUEST(hostile/source-of-tables), with: { gives: json } }\n  out: \
                    { sink: file, from: in, with: { path: out.jsonl } }\n";
    let (scene, stderr, _) = run("source-of-tables", manifest, 1);
    assert!(stderr.contains("value 0 of column 1 is not one JSON value: `1,\"seq\":666`"), "{stderr}");
    assert_eq!(scene.read("out.jsonl"), "");
}

#[test]
fn a_name_of_a_column_has_a_length_whoever_gives_it() {
    let source = "pipeline: p\nstages:\n  in: { source: GUEST(hostile/source-of-tables), with: { gives: name } }\n  out: { \
                  sink: file, from: in, with: { path: out.jsonl } }\n";
    let transform = expanding("  out: { sink: discard, from: bad }\n")
        .replace("hostile/dictionary-expands", "hostile/column-name-huge");
    for (component, manifest, says) in [
        ("source-of-tables", source, "schema: name 1 has 900000 bytes, at most 1024 are taken"),
        ("column-name-huge", &transform, "port `main` sets: name 0 has 900000 bytes, at most 1024 are taken"),
    ] {
        compile(component);
        let ran = Scene::with(manifest).run_pipeline().code(2).says(&[says]);
        assert!(ran.stderr.len() < 4096, "{}", ran.stderr);
    }
    let scene = Scene::with(
        "pipeline: p\nstages:\n  in: { source: file, with: { path: in.csv } }\n  out: { sink: discard, from: in }\n",
    );
    scene.write("in.csv", format!("a,{}\n1,2\n", "n".repeat(900_000)));
    let ran = scene.run_pipeline().code(2).says(&["of which the name has 900000 bytes, the most is 1024"]);
    assert!(ran.stderr.len() < 4096, "{}", ran.stderr);
}

#[test]
fn an_offset_names_one_record() {
    let manifest = "pipeline: p\nstages:\n  in: { source: GUEST(hostile/source-old-offsets) }\n  out: { sink: file, from: \
                    in, with: { path: out.txt } }\n";
    let (scene, stderr, _) = run("source-old-offsets", manifest, 1);
    assert!(stderr.contains("offset 0 of what it pulled is 5 after 5: they must ascend"), "{stderr}");
    assert_eq!(scene.read("out.txt"), "x\n", "the first one is a record");
}

#[test]
fn a_record_of_a_source_that_is_too_large_is_refused_and_the_rest_goes_on() {
    let bytes = "{ source: GUEST(hostile/source-large-record), limits: { record-bytes: 16MiB } }";
    let table =
        "{ source: GUEST(hostile/source-of-tables), with: { gives: large }, limits: { memory: 256MiB } }";
    for (component, source, kept) in [
        ("source-large-record", bytes, "a\nb\n"),
        ("source-of-tables", table, "{\"seq\":0,\"x\":\"small\"}\n{\"seq\":2,\"x\":\"small\"}\n"),
    ] {
        let manifest = format!(
            "pipeline: p\nstages:\n  in: {source}\n  out: {{ sink: file, from: in, with: {{ path: out.txt, format: FORMAT \
             }} }}\n"
        );
        let format = if component == "source-of-tables" { "jsonl" } else { "lines" };
        let (scene, stderr, _) = run(component, &manifest.replace("FORMAT", format), 0);
        assert_eq!(scene.read("out.txt"), kept, "{stderr}");
        let listed = scene.run(&["dlq", "list", "p.dead-letters"]).code(0).stdout;
        assert!(listed.contains("record-too-large") && listed.contains("the record has 178"), "{listed}");
        // Whoever raises the limit gets it.
        let raised = manifest.replace("FORMAT", format).replace("record-bytes: 16MiB", "record-bytes: 18MiB");
        if raised.contains("18MiB") {
            let (scene, _, _) = run(component, &raised, 0);
            assert_eq!(scene.read("out.txt").len(), (17 << 20) + "a\n\nb\n".len());
        }
    }
}
