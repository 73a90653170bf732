//! What expressions give, row by row, over columns with nulls of every kind.

use std::borrow::Cow;

use conveyor_sdk::{Field, Fields, Kind};
use expr::{Expression, Input, Ints, Known, Mask, Names, Overflow, Scalar, TableScope, Texts, Vector, Wish};

fn known<'a>(present: &[u8]) -> Known<'a> {
    Some(Cow::Owned(present.to_vec()))
}

fn texts<'a>(values: &[&str]) -> Texts<'a> {
    let mut offsets = vec![0];
    let bytes = values.concat().into_bytes();
    for value in values {
        offsets.push(offsets[offsets.len() - 1] + value.len() as u32);
    }
    Texts { offsets: Cow::Owned(offsets), bytes: Cow::Owned(bytes), indices: None }
}

const LAND: [u32; 4] = [1, 0, 1, 2];

/// Four rows; the last value of most columns is null.
fn all_columns() -> Vec<(Field, Vector<'static>)> {
    let field = Field::new;
    vec![
        (
            field("amount", Kind::F64s),
            Vector::Floats(vec![50.0, 100.5, -3.0, 0.0].into(), known(&[1, 1, 1, 0])),
        ),
        (field("price", Kind::F64s).required(), Vector::Floats(vec![2.0, 0.5, 0.0, 10.25].into(), None)),
        (
            field("quantity", Kind::S64s),
            Vector::Ints(Ints::S64(vec![3, 0, -7, 9].into()), known(&[1, 1, 1, 0])),
        ),
        (field("small", Kind::S32s).required(), Vector::Ints(Ints::S32(vec![1, 2, 3, 4].into()), None)),
        (
            field("id", Kind::U64s).required(),
            Vector::Ints(Ints::U64(vec![0, 1, u64::MAX, 1 << 40].into()), None),
        ),
        (
            field("big", Kind::S64s).required(),
            Vector::Ints(Ints::S64(vec![i64::MAX, i64::MIN, 5, -5].into()), None),
        ),
        (
            field("name", Kind::Texts),
            Vector::Texts(texts(&["Anna", "bob", "Änne", ""]), known(&[1, 1, 1, 0])),
        ),
        (
            field("status", Kind::Texts).required(),
            Vector::Texts(texts(&["paid", "OPEN", "a long status text", ""]), None),
        ),
        (
            field("country", Kind::Dictionaries),
            Vector::Texts(Texts { indices: Some(&LAND), ..texts(&["DE", "FR", ""]) }, known(&[1, 1, 1, 0])),
        ),
        (
            field("open", Kind::Bools),
            Vector::Bools(Mask { truth: vec![1, 0, 1, 0].into(), known: known(&[1, 1, 1, 0]) }),
        ),
        (
            field("at", Kind::Times),
            Vector::Times(vec![0, 1_704_110_400_000_000, -1, 5].into(), known(&[1, 1, 1, 0])),
        ),
        (field("day", Kind::Days), Vector::Days(vec![0, 19_723, -1, 5].into(), known(&[1, 1, 1, 0]))),
        (field("raw", Kind::Blobs), Vector::Bytes(texts(&["ab", "", "c", ""]), known(&[1, 1, 1, 0]))),
    ]
}

fn evaluate(text: &str) -> (Vec<String>, Overflow) {
    let all = all_columns();
    let fields = Fields::new(all.iter().map(|(field, _)| field.clone()).collect::<Vec<_>>());
    let expression = Expression::parse("value", text, Names::Columns).unwrap_or_else(|e| panic!("{e}"));
    let mut scope = TableScope::new(&fields);
    let program = expression.check(&mut scope, Wish::Value).unwrap_or_else(|e| panic!("{e}"));
    let column = |wanted: &Field| {
        all.iter().find(|(field, _)| field.name == wanted.name).expect("one of the columns").1.clone()
    };
    let input = Input { rows: 4, columns: scope.wanted().iter().map(column).collect() };
    let (vector, overflow) = program.values(&input);
    let answers: Vec<String> = (0..4).map(|row| shown(&vector, row)).collect();
    assert!(
        program.nullable() || !answers.contains(&"null".to_owned()),
        "`{text}` is said to have no nulls, and gives {answers:?}"
    );
    (answers, overflow)
}

