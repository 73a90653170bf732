//! Files that grow: new lines, new files, files that are rotated away or cut off.
//!
//! A file is polled rather than watched: it works on every file system, and costs one `stat` each round. What
//! was moved away is read to its end first. A file that begins anew under an old name is a split of its own,
//! named with a number behind `#`, so that no two records have the same id.
//!
//! A run that goes on from a checkpoint looks for what it was reading by inode and fingerprint: under its name, then
//! among the files of its directory, where rotation has left it. It is read to its end under its old split, and what
//! has the name now is the next generation.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use flow::connector::ConnectError;
use model::limits::{FOLLOWED_FILES_MAX, ROTATED_FILES_MAX};

use super::{Feeder, FilePlaces, Found, Gone, InputFile, Origin, Piece, Stop, failed, find};
use crate::Roots;
use crate::place::{Generation, Mark, Place, identity};

/// What to follow.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) base: PathBuf,
    pub(crate) roots: Roots,
    pub(crate) paths: Vec<String>,
    pub(crate) poll: Duration,
    /// Where its splits go on.
    pub(crate) from: FilePlaces,
}

struct Followed {
    lane: u64,
    file: File,
    inode: u64,
    read: u64,
    /// None of pipes.
    mark: Option<Mark>,
}

/// All that is followed.
#[derive(Default)]
struct Followings {
    open: BTreeMap<Arc<str>, Followed>,
    /// The next generation of each file.
    generations: BTreeMap<Arc<str>, u64>,
    /// A file that was moved away is still known: somebody may write to it until it is replaced.
    known: BTreeMap<Arc<str>, InputFile>,
    lanes: u64,
}

impl Follow {
    pub(super) fn run(self, feeder: &Feeder) -> Result<(), Stop> {
        let mut all = Followings::default();
        self.resume(&mut all, feeder)?;
        loop {
            let Found { files } = find(&self.base, &self.roots, &self.paths, true)?;
            all.known.extend(files.into_iter().map(|file| (file.name.clone(), file)));
            if !all.read_on(feeder)? {
                self.wait(feeder)?;
            }
        }
    }

    /// Opens again what was being read.
    fn resume(&self, all: &mut Followings, feeder: &Feeder) -> Result<(), Stop> {
        for (split, place) in &self.from {
            // A file that was read once before is the first of its name.
            let first = || Generation { name: split.to_string(), number: 0 };
            let Generation { name, number } = place.followed.clone().unwrap_or_else(first);
            let name: Arc<str> = name.into();
            let next = all.generations.entry(name.clone()).or_default();
            *next = (*next).max(number + 1);
            if place.ended {
                continue;
            }
            let file = InputFile { path: self.base.join(&*name), name: name.clone() };
            let place =
                Place { followed: Some(Generation { name: name.to_string(), number }), ..place.clone() };
            let found = find_again(&file, &place).map_err(|error| failed(&name, &error))?;
            let lane = all.next_lane();
            let Some((opened, header)) = found else {
                let (file, position) = (&*file.name, place.position);
                tracing::warn!(
                    file,
                    position,
                    "what was being read is gone: neither the file of that name nor any beside it has its inode and \
                     its first bytes. What was written to it behind this position is lost"
                );
                let origin = Some(Origin { place, header: Vec::new() });
                feeder.send(Piece::Open { lane, split: split.clone(), origin })?;
                feeder.send(Piece::End { lane })?;
                continue;
            };
            let (mark, read) = (place.file, place.position);
            let followed = Followed { lane, file: opened, inode: mark.inode(), read, mark: Some(mark) };
            let origin = Some(Origin { place, header });
            feeder.send(Piece::Open { lane, split: split.clone(), origin })?;
            all.open.insert(name.clone(), followed);
            all.known.insert(name, file);
        }
        Ok(())
    }

    /// In steps, so that a long pause does not hold up the end.
    fn wait(&self, feeder: &Feeder) -> Result<(), Gone> {
        const STEP: Duration = Duration::from_millis(50);
        let mut left = self.poll;
        while !left.is_zero() {
            if feeder.is_gone() {
                return Err(Gone);
            }
            let step = left.min(STEP);
            thread::sleep(step);
            left -= step;
        }
        if feeder.is_gone() { Err(Gone) } else { Ok(()) }
    }
}

impl Followings {
    fn next_lane(&mut self) -> u64 {
        self.lanes += 1;
        self.lanes
    }

