//! One file that is committed to: what comes between two barriers is written to a hidden part beside it, and put at
//! its end when the checkpoint is committed. Who reads the file never sees a record that a crash could take back.
//!
//! A part `.NAME.7.part` is whole and synced before the token that names it is given. Putting it in its place twice is
//! the same as once, because the token says where that is; where there is nothing to keep, the part is renamed and
//! becomes the file. Each part is whole by itself, so that what is packed has a member or a frame for each.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::fault::{self, Point};
use disk::{Disk, DiskFile, Mode};
use flow::connector::{Barrier, Committed, ConnectError, Then};
use model::plan::places::Name;

use super::durable::{
    check_writable, checksum, directory_of, has_open_line, length, open_cut, remove, remove_leftovers,
};
use super::file::{FileOptions, IfExists, failed};
use super::packed::{Packed, Packing, Place, Written};
use super::token::{Lost, One, Part, Token, Wrote};
use super::{Block, Output};

pub(crate) struct OneFile {
    /// As the manifest names it.
    name: String,
    disk: Arc<dyn Disk>,
    target: PathBuf,
    packing: Packing,
    /// What the file begins with.
    header: Vec<u8>,
    /// Whether each record is a line, and what was there before may end in the middle of one.
    mends_line: bool,
    state: One,
    /// The part that is being written.
    current: Option<Current>,
}

struct Current {
    file: Arc<dyn DiskFile>,
    written: Arc<Written>,
    packed: Packed,
}

impl OneFile {
    pub(super) fn open(options: FileOptions, committed: &Committed) -> Result<Self, ConnectError> {
        let FileOptions { name, path: target, if_exists, packing, header, lines, disk, .. } = options;
        if !packing.concatenates() {
            let why = "a file of Parquet cannot grow with each checkpoint: it ends with its index";
            let next = "set `rotate`, which makes a new file for each checkpoint";
            return Err(ConnectError::failed(name, why, next));
        }
        let state = One::default();
        let mut output =
            Self { name, disk, target, packing, header, mends_line: lines, state, current: None };
        match &committed.0 {
            Some(token) => output.resume(token)?,
            None => output.start(if_exists)?,
        }
        output.check_writable().map_err(|error| failed(&output.target, &error))?;
        Ok(output)
    }

    /// Puts everything that the token says in its place, and undoes what came behind it. Whether there is a file then:
    /// one that is gone, with nothing left to put there, was taken away by whoever did this before.
    pub(super) fn settle(options: FileOptions, token: &[u8], one: &One) -> Result<bool, ConnectError> {
        let FileOptions { name, path: target, packing, header, lines, disk, .. } = options;
        let state = One::default();
        let mut output =
            Self { name, disk, target, packing, header, mends_line: lines, state, current: None };
        let has_left = || {
            let part = |part: &Part| Ok(length(&*output.disk, &output.part(part.number))?.is_some());
            let parts = one.parts.iter().map(part).collect::<std::io::Result<Vec<_>>>()?;
            Ok(parts.contains(&true) || length(&*output.disk, &output.target)?.is_some())
        };
        if !has_left().map_err(|error| failed(&output.target, &error))? {
            return Ok(false);
        }
        output.resume(token)?;
        Ok(one.begun)
    }

    fn start(&mut self, if_exists: IfExists) -> Result<(), ConnectError> {
        let fail = |error| failed(&self.target, &error);
        let there = length(&*self.disk, &self.target).map_err(fail)?;
        self.state = match (if_exists, there) {
            (IfExists::Fail, Some(_)) => return Err(fail(ErrorKind::AlreadyExists.into())),
            (IfExists::Append, Some(end)) if end > 0 => One { end, begun: true, ..One::default() },
            _ => One::default(),
        };
        self.remove_unknown().map_err(|error| failed(&self.target, &error))
    }

