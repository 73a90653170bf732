//! A secret as the state has it: it says nothing to anybody without the key.

use ring::aead::NONCE_LEN;
use serde::{Deserialize, Serialize};

use crate::bytes::Opaque;

/// What a sealed secret takes beyond what is in it.
pub(crate) const SEALED_BYTES_MORE: usize = NONCE_LEN + 16;

/// A secret as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Says which key it was, and nothing about it.
    pub key: String,
    /// The same for the same secret under the same name and key, and nothing else is known from it.
    pub mark: Opaque,
    /// The nonce, and what the cipher gave.
    pub text: Opaque,
}

impl Sealed {
    pub fn bytes(&self) -> u64 {
        self.text.as_slice().len() as u64
    }
}
