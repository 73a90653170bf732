//! The schema of Arrow that a writer puts beside Parquet's, read with care: of a type that the library does not know it
//! would panic, and some writers have such types.

use arrow::datatypes::Field;
use arrow::ipc;

use super::guard::guarded;

/// What a writer says of a column.
#[derive(Debug)]
pub(super) enum Embedded {
    Known(Field),
    /// Integers of 128 bits, as Polars has them.
    Wide {
        signed: bool,
    },
    /// In words.
    Unknown(String),
}

/// The columns of the message in `bytes`, with their names. None of them where that is no schema.
pub(super) fn read(bytes: &[u8]) -> Vec<(String, Embedded)> {
    const LENGTH_FOLLOWS: [u8; 4] = [255; 4];
    let message = if bytes.starts_with(&LENGTH_FOLLOWS) { bytes.get(8..).unwrap_or_default() } else { bytes };
    let Ok(message) = ipc::root_as_message(message) else { return Vec::new() };
    let Some(fields) = message.header_as_schema().and_then(|schema| schema.fields()) else {
        return Vec::new();
    };
    fields.iter().map(|field| (field.name().unwrap_or_default().to_owned(), of_field(field))).collect()
}

fn of_field(field: ipc::Field<'_>) -> Embedded {
    if let Some(int) = field.type_as_int().filter(|int| int.bitWidth() == 128) {
        return Embedded::Wide { signed: int.is_signed() };
    }
    if let Some(what) = unknown(&field) {
        return Embedded::Unknown(what);
    }
    // What was not foreseen.
    match guarded(|| Field::from(field)) {
        Ok(known) => Embedded::Known(known),
        Err(said) => Embedded::Unknown(format!("something that cannot be read: {said}")),
    }
}

/// The first type in a field that the library does not know.
fn unknown(field: &ipc::Field<'_>) -> Option<String> {
    if let Some(int) = field.type_as_int()
        && !matches!(int.bitWidth(), 8 | 16 | 32 | 64)
    {
        return Some(format!("an integer of {} bits", int.bitWidth()));
    }
    let children = field.children();
    if children.is_none() && matches!(field.type_type(), ipc::Type::Struct_) {
        return Some("a struct without a list of its fields".to_owned());
    }
    children.into_iter().flatten().find_map(|child| unknown(&child))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Schema};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use parquet::arrow::encode_arrow_schema;

    use super::*;

    #[test]
    fn what_is_no_schema_says_nothing() {
        for bytes in [&b""[..], b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\x10\0\0\0 not a message at all"] {
            assert!(read(bytes).is_empty());
        }
        let schema = Schema::new(vec![Field::new("a", DataType::Int8, false)]);
        let bytes = BASE64.decode(encode_arrow_schema(&schema)).expect("base64");
        let columns = read(&bytes);
        let [(name, Embedded::Known(field))] = &columns[..] else { panic!("{columns:?}") };
        assert_eq!((name.as_str(), field), ("a", schema.field(0)));
    }
}
