//! A batch of rows with typed columns, and views that borrow from it.

use crate::batch::{Blobs, Validity, check_times, check_valid, check_varlen, malformed};
use crate::bindings::types::columns::{Column as WireColumn, Data};
use crate::bindings::types::tables;
use crate::row::{ReadRow, Rows};
use crate::{Result, raw};

/// Rows that came together: the columns that the plan wants, in its order.
#[derive(Debug)]
pub struct Table {
    wire: tables::Table,
    pub(crate) has_times: bool,
    pub(crate) has_keys: bool,
}

/// The place of a row in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(pub u32);

/// Values of one width.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a, T> {
    values: &'a [T],
    valid: Validity<'a>,
}

/// Truth values, one bit each.
#[derive(Debug, Clone, Copy)]
pub struct Bools<'a> {
    bits: &'a [u8],
    rows: usize,
    valid: Validity<'a>,
}

/// Texts, or JSON texts.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a>(Blobs<'a>);

/// Texts of which many are the same: an index for each row, and each text once.
#[derive(Debug, Clone, Copy)]
pub struct Dictionaries<'a> {
    indices: &'a [u32],
    texts: Texts<'a>,
    valid: Validity<'a>,
}

impl Table {
    pub(crate) fn new(wire: tables::Table, has_times: bool, has_keys: bool) -> Result<Self> {
        let rows = wire.rows as usize;
        check_times(wire.times.as_deref(), rows)?;
        if let Some(keys) = &wire.keys {
            check_varlen("keys", &keys.blobs, rows)?;
            check_valid("keys", keys.valid.as_deref(), rows)?;
        }
        wire.columns.iter().try_for_each(|column| check(column, rows))?;
        Ok(Table { wire, has_times, has_keys })
    }

    pub fn len(&self) -> usize {
        self.wire.rows as usize
    }

    pub fn is_empty(&self) -> bool {
        self.wire.rows == 0
    }

    /// The rows as structs that borrow from the columns. The plan has to want their columns first, with
    /// `TablePlan::of::<R>()`.
    ///
    /// # Panics
    /// Where the first columns are not those of `R`.
    pub fn rows<'a, R: ReadRow<'a>>(&'a self) -> Rows<'a, R> {
        match R::bind(self) {
            Ok(columns) => Rows::new(columns, self.wire.rows),
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Event times in microseconds since the Unix epoch; empty where the plan did not ask for them.
    pub fn times(&self) -> &[i64] {
        self.wire.times.as_deref().unwrap_or_default()
    }

    /// Empty where the plan did not ask for them, or where no row has one.
    pub fn keys(&self) -> Blobs<'_> {
        Blobs::of_part(&self.wire.keys)
    }

    pub fn columns(&self) -> usize {
        self.wire.columns.len()
    }

    pub(crate) fn column(&self, index: usize) -> Option<&WireColumn> {
        self.wire.columns.get(index)
    }

    fn wrong(&self, index: usize, wanted: &str) -> ! {
        match self.column(index) {
            Some(column) => panic!(
                "column {index} holds {}, not {wanted}: the plan of the stage has to want it so",
                kind_name(&column.data)
            ),
            None => panic!(
                "the plan of the stage wants {} columns, so there is no column {index}",
                self.columns()
            ),
        }
    }
}

macro_rules! fixed {
    ($($method:ident $variant:ident $value:ty, $doc:literal;)*) => {
        impl Table {
            $(
                #[doc = $doc]
                ///
                /// # Panics
                /// Where the plan wants no such column, or wants it as another kind.
                pub fn $method(&self, index: usize) -> Column<'_, $value> {
                    match self.column(index) {
                        Some(WireColumn { data: Data::$variant(values), valid }) => {
                            Column { values, valid: Validity::new(valid) }
                        }
                        _ => self.wrong(index, stringify!($method)),
                    }
                }
            )*
        }
    };
}

fixed! {
    s32s S32s i32, "Wanted column `index`, of 32-bit integers.";
    s64s S64s i64, "Wanted column `index`, of 64-bit integers.";
    u64s U64s u64, "Wanted column `index`, of 64-bit unsigned integers.";
    f32s F32s f32, "Wanted column `index`, of 32-bit floats.";
    f64s F64s f64, "Wanted column `index`, of 64-bit floats.";
    time_values Times i64, "Wanted column `index`, of microseconds since the Unix epoch.";
    days Days i32, "Wanted column `index`, of days since the Unix epoch.";
}

impl Table {
    /// Wanted column `index`, of truth values.
    ///
    /// # Panics
    /// Where the plan wants no such column, or wants it as another kind. So do the others.
    pub fn bools(&self, index: usize) -> Bools<'_> {
        match self.column(index) {
            Some(WireColumn { data: Data::Bools(bits), valid }) => {
                Bools { bits, rows: self.len(), valid: Validity::new(valid) }
            }
            _ => self.wrong(index, "bools"),
        }
    }

