//! What is around the bytes of a file: nothing, gzip, zstd, or Parquet.

use std::fs::File;
use std::io::{Result, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use disk::DiskFile;
use flate2::write::GzEncoder;
use model::limits::PARQUET_GROUP_BYTES_MAX;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression as PageCompression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::Block;
use crate::parquet_source::schema_to_write;

#[derive(Clone, Debug)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstd,
    /// Rows of this schema, in Parquet, whose pages are packed with zstd.
    Parquet(SchemaRef),
}

impl Packing {
    /// Whether what is written later can stand behind what was finished before: lines do, and so do members of gzip
    /// and frames of zstd. Parquet ends with its index.
    pub(super) fn concatenates(&self) -> bool {
        !matches!(self, Self::Parquet(_))
    }
}

/// A file that is being written.
pub(super) enum Packed {
    Plain(Counted),
    Gzip(GzEncoder<Counted>),
    Zstd(zstd::stream::write::Encoder<'static, Counted>),
    Parquet(Box<ArrowWriter<Counted>>),
}

/// Where the bytes go.
pub(super) enum Place {
    /// Wherever the file is: pipes and devices have no other places.
    Behind(File),
    At(Arc<dyn DiskFile>, u64),
}

/// What has reached the disk of a file, from its first byte on.
#[derive(Debug, Default)]
pub(super) struct Written {
    bytes: AtomicU64,
    /// CRC32C, of a file that is committed to.
    crc: AtomicU32,
}

impl Written {
    /// Of a file that is gone on with.
    pub fn of(bytes: u64, crc: u32) -> Self {
        Self { bytes: bytes.into(), crc: crc.into() }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn crc(&self) -> u32 {
        self.crc.load(Ordering::Relaxed)
    }
}

/// Counts what reaches the disk.
pub(super) struct Counted {
    place: Place,
    /// Nobody else writes to it.
    written: Arc<Written>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let count = match &mut self.place {
            Place::Behind(file) => file.write(bytes)?,
            Place::At(file, at) => {
                file.write_at(bytes, *at)?;
                *at += bytes.len() as u64;
                let crc = crc32c::crc32c_append(self.written.crc(), bytes);
                self.written.crc.store(crc, Ordering::Relaxed);
                bytes.len()
            }
        };
        self.written.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        match &mut self.place {
            Place::Behind(file) => file.flush(),
            Place::At(..) => Ok(()),
        }
    }
}

impl Packed {
    pub(super) fn begin(place: Place, packing: &Packing, written: &Arc<Written>) -> Result<Self> {
        let counted = Counted { place, written: written.clone() };
        Ok(match packing {
            Packing::None => Self::Plain(counted),
            Packing::Gzip => Self::Gzip(GzEncoder::new(counted, flate2::Compression::new(6))),
            Packing::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(counted, 3)?),
            Packing::Parquet(schema) => {
                let pages = PageCompression::ZSTD(ZstdLevel::try_new(1).map_err(std::io::Error::other)?);
                let properties = WriterProperties::builder().set_compression(pages).build();
                let written = schema_to_write(schema).map_err(std::io::Error::other)?;
                let options =
                    ArrowWriterOptions::new().with_properties(properties).with_parquet_schema(written);
                let writer = ArrowWriter::try_new_with_options(counted, schema.clone(), options);
                Self::Parquet(Box::new(writer.map_err(std::io::Error::other)?))
            }
        })
    }

    pub(super) fn put(&mut self, block: &Block) -> Result<()> {
        match (self, block) {
            (Self::Parquet(writer), Block::Rows(rows)) => {
                writer.write(rows).map_err(std::io::Error::other)?;
                if writer.in_progress_size() >= PARQUET_GROUP_BYTES_MAX {
                    writer.flush().map_err(std::io::Error::other)?;
                }
                Ok(())
            }
            (packed, Block::Bytes(bytes)) => packed.put_bytes(bytes),
            (_, Block::Rows(_)) => Ok(()),
        }
    }

    pub(super) fn put_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(out) => out.write_all(bytes),
            Self::Zstd(out) => out.write_all(bytes),
            Self::Parquet(_) => Ok(()),
        }
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
            // Rows of Parquet are seen when the file is whole.
            Self::Parquet(_) => Ok(()),
        }
    }

    /// Writes what stands at the end.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Plain(mut out) => out.flush(),
            Self::Gzip(out) => out.finish().map(drop),
            Self::Zstd(out) => out.finish().map(drop),
            Self::Parquet(writer) => writer.close().map(drop).map_err(std::io::Error::other),
        }
    }
}
