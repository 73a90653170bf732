//! Which columns go on, and by which names.

use std::borrow::Cow;
use std::fmt;

use conveyor_sdk::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use conveyor_sdk::{Failure, Fields, Result};
use expr::config::{InOrder, column};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// (New name, old name), in order. Written as a list of names and of maps of one entry, or as a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns(Vec<(String, String)>);

/// The three keys that say what goes on.
#[derive(Debug)]
pub struct Selection<'c> {
    pub columns: Option<&'c Columns>,
    pub drop: &'c [String],
    pub rename: &'c InOrder<String>,
}

impl Selection<'_> {
    /// (New name, old name) of each column that goes on; none where all do, as they are.
    pub fn resolve(&self, input: &Fields) -> Result<Option<Vec<(String, String)>>> {
        let select = match self.columns {
            Some(_) if !self.drop.is_empty() => {
                return Err(Failure::invalid("config: `drop`: leave the column out of `columns` instead"));
            }
            Some(_) if !self.rename.is_empty() => {
                return Err(Failure::invalid(
                    "config: `rename`: write the new name into `columns` instead, as `{ new: old }`",
                ));
            }
            Some(columns) => columns.0.clone(),
            None if self.drop.is_empty() && self.rename.is_empty() => return Ok(None),
            None => self.rest(input)?,
        };
        let key = if self.columns.is_some() { "columns" } else { "rename" };
        select.iter().try_for_each(|(_, old)| column(key, old, input).map(|_| ()))?;
        let mut names: Vec<&str> = select.iter().map(|(new, _)| new.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Failure::invalid(format!(
                "config: `{key}`: two columns would be called `{}`",
                pair[0]
            )));
        }
        Ok(Some(select))
    }

    /// All columns but those dropped, by their new names.
    fn rest(&self, input: &Fields) -> Result<Vec<(String, String)>> {
        self.drop.iter().try_for_each(|name| column("drop", name, input).map(|_| ()))?;
        for (new, old) in self.rename.iter() {
            column("rename", old, input)?;
            if self.drop.contains(old) {
                return Err(Failure::invalid(format!("config: `rename.{new}`: `{old}` is dropped")));
            }
        }
        let new_name = |old: &str| {
            let renamed = self.rename.iter().find(|(_, from)| *from == old);
            renamed.map_or(old, |(new, _)| new).to_owned()
        };
        let kept = input.iter().filter(|field| !self.drop.contains(&field.name));
        Ok(kept.map(|field| (new_name(&field.name), field.name.clone())).collect())
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ColumnsVisitor)
    }
}

struct ColumnsVisitor;

impl<'de> Visitor<'de> for ColumnsVisitor {
    type Value = Columns;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of columns, such as [id, { total: amount }], or a map of new names to old ones")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Columns, A::Error> {
        let mut columns = Vec::new();
        while let Some(item) = list.next_element::<Item>()? {
            columns.push((item.0, item.1));
        }
        Ok(Columns(columns))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Columns, A::Error> {
        let mut columns = Vec::new();
        while let Some(entry) = map.next_entry()? {
            columns.push(entry);
        }
        Ok(Columns(columns))
    }
}

/// One entry of the list: (new name, old name).
struct Item(String, String);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a column, or a map of its new name to its old one")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Item, E> {
        Ok(Item(name.to_owned(), name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
        let (Some((new, old)), None) = (map.next_entry()?, map.next_entry::<String, String>()?) else {
            return Err(A::Error::custom(
                "a column in a list is its name, or a map of its new name to its old one",
            ));
        };
        Ok(Item(new, old))
    }
}

impl JsonSchema for Columns {
    fn schema_name() -> Cow<'static, str> {
        "Columns".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {
                    "type": "array",
                    "items": { "anyOf": [
                        { "type": "string" },
                        {
                            "type": "object",
                            "minProperties": 1,
                            "maxProperties": 1,
                            "additionalProperties": { "type": "string" },
                        },
                    ] },
                },
                { "type": "object", "additionalProperties": { "type": "string" } },
            ]
        })
    }

    fn inline_schema() -> bool {
        true
    }
}
