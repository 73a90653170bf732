//! Whether what came is what was expected, and how it differs.

use serde_json::{Number, Value};

use crate::words::Words;

/// Differences that are shown of one place; the rest is counted.
const SHOWN_MAX: usize = 5;

/// Nothing where `found` is what was `expected`, in this order; else what differs.
pub fn difference(place: &str, expected: &[&Value], found: &[Value]) -> Option<Words> {
    let all = expected.len().max(found.len());
    let wrong: Vec<usize> = (0..all)
        .filter(|&at| match (expected.get(at), found.get(at)) {
            (Some(expected), Some(found)) => !same(expected, found),
            _ => true,
        })
        .collect();
    if wrong.is_empty() {
        return None;
    }
    let mut words =
        Words::from(format!("{place}: {} expected, {} came", records(expected.len()), records(found.len())));
    for &at in wrong.iter().take(SHOWN_MAX) {
        words.push(format!("record {at}:"));
        if let Some(expected) = expected.get(at) {
            words.push(format!("  expected {expected}"));
        }
        if let Some(found) = found.get(at) {
            words.push(format!("  came     {found}"));
        }
    }
    if wrong.len() > SHOWN_MAX {
        words.push(format!("... and {} more", wrong.len() - SHOWN_MAX));
    }
    Some(words)
}

fn records(n: usize) -> String {
    if n == 1 { "1 record".to_owned() } else { format!("{n} records") }
}

/// A number is its value, a key without a value is no key, and a record that holds JSON is what it holds.
fn same(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            let null = &Value::Null;
            a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(null)))
                && b.iter().all(|(key, value)| a.contains_key(key) || value.is_null())
        }
        (Value::Object(_) | Value::Array(_), Value::String(text)) => {
            serde_json::from_str(text).is_ok_and(|found: Value| !found.is_string() && same(expected, &found))
        }
        _ => expected == found,
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_counts_as_the_same() {
        let cases = [
            (json!({ "a": 1 }), json!({ "a": 1.0, "b": null }), true),
            (json!({ "a": 1, "b": null }), json!({ "a": 1 }), true),
            (json!({ "a": 1 }), json!({ "a": 1, "b": 2 }), false),
            (json!({ "a": 1 }), json!("{\"a\": 1}"), true),
            (json!({ "a": 1 }), json!("{\"a\": 2}"), false),
            (json!("text"), json!("text"), true),
            (json!("1"), json!(1), false),
            (json!([1, 2]), json!([1]), false),
            (json!(9007199254740993_i64), json!(9007199254740992_i64), false),
        ];
        for (expected, found, is_same) in cases {
            assert_eq!(same(&expected, &found), is_same, "{expected} and {found}");
        }
    }

    #[test]
    fn a_difference_names_the_records() {
        let (one, two) = (json!(1), json!(2));
        assert_eq!(difference("port `a`", &[&one, &two], &[json!(1), json!(2)]), None);
        let text = difference("port `a`", &[&one, &two], &[json!(1)]).expect("a difference").to_string();
        assert_eq!(text, "port `a`: 2 records expected, 1 record came\nrecord 1:\n  expected 2");
        assert!(difference("it", &[], &[json!(3)]).expect("a difference").to_string().contains("came     3"));
    }
}
