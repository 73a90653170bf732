//! A pipeline with all that it needs, in one layout: what `conveyor bundle` writes.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::limits::COMPONENT_BYTES_MAX;
use registry::artifact::pipeline::{PIPELINE, Pipeline, PipelineError};
use registry::client::{ClientError, Origin as _};
use registry::image_ref::ImageRef;
use registry::layout::Layout;
use registry::name::Reference;

/// A pipeline in a layout.
pub struct Bundle {
    path: PathBuf,
    layout: Layout,
    pipeline: Pipeline,
}

/// Why there is no pipeline in a layout.
#[derive(thiserror::Error, Debug)]
pub enum BundleError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error("{}: {count} pipelines are in it, and one is wanted; `conveyor bundle` writes a layout with one", path.display())]
    Count { path: PathBuf, count: usize },
    #[error("no thread can be started: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Whether a path is a layout and no manifest.
pub fn is_bundle(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tar") || path.join("oci-layout").is_file()
}

impl Bundle {
    /// Opens one, outside of any executor.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let layout = Layout::open(path)?;
        let of_type = PIPELINE;
        let mut digests = Vec::new();
        for entry in layout.entries() {
            let bytes = layout.read_manifest(&entry.descriptor)?;
            let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if manifest["artifactType"] == of_type {
                digests.push(entry.descriptor.digest);
            }
        }
        digests.dedup();
        let [digest] = digests[..] else {
            return Err(BundleError::Count { path: path.to_owned(), count: digests.len() });
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let pipeline = runtime.block_on(Pipeline::read(&layout, &Reference::Digest(digest)))?;
        Ok(Self { path: path.to_owned(), layout, pipeline })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its manifest is called, and its text.
    pub fn manifest(&self) -> (String, &[u8]) {
        let (name, text) = &self.pipeline.manifest;
        (self.name_of(name), text)
    }

    /// The text of its lock.
    pub fn lock(&self) -> Option<&[u8]> {
        self.pipeline.lock.as_ref().map(|(_, text)| &text[..])
    }

    pub fn lock_name(&self) -> String {
        self.name_of(self.pipeline.lock.as_ref().map_or("its lock", |(name, _)| name))
    }

    fn name_of(&self, file: &str) -> String {
        format!("{}/{file}", self.path.display())
    }

    /// Whether it has a component of its own for a path.
    pub fn has(&self, path: &str) -> bool {
        self.pipeline.components.iter().any(|(known, _)| known == path)
    }

    /// The component that was at a path.
    pub async fn component(&self, path: &str) -> Result<Bytes, ClientError> {
        let found = self.pipeline.components.iter().find(|(known, _)| known == path);
        let (_, what) = found.ok_or_else(|| ClientError::NotFound { what: self.name_of(path) })?;
        self.layout.blob_bytes(what, COMPONENT_BYTES_MAX as u64).await
    }

    /// What it has of the repository of an image.
    pub fn repository(&self, image: &ImageRef) -> Layout {
        self.layout.of(&format!("{}/{}", image.registry, image.repository))
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("path", &self.path).finish_non_exhaustive()
    }
}
