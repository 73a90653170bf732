//! What a frame holds: a head in JSON, which stays readable whatever becomes of this code, and the records of the
//! group as an encoded batch (`model::encoding`), which is how they came.
//!
//! ```text
//! payload: length of the head u32  head (JSON)  records (Arrow IPC stream, one batch)
//! ```
//!
//! The first `columns` columns of the batch are the record's own; those behind them say, by name, what is known of
//! each record. What many records of a group have in common (codes, splits, backtraces) stands once in the head.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, StringBuilder, UInt32Builder};
use arrow::error::ArrowError;
use model::encoding::{self, Beside, LineageColumns, OFFSET, RECORD_ID, REPLAY_OF, SPLIT, Table};
use serde::{Deserialize, Serialize};

use super::mark::Range;
use super::segment::{FRAME_HEAD_BYTES, seal};
use super::{Group, LettersError};

/// What ran when a record was refused: the same for all records of one pipeline's run.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub pipeline: String,
    /// The file, as the user named it.
    pub manifest: String,
    pub revision: String,
    /// By stage, the digest of its component; what is built in has none.
    pub components: BTreeMap<String, String>,
    /// Where its checkpoints are, as a full path; none in a run without.
    pub state: Option<String>,
}

/// What the records of a group are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Bytes of which a source could not make a record.
    Raw,
    /// Records that the host does not look into.
    Opaque,
    /// Rows, with the columns that anybody wanted.
    Rows,
    /// Rows that a source has found and could not give, with all columns that there were, of the types that they had.
    Found,
}

/// What the records of a group are, with what is needed to read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAs {
    pub form: Form,
    /// What their input began with, where they are read by that.
    pub header: Option<Arc<str>>,
    /// Names of the columns that their source gave, where it is the source that refused them.
    pub source_columns: Option<Arc<[String]>>,
}

impl From<Form> for KeptAs {
    fn from(form: Form) -> Self {
        Self { form, header: None, source_columns: None }
    }
}

impl Form {
    pub(crate) fn has_columns(self) -> bool {
        matches!(self, Self::Rows | Self::Found)
    }
}

/// The head of a frame.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Head {
    Refused(Box<RefusedHead>),
    Closed(ClosedHead),
}

/// Where a frame is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub at: u64,
    /// Bytes of the file that are durable.
    pub durable: u64,
    /// The next entry.
    pub next: u64,
}

impl Head {
    /// Where the frame was written; 0 where it does not say so.
    pub fn at(&self) -> u64 {
        match self {
            Self::Refused(head) => head.at,
            Self::Closed(head) => head.at,
        }
    }

