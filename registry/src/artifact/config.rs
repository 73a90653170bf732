//! The config of an artifact: what its layer is, for whoever does not want to read that.

use serde::{Deserialize, Serialize};

/// As the guidance has it; others leave out what is optional here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Always `wasm`.
    pub architecture: String,
    /// `wasip2` for a component, `wasip1` for a core module.
    pub os: String,
    /// Of the layers, in their order, so that two artifacts do not have one config.
    #[serde(default)]
    pub layer_digests: Vec<String>,
    /// None for a core module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Interfaces>,
}

/// What a component exports and imports, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interfaces {
    #[serde(default)]
    pub exports: Vec<String>,
    #[serde(default)]
    pub imports: Vec<String>,
    /// The world that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

pub(super) const ARCHITECTURE: &str = "wasm";
pub(super) const COMPONENT_OS: &str = "wasip2";
