//! Who asks, and what they may do: tokens with roles, and whether a web page could be behind a request. Decided from values.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use model::limits::API_TOKENS_MAX;
use model::manifest::Name;
use ring::digest::{SHA256, digest};

use super::problem::{Kind, Problem};

/// What somebody may do, each more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Deploys, pauses, deletes; sets secrets.
    Deployer,
    /// Makes and deletes namespaces, and reads the audit log, where it is one everywhere.
    Admin,
}

/// What a token gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// In all namespaces, and in what is in none.
    pub everywhere: Option<Role>,
    pub namespaces: BTreeMap<Name, Role>,
}

/// A token that a node knows, by its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who has it, for the audit log.
    pub name: String,
    pub sha256: [u8; 32],
    pub rights: Rights,
}

/// All that a node knows.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    known: Vec<Token>,
    /// Whether whoever has none may look at everything.
    open_to_look: bool,
}

#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum TokensError {
    #[error("there are {0} tokens, and {API_TOKENS_MAX} are the most; take some out")]
    TooMany(usize),
    #[error("there are two tokens with the name `{0}`; give one of them another name")]
    SameName(String),
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// None for somebody without a token.
    pub name: Option<String>,
    pub rights: Rights,
}

impl Token {
    pub fn new(name: impl Into<String>, token: &str, rights: Rights) -> Self {
        Self { name: name.into(), sha256: sha256(token), rights }
    }
}

impl Rights {
    pub fn everywhere(role: Role) -> Self {
        Self { everywhere: Some(role), namespaces: BTreeMap::new() }
    }

    pub fn within(&self, namespace: &Name) -> Option<Role> {
        self.everywhere.max(self.namespaces.get(namespace).copied())
    }
}

impl Tokens {
    /// `open_to_look`: whoever has none may look at everything, as on a node that this machine alone reaches.
    pub fn new(known: Vec<Token>, open_to_look: bool) -> Result<Self, TokensError> {
        if known.len() > API_TOKENS_MAX {
            return Err(TokensError::TooMany(known.len()));
        }
        let mut names: Vec<&str> = known.iter().map(|token| token.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(TokensError::SameName(pair[0].to_owned())),
            None => Ok(Self { known, open_to_look }),
        }
    }

    /// Who asks, by what they have shown.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            let everywhere = self.open_to_look.then_some(Role::Viewer);
            return Ok(Caller { name: None, rights: Rights { everywhere, ..Rights::default() } });
        };
        let value = values.next().is_none().then_some(value);
        let token = value.and_then(|value| value.to_str().ok()).and_then(bearer).ok_or_else(|| {
            Problem::new(
                Kind::NoToken,
                "send one header `Authorization: Bearer TOKEN` with a token of this node",
            )
        })?;
        let shown = sha256(token);
        // All of them are looked at, so that the time says nothing of where one differs.
        let found = self.known.iter().fold(None, |found, token| match is_same(&token.sha256, &shown) {
            true => Some(token),
            false => found,
        });
        let found = found.ok_or_else(|| {
            Problem::new(
                Kind::NoToken,
                "this node does not know the token; use one that it was started with, or that it has written into its file",
            )
        })?;
        Ok(Caller { name: Some(found.name.clone()), rights: found.rights.clone() })
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start()).filter(|token| !token.is_empty())
}

fn sha256(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    out
}

/// In a time that does not depend on where they differ. What is compared are digests, so that it would say nothing of a token
/// either way.
fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    std::hint::black_box(one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other))) == 0
}

impl Caller {
    pub fn may(&self, role: Role, namespace: &Name) -> Result<(), Problem> {
        self.has(role, self.rights.within(namespace), &format!("in the namespace `{namespace}`"))
    }

    pub fn may_everywhere(&self, role: Role) -> Result<(), Problem> {
        self.has(role, self.rights.everywhere, "everywhere")
    }

    /// Whoever may look at anything at all may look at what is in no namespace.
    pub fn may_look(&self) -> Result<(), Problem> {
        let most = self.rights.everywhere.max(self.rights.namespaces.values().copied().max());
        self.has(Role::Viewer, most, "anywhere")
    }

