//! Batches of the host <-> the lists of the contract. Going in, whatever lies side by side is lent as it
//! is, and what is seen through a selection is gathered into buffers that are kept from call to call.
//! Coming out, a guest's lists are believed in nothing: lengths, offsets, texts, indices and kinds are
//! checked here, and become Arrow's buffers without another copy.

mod gather;
mod headers;
mod lift;
mod lower;

pub(crate) use lift::{
    PulledOut, outcome_of_records, outcome_of_table, pulled_records, pulled_table, rejections,
};
pub(crate) use lower::{Scratch, lower_records, lower_table};

use model::batch::Column;

/// One batch as it goes into a stage. The columns have the types of the wanted kinds; for a stage of bytes
/// there is one, binary. Parts that the stage did not ask for are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    pub rows: usize,
    pub times: Option<&'a Column>,
    pub keys: Option<&'a Column>,
    pub headers: Option<&'a Column>,
    pub columns: &'a [Column],
}

impl Call<'_> {
    /// About how many bytes go in: of a column that is seen through a selection, its share.
    pub(crate) fn weight_bytes(&self) -> usize {
        let parts = [self.times, self.keys, self.headers].into_iter().flatten();
        let weight = |column: &Column| {
            let bytes = column.values().get_buffer_memory_size();
            match column.values().len() {
                all if all <= column.len() => bytes,
                all => (bytes as u128 * column.len() as u128 / all as u128) as usize,
            }
        };
        self.columns.iter().chain(parts).map(weight).sum()
    }
}
