//! Names and passwords, from where every client of registries keeps them: `~/.docker/config.json`, and the programs that it
//! names for some registries or for all.
//!
//! <https://docs.docker.com/reference/cli/docker/login/#credential-stores>.

mod file;
mod program;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use self::program::Helper;
use crate::image_ref::RegistryHost;

/// Who somebody is to a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credential {
    /// Nobody.
    #[default]
    Anonymous,
    Password {
        user: String,
        password: String,
    },
    /// What gets tokens in place of a password.
    Identity {
        user: String,
        token: String,
    },
    /// What is shown as it is.
    Token(String),
}

/// Why names and passwords could not be read, asked for, or kept.
#[derive(thiserror::Error, Debug)]
pub enum CredentialsError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("{}: {why}", path.display())]
    Config { path: PathBuf, why: String },
    #[error("`{program}`, which keeps the passwords of {host} as {} says, {why}", path.display())]
    Helper { program: String, host: String, path: PathBuf, why: String },
    #[error("there is no home directory to keep a password in: set DOCKER_CONFIG to a directory")]
    NoHome,
}

impl CredentialsError {
    /// Whether what is set up is wrong, so that nothing was tried.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Config { .. } | Self::NoHome)
    }
}

/// Where a password has been put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the file, where whoever reads the file reads it.
    File(PathBuf),
    /// With a program.
    Helper(String),
}

/// The file with names and passwords.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    /// None where there is nowhere to keep anything.
    pub path: Option<PathBuf>,
    /// Where programs are looked for that keep passwords, as in `PATH`; that of the process where there is none.
    pub programs: Option<OsString>,
    /// Who somebody is to one registry, whatever the file says.
    pub given: Option<(RegistryHost, Credential)>,
}

impl Credential {
    /// How people know whoever it is; None for nobody.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Password { user, .. } => Some(user),
            Self::Identity { user, .. } if !user.is_empty() => Some(user),
            Self::Identity { .. } | Self::Token(_) => Some("a token"),
        }
    }

    /// Name and password as `Authorization: Basic` has them.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Anonymous | Self::Token(_) => None,
            Self::Password { user, password } => Some(STANDARD.encode(format!("{user}:{password}"))),
            Self::Identity { user, token } => {
                let user = if user.is_empty() { TOKEN_USER } else { user };
                Some(STANDARD.encode(format!("{user}:{token}")))
            }
        }
    }
}

/// Whom programs know whoever has an identity token as.
const TOKEN_USER: &str = "<token>";

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credential").field(&self.user()).finish()
    }
}

impl Keyring {
    /// The one of this environment: `DOCKER_CONFIG`, else `.docker` in the home directory.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")));
        Self { path: directory.map(|directory| directory.join("config.json")), ..Self::default() }
    }

    /// Who somebody is to a registry. Waits for the disk, and for a program that may ask somebody.
    pub fn find(&self, host: &RegistryHost) -> Result<Credential, CredentialsError> {
        if let Some((_, given)) = self.given.as_ref().filter(|(known, _)| known == host) {
            return Ok(given.clone());
        }
        let Some(path) = &self.path else { return Ok(Credential::Anonymous) };
        let config = file::read(path)?;
        if let Some(helper) = self.helper(&config, host)? {
            let found = helper.get(&server(host))?;
            if found != Credential::Anonymous {
                return Ok(found);
            }
        }
        let wrong = |why| CredentialsError::Config { path: path.clone(), why };
        let auths = config.get("auths").and_then(Value::as_object);
        let names = names(host);
        // An exact name comes before one that is written as a URL.
        let exact = names.iter().find_map(|name| auths?.get_key_value(name));
        let found = exact.or_else(|| auths?.iter().find(|(name, _)| names.contains(&bare(name))));
        found.map_or(Ok(Credential::Anonymous), |(name, entry)| entry_of(name, entry).map_err(wrong))
    }

    /// Keeps who somebody is to a registry.
    pub fn keep(&self, host: &RegistryHost, who: &Credential) -> Result<Kept, CredentialsError> {
        let path = self.path.as_ref().ok_or(CredentialsError::NoHome)?;
        let config = file::read(path)?;
        let helper = self.helper(&config, host)?;
        let kept = match &helper {
            Some(helper) => {
                let (user, secret) = match who {
                    Credential::Anonymous => ("", ""),
                    Credential::Password { user, password } => (user.as_str(), password.as_str()),
                    Credential::Identity { token, .. } | Credential::Token(token) => {
                        (TOKEN_USER, token.as_str())
                    }
                };
                helper.store(&server(host), user, secret)?;
                Kept::Helper(helper.program())
            }
            None => Kept::File(path.clone()),
        };
        // Where a program has it, the file says that there is something.
        let entry = if helper.is_some() { json!({}) } else { entry_for(who) };
        file::change(path, |config| {
            drop_names(config, host);
            let auths = config.entry("auths").or_insert_with(|| json!({}));
            if let Some(auths) = auths.as_object_mut() {
                auths.insert(server(host), entry);
            }
        })?;
        Ok(kept)
    }

    /// Forgets who somebody is to a registry; whether there was anything to forget.
    pub fn forget(&self, host: &RegistryHost) -> Result<bool, CredentialsError> {
        let Some(path) = &self.path else { return Ok(false) };
        let config = file::read(path)?;
        let mut was_there = false;
        if let Some(helper) = self.helper(&config, host)? {
            was_there = helper.get(&server(host))? != Credential::Anonymous;
            if was_there {
                helper.erase(&server(host))?;
            }
        }
        let mut without = config.clone();
        if drop_names(&mut without, host) {
            was_there = true;
            file::change(path, |config| {
                drop_names(config, host);
            })?;
        }
        Ok(was_there)
    }

    /// The program that has the passwords of a registry, if one has.
    fn helper(
        &self,
        config: &Map<String, Value>,
        host: &RegistryHost,
    ) -> Result<Option<Helper>, CredentialsError> {
        let Some(path) = &self.path else { return Ok(None) };
        let of_host = config.get("credHelpers").and_then(Value::as_object).and_then(|all| {
            let names = names(host);
            all.iter().find(|(name, _)| names.contains(&bare(name))).map(|(_, helper)| helper)
        });
        // An empty one says that there is none for this registry.
        let name = of_host.or_else(|| config.get("credsStore")).and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() {
            return Ok(None);
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            let why = format!(
                "`{}` is no name of a program that keeps passwords: it is what follows `docker-credential-`",
                model::plain::line(name)
            );
            return Err(CredentialsError::Config { path: path.clone(), why });
        }
        let (name, host) = (name.to_owned(), host.to_string());
        Ok(Some(Helper { name, host, config: path.clone(), programs: self.programs.clone() }))
    }
}

