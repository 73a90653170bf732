//! Where things are in a file of checked pages, as numbers and bytes.
//!
//! ```text
//! page 0:      what the file is (`frame::file_head`), never written again
//! page 1, 2:   the records of the database's header, twice each: the one is written while the other stands.
//! page 30, 31: their twins are far from them, so that one damage does not strike both
//! page 32...:  groups: a page of 1,024 checksums, and the 1,024 pages that they are of
//! record:      sequence u64  pages u64  header (320 bytes)  crc32c of all that u32
//! ```
//!
//! All numbers are little-endian. The checksum of a page is the CRC32C of its number and its bytes, so that a page in the
//! place of another is none. Checksums lie apart from their pages so that those stay aligned to what a disk writes at
//! once; a checksum is written beside its neighbours' as SQLite's pages are: a disk that loses power leaves the bytes
//! that it was not to change as they were.

use crate::frame::{HeadError, file_head, parse_file_head};

/// Of the database, and of the file.
pub const PAGE_BYTES: usize = 4096;
/// What the database writes at its beginning, in place. The rest of its first page is not used.
pub const HEADER_BYTES: usize = 320;
pub(super) const CHECKSUM_BYTES: usize = 4;
pub(super) const RECORD_BYTES: usize = 8 + 8 + HEADER_BYTES + 4;

const MAGIC: &[u8; 8] = b"cvypages";
const VERSION: u32 = 1;
/// Before the first group.
const HEAD_PAGES: u64 = 32;
/// Pages whose checksums fill a page.
const GROUP_PAGES: u64 = (PAGE_BYTES / CHECKSUM_BYTES) as u64;
/// The two records, and of each its two places.
const RECORDS: [[u64; 2]; 2] = [[1, 30], [2, 31]];

/// What a file begins with.
pub(super) fn head() -> Vec<u8> {
    file_head(MAGIC, VERSION, &[PAGE_BYTES as u64])
}

pub(super) fn check_head(head: &[u8]) -> Result<(), HeadError> {
    match parse_file_head::<1>(head, MAGIC, VERSION)? {
        [bytes] if bytes == PAGE_BYTES as u64 => Ok(()),
        _ => Err(HeadError::Damaged),
    }
}

/// Where the two copies of one of the two records are.
pub(super) fn record_places(record: usize) -> [u64; 2] {
    RECORDS[record].map(|page| page * PAGE_BYTES as u64)
}

/// Where a page of the database is, and its checksum. The first one is kept as records.
pub(super) fn place(page: u64) -> (u64, u64) {
    let (group, index) = ((page - 1) / GROUP_PAGES, (page - 1) % GROUP_PAGES);
    let group_at = (HEAD_PAGES + group * (1 + GROUP_PAGES)) * PAGE_BYTES as u64;
    (group_at + (1 + index) * PAGE_BYTES as u64, group_at + index * CHECKSUM_BYTES as u64)
}

/// How many pages from `page` on lie one behind the other.
pub(super) fn run_of(page: u64) -> u64 {
    GROUP_PAGES - (page - 1) % GROUP_PAGES
}

pub(super) fn checksum(page: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&page.to_le_bytes()), bytes)
}

/// The length of the file of a database with so many pages.
pub(super) fn file_bytes(pages: u64) -> u64 {
    match pages {
        0 | 1 => HEAD_PAGES * PAGE_BYTES as u64,
        _ => place(pages - 1).0 + PAGE_BYTES as u64,
    }
}

/// The pages of the database in a file of this length; none where no file is as long.
pub(super) fn pages_in(file_bytes: u64) -> Option<u64> {
    let pages = (file_bytes / PAGE_BYTES as u64).checked_sub(HEAD_PAGES)?;
    if !file_bytes.is_multiple_of(PAGE_BYTES as u64) {
        return None;
    }
    match (pages / (1 + GROUP_PAGES), pages % (1 + GROUP_PAGES)) {
        (0, 0) => Some(0),
        (groups, 0) => Some(1 + groups * GROUP_PAGES),
        // A page of checksums with nothing behind it.
        (_, 1) => None,
        (groups, rest) => Some(groups * GROUP_PAGES + rest),
    }
}