fn shown(vector: &Vector<'_>, row: usize) -> String {
    if vector.known().is_some_and(|known| known[row] == 0) {
        if let Vector::Bools(mask) = vector {
            assert_eq!(mask.truth[row], 0, "what is unknown is not true");
        }
        return "null".into();
    }
    match vector {
        Vector::Const(Scalar::Null) => "null".into(),
        Vector::Const(Scalar::Bool(value)) => value.to_string(),
        Vector::Const(Scalar::Int(value)) => value.to_string(),
        Vector::Const(Scalar::Float(value)) => format!("{value:?}"),
        Vector::Const(Scalar::Text(value)) => value.to_string(),
        Vector::Const(Scalar::Time(value)) => format!("@{value}"),
        Vector::Const(Scalar::Day(value)) => format!("#{value}"),
        Vector::Bools(mask) => (mask.truth[row] == 1).to_string(),
        Vector::Ints(Ints::S64(values), _) => values[row].to_string(),
        Vector::Ints(Ints::S32(values), _) => values[row].to_string(),
        Vector::Ints(Ints::U64(values), _) => values[row].to_string(),
        Vector::Floats(values, _) => format!("{:?}", values[row]),
        Vector::Times(values, _) => format!("@{}", values[row]),
        Vector::Days(values, _) => format!("#{}", values[row]),
        Vector::Texts(texts, _) | Vector::Bytes(texts, _) => String::from_utf8_lossy(texts.row(row)).into(),
    }
}

fn check(cases: &[(&str, [&str; 4])]) {
    for (text, wanted) in cases {
        let (found, overflow) = evaluate(text);
        assert_eq!(found, wanted, "`{text}`");
        assert!(overflow.is_empty(), "`{text}`");
    }
}

#[test]
fn comparisons() {
    check(&[
        ("amount > 50", ["false", "true", "false", "null"]),
        ("50 < amount", ["false", "true", "false", "null"]),
        ("amount >= 50", ["true", "true", "false", "null"]),
        ("amount <> 50", ["false", "true", "true", "null"]),
        ("amount = 100.5", ["false", "true", "false", "null"]),
        ("amount < price", ["false", "false", "true", "null"]),
        ("quantity > 2.5", ["true", "false", "false", "null"]),
        ("quantity == 3.0", ["true", "false", "false", "null"]),
        ("quantity < amount", ["true", "true", "true", "null"]),
        ("small <= 2", ["true", "true", "false", "false"]),
        ("small < 5000000000", ["true", "true", "true", "true"]),
        ("small > -5000000000", ["true", "true", "true", "true"]),
        ("small == 5000000000", ["false", "false", "false", "false"]),
        ("small > quantity", ["false", "true", "true", "null"]),
        ("id > -1", ["true", "true", "true", "true"]),
        ("id > 1", ["false", "false", "true", "true"]),
        ("id > small", ["false", "false", "true", "true"]),
        ("id > big", ["false", "true", "true", "true"]),
        ("open == true", ["true", "false", "true", "null"]),
        ("open != false", ["true", "false", "true", "null"]),
        ("amount > null", ["null", "null", "null", "null"]),
        ("1 < 2", ["true", "true", "true", "true"]),
    ]);
}

#[test]
fn texts_and_patterns() {
    check(&[
        ("name == 'bob'", ["false", "true", "false", "null"]),
        ("name != 'bob'", ["true", "false", "true", "null"]),
        ("name > 'Z'", ["false", "true", "true", "null"]),
        ("status == 'a long status text'", ["false", "false", "true", "false"]),
        ("status == 'a long status tex_'", ["false", "false", "false", "false"]),
        ("status == ''", ["false", "false", "false", "true"]),
        ("status == name", ["false", "false", "false", "null"]),
        ("country == 'DE'", ["false", "true", "false", "null"]),
        ("country in ('FR', 'IT')", ["true", "false", "true", "null"]),
        ("country not in ('FR', 'IT')", ["false", "true", "false", "null"]),
        ("country in ('FR', null)", ["true", "null", "true", "null"]),
        ("lower(status) in ('paid', 'open')", ["true", "true", "false", "false"]),
        ("status in ('1','2','3','4','5','6','7','8','9','OPEN')", ["false", "true", "false", "false"]),
        ("starts_with(name, 'A')", ["true", "false", "false", "null"]),
        ("ends_with(name, 'nne')", ["false", "false", "true", "null"]),
        ("contains(status, 'long')", ["false", "false", "true", "false"]),
        ("contains(status, name)", ["false", "false", "false", "null"]),
        ("name like '%nn%'", ["true", "false", "true", "null"]),
        ("name like '_nn_'", ["true", "false", "true", "null"]),
        ("name not like 'A%'", ["false", "true", "true", "null"]),
        ("status ilike 'o%'", ["false", "true", "false", "false"]),
        ("country like 'D_'", ["false", "true", "false", "null"]),
    ]);
}

