//! A stage -> its manifest and its config, byte for byte the same for the same stage.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::convert::times;
use model::ids::Digest;
use model::limits::REGISTRY_MANIFEST_BYTES_MAX;
use serde::Serialize;
use serde_json::json;

use super::config::{ARCHITECTURE, COMPONENT_OS, Config, Interfaces};
use super::{
    CONFIG, CONFIG_SCHEMA, CREATED, DESCRIPTION, Facts, LAYER, NEEDS, OURS, PORTS, SDK, TITLE, VERSION, WORLD,
};
use crate::manifest::{Descriptor, IMAGE};

/// A component that is to be pushed.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// Of the component.
    pub digest: Digest,
    /// Of the component.
    pub bytes: u64,
    pub facts: &'a Facts,
    /// The name of its file.
    pub title: &'a str,
    /// Seconds since the Unix epoch: of its file, or of its source, so that one stage has one digest.
    pub created: i64,
    /// What whoever pushes it says of it: where its source is, for example.
    pub annotations: &'a BTreeMap<String, String>,
}

/// What is pushed, but for the bytes of the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Of the manifest.
    pub digest: Digest,
    pub manifest: Bytes,
    pub config: (Descriptor, Bytes),
    pub layers: Vec<Descriptor>,
}

/// Why there is no artifact of a stage.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    #[error("the annotation `{key}` is what the component says of itself; leave it out")]
    Reserved { key: String },
    #[error(
        "the manifest would have {bytes} bytes, and {REGISTRY_MANIFEST_BYTES_MAX} are the most: the schema of its config, of \
         {schema} bytes, is part of it"
    )]
    Large { bytes: usize, schema: usize },
    #[error("a stage is not made {seconds} seconds from 1970: SOURCE_DATE_EPOCH or the time of its file is wrong")]
    Time { seconds: i64 },
}

pub fn build(stage: &Stage<'_>) -> Result<Built, BuildError> {
    let Stage { facts, .. } = stage;
    let created = rfc3339(stage.created)?;
    let config = Config {
        created: Some(created.clone()),
        author: None,
        architecture: ARCHITECTURE.to_owned(),
        os: COMPONENT_OS.to_owned(),
        layer_digests: vec![stage.digest.to_string()],
        component: Some(Interfaces {
            exports: facts.exports.clone(),
            imports: facts.imports.clone(),
            target: Some(facts.world.clone()).filter(|world| !world.is_empty()),
        }),
    };
    let layer = Descriptor {
        media_type: LAYER.to_owned(),
        digest: stage.digest,
        size: stage.bytes,
        artifact_type: None,
        annotations: BTreeMap::from([(TITLE.to_owned(), stage.title.to_owned())]),
    };
    let annotations = annotations(stage, created)?;
    let built = Built::new(CONFIG, None, &config, vec![layer], &annotations);
    match built.manifest.len() {
        0..=REGISTRY_MANIFEST_BYTES_MAX => Ok(built),
        bytes => Err(BuildError::Large { bytes, schema: facts.config_schema.len() }),
    }
}

/// Years of four digits alone: what others read.
fn rfc3339(seconds: i64) -> Result<String, BuildError> {
    let mut text = Vec::new();
    times::write_seconds(seconds, 0, true, &mut text);
    let is_short = text.first().is_some_and(u8::is_ascii_digit);
    String::from_utf8(text).ok().filter(|_| is_short).ok_or(BuildError::Time { seconds })
}

fn annotations(stage: &Stage<'_>, created: String) -> Result<BTreeMap<String, String>, BuildError> {
    let facts = stage.facts;
    let list = |list: &[String]| json!(list).to_string();
    let said = [
        (TITLE, facts.name.clone()),
        (DESCRIPTION, facts.summary.clone()),
        (VERSION, facts.version.clone()),
        (CREATED, created),
        (WORLD, facts.world.clone()),
        (PORTS, facts.ports.as_deref().map(list).unwrap_or_default()),
        (CONFIG_SCHEMA, facts.config_schema.clone()),
        (NEEDS, list(&facts.needs)),
        (SDK, facts.sdk.clone().unwrap_or_default()),
    ];
    let is_said = |key: &&String| key.starts_with(OURS) || said.iter().any(|(known, _)| *known == key.as_str());
    if let Some(key) = stage.annotations.keys().find(is_said) {
        return Err(BuildError::Reserved { key: key.clone() });
    }
    let said = said.into_iter().filter(|(_, value)| !value.is_empty());
    let mut all = stage.annotations.clone();
    all.extend(said.map(|(key, value)| (key.to_owned(), value)));
    Ok(all)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Image<'a> {
    schema_version: u32,
    media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
    config: &'a Descriptor,
    layers: &'a [Descriptor],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl Built {
    pub(super) fn new(
        media_type: &str,
        artifact_type: Option<&str>,
        config: &impl Serialize,
        layers: Vec<Descriptor>,
        annotations: &BTreeMap<String, String>,
    ) -> Self {
        let config = Bytes::from(json!(config).to_string());
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::of(&config),
            size: config.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
        };
        let image = Image {
            schema_version: 2,
            media_type: IMAGE,
            artifact_type,
            config: &descriptor,
            layers: &layers,
            annotations,
        };
        let manifest = Bytes::from(json!(image).to_string());
        Self { digest: Digest::of(&manifest), manifest, config: (descriptor, config), layers }
    }

    /// What an index, or somebody who signs it, has of the manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: IMAGE.to_owned(),
            digest: self.digest,
            size: self.manifest.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }
}