    /// Commits what the token says once more, and undoes what was prepared behind it. Nothing of a run goes into the file
    /// before its checkpoint is committed: what is there behind the last one was written by somebody else, such as a replay of
    /// dead letters, and stays.
    fn resume(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        let state = self.read(token)?;
        state.parts.iter().try_for_each(|part| self.check(part))?;
        self.put_parts(&state.parts)?;
        let fail = |error| failed(&self.target, &error);
        let found = length(&*self.disk, &self.target).map_err(fail)?;
        if let Some(known) = state.begun.then_some(state.end).filter(|&known| found.unwrap_or(0) < known) {
            let lost = found.map_or(Lost::Gone { known }, |found| Lost::Shorter { known, found });
            return Err(lost.of(&self.target));
        }
        let end = match found {
            Some(found) if state.begun => found.max(state.end),
            _ => state.end,
        };
        self.state = One { parts: Vec::new(), end, ..state };
        self.remove_unknown().map_err(|error| failed(&self.target, &error))
    }

    fn read(&self, token: &[u8]) -> Result<One, ConnectError> {
        match Token::read(&self.name, token) {
            Ok(Wrote::One(one)) => Ok(one),
            Ok(_) => Err(Lost::OtherKind.of(&self.target)),
            Err(lost) => Err(lost.of(&self.target)),
        }
    }

    fn part(&self, number: u64) -> PathBuf {
        let name = self.target.file_name().unwrap_or_default().to_string_lossy();
        directory_of(&self.target).join(format!(".{name}.{number}.part"))
    }

    /// Whether a part that an earlier run wrote is still what it was. One that is not there is in the file already.
    fn check(&self, part: &Part) -> Result<(), ConnectError> {
        let path = self.part(part.number);
        let fail = |error| failed(&path, &error);
        if part.crc.is_none() || length(&*self.disk, &path).map_err(fail)?.is_none() {
            return Ok(());
        }
        match checksum(&*self.disk, &path, part.bytes).map_err(fail)? == part.crc {
            true => Ok(()),
            false => Err(Lost::Damaged(path.display().to_string()).of(&self.target)),
        }
    }

    /// Parts that a crash has left.
    fn remove_unknown(&self) -> std::io::Result<()> {
        let start = format!(".{}.", self.target.file_name().unwrap_or_default().to_string_lossy());
        let is_part = |name: &str| {
            let number = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(".part"));
            number
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        remove_leftovers(&*self.disk, directory_of(&self.target), is_part).map(drop)
    }

    /// What cannot be written is found out before anything runs.
    fn check_writable(&self) -> std::io::Result<()> {
        if length(&*self.disk, &self.target)?.is_some() {
            self.disk.open(&self.target, Mode::Change)?;
        }
        check_writable(&*self.disk, &self.part(self.state.next))
    }

    fn begin_part(&mut self) -> std::io::Result<&mut Packed> {
        if self.current.is_none() {
            let path = self.part(self.state.next);
            let file: Arc<dyn DiskFile> = self.disk.open(&path, Mode::Create)?.into();
            let place = Place::At(file.clone(), 0);
            let written = Arc::default();
            let mut packed = Packed::begin(place, &self.packing, &written)?;
            if !self.state.begun {
                packed.put_bytes(&self.header)?;
            } else if self.mends_line && has_open_line(&*self.disk, &self.target, &self.packing)? {
                // No part was written in this life: the target is all there is.
                packed.put_bytes(b"\n")?;
            }
            self.mends_line = false;
            self.current = Some(Current { file, written, packed });
            fault::hit(Point::PartBegun);
        }
        Ok(&mut self.current.as_mut().expect("it was begun above").packed)
    }

    /// Ends the part that is being written, and makes it durable.
    fn finish_part(&mut self) -> std::io::Result<()> {
        let Some(Current { file, written, packed }) = self.current.take() else { return Ok(()) };
        packed.finish()?;
        let replaces = !self.state.begun;
        if replaces {
            self.disk.take_permissions(&self.part(self.state.next), &self.target)?;
        }
        file.sync()?;
        fault::hit(Point::PartSynced);
        self.disk.sync_dir(directory_of(&self.target))?;
        fault::hit(Point::PartNamed);
        let (number, at, bytes) = (self.state.next, self.state.end, file.bytes()?);
        self.state.parts.push(Part { number, at, bytes, replaces, crc: Some(written.crc()) });
        self.state.next += 1;
        self.state.end += bytes;
        self.state.begun = true;
        Ok(())
    }

