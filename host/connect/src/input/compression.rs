//! Files that are compressed, by what they begin with.

use std::fs::File;
use std::io::{Cursor, Read, Seek as _, SeekFrom};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use flow::connector::ConnectError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

    fn of_bytes(bytes: &[u8]) -> Self {
        match bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
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
    let mark = Mark::of(&mut file).map_err(broken)?;
    let mut head = [0; 4];
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
    // One byte tells most of the time, and waits for no more than one.
    let mut head = [0; 4];
    let mut count = read_full(&mut stream, &mut head[..1]).map_err(|error| failed(name, &error))?;
    if matches!(head[0], 0x1f | 0x28) && count == 1 {
        count += read_full(&mut stream, &mut head[1..]).map_err(|error| failed(name, &error))?;
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
    let found = Compression::of_bytes(head);
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

fn unpack(
    reader: impl Read + Send + 'static,
    packed: Compression,
    name: &str,
) -> Result<Box<dyn Read + Send>, ConnectError> {
    Ok(match packed {
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Zstd => {
            Box::new(zstd::stream::read::Decoder::new(reader).map_err(|error| failed(name, &error))?)
        }
        Compression::Auto | Compression::None => Box::new(reader),
    })
}
