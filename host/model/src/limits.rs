//! Every bound of the system, with its unit and its reason. A queue, a buffer, a retry or a wait without an
//! entry here is a defect.

mod api;
mod artifact;
mod client;
mod control;
mod node;
mod signing;

use std::time::Duration;

pub use api::*;
pub use artifact::*;
pub use client::*;
pub use control::*;
pub use node::*;
pub use signing::*;

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

/// The longest single record, unless the manifest says otherwise. A longer one is rejected, and the rest goes on.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// A row of CSV that is longer than that is read on to the quote that closes it, and left out. One whose quote is not closed
/// within so many times as much is no row that is too long, but a file that is broken.
pub const LONG_ROW_FACTOR: u64 = 64;
/// Where rows may be short only, so many bytes.
pub const LONG_ROW_BYTES_LEAST: u64 = 64 << 20;

/// What a source reads of its input at a time. Large enough that handing it from the reading thread to the
/// belt costs nothing, small enough that it is still in the cache when it is decoded.
pub const READ_BYTES: usize = 256 << 10;
/// Pieces of input that were read and are not decoded yet.
pub const READ_AHEAD: usize = 2;
/// What a file sink gathers before it hands it to its writing thread.
pub const WRITE_BYTES: usize = 256 << 10;
/// Pieces of output that were handed over and are not written yet.
pub const WRITE_BEHIND: usize = 4;
/// Bytes of them, the piece that is being written included: one piece has the rows of a batch, and may be large.
pub const WRITE_BEHIND_BYTES_MAX: usize = 16 << 20;
/// In which time all of them are to be written: pieces for a slow reader are smaller.
pub const WRITE_TIME: Duration = Duration::from_millis(50);
/// What a Parquet sink gathers of a row group before it is written.
pub const PARQUET_GROUP_BYTES_MAX: usize = 64 << 20;

/// What an inferring source reads of its input, all files together.
pub const INFER_BYTES_MAX: usize = 4 << 20;
/// Rows that an inferring source looks at, all files together.
pub const INFER_ROWS_MAX: usize = 20_000;
/// Files that an inferring source opens.
pub const INFER_FILES_MAX: usize = 16;
/// Files that one glob may match.
pub const GLOB_FILES_MAX: usize = 100_000;
/// Files that a following source has open at once. Those that stay as they are get closed when others have to be read.
pub const FOLLOWED_FILES_MAX: usize = 256;
/// The first bytes of a file that a checkpoint keeps a fingerprint of: enough to tell files apart that begin with the
/// same header, and one page at most to read.
pub const FINGERPRINT_BYTES: u64 = 1024;
/// Files of a directory that are looked through for one that was rotated away while nobody looked.
pub const ROTATED_FILES_MAX: usize = 10_000;
/// Splits of a following source that were read to their end and whose file has no name any more that is looked at: so many
/// stay in the checkpoint, because a file may be out of sight for a moment, and the oldest leave it.
pub const ENDED_SPLITS_MAX: usize = 256;
/// Links behind one another that are gone after, as Linux does it.
pub const LINKS_MAX: usize = 40;
/// How long a file that was rotated away has to stay as it is before a following source gives it up: its writer goes on
/// with it until it is told, and most of the time that takes a second or two.
pub const ROTATE_WAIT: Duration = Duration::from_secs(5);
/// How often a following source looks for new lines and new files, unless the manifest says otherwise.
pub const FOLLOW_POLL: Duration = Duration::from_millis(200);

