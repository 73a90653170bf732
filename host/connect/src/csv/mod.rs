//! CSV into columns, for the columns that somebody wants and no others.
//!
//! Three passes over a piece of input that is still in the cache. `index` finds where fields and rows end,
//! 64 bytes at a time; `rows` sets aside the rows that do not have the right number of fields; `columns` then
//! goes down each wanted column and turns its fields into values. A field that nobody wants costs one entry
//! of the index: it is neither copied, unquoted, checked nor parsed.
//!
//! Why not arrow-csv or the `csv` crate: both step through every byte with a state machine and copy all fields
//! of a row before anybody says which ones matter, and arrow-csv gives up a whole batch for one bad row. On 373 MB
//! with 19 columns, six of them wanted, this takes a little over half of their time, reading included
//! (`examples/csv_speed.rs` measures it).
//!
//! What is CSV is what the `csv` crate says, and tests hold it to that: a quote counts at the beginning of a
//! field, two stand for one inside a quoted field, what follows a closing quote is taken as it is, empty
//! lines are skipped. How rows end, the first line of a file says (`dialect`).

mod columns;
mod decoder;
mod dialect;
mod field;
mod index;
mod masks;
mod rows;
mod sniff;
mod state;
mod zeek;

pub(crate) use columns::{Target, with_point};
pub(crate) use decoder::{CsvColumn, CsvDecoder, CsvLayout, not_zeek, read_header};
pub(crate) use dialect::{CsvForm, Dialect, RowEnds};
pub(crate) use field::Field;
pub(crate) use index::Index;
pub(crate) use rows::is_blank;
pub(crate) use sniff::{Named, better};
pub(crate) use state::State;
pub(crate) use zeek::{ZeekHeader, ZeekType};
