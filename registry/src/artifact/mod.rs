//! A stage as an artifact of a registry: a manifest, a config that says what the component exports and imports, and the
//! component as the one layer.
//!
//! The form is that of the CNCF's TAG Runtime, <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>, which
//! other tools for WebAssembly push and pull too. What a component says of itself stands in annotations, so that somebody
//! can look at it without the layer. It is claimed by whoever pushed it: [`Artifact::check`] compares it with what the
//! component says when it is loaded. Not here: loading one.

mod build;
mod check;
mod config;
mod find;
pub mod pipeline;
mod push;

use serde::{Deserialize, Serialize};

pub use build::{BuildError, Built, Stage, build};
pub use check::{Difference, Differs};
pub use config::Config;
pub use find::{Artifact, Choice, Claimed, FindError, find};
pub use push::{PushError, Pushed, push};

/// Of the config.
pub const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Of the layer.
pub const LAYER: &str = "application/wasm";
/// Of a config that says nothing: `{}`, as the image specification has it.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The name under which a layer is to be written to a disk.
pub const TITLE: &str = "org.opencontainers.image.title";
const DESCRIPTION: &str = "org.opencontainers.image.description";
const VERSION: &str = "org.opencontainers.image.version";
const CREATED: &str = "org.opencontainers.image.created";
/// Of the source: the revision that the component was built of.
pub const REVISION: &str = "org.opencontainers.image.revision";
/// Of the source: where it is.
pub const SOURCE: &str = "org.opencontainers.image.source";

/// What no standard has a name for begins with this.
const OURS: &str = "conveyor.stage.";
const WORLD: &str = "conveyor.stage.world";
const PORTS: &str = "conveyor.stage.ports";
const CONFIG_SCHEMA: &str = "conveyor.stage.config-schema";
const NEEDS: &str = "conveyor.stage.needs";
const SDK: &str = "conveyor.stage.sdk";

/// What a component says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// The world of the contract that it is of: `conveyor:stage/table-transform-stage@0.1.0`.
    pub world: String,
    pub exports: Vec<String>,
    pub imports: Vec<String>,
    /// Under a config without anything in it. None where it has none, or does not say without a config or the fields that come.
    pub ports: Option<Vec<String>>,
    /// JSON Schema of its config; empty for none.
    pub config_schema: String,
    /// What it cannot do without, as grants are written.
    pub needs: Vec<String>,
    /// What it was written with, where that says so: `conveyor-sdk 0.1.0`.
    pub sdk: Option<String>,
}

#[cfg(test)]
mod tests;
