//! Where files are looked for that have lost their names.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use model::plan::places::{Name, Place};

use crate::{Roots, places};

/// Directories that may be read, and files in them that are nobody's copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) roots: Roots,
    /// What sinks of the same run write: whatever it is called and begins with, it was not rotated away.
    pub(crate) written: Vec<Place>,
}

impl Reach {
    /// Whether a sink of the same run writes the file of this path.
    pub(super) fn is_written(&self, path: &Path, there: &Metadata) -> std::io::Result<bool> {
        if self.written.is_empty() {
            return Ok(false);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let named = places::beside(path, Name::default().text(&name))?;
        let file = Place::File { device: there.dev(), inode: there.ino() };
        Ok(self.written.iter().any(|written| written.meets(&file) || written.meets(&named)))
    }
}
