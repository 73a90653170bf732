//! What rows take where they stand side by side, before anybody puts them there.
//!
//! A batch holds a value once that many rows have: a text of a dictionary, a column of a record that many rows were
//! made from, the name of a column. Whoever needs the rows in full (a format, a stage of bytes, a cast) has it for each
//! of them, so that a batch of a MB can become gigabytes. How large it becomes is known from lengths alone: no value is
//! looked at. Most batches are told by a bound that costs a few additions; only where it does not do are rows summed up.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{ByteViewType, DataType};

use crate::batch::{Batch, Column, Rows};
use crate::limits::EXPANDED_BYTES_MAX;

/// What a row takes beside its values: its id, its lineage, its places in lists.
const ROW_BYTES: u64 = 32;

/// How a batch is to be handed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut {
    /// Rows that go together, in their order.
    pub parts: Vec<Range<u32>>,
    /// Rows that are larger than a record may be, and how many bytes each takes. No part has any.
    pub too_large: Vec<(u32, u64)>,
}

/// Whether a batch has to be cut before `columns` of it (all, if none are named) and what goes with them can be put side
/// by side. `beside_bytes`: what a row takes there beside its values, such as names.
pub fn cut(
    batch: &Batch,
    columns: Option<&[usize]>,
    beside_bytes: u64,
    record_bytes_max: u64,
) -> Option<Cut> {
    let rows = batch.rows() as u64;
    let beside = rows * (ROW_BYTES + beside_bytes);
    let all = Chosen { batch, columns };
    let is_small = |values: u64| {
        values.saturating_add(beside) <= EXPANDED_BYTES_MAX as u64 && values <= record_bytes_max
    };
    let repeats = u64::from(batch.repeats());
    if is_small(all.sum(|column| ceiling(column, repeats)))
        || repeats > 1 && is_small(all.sum(|column| most_of(column.values(), column.len())))
    {
        return None;
    }
    let sizes = all.sizes();
    let held = batch.weight_bytes().max(EXPANDED_BYTES_MAX) as u64;
    let expanded = sizes.iter().fold(beside, |sum, &size| sum.saturating_add(size));
    let fits = sizes.iter().all(|&size| size <= record_bytes_max);
    (expanded > held && rows > 1 || !fits).then(|| {
        // What came as it is stays together.
        let most = if expanded > held { EXPANDED_BYTES_MAX as u64 } else { u64::MAX };
        parts(&sizes, ROW_BYTES + beside_bytes, most, record_bytes_max)
    })
}

/// Parts of at most `most` bytes, or of one row.
fn parts(sizes: &[u64], beside: u64, most: u64, record_bytes_max: u64) -> Cut {
    let (mut parts, mut too_large) = (Vec::new(), Vec::new());
    let (mut first, mut sum) = (0u32, 0u64);
    for (row, &size) in (0u32..).zip(sizes) {
        let (is_too_large, with_it) =
            (size > record_bytes_max, sum.saturating_add(size).saturating_add(beside));
        if first < row && (is_too_large || with_it > most) {
            parts.push(first..row);
            (first, sum) = (row, 0);
        }
        if is_too_large {
            too_large.push((row, size));
            first = row + 1;
        } else {
            sum = sum.saturating_add(size).saturating_add(beside);
        }
    }
    let end = sizes.len() as u32;
    if first < end {
        parts.push(first..end);
    }
    Cut { parts, too_large }
}

/// What all values of a batch take side by side.
pub fn batch_bytes(batch: &Batch) -> u64 {
    Chosen { batch, columns: None }.sizes().iter().fold(0, |sum, &size| sum.saturating_add(size))
}

/// Values that rows are made of, and may stand for more than is held.
pub(crate) enum Made<'a> {
    /// One for each row.
    Set(&'a ArrayRef),
    /// Those of rows that came: for each made row, the one that it comes from.
    Inherited(&'a Column, &'a [u32]),
}