    pub fn sees(&self, namespace: &Name) -> bool {
        self.rights.within(namespace).is_some()
    }

    fn has(&self, role: Role, has: Option<Role>, place: &str) -> Result<(), Problem> {
        if has >= Some(role) {
            return Ok(());
        }
        let wanted = match role {
            Role::Viewer => "a viewer",
            Role::Deployer => "a deployer",
            Role::Admin => "an admin",
        };
        Err(match &self.name {
            None => Problem::new(
                Kind::NoToken,
                format!(
                    "this takes {wanted} {place}: send `Authorization: Bearer TOKEN` with such a token of this node"
                ),
            ),
            Some(name) => Problem::new(
                Kind::Forbidden,
                format!(
                    "this takes {wanted} {place}, and `{name}` is not: use another token, or have its role changed"
                ),
            ),
        })
    }
}

/// By which names a node is called.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Those of this machine alone (`localhost`, `127.0.0.1`, `[::1]`), and these. Without ports.
    pub fn new(others: impl IntoIterator<Item = String>) -> Self {
        Self(others.into_iter().map(|host| host.to_ascii_lowercase()).collect())
    }

    /// Whether a request may be answered, whoever sent it. A web page that has its own name stand for this machine asks by
    /// that name; one that asks by ours says where it comes from.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).filter(|_| hosts.next().is_none());
        let Some(host) = host else {
            return Err(Problem::new(Kind::BadRequest, "send one header `Host` that names this node"));
        };
        let name = without_port(host).to_ascii_lowercase();
        if !is_loopback(&name) && !self.0.contains(&name) {
            return Err(Problem::new(
                Kind::WrongHost,
                format!(
                    "`{name}` is no name of this node; ask by one that it was started with, or by `localhost` on its machine"
                ),
            ));
        }
        let foreign = |what: String| {
            Err(Problem::new(
                Kind::ForeignPage,
                format!(
                    "{what}, and web pages of others may not use this node; ask from a program, or from a page of the node"
                ),
            ))
        };
        for origin in headers.get_all(ORIGIN) {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            if authority.is_none_or(|authority| !authority.eq_ignore_ascii_case(host)) {
                return foreign(format!("`Origin` is `{origin}`"));
            }
        }
        for site in headers.get_all("sec-fetch-site") {
            // Another port of this machine is the same site.
            if !matches!(site.as_bytes(), b"same-origin" | b"none") {
                return foreign(format!(
                    "`Sec-Fetch-Site` is `{}`",
                    String::from_utf8_lossy(site.as_bytes())
                ));
            }
        }
        Ok(())
    }
}

fn without_port(host: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    }
}

