//! From a request to a connection: granted, looked up, checked, dialled. What was checked is what is dialled;
//! no name is looked up twice.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::header::HOST;
use http::request::Parts;
use http::uri::Scheme;
use http::{Method, Version};
use model::grants::{Authority, Granted, Grants, Host, HostGrant, IpRange, Need, Refused};
use model::limits;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::Error;

use crate::access::Network;

/// Where a request goes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub to: Authority,
    pub tls: bool,
}

/// Why a request does not go out: what the stage is told, and what its log says.
#[derive(Debug)]
pub(super) struct Denied {
    pub code: Error,
    pub line: String,
}

impl Denied {
    fn new(code: Error, line: impl Into<String>) -> Self {
        Self { code, line: line.into() }
    }
}

/// Checks everything about a request that can be checked before a name is looked up.
pub(super) fn target(parts: &Parts, grants: &Grants) -> Result<Target, Denied> {
    let tls = parts.uri.scheme() != Some(&Scheme::HTTP);
    let authority = parts.uri.authority().map_or("", |authority| authority.as_str());
    let uri =
        |why: &str| Denied::new(Error::HttpRequestUriInvalid, format!("an HTTP request is refused: {why}"));
    let port = if tls { 443 } else { 80 };
    let to = Authority::parse(authority, port).map_err(|error| uri(&error.to_string()))?;
    if parts.method == Method::CONNECT {
        return Err(Denied::new(
            Error::HttpRequestMethodInvalid,
            "an HTTP request is refused: it is a CONNECT",
        ));
    }
    grants.check_host(&to).map_err(|refused| refusal(&refused))?;
    let mut named = parts.headers.get_all(HOST).iter();
    let same = |text: &str| Authority::parse(text, port).is_ok_and(|host| host == to);
    let one = named.next().is_none_or(|host| host.to_str().is_ok_and(same));
    if !one || named.next().is_some() {
        let line = format!("an HTTP request to `{to}` is refused: its `Host` header names another host");
        return Err(Denied::new(Error::HttpRequestDenied, line));
    }
    if !matches!(parts.version, Version::HTTP_10 | Version::HTTP_11) {
        return Err(Denied::new(Error::HttpProtocolError, "an HTTP request is refused: it is not HTTP/1.1"));
    }
    Ok(Target { to, tls })
}

/// What is told of a refusal, with the line that would grant it.
fn refusal(refused: &Refused) -> Denied {
    let (code, host, port) = match refused {
        Refused::Host(to) => {
            let host = match &to.host {
                Host::Name(name) => Granted::Name(name.clone()),
                Host::Address(address) => Granted::Range(IpRange::one(*address)),
            };
            (Error::HttpRequestDenied, host, to.port)
        }
        Refused::Address { host, address } => {
            (Error::DestinationIpProhibited, Granted::Range(IpRange::one(*address)), host.port)
        }
    };
    let line = Need::Http(HostGrant { host, port }).line();
    Denied::new(code, format!("an HTTP request is refused: {refused}; add `{line}` to the stage"))
}

/// The addresses that may be dialled, in the order in which they were given.
pub(super) async fn addresses(
    target: &Target,
    grants: &Grants,
    network: &Network,
) -> Result<Vec<SocketAddr>, Denied> {
    let to = &target.to;
    let found = match &to.host {
        Host::Address(address) => vec![*address],
        Host::Name(_) if to.host.is_localhost() => {
            vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        }
        Host::Name(name) => {
            let lookup = network.resolver.resolve(name.as_str());
            let line = |why: &dyn std::fmt::Display| format!("`{name}` cannot be looked up: {why}");
            match tokio::time::timeout(limits::HTTP_RESOLVE_TIME, lookup).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    let code = Error::DnsError { rcode: None, info_code: None };
                    return Err(Denied::new(code, line(&error)));
                }
                Err(_) => return Err(Denied::new(Error::DnsTimeout, line(&"it takes too long"))),
            }
        }
    };
    if found.is_empty() {
        return Err(Denied::new(Error::DestinationNotFound, format!("`{to}` has no address")));
    }
    let allowed = grants.dialled(to, &found).map_err(|refused| refusal(&refused))?;
    Ok(allowed.into_iter().map(|address| SocketAddr::new(address, to.port)).collect())
}

