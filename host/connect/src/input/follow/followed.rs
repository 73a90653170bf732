//! One file that is followed.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Instant;

use crate::decode::HEADROOM;
use crate::digest::Digest;
use crate::input::{Feeder, Piece, Stop, failed};
use crate::place::{At, Generation, Id, Mark, Place};

pub(super) struct Followed {
    pub(super) lane: u64,
    pub(super) generation: Generation,
    /// Where it was seen last.
    pub(super) path: PathBuf,
    pub(super) id: Id,
    /// None of pipes.
    pub(super) mark: Option<Mark>,
    /// How far it was read.
    pub(super) read: u64,
    pub(super) digest: Digest,
    /// None while it is closed, so that others can be open.
    pub(super) opened: Option<File>,
    /// As it was when it had been read to its end.
    seen: Option<Look>,
    /// Since when it has had no name and has not grown.
    pub(super) quiet: Option<Instant>,
    /// Whether it is over as soon as it is quiet: others are to be open.
    pub(super) is_rushed: bool,
}

/// What changes whenever a file does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    bytes: u64,
    changed: (i64, i64),
}

impl Look {
    fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }
}

/// What came of reading on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Grew,
    /// It is not what was read any more: cut off, or written anew.
    Cut,
}

impl Followed {
    /// One that nothing was read of yet.
    pub(super) fn begin(
        lane: u64,
        generation: Generation,
        path: PathBuf,
        file: File,
        metadata: &Metadata,
    ) -> Self {
        let (id, mark) = (Id::of(metadata), Mark::unread(metadata));
        let (read, digest, opened, seen, quiet) = (0, Digest::default(), Some(file), None, None);
        let is_rushed = false;
        Self { lane, generation, path, id, mark, read, digest, opened, seen, quiet, is_rushed }
    }

    /// One that goes on where it was.
    pub(super) fn go_on(lane: u64, generation: Generation, place: &Place, again: super::Again) -> Self {
        let super::Again { path, file, mark, digest } = again;
        let (id, read) = (mark.id(), place.position);
        let (mark, opened, seen, quiet) = (Some(mark), Some(file), None, None);
        let is_rushed = false;
        Self { lane, generation, path, id, mark, read, digest, opened, seen, quiet, is_rushed }
    }

    pub(super) fn is_unchanged(&self, metadata: &Metadata) -> bool {
        self.mark.is_some() && self.seen == Some(Look::of(metadata))
    }

    /// The rest is in a copy that was made before the file was cut off.
    pub(super) fn move_to(&mut self, copy: super::Again, feeder: &Feeder) -> Result<(), Stop> {
        let super::Again { path, file, mark, digest } = copy;
        (self.path, self.id, self.digest) = (path, mark.id(), digest);
        (self.mark, self.opened, self.seen, self.quiet) = (Some(mark), Some(file), None, None);
        Ok(feeder.send(Piece::Mark { lane: self.lane, mark })?)
    }

    /// Reads to its end, as it is open.
    pub(super) fn read_on(&mut self, feeder: &Feeder) -> Result<Step, Stop> {
        let name = self.generation.name.clone();
        let told = |error: std::io::Error| Stop::from(failed(&name, &error));
        let Some(file) = self.opened.take() else { return Ok(Step::Nothing) };
        let step = match self.mark {
            None => self.read_pipe(&file, feeder),
            Some(_) => {
                let look = Look::of(&file.metadata().map_err(told)?);
                let step = self.read_file(&file, feeder);
                self.seen = Some(look);
                step
            }
        };
        self.opened = Some(file);
        step
    }

    /// What is in a pipe now. One that nobody writes to may be opened again by somebody who does.
    fn read_pipe(&mut self, file: &File, feeder: &Feeder) -> Result<Step, Stop> {
        let mut step = Step::Nothing;
        while let Some(chunk) = feeder.fill(&mut AtHand(file), &self.generation.name)? {
            feeder.send(Piece::Data { lane: self.lane, chunk })?;
            step = Step::Grew;
        }
        Ok(step)
    }

    fn read_file(&mut self, file: &File, feeder: &Feeder) -> Result<Step, Stop> {
        let name = self.generation.name.clone();
        let told = |error: std::io::Error| Stop::from(failed(&name, &error));
        if !self.is_same(file).map_err(told)? {
            return Ok(Step::Cut);
        }
        let mut step = Step::Nothing;
        while let Some(chunk) = feeder.fill(&mut At { file, at: self.read }.by_ref(), &name)? {
            let end = self.read + (chunk.end - HEADROOM) as u64;
            let is_same = self.is_same(file).map_err(told)?;
            // Whoever has cut it off meanwhile may have written past this place, and then the piece is of what is new.
            if !is_same && file.metadata().map_err(told)?.len() >= end {
                return Ok(Step::Cut);
            }
            self.digest.update(&chunk.data[HEADROOM..chunk.end]);
            self.read = end;
            if let Some(mark) = self.mark.as_mut().filter(|mark| is_same && !mark.is_full()) {
                mark.grow(file, end).map_err(told)?;
                feeder.send(Piece::Mark { lane: self.lane, mark: *mark })?;
            }
            feeder.send(Piece::Data { lane: self.lane, chunk })?;
            if !is_same {
                return Ok(Step::Cut);
            }
            step = Step::Grew;
        }
        Ok(step)
    }

    /// Whether the file begins and ends with what was read of it.
    fn is_same(&self, file: &File) -> std::io::Result<bool> {
        let is_head = self.mark.map_or(Ok(true), |mark| mark.is_head_of(file))?;
        Ok(is_head && self.digest.is_end_in(file)?)
    }
}

/// A pipe as a file that ends where nothing more has come yet: other files are not to wait for it.
struct AtHand<'a>(&'a File);

impl Read for AtHand<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(into) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            read => read,
        }
    }
}
