//! Files that are compressed, by what they begin with.

use std::fs::File;
use std::io::{Cursor, Read, Seek as _, SeekFrom};
use std::path::Path;

use flow::connector::ConnectError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gzip::Members;
use super::{failed, read_some};
use crate::place::{Changed, Mark, Place};

/// How the bytes of a file are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    /// Read: by what the file begins with. Written: by the name's end.
    #[default]
    Auto,
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the end of a file's name.
    pub(crate) fn of_name(name: &str) -> Self {
        let ends_with = |end: &str| name.len() > end.len() && name.to_ascii_lowercase().ends_with(end);
        if ends_with(".gz") {
            Self::Gzip
        } else if ends_with(".zst") || ends_with(".zstd") {
            Self::Zstd
        } else {
            Self::None
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    fn of_packing(packing: Option<&str>) -> Self {
        match packing {
            Some("gzip") => Self::Gzip,
            Some("zstd") => Self::Zstd,
            _ => Self::None,
        }
    }

    fn packing(self) -> Option<&'static str> {
        match self {
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
            Self::Auto | Self::None => None,
        }
    }
}

/// As many of a file's first bytes as it takes to know how it is packed.
pub(super) const MAGIC_BYTES: usize = 10;

/// What packed files begin with. A frame of zstd that is skipped comes first in files of pzstd and others.
const MAGICS: [(&[u8], &str); 7] = [
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x50\x2a\x4d\x18", "zstd"),
    (b"BZh9\x31\x41\x59\x26\x53\x59", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
];

/// What a file begins with, where a digit in it says something else than how it is packed.
fn magic_of(head: &[u8]) -> Vec<u8> {
    let mut head = head[..head.len().min(MAGIC_BYTES)].to_vec();
    // Frames that are skipped have sixteen numbers.
    if head.get(1).is_none_or(|second| *second == 0x2a)
        && let Some(first @ 0x50..=0x5f) = head.first_mut()
    {
        *first = 0x50;
    }
    if head.starts_with(b"BZh")
        && let Some(level @ b'1'..=b'9') = head.get_mut(3)
    {
        *level = b'9';
    }
    head
}

/// How something is packed, by what it begins with.
fn packing_of(head: &[u8]) -> Option<&'static str> {
    let head = magic_of(head);
    MAGICS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, packing)| *packing)
}

/// Whether it takes more bytes to know.
fn may_be_packed(head: &[u8]) -> bool {
    let head = magic_of(head);
    MAGICS.iter().any(|(magic, _)| head.len() < magic.len() && magic.starts_with(&head))
}

/// How a file of this name is packed, by its name.
fn packing_of_name(name: &str) -> Option<&'static str> {
    let ends = [(".br", "brotli"), (".bz2", "bzip2"), (".xz", "xz"), (".lz4", "lz4"), (".zip", "zip")];
    let lower = name.to_ascii_lowercase();
    let foreign = ends.iter().find(|(end, _)| lower.ends_with(end)).map(|(_, packing)| *packing);
    foreign.or_else(|| Compression::of_name(name).packing())
}

/// How a file is packed, if it is.
pub(super) fn packed_as(head: &[u8], name: &str) -> Option<&'static str> {
    packing_of(head).or_else(|| packing_of_name(name))
}

/// Opens a file to be read unpacked.
pub(crate) fn open(
    path: &Path,
    name: &str,
    compression: Compression,
) -> Result<Box<dyn Read + Send>, ConnectError> {
    Ok(open_at(path, name, compression, None)?.reader)
}

/// A file that is read.
pub(super) struct Opened {
    pub(super) reader: Box<dyn Read + Send>,
    /// None of what cannot be read again, such as a pipe.
    pub(super) mark: Option<Mark>,
    pub(super) header: Vec<u8>,
}

