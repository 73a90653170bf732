//! How an image is named from outside: a registry, a repository of it, and a tag or a digest or both.
//!
//! `registry.example.com/acme/large:1.2.0`, `[::1]:5000/acme/large@sha256:...`. No tag is assumed where none is written:
//! `latest` is what nobody meant to run.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use model::ids::{Digest, DigestError};
use model::manifest::OciRef;
use model::plain;

use crate::name::{NameError, Reference, Repository, Tag};

/// A registry's name: a host and, where it is not that of the scheme, a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryHost {
    /// In lower case; an IPv6 address has no brackets here.
    host: String,
    port: Option<u16>,
}

/// A manifest of a repository of a registry. It has a tag, a digest, or both; where it has both, the digest counts and the
/// tag is what it was called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageRef {
    pub registry: RegistryHost,
    pub repository: Repository,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

/// A registry, or a repository of one: what lists are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Registry(RegistryHost),
    Repository(RegistryHost, Repository),
}

/// Why a text names no image.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum ImageRefError {
    #[error("`{text}` names no registry: write one before it, such as registry.example.com/{text}")]
    NoRegistry { text: String },
    #[error("`{text}` names no repository: write REGISTRY/REPOSITORY:TAG")]
    NoRepository { text: String },
    #[error(
        "`{text}` has neither a tag nor a digest, and none is assumed: write {text}:TAG or {text}@sha256:DIGEST; \
         `conveyor registry list {text}` shows the tags"
    )]
    NoReference { text: String },
    #[error("`{text}` has a scheme: write it without, as HOST/REPOSITORY:TAG; --plain-http speaks http")]
    Scheme { text: String },
    #[error(
        "`{host}` is no host of a registry: write a host name or an IP address, and a port where it has one of its own: \
         registry.example.com:5000, [::1]:5000"
    )]
    Host { host: String },
    #[error("`{text}` names a tag or a digest, and a repository is wanted: write {wanted}")]
    Reference { text: String, wanted: String },
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// The names that Docker Hub goes by, the first of which is how it is written.
const HUB: [&str; 4] = ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
/// Characters of a text that an error shows.
const SHOWN_CHARS: usize = 300;

fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    plain::line(&cut).into_owned()
}

impl RegistryHost {
    /// The same host by one name, whether the port that http or https has anyway is written out or not.
    pub fn without_usual_port(&self) -> Self {
        Self { port: self.port.filter(|port| !matches!(port, 80 | 443)), ..self.clone() }
    }

    /// The host without a port; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether it is this machine: what is sent there is sent to nobody else.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    pub fn is_docker_hub(&self) -> bool {
        self.port.is_none() && HUB.contains(&self.host.as_str())
    }

    /// Host and port at which the registry answers, which for Docker Hub is not what it is called.
    pub fn answers_at(&self) -> String {
        match self.is_docker_hub() {
            true => "registry-1.docker.io".to_owned(),
            false => self.to_string(),
        }
    }
}

/// Whether a host, an IPv6 address with or without brackets, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback())
        }
        // RFC 6761, 6.3.
        Err(_) => bare == "localhost" || bare.ends_with(".localhost"),
    }
}

impl FromStr for RegistryHost {
    type Err = ImageRefError;

    /// Any host and port: whether a text means one is for whoever has the text.
    fn from_str(text: &str) -> Result<Self, ImageRefError> {
        let wrong = || ImageRefError::Host { host: shown(text) };
        if text.contains("://") {
            return Err(ImageRefError::Scheme { text: shown(text) });
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                let address: Ipv6Addr = host.parse().map_err(|_| wrong())?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or_else(wrong)?),
                };
                (address.to_string(), port)
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                if !is_host(host) {
                    return Err(wrong());
                }
                (host.to_ascii_lowercase(), port)
            }
        };
        let port = port.map(|port| number(port).ok_or_else(wrong)).transpose()?;
        if port.is_none() && HUB.contains(&host.as_str()) {
            return Ok(Self { host: HUB[0].to_owned(), port });
        }
        Ok(Self { host, port })
    }
}

/// Digits alone, of a port that there may be.
fn number(port: &str) -> Option<u16> {
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|&port: &u16| is_number && port != 0)
}

