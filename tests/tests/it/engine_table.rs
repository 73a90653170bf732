//! Typed rows into a stage and out again.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, DictionaryArray, Float32Array, Float64Array,
    Int32Array, Int64Array, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::UInt32Type;
use engine::{Call, CallError, StageLimits};
use model::batch::{Column, Rows};
use model::fields::{FieldSpec, Kind};
use model::outcome::{Forwarded, Origins, Outcome};
use serde_json::json;

use crate::guests::{load, plan_of, probe};

fn field(name: &str, kind: Kind) -> FieldSpec {
    FieldSpec { name: name.into(), kind, nullable: true, logical: String::new() }
}

/// A column of every kind that crosses, with absent values in each.
fn every_kind() -> Vec<(FieldSpec, ArrayRef)> {
    let dictionary = {
        let keys = UInt32Array::from(vec![Some(1), None, Some(0), Some(1)]);
        let texts = Arc::new(StringArray::from(vec!["red", "green"]));
        DictionaryArray::<UInt32Type>::try_new(keys, texts).expect("a dictionary")
    };
    let texts = StringArray::from(vec![Some("zéro"), None, Some(""), Some("three")]);
    let json = StringArray::from(vec![Some("{\"zéro\": [0]}"), None, Some("\"\""), Some("3")]);
    let times = TimestampMicrosecondArray::from(vec![Some(1), None, Some(-3), Some(4)]).with_timezone("UTC");
    let column = |kind: Kind, array: ArrayRef| (field(kind.name(), kind), array);
    vec![
        column(Kind::Bools, Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]))),
        column(Kind::S32s, Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(2), Some(3)]))),
        column(Kind::S64s, Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(2), Some(3)]))),
        column(Kind::U64s, Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(2), Some(3)]))),
        column(Kind::F32s, Arc::new(Float32Array::from(vec![Some(0.5), None, Some(f32::MAX), Some(3.0)]))),
        column(Kind::F64s, Arc::new(Float64Array::from(vec![Some(-0.5), None, Some(2.0), Some(3.0)]))),
        column(Kind::Times, Arc::new(times)),
        column(Kind::Days, Arc::new(Date32Array::from(vec![Some(1), None, Some(-2), Some(3)]))),
        column(Kind::Texts, Arc::new(texts)),
        column(Kind::Dictionaries, Arc::new(dictionary)),
        column(
            Kind::Blobs,
            Arc::new(BinaryArray::from(vec![Some(&b"\xff"[..]), None, Some(b""), Some(b"x")])),
        ),
        column(Kind::Jsons, Arc::new(json)),
    ]
}

async fn process(
    what: &str,
    input: &[FieldSpec],
    rows: usize,
    columns: &[Column],
) -> Result<Outcome, CallError> {
    let component = load("probe-table").await;
    let pool = probe(&component, what, input, StageLimits::default()).await;
    pool.lease().await?.process(Call { rows, columns, ..Call::default() }).await
}

#[tokio::test]
async fn columns_of_every_kind_come_out_as_they_went_in() {
    let (input, arrays): (Vec<FieldSpec>, Vec<ArrayRef>) = every_kind().into_iter().unzip();
    for rows in [Rows::All, Rows::At([3, 1, 0].into()), Rows::At([].into())] {
        let columns: Vec<Column> =
            arrays.iter().map(|array| Column::with_rows(array.clone(), rows.clone())).collect();
        let outcome = process("echo", &input, columns[0].len(), &columns).await.expect("an answer");
        let emission = &outcome.emissions[0];
        assert_eq!(emission.forwarded, Forwarded::All);
        for ((found, array), field) in emission.set.iter().zip(&arrays).zip(&input) {
            let expected = match &rows {
                Rows::All => array.clone(),
                Rows::At(rows) => take(array, &UInt32Array::from(rows.to_vec()), None).expect("taken"),
            };
            assert_eq!(found, &expected, "{field} through {rows:?}");
        }
        assert_eq!(emission.set.len(), input.len());
    }
}

