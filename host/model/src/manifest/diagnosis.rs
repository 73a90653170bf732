//! Every problem that a manifest can have, as the user sees it. One snapshot for each.

use super::*;
use crate::diagnostics::Diagnostics;

fn env(name: &str) -> Option<String> {
    match name {
        "CITY" => Some("Oslo".to_owned()),
        "MINIMUM" => Some("100".to_owned()),
        "UP" => Some("in".to_owned()),
        _ => None,
    }
}

pub(super) fn read(text: &str) -> Result<Pipeline, Diagnostics> {
    let context =
        Context { sources: &["file", "stdin", "generate"], sinks: &["file", "stdout", "discard"], env: &env };
    parse("pipeline.yaml", text, &context)
}

fn rendered(text: &str) -> String {
    match read(text) {
        Ok(_) => panic!("nothing is wrong with\n{text}"),
        Err(diagnostics) => diagnostics.render(100, false),
    }
}

/// A pipeline whose middle stage has these lines more.
fn with_lines(lines: &str) -> String {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "pipeline: p\nstages:\n  in:\n    source: generate\n  mid:\n    transform: ./mid\n    from: in\n{indented}  \
         out:\n    sink: stdout\n    from: mid\n"
    )
}

/// A pipeline whose source has these lines more.
fn source_with(lines: &str) -> String {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "pipeline: p\nstages:\n  in:\n    source: file\n{indented}  out:\n    sink: stdout\n    from: in\n"
    )
}

macro_rules! shows {
    ($($name:ident: $text:expr;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), rendered(&$text));
        }
    )*};
}