/// A host name, or an IPv4 address. A name whose last part is a number is an address to whoever resolves it.
fn is_host(host: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    host.len() <= 253
        && host.split('.').all(is_part)
        && (!host.rsplit('.').next().is_some_and(is_number) || host.parse::<Ipv4Addr>().is_ok())
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The registry that a text begins with, and what is behind it. A first part without a dot and without a port is no host,
/// unless it is `localhost`.
fn split(text: &str) -> Result<(RegistryHost, &str), ImageRefError> {
    if text.contains("://") {
        return Err(ImageRefError::Scheme { text: shown(text) });
    }
    let (host, rest) = text.split_once('/').unwrap_or((text, ""));
    if !is_host_like(host) {
        return Err(ImageRefError::NoRegistry { text: shown(text) });
    }
    Ok((host.parse()?, rest))
}

fn is_host_like(host: &str) -> bool {
    host.contains(['.', ':']) || host.eq_ignore_ascii_case("localhost")
}

/// Docker Hub keeps what is called `alpine` as `library/alpine`.
fn repository(registry: &RegistryHost, name: &str) -> Result<Repository, ImageRefError> {
    match registry.is_docker_hub() && !name.contains('/') && !name.is_empty() {
        true => Ok(format!("library/{name}").parse()?),
        false => Ok(name.parse()?),
    }
}

impl FromStr for ImageRef {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, ImageRefError> {
        let (registry, rest) = split(text)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (rest, None),
        };
        // No name of a repository has a colon.
        let (name, tag) = match rest.split_once(':') {
            Some((name, tag)) => (name, Some(tag.parse()?)),
            None => (rest, None),
        };
        if name.is_empty() {
            return Err(ImageRefError::NoRepository { text: shown(text) });
        }
        let repository = repository(&registry, name)?;
        if tag.is_none() && digest.is_none() {
            return Err(ImageRefError::NoReference { text: shown(text) });
        }
        Ok(Self { registry, repository, tag, digest })
    }
}

impl FromStr for Place {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, ImageRefError> {
        let (registry, rest) = match text.contains('/') {
            true => split(text)?,
            // A text without a slash can be nothing but a host.
            false => (text.parse()?, ""),
        };
        if rest.is_empty() {
            return Ok(Self::Registry(registry));
        }
        let name = rest.split(['@', ':']).next().unwrap_or_default();
        let repository = repository(&registry, name)?;
        if name != rest {
            let wanted = format!("{registry}/{repository}");
            return Err(ImageRefError::Reference { text: shown(text), wanted });
        }
        Ok(Self::Repository(registry, repository))
    }
}

impl TryFrom<&OciRef> for ImageRef {
    type Error = ImageRefError;

    fn try_from(reference: &OciRef) -> Result<Self, ImageRefError> {
        reference.to_string().parse()
    }
}