fn is_loopback(name: &str) -> bool {
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    #[test]
    fn a_node_answers_by_its_own_names_and_to_no_page_of_others() {
        let hosts = Hosts::new(["Node.Example".to_owned(), "10.1.2.3".to_owned()]);
        let ok: [&[(&str, &str)]; 12] = [
            &[("host", "localhost")],
            &[("host", "LOCALHOST:80")],
            &[("host", "127.0.0.1:5000")],
            &[("host", "127.9.9.9")],
            &[("host", "[::1]:5000")],
            &[("host", "[::1]")],
            &[("host", "node.example")],
            &[("host", "NODE.example:443")],
            &[("host", "10.1.2.3:1")],
            &[("host", "localhost:5000"), ("origin", "http://localhost:5000")],
            &[("host", "localhost"), ("sec-fetch-site", "same-origin")],
            &[("host", "localhost"), ("sec-fetch-site", "none")],
        ];
        for given in ok {
            assert_eq!(hosts.check(&headers(given)), Ok(()), "{given:?}");
        }
        let refused: [(&[(&str, &str)], Kind); 15] = [
            (&[], Kind::BadRequest),
            (&[("host", "localhost"), ("host", "evil.example")], Kind::BadRequest),
            (&[("host", "evil.example")], Kind::WrongHost),
            (&[("host", "evil.example:5000")], Kind::WrongHost),
            (&[("host", "localhost.evil.example")], Kind::WrongHost),
            (&[("host", "10.1.2.4")], Kind::WrongHost),
            (&[("host", "localhost:80:80")], Kind::WrongHost),
            (&[("host", "")], Kind::WrongHost),
            (&[("host", "localhost"), ("origin", "http://evil.example")], Kind::ForeignPage),
            (&[("host", "localhost:5000"), ("origin", "http://localhost:3000")], Kind::ForeignPage),
            (&[("host", "localhost"), ("origin", "null")], Kind::ForeignPage),
            (&[("host", "localhost"), ("origin", "localhost")], Kind::ForeignPage),
            (&[("host", "localhost"), ("sec-fetch-site", "cross-site")], Kind::ForeignPage),
            (&[("host", "localhost"), ("sec-fetch-site", "same-site")], Kind::ForeignPage),
            (&[("host", "evil.example"), ("origin", "http://evil.example")], Kind::WrongHost),
        ];
        for (given, kind) in refused {
            assert_eq!(hosts.check(&headers(given)).map_err(|problem| problem.kind), Err(kind), "{given:?}");
        }
    }

    #[test]
    fn a_token_gives_its_own_rights_and_no_others() {
        let team = Rights {
            everywhere: Some(Role::Viewer),
            namespaces: [(name("team"), Role::Deployer), (name("low"), Role::Viewer)].into(),
        };
        let known = vec![
            Token::new("root", "r", Rights::everywhere(Role::Admin)),
            Token::new("team", "t", team),
            Token::new("nobody", "n", Rights::default()),
        ];
        let tokens = Tokens::new(known.clone(), false).expect("three");
        let caller = |value| tokens.caller(&headers(&[("authorization", value)]));
        let root = caller("Bearer r").expect("known");
        assert_eq!(root.name.as_deref(), Some("root"));
        assert_eq!(root.may_everywhere(Role::Admin).and(root.may(Role::Admin, &name("x"))), Ok(()));
        let team = caller("bearer  t").expect("known");
        assert_eq!(team.may(Role::Deployer, &name("team")), Ok(()));
        assert_eq!(team.may(Role::Viewer, &name("other")), Ok(()));
        for refused in [
            team.may(Role::Deployer, &name("low")),
            team.may(Role::Admin, &name("team")),
            team.may_everywhere(Role::Deployer),
            caller("Bearer n").expect("known").may_look(),
        ] {
            assert_eq!(refused.map_err(|problem| problem.kind), Err(Kind::Forbidden));
        }
        for value in ["Bearer x", "Bearer R", "Bearer", "Bearer ", "Basic r", "r", "Bearer r r"] {
            let refused = caller(value).map(|caller| caller.name).map_err(|problem| problem.kind);
            assert_eq!(refused, Err(Kind::NoToken), "{value}");
        }
        let two = tokens.caller(&headers(&[("authorization", "Bearer r"), ("authorization", "Bearer r")]));
        assert_eq!(two.map_err(|problem| problem.kind), Err(Kind::NoToken));
        let none = tokens.caller(&HeaderMap::new()).expect("somebody");
        assert_eq!(none.may_look().map_err(|problem| problem.kind), Err(Kind::NoToken));
        let open = Tokens::new(known.clone(), true).expect("three");
        let none = open.caller(&HeaderMap::new()).expect("somebody");
        assert_eq!(none.may_look().and(none.may(Role::Viewer, &name("x"))), Ok(()));
        let refused = none.may(Role::Deployer, &name("x")).map_err(|problem| problem.kind);
        assert_eq!(refused, Err(Kind::NoToken));

        let twice = Tokens::new([known.clone(), known].concat(), false).map(|_| ());
        assert_eq!(twice, Err(TokensError::SameName("nobody".into())));
        let many = (0..=API_TOKENS_MAX).map(|n| Token::new(n.to_string(), "t", Rights::default()));
        assert!(Tokens::new(many.collect(), false).is_err());
    }
}
