//! What things are called: numbers that are never given twice, and names that are checked where they come in.

use std::fmt;
use std::str::FromStr;

use model::limits::{CONTROL_TAG_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, SECRET_NAME_CHARS_MAX};
use model::manifest::{Name, NameError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $(
            $(#[$doc])*
            #[derive(
                Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize
            )]
            #[serde(transparent)]
            pub struct $name(pub u64);

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(f)
                }
            }
        )*
    };
}

numbers! {
    /// A node. Never used twice, so that one that was removed is not taken for another.
    NodeId,
    /// A pipeline, from its first deploy until it is gone. A later one of the same name has another number.
    PipelineId,
    /// A revision of one pipeline, counted from 1.
    RevisionNumber,
    /// Counts what somebody wanted of a pipeline, so that nobody overwrites what they have not seen.
    Version,
}

/// One start of a node, of 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootId(pub u128);

/// One cluster, of 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(pub u128);

/// Why a text is no id of 128 bits.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("it has 32 hexadecimal digits")]
pub struct NoHex;

macro_rules! hex {
    ($($name:ident),*) => {
        $(
            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, "{:032x}", self.0)
                }
            }

            impl FromStr for $name {
                type Err = NoHex;

                fn from_str(text: &str) -> Result<Self, NoHex> {
                    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                    let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
                    number.map(Self).ok_or(NoHex)
                }
            }
        )*
    };
}

hex!(BootId, ClusterId);

/// A pipeline in its namespace: `default/orders`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineName {
    pub namespace: Name,
    pub name: Name,
}

/// A secret in its namespace: `default/API_KEY`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName {
    pub namespace: Name,
    pub name: Variable,
}

/// What a secret is called, as a variable of the environment is: letters, digits and `_`, no digit first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Variable(String);

/// A tag of a repository: `team/filter:1.2`. What each may be is the registry's to say; here neither is empty, and all of
/// it is bounded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagName {
    pub repository: String,
    pub tag: String,
}

/// Names one thing that somebody wants done, however often they ask for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(String);

/// Why a text is not the name of something.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum BadName {
    #[error("`{0}` names nothing: write NAMESPACE/NAME")]
    NoNamespace(String),
    #[error("`{text}` is no name: {why}")]
    Name { text: String, why: NameError },
    #[error(
        "`{0}` names no secret: it has letters, digits and `_`, no digit first, and at most {SECRET_NAME_CHARS_MAX} of them"
    )]
    Variable(String),
    #[error("`{0}` is no tag: write REPOSITORY:TAG, with at most {CONTROL_TAG_BYTES_MAX} bytes")]
    Tag(String),
    #[error(
        "an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable characters of ASCII, this one is {0:?}"
    )]
    Key(String),
}

impl Variable {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl IdempotencyKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PipelineName {
    pub fn new(namespace: Name, name: Name) -> Self {
        Self { namespace, name }
    }
}

fn name(text: &str) -> Result<Name, BadName> {
    Name::parse(text).map_err(|why| BadName::Name { text: text.to_owned(), why })
}

fn within(text: &str) -> Result<(Name, &str), BadName> {
    let (namespace, rest) = text.split_once('/').ok_or_else(|| BadName::NoNamespace(text.to_owned()))?;
    Ok((name(namespace)?, rest))
}

impl FromStr for PipelineName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let (namespace, rest) = within(text)?;
        Ok(Self { namespace, name: name(rest)? })
    }
}

impl FromStr for SecretName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let (namespace, rest) = within(text)?;
        Ok(Self { namespace, name: rest.parse()? })
    }
}

impl FromStr for Variable {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let is_one = text.len() <= SECRET_NAME_CHARS_MAX
            && text.bytes().next().is_some_and(is_first)
            && text.bytes().all(|byte| is_first(byte) || byte.is_ascii_digit());
        if is_one { Ok(Self(text.to_owned())) } else { Err(BadName::Variable(text.to_owned())) }
    }
}

impl FromStr for TagName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let parts = text.rsplit_once(':').filter(|(repository, tag)| {
            let is_plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
            text.len() <= CONTROL_TAG_BYTES_MAX && is_plain(repository) && is_plain(tag) && !tag.contains('/')
        });
        let (repository, tag) = parts.ok_or_else(|| BadName::Tag(text.to_owned()))?;
        Ok(Self { repository: repository.to_owned(), tag: tag.to_owned() })
    }
}

impl FromStr for IdempotencyKey {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let is_one = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if is_one { Ok(Self(text.to_owned())) } else { Err(BadName::Key(text.to_owned())) }
    }
}

impl fmt::Display for PipelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Texts in what is kept, so that they can be keys of maps there.
macro_rules! texts {
    ($($name:ident),*) => {
        $(
            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                }
            }
        )*
    };
}

texts!(BootId, ClusterId, PipelineName, SecretName, Variable, TagName, IdempotencyKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_others_are_refused() {
        let good = |text: &str| match text.split_once(' ') {
            Some(("pipeline", text)) => text.parse::<PipelineName>().map(|name| name.to_string()),
            Some(("secret", text)) => text.parse::<SecretName>().map(|name| name.to_string()),
            Some(("tag", text)) => text.parse::<TagName>().map(|name| name.to_string()),
            Some((_, text)) => text.parse::<IdempotencyKey>().map(|name| name.to_string()),
            None => panic!("a kind and a name"),
        };
        let long = format!("secret default/{}", "A".repeat(SECRET_NAME_CHARS_MAX));
        for text in [
            "pipeline default/orders",
            "secret default/API_KEY",
            "secret default/_1",
            long.as_str(),
            "tag team/filter:1.2",
            "tag localhost:5000/x:latest",
            "key 7f-3 b",
        ] {
            let name = text.split_once(' ').expect("two").1;
            assert_eq!(good(text).as_deref(), Ok(name));
        }
        let longer = format!("{long}A");
        let tag = format!("tag r:{}", "t".repeat(CONTROL_TAG_BYTES_MAX));
        let key = format!("key {}", "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1));
        for text in [
            "pipeline orders",
            "pipeline default/",
            "pipeline /orders",
            "pipeline a/b/c",
            "pipeline Default/orders",
            "secret default/1A",
            "secret default/A-B",
            "secret default/",
            longer.as_str(),
            "tag filter",
            "tag :1",
            "tag filter:",
            "tag localhost:5000/x",
            tag.as_str(),
            "key ",
            "key a\nb",
            key.as_str(),
        ] {
            assert!(good(text).is_err(), "`{text}` was taken");
        }
    }

    #[test]
    fn ids_of_128_bits_are_read_as_they_are_shown() {
        let id = BootId(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "12", "+0000000000000000123456789abcdef", &"g".repeat(32)] {
            assert_eq!(text.parse::<BootId>(), Err(NoHex), "{text}");
        }
    }
}
