//! A reference -> the artifact behind it, whoever pushed it: what its manifest and its config say, without the layer.

use std::collections::BTreeMap;
use std::fmt;

use model::ids::Digest;
use model::limits::{ARTIFACT_CONFIG_BYTES_MAX, COMPONENT_BYTES_MAX};
use model::plain;
use serde::{Deserialize, Serialize};

use super::config::{ARCHITECTURE, Config};
use super::{
    CONFIG, CONFIG_SCHEMA, CREATED, DESCRIPTION, LAYER, NEEDS, PORTS, REVISION, SDK, SOURCE, TITLE, VERSION, WORLD,
};
use crate::client::{ClientError, Fetched, Origin};
use crate::manifest::{Descriptor, Manifest, ManifestError, is_index};
use crate::name::Reference;

/// A stage in a registry or in a layout. Its component was not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub manifest: Descriptor,
    /// The index that led to it, where the reference stood for one.
    pub index: Option<Digest>,
    /// The component.
    pub layer: Descriptor,
    pub claimed: Claimed,
}

/// What an artifact says of its component. None is what it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Claimed {
    pub name: Option<String>,
    pub version: Option<String>,
    pub summary: Option<String>,
    pub world: Option<String>,
    pub exports: Option<Vec<String>>,
    pub imports: Option<Vec<String>>,
    pub ports: Option<Vec<String>>,
    pub config_schema: Option<String>,
    pub needs: Option<Vec<String>>,
    pub sdk: Option<String>,
    pub created: Option<String>,
    /// Where its source is, and the revision of it.
    pub source: Option<String>,
    pub revision: Option<String>,
    /// The name of its file.
    pub title: Option<String>,
    /// All of the manifest's.
    pub annotations: BTreeMap<String, String>,
}

/// An entry of an index that may be what is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub digest: Digest,
    /// Operating system and architecture, as it says.
    pub platform: String,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.digest, plain::line(&self.platform))
    }
}

/// Why there is no stage behind a reference.
#[derive(thiserror::Error, Debug)]
pub enum FindError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{digest}: {why}")]
    Manifest { digest: Digest, why: ManifestError },
    #[error(
        "{digest} is no stage: it has {found}, and a stage is one layer of application/wasm; push one with `conveyor push`, or \
         with `oras push REFERENCE FILE:application/wasm`"
    )]
    NoStage { digest: Digest, found: String },
    #[error("the index {digest} has {} stages; name one by its digest, behind an @: {}", .choices.len(), listed(.choices))]
    Several { digest: Digest, choices: Vec<Choice> },
    #[error("the index {digest} has no stage: {}", listed(.choices))]
    NoneOf { digest: Digest, choices: Vec<Choice> },
    #[error("the index {digest} leads to another index; name a manifest by its digest, behind an @")]
    Nested { digest: Digest },
    #[error("the config of {digest} is not what it should be: {why}; have the stage pushed again")]
    Config { digest: Digest, why: String },
    #[error("the component of {digest} has {bytes} bytes; {COMPONENT_BYTES_MAX} are the most")]
    Large { digest: Digest, bytes: u64 },
    #[error("the annotation `{key}` of {digest} is not what it should be: {why}; have the stage pushed again")]
    Annotation { digest: Digest, key: &'static str, why: String },
}

/// Entries of an index that an error shows.
const SHOWN_CHOICES: usize = 20;

fn listed(choices: &[Choice]) -> String {
    let mut shown: Vec<String> = choices.iter().take(SHOWN_CHOICES).map(Choice::to_string).collect();
    if choices.len() > SHOWN_CHOICES {
        shown.push(format!("and {} more", choices.len() - SHOWN_CHOICES));
    }
    if shown.is_empty() { "it has no entry at all".to_owned() } else { shown.join(", ") }
}

/// Finds the stage that a reference stands for. An index is followed to its one entry of WebAssembly.
pub async fn find(origin: &dyn Origin, reference: &Reference) -> Result<Artifact, FindError> {
    let fetched = origin.manifest(reference).await?;
    check(&fetched)?;
    if !is_index(&fetched.descriptor.media_type) {
        return of_image(origin, fetched, None).await;
    }
    let index = fetched.descriptor.digest;
    let chosen = choose(index, &fetched.bytes)?;
    let fetched = origin.manifest(&Reference::Digest(chosen)).await?;
    check(&fetched)?;
    match is_index(&fetched.descriptor.media_type) {
        true => Err(FindError::Nested { digest: index }),
        false => of_image(origin, fetched, Some(index)).await,
    }
}

