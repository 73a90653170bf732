//! Every bound of the system, with its unit and its reason. A queue, a buffer, a retry or a wait without an
//! entry here is a defect.

use std::time::Duration;

/// Records that a source puts into one batch, unless the manifest says otherwise.
pub const BATCH_RECORDS: usize = 1024;
/// The most records that a manifest may ask for in one batch.
pub const BATCH_RECORDS_MAX: usize = 65_536;
/// Bytes of values after which a batch is closed, unless the manifest says otherwise.
pub const BATCH_BYTES: usize = 1 << 20;
/// The most bytes that a manifest may ask for in one batch: offsets are 32 bits wide, and a batch has to
/// fit into a stage's memory several times over.
pub const BATCH_BYTES_MAX: usize = 256 << 20;
/// How long a batch that is not full waits for more records.
pub const BATCH_DELAY: Duration = Duration::from_millis(5);
/// The longest wait that a manifest may ask for.
pub const BATCH_DELAY_MAX: Duration = Duration::from_secs(60);

/// The longest single record. A longer one is rejected, and the rest goes on.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// Bytes that an edge between two loops holds before its sender waits.
pub const EDGE_BYTES_MAX: usize = 8 << 20;
/// Batches that an edge holds: a bound for batches that weigh next to nothing.
pub const EDGE_BATCHES_MAX: usize = 64;

/// Linear memories and tables of one instance, added up.
pub const STAGE_MEMORY_BYTES: usize = 64 << 20;
/// The most memory that a manifest may grant one instance.
pub const STAGE_MEMORY_BYTES_MAX: usize = 1 << 30;
/// Fuel for each record of a batch. A simple stage spends about 20 to 500.
pub const FUEL_PER_RECORD: u64 = 1_000_000;
/// Fuel for a call beside what its records are worth: allocation, set-up, small batches.
pub const FUEL_PER_CALL: u64 = 50_000_000;
/// The guest's own running time for one batch.
pub const BATCH_TIME: Duration = Duration::from_secs(5);
/// The longest running time that a manifest may grant.
pub const BATCH_TIME_MAX: Duration = Duration::from_secs(600);
/// How often the epoch ticks, which is how finely running time is cut and how long a busy guest keeps its
/// thread before it yields.
pub const EPOCH_TICK: Duration = Duration::from_millis(10);
/// The longest that one host call may take.
pub const HOST_CALL_TIME: Duration = Duration::from_secs(5);
/// Batches after which an instance is thrown away, because a linear memory never shrinks.
pub const INSTANCE_CALLS_MAX: u64 = 100_000;
/// Warm instances that one stage keeps.
pub const WARM_INSTANCES_MAX: usize = 2;

/// Log lines that a stage may write in a second; the rest is counted and dropped.
pub const LOG_LINES_PER_SECOND: u32 = 100;
/// Bytes of one log line, message and fields together.
pub const LOG_LINE_BYTES_MAX: usize = 8 << 10;

/// A component's file.
pub const COMPONENT_BYTES_MAX: usize = 256 << 20;
/// What `about` or a `plan` may answer: names, schemas and texts together.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Columns of one stream.
pub const COLUMNS_MAX: usize = 4096;
/// Output ports of one stage.
pub const PORTS_MAX: usize = 64;
/// Rejections that a dead letter file gets for one batch is every one of them; a code is cut to this.
pub const REJECTION_CODE_BYTES_MAX: usize = 64;
/// A rejection's message is cut to this.
pub const REJECTION_MESSAGE_BYTES_MAX: usize = 4 << 10;

/// How long a pipeline has to drain after SIGINT or SIGTERM before it is cut off.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// The text of a manifest. The largest that anybody writes by hand is some hundred KiB.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// Values in a manifest after aliases and merges are followed, so that a few lines cannot become millions.
pub const MANIFEST_NODES_MAX: u64 = 100_000;
/// Lists and maps inside one another in a manifest: what walks them is recursive.
pub const MANIFEST_DEPTH_MAX: usize = 64;
/// Stages of one pipeline.
pub const STAGES_MAX: usize = 256;
/// Characters of a pipeline's, a stage's or a port's name: a DNS label, so that it fits everywhere.
pub const NAME_CHARS_MAX: usize = 63;
/// Problems that are kept and shown for one manifest; the rest is counted.
pub const DIAGNOSTICS_MAX: usize = 100;
