//! Records of a test as batches, and batches as records.

use std::sync::Arc;

use arrow::array::{Array, BinaryArray};
use arrow::error::ArrowError;
use model::batch::{Batch, Column, Parts};
use model::convert::{JsonReader, JsonWriter, to_json};
use model::diagnostics::Spanned;
use model::lineage::{Lineage, Offsets, SourceRows};
use model::manifest::UnknownFields;
use model::plan::Stream;
use serde_json::Value;

/// A record that cannot be what flows there.
#[derive(Debug)]
pub struct Bad {
    /// Which; none where no record can be.
    pub record: Option<usize>,
    pub why: String,
}

/// The records in the form of a stream; none where there are none.
pub fn batch(
    stream: &Stream,
    pipeline: &Arc<str>,
    stage: &Arc<str>,
    records: &[Spanned<Value>],
) -> Result<Option<Batch>, Bad> {
    if records.is_empty() {
        return Ok(None);
    }
    let broken = |error: &dyn std::fmt::Display| Bad { record: None, why: error.to_string() };
    let lineage = Lineage::of_source(SourceRows {
        pipeline: pipeline.clone(),
        source: stage.clone(),
        split: "test".into(),
        offsets: Offsets::From(0),
    });
    let batch = match stream.schema() {
        None => {
            let values = BinaryArray::from_iter_values(records.iter().map(|record| opaque(&record.value)));
            Batch::from_values(values, Parts::default(), lineage)
        }
        Some(schema) => {
            let all: Vec<usize> = (0..schema.fields().len()).collect();
            let mut reader =
                JsonReader::new(schema, &all, UnknownFields::Reject).map_err(|error| broken(&error))?;
            for (at, record) in records.iter().enumerate() {
                let text = record.value.to_string();
                reader.push(text.as_bytes()).map_err(|error| Bad { record: Some(at), why: error.message })?;
            }
            let columns = reader.take().map_err(|error| broken(&error))?;
            let columns = columns.into_iter().map(Column::new).collect();
            Batch::new(reader.schema().clone(), records.len(), columns, Parts::default(), lineage)
        }
    };
    batch.map(Some).map_err(|error| broken(&error))
}

/// A text is its bytes; anything else its JSON.
fn opaque(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

/// The records of a batch: rows as objects, opaque ones as texts, deletions as null.
pub fn values(batch: &Batch) -> Result<Vec<Value>, ArrowError> {
    let is_opaque = batch.schema() == &model::batch::opaque_schema();
    if !is_opaque {
        let rows = to_json(&JsonWriter::new(batch.schema()), batch)?;
        let parse = |row: Option<&[u8]>| serde_json::from_slice(row.unwrap_or(b"null"));
        return rows
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(|error| ArrowError::JsonError(error.to_string()));
    }
    let column = batch.columns()[0].flat()?;
    let texts = column.as_any().downcast_ref::<BinaryArray>();
    let texts =
        texts.ok_or_else(|| ArrowError::CastError(format!("{} is not binary", column.data_type())))?;
    let text = |value: Option<&[u8]>| {
        value.map_or(Value::Null, |bytes| Value::String(String::from_utf8_lossy(bytes).into_owned()))
    };
    Ok(texts.iter().map(text).collect())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use model::diagnostics::Span;
    use serde_json::json;

    use super::*;

    fn made(stream: &Stream, records: &[Value]) -> Result<Option<Batch>, Bad> {
        let records: Vec<_> =
            records.iter().map(|value| Spanned::new(value.clone(), Span::default())).collect();
        batch(stream, &"p".into(), &"s".into(), &records)
    }

    #[test]
    fn records_come_back_as_they_went_in() {
        let schema = Schema::new(vec![
            Field::new("amount", DataType::Float64, true),
            Field::new("name", DataType::Utf8, true),
        ]);
        let rows = Stream::Rows(Arc::new(schema));
        let given = [json!({ "amount": 3.5, "name": "a" }), json!({ "name": "b" })];
        let batch = made(&rows, &given).expect("they fit").expect("some");
        assert_eq!(values(&batch).expect("JSON"), [given[0].clone(), json!({ "amount": null, "name": "b" })]);
        let batch =
            made(&Stream::Opaque, &[json!("text"), json!({ "a": 1 })]).expect("they fit").expect("some");
        assert_eq!(values(&batch).expect("texts"), [json!("text"), json!("{\"a\":1}")]);
        assert!(made(&rows, &[]).expect("nothing").is_none());
    }

    #[test]
    fn a_record_that_does_not_fit_is_named() {
        let rows = Stream::Rows(Arc::new(Schema::new(vec![Field::new("amount", DataType::Float64, true)])));
        let cases = [json!({ "amount": 1, "amont": 2 }), json!({ "amount": "much" }), json!("text")];
        for case in cases {
            let bad = made(&rows, &[json!({ "amount": 1 }), case.clone()]).expect_err("it does not fit");
            assert_eq!(bad.record, Some(1), "{case}: {}", bad.why);
        }
    }
}
