//! The unit that moves: columns with times, keys, headers and lineage, each seen through a selection.
//!
//! A forwarded record is never copied. A stage says by index what it passes on, and the host keeps the old
//! buffers with a new selection, until a stage or a sink needs the rows side by side. Columns that a stage
//! sets come without a selection next to selected ones, so the selection belongs to the column; columns
//! that share one share its memory.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, BinaryArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::ids::RecordId;
use crate::lineage::Lineage;
pub use crate::rows::Rows;

/// An array seen through a selection.
#[derive(Clone, Debug)]
pub struct Column {
    values: ArrayRef,
    rows: Rows,
}

impl Column {
    /// All values of `values`, in their order.
    pub fn new(values: ArrayRef) -> Self {
        Self { values, rows: Rows::All }
    }

    pub fn with_rows(values: ArrayRef, rows: Rows) -> Self {
        Self { values, rows }
    }

    /// The values behind the selection; row `i` of the column is value `rows().at(i)`.
    pub fn values(&self) -> &ArrayRef {
        &self.values
    }

    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::All => self.values.len(),
            Rows::At(rows) => rows.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows side by side: copies only where there is a selection.
    pub fn flat(&self) -> Result<ArrayRef, ArrowError> {
        match &self.rows {
            Rows::All => Ok(self.values.clone()),
            Rows::At(rows) => {
                let rows = UInt32Array::from(rows.to_vec());
                take(&self.values, &rows, None)
            }
        }
    }
}

/// The name of the one column of a stream of opaque records.
pub const VALUE: &str = "value";

/// The schema of a stream of records that the host does not look into. It is there once, so that whoever has to know
/// whether two batches have the same one compares two pointers.
pub fn opaque_schema() -> SchemaRef {
    static OPAQUE: LazyLock<SchemaRef> =
        LazyLock::new(|| Arc::new(Schema::new(vec![Field::new(VALUE, DataType::Binary, true)])));
    OPAQUE.clone()
}

/// Records on their way from one stage to the next.
#[derive(Clone, Debug)]
pub struct Batch {
    schema: SchemaRef,
    rows: usize,
    columns: Vec<Column>,
    parts: Parts,
    lineage: Lineage,
    repeats: u32,
}

/// What a record has beside its columns. None where no record of the batch has it.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Event times: timestamps in microseconds since the Unix epoch.
    pub times: Option<Column>,
    /// Keys: binary, null where a record has none.
    pub keys: Option<Column>,
    /// Headers: a map from text to binary.
    pub headers: Option<Column>,
}

impl Parts {
    /// Those of the rows `picks`, in that order.
    pub fn pick(&self, picks: &Arc<[u32]>) -> Self {
        Picker::new(picks).parts(self)
    }

    /// Those that are there.
    #[inline]
    pub(crate) fn present(&self) -> impl Iterator<Item = &Column> {
        [&self.times, &self.keys, &self.headers].into_iter().flatten()
    }
}

/// Why columns do not make a batch.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
pub enum BatchError {
    #[error("{columns} columns for a schema of {fields} fields")]
    Fields { columns: usize, fields: usize },
    #[error("column `{name}` has {found} rows, the batch has {rows}")]
    Length { name: String, found: usize, rows: usize },
    #[error("column `{name}` is {found}, its field says {expected}")]
    Type { name: String, found: DataType, expected: DataType },
}

impl Batch {
    /// Checks lengths and types once, so that nobody downstream has to.
    pub fn new(
        schema: SchemaRef,
        rows: usize,
        columns: Vec<Column>,
        parts: Parts,
        lineage: Lineage,
    ) -> Result<Self, BatchError> {
        if columns.len() != schema.fields().len() {
            return Err(BatchError::Fields { columns: columns.len(), fields: schema.fields().len() });
        }
        for (column, field) in columns.iter().zip(schema.fields()) {
            check_length(field.name(), column, rows)?;
            if column.values.data_type() != field.data_type() {
                return Err(BatchError::Type {
                    name: field.name().clone(),
                    found: column.values.data_type().clone(),
                    expected: field.data_type().clone(),
                });
            }
        }
        for (name, part) in [("times", &parts.times), ("keys", &parts.keys), ("headers", &parts.headers)] {
            if let Some(column) = part {
                check_length(name, column, rows)?;
            }
        }
        Ok(Self { schema, rows, columns, parts, lineage, repeats: 1 })
    }

    /// A batch straight from an Arrow record batch, as sources make it.
    pub fn from_arrow(batch: &RecordBatch, parts: Parts, lineage: Lineage) -> Result<Self, BatchError> {
        let columns = batch.columns().iter().cloned().map(Column::new).collect();
        Self::new(batch.schema(), batch.num_rows(), columns, parts, lineage)
    }

