//! Plans of small pipelines, and everything that can be wrong with them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::*;
use crate::diagnostics::Diagnostics;
use crate::manifest::{self, Context, Pipeline};
use crate::outcome::OutputColumn;
use crate::stage::PortPlan;

fn pipeline(text: &str) -> Pipeline {
    let context =
        Context { sources: &["file", "stdin"], sinks: &["file", "stdout", "discard"], env: &|_| None };
    manifest::parse("pipeline.yaml", text, &context)
        .unwrap_or_else(|problems| panic!("the manifest is wrong:\n{}", problems.render(100, false)))
}

/// What each stage answers, by name.
#[derive(Default)]
struct Script {
    forms: HashMap<&'static str, Form>,
    answers: HashMap<&'static str, Answer>,
}

impl Script {
    fn with(mut self, stage: &'static str, form: Form, answer: Answer) -> Self {
        self.forms.insert(stage, form);
        self.answers.insert(stage, answer);
        self
    }

    fn plan(&self, pipeline: &Pipeline) -> Result<Plan, Diagnostics> {
        self.drive(Planner::new(pipeline, self.forms(pipeline)), pipeline)
    }

    fn forms(&self, pipeline: &Pipeline) -> Vec<Form> {
        pipeline.stages.iter().map(|s| *self.forms.get(s.name.as_str()).unwrap_or(&Form::Any)).collect()
    }

    fn drive(&self, mut planner: Planner<'_>, pipeline: &Pipeline) -> Result<Plan, Diagnostics> {
        while let Some(ask) = planner.next_ask() {
            let name = pipeline.stages[ask.stage].name.as_str();
            let answer = self.answers.get(name).cloned();
            planner.answer(answer.unwrap_or(Answer::BuiltInSink { columns: true }));
        }
        planner.finish()
    }
}

fn rows(columns: &[(&str, DataType)]) -> Stream {
    let fields: Vec<Field> =
        columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect();
    Stream::Rows(Arc::new(Schema::new(fields)))
}

fn orders() -> Answer {
    Answer::Source(rows(&[
        ("id", DataType::Int64),
        ("amount", DataType::Utf8),
        ("country", DataType::Utf8),
        ("note", DataType::Utf8),
    ]))
}

fn spec(name: &str, kind: Kind) -> FieldSpec {
    FieldSpec { name: name.into(), kind, nullable: true, logical: String::new() }
}

fn port(name: &str) -> PortPlan {
    PortPlan { name: name.into(), select: None, set: vec![] }
}

fn table(wanted: Vec<FieldSpec>, outputs: Vec<PortPlan>) -> Answer {
    Answer::Transform(TransformPlan { wanted, times: false, keys: false, headers: false, outputs })
}

fn bytes(outputs: Vec<PortPlan>) -> Answer {
    table(vec![], outputs)
}

fn names(stream: &Stream) -> Vec<String> {
    match stream {
        Stream::Opaque => vec!["(opaque)".into()],
        Stream::Rows(schema) => schema.fields().iter().map(|field| field.name().clone()).collect(),
    }
}

const LINEAR: &str = "
pipeline: p
stages:
  in: { source: file, with: { path: a.csv } }
  large: { transform: ./large.wasm, from: in }
  brief: { transform: ./brief.wasm, from: large }
  out: { sink: file, from: brief, with: { path: o } }
";

fn linear() -> Script {
    let brief = PortPlan {
        name: "out".into(),
        select: Some(vec![("nr".into(), "id".into()), ("land".into(), "country".into())]),
        set: vec![spec("land", Kind::Texts), spec("tag", Kind::S64s)],
    };
    Script::default()
        .with("in", Form::Any, orders())
        .with("large", Form::Table, table(vec![spec("amount", Kind::F64s)], vec![port("out")]))
        .with("brief", Form::Table, table(vec![], vec![brief]))
}

#[test]
fn only_columns_that_somebody_wants_leave_the_source() {
    let pipeline = pipeline(LINEAR);
    let plan = linear().plan(&pipeline).expect("a plan");
    let Work::Source(source) = &plan.stages[0].work else { panic!("a source") };
    assert_eq!(source.wanted, Some(vec![0, 1]), "`country` is set anew and `note` is never read");
    assert_eq!(names(&plan.stages[1].input), ["id", "amount"]);
    assert_eq!(names(&plan.stages[2].input), ["id"], "what only the first stage reads stays there");
    assert_eq!(names(&plan.stages[3].input), ["nr", "land", "tag"]);
    assert_eq!(plan.chains, [Chain { stages: vec![0, 1, 2, 3] }]);

    let Work::Transform(large) = &plan.stages[1].work else { panic!("a transform") };
    assert_eq!(
        large.mapping.columns,
        [MappedColumn { input: 1, kind: Kind::F64s, cast: true, required: false }]
    );
    assert_eq!(large.outputs[0].columns, [OutputColumn::Input(0)]);
    let Work::Transform(brief) = &plan.stages[2].work else { panic!("a transform") };
    let expected = [OutputColumn::Input(0), OutputColumn::Set(0), OutputColumn::Set(1)];
    assert_eq!(brief.outputs[0].columns, expected);
    assert_eq!(brief.outputs[0].set, [DataType::Utf8, DataType::Int64]);
}