/// Bytes that an edge between two loops holds before its sender waits.
pub const EDGE_BYTES_MAX: usize = 8 << 20;
/// Batches that an edge holds: a bound for batches that weigh next to nothing.
pub const EDGE_BATCHES_MAX: usize = 64;
/// How often a source that is a component is asked whether there are more splits by now.
pub const SPLITS_ASKED_EVERY: Duration = Duration::from_secs(5);
/// How often what may be on its way at once doubles, at most, where checkpoints have to come through in time: a source
/// has begun to give full batches after ten times as long.
pub const PACE_DOUBLES: Duration = Duration::from_millis(5);

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
/// What all waits of one call into a stage may take together, in times of what one may: a stage that asks a slow
/// server for each record has room, and one that sleeps for ever has none.
pub const HOST_WAITS_MAX: u32 = 12;
/// Batches after which an instance is thrown away, because a linear memory never shrinks.
pub const INSTANCE_CALLS_MAX: u64 = 100_000;
/// Instances of one stage that are alive at once, the ones of a search among them.
pub const STAGE_INSTANCES: u32 = 8;
/// Warm instances that one stage keeps.
pub const WARM_INSTANCES_MAX: usize = 2;

/// Bytes of one answer of a stage, unless the manifest says otherwise.
pub const OUTPUT_BYTES: usize = 64 << 20;
/// The most bytes of one answer that a manifest may grant: offsets are 32 bits wide.
pub const OUTPUT_BYTES_MAX: usize = 1 << 30;
/// Bytes of one answer for each byte that came in. One small record may well become a large one, so
/// `OUTPUT_BYTES_LEAST` are granted in any case.
pub const OUTPUT_RATIO: u64 = 1000;
/// The largest ratio that a manifest may grant.
pub const OUTPUT_RATIO_MAX: u64 = 1_000_000;
/// Bytes of one answer that are granted whatever came in.
pub const OUTPUT_BYTES_LEAST: usize = 1 << 20;
/// What the rows of one batch may take where they stand side by side, as the next stage or a format needs them: where
/// they take more, and more than they came as, they are handed on in smaller batches. A few of these are written at once.
pub const EXPANDED_BYTES_MAX: usize = 8 << 20;
/// The names of all headers that one answer has: they cross once, and each header of the host has its own.
pub const HEADER_NAMES_BYTES_MAX: usize = 8 << 20;
/// Bytes that a guest may hand over in one call into the host: a log line, a body, a message.
pub const HOST_CALL_BYTES: usize = 4 << 20;
/// The most of these that a manifest may grant.
pub const HOST_CALL_BYTES_MAX: usize = 256 << 20;

/// Tries of a stage that asks for another one, or keeps dying, unless the manifest says otherwise: about a
/// minute with the waits below.
pub const RETRY_ATTEMPTS: u32 = 10;
/// The most tries that a manifest may ask for: a week at the longest wait of ten minutes.
pub const RETRY_ATTEMPTS_MAX: u32 = 1000;
/// The wait before the second try; each further one is twice as long.
pub const RETRY_BACKOFF: Duration = Duration::from_millis(100);
/// The longest of these waits.
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The longest wait that a stage or a manifest may ask for.
pub const RETRY_WAIT_MAX: Duration = Duration::from_secs(600);
/// Records on which one sink may die before it has failed for good.
pub const SINK_KILLERS_MAX: usize = 1000;
/// What is synced to a spool or a dead-letter store, and nothing is written behind it for this long, gets a mark that
/// says so.
pub const SYNCED_MARK_AFTER: Duration = Duration::from_secs(1);
/// The longest wait for room on a full disk before it is tried again; there is no last try.
pub const FULL_DISK_WAIT_MAX: Duration = Duration::from_secs(10);
/// Calls of one search for the records of a batch that kill a stage.
pub const SEARCH_CALLS_MAX: u32 = 4096;
/// How long such a search goes on. What it has not told apart by then goes to the dead letters together.
pub const SEARCH_TIME: Duration = Duration::from_secs(30);
/// Parts that a batch is split into when a stage has died on it. A death costs about as much as a dozen calls that go
/// well: with more parts there are fewer deaths, 4 of 1024 records, and more of the others.
pub const SEARCH_PARTS: u32 = 16;
/// Records on which a stage dies, before any other of its batch went through, after which records from all
/// over the batch are tried: when those kill it as well, it is the stage and not the records.
pub const SEARCH_DEATHS_BEFORE_PROBE: u32 = 4;
/// Records that are tried then.
pub const SEARCH_PROBES: u32 = 8;

