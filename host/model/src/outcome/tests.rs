//! Answers, good and bad, against one small batch.

use arrow::array::{BinaryArray, Int64Array, StringArray};
use arrow::datatypes::{Field, Schema};

use super::*;
use crate::lineage::{Lineage, Offsets, SourceRows};

const RATIO: u64 = 1000;

fn lineage() -> Lineage {
    Lineage::of_source(SourceRows {
        pipeline: "p".into(),
        source: "in".into(),
        split: "0".into(),
        offsets: Offsets::From(0),
    })
}

fn opaque() -> (Batch, Vec<OutputShape>) {
    let values = BinaryArray::from_iter_values([b"a", b"b", b"c", b"d"]);
    let keys: ArrayRef = Arc::new(BinaryArray::from_iter_values([b"0", b"1", b"2", b"3"]));
    let parts = Parts { keys: Some(Column::new(keys)), ..Parts::default() };
    let input = Batch::from_values(values, parts, lineage()).expect("a batch");
    let shape = OutputShape {
        stage: "s".into(),
        schema: input.schema().clone(),
        columns: vec![OutputColumn::Value],
        set: vec![DataType::Binary],
    };
    (input, vec![shape.clone(), shape])
}

fn table() -> (Batch, Vec<OutputShape>) {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let column = Column::new(Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef);
    let input = Batch::new(schema, 3, vec![column], Parts::default(), lineage()).expect("a batch");
    let out =
        Schema::new(vec![Field::new("t", DataType::Utf8, false), Field::new("n", DataType::Int64, false)]);
    let shape = OutputShape {
        stage: "s".into(),
        schema: Arc::new(out),
        columns: vec![OutputColumn::Set(0), OutputColumn::Input(0)],
        set: vec![DataType::Utf8],
    };
    (input, vec![shape])
}

