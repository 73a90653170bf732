//! What a Parquet file says of its columns, and what Conveyor makes of it, before a library acts on it.
//!
//! The columns of a file are described twice: by Parquet's schema, which counts, and by the schema of Arrow that most
//! writers put beside it, which knows more. Parquet's annotations that Arrow has no type for (INTERVAL, ENUM, UUID, JSON)
//! become a [`Meaning`]; INT96 is read as microseconds, in which every year has room. A column that nobody here can read is
//! kept by name, so that it fails whoever wants it and nobody else.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flow::connector::ConnectError;
use model::fields::Meaning;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{
    ARROW_SCHEMA_META_KEY, ProjectionMask, encode_arrow_schema, parquet_to_arrow_schema,
    parquet_to_arrow_schema_by_columns,
};
use parquet::basic::{Compression, ConvertedType, LogicalType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

use super::embedded::{self, Embedded};
use super::footer;
use super::guard::guarded;
use super::rewrite::rewrite;
use crate::input::{InputFile, failed, open_at_once};

/// A file whose end was read.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) metadata: ArrowReaderMetadata,
    /// The columns, as they are given.
    pub(super) schema: SchemaRef,
    /// Why a column cannot be read, by its name.
    pub(super) unreadable: BTreeMap<String, String>,
    pub(super) wide: Wide,
}

pub(super) fn open(file: &InputFile) -> Result<Opened, ConnectError> {
    let opened = open_at_once(&file.path).map_err(|error| failed(&file.name, &error))?;
    if !opened.metadata().map_err(|error| failed(&file.name, &error))?.is_file() {
        let why = "it is a pipe or a device, and Parquet is read from its end";
        return Err(ConnectError::failed(&*file.name, why, "write it to a file first"));
    }
    if is_encrypted(&opened).map_err(|error| failed(&file.name, &error))? {
        let next = "decrypt it first: keys for Parquet are not taken";
        return Err(ConnectError::failed(&*file.name, "it is encrypted", next));
    }
    let read = guarded(|| describe(&opened));
    let Described { metadata, schema, unreadable, wide } = match read {
        Ok(Ok(described)) => described,
        Ok(Err(error)) => return Err(not_parquet(file, &error.to_string())),
        Err(said) => return Err(not_parquet(file, &said)),
    };
    Ok(Opened { file: opened, metadata, schema, unreadable, wide })
}

fn not_parquet(file: &InputFile, why: &str) -> ConnectError {
    let why = format!("it is not Parquet, or damaged: {why}");
    ConnectError::failed(&*file.name, why, "check the file, or name its `format`")
}

/// Whether the index at its end is encrypted, as its last bytes say.
fn is_encrypted(file: &File) -> std::io::Result<bool> {
    const MAGIC: &[u8; 4] = b"PARE";
    let mut last = [0; MAGIC.len()];
    match file.metadata()?.len().checked_sub(last.len() as u64) {
        Some(at) => file.read_exact_at(&mut last, at).map(|()| last == *MAGIC),
        None => Ok(false),
    }
}

/// Columns that are packed in a way which this build does not unpack.
fn foreign_codecs(metadata: &ParquetMetaData, unreadable: &mut BTreeMap<String, String>) {
    for chunk in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let codec = match chunk.compression() {
            Compression::BROTLI(_) => "brotli",
            Compression::LZO => "lzo",
            _ => continue,
        };
        let column = chunk.column_path().parts().first().cloned().unwrap_or_default();
        unreadable.entry(column).or_insert_with(|| {
            format!("it is packed with {codec}, which is not unpacked here; zstd, snappy, gzip and lz4 are")
        });
    }
}

/// Names of columns of integers of 128 bits, and whether those have a sign.
pub(super) type Wide = BTreeMap<String, bool>;

struct Described {
    metadata: ArrowReaderMetadata,
    schema: SchemaRef,
    unreadable: BTreeMap<String, String>,
    wide: Wide,
}

fn describe(file: &File) -> Result<Described, ParquetError> {
    let metadata = footer::read(file)?;
    let written = metadata.file_metadata().schema_descr_ptr();
    let mut unreadable = unreadable(&written);
    let bare = |root: &str| unreadable.contains_key(root);
    let metadata = match rewrite(&written, |root, leaf| without_annotation(leaf) || bare(root)) {
        None => metadata,
        Some(readable) => {
            let options = ArrowReaderOptions::new().with_parquet_schema(Arc::new(readable));
            (**ArrowReaderMetadata::load(file, options.with_skip_arrow_metadata(true))?.metadata()).clone()
        }
    };
    let (found, wide) = found(&metadata, &mut unreadable)?;
    let mut leaves = written.columns().iter();
    let fields = found.fields().iter().map(|field| relabel(field, &mut leaves));
    let read_as = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    foreign_codecs(&metadata, &mut unreadable);
    let options = ArrowReaderOptions::new().with_schema(read_as.clone());
    let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options)?;
    let given = |field: &FieldRef| match wide.get(field.name()) {
        Some(_) => Arc::new(Field::new(field.name(), WIDE, field.is_nullable())),
        None => field.clone(),
    };
    let given = Schema::new(read_as.fields().iter().map(given).collect::<Vec<_>>());
    Ok(Described { metadata, schema: Arc::new(given), unreadable, wide })
}

