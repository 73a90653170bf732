//! The proof of the contract: the same two stages in five languages, with the same input, answer the same.
//!
//! What each rule is, `guests/contract/README.md` says. Rust is the reference, and its own answers are pinned
//! here, so that all five cannot be wrong together.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float64Array, MapArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use engine::{Call, CallError, Component, Engine, EngineOptions, Lease, Pool, StageLimits, StageSetup};
use model::batch::Column;
use model::fields::{FieldSpec, Kind};
use model::outcome::{Forwarded, Origins, Outcome};
use model::stage::{StagePlan, TransformPlan, header_fields};
use serde_json::{Value, json};

use crate::guests::{dir as guests_dir, guest};

const LANGUAGES: [&str; 5] = ["rust", "c", "go", "js", "py"];

/// Interpreted languages spend more on a call than compiled ones: what they answer is tested, not their cost.
fn limits() -> StageLimits {
    StageLimits {
        memory_bytes: 256 << 20,
        fuel_per_call: 10_000_000_000,
        batch_time: std::time::Duration::from_secs(60),
        ..StageLimits::default()
    }
}

/// One for all tests, with compiled code kept beside the guests, since the interpreters take seconds.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let cache_dir = Some(guests_dir().join("compiled"));
    let options = EngineOptions { cache_dir, instances_max: 16, ..EngineOptions::default() };
    Engine::new(options).expect("an engine")
});

async fn load(language: &str, form: &str) -> Component {
    let name = format!("contract/{language}-{form}");
    ENGINE.load(guest(&name)).await.unwrap_or_else(|error| panic!("{name}: {error}"))
}

async fn plan(
    component: &Component,
    config: &Value,
    input: &[FieldSpec],
) -> Result<TransformPlan, CallError> {
    match component.plan(config, input, &limits()).await? {
        StagePlan::Transform(plan) => Ok(plan),
        other => panic!("{other:?}"),
    }
}

async fn lease(component: &Component, config: &Value, input: &[FieldSpec]) -> (TransformPlan, Lease) {
    let plan = plan(component, config, input).await.expect("a plan");
    let setup = StageSetup {
        pipeline: Arc::from("contract"),
        stage: Arc::from("stage"),
        config: config.clone(),
        input: input.to_vec(),
        plan: plan.clone(),
        limits: limits(),
        access: engine::Access::default(),
        state: None,
    };
    let lease = Pool::new(component.clone(), setup).lease().await.expect("an instance");
    (plan, lease)
}

/// An answer as a text that shows every value of it.
fn shown(answer: Result<Outcome, CallError>) -> String {
    match answer {
        Ok(outcome) => format!("{outcome:#?}"),
        Err(error) => format!("{error}"),
    }
}

#[track_caller]
fn all_the_same(what: &str, answers: &[(&str, String)]) {
    let (_, reference) = &answers[0];
    for (language, answer) in &answers[1..] {
        assert!(answer == reference, "{what}: {language} answers\n{answer}\nand rust\n{reference}");
    }
}

/// Records that meet every rule, with times, keys and headers.
struct Records {
    rows: usize,
    times: Column,
    keys: Column,
    headers: Column,
    values: [Column; 1],
}

fn records(values: &[Option<&str>], dropped: &[usize]) -> Records {
    let rows = values.len();
    let times = TimestampMicrosecondArray::from_iter_values((0..rows as i64).map(|row| row * 1000 - 1500));
    let keys: BinaryArray = (0..rows).map(|row| (row % 3 != 1).then(|| format!("key-{row}"))).collect();
    let (entry, fields) = header_fields();
    let (mut names, mut bytes, mut offsets) = (Vec::new(), Vec::new(), vec![0i32]);
    for row in 0..rows {
        if row % 4 == 3 {
            names.push("trace");
            bytes.push(format!("t{row}").into_bytes());
        }
        if dropped.contains(&row) {
            names.push("drop");
            bytes.push(Vec::new());
        }
        offsets.push(names.len() as i32);
    }
    let names: ArrayRef = Arc::new(StringArray::from(names));
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(bytes));
    let entries = StructArray::try_new(fields, vec![names, bytes], None).expect("entries");
    let headers =
        MapArray::try_new(entry, OffsetBuffer::new(offsets.into()), entries, None, false).expect("a map");
    let values: BinaryArray = values.iter().map(|value| value.map(str::as_bytes)).collect();
    Records {
        rows,
        times: Column::new(Arc::new(times)),
        keys: Column::new(Arc::new(keys)),
        headers: Column::new(Arc::new(headers)),
        values: [Column::new(Arc::new(values))],
    }
}

