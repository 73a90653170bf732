//! Rows as structs: what `#[derive(Row)]` builds on.

use crate::columns::{ColumnBuilder, FieldsOf};
use crate::fields::{Field, Kind};
use crate::table::{At, Bools, Column, Table, Texts, kind_name};
use crate::{Blobs, Failure, Result};

/// Microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// Days since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

/// A list, map or nested record, as JSON text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Json<'a>(pub &'a str);

/// A struct whose fields are read from the first columns of a table. Derived with
/// [`Row`](derive@crate::Row).
pub trait ReadRow<'a>: FieldsOf {
    /// The columns of a table, found once per batch.
    type Columns: Copy;

    fn bind(table: &'a Table) -> Result<Self::Columns>;
    fn read(columns: &Self::Columns, at: At) -> Self;
}

/// A struct whose fields are written to the columns that a stage sets. Derived with
/// [`Row`](derive@crate::Row).
pub trait WriteRow: FieldsOf {
    const COLUMNS: usize;

    fn write(&self, columns: &mut RowColumns<'_>);
}

/// The columns that a stage sets on a port, or that a source gives: one value goes to each for every row.
#[derive(Debug)]
pub struct RowColumns<'c> {
    columns: &'c mut [ColumnBuilder],
}

impl<'c> RowColumns<'c> {
    pub(crate) fn new(columns: &'c mut [ColumnBuilder]) -> Self {
        RowColumns { columns }
    }

    /// # Panics
    /// Where the plan sets no such column.
    #[inline(always)]
    pub fn column(&mut self, index: usize) -> &mut ColumnBuilder {
        let count = self.columns.len();
        match self.columns.get_mut(index) {
            Some(column) => column,
            None => panic!("the plan of the stage has {count} columns here, so there is no column {index}"),
        }
    }
}

/// The rows of a table, in order, each with its place.
#[derive(Debug, Clone)]
pub struct Rows<'a, R: ReadRow<'a>> {
    columns: R::Columns,
    next: u32,
    rows: u32,
}

impl<'a, R: ReadRow<'a>> Rows<'a, R> {
    pub(crate) fn new(columns: R::Columns, rows: u32) -> Self {
        Rows { columns, next: 0, rows }
    }
}

impl<'a, R: ReadRow<'a>> Iterator for Rows<'a, R> {
    type Item = (At, R);

    #[inline(always)]
    fn next(&mut self) -> Option<(At, R)> {
        if self.next == self.rows {
            return None;
        }
        let at = At(self.next);
        self.next += 1;
        Some((at, R::read(&self.columns, at)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.rows - self.next) as usize;
        (left, Some(left))
    }
}

impl<'a, R: ReadRow<'a>> ExactSizeIterator for Rows<'a, R> {}

/// A type that a field of a row can have.
pub trait Value<'a>: Sized {
    type Column: Copy + 'a;

    fn field(name: &str) -> Field;
    fn bind(table: &'a Table, index: usize, name: &str) -> Result<Self::Column>;
    fn read(column: &Self::Column, at: At) -> Self;
    fn write(&self, column: &mut ColumnBuilder);
}

/// A type that has values in every row. What is read where the host sent none is the type's own nothing: a
/// column is wanted without nulls for it, so that the host rejects such rows.
pub trait Present<'a>: Value<'a> {
    fn read_optional(column: &Self::Column, at: At) -> Option<Self>;
}

impl<'a, T: Present<'a>> Value<'a> for Option<T> {
    type Column = T::Column;

    fn field(name: &str) -> Field {
        Field { nullable: true, ..T::field(name) }
    }

    fn bind(table: &'a Table, index: usize, name: &str) -> Result<T::Column> {
        T::bind(table, index, name)
    }

    #[inline(always)]
    fn read(column: &T::Column, at: At) -> Self {
        T::read_optional(column, at)
    }

    #[inline(always)]
    fn write(&self, column: &mut ColumnBuilder) {
        match self {
            Some(value) => value.write(column),
            None => column.push_null(),
        }
    }
}

macro_rules! value {
    ($value:ty, $kind:ident, $column:ty, $accessor:ident, $wrap:expr, $read:expr, $write:expr) => {
        impl<'a> Value<'a> for $value {
            type Column = $column;

            fn field(name: &str) -> Field {
                Field::new(name, Kind::$kind).required()
            }

            fn bind(table: &'a Table, index: usize, name: &str) -> Result<$column> {
                use crate::bindings::types::columns::Data;
                match table.column(index).map(|column| &column.data) {
                    Some(Data::$kind(_)) => Ok(table.$accessor(index)),
                    Some(other) => Err(Failure::fatal(format!(
                        "column `{name}` holds {}: plan with `TablePlan::of` for the row that is read",
                        kind_name(other)
                    ))),
                    None => Err(Failure::fatal(format!(
                        "column `{name}` is not among those wanted: plan with `TablePlan::of` for the row"
                    ))),
                }
            }

            #[inline(always)]
            fn read(column: &$column, at: At) -> Self {
                $read(column, at.0 as usize)
            }

            #[inline(always)]
            fn write(&self, column: &mut ColumnBuilder) {
                $write(self, column)
            }
        }

        impl<'a> Present<'a> for $value {
            #[inline(always)]
            fn read_optional(column: &$column, at: At) -> Option<Self> {
                column.get(at.0 as usize).map($wrap)
            }
        }
    };
}

macro_rules! fixed_value {
    ($value:ty, $kind:ident, $inner:ty, $accessor:ident, $wrap:expr, $push:ident, $unwrap:expr) => {
        value!(
            $value,
            $kind,
            Column<'a, $inner>,
            $accessor,
            $wrap,
            |column: &Column<'a, $inner>, at: usize| $wrap(column.values()[at]),
            |value: &$value, column: &mut ColumnBuilder| column.$push($unwrap(*value))
        );
    };
}

macro_rules! varlen_value {
    ($value:ty, $kind:ident, $column:ty, $accessor:ident, $wrap:expr, $push:ident, $unwrap:expr) => {
        value!(
            $value,
            $kind,
            $column,
            $accessor,
            $wrap,
            |column: &$column, at: usize| $wrap(column.get(at).unwrap_or_default()),
            |value: &$value, column: &mut ColumnBuilder| column.$push($unwrap(value))
        );
    };
}

fixed_value!(i32, S32s, i32, s32s, |value| value, push_i32, |value| value);
fixed_value!(i64, S64s, i64, s64s, |value| value, push_i64, |value| value);
fixed_value!(u64, U64s, u64, u64s, |value| value, push_u64, |value| value);
fixed_value!(f32, F32s, f32, f32s, |value| value, push_f32, |value| value);
fixed_value!(f64, F64s, f64, f64s, |value| value, push_f64, |value| value);
fixed_value!(Time, Times, i64, time_values, Time, push_time, |value| value);
fixed_value!(Day, Days, i32, days, Day, push_day, |value| value);
varlen_value!(bool, Bools, Bools<'a>, bools, |value| value, push_bool, |value: &bool| *value);
varlen_value!(&'a str, Texts, Texts<'a>, texts, |value| value, push_text, |value: &&'a str| *value);
varlen_value!(&'a [u8], Blobs, Blobs<'a>, blobs, |value| value, push_blob, |value: &&'a [u8]| *value);
varlen_value!(Json<'a>, Jsons, Texts<'a>, jsons, Json, push_json, |value: &Json<'a>| *value);
