//! Hosts and ports, as they are granted and as a request names them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::address::is_metadata;

/// A DNS name: lower-case, without a dot at its end, and nothing that a resolver could take for an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

/// The host of a request: a name, or an address as it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    Name(HostName),
    Address(IpAddr),
}

/// Where a request goes: host and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Authority {
    pub host: Host,
    pub port: u16,
}

/// Addresses that have their first `bits` in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpRange {
    first: IpAddr,
    bits: u8,
}

/// What a grant covers of hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Granted {
    Name(HostName),
    Range(IpRange),
}

/// One entry of `grants.http`: `api.example.com:443`, `10.0.0.5:8080`, `10.1.0.0/16:8080`, `[fd00::5]:80`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostGrant {
    pub host: Granted,
    pub port: u16,
}

/// The port where none is written: that of HTTPS.
const PORT: u16 = 443;
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Why a text names no host to grant.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum HostError {
    #[error("write the host and the port alone, as in `api.example.com:443`: {0} is no part of a grant")]
    Extra(&'static str),
    #[error("`*` stands for nothing here: name each host")]
    Wildcard,
    #[error("a port is a number from 1 to 65535")]
    Port,
    #[error("a host is a name such as `api.example.com`, or an address such as `10.0.0.5` or `[fd00::5]`")]
    Host,
    #[error("an IPv6 address stands in brackets, as in `[fd00::5]:443`")]
    Brackets,
    #[error("`{0}` looks like an address that is not written in full: write all four numbers")]
    Numeric(String),
    #[error("a range is an address and how many of its bits count, as in `10.1.0.0/16:8080`")]
    Range,
    #[error("the range has bits set behind the /{0}: its first address is {1}")]
    RangeBits(u8, IpAddr),
    #[error("{0} is no address that anybody can be reached at")]
    Nowhere(IpAddr),
}

impl HostName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, HostError> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if text.contains('*') {
            return Err(HostError::Wildcard);
        }
        let good = |label: &str| {
            let chars =
                label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
            chars
                && (1..=LABEL_BYTES_MAX).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > NAME_BYTES_MAX || !text.split('.').all(good) {
            return Err(HostError::Host);
        }
        // `127.1`, `0x7f.0.0.1` and `2130706433` are addresses to some resolvers.
        let last = text.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) || is_hexadecimal(last) {
            return Err(HostError::Numeric(text));
        }
        Ok(Self(text))
    }
}

fn is_hexadecimal(label: &str) -> bool {
    label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Host {
    fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(inside) = text.strip_prefix('[') {
            let inside = inside.strip_suffix(']').ok_or(HostError::Brackets)?;
            let address: std::net::Ipv6Addr = inside.parse().map_err(|_| HostError::Host)?;
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        match text.parse::<std::net::Ipv4Addr>() {
            Ok(address) => Ok(Self::Address(IpAddr::V4(address))),
            Err(_) => HostName::parse(text).map(Self::Name),
        }
    }

    pub fn is_localhost(&self) -> bool {
        matches!(self, Self::Name(name) if name.as_str() == "localhost")
    }
}

impl Authority {
    /// The authority of a request, `host` or `host:port`. What stands before an `@` has no place in it.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, HostError> {
        if text.contains('@') {
            return Err(HostError::Extra("a user"));
        }
        let (host, port) = split_port(text)?;
        Ok(Self { host: Host::parse(host)?, port: port.unwrap_or(default_port) })
    }
}

/// `host:port`, where the host may be an IPv6 address in brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), HostError> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains([']', '/']) => (host, Some(port)),
        _ => (text, None),
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err(HostError::Brackets);
    }
    let port = match port {
        None => None,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            Some(port.parse().ok().filter(|port| *port > 0).ok_or(HostError::Port)?)
        }
        Some(_) => return Err(HostError::Port),
    };
    if host.is_empty() { Err(HostError::Host) } else { Ok((host, port)) }
}

impl IpRange {
    pub fn one(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { first: address, bits: width(address) }
    }

    fn parse(address: &str, bits: &str) -> Result<Self, HostError> {
        let Host::Address(first) = Host::parse(address).map_err(|_| HostError::Range)? else {
            return Err(HostError::Range);
        };
        let bits: u8 = bits.parse().map_err(|_| HostError::Range)?;
        if bits > width(first) {
            return Err(HostError::Range);
        }
        let masked = masked(first, bits);
        if masked == first { Ok(Self { first, bits }) } else { Err(HostError::RangeBits(bits, masked)) }
    }

    fn is_single(self) -> bool {
        self.bits == width(self.first)
    }

    /// Metadata addresses are in no range but their own.
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let inside = width(address) == width(self.first) && masked(address, self.bits) == self.first;
        inside && (self.is_single() || !is_metadata(address))
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

impl Granted {
    /// Whether a request to `host` is covered, before any name is looked up.
    pub fn covers(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Name(granted), Host::Name(name)) => granted == name,
            (Self::Range(range), Host::Address(address)) => range.contains(*address),
            _ => false,
        }
    }

    /// Whether it is this very address, or a range with it, that is granted.
    pub fn has_address(&self, address: IpAddr) -> bool {
        matches!(self, Self::Range(range) if range.contains(address))
    }
}

impl FromStr for HostGrant {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text.contains("://") {
            return Err(HostError::Extra("a scheme"));
        }
        if text.contains('@') {
            return Err(HostError::Extra("a user"));
        }
        if text.contains(['?', '#']) {
            return Err(HostError::Extra("a query"));
        }
        // `10.1.0.0/16:8080`, `[fd00::]/8:443`; anything else behind a slash is a path.
        if let Some((address, rest)) = text.split_once('/') {
            let (bits, port) = rest.split_once(':').map_or((rest, None), |(bits, port)| (bits, Some(port)));
            if bits.is_empty() || !bits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(HostError::Extra("a path"));
            }
            let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| HostError::Port))?;
            if port == 0 {
                return Err(HostError::Port);
            }
            return Ok(Self { host: Granted::Range(IpRange::parse(address, bits)?), port });
        }
        let Authority { host, port } = Authority::parse(text, PORT)?;
        let host = match host {
            Host::Name(name) => Granted::Name(name),
            Host::Address(address) => {
                let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
                if address.is_unspecified() || address.is_multicast() || broadcast {
                    return Err(HostError::Nowhere(address));
                }
                Granted::Range(IpRange::one(address))
            }
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => bracketed(*address, f),
        }
    }
}

fn bracketed(address: IpAddr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match address {
        IpAddr::V4(address) => write!(f, "{address}"),
        IpAddr::V6(address) => write!(f, "[{address}]"),
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for HostGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Granted::Name(name) => name.fmt(f)?,
            Granted::Range(range) => {
                bracketed(range.first, f)?;
                if !range.is_single() {
                    write!(f, "/{}", range.bits)?;
                }
            }
        }
        write!(f, ":{}", self.port)
    }
}
