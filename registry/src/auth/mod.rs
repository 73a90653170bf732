//! Who somebody is, and what they may do: decided from values, without a socket.

mod access;
mod passwords;
mod token;

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};

pub use access::{Access, AccessError, Pattern};
pub use passwords::{HtpasswdError, Passwords, TooMany};
pub use token::{Refreshed, Scope, Secret, TokenError, Tokens};

use crate::name::Repository;
use crate::refusal::{Code, Refusal};
use crate::route::Action;

/// How somebody without rights is told to show who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Challenge {
    /// By a password with each request.
    #[default]
    Basic,
    /// By a token, which there is at `/token` for a password.
    Bearer,
}

/// Who lets whom do what. Without passwords everybody may do everything.
#[derive(Debug, Default)]
pub struct Auth {
    pub keys: Option<Keys>,
    pub access: Access,
}

/// What people show who they are by.
#[derive(Debug)]
pub struct Keys {
    pub passwords: Arc<Passwords>,
    pub tokens: Tokens,
    pub challenge: Challenge,
}

/// Somebody, and what they may do at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// None for whoever did not say.
    pub user: Option<String>,
    /// What a token is for; everything that its user may do, where there is none.
    pub scopes: Option<Vec<Scope>>,
}

impl Who {
    pub fn anonymous() -> Self {
        Self { user: None, scopes: None }
    }

    pub fn user(name: impl Into<String>) -> Self {
        Self { user: Some(name.into()), scopes: None }
    }

    fn is_within(&self, repository: &Repository, action: Action) -> bool {
        let allows = |scope: &Scope| scope.repository == *repository && scope.actions.contains(&action);
        self.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(allows))
    }
}

/// What a request shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    Password { user: String, password: String },
    Bearer(String),
}

/// Reads `Authorization`. Who has neither a name nor a password is nobody: some clients say so where they are asked.
pub fn shown(headers: &HeaderMap) -> Result<Shown, Refusal> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let wrong = |message: &str| Refusal::new(Code::Unauthorized, message);
    let (first, second) = (all.next(), all.next());
    let Some(value) = first else { return Ok(Shown::Nothing) };
    if second.is_some() {
        return Err(wrong("there are two headers Authorization: send one"));
    }
    let value = value.to_str().map_err(|_| wrong("the header Authorization is not of visible characters"))?;
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Shown::Bearer(rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong("the header Authorization is neither Basic nor Bearer"));
    }
    let pair = STANDARD.decode(rest.trim()).ok().and_then(|pair| String::from_utf8(pair).ok());
    let pair =
        pair.ok_or_else(|| wrong("the header Authorization is not Basic with base64 of NAME:PASSWORD"))?;
    match pair.split_once(':') {
        Some(("", "")) => Ok(Shown::Nothing),
        Some((user, password)) => {
            Ok(Shown::Password { user: user.to_owned(), password: password.to_owned() })
        }
        None => Err(wrong("the header Authorization is not Basic with base64 of NAME:PASSWORD")),
    }
}

impl Auth {
    /// Whether somebody may do something.
    pub fn may(&self, who: &Who, repository: &Repository, action: Action) -> bool {
        self.keys.is_none()
            || (who.is_within(repository, action)
                && self.access.allows(who.user.as_deref(), repository, action))
    }

    /// Refuses whoever may not, in the way that has a client come back with what it takes. `wanted`: all that the request
    /// needs, the first of which has to be; without the others something else is done, unless a better token is all that is
    /// missing.
    pub fn check(&self, who: &Who, wanted: &[(&Repository, Action)], at: &str) -> Result<(), Refusal> {
        let Some(&(repository, action)) = wanted.first() else { return Ok(()) };
        if self.may(who, repository, action) {
            let is_short = |(repository, action): &(&Repository, Action)| {
                self.keys.is_some()
                    && !who.is_within(repository, *action)
                    && self.access.allows(who.user.as_deref(), repository, *action)
            };
            return match wanted.iter().any(is_short) {
                true => Err(self.challenge(wanted, at, true)),
                false => Ok(()),
            };
        }
        let may_at_all = self.access.allows(who.user.as_deref(), repository, action);
        match &who.user {
            Some(user) if !may_at_all => {
                let message = format!("`{user}` may not {} in `{repository}`", action.name());
                Err(Refusal::new(Code::Denied, message))
            }
            _ => Err(self.challenge(wanted, at, who.scopes.is_some())),
        }
    }

    /// Asks whoever it is to say who they are. `at`: scheme and host that the client named us by.
    pub fn challenge(&self, wanted: &[(&Repository, Action)], at: &str, is_short: bool) -> Refusal {
        let refusal = Refusal::new(Code::Unauthorized, "sign in to do this");
        match self.keys.as_ref().map(|keys| keys.challenge) {
            None => refusal,
            Some(Challenge::Basic) => refusal.header(WWW_AUTHENTICATE, "Basic realm=\"conveyor\""),
            Some(Challenge::Bearer) => {
                let mut words = format!("Bearer realm=\"{at}/token\",service=\"{}\"", token::SERVICE);
                let scopes: Vec<String> = scopes(wanted).iter().map(ToString::to_string).collect();
                if !scopes.is_empty() {
                    words += &format!(",scope=\"{}\"", scopes.join(" "));
                }
                if is_short {
                    words += ",error=\"insufficient_scope\"";
                }
                refusal.header(WWW_AUTHENTICATE, words)
            }
        }
    }

    /// What somebody gets of what they ask for.
    pub fn grant(&self, who: &Who, asked: &[Scope]) -> Vec<Scope> {
        let granted = asked.iter().map(|scope| {
            let may = |action: &Action| self.access.allows(who.user.as_deref(), &scope.repository, *action);
            let actions = scope.actions.iter().copied().filter(may).collect();
            Scope { repository: scope.repository.clone(), actions }
        });
        granted.filter(|scope| !scope.actions.is_empty()).collect()
    }
}

/// Scopes for all that is wanted. Whoever pushes asks first what is there.
fn scopes(wanted: &[(&Repository, Action)]) -> Vec<Scope> {
    let mut scopes: Vec<Scope> = Vec::new();
    for (repository, action) in wanted {
        let mut actions = BTreeSet::from([*action]);
        if *action == Action::Push {
            actions.insert(Action::Pull);
        }
        match scopes.iter_mut().find(|scope| scope.repository == **repository) {
            Some(scope) => scope.actions.extend(actions),
            None => scopes.push(Scope { repository: (*repository).clone(), actions }),
        }
    }
    scopes
}

/// Scheme and host that a client named us by; `public` where an administrator says it.
pub fn named_by(headers: &HeaderMap, public: Option<&str>, is_tls: bool) -> String {
    if let Some(public) = public {
        return public.trim_end_matches('/').to_owned();
    }
    // What is no host does not go into a header of ours.
    let is_host = |host: &&str| {
        !host.is_empty()
            && host.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_')
            })
    };
    let host =
        headers.get(http::header::HOST).and_then(|host: &HeaderValue| host.to_str().ok()).filter(is_host);
    format!("{}://{}", if is_tls { "https" } else { "http" }, host.unwrap_or("localhost"))
}

#[cfg(test)]
mod tests;
