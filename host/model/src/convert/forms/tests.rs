use arrow::array::{
    BinaryArray, Date64Array, DictionaryArray, DurationNanosecondArray, FixedSizeListArray, Float16Array,
    Float32Array, Float64Array, Int8Array, Int64Array, IntervalDayTimeArray, IntervalMonthDayNanoArray,
    IntervalYearMonthArray, LargeListArray, ListArray, ListViewArray, MapArray, NullArray, StructArray,
    Time32MillisecondArray, Time32SecondArray, Time64MicrosecondArray, Time64NanosecondArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
    UInt64Array,
};
use arrow::buffer::ScalarBuffer;
use arrow::compute::cast;
use arrow::datatypes::i256;

use super::*;

/// An array, what its field means, and its rows as JSON and as text.
type Case = (ArrayRef, Meaning, &'static str, &'static str);

fn case(array: impl Array + 'static, json: &'static str, text: &'static str) -> Case {
    (Arc::new(array), Meaning::Plain, json, text)
}

fn decimals<T: arrow::datatypes::DecimalType>(values: Vec<T::Native>, precision: u8, scale: i8) -> ArrayRef {
    let array = arrow::array::PrimitiveArray::<T>::from_iter_values(values);
    Arc::new(array.with_precision_and_scale(precision, scale).expect("a type"))
}

fn numbers() -> Vec<Case> {
    let bools = BooleanArray::from(vec![Some(true), Some(false), None]);
    let f16 = cast(&Float32Array::from(vec![0.5, f32::INFINITY]), &DataType::Float16).expect("floats");
    let f16 = f16.as_primitive::<Float16Type>().clone();
    let _: &Float16Array = &f16;
    vec![
        case(NullArray::new(1), "null", ""),
        case(bools, "true|false|null", "true|false|"),
        case(Int8Array::from(vec![-128, 127]), "-128|127", "-128|127"),
        case(Int64Array::from(vec![i64::MIN]), "-9223372036854775808", "-9223372036854775808"),
        case(UInt64Array::from(vec![u64::MAX]), "18446744073709551615", "18446744073709551615"),
        case(f16, "0.5|\"Infinity\"", "0.5|Infinity"),
        case(Float32Array::from(vec![0.1, f32::NEG_INFINITY]), "0.1|\"-Infinity\"", "0.1|-Infinity"),
        case(Float64Array::from(vec![1e300, f64::NAN]), "1e+300|\"NaN\"", "1e+300|NaN"),
        (decimals::<Decimal32Type>(vec![-5, 0], 9, 2), Meaning::Plain, "-0.05|0.00", "-0.05|0.00"),
        (decimals::<Decimal64Type>(vec![1234], 18, 3), Meaning::Plain, "1.234", "1.234"),
        (decimals::<Decimal128Type>(vec![7, -7, 0], 38, -2), Meaning::Plain, "700|-700|0", "700|-700|0"),
        (decimals::<Decimal256Type>(vec![i256::MAX], 76, 1), Meaning::Plain, DIGITS, DIGITS),
    ]
}

const DIGITS: &str = "5789604461865809771178549250434395392663499233282028201972879200395656481996.7";

fn times() -> Vec<Case> {
    const BEFORE: i64 = -1;
    let zoned = TimestampMillisecondArray::from(vec![BEFORE]).with_timezone("America/Lima");
    vec![
        case(
            TimestampSecondArray::from(vec![i64::MAX]),
            "\"+292277026596-12-04T15:30:07\"",
            "+292277026596-12-04T15:30:07",
        ),
        case(zoned, "\"1969-12-31T23:59:59.999Z\"", "1969-12-31T23:59:59.999Z"),
        case(TimestampMicrosecondArray::from(vec![0]), "\"1970-01-01T00:00:00\"", "1970-01-01T00:00:00"),
        case(
            TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("UTC"),
            "\"+294247-01-10T04:00:54.775807Z\"",
            "+294247-01-10T04:00:54.775807Z",
        ),
        case(
            TimestampNanosecondArray::from(vec![1]),
            "\"1970-01-01T00:00:00.000000001\"",
            "1970-01-01T00:00:00.000000001",
        ),
        case(
            arrow::array::Date32Array::from(vec![0, i32::MAX]),
            "\"1970-01-01\"|\"+5881580-07-11\"",
            "1970-01-01|+5881580-07-11",
        ),
        case(
            Date64Array::from(vec![86_400_000, 1]),
            "\"1970-01-02\"|\"1970-01-01T00:00:00.001\"",
            "1970-01-02|1970-01-01T00:00:00.001",
        ),
        case(Time32SecondArray::from(vec![86_400]), "\"24:00:00\"", "24:00:00"),
        case(Time32MillisecondArray::from(vec![1]), "\"00:00:00.001\"", "00:00:00.001"),
        case(Time64MicrosecondArray::from(vec![3_723_000_001]), "\"01:02:03.000001\"", "01:02:03.000001"),
        case(Time64NanosecondArray::from(vec![1]), "\"00:00:00.000000001\"", "00:00:00.000000001"),
        case(DurationNanosecondArray::from(vec![-1_500_000_000]), "\"-PT1.500S\"", "-PT1.500S"),
        case(IntervalYearMonthArray::from(vec![14]), "\"P14M\"", "P14M"),
        case(IntervalDayTimeArray::from(vec![IntervalDayTime::new(2, -4)]), "\"P2DT-0.004S\"", "P2DT-0.004S"),
        case(
            IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, -2, 3)]),
            "\"P1M-2DT0.000000003S\"",
            "P1M-2DT0.000000003S",
        ),
    ]
}