impl Made<'_> {
    fn ceiling(&self) -> u64 {
        match self {
            Self::Set(values) => most_of(values, values.len()),
            Self::Inherited(column, origins) => most_of(column.values(), origins.len()),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Set(values) => {
                let lengths = Lengths::of(values);
                (0..values.len()).map(|row| lengths.at(row)).fold(0, u64::saturating_add)
            }
            Self::Inherited(column, origins) => {
                let lengths = Lengths::of(column.values());
                let length = |&origin: &u32| lengths.at(column.rows().at(origin as usize));
                origins.iter().map(length).fold(0, u64::saturating_add)
            }
        }
    }
}

/// What made values take side by side, where that is more than `most`.
pub(crate) fn more_than(most: u64, made: &[Made<'_>]) -> Option<u64> {
    if made.iter().map(Made::ceiling).fold(0, u64::saturating_add) <= most {
        return None;
    }
    let bytes = made.iter().map(Made::bytes).fold(0, u64::saturating_add);
    (bytes > most).then_some(bytes)
}

/// Whether values of an array may be held once and stand for many.
pub(crate) fn is_shared(values: &ArrayRef) -> bool {
    shares(values.data_type())
}

/// Columns of a batch, and what its records have beside them.
struct Chosen<'a> {
    batch: &'a Batch,
    columns: Option<&'a [usize]>,
}

impl Chosen<'_> {
    /// Loops rather than one iterator of all, which costs more than what is done with a column: it is so for each batch.
    fn each(&self, mut see: impl FnMut(&Column)) {
        match self.columns {
            Some(columns) => columns.iter().for_each(|&index| see(&self.batch.columns()[index])),
            None => self.batch.columns().iter().for_each(&mut see),
        }
        self.batch.parts().present().for_each(see);
    }

    fn sum(&self, bytes: impl Fn(&Column) -> u64) -> u64 {
        let mut sum = 0u64;
        self.each(|column| sum = sum.saturating_add(bytes(column)));
        sum
    }

    /// By row.
    fn sizes(&self) -> Vec<u64> {
        let mut sizes = vec![0u64; self.batch.rows()];
        self.each(|column| {
            let lengths = Lengths::of(column.values());
            let mut add = |(row, size): (usize, &mut u64)| *size = size.saturating_add(lengths.at(row));
            match column.rows() {
                Rows::All => sizes.iter_mut().enumerate().for_each(add),
                Rows::At(rows) => {
                    rows.iter().map(|&row| row as usize).zip(&mut sizes).for_each(&mut add);
                }
            }
        });
        sizes
    }
}

/// No less than what the rows of a column take side by side. `repeats`: how often its selection names one value at most.
fn ceiling(column: &Column, repeats: u64) -> u64 {
    let values = column.values();
    match shares(values.data_type()) {
        true => most_of(values, column.len()),
        false => repeats.saturating_mul(values.get_buffer_memory_size() as u64),
    }
}

/// No less than what `rows` values of an array take, whichever they are.
fn most_of(values: &ArrayRef, rows: usize) -> u64 {
    let values = match values.data_type() {
        DataType::Dictionary(..) => values.as_any_dictionary().values(),
        _ => values,
    };
    // Of many more than there are rows, only those that the rows name are worth a look.
    if values.len() > 4 * rows {
        return u64::MAX;
    }
    (rows as u64).saturating_mul(Lengths::of(values).longest())
}

/// Whether an array of this type can hold a value once that several of its rows have.
fn shares(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..)
        | DataType::RunEndEncoded(..)
        | DataType::Utf8View
        | DataType::BinaryView => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => shares(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| shares(field.data_type())),
        DataType::ListView(_) | DataType::LargeListView(_) | DataType::Union(..) => true,
        _ => false,
    }
}

