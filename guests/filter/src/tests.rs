use conveyor_sdk::testing::{Value, json, table_transform};
use conveyor_sdk::{Field, Kind};

use crate::Filter;

fn orders() -> Vec<Field> {
    vec![
        Field::new("amount", Kind::F64s),
        Field::new("quantity", Kind::S64s),
        Field::new("country", Kind::Dictionaries),
        Field::new("status", Kind::Texts),
        Field::new("name", Kind::Texts).required(),
        Field::new("note", Kind::Texts),
    ]
}

fn rows() -> Vec<Value> {
    vec![
        json!({"amount": 150.0, "quantity": 1, "country": "DE", "status": "Paid", "name": "Anna", "note": "a"}),
        json!({"amount": 250.0, "quantity": 2, "country": null, "status": "open", "name": "Arno", "note": "b"}),
        json!({"amount": 350.0, "quantity": 3, "country": "FR", "status": "paid", "name": "Abel", "note": "c"}),
        json!({"amount": null, "quantity": 4, "country": "DE", "status": "paid", "name": "Ada", "note": "d"}),
        json!({"amount": 100.0, "quantity": i64::MAX, "country": "DE", "status": "paid", "name": "Ann", "note": "e"}),
        json!({"amount": 900.0, "quantity": 6, "country": "DE", "status": null, "name": "Bob", "note": null}),
    ]
}

fn kept(condition: &str) -> Vec<u32> {
    let mut stage = table_transform::<Filter>(json!({ "where": condition }), orders()).unwrap();
    let outcome = stage.run(rows()).unwrap();
    assert!(outcome.rejections.is_empty() && outcome.unfit.is_empty(), "{outcome:?}");
    outcome.port("main").iter().map(|out| out.origin).collect()
}

#[test]
fn rows_that_fulfil_the_condition_go_on_as_they_are() {
    let condition = "amount > 100 and (country == 'DE' or country is null) and lower(status) in ('paid','open') \
                     and starts_with(name, 'A')";
    let mut stage = table_transform::<Filter>(json!({ "where": condition }), orders()).unwrap();
    let outcome = stage.run(rows()).unwrap();
    assert_eq!(outcome.rows("main"), rows()[..2]);
    assert_eq!(outcome.filtered(), [2, 3, 4, 5]);
}

#[test]
fn conditions_of_every_shape() {
    for (condition, wanted) in [
        ("true", vec![0, 1, 2, 3, 4, 5]),
        ("false", vec![]),
        ("null", vec![]),
        ("amount >= 100", vec![0, 1, 2, 4, 5]),
        ("not (amount >= 200)", vec![0, 4]),
        ("amount is null", vec![3]),
        ("quantity > 3", vec![3, 4, 5]),
        ("name == 'Bob'", vec![5]),
        ("country != 'DE'", vec![2]),
        ("status like 'p%' and note between 'c' and 'd'", vec![2, 3]),
        ("amount > 300 or status is null", vec![2, 5]),
    ] {
        assert_eq!(kept(condition), wanted, "{condition}");
    }
}

#[test]
fn large_batches_take_the_same_rows_however_many_they_are() {
    let fields = [Field::new("n", Kind::S64s).required()];
    for (condition, keeps) in [
        ("n % 2 == 0", (|n| n % 2 == 0) as fn(i64) -> bool),
        ("n > 995", |n| n > 995),
        ("n >= 0", |_| true),
        ("n == 511 or n == 512", |n| n == 511 || n == 512),
    ] {
        for rows in [1, 7, 8, 9, 1000] {
            let mut stage = table_transform::<Filter>(json!({ "where": condition }), fields.clone()).unwrap();
            let outcome = stage.run((0..rows).map(|n| json!({ "n": n }))).unwrap();
            let kept: Vec<i64> = outcome.port("main").iter().map(|out| i64::from(out.origin)).collect();
            assert_eq!(kept, (0..rows).filter(|n| keeps(*n)).collect::<Vec<_>>(), "{condition} of {rows}");
        }
    }
}

#[test]
fn only_the_columns_of_the_condition_are_wanted() {
    let stage =
        table_transform::<Filter>(json!({ "where": "amount > 1 and amount < quantity" }), orders()).unwrap();
    let wanted: Vec<_> = stage.stage().wanted.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(wanted, ["amount", "quantity"]);
    assert_eq!(stage.fields("main").len(), 6);
}

#[test]
fn a_row_whose_arithmetic_overflows_is_rejected() {
    let mut stage = table_transform::<Filter>(json!({ "where": "quantity + 1 > 2" }), orders()).unwrap();
    let outcome = stage.run(rows()).unwrap();
    assert_eq!(outcome.codes(), [(4, "overflow")]);
    assert_eq!(outcome.rejections[0].message, "`where`: an integer is beyond the range of 64 bits");
    assert_eq!(outcome.filtered(), [0]);
}

#[test]
fn a_config_that_is_wrong_is_refused_in_words() {
    for (config, wanted) in [
        (json!({}), "missing field `where`"),
        (json!({ "where": "amount >" }), "config: `where`: found the end"),
        (json!({ "where": "amout > 1" }), "did you mean `amount`?"),
        (json!({ "where": "amount" }), "a condition, true or false, is wanted"),
        (json!({ "when": "true", "where": "true" }), "unknown key `when`"),
    ] {
        let message = table_transform::<Filter>(config.clone(), orders()).unwrap_err().message().to_owned();
        assert!(message.contains(wanted), "{config}: {message}");
    }
}

#[test]
fn what_the_documents_show_works() {
    examples::run_tables::<Filter>("filter");
    examples::open_tables::<Filter>("filter");
}
