//! What a component cannot do without, as `about` says it, one text for each need.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::host::{HostError, HostGrant};
use super::{DirMode, Grants};
use crate::plain;

/// One thing that has to be granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// `http api.example.com:443`.
    Http(HostGrant),
    /// Some host: it imports HTTP and names none, as where the host comes from its config.
    AnyHttp,
    /// `env REGION`.
    Env(String),
    /// `dir /lookup`, or `dir /lookup rw`.
    Dir(String, DirMode),
    /// `secret API_KEY`.
    Secret(String),
    /// `clock`.
    Clock,
    /// `random`.
    Random,
}

/// Why a text of `about` is no need.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum NeedError {
    #[error(
        "a need is `http HOST:PORT`, `env NAME`, `dir /PATH`, `dir /PATH rw`, `secret NAME`, `clock` or `random`"
    )]
    Form,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("a variable or a secret is named with letters, digits and `_`, and does not begin with a digit")]
    Name,
    #[error("a directory is needed at an absolute path without `.` and `..`, such as `/lookup`")]
    Path,
}

impl FromStr for Need {
    type Err = NeedError;

    fn from_str(text: &str) -> Result<Self, NeedError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let named = |name: &str| is_name(name).then(|| name.to_owned()).ok_or(NeedError::Name);
        let path = |path: &str| guest_path(path).ok_or(NeedError::Path);
        match words[..] {
            ["http", host] => Ok(Self::Http(host.parse()?)),
            ["env", name] => Ok(Self::Env(named(name)?)),
            ["dir", at] | ["dir", at, "ro"] => Ok(Self::Dir(path(at)?, DirMode::ReadOnly)),
            ["dir", at, "rw"] => Ok(Self::Dir(path(at)?, DirMode::ReadWrite)),
            ["secret", name] => Ok(Self::Secret(named(name)?)),
            ["clock"] => Ok(Self::Clock),
            ["random"] => Ok(Self::Random),
            _ => Err(NeedError::Form),
        }
    }
}

/// As environments have them everywhere.
pub(crate) fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.len() <= crate::limits::GRANT_NAME_BYTES_MAX
        && name.bytes().all(good)
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// A path as guests have it: absolute, nothing in it that leads elsewhere, no slash at its end.
pub(crate) fn guest_path(path: &str) -> Option<String> {
    let inside = path.strip_prefix('/')?;
    let inside = inside.strip_suffix('/').unwrap_or(inside);
    let good = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\0', '\\']);
    (inside.is_empty() || inside.split('/').all(good)).then(|| format!("/{inside}"))
}

impl Need {
    pub fn is_met_by(&self, grants: &Grants) -> bool {
        match self {
            Self::Http(need) => grants.http.contains(need),
            Self::AnyHttp => !grants.http.is_empty(),
            Self::Env(name) => grants.env.contains_key(name),
            Self::Dir(at, mode) => grants.dirs.iter().any(|dir| dir.guest == *at && dir.mode >= *mode),
            Self::Secret(name) => grants.secrets.contains(name),
            Self::Clock => grants.clock,
            Self::Random => grants.random,
        }
    }

    /// The key of `grants` that meets it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Http(_) | Self::AnyHttp => "http",
            Self::Env(_) => "env",
            Self::Dir(..) => "dirs",
            Self::Secret(_) => "secrets",
            Self::Clock => "clock",
            Self::Random => "random",
        }
    }

    /// What stands for it under its key. In capitals is what only the user knows.
    fn value(&self) -> String {
        match self {
            Self::Http(grant) => quoted(&grant.to_string()),
            Self::AnyHttp => "HOST:443".to_owned(),
            Self::Env(name) => format!("{name}: VALUE"),
            Self::Dir(at, mode) => {
                format!("{{ host: PATH, guest: {}, mode: {} }}", quoted(at), mode.as_str())
            }
            Self::Secret(name) => name.clone(),
            Self::Clock | Self::Random => "true".to_owned(),
        }
    }

    /// The line of a manifest that grants it.
    pub fn line(&self) -> String {
        format!("grants: {{ {} }}", self.entry())
    }

    /// What stands for it among other grants.
    pub fn entry(&self) -> String {
        entry(self.key(), &[self])
    }
}

/// In quotes where YAML would read something else.
fn quoted(text: &str) -> String {
    if !text.chars().all(plain::is_plain) {
        // Quotes of JSON are quotes of YAML, with escapes for what is obeyed.
        return plain::json(&serde_json::Value::from(text).to_string()).into_owned();
    }
    let special = text.starts_with('[') || text.contains([' ', ',', '{', '}', '#', '\'', '"', '&', '*', '!']);
    if special { format!("'{}'", text.replace('\'', "''")) } else { text.to_owned() }
}

fn entry(key: &str, needs: &[&Need]) -> String {
    let values: Vec<String> = needs.iter().map(|need| need.value()).collect();
    let values = values.join(", ");
    match key {
        "http" | "dirs" | "secrets" => format!("{key}: [{values}]"),
        "env" => format!("{key}: {{ {values} }}"),
        _ => format!("{key}: {values}"),
    }
}

/// The needs that are not granted, each once.
pub fn missing<'n>(needs: impl IntoIterator<Item = &'n Need>, grants: &Grants) -> Vec<&'n Need> {
    let left: BTreeSet<&Need> = needs.into_iter().filter(|need| !need.is_met_by(grants)).collect();
    left.into_iter().collect()
}

/// The lines of a manifest that grant all of `needs`; empty where there are none.
pub fn lines(needs: &[Need]) -> String {
    let mut out = String::new();
    for key in ["http", "env", "dirs", "secrets", "clock", "random"] {
        let of: BTreeSet<&Need> = needs.iter().filter(|need| need.key() == key).collect();
        let of: Vec<&Need> = of.into_iter().collect();
        if of.is_empty() {
            continue;
        }
        if out.is_empty() {
            out.push_str("grants:\n");
        }
        out.push_str(&format!(
            "  {}\n",
            entry(key, if key == "clock" || key == "random" { &of[..1] } else { &of })
        ));
    }
    out
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(grant) => write!(f, "http {grant}"),
            Self::AnyHttp => f.write_str("http"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Dir(at, DirMode::ReadOnly) => write!(f, "dir {at}"),
            Self::Dir(at, DirMode::ReadWrite) => write!(f, "dir {at} rw"),
            Self::Secret(name) => write!(f, "secret {name}"),
            Self::Clock => f.write_str("clock"),
            Self::Random => f.write_str("random"),
        }
    }
}