/// Bytes of each value of an array, in full.
enum Lengths<'a> {
    Each(u64),
    Offsets(&'a [i32]),
    LongOffsets(&'a [i64]),
    /// The length of a view is in its lower half.
    Views(&'a [u128]),
    These(Vec<u64>),
}

impl<'a> Lengths<'a> {
    fn of(values: &'a ArrayRef) -> Self {
        match values.data_type() {
            DataType::Utf8 => Self::Offsets(values.as_string::<i32>().offsets()),
            DataType::Binary => Self::Offsets(values.as_binary::<i32>().offsets()),
            DataType::LargeUtf8 => Self::LongOffsets(values.as_string::<i64>().offsets()),
            DataType::LargeBinary => Self::LongOffsets(values.as_binary::<i64>().offsets()),
            DataType::Utf8View => Self::Views(views(values.as_string_view())),
            DataType::BinaryView => Self::Views(views(values.as_binary_view())),
            DataType::Null => Self::Each(0),
            DataType::Boolean => Self::Each(1),
            DataType::FixedSizeBinary(bytes) => Self::Each(*bytes as u64),
            DataType::Dictionary(..) => Self::These(of_dictionary(values)),
            DataType::List(_) => {
                let list = values.as_list::<i32>();
                Self::These(of_lists(list.values(), list.offsets().iter().map(|&at| at as usize)))
            }
            DataType::LargeList(_) => {
                let list = values.as_list::<i64>();
                Self::These(of_lists(list.values(), list.offsets().iter().map(|&at| at as usize)))
            }
            DataType::Map(..) => {
                let map = values.as_map();
                let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
                Self::These(of_lists(&entries, map.offsets().iter().map(|&at| at as usize)))
            }
            DataType::FixedSizeList(_, count) => {
                let (list, count) = (values.as_fixed_size_list(), *count as usize);
                Self::These(of_lists(list.values(), (0..=list.len()).map(|row| row * count)))
            }
            DataType::Struct(_) => {
                let mut sums = vec![0u64; values.len()];
                for column in values.as_struct().columns() {
                    let lengths = Lengths::of(column);
                    sums.iter_mut()
                        .enumerate()
                        .for_each(|(row, sum)| *sum = sum.saturating_add(lengths.at(row)));
                }
                Self::These(sums)
            }
            other => Self::Each(match other.primitive_width() {
                Some(width) => width as u64,
                // Nothing makes these; what they hold is all that one value can be.
                None => values.get_buffer_memory_size() as u64,
            }),
        }
    }

    fn at(&self, row: usize) -> u64 {
        match self {
            Self::Each(bytes) => *bytes,
            Self::Offsets(offsets) => (offsets[row + 1] - offsets[row]) as u64,
            Self::LongOffsets(offsets) => (offsets[row + 1] - offsets[row]) as u64,
            Self::Views(views) => u64::from(views[row] as u32),
            Self::These(list) => list[row],
        }
    }

    fn longest(&self) -> u64 {
        match self {
            Self::Each(bytes) => *bytes,
            Self::Offsets(offsets) => {
                offsets.windows(2).map(|w| w[1] - w[0]).fold(0, |most, length| most.max(length)) as u64
            }
            Self::LongOffsets(offsets) => offsets.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0) as u64,
            Self::Views(views) => views.iter().map(|&view| u64::from(view as u32)).max().unwrap_or(0),
            Self::These(list) => list.iter().copied().max().unwrap_or(0),
        }
    }
}

fn views<T: ByteViewType>(array: &arrow::array::GenericByteViewArray<T>) -> &[u128] {
    array.views()
}

/// A pass over its keys.
fn of_dictionary(values: &ArrayRef) -> Vec<u64> {
    let dictionary = values.as_any_dictionary();
    if dictionary.values().is_empty() {
        return vec![0; values.len()];
    }
    let lengths = Lengths::of(dictionary.values());
    dictionary.normalized_keys().into_iter().map(|key| lengths.at(key)).collect()
}

fn of_lists(items: &ArrayRef, mut offsets: impl Iterator<Item = usize>) -> Vec<u64> {
    let lengths = Lengths::of(items);
    let Some(mut at) = offsets.next() else { return Vec::new() };
    let list = |end| {
        let bytes = (at..end).map(|item| lengths.at(item)).fold(0, u64::saturating_add);
        at = end;
        bytes
    };
    offsets.map(list).collect()
}

#[cfg(test)]
mod tests;
