//! Which repositories a rule is for.

use std::fmt;
use std::str::FromStr;

use crate::image_ref::{ImageRefError, Place, RegistryHost};
use crate::name::Repository;

/// One repository, all below a path of a registry, or all that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*`
    Any,
    /// `registry.example.com/*`, `registry.example.com/acme/*`: the path ends with a slash, or is empty.
    Below(RegistryHost, String),
    /// `registry.example.com/acme/large`
    One(RegistryHost, Repository),
}

/// Why a text is no pattern.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    #[error("a `*` stands for all that is below a path, as its last part alone: registry.example.com/acme/*")]
    Star,
    #[error("it names a registry: write {text}/* for all of its repositories")]
    Registry { text: String },
    #[error(transparent)]
    Name(#[from] ImageRefError),
}

impl Pattern {
    pub fn is_of(&self, host: &RegistryHost, repository: &Repository) -> bool {
        // A rule is not passed by a port that is the usual one.
        let is_at = |registry: &RegistryHost| registry.without_usual_port() == host.without_usual_port();
        match self {
            Self::Any => true,
            Self::Below(registry, path) => is_at(registry) && repository.as_str().starts_with(path.as_str()),
            Self::One(registry, one) => is_at(registry) && repository == one,
        }
    }

    /// Of two that are of one repository, the one that says more counts.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Any => 0,
            Self::Below(_, path) => 1 + path.len(),
            Self::One(..) => usize::MAX,
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let below = text.strip_suffix("/*");
        let named = below.unwrap_or(text);
        if named.contains('*') {
            return Err(PatternError::Star);
        }
        let path = named.split_once('/').map(|(_, path)| path);
        // A text without a slash could be any host; a registry's has a dot or a port.
        let place = match path {
            None if !named.contains(['.', ':']) && !named.eq_ignore_ascii_case("localhost") => {
                return Err(ImageRefError::NoRegistry { text: text.to_owned() }.into());
            }
            _ => named.parse::<Place>()?,
        };
        match (place, below) {
            (Place::Registry(host), Some(_)) => Ok(Self::Below(host, String::new())),
            (Place::Registry(_), None) => Err(PatternError::Registry { text: text.to_owned() }),
            // What Docker Hub calls `alpine` for short is no path.
            (Place::Repository(host, _), Some(_)) => {
                Ok(Self::Below(host, format!("{}/", path.unwrap_or_default())))
            }
            (Place::Repository(host, repository), None) => Ok(Self::One(host, repository)),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(host, path) => write!(f, "{host}/{path}*"),
            Self::One(host, repository) => write!(f, "{host}/{repository}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_of(pattern: &str, repository: &str) -> bool {
        let Ok(Place::Repository(host, repository)) = repository.parse() else { panic!("{repository}") };
        pattern.parse::<Pattern>().expect(pattern).is_of(&host, &repository)
    }

    #[test]
    fn patterns_are_of_whole_parts_of_a_name() {
        for (pattern, repository, expected) in [
            ("*", "a.example/b", true),
            ("a.example/*", "a.example/b", true),
            ("a.example/*", "a.example:5000/b", false),
            ("a.example/*", "a.example:443/b", true),
            ("a.example:443/acme/x", "a.example/acme/x", true),
            ("127.0.0.1/*", "127.0.0.1:80/b", true),
            ("a.example/*", "b.example/b", false),
            ("a.example/acme/*", "a.example/acme/x", true),
            ("a.example/acme/*", "a.example/acme/x/y", true),
            ("a.example/acme/*", "a.example/acme", false),
            ("a.example/acme/*", "a.example/acmex/y", false),
            ("a.example/acme/x", "a.example/acme/x", true),
            ("a.example/acme/x", "a.example/acme/x/y", false),
            ("A.Example/acme/x", "a.example/acme/x", true),
            ("[::1]:5000/acme/*", "[::1]:5000/acme/x", true),
            ("localhost:5000/*", "localhost:5000/x", true),
            ("docker.io/acme/*", "index.docker.io/acme/x", true),
            ("docker.io/alpine", "docker.io/library/alpine", true),
        ] {
            assert_eq!(is_of(pattern, repository), expected, "{pattern} {repository}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_would_be() {
        for (text, said) in [
            ("", "registry"),
            ("acme/*", "registry"),
            ("acme", "registry"),
            ("a.example", "a.example/*"),
            ("a.example/*/x", "last part"),
            ("a.example/ac*", "last part"),
            ("a.example/acme:1", "a.example/acme"),
            ("a.example/Acme", "acme"),
            ("https://a.example/acme", "scheme"),
        ] {
            let error = text.parse::<Pattern>().expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        for text in ["*", "a.example/*", "a.example/acme/*", "a.example:1/acme/x"] {
            assert_eq!(text.parse::<Pattern>().expect(text).to_string(), text);
        }
    }
}
