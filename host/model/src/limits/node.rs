//! Bounds of a node that stays: how long it waits for its pipelines, and for its own control state.

use std::time::Duration;

/// How long a pipeline that is replaced, paused or deleted has to drain before it is cut off at its last checkpoint.
pub const PIPELINE_STOP_GRACE: Duration = Duration::from_secs(30);
/// How long a pipeline that failed waits before it begins again: the first time, and at most.
pub const PIPELINE_BACKOFF: Duration = Duration::from_secs(1);
pub const PIPELINE_BACKOFF_MAX: Duration = Duration::from_secs(300);
/// What ran for so long before it failed has all its tries again.
pub const PIPELINE_SETTLED_AFTER: Duration = Duration::from_secs(60);
/// How long a command of the node itself may take until it is told again, and the wait before that.
pub const NODE_PROPOSE_TIME: Duration = Duration::from_secs(30);
pub const NODE_REPORT_AGAIN: Duration = Duration::from_secs(1);
/// Threads that answer requests and reconcile, beside those of stages.
pub const NODE_CONTROL_THREADS: usize = 2;
/// Of the records that its sources give, in parts of a million, how many a new revision may refuse before the one before goes
/// on, how many there have to be for that, and how long it is looked at; unless the manifest says otherwise.
pub const DEPLOY_REJECT_RATE: u64 = 10_000;
pub const DEPLOY_RECORDS_MIN: u64 = 1000;
pub const DEPLOY_WITHIN: Duration = Duration::from_secs(60);
pub const DEPLOY_WITHIN_MIN: Duration = Duration::from_secs(1);
pub const DEPLOY_WITHIN_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a new revision is looked at.
pub const DEPLOY_LOOK_EVERY: Duration = Duration::from_millis(200);
/// Bytes of the reason for which a revision is given up, as the control state has it.
pub const GATE_REASON_BYTES: usize = 1000;
/// How long `deploy` waits until a revision runs.
pub const DEPLOY_WAIT: Duration = Duration::from_secs(60);
