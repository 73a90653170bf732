//! Hides what columns hold. What comes out is text, in the place of the column that came in; null stays null.

use conveyor_sdk::{
    Failure, Field, Fields, Kind, Port, Result, Table, TableEmitter, TablePlan, TableTransform, Texts,
    table_transform,
};
use expr::config::{InOrder, column};

mod email;
mod hide;

use hide::Hider;

/// What `mask` can be told.
#[conveyor_sdk::config]
#[derive(Debug)]
pub struct Config {
    /// The columns, and what is done with each: `{ email: { method: email }, card: { method: keep-last, count: 4 } }`.
    columns: InOrder<Method>,
    /// The key of `hash`, at least 16 bytes. Have it come from the environment, as `${MASK_KEY}`: who knows it can
    /// find out by trying what was hashed.
    #[serde(default)]
    key: Option<String>,
}

/// What is done with the values of a column.
#[conveyor_sdk::config]
#[derive(Debug, Clone)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// HMAC-SHA-256 in hex, so that the same values stay the same and nobody without the key can tell which.
    Hash {
        /// How many of the 64 hex digits are kept, from 16 on.
        #[serde(default = "all_digits")]
        digits: usize,
    },
    /// Every character but the last few becomes `with`.
    KeepLast {
        count: usize,
        #[serde(default = "star")]
        with: char,
    },
    /// Every address in a text keeps its first character and its domain: `a***@example.com`.
    Email {},
    /// Every value becomes this text.
    Replace { with: String },
    /// Every value becomes null.
    Remove {},
}

fn all_digits() -> usize {
    64
}

fn star() -> char {
    '*'
}

#[derive(Debug)]
pub struct Mask {
    hiders: Vec<Hider>,
    scratch: Vec<u8>,
}

impl Config {
    fn check(&self, input: &Fields) -> Result<Vec<(Field, Hider)>> {
        if self.columns.is_empty() {
            return Err(Failure::invalid("config: `columns`: name at least one column and its method"));
        }
        let check = |(name, method): (&str, &Method)| {
            let field = column("columns", name, input)?;
            let nullable = field.nullable || matches!(method, Method::Remove {});
            Ok((
                Field { nullable, ..Field::new(name, Kind::Texts) },
                Hider::new(name, method, self.key.as_deref())?,
            ))
        };
        self.columns.iter().map(check).collect()
    }
}

impl TableTransform for Mask {
    type Config = Config;

    fn plan(config: &Config, input: &Fields) -> Result<TablePlan> {
        Ok(config.check(input)?.into_iter().fold(TablePlan::new(), |plan, (field, _)| {
            let nullable = input.get(&field.name).is_none_or(|field| field.nullable);
            plan.want(Field { nullable, ..field.clone() }).set(field)
        }))
    }

    fn open(config: Config, input: &Fields) -> Result<Self> {
        let hiders = config.check(input)?.into_iter().map(|(_, hider)| hider).collect();
        Ok(Mask { hiders, scratch: Vec::new() })
    }

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result {
        out.forward_all();
        let mut columns = out.set(Port::MAIN);
        for (index, hider) in self.hiders.iter().enumerate() {
            let (values, to): (Texts<'_>, _) = (table.texts(index), columns.column(index));
            for row in 0..table.len() {
                match values.get(row) {
                    Some(value) => hider.hide(value, &mut self.scratch, to),
                    None => to.push_null(),
                }
            }
        }
        Ok(())
    }
}

table_transform!(Mask);

#[cfg(test)]
mod tests;
