//! Tokens: what somebody may do, signed. JSON Web Tokens (RFC 7519) with HMAC-SHA256, as registries give them:
//! <https://distribution.github.io/distribution/spec/auth/token/> and .../oauth/.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::limits::{REGISTRY_REFRESH_TIME, REGISTRY_TOKEN_BYTES_MAX, REGISTRY_TOKEN_TIME};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::name::Repository;
use crate::route::Action;

/// Whom tokens are for.
pub const SERVICE: &str = "conveyor-registry";

/// A random number that nobody else knows.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    pub fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// One of the system's random numbers; None where it has none.
    pub fn random() -> Option<[u8; 32]> {
        use ring::rand::SecureRandom as _;
        let mut bytes = [0; 32];
        ring::rand::SystemRandom::new().fill(&mut bytes).ok().map(|()| bytes)
    }

    pub(super) fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What may be done in a repository: `repository:acme/large:pull,push`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub repository: Repository,
    pub actions: BTreeSet<Action>,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<&str> = self.actions.iter().map(|action| action.name()).collect();
        write!(f, "repository:{}:{}", self.repository, actions.join(","))
    }
}

impl FromStr for Scope {
    type Err = ();

    /// Actions that there are not are nobody's: they are left out. `*` is all.
    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text.strip_prefix("repository:").ok_or(())?;
        let (name, actions) = rest.rsplit_once(':').ok_or(())?;
        let repository = name.parse().map_err(|_| ())?;
        let actions = match actions {
            "*" => Action::ALL.into_iter().collect(),
            actions => actions.split(',').filter_map(Action::parse).collect(),
        };
        Ok(Self { repository, actions })
    }
}

/// Why a token is none.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    #[error("the token is not one of this registry: sign in again")]
    Foreign,
    #[error("the token is not valid any more: get another one")]
    Expired,
}

/// What somebody showed that gets them another token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    pub user: String,
    /// Of the password that there was ([`super::Passwords::mark`]).
    pub mark: String,
}

/// Gives tokens, and reads them.
pub struct Tokens {
    key: hmac::Key,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    /// The user; empty for whoever did not say.
    sub: String,
    /// Seconds since the Unix epoch.
    iat: u64,
    exp: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum What {
    Access { access: Vec<Entry> },
    Refresh { refresh: String },
}

#[derive(Serialize, Deserialize)]
struct Entry {
    r#type: String,
    name: String,
    actions: Vec<String>,
}

/// Of each token: `{"alg":"HS256","typ":"JWT"}`.
const HEAD: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

impl Tokens {
    pub fn new(secret: &Secret) -> Self {
        Self { key: secret.key() }
    }

    /// A token for a user, or for nobody, that is valid for a short while.
    pub fn access(&self, user: Option<&str>, scopes: &[Scope], now: u64) -> String {
        let entry = |scope: &Scope| Entry {
            r#type: "repository".to_owned(),
            name: scope.repository.to_string(),
            actions: scope.actions.iter().map(|action| action.name().to_owned()).collect(),
        };
        let what = What::Access { access: scopes.iter().map(entry).collect() };
        self.sign(user.unwrap_or_default(), what, now, now + REGISTRY_TOKEN_TIME.as_secs())
    }

    /// A token that gets its user others, as long as the password stays.
    pub fn refresh(&self, user: &str, mark: String, now: u64) -> String {
        self.sign(user, What::Refresh { refresh: mark }, now, now + REGISTRY_REFRESH_TIME.as_secs())
    }