/// Connects to the first of `addresses` that answers.
pub(super) async fn connect(addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, Error> {
    let mut last = Error::DestinationNotFound;
    for address in addresses.iter().take(limits::HTTP_ADDRESSES_MAX) {
        match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Error::Connect(error),
            Err(_) => return Err(Error::ConnectionTimeout),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;

    use super::*;
    use crate::access::{Resolver, Resolving};

    fn grants(http: &[&str]) -> Grants {
        let http = http.iter().map(|text| text.parse().expect("a grant")).collect();
        Grants { http, ..Grants::default() }
    }

    fn request(method: &str, uri: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_request_goes_where_its_authority_says_or_nowhere() {
        let cases: &[(&str, &str, &[&str], &str)] = &[
            ("GET", "https://a.com/x", &["a.com"], "ok"),
            ("GET", "https://a.com:443/x", &["a.com"], "ok"),
            ("GET", "https://A.com/x", &["a.com:443"], "ok"),
            ("GET", "https://a.com/x", &[], "ok"),
            ("GET", "https://a.com/x", &["b.com"], "`Host` header"),
            ("GET", "https://a.com/x", &["a.com:444"], "`Host` header"),
            ("GET", "https://a.com/x", &["a.com", "a.com"], "`Host` header"),
            ("GET", "https://a.com/x", &["a.com", "b.com"], "`Host` header"),
            ("GET", "http://a.com/x", &["a.com"], "http: [a.com:80]"),
            ("GET", "https://b.com/x", &["b.com"], "http: [b.com:443]"),
            ("GET", "https://a.com:8443/x", &["a.com:8443"], "http: [a.com:8443]"),
            ("GET", "https://[::1]:80/", &[], "http: ['[::1]:80']"),
            ("GET", "https://127.1/", &[], "all four numbers"),
            ("GET", "https://a.com@b.com/", &[], "a user"),
            ("GET", "/x", &["a.com"], "a host is"),
            ("CONNECT", "https://a.com/", &[], "CONNECT"),
        ];
        for (method, uri, hosts, expected) in cases {
            match target(&request(method, uri, hosts), &grants(&["a.com:443"])) {
                Ok(target) => {
                    assert_eq!(*expected, "ok", "{uri} {hosts:?}");
                    assert_eq!((target.to.to_string(), target.tls), ("a.com:443".to_owned(), true));
                }
                Err(denied) => assert!(denied.line.contains(expected), "{uri} {hosts:?}: {}", denied.line),
            }
        }
    }

    struct Says(&'static [&'static str]);

    impl Resolver for Says {
        fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
            let addresses = self.0.iter().map(|text| text.parse().expect("an address")).collect();
            Box::pin(async move { Ok(addresses) })
        }
    }

    #[tokio::test]
    async fn what_a_name_leads_to_is_checked_before_it_is_dialled() {
        let cases: &[(&[&str], &'static [&'static str], &str)] = &[
            (&["a.com:80"], &["1.1.1.1"], "[1.1.1.1:80]"),
            (&["a.com:80"], &["10.0.0.1", "1.1.1.1"], "[1.1.1.1:80]"),
            (&["a.com:80"], &["127.0.0.1"], "http: [127.0.0.1:80]"),
            (&["a.com:80"], &["::ffff:169.254.169.254"], "http: [169.254.169.254:80]"),
            (&["a.com:80", "10.0.0.0/8:80"], &["10.0.0.1"], "[10.0.0.1:80]"),
            (&["a.com:80"], &[], "has no address"),
        ];
        for (granted, found, expected) in cases {
            let network = Network::new(Arc::new(Says(found)), []);
            let to = Authority::parse("a.com", 80).expect("an authority");
            let answer = addresses(&Target { to, tls: false }, &grants(granted), &network).await;
            let answer = answer.map_or_else(|denied| denied.line, |list| format!("{list:?}"));
            assert!(answer.contains(expected), "{granted:?} {found:?}: {answer}");
        }
    }
}