#[test]
fn logic_knows_what_is_unknown() {
    check(&[
        ("amount > 50 and open", ["false", "false", "false", "null"]),
        ("amount > 50 and false", ["false", "false", "false", "false"]),
        ("amount > 50 or small > 3", ["false", "true", "false", "true"]),
        ("amount > 50 or small < 3", ["true", "true", "false", "null"]),
        ("amount > 50 and small < 4", ["false", "true", "false", "false"]),
        ("not (amount > 50)", ["true", "false", "true", "null"]),
        ("not not open", ["true", "false", "true", "null"]),
        ("null and false", ["false", "false", "false", "false"]),
        ("null or true", ["true", "true", "true", "true"]),
        ("null and true", ["null", "null", "null", "null"]),
        ("amount is null", ["false", "false", "false", "true"]),
        ("amount is not null", ["true", "true", "true", "false"]),
        ("price is null", ["false", "false", "false", "false"]),
        ("raw is null", ["false", "false", "false", "true"]),
        ("(amount > 50) is null", ["false", "false", "false", "true"]),
        ("amount between 0 and 60", ["true", "false", "false", "null"]),
        ("amount not between 0 and 60", ["false", "true", "true", "null"]),
        ("quantity in (3, 4, 0)", ["true", "true", "false", "null"]),
        ("quantity in (1,2,3,4,5,6,7,8,9,-7)", ["true", "false", "true", "null"]),
        ("small in (1,2.5,4)", ["true", "false", "false", "true"]),
        ("id in (0,1,2,3,4,5,6,7,8,9)", ["true", "true", "false", "false"]),
    ]);
}

#[test]
fn arithmetic() {
    check(&[
        ("price * quantity", ["6.0", "0.0", "-0.0", "null"]),
        ("quantity * small + 1", ["4", "1", "-20", "null"]),
        ("quantity - small * 2", ["1", "-4", "-13", "null"]),
        ("-quantity", ["-3", "0", "7", "null"]),
        ("- (price)", ["-2.0", "-0.5", "-0.0", "-10.25"]),
        ("quantity / 2", ["1.5", "0.0", "-3.5", "null"]),
        ("amount / price", ["25.0", "201.0", "null", "null"]),
        ("6 / quantity", ["2.0", "null", "-0.8571428571428571", "null"]),
        ("quantity % 2", ["1", "0", "-1", "null"]),
        ("5 % quantity", ["2", "null", "5", "null"]),
        ("1 / 0", ["null", "null", "null", "null"]),
        ("2 + 3 * 4 - 1", ["13", "13", "13", "13"]),
        ("(2 + 3) * 4", ["20", "20", "20", "20"]),
        ("abs(quantity)", ["3", "0", "7", "null"]),
        ("abs(amount)", ["50.0", "100.5", "3.0", "null"]),
        ("round(amount)", ["50.0", "101.0", "-3.0", "null"]),
        ("round(price * 1.005, 2)", ["2.01", "0.5", "0.0", "10.3"]),
        ("round(amount, -2)", ["100.0", "100.0", "-0.0", "null"]),
        ("floor(price)", ["2.0", "0.0", "0.0", "10.0"]),
        ("ceil(price)", ["2.0", "1.0", "0.0", "11.0"]),
    ]);
}

#[test]
fn functions_of_texts() {
    check(&[
        ("upper(name)", ["ANNA", "BOB", "ÄNNE", "null"]),
        ("lower(country)", ["fr", "de", "fr", "null"]),
        ("length(name)", ["4", "3", "4", "null"]),
        ("length(country)", ["2", "2", "2", "null"]),
        ("length(raw)", ["2", "0", "1", "null"]),
        ("trim('  x ')", ["x", "x", "x", "x"]),
        ("name || '-' || small", ["Anna-1", "bob-2", "Änne-3", "null"]),
        ("concat(country, ':', price)", ["FR:2", "DE:0.5", "FR:0", "null"]),
        ("substr(name, 2, 2)", ["nn", "ob", "nn", "null"]),
        ("substr(name, 2)", ["nna", "ob", "nne", "null"]),
        ("substr(name, 0, 2)", ["A", "b", "Ä", "null"]),
        ("substr(name, 9)", ["", "", "", "null"]),
        ("replace(name, 'n', 'mm')", ["Ammmma", "bob", "Ämmmme", "null"]),
        ("replace(name, '', 'x')", ["Anna", "bob", "Änne", "null"]),
        ("text(open)", ["true", "false", "true", "null"]),
        ("text(amount)", ["50", "100.5", "-3", "null"]),
        ("text(at)", ["1970-01-01T00:00:00Z", "2024-01-01T12:00:00Z", "1969-12-31T23:59:59.999999Z", "null"]),
        ("text(day)", ["1970-01-01", "2024-01-01", "1969-12-31", "null"]),
    ]);
}

