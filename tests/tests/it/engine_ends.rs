//! Components as sources and sinks.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array};
use engine::{
    Call, CallError, Component, PullBounds, PulledBatch, SinkContext, SinkDriver, SinkSetup, SourceDriver,
    SourceSetup, SplitStart, StageLimits,
};
use model::batch::Column;
use model::fields::{FieldSpec, Kind};
use model::ids::RecordId;
use model::outcome::Rejection;
use model::stage::{SinkPlan, SourcePlan, StageKind, StagePlan};
use serde_json::json;

use crate::guests::load;

fn bounds(records_max: u32) -> PullBounds {
    PullBounds { records_max, bytes_max: 1 << 20, wait: Duration::from_millis(5) }
}

async fn source_plan(component: &Component, what: &str) -> Result<SourcePlan, CallError> {
    match component.plan(&json!({ "do": what }), &[], &StageLimits::default()).await? {
        StagePlan::Source(plan) => Ok(plan),
        other => panic!("{other:?}"),
    }
}

async fn source(component: &Component, what: &str, wanted: &[u32]) -> Result<SourceDriver, CallError> {
    let schema = source_plan(component, what).await?.schema.unwrap_or_default();
    let setup = SourceSetup {
        pipeline: "p".into(),
        stage: "in".into(),
        config: json!({ "do": what }),
        schema,
        wanted: wanted.to_vec(),
        limits: StageLimits::default(),
        access: engine::Access::default(),
    };
    SourceDriver::open(component, setup).await
}

fn split(name: &str, cursor: Option<u8>) -> SplitStart {
    SplitStart { name: name.into(), cursor: cursor.map(|cursor| vec![cursor]) }
}

fn texts(batch: &PulledBatch) -> Vec<String> {
    let values = batch.columns[0].as_binary::<i32>();
    values.iter().map(|value| String::from_utf8_lossy(value.expect("a value")).into_owned()).collect()
}

