//! Bounds of the control state: of what is replicated, of its log, and of those who wait for it.

use std::time::Duration;

/// Commands that wait for an answer at once. A backlog beyond what Raft works off within an election timeout costs the
/// leader its seat, so it is in front of Raft, and the rest waits for its turn.
pub const CONTROL_WAITING_MAX: usize = 1024;
/// Commands in one entry of the log.
pub const CONTROL_ENTRY_COMMANDS_MAX: usize = 512;
/// Bytes of commands after which an entry is closed. One command may be larger, and is an entry of its own.
pub const CONTROL_ENTRY_BYTES: usize = 1 << 20;
/// Bytes of one command: a manifest, what its stages answered, and what may be reached, each as JSON.
pub const CONTROL_COMMAND_BYTES_MAX: usize = 4 << 20;
/// How long an entry is waited for before the next one is written all the same. A leader that is cut off never hears
/// of its own.
pub const CONTROL_ENTRY_STALL: Duration = Duration::from_secs(5);
/// How long a start waits until it leads, where it is the only voter.
pub const CONTROL_LEAD_WAIT: Duration = Duration::from_secs(30);

/// How often a leader says that it is there.
pub const CONTROL_HEARTBEAT: Duration = Duration::from_millis(500);
/// How long nothing is heard of a leader until somebody stands for election, at least and at most: several writes of
/// the largest entry to a slow disk.
pub const CONTROL_ELECTION_LEAST: Duration = Duration::from_millis(1500);
pub const CONTROL_ELECTION_MOST: Duration = Duration::from_millis(3000);
/// How long one piece of a snapshot may take to arrive and, the last one, to be put into place.
pub const CONTROL_SNAPSHOT_TIME: Duration = Duration::from_secs(30);
/// Bytes of one piece of a snapshot on its way to another node, and of one in the database: what is written in one go
/// holds up the log for so long.
pub const CONTROL_SNAPSHOT_PIECE_BYTES: usize = 1 << 20;
/// Entries after which a snapshot is taken.
pub const CONTROL_SNAPSHOT_ENTRIES: u64 = 4096;
/// Bytes of entries after which a snapshot is taken all the same.
pub const CONTROL_SNAPSHOT_LOG_BYTES: u64 = 64 << 20;
/// Entries that stay in the log though a snapshot has them, so that a voter that was away shortly needs none.
pub const CONTROL_KEPT_ENTRIES: u64 = 512;
/// Entries by which a voter may be behind before it gets a snapshot.
pub const CONTROL_LAG_ENTRIES: u64 = 8192;
/// Entries, and bytes of them, in one message to another voter.
pub const CONTROL_MESSAGE_ENTRIES: u64 = 256;
pub const CONTROL_MESSAGE_BYTES: usize = 4 << 20;
/// Bytes of entries at the end of the log that stay in memory: each is read again before it is applied.
pub const CONTROL_TAIL_BYTES: usize = 4 << 20;
/// What the database of the control state keeps in memory.
pub const CONTROL_CACHE_BYTES: usize = 16 << 20;
/// Room on the disk that is held for the log, so that what was begun can be ended when the disk is full.
pub const CONTROL_BALLAST_BYTES: u64 = 16 << 20;
/// How often it is tried whether a disk that was full has room.
pub const CONTROL_FULL_POLL: Duration = Duration::from_millis(100);

/// Bytes of revisions and secrets as they are kept, as JSON, all together. A snapshot is one text of it, and is in memory
/// while it is taken and while it is put into place.
pub const CONTROL_STATE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a snapshot that comes from another voter: revisions and secrets, and as much again and more of what is bounded in
/// number (names, tags, reasons, the audit log, idempotency keys).
pub const CONTROL_SNAPSHOT_BYTES_MAX: u64 = 1 << 30;
pub const CONTROL_NODES_MAX: usize = 1000;
pub const CONTROL_NAMESPACES_MAX: usize = 1000;
/// Pipelines of all namespaces.
pub const CONTROL_PIPELINES_MAX: usize = 50_000;
/// Revisions that are kept of a pipeline. The oldest go, unless they run or are to run.
pub const CONTROL_REVISIONS_KEPT: usize = 128;
/// What the references and paths of a revision's manifest stand for, as the text of a lock.
pub const CONTROL_LOCK_BYTES_MAX: usize = 1 << 20;
/// Variables of the environment that a manifest names.
pub const CONTROL_VARIABLES_MAX: usize = 1000;
/// What the stages of a revision answered when it was planned.
pub const CONTROL_ANSWERS_BYTES_MAX: usize = 1 << 20;
/// Grants of one stage, and bytes of one of them.
pub const CONTROL_GRANTS_MAX: usize = 1000;
pub const CONTROL_GRANT_BYTES_MAX: usize = 4 << 10;
pub const CONTROL_TAGS_MAX: usize = 100_000;
/// Bytes of the name of a repository with a tag.
pub const CONTROL_TAG_BYTES_MAX: usize = 512;
pub const CONTROL_SECRETS_MAX: usize = 10_000;
/// Characters of a secret's name.
pub const SECRET_NAME_CHARS_MAX: usize = 128;
/// Bytes of a secret: a key with its certificates has some ten thousand.
pub const SECRET_BYTES_MAX: usize = 64 << 10;
/// The file with the key of secrets.
pub const SECRET_KEY_FILE_BYTES_MAX: u64 = 4 << 10;
/// Entries of the audit log; the oldest go.
pub const CONTROL_AUDIT_MAX: usize = 10_000;
/// Bytes of a text that somebody gives with a command, as JSON: who it is, why, an address, a version.
pub const CONTROL_TEXT_BYTES_MAX: usize = 4 << 10;
/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Idempotency keys that are remembered with their answers, and for how long; the oldest go.
pub const IDEMPOTENCY_KEYS_MAX: usize = 10_000;
pub const IDEMPOTENCY_KEY_AGE: Duration = Duration::from_secs(24 * 3600);
/// The highest epoch that another store may hand over: no number of nodes and restarts uses up those above.
pub const EPOCH_TAKEN_OVER_MAX: u64 = 1 << 62;
/// Effects that are remembered for those who watch. Whoever is further behind looks at the state anew.
pub const CONTROL_EFFECTS_KEPT: usize = 16_384;
/// Effects that one who watches gets at once.
pub const CONTROL_EFFECTS_READ: usize = 512;
