//! The body of a request, read and unpacked within bounds of bytes.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use model::limits::{HTTP_READ_ON_BYTES_MAX, HTTP_ZSTD_WINDOW_LOG_MAX};

/// Why there is no body.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub(super) enum NoBody {
    #[error("the body is longer than {max} bytes; send fewer records at once")]
    TooLong { max: usize },
    #[error("too many bodies are under way; send it again")]
    Busy,
    #[error("the body was cut off: {0}")]
    Cut(String),
    #[error("the body is not {packing}: {why}")]
    Packed { packing: &'static str, why: String },
}

/// What the bodies of all requests may take together.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicUsize,
    bytes_max: usize,
}

impl Room {
    pub fn new(bytes_max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), bytes_max }
    }
}

/// A part of it, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    room: &'a Room,
    bytes: usize,
}

impl<'a> Share<'a> {
    pub fn of(room: &'a Room) -> Self {
        Self { room, bytes: 0 }
    }

    fn grow_to(&mut self, bytes: usize) -> Result<(), NoBody> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let before = self.room.taken.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        // A share of its own is given back with what it grew by.
        if before + more > self.room.bytes_max { Err(NoBody::Busy) } else { Ok(()) }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads all of it. One that says how long it is is refused before it is read.
pub(super) async fn read<B>(body: &mut B, bytes_max: usize, share: &mut Share<'_>) -> Result<Bytes, NoBody>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let said = body.size_hint().lower();
    if said > bytes_max as u64 {
        return Err(NoBody::TooLong { max: bytes_max });
    }
    share.grow_to(said as usize)?;
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| NoBody::Cut(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.len() + all.len() + data.len();
        if length > bytes_max {
            return Err(NoBody::TooLong { max: bytes_max });
        }
        share.grow_to(length)?;
        if first.is_empty() && all.is_empty() {
            // Most bodies come in one piece, which is not copied.
            first = data;
            continue;
        }
        all.extend_from_slice(&std::mem::take(&mut first));
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads what is left of a body that is not wanted, up to `HTTP_READ_ON_BYTES_MAX`, so that its connection can take the next
/// request. Says whether that was all of it.
pub(super) async fn read_on<B>(body: &mut B) -> bool
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = HTTP_READ_ON_BYTES_MAX;
    if body.size_hint().lower() > left {
        return false;
    }
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        if length > left {
            return false;
        }
        left -= length;
    }
    true
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    /// What `Content-Encoding` says; none where it is another one.
    pub fn of(encoding: Option<&str>) -> Option<Self> {
        Some(match encoding.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Self::None,
            "gzip" | "x-gzip" => Self::Gzip,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }

    pub fn unpack(self, body: Bytes, bytes_max: usize, share: &mut Share<'_>) -> Result<Bytes, NoBody> {
        let (packing, unpacked) = match self {
            Self::None => return Ok(body),
            Self::Gzip => {
                share.grow_to(bytes_max)?;
                ("gzip", at_most(flate2::read::MultiGzDecoder::new(&body[..]), bytes_max))
            }
            Self::Zstd => {
                share.grow_to(bytes_max)?;
                let decoder = zstd::stream::read::Decoder::new(&body[..]).and_then(|mut decoder| {
                    decoder.window_log_max(HTTP_ZSTD_WINDOW_LOG_MAX)?;
                    Ok(decoder)
                });
                ("zstd", decoder.and_then(|decoder| at_most(decoder, bytes_max)))
            }
        };
        let unpacked = unpacked.map_err(|error| NoBody::Packed { packing, why: error.to_string() })?;
        if unpacked.len() > bytes_max {
            return Err(NoBody::TooLong { max: bytes_max });
        }
        Ok(unpacked.into())
    }
}

/// One byte more than may be there is enough to tell.
fn at_most(reader: impl std::io::Read, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    reader.take(bytes_max as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;
    use crate::tests::runtime;

    fn pieces(pieces: &[&'static str]) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin {
        let frames: Vec<_> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        StreamBody::new(futures::stream::iter(frames))
    }

    #[test]
    fn a_body_ends_where_it_gets_too_long_and_room_comes_back() {
        let room = Room::new(12);
        let read = |body: &[&'static str], max| {
            let mut share = Share::of(&room);
            let read = runtime().block_on(read(&mut pieces(body), max, &mut share));
            read.map(|body| String::from_utf8_lossy(&body).into_owned())
        };
        assert_eq!(read(&["abc"], 3), Ok("abc".to_owned()));
        assert_eq!(read(&["a", "", "bc", "d"], 4), Ok("abcd".to_owned()));
        assert_eq!(read(&[], 4), Ok(String::new()));
        assert_eq!(read(&["a", "bcd", "e"], 4), Err(NoBody::TooLong { max: 4 }));
        let mut full = Full::new(Bytes::from_static(b"12345"));
        let refused = runtime().block_on(super::read(&mut full, 4, &mut Share::of(&room)));
        assert_eq!(refused, Err(NoBody::TooLong { max: 4 }));
        let mut held = Share::of(&room);
        held.grow_to(10).expect("there is room");
        assert_eq!(read(&["ab", "c"], 4), Err(NoBody::Busy));
        drop(held);
        assert_eq!(read(&["ab", "c"], 4), Ok("abc".to_owned()));
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_packed_is_unpacked_within_the_same_bound() {
        let text = b"many words, many words, many words, many words";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(text).expect("packed");
        let gzip = Bytes::from(gzip.finish().expect("packed"));
        let zstd = Bytes::from(zstd::encode_all(&text[..], 3).expect("packed"));
        let room = Room::new(1000);
        for (name, packed) in [("gzip", &gzip), ("zstd", &zstd)] {
            let packing = Packing::of(Some(name)).expect("known");
            let unpack = |bytes: Bytes, max| packing.unpack(bytes, max, &mut Share::of(&room));
            assert_eq!(unpack(packed.clone(), text.len()).expect("unpacked"), text[..]);
            assert_eq!(unpack(packed.clone(), text.len() - 1), Err(NoBody::TooLong { max: text.len() - 1 }));
            let cut = unpack(packed.slice(..packed.len() / 2), 1000);
            assert!(matches!(cut, Err(NoBody::Packed { .. })), "{name}: {cut:?}");
        }
        assert_eq!(Packing::of(Some("br")), None);
        assert_eq!(Packing::of(None), Some(Packing::None));
    }
}
