//! Files that are written in place, plain or packed, one or a row of them: those of a run without checkpoints, and
//! those of one with checkpoints for which at least once is enough. And how the outputs of the sink `file` are opened.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use disk::fault::{self, Point};
use disk::{Disk, Stat, SystemDisk, is_full, make_dirs};
use flow::connector::{Barrier, Committed, ConnectError, ConnectErrorKind, Then};
use memchr::memrchr;
use schemars::JsonSchema;
use serde::Deserialize;

use super::durable::{directory_of, has_open_line, open_cut, resolved};
use super::lock::{self, Held, Locked};
use super::one::OneFile;
use super::packed::{Packed, Packing, Place, Written};
use super::rotate::{Names, Rotation, name_end};
use super::row::FileRow;
use super::token::{InPlace, Lost, Token, Wrote};
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

/// How often a record may stand in the output, in a run with checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Delivery {
    #[default]
    ExactlyOnce,
    AtLeastOnce,
}

impl Delivery {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly-once",
            Self::AtLeastOnce => "at-least-once",
        }
    }
}

/// What is to be written where.
#[derive(Clone, Debug)]
pub(crate) struct FileOptions {
    /// As the manifest names it.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) if_exists: IfExists,
    pub(crate) packing: Packing,
    /// What each file begins with.
    pub(crate) header: Vec<u8>,
    pub(crate) rotation: Option<Rotation>,
    pub(crate) delivery: Delivery,
    /// Whether each line is a record, and each record a line.
    pub(crate) lines: bool,
    /// Where what is committed to is kept; what is written in place is on the machine's own.
    pub(crate) disk: Arc<dyn Disk>,
}

impl FileOptions {
    /// Makes the directories and opens the first file, so that what cannot be written is known at once, and keeps it from
    /// others as long as it is open. `committed`: none in a run without checkpoints.
    pub(crate) fn open(self, committed: Option<&Committed>) -> Result<Box<dyn Output>, ConnectError> {
        make_dirs(&*self.disk, directory_of(&self.path)).map_err(|error| failed(&self.path, &error))?;
        let held = self.hold()?;
        Ok(Box::new(Locked { output: self.open_held(committed)?, held }))
    }

    fn hold(&self) -> Result<Held, ConnectError> {
        if self.rotation.is_some() {
            return lock::of_row(&*self.disk, &self.path);
        }
        self.resolved()?.map_or(Ok(Held::new()), |file| lock::of_file(&*self.disk, &file))
    }

    /// The file itself; none where it is no regular one.
    fn resolved(&self) -> Result<Option<PathBuf>, ConnectError> {
        let fail = |error| failed(&self.path, &error);
        match self.disk.stat(&self.path).map_err(fail)? {
            None | Some(Stat { is_file: true, .. }) => resolved(self.path.clone()).map(Some).map_err(fail),
            Some(_) => Ok(None),
        }
    }

    fn open_held(self, committed: Option<&Committed>) -> Result<Box<dyn Output>, ConnectError> {
        let committed = match committed {
            Some(committed) if self.delivery == Delivery::ExactlyOnce => committed,
            committed => return Ok(Box::new(InPlaceOutput::open(self, committed)?)),
        };
        if let Some(rotation) = self.rotation {
            return Ok(Box::new(FileRow::open(self, rotation, committed)?));
        }
        let Some(path) = self.resolved()? else { return Err(self.no_file()) };
        Ok(Box::new(OneFile::open(Self { path, ..self }, committed)?))
    }

    /// That nothing can be committed to what has this name.
    fn no_file(&self) -> ConnectError {
        if self.disk.stat(&self.path).is_ok_and(|there| there.is_some_and(|there| there.is_dir)) {
            return failed(&self.path, &ErrorKind::IsADirectory.into());
        }
        let why = "it is no regular file, and what was written to it cannot be taken back after a crash";
        let next = "set `delivery: at-least-once`, or name a regular file";
        ConnectError::failed(self.path.to_string_lossy(), why, next)
    }
}

struct InPlaceOutput {
    name: String,
    path: PathBuf,
    if_exists: IfExists,
    packing: Packing,
    header: Vec<u8>,
    rotation: Option<(Rotation, Names)>,
    /// Whether each record is a line, and what was there before may end in the middle of one.
    mends_line: bool,
    /// Whether checkpoints are made of it.
    checkpoints: bool,
    /// Whether anything was written.
    begun: bool,
    current: Option<Current>,
    /// Files of this run that are full, with their sizes.
    full: Vec<(PathBuf, u64)>,
}

/// The file that is being written.
struct Current {
    path: PathBuf,
    /// For what has to be done to it around its contents.
    file: File,
    written: Arc<Written>,
    begun: Instant,
    /// What is there stays.
    append: bool,
    /// None until something is written, so that a run which fails before leaves an old file alone.
    packed: Option<Packed>,
}