    /// Wanted column `index`, of texts.
    pub fn texts(&self, index: usize) -> Texts<'_> {
        match self.column(index) {
            Some(WireColumn { data: Data::Texts(values), valid }) => {
                Texts(Blobs::with_validity(values, Validity::new(valid)))
            }
            _ => self.wrong(index, "texts"),
        }
    }

    /// Wanted column `index`, of lists, maps and nested records as JSON texts.
    pub fn jsons(&self, index: usize) -> Texts<'_> {
        match self.column(index) {
            Some(WireColumn { data: Data::Jsons(values), valid }) => {
                Texts(Blobs::with_validity(values, Validity::new(valid)))
            }
            _ => self.wrong(index, "jsons"),
        }
    }

    /// Wanted column `index`, of bytes.
    pub fn blobs(&self, index: usize) -> Blobs<'_> {
        match self.column(index) {
            Some(WireColumn { data: Data::Blobs(values), valid }) => {
                Blobs::with_validity(values, Validity::new(valid))
            }
            _ => self.wrong(index, "blobs"),
        }
    }

    /// Wanted column `index`, of texts of which many are the same.
    pub fn dictionaries(&self, index: usize) -> Dictionaries<'_> {
        match self.column(index) {
            Some(WireColumn { data: Data::Dictionaries(dictionary), valid }) => Dictionaries {
                indices: &dictionary.indices,
                texts: Texts(Blobs::of_varlen(&dictionary.texts)),
                valid: Validity::new(valid),
            },
            _ => self.wrong(index, "dictionaries"),
        }
    }
}

impl<'a, T: Copy> Column<'a, T> {
    /// Every value; what is at an absent one says nothing.
    #[inline(always)]
    pub fn values(self) -> &'a [T] {
        self.values
    }

    #[inline(always)]
    pub fn validity(self) -> Validity<'a> {
        self.valid
    }

    pub fn len(self) -> usize {
        self.values.len()
    }

    pub fn is_empty(self) -> bool {
        self.values.is_empty()
    }

    /// None where it is absent, and where there is no such row.
    #[inline(always)]
    pub fn get(self, index: usize) -> Option<T> {
        if self.valid.get(index) { self.values.get(index).copied() } else { None }
    }

    pub fn iter(self) -> impl Iterator<Item = Option<T>> + 'a
    where
        T: 'a,
    {
        self.values.iter().enumerate().map(move |(index, value)| self.valid.get(index).then_some(*value))
    }
}

impl<'a> Bools<'a> {
    /// One bit a value, least significant first.
    pub fn bits(self) -> &'a [u8] {
        self.bits
    }

    pub fn len(self) -> usize {
        self.rows
    }

    pub fn is_empty(self) -> bool {
        self.rows == 0
    }

    pub fn validity(self) -> Validity<'a> {
        self.valid
    }

    #[inline(always)]
    pub fn get(self, index: usize) -> Option<bool> {
        (index < self.rows && self.valid.get(index)).then(|| self.bits[index / 8] >> (index % 8) & 1 == 1)
    }

    pub fn iter(self) -> impl Iterator<Item = Option<bool>> + 'a {
        (0..self.rows).map(move |index| self.get(index))
    }
}

impl<'a> Texts<'a> {
    pub fn len(self) -> usize {
        self.0.len()
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub fn validity(self) -> Validity<'a> {
        self.0.validity()
    }

    /// The same as bytes.
    pub fn blobs(self) -> Blobs<'a> {
        self.0
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    pub fn get(self, index: usize) -> Option<&'a str> {
        // SAFETY: columns of texts come from the host, which has checked that they are UTF-8; the offsets of a
        // column that was built for a test are those of whole texts.
        self.0.get(index).map(|text| unsafe { raw::text(text) })
    }

    pub fn iter(self) -> impl Iterator<Item = Option<&'a str>> + 'a {
        (0..self.len()).map(move |index| self.get(index))
    }
}

impl<'a> Dictionaries<'a> {
    pub fn len(self) -> usize {
        self.indices.len()
    }

    pub fn is_empty(self) -> bool {
        self.indices.is_empty()
    }

    pub fn validity(self) -> Validity<'a> {
        self.valid
    }

    /// For each row, the index of its text.
    pub fn indices(self) -> &'a [u32] {
        self.indices
    }

    /// Each text once. Look at these rather than at the rows where the answer hangs on the text alone.
    pub fn texts(self) -> Texts<'a> {
        self.texts
    }

    #[inline(always)]
    pub fn get(self, index: usize) -> Option<&'a str> {
        if !self.valid.get(index) {
            return None;
        }
        self.indices.get(index).and_then(|text| self.texts.get(*text as usize))
    }
}

pub(crate) fn kind_name(data: &Data) -> &'static str {
    match data {
        Data::Bools(_) => "bools",
        Data::S32s(_) => "s32s",
        Data::S64s(_) => "s64s",
        Data::U64s(_) => "u64s",
        Data::F32s(_) => "f32s",
        Data::F64s(_) => "f64s",
        Data::Times(_) => "times",
        Data::Days(_) => "days",
        Data::Texts(_) => "texts",
        Data::Dictionaries(_) => "dictionaries",
        Data::Blobs(_) => "blobs",
        Data::Jsons(_) => "jsons",
    }
}

/// That there is a value for each row, so that the views need not ask.
fn check(column: &WireColumn, rows: usize) -> Result<()> {
    check_valid("validity", column.valid.as_deref(), rows)?;
    let length = match &column.data {
        Data::Bools(bits) => rows.min(bits.len() * 8),
        Data::S32s(values) | Data::Days(values) => values.len(),
        Data::S64s(values) | Data::Times(values) => values.len(),
        Data::U64s(values) => values.len(),
        Data::F32s(values) => values.len(),
        Data::F64s(values) => values.len(),
        Data::Texts(values) | Data::Blobs(values) | Data::Jsons(values) => {
            return check_varlen(kind_name(&column.data), values, rows);
        }
        Data::Dictionaries(dictionary) => {
            let texts = dictionary.texts.offsets.len().saturating_sub(1);
            check_varlen("texts of a dictionary", &dictionary.texts, texts)?;
            dictionary.indices.len()
        }
    };
    if length == rows { Ok(()) } else { Err(malformed(kind_name(&column.data), length, rows)) }
}