fn texts() -> Vec<Case> {
    let of_text = StringArray::from(vec!["a \"b\"\n", ""]);
    let (large, view) = (cast(&of_text, &DataType::LargeUtf8), cast(&of_text, &DataType::Utf8View));
    let blobs = BinaryArray::from(vec![&b"\xfb\x00"[..], b""]);
    let (large_blobs, view_blobs) =
        (cast(&blobs, &DataType::LargeBinary), cast(&blobs, &DataType::BinaryView));
    let fixed = |bytes: Vec<u8>| FixedSizeBinaryArray::try_from_iter([bytes].into_iter()).expect("bytes");
    let (json, text) = ("\"a \\\"b\\\"\\n\"|\"\"", "a \"b\"\n|");
    let month = [[1u8, 0, 0, 0], [2, 0, 0, 0], [0xa4, 0x0f, 0, 0]].concat();
    let uuid = "00010203-0405-0607-0809-0a0b0c0d0e0f";
    let json_text = StringArray::from(vec!["{\"a\":\n 1}", "null", "\"x\""]);
    vec![
        case(of_text, json, text),
        (large.expect("texts"), Meaning::Plain, json, text),
        (view.expect("texts"), Meaning::Plain, json, text),
        case(blobs, "\"+wA=\"|\"\"", "\u{fffd}\0|"),
        (large_blobs.expect("blobs"), Meaning::Plain, "\"+wA=\"|\"\"", "\u{fffd}\0|"),
        (view_blobs.expect("blobs"), Meaning::Plain, "\"+wA=\"|\"\"", "\u{fffd}\0|"),
        case(fixed(b"abc".to_vec()), "\"YWJj\"", "abc"),
        (Arc::new(fixed((0..16).collect())), Meaning::Uuid, "\"00010203-0405-0607-0809-0a0b0c0d0e0f\"", uuid),
        (Arc::new(fixed(month)), Meaning::Interval, "\"P1M2DT4.004S\"", "P1M2DT4.004S"),
        (Arc::new(json_text), Meaning::Json, "{\"a\":  1}|null|\"x\"", "{\"a\":\n 1}|null|\"x\""),
        case(
            DictionaryArray::<Int8Type>::from_iter([Some("a"), None, Some("a")]),
            "\"a\"|null|\"a\"",
            "a||a",
        ),
        case(
            DictionaryArray::<Int8Type>::new(
                vec![0, 1].into(),
                Arc::new(Int64Array::from(vec![Some(5), None])),
            ),
            "5|null",
            "5|",
        ),
    ]
}

