//! The names of repositories and tags, by the grammar of the specification: nothing else comes near a path or a key.
//!
//! Grammar: OCI distribution specification 1.1, "Pulling manifests",
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests>.

use std::fmt;
use std::str::FromStr;

use model::ids::{Algorithm, Digest, DigestError};
use model::limits::{REGISTRY_NAME_BYTES_MAX, REGISTRY_TAG_BYTES_MAX};
use model::plain;

/// The name of a repository: components in lower case, between slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository(String);

/// A name within a repository that may come to stand for another manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// How a manifest is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Tag(Tag),
    Digest(Digest),
}

/// Why a text is no name.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    #[error("the name of a repository is empty")]
    Empty,
    #[error("the name of a repository has {bytes} bytes; {REGISTRY_NAME_BYTES_MAX} are the most")]
    Long { bytes: usize },
    #[error("`{name}` is no name of a repository: it has upper case letters; write `{lower}`")]
    Upper { name: String, lower: String },
    #[error(
        "`{name}` is no name of a repository: each part between slashes is of a-z and 0-9, with `.`, `_`, `__` or dashes \
         between them"
    )]
    Grammar { name: String },
    #[error(
        "`{tag}` is no tag: it is of letters, digits, `_`, `.` and `-`, begins with none of the last two, and has at most \
             {REGISTRY_TAG_BYTES_MAX} characters"
    )]
    Tag { tag: String },
}

/// Characters of a text that an error shows.
const SHOWN_CHARS: usize = 128;

fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    plain::line(&cut).into_owned()
}

impl Repository {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Repository {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > REGISTRY_NAME_BYTES_MAX {
            return Err(NameError::Long { bytes: name.len() });
        }
        if name.split('/').all(is_component) {
            return Ok(Self(name.to_owned()));
        }
        let lower = name.to_lowercase();
        if lower != name && lower.split('/').all(is_component) {
            return Err(NameError::Upper { name: shown(name), lower });
        }
        Err(NameError::Grammar { name: shown(name) })
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let begins_and_ends =
        bytes.first().is_some_and(|&byte| is_word(byte)) && bytes.last().is_some_and(|&byte| is_word(byte));
    let is_between = |run: &[u8]| matches!(run, b"." | b"_" | b"__") || run.iter().all(|&byte| byte == b'-');
    begins_and_ends && bytes.split(|&byte| is_word(byte)).all(|run| run.is_empty() || is_between(run))
}

impl Tag {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag under which clients keep what is about a manifest, where registries do not: its digest, of which as many
    /// digits count as SHA-256 has, and a suffix that says what it is, such as `.sig`.
    ///
    /// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema>.
    pub fn about(subject: &Digest, suffix: &'static str) -> Self {
        let digits: String = subject.hex().chars().take(Algorithm::Sha256.bytes() * 2).collect();
        Self(format!("{}-{digits}{suffix}", subject.algorithm().name()))
    }
}

impl FromStr for Tag {
    type Err = NameError;

    /// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
    fn from_str(tag: &str) -> Result<Self, NameError> {
        let is_first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_tag = tag.len() <= REGISTRY_TAG_BYTES_MAX
            && tag.bytes().next().is_some_and(is_first)
            && tag.bytes().all(|byte| is_first(byte) || matches!(byte, b'.' | b'-'));
        if is_tag { Ok(Self(tag.to_owned())) } else { Err(NameError::Tag { tag: shown(tag) }) }
    }
}

/// Why a text names no manifest.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    #[error(transparent)]
    Tag(#[from] NameError),
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// No tag has a colon, and every digest does.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_grammar() {
        for name in ["a", "acme/large", "a.b_c__d-e---f/0/1", "library/x86-64", &"a".repeat(255)] {
            assert_eq!(name.parse::<Repository>().expect(name).as_str(), name);
        }
        let long = "a".repeat(256);
        for name in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a/.b", "a/b.", "-a", "a-", "_a", "a..b",
            "a___b", "a._b", "a-_b", "a b", "a\\b", "a%2fb", "a:b", "a\0b", "\u{e9}", "a\n", &long,
        ] {
            assert!(name.parse::<Repository>().is_err(), "{name:?} was taken");
        }
    }

    #[test]
    fn upper_case_is_refused_by_name() {
        let error = "Acme/Large".parse::<Repository>().expect_err("upper case").to_string();
        assert!(error.contains("`Acme/Large`") && error.contains("write `acme/large`"), "{error}");
    }

    #[test]
    fn tags_are_those_of_the_grammar() {
        for tag in ["latest", "1.2.0", "_", "A-b.c_d", "sha256-abc.sig", &"t".repeat(128)] {
            assert_eq!(tag.parse::<Tag>().expect(tag).as_str(), tag);
        }
        let long = "t".repeat(129);
        for tag in ["", ".", "..", "-a", ".a", "a/b", "a b", "a:b", "a+b", "\u{e9}", "a\0", &long] {
            assert!(tag.parse::<Tag>().is_err(), "{tag:?} was taken");
        }
    }

    #[test]
    fn what_is_about_a_manifest_has_a_tag_that_is_one() {
        let short = Digest::of(b"x");
        assert_eq!(Tag::about(&short, "").as_str(), format!("sha256-{}", short.hex()));
        let long = Digest::by(Algorithm::Sha512, b"x");
        let tag = Tag::about(&long, ".sig");
        assert_eq!(tag.as_str(), format!("sha512-{}.sig", &long.hex()[..64]));
        assert_eq!(tag.as_str().parse(), Ok(tag));
    }

    #[test]
    fn what_has_a_colon_is_a_digest() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(Reference::Digest(digest)));
        assert!(matches!("1.0".parse(), Ok(Reference::Tag(_))));
        assert!(matches!("sha256:1".parse::<Reference>(), Err(ReferenceError::Digest(_))));
    }
}