/// What a registry is called where its password is kept.
fn server(host: &RegistryHost) -> String {
    match host.is_docker_hub() {
        true => "https://index.docker.io/v1/".to_owned(),
        false => host.to_string(),
    }
}

/// All that it may be called there, as [`bare`] has it.
fn names(host: &RegistryHost) -> Vec<String> {
    match host.is_docker_hub() {
        true => ["index.docker.io", "docker.io", "registry-1.docker.io"].map(str::to_owned).to_vec(),
        false => vec![host.to_string()],
    }
}

/// A name without a scheme and without the paths that registries have: what is below another path is not all of a registry.
fn bare(name: &str) -> String {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    let name = name.trim_end_matches('/');
    let name = name.strip_suffix("/v1").or_else(|| name.strip_suffix("/v2")).unwrap_or(name);
    name.to_ascii_lowercase()
}

/// Removes all that is kept of a registry in the file itself.
fn drop_names(config: &mut Map<String, Value>, host: &RegistryHost) -> bool {
    let names = names(host);
    let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) else { return false };
    let before = auths.len();
    auths.retain(|name, _| !names.contains(&bare(name)));
    auths.len() < before
}

/// What an entry of the file says.
fn entry_of(name: &str, entry: &Value) -> Result<Credential, String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    let (user, password) = match text("auth") {
        "" => (text("username").to_owned(), text("password").to_owned()),
        encoded => {
            let pair = STANDARD.decode(encoded).ok().and_then(|pair| String::from_utf8(pair).ok());
            let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
            let (user, password) = pair.ok_or_else(|| {
                format!("`auth` of `{}` is not NAME:PASSWORD in base64", model::plain::line(name))
            })?;
            // Some were filled up with zeros.
            (user.to_owned(), password.trim_end_matches('\0').to_owned())
        }
    };
    Ok(match (text("registrytoken"), text("identitytoken")) {
        ("", "") if user.is_empty() && password.is_empty() => Credential::Anonymous,
        ("", "") => Credential::Password { user, password },
        ("", token) => Credential::Identity { user, token: token.to_owned() },
        (token, _) => Credential::Token(token.to_owned()),
    })
}

fn entry_for(who: &Credential) -> Value {
    match who {
        Credential::Anonymous => json!({}),
        Credential::Password { .. } => json!({ "auth": who.basic() }),
        Credential::Identity { user, token } => {
            json!({ "auth": STANDARD.encode(format!("{user}:")), "identitytoken": token })
        }
        Credential::Token(token) => json!({ "registrytoken": token }),
    }
}

#[cfg(test)]
mod tests;
