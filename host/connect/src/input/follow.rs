//! Files that grow: new lines, new files, files that are rotated away or cut off.
//!
//! A file is polled rather than watched: it works on every file system, and costs one `stat` each round. What
//! was moved away is read to its end first. A file that begins anew under an old name is a split of its own,
//! named with a number behind `#`, so that no two records have the same id.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use flow::connector::ConnectError;
use model::limits::FOLLOWED_FILES_MAX;

use crate::Roots;

use super::{Feeder, Found, Gone, InputFile, Piece, Stop, failed, find};

/// What to follow.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) base: PathBuf,
    pub(crate) roots: Roots,
    pub(crate) paths: Vec<String>,
    pub(crate) poll: Duration,
}

struct Followed {
    lane: u64,
    file: File,
    identity: u64,
    read: u64,
}

impl Follow {
    pub(super) fn run(self, feeder: &Feeder) -> Result<(), Stop> {
        let mut open: BTreeMap<Arc<str>, Followed> = BTreeMap::new();
        let mut generations: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        let mut known: BTreeMap<Arc<str>, InputFile> = BTreeMap::new();
        let mut lanes = 0;
        loop {
            // A file that was moved away is still known: somebody may write to it until it is replaced.
            let Found { files } = find(&self.base, &self.roots, &self.paths, true)?;
            known.extend(files.into_iter().map(|file| (file.name.clone(), file)));
            let mut idle = true;
            for file in known.values() {
                if !open.contains_key(&file.name) {
                    let Some(opened) = open_next(file, lanes)? else { continue };
                    if open.len() >= FOLLOWED_FILES_MAX {
                        let why = format!("more than {FOLLOWED_FILES_MAX} files are followed");
                        return Err(ConnectError::failed(&*file.name, why, "narrow the pattern").into());
                    }
                    lanes += 1;
                    let generation = generations.entry(file.name.clone()).or_default();
                    let split = split_name(&file.name, *generation);
                    *generation += 1;
                    feeder.send(Piece::Open { lane: opened.lane, split })?;
                    open.insert(file.name.clone(), opened);
                }
                let Some(followed) = open.get_mut(&file.name) else { continue };
                idle &= !followed.read_on(file, feeder)?;
                if followed.is_over(file)? {
                    // What came between the last read and the look at the name.
                    followed.read_on(file, feeder)?;
                    feeder.send(Piece::End { lane: followed.lane })?;
                    open.remove(&file.name);
                    idle = false;
                }
            }
            if idle {
                self.wait(feeder)?;
            }
        }
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

impl Followed {
    /// Whether there was anything new.
    fn read_on(&mut self, file: &InputFile, feeder: &Feeder) -> Result<bool, Stop> {
        let mut any = false;
        while let Some(chunk) = feeder.fill(&mut self.file, &file.name)? {
            self.read += (chunk.end - crate::decode::HEADROOM) as u64;
            feeder.send(Piece::Data { lane: self.lane, chunk })?;
            any = true;
        }
        Ok(any)
    }

    /// Whether something else has that name now, or the file is shorter than what was read of it.
    fn is_over(&self, file: &InputFile) -> Result<bool, Stop> {
        match std::fs::metadata(&file.path) {
            Ok(metadata) => Ok(identity(&metadata) != self.identity || metadata.len() < self.read),
            // Moved away and not there again yet: it may still be written to.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(&file.name, &error).into()),
        }
    }
}

fn open_next(file: &InputFile, lane: u64) -> Result<Option<Followed>, Stop> {
    match File::open(&file.path).and_then(|opened| Ok((opened.metadata()?, opened))) {
        Ok((metadata, opened)) => {
            Ok(Some(Followed { lane, file: opened, identity: identity(&metadata), read: 0 }))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&file.name, &error).into()),
    }
}

fn split_name(name: &Arc<str>, generation: u64) -> Arc<str> {
    if generation == 0 { name.clone() } else { format!("{name}#{generation}").into() }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

/// Without inodes only a file that got shorter is noticed.
#[cfg(not(unix))]
fn identity(_metadata: &Metadata) -> u64 {
    0
}
