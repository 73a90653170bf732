//! Files, plain or packed, one or a row of them.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;
use flate2::write::GzEncoder;
use flow::connector::ConnectError;
use model::limits::PARQUET_GROUP_BYTES_MAX;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as PageCompression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use schemars::JsonSchema;
use serde::Deserialize;

use super::rotate::{Names, Rotation, name_end};
use super::{Block, Output};

/// What to do where a file of that name is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IfExists {
    #[default]
    Replace,
    Append,
    Fail,
}

/// What is around the bytes.
#[derive(Clone, Debug)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstd,
    /// Rows of this schema, in Parquet, whose pages are packed with zstd.
    Parquet(SchemaRef),
}

pub(crate) struct FileOutput {
    path: PathBuf,
    if_exists: IfExists,
    packing: Packing,
    /// What each file begins with.
    header: Vec<u8>,
    rotation: Option<(Rotation, Names)>,
    current: Option<Current>,
    /// Files of this run that are full, with their sizes.
    full: Vec<(PathBuf, u64)>,
}

/// The file that is being written.
struct Current {
    path: PathBuf,
    /// For what has to be done to it around its contents.
    file: File,
    written: Arc<AtomicU64>,
    begun: Instant,
    /// None until something is written, so that a run which fails before leaves an old file alone.
    packed: Option<Packed>,
}

enum Packed {
    Plain(Counted),
    Gzip(GzEncoder<Counted>),
    Zstd(zstd::stream::write::Encoder<'static, Counted>),
    Parquet(Box<ArrowWriter<Counted>>),
}

/// Counts what reaches the disk.
struct Counted {
    file: File,
    written: Arc<AtomicU64>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl FileOutput {
    /// Makes the directories and opens the first file, so that what cannot be written is known at once.
    pub(crate) fn open(
        path: PathBuf,
        if_exists: IfExists,
        packing: Packing,
        header: Vec<u8>,
        rotation: Option<Rotation>,
    ) -> Result<Self, ConnectError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
        }
        let rotation = match rotation {
            None => None,
            Some(rotation) => {
                let names = Names::new(&path, &name_end(&path), rotation.every.is_some());
                let names = names.map_err(|error| failed(&path, &error))?;
                if if_exists == IfExists::Fail && names.is_taken() {
                    return Err(failed(&path, &ErrorKind::AlreadyExists.into()));
                }
                Some((rotation, names))
            }
        };
        let mut output = Self { path, if_exists, packing, header, rotation, current: None, full: Vec::new() };
        output.open_next()?;
        Ok(output)
    }

    fn open_next(&mut self) -> Result<(), ConnectError> {
        let mut options = OpenOptions::new();
        let path = match &mut self.rotation {
            Some((_, names)) => {
                options.write(true).create_new(true);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                names.next(now.as_micros() as i64)
            }
            None => {
                match self.if_exists {
                    IfExists::Replace => options.write(true).create(true).truncate(false),
                    IfExists::Append => options.append(true).create(true),
                    IfExists::Fail => options.write(true).create_new(true),
                };
                self.path.clone()
            }
        };
        let file = options.open(&path).map_err(|error| failed(&path, &error))?;
        let written = Arc::new(AtomicU64::new(0));
        self.current = Some(Current { path, file, written, begun: Instant::now(), packed: None });
        Ok(())
    }

    /// The file to write to, begun.
    fn current(&mut self) -> Result<&mut Current, ConnectError> {
        if self.current.is_none() {
            self.open_next()?;
        }
        let (packing, header, append) = (&self.packing, &self.header, self.if_exists == IfExists::Append);
        let current = self.current.as_mut().ok_or_else(|| {
            ConnectError::failed(
                self.path.to_string_lossy(),
                "it is closed",
                "this is a defect: please report it",
            )
        })?;
        if current.packed.is_none() {
            current.begin(packing, header, append).map_err(|error| failed(&current.path, &error))?;
        }
        Ok(current)
    }

    fn rotate(&mut self) -> Result<(), ConnectError> {
        let Some((rotation, _)) = &self.rotation else { return Ok(()) };
        let Some(current) = &self.current else { return Ok(()) };
        let written = current.written.load(Ordering::Relaxed);
        if current.packed.is_none() || !rotation.is_due(written, current.begun.elapsed()) {
            return Ok(());
        }
        self.close()
    }

    /// Ends the current file and makes it durable.
    fn close(&mut self) -> Result<(), ConnectError> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let size = current.end().map_err(|error| failed(&current.path, &error))?;
        self.full.push((current.path, size));
        Ok(())
    }
}

