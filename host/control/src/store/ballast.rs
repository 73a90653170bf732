//! Room on the disk that is held by a file of nothing, and given up when the log needs it.
//!
//! An entry that Raft has begun to append cannot be refused any more: any error ends the node. So the room for it is there
//! beforehand, and once it was needed, no other entry is begun until it is there again.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use disk::{Disk, Mode};
use model::limits::{CONTROL_BALLAST_BYTES, CONTROL_FULL_POLL};

use super::lock;

const FILE: &str = "control.ballast";

pub(super) struct Ballast {
    path: PathBuf,
    is_whole: AtomicBool,
    tried: Mutex<Option<Instant>>,
}

impl Ballast {
    /// Where there is no room for it, what was begun waits for room instead.
    pub fn new(disk: &dyn Disk, dir: &Path) -> Self {
        let ballast =
            Self { path: dir.join(FILE), is_whole: AtomicBool::new(false), tried: Mutex::default() };
        ballast.refill(disk);
        ballast
    }

    pub fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::SeqCst)
    }

    /// Whether it is whole again. Tried once in a while.
    pub fn refill(&self, disk: &dyn Disk) -> bool {
        let mut tried = lock(&self.tried);
        if tried.is_some_and(|tried| tried.elapsed() < CONTROL_FULL_POLL) {
            return self.is_whole();
        }
        let filled = || {
            let mode = if disk.stat(&self.path)?.is_some() { Mode::Change } else { Mode::Create };
            disk.open(&self.path, mode)?.preallocate(CONTROL_BALLAST_BYTES)
        };
        let is_whole = filled().is_ok();
        *tried = (!is_whole).then(Instant::now);
        self.is_whole.store(is_whole, Ordering::SeqCst);
        is_whole
    }

    /// Gives it up. False where there was nothing to give.
    pub fn release(&self, disk: &dyn Disk) -> bool {
        let mut tried = lock(&self.tried);
        let was_whole = self.is_whole.swap(false, Ordering::SeqCst);
        let freed = disk.open(&self.path, Mode::Change).and_then(|file| file.set_bytes(0));
        *tried = Some(Instant::now());
        was_whole && freed.is_ok()
    }
}
