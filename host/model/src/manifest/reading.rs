//! Manifests that are right, and what is made of them.

use serde_json::json;

use super::diagnosis::read;
use super::*;
use crate::diagnostics::Span;

const ORDERS: &str = r#"
pipeline: orders
description: Large orders by country
stages:
  orders:
    source: file
    with: { path: data/orders.csv, format: csv, null: NA, header: true, columns: [a, "1"] }
    schema: { amount: float, placed_at: timestamp, id: infer }
    time: placed_at
    unknown: rest
    key: id
    batch: { records: 4k, bytes: 4MiB, delay: 20ms }
    limits: { record-bytes: 1MiB }
  large:
    transform: ./guests/large
    from: orders
    with:
      minimum: ${MINIMUM}
      city: "${CITY:-Rome}"
      pattern: ^a$
    limits: { memory: 64MiB, fuel-per-record: 100k, fuel-per-batch: 2M, batch-time: 250ms }
    on-error: drop
    replicas: 1
    key: /customer/id
  by-country:
    transform: stages/split.wasm
    from: [large]
  out:
    sink: file
    from: by-country
    with: { path: out/large.jsonl }
    buffer: memory
  leftovers:
    sink: stdout
    from: [by-country.unknown, large.rest]
on-failure: stop
tests:
  - name: a small order is dropped
    feed: { stage: large, records: [{ amount: 3 }, text] }
    expect:
      - { stage: large.rest, records: [] }
      - { stage: out, records: [{ amount: 3.5, name: null }] }
"#;

fn orders() -> Pipeline {
    read(ORDERS).unwrap_or_else(|problems| panic!("{}", problems.render(100, false)))
}

fn under(pipeline: &Pipeline, span: Span) -> &str {
    &pipeline.text.text[span.start..span.end()]
}

#[test]
fn all_that_a_manifest_says_arrives() {
    let pipeline = orders();
    assert_eq!(pipeline.name.as_str(), "orders");
    assert_eq!(pipeline.description.as_deref(), Some("Large orders by country"));
    let names: Vec<&str> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["orders", "large", "by-country", "out", "leftovers"]);
    let references: Vec<StageRef> =
        pipeline.stages.iter().map(|stage| stage.reference.value.clone()).collect();
    assert_eq!(
        references,
        [
            StageRef::BuiltIn("file".to_owned()),
            StageRef::Directory("./guests/large".to_owned()),
            StageRef::WasmFile("stages/split.wasm".to_owned()),
            StageRef::BuiltIn("file".to_owned()),
            StageRef::BuiltIn("stdout".to_owned()),
        ]
    );
    let roles: Vec<Role> = pipeline.stages.iter().map(|stage| stage.role.value).collect();
    assert_eq!(roles, [Role::Source, Role::Transform, Role::Transform, Role::Sink, Role::Sink]);
    let inputs: Vec<Vec<(usize, Option<&str>)>> = pipeline
        .stages
        .iter()
        .map(|stage| {
            stage.from.iter().map(|input| (input.stage, input.port.as_ref().map(Name::as_str))).collect()
        })
        .collect();
    assert_eq!(
        inputs,
        [
            vec![],
            vec![(0, None)],
            vec![(1, None)],
            vec![(2, None)],
            vec![(2, Some("unknown")), (1, Some("rest"))]
        ]
    );
}

#[test]
fn settings_arrive_typed() {
    let pipeline = orders();
    let source = pipeline.stage("orders").unwrap();
    let columns: Vec<(&str, Option<ColumnType>)> = source
        .schema
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.column_type.as_ref().map(|ty| ty.value)))
        .collect();
    let expected =
        [("amount", Some(ColumnType::Float)), ("placed_at", Some(ColumnType::Timestamp)), ("id", None)];
    assert_eq!(columns, expected);
    assert_eq!(source.time.value, TimeFrom::Column("placed_at".to_owned()));
    assert_eq!(source.unknown.value, UnknownFields::Rest);
    assert_eq!(source.key.as_ref().unwrap().value, KeyFrom::Column("id".to_owned()));
    assert_eq!((source.batch.records, source.batch.bytes), (4000, Bytes(4 << 20)));
    assert_eq!(source.batch.delay.0.as_millis(), 20);
    assert_eq!(source.limits.record_bytes.unwrap().value, Bytes(1 << 20));
    let large = pipeline.stage("large").unwrap();
    assert_eq!(large.limits.memory.unwrap().value, Bytes(64 << 20));
    assert_eq!(large.limits.fuel_per_record.unwrap().value, Fuel(100_000));
    assert_eq!(large.limits.fuel_per_batch.unwrap().value, Fuel(2_000_000));
    assert_eq!(large.limits.batch_time.unwrap().value.0.as_millis(), 250);
    assert_eq!(large.on_error.value, OnError::Drop);
    assert_eq!(large.key.as_ref().unwrap().value, KeyFrom::Pointer("/customer/id".to_owned()));
    assert_eq!(large.batch, BatchDecl::default());
}