#[test]
fn choices() {
    check(&[
        ("coalesce(amount, price)", ["50.0", "100.5", "-3.0", "10.25"]),
        ("coalesce(amount, 0)", ["50.0", "100.5", "-3.0", "0.0"]),
        ("coalesce(null, name, 'none')", ["Anna", "bob", "Änne", "none"]),
        ("coalesce(quantity, 0.5)", ["3.0", "0.0", "-7.0", "0.5"]),
        ("if(amount > 50, 'large', 'small')", ["small", "large", "small", "small"]),
        ("if(open, quantity, null)", ["3", "null", "-7", "null"]),
        ("if(open, 1, 2.5)", ["1.0", "2.5", "1.0", "2.5"]),
        ("nullif(quantity, 0)", ["3", "null", "-7", "null"]),
        ("nullif(small, quantity)", ["1", "2", "3", "4"]),
        ("case when amount > 99 then 'l' when amount > 0 then 'm' else 's' end", ["m", "l", "s", "s"]),
        ("case when open then name end", ["Anna", "null", "Änne", "null"]),
        ("if(open, at, null) is null", ["false", "true", "false", "true"]),
        ("if(open, open, true)", ["true", "true", "true", "true"]),
    ]);
}

#[test]
fn conversions() {
    check(&[
        ("int(price)", ["2", "0", "0", "10"]),
        ("int(1e300)", ["null", "null", "null", "null"]),
        ("float(quantity)", ["3.0", "0.0", "-7.0", "null"]),
        ("int('12') + small", ["13", "14", "15", "16"]),
        ("int(name)", ["null", "null", "null", "null"]),
        ("number(' 1.5 ')", ["1.5", "1.5", "1.5", "1.5"]),
        ("bool(quantity)", ["true", "false", "true", "null"]),
        ("bool('TRUE')", ["true", "true", "true", "true"]),
        ("int(open)", ["1", "0", "1", "null"]),
    ]);
}

#[test]
fn times_and_dates() {
    check(&[
        ("at >= '2024-01-01'", ["false", "true", "false", "null"]),
        ("at < timestamp '1970-01-01T00:00:00Z'", ["false", "false", "true", "null"]),
        ("day == '2024-01-01'", ["false", "true", "false", "null"]),
        ("day < '1970-01-01T12:00:00Z'", ["true", "false", "true", "null"]),
        ("day == date(at)", ["true", "true", "true", "null"]),
        ("at == day", ["true", "false", "false", "null"]),
        ("at in ('2024-01-01T12:00:00Z')", ["false", "true", "false", "null"]),
        ("day in ('1970-01-01', '2024-01-01')", ["true", "true", "false", "null"]),
        ("year(at)", ["1970", "2024", "1969", "null"]),
        ("month(day)", ["1", "1", "12", "null"]),
        ("day(day)", ["1", "1", "31", "null"]),
        ("hour(at)", ["0", "12", "23", "null"]),
        ("weekday(at)", ["4", "1", "3", "null"]),
        ("year(date '2024-05-06')", ["2024", "2024", "2024", "2024"]),
    ]);
}

#[test]
fn an_integer_beyond_64_bits_is_told_and_only_where_it_counts() {
    for (text, wanted) in [
        ("big + 1", vec![0]),
        ("big - 1", vec![1]),
        ("big * 2", vec![0, 1]),
        ("-big", vec![1]),
        ("abs(big)", vec![1]),
        ("id + 0", vec![2]),
        ("id", vec![2]),
        ("big + quantity", vec![0]),
        ("if(big > 0, big + 1, 0)", vec![0]),
        ("if(big < 10, big + 1, 0)", vec![]),
        ("big < 10 and big + 1 > 0", vec![]),
        ("big == 9223372036854775807 or big + 1 > 0", vec![]),
        ("big > 10 and big + 1 > 0", vec![0]),
        ("coalesce(quantity, big + 1)", vec![]),
    ] {
        let (_, overflow) = evaluate(text);
        assert_eq!(overflow.rows().collect::<Vec<_>>(), wanted, "`{text}`");
    }
}

#[test]
fn a_batch_without_rows_is_none_to_any_expression() {
    for text in [
        "amount > 1 and starts_with(name, 'a')",
        "upper(name) || 'x'",
        "country == 'DE'",
        "substr(name, 1, 2)",
    ] {
        let all = all_columns();
        let fields = Fields::new(all.iter().map(|(field, _)| field.clone()).collect::<Vec<_>>());
        let mut scope = TableScope::new(&fields);
        let program = Expression::parse("value", text, Names::Columns)
            .and_then(|expression| expression.check(&mut scope, Wish::Value))
            .unwrap();
        let empty = |field: &Field| match field.kind {
            Kind::F64s => Vector::Floats(vec![].into(), None),
            kind => {
                let none = Texts { offsets: vec![].into(), bytes: vec![].into(), indices: None };
                let indices: Option<&[u32]> = (kind == Kind::Dictionaries).then_some(&[]);
                Vector::Texts(Texts { indices, ..none }, None)
            }
        };
        let input = Input { rows: 0, columns: scope.wanted().iter().map(empty).collect() };
        let (_, overflow) = program.values(&input);
        assert!(overflow.is_empty(), "`{text}`");
    }
}
