//! The columns of a typed stream: their names and kinds.

use std::ops::Deref;

pub use crate::bindings::types::columns::{Field, Kind};
use crate::{Failure, Result};

impl Field {
    /// A column that may have nulls.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Field { name: name.into(), kind, nullable: true, logical: String::new() }
    }

    /// The same column without nulls. A row that has none in a *wanted* column without nulls is rejected
    /// before the stage sees it.
    pub fn required(self) -> Self {
        Field { nullable: false, ..self }
    }

    pub fn named(&self, name: impl Into<String>) -> Self {
        Field { name: name.into(), ..self.clone() }
    }
}

/// Every column of a stream, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields(Vec<Field>);

impl Fields {
    pub fn new(fields: impl Into<Vec<Field>>) -> Self {
        Fields(fields.into())
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|field| field.name == name)
    }

    pub fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|field| field.name == name)
    }

    /// The column of this name, or a failure that says which there are.
    pub fn require(&self, name: &str) -> Result<&Field> {
        self.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.0.iter().map(|field| field.name.as_str()).collect();
            Failure::invalid(format!("no column `{name}` comes in; there are: {}", names.join(", ")))
        })
    }

    pub fn into_vec(self) -> Vec<Field> {
        self.0
    }
}

impl Deref for Fields {
    type Target = [Field];

    fn deref(&self) -> &[Field] {
        &self.0
    }
}

impl<F: Into<Vec<Field>>> From<F> for Fields {
    fn from(fields: F) -> Self {
        Fields(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_does_not_come_is_named_with_those_that_do() {
        let fields = Fields::new([Field::new("amount", Kind::F64s), Field::new("country", Kind::Texts)]);
        assert_eq!(fields.require("country").unwrap().kind, Kind::Texts);
        assert_eq!(
            fields.require("land"),
            Err(Failure::invalid("no column `land` comes in; there are: amount, country"))
        );
    }
}
