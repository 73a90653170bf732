//! What the host does to a batch between two stages: leave columns out, convert, set keys, cast.
//!
//! All of it was decided in the plan; here it is done. Rows that cannot go on come back as rejections of the
//! stage that they were meant for.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::is_null;
use arrow::error::ArrowError;
use engine::Call;
use model::batch::{Batch, BatchError, Column, Parts};
use model::convert::{
    BAD_CAST, CastError, JsonReader, JsonReaderError, JsonWriter, PointerError, cannot_cast, cast_column,
    from_json, keys_of_column, keys_of_pointer, to_json,
};
use model::expand::{Cut, cut};
use model::fields::{Kind, places};
use model::outcome::Rejection;
use model::plan::{Conversion, Edge, InputMapping, Key, MappedColumn, Stream};

/// A value is missing where the stage wants one in every row.
pub const NO_VALUE: &str = "no-value";

/// The host's own failing, or a plan that does not fit its data: never a record's fault.
#[derive(thiserror::Error, Debug)]
pub enum MappingError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    Cast(#[from] CastError),
    #[error(transparent)]
    Pointer(#[from] PointerError),
    #[error(transparent)]
    Reader(#[from] JsonReaderError),
}

/// The way of one edge.
#[derive(Debug)]
pub struct Crossing {
    input: Stream,
    project: Option<Vec<usize>>,
    conversion: Converter,
    meets: Option<Arc<str>>,
    /// What a row takes over there beside its values.
    beside_bytes: u64,
}

#[derive(Debug)]
enum Converter {
    None,
    ToJson(JsonWriter),
    FromJson(Box<JsonReader>),
}

impl Crossing {
    /// `from` and `input`: what leaves the port, and what comes into the stage. `is_written`: whether the stage puts
    /// rows into a format by itself.
    pub fn new(edge: &Edge, from: &Stream, input: &Stream, is_written: bool) -> Result<Self, MappingError> {
        let conversion = match &edge.conversion {
            Conversion::None => Converter::None,
            Conversion::RowsToJson => Converter::ToJson(JsonWriter::new(&from.batch_schema())),
            Conversion::JsonToRows { schema, declared, unknown } => {
                let known = places(declared);
                let wanted = schema.fields().iter().map(|field| match known.get(field.name().as_str()) {
                    Some(&index) => Ok(index),
                    None => declared.index_of(field.name()),
                });
                let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
                Converter::FromJson(Box::new(JsonReader::new(declared, &wanted, *unknown)?))
            }
        };
        let beside_bytes = match &conversion {
            Converter::ToJson(_) => written_bytes(from),
            Converter::FromJson(_) => typed_bytes(input),
            Converter::None if is_written => written_bytes(input),
            Converter::None => 0,
        };
        let meets = edge.meets.then(|| edge.name.clone());
        Ok(Self { input: input.clone(), project: edge.project.clone(), conversion, meets, beside_bytes })
    }

    /// Whether a batch has to be cut before it crosses.
    pub fn cut(&self, batch: &Batch, record_bytes_max: u64) -> Option<Cut> {
        let columns = self.project.as_deref().filter(|_| matches!(self.conversion, Converter::None));
        cut(batch, columns, self.beside_bytes, record_bytes_max)
    }

    /// Whether a batch comes in as it went out.
    pub fn is_plain(&self) -> bool {
        self.meets.is_none() && self.project.is_none() && matches!(self.conversion, Converter::None)
    }

    /// The batch as it comes into the stage, and rows that could not be converted.
    pub fn cross(&mut self, batch: Batch) -> Result<(Batch, Vec<Rejection>), MappingError> {
        let batch = match &self.meets {
            Some(edge) => {
                let lineage = batch.lineage().by_edge(edge);
                batch.with_lineage(lineage)
            }
            None => batch,
        };
        match &mut self.conversion {
            Converter::None => match (&self.project, &self.input) {
                (Some(columns), Stream::Rows(schema)) => {
                    let columns = columns.iter().map(|&index| batch.columns()[index].clone()).collect();
                    Ok((batch.with_columns(schema.clone(), columns)?, Vec::new()))
                }
                _ => Ok((batch, Vec::new())),
            },
            Converter::ToJson(writer) => {
                let values = Column::new(Arc::new(to_json(writer, &batch)?));
                Ok((batch.with_columns(self.input.batch_schema(), vec![values])?, Vec::new()))
            }
            Converter::FromJson(reader) => Ok(from_json(&batch, reader)?),
        }
    }
}

/// What a row takes as text beside the bytes of its values: names, and what numbers and times take there.
fn written_bytes(stream: &Stream) -> u64 {
    const VALUE_BYTES: usize = 32;
    let fields = stream.schema().into_iter().flat_map(|schema| schema.fields());
    fields.map(|field| (field.name().len() + VALUE_BYTES) as u64).sum()
}

/// What a row takes in columns, of which its text may have said nothing.
fn typed_bytes(stream: &Stream) -> u64 {
    const VALUE_BYTES: usize = 8;
    stream.schema().map_or(0, |schema| (schema.fields().len() * VALUE_BYTES) as u64)
}

/// A batch as a stage gets it.
#[derive(Debug)]
pub struct Mapped {
    /// The rows that fit, with every column of the stage's input.
    pub batch: Batch,
    /// The columns that the stage wants, as it wants them, over the rows of `batch`.
    pub columns: Vec<Column>,
    /// By row of the batch that came.
    pub rejections: Vec<Rejection>,
}

impl Mapped {
    /// The call that hands the batch to a stage.
    pub fn call(&self, mapping: &InputMapping) -> Call<'_> {
        let parts = self.batch.parts();
        Call {
            rows: self.batch.rows(),
            times: parts.times.as_ref().filter(|_| mapping.times),
            keys: parts.keys.as_ref().filter(|_| mapping.keys),
            headers: parts.headers.as_ref().filter(|_| mapping.headers),
            columns: &self.columns,
        }
    }
}

/// A batch of which the stage gets columns as they are.
pub fn as_it_is(batch: Batch, mapping: &InputMapping) -> Mapped {
    let columns = mapping.columns.iter().map(|column| batch.columns()[column.input].clone()).collect();
    Mapped { batch, columns, rejections: Vec::new() }
}

/// Sets the key and casts what has to be cast.
pub fn map_input(batch: Batch, mapping: &InputMapping, names: &Stream) -> Result<Mapped, MappingError> {
    let (batch, mut rejections) = match &mapping.key {
        Some(key) => set_key(batch, key)?,
        None => (batch, Vec::new()),
    };
    if !mapping.casts() && rejections.is_empty() {
        return Ok(as_it_is(batch, mapping));
    }
    let mut columns = Vec::with_capacity(mapping.columns.len());
    for column in &mapping.columns {
        let (ready, failed) = cast(&batch, column)?;
        columns.push(ready);
        if failed.is_empty() {
            continue;
        }
        let name = names.schema().map_or("value", |schema| schema.field(column.input).name());
        let came = batch.columns()[column.input].flat()?;
        rejections.extend(failed.into_iter().map(|(row, code)| refuse(row, code, name, &came, column.kind)));
    }
    if rejections.is_empty() {
        return Ok(Mapped { batch, columns, rejections });
    }
    rejections.sort_by_key(|rejection| rejection.row);
    rejections.dedup_by_key(|rejection| rejection.row);
    let kept = rows_without(batch.rows(), &rejections);
    let columns = columns
        .into_iter()
        .map(|column| Column::with_rows(column.values().clone(), column.rows().pick(&kept)))
        .collect();
    Ok(Mapped { batch: batch.pick(&kept), columns, rejections })
}

/// Sets the key of every record; records whose JSON cannot be read for it are refused and stay in.
pub fn set_key(batch: Batch, key: &Key) -> Result<(Batch, Vec<Rejection>), MappingError> {
    let (keys, rejections): (ArrayRef, _) = match key {
        Key::Column(index) => {
            (keys_of_column(batch.schema().field(*index), &batch.columns()[*index])?, Vec::new())
        }
        Key::Pointer(pointer) => keys_of_pointer(&batch.columns()[0], pointer)?,
    };
    let parts = Parts { keys: Some(Column::new(keys)), ..batch.parts().clone() };
    Ok((batch.with_parts(parts)?, rejections))
}

/// The rows of a batch of `rows` that no rejection names. Rejections ascend.
pub fn rows_without(rows: usize, rejections: &[Rejection]) -> Arc<[u32]> {
    let mut refused = rejections.iter().map(|rejection| rejection.row).peekable();
    let mut kept = Vec::with_capacity(rows.saturating_sub(rejections.len()));
    for row in 0..rows as u32 {
        let mut named = false;
        while refused.next_if(|&refused| refused <= row).is_some_and(|refused| refused == row) {
            named = true;
        }
        if !named {
            kept.push(row);
        }
    }
    kept.into()
}

type Failed = Vec<(u32, &'static str)>;

fn cast(batch: &Batch, column: &MappedColumn) -> Result<(Column, Failed), MappingError> {
    let here = &batch.columns()[column.input];
    let (ready, failed) = if column.cast {
        let (array, failed) = cast_column(batch.schema().field(column.input), here, column.kind)?;
        (Column::new(array), failed)
    } else {
        (here.clone(), Vec::new())
    };
    let mut failed: Failed = failed.into_iter().map(|row| (row, BAD_CAST)).collect();
    if column.required {
        let flat = ready.flat()?;
        if flat.null_count() > 0 {
            let absent: BooleanArray = is_null(&flat)?;
            let rows = (0..absent.len()).filter(|&row| absent.value(row)).map(|row| row as u32);
            let known: Vec<u32> = failed.iter().map(|(row, _)| *row).collect();
            failed.extend(rows.filter(|row| known.binary_search(row).is_err()).map(|row| (row, NO_VALUE)));
        }
    }
    Ok((ready, failed))
}

fn refuse(row: u32, code: &str, column: &str, came: &ArrayRef, kind: Kind) -> Rejection {
    let message = match code {
        NO_VALUE => format!("column `{column}` has no value, and the stage wants one in every row"),
        _ => cannot_cast(column, came, row, kind),
    };
    Rejection { row, code: code.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use model::lineage::{Lineage, Offsets, SourceRows};

    use super::*;

    fn batch(texts: &[Option<&str>]) -> Batch {
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "in".into(),
            split: "0".into(),
            offsets: Offsets::From(0),
        });
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Utf8, true)]));
        let column = Column::new(Arc::new(StringArray::from(texts.to_vec())) as ArrayRef);
        Batch::new(schema, texts.len(), vec![column], Parts::default(), lineage).expect("a batch")
    }

    fn wants(kind: Kind, cast: bool, required: bool) -> InputMapping {
        let columns = vec![MappedColumn { input: 0, kind, cast, required }];
        InputMapping { key: None, columns, times: false, keys: false, headers: false }
    }

    #[test]
    fn rows_that_cannot_be_cast_are_refused_before_the_stage_sees_them() {
        let input = batch(&[Some("1"), Some("x"), None, Some("4")]);
        let names = Stream::Rows(input.schema().clone());
        let mapped = map_input(input.clone(), &wants(Kind::S64s, true, false), &names).expect("mapped");
        let flat = mapped.columns[0].flat().expect("flat");
        assert_eq!(*flat, Int64Array::from(vec![Some(1), None, Some(4)]));
        assert_eq!(mapped.batch.rows(), 3);
        assert_eq!((mapped.rejections[0].row, mapped.rejections[0].code.as_str()), (1, BAD_CAST));
        let message = "the value `x` of column `n` cannot be cast to a 64-bit integer";
        assert_eq!(mapped.rejections[0].message, message);

        let mapped = map_input(input, &wants(Kind::S64s, true, true), &names).expect("mapped");
        let codes: Vec<_> = mapped.rejections.iter().map(|r| (r.row, r.code.as_str())).collect();
        assert_eq!(codes, [(1, BAD_CAST), (2, NO_VALUE)]);
        assert_eq!(mapped.batch.lineage().origin(1).offset, 3, "the rows behind a refused one moved");
    }

    #[test]
    fn nothing_is_copied_where_everything_fits() {
        let input = batch(&[Some("a"), Some("b")]);
        let names = Stream::Rows(input.schema().clone());
        let mapped = map_input(input.clone(), &wants(Kind::Texts, false, false), &names).expect("mapped");
        assert!(Arc::ptr_eq(mapped.columns[0].values(), input.columns()[0].values()));
    }

    #[test]
    fn rows_without_leaves_out_each_named_row_once() {
        let reject = |row| Rejection { row, code: String::new(), message: String::new() };
        let cases: [(&[u32], &[u32]); 4] =
            [(&[], &[0, 1, 2, 3]), (&[0, 0], &[1, 2, 3]), (&[1, 3], &[0, 2]), (&[0, 1, 2, 3], &[])];
        for (refused, kept) in cases {
            let refused: Vec<Rejection> = refused.iter().map(|&row| reject(row)).collect();
            assert_eq!(*rows_without(4, &refused), *kept);
        }
    }
}