    /// Bytes of the file that were durable when the frame was written.
    pub fn durable(&self) -> u64 {
        match self {
            Self::Refused(head) => head.durable,
            Self::Closed(head) => head.durable,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ClosedHead {
    /// First, last, and why. None in a mark, which says what is durable and nothing else.
    pub ranges: Vec<Range>,
    pub at_us: i64,
    #[serde(default)]
    pub durable: u64,
    #[serde(default)]
    pub at: u64,
    /// The next entry; 0 where it is not said.
    #[serde(default)]
    pub next: u64,
}

impl ClosedHead {
    /// Whether it says of all that is before it that it is durable, and nothing else.
    pub fn is_mark(&self) -> bool {
        self.ranges.is_empty() && self.durable == self.at
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RefusedHead {
    /// Bytes of the file that were durable when this was written.
    #[serde(default)]
    pub durable: u64,
    /// Where in the file this was written.
    #[serde(default)]
    pub at: u64,
    /// The id of the first entry; the others follow it.
    pub first: u64,
    pub count: u64,
    pub pipeline: String,
    #[serde(default)]
    pub manifest: String,
    pub stage: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub component: Option<String>,
    pub revision: String,
    /// Where the checkpoints of the run are.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
    pub refused_at_us: i64,
    pub form: Form,
    /// What the input of the records began with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub header: Option<String>,
    /// The columns that the source gave which refused the records. An earlier version did not say so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_columns: Option<Vec<String>>,
    /// How many of the columns are the record's own.
    pub columns: usize,
    pub codes: Vec<String>,
    /// Sources and their splits.
    pub splits: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub backtraces: Vec<String>,
}

// Names of the columns that say what is known of a refusal, beside those of `model::encoding`.
pub(super) const CODE: &str = "code";
pub(super) const MESSAGE: &str = "message";
pub(super) const BACKTRACE: &str = "backtrace";
pub(super) const ATTEMPTS: &str = "attempts";
/// Of bytes of which a source could make no record; an earlier version has none.
pub(super) const CUT: &str = "cut";

/// Whether bytes can be a payload, at a glance.
fn is_payload(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return false };
    let length = u32::from_le_bytes(*length) as usize;
    length > 1 && length <= rest.len() && rest[0] == b'{' && rest[length - 1] == b'}'
}

/// Writes the frame of a group into `out`, which is emptied before. `place.next`: the id of its first entry.
pub(super) fn encode(
    group: &Group,
    place: Place,
    identity: &Identity,
    now_us: i64,
    out: &mut Vec<u8>,
) -> Result<(), LettersError> {
    let failed = |error| LettersError::Encode { error };
    let about = About::of(group).map_err(failed)?;
    let component = identity.components.get(&*group.stage).cloned();
    let columns = group.rows.columns().len();
    let head = Head::Refused(Box::new(RefusedHead {
        durable: place.durable,
        at: place.at,
        first: place.next,
        count: group.refusals.len() as u64,
        pipeline: identity.pipeline.clone(),
        manifest: identity.manifest.clone(),
        stage: group.stage.to_string(),
        component,
        revision: identity.revision.clone(),
        state: identity.state.clone(),
        refused_at_us: now_us,
        form: group.kept_as.form,
        header: group.kept_as.header.as_deref().map(str::to_owned),
        source_columns: group.kept_as.source_columns.as_deref().map(<[String]>::to_vec),
        columns,
        codes: about.codes,
        splits: about.splits,
        backtraces: about.backtraces,
    }));
    begin(&head, out)?;
    encoding::write(&group.rows, about.columns, out).map_err(failed)?;
    seal(out)
}

/// Writes the frame of marks into `out`, which is emptied before.
pub(super) fn encode_marks(
    ranges: Vec<Range>,
    place: Place,
    at_us: i64,
    out: &mut Vec<u8>,
) -> Result<(), LettersError> {
    let Place { at, durable, next } = place;
    begin(&Head::Closed(ClosedHead { ranges, at_us, durable, at, next }), out)?;
    seal(out)
}

fn begin(head: &Head, out: &mut Vec<u8>) -> Result<(), LettersError> {
    let json =
        |error: serde_json::Error| LettersError::Encode { error: ArrowError::JsonError(error.to_string()) };
    out.clear();
    out.resize(FRAME_HEAD_BYTES + 4, 0);
    serde_json::to_writer(&mut *out, head).map_err(json)?;
    let length = (out.len() - FRAME_HEAD_BYTES - 4) as u32;
    out[FRAME_HEAD_BYTES..FRAME_HEAD_BYTES + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// What is known of each record of a group, as columns, and what many have in common.
struct About {
    columns: Beside,
    codes: Vec<String>,
    splits: Vec<(String, String)>,
    backtraces: Vec<String>,
}

impl About {
    fn of(group: &Group) -> Result<Self, ArrowError> {
        let rows = group.refusals.len();
        let LineageColumns { ids, splits, offsets, replays, sources } =
            LineageColumns::of(group.rows.lineage(), rows)?;
        let index = || UInt32Builder::with_capacity(rows);
        let (mut codes, mut backtraces, mut attempts) = (index(), index(), index());
        let mut messages = StringBuilder::new();
        let (mut code_table, mut trace_table) = (Table::new(), Table::new());
        for refusal in &group.refusals {
            codes.append_value(code_table.index(refusal.code.as_str()));
            backtraces.append_option(refusal.backtrace.as_deref().map(|trace| trace_table.index(trace)));
            attempts.append_value(refusal.attempts);
            messages.append_value(&refusal.message);
        }
        let mut columns: Beside = vec![
            (RECORD_ID, ids),
            (SPLIT, splits),
            (OFFSET, offsets),
            (CODE, Arc::new(codes.finish())),
            (MESSAGE, Arc::new(messages.finish())),
            (BACKTRACE, Arc::new(backtraces.finish())),
            (ATTEMPTS, Arc::new(attempts.finish())),
            (REPLAY_OF, replays),
        ];
        if group.kept_as.form == Form::Raw {
            let cut = group.refusals.iter().map(|refusal| Some(refusal.is_cut));
            columns.push((CUT, Arc::new(cut.collect::<BooleanArray>())));
        }
        Ok(Self {
            columns,
            codes: code_table.take(str::to_owned),
            splits: sources,
            backtraces: trace_table.take(str::to_owned),
        })
    }
}

/// The head of a payload, and where its records begin.
pub(super) fn head(payload: &[u8]) -> Result<(Head, usize), String> {
    if !is_payload(payload) {
        return Err("a frame does not begin with a head".to_owned());
    }
    let length = u32::from_le_bytes([payload[0], payload[1], payload[2], payload[3]]) as usize;
    let head: Head = serde_json::from_slice(&payload[4..4 + length])
        .map_err(|error| format!("the head of a frame cannot be read: {error}"))?;
    Ok((head, 4 + length))
}

/// The head of bytes that may be anything; none where they are no payload.
pub(super) fn head_at_a_glance(bytes: &[u8]) -> Option<Head> {
    if is_payload(bytes) { Some(head(bytes).ok()?.0) } else { None }
}
