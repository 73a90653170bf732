use conveyor_sdk::testing::{Value, json, table_transform};
use conveyor_sdk::{Field, Kind};

use crate::Route;

fn orders() -> Vec<Field> {
    vec![
        Field::new("country", Kind::Texts),
        Field::new("amount", Kind::S64s),
        Field::new("note", Kind::Texts),
    ]
}

fn row(country: &str, amount: i64) -> Value {
    json!({ "country": country, "amount": amount, "note": null })
}

#[test]
fn the_first_condition_that_holds_says_the_port() {
    let config = json!({
        "routes": { "large": "amount > 100", "germany": "country == 'DE'", "france": "country == 'FR'" },
        "rest": "others",
    });
    let mut stage = table_transform::<Route>(config, orders()).unwrap();
    let rows = [
        row("DE", 5),
        row("FR", 500),
        row("FR", 1),
        json!({ "country": null, "amount": null, "note": "x" }),
        row("DE", 101),
        row("IT", 3),
    ];
    let outcome = stage.run(rows.clone()).unwrap();
    assert_eq!(outcome.rows("large"), [rows[1].clone(), rows[4].clone()]);
    assert_eq!(outcome.rows("germany"), [rows[0].clone()]);
    assert_eq!(outcome.rows("france"), [rows[2].clone()]);
    assert_eq!(outcome.rows("others"), [rows[3].clone(), rows[5].clone()]);
    assert!(outcome.filtered().is_empty());
}

#[test]
fn without_a_rest_what_fits_nowhere_is_left_out() {
    let mut stage =
        table_transform::<Route>(json!({ "routes": { "de": "country == 'DE'" } }), orders()).unwrap();
    let outcome = stage.run([row("DE", 1), row("FR", 2)]).unwrap();
    assert_eq!(outcome.rows("de").len(), 1);
    assert_eq!(outcome.filtered(), [1]);
}

#[test]
fn all_of_a_batch_can_leave_by_one_port() {
    let config = json!({ "routes": { "none": "amount < 0", "all": "true", "late": "true" }, "rest": "rest" });
    let mut stage = table_transform::<Route>(config, orders()).unwrap();
    let outcome = stage.run((0..50).map(|n| row("DE", n))).unwrap();
    assert_eq!(outcome.rows("all").len(), 50);
    for port in ["none", "late", "rest"] {
        assert!(outcome.rows(port).is_empty(), "{port}");
    }
}

#[test]
fn a_row_that_overflows_leaves_by_no_port() {
    let config = json!({ "routes": { "next": "amount + 1 > 5" }, "rest": "rest" });
    let mut stage = table_transform::<Route>(config, orders()).unwrap();
    let outcome = stage.run([row("DE", 9), row("DE", i64::MAX), row("DE", 1)]).unwrap();
    assert_eq!(outcome.codes(), [(1, "overflow")]);
    assert_eq!((outcome.rows("next").len(), outcome.rows("rest").len()), (1, 1));
}

#[test]
fn a_config_that_is_wrong_is_refused_in_words() {
    for (config, wanted) in [
        (json!({}), "missing field `routes`"),
        (json!({ "routes": {} }), "name at least one port"),
        (json!({ "routes": { "a b": "true" } }), "`a b` cannot be the name of a port"),
        (json!({ "routes": { "a": "true" }, "rest": "a" }), "`a` is a port of `routes` already"),
        (
            json!({ "routes": { "a": "country > 1" } }),
            "config: `routes.a`: a text and an integer cannot be compared",
        ),
        (json!({ "routes": { "a": 5 } }), "config: `routes.a`: invalid type: integer `5`"),
        (json!({ "routes": ["true"] }), "config: `routes`: invalid type: sequence, expected a map"),
    ] {
        let message = table_transform::<Route>(config.clone(), orders()).unwrap_err().message().to_owned();
        assert!(message.contains(wanted), "{config}: {message}");
    }
}

#[test]
fn what_the_documents_show_works() {
    examples::run_tables::<Route>("route");
    examples::open_tables::<Route>("route");
}
