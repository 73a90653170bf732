//! What `parse` can be told.

use std::borrow::Cow;
use std::fmt;

use conveyor_sdk::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use expr::config::InOrder;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// What `parse` can be told.
#[conveyor_sdk::config]
#[derive(Debug)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// The columns, and what each holds: `{ amount: float, placed: { as: timestamp, format: "%d.%m.%Y %H:%M" } }`.
    pub columns: InOrder<Target>,
    /// What becomes of a row with a value that cannot be read.
    #[serde(default, deserialize_with = "on_error")]
    #[schemars(with = "Option<OnError>")]
    pub on_error: OnError,
    /// Whether blanks around a value are left out.
    #[serde(default = "yes")]
    pub trim: bool,
    /// The texts that stand for no value.
    #[serde(default = "empty")]
    pub nulls: Vec<String>,
}

/// What becomes of a row with a value that cannot be read.
#[conveyor_sdk::config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// The row is rejected, with the column and the value.
    #[default]
    Reject,
    /// The value becomes null.
    Null,
}

/// What a column holds.
#[conveyor_sdk::config]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Int,
    Float,
    Bool,
    Timestamp,
    Date,
}

/// What a column holds, and in which form: the kind alone, or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(pub Details);

/// The map.
#[conveyor_sdk::config]
#[derive(Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Details {
    pub r#as: Kind,
    /// Of numbers: the mark between thousands, which is left out.
    #[serde(default)]
    pub thousands: Option<char>,
    /// Of floats: the mark before the decimals; a point unless it is said.
    #[serde(default)]
    pub decimal: Option<char>,
    /// Of timestamps and dates: `iso` (unless said), `unix`, `unix-ms`, `unix-us`, or a pattern such as
    /// `%d.%m.%Y %H:%M:%S`.
    #[serde(default)]
    pub format: Option<String>,
    /// Of timestamps: the offset from UTC of those that say none, such as `+01:00`.
    #[serde(default)]
    pub zone: Option<String>,
    /// Of truth values: the words for true, whatever their case.
    #[serde(default)]
    pub true_words: Vec<String>,
    /// Of truth values: the words for false.
    #[serde(default)]
    pub false_words: Vec<String>,
}

/// `null` without quotes is no text in YAML, and means the same.
fn on_error<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OnError, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(OnError::Null))
}

fn yes() -> bool {
    true
}

fn empty() -> Vec<String> {
    vec![String::new()]
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetVisitor)
    }
}

struct TargetVisitor;

impl<'de> Visitor<'de> for TargetVisitor {
    type Value = Target;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("int, float, bool, timestamp or date, or a map with `as`")
    }

    fn visit_str<E: Error>(self, kind: &str) -> Result<Target, E> {
        Kind::deserialize(StrDeserializer::new(kind)).map(|kind| Target(Details::of(kind)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Target, A::Error> {
        Details::deserialize(MapAccessDeserializer::new(map)).map(Target)
    }
}

impl Details {
    pub fn of(kind: Kind) -> Self {
        let (thousands, decimal, format, zone) = (None, None, None, None);
        Details {
            r#as: kind,
            thousands,
            decimal,
            format,
            zone,
            true_words: Vec::new(),
            false_words: Vec::new(),
        }
    }
}

impl JsonSchema for Target {
    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (kind, details) = (generator.subschema_for::<Kind>(), generator.subschema_for::<Details>());
        json_schema!({ "anyOf": [kind, details] })
    }
}
