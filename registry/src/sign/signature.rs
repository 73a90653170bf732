//! A signature as it was found: bytes that somebody signed, and what those say.
//!
//! What a signature claims is read out of the very bytes that were signed, and by [`Signed::claim`] alone: nothing beside
//! them counts.

use std::fmt;

use model::plain;
use serde::{Deserialize, Serialize};

use super::key::PublicKey;
use super::{bundle, simple};

/// The two ways in which cosign keeps a signature beside what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// A layer of the image with the tag `sha256-HEX.sig`: simple signing.
    Tag,
    /// A Sigstore bundle that refers to what is signed.
    Bundle,
}

/// Something that lies where signatures do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    pub layout: Layout,
    pub found: Result<Signed, Unread>,
}

/// Bytes, and who is said to have signed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    content: Content,
    #[serde(with = "base64_bytes")]
    signature: Vec<u8>,
    /// What the signer calls its key: the place to look first, and nothing that was proven.
    hint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Content {
    /// The payload is what was signed.
    Simple(#[serde(with = "base64_bytes")] Vec<u8>),
    /// A DSSE envelope: what was signed is its type and its payload.
    Envelope {
        payload_type: String,
        #[serde(with = "base64_bytes")]
        payload: Vec<u8>,
    },
}

/// What the signed bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub says: Says,
    /// Of what: digests as they are written, `sha256:HEX`.
    pub digests: Vec<String>,
    /// The repository that it is for, without a tag: `registry.example.com/acme/large`. Bundles name none.
    pub repository: Option<String>,
}

/// What the claim is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// That its signer stands by the image.
    Signature,
    /// Something else about the image, of this type: that it was scanned is no word on whether it is to be run.
    Attestation { predicate_type: String },
}

/// Why something is no signature that can be checked with a key.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unread {
    #[error("something that is no signature: {why}")]
    Malformed { why: String },
    #[error("a signature by a certificate, of which only keys are checked here")]
    Certificate,
    #[error("{count} more, which were not looked at")]
    LeftOut { count: usize },
}

impl Unread {
    pub(super) fn malformed(why: impl fmt::Display) -> Self {
        /// Of what others wrote.
        const SHOWN_CHARS: usize = 200;
        let why: String = why.to_string().chars().take(SHOWN_CHARS).collect();
        Self::Malformed { why: plain::line(&why).into_owned() }
    }
}

impl Signature {
    pub(super) fn of(layout: Layout, found: Result<Signed, Unread>) -> Self {
        Self { layout, found }
    }
}

impl Signed {
    pub(super) fn new(content: Content, signature: Vec<u8>, hint: Option<String>) -> Self {
        Self { content, signature, hint }
    }

    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether this key signed it.
    pub fn is_by(&self, key: &PublicKey) -> bool {
        match &self.content {
            Content::Simple(payload) => key.verify(payload, &self.signature),
            Content::Envelope { payload_type, payload } => {
                key.verify(&bundle::pre_authentication(payload_type, payload), &self.signature)
            }
        }
    }

    /// What was signed says this, whoever signed it.
    pub fn claim(&self) -> Result<Claim, Unread> {
        match &self.content {
            Content::Simple(payload) => simple::claim(payload),
            Content::Envelope { payload_type, payload } => bundle::claim(payload_type, payload),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tag => "tag",
            Self::Bundle => "bundle",
        })
    }
}

/// Bytes as text in JSON.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
