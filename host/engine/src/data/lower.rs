//! Columns of the host as they go in.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::datatypes::{
    Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type,
    UInt64Type,
};
use model::batch::{Column, Rows};
use model::fields::{FieldSpec, Kind};

use super::Call;
use super::gather::{VarlenScratch, bits, fixed, valid, varlen};
use super::headers::{HeaderScratch, lower_headers};
use crate::contract::{BatchIn, BlobColumnIn, ColumnIn, DataIn, DictionaryIn, TableIn};
use crate::error::InputError;

/// Buffers for what has to be gathered, kept with the instance from call to call.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    times: Vec<i64>,
    keys: BlobScratch,
    headers: HeaderScratch,
    values: BlobScratch,
    columns: Vec<ColumnScratch>,
}

#[derive(Debug, Default)]
pub(super) struct BlobScratch {
    valid: Vec<u8>,
    blobs: VarlenScratch,
}

/// Only what the kind of the column needs is ever filled.
#[derive(Debug, Default)]
struct ColumnScratch {
    valid: Vec<u8>,
    bools: Vec<u8>,
    s32s: Vec<i32>,
    s64s: Vec<i64>,
    u64s: Vec<u64>,
    f32s: Vec<f32>,
    f64s: Vec<f64>,
    indices: Vec<u32>,
    bytes: VarlenScratch,
}

/// The texts of a dictionary are never seen through a selection.
const ALL: Rows = Rows::All;

/// A batch of opaque records: one binary column.
pub(crate) fn lower_records<'a>(
    call: &Call<'a>,
    scratch: &'a mut Scratch,
) -> Result<BatchIn<'a>, InputError> {
    let [values] = call.columns else {
        return Err(InputError::Columns { found: call.columns.len(), expected: 1 });
    };
    Ok(BatchIn {
        rows: call.rows as u32,
        times: call.times.map(|column| times(column, &mut scratch.times)).transpose()?,
        keys: call.keys.map(|column| blobs("the keys", column, &mut scratch.keys)).transpose()?,
        headers: call.headers.map(|column| lower_headers(column, &mut scratch.headers)).transpose()?,
        values: blobs("the values", values, &mut scratch.values)?,
    })
}

/// A batch of typed rows with the `wanted` columns. They are handed to `with`, since a table borrows them.
pub(crate) fn lower_table<'a>(
    call: &Call<'a>,
    wanted: &[FieldSpec],
    scratch: &'a mut Scratch,
    columns: &'a mut Vec<ColumnIn<'a>>,
) -> Result<TableIn<'a>, InputError> {
    if call.columns.len() != wanted.len() {
        return Err(InputError::Columns { found: call.columns.len(), expected: wanted.len() });
    }
    scratch.columns.resize_with(wanted.len(), ColumnScratch::default);
    for ((column, spec), scratch) in call.columns.iter().zip(wanted).zip(&mut scratch.columns) {
        columns.push(lower_column(column, spec, scratch)?);
    }
    Ok(TableIn {
        rows: call.rows as u32,
        times: call.times.map(|column| times(column, &mut scratch.times)).transpose()?,
        keys: call.keys.map(|column| blobs("the keys", column, &mut scratch.keys)).transpose()?,
        columns,
    })
}

fn wrong_type(what: &str, array: &ArrayRef, expected: &str) -> InputError {
    let found = array.data_type().to_string();
    InputError::Type { what: what.to_owned(), found, expected: expected.to_owned() }
}

fn times<'a>(column: &'a Column, scratch: &'a mut Vec<i64>) -> Result<&'a [i64], InputError> {
    let array = column.values().as_primitive_opt::<TimestampMicrosecondType>();
    let array = array.ok_or_else(|| wrong_type("the times", column.values(), "times"))?;
    Ok(fixed(array.values(), column.rows(), scratch))
}

