//! Real work: 4.0 million rows of a public CSV with 19 columns. Keep the flights that left at least 20 minutes
//! late (a fifth), project five columns, add one, write JSON lines. Everybody does exactly this.

mod check;
mod conveyor;
mod data;
mod duckdb;
mod formats;
mod native;

pub use check::{CheckError, Content};
pub use conveyor::{json, tables};
pub use data::{DataError, Flights};
pub use duckdb::{DuckDb, DuckDbError};
pub use formats::{FORMATS, Format, Formats, Peer};
pub use native::{NativeError, fused, with_values};

/// Flights that left earlier than this many minutes late are dropped.
pub const LATE_MINUTES: i64 = 20;
/// What the data has where there is nothing: a flight that was cancelled has no delay.
pub const NULL: &[u8] = b"NA";
/// What the added column is worked out with.
pub const KILOMETRES_PER_MILE: f64 = 1.609344;
