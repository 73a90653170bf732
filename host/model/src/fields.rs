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
    /// The kind as which a column of `data_type` is offered to a stage, if its field says nothing more
    /// ([`FieldSpec::of`]). A column crosses without a cast when the kind [`holds`](Self::holds) its type.
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
            DataType::Dictionary(_, value) => match Self::of(value) {
                Self::Texts => Self::Dictionaries,
                other => other,
            },
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Blobs,
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
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
            Self::Times => instants(),
            Self::Days => DataType::Date32,
            Self::Texts | Self::Jsons => DataType::Utf8,
            Self::Dictionaries => DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8)),
            Self::Blobs => DataType::Binary,
            Self::Opaque => return None,
        })
    }

    /// Whether a column of `data_type` is laid out as this kind is. Of times, only their zone may differ.
    pub fn holds(self, data_type: &DataType) -> bool {
        match data_type {
            DataType::Timestamp(TimeUnit::Microsecond, _) => self == Self::Times,
            _ => self.data_type().as_ref() == Some(data_type),
        }
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

impl Kind {
    /// One value of it, for people.
    pub fn value_in_words(self) -> &'static str {
        match self {
            Self::Bools => "a boolean",
            Self::S32s => "a 32-bit integer",
            Self::S64s => "a 64-bit integer",
            Self::U64s => "an integer from 0 on",
            Self::F32s => "a 32-bit number",
            Self::F64s => "a number",
            Self::Times => "a timestamp",
            Self::Days => "a date",
            Self::Texts | Self::Dictionaries => "a text",
            Self::Blobs => "bytes",
            Self::Jsons => "JSON",
            Self::Opaque => "what no stage takes",
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

/// Points in time, to the microsecond: what the contract calls times.
pub fn instants() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Dates with a time of day and without a zone, to the microsecond.
pub fn local_times() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// Under this key a field says what its values mean beyond their type.
pub const EXTENSION_NAME: &str = "ARROW:extension:name";
/// Arrow's canonical extension types (<https://arrow.apache.org/docs/format/CanonicalExtensions.html>).
pub const EXTENSION_JSON: &str = "arrow.json";
const EXTENSION_UUID: &str = "arrow.uuid";
/// Parquet's INTERVAL, for which no type of Arrow has room: three little-endian numbers of 32 bits without a sign,
/// of months, days and milliseconds.
const EXTENSION_INTERVAL: &str = "conveyor.interval";

/// What a field's values mean beyond their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// What the type says.
    Plain,
    Json,
    Uuid,
    Interval,
}

impl Meaning {
    /// An extension on a type that it does not fit means nothing.
    pub fn of(field: &Field) -> Self {
        let name = field.metadata().get(EXTENSION_NAME).map(String::as_str);
        match (name, field.data_type()) {
            (Some(EXTENSION_JSON), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => Self::Json,
            (Some(EXTENSION_UUID), DataType::FixedSizeBinary(16)) => Self::Uuid,
            (Some(EXTENSION_INTERVAL), DataType::FixedSizeBinary(12)) => Self::Interval,
            _ => Self::Plain,
        }
    }

    /// The field, with this meaning and no other.
    pub fn mark(self, field: Field) -> Field {
        let mut metadata = field.metadata().clone();
        let name = match self {
            Self::Plain => None,
            Self::Json => Some(EXTENSION_JSON),
            Self::Uuid => Some(EXTENSION_UUID),
            Self::Interval => Some(EXTENSION_INTERVAL),
        };
        match name {
            Some(name) => metadata.insert(EXTENSION_NAME.to_owned(), name.to_owned()),
            None => metadata.remove(EXTENSION_NAME),
        };
        field.with_metadata(metadata)
    }
}

impl FieldSpec {
    /// What a stage is told of a column of the host.
    pub fn of(field: &Field) -> Self {
        let (kind, logical) = match Meaning::of(field) {
            Meaning::Json => (Kind::Jsons, String::new()),
            Meaning::Uuid => (Kind::Texts, "uuid".to_owned()),
            Meaning::Interval => (Kind::Opaque, "interval".to_owned()),
            Meaning::Plain => {
                let kind = Kind::of(field.data_type());
                let plain = kind.data_type().as_ref() == Some(field.data_type());
                (kind, if plain { String::new() } else { logical(field.data_type()) })
            }
        };
        Self { name: field.name().clone(), kind, nullable: field.is_nullable(), logical }
    }

    /// The column of the host that holds what a stage sets under this field. None for `Opaque`, which a
    /// stage cannot make.
    pub fn to_arrow(&self) -> Option<Field> {
        let field = Field::new(&self.name, self.kind.data_type()?, self.nullable);
        Some(if self.kind == Kind::Jsons { Meaning::Json.mark(field) } else { field })
    }
}

/// A type in the words of the contract.
fn logical(data_type: &DataType) -> String {
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Timestamp(of, None) => format!("timestamp[{}]", unit(of)),
        DataType::Timestamp(of, Some(zone)) => format!("timestamp[{},{zone}]", unit(of)),
        DataType::Time32(of) | DataType::Time64(of) => format!("time[{}]", unit(of)),
        DataType::Duration(of) => format!("duration[{}]", unit(of)),
        DataType::Interval(_) => "interval".to_owned(),
        other => other.to_string(),
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
        assert_eq!((spec.kind, spec.logical.as_str()), (Kind::Opaque, "decimal(38,9)"));
        let times = |unit, zone: Option<&str>| {
            let spec =
                FieldSpec::of(&Field::new("t", DataType::Timestamp(unit, zone.map(Into::into)), false));
            (spec.kind, spec.logical)
        };
        assert_eq!(times(TimeUnit::Nanosecond, Some("UTC")), (Kind::Times, "timestamp[ns,UTC]".to_owned()));
        assert_eq!(times(TimeUnit::Microsecond, None), (Kind::Times, "timestamp[us]".to_owned()));
        assert_eq!(times(TimeUnit::Microsecond, Some("UTC")), (Kind::Times, String::new()));
        let uuid = Meaning::Uuid.mark(Field::new("u", DataType::FixedSizeBinary(16), false));
        assert_eq!(FieldSpec::of(&uuid).to_string(), "u: texts (uuid)");
    }
}
