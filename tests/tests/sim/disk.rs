//! A disk in memory that does what a file system may do, and no more than it promises: what was not synced may be
//! lost, torn or out of order after a power cut, names come and go with their directory, and where there is no room
//! any operation may fail, and may have done a part.

mod struck;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::{Disk, DiskFile, Lock, Mode, Stat, dir_of};
use fastrand::Rng;

pub use struck::Struck;

/// How a run ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// What was written stays.
    Kill,
    /// What was not synced stays, or does not, or in part.
    PowerCut,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    now: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    File(u64),
    Dir,
}

#[derive(Clone, Debug)]
enum NameChange {
    Put(OsString, Entry),
    Remove(OsString),
    Rename(OsString, OsString),
}

#[derive(Clone, Debug, Default)]
struct Dir {
    durable: BTreeMap<OsString, Entry>,
    now: BTreeMap<OsString, Entry>,
    pending: Vec<NameChange>,
}

#[derive(Clone, Debug)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
    locks: BTreeSet<PathBuf>,
    next: u64,
    /// What was opened before a crash is of no use behind it.
    life: u64,
    /// Operations until it strikes within one.
    fuse: Option<u64>,
    /// Operations until there is no room any more.
    room: Option<u64>,
    /// Whether room can be made where there is none: on a file system that never writes over anything it cannot.
    frees_when_full: bool,
    is_down: bool,
    random: Rng,
    struck: Struck,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

/// What an operation does.
enum Done {
    All,
    /// As much as comes before the crash, or goes in; and then this is the error.
    Part(ErrorKind),
}

/// The power is gone.
const CRASHED: ErrorKind = ErrorKind::Other;

impl SimDisk {
    pub fn new(random: Rng) -> Self {
        let root = (PathBuf::from("/"), Dir::default());
        Self(Arc::new(Mutex::new(State {
            inodes: BTreeMap::new(),
            dirs: [root].into(),
            locks: BTreeSet::new(),
            next: 0,
            life: 0,
            fuse: None,
            room: None,
            frees_when_full: false,
            is_down: false,
            random,
            struck: Struck::default(),
        })))
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Strikes within the operation that comes after `operations` others.
    pub fn set_fuse(&self, operations: Option<u64>) {
        self.lock_state().fuse = operations;
    }

    /// There is no room behind so many operations; there always is, where there are none. `frees`: what takes none then
    /// still works.
    pub fn set_room(&self, operations: Option<u64>, frees: bool) {
        let mut state = self.lock_state();
        (state.room, state.frees_when_full) = (operations, frees);
    }

    /// The process dies: nothing works until [`SimDisk::restart`].
    pub fn kill(&self) {
        self.lock_state().is_down = true;
    }

    /// Whether it has struck, and nothing works until [`SimDisk::restart`].
    pub fn is_down(&self) -> bool {
        self.lock_state().is_down
    }

    pub fn struck(&self) -> Struck {
        self.lock_state().struck
    }

    /// What is there after a crash.
    pub fn restart(&self, crash: Crash) {
        let mut state = self.lock_state();
        state.is_down = false;
        state.fuse = None;
        state.life += 1;
        state.locks.clear();
        match crash {
            Crash::Kill => state.struck.kills += 1,
            Crash::PowerCut => {
                state.struck.power_cuts += 1;
                state.lose();
            }
        }
    }

    /// A disk of its own with what is sure to be there after a power cut, and nothing else.
    pub fn worst_case(&self) -> Self {
        let mut state = self.lock_state().clone();
        state.is_down = false;
        state.fuse = None;
        state.locks.clear();
        for inode in state.inodes.values_mut() {
            inode.pending.clear();
            inode.now.clone_from(&inode.durable);
        }
        for dir in state.dirs.values_mut() {
            dir.pending.clear();
            dir.now.clone_from(&dir.durable);
        }
        Self(Arc::new(Mutex::new(state)))
    }

    /// What is in a file, as a process sees it.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock_state();
        match state.entry(path)? {
            Entry::File(id) => state.inodes.get(&id).map(|inode| inode.now.clone()),
            Entry::Dir => None,
        }
    }

