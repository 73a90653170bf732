use conveyor_sdk::testing::{Value, json, table_transform};
use conveyor_sdk::{Field, Kind};

use crate::Project;

fn orders() -> Vec<Field> {
    vec![
        Field::new("id", Kind::U64s).required(),
        Field::new("price", Kind::F64s).required(),
        Field::new("quantity", Kind::S64s),
        Field::new("country", Kind::Texts),
    ]
}

fn rows() -> Vec<Value> {
    vec![
        json!({ "id": 1, "price": 2.5, "quantity": 4, "country": "de" }),
        json!({ "id": 2, "price": 1.0, "quantity": null, "country": null }),
        json!({ "id": 3, "price": 0.0, "quantity": i64::MAX, "country": "fr" }),
    ]
}

fn first(config: Value) -> Value {
    let mut stage = table_transform::<Project>(config, orders()).unwrap();
    let outcome = stage.run(rows().into_iter().take(1)).unwrap();
    outcome.rows("main")[0].clone()
}

fn names(config: Value) -> Vec<String> {
    let stage = table_transform::<Project>(config, orders()).unwrap();
    stage.fields("main").iter().map(|field| field.name.clone()).collect()
}

#[test]
fn columns_are_kept_renamed_reordered_and_dropped() {
    for (config, wanted) in [
        (json!({ "columns": ["country", "id"] }), vec!["country", "id"]),
        (json!({ "columns": ["country", { "number": "id" }] }), vec!["country", "number"]),
        (json!({ "columns": { "land": "country", "number": "id" } }), vec!["land", "number"]),
        (json!({ "columns": ["id", { "again": "id" }] }), vec!["id", "again"]),
        (json!({ "drop": ["price", "id"] }), vec!["quantity", "country"]),
        (json!({ "rename": { "number": "id" } }), vec!["number", "price", "quantity", "country"]),
        (json!({ "rename": { "number": "id" }, "drop": ["price"] }), vec!["number", "quantity", "country"]),
        (json!({ "set": { "total": "price" } }), vec!["id", "price", "quantity", "country", "total"]),
        (json!({ "set": { "price": "1" } }), vec!["id", "price", "quantity", "country"]),
        (json!({ "columns": ["id"], "set": { "b": "1", "a": "2" } }), vec!["id", "b", "a"]),
        (json!({ "columns": [], "set": { "only": "1" } }), vec!["only"]),
    ] {
        assert_eq!(names(config.clone()), wanted, "{config}");
    }
    assert_eq!(
        first(json!({ "columns": { "land": "country", "n": "id" } })),
        json!({ "land": "de", "n": 1 })
    );
}

#[test]
fn columns_are_set_from_expressions() {
    let config = json!({
        "columns": ["id"],
        "set": {
            "total": "price * quantity",
            "tag": "upper(country)",
            "large": "quantity > 3",
            "day": "date '2024-01-01'",
            "at": "timestamp '1970-01-01T00:00:01Z'",
            "next": "id + 1",
            "fixed": "'x'",
            "nothing": "null",
            "old": "quantity",
        },
    });
    let mut stage = table_transform::<Project>(config, orders()).unwrap();
    let outcome = stage.run(rows().into_iter().take(2)).unwrap();
    assert_eq!(
        outcome.rows("main"),
        [
            json!({ "id": 1, "total": 10.0, "tag": "DE", "large": true, "day": 19723, "at": 1_000_000, "next": 2,
                    "fixed": "x", "nothing": null, "old": 4 }),
            json!({ "id": 2, "total": null, "tag": null, "large": null, "day": 19723, "at": 1_000_000, "next": 3,
                    "fixed": "x", "nothing": null, "old": null }),
        ]
    );
    let fields = stage.fields("main");
    let nullable = |name: &str| fields.require(name).unwrap().nullable;
    assert!(nullable("total") && nullable("nothing") && !nullable("next") && !nullable("fixed"));
}

#[test]
fn a_row_that_overflows_is_rejected_once_and_the_others_go_on() {
    let config =
        json!({ "set": { "more": "quantity + 1", "twice": "quantity * 2", "code": "upper(country)" } });
    let mut stage = table_transform::<Project>(config, orders()).unwrap();
    let outcome = stage.run(rows()).unwrap();
    assert_eq!(outcome.codes(), [(2, "overflow")]);
    assert_eq!(outcome.rejections[0].message, "`set.more`: an integer is beyond the range of 64 bits");
    let set: Vec<_> =
        outcome.rows("main").iter().map(|row| (row["more"].clone(), row["code"].clone())).collect();
    assert_eq!(set, [(json!(5), json!("DE")), (json!(null), json!(null))]);
}

#[test]
fn only_what_expressions_read_is_wanted() {
    for (config, wanted) in
        [(json!({ "columns": ["id"] }), 0), (json!({ "set": { "t": "price * quantity + price" } }), 2)]
    {
        let stage = table_transform::<Project>(config, orders()).unwrap();
        assert_eq!(stage.stage().wanted.len(), wanted);
    }
}

#[test]
fn a_config_that_is_wrong_is_refused_in_words() {
    for (config, wanted) in [
        (json!({}), "say at least one of `columns`, `drop`, `rename` and `set`"),
        (json!({ "columns": ["idd"] }), "config: `columns`: no column `idd` comes in; did you mean `id`?"),
        (json!({ "columns": ["id", "id"] }), "two columns would be called `id`"),
        (json!({ "columns": ["id"], "drop": ["price"] }), "config: `drop`: leave the column out"),
        (json!({ "columns": ["id"], "rename": { "a": "id" } }), "config: `rename`: write the new name"),
        (json!({ "columns": [{ "a": "id", "b": "price" }] }), "a map of its new name to its old one"),
        (json!({ "columns": 5 }), "config: `columns`: invalid type: integer `5`, expected a list of columns"),
        (json!({ "drop": ["idd"] }), "config: `drop`: no column `idd`"),
        (json!({ "rename": { "a": "idd" } }), "config: `rename`: no column `idd`"),
        (json!({ "rename": { "a": "id" }, "drop": ["id"] }), "config: `rename.a`: `id` is dropped"),
        (json!({ "rename": { "price": "id" } }), "two columns would be called `price`"),
        (
            json!({ "set": { "x": "prices" } }),
            "config: `set.x`: no column `prices` comes in; did you mean `price`?",
        ),
        (json!({ "set": { "": "1" } }), "a column has a name"),
    ] {
        let message = table_transform::<Project>(config.clone(), orders()).unwrap_err().message().to_owned();
        assert!(message.contains(wanted), "{config}: {message}");
    }
}

#[test]
fn what_the_documents_show_works() {
    examples::run_tables::<Project>("project");
    examples::open_tables::<Project>("project");
}
