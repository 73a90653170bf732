//! The text of a lock: JSON, one fact a line, references in their order, so that a change of one thing is a change of its
//! lines. Nothing that is not known is passed over.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Facts, Image, Lock, Pinned};
use crate::diagnostics::{Diagnostic, Diagnostics, SourceText, Span};
use crate::ids::Digest;
use crate::limits::{LOCK_BYTES_MAX, LOCK_COMPONENTS_MAX};
use crate::stage::StageKind;

/// The version of the format, under the key that says that a file is a lock.
pub const VERSION: u64 = 1;

/// What makes a JSON text a lock.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "conveyor-lock")]
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "conveyor-lock")]
    _version: u64,
    pipeline: String,
    #[serde(deserialize_with = "components")]
    components: BTreeMap<String, Pinned>,
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "conveyor-lock")]
    version: u64,
    pipeline: &'a str,
    components: Vec<Entry>,
}

/// One component. What says which it is comes first, and what may be long last.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<Digest>,
    component: Digest,
    bytes: u64,
    name: String,
    version: String,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ports: Option<Vec<String>>,
    needs: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config_schema: Option<Value>,
}

/// Whether a file that is no lock was one before it was damaged.
pub fn was_lock(bytes: &[u8]) -> bool {
    let key = b"\"conveyor-lock\"";
    bytes.windows(key.len()).any(|window| window == key)
}

impl Lock {
    /// The text of this lock, which is the same for the same lock.
    pub fn print(&self) -> String {
        let components = self.components.iter().map(|(reference, pinned)| Entry::of(reference, pinned)).collect();
        let written = Written { version: VERSION, pipeline: &self.pipeline, components };
        // Keys of its maps are texts, so that nothing of it cannot be printed.
        let mut text = serde_json::to_string_pretty(&written).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads the text of the file `name`. `write`: the command that writes locks.
    pub fn parse(name: &str, bytes: &[u8], write: &str) -> Result<Self, Diagnostics> {
        let wrong = |text: &str, problem: Diagnostic| Diagnostics::new(SourceText::new(name, text), vec![problem]);
        let is_lock = |message: String| Diagnostic::new("lock::text", message);
        if bytes.len() > LOCK_BYTES_MAX {
            let message = format!("{name} has more than the {LOCK_BYTES_MAX} bytes that a lock can have");
            return Err(wrong("", is_lock(message).help("is this the right file? move it away")));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| {
            let message = format!("{name} is no lock: it is not UTF-8");
            wrong("", is_lock(message).help("is this the right file? move it away"))
        })?;
        let head: Head = serde_json::from_str(text).map_err(|error| {
            let (what, help) = match was_lock(bytes) {
                true => ("is damaged", format!("mend it, or write it anew with `{write} --update`")),
                false => ("is no lock", "it is somebody else's: move it away".to_owned()),
            };
            let message = format!("{name} {what}: {}", without_place(&error));
            wrong(text, is_lock(message).label(line(text, error.line()), "here").help(help))
        })?;
        if head.version != VERSION {
            let message = format!("{name} is a lock of format {}, and this version knows {VERSION}", head.version);
            let help = format!("take a newer version of Conveyor, or write the lock anew with `{write} --update`");
            let at = line_of(text, "\"conveyor-lock\"");
            return Err(wrong(text, is_lock(message).label(at, "this format").help(help)));
        }
        let read: Read = serde_json::from_str(text).map_err(|error| {
            let help = format!("undo what was changed by hand, or write the lock anew with `{write} --update`");
            let message = format!("{name} is damaged: {}", without_place(&error));
            wrong(text, is_lock(message).label(line(text, error.line()), "here").help(help))
        })?;
        Ok(Self { pipeline: read.pipeline, components: read.components })
    }
}

impl Entry {
    fn of(reference: &str, pinned: &Pinned) -> Self {
        let Pinned { image, component, bytes, is } = pinned.clone();
        Self {
            reference: reference.to_owned(),
            index: image.and_then(|image| image.index),
            manifest: image.map(|image| image.manifest),
            component,
            bytes,
            name: is.name,
            version: is.version,
            kind: is.kind.interface().to_owned(),
            ports: is.ports,
            needs: is.needs,
            config_schema: is.config_schema,
        }
    }

    fn pinned(self) -> Result<(String, Pinned), String> {
        let Self { reference, index, manifest, component, bytes, name, version, kind, ports, needs, config_schema } =
            self;
        let Some(kind) = StageKind::ALL.into_iter().find(|known| known.interface() == kind) else {
            return Err(format!("`{kind}` of `{reference}` is no kind of stage"));
        };
        let image = match (manifest, index) {
            (Some(manifest), index) => Some(Image { manifest, index }),
            (None, None) => None,
            (None, Some(_)) => return Err(format!("`{reference}` has an index, and no manifest")),
        };
        let is = Facts { name, version, kind, ports, needs, config_schema };
        Ok((reference, Pinned { image, component, bytes, is }))
    }
}

/// An error within the list has the line at which that went wrong.
fn components<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Pinned>, D::Error> {
    struct Components;

    impl<'de> Visitor<'de> for Components {
        type Value = BTreeMap<String, Pinned>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of components")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut components = BTreeMap::new();
            while let Some(entry) = list.next_element::<Entry>()? {
                let (reference, pinned) = entry.pinned().map_err(A::Error::custom)?;
                if components.len() == LOCK_COMPONENTS_MAX {
                    return Err(A::Error::custom(format!("there are more than {LOCK_COMPONENTS_MAX} components")));
                }
                if components.contains_key(&reference) {
                    return Err(A::Error::custom(format!("`{reference}` is there twice")));
                }
                components.insert(reference, pinned);
            }
            Ok(components)
        }
    }

    from.deserialize_seq(Components)
}

/// Where it was is underlined.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// What stands on a line, from 1; the end of the text where there is no such line.
fn line(text: &str, number: usize) -> Span {
    let mut start = 0;
    for (nth, line) in text.split_inclusive('\n').enumerate() {
        if nth + 1 == number {
            let content = line.trim();
            return Span::new(start + (line.len() - line.trim_start().len()).min(line.len()), content.len());
        }
        start += line.len();
    }
    Span::new(text.len(), 0)
}

/// The first line with this in it.
fn line_of(text: &str, what: &str) -> Span {
    let number = text.find(what).map_or(1, |at| text[..at].matches('\n').count() + 1);
    line(text, number)
}
