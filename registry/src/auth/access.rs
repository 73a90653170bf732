//! Rights: who may do what in which repository, and how much one may have.

use model::manifest::Bytes;
use serde::Deserialize;

use crate::name::{NameError, Repository};
use crate::route::Action;

/// Rules that add up. Without any, whoever has signed in may do everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    rules: Option<Vec<Rule>>,
    quotas: Vec<(Pattern, u64)>,
    /// Whoever has not signed in may pull everything.
    pub is_public: bool,
    /// Bytes of a repository that no quota is for.
    pub bytes_max: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    repositories: Vec<Pattern>,
    users: Vec<String>,
    allow: Vec<Action>,
}

/// Repositories: `*` for all of them, `acme/*` for those below, or one by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    All,
    /// With the slash.
    Below(String),
    One(Repository),
}

/// A user of rules: everybody who has signed in, and those who have not.
const SIGNED_IN: &str = "*";
const ANONYMOUS: &str = "anonymous";

/// Why a file holds no rights.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum AccessError {
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("`{text}` stands for no repositories: write `*`, `acme/*`, or a name")]
    Pattern { text: String, error: NameError },
    #[error("`{text}` is no right; `pull`, `push` and `delete` are")]
    Action { text: String },
    #[error("a rule has no {0}: it allows nothing")]
    Empty(&'static str),
    #[error("`{text}` is no size: {why}")]
    Size { text: String, why: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<RawRule>,
    #[serde(default)]
    quota: Vec<RawQuota>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    repositories: Vec<String>,
    users: Vec<String>,
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuota {
    repositories: Vec<String>,
    bytes: String,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, AccessError> {
        let wrong = |error| AccessError::Pattern { text: text.to_owned(), error };
        match text.strip_suffix("/*") {
            _ if text == "*" => Ok(Self::All),
            Some(above) => Ok(Self::Below(format!("{}/", above.parse::<Repository>().map_err(wrong)?))),
            None => Ok(Self::One(text.parse().map_err(wrong)?)),
        }
    }

    pub fn has(&self, repository: &Repository) -> bool {
        match self {
            Self::All => true,
            Self::Below(above) => repository.as_str().starts_with(above.as_str()),
            Self::One(one) => one == repository,
        }
    }
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>, AccessError> {
    if texts.is_empty() {
        return Err(AccessError::Empty("repositories"));
    }
    texts.iter().map(|text| Pattern::parse(text)).collect()
}

impl Access {
    /// Reads a file of rights.
    pub fn parse(text: &str) -> Result<Self, AccessError> {
        let file: File = toml::from_str(text)?;
        let rule = |raw: RawRule| {
            let allow = raw
                .allow
                .iter()
                .map(|text| Action::parse(text).ok_or_else(|| AccessError::Action { text: text.clone() }));
            let allow = allow.collect::<Result<Vec<_>, _>>()?;
            if raw.users.is_empty() || allow.is_empty() {
                return Err(AccessError::Empty(if allow.is_empty() { "rights" } else { "users" }));
            }
            Ok(Rule { repositories: patterns(&raw.repositories)?, users: raw.users, allow })
        };
        let rules = file.rule.into_iter().map(rule).collect::<Result<Vec<_>, _>>()?;
        let mut quotas = Vec::new();
        for raw in file.quota {
            let bytes = raw.bytes.parse::<Bytes>();
            let bytes = bytes
                .map_err(|error| AccessError::Size { text: raw.bytes.clone(), why: error.to_string() })?
                .0;
            quotas.extend(patterns(&raw.repositories)?.into_iter().map(|pattern| (pattern, bytes)));
        }
        Ok(Self { rules: Some(rules), quotas, is_public: false, bytes_max: None })
    }

    /// Whether somebody may do something; None for whoever has not signed in.
    pub fn allows(&self, user: Option<&str>, repository: &Repository, action: Action) -> bool {
        if action == Action::Pull && self.is_public {
            return true;
        }
        let Some(rules) = &self.rules else { return user.is_some() };
        let is_of = |named: &String| match user {
            Some(user) => named == user || named == SIGNED_IN,
            None => false,
        } || named == ANONYMOUS;
        rules.iter().any(|rule| {
            rule.allow.contains(&action)
                && rule.users.iter().any(is_of)
                && rule.repositories.iter().any(|pattern| pattern.has(repository))
        })
    }

    /// Bytes that a repository may have, by the first quota that is for it.
    pub fn quota(&self, repository: &Repository) -> Option<u64> {
        let found = self.quotas.iter().find(|(pattern, _)| pattern.has(repository));
        found.map(|(_, bytes)| *bytes).or(self.bytes_max)
    }

    /// Names of users that the rules have and nobody has: a slip of the pen.
    pub fn unknown<'a>(&'a self, is_known: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = &'a str> {
        let all = self.rules.iter().flatten().flat_map(|rule| rule.users.iter().map(String::as_str));
        all.filter(move |user| ![SIGNED_IN, ANONYMOUS].contains(user) && !is_known(user))
    }
}
