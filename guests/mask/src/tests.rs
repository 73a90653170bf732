use conveyor_sdk::testing::{Value, json, table_transform};
use conveyor_sdk::{Field, Kind};

use crate::Mask;

fn fields() -> Vec<Field> {
    vec![
        Field::new("email", Kind::Texts),
        Field::new("card", Kind::Dictionaries),
        Field::new("id", Kind::S64s).required(),
        Field::new("other", Kind::F64s),
    ]
}

fn masked(config: Value, column: &str, value: Value) -> Value {
    let mut stage = table_transform::<Mask>(config, fields()).unwrap();
    let mut row = json!({ "email": "a@b.de", "card": "1234", "id": 1, "other": 1.5 });
    row[column] = value;
    let outcome = stage.run([row.clone()]).unwrap();
    let out = outcome.rows("main").remove(0);
    for name in ["email", "card", "id", "other"].into_iter().filter(|name| *name != column) {
        assert_eq!(out[name], row[name], "what is not masked stays");
    }
    out[column].clone()
}

/// As another implementation (Python's hmac) has it.
#[test]
fn a_hash_is_hmac_sha_256() {
    let config = json!({ "columns": { "email": { "method": "hash" } }, "key": "0123456789abcdef" });
    assert_eq!(
        masked(config, "email", json!("what do ya want for nothing?")),
        json!("e9265dc1bf18d4ec36915d9e82226c7ea0fa4e7f8077f611515bd5e29ec9988c")
    );
}

#[test]
fn hashes_are_the_same_for_the_same_value_and_key_only() {
    let config = |key: &str| json!({ "columns": { "id": { "method": "hash", "digits": 16 } }, "key": key });
    let (one, other) = ("a key of enough bytes", "b key of enough bytes");
    let hash = |key: &str, id: i64| masked(config(key), "id", json!(id)).as_str().unwrap().to_owned();
    assert_eq!(hash(one, 5), hash(one, 5));
    assert_ne!(hash(one, 5), hash(one, 6));
    assert_ne!(hash(one, 5), hash(other, 5));
    assert_eq!(hash(one, 5).len(), 16);
}

#[test]
fn each_method_does_what_it_says() {
    for (method, value, wanted) in [
        (json!({ "method": "keep-last", "count": 4 }), json!("4111111111111111"), json!("************1111")),
        (json!({ "method": "keep-last", "count": 2, "with": "•" }), json!("grün"), json!("••ün")),
        (json!({ "method": "keep-last", "count": 4 }), json!("123"), json!("123")),
        (json!({ "method": "keep-last", "count": 0 }), json!("123"), json!("***")),
        (
            json!({ "method": "email" }),
            json!("write to anna@example.com!"),
            json!("write to a***@example.com!"),
        ),
        (json!({ "method": "replace", "with": "hidden" }), json!("x"), json!("hidden")),
        (json!({ "method": "remove" }), json!("x"), json!(null)),
        (json!({ "method": "replace", "with": "hidden" }), json!(null), json!(null)),
    ] {
        let config = json!({ "columns": { "card": method } });
        assert_eq!(masked(config, "card", value.clone()), wanted, "{method} of {value}");
    }
}

#[test]
fn only_the_masked_columns_are_wanted_and_become_texts() {
    let config =
        json!({ "columns": { "id": { "method": "replace", "with": "x" }, "card": { "method": "remove" } } });
    let stage = table_transform::<Mask>(config, fields()).unwrap();
    let kinds: Vec<_> = stage.fields("main").iter().map(|field| (field.kind, field.nullable)).collect();
    let text = |nullable| (Kind::Texts, nullable);
    assert_eq!(kinds, [text(true), text(true), text(false), (Kind::F64s, true)]);
}

#[test]
fn a_config_that_is_wrong_is_refused_in_words() {
    for (config, wanted) in [
        (json!({ "columns": {} }), "name at least one column"),
        (
            json!({ "columns": { "mail": { "method": "remove" } } }),
            "no column `mail` comes in; did you mean `email`?",
        ),
        (json!({ "columns": { "card": { "method": "hash" } } }), "`hash` wants a `key`"),
        (json!({ "columns": { "card": { "method": "hash" } }, "key": "short" }), "5 bytes are too few"),
        (
            json!({ "columns": { "card": { "method": "hash", "digits": 4 } }, "key": "0123456789abcdef" }),
            "4 is not from 16 to 64",
        ),
        (json!({ "columns": { "card": { "method": "crypt" } } }), "unknown variant `crypt`"),
        (json!({ "columns": { "card": { "method": "keep-last" } } }), "missing field `count`"),
        (json!({ "columns": { "card": { "method": "remove", "count": 4 } } }), "unknown field `count`"),
        (
            json!({ "columns": { "card": { "method": "keep-last", "count": 4, "with": "ab" } } }),
            "columns.card",
        ),
    ] {
        let message = table_transform::<Mask>(config.clone(), fields()).unwrap_err().message().to_owned();
        assert!(message.contains(wanted), "{config}: {message}");
    }
}

#[test]
fn what_the_documents_show_works() {
    examples::run_tables::<Mask>("mask");
    examples::open_tables::<Mask>("mask");
}