/// A pipeline's share of a busy machine, unless its manifest says otherwise.
pub const WEIGHT: u32 = 100;
/// The largest weight.
pub const WEIGHT_MAX: u32 = 10_000;
/// How far a pipeline may run ahead of its share, in core time: a tick of the epoch, by which a busy stage gives its
/// thread back.
pub const SHARE_SLACK: Duration = EPOCH_TICK;
/// How long a pipeline that has nothing to do still counts as one that wants to work, at the least: it may be between
/// two pieces of its input. It is as long as it has worked before, so that nobody waits for one that works now and then.
pub const SHARE_LINGER: Duration = Duration::from_micros(200);
/// How long that is at the most.
pub const SHARE_LINGER_MAX: Duration = Duration::from_millis(50);

/// Log lines that a stage may write in a second; the rest is counted and dropped.
pub const LOG_LINES_PER_SECOND: u32 = 100;
/// The most log lines in a second that a manifest may grant.
pub const LOG_LINES_PER_SECOND_MAX: u32 = 100_000;
/// Bytes of one log line, message and fields together.
pub const LOG_LINE_BYTES_MAX: usize = 8 << 10;

/// A component's file.
pub const COMPONENT_BYTES_MAX: usize = 256 << 20;
/// How long one component may be compiled. An interpreter of 18 MB takes a quarter of a minute on two cores.
pub const COMPILE_TIME: Duration = Duration::from_secs(120);
/// The longest that may be asked for.
pub const COMPILE_TIME_MAX: Duration = Duration::from_secs(3600);
/// Memory of the process that compiles one component.
pub const COMPILE_MEMORY_BYTES: usize = 2 << 30;
/// The most that may be asked for.
pub const COMPILE_MEMORY_BYTES_MAX: usize = 64 << 30;
/// Code of one component: an interpreter has some forty megabytes.
pub const COMPILED_BYTES_MAX: usize = 512 << 20;
/// What a compiling process says of the code that follows.
pub const COMPILED_HEAD_BYTES_MAX: usize = 256 << 10;
/// What is kept of the words of a compiling process that fails.
pub const COMPILER_WORDS_BYTES_MAX: u64 = 4 << 10;
/// Components that are compiled at once; each takes all cores that it gets.
pub const COMPILATIONS_MAX: usize = 2;
/// DWARF of one component; more is left out.
pub const DEBUG_BYTES_MAX: usize = 64 << 20;
/// Core modules of one component whose DWARF is kept; of one that has more, none is.
pub const DEBUG_MODULES_MAX: usize = 256;
/// Places in the code of one component whose function and line are known and kept: where it died.
pub const SYMBOLS_KEPT_MAX: usize = 4096;
/// Frames that a report of a death shows: the innermost ones say it all.
pub const BACKTRACE_FRAMES_MAX: usize = 64;
/// The name of a function or a file there: types make them long, and a hostile stage longer.
pub const FRAME_NAME_BYTES_MAX: usize = 512;
/// What `about` or a `plan` may answer: names, schemas and texts together.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Parts that the fingerprint of a stage may have. They are written with every checkpoint, as a name and a hash each.
pub const FINGERPRINT_PARTS_MAX: usize = 64;
/// The name of one of them.
pub const FINGERPRINT_NAME_BYTES_MAX: usize = 128;
/// A value that is kept beside its hash, so that it can be told what it was; of a longer one the hash alone is kept.
pub const FINGERPRINT_SHOWN_BYTES_MAX: usize = 256;
/// Schemas that a config may have to be held against, with what references stand for: a thousand times what a large
/// stage has.
pub const SCHEMA_STEPS_MAX: u64 = 100_000;
/// References in such a schema that lead on to others.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// Columns of one stream.
pub const COLUMNS_MAX: usize = 4096;
/// The name of a column: it stands in every row that is written as JSON.
pub const COLUMN_NAME_BYTES_MAX: usize = 1 << 10;
/// Lists and objects inside one another in a text of JSON: serde_json reads no deeper, nor do most others.
pub const JSON_DEPTH_MAX: usize = 127;
/// Output ports of one stage.
pub const PORTS_MAX: usize = 64;
/// Rejections that a dead letter file gets for one batch is every one of them; a code is cut to this.
pub const REJECTION_CODE_BYTES_MAX: usize = 64;
/// A rejection's message is cut to this.
pub const REJECTION_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Of the reason for which a branch was cut off, in characters: it stands in the dead letter of each record that the
/// branch did not take.
pub const CUT_REASON_CHARS_MAX: usize = 300;

