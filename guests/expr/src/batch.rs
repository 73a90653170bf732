//! What comes into an expression: the columns of a table, in the order of the slots that checking gave out.

use std::borrow::Cow;

use conveyor_sdk::{Blobs, Field, Kind, Table, Validity};

use crate::bits;
use crate::vector::{Ints, Known, Mask, Texts, Vector};

/// The columns of one batch.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    pub rows: usize,
    pub columns: Vec<Vector<'a>>,
}

impl<'a> Input<'a> {
    /// The wanted columns of a table: `wanted` is what the plan said, the first of them at `first`.
    pub fn of_table(table: &'a Table, wanted: &[Field], first: usize) -> Self {
        let columns =
            wanted.iter().enumerate().map(|(nth, field)| load(table, first + nth, field.kind)).collect();
        Input { rows: table.len(), columns }
    }
}

fn load(table: &Table, index: usize, kind: Kind) -> Vector<'_> {
    let known = |validity: Validity<'_>| known(validity, table.len());
    macro_rules! fixed {
        ($column:expr, $make:expr) => {{
            let column = $column;
            $make(Cow::Borrowed(column.values()), known(column.validity()))
        }};
    }
    match kind {
        Kind::Bools => {
            let column = table.bools(index);
            let mut truth = bits::spread(column.bits(), table.len());
            let known = known(column.validity());
            if let Some(known) = &known {
                bits::and_into(&mut truth, known);
            }
            Vector::Bools(Mask { truth: Cow::Owned(truth), known })
        }
        Kind::S32s => fixed!(table.s32s(index), |values, known| Vector::Ints(Ints::S32(values), known)),
        Kind::S64s => fixed!(table.s64s(index), |values, known| Vector::Ints(Ints::S64(values), known)),
        Kind::U64s => fixed!(table.u64s(index), |values, known| Vector::Ints(Ints::U64(values), known)),
        Kind::F32s => {
            let column = table.f32s(index);
            let values = column.values().iter().map(|value| f64::from(*value)).collect();
            Vector::Floats(Cow::Owned(values), known(column.validity()))
        }
        Kind::F64s | Kind::Opaque => fixed!(table.f64s(index), Vector::Floats),
        Kind::Times => fixed!(table.time_values(index), Vector::Times),
        Kind::Days => fixed!(table.days(index), Vector::Days),
        Kind::Texts => {
            let blobs = table.texts(index).blobs();
            Vector::Texts(texts(blobs), known(blobs.validity()))
        }
        Kind::Jsons => {
            let blobs = table.jsons(index).blobs();
            Vector::Texts(texts(blobs), known(blobs.validity()))
        }
        Kind::Blobs => {
            let blobs = table.blobs(index);
            Vector::Bytes(texts(blobs), known(blobs.validity()))
        }
        Kind::Dictionaries => {
            let column = table.dictionaries(index);
            let texts = Texts { indices: Some(column.indices()), ..texts(column.texts().blobs()) };
            Vector::Texts(texts, known(column.validity()))
        }
    }
}

fn texts(blobs: Blobs<'_>) -> Texts<'_> {
    Texts { offsets: Cow::Borrowed(blobs.offsets()), bytes: Cow::Borrowed(blobs.bytes()), indices: None }
}

fn known<'a>(validity: Validity<'_>, rows: usize) -> Known<'a> {
    (!validity.is_all()).then(|| Cow::Owned(bits::spread(validity.bitmap(), rows)))
}