impl InPlaceOutput {
    fn open(options: FileOptions, committed: Option<&Committed>) -> Result<Self, ConnectError> {
        let FileOptions { name, path, if_exists, packing, header, rotation, lines, .. } = options;
        if committed.is_some() && rotation.is_none() && !packing.concatenates() {
            let why = "a file of Parquet cannot grow with each checkpoint: it ends with its index";
            return Err(ConnectError::failed(name, why, "set `rotate`"));
        }
        let token = committed.and_then(|committed| committed.0.as_ref());
        let rotation = match rotation {
            None => None,
            Some(rotation) => {
                let names = Names::new(&SystemDisk, &path, &name_end(&path), rotation.every.is_some());
                let names = names.map_err(|error| failed(&path, &error))?;
                if token.is_none() && if_exists == IfExists::Fail && names.is_taken() {
                    return Err(failed(&path, &ErrorKind::AlreadyExists.into()));
                }
                Some((rotation, names))
            }
        };
        let mut output = Self {
            name,
            path,
            if_exists,
            packing,
            header,
            rotation,
            mends_line: lines,
            checkpoints: committed.is_some(),
            begun: false,
            current: None,
            full: Vec::new(),
        };
        if let Some(token) = token {
            output.resume(token, lines)?;
        }
        output.open_next()?;
        Ok(output)
    }

    fn resume(&mut self, token: &[u8], lines: bool) -> Result<(), ConnectError> {
        let wrote = Token::read(&self.name, token).map_err(|lost| lost.of(&self.path))?;
        let Wrote::Place(InPlace { file, bytes, begun }) = wrote else {
            return Err(Lost::OtherKind.of(&self.path));
        };
        self.begun = begun;
        // What a run before it replaces is still there.
        if !begun && self.if_exists == IfExists::Replace {
            return Ok(());
        }
        self.if_exists = IfExists::Append;
        let path = directory_of(&self.path).join(file);
        self.cut_torn(&path, bytes, lines).map_err(|error| failed(&path, &error))
    }

    /// A crash may have left half a record at the end: what follows must not be taken for its other half. Whole lines
    /// stay, as somebody may have read them; of other formats only what the checkpoint knows is sure to be whole.
    fn cut_torn(&self, path: &Path, bytes: u64, lines: bool) -> std::io::Result<()> {
        let there = SystemDisk.stat(path)?;
        if !there.is_some_and(|there| there.is_file && there.bytes > bytes) {
            return Ok(());
        }
        let keeps_lines = lines && matches!(self.packing, Packing::None);
        let whole = if keeps_lines { whole_lines(path, bytes)? } else { bytes };
        open_cut(&SystemDisk, path, whole).map(drop)
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
        let written = Arc::default();
        let append = self.if_exists == IfExists::Append;
        self.current = Some(Current { path, file, written, begun: Instant::now(), append, packed: None });
        Ok(())
    }

    /// The file to write to, begun.
    fn current(&mut self) -> Result<&mut Current, ConnectError> {
        if self.current.is_none() {
            self.open_next()?;
        }
        let (packing, header, mends_line) = (&self.packing, &self.header, self.mends_line);
        let current = self.current.as_mut().ok_or_else(|| {
            ConnectError::failed(
                self.path.to_string_lossy(),
                "it is closed",
                "this is a defect: please report it",
            )
        })?;
        if current.packed.is_none() {
            current.begin(packing, header, mends_line).map_err(|error| failed(&current.path, &error))?;
            // What is written from here on has whole lines.
            (self.begun, self.mends_line) = (true, false);
        }
        Ok(current)
    }

    fn rotate(&mut self) -> Result<(), ConnectError> {
        let Some((rotation, _)) = &self.rotation else { return Ok(()) };
        let Some(current) = &self.current else { return Ok(()) };
        let written = current.written.bytes();
        if current.is_empty() || !rotation.is_due(written, current.begun.elapsed()) {
            return Ok(());
        }
        self.close()
    }

    /// Ends the current file and makes it durable.
    fn close(&mut self) -> Result<(), ConnectError> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let size = current.end().map_err(|error| failed(&current.path, &error))?;
        if !self.checkpoints {
            self.full.push((current.path, size));
        }
        Ok(())
    }

    /// All there is becomes durable, and the current file goes on behind it.
    fn checkpoint(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        self.rotate()?;
        // A stop says nothing of the input: what is there stays, but for a file of a row, which is this run's own.
        let says_nothing = barrier.then == Then::End || barrier.is_last() && self.rotation.is_some();
        if says_nothing && !self.begun {
            // Nothing came at all: that is what the file then says.
            self.current()?;
        }
        let (mut path, mut bytes) = (self.path.clone(), 0);
        if let Some(current) = &mut self.current {
            current.append |= current.packed.is_some();
            bytes = current.end().map_err(|error| failed(&current.path, &error))?;
            path.clone_from(&current.path);
        }
        let is_written = self.current.as_ref().is_some_and(|current| current.append);
        if barrier.is_last() || is_written && !self.packing.concatenates() {
            self.current = None;
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Token::write(&self.name, Wrote::Place(InPlace { file, bytes, begun: self.begun })))
    }
}

