//! Values that Parquet's annotations promise and that no library looks at: times of day within a day, and JSON that is
//! some. A row that has others is refused.

use std::ops::Range;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    ArrowNativeType, DataType, Field, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit,
};
use model::convert::is_json_text;
use model::fields::Meaning;

/// A row, and what is wrong with it.
pub(super) type Misfit = (u32, &'static str);

const NO_TIME: &str = "it is before 00:00:00 or after 24:00:00, and no time of day";
const NO_JSON: &str = "it is not JSON";

/// Whether there is anything to look at.
pub(super) fn needs_look(field: &Field) -> bool {
    match field.data_type() {
        DataType::Time32(_) | DataType::Time64(_) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => needs_look(item),
        DataType::Struct(fields) => fields.iter().any(|field| needs_look(field)),
        DataType::Dictionary(_, value) => needs_look(&field.clone().with_data_type((**value).clone())),
        _ => Meaning::of(field) == Meaning::Json,
    }
}

/// Rows with a value that is none of what the field says, ascending.
pub(super) fn misfits(field: &Field, array: &dyn Array) -> Vec<Misfit> {
    if !needs_look(field) {
        return Vec::new();
    }
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => {
            times(array, array.as_primitive::<Time32SecondType>().values(), 86_400)
        }
        DataType::Time32(_) => {
            times(array, array.as_primitive::<Time32MillisecondType>().values(), 86_400_000)
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            times(array, array.as_primitive::<Time64NanosecondType>().values(), 86_400_000_000_000)
        }
        DataType::Time64(_) => {
            times(array, array.as_primitive::<Time64MicrosecondType>().values(), 86_400_000_000)
        }
        DataType::Utf8 => no_json(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => no_json(array.as_string::<i64>().iter()),
        DataType::Utf8View => no_json(array.as_string_view().iter()),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter();
            let mut found: Vec<Misfit> =
                fields.iter().zip(columns).flat_map(|(field, column)| misfits(field, column)).collect();
            found.sort_unstable_by_key(|(row, _)| *row);
            found.dedup_by_key(|(row, _)| *row);
            found.retain(|(row, _)| array.is_valid(*row as usize));
            found
        }
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            of_items(array, misfits(item, list.values()), |row| between(offsets, row))
        }
        DataType::LargeList(item) => {
            let list = array.as_list::<i64>();
            let offsets = list.value_offsets();
            of_items(array, misfits(item, list.values()), |row| between(offsets, row))
        }
        DataType::FixedSizeList(item, size) => {
            let size = *size as usize;
            let items = misfits(item, array.as_fixed_size_list().values());
            of_items(array, items, |row| row * size..(row + 1) * size)
        }
        DataType::Map(entries, _) => {
            let map = array.as_map();
            let offsets = map.value_offsets();
            of_items(array, misfits(entries, map.entries()), |row| between(offsets, row))
        }
        DataType::Dictionary(_, value) => {
            let dictionary = array.as_any_dictionary();
            let bad = misfits(&field.clone().with_data_type((**value).clone()), dictionary.values());
            let keys = if bad.is_empty() { Vec::new() } else { dictionary.normalized_keys() };
            of_items(array, bad, |row| keys[row]..keys[row] + 1)
        }
        _ => Vec::new(),
    }
}

fn between<T: ArrowNativeType>(offsets: &[T], row: usize) -> Range<usize> {
    offsets[row].as_usize()..offsets[row + 1].as_usize()
}

/// The rows that hold the items.
fn of_items(array: &dyn Array, items: Vec<Misfit>, range: impl Fn(usize) -> Range<usize>) -> Vec<Misfit> {
    if items.is_empty() {
        return Vec::new();
    }
    let first = |row: usize| {
        let range = range(row);
        let at = items.partition_point(|(item, _)| (*item as usize) < range.start);
        items.get(at).filter(|(item, _)| (*item as usize) < range.end).map(|(_, why)| (row as u32, *why))
    };
    (0..array.len()).filter(|&row| array.is_valid(row)).filter_map(first).collect()
}

fn times<T: Copy + Into<i64>>(array: &dyn Array, values: &[T], day: i64) -> Vec<Misfit> {
    let is_none = |row: &usize| !(0..=day).contains(&values[*row].into()) && array.is_valid(*row);
    (0..values.len()).filter(is_none).map(|row| (row as u32, NO_TIME)).collect()
}

fn no_json<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> Vec<Misfit> {
    let rows = texts.enumerate().filter(|(_, text)| text.is_some_and(|text| !is_json_text(text)));
    rows.map(|(row, _)| (row as u32, NO_JSON)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, ListArray, StringArray, StructArray, Time64MicrosecondArray};
    use arrow::buffer::{NullBuffer, OffsetBuffer};

    use super::*;

    #[test]
    fn a_row_is_found_by_what_is_deep_in_it() {
        const DAY: i64 = 86_400_000_000;
        let times =
            Time64MicrosecondArray::from(vec![Some(0), Some(DAY), Some(DAY + 1), None, Some(-1), Some(-2)]);
        let json = StringArray::from(vec!["1", "{", "null", "[]", "x", "{}"]);
        let fields = vec![
            Arc::new(Field::new("t", times.data_type().clone(), true)),
            Arc::new(Meaning::Json.mark(Field::new("j", DataType::Utf8, true))),
        ];
        let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(json)];
        let structs = StructArray::new(fields.into(), columns, None);
        let of_structs = Field::new("s", structs.data_type().clone(), true);
        assert_eq!(misfits(&of_structs, &structs), [(1, NO_JSON), (2, NO_TIME), (4, NO_TIME), (5, NO_TIME)]);

        let offsets = OffsetBuffer::new(vec![0, 1, 1, 3, 4, 6].into());
        let nulls = NullBuffer::from(vec![true, true, true, true, false]);
        let item = Arc::new(of_structs);
        let lists = ListArray::new(item.clone(), offsets, Arc::new(structs), Some(nulls));
        let of_lists = Field::new("l", DataType::List(item), true);
        assert_eq!(misfits(&of_lists, &lists), [(2, NO_JSON)], "of a list that is null nothing counts");
        assert_eq!(misfits(&of_lists, &lists.slice(2, 2)), [(0, NO_JSON)]);
    }
}
