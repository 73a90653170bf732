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
//! lines are skipped. A row ends with `\n`, with or without `\r` before it; a lone `\r` is data.

mod columns;
mod decoder;
mod field;
mod index;
mod masks;
mod rows;

pub(crate) use columns::Target;
pub(crate) use decoder::{CsvColumn, CsvDecoder, CsvLayout, read_header};
pub(crate) use field::Field;
pub(crate) use index::{Dialect, Index};
