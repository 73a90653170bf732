//! One wanted column of many rows: fields into values, all the way down before the next column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, BooleanBufferBuilder, PrimitiveArray, StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use memchr::memchr;
use model::convert::{is_json, text, times};
use model::fields::{instants, local_times};
use model::manifest::ColumnType;

use super::dialect::{Dialect, RowEnds};
use super::field::Field;
use super::index::Index;
use super::rows::Rows;
use super::zeek::{ZeekForm, ZeekType};

/// What a column is read as.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) column_type: ColumnType,
    /// Whether the type was found and not declared: a message then says how to declare it.
    pub(crate) inferred: bool,
    /// What Zeek says that it is, of its logs.
    pub(crate) zeek: Option<ZeekType>,
}

/// Good rows of a piece of input, column by column.
pub(super) struct Portion<'a> {
    pub(super) data: &'a [u8],
    pub(super) index: &'a Index,
    pub(super) rows: &'a Rows,
    pub(super) fields: usize,
    pub(super) dialect: Dialect,
    /// Whether numbers have a comma where others have a point.
    pub(super) decimal_comma: bool,
    pub(super) row_ends: RowEnds,
    /// How values are written, in logs of Zeek.
    pub(super) zeek: Option<&'a ZeekForm>,
    /// The text that stands for a null, if one does.
    pub(super) null: Option<&'a [u8]>,
}

/// One column of a portion, for loops over its rows.
#[derive(Clone, Copy)]
struct Column<'a> {
    data: &'a [u8],
    index: &'a Index,
    first_fields: &'a [u32],
    position: usize,
    /// Whether the line break follows.
    is_last: bool,
    quote: Option<u8>,
    escapes: bool,
    /// Whether a field has to be looked at: where there are quotes or escapes.
    looks: bool,
}

impl<'a> Column<'a> {
    /// The bytes of a field that mean themselves, and where they begin: those of one that begins with no quote, in a dialect
    /// in which nothing is escaped. Most do, and are read without looking further.
    #[inline(always)]
    fn plain(&self, row: usize) -> Option<(usize, &'a [u8])> {
        let (start, end) = self.index.field(self.first_fields[row] as usize + self.position);
        let raw = Field::raw(self.data, start, end, self.is_last);
        if self.looks && (self.escapes || raw.first().copied() == self.quote) {
            return None;
        }
        Some((start, raw))
    }
}

/// The values of a column, and the rows whose field is none; those have a null or nothing there.
pub(super) struct Read {
    pub(super) values: ArrayRef,
    pub(super) failed: Vec<u32>,
}

