//! A row of files that is committed to: each is written under a hidden name, and gets its own when it is full and the
//! checkpoint is committed. A file of that name is whole, and stays as it is.
//!
//! The file that is being written goes on over checkpoints: the token says how much of it belongs to the last one, and
//! what stands behind that is cut off when a run goes on from there. Where it is packed, each checkpoint ends a member
//! or a frame; a file of Parquet ends with each checkpoint.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use disk::fault::{self, Point};
use disk::{Disk, DiskFile, Mode};
use flow::connector::{Barrier, Committed, ConnectError, Then};

use super::durable::{check_writable, checksum, directory_of, length, open_cut, remove_leftovers};
use super::file::{FileOptions, IfExists, failed};
use super::packed::{Packed, Packing, Place, Written};
use super::rotate::{Names, Rotation, name_end};
use super::token::{Lost, Row, Sum, Token, Working, Wrote};
use super::{Block, Output};

pub(crate) struct FileRow {
    /// As the manifest names it.
    name: String,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    packing: Packing,
    /// What each file begins with.
    header: Vec<u8>,
    rotation: Rotation,
    names: Names,
    current: Option<Current>,
    /// Files that are full and not committed, with what is in them.
    full: BTreeMap<String, Sum>,
    /// Whether there has been a file.
    begun: bool,
    /// Whether names have come or gone since the directory was synced.
    renamed: bool,
}

struct Current {
    /// What it is called when it is full.
    name: String,
    file: Arc<dyn DiskFile>,
    written: Arc<Written>,
    /// Microseconds since the Unix epoch.
    begun: i64,
    /// None where a member or a frame has ended and none has begun.
    packed: Option<Packed>,
}

impl FileRow {
    pub(super) fn open(
        options: FileOptions,
        rotation: Rotation,
        committed: &Committed,
    ) -> Result<Self, ConnectError> {
        let FileOptions { name, path, if_exists, packing, header, disk, .. } = options;
        let names = Names::new(&*disk, &path, &name_end(&path), rotation.every.is_some());
        let names = names.map_err(|error| failed(&path, &error))?;
        if committed.0.is_none() && if_exists == IfExists::Fail && names.is_taken() {
            return Err(failed(&path, &ErrorKind::AlreadyExists.into()));
        }
        let (current, full, begun, renamed) = (None, BTreeMap::new(), false, false);
        let mut output =
            Self { name, disk, path, packing, header, rotation, names, current, full, begun, renamed };
        let open = match &committed.0 {
            Some(token) => output.resume(token)?,
            None => None,
        };
        output.remove_unknown(open.as_deref()).map_err(|error| failed(&output.path, &error))?;
        output.check_writable().map_err(|error| failed(&output.path, &error))?;
        Ok(output)
    }

    /// Commits what the token says, and ends the file that was being written: it gets its name. That one, or none where
    /// none was being written, or where it has its name already.
    pub(super) fn finish(
        options: FileOptions,
        rotation: Rotation,
        committed: &Committed,
        row: Row,
    ) -> Result<Option<PathBuf>, ConnectError> {
        let disk = options.disk.clone();
        let Some(Working { name, .. }) = &row.open else {
            Self::open(options, rotation, committed)?;
            return Ok(None);
        };
        let full = directory_of(&options.path).join(name);
        let hidden = full.with_file_name(hidden_name(name));
        let is_there =
            |path: &Path| Ok(length(&*disk, path).map_err(|error| failed(path, &error))?.is_some());
        if !is_there(&hidden)? && is_there(&full)? {
            return Ok(None);
        }
        let mut output = Self::open(options, rotation, committed)?;
        output.finish_file().map_err(|error| failed(&full, &error))?;
        let all: Vec<String> = output.full.keys().cloned().collect();
        output.give_names(&all)?;
        Ok(Some(full))
    }