#[test]
fn a_plan_that_keeps_all_leaves_every_column_in() {
    let pipeline = pipeline(LINEAR);
    let script = linear();
    let planner = Planner::new(&pipeline, script.forms(&pipeline)).keeping_all();
    let plan = script.drive(planner, &pipeline).expect("a plan");
    assert_eq!(names(&plan.stages[0].ports[0].stream), ["id", "amount", "country", "note"]);
    assert_eq!(names(&plan.stages[1].ports[0].stream), ["id", "amount", "country", "note"]);
    assert_eq!(names(&plan.stages[2].input), ["id"], "a stage still gets only what is read");
}

#[test]
fn a_sink_that_reads_nothing_wants_no_column() {
    let pipeline =
        pipeline("pipeline: p\nstages:\n  in: { source: file }\n  out: { sink: discard, from: in }\n");
    let script = Script::default().with("in", Form::Any, orders()).with(
        "out",
        Form::Any,
        Answer::BuiltInSink { columns: false },
    );
    let plan = script.plan(&pipeline).expect("a plan");
    let Work::Source(source) = &plan.stages[0].work else { panic!("a source") };
    assert_eq!(source.wanted, Some(vec![]));
}

#[test]
fn the_key_column_is_read_where_it_is_set() {
    let text = LINEAR.replace("source: file,", "source: file, key: note,");
    let pipeline = pipeline(&text);
    let plan = linear().plan(&pipeline).expect("a plan");
    let Work::Source(source) = &plan.stages[0].work else { panic!("a source") };
    assert_eq!(source.wanted, Some(vec![0, 1, 3]));
    assert_eq!(source.key, Some(Key::Column(2)), "the key's index is one into the wanted columns");
}

#[test]
fn neighbours_that_differ_are_converted() {
    let pipeline = pipeline(
        "
pipeline: p
stages:
  in: { source: file }
  raw: { transform: ./raw.wasm, from: in }
  typed: { transform: ./typed.wasm, from: raw, schema: { id: int, amount: float, note: text }, unknown: ignore }
  out: { sink: stdout, from: typed }
",
    );
    let only_id = PortPlan { select: Some(vec![("id".into(), "id".into())]), ..port("out") };
    let script = Script::default()
        .with("in", Form::Any, orders())
        .with("raw", Form::Bytes, bytes(vec![port("out")]))
        .with("typed", Form::Table, table(vec![spec("amount", Kind::F64s)], vec![only_id]));
    let plan = script.plan(&pipeline).expect("a plan");
    assert_eq!(plan.edges[0].conversion, Conversion::RowsToJson);
    let Work::Source(source) = &plan.stages[0].work else { panic!("a source") };
    assert_eq!(source.wanted, Some(vec![0, 1, 2, 3]), "JSON takes every column");
    let Conversion::JsonToRows { schema, declared, unknown } = &plan.edges[1].conversion else {
        panic!("{:?}", plan.edges[1].conversion)
    };
    assert_eq!((schema.fields().len(), declared.fields().len()), (2, 3), "`note` is not decoded");
    assert_eq!(*unknown, UnknownFields::Ignore);
    assert_eq!(names(&plan.stages[3].input), ["id"]);
}

#[test]
fn ports_that_want_different_columns_share_one_stream() {
    let pipeline = pipeline(
        "
pipeline: p
stages:
  in: { source: file }
  split: { transform: ./split.wasm, from: in }
  a: { transform: ./a.wasm, from: split }
  b: { transform: ./b.wasm, from: split.rest }
  both: { sink: stdout, from: [a, b] }
",
    );
    let select = |old: &str| PortPlan { select: Some(vec![("x".into(), old.into())]), ..port("out") };
    let script = Script::default()
        .with("in", Form::Any, orders())
        .with("split", Form::Table, table(vec![spec("id", Kind::S64s)], vec![port("out"), port("rest")]))
        .with("a", Form::Table, table(vec![], vec![select("country")]))
        .with("b", Form::Table, table(vec![], vec![select("note")]));
    let plan = script.plan(&pipeline).expect("a plan");
    assert_eq!(names(&plan.stages[1].input), ["id", "country", "note"]);
    assert_eq!(names(&plan.stages[2].input), ["country"]);
    assert_eq!(names(&plan.stages[3].input), ["note"]);
    assert_eq!(plan.chains, [Chain { stages: vec![0, 1, 2, 3] }, Chain { stages: vec![4] }]);
    let meets: Vec<bool> = plan.edges.iter().map(|edge| edge.meets).collect();
    assert_eq!(meets, [false, false, false, true, true], "two arms of one source meet in `both`");
}

