//! Files that are compressed, by what they begin with.

use std::fs::File;
use std::io::{Cursor, Read, Seek as _};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use flow::connector::ConnectError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{failed, read_some};

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
    let mut file = File::open(path).map_err(|error| failed(name, &error))?;
    let mut head = [0; 4];
    let count = read_full(&mut file, &mut head).map_err(|error| failed(name, &error))?;
    // A plain file is read from its beginning again; what cannot seek, such as a pipe, gets its head back.
    match file.rewind() {
        Ok(()) => unpack(file, &head[..count], name, compression),
        Err(_) => unpack(Cursor::new(head[..count].to_vec()).chain(file), &head[..count], name, compression),
    }
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
    unpack(Cursor::new(head[..count].to_vec()).chain(stream), &head[..count], name, compression)
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

fn unpack(
    reader: impl Read + Send + 'static,
    head: &[u8],
    name: &str,
    compression: Compression,
) -> Result<Box<dyn Read + Send>, ConnectError> {
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
    Ok(match packed {
        _ if head.is_empty() => Box::new(reader),
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Zstd => {
            Box::new(zstd::stream::read::Decoder::new(reader).map_err(|error| failed(name, &error))?)
        }
        Compression::Auto | Compression::None => Box::new(reader),
    })
}