/// How long a pipeline has to drain after SIGINT or SIGTERM before it is cut off.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long signals are one: `timeout` sends two within milliseconds.
pub const STOP_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long sources and sinks that are being opened have left when a stop comes: one may wait for the other end of a pipe.
pub const STOP_OPENING_GRACE: Duration = Duration::from_secs(1);

/// The text of a manifest. The largest that anybody writes by hand is some hundred KiB.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// Values in a manifest after aliases and merges are followed, so that a few lines cannot become millions.
pub const MANIFEST_NODES_MAX: u64 = 100_000;
/// Lists and maps inside one another in a manifest: what walks them is recursive.
pub const MANIFEST_DEPTH_MAX: usize = 64;
/// Stages of one pipeline.
pub const STAGES_MAX: usize = 256;
/// Entries of one `from`.
pub const INPUTS_MAX: usize = 256;
/// Characters of a pipeline's, a stage's or a port's name: a DNS label, so that it fits everywhere.
pub const NAME_CHARS_MAX: usize = 63;
/// Problems that are kept and shown for one manifest; the rest is counted.
pub const DIAGNOSTICS_MAX: usize = 100;
/// The most fuel that a manifest may grant for a record or a batch: minutes of a core, and far from overflow.
pub const FUEL_MAX: u64 = 1_000_000_000_000;

/// Instances of one process that can live at once. A slot is four GiB of address space, and memory only
/// once it is used.
pub const INSTANCES_MAX: u32 = 1000;
/// Core modules that one component may bring: an interpreter with its libraries has about thirty.
pub const CORE_INSTANCES_MAX: u32 = 64;
/// Linear memories of one component; `STAGE_MEMORY_BYTES` bounds their sum.
pub const CORE_MEMORIES_MAX: u32 = 4;
/// Tables of one component.
pub const CORE_TABLES_MAX: u32 = 8;
/// Elements of one table: an interpreter has some ten thousand functions behind pointers.
pub const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Memory of an instance's slot that is wiped rather than given back when the instance goes: what a small
/// stage touches for a batch, so that the next one starts without page faults, which cost more than half of a
/// fresh instance.
pub const SLOT_RESIDENT_BYTES: usize = 256 << 10;
/// The same of each of its tables, of which it can have several.
pub const SLOT_TABLE_RESIDENT_BYTES: usize = 64 << 10;
/// Slots that stay warm for a component that has no instance just now.
pub const WARM_SLOTS_MAX: u32 = 100;
/// The stack on which a call into a guest runs, the host functions that it calls included.
pub const FIBER_STACK_BYTES: usize = 1 << 20;
/// How much of it the guest's own frames may take.
pub const GUEST_STACK_BYTES: usize = 512 << 10;
/// Handles to host resources (streams, timers) that one instance may hold.
pub const RESOURCES_MAX: usize = 256;
/// The most of these that a manifest may grant.
pub const RESOURCES_GRANTED_MAX: usize = 65_536;
/// Random bytes that a guest gets from one call.
pub const RANDOM_BYTES_MAX: u64 = 1 << 20;
/// Problems that are shown for one stage's config; the rest is counted.
pub const CONFIG_PROBLEMS_MAX: usize = 20;

