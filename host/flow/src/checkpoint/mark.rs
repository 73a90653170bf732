//! What a stage was when a checkpoint was taken, so that the next run can tell whether it may go on from there.
//!
//! A mark has parts: the things that what the checkpoint has of the stage rests on, by name. Two marks are held against
//! each other by value. A part whose value may be a secret is kept as its SHA-256 alone.

use std::collections::BTreeMap;
use std::fmt;

use model::limits::{FINGERPRINT_NAME_BYTES_MAX, FINGERPRINT_PARTS_MAX, FINGERPRINT_SHOWN_BYTES_MAX};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Parts by name.
pub type MarkParts = BTreeMap<String, MarkPart>;

/// What a stage was when a checkpoint was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageMark {
    /// The connector, as the manifest names it; of a component with state, the name that it gives itself.
    pub uses: String,
    /// What stood under `with:`, in checkpoints of versions that had no parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Map<String, Value>>,
    /// What the connector or the component says that it rests on. None where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<MarkParts>,
    /// All that stood under `with:`, of stages that keep state: theirs where they say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<MarkParts>,
}

/// The value of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkPart {
    Value(String),
    Sha256(String),
}

impl MarkPart {
    /// A value that is no secret. Where it is long, its hash is kept all the same.
    pub fn shown(value: impl Into<String>) -> Self {
        let value = value.into();
        if value.len() <= FINGERPRINT_SHOWN_BYTES_MAX { Self::Value(value) } else { Self::hidden(&value) }
    }

