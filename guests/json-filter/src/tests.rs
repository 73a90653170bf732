use conveyor_sdk::testing::{deletion, json, record, transform};

use crate::JsonFilter;

const RECORDS: [&str; 6] = [
    r#"{"user":{"country":"DE","tags":["a","b"]},"amount":7.5,"at":"2024-05-01T00:00:00Z","ok":true}"#,
    r#"{"amount":4,"user":{"country":"DE"},"id":9007199254740993}"#,
    r#"  {"user":{"country":"D\u0045"},"amount":6,"ok":false}  "#,
    r#"{"user":{"country":null},"amount":"6"}"#,
    r#"[1,2,3]"#,
    r#"{"user":"anna","amount":9}"#,
];

fn kept(condition: &str) -> Vec<usize> {
    let mut stage = transform::<JsonFilter>(json!({ "where": condition })).unwrap();
    let outcome = stage.run(RECORDS).unwrap();
    assert!(outcome.rejections.is_empty(), "{outcome:?}");
    let values = outcome.values("main");
    (0..RECORDS.len()).filter(|at| values.iter().any(|value| value == RECORDS[*at])).collect()
}

#[test]
fn members_decide() {
    for (condition, wanted) in [
        ("/user/country == 'DE' and /amount > 5", vec![0, 2]),
        ("/amount > 5", vec![0, 2, 5]),
        ("/amount >= 4 and not (/amount > 6)", vec![1, 2]),
        ("/user/tags/1 == 'b'", vec![0]),
        ("/user/country is null", vec![3, 4, 5]),
        ("/user/country is not null", vec![0, 1, 2]),
        ("/ok", vec![0]),
        ("/ok == false", vec![2]),
        ("not /ok", vec![2]),
        ("/at >= timestamp '2024-01-01'", vec![0]),
        ("int(/id) == 9007199254740993", vec![1]),
        ("starts_with(/user, 'an')", vec![5]),
        ("text(/amount) == '6'", vec![3]),
        ("float(/amount) == float(/amount)", vec![0, 1, 2, 5]),
        ("/amount between 4 and 6 or /1 == 2", vec![1, 2, 4]),
        ("/amount in (4, 9)", vec![1, 5]),
        ("coalesce(/user/country, 'none') == 'none'", vec![3, 4, 5]),
        ("/amount / 2 > 3", vec![0, 5]),
        ("\"/user/country\" like 'D%'", vec![0, 1, 2]),
    ] {
        assert_eq!(kept(condition), wanted, "{condition}");
    }
}

#[test]
fn what_is_not_json_is_rejected_and_the_rest_goes_on() {
    let mut stage = transform::<JsonFilter>(json!({ "where": "/a == 1" })).unwrap();
    let records = [
        &br#"{"a":1}"#[..],
        br#"{"a":1"#,
        br#"{"a":1,"b":[1,]}"#,
        b"\xff",
        b"",
        br#"{"a":1} {"a":1}"#,
        br#"{"a":2}"#,
        br#"{"a":1}"#,
    ];
    let outcome = stage.run(records).unwrap();
    let bad: Vec<_> = [1, 2, 3, 4, 5].map(|of| (of, "bad-json")).to_vec();
    assert_eq!(outcome.codes(), bad);
    assert_eq!(outcome.rejections[0].message, "the record is not JSON: `,` or `}` is missing at byte 6");
    let kept: Vec<u32> = outcome.port("main").iter().map(|out| out.origin).collect();
    assert_eq!((kept, outcome.filtered()), (vec![0, 7], vec![6]));
}

#[test]
fn a_deletion_has_no_members() {
    let records = || [deletion(), record(r#"{"a":1}"#)];
    for (condition, wanted) in [("/a == 1", vec![1]), ("/a is null or /a == 1", vec![0, 1])] {
        let mut stage = transform::<JsonFilter>(json!({ "where": condition })).unwrap();
        let outcome = stage.run(records()).unwrap();
        let kept: Vec<u32> = outcome.port("main").iter().map(|out| out.origin).collect();
        assert_eq!(kept, wanted, "{condition}");
    }
}

#[test]
fn a_config_that_is_wrong_is_refused_in_words() {
    for (condition, wanted) in [
        ("/a == /b", "what kind of value this is cannot be told"),
        ("amount > 5", "`amount` is not a JSON pointer"),
        ("/a > 'x' and", "found the end"),
        ("/a + 1", "a condition, true or false, is wanted"),
        ("'a' == 5", "cannot be compared"),
    ] {
        let failure = transform::<JsonFilter>(json!({ "where": condition })).unwrap_err();
        assert!(failure.message().contains(wanted), "{condition}: {failure}");
        assert!(failure.message().starts_with("config: `where`: "), "{failure}");
    }
}

#[test]
fn what_the_documents_show_works() {
    examples::run_records::<JsonFilter>("json-filter");
    examples::open_records::<JsonFilter>("json-filter");
}