    /// A batch of opaque records.
    pub fn from_values(values: BinaryArray, parts: Parts, lineage: Lineage) -> Result<Self, BatchError> {
        let rows = values.len();
        Self::new(opaque_schema(), rows, vec![Column::new(Arc::new(values))], parts, lineage)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// The id of each record, in order. They are worked out here, so this is for where somebody needs them.
    pub fn ids(&self) -> Vec<RecordId> {
        (0..self.rows).map(|row| self.lineage.id(row)).collect()
    }

    /// How often a selection names one value at most: rows can stand for so many times what is held.
    pub fn repeats(&self) -> u32 {
        self.repeats
    }

    pub(crate) fn repeating(self, repeats: u32) -> Self {
        Self { repeats, ..self }
    }

    /// The rows `picks` of this batch, each at most once, in that order; nothing is copied. Selections that columns
    /// share stay shared.
    pub fn pick(&self, picks: &Arc<[u32]>) -> Self {
        let mut picker = Picker::new(picks);
        Self {
            schema: self.schema.clone(),
            rows: picks.len(),
            columns: self.columns.iter().map(|column| picker.column(column)).collect(),
            parts: picker.parts(&self.parts),
            lineage: picker.lineage(&self.lineage),
            repeats: self.repeats,
        }
    }

    /// The same rows with other columns.
    pub fn with_columns(&self, schema: SchemaRef, columns: Vec<Column>) -> Result<Self, BatchError> {
        let batch = Self::new(schema, self.rows, columns, self.parts.clone(), self.lineage.clone())?;
        Ok(batch.repeating(self.repeats))
    }

    pub fn with_parts(self, parts: Parts) -> Result<Self, BatchError> {
        let batch = Self::new(self.schema, self.rows, self.columns, parts, self.lineage)?;
        Ok(batch.repeating(self.repeats))
    }

    pub fn with_lineage(mut self, lineage: Lineage) -> Self {
        self.lineage = lineage;
        self
    }

    /// The columns with their rows side by side, as sinks and file formats want them.
    pub fn to_arrow(&self) -> Result<RecordBatch, ArrowError> {
        let columns = self.columns.iter().map(Column::flat).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }

    /// What the batch weighs on an edge: the bytes of the buffers it holds on to, selected or not.
    pub fn weight_bytes(&self) -> usize {
        let columns = self.columns.iter().chain(self.parts.present());
        columns.map(|column| column.values.get_buffer_memory_size()).sum()
    }
}

fn check_length(name: &str, column: &Column, rows: usize) -> Result<(), BatchError> {
    if column.len() == rows {
        return Ok(());
    }
    Err(BatchError::Length { name: name.to_owned(), found: column.len(), rows })
}

/// Applies one list of picks to many columns, composing each distinct selection once.
pub(crate) struct Picker<'a> {
    picks: &'a Arc<[u32]>,
    composed: Vec<(Rows, Rows)>,
}

impl<'a> Picker<'a> {
    pub(crate) fn new(picks: &'a Arc<[u32]>) -> Self {
        Self { picks, composed: Vec::new() }
    }

    pub(crate) fn rows(&mut self, rows: &Rows) -> Rows {
        if let Some((_, composed)) = self.composed.iter().find(|(from, _)| from.same(rows)) {
            return composed.clone();
        }
        let composed = rows.pick(self.picks);
        self.composed.push((rows.clone(), composed.clone()));
        composed
    }

    pub(crate) fn column(&mut self, column: &Column) -> Column {
        Column { values: column.values.clone(), rows: self.rows(&column.rows) }
    }

    pub(crate) fn parts(&mut self, parts: &Parts) -> Parts {
        Parts {
            times: parts.times.as_ref().map(|column| self.column(column)),
            keys: parts.keys.as_ref().map(|column| self.column(column)),
            headers: parts.headers.as_ref().map(|column| self.column(column)),
        }
    }

    pub(crate) fn lineage(&mut self, lineage: &Lineage) -> Lineage {
        lineage.with_rows(self.rows(lineage.rows()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;
    use crate::lineage::{Offsets, SourceRows};

    fn batch() -> Batch {
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "in".into(),
            split: "0".into(),
            offsets: Offsets::From(100),
        });
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int64, false),
            Field::new("b", DataType::Int64, false),
        ]);
        let columns = [[1, 2, 3, 4], [10, 20, 30, 40]]
            .map(|values| Column::new(Arc::new(Int64Array::from(values.to_vec()))));
        Batch::new(Arc::new(schema), 4, columns.into(), Parts::default(), lineage).expect("a batch")
    }

    #[test]
    fn picking_twice_composes_and_shares_the_selection() {
        let picked = batch().pick(&[0, 2, 3].into()).pick(&[1, 2].into());
        let flat = picked.to_arrow().expect("flat");
        assert_eq!(**flat.column(0), Int64Array::from(vec![3, 4]));
        assert_eq!(**flat.column(1), Int64Array::from(vec![30, 40]));
        let [a, b] = picked.columns() else { panic!("two columns") };
        assert!(a.rows().same(b.rows()), "columns of one batch hold two copies of one selection");
        assert_eq!(picked.lineage().origin(1).offset, 103);
    }

    #[test]
    fn columns_that_do_not_fit_are_refused() {
        let good = batch();
        let short = Column::new(Arc::new(Int64Array::from(vec![1])) as ArrayRef);
        let columns = vec![good.columns()[0].clone(), short];
        let error = good.with_columns(good.schema().clone(), columns).expect_err("too short");
        assert_eq!(error, BatchError::Length { name: "b".into(), found: 1, rows: 4 });
        let error = good.with_columns(good.schema().clone(), vec![]).expect_err("too few");
        assert_eq!(error, BatchError::Fields { columns: 0, fields: 2 });
    }
}
