//! Names of pipelines, stages and ports.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::NAME_CHARS_MAX;

/// `[a-z0-9-]`, at most [`NAME_CHARS_MAX`] characters, not empty, no `-` at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// Why a text is no name.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    #[error("a name cannot be empty")]
    Empty,
    #[error("a name has at most {NAME_CHARS_MAX} characters, this one has {0}")]
    TooLong(usize),
    #[error("{0:?} cannot stand in a name: only a to z, 0 to 9 and `-` can")]
    Character(char),
    #[error("a name neither begins nor ends with `-`")]
    Dash,
}

impl Name {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(bad) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return Err(NameError::Character(bad));
        }
        if text.len() > NAME_CHARS_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(NameError::Dash);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest valid name, to suggest: `My_Stage` becomes `my-stage`.
    pub fn nearest(text: &str) -> Option<Self> {
        let lower = text.trim().to_lowercase();
        let mapped: String = lower
            .chars()
            .map(|c| if matches!(c, 'a'..='z' | '0'..='9') { c } else { '-' })
            .take(NAME_CHARS_MAX)
            .collect();
        Self::parse(mapped.trim_matches('-')).ok()
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_may_be() {
        let long = "a".repeat(NAME_CHARS_MAX);
        let cases = [
            ("orders", None),
            ("by-country-2", None),
            ("7", None),
            (long.as_str(), None),
            ("", Some(NameError::Empty)),
            ("Orders", Some(NameError::Character('O'))),
            ("a.b", Some(NameError::Character('.'))),
            ("größe", Some(NameError::Character('ö'))),
            ("-a", Some(NameError::Dash)),
            ("a-", Some(NameError::Dash)),
        ];
        for (text, error) in cases {
            assert_eq!(Name::parse(text).err(), error, "{text:?}");
        }
        assert_eq!(Name::parse(&format!("{long}a")), Err(NameError::TooLong(NAME_CHARS_MAX + 1)));
    }

    #[test]
    fn a_bad_name_is_turned_into_a_good_one() {
        let cases = [("My_Stage", Some("my-stage")), ("  a b ", Some("a-b")), ("___", None), ("", None)];
        for (text, nearest) in cases {
            assert_eq!(Name::nearest(text).as_ref().map(Name::as_str), nearest, "{text:?}");
        }
    }
}