#[tokio::test]
async fn a_source_of_bytes_reads_its_splits_from_their_cursors() {
    let component = load("probe-source").await;
    assert_eq!(component.kind(), StageKind::Source);
    let plan = source_plan(&component, "read").await.expect("a plan");
    assert_eq!(plan, SourcePlan { schema: None, splits: vec!["a".into(), "b".into()] });
    let mut source = source(&component, "read", &[]).await.expect("a source");
    assert!(source.pull(bounds(4)).await.expect("nothing yet").is_none(), "read before it was assigned");
    source.assign(&[split("a", Some(6)), split("b", None)]).await.expect("assigned");
    let mut seen = Vec::new();
    while let Some(batch) = source.pull(bounds(3)).await.expect("an answer") {
        assert_eq!(batch.rows, batch.offsets.len());
        assert_eq!(batch.times.as_ref().map(|times| times.len()), Some(batch.rows));
        assert!(batch.keys.is_none() && batch.headers.is_none());
        assert_eq!(batch.ended, batch.cursor == [10]);
        seen.push((batch.split, texts(&batch).join(" ")));
    }
    let expected =
        [(0, "a:6 a:7 a:8"), (0, "a:9"), (1, "b:0 b:1 b:2"), (1, "b:3 b:4 b:5"), (1, "b:6 b:7 b:8")];
    let expected = expected.into_iter().chain([(1, "b:9")]).map(|(split, text)| (split, text.to_owned()));
    assert_eq!(seen, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_source_hears_what_is_durable_and_tells_what_it_refuses() {
    let component = load("probe-source").await;
    let mut said = source(&component, "said", &[]).await.expect("a source");
    said.committed(1, b"xy").await.expect("heard");
    let error = said.pull(bounds(1)).await.expect_err("it says what it heard");
    assert_eq!(error.to_string(), "it cannot work with this: [(1, [120, 121])]");
    let mut refusing = source(&component, "refuse", &[]).await.expect("a source");
    refusing.assign(&[split("a", None)]).await.expect("assigned");
    let batch = refusing.pull(bounds(3)).await.expect("an answer").expect("records");
    assert_eq!(texts(&batch), ["a:0", "a:1"]);
    let refused = &batch.refused[0];
    assert_eq!((refused.offset, &*refused.code, &*refused.raw), (2, "torn", &b"raw"[..]));
}

#[tokio::test]
async fn a_source_that_breaks_the_contract_is_told_by_what_is_wrong() {
    let component = load("probe-source").await;
    let cases = [
        ("bad-split", "split 9, 1 are assigned"),
        ("bad-offsets", "offset 1 of what it pulled is 1 after 2"),
        ("bad-count", "the list of offsets has 2 values for 3 rows"),
        ("bad-times", "the times: an empty list for 3 rows; what is not there is said with none"),
        ("bad-keys", "the keys: an empty list for 3 rows"),
        ("die", "it trapped"),
    ];
    for (what, expected) in cases {
        let mut source = source(&component, what, &[]).await.expect("a source");
        source.assign(&[split("a", None)]).await.expect("assigned");
        let error = source.pull(bounds(3)).await.expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
        if what == "die" {
            let error = source.pull(bounds(3)).await.expect_err("it is dead");
            assert_eq!(error.code(), "cannot-start", "{error}");
        }
    }
    let error = source_plan(&component, "splits-twice").await.expect_err("refused").to_string();
    assert!(error.contains("splits: `a` is there twice"), "{error}");
    let Err(error) = source(&component, "open-fatal", &[]).await else { panic!("it was opened") };
    assert_eq!(error.to_string(), "it gave up: there is nothing to read");
}

#[tokio::test]
async fn a_source_of_tables_gives_the_wanted_columns_alone() {
    let component = load("probe-table-source").await;
    let plan = source_plan(&component, "read").await.expect("a plan");
    let names: Vec<String> = plan.schema.expect("a schema").iter().map(ToString::to_string).collect();
    assert_eq!(names, ["n: s64s", "half: f64s", "name: texts"]);
    let mut driver = source(&component, "read", &[2, 0]).await.expect("a source");
    driver.assign(&[split("all", None)]).await.expect("assigned");
    let batch = driver.pull(bounds(100)).await.expect("an answer").expect("rows");
    assert_eq!(batch.columns[0].as_string::<i32>().value(9), "j");
    assert_eq!(*batch.columns[1], Int64Array::from_iter_values(0..10));
    assert_eq!((batch.columns.len(), batch.offsets[9]), (2, 63));
    let mut few = source(&component, "read", &[0]).await.expect("a source");
    few.assign(&[split("all", None)]).await.expect("assigned");
    let error = few.pull(bounds(9)).await.expect_err("it gave more than it was asked for").to_string();
    assert!(error.contains("10 of them, at most 9"), "{error}");
    let Err(error) = source(&component, "read", &[3]).await else { panic!("there is no fourth column") };
    assert_eq!(error.code(), "cannot-start", "{error}");
}

async fn sink(component: &Component, input: &[FieldSpec], context: SinkContext) -> (SinkDriver, SinkPlan) {
    let config = json!({ "do": "write" });
    let plan = component.plan(&config, input, &StageLimits::default()).await.expect("a plan");
    let StagePlan::Sink(plan) = plan else { panic!("{plan:?}") };
    let setup = SinkSetup {
        pipeline: "p".into(),
        stage: "out".into(),
        config,
        input: input.to_vec(),
        plan: plan.clone(),
        context,
        limits: StageLimits::default(),
        access: engine::Access::default(),
    };
    (SinkDriver::open(component, setup).await.expect("a sink"), plan)
}

#[tokio::test]
async fn a_sink_of_bytes_gets_what_it_asked_for_and_names_what_it_wrote() {
    let component = load("probe-sink").await;
    let context = SinkContext { replica: 1, replicas: 2, epoch: 7, committed: vec![b"t".to_vec()] };
    let (mut sink, plan) = sink(&component, &[], context).await;
    assert_eq!((plan.keys, plan.times, plan.ids, plan.commits), (true, false, true, true));
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(["one", "", "three"]));
    let keys = Column::new(Arc::new(BinaryArray::from_iter_values(["x", "y", "z"])));
    let columns = [Column::new(values)];
    let call = Call { rows: 3, keys: Some(&keys), columns: &columns, ..Call::default() };
    let ids: Vec<RecordId> = (0..3).map(|offset| RecordId::of_source("p", "in", "0", offset)).collect();
    let refused = sink.write(call, &ids).await.expect("written");
    let (code, message) = ("empty".to_owned(), "nothing to write".to_owned());
    assert_eq!(refused, [Rejection { row: 1, code, message }]);
    let token = sink.prepare(5).await.expect("a token");
    let expected =
        "open {\"do\":\"write\"} 1/2 epoch 7 committed [[116]]; write 3 keys xyz ids 48; prepare 5";
    assert_eq!(String::from_utf8(token.clone()).expect("text"), expected);
    sink.commit(&token).await.expect("committed");
    let error = sink.commit(b"unknown").await.expect_err("it was never prepared");
    assert_eq!(error.code(), "fatal");
    sink.commit(&token).await.expect("a failure of its own does not end it");
    assert_eq!(sink.commit(b"die").await.expect_err("it dies").code(), "trap");
    assert_eq!(sink.prepare(6).await.expect_err("it is dead").code(), "cannot-start");
}

#[tokio::test]
async fn a_sink_of_tables_gets_the_wanted_columns_alone() {
    let component = load("probe-table-sink").await;
    let field = |name: &str| FieldSpec {
        name: name.into(),
        kind: Kind::S64s,
        nullable: true,
        logical: String::new(),
    };
    let input = [field("n"), field("m")];
    let (mut sink, plan) = sink(&component, &input, SinkContext::default()).await;
    assert_eq!(plan.wanted, input[..1]);
    let numbers = |rows: i64| [Column::new(Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef)];
    let two = numbers(2);
    sink.write(Call { rows: 2, columns: &two, ..Call::default() }, &[]).await.expect("written");
    let token = String::from_utf8(sink.prepare(1).await.expect("a token")).expect("text");
    let expected = "open n,m; write 2 ids None [Column { valid: None, data: Data::S64s([0, 1]) }]";
    assert_eq!(token, expected);
    let three = numbers(3);
    let error = sink.write(Call { rows: 3, columns: &three, ..Call::default() }, &[]).await;
    assert_eq!(error.expect_err("there is no row 3").code(), "bad-answer");
}
