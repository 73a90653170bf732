//! What stands under `with:`, as types.

use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A key under `with:` that a connector does not take as it is.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("{message}")]
pub struct OptionsError {
    /// JSON pointer to the value, for the line to underline.
    pub pointer: String,
    pub message: String,
    pub help: String,
}

impl OptionsError {
    pub(crate) fn new(pointer: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), message: message.into(), help: help.into() }
    }
}

/// Reads `with:` and names the key that does not fit. A key with nothing behind it says nothing, and is refused rather than
/// left out: in YAML `NULL`, `~` and an empty value are the same.
pub(crate) fn read<T: DeserializeOwned + JsonSchema>(
    with: &Map<String, Value>,
    connector: &str,
) -> Result<T, OptionsError> {
    if let Some((key, _)) = with.iter().find(|(_, value)| value.is_null()) {
        let message = format!("`{key}` has no value: what stands there is a null to YAML, and no text");
        let help = match key.as_str() {
            "null" => "put the text in quotes, such as `null: \"NULL\"`, or remove the key".to_owned(),
            key => format!("give `{key}` a value, in quotes where it is a text, or remove the key"),
        };
        return Err(OptionsError::new(&format!("/{}", escaped(key)), message, help));
    }
    let value = Value::Object(with.clone());
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path();
        let mut pointer = String::new();
        for segment in path.iter() {
            use serde_path_to_error::Segment;
            match segment {
                Segment::Map { key } => {
                    pointer.push_str(&format!("/{}", escaped(key)));
                }
                Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        let key = pointer.trim_start_matches('/').replace('/', ".");
        let message = error.inner().to_string();
        let message = if key.is_empty() || message.contains(&format!("`{key}`")) {
            message
        } else {
            format!("`{key}`: {message}")
        };
        let help = format!("`{connector}` takes {}", keys_of::<T>());
        OptionsError { pointer, message, help }
    })
}

/// A key in a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn keys_of<T: JsonSchema>() -> String {
    let schema = schemars::schema_for!(T);
    let keys = schema.get("properties").and_then(Value::as_object);
    let keys: Vec<&str> = keys.into_iter().flat_map(|keys| keys.keys().map(String::as_str)).collect();
    if keys.is_empty() { "no options".to_owned() } else { keys.join(", ") }
}

/// `64MiB`, or a number of bytes.
pub(crate) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    unit(deserializer, |bytes: model::manifest::Bytes| bytes.0)
}

/// `250ms`, `1h`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    unit(deserializer, |duration: model::manifest::Duration| duration.0)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

fn unit<'de, D, U, T>(deserializer: D, of: impl Fn(U) -> T) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    U: std::str::FromStr,
    U::Err: std::fmt::Display,
{
    let Some(written) = Option::<Written>::deserialize(deserializer)? else { return Ok(None) };
    let text = match written {
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    };
    text.parse().map(|unit| Some(of(unit))).map_err(serde::de::Error::custom)
}

/// One text, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn to_vec(&self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::Many(many) => many.clone(),
        }
    }
}