#[test]
fn an_edge_leaves_out_what_only_its_neighbour_wants() {
    let pipeline = pipeline(
        "
pipeline: p
stages:
  in: { source: file }
  a: { transform: ./a.wasm, from: in }
  b: { transform: ./b.wasm, from: in }
  oa: { sink: stdout, from: a }
  ob: { sink: stdout, from: b }
",
    );
    let select = |old: &str| PortPlan { select: Some(vec![("x".into(), old.into())]), ..port("out") };
    let script = Script::default()
        .with("in", Form::Any, orders())
        .with("a", Form::Table, table(vec![], vec![select("country")]))
        .with("b", Form::Table, table(vec![], vec![select("note")]));
    let plan = script.plan(&pipeline).expect("a plan");
    assert_eq!(names(&plan.stages[0].ports[0].stream), ["country", "note"]);
    assert_eq!(plan.edges[0].project, Some(vec![0]));
    assert_eq!(plan.edges[1].project, Some(vec![1]));
}

/// Whether a text is a time would be found out where somebody asks for times, and only there.
#[test]
fn a_time_is_taken_from_a_column_that_has_times() {
    let columns = [
        ("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("day", DataType::Date32),
        ("note", DataType::Utf8),
        ("tag", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))),
        ("id", DataType::Int64),
    ];
    let script = Script::default().with("in", Form::Any, Answer::Source(rows(&columns)));
    for (column, expected) in [
        ("at", None),
        ("day", None),
        ("note", Some(("`note` is text", "declare `schema: { note: timestamp }`, or name a column"))),
        ("tag", Some(("`tag` is text", "declare `schema: { tag: timestamp }`"))),
        ("id", Some(("`id` is Int64, which is no time", "name a column of type timestamp or date"))),
    ] {
        let text = format!(
            "pipeline: p\nstages:\n  in: {{ source: file, time: {column} }}\n  out: {{ sink: discard, from: in }}\n"
        );
        let told = script.plan(&pipeline(&text)).err().map(|problems| problems.render(100, false));
        match (told, expected) {
            (None, None) => {}
            (Some(told), Some((why, help))) => {
                assert!(told.contains(why) && told.contains(help), "{column}: {told}")
            }
            (told, _) => panic!("{column}: {told:?}"),
        }
    }
}

/// All problems of one pipeline come together, each with its line.
#[test]
fn everything_that_does_not_fit_is_told() {
    let pipeline = pipeline(
        "
pipeline: p
stages:
  in: { source: file, time: note, key: contry }
  large: { transform: ./large.wasm, from: in }
  split: { transform: ./split.wasm, from: in2 }
  in2: { source: file }
  a: { sink: stdout, from: split.lage }
  b: { sink: stdout, from: split }
  meet: { transform: ./meet.wasm, from: [split.large, in3] }
  in3: { source: stdin }
  typed: { transform: ./typed.wasm, from: in3 }
  c: { sink: stdout, from: [typed, large, meet] }
  no-config: { transform: ./no.wasm, from: in2, with: { limit: x } }
  d: { sink: stdout, from: no-config }
  wants: { transform: ./wants.wasm, from: in2, schema: { a: int } }
  e: { sink: stdout, from: wants }
",
    );
    let refused = Answer::Refused {
        pointer: "/limit".into(),
        message: "`limit` is a number".into(),
        help: "give a number".into(),
    };
    let bad_out = PortPlan { select: Some(vec![("x".into(), "nope".into())]), ..port("out") };
    let script = Script::default()
        .with("in", Form::Any, orders())
        .with("in2", Form::Any, orders())
        .with("in3", Form::Any, Answer::Source(Stream::Opaque))
        .with("split", Form::Table, table(vec![], vec![port("small"), port("large"), port("other")]))
        .with("no-config", Form::Table, refused)
        .with(
            "wants",
            Form::Table,
            table(vec![spec("amuont", Kind::F64s), spec("id", Kind::Blobs)], vec![bad_out]),
        )
        .with("typed", Form::Table, table(vec![], vec![port("out")]))
        .with("meet", Form::Any, table(vec![], vec![port("out")]));
    let problems = script.plan(&pipeline).expect_err("nothing fits");
    insta::assert_snapshot!(problems.render(100, false));
}

/// The plan as `graph` could print it, pinned: a change here changes what runs.
#[test]
fn a_plan_is_the_same_every_time() {
    let pipeline = pipeline(LINEAR);
    let text = |plan: &Plan| {
        let mut text = String::new();
        for stage in &plan.stages {
            let _ = writeln!(
                text,
                "{} {:?} -> {:?}",
                stage.name,
                names(&stage.input),
                stage.ports.iter().map(|p| names(&p.stream)).collect::<Vec<_>>()
            );
        }
        text
    };
    let first = text(&linear().plan(&pipeline).expect("a plan"));
    insta::assert_snapshot!(first, @r#"
    in ["(opaque)"] -> [["id", "amount"]]
    large ["id", "amount"] -> [["id"]]
    brief ["id"] -> [["nr", "land", "tag"]]
    out ["nr", "land", "tag"] -> []
    "#);
    for _ in 0..8 {
        assert_eq!(text(&linear().plan(&pipeline).expect("a plan")), first);
    }
}