fn blobs<'a>(
    what: &str,
    column: &'a Column,
    scratch: &'a mut BlobScratch,
) -> Result<BlobColumnIn<'a>, InputError> {
    let array = column.values().as_binary_opt::<i32>();
    let array: &BinaryArray = array.ok_or_else(|| wrong_type(what, column.values(), "blobs"))?;
    let blobs = varlen(array.offsets(), array.values(), column.rows(), &mut scratch.blobs)
        .map_err(|bytes| InputError::TooLarge { what: what.to_owned(), bytes })?;
    Ok(BlobColumnIn { valid: valid(array.nulls(), column.rows(), &mut scratch.valid), blobs })
}

fn lower_column<'a>(
    column: &'a Column,
    spec: &FieldSpec,
    scratch: &'a mut ColumnScratch,
) -> Result<ColumnIn<'a>, InputError> {
    let (array, rows) = (column.values(), column.rows());
    let wrong = || wrong_type(&format!("column `{}`", spec.name), array, spec.kind.name());
    macro_rules! numbers {
        ($type:ty, $scratch:ident) => {{
            let array = array.as_primitive_opt::<$type>().ok_or_else(wrong)?;
            fixed(array.values(), rows, &mut scratch.$scratch)
        }};
    }
    let too_large = |bytes| InputError::TooLarge { what: format!("column `{}`", spec.name), bytes };
    let data = match spec.kind {
        Kind::Bools => {
            let array = array.as_boolean_opt().ok_or_else(wrong)?;
            DataIn::Bools(bits(array.values(), rows, &mut scratch.bools))
        }
        Kind::S32s => DataIn::S32s(numbers!(Int32Type, s32s)),
        Kind::S64s => DataIn::S64s(numbers!(Int64Type, s64s)),
        Kind::U64s => DataIn::U64s(numbers!(UInt64Type, u64s)),
        Kind::F32s => DataIn::F32s(numbers!(Float32Type, f32s)),
        Kind::F64s => DataIn::F64s(numbers!(Float64Type, f64s)),
        Kind::Times => DataIn::Times(numbers!(TimestampMicrosecondType, s64s)),
        Kind::Days => DataIn::Days(numbers!(Date32Type, s32s)),
        Kind::Texts | Kind::Jsons => {
            let array = array.as_string_opt::<i32>().ok_or_else(wrong)?;
            let texts =
                varlen(array.offsets(), array.values(), rows, &mut scratch.bytes).map_err(too_large)?;
            if spec.kind == Kind::Texts { DataIn::Texts(texts) } else { DataIn::Jsons(texts) }
        }
        Kind::Blobs => {
            let array = array.as_binary_opt::<i32>().ok_or_else(wrong)?;
            let blobs =
                varlen(array.offsets(), array.values(), rows, &mut scratch.bytes).map_err(too_large)?;
            DataIn::Blobs(blobs)
        }
        Kind::Dictionaries => {
            let array = array.as_dictionary_opt::<UInt32Type>().ok_or_else(wrong)?;
            let texts = array.values().as_string_opt::<i32>().ok_or_else(wrong)?;
            let indices = fixed(array.keys().values(), rows, &mut scratch.indices);
            // A text that is absent makes every value that refers to it absent.
            let of_texts = (texts.null_count() > 0).then(|| array.logical_nulls()).flatten();
            let texts = varlen(texts.offsets(), texts.values(), &ALL, &mut scratch.bytes);
            let data = DataIn::Dictionaries(DictionaryIn { indices, texts: texts.map_err(too_large)? });
            if of_texts.is_some() {
                let bitmap = valid(of_texts.as_ref(), rows, &mut Vec::new()).map(<[u8]>::to_vec);
                scratch.valid = bitmap.unwrap_or_default();
                return Ok(ColumnIn { valid: (!scratch.valid.is_empty()).then_some(&scratch.valid), data });
            }
            data
        }
        Kind::Opaque => return Err(wrong()),
    };
    Ok(ColumnIn { valid: valid(array.nulls(), rows, &mut scratch.valid), data })
}

/// For tests of what lowers.
#[cfg(test)]
pub(super) fn texts_of(varlen: crate::contract::VarlenIn<'_>) -> Vec<String> {
    let bytes = varlen.bytes.to_vec();
    let text = |w: &[u32]| String::from_utf8_lossy(&bytes[w[0] as usize..w[1] as usize]).into_owned();
    varlen.offsets.windows(2).map(text).collect()
}
