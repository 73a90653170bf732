//! Room on the disk that is held by a file of nothing, and given up when the log needs it.
//!
//! An entry that Raft has begun to append cannot be refused any more: any error ends the node. So the room for it is there
//! beforehand, and once it was needed, no other entry is begun until it is there again.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use disk::pages::Damage;
use disk::{Disk, Mode};
use model::limits::{CONTROL_BALLAST_BYTES, CONTROL_FULL_POLL};

use super::{StoreError, failed, lock};

const FILE: &str = "control.ballast";

pub(super) struct Ballast {
    dir: PathBuf,
    path: PathBuf,
    is_whole: AtomicBool,
    /// When it was last tried to have it whole in vain, and why.
    tried: Mutex<Option<(Instant, StoreError)>>,
}

impl Ballast {
    /// Where there is no room for it, what was begun waits for room instead.
    pub fn new(disk: &dyn Disk, dir: &Path) -> Self {
        let (is_whole, tried) = (AtomicBool::new(false), Mutex::default());
        let ballast = Self { dir: dir.to_owned(), path: dir.join(FILE), is_whole, tried };
        // Whoever begins something asks again.
        let _ = ballast.refill(disk);
        ballast
    }

    pub fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::SeqCst)
    }

    /// Why it is not whole again, where that is so: [`StoreError::Full`], or another one, which room does not mend. Tried
    /// once in a while.
    pub fn refill(&self, disk: &dyn Disk) -> Result<(), StoreError> {
        let mut tried = lock(&self.tried);
        if let Some((_, error)) = tried.as_ref().filter(|(at, _)| at.elapsed() < CONTROL_FULL_POLL) {
            return Err(error.clone());
        }
        let fill = || {
            let mode = if disk.stat(&self.path)?.is_some() { Mode::Change } else { Mode::Create };
            disk.open(&self.path, mode)?.preallocate(CONTROL_BALLAST_BYTES)
        };
        let filled = fill().map_err(|error| failed(&self.dir, &Damage::default(), redb::Error::Io(error)));
        self.is_whole.store(filled.is_ok(), Ordering::SeqCst);
        *tried = filled.as_ref().err().map(|error| (Instant::now(), error.clone()));
        filled
    }

    /// Gives it up. False where there was nothing to give.
    pub fn release(&self, disk: &dyn Disk) -> bool {
        let mut tried = lock(&self.tried);
        let was_whole = self.is_whole.swap(false, Ordering::SeqCst);
        let freed = disk.open(&self.path, Mode::Change).and_then(|file| file.set_bytes(0));
        *tried = Some((Instant::now(), StoreError::Full { path: self.dir.clone() }));
        was_whole && freed.is_ok()
    }
}
