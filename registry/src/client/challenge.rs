//! How a registry asks who somebody is, and for what: `WWW-Authenticate` (RFC 9110, 11.6.1) and scopes, read.
//!
//! <https://distribution.github.io/distribution/spec/auth/token/> and .../scope/.

use std::collections::BTreeSet;
use std::fmt;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// How a registry wants to be told who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    /// By a token, which there is at `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Scopes,
    },
}

/// What may be done with what: `repository:acme/large:pull,push`, several of which stand with spaces between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scopes(Vec<(String, BTreeSet<String>)>);

impl Scopes {
    pub(super) fn repository(name: impl fmt::Display, actions: &[&str]) -> Self {
        Self::of(format!("repository:{name}"), actions)
    }

    pub(super) fn catalog() -> Self {
        Self::of("registry:catalog".to_owned(), &["*"])
    }

    fn of(what: String, actions: &[&str]) -> Self {
        Self(vec![(what, actions.iter().map(|&action| action.to_owned()).collect())])
    }

    /// What is no scope is left out: it comes from a registry that wants it, and can want nothing by it.
    pub(super) fn parse(text: &str) -> Self {
        let mut scopes = Self::default();
        for word in text.split_ascii_whitespace() {
            if let Some((what, actions)) = word.rsplit_once(':') {
                scopes.add(what, actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned));
            }
        }
        scopes
    }

    fn add(&mut self, what: &str, actions: impl Iterator<Item = String>) {
        match self.0.iter_mut().find(|(known, _)| known == what) {
            Some((_, known)) => known.extend(actions),
            None => self.0.push((what.to_owned(), actions.collect())),
        }
    }

    /// These and those.
    pub(super) fn and(&self, others: &Self) -> Self {
        let mut all = self.clone();
        for (what, actions) in &others.0 {
            all.add(what, actions.iter().cloned());
        }
        all
    }

    /// Whether who may do this may do that.
    pub(super) fn cover(&self, others: &Self) -> bool {
        others.0.iter().all(|(what, actions)| {
            let found = self.0.iter().find(|(known, _)| known == what);
            found.is_some_and(|(_, known)| known.contains("*") || actions.is_subset(known))
        })
    }

    /// One by one, as a request for a token has them.
    pub(super) fn each(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(what, actions)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{what}:{}", actions.join(","))
        })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.each().collect::<Vec<_>>().join(" "))
    }
}

impl Challenge {
    /// The one that is taken of all that a registry offers: a token rather than a password with each request. None where it
    /// offers nothing that is known.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let all: Vec<Offer> = values.flat_map(offers).collect();
        let bearer = all.iter().filter(|offer| offer.scheme.eq_ignore_ascii_case("bearer"));
        let bearer = bearer.filter_map(|offer| {
            Some(Self::Bearer {
                realm: offer.parameter("realm")?.to_owned(),
                service: offer.parameter("service").map(str::to_owned),
                scope: Scopes::parse(offer.parameter("scope").unwrap_or_default()),
            })
        });
        let basic = || all.iter().any(|offer| offer.scheme.eq_ignore_ascii_case("basic"));
        bearer.into_iter().next().or_else(|| basic().then_some(Self::Basic))
    }
}

/// A scheme with its parameters.
#[derive(Debug, Default)]
struct Offer {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Offer {
    fn parameter(&self, name: &str) -> Option<&str> {
        let mut found = self.parameters.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }
}

/// The offers of one value of the header. A comma stands between parameters as well as between offers: a word that no `=`
/// follows begins an offer.
fn offers(value: &str) -> Vec<Offer> {
    let mut all: Vec<Offer> = vec![];
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        if word.is_empty() {
            // What is no list of words ends what is understood.
            return all;
        }
        let after = behind.trim_start_matches([' ', '\t']);
        match (after.strip_prefix('='), all.last_mut()) {
            (Some(after), Some(offer)) => {
                let (text, behind) = quoted(after.trim_start_matches([' ', '\t']));
                offer.parameters.push((word.to_owned(), text));
                rest = behind;
            }
            _ => {
                all.push(Offer { scheme: word.to_owned(), parameters: vec![] });
                rest = behind;
            }
        }
    }
}

/// A token or a quoted string, and what is behind it.
fn quoted(text: &str) -> (String, &str) {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        let (token, behind) = text.split_at(end);
        return (token.to_owned(), behind);
    };
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &inner[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).expect("a value"));
        }
        Challenge::of(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: &str) -> Option<Challenge> {
        let (realm, service) = (realm.to_owned(), service.map(str::to_owned));
        Some(Challenge::Bearer { realm, service, scope: Scopes::parse(scope) })
    }

    #[test]
    fn challenges_are_read_in_all_their_forms() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let wanted =
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), "repository:a/b:pull,push");
        assert_eq!(of(&[hub]), wanted);
        assert_eq!(of(&["bearer Realm = \"a\\\"b\" , service=x"]), bearer("a\"b", Some("x"), ""));
        assert_eq!(of(&["Basic realm=\"a, Bearer realm=b\""]), Some(Challenge::Basic));
        // A token is taken before a password, in one header or in two.
        assert_eq!(of(&["Basic realm=\"x\", Bearer realm=\"t\""]), bearer("t", None, ""));
        assert_eq!(of(&["Basic realm=\"x\"", "Bearer realm=\"t\""]), bearer("t", None, ""));
        assert_eq!(of(&["Basic"]), Some(Challenge::Basic));
        assert_eq!(of(&["Negotiate abc==, Basic realm=x"]), Some(Challenge::Basic));
        for nothing in ["", "Bearer", "Bearer service=x", "Negotiate", "= = =", "\"", "Bearer realm"] {
            assert_eq!(of(&[nothing]), None, "{nothing}");
        }
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn scopes_add_up_and_cover_one_another() {
        let pull = Scopes::repository("a/b", &["pull"]);
        let push = Scopes::repository("a/b", &["push", "pull"]);
        assert_eq!(push.to_string(), "repository:a/b:pull,push");
        assert!(push.cover(&pull) && !pull.cover(&push));
        assert!(pull.cover(&Scopes::default()) && !Scopes::default().cover(&pull));
        let both = push.and(&Scopes::repository("c", &["pull"]));
        assert_eq!(both.each().collect::<Vec<_>>(), ["repository:a/b:pull,push", "repository:c:pull"]);
        assert!(both.cover(&push) && !push.cover(&both));
        assert!(Scopes::parse("repository:a/b:*").cover(&push));
        assert_eq!(Scopes::parse("repository:a/b:pull nothing repository:a/b:push"), push);
        assert_eq!(Scopes::catalog().to_string(), "registry:catalog:*");
        // The host of a class of its own has a colon.
        assert_eq!(Scopes::parse("repository(plugin):h:5/a:pull").each().count(), 1);
    }
}
