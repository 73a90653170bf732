//! Keys of records: the text of a column's value, or what a JSON pointer leads to.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder};
use arrow::datatypes::Field;

use super::cast::{CastError, cast_column};
use super::json_scan::{Malformed, Scalar, members};
use super::{BAD_JSON, shown};
use crate::batch::Column;
use crate::fields::{FieldSpec, Kind};
use crate::outcome::Rejection;

/// Keys from a column, one a row: the bytes of a blob, the text of anything else. A null is no key.
pub fn keys_of_column(field: &Field, column: &Column) -> Result<ArrayRef, CastError> {
    let to = if FieldSpec::of(field).kind == Kind::Blobs { Kind::Blobs } else { Kind::Texts };
    let (values, _) = cast_column(field, column, to)?;
    if to == Kind::Blobs {
        return Ok(values);
    }
    let (offsets, bytes, nulls) = values.as_string::<i32>().clone().into_parts();
    Ok(Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?))
}

/// Why a text is no JSON pointer.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
#[error(
    "`{0}` is no JSON pointer: it begins with `/` and has `~0` for `~` and `~1` for `/` in a name (RFC 6901)"
)]
pub struct PointerError(String);

/// Keys from opaque records that hold JSON, and the records that hold none. A text gives its characters,
/// anything else its JSON; nothing there, or null, is no key.
pub fn keys_of_pointer(column: &Column, pointer: &str) -> Result<(ArrayRef, Vec<Rejection>), PointerError> {
    let steps = steps(pointer).ok_or_else(|| PointerError(pointer.to_owned()))?;
    let mut keys = BinaryBuilder::with_capacity(column.len(), 16 * column.len());
    let mut rejections = Vec::new();
    let values = column.values().as_any().downcast_ref::<BinaryArray>();
    let values = values.expect("the column of opaque records is binary: `Batch::new` has checked it");
    for row in 0..column.len() {
        let at = column.rows().at(row);
        if values.is_null(at) {
            keys.append_null();
            continue;
        }
        match key_of(values.value(at), &steps) {
            Ok(key) => keys.append_option(key),
            Err(message) => {
                keys.append_null();
                rejections.push(Rejection { row: row as u32, code: BAD_JSON.to_owned(), message });
            }
        }
    }
    Ok((Arc::new(keys.finish()), rejections))
}

fn steps(pointer: &str) -> Option<Vec<String>> {
    let names = pointer.strip_prefix('/')?.split('/');
    names
        .map(|name| {
            let rest = name.replace("~0", "").replace("~1", "");
            (!rest.contains('~')).then(|| name.replace("~1", "/").replace("~0", "~"))
        })
        .collect()
}

fn key_of<'a>(record: &'a [u8], steps: &[String]) -> Result<Option<Cow<'a, [u8]>>, String> {
    let text = std::str::from_utf8(record).map_err(|error| format!("{error}: {}", shown(record)))?;
    let malformed = |error: Malformed| format!("{error}: {}", shown(record));
    let mut found = Some(Scalar::Nested(text.trim_ascii()));
    for step in steps {
        found = match found {
            Some(Scalar::Nested(text)) if text.starts_with('[') => item(text, step),
            Some(Scalar::Nested(text)) => member(text, step).map_err(malformed)?,
            _ => None,
        };
    }
    Ok(match found {
        None | Some(Scalar::Null) => None,
        Some(Scalar::Text(quoted)) => quoted.text().map(|text| match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }),
        Some(Scalar::Number(text) | Scalar::Nested(text)) => Some(Cow::Borrowed(text.as_bytes())),
        Some(Scalar::Bool(value)) => Some(Cow::Borrowed(if value { b"true" } else { b"false" })),
    })
}

fn member<'a>(object: &'a str, step: &str) -> Result<Option<Scalar<'a>>, Malformed> {
    let mut found = None;
    members(object, |name, value| {
        if name == step {
            found = Some(value);
        }
        found.is_none()
    })?;
    Ok(found)
}

/// Lists are rare on the way to a key, so that their items are simply taken apart.
fn item<'a>(list: &'a str, step: &str) -> Option<Scalar<'a>> {
    let index: usize = step.parse().ok()?;
    let items: Vec<&'a serde_json::value::RawValue> = serde_json::from_str(list).ok()?;
    super::json_scan::scalar(items.get(index)?.get())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;
    use crate::batch::Rows;

    #[test]
    fn keys_are_the_text_of_a_value() {
        let cases: Vec<(ArrayRef, &[Option<&str>])> = vec![
            (Arc::new(StringArray::from(vec![Some("\"a\""), None])), &[Some("\"a\""), None]),
            (Arc::new(Int64Array::from(vec![Some(-7), None])), &[Some("-7"), None]),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![0, 1]).with_timezone("UTC")),
                &[Some("1970-01-01T00:00:00Z"), Some("1970-01-01T00:00:00.000001Z")],
            ),
            (Arc::new(BinaryArray::from(vec![&b"x"[..], b""])), &[Some("x"), Some("")]),
        ];
        for (values, expected) in cases {
            let what = values.data_type().to_string();
            let field = Field::new("k", values.data_type().clone(), true);
            let keys = keys_of_column(&field, &Column::new(values)).expect("keys");
            let keys: Vec<_> =
                keys.as_binary::<i32>().iter().map(|key| key.map(String::from_utf8_lossy)).collect();
            assert_eq!(keys.iter().map(|key| key.as_deref()).collect::<Vec<_>>(), expected, "{what}");
        }
    }

    #[test]
    fn a_pointer_leads_to_a_key_or_to_none() {
        let record = r#" {"a":{"b/c":["x",{"d":"é\n"}],"~":true},"n":1.50,"z":null} "#;
        let cases = [
            ("/a/b~1c/0", Some("x")),
            ("/a/b~1c/1/d", Some("é\n")),
            ("/a/b~1c/1", Some("{\"d\":\"é\\n\"}")),
            ("/a/b~1c/9", None),
            ("/a/~0", Some("true")),
            ("/n", Some("1.50")),
            ("/n/deeper", None),
            ("/z", None),
            ("/missing", None),
        ];
        let values = Arc::new(BinaryArray::from(vec![&b"unselected"[..], record.as_bytes()]));
        let column = Column::with_rows(values, Rows::At([1].into()));
        for (pointer, expected) in cases {
            let (keys, rejections) = keys_of_pointer(&column, pointer).expect("a pointer");
            let keys = keys.as_binary::<i32>();
            let key = keys.is_valid(0).then(|| String::from_utf8_lossy(keys.value(0)).into_owned());
            assert_eq!((key.as_deref(), rejections.len()), (expected, 0), "{pointer}");
        }
        let broken = Column::new(Arc::new(BinaryArray::from(vec![&b"{\"a\""[..]])));
        let (_, rejections) = keys_of_pointer(&broken, "/a").expect("a pointer");
        assert_eq!(rejections[0].code, BAD_JSON);
        for text in ["a", "", "/a~2"] {
            assert!(keys_of_pointer(&broken, text).is_err(), "{text}");
        }
    }
}