/// A dead-letter store, unless `--dead-letters-max-bytes` says otherwise. When it is full the pipeline stops: a
/// refused record is never lost.
pub const DEAD_LETTER_STORE_BYTES_MAX: u64 = 1 << 30;
/// One segment of a dead-letter store: what is freed at a time, and scanned at a time. The frame that crosses it
/// is still in.
pub const DEAD_LETTER_SEGMENT_BYTES: u64 = 64 << 20;
/// Refused records that go into one frame; a single one may be more. Whoever reads one of them reads the frame.
pub const DEAD_LETTER_GROUP_BYTES: usize = 64 << 20;
/// One frame: a single record, which has 1 GiB at most, with its key, its headers and what is said of it, and the room
/// that a damaged length could ask for.
pub const DEAD_LETTER_FRAME_BYTES_MAX: usize = 1280 << 20;
/// Bytes of a record that `dlq show` and a death show.
pub const DEAD_LETTER_SHOWN_BYTES: usize = 200;
/// Entries that `dlq list` shows, unless `--limit` says otherwise.
pub const DEAD_LETTERS_LISTED: usize = 50;
/// How long a chain waits for records before it gives its instances back: an idle pipeline holds none.
pub const IDLE_AFTER: Duration = Duration::from_secs(1);
/// Codes of rejections that a run counts one by one, over all its stages: stages make them up.
pub const REJECTION_CODES_COUNTED_MAX: usize = 200;

/// Entries that one key of `grants` can have.
pub const GRANTS_MAX: usize = 64;
/// The name of an environment variable or a secret.
pub const GRANT_NAME_BYTES_MAX: usize = 128;
/// The value of an environment variable, of a secret, or a path.
pub const GRANT_VALUE_BYTES_MAX: usize = 64 << 10;
/// How long a name may take to be looked up.
pub const HTTP_RESOLVE_TIME: Duration = Duration::from_secs(2);
/// How long it may take until there is a connection, looking the name up and TLS included.
pub const HTTP_CONNECT_TIME: Duration = Duration::from_secs(3);
/// How long it may take until an answer begins, connecting included, and then between two pieces of it. It is
/// below `HOST_CALL_TIME`, so that a stage is told of a slow server rather than stopped for it.
pub const HTTP_ANSWER_TIME: Duration = Duration::from_secs(4);
/// Addresses of one host that are tried.
pub const HTTP_ADDRESSES_MAX: usize = 8;
/// The body of a request that a stage sends.
pub const HTTP_REQUEST_BYTES_MAX: u64 = 16 << 20;
/// The body of an answer that a stage gets.
pub const HTTP_RESPONSE_BYTES_MAX: u64 = 64 << 20;
/// What is buffered of an answer's head: more of it is an error.
pub const HTTP_HEAD_BYTES_MAX: usize = 64 << 10;
/// Header fields of an answer.
pub const HTTP_HEADERS_MAX: usize = 128;

/// From one checkpoint to the next, unless the manifest says otherwise.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// When a checkpoint that is not done is told of, unless the manifest says otherwise.
pub const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(60);
/// Below it a synced write each would be most of the work.
pub const CHECKPOINT_TIME_MIN: Duration = Duration::from_millis(10);
pub const CHECKPOINT_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Checkpoints of which a store remembers when they were taken and what they cost.
pub const CHECKPOINTS_LISTED_MAX: u64 = 100;