#[test]
fn config_arrives_in_order_with_variables_in_it() {
    let pipeline = orders();
    let with = |stage: &str| serde_json::to_string(&pipeline.stage(stage).unwrap().with.value).unwrap();
    // A plain variable means what it would mean if it were written there; a quoted one is a text.
    assert_eq!(with("large"), r#"{"minimum":100,"city":"Oslo","pattern":"^a$"}"#);
    assert_eq!(
        with("orders"),
        r#"{"path":"data/orders.csv","format":"csv","null":"NA","header":true,"columns":["a","1"]}"#
    );
    assert_eq!(with("leftovers"), "{}");
}

#[test]
fn spans_lead_back_into_the_text() {
    let pipeline = orders();
    let large = pipeline.stage("large").unwrap();
    let leftovers = pipeline.stage("leftovers").unwrap();
    let orders = pipeline.stage("orders").unwrap();
    let cases = [
        (large.name.span, "large"),
        (large.role.span, "transform"),
        (large.reference.span, "./guests/large"),
        (leftovers.from[0].span, "by-country.unknown"),
        (large.with.span, "with"),
        (large.with.span_of("/minimum"), "minimum: ${MINIMUM}"),
        (large.with.span_of("/minimum/deeper"), "minimum: ${MINIMUM}"),
        (large.with.span_of("/absent"), "with"),
        (orders.with.span_of("/columns"), "columns"),
        (orders.with.span_of("/columns/1"), "\"1\""),
        (large.limits.memory.unwrap().span, "64MiB"),
        (orders.schema.columns[1].name.span, "placed_at"),
        (orders.schema.columns[1].column_type.as_ref().unwrap().span, "timestamp"),
        (leftovers.with.span, "stdout"),
        (pipeline.tests[0].expect[0].stage.span, "large.rest"),
        (pipeline.tests[0].inputs[0].records[0].span, "{ amount: 3 }"),
    ];
    for (span, text) in cases {
        assert_eq!(under(&pipeline, span), text);
    }
}

#[test]
fn tests_arrive() {
    let pipeline = orders();
    let [test] = &pipeline.tests[..] else { panic!("one test") };
    assert_eq!(test.inputs[0].stage.value, 1);
    let records: Vec<_> = test.inputs[0].records.iter().map(|record| record.value.clone()).collect();
    assert_eq!(records, [json!({ "amount": 3 }), json!("text")]);
    assert_eq!(test.expect[0].port.as_ref().map(Name::as_str), Some("rest"));
    assert_eq!(test.expect[1].stage.value, 3);
    assert_eq!(test.expect[1].records[0].value, json!({ "amount": 3.5, "name": null }));
}

#[test]
fn anchors_and_merges_are_followed() {
    let text = "pipeline: p\nstages:\n  a: { source: stdin, with: &w { x: 1, y: [2] } }\n  b: { source: stdin, \
                with: { <<: *w, x: 5 } }\n  c: { source: stdin, with: *w }\n  out: { sink: stdout, from: [a, b, \
                c] }\n";
    let pipeline = read(text).unwrap();
    let with = |stage: &str| serde_json::Value::Object(pipeline.stage(stage).unwrap().with.value.clone());
    assert_eq!(with("b"), json!({ "x": 5, "y": [2] }));
    assert_eq!(with("c"), json!({ "x": 1, "y": [2] }));
    let quoted = read(&text.replace("<<:", "\"<<\":")).unwrap();
    assert!(quoted.stage("b").unwrap().with.value.contains_key("<<"));
}

#[test]
fn the_schema_takes_what_the_parser_takes() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    let mut problems = Vec::new();
    let as_json = |text: &str, problems: &mut Vec<_>| {
        let node = tree::read(text, &|name| Some(name.to_owned()), problems).unwrap();
        scalar::json(&node, problems)
    };
    let errors: Vec<String> =
        validator.iter_errors(&as_json(ORDERS, &mut problems)).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    let refused = [
        "pipeline: p\n",
        "pipeline: P\nstages: { in: { source: stdin } }\n",
        "pipeline: p\nstages: { in: { source: stdin, from: a } }\n",
        "pipeline: p\nstages: { in: { source: stdin, sink: stdout } }\n",
        "pipeline: p\nstages: { out: { sink: stdout } }\n",
        "pipeline: p\nstages: { in: { source: stdin, replicas: 2 } }\n",
        "pipeline: p\nstages: { in: { source: stdin, limits: { memory: 64mb } } }\n",
        "pipeline: p\nstages: { in: { source: stdin, batch: { delay: 5 } } }\n",
        "pipeline: p\nstages: { in: { source: stdin, colour: red } }\n",
        "pipeline: p\nstages: { in: { source: stdin, schema: auto } }\n",
        "pipeline: p\nstages: { In: { source: stdin } }\n",
        "pipeline: p\nstages: { in: { source: stdin, limits: } }\n",
        "pipeline: p\nstages: { in: { source: stdin } }\ntests: [{ name: a, feed: [], expect: [] }]\n",
    ];
    for text in refused {
        assert!(!validator.is_valid(&as_json(text, &mut problems)), "{text}");
        assert!(read(text).is_err(), "{text}");
    }
    assert!(problems.is_empty());
}

