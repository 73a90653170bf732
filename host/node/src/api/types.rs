//! What the API says and takes, as JSON: the same types on both sides, and in its description.
//!
//! Names of fields have `_`, values of theirs that are words have `-`. Names and numbers are plain texts and numbers here: what
//! comes in is parsed where it is used.

use std::collections::{BTreeMap, BTreeSet};

use model::convert::times::{instant, write_timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// Microseconds since the Unix epoch; as text, a point in time of RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-08-01T12:00:00.5Z")]
pub struct Time(pub i64);

impl Time {
    pub fn of_us(us: u64) -> Self {
        Self(i64::try_from(us).unwrap_or(i64::MAX))
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::new();
        write_timestamp(self.0, &mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        instant(text.as_bytes())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no point in time of RFC 3339")))
    }
}

/// The node that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeInfo {
    /// Of Conveyor.
    pub version: String,
    pub node: u64,
    /// 32 hexadecimal digits.
    pub cluster: String,
    /// Another one at each start of the node: 32 hexadecimal digits.
    pub boot: String,
    /// Whether it leads: others take no writes.
    pub leads: bool,
}

/// A node that the cluster knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    pub node: u64,
    pub boot: String,
    pub started_at: Time,
    /// At which other nodes reach it.
    pub address: String,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nodes {
    pub nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Namespace {
    pub name: String,
    pub made_at: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Namespaces {
    pub namespaces: Vec<Namespace>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateNamespace {
    /// `a` to `z`, `0` to `9` and `-`, with no `-` at either end.
    #[schema(max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    pub name: String,
}

/// What is wanted of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Desired {
    Running,
    Paused,
    Deleted,
}

/// How a pipeline is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// No node runs it yet.
    Waiting,
    Starting,
    Running,
    /// It has failed, and is tried again after a while.
    BackingOff,
    Stopping,
    Paused,
    /// There is nothing more to read.
    Ended,
    /// It is not tried again until somebody wants something of it.
    Failed,
    /// It is being removed.
    Deleting,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff => "backing-off",
            Self::Stopping => "stopping",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }
}

/// A pipeline in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PipelineLine {
    pub namespace: String,
    pub name: String,
    pub version: u64,
    pub desired: Desired,
    /// That is to run.
    pub revision: u64,
    pub state: State,
    /// What there is to say about that, in a line.
    pub detail: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pipelines {
    pub pipelines: Vec<PipelineLine>,
}

/// What is wanted of a pipeline. Its `ETag` is its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pipeline {
    pub namespace: String,
    pub name: String,
    /// Another one of the same name, after this one was deleted, has another number.
    pub id: u64,
    /// Counts what somebody wanted of it: the tag of `If-Match`.
    pub version: u64,
    pub desired: Desired,
    pub made_at: Time,
    /// That is to run.
    pub revision: Revision,
}

/// What is deployed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// The text of the manifest.
    pub manifest: String,
    /// The variables that it names, with what they stand for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// The text of its lock: what each reference and each path of the manifest stands for.
    #[serde(default)]
    pub lock: String,
    /// The absolute directory to which relative paths of the manifest are relative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// By stage, what it may reach.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grants: BTreeMap<String, BTreeSet<String>>,
    /// Where the pipeline ran elsewhere before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<TakenOver>,
}

/// Where another store of the pipeline has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakenOver {
    /// The highest that its sinks have seen.
    pub epoch: u64,
    pub checkpoint: u64,
}

/// What came of a deploy, or would come of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deployed {
    /// Under which it runs. Of one that was only tried out: which is to run as things are, 0 where there is none.
    pub revision: u64,
    pub version: u64,
    /// Whether it is another revision than the one that was to run.
    pub is_new: bool,
    /// Whether it was only tried out.
    pub is_dry_run: bool,
    /// What there is to know though it fits. Nothing, where it was asked for before under the same key.
    pub warnings: Vec<String>,
}

/// What is wanted of a pipeline has changed, or was wanted already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wanted {
    pub version: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The one before that which is to run, unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub revision: Option<u64>,
    /// The reason, for the events and the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A revision in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevisionLine {
    pub revision: u64,
    pub made_at: Time,
    /// Who deployed it.
    pub by: Option<String>,
    /// Whether it is the one that is to run.
    pub is_current: bool,
    /// Whether it is the one that runs.
    pub runs: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revisions {
    pub revisions: Vec<RevisionLine>,
}

/// What was deployed. Nothing of it ever changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    pub revision: u64,
    pub made_at: Time,
    pub by: Option<String>,
    pub manifest: String,
    pub variables: BTreeMap<String, String>,
    pub lock: String,
    pub dir: Option<String>,
    pub grants: BTreeMap<String, BTreeSet<String>>,
}

