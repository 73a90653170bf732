//! A stage's `with:`, which comes as JSON, as a type of the stage's own; and the JSON Schema of that type.

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Failure, Result};

/// What a stage's config has to be. `#[conveyor_sdk::config]` on a struct makes it so.
pub trait Config: DeserializeOwned + JsonSchema {}
impl<C: DeserializeOwned + JsonSchema> Config for C {}

/// The config of a stage that has nothing to set.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
pub struct NoConfig {}

/// Reads a config. Every key has to be one that the type knows, whether or not it says so to serde.
pub fn parse<C: Config>(text: &str) -> Result<C> {
    let text = match text.trim() {
        "" | "null" => "{}",
        text => text,
    };
    let (mut unknown, mut track) = (Vec::new(), serde_path_to_error::Track::new());
    let mut json = serde_json::Deserializer::from_str(text);
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let config = serde_ignored::deserialize(tracked, |path| unknown.push(path.to_string()));
    let config: C = config.map_err(|error| {
        let (path, error) = (track.path().to_string(), error.to_string());
        let error = without_place(&error);
        match path.as_str() {
            "." => Failure::invalid(format!("config: {error}")),
            path => Failure::invalid(format!("config: `{path}`: {error}")),
        }
    })?;
    match unknown.first() {
        None => Ok(config),
        Some(key) => Err(unknown_key::<C>(key)),
    }
}

/// The JSON Schema of `C`, as text.
pub fn schema_text<C: Config>() -> String {
    let mut schema = schema::<C>();
    if let Some(root) = schema.as_object_mut() {
        close(root);
        if let Some(Value::Object(definitions)) = root.get_mut("$defs") {
            definitions.values_mut().filter_map(Value::as_object_mut).for_each(close);
        }
    }
    schema.as_value().to_string()
}

fn schema<C: Config>() -> Schema {
    schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<C>()
}

/// What [`parse`] refuses, the schema refuses too, so that it is said before anything starts.
fn close(object: &mut Map<String, Value>) {
    const OPEN: [&str; 6] =
        ["additionalProperties", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "$ref"];
    let is_object = object.get("type").is_some_and(|kind| kind == "object");
    if is_object && !OPEN.iter().any(|key| object.contains_key(*key)) {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}

fn unknown_key<C: Config>(key: &str) -> Failure {
    let schema = schema::<C>();
    let mut known: Vec<&str> = match schema.get("properties") {
        Some(Value::Object(properties)) => properties.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    known.sort_unstable();
    match (key.contains('.'), known.as_slice()) {
        (false, []) => Failure::invalid(format!("config: unknown key `{key}`; this stage takes no config")),
        (false, known) => {
            Failure::invalid(format!("config: unknown key `{key}`; there are: {}", known.join(", ")))
        }
        (true, _) => Failure::invalid(format!("config: unknown key `{key}`")),
    }
}

/// The user wrote YAML, so a line and column of the JSON would mislead.
fn without_place(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |end| &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Limits {
        minimum: f64,
        #[serde(default)]
        inner: Inner,
    }

    #[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
    struct Inner {
        #[serde(default)]
        depth: u8,
    }

    #[test]
    fn what_is_wrong_with_a_config_is_named() {
        for (text, message) in [
            ("{}", "config: missing field `minimum`"),
            (r#"{"minimum":"1"}"#, r#"config: `minimum`: invalid type: string "1", expected f64"#),
            (r#"{"minimum":1,"minimun":2}"#, "config: unknown key `minimun`; there are: inner, minimum"),
            (r#"{"minimum":1,"inner":{"deep":2}}"#, "config: unknown key `inner.deep`"),
            (
                r#"{"minimum":1,"inner":{"depth":300}}"#,
                "config: `inner.depth`: invalid value: integer `300`, expected u8",
            ),
            ("[", "config: EOF while parsing a list"),
        ] {
            match parse::<Limits>(text) {
                Err(Failure::Invalid(found)) => assert_eq!(found, message, "for {text}"),
                other => panic!("{text} gave {other:?}"),
            }
        }
    }

    #[test]
    fn nothing_is_an_empty_config() {
        for text in ["", " ", "null", "{}"] {
            assert!(parse::<NoConfig>(text).is_ok(), "{text:?}");
        }
        assert_eq!(
            parse::<NoConfig>(r#"{"a":1}"#).unwrap_err().message(),
            "config: unknown key `a`; this stage takes no config"
        );
    }

    #[test]
    fn the_schema_refuses_unknown_keys_at_every_level() {
        let schema: Value = serde_json::from_str(&schema_text::<Limits>()).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["$defs"]["Inner"]["additionalProperties"], false);
        assert_eq!(schema["required"], serde_json::json!(["minimum"]));
    }
}