    /// The names in a directory; none where there is no such directory.
    pub fn names(&self, dir: &Path) -> Vec<String> {
        let state = self.lock_state();
        let names = state.dirs.get(dir).map(|dir| dir.now.keys().cloned().collect::<Vec<_>>());
        names.unwrap_or_default().into_iter().map(|name| name.to_string_lossy().into_owned()).collect()
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => bytes.resize(*length as usize, 0),
        Change::Write { at, bytes: new } => {
            let end = *at as usize + new.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at as usize..end].copy_from_slice(new);
        }
    }
}

/// A part of what was written: its beginning, its end, or something out of its middle.
fn torn(random: &mut Rng, at: u64, bytes: &[u8]) -> Change {
    let (a, b) = (random.usize(0..=bytes.len()), random.usize(0..=bytes.len()));
    let (from, to) = match random.u8(0..3) {
        0 => (0, a),
        1 => (a, bytes.len()),
        _ => (a.min(b), a.max(b)),
    };
    Change::Write { at: at + from as u64, bytes: bytes[from..to].to_vec() }
}

fn rename(names: &mut BTreeMap<OsString, Entry>, change: &NameChange) {
    match change {
        NameChange::Put(name, entry) => {
            names.insert(name.clone(), *entry);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to) => {
            if let Some(entry) = names.remove(from) {
                names.insert(to.clone(), entry);
            }
        }
    }
}

impl State {
    fn entry(&self, path: &Path) -> Option<Entry> {
        if self.dirs.contains_key(path) {
            return Some(Entry::Dir);
        }
        self.dirs.get(dir_of(path))?.now.get(path.file_name()?).copied()
    }

