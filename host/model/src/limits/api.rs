//! Bounds of the API of a node.

use std::time::Duration;

use super::CONTROL_COMMAND_BYTES_MAX;

/// Bytes of the body of a request: a command of the control state, and what JSON writes differently.
pub const API_BODY_BYTES_MAX: usize = CONTROL_COMMAND_BYTES_MAX + (64 << 10);
/// How long the body of a request may take to come.
pub const API_BODY_TIME: Duration = Duration::from_secs(30);
/// How long a deploy is tried out for: its components are compiled, and its stages are asked.
pub const API_CHECK_TIME: Duration = Duration::from_secs(120);
/// Deploys that are tried out at once; the others wait for their turn within [`API_CHECK_TIME`].
pub const API_CHECKS_MAX: usize = 4;
/// How long the control state is waited for, by a read and by a write. Longer than an entry of its log may stall.
pub const API_CONTROL_TIME: Duration = Duration::from_secs(10);
/// After how long a request is to be tried again that found nobody to answer it.
pub const API_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Requests that one who asks may have at once, and how many more come to that in a second. One is a token, or an address
/// where there is none.
pub const API_BURST: u32 = 400;
pub const API_REQUESTS_PER_SECOND: u32 = 100;
/// Those who are counted one by one. All others together count as one.
pub const API_ASKING_MAX: usize = 10_000;
/// Tokens that a node knows.
pub const API_TOKENS_MAX: usize = 1000;
/// Bytes of a token, and of the file in which one is.
pub const API_TOKEN_BYTES_MAX: usize = 4 << 10;
/// Those who watch events at once. Each costs a socket and its buffers, whether it reads or not.
pub const API_WATCHERS_MAX: usize = 2048;
/// How often somebody who watches is told that nothing has happened.
pub const API_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Entries of the audit log in one answer, unless more are asked for, and at most.
pub const API_AUDIT_LISTED: usize = 100;
pub const API_AUDIT_LISTED_MAX: usize = 1000;
/// Bytes of an answer that a client reads: all pipelines that there may be, with their states.
pub const API_ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of one event that a client reads.
pub const API_EVENT_BYTES_MAX: usize = 1 << 20;
/// How long a client waits for a node that is to answer: longer than anything that the node waits for.
pub const API_ANSWER_TIME: Duration = Duration::from_secs(180);
/// How often a client sends a request that the node had no time for, or that broke off. Writes are done once all the same.
pub const API_TRIES: u32 = 3;
/// How often in a row a client goes on with events where the connection broke off: as long as a node takes to be started again.
pub const API_EVENTS_TRIES: u32 = 60;
/// The longest wait before another try that a node may ask for: who is to wait longer is told so.
pub const API_WAIT_MAX: Duration = Duration::from_secs(10);
/// Bytes of the file with the nodes that somebody speaks to, and of that by which `up` is found.
pub const CONTEXTS_BYTES_MAX: u64 = 1 << 20;