    /// Commits what the token says once more, and cuts the file that was being written back to it. Its hidden name.
    fn resume(&mut self, token: &[u8]) -> Result<Option<String>, ConnectError> {
        let row = self.read(token)?;
        row.sums.iter().try_for_each(|(name, sum)| self.check(name, *sum))?;
        self.give_names(&row.full)?;
        self.names.skip_to(row.next);
        self.begun = row.begun;
        let Some(Working { name, bytes, crc, begun }) = row.open else { return Ok(None) };
        let (hidden, full) = (self.hidden(&name), self.directory().join(&name));
        let fail = |error| failed(&hidden, &error);
        match length(&*self.disk, &hidden).map_err(fail)? {
            Some(found) if found >= bytes => {}
            Some(found) => return Err(Lost::Shorter { known: bytes, found }.of(&hidden)),
            None if length(&*self.disk, &full).map_err(fail)?.is_some() => return Err(Lost::Later.of(&full)),
            None => return Err(Lost::NoPart(hidden.display().to_string()).of(&full)),
        }
        let found = checksum(&*self.disk, &hidden, bytes).map_err(fail)?;
        let crc = crc.or(found).filter(|_| crc.is_none() || found == crc);
        let crc = crc.ok_or_else(|| Lost::Damaged(hidden.display().to_string()).of(&full))?;
        let file = open_cut(&*self.disk, &hidden, bytes).map_err(fail)?.into();
        let written = Arc::new(Written::of(bytes, crc));
        self.current = Some(Current { name: name.clone(), file, written, begun, packed: None });
        Ok(Some(hidden_name(&name)))
    }

    /// Whether a full file of an earlier run is still what it was. One whose hidden name is gone has its own already.
    fn check(&self, name: &str, sum: Sum) -> Result<(), ConnectError> {
        let hidden = self.hidden(name);
        let fail = |error| failed(&hidden, &error);
        match length(&*self.disk, &hidden).map_err(fail)? {
            None => return Ok(()),
            Some(found) if found != sum.bytes => {}
            Some(_) if checksum(&*self.disk, &hidden, sum.bytes).map_err(fail)? == Some(sum.crc) => {
                return Ok(());
            }
            Some(_) => {}
        }
        Err(Lost::Damaged(hidden.display().to_string()).of(&self.directory().join(name)))
    }

    fn read(&self, token: &[u8]) -> Result<Row, ConnectError> {
        match Token::read(&self.name, token) {
            Ok(Wrote::Row(row)) => Ok(row),
            Ok(_) => Err(Lost::OtherKind.of(&self.path)),
            Err(lost) => Err(lost.of(&self.path)),
        }
    }

    fn directory(&self) -> &Path {
        directory_of(&self.path)
    }

    fn hidden(&self, name: &str) -> PathBuf {
        self.directory().join(hidden_name(name))
    }

    /// Files that a crash has left, but for the one to go on in.
    fn remove_unknown(&self, known: Option<&str>) -> std::io::Result<()> {
        let is_own = |name: &str| {
            let full = name.strip_prefix('.').and_then(|name| name.strip_suffix(".part"));
            Some(name) != known && full.is_some_and(|full| self.names.is_one(full))
        };
        remove_leftovers(&*self.disk, self.directory(), is_own).map(drop)
    }

    /// What cannot be written is found out before anything runs.
    fn check_writable(&self) -> std::io::Result<()> {
        let name = format!("{}.check", self.path.file_name().unwrap_or_default().to_string_lossy());
        check_writable(&*self.disk, &self.hidden(&name))
    }

    /// The file to write to.
    fn begin_file(&mut self) -> std::io::Result<&mut Packed> {
        if self.current.is_none() {
            let begun = now();
            let path = self.names.next(begun);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let file = self.disk.open(&self.hidden(&name), Mode::Create)?.into();
            let written = Arc::default();
            self.current = Some(Current { name, file, written, begun, packed: None });
            (self.begun, self.renamed) = (true, true);
        }
        let current = self.current.as_mut().expect("it was begun above");
        if current.packed.is_none() {
            let at = current.written.bytes();
            let place = Place::At(current.file.clone(), at);
            let mut packed = Packed::begin(place, &self.packing, &current.written)?;
            if at == 0 {
                packed.put_bytes(&self.header)?;
            }
            current.packed = Some(packed);
        }
        Ok(current.packed.as_mut().expect("it was begun above"))
    }

