//! Which rows of a scanned piece go on, and which are refused for their number of fields.

use std::ops::Range;

use super::dialect::Dialect;
use super::index::Index;

/// Rows with the right number of fields.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// For each row, the place in the index of its first field.
    pub(super) first_fields: Vec<u32>,
    /// For each row, how many records stand before it in the portion.
    pub(super) offsets: Vec<u32>,
    /// Rows of the index that have another number of fields, each with the records before it.
    pub(super) uneven: Vec<(usize, u32)>,
    /// Rows of the index that are too long, in the same way.
    pub(super) oversize: Vec<(usize, u32)>,
    /// Records of the portion, good or not; empty lines and comments are none.
    pub(super) records: u32,
}

impl Rows {
    /// Sorts these rows of the index.
    pub(super) fn sort(
        &mut self,
        index: &Index,
        data: &[u8],
        rows: Range<usize>,
        fields: usize,
        max: usize,
        dialect: Dialect,
    ) {
        self.first_fields.clear();
        self.offsets.clear();
        self.uneven.clear();
        self.oversize.clear();
        self.records = 0;
        // Nothing can be too long where all of it together is not.
        let check_size = data.len() > max;
        let has_comments = dialect.comment.is_some();
        for row in rows {
            let found = index.fields(row);
            if has_comments && dialect.is_comment(&data[index.row_start(row)..]) {
                continue;
            } else if check_size && index.row_end(row) - index.row_start(row) > max {
                self.oversize.push((row, self.records));
            } else if found == 1 && is_blank(&data[index.row_start(row)..index.row_end(row)]) {
                continue;
            } else if found == fields {
                self.first_fields.push(index.first_field(row) as u32);
                self.offsets.push(self.records);
            } else {
                self.uneven.push((row, self.records));
            }
            self.records += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.first_fields.len()
    }

    /// Whether the good rows are all records of the portion.
    pub(super) fn is_complete(&self) -> bool {
        self.len() == self.records as usize
    }
}

/// An empty line, which is no record.
pub(crate) fn is_blank(row: &[u8]) -> bool {
    matches!(row, [] | [b'\r'])
}
