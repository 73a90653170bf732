//! Frames: bytes in a file, each with its length and its checksum before it. The dead letters and the spool are made
//! of them.
//!
//! ```text
//! file:  magic (8 bytes)  version u32  numbers u64 ...  crc32c of all that u32   frames ...
//! frame: length u32  crc32c of the payload u32  payload
//! ```
//!
//! All numbers are little-endian. A payload is never empty, so that zeros are no frame.

/// Before each payload.
pub const FRAME_HEAD_BYTES: usize = 8;

/// What a file of frames begins with.
pub fn file_head(magic: &[u8; 8], version: u32, numbers: &[u64]) -> Vec<u8> {
    let mut head = magic.to_vec();
    head.extend(version.to_le_bytes());
    numbers.iter().for_each(|number| head.extend(number.to_le_bytes()));
    let crc = crc32c::crc32c(&head);
    head.extend(crc.to_le_bytes());
    head
}

/// The numbers in the head of a file, or why it is none of ours.
pub fn parse_file_head<const N: usize>(
    head: &[u8],
    magic: &[u8; 8],
    version: u32,
) -> Result<[u64; N], HeadError> {
    let mut numbers = [0; N];
    for (number, at) in numbers.iter_mut().zip((12..).step_by(8)) {
        let bytes = head.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        *number = bytes.map(u64::from_le_bytes).unwrap_or_default();
    }
    let expected = file_head(magic, version, &numbers);
    let (said, crc) = expected.split_at(expected.len() - 4);
    let found = head.get(8..12).and_then(|version| version.try_into().ok()).map(u32::from_le_bytes);
    let has_crc = head.get(said.len()..expected.len()) == Some(crc);
    match found {
        _ if head.starts_with(&expected) => Ok(numbers),
        // Its checksum is that of the head as it should be: magic or version have changed since.
        Some(_) if has_crc => Err(HeadError::Damaged),
        Some(found) if head.starts_with(magic) && found != version => {
            Err(HeadError::Version { found, known: version })
        }
        Some(_) if head.starts_with(magic) => Err(HeadError::Damaged),
        _ => Err(HeadError::Foreign),
    }
}

/// Why the head of a file is not one.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    #[error("it does not begin as one does")]
    Foreign,
    #[error("it is of version {found}, known is {known}")]
    Version { found: u32, known: u32 },
    #[error("its head is not what it was written as")]
    Damaged,
}

/// Puts length and checksum before a payload that was written behind room for them. False where it is longer than
/// `bytes_max`, and left as it was.
pub fn seal(frame: &mut [u8], bytes_max: usize) -> bool {
    let bytes = frame.len().saturating_sub(FRAME_HEAD_BYTES);
    let Some(length) = u32::try_from(bytes).ok().filter(|_| bytes <= bytes_max) else { return false };
    let crc = crc32c::crc32c(&frame[FRAME_HEAD_BYTES..]);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    true
}

/// The length and the checksum of the payload behind a head.
pub fn parse_head(head: &[u8; FRAME_HEAD_BYTES]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = *head;
    (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]))
}

/// The payload of the frame that `bytes` begins with, where its length is there; whether it has its checksum is not
/// looked at.
pub fn payload_of(bytes: &[u8]) -> Option<(&[u8], u32)> {
    let (length, crc) = parse_head(bytes.first_chunk()?);
    let payload = bytes.get(FRAME_HEAD_BYTES..)?.get(..length)?;
    (length > 0).then_some((payload, crc))
}