/// The same, to go on where it was before: from there on, and its header beside it. Into what is packed there is no
/// quick way: it is unpacked up to there.
pub(super) fn open_at(
    path: &Path,
    name: &str,
    compression: Compression,
    from: Option<&Place>,
) -> Result<Opened, ConnectError> {
    let broken = |error: std::io::Error| failed(name, &error);
    let mut file = File::open(path).map_err(broken)?;
    let mark = Mark::of(&file).map_err(broken)?;
    if mark.is_none() && from.is_none() {
        return Ok(Opened { reader: open_stream(file, name, compression)?, mark, header: Vec::new() });
    }
    let mut head = [0; MAGIC_BYTES];
    let count = read_full(&mut file, &mut head).map_err(broken)?;
    let head = &head[..count];
    let packed = packing(head, name, compression)?;
    // A plain file is read from its beginning again; what cannot seek, such as a pipe, gets its head back.
    let rewound = file.rewind().is_ok();
    let (header_bytes, position) = from.map_or((0, 0), |place| (place.header, place.position));
    let mut header = vec![0; header_bytes.min(position) as usize];
    let reader: Box<dyn Read + Send> = if rewound && packed == Compression::None {
        file.read_exact(&mut header).map_err(broken)?;
        file.seek(SeekFrom::Start(position)).map_err(broken)?;
        Box::new(file)
    } else {
        let mut reader = if rewound {
            unpack(file, packed, name)?
        } else {
            unpack(Cursor::new(head.to_vec()).chain(file), packed, name)?
        };
        reader.read_exact(&mut header).map_err(broken)?;
        let left = position - header.len() as u64;
        let skipped = std::io::copy(&mut (&mut reader).take(left), &mut std::io::sink()).map_err(broken)?;
        if skipped < left {
            let (known, found) = (position, header.len() as u64 + skipped);
            return Err(Changed::Shorter { known, found }.of_file(name));
        }
        reader
    };
    Ok(Opened { reader, mark, header })
}

/// The same for a stream that is open already.
pub(crate) fn open_stream(
    mut stream: impl Read + Send + 'static,
    name: &str,
    compression: Compression,
) -> Result<Box<dyn Read + Send>, ConnectError> {
    if compression == Compression::None {
        return Ok(Box::new(stream));
    }
    // One byte tells most of the time, and no more are waited for than it takes.
    let (mut head, mut count) = ([0; MAGIC_BYTES], 0);
    while count < MAGIC_BYTES && may_be_packed(&head[..count]) {
        match read_some(&mut stream, &mut head[count..=count]).map_err(|error| failed(name, &error))? {
            0 => break,
            read => count += read,
        }
    }
    let packed = packing(&head[..count], name, compression)?;
    unpack(Cursor::new(head[..count].to_vec()).chain(stream), packed, name)
}

fn read_full(reader: &mut dyn Read, head: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < head.len() {
        match read_some(reader, &mut head[count..])? {
            0 => break,
            read => count += read,
        }
    }
    Ok(count)
}

/// How something is packed, by what was said of it, its name and what it begins with.
pub(super) fn packing(
    head: &[u8],
    name: &str,
    compression: Compression,
) -> Result<Compression, ConnectError> {
    let packing = packing_of(head).or_else(|| packing_of_name(name)).filter(|_| !head.is_empty());
    if compression == Compression::Auto
        && let Some(packing) = packing.filter(|packing| !["gzip", "zstd"].contains(packing))
    {
        let why = format!("it is packed with {packing}, which is not unpacked here");
        return Err(ConnectError::failed(
            name,
            why,
            "unpack it first; if it is plain, set `compression: none`",
        ));
    }
    let found = Compression::of_packing(packing_of(head));
    let said = match compression {
        Compression::Auto => Compression::of_name(name),
        said => said,
    };
    let packed = match compression {
        // What is packed is unpacked, whatever it is called.
        Compression::Auto if found != Compression::None => found,
        _ => said,
    };
    if !head.is_empty() && packed != Compression::None && packed != found {
        let why = format!(
            "it is not {}, by what it begins with",
            if packed == Compression::Gzip { "gzip" } else { "zstd" }
        );
        return Err(ConnectError::failed(name, why, "check the file, or set `compression: none`"));
    }
    Ok(if head.is_empty() { Compression::None } else { packed })
}

/// The contents of a file that begins as one of gzip or zstd does. None of any other.
pub(super) fn unpack_if_packed(mut file: File, name: &str) -> std::io::Result<Option<Box<dyn Read + Send>>> {
    let mut head = [0; MAGIC_BYTES];
    let count = read_full(&mut file, &mut head)?;
    file.rewind()?;
    Ok(match Compression::of_packing(packing_of(&head[..count])) {
        Compression::Gzip => Some(Box::new(Members::new(file, name))),
        Compression::Zstd => Some(Box::new(zstd::stream::read::Decoder::new(file)?)),
        Compression::Auto | Compression::None => None,
    })
}

fn unpack(
    reader: impl Read + Send + 'static,
    packed: Compression,
    name: &str,
) -> Result<Box<dyn Read + Send>, ConnectError> {
    Ok(match packed {
        Compression::Gzip => Box::new(Members::new(reader, name)),
        Compression::Zstd => {
            Box::new(zstd::stream::read::Decoder::new(reader).map_err(|error| failed(name, &error))?)
        }
        Compression::Auto | Compression::None => Box::new(reader),
    })
}