fn blobs(values: &[&str]) -> ArrayRef {
    Arc::new(BinaryArray::from_iter_values(values.iter().map(|value| value.as_bytes())))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn values(batch: &Batch) -> Vec<String> {
    let flat = batch.columns()[0].flat().expect("flat");
    let flat = flat.as_any().downcast_ref::<BinaryArray>().expect("binary");
    flat.iter().map(|value| String::from_utf8_lossy(value.expect("a value")).into_owned()).collect()
}

#[test]
fn forwarded_rows_keep_their_buffers() {
    let (input, outputs) = opaque();
    let emission = Emission { forwarded: Forwarded::These(vec![1, 3]), ..Emission::default() };
    let outcome = Outcome { emissions: vec![emission], ..Outcome::default() };
    let Applied { batches, tally, .. } = apply(&input, &outputs, outcome, RATIO).expect("a good answer");
    let (port, batch) = &batches[0];
    assert_eq!((*port, values(batch)), (0, vec!["b".to_owned(), "d".to_owned()]));
    assert!(Arc::ptr_eq(batch.columns()[0].values(), input.columns()[0].values()), "the values were copied");
    assert_eq!(tally, Tally { forwarded: 2, filtered: 2, ..Tally::default() });
}

#[test]
fn forwarded_and_made_rows_leave_in_the_order_of_their_origins() {
    let (input, outputs) = opaque();
    let emission = Emission {
        port: 1,
        forwarded: Forwarded::These(vec![0, 2]),
        origins: Origins::These(vec![0, 0, 1, 3]),
        made: Made { set: vec![blobs(&["A1", "A2", "B", "D"])], ..Made::default() },
        ..Emission::default()
    };
    let outcome = Outcome { emissions: vec![emission], ..Outcome::default() };
    let Applied { batches, tally, .. } = apply(&input, &outputs, outcome, RATIO).expect("a good answer");
    assert_eq!(values(&batches[0].1), ["a", "A1", "A2", "B", "c", "D"]);
    let keys = batches[0].1.parts().keys.as_ref().expect("keys").flat().expect("flat");
    assert_eq!(*keys, *blobs(&["0", "0", "0", "1", "2", "3"]), "a made record has its origin's key");
    let id = batches[0].1.lineage().id(2);
    assert_eq!(id, input.lineage().id(0).made("s", 1, 1));
    assert_eq!(tally, Tally { forwarded: 4, made: 4, ..Tally::default() });
}

#[test]
fn a_map_keeps_what_is_the_inputs_and_has_the_ids_of_its_list() {
    let (whole, outputs) = opaque();
    for input in [whole.clone(), whole.pick(&[3, 1].into())] {
        let rows = input.rows() as u32;
        let applied = |origins| {
            let values: Vec<String> = (0..rows).map(|row| row.to_string()).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let made = Made { set: vec![blobs(&values)], ..Made::default() };
            let emission = Emission { port: 1, origins, made, ..Emission::default() };
            let outcome = Outcome { emissions: vec![emission], ..Outcome::default() };
            apply(&input, &outputs, outcome, RATIO).expect("a good answer")
        };
        let (each, listed) = (applied(Origins::Each), applied(Origins::These((0..rows).collect())));
        let n = u64::from(rows);
        assert_eq!(each.tally, Tally { forwarded: n, made: n, ..Tally::default() });
        assert_eq!(each.tally, listed.tally);
        let ((port, each), (_, listed)) = (&each.batches[0], &listed.batches[0]);
        assert_eq!((*port, values(each)), (1, values(listed)));
        let keys = |batch: &Batch| batch.parts().keys.clone().expect("keys");
        assert_eq!(*keys(each).flat().expect("flat"), *keys(listed).flat().expect("flat"));
        match (keys(each).rows(), keys(&input).rows()) {
            (Rows::All, Rows::All) => {}
            (Rows::At(now), Rows::At(before)) => assert!(Arc::ptr_eq(now, before), "composed anew"),
            found => panic!("another selection: {found:?}"),
        }
        for row in 0..input.rows() {
            let (id, made) = (each.lineage().id(row), input.lineage().id(row).made("s", 1, 0));
            assert_eq!((id, id), (made, listed.lineage().id(row)), "row {row}");
            assert_eq!(each.lineage().origin(row), input.lineage().origin(row), "row {row}");
        }
    }
}

#[test]
fn one_made_of_each_joins_what_is_forwarded() {
    let (input, outputs) = opaque();
    let outcome = |forwarded| {
        let made = Made { set: vec![blobs(&["A", "B", "C", "D"])], ..Made::default() };
        let emission = Emission { forwarded, origins: Origins::Each, made, ..Emission::default() };
        let rejections = vec![Rejection { row: 1, code: "bad".into(), message: String::new() }];
        Outcome { emissions: vec![emission], rejections, held: 0 }
    };
    let cases = [
        (Forwarded::All, "a A b B c C d D"),
        (Forwarded::These(vec![1, 3]), "A b B C d D"),
        (Forwarded::These(vec![]), "A B C D"),
    ];
    for (forwarded, expected) in cases {
        let shown = format!("{forwarded:?}");
        let Applied { batches, tally, .. } =
            apply(&input, &outputs, outcome(forwarded), RATIO).expect("good");
        assert_eq!(values(&batches[0].1).join(" "), expected, "{shown}");
        assert_eq!(tally, Tally { forwarded: 4, made: 4, ..Tally::default() }, "{shown}");
    }
}

#[test]
fn a_map_of_a_table_sets_its_columns_beside_those_of_the_input() {
    let (input, outputs) = table();
    let times: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![7, 8, 9]));
    let made = Made { set: vec![texts(&["x", "y", "z"])], times: Some(times.clone()), ..Made::default() };
    let emission = Emission { origins: Origins::Each, made, ..Emission::default() };
    let outcome = Outcome { emissions: vec![emission], ..Outcome::default() };
    let Applied { batches, .. } = apply(&input, &outputs, outcome, RATIO).expect("a good answer");
    let flat = batches[0].1.to_arrow().expect("flat");
    assert_eq!(**flat.column(0), *texts(&["x", "y", "z"]));
    assert!(Arc::ptr_eq(batches[0].1.columns()[1].values(), input.columns()[0].values()), "copied");
    assert_eq!(*batches[0].1.parts().times.as_ref().expect("times").flat().expect("flat"), *times);
}

#[test]
fn made_rows_may_bring_keys_of_their_own() {
    let (input, outputs) = opaque();
    let emission = Emission {
        forwarded: Forwarded::These(vec![3]),
        origins: Origins::These(vec![1]),
        made: Made { keys: Some(blobs(&["own"])), set: vec![blobs(&["B"])], ..Made::default() },
        ..Emission::default()
    };
    let outcome = Outcome { emissions: vec![emission], ..Outcome::default() };
    let Applied { batches, .. } = apply(&input, &outputs, outcome, RATIO).expect("a good answer");
    let keys = batches[0].1.parts().keys.as_ref().expect("keys").flat().expect("flat");
    assert_eq!(*keys, *blobs(&["own", "3"]));
}

#[test]
fn a_table_joins_selected_and_set_columns() {
    let (input, outputs) = table();
    let emission = Emission {
        forwarded: Forwarded::These(vec![0, 2]),
        set: vec![texts(&["one", "three"])],
        origins: Origins::These(vec![2]),
        made: Made { set: vec![texts(&["3 again"])], ..Made::default() },
        ..Emission::default()
    };
    let outcome = Outcome { emissions: vec![emission], ..Outcome::default() };
    let Applied { batches, .. } = apply(&input, &outputs, outcome, RATIO).expect("a good answer");
    let flat = batches[0].1.to_arrow().expect("flat");
    assert_eq!(**flat.column(0), *texts(&["one", "three", "3 again"]));
    assert_eq!(**flat.column(1), Int64Array::from(vec![1, 3, 3]));
}

