//! Bounds of a client of registries.

use std::time::Duration;

/// How long a connection to a registry may take to be made, TLS included.
pub const CLIENT_CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long nothing may come and nothing may go while a request is under way. A registry that moves a large blob to where it
/// belongs is silent for as long as that takes.
pub const CLIENT_SILENCE: Duration = Duration::from_secs(120);
/// How long an answer to a question may take to begin, and each of its pieces to come. Only what was sent may be worked on for
/// longer, see [`CLIENT_SILENCE`].
pub const CLIENT_ANSWER_TIME: Duration = Duration::from_secs(30);
/// How often is asked again where nothing came for so long.
pub const CLIENT_TRIES_AGAIN_SILENT: u32 = 1;
/// How often a request is tried again that failed on its way, or that the registry had no time for.
pub const CLIENT_TRIES_AGAIN: u32 = 5;
/// How often it is where that may well stay so: nobody listens there, or the registry failed.
pub const CLIENT_TRIES_AGAIN_DOUBTFUL: u32 = 2;
/// The wait before the first of these tries; each wait is twice as long as the one before.
pub const CLIENT_WAIT: Duration = Duration::from_millis(200);
/// The longest of these waits.
pub const CLIENT_WAIT_MAX: Duration = Duration::from_secs(10);
/// The longest wait that a registry may ask for: who is to wait longer is told so.
pub const CLIENT_RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// How often a transfer goes on after it broke off, as long as each try brings some of it.
pub const CLIENT_RESUMED_MAX: u32 = 100;
/// How often an upload is begun anew that cannot go on where it broke off.
pub const CLIENT_UPLOADS_BEGUN: u32 = 4;
/// Redirects that are followed one after the other.
pub const CLIENT_REDIRECTS_MAX: usize = 10;
/// What is read and sent of a file at a time.
pub const CLIENT_PIECE_BYTES: usize = 256 << 10;
/// Pieces of a download that came and are not written yet.
pub const CLIENT_PIECES_AHEAD: usize = 16;
/// Blobs of one image that are on their way at once.
pub const CLIENT_BLOBS_AT_ONCE: usize = 4;
/// A blob that is sent along with the question whether it may be: where the answer is that it has to be sent otherwise, it is
/// sent twice.
pub const CLIENT_AT_ONCE_BYTES_MAX: u64 = 256 << 10;
/// What is read of an answer that says why something is refused.
pub const CLIENT_ERROR_BYTES_MAX: usize = 64 << 10;
/// Characters of it that are shown.
pub const CLIENT_ERROR_SHOWN_CHARS: usize = 400;
/// A page of a list.
pub const CLIENT_PAGE_BYTES_MAX: usize = 16 << 20;
/// Entries that a page of a list is asked for with.
pub const CLIENT_PAGE_ENTRIES: usize = 1000;
/// Pages of one list.
pub const CLIENT_PAGES_MAX: usize = 10_000;
/// Entries of one list.
pub const CLIENT_ENTRIES_MAX: usize = 1_000_000;
/// An answer of somebody who gives tokens.
pub const CLIENT_TOKEN_ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a token is good for that does not say so: what the specification of tokens has.
pub const CLIENT_TOKEN_TIME: Duration = Duration::from_secs(60);
/// The longest that one is believed to be good for.
pub const CLIENT_TOKEN_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How much earlier than it says a token is given up, so that it does not expire on its way.
pub const CLIENT_TOKEN_MARGIN: Duration = Duration::from_secs(5);
/// Tokens that are kept for one registry.
pub const CLIENT_TOKENS_KEPT: usize = 256;
/// The file with names and passwords.
pub const CLIENT_CONFIG_BYTES_MAX: u64 = 4 << 20;
/// How long a program that keeps passwords may take: it may ask somebody.
pub const CLIENT_HELPER_TIME: Duration = Duration::from_secs(120);
/// What such a program may say.
pub const CLIENT_HELPER_BYTES_MAX: u64 = 1 << 20;
/// A password that is read from standard input.
pub const CLIENT_PASSWORD_BYTES_MAX: u64 = 64 << 10;
/// How often an index of referrers is written again that somebody else wrote at the same time.
pub const CLIENT_INDEX_TRIES: u32 = 8;
/// Indexes within one another that are copied.
pub const CLIENT_INDEX_DEPTH: usize = 8;
/// Manifests that are copied with one: those of its indexes, and what says something of them.
pub const CLIENT_COPIED_MANIFESTS: usize = 10_000;
