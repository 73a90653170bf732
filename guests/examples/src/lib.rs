//! Runs what the documents of the stages show, natively: the `tests:` of `<stage>/pipeline.yaml`, and the configs
//! in `README.md`. Only tests use it. `conveyor test` runs the same pipelines on the components.

use std::path::Path;

use conveyor_sdk::testing::{self, TestRecord, Value, json};
use conveyor_sdk::{Field, Fields, Kind, TableTransform, Transform};
use expr::time;

/// The columns that the examples of `README.md` are over.
const README_COLUMNS: [(&str, Kind); 9] = [
    ("id", Kind::S64s),
    ("customer", Kind::Texts),
    ("email", Kind::Texts),
    ("country", Kind::Texts),
    ("status", Kind::Texts),
    ("amount", Kind::F64s),
    ("quantity", Kind::S64s),
    ("placed", Kind::Texts),
    ("tags", Kind::Jsons),
];

/// One case of a pipeline's `tests:`: what is fed to the stage, and what it gives by which ports.
#[derive(Debug)]
struct Case {
    name: String,
    feed: Vec<Value>,
    expect: Vec<(Option<String>, Vec<Value>)>,
}

#[derive(Debug)]
struct Pipeline {
    with: Value,
    fields: Vec<Field>,
    cases: Vec<Case>,
}

/// Runs the tests of `<stage>/pipeline.yaml` on a stage of tables.
pub fn run_tables<S: TableTransform>(stage: &str) {
    let Pipeline { with, fields, cases } = Pipeline::read(stage);
    for case in cases {
        let mut test =
            testing::table_transform::<S>(with.clone(), fields.clone()).expect("the config is taken");
        let outcome = test.run(case.feed).expect("the stage runs");
        for (port, expected) in case.expect {
            let port = port.unwrap_or_else(|| "main".to_owned());
            let fields = test.fields(&port);
            let found: Vec<Value> =
                outcome.rows(&port).into_iter().map(|row| written(row, &fields)).collect();
            assert_eq!(found, expected, "{stage}, {}: port {port}", case.name);
        }
    }
}

/// The same for a stage of bytes.
pub fn run_records<S: Transform>(stage: &str) {
    let Pipeline { with, cases, .. } = Pipeline::read(stage);
    for case in cases {
        let mut test = testing::transform::<S>(with.clone()).expect("the config is taken");
        let records = case.feed.iter().map(|record| TestRecord::from(record.as_str().expect("a text")));
        let outcome = test.run(records.collect::<Vec<_>>()).expect("the stage runs");
        for (port, expected) in case.expect {
            let port = port.unwrap_or_else(|| test.outputs()[0].clone());
            assert_eq!(json!(outcome.values(&port)), json!(expected), "{stage}, {}: port {port}", case.name);
        }
    }
}

/// Opens a stage of tables with each config that `README.md` shows for it.
pub fn open_tables<S: TableTransform>(stage: &str) {
    for with in readme(stage) {
        let fields: Vec<Field> = README_COLUMNS.iter().map(|(name, kind)| Field::new(*name, *kind)).collect();
        if let Err(failure) = testing::table_transform::<S>(with.clone(), fields) {
            panic!("README.md, {stage}: {with} is refused: {failure}");
        }
    }
}

/// The same for a stage of bytes.
pub fn open_records<S: Transform>(stage: &str) {
    for with in readme(stage) {
        if let Err(failure) = testing::transform::<S>(with.clone()) {
            panic!("README.md, {stage}: {with} is refused: {failure}");
        }
    }
}

/// The configs in the section of a stage.
fn readme(stage: &str) -> Vec<Value> {
    let text = file("README.md");
    let heading = format!("### {stage}\n");
    let (_, section) =
        text.split_once(&heading).unwrap_or_else(|| panic!("README.md has no section {stage}"));
    let section = section.split("\n### ").next().unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let examples: Vec<Value> = section
        .split("```yaml\n")
        .skip(1)
        .map(|example| yaml(example.split("```").next().unwrap_or_default())["with"].clone())
        .collect();
    assert!(!examples.is_empty(), "README.md shows no config of {stage}");
    examples
}

impl Pipeline {
    fn read(stage: &str) -> Self {
        let manifest = yaml(&file(&format!("{stage}/pipeline.yaml")));
        let stages = manifest["stages"].as_object().expect("stages");
        let (name, under_test) =
            stages.iter().find(|(_, stage)| stage["transform"] == "./").expect("the stage of this directory");
        let source = stages.values().find(|stage| !stage["source"].is_null()).expect("a source");
        let columns = source["schema"].as_object().into_iter().flatten();
        let fields = columns.map(|(name, kind)| Field::new(name, kind_of(kind.as_str().unwrap_or_default())));
        let cases = list(&manifest["tests"]).iter().map(|case| Case::read(case, name)).collect();
        Pipeline { with: under_test["with"].clone(), fields: fields.collect(), cases }
    }
}

impl Case {
    fn read(case: &Value, stage: &str) -> Self {
        assert_eq!(case["feed"]["stage"], stage, "the stage of this directory is fed");
        let expect = list(&case["expect"]).iter().map(|expect| {
            let from = expect["stage"].as_str().expect("a stage");
            let port = from.strip_prefix(stage).expect("the stage of this directory").strip_prefix('.');
            (port.map(str::to_owned), list(&expect["records"]).to_vec())
        });
        Case {
            name: case["name"].as_str().unwrap_or_default().to_owned(),
            feed: list(&case["feed"]["records"]).to_vec(),
            expect: expect.collect(),
        }
    }
}

/// A list, or one in place of a list.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice)
}

fn kind_of(name: &str) -> Kind {
    match name {
        "bool" => Kind::Bools,
        "int" => Kind::S64s,
        "float" => Kind::F64s,
        "text" => Kind::Texts,
        "json" => Kind::Jsons,
        other => panic!("`{other}` is a type that no example had before: add it here"),
    }
}

/// A row as a host writes it: times as text.
fn written(mut row: Value, fields: &Fields) -> Value {
    for field in fields.iter().filter(|field| matches!(field.kind, Kind::Times | Kind::Days)) {
        let Some(number) = row[&field.name].as_i64() else { continue };
        let mut text = Vec::new();
        match field.kind {
            Kind::Times => time::write_timestamp(number, &mut text),
            _ => time::write_date(number, &mut text),
        }
        row[&field.name] = String::from_utf8_lossy(&text).into_owned().into();
    }
    row
}

/// With variables replaced: by what is said to stand for them, or a key that is long enough.
fn yaml(text: &str) -> Value {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some((before, variable)) = rest.split_once("${") {
        let (variable, after) = variable.split_once('}').expect("the end of a variable");
        replaced.push_str(before);
        replaced.push_str(variable.split_once(":-").map_or("a key of enough bytes", |(_, default)| default));
        rest = after;
    }
    replaced.push_str(rest);
    serde_saphyr::from_str(&replaced).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