fn nested() -> Vec<Case> {
    let item = |of: &dyn Array| Arc::new(Field::new("item", of.data_type().clone(), true));
    let blobs = BinaryArray::from(vec![Some(&b"\xfb"[..]), None, Some(b"")]);
    let offsets = || OffsetBuffer::new(vec![0, 2, 3].into());
    let list = ListArray::new(item(&blobs), offsets(), Arc::new(blobs.clone()), None);
    let large = cast(&list, &DataType::LargeList(item(&blobs))).expect("a list");
    let large = large.as_list::<i64>().clone();
    let _: &LargeListArray = &large;
    let times = TimestampMicrosecondArray::from(vec![0, 1]).with_timezone("UTC");
    let floats = Float64Array::from(vec![Some(f64::NAN), None]);
    let fields = vec![
        Arc::new(Field::new("t\"", times.data_type().clone(), true)),
        Arc::new(Field::new("f", DataType::Float64, true)),
    ];
    let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(floats)];
    let structs = StructArray::new(fields.into(), columns, None);
    let views = ListViewArray::new(
        item(&blobs),
        ScalarBuffer::from(vec![2, 0]),
        ScalarBuffer::from(vec![1, 1]),
        Arc::new(blobs.clone()),
        None,
    );
    let fixed = FixedSizeListArray::new(item(&blobs), 1, Arc::new(blobs), None);
    let map = |keys: ArrayRef| {
        let entries = vec![
            (Arc::new(Field::new("key", keys.data_type().clone(), false)), keys),
            (
                Arc::new(Field::new("value", DataType::Int8, true)),
                Arc::new(Int8Array::from(vec![Some(1), None, Some(3)])) as ArrayRef,
            ),
        ];
        let entries = StructArray::from(entries);
        let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
        MapArray::new(field, offsets(), entries, None, false)
    };
    vec![
        case(list, "[\"+w==\",null]|[\"\"]", "[\"+w==\",null]|[\"\"]"),
        case(large, "[\"+w==\",null]|[\"\"]", "[\"+w==\",null]|[\"\"]"),
        case(views, "[\"\"]|[\"+w==\"]", "[\"\"]|[\"+w==\"]"),
        case(fixed.slice(1, 2), "[null]|[\"\"]", "[null]|[\"\"]"),
        case(
            structs,
            r#"{"t\"":"1970-01-01T00:00:00Z","f":"NaN"}|{"t\"":"1970-01-01T00:00:00.000001Z","f":null}"#,
            r#"{"t\"":"1970-01-01T00:00:00Z","f":"NaN"}|{"t\"":"1970-01-01T00:00:00.000001Z","f":null}"#,
        ),
        case(
            map(Arc::new(StringArray::from(vec!["a", "b", "c\""]))),
            r#"{"a":1,"b":null}|{"c\"":3}"#,
            r#"{"a":1,"b":null}|{"c\"":3}"#,
        ),
        case(
            map(Arc::new(Int64Array::from(vec![7, 8, 9]))),
            r#"{"7":1,"8":null}|{"9":3}"#,
            r#"{"7":1,"8":null}|{"9":3}"#,
        ),
        case(
            map(Arc::new(arrow::array::Date32Array::from(vec![0, 1, 2]))),
            r#"{"1970-01-01":1,"1970-01-02":null}|{"1970-01-03":3}"#,
            r#"{"1970-01-01":1,"1970-01-02":null}|{"1970-01-03":3}"#,
        ),
        case(StructArray::new_empty_fields(1, None), "{}", "{}"),
    ]
}

#[test]
fn every_type_has_one_form() {
    for (array, meaning, json, text) in [numbers(), times(), texts(), nested()].concat() {
        let field = meaning.mark(Field::new("c", array.data_type().clone(), true));
        let what = format!("{} ({meaning:?})", array.data_type());
        let form = Form::of(&field, &array).unwrap_or_else(|error| panic!("{error}"));
        let rows = |write: &dyn Fn(usize, &mut Vec<u8>)| {
            let row = |row| {
                let mut out = Vec::new();
                write(row, &mut out);
                String::from_utf8_lossy(&out).into_owned()
            };
            (0..array.len()).map(row).collect::<Vec<_>>().join("|")
        };
        assert_eq!(rows(&|row, out| form.write_json(row, out)), json, "{what}");
        let write_text = |row, out: &mut Vec<u8>| {
            if !form.is_null(row) {
                form.write_text(row, out);
            }
        };
        assert_eq!(rows(&write_text), text, "{what}");
        for row in json.split('|') {
            serde_json::from_str::<serde_json::Value>(row).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        // Inside of a list it is the same.
        let item = Arc::new(field);
        let offsets = OffsetBuffer::new(vec![0, array.len() as i32].into());
        let list = ListArray::new(item.clone(), offsets, array.clone(), None);
        let of_list = Field::new("l", DataType::List(item), true);
        let mut out = Vec::new();
        Form::of(&of_list, &list).expect("a form").write_json(0, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            format!("[{}]", json.replace('|', ",")),
            "a list of {what}"
        );
    }
}

#[test]
fn a_type_without_a_form_is_named() {
    let field = |name: &str, of| Arc::new(Field::new(name, of, true));
    let runs = DataType::RunEndEncoded(field("run_ends", DataType::Int32), field("values", DataType::Int8));
    let list = DataType::List(field("item", runs.clone()));
    let form = |of: &DataType| {
        let empty = arrow::array::new_empty_array(of);
        Form::of(&Field::new("c", of.clone(), true), &empty).map(drop)
    };
    assert_eq!((form(&list), has_form(&list)), (Err(NoForm(runs)), false));
}
