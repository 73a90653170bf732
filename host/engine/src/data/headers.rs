//! Headers: a map from text to bytes for each record on the host's side, one flat list with the distinct
//! names apart in the contract. Only stages that ask for them pay for this.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, MapArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use model::batch::{Column, Rows};
use model::limits;
use model::stage::header_fields;

use super::gather::{VarlenScratch, varlen};
use super::lift::{Place, blob_values};
use crate::contract::{HeadersIn, HeadersOut};
use crate::error::{AnswerError, InputError};

#[derive(Debug, Default)]
pub(crate) struct HeaderScratch {
    names: Vec<String>,
    of: Vec<u32>,
    name: Vec<u16>,
    /// The entries, record by record.
    entries: Vec<u32>,
    rows: Rows,
    values: VarlenScratch,
}

pub(crate) fn lower_headers<'a>(
    column: &'a Column,
    scratch: &'a mut HeaderScratch,
) -> Result<HeadersIn<'a>, InputError> {
    let array = column.values();
    let wrong = || InputError::Type {
        what: "the headers".into(),
        found: array.data_type().to_string(),
        expected: "a map from text to bytes".into(),
    };
    let map = array.as_map_opt().ok_or_else(wrong)?;
    let names = map.keys().as_string_opt::<i32>().ok_or_else(wrong)?;
    let values = map.values().as_binary_opt::<i32>().ok_or_else(wrong)?;
    let HeaderScratch { names: distinct, of, name, entries, rows, values: bytes } = scratch;
    distinct.clear();
    of.clear();
    name.clear();
    entries.clear();
    let mut known: HashMap<&str, u16> = HashMap::new();
    for row in 0..column.len() {
        let at = column.rows().at(row);
        if map.is_null(at) {
            continue;
        }
        for entry in map.offsets()[at] as usize..map.offsets()[at + 1] as usize {
            let text = names.value(entry);
            let index = match known.get(text) {
                Some(&index) => index,
                None => {
                    let index = u16::try_from(known.len())
                        .map_err(|_| InputError::HeaderNames { names: known.len() + 1 })?;
                    distinct.push(text.to_owned());
                    known.insert(text, index);
                    index
                }
            };
            of.push(row as u32);
            name.push(index);
            entries.push(entry as u32);
        }
    }
    *rows = Rows::At(entries.as_slice().into());
    let values = varlen(values.offsets(), values.values(), rows, bytes)
        .map_err(|bytes| InputError::TooLarge { what: "the headers".into(), bytes })?;
    Ok(HeadersIn { names: distinct, of, name, values })
}

pub(crate) fn lift_headers(headers: HeadersOut, rows: usize, place: Place) -> Result<ArrayRef, AnswerError> {
    let HeadersOut { names, of, name, values } = headers;
    let count = of.len();
    if name.len() != count {
        return Err(AnswerError::Length { what: place.to_string(), found: name.len(), rows: count });
    }
    let mut offsets = Vec::with_capacity(rows + 1);
    let mut texts = Vec::with_capacity(count);
    let mut name_bytes = 0usize;
    for (at, (&of, &name)) in of.iter().zip(&name).enumerate() {
        let text = names.get(name as usize);
        // `offsets` has an entry for every record begun so far.
        let begun = offsets.len() as u64;
        let (Some(text), true) = (text, (of as usize) < rows && u64::from(of) + 1 >= begun) else {
            let (what, names) = (place.to_string(), names.len());
            return Err(AnswerError::Header { what, at, of, name, rows, names });
        };
        offsets.resize(of as usize + 1, at as i32);
        name_bytes = name_bytes.saturating_add(text.len());
        texts.push(text.as_str());
    }
    // Here each header has its name in full.
    if name_bytes > limits::HEADER_NAMES_BYTES_MAX {
        let (what, max) = (place.to_string(), limits::HEADER_NAMES_BYTES_MAX);
        return Err(AnswerError::HeaderNames { what, bytes: name_bytes, max });
    }
    offsets.resize(rows + 1, count as i32);
    let values: BinaryArray = blob_values(values, count, None, place)?;
    let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(texts)), Arc::new(values)];
    let (entry, fields) = header_fields();
    let abi = |error: arrow::error::ArrowError| AnswerError::Abi(error.to_string());
    let entries = StructArray::try_new(fields, columns, None).map_err(abi)?;
    let map = MapArray::try_new(entry, OffsetBuffer::new(offsets.into()), entries, None, false);
    Ok(Arc::new(map.map_err(abi)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::VarlenOut;
    use crate::data::lower::texts_of;

    fn headers(of: &[u32], name: &[u16], values: &[&str]) -> HeadersOut {
        let mut offsets = vec![0];
        offsets.extend(values.iter().scan(0, |end, v| {
            *end += v.len() as u32;
            Some(*end)
        }));
        let bytes = values.concat().into_bytes();
        let names = vec!["a".into(), "b".into()];
        HeadersOut { names, of: of.into(), name: name.into(), values: VarlenOut { offsets, bytes } }
    }

    #[test]
    fn headers_come_back_as_they_went_in() {
        let given = headers(&[1, 1, 3], &[0, 1, 1], &["x", "", "zz"]);
        let map = lift_headers(given, 5, Place::new("headers")).expect("a map");
        let column = Column::with_rows(map, model::batch::Rows::At([3, 0, 1].into()));
        let mut scratch = HeaderScratch::default();
        let found = lower_headers(&column, &mut scratch).expect("lowers");
        assert_eq!((found.of, found.name), (&[0, 2, 2][..], &[0, 1, 0][..]));
        assert_eq!(*found.names, ["b", "a"]);
        assert_eq!(texts_of(found.values), ["zz", "x", ""]);
    }

    #[test]
    fn a_name_that_crossed_once_is_not_written_out_without_end() {
        let long = |bytes: usize| {
            let mut given = headers(&[0, 1, 2, 3], &[0; 4], &["x"; 4]);
            given.names[0] = "n".repeat(bytes);
            lift_headers(given, 5, Place::new("headers"))
        };
        assert!(long(limits::HEADER_NAMES_BYTES_MAX / 4).is_ok());
        let error = long(limits::HEADER_NAMES_BYTES_MAX / 4 + 1).expect_err("too much");
        assert!(error.to_string().starts_with("the names of headers have 8388612 bytes"), "{error}");
    }

    #[test]
    fn headers_of_no_record_or_name_are_refused() {
        let cases = [
            headers(&[1, 0], &[0, 0], &["x", "y"]),
            headers(&[5], &[0], &["x"]),
            headers(&[0], &[2], &["x"]),
        ];
        for given in cases {
            let shown = format!("{given:?}");
            let found = lift_headers(given, 5, Place::new("headers"));
            assert!(matches!(found, Err(AnswerError::Header { .. })), "{shown}: {found:?}");
        }
        let short = headers(&[0, 1], &[0], &["x", "y"]);
        assert!(matches!(lift_headers(short, 5, Place::new("headers")), Err(AnswerError::Length { .. })));
    }
}
