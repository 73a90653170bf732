//! A pipeline as an artifact: its manifest, its lock, and the components that it names by paths, each a layer.
//!
//! A bundle is a layout with one of these, beside the artifacts that the lock names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use model::ids::Digest;
use model::limits::{LOCK_BYTES_MAX, MANIFEST_BYTES_MAX};
use serde::Deserialize;

use super::{Built, EMPTY, LAYER, TITLE};
use crate::client::{ClientError, Content, Origin};
use crate::layout::{Entry, Layout};
use crate::manifest::{Descriptor, ManifestError};
use crate::name::Reference;

/// Of the artifact.
pub const PIPELINE: &str = "application/vnd.conveyor.pipeline.v1";
const MANIFEST: &str = "application/vnd.conveyor.pipeline.manifest.v1+yaml";
const LOCK: &str = "application/vnd.conveyor.pipeline.lock.v1+json";

/// A pipeline with what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    pub name: String,
    /// The text of the manifest, and the name of its file.
    pub manifest: (String, Bytes),
    pub lock: Option<(String, Bytes)>,
    /// Components by their paths, as the manifest writes them.
    pub components: Vec<(String, Descriptor)>,
}

/// Why there is no pipeline.
#[derive(thiserror::Error, Debug)]
pub enum PipelineError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{digest}: {why}")]
    Manifest { digest: Digest, why: ManifestError },
    #[error("{} has no pipeline in it; make a bundle with `conveyor bundle`", path.display())]
    NoneIn { path: PathBuf },
    #[error("{} has {pipelines} pipelines in it; a bundle has one", path.display())]
    SeveralIn { path: PathBuf, pipelines: usize },
    #[error("{digest} is no pipeline: {why}; make one with `conveyor bundle`")]
    Other { digest: Digest, why: String },
}

/// The manifest of the one pipeline that a layout has.
pub fn of(layout: &Layout) -> Result<Digest, PipelineError> {
    let path = layout.path().to_owned();
    let is_pipeline = |entry: &Entry| entry.descriptor.artifact_type.as_deref() == Some(PIPELINE);
    let mut found: Vec<Digest> =
        layout.entries().iter().filter(|entry| is_pipeline(entry)).map(|entry| entry.descriptor.digest).collect();
    found.dedup();
    match found[..] {
        [one] => Ok(one),
        [] => Err(PipelineError::NoneIn { path }),
        [..] => Err(PipelineError::SeveralIn { path, pipelines: found.len() }),
    }
}

impl Pipeline {
    /// The artifact, and the contents of its first layers, which are not those of the components.
    pub fn build(&self) -> (Built, Vec<Content>) {
        let text = |media_type: &str, (title, text): &(String, Bytes)| {
            (layer(media_type, title, Digest::of(text), text.len() as u64), Content::Bytes(text.clone()))
        };
        let (mut layers, contents): (Vec<_>, Vec<_>) =
            std::iter::once(text(MANIFEST, &self.manifest)).chain(self.lock.iter().map(|lock| text(LOCK, lock))).unzip();
        let components = self.components.iter();
        layers.extend(components.map(|(path, component)| layer(LAYER, path, component.digest, component.size)));
        let annotations = BTreeMap::from([(TITLE.to_owned(), self.name.clone())]);
        (Built::new(EMPTY, Some(PIPELINE), &serde_json::json!({}), layers, &annotations), contents)
    }

    /// Reads one. The components stay where they are.
    pub async fn read(origin: &dyn Origin, reference: &Reference) -> Result<Self, PipelineError> {
        let fetched = origin.manifest(reference).await?;
        let digest = fetched.descriptor.digest;
        let image: Image = serde_json::from_slice(&fetched.bytes)
            .map_err(|error| PipelineError::Manifest { digest, why: error.into() })?;
        let other = |why: &str| PipelineError::Other { digest, why: why.to_owned() };
        if image.artifact_type.as_deref() != Some(PIPELINE) {
            return Err(other("it is of another type"));
        }
        let (mut manifest, mut lock, mut components) = (None, None, Vec::new());
        for layer in image.layers {
            let title = layer.annotations.get(TITLE).cloned().unwrap_or_default();
            match layer.media_type.as_str() {
                MANIFEST => {
                    let text = origin.blob_bytes(&layer, MANIFEST_BYTES_MAX as u64).await?;
                    if manifest.replace((title, text)).is_some() {
                        return Err(other("it has several manifests"));
                    }
                }
                LOCK => {
                    let text = origin.blob_bytes(&layer, LOCK_BYTES_MAX as u64).await?;
                    if lock.replace((title, text)).is_some() {
                        return Err(other("it has several locks"));
                    }
                }
                LAYER if components.iter().any(|(path, _)| *path == title) => {
                    return Err(other("it has two components of one path"));
                }
                LAYER => components.push((title, layer)),
                _ => return Err(other("it has a layer of a type that is not known")),
            }
        }
        let manifest = manifest.ok_or_else(|| other("it has no manifest"))?;
        let name = image.annotations.get(TITLE).cloned().unwrap_or_default();
        Ok(Self { name, manifest, lock, components })
    }
}

fn layer(media_type: &str, title: &str, digest: Digest, size: u64) -> Descriptor {
    let annotations = BTreeMap::from([(TITLE.to_owned(), title.to_owned())]);
    Descriptor { media_type: media_type.to_owned(), digest, size, artifact_type: None, annotations }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    artifact_type: Option<String>,
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}
