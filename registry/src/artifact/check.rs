//! What an artifact claims against what its component says.

use std::collections::BTreeSet;

use model::ids::Digest;
use model::plain;

use super::{Artifact, Facts};

/// One thing that is claimed and is otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub what: &'static str,
    pub claimed: String,
    pub actual: String,
}

/// An artifact is not what it says.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error(
    "the artifact {manifest} is not what it says: {}; it is not loaded. Ask whoever pushed it to push the component again",
    told(.differences)
)]
pub struct Differs {
    /// Its digest.
    pub manifest: Digest,
    pub differences: Vec<Difference>,
}

/// Characters of a value that an error shows.
const SHOWN_CHARS: usize = 160;

fn told(differences: &[Difference]) -> String {
    let shown = |text: &str| {
        let cut: String = text.chars().take(SHOWN_CHARS).collect();
        let more = if cut.len() < text.len() { "..." } else { "" };
        format!("{}{more}", plain::line(&cut))
    };
    let told = differences.iter().map(|Difference { what, claimed, actual }| {
        format!("its {what} is claimed to be `{}`, and is `{}`", shown(claimed), shown(actual))
    });
    told.collect::<Vec<_>>().join("; ")
}

impl Artifact {
    /// Compares everything that is claimed with what the component says that was loaded. What is not claimed is not compared.
    pub fn check(&self, actual: &Facts) -> Result<(), Differs> {
        let claimed = &self.claimed;
        let mut differences = Vec::new();
        let mut text = |what, claimed: Option<&String>, actual: &str| {
            if let Some(claimed) = claimed.filter(|claimed| *claimed != actual) {
                differences.push(Difference { what, claimed: claimed.clone(), actual: actual.to_owned() });
            }
        };
        text("world", claimed.world.as_ref(), &actual.world);
        text("schema of the config", claimed.config_schema.as_ref(), &actual.config_schema);
        text("SDK", claimed.sdk.as_ref(), actual.sdk.as_deref().unwrap_or_default());
        // Of an artifact that others pushed these may be what they call it, not what the component does.
        if claimed.is_ours() {
            text("name", claimed.name.as_ref(), &actual.name);
            text("version", claimed.version.as_ref(), &actual.version);
            text("summary", claimed.summary.as_ref(), &actual.summary);
        }
        let mut list = |what, claimed: Option<&Vec<String>>, actual: &[String], is_ordered: bool| {
            let Some(claimed) = claimed else { return };
            let same = match is_ordered {
                true => claimed == actual,
                false => set(claimed) == set(actual),
            };
            if !same {
                let (claimed, actual) = (claimed.join(", "), actual.join(", "));
                differences.push(Difference { what, claimed, actual });
            }
        };
        list("list of ports", claimed.ports.as_ref(), actual.ports.as_deref().unwrap_or_default(), true);
        list("list of needs", claimed.needs.as_ref(), &actual.needs, false);
        list("list of exports", claimed.exports.as_ref(), &actual.exports, false);
        list("list of imports", claimed.imports.as_ref(), &actual.imports, false);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(Differs { manifest: self.manifest.digest, differences }),
        }
    }
}

fn set(names: &[String]) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}