impl Records {
    fn call(&self) -> Call<'_> {
        let Self { rows, times, keys, headers, values } = self;
        Call { rows: *rows, times: Some(times), keys: Some(keys), headers: Some(headers), columns: values }
    }

    fn bare(&self) -> Call<'_> {
        Call { times: None, keys: None, headers: None, ..self.call() }
    }
}

#[tokio::test]
async fn stages_of_bytes_in_five_languages_answer_the_same() {
    let config = json!({ "keep": "k", "separator": ";", "busy": "b" });
    let mixed = records(
        &[
            Some("k one"),
            Some("x"),
            None,
            Some(""),
            Some("k;two"),
            Some("kk;;x"),
            Some("k drop"),
            Some("k;;"),
        ],
        &[6],
    );
    let all = records(&[Some("k1"), Some("k2"), Some("k3")], &[]);
    let busy = records(&[Some("k1"), Some("busy")], &[]);
    let none = records(&[], &[]);
    let (mut plans, mut answers) = (Vec::new(), Vec::new());
    for language in LANGUAGES {
        let component = load(language, "bytes").await;
        let (plan, mut lease) = lease(&component, &config, &[]).await;
        plans.push((language, format!("{plan:#?}")));
        let calls = [mixed.call(), mixed.bare(), all.call(), none.call(), busy.call()];
        for (number, call) in calls.into_iter().enumerate() {
            let answer = lease.process(call).await;
            if let ("rust", 0, Ok(outcome)) = (language, number, &answer) {
                check_bytes(outcome);
            }
            answers.push((number, language, shown(answer)));
        }
    }
    all_the_same("the plan", &plans);
    for number in 0..5 {
        let same: Vec<_> =
            answers.iter().filter(|(n, ..)| *n == number).map(|(_, l, a)| (*l, a.clone())).collect();
        all_the_same(&format!("batch {number}"), &same);
    }
    let (_, _, busy) = answers.iter().find(|(number, ..)| *number == 4).expect("the busy batch");
    assert_eq!(busy, "it asks for another try after 250 ms: record 1 asks for another try");
}

/// What the rules say of the mixed batch.
fn check_bytes(outcome: &Outcome) {
    let [main, deleted] = &*outcome.emissions else { panic!("two emissions, not {:?}", outcome.emissions) };
    assert_eq!(main.forwarded, Forwarded::These(vec![0]));
    assert_eq!(main.origins, Origins::These(vec![4, 4, 5, 5, 7, 7]));
    let made: Vec<&[u8]> = main.made.set[0].as_binary::<i32>().iter().flatten().collect();
    assert_eq!(made, [&b"k"[..], b"two", b"kk", b";x", b"k", b";"]);
    assert_eq!((deleted.port, &deleted.forwarded), (1, &Forwarded::These(vec![2])));
    let rejected: Vec<(u32, &str)> = outcome.rejections.iter().map(|r| (r.row, r.code.as_str())).collect();
    assert_eq!(rejected, [(3, "empty")]);
}

fn field(name: &str, kind: Kind, nullable: bool) -> FieldSpec {
    FieldSpec { name: name.into(), kind, nullable, logical: String::new() }
}

