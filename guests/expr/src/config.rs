//! What the configs of several stages have in common: maps in order, and columns by name.

use std::fmt;
use std::marker::PhantomData;

use conveyor_sdk::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use conveyor_sdk::serde::de::{Error, MapAccess, Visitor};
use conveyor_sdk::serde::{Deserialize, Deserializer};
use conveyor_sdk::{Failure, Field, Fields};

use crate::scope::unknown;

/// The column that the config names under `key`, or what is wrong with the name.
pub fn column<'f>(key: &str, name: &str, input: &'f Fields) -> Result<&'f Field, Failure> {
    let failure = || Failure::invalid(format!("config: `{key}`: {}", unknown(name, input)));
    input.get(name).ok_or_else(failure)
}

/// A map whose order is that in which it was written. A key that is there twice is an error.
#[derive(Debug, Clone, PartialEq)]
pub struct InOrder<T>(Vec<(String, T)>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        InOrder(Vec::new())
    }
}

impl<T> InOrder<T> {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
    type Value = InOrder<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder<T>, A::Error> {
        let mut entries: Vec<(String, T)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, T>()? {
            if entries.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom(format!("`{key}` is there twice")));
            }
            entries.push((key, value));
        }
        Ok(InOrder(entries))
    }
}

impl<T: JsonSchema> JsonSchema for InOrder<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("InOrder_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let inner = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": inner })
    }

    fn inline_schema() -> bool {
        true
    }
}
