//! Parquet's schema with some annotations taken off, or put on.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use model::fields::Meaning;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{ConvertedType, LogicalType};
use parquet::errors::Result;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

/// What becomes of a leaf: as it is, or with these annotations and no others.
type Annotated = Option<(Option<LogicalType>, ConvertedType)>;

/// The schema without the annotations of those leaves of which `bare` says so; it is told the column as well. None where
/// there is no such leaf.
pub(super) fn rewrite(
    written: &SchemaDescriptor,
    bare: impl Fn(&str, &Type) -> bool,
) -> Option<SchemaDescriptor> {
    let any = |(index, leaf): (usize, &parquet::schema::types::ColumnDescPtr)| {
        bare(written.get_column_root(index).name(), leaf.self_type())
    };
    if !written.columns().iter().enumerate().any(any) {
        return None;
    }
    let columns = written.root_schema().get_fields().iter().map(|root| {
        let column = root.name().to_owned();
        annotate(root, &mut |leaf| bare(&column, leaf).then_some((None, ConvertedType::NONE)))
    });
    let columns = columns.collect::<Result<Vec<_>>>().ok()?;
    let root = Type::group_type_builder(written.name()).with_fields(columns).build().ok()?;
    Some(SchemaDescriptor::new(Arc::new(root)))
}

/// The schema of a file that is to be written, with the annotations that Arrow's types do not say.
pub(crate) fn schema_to_write(schema: &Schema) -> Result<SchemaDescriptor> {
    let plain = ArrowSchemaConverter::new().convert(schema)?;
    let mut meanings = Vec::new();
    schema.fields().iter().for_each(|field| leaves(field, &mut meanings));
    let mut meanings = meanings.into_iter();
    let mut of_leaf = |_: &Type| match meanings.next()? {
        Meaning::Plain => None,
        Meaning::Json => Some((Some(LogicalType::Json), ConvertedType::JSON)),
        Meaning::Uuid => Some((Some(LogicalType::Uuid), ConvertedType::NONE)),
        Meaning::Interval => Some((None, ConvertedType::INTERVAL)),
    };
    let columns = plain.root_schema().get_fields().iter().map(|column| annotate(column, &mut of_leaf));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let root = Type::group_type_builder(plain.name()).with_fields(columns).build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

/// What the leaves of a field mean, in the order in which Parquet has them.
fn leaves(field: &Field, meanings: &mut Vec<Meaning>) {
    match field.data_type() {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => leaves(item, meanings),
        DataType::Struct(fields) => fields.iter().for_each(|field| leaves(field, meanings)),
        _ => meanings.push(Meaning::of(field)),
    }
}

fn annotate(column: &TypePtr, of_leaf: &mut impl FnMut(&Type) -> Annotated) -> Result<TypePtr> {
    let info = column.get_basic_info();
    let id = info.has_id().then(|| info.id());
    match &**column {
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| annotate(field, of_leaf)).collect::<Result<Vec<_>>>()?;
            let group = Type::group_type_builder(column.name())
                .with_repetition(info.repetition())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_converted_type(info.converted_type())
                .with_id(id)
                .with_fields(fields);
            group.build().map(Arc::new)
        }
        Type::PrimitiveType { physical_type, type_length, .. } => match of_leaf(column) {
            None => Ok(column.clone()),
            Some((logical, converted)) => {
                let leaf = Type::primitive_type_builder(column.name(), *physical_type)
                    .with_repetition(info.repetition())
                    .with_logical_type(logical)
                    .with_converted_type(converted)
                    .with_length(*type_length)
                    .with_id(id);
                leaf.build().map(Arc::new)
            }
        },
    }
}
