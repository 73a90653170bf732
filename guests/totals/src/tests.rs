use conveyor_sdk::testing::{TableTransformTest, Value, json, table_transform};
use conveyor_sdk::{Field, Fields, Kind};

use crate::{Config, RunningTotals};

fn stage(config: Value) -> TableTransformTest<RunningTotals> {
    let fields = [("user", Kind::Texts), ("n", Kind::S32s), ("price", Kind::F64s)];
    table_transform(config, fields.map(|(name, kind)| Field::new(name, kind)).to_vec()).unwrap()
}

fn buys(user: Option<&str>, n: Option<i32>, price: f64) -> Value {
    json!({ "user": user, "n": n, "price": price })
}

#[test]
fn totals_run_within_a_batch_across_them_and_across_instances() {
    let mut stage = stage(json!({ "by": ["user"], "sum": { "bought": "n", "spent": "price" } }));
    let rows = [buys(Some("a"), Some(2), 0.5), buys(Some("b"), Some(1), 1.0), buys(Some("a"), None, 0.25)];
    let outcome = stage.run(rows).unwrap();
    let seen: Vec<Value> =
        outcome.rows("main").iter().map(|row| json!([row["count"], row["bought"], row["spent"]])).collect();
    assert_eq!(json!(seen), json!([[1, 2, 0.5], [1, 1, 1.0], [2, 2, 0.75]]));
    stage.recycle().unwrap();
    let outcome = stage.run([buys(Some("a"), Some(5), 1.0), buys(None, Some(9), 2.0)]).unwrap();
    assert_eq!(
        outcome.rows("main"),
        [
            json!({ "user": "a", "n": 5, "price": 1.0, "count": 3, "bought": 7, "spent": 1.75 }),
            json!({ "user": null, "n": 9, "price": 2.0, "count": 1, "bought": 9, "spent": 2.0 }),
        ]
    );
    assert_eq!(stage.state().len(), 3);
}

#[test]
fn a_sum_beyond_64_bits_rejects_its_row_and_adds_nothing() {
    let fields = vec![Field::new("user", Kind::Texts), Field::new("n", Kind::S64s)];
    let config = json!({ "by": ["user"], "sum": { "total": "n" } });
    let mut stage = table_transform::<RunningTotals>(config, fields).unwrap();
    let rows = [i64::MAX, 1, -1].map(|n| json!({ "user": "a", "n": n }));
    let outcome = stage.run(rows).unwrap();
    assert_eq!(outcome.codes(), [(1, "overflow")]);
    let last = outcome.rows("main").last().cloned().unwrap();
    assert_eq!((&last["count"], &last["total"]), (&json!(2), &json!(i64::MAX - 1)));
}

#[test]
fn a_call_that_fails_leaves_the_totals_as_they_were() {
    let mut sums = stage(json!({ "by": ["user"], "sum": { "total": "n" } }));
    sums.run([buys(Some("a"), Some(1), 0.0)]).unwrap();
    let before = sums.state().clone();
    // The same state under a config that sums up something else.
    let (key, _, value) = before.entries().next().unwrap();
    let mut others = stage(json!({ "by": ["user"], "sum": { "total": "price" } }));
    others.run([buys(Some("b"), Some(1), 0.0)]).unwrap();
    assert_ne!(others.state().entries().next().unwrap().2, value, "the layout is part of what is kept");
    assert_eq!(key, [&[6][..], b"a"].concat(), "the key is what it was: state outlives versions");
    assert_eq!(*sums.state(), before);
}

/// As when `1.5` comes into a column whose type is guessed, and which had whole numbers alone.
#[test]
fn a_column_that_has_fractions_now_is_named() {
    let stage = |column: &str, kind| {
        let (by, sum) = (vec!["user".to_owned()], [("total".to_owned(), column.to_owned())].into());
        let config = Config { by, key: false, count: "count".to_owned(), sum };
        let fields = vec![Field::new("user", Kind::Texts), Field::new(column, kind)];
        RunningTotals::new(&config, &Fields::new(fields)).unwrap()
    };
    let (ints, floats) = (stage("n", Kind::S64s), stage("n", Kind::F64s));
    let told = floats.other_totals(&ints.none_yet());
    let wanted = "`n` holds float now, and its state has the totals of int; declare `schema: { n: int }`";
    assert!(told.message().starts_with(wanted), "{told}");
    let told = ints.other_totals(&floats.none_yet());
    assert!(told.message().starts_with("`n` holds int now, and its state has the totals of float"), "{told}");
    let told = stage("m", Kind::F64s).other_totals(&ints.none_yet());
    assert!(told.message().contains("the totals of other columns than `sum` says"), "{told}");
}

#[test]
fn its_fingerprint_is_what_its_totals_are_of() {
    let fingerprint = |config: Value| stage(config).fingerprint().unwrap().unwrap();
    let said = fingerprint(json!({ "by": ["user"], "sum": { "bought": "n" } }));
    for (config, is_same) in [
        (json!({ "sum": { "bought": "n" }, "by": ["user"], "key": false, "count": "count" }), true),
        (json!({ "by": ["user"], "sum": { "b": "n" }, "count": "orders" }), true),
        (json!({ "by": ["n"], "sum": { "bought": "n" } }), false),
        (json!({ "by": ["user", "n"], "sum": { "bought": "n" } }), false),
        (json!({ "key": true, "sum": { "bought": "n" } }), false),
        (json!({ "by": ["user"], "sum": { "bought": "price" } }), false),
        (json!({ "by": ["user"] }), false),
    ] {
        assert_eq!(fingerprint(config.clone()) == said, is_same, "{config}");
    }
}

#[test]
fn a_config_that_is_wrong_is_refused_in_words() {
    let fields = || vec![Field::new("user", Kind::Texts), Field::new("n", Kind::S64s)];
    for (config, wanted) in [
        (json!({}), "say by what, `by: [...]` or `key: true`"),
        (json!({ "by": ["user"], "sum": { "total": "m" } }), "no column `m` comes in"),
        (json!({ "by": ["user"], "sum": { "total": "user" } }), "numbers are summed up"),
        (json!({ "by": ["user"], "sum": { "count": "n" } }), "is the column of the count"),
    ] {
        let failure = table_transform::<RunningTotals>(config.clone(), fields()).unwrap_err();
        assert!(failure.message().contains(wanted), "{config}: {failure}");
    }
}

#[test]
fn what_the_documents_show_works() {
    examples::run_tables::<RunningTotals>("totals");
    examples::open_tables::<RunningTotals>("totals");
}
