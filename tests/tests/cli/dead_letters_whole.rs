//! Records that sources refuse are kept whole, and go through the source again once its manifest is mended.

use std::io::Read as _;

use serde_json::json;

use crate::scene::{Ran, Scene};

/// A source and a sink.
fn pipeline(source: &str, with: &str) -> String {
    format!(
        "pipeline: p\nstages:\n  in: {{ source: file, {source} with: {{ {with} }} }}\n  out: {{ sink: file, from: in, with: \
         {{ path: out.jsonl }} }}\n"
    )
}

fn lines(with: &str) -> String {
    pipeline("", with).replace("out.jsonl", "out.txt")
}

fn replay(scene: &Scene, args: &[&str]) -> Ran {
    scene.run(&[&["dlq", "replay", "pipeline.yaml"], args].concat())
}

#[test]
fn a_long_line_that_its_source_refused_comes_back_byte_by_byte() {
    let scene = Scene::with(&pipeline("schema: { id: int, text: text },", "path: in.jsonl"));
    let long = "x\u{e9}".repeat(100_000);
    let bad = format!("{{\"id\":\"no number\",\"text\":\"{long}\"}}");
    scene.write("in.jsonl", format!("{{\"id\":1,\"text\":\"a\"}}\n{bad}\n"));
    scene.run_pipeline().code(0).says(&["1 x in: bad-row"]);
    let letters = scene.letters("p.dead-letters");
    assert!(letters[0]["record"] == json!(bad), "it is not the record that was refused");
    scene.run(&["dlq", "show", "1"]).code(0).prints(&[
        &format!("{} bytes:", bad.len()),
        "to send it in again: conveyor replay pipeline.yaml --stage in --record 1",
    ]);
    // Nothing is mended yet.
    replay(&scene, &[])
        .code(0)
        .says(&["refused again by `in` as bad-row", "went through: 0; refused again: 1"]);
    scene.write("pipeline.yaml", pipeline("schema: { id: text, text: text },", "path: in.jsonl"));
    replay(&scene, &[]).code(0).says(&["went through: 1"]);
    let expected = format!("{{\"id\":1,\"text\":\"a\"}}\n{bad}\n");
    assert!(scene.read("out.jsonl") == expected, "the record has changed on its way");
    replay(&scene, &[]).code(0).says(&["nothing is open"]);
}

