use conveyor_sdk::testing::{Value, json, table_transform};
use conveyor_sdk::{Field, Kind};

use crate::Explode;

fn fields() -> Vec<Field> {
    vec![Field::new("id", Kind::S64s), Field::new("tags", Kind::Jsons), Field::new("name", Kind::Texts)]
}

fn row(id: i64, tags: Value) -> Value {
    json!({ "id": id, "tags": tags, "name": "n" })
}

fn exploded(config: Value, tags: Value) -> Vec<Value> {
    let mut stage = table_transform::<Explode>(config, fields()).unwrap();
    let outcome = stage.run([row(1, tags)]).unwrap();
    assert!(outcome.rejections.is_empty(), "{outcome:?}");
    outcome.rows("main")
}

#[test]
fn each_element_becomes_a_row_with_the_other_columns() {
    let config = json!({ "column": "tags", "index": "place" });
    let mut stage = table_transform::<Explode>(config, fields()).unwrap();
    let outcome = stage
        .run([row(1, json!(["a", "b\"\u{e4}"])), row(2, json!([])), row(3, json!([5, null, true]))])
        .unwrap();
    let made =
        |id: i64, tag: Value, place: i64| json!({ "id": id, "tags": tag, "name": "n", "place": place });
    assert_eq!(
        outcome.rows("main"),
        [
            made(1, json!("a"), 0),
            made(1, json!("b\"\u{e4}"), 1),
            made(3, json!("5"), 0),
            made(3, json!(null), 1),
            made(3, json!("true"), 2),
        ]
    );
    let origins: Vec<_> = outcome.port("main").iter().map(|out| (out.origin, out.made)).collect();
    assert_eq!(origins, [(0, true), (0, true), (2, true), (2, true), (2, true)]);
    assert_eq!(outcome.filtered(), [1]);
}

#[test]
fn elements_are_read_as_what_they_are_said_to_be() {
    for (kind, list, wanted) in [
        ("int", json!([1, -2]), json!([1, -2])),
        ("float", json!([1, 2.5]), json!([1.0, 2.5])),
        ("bool", json!([true, false]), json!([true, false])),
        ("timestamp", json!(["1970-01-01T00:00:01Z"]), json!([1_000_000])),
        ("date", json!(["1970-01-03"]), json!([2])),
        ("json", json!([{ "a": [1] }, "x", 5, [null]]), json!([{ "a": [1] }, "x", 5, [null]])),
        ("text", json!([" x ", 1.50]), json!([" x ", "1.5"])),
    ] {
        let rows = exploded(json!({ "column": "tags", "as": kind }), list.clone());
        let found: Vec<Value> = rows.iter().map(|row| row["tags"].clone()).collect();
        assert_eq!(json!(found), wanted, "{kind} of {list}");
    }
}

#[test]
fn empty_lists_are_left_out_or_kept_with_null() {
    for list in [json!([]), json!(null)] {
        assert!(exploded(json!({ "column": "tags" }), list.clone()).is_empty());
        let kept = exploded(json!({ "column": "tags", "empty": "keep", "index": "i" }), list);
        assert_eq!(kept, [json!({ "id": 1, "tags": null, "name": "n", "i": null })]);
    }
}

#[test]
fn the_elements_can_go_to_a_column_of_their_own() {
    let list = json!(["x"]);
    let only = exploded(json!({ "column": "tags", "into": "tag" }), list.clone());
    assert_eq!(only, [json!({ "id": 1, "name": "n", "tag": "x" })]);
    let both = exploded(json!({ "column": "tags", "into": "tag", "keep-list": true }), list);
    assert_eq!(both, [json!({ "id": 1, "tags": ["x"], "name": "n", "tag": "x" })]);
}

#[test]
fn what_is_no_list_is_rejected_whole() {
    let fields = vec![Field::new("tags", Kind::Texts)];
    let mut stage = table_transform::<Explode>(json!({ "column": "tags", "as": "int" }), fields).unwrap();
    let lists = ["[1, 2]", "[1, \"x\"]", "{\"a\": 1}", "[1,", "nope", "5", "", "[1.5]", "null"];
    let outcome = stage.run(lists.map(|list| json!({ "tags": list }))).unwrap();
    assert_eq!(
        outcome.codes(),
        [
            (1, "bad-element"),
            (2, "no-list"),
            (3, "bad-json"),
            (4, "bad-json"),
            (5, "no-list"),
            (6, "bad-json"),
            (7, "bad-element")
        ]
    );
    assert_eq!(
        outcome.rejections[0].message,
        "`tags`: element 1 is a text, and an integer of 64 bits is wanted"
    );
    assert_eq!(outcome.rows("main").len(), 2);
}

#[test]
fn of_nineteen_columns_it_wants_one() {
    let mut fields: Vec<Field> = (0..18).map(|n| Field::new(format!("c{n}"), Kind::Texts)).collect();
    fields.push(Field::new("tags", Kind::Jsons));
    let stage = table_transform::<Explode>(json!({ "column": "tags" }), fields).unwrap();
    assert_eq!(stage.stage().wanted.name, "tags");
    assert_eq!(stage.fields("main").len(), 19);
}

#[test]
fn a_config_that_is_wrong_is_refused_in_words() {
    for (config, wanted) in [
        (json!({}), "missing field `column`"),
        (json!({ "column": "tag" }), "config: `column`: no column `tag` comes in; did you mean `tags`?"),
        (json!({ "column": "id" }), "config: `column`: `id` holds"),
        (json!({ "column": "tags", "as": "number" }), "unknown variant `number`"),
        (json!({ "column": "tags", "index": "tags" }), "`tags` is the column of the elements"),
        (json!({ "column": "tags", "keep-list": true }), "config: `keep-list`: name another column"),
    ] {
        let message = table_transform::<Explode>(config.clone(), fields()).unwrap_err().message().to_owned();
        assert!(message.contains(wanted), "{config}: {message}");
    }
}

#[test]
fn what_the_documents_show_works() {
    examples::run_tables::<Explode>("explode");
    examples::open_tables::<Explode>("explode");
}
