//! Sizes against the arrays themselves, and how batches are cut.

use std::sync::Arc;

use arrow::array::{
    BinaryArray, DictionaryArray, Int64Array, ListArray, StringArray, StringViewArray, StructArray,
    UInt32Array,
};
use arrow::datatypes::{Field, Int32Type, Schema};

use super::*;
use crate::batch::Parts;
use crate::lineage::{Lineage, Offsets, SourceRows};

const MB: usize = 1 << 20;
const RECORD: u64 = 16 << 20;

fn batch(columns: Vec<Column>) -> Batch {
    let lineage = Lineage::of_source(SourceRows {
        pipeline: "p".into(),
        source: "in".into(),
        split: "0".into(),
        offsets: Offsets::From(0),
    });
    let field = |(i, column): (usize, &Column)| {
        Field::new(format!("c{i}"), column.values().data_type().clone(), true)
    };
    let schema = Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
    Batch::new(Arc::new(schema), columns[0].len(), columns, Parts::default(), lineage).expect("a batch")
}

fn texts(lengths: &[usize]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(lengths.iter().map(|&length| "x".repeat(length))))
}

fn dictionary(lengths: &[usize], keys: Vec<Option<u32>>) -> ArrayRef {
    Arc::new(DictionaryArray::new(UInt32Array::from(keys), texts(lengths)))
}

#[test]
fn lengths_are_those_of_the_values_in_full() {
    let numbers =
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(2)]), None, Some(vec![])]);
    let field = |values: &ArrayRef| Arc::new(Field::new("f", values.data_type().clone(), true));
    let (words, ints) = (texts(&[3, 0, 5]), Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef);
    let both = StructArray::from(vec![(field(&words), words), (field(&ints), ints)]);
    let views = StringViewArray::from(vec!["short", "longer than what is inlined", ""]);
    let cases: Vec<(ArrayRef, [u64; 3])> = vec![
        (texts(&[3, 0, 5]), [3, 0, 5]),
        (texts(&[9, 3, 0, 5]).slice(1, 3), [3, 0, 5]),
        (Arc::new(BinaryArray::from_iter_values(["a", "bb", ""])), [1, 2, 0]),
        (Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])), [8, 8, 8]),
        (dictionary(&[100, 7], vec![Some(1), None, Some(0)]), [7, 100, 100]),
        (dictionary(&[], vec![None, None, None]), [0, 0, 0]),
        (Arc::new(numbers), [8, 0, 0]),
        (Arc::new(both), [11, 8, 13]),
        (Arc::new(views), [5, 27, 0]),
    ];
    for (values, expected) in cases {
        let lengths = Lengths::of(&values);
        let found = [0, 1, 2].map(|row| lengths.at(row));
        assert_eq!(found, expected, "{}", values.data_type());
        let most = lengths.longest();
        assert_eq!(most, *expected.iter().max().expect("three"), "{}", values.data_type());
        assert!(most_of(&values, 3) >= expected.iter().sum(), "{}", values.data_type());
    }
}

#[test]
fn what_was_small_as_it_came_is_cut_where_it_is_large_in_full() {
    let rows = 4000;
    let wide = batch(vec![Column::new(dictionary(&[900_000], vec![Some(0); rows]))]);
    let Cut { parts, too_large } = cut(&wide, None, 0, RECORD).expect("it is 3.6 GB");
    assert!(too_large.is_empty());
    assert_eq!(parts.iter().flat_map(Clone::clone).collect::<Vec<_>>(), (0..rows as u32).collect::<Vec<_>>());
    let (last, full) = parts.split_last().expect("parts");
    assert!(
        full.iter().all(|part| part.len() == EXPANDED_BYTES_MAX / 900_032) && last.len() <= full[0].len()
    );
    let part = wide.pick(&parts[0].clone().collect());
    assert_eq!(cut(&part, None, 0, RECORD), None, "a part is handed on as it is");

    // Rows that were made of one.
    let repeated = Column::with_rows(texts(&[12_000]), Rows::At(vec![0; 250_000].into()));
    let made = batch(vec![repeated]).repeating(250_000);
    let Cut { parts, .. } = cut(&made, None, 0, RECORD).expect("it is 3 GB");
    assert!(parts.iter().all(|part| part.len() <= EXPANDED_BYTES_MAX / 12_000));

    // Names.
    let numbers = batch(vec![Column::new(Arc::new(Int64Array::from(vec![7; 1000])))]);
    assert_eq!(cut(&numbers, None, 100, RECORD), None);
    assert_eq!(cut(&numbers, None, 100_000, RECORD).expect("100 MB").parts.len(), 13);
}

#[test]
fn what_nobody_takes_does_not_count() {
    let wide = dictionary(&[900_000], vec![Some(0); 4000]);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7; 4000]));
    let both = batch(vec![Column::new(wide), Column::new(numbers)]);
    assert_eq!(cut(&both, Some(&[1]), 0, RECORD), None);
    assert!(cut(&both, Some(&[0]), 0, RECORD).is_some());
    let parts = Parts { keys: Some(both.columns()[0].clone()), ..Parts::default() };
    let keyed = both.with_parts(parts).expect("a batch");
    assert!(cut(&keyed, Some(&[1]), 0, RECORD).is_some(), "its keys do");
}

#[test]
fn what_came_large_stays_together_and_rows_that_are_too_large_do_not() {
    let plain = batch(vec![Column::new(texts(&[4 * MB; 10]))]);
    assert_eq!(cut(&plain, None, 0, RECORD), None, "it came so");
    let one = batch(vec![Column::new(texts(&[17 * MB, 10, 10, 18 * MB, 10]))]);
    let found = cut(&one, None, 0, RECORD).expect("two rows are too large");
    assert_eq!(found.too_large, [(0, 17 << 20), (3, 18 << 20)]);
    assert_eq!(found.parts, [1..3, 4..5]);
    assert_eq!(cut(&one, None, 0, 20 << 20), None);
    let single = batch(vec![Column::new(texts(&[17 * MB]))]);
    let found = cut(&single, None, 0, RECORD).expect("it is too large");
    assert_eq!((found.parts.len(), found.too_large.len()), (0, 1));
    let wide = batch(vec![Column::new(dictionary(&[17 * MB, 10], vec![Some(1), Some(0), Some(1), Some(0)]))]);
    let found = cut(&wide, None, 0, RECORD).expect("34 MB");
    assert_eq!(found.too_large.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(found.parts, [0..1, 2..3]);
}

#[test]
fn a_few_short_values_are_told_by_a_bound() {
    let small = batch(vec![Column::new(dictionary(&[10, 20, 30], vec![Some(1); 1024]))]);
    assert_eq!(cut(&small, None, 0, RECORD), None);
    let picked = small.pick(&[0, 5, 9].into()).repeating(2);
    assert_eq!(cut(&picked, None, 0, RECORD), None);
    let many: Vec<usize> = (0..10_000).map(|i| if i == 0 { 20 * MB } else { 10 }).collect();
    let named =
        |first: u32| batch(vec![Column::new(dictionary(&many, (first..first + 4).map(Some).collect()))]);
    assert_eq!(cut(&named(1), None, 0, RECORD), None, "no row has the long one");
    assert_eq!(cut(&named(0), None, 0, RECORD).expect("one has").too_large.len(), 1);
}