    /// Ends the file that is being written if it is full.
    fn rotate(&mut self) -> std::io::Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        let is_due = self.rotation.is_due(current.written.bytes(), current.age());
        if current.is_empty() || !is_due { Ok(()) } else { self.finish_file() }
    }

    fn finish_file(&mut self) -> std::io::Result<()> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        current.settle()?;
        let sum = Sum { bytes: current.written.bytes(), crc: current.written.crc() };
        self.full.insert(current.name, sum);
        Ok(())
    }

    fn prepare_files(&mut self, barrier: Barrier) -> std::io::Result<()> {
        self.rotate()?;
        if barrier.then == Then::End && !self.begun {
            // Nothing came at all: that is what the file then says.
            self.begin_file()?;
        }
        if barrier.is_last() || !self.packing.concatenates() {
            self.finish_file()?;
        } else if let Some(current) = &mut self.current {
            current.settle()?;
        }
        if std::mem::take(&mut self.renamed) {
            self.disk.sync_dir(self.directory())?;
        }
        Ok(())
    }

    /// Gives full files their names. One whose hidden name is gone has its own already, or whoever takes the files
    /// away was quicker than the crash.
    fn give_names(&self, full: &[String]) -> Result<(), ConnectError> {
        let mut any = false;
        for name in full {
            let (hidden, path) = (self.hidden(name), self.directory().join(name));
            let fail = |error| failed(&path, &error);
            if length(&*self.disk, &hidden).map_err(fail)?.is_none() {
                continue;
            }
            if length(&*self.disk, &path).map_err(fail)?.is_some() {
                return Err(Lost::Taken.of(&path));
            }
            fault::hit(Point::FileNaming);
            self.disk.rename(&hidden, &path).map_err(fail)?;
            fault::hit(Point::FileNamed);
            any = true;
        }
        // Also where a crash came between the names and this.
        if any || !full.is_empty() {
            self.disk.sync_dir(self.directory()).map_err(|error| failed(&self.path, &error))?;
            fault::hit(Point::NamesSynced);
        }
        Ok(())
    }
}

impl Current {
    fn age(&self) -> Duration {
        Duration::from_micros(u64::try_from(now() - self.begun).unwrap_or(0))
    }

    fn is_empty(&self) -> bool {
        self.written.bytes() == 0 && self.packed.is_none()
    }

    /// Makes durable what was written, as something that can be read by itself.
    fn settle(&mut self) -> std::io::Result<()> {
        if let Some(packed) = self.packed.take() {
            packed.finish()?;
            self.file.sync()?;
            fault::hit(Point::RowSettled);
        }
        Ok(())
    }
}

impl Output for FileRow {
    fn write(&mut self, block: &Block) -> Result<(), ConnectError> {
        let mut write = || {
            self.rotate()?;
            self.begin_file()?.put(block)?;
            self.rotate()
        };
        write().map_err(|error| failed(&self.path, &error))
    }

    /// What is not committed is not seen.
    fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        self.prepare_files(barrier).map_err(|error| failed(&self.path, &error))?;
        let open = self.current.as_ref().map(|current| Working {
            name: current.name.clone(),
            bytes: current.written.bytes(),
            crc: Some(current.written.crc()),
            begun: current.begun,
        });
        let (full, sums) = (self.full.keys().cloned().collect(), self.full.clone());
        let row = Row { next: self.names.next_number(), full, sums, open, begun: self.begun };
        Ok(Token::write(&self.name, Wrote::Row(row)))
    }

    fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        let committed = self.read(token)?;
        self.give_names(&committed.full)?;
        for name in &committed.full {
            self.full.remove(name);
        }
        Ok(())
    }

    fn due_in(&self) -> Option<Duration> {
        self.rotation.every?;
        let current = self.current.as_ref().filter(|current| !current.is_empty())?;
        self.rotation.due_in(current.age())
    }
}

fn hidden_name(name: &str) -> String {
    format!(".{name}.part")
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64
}
