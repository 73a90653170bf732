use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, DurationSecondArray,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int64Array, LargeStringArray, NullArray, StructArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt32Array, UInt64Array,
};

use super::*;
use crate::batch::Rows;
use crate::fields::{instants, local_times};

fn plain(data_type: &DataType) -> Field {
    Field::new("c", data_type.clone(), true)
}

fn shown(array: &ArrayRef) -> String {
    let json = to_texts(&plain(array.data_type()), array, true).expect("JSON");
    let rows: Vec<_> = json.iter().map(|text| text.unwrap_or("null")).collect();
    rows.join(" ")
}

fn texts(values: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

#[test]
fn values_without_a_counterpart_fail_their_row_alone() {
    let decimals = |values: Vec<i128>, scale| {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, scale).expect("a type"))
            as ArrayRef
    };
    let floats = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
    let cases: Vec<(ArrayRef, Kind, &str, &[u32])> = vec![
        (texts(vec![Some("1"), Some("x"), None]), Kind::S64s, "1 null null", &[1]),
        (texts(vec![Some("1.0"), Some("2.5")]), Kind::S64s, "1 null", &[1]),
        (texts(vec![Some("-1"), Some("3000000000")]), Kind::S32s, "-1 null", &[1]),
        (texts(vec![Some("-1"), Some("7")]), Kind::U64s, "null 7", &[0]),
        (texts(vec![Some("true"), Some("yes")]), Kind::Bools, "true null", &[1]),
        (texts(vec![Some("1.5"), Some(""), Some("1e400")]), Kind::F64s, "1.5 null null", &[1, 2]),
        (texts(vec![Some("2020-02-30"), Some("2020-02-29")]), Kind::Days, "null \"2020-02-29\"", &[0]),
        (
            texts(vec![Some("2020-01-01T01:00+01:00"), Some("?"), Some("2020-01-01")]),
            Kind::Times,
            "\"2020-01-01T00:00:00Z\" null \"2020-01-01T00:00:00Z\"",
            &[1],
        ),
        (texts(vec![Some("a"), None]), Kind::Blobs, "\"YQ==\" null", &[]),
        (Arc::new(LargeStringArray::from(vec!["2.5", "7"])), Kind::S64s, "null 7", &[0]),
        (Arc::new(BinaryArray::from(vec![&b"a"[..], b"\xff"])), Kind::Texts, "\"a\" null", &[1]),
        (Arc::new(Int64Array::from(vec![1, i64::MAX])), Kind::S32s, "1 null", &[1]),
        (Arc::new(UInt64Array::from(vec![1, u64::MAX])), Kind::S64s, "1 null", &[1]),
        (floats(vec![1.9, -0.5, 2.0, f64::NAN, 9.3e18]), Kind::S64s, "null null 2 null null", &[0, 1, 3, 4]),
        (floats(vec![-1.0, 1.8e19]), Kind::U64s, "null 18000000000000000000", &[0]),
        (floats(vec![1e300, 1e-300, 0.1, f64::INFINITY]), Kind::F32s, "null null 0.1 \"Infinity\"", &[0, 1]),
        (Arc::new(Float32Array::from(vec![0.5, f32::NAN])), Kind::F64s, "0.5 \"NaN\"", &[]),
        (decimals(vec![150, 200, -50], 2), Kind::S64s, "null 2 null", &[0, 2]),
        (decimals(vec![150, 9_007_199_254_740_993], 0), Kind::F64s, "150.0 null", &[1]),
        (decimals(vec![1, 15], 1), Kind::F64s, "0.1 1.5", &[]),
        (decimals(vec![-5, 123], 2), Kind::Texts, "\"-0.05\" \"1.23\"", &[]),
        (Arc::new(Int64Array::from(vec![1, 9_007_199_254_740_993])), Kind::F64s, "1.0 null", &[1]),
        (Arc::new(Int64Array::from(vec![Some(-1), None])), Kind::Texts, "\"-1\" null", &[]),
        (Arc::new(UInt32Array::from(vec![u32::MAX])), Kind::S64s, "4294967295", &[]),
        (
            Arc::new(TimestampNanosecondArray::from(vec![1_500, -1]).with_timezone("+02:00")),
            Kind::Times,
            "\"1970-01-01T00:00:00.000001Z\" \"1969-12-31T23:59:59.999999Z\"",
            &[],
        ),
        (
            Arc::new(TimestampSecondArray::from(vec![1, i64::MAX])),
            Kind::Times,
            "\"1970-01-01T00:00:01Z\" null",
            &[1],
        ),
        (
            Arc::new(TimestampMillisecondArray::from(vec![86_400_000, 1])),
            Kind::Days,
            "\"1970-01-02\" null",
            &[1],
        ),
        (Arc::new(Date32Array::from(vec![1])), Kind::Times, "\"1970-01-02T00:00:00Z\"", &[]),
        (Arc::new(DurationSecondArray::from(vec![90])), Kind::Texts, "\"PT90S\"", &[]),
        (Arc::new(DurationSecondArray::from(vec![90])), Kind::Dictionaries, "\"PT90S\"", &[]),
        (texts(vec![Some("[1]"), Some("[")]), Kind::Jsons, "\"[1]\" null", &[1]),
        (Arc::new(NullArray::new(2)), Kind::S64s, "null null", &[]),
        (
            Arc::new(DictionaryArray::<Int32Type>::from_iter([Some("a"), None])),
            Kind::Dictionaries,
            "\"a\" null",
            &[],
        ),
        (
            Arc::new(DictionaryArray::<Int32Type>::from_iter([Some("7"), Some("x")])),
            Kind::S64s,
            "7 null",
            &[1],
        ),
    ];
    for (values, to, expected, failed) in cases {
        let what = format!("{} to {to}", values.data_type());
        let field = plain(values.data_type());
        assert!(can_cast(&field, to), "{what}");
        let (cast, rows) = cast_array(&field, &values, to).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(Some(cast.data_type().clone()), to.data_type(), "{what}");
        assert_eq!((shown(&cast).as_str(), &*rows), (expected, failed), "{what}");
    }
}

