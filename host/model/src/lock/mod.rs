//! `pipeline.lock`: what the references of a manifest stood for when it was written, so that every run has the same.
//!
//! A lock is a value: [`Lock::parse`] reads its text strictly, [`Lock::print`] writes the one text that it has,
//! [`Lock::misfits`] holds it against a manifest, and [`changes`] tells how two of them differ. Who resolves references,
//! and who reads and writes the file, is elsewhere.

mod changes;
mod text;

use std::collections::BTreeMap;

use serde_json::Value;

pub use changes::{Change, Facet, changes};
pub use text::{VERSION, was_lock};

use crate::diagnostics::Diagnostic;
use crate::ids::Digest;
use crate::manifest::{Pipeline, StageRef};
use crate::stage::StageKind;

/// What the references of one pipeline stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The name of the pipeline.
    pub pipeline: String,
    /// By the reference as the manifest has it: into a registry, or the path of what was built.
    pub components: BTreeMap<String, Pinned>,
}

/// What one reference stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Where it came from; none for what was built here.
    pub image: Option<Image>,
    /// The digest of the component, the layer of its image.
    pub component: Digest,
    /// Bytes of the component.
    pub bytes: u64,
    /// What the component is, to be held against another version of it.
    pub is: Facts,
}

/// The image of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Of the index that the reference stood for, where that had the manifest.
    pub index: Option<Digest>,
}

impl Image {
    /// What the reference stood for itself.
    pub fn resolved(&self) -> Digest {
        self.index.unwrap_or(self.manifest)
    }
}

/// What a component says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub name: String,
    pub version: String,
    pub kind: StageKind,
    /// Under the config of the manifest, the main one first; none where it was not to be found out.
    pub ports: Option<Vec<String>>,
    /// What it cannot do without.
    pub needs: Vec<String>,
    /// JSON Schema; none where it gives none.
    pub config_schema: Option<Value>,
}

impl Lock {
    /// Where a manifest and its lock differ, as problems of the manifest. `write`: what writes the lock anew.
    ///
    /// Everything that comes from a registry has to be in the lock, by what the manifest calls it, and what is in the lock
    /// has to be in the manifest. Paths may be in it.
    pub fn misfits(&self, pipeline: &Pipeline, file: &str, write: &str) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        let differs = |message| Diagnostic::new("lock::differs", message);
        if self.pipeline != pipeline.name.as_str() {
            let message = format!("{file} is the lock of pipeline `{}`, and this is another", self.pipeline);
            let help = format!("`{write}` writes one for this; two manifests in a directory need names of their own");
            problems.push(differs(message).label(pipeline.name.span, "this pipeline").help(help));
            return problems;
        }
        for stage in &pipeline.stages {
            let StageRef::Oci(reference) = &stage.reference.value else { continue };
            let Some(pinned) = self.components.get(&reference.to_string()) else {
                let message = format!("stage `{}` is `{reference}`, which {file} does not have", *stage.name);
                let help = format!("`{write}` adds it");
                problems.push(differs(message).label(stage.reference.span, "not in the lock").help(help));
                continue;
            };
            let said = reference.digest.as_deref().and_then(|digest| digest.parse::<Digest>().ok());
            let has = pinned.image.map(|image| image.resolved());
            if said.is_some() && said != has {
                let has = has.map_or("no image".to_owned(), |has| has.to_string());
                let message =
                    format!("stage `{}` names a digest, and {file} has another for it: {has}", *stage.name);
                let help = format!("the lock was changed by hand: `{write}` writes it anew");
                problems.push(differs(message).label(stage.reference.span, "this digest").help(help));
            }
        }
        let is_used = |reference: &str| {
            let is = |stage: &StageRef| !matches!(stage, StageRef::BuiltIn(_)) && stage.to_string() == reference;
            pipeline.stages.iter().any(|stage| is(&stage.reference.value))
        };
        for reference in self.components.keys().filter(|reference| !is_used(reference)) {
            let message = format!("{file} has `{reference}`, which no stage is");
            let help = format!("`{write}` takes it out");
            problems.push(differs(message).label(pipeline.name.span, "of this pipeline").help(help));
        }
        problems
    }
}

#[cfg(test)]
mod tests;
