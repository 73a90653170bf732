//! Cursors of the simulated sources: the number of the next record.

pub fn write(next: u64) -> Vec<u8> {
    next.to_le_bytes().to_vec()
}

/// 0 where there is none.
pub fn read(place: &[u8]) -> u64 {
    place.try_into().map_or(0, u64::from_le_bytes)
}