/// Parts into which the keys of a stage's state are divided; replicas own whole ones. It never changes: state on disk is
/// ordered by it.
pub const KEY_GROUPS: u16 = 128;
/// A key, and a name beside it, of a stage's state: both are part of a page of the store, and compared often.
pub const STATE_KEY_BYTES_MAX: usize = 4 << 10;
/// A value of a stage's state: it is read and written as a whole.
pub const STATE_VALUE_BYTES_MAX: usize = 1 << 20;
/// What one call into a stage may write to its state, keys, names and values together: until the call has ended well it is
/// kept beside what it replaces.
pub const STATE_CALL_BYTES_MAX: usize = 64 << 20;
/// What one call of a stage into the host may be answered of its state.
pub const STATE_ANSWER_BYTES_MAX: usize = 64 << 20;
/// Entries in one page of a scan.
pub const STATE_PAGE_ENTRIES_MAX: usize = 4096;
/// Values in one page of a scan; the one that crosses it is still in.
pub const STATE_PAGE_BYTES: usize = 1 << 20;
/// The state of one stage in a run with `--state`, unless the manifest says otherwise: a bound for what grows without end.
pub const STATE_BYTES: u64 = 16 << 30;
/// The most of it that a manifest may grant.
pub const STATE_BYTES_MAX: u64 = 1 << 40;
/// The state of one stage in a run without `--state`, which has it in memory alone, whatever the manifest grants.
pub const STATE_MEMORY_BYTES_MAX: u64 = 256 << 20;
/// What a stage has written and no checkpoint has yet, after which it asks for one. The more there is in one, the less a
/// change of one entry costs on disk: entries that lie side by side are written together.
pub const STATE_DIRTY_BYTES: usize = 64 << 20;
/// The same, after which its loop waits for the checkpoint that is under way.
pub const STATE_DIRTY_BYTES_MAX: usize = 128 << 20;
/// What is kept in memory of one stage's state that is on disk. A smaller state is kept as a whole.
pub const STATE_CACHE_BYTES: usize = 64 << 20;
/// Pages of the checkpoint store that are kept in memory, for each pipeline; the system keeps more.
pub const CHECKPOINT_CACHE_BYTES: usize = 64 << 20;

/// A spool on the disk, unless the manifest says otherwise. When it is full the source refuses.
pub const SPOOL_BYTES: u64 = 1 << 30;
/// The least that a manifest may ask for: a few segments.
pub const SPOOL_BYTES_MIN: u64 = 1 << 20;
/// The most that a manifest may ask for: a thousand times what is usual.
pub const SPOOL_BYTES_MAX: u64 = 1 << 40;
/// Segments into which a spool is cut: space comes back one at a time.
pub const SPOOL_SEGMENTS: u64 = 16;
/// The smallest segment: each costs two syncs.
pub const SPOOL_SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// The largest segment: what is read whole after a restart.
pub const SPOOL_SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Records that become durable with one sync, unless those of one request alone are more.
pub const SPOOL_GROUP_BYTES: usize = 4 << 20;
/// The longest frame: the records of one request, and the room that a damaged length could ask for.
pub const SPOOL_FRAME_BYTES_MAX: usize = 256 << 20;
/// Records that wait for the sync before theirs. Beyond it the source refuses.
pub const SPOOL_PENDING_BYTES_MAX: usize = 64 << 20;

