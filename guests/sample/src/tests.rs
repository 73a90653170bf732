use std::collections::BTreeSet;

use conveyor_sdk::testing::{Value, json, row, table_transform};
use conveyor_sdk::{Field, Kind};

use crate::Sample;

fn fields(kind: Kind) -> Vec<Field> {
    vec![Field::new("user", kind), Field::new("n", Kind::S64s)]
}

fn kept(config: Value, kind: Kind, rows: impl Iterator<Item = Value>) -> Vec<u32> {
    let mut stage = table_transform::<Sample>(config, fields(kind)).unwrap();
    stage.run(rows).unwrap().port("main").iter().map(|out| out.origin).collect()
}

fn users() -> impl Iterator<Item = Value> {
    (0..4000).map(|n| json!({ "user": n % 1000, "n": n }))
}

#[test]
fn a_fraction_is_about_that_part_and_what_is_the_same_stays_together() {
    let rows = kept(json!({ "fraction": 0.25, "columns": ["user"] }), Kind::S64s, users());
    assert!((800..1200).contains(&rows.len()), "{}", rows.len());
    let per_user = rows.iter().map(|row| row % 1000).collect::<BTreeSet<_>>();
    assert_eq!(rows.len(), per_user.len() * 4);
    let again = kept(json!({ "fraction": 0.25, "columns": ["user"] }), Kind::S64s, users());
    assert_eq!(rows, again);
    let other = kept(json!({ "fraction": 0.25, "columns": ["user"], "seed": 7 }), Kind::S64s, users());
    assert_ne!(rows, other);
}

#[test]
fn a_smaller_sample_is_part_of_a_larger_one() {
    let small: BTreeSet<_> =
        kept(json!({ "fraction": 0.1, "columns": ["user"] }), Kind::S64s, users()).into_iter().collect();
    let large =
        kept(json!({ "fraction": 0.3, "columns": ["user"] }), Kind::S64s, users()).into_iter().collect();
    assert!(small.is_subset(&large) && !small.is_empty() && small.len() < large.len());
}

#[test]
fn the_width_of_a_number_and_the_form_of_a_text_do_not_matter() {
    let config = || json!({ "fraction": 0.5, "columns": ["user"] });
    assert_eq!(kept(config(), Kind::S32s, users()), kept(config(), Kind::S64s, users()));
    let texts = || (0..500).map(|n| json!({ "user": format!("u{}", n % 50), "n": n }));
    assert_eq!(kept(config(), Kind::Texts, texts()), kept(config(), Kind::Dictionaries, texts()));
}

#[test]
fn the_ends_keep_nothing_and_everything() {
    for (fraction, wanted) in [(0.0, 0), (1.0, 4000), (1e-18, 0)] {
        let rows = kept(json!({ "fraction": fraction, "columns": ["user", "n"] }), Kind::S64s, users());
        assert_eq!(rows.len(), wanted, "{fraction}");
    }
}

#[test]
fn keys_and_nulls_decide_as_values_do() {
    let mut stage =
        table_transform::<Sample>(json!({ "fraction": 0.5, "key": true }), fields(Kind::S64s)).unwrap();
    let rows = (0..200).map(|n| row(json!({ "user": null, "n": n })).key(format!("k{}", n % 20)));
    let keys: Vec<u32> = stage.run(rows).unwrap().port("main").iter().map(|out| out.origin).collect();
    assert!(keys.len().is_multiple_of(10) && (20..180).contains(&keys.len()), "{}", keys.len());
    let nulls = kept(
        json!({ "fraction": 0.5, "columns": ["user"] }),
        Kind::S64s,
        (0..50).map(|n| json!({ "user": null, "n": n })),
    );
    assert!([0, 50].contains(&nulls.len()), "{}", nulls.len());
}

#[test]
fn every_nth_is_counted_across_batches() {
    let mut stage = table_transform::<Sample>(json!({ "every": 3 }), fields(Kind::S64s)).unwrap();
    let mut batch = |rows: i64| -> Vec<u32> {
        let rows = (0..rows).map(|n| json!({ "user": n, "n": n }));
        stage.run(rows).unwrap().port("main").iter().map(|out| out.origin).collect()
    };
    assert_eq!(batch(4), [0, 3]);
    assert_eq!(batch(4), [2]);
    assert_eq!(batch(2), [1]);
}

#[test]
fn a_config_that_is_wrong_is_refused_in_words() {
    for (config, wanted) in [
        (json!({}), "say either `fraction`"),
        (json!({ "fraction": 0.5 }), "say what decides"),
        (json!({ "fraction": 1.5, "key": true }), "1.5 is not from 0 to 1"),
        (json!({ "fraction": -0.1, "key": true }), "is not from 0 to 1"),
        (json!({ "fraction": 0.5, "key": true, "columns": ["n"] }), "say either `columns` or `key`"),
        (json!({ "fraction": 0.5, "every": 2 }), "say either `fraction` or `every`"),
        (json!({ "every": 0 }), "0 means nothing"),
        (json!({ "every": 2, "key": true }), "leave out `columns` and `key`"),
        (json!({ "fraction": 0.5, "columns": ["usr"] }), "did you mean `user`?"),
    ] {
        let message =
            table_transform::<Sample>(config.clone(), fields(Kind::S64s)).unwrap_err().message().to_owned();
        assert!(message.contains(wanted) && message.starts_with("config: "), "{config}: {message}");
    }
}

#[test]
fn what_the_documents_show_works() {
    examples::run_tables::<Sample>("sample");
    examples::open_tables::<Sample>("sample");
}