/// Integers of 128 bits have up to 39 digits.
pub(super) const WIDE: DataType = DataType::Decimal256(39, 0);

/// Columns whose annotations the library has no type for.
fn unreadable(written: &SchemaDescriptor) -> BTreeMap<String, String> {
    let convert = |mask| parquet_to_arrow_schema_by_columns(written, mask, None);
    if matches!(guarded(|| convert(ProjectionMask::all())), Ok(Ok(_))) {
        return BTreeMap::new();
    }
    let roots = written.root_schema().get_fields().iter().enumerate();
    let why = |(index, root): (usize, &parquet::schema::types::TypePtr)| {
        let found = guarded(|| convert(ProjectionMask::roots(written, [index])));
        let why = match found {
            Ok(Ok(_)) => return None,
            Ok(Err(error)) => error.to_string(),
            Err(said) => said,
        };
        Some((root.name().to_owned(), why))
    };
    roots.filter_map(why).collect()
}

/// Of the months, days and milliseconds of an INTERVAL, the library gives two at most.
fn without_annotation(leaf: &parquet::schema::types::Type) -> bool {
    leaf.get_basic_info().converted_type() == ConvertedType::INTERVAL
}

/// The columns as Arrow has them, with what the embedded schema adds. What that says of a type which the library does
/// not know is read here first: it would panic.
fn found(
    metadata: &ParquetMetaData,
    unreadable: &mut BTreeMap<String, String>,
) -> Result<(Schema, Wide), ParquetError> {
    let described = metadata.file_metadata();
    let descriptor = described.schema_descr();
    let plain = parquet_to_arrow_schema(descriptor, None)?;
    let encoded = described.key_value_metadata().and_then(|pairs| {
        pairs.iter().find(|pair| pair.key == ARROW_SCHEMA_META_KEY).and_then(|pair| pair.value.clone())
    });
    let Some(bytes) = encoded.and_then(|text| BASE64.decode(text).ok()) else {
        return Ok((plain, Wide::new()));
    };
    let mut wide = Wide::new();
    let embedded = embedded::read(&bytes);
    if embedded.len() != plain.fields().len() {
        // It is of other columns than the file: Parquet's schema alone counts.
        return Ok((plain, wide));
    }
    let hint = |(field, (name, embedded)): (&FieldRef, (String, Embedded))| match embedded {
        _ if name != *field.name() => field.clone(),
        Embedded::Known(known) => Arc::new(known),
        Embedded::Wide { signed } if *field.data_type() == DataType::FixedSizeBinary(16) => {
            wide.insert(name, signed);
            field.clone()
        }
        Embedded::Wide { .. } => field.clone(),
        Embedded::Unknown(what) => {
            unreadable.insert(name, format!("its writer says that it is {what}"));
            field.clone()
        }
    };
    let hints = plain.fields().iter().zip(embedded).map(hint).collect::<Vec<_>>();
    let hints = KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(&Schema::new(hints)));
    // What contradicts the file is not heeded.
    let hinted = parquet_to_arrow_schema(descriptor, Some(&vec![hints])).unwrap_or(plain);
    Ok((hinted, wide))
}

/// The field with what Parquet's annotations say of its leaves, which come in the order of both trees.
fn relabel<'a>(field: &Field, leaves: &mut impl Iterator<Item = &'a ColumnDescPtr>) -> Field {
    let mut inner = |item: &FieldRef| Arc::new(relabel(item, &mut *leaves));
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::ListView(item) => DataType::ListView(inner(item)),
        DataType::LargeListView(item) => DataType::LargeListView(inner(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(inner(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        leaf => {
            return match leaves.next() {
                Some(written) => leaf_of(field.clone(), leaf.clone(), written),
                None => field.clone(),
            };
        }
    };
    field.clone().with_data_type(data_type)
}

fn leaf_of(field: Field, data_type: DataType, written: &ColumnDescPtr) -> Field {
    let (logical, converted) = (written.logical_type_ref(), written.converted_type());
    match (logical, converted) {
        (Some(LogicalType::Uuid), _) => Meaning::Uuid.mark(field),
        (_, ConvertedType::INTERVAL) => Meaning::Interval.mark(field),
        (Some(LogicalType::Json), _) | (_, ConvertedType::JSON) => Meaning::Json.mark(field),
        (Some(LogicalType::Enum), _) | (_, ConvertedType::ENUM) => field.with_data_type(DataType::Utf8),
        _ => match finest(&data_type, written) {
            Some(data_type) => field.with_data_type(data_type),
            None => field,
        },
    }
}

/// What Parquet's annotation says of a time, where the embedded schema has it in units that Parquet cannot say, and of INT96,
/// in the unit in which every year has room.
fn finest(found: &DataType, written: &ColumnDescPtr) -> Option<DataType> {
    let is_annotated =
        written.logical_type_ref().is_some() || written.converted_type() != ConvertedType::NONE;
    match found {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) if written.physical_type() == Physical::INT96 => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        DataType::Timestamp(TimeUnit::Second, zone) if is_annotated => {
            Some(DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))
        }
        DataType::Time32(TimeUnit::Second) if is_annotated => Some(DataType::Time32(TimeUnit::Millisecond)),
        DataType::Date64 if is_annotated => Some(DataType::Date32),
        _ => None,
    }
}
