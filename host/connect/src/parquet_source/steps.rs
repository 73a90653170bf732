//! From the rows of one file to those of the stream: columns in their order, of their types, and the rows that do not fit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal256Array, UInt32Array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options, take_record_batch};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef, i256};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use model::convert::{BAD_CAST, BAD_ROW, CastError, cast_array, convert_array};
use model::fields::{FieldSpec, Kind, Meaning};

use super::checks::misfits;
use super::schema::{WIDE, Wide};
use crate::stream::no_time;

/// A row that is none, the code, and why.
pub(super) type RefusedRow = (u32, &'static str, String);

/// The columns of the stream that are wanted.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// Each with whether the manifest declares its type.
    pub(super) columns: Vec<(bool, FieldRef)>,
    /// Which of them has to have a time in each row.
    pub(super) time: Option<usize>,
}

/// What is done with each column that is wanted of a file.
pub(super) struct Steps {
    schema: SchemaRef,
    /// Indices of the columns that are read of the file, ascending.
    columns: Vec<usize>,
    steps: Vec<Step>,
    /// Which column of the stream has to have a time in each row.
    time: Option<usize>,
}

struct Step {
    /// Where the column is among those that are read. None where the file lacks it.
    at: Option<usize>,
    /// As it is in the file.
    found: Field,
    to: FieldRef,
    /// Whether the manifest declares the type, so that the column is not just widened.
    declared: bool,
    /// Of integers of 128 bits: whether they have a sign.
    wide: Option<bool>,
}

impl Steps {
    /// The columns of `file` become those of the stream.
    pub(super) fn new(given: &Given, file: &Schema, wide: &Wide) -> Self {
        let Given { columns: given, time } = given;
        let there = model::fields::places(file);
        let places: Vec<Option<usize>> =
            given.iter().map(|(_, to)| there.get(to.name().as_str()).copied()).collect();
        let mut columns: Vec<usize> = places.iter().flatten().copied().collect();
        columns.sort_unstable();
        columns.dedup();
        let step = |((declared, to), place): (&(bool, FieldRef), &Option<usize>)| Step {
            at: place.and_then(|place| columns.binary_search(&place).ok()),
            found: place.map_or((**to).clone(), |place| file.field(place).clone()),
            to: to.clone(),
            declared: *declared,
            wide: wide.get(to.name()).copied(),
        };
        let steps = given.iter().zip(&places).map(step).collect();
        let schema = Schema::new(given.iter().map(|(_, to)| to.clone()).collect::<Vec<_>>());
        Self { schema: Arc::new(schema), columns, steps, time: *time }
    }

    /// Indices of the columns to read.
    pub(super) fn columns(&self) -> Vec<usize> {
        self.columns.clone()
    }

    /// Rows of the stream, and those of them that are none, ascending, with the reason. An error is one of a column.
    pub(super) fn take(
        &self,
        rows: &RecordBatch,
    ) -> Result<(RecordBatch, Vec<RefusedRow>), (String, CastError)> {
        let mut columns = Vec::with_capacity(self.steps.len());
        let mut refused: Vec<RefusedRow> = Vec::new();
        for step in &self.steps {
            let of_column = |error| (step.to.name().clone(), error);
            let Some(at) = step.at else {
                columns.push(new_null_array(step.to.data_type(), rows.num_rows()));
                continue;
            };
            let (column, failed) = step.convert(rows.column(at)).map_err(of_column)?;
            columns.push(column);
            let name = step.to.name();
            let what = FieldSpec::of(&step.to).to_string();
            let of_row = |row| (row, BAD_CAST, format!("column `{name}`: the value is none of `{what}`"));
            refused.extend(failed.into_iter().map(of_row));
            let misfits = misfits(&step.found, rows.column(at)).into_iter();
            refused.extend(misfits.map(|(row, why)| (row, BAD_ROW, format!("column `{name}`: {why}"))));
        }
        if let Some((at, field)) = self.time.map(|at| (at, &self.steps[at].to)) {
            let of_column = |error| (field.name().clone(), error);
            let (times, _) = cast_array(field, &columns[at], Kind::Times).map_err(of_column)?;
            let nulls = times.logical_nulls();
            let has_none = |row: &u32| nulls.as_ref().is_some_and(|nulls| nulls.is_null(*row as usize));
            let lost = (0..times.len() as u32).filter(has_none);
            refused.extend(lost.map(|row| (row, BAD_ROW, no_time(field.name()))));
        }
        refused.sort_by_key(|(row, ..)| *row);
        refused.dedup_by_key(|(row, ..)| *row);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options);
        Ok((rows.map_err(|error| (String::new(), error.into()))?, refused))
    }
}

impl Step {
    fn convert(&self, column: &ArrayRef) -> Result<(ArrayRef, Vec<u32>), CastError> {
        let wide;
        let column = match self.wide {
            Some(signed) => {
                wide = integers(column, signed)?;
                &wide
            }
            None => column,
        };
        let to = self.to.data_type();
        let is_same = Meaning::of(&self.found) == Meaning::of(&self.to);
        if is_same && column.data_type() == to {
            return Ok((column.clone(), Vec::new()));
        }
        if self.declared {
            return convert_array(&self.found, column, &self.to);
        }
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let cast = cast_with_options(column, to, &options)?;
        let (before, after) = (column.logical_nulls(), cast.logical_nulls());
        let is_null =
            |nulls: &Option<NullBuffer>, row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let failed = (0..cast.len()).filter(|&row| is_null(&after, row) && !is_null(&before, row));
        let failed = failed.map(|row| row as u32).collect();
        Ok((cast, failed))
    }
}

/// Integers of 128 bits, the lowest byte first, as decimals.
pub(super) fn integers(column: &ArrayRef, signed: bool) -> Result<ArrayRef, ArrowError> {
    let number = |bytes: &[u8]| {
        let bytes: [u8; 16] = bytes.try_into().unwrap_or_default();
        if signed {
            i256::from_i128(i128::from_le_bytes(bytes))
        } else {
            i256::from_parts(u128::from_le_bytes(bytes), 0)
        }
    };
    let values = column.as_fixed_size_binary().iter().map(|bytes| bytes.map(number));
    let decimals: Decimal256Array = values.collect();
    Ok(Arc::new(decimals.with_data_type(WIDE)))
}

/// These rows and no others.
pub(super) fn pick(rows: &RecordBatch, keep: Vec<u32>) -> Result<RecordBatch, ArrowError> {
    take_record_batch(rows, &UInt32Array::from(keep))
}
