//! Columns that a stage writes: built value by value, straight into the layout in which they cross.

use std::collections::HashMap;

use crate::bindings::types::columns::{Column, Data, Dictionary};
use crate::fields::{Field, Kind};
use crate::row::{Json, Value};
use crate::varlen::{ValidityBuilder, VarlenBuilder, push_bit};

/// A type that names columns: a derived [`Row`](derive@crate::Row).
pub trait FieldsOf: Sized {
    fn fields() -> Vec<Field>;
}

/// One column that a stage sets, or that a source gives. Values are added one per row.
#[derive(Debug, Clone)]
pub struct ColumnBuilder {
    field: Field,
    data: Building,
    valid: ValidityBuilder,
    length: usize,
    nulls: usize,
    /// A kind that was pushed and is not that of the field; found in `finish`.
    wrong: Option<Kind>,
    /// A column of a source that nobody reads takes values and keeps none.
    unwanted: bool,
}

#[derive(Debug, Clone)]
enum Building {
    Bits(Vec<u8>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Varlen(VarlenBuilder),
    Dictionary { indices: Vec<u32>, texts: VarlenBuilder, known: HashMap<Box<str>, u32> },
}

impl ColumnBuilder {
    pub(crate) fn new(field: &Field) -> Self {
        let data = match field.kind {
            Kind::Bools => Building::Bits(Vec::new()),
            Kind::S32s | Kind::Days => Building::I32(Vec::new()),
            Kind::S64s | Kind::Times => Building::I64(Vec::new()),
            Kind::U64s => Building::U64(Vec::new()),
            Kind::F32s => Building::F32(Vec::new()),
            Kind::F64s => Building::F64(Vec::new()),
            Kind::Texts | Kind::Blobs | Kind::Jsons | Kind::Opaque => {
                Building::Varlen(VarlenBuilder::default())
            }
            Kind::Dictionaries => Building::Dictionary {
                indices: Vec::new(),
                texts: VarlenBuilder::default(),
                known: HashMap::new(),
            },
        };
        let wrong = (field.kind == Kind::Opaque).then_some(Kind::Opaque);
        ColumnBuilder {
            field: field.clone(),
            data,
            valid: ValidityBuilder::default(),
            length: 0,
            nulls: 0,
            wrong,
            unwanted: false,
        }
    }

    pub(crate) fn unwanted(field: &Field) -> Self {
        ColumnBuilder { unwanted: true, ..Self::new(field) }
    }

    pub fn field(&self) -> &Field {
        &self.field
    }

    /// How many values were added.
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a value of any type that a field of a [`Row`](derive@crate::Row) can have.
    #[inline(always)]
    pub fn push<'v, V: Value<'v>>(&mut self, value: V) {
        value.write(self);
    }

    /// Adds a value that is absent.
    pub fn push_null(&mut self) {
        if self.unwanted {
            return;
        }
        self.valid.note(self.length, false);
        self.nulls += 1;
        match &mut self.data {
            Building::Bits(bits) => push_bit(bits, self.length, false),
            Building::I32(values) => values.push(0),
            Building::I64(values) => values.push(0),
            Building::U64(values) => values.push(0),
            Building::F32(values) => values.push(0.0),
            Building::F64(values) => values.push(0.0),
            Building::Varlen(values) => values.push(&[]),
            Building::Dictionary { indices, .. } => indices.push(0),
        }
        self.length += 1;
    }

    pub fn push_bool(&mut self, value: bool) {
        self.add(Kind::Bools, |data, index| {
            if let Building::Bits(bits) = data {
                push_bit(bits, index, value)
            }
        });
    }

    /// A text, into a column of texts or one of dictionaries.
    #[inline(always)]
    pub fn push_text(&mut self, value: &str) {
        let kind = if self.field.kind == Kind::Dictionaries { Kind::Dictionaries } else { Kind::Texts };
        self.add(kind, |data, _| match data {
            Building::Varlen(values) => values.push(value.as_bytes()),
            Building::Dictionary { indices, texts, known } => indices.push(intern(value, texts, known)),
            _ => {}
        });
    }

    #[inline(always)]
    pub fn push_blob(&mut self, value: &[u8]) {
        self.add(Kind::Blobs, |data, _| {
            if let Building::Varlen(values) = data {
                values.push(value)
            }
        });
    }

    /// JSON text. That it is JSON is for the stage to know.
    #[inline(always)]
    pub fn push_json(&mut self, value: Json<'_>) {
        self.add(Kind::Jsons, |data, _| {
            if let Building::Varlen(values) = data {
                values.push(value.0.as_bytes())
            }
        });
    }

    pub(crate) fn reserve(&mut self, rows: usize) {
        if self.unwanted {
            return;
        }
        match &mut self.data {
            Building::Bits(bits) => bits.reserve(rows.div_ceil(8)),
            Building::I32(values) => values.reserve(rows),
            Building::I64(values) => values.reserve(rows),
            Building::U64(values) => values.reserve(rows),
            Building::F32(values) => values.reserve(rows),
            Building::F64(values) => values.reserve(rows),
            Building::Varlen(values) => values.reserve(rows, 0),
            Building::Dictionary { indices, .. } => indices.reserve(rows),
        }
    }

