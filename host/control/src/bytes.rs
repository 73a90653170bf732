//! Bytes that nobody here looks into, as base64 where they are kept; and how many something takes there.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Cheap to clone. Not shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Opaque(Arc<[u8]>);

impl Opaque {
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl Default for Opaque {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl From<Vec<u8>> for Opaque {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Opaque {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self::from).map_err(serde::de::Error::custom)
    }
}

/// Bytes that something takes as JSON, as it is in entries and snapshots.
pub(crate) fn kept_bytes(value: &impl Serialize) -> u64 {
    let mut count = Count(0);
    // It writes nowhere, so it ends early only where something cannot be JSON, and nothing that is kept is so.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