    /// Before each operation that changes something: whether it is the one that is struck, or finds no room. `frees`:
    /// it takes none.
    fn step(&mut self, frees: bool) -> Result<Done> {
        self.check()?;
        match &mut self.fuse {
            Some(0) => {
                self.is_down = true;
                self.struck.within_operations += 1;
                return Ok(Done::Part(CRASHED));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        match &mut self.room {
            Some(0) if frees && self.frees_when_full => Ok(Done::All),
            Some(0) => Ok(Done::Part(ErrorKind::StorageFull)),
            Some(left) => {
                *left -= 1;
                Ok(Done::All)
            }
            None => Ok(Done::All),
        }
    }

    fn check(&self) -> Result<()> {
        if self.is_down { Err(Error::other("the power is gone")) } else { Ok(()) }
    }

    /// A change of one file. Struck, it is there in part or not at all.
    fn change(&mut self, id: u64, change: Change) -> Result<()> {
        let there = self.inodes.get(&id).map_or(0, |inode| inode.now.len() as u64);
        let frees = matches!(change, Change::Length(length) if length <= there);
        let (change, result) = match self.step(frees)? {
            Done::All => (change, Ok(())),
            Done::Part(kind) => match &change {
                Change::Write { at, bytes } => {
                    let change = torn(&mut self.random, *at, bytes);
                    self.struck.torn_writes += u64::from(self.is_down);
                    (change, Err(kind.into()))
                }
                Change::Length(_) if self.random.bool() => return Err(kind.into()),
                Change::Length(_) => (change, Err(kind.into())),
            },
        };
        let inode = self.inodes.get_mut(&id).ok_or(ErrorKind::NotFound)?;
        apply(&mut inode.now, &change);
        inode.pending.push(change);
        result
    }

    fn change_name(&mut self, dir: &Path, change: NameChange) -> Result<()> {
        let result = match self.step(matches!(change, NameChange::Remove(_)))? {
            Done::All => Ok(()),
            Done::Part(kind) if self.random.bool() => return Err(kind.into()),
            Done::Part(kind) => Err(kind.into()),
        };
        let dir = self.dirs.get_mut(dir).ok_or(ErrorKind::NotFound)?;
        rename(&mut dir.now, &change);
        dir.pending.push(change);
        result
    }

    /// Power is gone: of what was not synced each thing is there, or not, or in part.
    fn lose(&mut self) {
        let Self { inodes, dirs, random, struck, .. } = self;
        // Some disks lose all that was not synced, and some next to nothing.
        let kept_of_ten = [0, 3, 5, 9][random.usize(0..4)];
        for inode in inodes.values_mut() {
            let mut lost_before = false;
            for change in std::mem::take(&mut inode.pending) {
                if random.u8(0..10) < kept_of_ten {
                    apply(&mut inode.durable, &change);
                    struck.out_of_order += u64::from(lost_before);
                    continue;
                }
                match &change {
                    Change::Write { at, bytes } if random.bool() && kept_of_ten > 0 => {
                        apply(&mut inode.durable, &torn(random, *at, bytes));
                        struck.torn_writes += 1;
                    }
                    _ => struck.lost_writes += 1,
                }
                lost_before = true;
            }
            inode.now.clone_from(&inode.durable);
        }
        for dir in dirs.values_mut() {
            let pending = std::mem::take(&mut dir.pending);
            // Names change in their order: file systems that journal keep to it, and nothing here promises less.
            let kept = random.usize(0..=pending.len());
            struck.lost_names += (pending.len() - kept) as u64;
            pending[..kept].iter().for_each(|change| rename(&mut dir.durable, change));
            dir.now.clone_from(&dir.durable);
        }
        let is_there = |dirs: &BTreeMap<PathBuf, Dir>, path: &Path| {
            path == Path::new("/")
                || dirs.get(dir_of(path)).is_some_and(|dir| {
                    path.file_name().is_some_and(|name| dir.now.get(name) == Some(&Entry::Dir))
                })
        };
        let gone: Vec<PathBuf> = dirs.keys().filter(|path| !is_there(dirs, path)).cloned().collect();
        for path in gone {
            dirs.retain(|dir, _| !dir.starts_with(&path));
        }
        let used: BTreeSet<u64> = dirs
            .values()
            .flat_map(|dir| dir.now.values())
            .filter_map(|entry| if let Entry::File(id) = entry { Some(*id) } else { None })
            .collect();
        inodes.retain(|id, _| used.contains(id));
    }

    fn new_file(&mut self, path: &Path) -> Result<u64> {
        let id = self.next;
        self.next += 1;
        self.inodes.insert(id, Inode::default());
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
        self.change_name(dir_of(path), NameChange::Put(name, Entry::File(id)))?;
        Ok(id)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn DiskFile>> {
        let mut state = self.lock_state();
        state.check()?;
        let id = match (state.entry(path), mode) {
            (Some(Entry::Dir), _) => return Err(ErrorKind::IsADirectory.into()),
            (None, Mode::Read | Mode::Change) => return Err(ErrorKind::NotFound.into()),
            (Some(_), Mode::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
            (None, Mode::Create | Mode::CreateNew) => state.new_file(path)?,
            (Some(Entry::File(id)), Mode::Create) => {
                state.change(id, Change::Length(0))?;
                id
            }
            (Some(Entry::File(id)), _) => id,
        };
        let life = state.life;
        drop(state);
        Ok(Box::new(SimFile { disk: self.clone(), id, life }))
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        let state = self.lock_state();
        state.check()?;
        Ok(state.entry(path).map(|entry| match entry {
            Entry::Dir => Stat { bytes: 0, is_file: false, is_dir: true },
            Entry::File(id) => {
                let bytes = state.inodes.get(&id).map_or(0, |inode| inode.now.len() as u64);
                Stat { bytes, is_file: true, is_dir: false }
            }
        }))
    }

    fn list(&self, dir: &Path) -> Result<Vec<OsString>> {
        let state = self.lock_state();
        state.check()?;
        let dir = state.dirs.get(dir).ok_or(ErrorKind::NotFound)?;
        Ok(dir.now.keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        assert_eq!(dir_of(from), dir_of(to), "renaming into another directory is not simulated");
        let mut state = self.lock_state();
        state.check()?;
        let (Some(Entry::File(_)), Some(old), Some(new)) =
            (state.entry(from), from.file_name(), to.file_name())
        else {
            return Err(ErrorKind::NotFound.into());
        };
        state.change_name(dir_of(from), NameChange::Rename(old.to_owned(), new.to_owned()))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut state = self.lock_state();
        state.check()?;
        let (Some(Entry::File(_)), Some(name)) = (state.entry(path), path.file_name()) else {
            return Err(ErrorKind::NotFound.into());
        };
        state.change_name(dir_of(path), NameChange::Remove(name.to_owned()))
    }

    fn make_dir(&self, dir: &Path) -> Result<()> {
        let mut state = self.lock_state();
        state.check()?;
        if state.dirs.contains_key(dir) {
            return Ok(());
        }
        let name = dir.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
        // There is something in it as soon as it has a name, which a crash may leave it with.
        state.dirs.insert(dir.to_owned(), Dir::default());
        let made = state.change_name(dir_of(dir), NameChange::Put(name.clone(), Entry::Dir));
        let is_named = state.dirs.get(dir_of(dir)).is_some_and(|above| above.now.contains_key(&name));
        if !is_named {
            state.dirs.remove(dir);
        }
        made
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let mut state = self.lock_state();
        let done = state.step(true)?;
        let State { dirs, struck, random, .. } = &mut *state;
        let dir = dirs.get_mut(dir).ok_or(ErrorKind::NotFound)?;
        let (mut kept, mut result) = (dir.pending.len(), Ok(()));
        if let Done::Part(kind) = done {
            kept = random.usize(0..=kept);
            struck.lost_syncs += u64::from(kind == CRASHED);
            result = Err(kind.into());
        }
        for change in dir.pending.drain(..kept) {
            rename(&mut dir.durable, &change);
        }
        result
    }

    /// In pieces, as the crash may come between any two of them.
    fn copy(&self, from: &Path, bytes: u64, to: &Path, at: u64) -> Result<()> {
        const PIECE: usize = 96;
        let mut state = self.lock_state();
        state.check()?;
        let (Some(Entry::File(from)), Some(Entry::File(to))) = (state.entry(from), state.entry(to)) else {
            return Err(ErrorKind::NotFound.into());
        };
        let part = state.inodes.get(&from).map(|inode| inode.now.clone()).unwrap_or_default();
        let part = &part[..part.len().min(bytes as usize)];
        for (index, piece) in part.chunks(PIECE).enumerate() {
            let at = at + (index * PIECE) as u64;
            state.change(to, Change::Write { at, bytes: piece.to_vec() })?;
        }
        if (part.len() as u64) < bytes { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn take_permissions(&self, _path: &Path, _of: &Path) -> Result<()> {
        self.lock_state().check()
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        let mut state = self.lock_state();
        state.check()?;
        if state.entry(path).is_none() {
            state.new_file(path)?;
        }
        drop(state);
        self.lock_name(path)
    }

    /// The file that stands for it is not made: nothing is ever written to it.
    fn lock_name(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        let mut state = self.lock_state();
        state.check()?;
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        let life = state.life;
        Ok(Some(Box::new(SimLock { disk: self.clone(), path: path.to_owned(), life })))
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    life: u64,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.lock_state();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
    life: u64,
}

impl SimFile {
    fn state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.disk.lock_state();
        state.check()?;
        if state.life == self.life { Ok(state) } else { Err(Error::other("it was opened before the crash")) }
    }
}

impl DiskFile for SimFile {
    fn bytes(&self) -> Result<u64> {
        let state = self.state()?;
        Ok(state.inodes.get(&self.id).map_or(0, |inode| inode.now.len() as u64))
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize> {
        let state = self.state()?;
        let Some(inode) = state.inodes.get(&self.id) else { return Ok(0) };
        let there = inode.now.get(at as usize..).unwrap_or_default();
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.state()?.change(self.id, Change::Write { at, bytes: bytes.to_vec() })
    }

    fn set_bytes(&self, bytes: u64) -> Result<()> {
        self.state()?.change(self.id, Change::Length(bytes))
    }

    fn preallocate(&self, bytes: u64) -> Result<()> {
        let mut state = self.state()?;
        let there = state.inodes.get(&self.id).map_or(0, |inode| inode.now.len() as u64);
        state.change(self.id, Change::Length(bytes.max(there)))
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.state()?;
        let done = state.step(false)?;
        let State { inodes, struck, random, .. } = &mut *state;
        let inode = inodes.get_mut(&self.id).ok_or(ErrorKind::NotFound)?;
        let (changes, result) = match done {
            Done::All => (inode.pending.len(), Ok(())),
            // Some of it has been written by then, from the front here, and the rest is lost as it comes.
            Done::Part(kind) => {
                struck.lost_syncs += u64::from(kind == CRASHED);
                (random.usize(0..=inode.pending.len()), Err(kind.into()))
            }
        };
        for change in inode.pending.drain(..changes) {
            apply(&mut inode.durable, &change);
        }
        result
    }
}

#[cfg(test)]
mod tests;
