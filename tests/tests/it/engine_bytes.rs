//! Opaque records into a stage and out again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, MapArray, StringArray, StructArray};
use arrow::array::{TimestampMicrosecondArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use engine::{Call, CallError, StageLimits};
use model::batch::{Batch, Column, Parts, Rows, opaque_schema};
use model::limits::OUTPUT_RATIO;
use model::lineage::{Lineage, Offsets, SourceRows};
use model::outcome::{Forwarded, Origins, Outcome, OutputColumn, OutputShape, Rejection, apply};
use model::stage::header_fields;

use crate::guests::{load, probe};

const RECORDS: [Option<&str>; 5] = [Some("zero"), Some(""), None, Some("\u{ff}three"), Some("four")];

fn values() -> ArrayRef {
    Arc::new(BinaryArray::from(RECORDS.map(|record| record.map(str::as_bytes)).to_vec()))
}

async fn process(what: &str, rows: usize, columns: &[Column]) -> Result<Outcome, CallError> {
    let component = load("probe-bytes").await;
    let pool = probe(&component, what, &[], StageLimits::default()).await;
    let mut lease = pool.lease().await?;
    lease.process(Call { rows, columns, ..Call::default() }).await
}

#[tokio::test]
async fn what_is_forwarded_comes_out_by_index() {
    let columns = [Column::new(values())];
    let cases = [("all", Forwarded::All), ("evens", Forwarded::These(vec![0, 2, 4]))];
    for (what, expected) in cases {
        let outcome = process(what, 5, &columns).await.expect("an answer");
        assert_eq!(outcome.emissions[0].forwarded, expected, "{what}");
        assert!(outcome.emissions[0].origins == Origins::default() && outcome.rejections.is_empty());
    }
    assert!(process("none", 5, &columns).await.expect("an answer").emissions.is_empty());
}

#[tokio::test]
async fn rejections_come_out_with_code_and_message() {
    let outcome = process("reject", 5, &[Column::new(values())]).await.expect("an answer");
    let rejection = |row| Rejection { row, code: "odd".into(), message: format!("record {row} is odd") };
    assert_eq!(outcome.rejections, [rejection(1), rejection(3)]);
}

/// One made of each needs no list, and gives the records that the list gives.
#[tokio::test]
async fn one_made_of_each_is_what_its_list_says() {
    let (batch, shapes) = as_batch();
    let of_origins = |outcome: Outcome, expected: Origins| {
        assert_eq!(outcome.emissions[0].origins, expected);
        apply(&batch, &shapes, outcome, OUTPUT_RATIO).expect("a good answer").batches.remove(0).1
    };
    let columns = [Column::new(values())];
    let each = process("wrap", 5, &columns).await.expect("an answer");
    let listed = process("wrap-listed", 5, &columns).await.expect("an answer");
    let (each, listed) =
        (of_origins(each, Origins::Each), of_origins(listed, Origins::These(vec![0, 1, 2, 3, 4])));
    assert_eq!(each.to_arrow().expect("flat"), listed.to_arrow().expect("flat"));
    for row in 0..5 {
        assert_eq!(each.lineage().id(row), listed.lineage().id(row), "row {row}");
    }
}

#[tokio::test]
async fn an_empty_batch_crosses() {
    let none = Column::with_rows(values(), Rows::At([].into()));
    let outcome = process("wrap", 0, &[none]).await.expect("an answer");
    assert_eq!(outcome.emissions[0].made.set[0].len(), 0);
}

/// Everything that a record can have, of which `rows` are seen.
struct Whole {
    times: Column,
    keys: Column,
    headers: Column,
    values: Column,
}

fn whole(rows: &Rows) -> Whole {
    let times = TimestampMicrosecondArray::from_iter_values([7, 8, 9, -10, 11]);
    let keys = BinaryArray::from(vec![Some(&b"k0"[..]), None, Some(b""), Some(b"key"), None]);
    let (entry, fields) = header_fields();
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a"]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"one", b"", b"three"]));
    let entries = StructArray::try_new(fields, vec![names, bytes], None).expect("entries");
    let offsets = OffsetBuffer::new(vec![0, 2, 2, 2, 3, 3].into());
    let headers = MapArray::try_new(entry, offsets, entries, None, false).expect("a map");
    let column = |array: ArrayRef| Column::with_rows(array, rows.clone());
    Whole {
        times: column(Arc::new(times)),
        keys: column(Arc::new(keys)),
        headers: column(Arc::new(headers)),
        values: column(values()),
    }
}

fn rows_of(column: &Column) -> ArrayRef {
    let rows: Vec<u32> = (0..column.len()).map(|row| column.rows().at(row) as u32).collect();
    take(column.values(), &UInt32Array::from(rows), None).expect("taken")
}

#[tokio::test]
async fn every_part_of_a_record_comes_out_as_it_went_in() {
    let component = load("probe-bytes").await;
    let pool = probe(&component, "echo", &[], StageLimits::default()).await;
    for rows in [Rows::All, Rows::At([3, 0, 1].into()), Rows::At([2].into())] {
        let Whole { times, keys, headers, values } = whole(&rows);
        let columns = [values];
        let call = Call {
            rows: columns[0].len(),
            times: Some(&times),
            keys: Some(&keys),
            headers: Some(&headers),
            columns: &columns,
        };
        let mut lease = pool.lease().await.expect("a lease");
        let outcome = lease.process(call).await.expect("an answer");
        lease.give_back();
        let made = &outcome.emissions[0].made;
        assert_eq!(&made.set[0], &rows_of(&columns[0]), "values of {rows:?}");
        assert_eq!(made.times.as_ref().expect("times"), &rows_of(&times), "times of {rows:?}");
        assert_eq!(made.keys.as_ref().expect("keys"), &rows_of(&keys), "keys of {rows:?}");
        // A record without headers has an empty map, whether it was null or empty before.
        let shown = |map: &ArrayRef| {
            let map = map.as_map();
            (0..map.len()).map(|row| format!("{:?}", map.value(row))).collect::<Vec<_>>()
        };
        let found = made.headers.as_ref().expect("headers");
        assert_eq!(shown(found), shown(&rows_of(&headers)), "headers of {rows:?}");
    }
    let outcome = process("echo", 5, &[Column::new(values())]).await.expect("an answer");
    let made = &outcome.emissions[0].made;
    assert!(made.times.is_none() && made.keys.is_none() && made.headers.is_none(), "{made:?}");
}

#[tokio::test]
async fn a_stage_sees_lists_as_the_contract_lays_them_out() {
    let component = load("probe-bytes").await;
    let pool = probe(&component, "show", &[], StageLimits::default()).await;
    // A slice, so that neither the offsets nor the bits start at zero.
    let sliced = BinaryArray::from(vec![Some(&b"gone"[..]), Some(b"ab"), None, Some(b"c")]).slice(1, 3);
    let columns = [Column::new(Arc::new(sliced))];
    let mut lease = pool.lease().await.expect("a lease");
    let outcome = lease.process(Call { rows: 3, columns: &columns, ..Call::default() }).await;
    let outcome = outcome.expect("an answer");
    let shown = outcome.emissions[0].made.set[0].as_binary::<i32>().value(0).to_vec();
    let shown = String::from_utf8(shown).expect("text");
    let values = "values: BlobColumn { valid: Some([5]), blobs: Varlen { offsets: [0, 2, 2, 3], bytes: [97, 98, 99] } }";
    assert!(shown.contains(values), "{shown}");
    assert!(shown.contains("times: None, keys: None, headers: None"), "{shown}");
}

#[tokio::test]
async fn an_answer_that_breaks_the_contract_is_told_by_what_is_wrong() {
    let cases = [
        ("bad-port", "by port 9, its plan has 2"),
        ("bad-offsets", "offset 2 of the made values of port 0 is 1 after 2"),
        ("bad-offsets-end", "end at 3, it has 2 bytes"),
        ("bad-count", "has 1 values for 2 rows"),
        ("bad-each", "the made values of port 0 has 1 values for 5 rows"),
        ("bad-bitmap", "has 2 bytes, 1 rows need 1"),
        ("bad-no-bitmap", "the bitmap of the made values of port 0: an empty list for 1 rows"),
        ("bad-rejections", "rejects 6 records of 5"),
        ("bad-rejected", "rejects record 5 of a batch of 5"),
    ];
    for (what, expected) in cases {
        match process(what, 5, &[Column::new(values())]).await {
            Err(CallError::BadAnswer(error)) => {
                assert!(error.to_string().contains(expected), "{what}: {error}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// What needs the whole batch to be seen is found when the answer is applied to it.
#[tokio::test]
async fn indices_of_an_answer_are_left_to_who_knows_the_batch() {
    for what in ["bad-index", "bad-order", "bad-port-twice", "bad-origin", "bad-held"] {
        let outcome = process(what, 5, &[Column::new(values())]).await.expect(what);
        assert!(refused(outcome), "{what} was taken");
    }
}

fn refused(outcome: Outcome) -> bool {
    let (batch, shapes) = as_batch();
    apply(&batch, &shapes, outcome, OUTPUT_RATIO).is_err()
}

/// The five values as the host has them, and what its two ports are.
fn as_batch() -> (Batch, [OutputShape; 2]) {
    let (pipeline, source, split) = ("p".into(), "in".into(), "0".into());
    let lineage = Lineage::of_source(SourceRows { pipeline, source, split, offsets: Offsets::From(0) });
    let batch = Batch::from_values(values().as_binary::<i32>().clone(), Parts::default(), lineage);
    let set = vec![arrow::datatypes::DataType::Binary];
    let shape =
        OutputShape { stage: "s".into(), schema: opaque_schema(), columns: vec![OutputColumn::Value], set };
    (batch.expect("a batch"), [shape.clone(), shape])
}

#[tokio::test]
async fn what_a_stage_says_of_itself_when_it_fails_is_passed_on() {
    let cases = [
        ("retry", "it asks for another try after 250 ms: not now"),
        ("invalid", "it cannot work with this: not this"),
        ("fatal", "it gave up: never"),
    ];
    for (what, expected) in cases {
        let error = process(what, 5, &[Column::new(values())]).await.expect_err(what);
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.code(), what);
    }
}

#[tokio::test]
async fn nothing_is_granted_that_nobody_asked_for() {
    let first = process("wasi", 5, &[Column::new(values())]).await.expect("an answer");
    let second = process("wasi", 5, &[Column::new(values())]).await.expect("an answer");
    let said = |outcome: &Outcome| {
        let value = outcome.emissions[0].made.set[0].as_binary::<i32>().value(0).to_vec();
        String::from_utf8(value).expect("text")
    };
    assert!(said(&first).starts_with("variables 0 arguments 0 directories 0 random "), "{}", said(&first));
    assert_eq!(said(&first), said(&second), "random numbers are seeded");
}

#[tokio::test]
async fn an_import_that_the_host_does_not_know_traps_only_where_it_is_used() {
    assert!(process("all", 5, &[Column::new(values())]).await.is_ok());
    match process("unknown", 5, &[Column::new(values())]).await {
        Err(CallError::Trap(trap)) => {
            assert!(trap.message.contains("acme:weather/now@1.0.0#temperature"), "{trap}");
        }
        other => panic!("{other:?}"),
    }
}