/// How a pipeline is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub namespace: String,
    pub name: String,
    pub id: u64,
    pub version: u64,
    pub desired: Desired,
    pub revision: u64,
    pub state: State,
    pub detail: Option<String>,
    /// Which node is to run it.
    pub node: Option<u64>,
    /// What was given out to run.
    pub run: Option<Run>,
    /// How the run before ended.
    pub stopped: Option<Stopped>,
    /// What runs of it on the node that answers.
    pub here: Option<PipelineStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    pub node: u64,
    pub revision: u64,
    pub epoch: u64,
    pub since: Time,
    pub is_stopping: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stopped {
    pub epoch: u64,
    pub revision: u64,
    pub how: How,
    pub checkpoint: Option<u64>,
    pub at: Time,
    pub why: Option<String>,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It was told to stop.
    Asked,
    /// There is nothing more to read.
    Ended,
    /// Its node does not try again.
    Failed,
}

/// What runs of a pipeline on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PipelineStatus {
    pub state: RunState,
    pub since: Time,
    pub revision: u64,
    pub epoch: u64,
    /// How often it began again since it was started.
    pub restarts: u64,
    /// When it is tried again, where it waits for that.
    pub retry_at: Option<Time>,
    /// The last one, however long ago.
    pub last_error: Option<LastError>,
    pub last_checkpoint: Option<CheckpointStatus>,
    pub stages: Vec<StageStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    Starting,
    Running,
    BackingOff,
    Stopping,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastError {
    pub at: Time,
    /// The stage at fault, where one is.
    pub stage: Option<String>,
    pub message: String,
    /// What to do about it.
    pub next: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointStatus {
    pub number: u64,
    pub taken_at: Time,
    pub took_us: u64,
    /// That were new in it.
    pub bytes: u64,
}

/// What a stage did since the pipeline was opened. Counts are records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StageStatus {
    pub stage: String,
    /// `source`, `transform` or `sink`.
    pub role: String,
    pub records_in: u64,
    pub records_out: u64,
    pub filtered: u64,
    pub rejected: u64,
    pub retries: u64,
    /// Calls on which the stage died.
    pub deaths: u64,
    /// Of a source: records that it gave and no checkpoint has yet.
    pub lag: Option<u64>,
    pub fuel: u64,
    /// None where the stage is built in.
    pub fuel_per_record: Option<f64>,
    pub batch_p50_us: u64,
    pub batch_p99_us: u64,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Counted from 1: whoever has seen one asks for those behind it.
    pub number: u64,
    pub at: Time,
    /// In which it happened; none of nodes and tags.
    pub namespace: Option<String>,
    #[serde(flatten)]
    pub what: Happened,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Happened {
    NodeStarted {
        node: u64,
        boot: String,
    },
    NodeRemoved {
        node: u64,
    },
    NamespaceMade,
    NamespaceGone,
    /// Something else is wanted of a pipeline.
    PipelineWanted {
        pipeline: String,
        version: u64,
        desired: Desired,
        revision: u64,
        why: Option<String>,
    },
    /// A node opens a revision.
    PipelineStarts {
        pipeline: String,
        id: u64,
        node: u64,
        revision: u64,
        epoch: u64,
        checkpoint: Option<u64>,
    },
    /// A node is told to let it stop at a barrier.
    PipelineStops {
        pipeline: String,
        id: u64,
        node: u64,
        epoch: u64,
    },
    PipelineStopped {
        pipeline: String,
        id: u64,
        epoch: u64,
        checkpoint: Option<u64>,
    },
    /// A node is told to remove what it has of it.
    PipelineIsRemoved {
        pipeline: String,
        id: u64,
        node: u64,
        keeps_dead_letters: bool,
    },
    /// The name is free.
    PipelineGone {
        pipeline: String,
        id: u64,
    },
    TagSet {
        tag: String,
        digest: String,
    },
    TagGone {
        tag: String,
    },
    SecretSet {
        secret: String,
        version: u64,
    },
    SecretGone {
        secret: String,
    },
}

/// Something that somebody had done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Counted from 1.
    pub number: u64,
    pub at: Time,
    pub by: String,
    /// `deploy`, `pause`, ...
    pub verb: String,
    /// `pipeline default/orders`, ...
    pub object: String,
    pub why: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Audit {
    /// Oldest first.
    pub entries: Vec<AuditEntry>,
    /// What to ask for with `before` for those that came before them; none where these are the first that are kept.
    pub before: Option<u64>,
}

/// A secret, without its value, which nobody is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    pub name: String,
    /// Counts how often it was set.
    pub version: u64,
    pub set_at: Time,
    pub by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secrets {
    pub secrets: Vec<Secret>,
}

/// The value of a secret: one of the two.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSecret {
    /// As text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// In base64, of any bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl std::fmt::Debug for SetSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the value of a secret")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretSet {
    pub version: u64,
}

/// Why something is not done, or may not have been (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemBody {
    /// Names the kind of problem, for programs: `urn:conveyor:problem:stale`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What it is, and what to do next.
    pub detail: String,
    /// What is wrong with a manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ManifestProblem>,
}

/// One thing that is wrong with a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestProblem {
    /// Stable, for programs: `manifest::unknown-key`.
    pub code: String,
    pub message: String,
    /// Where in the text of the manifest; the first is the place to look at.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// What to do next.
    pub help: Option<String>,
}

/// A piece of the text of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Label {
    pub text: String,
    /// Bytes from the beginning of the text.
    pub start: usize,
    /// Bytes.
    pub len: usize,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
}