impl<'a> Portion<'a> {
    #[inline(always)]
    pub(super) fn field(&self, row: usize, position: usize) -> Field<'a> {
        let (start, end) = self.index.field(self.rows.first_fields[row] as usize + position);
        Field::of(self.data, start, end, position + 1 == self.fields, self.dialect)
    }

    fn column(&self, position: usize) -> Column<'a> {
        let Dialect { quote, escape, .. } = self.dialect;
        Column {
            data: self.data,
            index: self.index,
            first_fields: &self.rows.first_fields,
            position,
            is_last: position + 1 == self.fields,
            quote,
            escapes: escape.is_some(),
            looks: self.index.has_quotes(),
        }
    }

    /// Whether a field of a column of anything but text is a null.
    #[inline]
    fn is_null(&self, field: Field<'_>) -> bool {
        match field.plain() {
            Some(raw) => raw.is_empty() || Some(raw) == self.null,
            None => self.is_null_text(field),
        }
    }

    /// The same of a column of text.
    pub(super) fn is_null_text(&self, field: Field<'_>) -> bool {
        field.is_null(self.null, self.fields == 1, true)
    }

    pub(super) fn read(&self, position: usize, target: &Target) -> Read {
        if let (Some(form), Some(of_type)) = (self.zeek, &target.zeek) {
            return form.read(self, position, of_type, target.column_type);
        }
        let comma = self.decimal_comma;
        match target.column_type {
            ColumnType::Int if comma => self.read_numbers::<Int64Type>(position, with_point(text::int)),
            ColumnType::Float if comma => self.read_numbers::<Float64Type>(position, with_point(text::float)),
            ColumnType::Int => self.read_numbers::<Int64Type>(position, text::int),
            ColumnType::Float => self.read_numbers::<Float64Type>(position, text::float),
            ColumnType::Timestamp => self.read_times(position, times::instant, instants()),
            ColumnType::LocalTimestamp => self.read_times(position, times::local, local_times()),
            ColumnType::Date => self.read_numbers::<Date32Type>(position, times::date),
            ColumnType::Bool => self.read_bools(position, text::boolean),
            ColumnType::Text => self.read_texts(position, |_| true),
            ColumnType::Json => self.read_texts(position, is_json),
            ColumnType::Bytes => self.read_bytes(position),
        }
    }

    pub(super) fn read_numbers<T: ArrowPrimitiveType>(
        &self,
        position: usize,
        parse: impl Fn(&[u8]) -> Option<T::Native>,
    ) -> Read {
        let count = self.rows.len();
        let column = self.column(position);
        let mut values = Vec::with_capacity(count);
        let mut failed = Vec::new();
        // The text of a null may well be a number, such as -1; `NA` is none, and need not be looked for.
        let null_is_number = self.null.is_some_and(|null| parse(null).is_some());
        let nulls = nulls(count, |row| {
            let (value, is_null) = match column.plain(row) {
                Some((_, raw)) => {
                    let value = parse(raw);
                    let may_be_null = value.is_none() || null_is_number;
                    (value, may_be_null && (raw.is_empty() || Some(raw) == self.null))
                }
                None => {
                    let field = self.field(row, position);
                    (parse(&field.bytes()), self.is_null(field))
                }
            };
            if let Some(value) = value
                && !is_null
            {
                values.push(value);
                return true;
            }
            if !is_null {
                failed.push(row as u32);
            }
            values.push(T::default_value());
            false
        });
        Read { values: Arc::new(PrimitiveArray::<T>::new(values.into(), nulls)), failed }
    }

    pub(super) fn read_times(
        &self,
        position: usize,
        parse: impl Fn(&[u8]) -> Option<i64>,
        data_type: DataType,
    ) -> Read {
        let Read { values, failed } = self.read_numbers::<TimestampMicrosecondType>(position, parse);
        let times = values.as_primitive::<TimestampMicrosecondType>().clone();
        Read { values: Arc::new(times.with_data_type(data_type)), failed }
    }

    pub(super) fn read_bools(&self, position: usize, parse: impl Fn(&[u8]) -> Option<bool>) -> Read {
        let count = self.rows.len();
        let mut values = BooleanBufferBuilder::new(count);
        let mut failed = Vec::new();
        let nulls = nulls(count, |row| {
            let field = self.field(row, position);
            let null = self.is_null(field);
            let value = if null { None } else { parse(&field.bytes()) };
            if value.is_none() && !null {
                failed.push(row as u32);
            }
            values.append(value.unwrap_or_default());
            value.is_some()
        });
        Read { values: Arc::new(BooleanArray::new(values.finish(), nulls)), failed }
    }

    /// All texts at once, checked at once; only where one is no UTF-8, or not `fit`, one by one.
    fn read_texts(&self, position: usize, fit: impl Fn(&[u8]) -> bool) -> Read {
        self.check_texts(self.read_varlen(position), fit)
    }

    pub(super) fn check_texts(&self, mut varlen: Varlen, fit: impl Fn(&[u8]) -> bool) -> Read {
        let mut failed = varlen.failed.clone();
        let bytes = &varlen.bytes;
        let is_text = std::str::from_utf8(bytes)
            .is_ok_and(|text| varlen.ends.iter().all(|&end| text.is_char_boundary(end as usize)));
        let fits = |row: usize| {
            let value = &bytes[varlen.ends[row] as usize..varlen.ends[row + 1] as usize];
            varlen.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
                || std::str::from_utf8(value).is_ok() && fit(value)
        };
        // `fit` of nothing tells whether there is anything to check.
        if !is_text || !fit(b"") {
            failed.extend((0..self.rows.len()).filter(|&row| !fits(row)).map(|row| row as u32));
            failed.sort_unstable();
            failed.dedup();
        }
        if !is_text {
            varlen.blank(&failed);
        }
        let values = StringArray::try_new(varlen.offsets(), Buffer::from_vec(varlen.bytes), varlen.nulls);
        Read {
            values: Arc::new(values.expect("texts were checked, and those that are none blanked")),
            failed,
        }
    }

    fn read_bytes(&self, position: usize) -> Read {
        Self::bytes_of(self.read_varlen(position))
    }

    pub(super) fn bytes_of(mut varlen: Varlen) -> Read {
        let failed = std::mem::take(&mut varlen.failed);
        let values = BinaryArray::new(varlen.offsets(), Buffer::from_vec(varlen.bytes), varlen.nulls);
        Read { values: Arc::new(values), failed }
    }

    fn read_varlen(&self, position: usize) -> Varlen {
        let count = self.rows.len();
        let column = self.column(position);
        let mut varlen = Varlen::with_capacity(count);
        // What stands where a text is null.
        let null = self.null.unwrap_or_default();
        let nulls = nulls(count, |row| {
            let (fitted, has_value) = match column.plain(row) {
                Some((start, raw)) => (varlen.push_short(self.data, start, raw), raw != null),
                None => {
                    let field = self.field(row, position);
                    (varlen.push(&field.bytes()), !self.is_null_text(field))
                }
            };
            if !fitted {
                varlen.failed.push(row as u32);
            }
            has_value
        });
        varlen.nulls = nulls;
        self.refuse_returns(position, &mut varlen);
        varlen
    }

    /// A carriage return alone outside of quotes that may be the end of a row, of a file in which rows end otherwise,
    /// is no data.
    fn refuse_returns(&self, position: usize, varlen: &mut Varlen) {
        if !self.may_end_rows(position) || memchr(b'\r', &varlen.bytes).is_none() {
            return;
        }
        let is_end = |row: &usize| self.has_row_end(*row, position);
        varlen.failed.extend((0..self.rows.len()).filter(is_end).map(|row| row as u32));
        varlen.failed.sort_unstable();
        varlen.failed.dedup();
    }

    /// Where nothing can enclose a carriage return, or rows end with it, it is where it is meant to be. In the middle
    /// of a row it is no end either: there would be other fields before it, or behind it.
    fn may_end_rows(&self, position: usize) -> bool {
        let Dialect { quote, escape, .. } = self.dialect;
        let is_outermost = position == 0 || position + 1 == self.fields;
        is_outermost && quote.is_some() && escape.is_none() && self.row_ends == RowEnds::Newline
    }

    /// Whether a carriage return stands in a field where a row may end.
    pub(super) fn has_row_end(&self, row: usize, position: usize) -> bool {
        let raw = self.field(row, position).bare().unwrap_or_default();
        let (is_first, is_last) = (position == 0, position + 1 == self.fields);
        self.may_end_rows(position)
            && match (is_first, is_last) {
                (true, true) => raw.contains(&b'\r'),
                (true, false) => raw.first() == Some(&b'\r'),
                _ => raw.last() == Some(&b'\r'),
            }
    }
}