/// The body of one request to the source `http`, unpacked, unless the manifest says otherwise.
pub const HTTP_BODY_BYTES: u64 = 8 << 20;
/// The most that a manifest may ask for: with the lengths of its records it is still one frame of the spool.
pub const HTTP_BODY_BYTES_MAX: u64 = 64 << 20;
/// Bodies of all requests that are under way, unless the manifest says otherwise.
pub const HTTP_BODIES_BYTES: u64 = 128 << 20;
/// Records of one request, unless the manifest says otherwise.
pub const HTTP_REQUEST_RECORDS: usize = 100_000;
/// The most that a manifest may ask for.
pub const HTTP_REQUEST_RECORDS_MAX: usize = 10_000_000;
/// Connections that a source keeps, unless the manifest says otherwise.
pub const HTTP_CONNECTIONS: usize = 1024;
/// The most that a manifest may ask for: each is an open file.
pub const HTTP_CONNECTIONS_MAX: usize = 65_536;
/// How long a request may take to come in, and how long a connection may be silent, unless the manifest says otherwise.
pub const HTTP_REQUEST_TIME: Duration = Duration::from_secs(30);
/// The longest that a manifest may ask for.
pub const HTTP_REQUEST_TIME_MAX: Duration = Duration::from_secs(3600);
/// The head of a request.
pub const HTTP_REQUEST_HEAD_BYTES_MAX: usize = 32 << 10;
/// What is read on of a body that is not wanted, so that its connection can be used again.
pub const HTTP_READ_ON_BYTES_MAX: u64 = 256 << 10;
/// What is taken in behind an answer that ends its connection: a sender may read its answer only when it has sent all of
/// its body. `request-timeout` bounds it as well.
pub const HTTP_LINGER_BYTES_MAX: u64 = 1 << 30;
/// How long such a sender may be silent before the connection is closed all the same.
pub const HTTP_LINGER_SILENCE: Duration = Duration::from_secs(5);
/// What is told to senders that are refused because there is no room: a checkpoint or two later there may be.
pub const HTTP_RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long an address that is in use is tried again: the process itself may be about to give it back.
pub const HTTP_LISTEN_AGAIN_TIME: Duration = Duration::from_millis(500);
/// How long nothing is accepted after a connection could not be.
pub const HTTP_ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The window of a body that is packed with zstd, as the power of two of its bytes: what unpacking it may take.
pub const HTTP_ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Records of one request of the sink `http`, unless the manifest says otherwise.
pub const HTTP_SENT_RECORDS: usize = 100;
/// The most where their ids go as a header: 33 bytes each, of the 8 KiB that servers take.
pub const HTTP_HEADER_IDS_MAX: usize = 200;
/// The most that a manifest may ask for where they do not.
pub const HTTP_SENT_RECORDS_MAX: usize = 65_536;
/// The body of one request of the sink `http`, unless the manifest says otherwise.
pub const HTTP_SENT_BYTES: u64 = 1 << 20;
/// How long one request of the sink `http` may take, unless the manifest says otherwise.
pub const HTTP_SENT_TIME: Duration = Duration::from_secs(30);
/// The longest that a manifest may ask for.
pub const HTTP_SENT_TIME_MAX: Duration = Duration::from_secs(600);
/// Requests of one sink that are under way at once.
pub const HTTP_SENDERS_MAX: usize = 64;
/// What is read of an answer, so that its connection can be used again.
pub const HTTP_ANSWER_READ_BYTES: usize = 64 << 10;
/// What is kept of an answer, to be told.
pub const HTTP_ANSWER_SHOWN_BYTES: usize = 1 << 10;