/// The example of the design: all that a manifest can say, at once.
const EXAMPLE: &str = r#"
pipeline: orders
description: Large orders by country
stages:
  orders:
    source: file
    with: { path: data/orders.csv, format: csv, null: NA }
    schema: { amount: float, placed_at: timestamp }
    time: placed_at
    unknown: reject
  large:
    transform: ./guests/large
    from: orders
    with: { minimum: 100 }
    limits: { memory: 64MiB, fuel-per-record: 100k, batch-time: 250ms }
    grants:
      http: [api.example.com:443]
      env: { REGION: eu }
      dirs: [{ host: ./lookup, guest: /lookup, mode: ro }]
      secrets: [API_KEY]
    on-error: dead-letter
    retry: { attempts: 5, backoff: 100ms..10s }
    replicas: 2
    partition: key
    key: country
    place: { labels: { zone: edge } }
  by-country:
    transform: registry.example/acme/split@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    from: large
  out:
    sink: file
    from: by-country
    with: { path: out/large.jsonl }
  leftovers:
    sink: stdout
    from: by-country.unknown
    buffer: disk
checkpoint: { interval: 1s }
on-failure: stop
tests:
  - name: a small order is dropped
    feed: { stage: large, records: [{ amount: 3 }] }
    expect: { stage: large, records: [] }
"#;

#[test]
fn of_the_whole_example_only_what_is_to_come_is_refused() {
    let problems = read(EXAMPLE).unwrap_err();
    assert!(problems.iter().all(|problem| problem.code == "manifest::not-yet"), "{problems}");
    let said: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        said,
        [
            "`replicas` above 1 is not there yet in this version",
            "`partition` is not there yet in this version",
            "`place` is not there yet in this version",
            "`buffer: disk` is not there yet in this version",
        ]
    );
}

#[test]
fn the_example_without_what_is_to_come_is_a_pipeline() {
    let later = ["replicas:", "partition:", "place:", "buffer:"];
    let later = |line: &str| later.iter().any(|key| line.trim_start().starts_with(key));
    let text: String = EXAMPLE.lines().filter(|line| !later(line)).map(|line| format!("{line}\n")).collect();
    let pipeline = read(&text).unwrap_or_else(|problems| panic!("{}", problems.render(100, false)));
    assert_eq!(pipeline.stages.len(), 5);
    assert_eq!(pipeline.checkpoint.interval.to_string(), "1s");
    assert_eq!(pipeline.stage("orders").unwrap().with.value["null"], "NA");
    let retry = pipeline.stage("large").unwrap().retry;
    assert_eq!((retry.attempts, retry.backoff.to_string().as_str()), (5, "100ms..10s"));
    let grants = &pipeline.stage("large").unwrap().grants;
    let items: Vec<String> = grants.value.items().into_iter().collect();
    let expected =
        ["dir /lookup from ./lookup (ro)", "env REGION=eu", "http api.example.com:443", "secret API_KEY"];
    assert_eq!(items, expected);
    assert_eq!(under(&pipeline, grants.dirs[0]), "./lookup");
    assert_eq!(under(&pipeline, grants.secrets[0]), "API_KEY");
}

#[test]
fn what_editors_leave_in_files_does_no_harm() {
    let text = "pipeline: p\nstages:\n  in: { source: stdin }\n  out: { sink: stdout, from: in }\n";
    for variant in [
        format!("\u{feff}{text}"),
        text.replace('\n', "\r\n"),
        format!("---\n{text}...\n"),
        format!("%YAML 1.2\n---\n# a comment\n{text}"),
        text.trim_end().to_owned(),
    ] {
        let pipeline = read(&variant).unwrap_or_else(|problems| panic!("{}", problems.render(100, false)));
        assert_eq!(pipeline.stages.len(), 2);
        assert_eq!(under(&pipeline, pipeline.stages[1].name.span), "out", "{variant:?}");
    }
}

#[test]
fn a_pipeline_can_go_to_another_thread() {
    fn travels<T: Send + Sync + 'static>(_: &T) {}
    travels(&orders());
}