    fn put_parts(&self, parts: &[Part]) -> Result<(), ConnectError> {
        for part in parts {
            let path = self.part(part.number);
            let put =
                if part.replaces { self.become_target(&path, part.bytes) } else { self.append(&path, part) };
            match put {
                Ok(()) => {}
                Err(Put::NoPart) => self.was_put(part, &path)?,
                Err(Put::Shorter(found)) => {
                    return Err(Lost::Shorter { known: part.at, found }.of(&self.target));
                }
                Err(Put::Io(error)) => return Err(failed(&self.target, &error)),
            }
        }
        Ok(())
    }

    /// A part that is not there any more is in the file already.
    fn was_put(&self, part: &Part, path: &Path) -> Result<(), ConnectError> {
        let found = length(&*self.disk, &self.target).map_err(|error| failed(&self.target, &error))?;
        let known = part.at + part.bytes;
        let lost = match found {
            Some(found) if found >= known => return Ok(()),
            Some(found) if found < part.at => Lost::Shorter { known, found },
            Some(found) => Lost::ShorterOrNoPart { known, found, part: path.display().to_string() },
            None => Lost::Gone { known },
        };
        Err(lost.of(&self.target))
    }

    fn become_target(&self, part: &Path, bytes: u64) -> Result<(), Put> {
        // What the token does not know of is not to be taken for what somebody has written behind it.
        if length(&*self.disk, part)? > Some(bytes) {
            open_cut(&*self.disk, part, bytes)?;
        }
        match self.disk.rename(part, &self.target) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Put::NoPart),
            renamed => {
                renamed?;
                fault::hit(Point::TargetReplaced);
                Ok(self.disk.sync_dir(directory_of(&self.target))?)
            }
        }
    }

    fn append(&self, path: &Path, part: &Part) -> Result<(), Put> {
        if self.disk.stat(path)?.is_none() {
            return Err(Put::NoPart);
        }
        let found = length(&*self.disk, &self.target)?.unwrap_or(0);
        if found < part.at {
            return Err(Put::Shorter(found));
        }
        // Doing it twice is the same as once.
        self.disk.copy(path, part.bytes, &self.target, part.at)?;
        fault::hit(Point::TargetAppended);
        self.disk.open(&self.target, Mode::Change)?.sync()?;
        fault::hit(Point::TargetSynced);
        remove(&*self.disk, path)?;
        fault::hit(Point::PartRemoved);
        Ok(())
    }
}

/// What the parts of a file are called.
pub(crate) fn part_name(path: &Path) -> Name {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Name::default().text(&format!(".{name}.")).digits(1).text(".part")
}

/// Why a part was not put in its place.
enum Put {
    NoPart,
    /// The target ends before the part's place.
    Shorter(u64),
    Io(std::io::Error),
}

impl From<std::io::Error> for Put {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Output for OneFile {
    fn write(&mut self, block: &Block) -> Result<(), ConnectError> {
        let written = self.begin_part().and_then(|packed| packed.put(block));
        written.map_err(|error| failed(&self.target, &error))
    }

    /// What is not committed is not seen.
    fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        let mut prepare = || {
            if barrier.then == Then::End && !self.state.begun {
                // Nothing came at all: that is what the file then says.
                self.begin_part()?;
            }
            self.finish_part()
        };
        prepare().map_err(|error| failed(&self.target, &error))?;
        Ok(Token::write(&self.name, Wrote::One(self.state.clone())))
    }

    fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        let committed = self.read(token)?;
        self.put_parts(&committed.parts)?;
        self.state.parts.retain(|part| part.number >= committed.next);
        Ok(())
    }
}