/// The name of a repository, as other registries have it.
pub const REGISTRY_NAME_BYTES_MAX: usize = 255;
/// A tag: the grammar of the specification.
pub const REGISTRY_TAG_BYTES_MAX: usize = 128;
/// A manifest: what the specification has a registry take at least, and most take at most.
pub const REGISTRY_MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Tags that a manifest gets with one request: the answer names them all in one header, of which some take 8 KiB.
pub const REGISTRY_TAGS_AT_ONCE: usize = 50;
/// Entries of one page of a list.
pub const REGISTRY_PAGE_ENTRIES_MAX: usize = 10_000;
/// Descriptors of one page of referrers, as JSON; one that is larger is a page of its own.
pub const REGISTRY_REFERRERS_BYTES_MAX: usize = 4 << 20;
/// What is read, hashed and written of a content at a time, for each request.
pub const REGISTRY_PIECE_BYTES: usize = 256 << 10;
/// Buffers of such pieces that are kept to be filled again.
pub const REGISTRY_PIECES_KEPT: usize = 32;
/// What is hashed and written at a time of a body that comes in: for each that is under way, so much is held.
pub const REGISTRY_RECEIVED_BYTES: usize = 64 << 10;
/// Parts, as they come from a connection, that are written at a time: each holds on to what it was read into.
pub const REGISTRY_PIECE_PARTS_MAX: usize = 64;
/// Pages of the index that are kept in memory; the system keeps more.
pub const REGISTRY_CACHE_BYTES: usize = 4 << 20;
/// Contents that are made durable at once: each has a thread as long as that takes. Others wait for their turn without one, and
/// those who read do not wait for them.
pub const REGISTRY_WRITES_AT_ONCE: usize = 32;
/// Changes of the index that share one commit.
pub const REGISTRY_CHANGES_MAX: usize = 256;
/// Uploads that a process knows; others are found by their files.
pub const REGISTRY_UPLOADS_MAX: usize = 4096;
/// How long an upload may lie there untouched before it is collected.
pub const REGISTRY_UPLOAD_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Contents that were read and right a short while ago, and are given without being computed again.
pub const REGISTRY_VERIFIED_MAX: usize = 16 << 10;
/// How long that is.
pub const REGISTRY_VERIFIED_TIME: Duration = Duration::from_secs(600);
/// Blobs of which it is remembered that somebody asked for them, so that they are not collected before they are named:
/// twice as many at most.
pub const REGISTRY_RECENT_MAX: usize = 16 << 10;
/// How young what nothing names has to be for garbage collection to leave it, unless `--grace` says otherwise: a push
/// takes less.
pub const REGISTRY_GRACE: Duration = Duration::from_secs(60 * 60);
/// Repositories, or contents, that are walked over within one look at the index.
pub const REGISTRY_WALKED_AT_ONCE: usize = 256;
/// Contents that are removed while pushes wait.
pub const REGISTRY_DISCARDED_AT_ONCE: usize = 64;
/// What is wrong, in lines: the first of them.
pub const REGISTRY_PROBLEMS_MAX: usize = 1000;
/// Repositories that are looked through for a blob that is to be mounted from anywhere.
pub const REGISTRY_HOLDERS_TRIED: usize = 100;
/// Connections that are kept.
pub const REGISTRY_CONNECTIONS: usize = 1024;
/// The head of a request: scopes and tokens make it long.
pub const REGISTRY_HEAD_BYTES_MAX: usize = 64 << 10;
/// How long a head may take to come in, and how long a connection may be silent.
pub const REGISTRY_HEAD_TIME: Duration = Duration::from_secs(60);
/// How long the next bytes of a body may take.
pub const REGISTRY_BODY_TIME: Duration = Duration::from_secs(30);
/// What is read of a body that nobody wants, so that its client comes to the answer.
pub const REGISTRY_BODY_DRAINED_BYTES: usize = 1 << 20;
/// A form that asks for a token.
pub const REGISTRY_FORM_BYTES_MAX: usize = 64 << 10;
/// Scopes that a token is asked for at once.
pub const REGISTRY_SCOPES_MAX: usize = 100;
/// A token that somebody shows.
pub const REGISTRY_TOKEN_BYTES_MAX: usize = 32 << 10;
/// How long a token lets somebody in.
pub const REGISTRY_TOKEN_TIME: Duration = Duration::from_secs(300);
/// How long a token gets somebody others.
pub const REGISTRY_REFRESH_TIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Passwords that are checked at once: each takes a core for a tenth of a second.
pub const REGISTRY_PASSWORDS_CHECKED: usize = 2;
/// Passwords that wait for that, or are in it. Beyond it is a 429.
pub const REGISTRY_PASSWORDS_WAITING: usize = 128;
/// Passwords that were right a short while ago, and are not computed again.
pub const REGISTRY_PASSWORDS_REMEMBERED: usize = 1024;
/// How long that is.
pub const REGISTRY_PASSWORD_TIME: Duration = Duration::from_secs(600);
/// What a registry that runs is asked over its socket, and what it tells.
pub const REGISTRY_ADMIN_BYTES_MAX: u64 = 1 << 20;

/// A lock, with the schemas of the configs of all its components.
pub const LOCK_BYTES_MAX: usize = 16 << 20;
/// Components of one lock: one for each stage that a pipeline can have.
pub const LOCK_COMPONENTS_MAX: usize = STAGES_MAX;

/// What was pulled to be run and is kept by this user, all of it: what was used longest ago goes.
pub const COMPONENT_CACHE_BYTES: u64 = 4 << 30;
/// Files of that: manifests and signatures are small.
pub const COMPONENT_CACHE_ENTRIES_MAX: usize = 10_000;
/// After which a file in it that never became whole was left by a crash.
pub const COMPONENT_CACHE_PART_AGE: Duration = Duration::from_secs(24 * 60 * 60);