#[test]
fn a_row_of_csv_is_read_by_the_header_of_its_own_file() {
    let scene = Scene::with(&pipeline("schema: { n: int, name: text },", "path: '*.csv'"));
    scene.write("a.csv", "n,name\r\n1,a\r\nx1,\"b,\r\nb\"\r\n").write("b.csv", "name,n\nc,3\nd,x4\n");
    scene.run_pipeline().code(0).says(&["2 x in: bad-row"]);
    scene.write("pipeline.yaml", pipeline("schema: { n: text, name: text },", "path: '*.csv'"));
    replay(&scene, &[]).code(0).says(&["went through: 2"]);
    let out = scene.read("out.jsonl");
    let replayed: Vec<&str> = out.lines().skip(2).collect();
    assert_eq!(replayed, [r#"{"n":"x1","name":"b,\r\nb"}"#, r#"{"n":"x4","name":"d"}"#]);
}

#[test]
fn of_a_record_that_is_too_long_the_beginning_is_kept_and_never_passed_off_as_all_of_it() {
    let scene = Scene::with(&lines("path: in.txt, record-bytes-max: 10"));
    scene.write("in.txt", "short\n0123456789ab\n");
    scene.run_pipeline().code(0).says(&["1 x in: record-too-large"]);
    let letter = &scene.letters("p.dead-letters")[0];
    assert_eq!((&letter["record"], &letter["cut"]), (&json!("0123456789"), &json!(true)));
    let shown = ["10 bytes, the beginning of a longer record:", "raise `record-bytes-max`"];
    scene.run(&["dlq", "show", "1"]).code(0).prints(&shown);
    scene.write("pipeline.yaml", lines("path: in.txt, record-bytes-max: 1KiB"));
    for into in [&[][..], &["--into", "out"]] {
        replay(&scene, into).code(2).says(&["entry 1", "only the beginning of the record was kept"]);
    }
    assert_eq!(scene.read("out.txt"), "short\n");
}

#[test]
fn a_row_of_parquet_is_kept_in_all_its_columns_and_types() {
    let scene = Scene::with(&pipeline("", "path: in.jsonl").replace("out.jsonl", "in.parquet"));
    scene.write("in.jsonl", "{\"x\":1.0,\"s\":\"a\"}\n{\"x\":2.5,\"s\":\"b\"}\n{\"x\":3.0,\"s\":\"c\"}\n");
    scene.run_pipeline().code(0);
    let typed = |x: &str| {
        format!(
            "pipeline: p\nstages:\n  in: {{ source: file, schema: {{ x: {x} }}, unknown: ignore, with: {{ path: in.parquet }} \
             }}\n  keep: {{ transform: GUEST(filter), from: in, with: {{ where: x > 0 }} }}\n  out: {{ sink: file, from: keep, \
             with: {{ path: out.jsonl }} }}\n"
        )
    };
    scene.write("pipeline.yaml", typed("int"));
    scene.run_pipeline().code(0).says(&["1 x in: bad-cast"]);
    let letter = &scene.letters("p.dead-letters")[0];
    assert_eq!(letter["record"], json!({ "x": 2.5, "s": "b" }));
    replay(&scene, &["--dry-run"]).code(0).says(&["refused again by `in` as bad-cast"]);
    scene.write("pipeline.yaml", typed("float"));
    // Nothing says what else the file had, once it is gone.
    std::fs::remove_file(scene.path("in.parquet")).expect("removed");
    replay(&scene, &[]).code(2).says(&["they had the columns `s`, which stage `in` has no more"]);
    scene.write("pipeline.yaml", typed("float, s: text"));
    replay(&scene, &[]).code(0).says(&["went through: 1"]);
    let out = scene.read("out.jsonl");
    assert_eq!(out.lines().last(), Some(r#"{"x":2.5,"s":"b"}"#), "{out}");
}

/// A file with a row that its source refuses for its `n`, and the row as it is once that is a text.
const REFUSED: [(&str, &str); 2] =
    [("in.csv", "n,s\n1,a\nx,b\n"), ("in.jsonl", "{\"n\":1,\"s\":\"a\"}\n{\"n\":\"x\",\"s\":\"b\"}\n")];
const MENDED: &str = r#"{"n":"x","s":"b"}"#;

#[test]
fn what_a_source_refused_goes_through_it_without_its_files() {
    for (file, text) in REFUSED {
        let with = format!("path: {file}");
        let scene = Scene::with(&pipeline("schema: { n: int, s: text },", &with));
        scene.write(file, text);
        scene.run_pipeline().code(0).says(&["1 x in: bad-row"]);
        std::fs::remove_file(scene.path(file)).expect("removed");
        scene.write("pipeline.yaml", pipeline("schema: { n: text, s: text },", &with));
        replay(&scene, &[]).code(0).says(&["went through: 1"]);
        assert_eq!(scene.read("out.jsonl").lines().last(), Some(MENDED), "{file}");
    }
}

/// The columns of today are not those that were there when the row was refused.
#[test]
fn columns_that_would_be_lost_are_told_before_anything_is_sent() {
    let lost = ["they had the columns `s`, which stage", "would be lost: declare them under the `schema`"];
    for (file, text) in REFUSED {
        let with = format!("path: {file}");
        let source = |schema: &str| pipeline(&format!("schema: {schema}, unknown: ignore,"), &with);
        let scene = Scene::with(&source("{ n: int }"));
        scene.write(file, text);
        scene.run_pipeline().code(0).says(&["1 x in: bad-row"]);
        scene.write("pipeline.yaml", source("{ n: text }"));
        for other in ["n\n1\n", ""] {
            match other {
                "" => std::fs::remove_file(scene.path(file)).expect("removed"),
                _ if file == "in.csv" => drop(scene.write(file, other)),
                _ => drop(scene.write(file, "{\"n\":1}\n")),
            }
            replay(&scene, &[]).code(2).says(&lost);
        }
        scene.write("pipeline.yaml", source("{ n: text, s: text }"));
        replay(&scene, &[]).code(0).says(&["went through: 1"]);
        assert_eq!(scene.read("out.jsonl").lines().last(), Some(MENDED), "{file}");
    }

    let over = |schema: &str, more: &str| {
        pipeline(schema, "path: in.jsonl").replace("from: in", "from: over").replace(
            "  out:",
            &format!(
                "  over: {{ transform: GUEST(filter), from: in, with: {{ where: n + {more} > 0 }} }}\n  out:"
            ),
        )
    };
    let scene = Scene::with(&over("", "9223372036854775807"));
    scene.write("in.jsonl", "{\"n\":1,\"s\":\"b\"}\n");
    scene.run_pipeline().code(0).says(&["1 x over: overflow"]);
    scene.write("in.jsonl", "{\"n\":1}\n").write("pipeline.yaml", over("", "1"));
    replay(&scene, &[]).code(2).says(&lost);
    scene.write("pipeline.yaml", over("schema: { s: text },", "1"));
    replay(&scene, &[]).code(0).says(&["went through: 1"]);
    assert_eq!(scene.read("out.jsonl"), "{\"n\":1,\"s\":\"b\"}\n");
}

/// A segment that a binary wrote which cut records at 64 KiB, of this pipeline: a row of CSV, and lines of JSON of which the
/// second has 70,009 bytes.
const OLDER: &[u8] = include_bytes!("older/dead-letters.gz");

#[test]
fn letters_of_the_version_before_are_taken_as_far_as_they_are_known_to_be_whole() {
    let scene = Scene::with(
        "pipeline: p\nstages:\n  rows: { source: file, with: { path: in.csv } }\n  lines: { source: file, schema: { id: text }, \
         unknown: ignore, with: { path: in.jsonl } }\n  a: { sink: file, from: rows, with: { path: a.jsonl } }\n  b: { sink: \
         file, from: lines, with: { path: b.jsonl } }\n",
    );
    scene.write("in.csv", "a,b\n1,2\n").write("in.jsonl", "{\"id\":\"x\"}\n");
    let mut segment = Vec::new();
    flate2::read::GzDecoder::new(OLDER).read_to_end(&mut segment).expect("unpacked");
    scene.write("p.dead-letters/00000000000000000001.letters", segment);
    assert_eq!(scene.letters("p.dead-letters").len(), 3);
    let refused = ["--stage", "rows"];
    replay(&scene, &refused)
        .code(2)
        .says(&["an earlier version kept them, without the header of their file"]);
    let ran = replay(&scene, &["--stage", "lines"]).code(0);
    ran.says(&["entry 2", "only the beginning of the record was kept", "went through: 1"]);
    assert_eq!(scene.read("b.jsonl"), "{\"id\":\"x\"}\n");
}