/// The longest number with a comma that is read as one.
const COMMA_NUMBER_BYTES_MAX: usize = 512;

/// Reads what has a comma where numbers have a point, and no point.
pub(crate) fn with_point<T>(parse: impl Fn(&[u8]) -> Option<T>) -> impl Fn(&[u8]) -> Option<T> {
    move |value| {
        if value.contains(&b'.') || value.len() > COMMA_NUMBER_BYTES_MAX {
            return None;
        }
        let mut pointed = [0; COMMA_NUMBER_BYTES_MAX];
        let pointed = &mut pointed[..value.len()];
        pointed.copy_from_slice(value);
        pointed.iter_mut().filter(|byte| **byte == b',').for_each(|byte| *byte = b'.');
        parse(pointed)
    }
}

/// Which of `rows` have a value, as `has_value` says of each in turn; none where all have. Gathered by the word: to ask
/// for room with every bit costs as much as to read a short field.
#[inline(always)]
pub(super) fn nulls(rows: usize, mut has_value: impl FnMut(usize) -> bool) -> Option<NullBuffer> {
    let mut words = Vec::with_capacity(rows.div_ceil(64));
    for first in (0..rows).step_by(64) {
        let word = |word, row| word | u64::from(has_value(row)).wrapping_shl(row as u32);
        words.push((first..rows.min(first + 64)).fold(0, word));
    }
    let valid = BooleanBuffer::new(Buffer::from_vec(words), 0, rows);
    Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
}

/// Values of varying length while they are gathered. There is room for more than is used of `bytes`, so that short values
/// can be copied as whole registers.
pub(super) struct Varlen {
    bytes: Vec<u8>,
    ends: Vec<i32>,
    pub(super) nulls: Option<NullBuffer>,
    /// Rows whose value is none, for one because offsets of 32 bits are too few for it.
    pub(super) failed: Vec<u32>,
}

/// What one register copies.
const SHORT: usize = 16;

impl Varlen {
    pub(super) fn with_capacity(rows: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { bytes: Vec::with_capacity(rows * SHORT + SHORT), ends, nulls: None, failed: Vec::new() }
    }

    /// `value` stands in `data` at `start`, so that what stands behind it may be copied with it.
    #[inline]
    fn push_short(&mut self, data: &[u8], start: usize, value: &[u8]) -> bool {
        let source = data.get(start..).and_then(|rest| rest.first_chunk::<SHORT>());
        let end = self.bytes.len() + value.len();
        match source {
            Some(source) if value.len() <= SHORT && end <= i32::MAX as usize => {
                self.bytes.extend_from_slice(source);
                self.bytes.truncate(end);
                self.ends.push(end as i32);
                true
            }
            _ => self.push(value),
        }
    }

    /// Whether there was room for it.
    pub(super) fn push(&mut self, value: &[u8]) -> bool {
        let end = self.bytes.len() + value.len();
        let fits = end <= i32::MAX as usize;
        if fits {
            self.bytes.extend_from_slice(value);
        }
        self.ends.push(self.bytes.len() as i32);
        fits
    }

    fn offsets(&mut self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(std::mem::take(&mut self.ends).into())
    }

    /// Puts spaces where a value is no text.
    fn blank(&mut self, rows: &[u32]) {
        for &row in rows {
            let (start, end) = (self.ends[row as usize], self.ends[row as usize + 1]);
            self.bytes[start as usize..end as usize].fill(b' ');
        }
    }
}