    /// A value that may be a secret.
    pub fn hidden(value: &str) -> Self {
        Self::Sha256(Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The parts of a config, one for each key; one for all of them where there are many, or their names are long. Values
/// are compared as values: the order of keys does not matter, and `1` is `1.0`.
pub fn config_parts(with: &Map<String, Value>) -> MarkParts {
    let hidden = |write: &dyn Fn(&mut String)| {
        let mut text = String::new();
        write(&mut text);
        MarkPart::hidden(&text)
    };
    let are_few =
        with.len() <= FINGERPRINT_PARTS_MAX && with.keys().all(|key| key.len() <= FINGERPRINT_NAME_BYTES_MAX);
    if !are_few {
        return [("with".to_owned(), hidden(&|to| write_object(with, to)))].into();
    }
    with.iter().map(|(key, value)| (key.clone(), hidden(&|to| write_canonical(value, to)))).collect()
}

fn write_canonical(value: &Value, to: &mut String) {
    match value {
        Value::Array(items) => {
            to.push('[');
            for item in items {
                write_canonical(item, to);
                to.push(',');
            }
            to.push(']');
        }
        Value::Object(map) => write_object(map, to),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            // Floats of this size without a fraction are the integers that they look like.
            Some(float) if float.fract() == 0.0 && float.abs() < 1e18 => {
                to.push_str(&(float as i64).to_string());
            }
            _ => to.push_str(&number.to_string()),
        },
        Value::Null | Value::Bool(_) | Value::String(_) => to.push_str(&value.to_string()),
    }
}

fn write_object(map: &Map<String, Value>, to: &mut String) {
    to.push('{');
    for (key, value) in map.iter().collect::<BTreeMap<_, _>>() {
        to.push_str(&Value::from(key.as_str()).to_string());
        to.push(':');
        write_canonical(value, to);
        to.push(',');
    }
    to.push('}');
}

/// A part that is another one now, in words: "`delimiter` was `,` and is `;`".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    name: String,
    was: Option<MarkPart>,
    is: Option<MarkPart>,
}

/// What is different in parts, by name. A part that is not there has the default.
fn changes(was: &MarkParts, is: &MarkParts, defaults: &MarkParts) -> Vec<Change> {
    let mut names: Vec<&String> = was.keys().chain(is.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let of = |parts: &MarkParts, name: &String| parts.get(name).or_else(|| defaults.get(name)).cloned();
    let change = |name: &String| Change { name: name.clone(), was: of(was, name), is: of(is, name) };
    names.into_iter().map(change).filter(|change| change.was != change.is).collect()
}

impl Change {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is another value of what was there before and is there now.
    pub fn is_of_value(&self) -> bool {
        self.was.is_some() && self.is.is_some()
    }
}

impl StageMark {
    /// What a stage with this mark rests on that one of the mark `was` did not: what both say, or else, where one of
    /// them says nothing, all of their configs, with these `defaults`. Where there is nothing to compare, nothing has
    /// changed.
    pub fn changed_from(&self, was: &Self, defaults: &MarkParts) -> Vec<Change> {
        match (&was.said, &self.said) {
            (Some(was), Some(is)) => changes(was, is, &MarkParts::new()),
            _ => match (&was.config, &self.config) {
                (Some(was), Some(is)) => changes(was, is, defaults),
                _ => Vec::new(),
            },
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, was, is } = self;
        let name = Shown(name);
        match (was, is) {
            (Some(MarkPart::Value(was)), Some(MarkPart::Value(is))) => {
                write!(f, "{name} was {} and is {}", Shown(was), Shown(is))
            }
            (None, Some(MarkPart::Value(is))) => write!(f, "{name} is {}, and was not there", Shown(is)),
            (Some(MarkPart::Value(was)), None) => {
                write!(f, "{name} was {}, and is not there any more", Shown(was))
            }
            (None, _) => write!(f, "{name} was not there"),
            (_, None) => write!(f, "{name} is not there any more"),
            _ => write!(f, "{name} changed"),
        }
    }
}

/// A value in a sentence: a tab, say, by its escape.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("empty");
        }
        f.write_str("`")?;
        for char in self.0.chars() {
            if char.is_control() { write!(f, "{}", char.escape_default())? } else { write!(f, "{char}")? }
        }
        f.write_str("`")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: Value) -> MarkParts {
        config_parts(value.as_object().expect("an object"))
    }

    fn said(changes: &[Change]) -> Vec<String> {
        changes.iter().map(Change::to_string).collect()
    }

    #[test]
    fn configs_are_compared_by_value_and_told_by_key() {
        let was = json!({ "a": 1, "b": { "x": [1.5, null], "y": true }, "c": "1" });
        for (is, expected) in [
            (json!({ "c": "1", "b": { "y": true, "x": [1.5, null] }, "a": 1.0 }), vec![]),
            (json!({ "a": 1, "b": { "x": [null, 1.5], "y": true }, "c": "1" }), vec!["`b` changed"]),
            (json!({ "a": 1, "b": { "x": [1.5, null], "y": true }, "c": 1 }), vec!["`c` changed"]),
            (
                json!({ "a": 2, "b": { "x": [1.5, null], "y": true }, "d": "1" }),
                vec!["`a` changed", "`c` is not there any more", "`d` was not there"],
            ),
        ] {
            let changes = changes(&config(was.clone()), &config(is.clone()), &MarkParts::new());
            assert_eq!(said(&changes), expected, "{is}");
        }
        let numbers =
            [json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992.0), json!(0.1), json!("0.1")];
        for (nth, one) in numbers.iter().enumerate() {
            for (other, two) in numbers.iter().enumerate() {
                let is_same = config(json!({ "n": one })) == config(json!({ "n": two }));
                assert_eq!(is_same, nth == other, "{one} and {two}");
            }
        }
        assert_eq!(config(json!({ "n": -0.0 })), config(json!({ "n": 0 })));
        // Texts that would run into each other if they were not quoted.
        assert_ne!(config(json!({ "n": ["a\",\"b"] })), config(json!({ "n": ["a", "b"] })));
    }

    #[test]
    fn a_secret_is_in_no_mark() {
        let mark = StageMark {
            uses: "it".into(),
            config: Some(config(json!({ "password": "hunter2", "deep": { "token": "hunter2" } }))),
            said: Some([("long".into(), MarkPart::shown("hunter2".repeat(100)))].into()),
            ..StageMark::default()
        };
        let text = serde_json::to_string(&mark).expect("JSON");
        assert!(text.contains("password") && !text.contains("hunter2"), "{text}");
        assert_eq!(serde_json::from_str::<StageMark>(&text).expect("a mark"), mark);
    }

    #[test]
    fn what_both_say_counts_and_else_all_of_the_config() {
        let mark = |said: Option<&str>, with: Option<u8>| StageMark {
            said: said.map(|by| [("by".to_owned(), MarkPart::shown(by))].into()),
            config: with.map(|with| config(json!({ "by": with }))),
            ..StageMark::default()
        };
        for (was, is, expected) in [
            (mark(Some("a"), Some(1)), mark(Some("a"), Some(2)), vec![]),
            (mark(Some("a"), Some(1)), mark(Some("\t"), Some(1)), vec!["`by` was `a` and is `\\t`"]),
            // Another version that begins to say something, or does not any more.
            (mark(None, Some(1)), mark(Some("a"), Some(1)), vec![]),
            (mark(None, Some(1)), mark(Some("a"), Some(2)), vec!["`by` changed"]),
            (mark(Some("a"), Some(1)), mark(None, Some(2)), vec!["`by` changed"]),
            (mark(None, None), mark(None, Some(2)), vec![]),
            (mark(Some("a"), None), mark(None, None), vec![]),
        ] {
            assert_eq!(said(&is.changed_from(&was, &MarkParts::new())), expected, "{was:?} {is:?}");
        }
        // What is not there has the default.
        let (short, long) =
            (mark(None, Some(1)), |with| StageMark { config: Some(config(with)), ..mark(None, None) });
        let defaults = config(json!({ "count": "n", "new": 0 }));
        for (with, expected) in [
            (json!({ "by": 1, "count": "n" }), vec![]),
            (json!({ "by": 1, "count": "m" }), vec!["`count` changed"]),
        ] {
            assert_eq!(said(&long(with.clone()).changed_from(&short, &defaults)), expected);
            assert_eq!(said(&short.changed_from(&long(with), &defaults)), expected);
        }
    }

    #[test]
    fn a_config_of_many_keys_is_one_part() {
        let many = |value: u8| (0..1000).map(|n| (n.to_string(), json!(value))).collect::<Map<_, _>>();
        assert_eq!(config_parts(&many(1)).len(), 1);
        assert_ne!(config_parts(&many(1)), config_parts(&many(2)));
        assert_eq!(config(json!({ "k".repeat(1000): 1 })).keys().collect::<Vec<_>>(), ["with"]);
    }

    #[test]
    fn marks_of_versions_without_parts_are_read() {
        let old = r#"{"uses":"file","with":{"path":"in.csv"}}"#;
        let mark: StageMark = serde_json::from_str(old).expect("a mark");
        assert_eq!((mark.uses.as_str(), mark.with.map(|with| with.len())), ("file", Some(1)));
        assert_eq!((mark.said, mark.config), (None, None));
    }
}
