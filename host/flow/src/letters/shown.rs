//! One dead letter by itself, as it is shown and exported.

use base64::Engine as _;
use serde::Serialize;

use super::entry::Form;

/// All that is known of one.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub entry: u64,
    pub pipeline: String,
    pub stage: String,
    pub code: String,
    pub message: String,
    /// The guest's frames, where it died on the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    pub attempts: u32,
    pub origin: EntryOrigin,
    /// The record's id.
    pub id: String,
    /// Event time in microseconds since the Unix epoch, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_us: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Blob>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Blob)>,
    pub record: RecordShown,
    /// Whether that is only the beginning of the record.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Microseconds since the Unix epoch.
    pub refused_at_us: i64,
    pub manifest: String,
    pub revision: String,
    /// Where the checkpoints of the run are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The entry that was sent in again and came to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct EntryOrigin {
    pub source: String,
    pub split: String,
    pub offset: u64,
}

/// What the record was.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum RecordShown {
    Row(Box<serde_json::value::RawValue>),
    Opaque(Blob),
    /// A deletion: a record without a value.
    None,
}

impl RecordShown {
    pub(super) fn of(value: Option<&[u8]>, form: Form) -> Self {
        let Some(value) = value else { return Self::None };
        let row = || {
            // Between tokens, where alone JSON has them. It is shown within lines.
            let text = std::str::from_utf8(value).ok()?.replace(['\n', '\r'], " ");
            serde_json::value::RawValue::from_string(text).ok()
        };
        match form {
            Form::Rows | Form::Found => row().map_or_else(|| Self::Opaque(Blob::new(value)), Self::Row),
            Form::Raw | Form::Opaque => Self::Opaque(Blob::new(value)),
        }
    }

    /// What it is made of; none for a deletion.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Row(row) => Some(row.get().as_bytes().to_owned()),
            Self::Opaque(blob) => Some(blob.bytes()),
            Self::None => None,
        }
    }
}

/// Bytes: as text where they are text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Blob {
    Text(String),
    Bytes { base64: String },
}

impl Blob {
    pub fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes { base64: base64::engine::general_purpose::STANDARD.encode(bytes) },
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.as_bytes().to_owned(),
            Self::Bytes { base64 } => {
                base64::engine::general_purpose::STANDARD.decode(base64).unwrap_or_default()
            }
        }
    }
}
