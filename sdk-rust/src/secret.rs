//! Secrets: values that a stage is granted by name, and that stand in no manifest.

use std::fmt;

/// Why a secret cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// The manifest does not grant it. The text says what to add.
    Denied(String),
    /// It is granted, and cannot be had just now: worth another try.
    Unavailable(String),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) | Self::Unavailable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for SecretError {}

/// The value of a secret that the manifest grants: `grants: { secrets: [API_KEY] }`.
///
/// Ask for it in `open` and keep it: each call goes to the host. Name it under `needs`, so that a pipeline
/// which does not grant it is refused before it starts.
///
/// Outside of WebAssembly, a test says what there is with
#[cfg_attr(not(target_arch = "wasm32"), doc = "[`testing::set_secret`](crate::testing::set_secret):")]
#[cfg_attr(target_arch = "wasm32", doc = "`testing::set_secret`:")]
///
/// ```
/// use conveyor_sdk::{secret, testing};
///
/// testing::set_secret("API_KEY", "hunter2");
/// assert_eq!(secret("API_KEY").as_deref(), Ok("hunter2"));
/// assert!(secret("OTHER").is_err());
/// ```
pub fn secret(name: &str) -> Result<String, SecretError> {
    get(name)
}

#[cfg(target_arch = "wasm32")]
fn get(name: &str) -> Result<String, SecretError> {
    use crate::bindings::types::secrets;
    secrets::get(name).map_err(|error| match error {
        secrets::SecretError::Denied(why) => SecretError::Denied(why),
        secrets::SecretError::Unavailable(why) => SecretError::Unavailable(why),
    })
}

#[cfg(not(target_arch = "wasm32"))]
fn get(name: &str) -> Result<String, SecretError> {
    crate::testing::secret_of(name)
        .ok_or_else(|| SecretError::Denied(format!("secret `{name}` was not set in this test")))
}
