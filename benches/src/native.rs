//! The yardstick: the three functions in native Rust, over the same buffers and selections as the belt's,
//! with no sandbox between them. Buffers are used again from batch to batch, as the host does.

use arrow::array::BinaryArray;

use crate::stages::{self, AFTER, BEFORE};
use crate::workload::Checksum;

/// The three stages in a row, with the buffers that they write into.
#[derive(Debug, Default)]
pub struct Native {
    selected: Vec<u32>,
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    kept: Vec<u32>,
}

impl Native {
    /// Runs a batch through; gives how many records come out.
    pub fn run(&mut self, batch: &BinaryArray) -> usize {
        let (offsets, bytes) = (batch.value_offsets(), batch.value_data());
        filter(offsets, bytes, &mut self.selected, stages::keeps_half);
        self.wrap(offsets, bytes);
        filter(&self.offsets, &self.bytes, &mut self.kept, stages::keeps_most);
        self.kept.len()
    }

    /// What came out of the last batch.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.kept.iter().map(|&row| value(&self.offsets, &self.bytes, row as usize))
    }

    /// Runs all batches through, adding up what comes out.
    pub fn checksum(&mut self, batches: &[BinaryArray]) -> Checksum {
        let mut checksum = Checksum::default();
        for batch in batches {
            self.run(batch);
            self.values().for_each(|value| checksum.add(value));
        }
        checksum
    }

    fn wrap(&mut self, offsets: &[i32], bytes: &[u8]) {
        self.offsets.clear();
        self.bytes.clear();
        self.offsets.reserve(self.selected.len() + 1);
        self.offsets.push(0);
        for &row in &self.selected {
            self.bytes.extend_from_slice(BEFORE);
            self.bytes.extend_from_slice(value(offsets, bytes, row as usize));
            self.bytes.extend_from_slice(AFTER);
            self.offsets.push(self.bytes.len() as i32);
        }
    }
}

fn value<'a>(offsets: &[i32], bytes: &'a [u8], row: usize) -> &'a [u8] {
    &bytes[offsets[row] as usize..offsets[row + 1] as usize]
}

/// Writes every index and moves on only past those that stay: no branch hangs on what a value holds.
fn filter(offsets: &[i32], bytes: &[u8], selected: &mut Vec<u32>, keeps: impl Fn(&[u8]) -> bool) {
    let rows = offsets.len().saturating_sub(1);
    selected.clear();
    selected.resize(rows, 0);
    let mut kept = 0;
    for (row, bounds) in offsets.windows(2).enumerate() {
        selected[kept] = row as u32;
        kept += usize::from(keeps(&bytes[bounds[0] as usize..bounds[1] as usize]));
    }
    selected.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    #[test]
    fn three_stages_by_hand() {
        let batch = BinaryArray::from_vec(vec![b"\x02aaa".as_slice(), b"\x03bbb", b"\xf0ccc", b"\x00", b""]);
        let mut native = Native::default();
        assert_eq!(native.run(&batch), 2);
        assert_eq!(native.values().collect::<Vec<_>>(), [b"<<\x02aaa>>".as_slice(), b"<<\x00>>"]);
    }

    #[test]
    fn the_same_comes_out_as_record_by_record() {
        let batches = workload::batches();
        assert_eq!(Native::default().checksum(&batches), workload::expected(&batches));
    }
}