    /// The values in another order.
    pub(crate) fn reorder(&mut self, order: &[usize]) {
        fn taken<T: Copy>(values: &[T], order: &[usize]) -> Vec<T> {
            order.iter().map(|index| values[*index]).collect()
        }
        match &mut self.data {
            Building::Bits(bits) => {
                let mut moved = Vec::new();
                for (to, from) in order.iter().enumerate() {
                    push_bit(&mut moved, to, bits[from / 8] >> (from % 8) & 1 == 1);
                }
                *bits = moved;
            }
            Building::I32(values) => *values = taken(values, order),
            Building::I64(values) => *values = taken(values, order),
            Building::U64(values) => *values = taken(values, order),
            Building::F32(values) => *values = taken(values, order),
            Building::F64(values) => *values = taken(values, order),
            Building::Varlen(values) => *values = values.take(order),
            Building::Dictionary { indices, .. } => *indices = taken(indices, order),
        }
        self.valid = self.valid.take(order);
    }

    /// The column of `rows` values, and the builder as new; or what is wrong with what was added.
    pub(crate) fn finish(&mut self, rows: usize) -> Result<Column, String> {
        let fresh = ColumnBuilder::new(&self.field);
        let ColumnBuilder { field, data, valid, length, nulls, wrong, .. } = std::mem::replace(self, fresh);
        let (name, kind) = (&field.name, field.kind);
        if let Some(wrong) = wrong {
            return Err(format!("column `{name}` is planned as {kind:?} and set as {wrong:?}"));
        }
        if length != rows {
            return Err(format!("column `{name}` has {length} values for {rows} rows: set one for each row"));
        }
        if nulls > 0 && !field.nullable {
            return Err(format!(
                "column `{name}` is planned without nulls, and {nulls} values are set to null"
            ));
        }
        let data = data.finish(kind).ok_or_else(|| format!("column `{name}` of one batch is above 2 GiB"))?;
        Ok(Column { valid: valid.finish(), data })
    }

    /// Whether nothing was added, nor tried to be.
    pub(crate) fn is_pristine(&self) -> bool {
        self.length == 0 && (self.wrong.is_none() || self.field.kind == Kind::Opaque)
    }

    fn add_many(&mut self, kind: Kind, values: usize, push: impl FnOnce(&mut Building)) {
        if self.field.kind != kind {
            self.wrong = Some(kind);
            return;
        }
        if self.unwanted {
            return;
        }
        if self.nulls > 0 {
            (0..values).for_each(|value| self.valid.note(self.length + value, true));
        }
        push(&mut self.data);
        self.length += values;
    }

    #[inline(always)]
    fn add(&mut self, kind: Kind, push: impl FnOnce(&mut Building, usize)) {
        if self.field.kind != kind {
            self.wrong = Some(kind);
            return;
        }
        if self.unwanted {
            return;
        }
        self.valid.note(self.length, true);
        push(&mut self.data, self.length);
        self.length += 1;
    }
}

macro_rules! pushes {
    ($($push:ident $extend:ident $value:ty, $kind:ident, $building:ident, $get:expr;)*) => {
        impl ColumnBuilder {
            $(
                #[inline(always)]
                pub fn $push(&mut self, value: $value) {
                    self.add(Kind::$kind, |data, _| { if let Building::$building(values) = data { values.push($get(value)) } });
                }

                /// Adds many values that are all there, in one go.
                pub fn $extend(&mut self, values: &[$value]) {
                    self.add_many(Kind::$kind, values.len(), |data| { if let Building::$building(to) = data { to.extend(values.iter().copied().map($get)) } });
                }
            )*
        }
    };
}

pushes! {
    push_i32 extend_i32 i32, S32s, I32, |value| value;
    push_i64 extend_i64 i64, S64s, I64, |value| value;
    push_u64 extend_u64 u64, U64s, U64, |value| value;
    push_f32 extend_f32 f32, F32s, F32, |value| value;
    push_f64 extend_f64 f64, F64s, F64, |value| value;
    push_time extend_time crate::row::Time, Times, I64, |value: crate::row::Time| value.0;
    push_day extend_day crate::row::Day, Days, I32, |value: crate::row::Day| value.0;
}

impl Building {
    /// None where a column of varying length is larger than the contract can carry.
    fn finish(self, kind: Kind) -> Option<Data> {
        Some(match (self, kind) {
            (Building::Bits(bits), _) => Data::Bools(bits),
            (Building::I32(values), Kind::Days) => Data::Days(values),
            (Building::I32(values), _) => Data::S32s(values),
            (Building::I64(values), Kind::Times) => Data::Times(values),
            (Building::I64(values), _) => Data::S64s(values),
            (Building::U64(values), _) => Data::U64s(values),
            (Building::F32(values), _) => Data::F32s(values),
            (Building::F64(values), _) => Data::F64s(values),
            (Building::Varlen(values), _) if values.is_too_large() => return None,
            (Building::Varlen(values), Kind::Texts) => Data::Texts(values.finish()),
            (Building::Varlen(values), Kind::Jsons) => Data::Jsons(values.finish()),
            (Building::Varlen(values), _) => Data::Blobs(values.finish()),
            (Building::Dictionary { indices, mut texts, .. }, _) => {
                if texts.len() == 0 && !indices.is_empty() {
                    // Every row is null, and still its index has to be of a text.
                    texts.push(&[]);
                }
                Data::Dictionaries(Dictionary { indices, texts: texts.finish() })
            }
        })
    }
}

fn intern(value: &str, texts: &mut VarlenBuilder, known: &mut HashMap<Box<str>, u32>) -> u32 {
    if let Some(index) = known.get(value) {
        return *index;
    }
    let index = texts.len() as u32;
    texts.push(value.as_bytes());
    known.insert(value.into(), index);
    index
}