impl Output for FileOutput {
    fn write(&mut self, block: &Block) -> Result<(), ConnectError> {
        self.rotate()?;
        let current = self.current()?;
        current.put(block).map_err(|error| failed(&current.path, &error))?;
        self.rotate()
    }

    fn flush(&mut self) -> Result<(), ConnectError> {
        self.rotate()?;
        let Some(current) = &mut self.current else { return Ok(()) };
        current.flush().map_err(|error| failed(&current.path, &error))
    }

    fn prepare(&mut self) -> Result<Vec<u8>, ConnectError> {
        if self.full.is_empty() || self.current.is_some() {
            self.current()?;
            self.close()?;
        }
        let files = self
            .full
            .iter()
            .map(|(path, size)| serde_json::json!({ "path": path.to_string_lossy(), "bytes": size }));
        let token = serde_json::Value::Array(files.collect()).to_string().into_bytes();
        // What follows a checkpoint is appended to what it has, or begins the next file.
        if self.rotation.is_none() {
            self.if_exists = IfExists::Append;
        }
        Ok(token)
    }
}

impl Current {
    fn begin(&mut self, packing: &Packing, header: &[u8], append: bool) -> std::io::Result<()> {
        let there = self.file.metadata()?.len();
        // Pipes and devices are written to as they are.
        if !append && there > 0 {
            self.file.set_len(0)?;
        }
        let counted = Counted { file: self.file.try_clone()?, written: self.written.clone() };
        let mut packed = match packing {
            Packing::None => Packed::Plain(counted),
            Packing::Gzip => Packed::Gzip(GzEncoder::new(counted, flate2::Compression::new(6))),
            Packing::Zstd => Packed::Zstd(zstd::stream::write::Encoder::new(counted, 3)?),
            Packing::Parquet(schema) => {
                if append && there > 0 {
                    let message = "Parquet ends with its index: nothing can be appended to it";
                    return Err(std::io::Error::new(ErrorKind::Unsupported, message));
                }
                let pages = PageCompression::ZSTD(ZstdLevel::try_new(1).map_err(std::io::Error::other)?);
                let properties = WriterProperties::builder().set_compression(pages).build();
                let writer = ArrowWriter::try_new(counted, schema.clone(), Some(properties));
                Packed::Parquet(Box::new(writer.map_err(std::io::Error::other)?))
            }
        };
        if !(append && there > 0) {
            packed.put(header)?;
        }
        self.packed = Some(packed);
        Ok(())
    }

    fn put(&mut self, block: &Block) -> std::io::Result<()> {
        match (&mut self.packed, block) {
            (Some(packed), Block::Bytes(bytes)) => packed.put(bytes),
            (Some(Packed::Parquet(writer)), Block::Rows(rows)) => {
                writer.write(rows).map_err(std::io::Error::other)?;
                if writer.in_progress_size() >= PARQUET_GROUP_BYTES_MAX {
                    writer.flush().map_err(std::io::Error::other)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut self.packed {
            Some(Packed::Plain(out)) => out.flush(),
            Some(Packed::Gzip(out)) => out.flush(),
            Some(Packed::Zstd(out)) => out.flush(),
            // Rows of Parquet are seen when the file is whole.
            Some(Packed::Parquet(_)) | None => Ok(()),
        }
    }

    /// Writes what stands at the end, and syncs the file and its directory.
    fn end(&mut self) -> std::io::Result<u64> {
        match self.packed.take() {
            Some(Packed::Plain(mut out)) => out.flush()?,
            Some(Packed::Gzip(out)) => drop(out.finish()?),
            Some(Packed::Zstd(out)) => drop(out.finish()?),
            Some(Packed::Parquet(writer)) => drop(writer.close().map_err(std::io::Error::other)?),
            None => {}
        }
        let metadata = self.file.metadata()?;
        if metadata.is_file() {
            self.file.sync_all()?;
            if let Some(parent) = self.path.parent() {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(metadata.len())
    }
}

impl Packed {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(out) => out.write_all(bytes),
            Self::Zstd(out) => out.write_all(bytes),
            Self::Parquet(_) => Ok(()),
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> ConnectError {
    let next = match error.kind() {
        ErrorKind::AlreadyExists => "remove it, name another file, or set `if-exists: replace` or `append`",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "let this user write there, or name another path"
        }
        ErrorKind::IsADirectory => "name a file in it",
        ErrorKind::NotADirectory => "a part of the path is a file: name another path",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space; what was written before is there"
        }
        ErrorKind::BrokenPipe => return ConnectError::closed(path.to_string_lossy()),
        _ => "check the path and its disk",
    };
    ConnectError::failed(path.to_string_lossy(), format!("it cannot be written: {error}"), next)
}