    /// Whether there was anything new.
    fn read_on(&mut self, feeder: &Feeder) -> Result<bool, Stop> {
        let mut any = false;
        let known: Vec<InputFile> = self.known.values().cloned().collect();
        for file in &known {
            if !self.open.contains_key(&file.name) && !self.open(file, feeder)? {
                continue;
            }
            let Some(followed) = self.open.get_mut(&file.name) else { continue };
            any |= followed.read_on(file, feeder)?;
            if followed.is_over(file)? {
                // What came between the last read and the look at the name.
                followed.read_on(file, feeder)?;
                feeder.send(Piece::End { lane: followed.lane })?;
                self.open.remove(&file.name);
                any = true;
            }
        }
        Ok(any)
    }

    /// Begins the next generation of a file, if it is there.
    fn open(&mut self, file: &InputFile, feeder: &Feeder) -> Result<bool, Stop> {
        let lane = self.lanes + 1;
        let Some(opened) = open_next(file, lane)? else { return Ok(false) };
        if self.open.len() >= FOLLOWED_FILES_MAX {
            let why = format!("more than {FOLLOWED_FILES_MAX} files are followed");
            return Err(ConnectError::failed(&*file.name, why, "narrow the pattern").into());
        }
        self.lanes = lane;
        let next = self.generations.entry(file.name.clone()).or_default();
        let number = *next;
        *next += 1;
        let followed = Some(Generation { name: file.name.to_string(), number });
        let origin = opened.mark.map(|mark| Origin {
            place: Place { file: mark, followed, ..Place::default() },
            header: Vec::new(),
        });
        feeder.send(Piece::Open { lane, split: split_name(&file.name, number), origin })?;
        self.open.insert(file.name.clone(), opened);
        Ok(true)
    }
}

impl Followed {
    /// Whether there was anything new.
    fn read_on(&mut self, file: &InputFile, feeder: &Feeder) -> Result<bool, Stop> {
        let mut any = false;
        while let Some(chunk) = feeder.fill(&mut self.file, &file.name)? {
            self.read += (chunk.end - crate::decode::HEADROOM) as u64;
            if let Some(mark) = self.mark.as_mut().filter(|mark| !mark.is_full()) {
                mark.grow(&mut self.file, self.read).map_err(|error| failed(&file.name, &error))?;
                feeder.send(Piece::Mark { lane: self.lane, mark: *mark })?;
            }
            feeder.send(Piece::Data { lane: self.lane, chunk })?;
            any = true;
        }
        Ok(any)
    }

    /// Whether something else has that name now, or the file is shorter than what was read of it.
    fn is_over(&self, file: &InputFile) -> Result<bool, Stop> {
        match std::fs::metadata(&file.path) {
            Ok(metadata) => Ok(identity(&metadata).1 != self.inode || metadata.len() < self.read),
            // Moved away and not there again yet: it may still be written to.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(&file.name, &error).into()),
        }
    }
}

fn open_next(file: &InputFile, lane: u64) -> Result<Option<Followed>, Stop> {
    let open = || -> std::io::Result<Followed> {
        let mut opened = File::open(&file.path)?;
        let (metadata, mark) = (opened.metadata()?, Mark::of(&mut opened)?);
        Ok(Followed { lane, file: opened, inode: identity(&metadata).1, read: 0, mark })
    };
    match open() {
        Ok(followed) => Ok(Some(followed)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&file.name, &error).into()),
    }
}

/// The file that was being read, at the place where it goes on, with its header.
fn find_again(file: &InputFile, place: &Place) -> std::io::Result<Option<(File, Vec<u8>)>> {
    if let Some(found) = go_on_in(&file.path, place)? {
        return Ok(Some(found));
    }
    let directory = file.path.parent().unwrap_or(Path::new("."));
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries.take(ROTATED_FILES_MAX) {
        let entry = entry?;
        // What a link leads to lies elsewhere, and maybe where nothing is to be read.
        let is_it = entry.file_type()?.is_file() && identity(&entry.metadata()?).1 == place.file.inode();
        if is_it && let Some(found) = go_on_in(&entry.path(), place)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn go_on_in(path: &Path, place: &Place) -> std::io::Result<Option<(File, Vec<u8>)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if place.file.check(&mut file, place.position)?.is_err() {
        return Ok(None);
    }
    let mut header = vec![0; place.header.min(place.position) as usize];
    file.read_exact(&mut header)?;
    file.seek(SeekFrom::Start(place.position))?;
    Ok(Some((file, header)))
}

fn split_name(name: &Arc<str>, generation: u64) -> Arc<str> {
    if generation == 0 { name.clone() } else { format!("{name}#{generation}").into() }
}