#[tokio::test]
async fn one_row_made_of_each_needs_no_list() {
    let input = [field("n", Kind::S64s)];
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![5, -1, 0, 7]));
    let outcome = process("map", &input, 4, &[Column::new(numbers)]).await.expect("an answer");
    let emission = &outcome.emissions[0];
    assert_eq!((&emission.forwarded, &emission.origins), (&Forwarded::None, &Origins::Each));
    let made: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2, 3]));
    assert_eq!(emission.made.set, [made]);
}

#[tokio::test]
async fn a_filter_sees_its_column_alone_and_answers_by_index() {
    let input = [field("n", Kind::S64s), field("t", Kind::Texts)];
    let component = load("probe-table").await;
    let plan = plan_of(&component, "filter", &input).await;
    assert_eq!(plan.wanted, input[..1]);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![5, -1, 0, 7]));
    let outcome = process("filter", &input, 4, &[Column::new(numbers)]).await.expect("an answer");
    assert_eq!(outcome.emissions[0].forwarded, Forwarded::These(vec![0, 3]));
}

#[tokio::test]
async fn a_plan_says_what_is_wanted_selected_and_set() {
    let component = load("probe-table").await;
    let input =
        [field("n", Kind::S64s), FieldSpec { logical: "decimal(38,9)".into(), ..field("d", Kind::Opaque) }];
    let plan = plan_of(&component, "project", &input).await;
    assert_eq!(plan.wanted, input[..1], "an opaque column was wanted");
    assert_eq!(plan.outputs[0].select, Some(vec![("first".to_owned(), "n".to_owned())]));
    let plan = plan_of(&component, "set", &input).await;
    assert_eq!(plan.outputs[0].set, [FieldSpec { nullable: false, ..field("n", Kind::S64s) }]);
    let cases = [
        ("plan-opaque", "wanted: `d` is opaque"),
        ("plan-set-twice", "port `main` sets: `n` is there twice"),
        ("plan-select-twice", "port `main` selects: `a` is there twice"),
    ];
    for (what, expected) in cases {
        let plan = component.plan(&json!({ "do": what }), &input, &StageLimits::default()).await;
        let error = plan.expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_column_that_breaks_the_contract_is_told_by_what_is_wrong() {
    let cases = [
        ("bad-columns", "set column of port 0: there are 0, the plan says 1"),
        ("bad-length", "set column 0 of port 0 has 3 values for 2 rows"),
        ("bad-kind", "set column 0 of port 0 is f64s, the plan says s64s (`n`)"),
        ("bad-each", "made column 0 of port 0 has 3 values for 2 rows"),
        ("bad-null", "set column 0 of port 0 has no value in row 0"),
        ("bad-bitmap", "has 100 bytes, 2 rows need 1"),
        ("bad-text", "value 1 of set column 0 of port 0 is not UTF-8"),
        ("bad-text-cut", "value 0 of set column 0 of port 0 is not UTF-8"),
        ("bad-text-offsets", "offset 2 of set column 0 of port 0 is 1 after 2"),
        ("bad-dictionary", "value 0 of set column 0 of port 0 is text 7 of 1"),
    ];
    let input = [field("n", Kind::S64s)];
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let columns = [Column::new(numbers)];
    for (what, expected) in cases {
        match process(what, &input, 2, &columns).await {
            Err(CallError::BadAnswer(error)) => {
                assert!(error.to_string().contains(expected), "{what}: {error}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_column_of_another_type_than_planned_does_not_go_in() {
    let input = [field("n", Kind::S64s)];
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let error = process("forward", &input, 1, &[Column::new(texts)]).await.expect_err("it went in");
    assert_eq!(error.to_string(), "column `n` cannot go in: it is Utf8, the plan says s64s");
    let error = process("forward", &input, 1, &[]).await.expect_err("it went in");
    assert_eq!(error.code(), "bad-input");
}