/// Whether it is a manifest by its own word too.
fn check(fetched: &Fetched) -> Result<(), FindError> {
    let Descriptor { digest, media_type, .. } = &fetched.descriptor;
    let parsed = Manifest::parse(&fetched.bytes, Some(media_type));
    parsed.map(|_| ()).map_err(|why| FindError::Manifest { digest: *digest, why })
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    digest: Digest,
    artifact_type: Option<String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

impl Entry {
    fn is_wasm(&self) -> bool {
        let of_type = self.artifact_type.as_deref().is_some_and(|named| [CONFIG, LAYER].contains(&named));
        of_type || self.platform.as_ref().is_some_and(|platform| platform.architecture == ARCHITECTURE)
    }

    fn choice(&self) -> Choice {
        let platform = match (&self.platform, &self.artifact_type) {
            (Some(platform), _) => format!("{}/{}", platform.os, platform.architecture),
            (None, Some(of_type)) => of_type.clone(),
            (None, None) => "of no platform".to_owned(),
        };
        Choice { digest: self.digest, platform }
    }
}

/// The entry of an index that is WebAssembly; or the only one, where that does not say what it is.
pub(super) fn choose(digest: Digest, bytes: &[u8]) -> Result<Digest, FindError> {
    let index: Index =
        serde_json::from_slice(bytes).map_err(|error| FindError::Manifest { digest, why: error.into() })?;
    let mut wasm: Vec<&Entry> = index.manifests.iter().filter(|entry| entry.is_wasm()).collect();
    if wasm.is_empty() && index.manifests.len() == 1 {
        wasm = index.manifests.iter().filter(|entry| entry.platform.is_none()).collect();
    }
    wasm.sort_by_key(|entry| entry.digest);
    wasm.dedup_by_key(|entry| entry.digest);
    match wasm[..] {
        [one] => Ok(one.digest),
        [] => Err(FindError::NoneOf { digest, choices: index.manifests.iter().map(Entry::choice).collect() }),
        [..] => Err(FindError::Several { digest, choices: wasm.into_iter().map(Entry::choice).collect() }),
    }
}

#[derive(Deserialize)]
struct Image {
    config: Part,
    layers: Vec<Part>,
    annotations: Option<BTreeMap<String, String>>,
}

/// A descriptor, as others write it: `annotations` may be null.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    media_type: String,
    digest: Digest,
    size: u64,
    annotations: Option<BTreeMap<String, String>>,
}

impl Part {
    fn descriptor(self) -> Descriptor {
        let annotations = self.annotations.unwrap_or_default();
        Descriptor { media_type: self.media_type, digest: self.digest, size: self.size, artifact_type: None, annotations }
    }
}

async fn of_image(origin: &dyn Origin, fetched: Fetched, index: Option<Digest>) -> Result<Artifact, FindError> {
    let digest = fetched.descriptor.digest;
    let image: Image = serde_json::from_slice(&fetched.bytes)
        .map_err(|error| FindError::Manifest { digest, why: error.into() })?;
    let no_stage = |found: String| FindError::NoStage { digest, found };
    let mut types: Vec<String> = image.layers.iter().map(|layer| plain::line(&layer.media_type).into_owned()).collect();
    let mut wasm: Vec<Part> = image.layers.into_iter().filter(|layer| layer.media_type == LAYER).collect();
    let layer = match (wasm.pop(), wasm.len()) {
        (Some(layer), 0) => layer,
        (Some(_), more) => return Err(no_stage(format!("{} layers of application/wasm", more + 1))),
        (None, _) if types.is_empty() => return Err(no_stage("no layer".to_owned())),
        (None, _) => {
            types.truncate(SHOWN_CHOICES);
            return Err(no_stage(format!("layers of {}", types.join(", "))));
        }
    };
    if layer.size > COMPONENT_BYTES_MAX as u64 {
        return Err(FindError::Large { digest, bytes: layer.size });
    }
    let layer = layer.descriptor();
    let config = match image.config.media_type.as_str() {
        CONFIG => Some(of_config(origin, digest, image.config.descriptor(), &layer).await?),
        // An empty one, or one of a tool that has no config for WebAssembly: the layer says what it is.
        _ => None,
    };
    let claimed = Claimed::read(digest, image.annotations.unwrap_or_default(), config, &layer)?;
    Ok(Artifact { manifest: fetched.descriptor, index, layer, claimed })
}

async fn of_config(
    origin: &dyn Origin,
    digest: Digest,
    config: Descriptor,
    layer: &Descriptor,
) -> Result<Config, FindError> {
    let wrong = |why: String| FindError::Config { digest, why };
    let bytes = origin.blob_bytes(&config, ARTIFACT_CONFIG_BYTES_MAX).await?;
    let config: Config = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if config.architecture != ARCHITECTURE {
        return Err(wrong(format!("its architecture is `{}`, and no `wasm`", plain::line(&config.architecture))));
    }
    match config.layer_digests.iter().any(|named| *named == layer.digest.to_string()) {
        // Some leave the list out.
        false if !config.layer_digests.is_empty() => {
            let named = config.layer_digests.join(", ");
            Err(wrong(format!("it is of the layers {}, and the manifest has {}", plain::line(&named), layer.digest)))
        }
        _ => Ok(config),
    }
}

impl Claimed {
    fn read(
        digest: Digest,
        annotations: BTreeMap<String, String>,
        config: Option<Config>,
        layer: &Descriptor,
    ) -> Result<Self, FindError> {
        let text = |key: &str| annotations.get(key).cloned();
        let list = |key: &'static str| {
            let parsed = annotations.get(key).map(|text| serde_json::from_str(text)).transpose();
            parsed.map_err(|error| FindError::Annotation { digest, key, why: error.to_string() })
        };
        let (ports, needs) = (list(PORTS)?, list(NEEDS)?);
        let created = config.as_ref().and_then(|config| config.created.clone()).or_else(|| text(CREATED));
        let interfaces = config.and_then(|config| config.component);
        let (exports, imports) = interfaces.map(|of| (of.exports, of.imports)).unzip();
        Ok(Self {
            name: text(TITLE),
            version: text(VERSION),
            summary: text(DESCRIPTION),
            world: text(WORLD),
            exports,
            imports,
            ports,
            config_schema: text(CONFIG_SCHEMA),
            needs,
            sdk: text(SDK),
            created,
            source: text(SOURCE),
            revision: text(REVISION),
            title: layer.annotations.get(TITLE).cloned(),
            annotations,
        })
    }

    /// Whether `conveyor push` made it: what it says of name and version is what the component says.
    pub fn is_ours(&self) -> bool {
        self.world.is_some()
    }
}
