//! Rows that are refused, in full: every column that the file has, of the type that it has there, whatever the stream is
//! and whoever wants what of it.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{FieldRef, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use model::batch::Column;
use model::convert::JsonWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::guard::guarded;
use super::schema::Opened;
use super::steps::integers;
use super::{RefusedRow, groups_from};

/// One row for each that is refused of those from `offset` on. What cannot be read is left out, down to the columns that
/// somebody wants: `rows` has those.
pub(super) fn whole(
    opened: &Opened,
    offset: u64,
    rows: &RecordBatch,
    refused: &[RefusedRow],
) -> Option<RecordBatch> {
    let first = refused.first()?.0;
    let picks = |from: u32| UInt32Array::from_iter_values(refused.iter().map(|(row, ..)| row - from));
    let roots = opened.schema.fields().iter().enumerate();
    let readable = roots.filter(|(_, field)| !opened.unreadable.contains_key(field.name()));
    let readable: Vec<usize> = readable.map(|(index, _)| index).collect();
    let count = refused.last()?.0 - first + 1;
    let all = guarded(|| read(opened, &readable, offset + u64::from(first), count as usize));
    let found = match all {
        Ok(Some(all)) => take_record_batch(&all, &picks(first)),
        _ => take_record_batch(rows, &picks(0)),
    };
    given(opened, &found.ok()?)
}

fn read(opened: &Opened, roots: &[usize], offset: u64, count: usize) -> Option<RecordBatch> {
    let (file, metadata) = (opened.file.try_clone().ok()?, opened.metadata.clone());
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.iter().copied());
    let (groups, skip) = groups_from(&metadata, offset);
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let builder = builder.with_projection(mask).with_batch_size(count).with_row_groups(groups);
    let reader = builder.with_offset(skip).with_limit(count).build().ok()?;
    let rows = reader.collect::<Result<Vec<_>, _>>().ok()?;
    let all = concat_batches(rows.first()?.schema_ref(), &rows).ok()?;
    (all.num_rows() == count).then_some(all)
}

/// The columns as the file is said to have them, as far as they have a form in which they can be shown.
fn given(opened: &Opened, found: &RecordBatch) -> Option<RecordBatch> {
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (found, column) in found.schema_ref().fields().iter().zip(found.columns()) {
        let Ok(field) = opened.schema.field_with_name(found.name()) else { continue };
        let column = match opened.wide.get(found.name()) {
            Some(signed) => integers(column, *signed).ok()?,
            None => column.clone(),
        };
        let field: FieldRef = Arc::new(field.clone());
        if has_form(&field, &column) {
            fields.push(field);
            columns.push(column);
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(found.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).ok()
}

fn has_form(field: &FieldRef, column: &ArrayRef) -> bool {
    let writer = JsonWriter::new(&Schema::new(vec![field.clone()]));
    writer.write(&[Column::new(column.clone())], 0, &mut Vec::new(), |_| {}).is_ok()
}