#[tokio::test]
async fn stages_of_tables_in_five_languages_answer_the_same() {
    let config = json!({ "minimum": 10.5 });
    let input = [
        field("id", Kind::S64s, false),
        field("amount", Kind::F64s, true),
        field("note", Kind::Texts, true),
        field("country", Kind::Texts, true),
    ];
    let amounts = [Some(11.0), None, Some(-1.0), Some(3.0), Some(10.5), Some(99.0), Some(20.0), Some(0.0)];
    let countries =
        [Some("de"), Some("fr"), None, Some("it"), None, Some("es+pt+größe"), Some(""), Some("+")];
    let column = |array: ArrayRef| Column::new(array);
    let columns = [
        column(Arc::new(Float64Array::from(amounts.to_vec()))),
        column(Arc::new(StringArray::from(countries.to_vec()))),
    ];
    let times = column(Arc::new(TimestampMicrosecondArray::from_iter_values(0..8)));
    let empty = [column(columns[0].values().slice(0, 0)), column(columns[1].values().slice(0, 0))];
    let (mut plans, mut answers) = (Vec::new(), Vec::new());
    for language in LANGUAGES {
        let component = load(language, "table").await;
        let (plan, mut lease) = lease(&component, &config, &input).await;
        plans.push((language, format!("{plan:#?}")));
        let with_times = Call { rows: 8, times: Some(&times), columns: &columns, ..Call::default() };
        let calls = [
            with_times,
            Call { rows: 8, columns: &columns, ..Call::default() },
            Call { columns: &empty, ..Call::default() },
        ];
        for (number, call) in calls.into_iter().enumerate() {
            let answer = lease.process(call).await;
            if let ("rust", 0, Ok(outcome)) = (language, number, &answer) {
                check_table(outcome);
            }
            answers.push((number, language, shown(answer)));
        }
    }
    all_the_same("the plan", &plans);
    for number in 0..3 {
        let same: Vec<_> =
            answers.iter().filter(|(n, ..)| *n == number).map(|(_, l, a)| (*l, a.clone())).collect();
        all_the_same(&format!("batch {number}"), &same);
    }
}

fn check_table(outcome: &Outcome) {
    let [large, small] = &*outcome.emissions else { panic!("two emissions, not {:?}", outcome.emissions) };
    assert_eq!(large.forwarded, Forwarded::These(vec![0, 4, 6]));
    let regions: Vec<&str> = large.set[0].as_string::<i32>().iter().flatten().collect();
    assert_eq!(regions, ["DE", "unknown", ""]);
    assert_eq!(large.origins, Origins::These(vec![5, 5, 5]));
    let made: Vec<&str> = large.made.set[0].as_string::<i32>().iter().flatten().collect();
    assert_eq!(made, ["ES", "PT", "GRößE"]);
    assert_eq!(small.forwarded, Forwarded::These(vec![3, 7]));
    let codes: Vec<(u32, &str)> = outcome.rejections.iter().map(|r| (r.row, r.code.as_str())).collect();
    assert_eq!(codes, [(1, "no-amount"), (2, "negative-amount")]);
}

/// What a stage says of a config or of fields that it cannot work with.
#[tokio::test]
async fn refusals_in_five_languages_are_the_same() {
    let amount = field("amount", Kind::F64s, true);
    let country = field("country", Kind::Texts, true);
    let tables: [(Value, Vec<FieldSpec>); 5] = [
        (json!([1]), vec![]),
        (json!({ "minimum": "10" }), vec![]),
        (json!({ "minimum": 1 }), vec![country.clone()]),
        (json!({ "minimum": 1 }), vec![amount.clone(), field("country", Kind::F64s, true)]),
        (json!({ "minimum": 1 }), vec![field("amount", Kind::Texts, true), country.clone()]),
    ];
    let bytes = [json!("k"), json!({}), json!({ "keep": "kk" }), json!({ "keep": "k", "separator": 7 })];
    for (form, cases) in
        [("table", tables.to_vec()), ("bytes", bytes.map(|config| (config, vec![])).to_vec())]
    {
        let mut answers: Vec<Vec<(&str, String)>> = vec![Vec::new(); cases.len()];
        for language in LANGUAGES {
            let component = load(language, form).await;
            for (number, (config, input)) in cases.iter().enumerate() {
                let refusal = match plan(&component, config, input).await {
                    Err(error @ CallError::Failure(_)) => error.to_string(),
                    other => panic!("{language}-{form} takes {config}: {other:?}"),
                };
                answers[number].push((language, refusal));
            }
        }
        for ((config, _), answers) in cases.iter().zip(&answers) {
            all_the_same(&format!("{form}, config {config}"), answers);
        }
    }
}