#[test]
fn nested_values_become_json_and_only_selected_rows_are_cast() {
    let field = Arc::new(Field::new("x", DataType::Int64, true));
    let values = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef;
    let nested = Arc::new(StructArray::from(vec![(field, values)])) as ArrayRef;
    let of_nested = plain(nested.data_type());
    let column = Column::with_rows(nested, Rows::At([2, 1].into()));
    let (json, failed) = cast_column(&of_nested, &column, Kind::Jsons).expect("JSON");
    assert_eq!(json.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["{\"x\":3}", "{\"x\":null}"]);
    assert!(failed.is_empty());
}

#[test]
fn what_can_never_be_cast_is_said_before() {
    let nested = DataType::Struct(vec![Field::new("x", DataType::Int64, true)].into());
    let times = DataType::Timestamp(TimeUnit::Second, None);
    let cases = [
        (nested, Kind::S64s),
        (DataType::Int64, Kind::Opaque),
        (DataType::Boolean, Kind::S64s),
        (DataType::Int64, Kind::Bools),
        (DataType::Int64, Kind::Times),
        (times, Kind::S64s),
        (DataType::Duration(TimeUnit::Second), Kind::F64s),
        (DataType::Binary, Kind::S64s),
        (DataType::Int64, Kind::Blobs),
    ];
    for (from, to) in cases {
        assert!(!can_cast(&plain(&from), to), "{from} to {to}");
        let values = arrow::array::new_null_array(&from, 1);
        let cast = cast_array(&plain(&from), &values, to);
        assert!(matches!(cast, Err(CastError::Never { .. })), "{from} to {to}");
    }
}

#[test]
fn a_uuid_is_a_text_to_stages() {
    let bytes: Vec<u8> = (0..16).collect();
    let values: ArrayRef =
        Arc::new(FixedSizeBinaryArray::try_from_iter([bytes].into_iter()).expect("16 bytes"));
    let field = Meaning::Uuid.mark(plain(values.data_type()));
    let (cast, _) = cast_array(&field, &values, Kind::Texts).expect("texts");
    assert_eq!(cast.as_string::<i32>().value(0), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    let (cast, _) = cast_array(&field, &values, Kind::Blobs).expect("blobs");
    assert_eq!(cast.as_binary::<i32>().value(0).len(), 16);
}

#[test]
fn a_declared_time_keeps_to_what_it_is() {
    let cases = [
        (texts(vec![Some("2020-01-01T00:00:00Z"), Some("2020-01-01")]), instants(), &[1u32][..]),
        (texts(vec![Some("2020-01-01T00:00:00Z"), Some("2020-01-01")]), local_times(), &[0]),
        (Arc::new(TimestampSecondArray::from(vec![0])), local_times(), &[]),
        (Arc::new(Date32Array::from(vec![0])), local_times(), &[]),
    ];
    for (values, to, failed) in cases {
        let (from, to) = (plain(values.data_type()), plain(&to));
        let (cast, rows) = convert_array(&from, &values, &to).expect("times");
        assert_eq!((cast.data_type(), &*rows), (to.data_type(), failed), "{from} to {to}");
    }
    let seconds = plain(&DataType::Timestamp(TimeUnit::Second, None));
    assert!(!can_convert(&seconds, &plain(&instants())) && can_convert(&seconds, &plain(&local_times())));
    assert!(!can_convert(&plain(&DataType::Date32), &plain(&instants())));
}

#[test]
fn text_that_is_declared_as_json_is_json() {
    let values = texts(vec![Some("{\"a\":1}"), Some("{"), None]);
    let to = Meaning::Json.mark(plain(&DataType::Utf8));
    let (cast, failed) = convert_array(&plain(&DataType::Utf8), &values, &to).expect("JSON");
    assert_eq!((cast.as_string::<i32>().value(0), failed), ("{\"a\":1}", vec![1]));
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    let (cast, _) = convert_array(&plain(&DataType::Boolean), &flags, &to).expect("JSON");
    assert_eq!(cast.as_string::<i32>().value(0), "true");
}
