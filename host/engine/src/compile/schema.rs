//! A stage's config against the JSON Schema that the stage gives for it.

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
    fn no_schema_takes_anything_and_a_bad_one_is_refused() {
        let none = ConfigSchema::compile("").expect("none");
        assert!(none.check(&serde_json::json!({ "any": 1 })).is_empty());
        for text in ["{", r#"{ "type": 7 }"#] {
            assert!(matches!(ConfigSchema::compile(text), Err(LoadError::Schema { .. })), "{text}");
        }
    }
}