/// How long the file is without a line at its end that has no line break. What is before `from` is whole.
fn whole_lines(path: &Path, from: u64) -> std::io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut file = File::open(path)?;
    let (mut end, mut buffer) = (file.metadata()?.len(), Vec::new());
    while end > from {
        let start = end.saturating_sub(STEP).max(from);
        file.seek(SeekFrom::Start(start))?;
        buffer.resize((end - start) as usize, 0);
        file.read_exact(&mut buffer)?;
        if let Some(at) = memrchr(b'\n', &buffer) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(from)
}

impl Output for InPlaceOutput {
    fn write(&mut self, block: &Block) -> Result<(), ConnectError> {
        self.rotate()?;
        let current = self.current()?;
        current.put(block).map_err(|error| failed(&current.path, &error))?;
        self.rotate()
    }

    fn flush(&mut self) -> Result<(), ConnectError> {
        self.rotate()?;
        let Some(Current { path, packed: Some(packed), .. }) = &mut self.current else { return Ok(()) };
        packed.flush().map_err(|error| failed(path, &error))
    }

    fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        if self.checkpoints {
            return self.checkpoint(barrier);
        }
        if self.full.is_empty() || self.current.is_some() {
            self.current()?;
            self.close()?;
        }
        let files = self
            .full
            .iter()
            .map(|(path, size)| serde_json::json!({ "path": path.to_string_lossy(), "bytes": size }));
        let token = serde_json::Value::Array(files.collect()).to_string().into_bytes();
        // What follows is appended to what is there, or begins the next file.
        if self.rotation.is_none() {
            self.if_exists = IfExists::Append;
        }
        Ok(token)
    }

    /// What was prepared is in its place and durable; there is nothing left to do, however often.
    fn commit(&mut self, _token: &[u8]) -> Result<(), ConnectError> {
        Ok(())
    }

    fn due_in(&self) -> Option<Duration> {
        let (rotation, _) = self.rotation.as_ref()?;
        let current = self.current.as_ref().filter(|current| !current.is_empty())?;
        rotation.due_in(current.begun.elapsed())
    }
}

impl Current {
    fn is_empty(&self) -> bool {
        self.written.bytes() == 0 && self.packed.is_none()
    }

    fn begin(&mut self, packing: &Packing, header: &[u8], mends_line: bool) -> std::io::Result<()> {
        let there = self.file.metadata()?.len();
        // Pipes and devices are written to as they are.
        if !self.append && there > 0 {
            self.file.set_len(0)?;
        }
        let goes_on = self.append && there > 0;
        if goes_on && !packing.concatenates() {
            let message = "Parquet ends with its index: nothing can be appended to it";
            return Err(std::io::Error::new(ErrorKind::Unsupported, message));
        }
        let is_open = goes_on && mends_line && has_open_line(&SystemDisk, &self.path, packing)?;
        let place = Place::Behind(self.file.try_clone()?);
        let mut packed = Packed::begin(place, packing, &self.written)?;
        if !goes_on {
            packed.put_bytes(header)?;
        }
        if is_open {
            packed.put_bytes(b"\n")?;
        }
        self.packed = Some(packed);
        Ok(())
    }

    fn put(&mut self, block: &Block) -> std::io::Result<()> {
        self.packed.as_mut().map_or(Ok(()), |packed| packed.put(block))
    }

    /// Writes what stands at the end, and syncs the file and its directory.
    fn end(&mut self) -> std::io::Result<u64> {
        let was_written = self.packed.take().map(Packed::finish).transpose()?.is_some();
        let metadata = self.file.metadata()?;
        if was_written && metadata.is_file() {
            self.file.sync_all()?;
            SystemDisk.sync_dir(directory_of(&self.path))?;
            fault::hit(Point::PlaceSynced);
        }
        Ok(metadata.len())
    }
}

pub(crate) fn failed(path: &Path, error: &std::io::Error) -> ConnectError {
    let next = match error.kind() {
        ErrorKind::AlreadyExists => "remove it, name another file, or set `if-exists: replace` or `append`",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "let this user write there, or name another path"
        }
        ErrorKind::IsADirectory => "name a file in it",
        ErrorKind::NotADirectory => "a part of the path is a file: name another path",
        kind if is_full(kind) => {
            let (what, why) = (path.to_string_lossy(), format!("it cannot be written: {error}"));
            let full = ConnectError::failed(what, why, "free some space; what was written before is there");
            return ConnectError { kind: ConnectErrorKind::Full, ..full };
        }
        ErrorKind::BrokenPipe => return ConnectError::closed(path.to_string_lossy()),
        _ => "check the path and its disk",
    };
    ConnectError::failed(path.to_string_lossy(), format!("it cannot be written: {error}"), next)
}