#[test]
fn rejected_rows_are_counted_once_and_not_as_filtered() {
    let (input, outputs) = opaque();
    let rejection = |row| Rejection { row, code: "bad".into(), message: String::new() };
    let emission = Emission { forwarded: Forwarded::These(vec![0]), ..Emission::default() };
    let outcome =
        Outcome { emissions: vec![emission], rejections: vec![rejection(1), rejection(1)], held: 1 };
    let Applied { rejections, tally, .. } = apply(&input, &outputs, outcome, RATIO).expect("a good answer");
    assert_eq!(rejections.len(), 2);
    assert_eq!(tally, Tally { forwarded: 1, rejected: 1, held: 1, filtered: 1, ..Tally::default() });
}

/// Each answer breaks the contract in one way; the error must name that way.
#[test]
fn answers_that_break_the_contract_are_refused() {
    let (input, outputs) = table();
    let these = |rows: &[u32]| Forwarded::These(rows.to_vec());
    let good =
        || Emission { forwarded: these(&[0, 2]), set: vec![texts(&["x", "y"])], ..Emission::default() };
    let cases: Vec<(&str, Vec<Emission>)> = vec![
        ("it emits by port 1, its plan has 1", vec![Emission { port: 1, ..good() }]),
        ("it emits twice by port 0", vec![good(), good()]),
        ("forwarded[1] names row 3 of a batch of 3", vec![Emission { forwarded: these(&[0, 3]), ..good() }]),
        ("forwarded[1] is 0 after 0", vec![Emission { forwarded: these(&[0, 0]), ..good() }]),
        ("forwarded[1] is 0 after 2", vec![Emission { forwarded: these(&[2, 0]), ..good() }]),
        (
            "set column 0 of port 0 has 1 values for 2 rows",
            vec![Emission { set: vec![texts(&["x"])], ..good() }],
        ),
        ("it sets 0 columns on port 0, its plan says 1", vec![Emission { set: vec![], ..good() }]),
        (
            "set column 0 of port 0 is Binary, the plan says Utf8",
            vec![Emission { set: vec![blobs(&["x", "y"])], ..good() }],
        ),
        (
            "origins[0] names row 9 of a batch of 3",
            vec![Emission { origins: Origins::These(vec![9]), ..good() }],
        ),
        ("origins[1] is 0 after 1", vec![Emission { origins: Origins::These(vec![1, 0]), ..good() }]),
        (
            "made column 0 of port 0 has 2 values for 3 rows",
            vec![Emission {
                origins: Origins::Each,
                made: Made { set: vec![texts(&["m", "n"])], ..Made::default() },
                ..good()
            }],
        ),
        (
            "made keys has 0 values for 3 rows",
            vec![Emission {
                origins: Origins::Each,
                made: Made { set: vec![texts(&["m", "n", "o"])], keys: Some(blobs(&[])), ..Made::default() },
                ..good()
            }],
        ),
        (
            "made keys has 0 values for 1 rows",
            vec![Emission {
                origins: Origins::These(vec![1]),
                made: Made { set: vec![texts(&["m"])], keys: Some(blobs(&[])), ..Made::default() },
                ..good()
            }],
        ),
    ];
    for (expected, emissions) in cases {
        let error =
            apply(&input, &outputs, Outcome { emissions, ..Outcome::default() }, RATIO).expect_err(expected);
        assert!(error.to_string().contains(expected), "expected `{expected}`, got `{error}`");
    }
    // What is held is in no list: else a record would be counted twice.
    let all =
        || Emission { set: vec![texts(&["x", "y", "z"])], forwarded: Forwarded::All, ..Emission::default() };
    for (emissions, held, left) in [(vec![], 4, 3), (vec![good()], 2, 1), (vec![all()], 1, 0)] {
        let error = apply(&input, &outputs, Outcome { emissions, held, ..Outcome::default() }, RATIO)
            .expect_err("held");
        let expected =
            format!("it holds {held} rows, and of 3 that came {left} are in no list of its answer");
        assert_eq!(error.to_string(), expected);
    }
    let rejections = vec![Rejection { row: 3, code: "c".into(), message: String::new() }];
    let error =
        apply(&input, &outputs, Outcome { rejections, ..Outcome::default() }, RATIO).expect_err("rejection");
    assert_eq!(error.to_string(), "rejections[0] names row 3 of a batch of 3");
}
