//! Conversions between what neighbours say: typed rows and JSON, one type of column and another, columns and
//! keys.
//!
//! The plan decides where one is needed and shows it. Everything here is pure, works on whole batches, and
//! gives back the rows that it cannot convert, one by one, so that the rest goes on.
//!
//! **Typed rows as JSON** ([`JsonWriter`]): one object a row, the columns in their order. A null is written
//! as `null`, so that every row has the same keys and a reader that samples sees all of them. Each type has one form,
//! at the top and inside of lists, structs and maps ([`Form`]); docs/types.md has the table.
//!
//! **JSON as typed rows** ([`JsonReader`]): the inverse. A field that is absent is null; one that is not in
//! the schema is treated as `unknown:` says; a record that is not JSON is refused as `bad-json`, one that
//! does not fit as `bad-row`.

mod cast;
mod forms;
mod json_check;
mod json_read;
mod json_scan;
mod json_write;
mod keys;
pub mod text;
pub mod times;

pub use cast::{CastError, can_cast, can_convert, cast_array, cast_column, convert_array};
pub use forms::{Form, NoForm};
pub use json_check::is_json_text;
pub use json_read::{JsonReader, JsonReaderError, REST, RowError, from_json};
pub use json_scan::{Scalar, is_json, members};
pub use json_write::{JsonWriter, to_json};
pub use keys::{PointerError, keys_of_column, keys_of_pointer};

use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::fields::Kind;
use crate::plain;

/// The record is not JSON, or no JSON object where one is needed.
pub const BAD_JSON: &str = "bad-json";
/// The record does not fit its schema.
pub const BAD_ROW: &str = "bad-row";
/// A column's value cannot be cast to what a stage wants.
pub const BAD_CAST: &str = "bad-cast";

/// How much of a value a message shows.
const SHOWN_CHARS_MAX: usize = 40;

/// That a value of a column cannot be cast to what a stage wants.
pub fn cannot_cast(column: &str, values: &dyn Array, row: u32, kind: Kind) -> String {
    let options = FormatOptions::default();
    let value = ArrayFormatter::try_new(values, &options)
        .ok()
        .and_then(|values| values.value(row as usize).try_to_string().ok());
    let value = value.map(|value| format!(" `{}`", shown(value.as_bytes()))).unwrap_or_default();
    format!("the value{value} of column `{column}` cannot be cast to {}", kind.value_in_words())
}

/// A value as a message shows it: cut, and always text of one line.
pub fn shown(value: &[u8]) -> String {
    let cut = &value[..value.len().min(SHOWN_CHARS_MAX * 4)];
    let text = String::from_utf8_lossy(cut);
    let beginning: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let mut shown = plain::line(&beginning).into_owned();
    if beginning.len() < value.len() && text.chars().count() > SHOWN_CHARS_MAX {
        shown.push_str("...");
    }
    shown
}