shows! {
    nothing_in_the_file: "";
    only_comments: "# later\n";
    not_yaml: "pipeline: p\nstages: [a, b\nout: }\n";
    not_yaml_but_tabs: "pipeline: p\nstages:\n\tin: { source: stdin }\n";
    not_yaml_for_a_variable_in_braces: source_with("with: { path: ${CITY} }");
    not_a_map: "id,amount\n1,2\n";
    several_documents: "pipeline: p\n---\npipeline: q\n";
    an_unknown_tag: "pipeline: !name p\nstages: { in: { source: stdin }, out: { sink: stdout, from: in } }\n";
    an_alias_to_nothing: "pipeline: *name\n";
    an_alias_inside_itself: "pipeline: &p [*p]\n";
    a_bomb: bomb();
    too_deep: format!("pipeline: {}1{}\n", "[".repeat(80), "]".repeat(80));
    too_deep_by_aliases: deep_by_aliases();

    no_name_and_no_stages: "description: nothing yet\n";
    stages_without_any: "pipeline: p\nstages: {}\n";
    stages_in_a_list: "pipeline: p\nstages:\n  - source: stdin\n";
    too_many_stages: many_stages();
    an_unknown_key: "pipelin: p\nstages:\n  in: { source: stdin }\n  out: { sink: stdout, form: in, colour: red }\n";
    a_duplicate_key: source_with("with:\n  path: a\n  path: b\ntime: now\ntime: now");
    a_duplicate_stage: "pipeline: p\nstages:\n  in: { source: stdin }\n  in: { source: stdin }\n  out: { sink: stdout, from: in }\n";
    a_list_as_a_key: source_with("with: { [a, b]: c }");
    a_merge_of_a_text: source_with("<<: defaults");
    bad_names: "pipeline: My Pipeline\nstages:\n  In_1: { source: stdin }\n  out: { sink: stdout, from: In_1 }\n";
    a_bad_port_name: "pipeline: p\nstages:\n  in: { source: stdin }\n  out: { sink: stdout, from: in.a.b }\n";

    a_stage_that_is_nothing: "pipeline: p\nstages:\n  in: { with: {} }\n";
    a_stage_that_is_a_text: "pipeline: p\nstages:\n  in: stdin\n";
    a_stage_that_is_two_things: "pipeline: p\nstages:\n  in: { source: stdin, sink: stdout }\n";
    a_misspelt_role: "pipeline: p\nstages:\n  in: { source: stdin }\n  out: { sinc: stdout, from: in }\n";
    an_unknown_connector: "pipeline: p\nstages:\n  in: { source: stdinn }\n  out: { sink: kafka, from: in }\n";
    a_connector_of_the_other_role: "pipeline: p\nstages:\n  in: { source: stdout }\n  out: { sink: stdout, from: in }\n";
    a_transform_that_is_no_path: "pipeline: p\nstages:\n  in: { source: stdin }\n  mid: { transform: large, from: in }\n  out: { sink: stdout, from: mid }\n";
    a_stage_from_a_registry_without_its_version: "pipeline: p\nstages:\n  in: { source: stdin }\n  mid: { transform: registry.example/acme/large, from: in }\n  more: { transform: \"r.example/a@sha256:0a1b\", from: in }\n  out: { sink: \"oci://r.example/b:1\", from: [mid, more] }\n";

    a_missing_from: "pipeline: p\nstages:\n  in: { source: stdin }\n  mid: { transform: ./mid }\n  out: { sink: stdout, from: [] }\n  dump: { sink: stdout, from: in }\n";
    a_from_of_an_unknown_stage: "pipeline: p\nstages:\n  orders: { source: stdin }\n  out: { sink: stdout, from: ordesr }\n  other: { sink: stdout, from: \"elsewhere.port\" }\n";
    a_from_on_a_source: "pipeline: p\nstages:\n  in: { source: stdin, from: in }\n  out: { sink: stdout, from: in }\n";
    a_from_of_a_sink: "pipeline: p\nstages:\n  in: { source: stdin }\n  out: { sink: stdout, from: in }\n  more: { sink: stdout, from: out }\n";
    a_port_given_twice: "pipeline: p\nstages:\n  in: { source: stdin }\n  out: { sink: stdout, from: [in.a, in, in.a] }\n";
    a_from_that_is_a_map: "pipeline: p\nstages:\n  in: { source: stdin }\n  out: { sink: stdout, from: { stage: in } }\n";
    a_cycle: "pipeline: p\nstages:\n  in: { source: stdin }\n  a: { transform: ./a, from: [in, c] }\n  b: { transform: ./b, from: a }\n  c: { transform: ./c, from: b }\n  out: { sink: stdout, from: c }\n";
    a_cycle_of_one: "pipeline: p\nstages:\n  in: { source: stdin }\n  a: { transform: ./a, from: [in, a] }\n  out: { sink: stdout, from: a }\n";
    two_cycles: "pipeline: p\nstages:\n  a: { transform: ./a, from: b }\n  b: { transform: ./b, from: a }\n  c: { transform: ./c, from: [b, d] }\n  d: { transform: ./d, from: c }\n  out: { sink: stdout, from: d }\n";
    stages_that_nothing_reads: "pipeline: p\nstages:\n  in: { source: stdin }\n  mid: { transform: ./mid, from: in }\n  out: { sink: stdout, from: in }\n";

    keys_of_another_role: "pipeline: p\nstages:\n  in: { source: stdin, buffer: memory, limits: { memory: 1MiB } }\n  out: { sink: stdout, from: in, schema: infer, key: id, limits: { record-bytes: 1KiB } }\n";
    unknown_fields_of_no_schema: with_lines("unknown: ignore");
    a_bad_schema: source_with("schema: { amount: number, id: int, x: }\nunknown: keep\ntime: [a]");
    a_schema_that_is_a_text: source_with("schema: auto");
    bad_limits: with_lines("limits: { memory: 64mb, fuel-per-record: lots, batch-time: 250, fuel: 1 }");
    limits_out_of_range: with_lines("limits: { memory: 1TiB, batch-time: 1h, fuel-per-batch: 0 }\non-error: retry");
    memory_beyond_reason: with_lines("limits: { memory: 16GiB }");
    bad_batches: source_with("batch: { records: 100M, bytes: 1GiB, delay: 2m, size: 5 }");
    bad_grants: with_lines("grants:\n  http: [https://a.com, a.com/v1, 127.1, '*.a.com', a.com:0, a.com, 'A.com:443']\n  env: { 1A: x, B: [y] }\n  dirs:\n    - { host: ./l, guest: lookup }\n    - { host: '', guest: /a/../b, mode: wr }\n    - { guest: /c, hots: ./c }\n    - { host: ./d, guest: /d, mode: rw, owner: me }\n    - { host: ./e, guest: /d/ }\n  secrets: [API-KEY, S, S]\n  clock: 12:00\n  random: yes\n  sockets: [a.com:25]");
    grants_of_a_connector: source_with("grants: { http: [a.com] }");
    grants_of_the_wrong_shape: with_lines("grants:\n  http: a.com\n  env: [A]\n  dirs: { host: ./l, guest: /l }\n  secrets: S\n  clock: [true]");
    too_many_grants: with_lines(&format!("grants:\n  secrets: [{}]", (0..65).map(|i| format!("S{i}")).collect::<Vec<_>>().join(", ")));
    a_with_that_is_a_list: with_lines("with: [a]");
    numbers_that_json_does_not_have: with_lines("with: { a: .nan, b: 99999999999999999999, c: -.inf }");
    variables_that_are_not_there: source_with("with:\n  path: data/${NOWHERE}/${CITY}.csv\n  null: \"${1A}\"\n  format: ${CITY");

    what_this_version_does_not_do: with_lines(
        "replicas: 2\npartition: key\nplace: { labels: { zone: edge } }\nbuffer: disk"
    );
    checkpoints_out_of_bounds: with_lines("") + "checkpoint: { interval: 1ms, timeout: 48h, every: 1s }\n";
    a_gate_that_nothing_passes: with_lines("") + "deploy: { max-reject-rate: 101%, within: 1d, after: 1s }\n";
    a_checkpoint_that_is_a_time: with_lines("") + "checkpoint: 1s\n";
    a_retry_that_is_wrong_besides: with_lines("retry: { attempts: none, backoff: 10s..100ms, jitter: 1 }");
    replicas_that_are_no_number: with_lines("replicas: many\nbuffer: ram");

    bad_tests: with_lines("") + "tests:\n  - name: a\n    feed: { stage: midd, records: [] }\n    expect: { stage: mid, records: 3 }\n  - name: a\n    feed: { stage: mid.port, records: [] }\n    expect: { stage: out.port, records: [] }\n  - { nam: b, feed: { records: [] } }\n";
    a_test_twice: with_lines("") + "tests:\n  - { name: a, feed: { stage: mid, records: [] }, expect: [] }\n  - { name: a, feed: [], expect: { stage: mid, records: [] } }\n";
    tests_that_are_a_map: with_lines("") + "tests: { name: a }\n";
}

