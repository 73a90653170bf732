use conveyor_sdk::testing::{TableTransformTest, Value, json, row, table_transform};
use conveyor_sdk::{Field, Kind};

use crate::Dedupe;

fn fields(kind: Kind) -> Vec<Field> {
    vec![Field::new("user", kind), Field::new("n", Kind::S64s)]
}

fn stage(config: Value) -> TableTransformTest<Dedupe> {
    table_transform(config, fields(Kind::Texts)).unwrap()
}

fn kept(stage: &mut TableTransformTest<Dedupe>, rows: &[(Option<&str>, i64)]) -> Vec<u32> {
    let rows = rows.iter().map(|(user, n)| json!({ "user": user, "n": n }));
    stage.run(rows).unwrap().port("main").iter().map(|out| out.origin).collect()
}

#[test]
fn the_first_of_each_key_goes_on_within_a_batch_and_across_them() {
    let mut stage = stage(json!({ "columns": ["user"] }));
    assert_eq!(kept(&mut stage, &[(Some("a"), 1), (Some("b"), 2), (Some("a"), 3), (None, 4)]), [0, 1, 3]);
    assert_eq!(kept(&mut stage, &[(Some("b"), 5), (Some(""), 6), (None, 7), (Some(""), 8)]), [1]);
    stage.recycle().unwrap();
    assert_eq!(kept(&mut stage, &[(Some("a"), 9), (Some("c"), 10)]), [1]);
    assert_eq!(stage.state().len(), 5, "a, b, c, the empty text and null");
}

#[test]
fn several_columns_are_one_key_and_do_not_run_into_each_other() {
    let fields = vec![Field::new("a", Kind::Texts), Field::new("b", Kind::Texts)];
    let mut stage = table_transform::<Dedupe>(json!({ "columns": ["a", "b"] }), fields).unwrap();
    let rows = [("x", "yz"), ("xy", "z"), ("x", "yz"), ("", "xyz")];
    let outcome = stage.run(rows.map(|(a, b)| json!({ "a": a, "b": b }))).unwrap();
    let kept: Vec<u32> = outcome.port("main").iter().map(|out| out.origin).collect();
    assert_eq!(kept, [0, 1, 3]);
}

#[test]
fn the_width_of_a_number_does_not_matter_to_what_was_seen() {
    let keys = |kind: Kind| {
        let mut stage = table_transform::<Dedupe>(json!({ "columns": ["user"] }), fields(kind)).unwrap();
        stage.run([json!({ "user": 7, "n": 1 })]).unwrap();
        stage.state().entries().map(|(key, ..)| key.to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(keys(Kind::S32s), keys(Kind::S64s));
    assert_eq!(keys(Kind::U64s), keys(Kind::S64s));
    assert_ne!(keys(Kind::F64s), keys(Kind::S64s), "a fraction is another kind of value");
}

#[test]
fn the_key_of_the_record_decides_and_a_row_without_one_is_rejected() {
    let mut stage = stage(json!({ "key": true }));
    let rows = [Some("k1"), None, Some("k2"), Some("k1")].map(|key| {
        let one = row(json!({ "user": "u", "n": 1 }));
        key.map_or(one.clone(), |key| one.key(key))
    });
    let outcome = stage.run(rows).unwrap();
    let kept: Vec<u32> = outcome.port("main").iter().map(|out| out.origin).collect();
    assert_eq!((kept, outcome.codes()), (vec![0, 2], vec![(1, "no-key")]));
}

#[test]
fn its_fingerprint_is_what_its_keys_are_made_of() {
    let fingerprint = |config: Value| stage(config).fingerprint().unwrap().unwrap();
    let said = fingerprint(json!({ "columns": ["user"] }));
    assert_eq!(fingerprint(json!({ "columns": ["user"], "key": false })), said);
    assert_ne!(fingerprint(json!({ "columns": ["user", "n"] })), said);
    assert_ne!(fingerprint(json!({ "key": true })), said);
}

#[test]
fn a_config_that_is_wrong_is_refused_in_words() {
    for (config, wanted) in [
        (json!({}), "say by what, `columns: [...]` or `key: true`"),
        (json!({ "columns": ["user"], "key": true }), "say either `columns` or `key`"),
        (json!({ "columns": ["usr"] }), "did you mean `user`?"),
    ] {
        let failure = table_transform::<Dedupe>(config.clone(), fields(Kind::Texts)).unwrap_err();
        assert!(failure.message().contains(wanted), "{config}: {failure}");
    }
}

#[test]
fn what_the_documents_show_works() {
    examples::run_tables::<Dedupe>("dedupe");
    examples::open_tables::<Dedupe>("dedupe");
}
