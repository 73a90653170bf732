//! A stage's config against the JSON Schema that the stage gives for it.

use std::collections::HashMap;

use jsonschema::Validator;
use model::limits;
use serde_json::Value;

use crate::error::LoadError;

/// One thing that is wrong with a stage's config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// JSON pointer into the config, empty for all of it: where the manifest is to be underlined.
    pub pointer: String,
    pub message: String,
}

/// The schema of a stage's config, compiled. None: the stage says nothing of it, so anything goes.
pub(crate) struct ConfigSchema(Option<Validator>);

impl ConfigSchema {
    pub(crate) fn compile(text: &str) -> Result<Self, LoadError> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let wrong = |why: String| LoadError::Schema { why };
        let schema: Value = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        Steps::of(&schema).map_err(wrong)?;
        let validator = jsonschema::options().should_validate_formats(true).build(&schema);
        Ok(Self(Some(validator.map_err(|e| wrong(e.to_string()))?)))
    }

    /// Everything that is wrong, up to a bound.
    pub(crate) fn check(&self, config: &Value) -> Vec<ConfigProblem> {
        let Some(validator) = &self.0 else { return Vec::new() };
        let problems = validator.iter_errors(config).take(limits::CONFIG_PROBLEMS_MAX);
        let problem = |error: jsonschema::ValidationError<'_>| ConfigProblem {
            pointer: error.instance_path().to_string(),
            message: error.to_string(),
        };
        problems.map(problem).collect()
    }
}

/// How many schemas a value may have to be held against, which is what checking a config can cost: a reference stands
/// for all that it refers to, and a chain of them, each to two others, for more than anybody can wait for.
struct Steps<'a> {
    root: &'a Value,
    /// By reference; none while it is being followed. One that leads back to itself goes down into the config, which
    /// has an end, or the validator finds it.
    followed: HashMap<&'a str, Option<u64>>,
    /// References that are being followed just now: what walks them is recursive.
    depth: usize,
}

impl<'a> Steps<'a> {
    /// Fails where there are too many, or where a reference leads elsewhere.
    fn of(root: &'a Value) -> Result<(), String> {
        let steps = Steps { root, followed: HashMap::new(), depth: 0 }.within(root)?;
        if steps <= limits::SCHEMA_STEPS_MAX {
            return Ok(());
        }
        let most = limits::SCHEMA_STEPS_MAX;
        Err(format!("its references stand for more than {most} schemas: refer to each from fewer places"))
    }

    fn within(&mut self, value: &'a Value) -> Result<u64, String> {
        let mut steps = 1_u64;
        match value {
            Value::Array(list) => {
                for value in list {
                    steps = steps.saturating_add(self.within(value)?);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let more = match (key.as_str(), value) {
                        // Its parts count where they are referred to.
                        ("$defs" | "definitions", _) => 0,
                        ("$ref", Value::String(to)) => self.follow(to)?,
                        ("$dynamicRef" | "$recursiveRef", _) => {
                            return Err(format!("it has a `{key}`; only `$ref` is followed"));
                        }
                        _ => self.within(value)?,
                    };
                    steps = steps.saturating_add(more);
                }
            }
            _ => {}
        }
        Ok(steps)
    }

    fn follow(&mut self, to: &'a str) -> Result<u64, String> {
        if let Some(known) = self.followed.get(to) {
            return Ok(known.unwrap_or(1));
        }
        let target = to.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let Some(target) = target else {
            return Err(format!(
                "`{to}` leads to nothing in it; only its own parts can be referred to, by `#/...`"
            ));
        };
        if self.depth >= limits::SCHEMA_DEPTH_MAX {
            return Err(format!("its references lead on to others more than {} times", self.depth));
        }
        self.followed.insert(to, None);
        self.depth += 1;
        let steps = self.within(target)?;
        self.depth -= 1;
        self.followed.insert(to, Some(steps));
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_points_at_its_place() {
        let schema = r#"{
            "type": "object", "required": ["column"], "additionalProperties": false,
            "properties": { "column": { "type": "string" }, "keep": { "items": { "type": "integer" } } }
        }"#;
        let schema = ConfigSchema::compile(schema).expect("a schema");
        let problems = schema.check(&serde_json::json!({ "colum": "a", "keep": [1, "two"] }));
        let found: Vec<(&str, bool)> =
            problems.iter().map(|p| (p.pointer.as_str(), p.message.is_empty())).collect();
        assert!(found.contains(&("/keep/1", false)), "{problems:?}");
        assert!(problems.iter().any(|p| p.pointer.is_empty() && p.message.contains("colum")), "{problems:?}");
        assert!(problems.iter().any(|p| p.message.contains("\"column\"")), "{problems:?}");
        assert!(schema.check(&serde_json::json!({ "column": "a" })).is_empty());
    }

    #[test]
    fn references_stand_for_no_more_than_can_be_checked() {
        let doubling = |times: usize| {
            let mut defs = serde_json::Map::new();
            for i in 0..times {
                let next = serde_json::json!({ "$ref": format!("#/$defs/d{}", i + 1) });
                defs.insert(format!("d{i}"), serde_json::json!({ "allOf": [next, next] }));
            }
            defs.insert(format!("d{times}"), serde_json::json!({ "type": "object" }));
            serde_json::json!({ "$ref": "#/$defs/d0", "$defs": defs }).to_string()
        };
        let tree = r##"{ "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } }"##;
        let cases = [
            (doubling(8), None),
            (doubling(40), Some("stand for more than")),
            (doubling(400), Some("more than 64 times")),
            (tree.to_owned(), None),
            (r#"{ "$ref": "file:///etc/passwd" }"#.to_owned(), Some("leads to nothing in it")),
            (r##"{ "$ref": "#/$defs/none" }"##.to_owned(), Some("leads to nothing in it")),
            (r##"{ "$dynamicRef": "#a" }"##.to_owned(), Some("only `$ref` is followed")),
        ];
        for (text, expected) in cases {
            match (ConfigSchema::compile(&text), expected) {
                (Ok(schema), None) => assert!(schema.check(&serde_json::json!({ "left": {} })).is_empty()),
                (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (Ok(_), Some(expected)) => panic!("{text} is taken, and not `{expected}`"),
                (Err(error), None) => panic!("{text}: {error}"),
            }
        }
    }

    #[test]
    fn no_schema_takes_anything_and_a_bad_one_is_refused() {
        let none = ConfigSchema::compile("").expect("none");
        assert!(none.check(&serde_json::json!({ "any": 1 })).is_empty());
        for text in ["{", r#"{ "type": 7 }"#] {
            assert!(matches!(ConfigSchema::compile(text), Err(LoadError::Schema { .. })), "{text}");
        }
    }
}