#[test]
fn a_text_that_is_too_large_is_not_read() {
    let text = format!("pipeline: p\n#{}", "x".repeat(crate::limits::MANIFEST_BYTES_MAX));
    insta::assert_snapshot!("a_text_that_is_too_large", rendered(&text));
}

#[test]
fn bytes_that_are_no_text() {
    let context = Context { sources: &[], sinks: &[], env: &env };
    let diagnostics = parse_bytes("pipeline.yaml", b"pipeline: p\n\xff\xfe", &context).unwrap_err().problems;
    insta::assert_snapshot!("bytes_that_are_no_text", diagnostics.render(100, false));
}

#[test]
fn the_snapshots_show_every_code() {
    let sources = [
        include_str!("tree.rs"),
        include_str!("scalar.rs"),
        include_str!("variables.rs"),
        include_str!("graph.rs"),
        include_str!("lower/mod.rs"),
        include_str!("lower/read.rs"),
        include_str!("lower/stage.rs"),
        include_str!("lower/settings.rs"),
        include_str!("lower/grants.rs"),
        include_str!("lower/cases.rs"),
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/snapshots");
    let shown: String = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for source in sources {
        for code in source.split("\"manifest::").skip(1).filter_map(|rest| rest.split('"').next()) {
            // The last resort for a defect of the parser: nothing leads there.
            if code != "unreported" {
                assert!(shown.contains(&format!("manifest::{code}")), "no snapshot shows manifest::{code}");
            }
        }
    }
}

/// Ten lines that stand for a hundred million values.
fn bomb() -> String {
    let mut text = "pipeline: p\na0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for level in 1..9 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    text
}

fn deep_by_aliases() -> String {
    let mut text = "pipeline: p\na0: &a0 [1]\n".to_owned();
    for level in 1..80 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    text
}

fn many_stages() -> String {
    let stages: String =
        (0..=crate::limits::STAGES_MAX).map(|nth| format!("  s{nth}: {{ source: stdin }}\n")).collect();
    format!("pipeline: p\nstages:\n{stages}")
}