impl ImageRef {
    /// What is asked for: the digest where there is one, whatever the tag is by now.
    pub fn reference(&self) -> Reference {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Reference::Digest(*digest),
            (None, Some(tag)) => Reference::Tag(tag.clone()),
            // One of them is there in whatever was read; one that was made without gets what no content has.
            (None, None) => Reference::Digest(Digest::of(b"")),
        }
    }

    /// The same, for this content.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(host) => host.fmt(f),
            Self::Repository(host, repository) => write!(f, "{host}/{repository}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> Result<ImageRef, ImageRefError> {
        text.parse()
    }

    #[test]
    fn references_are_read_and_shown() {
        let digest = Digest::of(b"x");
        for text in [
            "registry.example.com/acme/large:1.2.0",
            "registry.example.com:5000/large:1",
            "localhost/large:1",
            "127.0.0.1:5000/a/b/c:1",
            "[::1]:5000/acme/large:1",
            "[::1]/acme/large:1",
            &format!("registry.example.com/acme/large@{digest}"),
            &format!("registry.example.com/acme/large:1@{digest}"),
        ] {
            assert_eq!(image(text).expect(text).to_string(), text);
        }
        assert_eq!(
            image("Registry.Example.com/a:1").expect("a reference").to_string(),
            "registry.example.com/a:1"
        );
        assert_eq!(image("[0:0::1]:5000/a:1").expect("a reference").to_string(), "[::1]:5000/a:1");
        for hub in ["docker.io/alpine:3", "index.docker.io/library/alpine:3"] {
            assert_eq!(image(hub).expect(hub).to_string(), "docker.io/library/alpine:3");
        }
        assert_eq!(
            image("docker.io/a/b:3").expect("a reference").registry.answers_at(),
            "registry-1.docker.io"
        );
    }

    #[test]
    fn a_digest_is_asked_for_before_a_tag() {
        let digest = Digest::of(b"x");
        let tagged = image("r.example.com/a:1").expect("a reference");
        assert_eq!(tagged.reference(), Reference::Tag("1".parse().expect("a tag")));
        let both = tagged.with_digest(digest);
        assert_eq!((both.reference(), both.tag), (Reference::Digest(digest), tagged.tag));
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_with_what_to_write() {
        for (text, part) in [
            ("", "names no registry"),
            ("large", "write one before it, such as registry.example.com/large"),
            ("acme/large:1", "registry.example.com/acme/large:1"),
            ("r.example.com/acme/large", "write r.example.com/acme/large:TAG"),
            ("r.example.com", "names no repository"),
            ("r.example.com/:1", "names no repository"),
            ("https://r.example.com/a:1", "has a scheme"),
            ("r.example.com/Acme:1", "write `acme`"),
            ("r.example.com/a:", "is no tag"),
            ("r.example.com/a:1:2", "is no tag"),
            ("r.example.com/a@sha256:1", "is no sha256 digest"),
            ("r.example.com:x/a:1", "is no host"),
            ("r.example.com:0/a:1", "is no host"),
            ("r.example.com:+1/a:1", "is no host"),
            ("r.example.com:99999/a:1", "is no host"),
            ("r..example.com/a:1", "is no host"),
            ("-r.example.com/a:1", "is no host"),
            ("u@r.example.com/a:1", "is no host"),
            ("127.0.0.1.1/a:1", "is no host"),
            ("256.0.0.1/a:1", "is no host"),
            ("[::1/a:1", "is no host"),
            ("[::1]x:1/a:1", "is no host"),
            ("[localhost]:1/a:1", "is no host"),
            ("::1/a:1", "is no host"),
        ] {
            let told = image(text).expect_err(text).to_string();
            assert!(told.contains(part), "{text}: {told}");
        }
    }

    #[test]
    fn places_are_registries_and_repositories() {
        let place = |text: &str| text.parse::<Place>();
        let host: RegistryHost = "r.example.com:5000".parse().expect("a host");
        assert_eq!(place("r.example.com:5000"), Ok(Place::Registry(host.clone())));
        assert_eq!(place("r.example.com:5000/"), Ok(Place::Registry(host.clone())));
        let repository = "a/b".parse().expect("a name");
        assert_eq!(place("r.example.com:5000/a/b"), Ok(Place::Repository(host, repository)));
        assert_eq!(place("docker.io/alpine").expect("a place").to_string(), "docker.io/library/alpine");
        assert_eq!(place("myregistry").expect("a host").to_string(), "myregistry");
        for text in
            ["a/b", "r.example.com/a:1", &format!("r.example.com/a@{}", Digest::of(b"x")), "http://r/a"]
        {
            assert!(place(text).is_err(), "{text}");
        }
    }

    #[test]
    fn this_machine_has_several_names() {
        for here in [
            "localhost",
            "LOCALHOST",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]:5",
        ] {
            assert!(here.parse::<RegistryHost>().expect(here).is_loopback(), "{here}");
        }
        for other in ["localhost.example.com", "128.0.0.1", "[::2]", "127.example.com", "notlocalhost"] {
            assert!(!other.parse::<RegistryHost>().expect(other).is_loopback(), "{other}");
        }
        assert!(is_loopback("[::1]") && is_loopback("::1"));
    }

    #[test]
    fn references_of_manifests_are_read() {
        let digest = Digest::of(b"x");
        let reference = OciRef {
            registry: "r.example.com".to_owned(),
            repository: "a".to_owned(),
            tag: Some("1".to_owned()),
            digest: Some(digest.to_string()),
        };
        let read = ImageRef::try_from(&reference).expect("a reference");
        assert_eq!((read.to_string(), read.digest), (reference.to_string(), Some(digest)));
        assert!(ImageRef::try_from(&OciRef { tag: None, digest: None, ..reference }).is_err());
    }
}