/// The header of the database as it was written last, and how many pages there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub sequence: u64,
    pub pages: u64,
    pub header: [u8; HEADER_BYTES],
}

impl Record {
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let (body, crc) = bytes.split_at_mut(RECORD_BYTES - 4);
        body[..8].copy_from_slice(&self.sequence.to_le_bytes());
        body[8..16].copy_from_slice(&self.pages.to_le_bytes());
        body[16..].copy_from_slice(&self.header);
        crc.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if u32::from_le_bytes(*crc) != crc32c::crc32c(body) {
            return None;
        }
        let (sequence, rest) = body.split_first_chunk()?;
        let (pages, header) = rest.split_first_chunk()?;
        let (sequence, pages) = (u64::from_le_bytes(*sequence), u64::from_le_bytes(*pages));
        Some(Self { sequence, pages, header: header.try_into().ok()? })
    }
}

/// The record that counts, with which of the two it is; none where there is none. Of each the two copies.
///
/// A record of which neither copy is whole was being written when the power went, and the other one counts. It was
/// overwritten by something else where a copy is zeros: nobody writes those, and what it had is not known.
pub(super) fn newest(copies: [[[u8; RECORD_BYTES]; 2]; 2]) -> Option<(usize, Record)> {
    let mut found: Option<(usize, Record)> = None;
    for (index, copies) in copies.iter().enumerate() {
        let whole = copies.iter().filter_map(Record::decode).max_by_key(|record| record.sequence);
        match whole {
            Some(record) if found.as_ref().is_none_or(|(_, other)| other.sequence < record.sequence) => {
                found = Some((index, record));
            }
            Some(_) => {}
            None if copies.iter().any(|copy| copy.iter().all(|byte| *byte == 0)) => return None,
            None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pages_share_a_place_and_lengths_are_read_back() {
        let mut taken = std::collections::BTreeSet::new();
        for page in 1..3 * GROUP_PAGES + 7 {
            let (at, checksum_at) = place(page);
            assert!(taken.insert(at) && at.is_multiple_of(PAGE_BYTES as u64), "page {page}");
            assert!(!taken.contains(&(checksum_at / PAGE_BYTES as u64 * PAGE_BYTES as u64)), "page {page}");
            assert!(checksum_at < at && checksum_at + PAGE_BYTES as u64 * (1 + GROUP_PAGES) > at);
            assert_eq!(pages_in(file_bytes(page + 1)), Some(page + 1));
            let next = (1..run_of(page)).next();
            assert!(next.is_none_or(|_| place(page + 1).0 == at + PAGE_BYTES as u64), "page {page}");
        }
        assert_eq!(pages_in(file_bytes(0)), Some(0));
        let group_end = file_bytes(1 + GROUP_PAGES);
        for none in [0, 4096, file_bytes(0) + 4096, file_bytes(3) - 1, group_end + 4096] {
            assert_eq!(pages_in(none), None, "{none}");
        }
    }

    fn record(sequence: u64) -> Record {
        Record { sequence, pages: 7 * sequence, header: [sequence as u8; HEADER_BYTES] }
    }

    #[test]
    fn the_newest_whole_record_counts_whichever_copy_it_is_in() {
        let (old, new) = (record(4).encode(), record(5).encode());
        let torn = {
            let mut torn = old;
            torn[..100].copy_from_slice(&new[..100]);
            torn
        };
        let zeros = [0; RECORD_BYTES];
        let cases = [
            ([[old, old], [new, new]], Some((1, 5))),
            ([[new, new], [old, old]], Some((0, 5))),
            ([[old, old], [torn, new]], Some((1, 5))),
            ([[old, old], [new, zeros]], Some((1, 5))),
            ([[old, zeros], [new, zeros]], Some((1, 5))),
            ([[old, old], [torn, torn]], Some((0, 4))),
            ([[old, old], [torn, zeros]], None),
            ([[torn, torn], [torn, torn]], None),
        ];
        for (number, (copies, expected)) in cases.into_iter().enumerate() {
            let found = newest(copies).map(|(index, record)| (index, record.sequence));
            assert_eq!(found, expected, "case {number}");
        }
        assert_eq!(newest([[old, old], [new, new]]).map(|(_, record)| record), Some(record(5)));
    }
}
