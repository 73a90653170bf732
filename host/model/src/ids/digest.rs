//! Digests of content, as OCI writes them: the name of an algorithm and what it gave, in hexadecimal digits.
//!
//! Grammar: OCI image specification 1.1, "Digests",
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests>.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

/// What computes digests. These two are what the specification registers and everybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// As it stands before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes of what it gives.
    pub fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// None for any other name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// Names content by what it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    /// Behind what the algorithm gives there are zeros.
    bytes: [u8; 64],
}

impl Digest {
    /// The SHA-256 of `bytes`: what is taken where nobody asks for another.
    pub fn of(bytes: &[u8]) -> Self {
        Self::by(Algorithm::Sha256, bytes)
    }

    pub fn by(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut digester = Digester::new(algorithm);
        digester.update(bytes);
        digester.finish()
    }

    /// What an algorithm gave. None where that is not as long as what it gives.
    pub fn from_bytes(algorithm: Algorithm, given: &[u8]) -> Option<Self> {
        let mut bytes = [0; 64];
        bytes.get_mut(..algorithm.bytes()).filter(|room| room.len() == given.len())?.copy_from_slice(given);
        Some(Self { algorithm, bytes })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What the algorithm gave.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.bytes()]
    }

    /// The digits behind the colon.
    pub fn hex(&self) -> String {
        let digits = self.as_bytes().iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let mut hex = String::with_capacity(2 * self.algorithm.bytes());
        hex.extend(digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        hex
    }
}

/// Why a text is no digest that could be looked at.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum DigestError {
    #[error("`{text}` is no digest: write ALGORITHM:HEX, such as sha256: and 64 digits")]
    Grammar { text: String },
    #[error("`{name}` is an algorithm that is not known; sha256 and sha512 are")]
    Algorithm { name: String },
    #[error("`{text}` is no {} digest: {} digits of 0-9 and a-f follow the colon", .algorithm.name(), .algorithm.bytes() * 2)]
    Digits { text: String, algorithm: Algorithm },
}

/// Characters of a text that an error shows: a digest of any kind, and no more.
const SHOWN_CHARS: usize = 160;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let shown = || text.chars().take(SHOWN_CHARS).collect();
        let is_grammar = |(name, digits): &(&str, &str)| is_algorithm(name) && is_encoded(digits);
        let Some((name, digits)) = text.split_once(':').filter(is_grammar) else {
            return Err(DigestError::Grammar { text: shown() });
        };
        let Some(algorithm) = Algorithm::parse(name) else {
            return Err(DigestError::Algorithm { name: name.chars().take(SHOWN_CHARS).collect() });
        };
        let mut bytes = [0; 64];
        let is_long_enough = digits.len() == algorithm.bytes() * 2;
        let mut pairs =
            digits.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
        let is_hex = is_long_enough
            && bytes.iter_mut().take(algorithm.bytes()).all(|byte| match pairs.next().flatten() {
                Some(pair) => {
                    *byte = pair;
                    true
                }
                None => false,
            });
        if is_hex {
            Ok(Self { algorithm, bytes })
        } else {
            Err(DigestError::Digits { text: shown(), algorithm })
        }
    }
}

/// `[a-z0-9]+([+._-][a-z0-9]+)*`
fn is_algorithm(name: &str) -> bool {
    let is_component = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.split(['+', '.', '_', '-']).all(is_component)
}

/// `[a-zA-Z0-9=_-]+`
fn is_encoded(digits: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-');
    !digits.is_empty() && digits.bytes().all(is_known)
}

/// Lower case alone: one content has one name.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// As OCI writes it: `sha256:` and the digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a digest of what comes piece by piece.
#[derive(Clone)]
pub enum Digester {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Digester {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub fn finish(self) -> Digest {
        let mut bytes = [0; 64];
        let algorithm = self.algorithm();
        let given = &mut bytes[..algorithm.bytes()];
        match self {
            Self::Sha256(hash) => given.copy_from_slice(&hash.finalize()),
            Self::Sha512(hash) => given.copy_from_slice(&hash.finalize()),
        }
        Digest { algorithm, bytes }
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Digester").field(&self.algorithm()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_that_everybody_computes() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        let abc = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                   2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        let mut digester = Digester::new(Algorithm::Sha512);
        digester.update(b"a");
        digester.update(b"bc");
        assert_eq!(digester.finish().to_string(), abc);
    }

    #[test]
    fn digests_are_read_back_as_they_are_shown() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::by(algorithm, b"x");
            assert_eq!(digest.to_string().parse(), Ok(digest));
            assert_eq!(Digest::from_bytes(algorithm, digest.as_bytes()), Some(digest));
            let json = serde_json::to_string(&digest).expect("JSON");
            assert_eq!(serde_json::from_str::<Digest>(&json).expect("a digest"), digest);
        }
        assert_eq!(Digest::from_bytes(Algorithm::Sha256, &[0; 64]), None);
        assert_eq!(Digest::from_bytes(Algorithm::Sha512, &[0; 32]), None);
    }

    #[test]
    fn what_is_no_digest_is_refused_by_name() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            "",
            ":",
            hex,
            &format!(":{hex}"),
            &format!("SHA256:{hex}"),
            "sha256:",
            "sha256:../../etc",
            "sha256:a/b",
            "sha256:\u{e9}",
            &format!("sha256+:{hex}"),
            &format!("sha256:{hex}:{hex}"),
            &format!("sha256:+{}", &hex[1..]),
        ] {
            assert!(matches!(text.parse::<Digest>(), Err(DigestError::Grammar { .. })), "{text}");
        }
        for text in [
            "sha256:abc".to_owned(),
            format!("sha256:{hex}00"),
            format!("sha512:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}g", &hex[1..]),
        ] {
            assert!(matches!(text.parse::<Digest>(), Err(DigestError::Digits { .. })), "{text}");
        }
        let other = "blake3:abc".parse::<Digest>().expect_err("not known");
        assert!(other.to_string().contains("`blake3`"), "{other}");
    }
}
