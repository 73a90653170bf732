//! The kinds of column that cross into a stage, and how they stand to Arrow's types.
//!
//! A kind is what the contract (`wit/columns.wit`) can say; an Arrow type is what the host keeps. Where
//! Arrow knows more than the contract, the field's `logical` text carries it.

use std::collections::HashMap;
use std::fmt;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

/// Where the columns of a schema are, by their names; of several of one name the first. For whoever looks for many:
/// a schema itself looks through all of its fields for each.
pub fn places(schema: &Schema) -> HashMap<&str, usize> {
    let names = schema.fields().iter().enumerate().rev();
    names.map(|(place, field)| (field.name().as_str(), place)).collect()
}

/// A kind of column, in the order of `columns.kind` in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Bools,
    S32s,
    S64s,
    U64s,
    F32s,
    F64s,
    Times,
    Days,
    Texts,
    Dictionaries,
    Blobs,
    Jsons,
    Opaque,
}

impl Kind {
    /// The kind as which a column of `data_type` is offered to a stage. A column crosses without a cast
    /// when `kind.data_type()` is its own type.
    pub fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Bools,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
                Self::S32s
            }
            DataType::Int64 | DataType::UInt32 => Self::S64s,
            DataType::UInt64 => Self::U64s,
            DataType::Float16 | DataType::Float32 => Self::F32s,
            DataType::Float64 => Self::F64s,
            DataType::Timestamp(_, _) => Self::Times,
            DataType::Date32 => Self::Days,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Texts,
            DataType::Dictionary(_, value) if **value == DataType::Utf8 => Self::Dictionaries,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Blobs,
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(_, _)
            | DataType::Struct(_)
            | DataType::Map(_, _) => Self::Jsons,
            _ => Self::Opaque,
        }
    }

    /// The Arrow type whose buffers are laid out as the contract lays out this kind. `Opaque` has none.
    pub fn data_type(self) -> Option<DataType> {
        Some(match self {
            Self::Bools => DataType::Boolean,
            Self::S32s => DataType::Int32,
            Self::S64s => DataType::Int64,
            Self::U64s => DataType::UInt64,
            Self::F32s => DataType::Float32,
            Self::F64s => DataType::Float64,
            Self::Times => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Days => DataType::Date32,
            Self::Texts | Self::Jsons => DataType::Utf8,
            Self::Dictionaries => DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8)),
            Self::Blobs => DataType::Binary,
            Self::Opaque => return None,
        })
    }

    /// The name that diagnostics and `graph` show.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bools => "bools",
            Self::S32s => "s32s",
            Self::S64s => "s64s",
            Self::U64s => "u64s",
            Self::F32s => "f32s",
            Self::F64s => "f64s",
            Self::Times => "times",
            Self::Days => "days",
            Self::Texts => "texts",
            Self::Dictionaries => "dictionaries",
            Self::Blobs => "blobs",
            Self::Jsons => "jsons",
            Self::Opaque => "opaque",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A field as the contract describes it to a stage, or as a stage declares one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    pub name: String,
    pub kind: Kind,
    pub nullable: bool,
    /// The full type where `kind` is not all of it, else empty.
    pub logical: String,
}

/// Marks a text column of the host as JSON, under the name of Arrow's canonical extension type
/// (<https://arrow.apache.org/docs/format/CanonicalExtensions.html#json>).
pub const EXTENSION_NAME: &str = "ARROW:extension:name";
pub const EXTENSION_JSON: &str = "arrow.json";

impl FieldSpec {
    /// What a stage is told of a column of the host.
    pub fn of(field: &Field) -> Self {
        let json = field.metadata().get(EXTENSION_NAME).is_some_and(|name| name == EXTENSION_JSON);
        let kind = if json { Kind::Jsons } else { Kind::of(field.data_type()) };
        let plain = json || kind.data_type().as_ref() == Some(field.data_type());
        let logical = if plain { String::new() } else { field.data_type().to_string() };
        Self { name: field.name().clone(), kind, nullable: field.is_nullable(), logical }
    }

    /// The column of the host that holds what a stage sets under this field. None for `Opaque`, which a
    /// stage cannot make.
    pub fn to_arrow(&self) -> Option<Field> {
        let field = Field::new(&self.name, self.kind.data_type()?, self.nullable);
        Some(if self.kind == Kind::Jsons {
            field.with_metadata([(EXTENSION_NAME.to_owned(), EXTENSION_JSON.to_owned())].into())
        } else {
            field
        })
    }
}

impl fmt::Display for FieldSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.kind)?;
        if !self.logical.is_empty() {
            write!(f, " ({})", self.logical)?;
        }
        if self.nullable { f.write_str("?") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_but_opaque_comes_back_from_its_arrow_type() {
        use Kind::*;
        for kind in [Bools, S32s, S64s, U64s, F32s, F64s, Times, Days, Texts, Dictionaries, Blobs, Jsons] {
            let spec = FieldSpec { name: "c".into(), kind, nullable: true, logical: String::new() };
            let field = spec.to_arrow().expect("a kind that a stage can make");
            assert_eq!(FieldSpec::of(&field), spec, "{kind} does not survive the way through Arrow");
        }
    }

    #[test]
    fn what_the_contract_cannot_say_is_told_as_logical() {
        let field = Field::new("d", DataType::Decimal128(38, 9), false);
        let spec = FieldSpec::of(&field);
        assert_eq!((spec.kind, spec.logical.as_str()), (Kind::Opaque, "Decimal128(38, 9)"));
        let zoned = Field::new("t", DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), false);
        assert_eq!(FieldSpec::of(&zoned).kind, Kind::Times);
        assert!(FieldSpec::of(&zoned).logical.contains("UTC"), "{}", FieldSpec::of(&zoned).logical);
    }
}