    fn sign(&self, user: &str, what: What, now: u64, exp: u64) -> String {
        let (iss, aud, sub) = (SERVICE.to_owned(), SERVICE.to_owned(), user.to_owned());
        let claims = serde_json::to_vec(&Claims { iss, aud, sub, iat: now, exp, what }).unwrap_or_default();
        let signed = format!("{HEAD}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn read(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        if token.len() > REGISTRY_TOKEN_BYTES_MAX {
            return Err(TokenError::Foreign);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Foreign)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Foreign)?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).map_err(|_| TokenError::Foreign)?;
        // What is signed was made here: with this head, and from such claims.
        let claims =
            signed.strip_prefix(HEAD).and_then(|rest| rest.strip_prefix('.')).ok_or(TokenError::Foreign)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| TokenError::Foreign)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| TokenError::Foreign)?;
        if claims.exp <= now { Err(TokenError::Expired) } else { Ok(claims) }
    }

    /// The user of an access token, and what it is for.
    pub fn scopes(&self, token: &str, now: u64) -> Result<(Option<String>, Vec<Scope>), TokenError> {
        let claims = self.read(token, now)?;
        let What::Access { access } = claims.what else { return Err(TokenError::Foreign) };
        let scope = |entry: Entry| {
            let repository = entry.name.parse().map_err(|_| TokenError::Foreign)?;
            Ok(Scope {
                repository,
                actions: entry.actions.iter().filter_map(|action| Action::parse(action)).collect(),
            })
        };
        let scopes = access.into_iter().map(scope).collect::<Result<_, _>>()?;
        Ok((Some(claims.sub).filter(|user| !user.is_empty()), scopes))
    }

    /// Who has a refresh token.
    pub fn refreshed(&self, token: &str, now: u64) -> Result<Refreshed, TokenError> {
        let claims = self.read(token, now)?;
        match claims.what {
            What::Refresh { refresh } => Ok(Refreshed { user: claims.sub, mark: refresh }),
            What::Access { .. } => Err(TokenError::Foreign),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        text.parse().expect("a scope")
    }

    #[test]
    fn scopes_are_read_and_shown() {
        for text in ["repository:acme/large:pull", "repository:a:pull,push,delete"] {
            assert_eq!(scope(text).to_string(), text);
        }
        assert_eq!(scope("repository:a:push,pull,admin").to_string(), "repository:a:pull,push");
        assert_eq!(scope("repository:a:*").to_string(), "repository:a:pull,push,delete");
        for text in ["", "registry:catalog:*", "repository:A:pull", "repository:a", "repository::pull"] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_what_was_signed_and_for_as_long_as_it_says() {
        let tokens = Tokens::new(&Secret::of([1; 32]));
        let scopes = [scope("repository:a/b:pull,push")];
        let token = tokens.access(Some("alice"), &scopes, 1000);
        assert_eq!(tokens.scopes(&token, 1000), Ok((Some("alice".to_owned()), scopes.to_vec())));
        let end = 1000 + REGISTRY_TOKEN_TIME.as_secs();
        assert_eq!(tokens.scopes(&token, end), Err(TokenError::Expired));
        assert_eq!(Tokens::new(&Secret::of([2; 32])).scopes(&token, 1000), Err(TokenError::Foreign));
        let nobody = tokens.access(None, &[], 1000);
        assert_eq!(tokens.scopes(&nobody, 1000), Ok((None, vec![])));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("text");
            // The last digit has bits that count for nothing.
            if at + 1 < token.len() {
                assert!(tokens.scopes(&changed, 1000).is_err(), "byte {at} does not count");
            }
        }
    }

    #[test]
    fn tokens_of_one_kind_are_not_taken_for_the_other() {
        let tokens = Tokens::new(&Secret::of([1; 32]));
        let refresh = tokens.refresh("alice", "mark".to_owned(), 1000);
        let wanted = Refreshed { user: "alice".to_owned(), mark: "mark".to_owned() };
        assert_eq!(tokens.refreshed(&refresh, 1000), Ok(wanted));
        assert_eq!(tokens.scopes(&refresh, 1000), Err(TokenError::Foreign));
        let access = tokens.access(Some("alice"), &[], 1000);
        assert_eq!(tokens.refreshed(&access, 1000), Err(TokenError::Foreign));
        for text in ["", ".", "a.b.c", HEAD] {
            assert_eq!(tokens.scopes(text, 1000), Err(TokenError::Foreign), "{text}");
        }
    }
}
