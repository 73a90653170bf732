//! The database of the control state: the log of Raft with its vote, and the last snapshot, in one file of checked pages.
//!
//! What was acknowledged is synced, since every change is one transaction that is. A disk that is full is waited for: room
//! is held for the log beforehand ([`ballast`](Ballast)), so that what was begun is ended, and whoever wants more is told.
//! After any other error nothing more is done, because nobody knows what is on the disk; the process has to end.

mod ballast;
mod failure;
mod log;
mod snapshot;
mod watched;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use disk::fault::{self, Point};
use disk::pages::{Damage, Pages};
use disk::{Disk, Lock, Mode, dir_of, make_dirs};
use model::limits::{CONTROL_CACHE_BYTES, CONTROL_FULL_POLL};
use redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition, TableError, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::state::{ClusterId, NodeId};
use ballast::Ballast;
pub use failure::StoreError;
use failure::failed;
use log::{LogView, opened_log};
use snapshot::Kept;
use watched::Watched;

/// Of the tables; a file with another one is not touched.
const FORMAT: u64 = 1;
const FILE: &str = "control.redb";
const LOCK: &str = "control.lock";

/// JSON of what the constants below say.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// By index: JSON of the entry.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// By the number of the snapshot and of the piece.
const PIECES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("pieces");

/// [`Head`].
const HEAD: &str = "head";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
/// The id of the last entry that is not in the log any more.
const PURGED: &str = "purged";
/// [`Kept`].
const SNAPSHOT: &str = "snapshot";

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    format: u64,
    pub node: NodeId,
    pub cluster: ClusterId,
}

/// What every layout of [`Head`] has.
#[derive(Deserialize)]
struct Layout {
    format: u64,
}

/// Clones are the same one.
#[derive(Clone)]
pub(crate) struct Store(Arc<Shared>);

struct Shared {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// None while it is waited for room, and once it is closed.
    database: RwLock<Option<Database>>,
    /// What is wrong with its file.
    damage: Mutex<Damage>,
    /// Whether a sync has failed: nobody knows what is on the disk then.
    unsynced: Arc<AtomicBool>,
    /// Why nothing is done any more.
    broke: OnceLock<StoreError>,
    is_closing: AtomicBool,
    ballast: Ballast,
    log: Mutex<LogView>,
    /// The last snapshot that is durable.
    kept: Mutex<Option<Kept>>,
    /// The number of the next one. None: what a crash left of one may be there.
    next_snapshot: Mutex<Option<u64>>,
    /// The index of its last entry; whoever waits for a later one is woken.
    durable: watch::Sender<Option<u64>>,
    /// Given up when it is closed.
    lock: Mutex<Option<Box<dyn Lock>>>,
}

/// What a change is allowed to take when the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// What is held for it.
    Held,
    /// Nothing: it waits.
    Free,
}

impl Store {
    /// Opens the store of this node in `dir`, or makes one there, of the cluster that is given. One process has it at a
    /// time. After [`StoreError::Full`] it can be tried again. Blocks.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        node: NodeId,
        cluster: Option<ClusterId>,
    ) -> Result<(Self, Head), StoreError> {
        let failed_at = |path: &Path| {
            let path = path.to_owned();
            move |error| failed(&path, &Damage::default(), redb::Error::Io(error))
        };
        make_dirs(&*disk, dir).map_err(failed_at(dir))?;
        let lock = disk.lock(&dir.join(LOCK)).map_err(failed_at(dir))?;
        let lock = lock.ok_or_else(|| StoreError::Locked { path: dir.to_owned() })?;
        let path = dir.join(FILE);
        if disk.stat(&path).map_err(failed_at(&path))?.is_none() {
            make(&*disk, &path).map_err(failed_at(&path))?;
        }
        let unsynced = Arc::new(AtomicBool::new(false));
        let of_sync = |error| if unsynced.load(Ordering::SeqCst) { final_error(error) } else { error };
        let (database, damage) = open(&*disk, &path, &unsynced).map_err(of_sync)?;
        let head = Head { format: FORMAT, node, cluster: cluster.unwrap_or(ClusterId(0)) };
        let found = catch(|| prepare(&database, head, cluster.is_some()))
            .unwrap_or_else(|panic| Err(redb::Error::Corrupted(panic)))
            .map_err(|error| of_sync(failed(&path, &damage, error)))?;
        let head = whose(&path, node, found)?;
        let read = database.begin_read().map_err(redb::Error::from);
        let opened = read.and_then(|read| Ok((opened_log(&read)?, snapshot::find(&read)?)));
        let (log, kept) = opened.map_err(|error| of_sync(failed(&path, &damage, error)))?;
        let (durable, _) = watch::channel(kept.as_ref().and_then(Kept::index));
        let ballast = Ballast::new(&*disk, dir);
        let shared = Shared {
            disk,
            path,
            database: RwLock::new(Some(database)),
            damage: Mutex::new(damage),
            unsynced,
            broke: OnceLock::new(),
            is_closing: AtomicBool::new(false),
            ballast,
            log: Mutex::new(log),
            kept: Mutex::new(kept),
            next_snapshot: Mutex::new(None),
            durable,
            lock: Mutex::new(Some(lock)),
        };
        Ok((Self(Arc::new(shared)), head))
    }

    /// Why nothing more may be begun, where that is so: the disk is full, or it fails. Tries whether it still is so.
    pub fn no_room(&self) -> Option<StoreError> {
        let Shared { disk, ballast, .. } = &*self.0;
        if ballast.is_whole() { None } else { ballast.refill(&**disk).err() }
    }

    /// Why nothing is done any more, where that is so.
    pub fn broke(&self) -> Option<&StoreError> {
        self.0.broke.get()
    }

    /// What is in it is nothing that this version can go on with.
    pub fn unread(&self, why: String) -> StoreError {
        StoreError::Foreign { path: self.0.path.clone(), why }
    }

    /// Nothing is done from now on, and another process may have it.
    pub fn close(&self) {
        self.0.is_closing.store(true, Ordering::SeqCst);
        self.0.durable.send_modify(|_| {});
        let mut database = self.0.database.write().unwrap_or_else(PoisonError::into_inner);
        drop_caught(database.take());
        lock(&self.0.lock).take();
    }

    /// Does something with the database, synced when it comes back. Blocks, and for as long as the disk is full.
    fn write<T>(
        &self,
        room: Room,
        mut change: impl FnMut(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let mut told = false;
        loop {
            let done = self.with(|database| {
                let mut transaction = database.begin_write()?;
                // In two phases, on which the checksums of pages rest.
                transaction.set_quick_repair(true);
                let done = change(&transaction)?;
                transaction.commit()?;
                Ok(done)
            });
            match done {
                Err(StoreError::Full { path }) => {
                    // After an error the database only says so again.
                    self.shut();
                    if room == Room::Held && self.0.ballast.release(&*self.0.disk) {
                        continue;
                    }
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(path = %path.display(), "the disk is full; the control state waits for room");
                    }
                    std::thread::sleep(CONTROL_FULL_POLL);
                }
                done => return done,
            }
        }
    }

    fn read<T>(
        &self,
        mut ask: impl FnMut(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        loop {
            match self.with(|database| ask(&database.begin_read()?)) {
                // Of a write beside it: what is there can be read once it is opened again.
                Err(StoreError::Full { .. }) => {
                    self.shut();
                    std::thread::sleep(CONTROL_FULL_POLL);
                }
                done => return done,
            }
        }
    }

    /// A panic in the database is an error as any other, and like any other but that of a full disk it is the last thing
    /// that is done.
    fn with<T>(&self, ask: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.ensure_open()?;
        let database = self.0.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else { return Err(self.closed()) };
        let done = catch(|| ask(database)).unwrap_or_else(|why| Err(redb::Error::Corrupted(why)));
        done.map_err(|error| {
            let error = failed(&self.0.path, &lock(&self.0.damage), error);
            match error {
                StoreError::Full { .. } if !self.0.unsynced.load(Ordering::SeqCst) => error,
                error => self.end(error),
            }
        })
    }

    fn ensure_open(&self) -> Result<(), StoreError> {
        if let Some(error) = self.0.broke.get() {
            return Err(error.clone());
        }
        if self.0.is_closing.load(Ordering::SeqCst) {
            return Err(self.closed());
        }
        if self.0.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut database = self.0.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            match open(&*self.0.disk, &self.0.path, &self.0.unsynced) {
                Ok((opened, damage)) => {
                    *lock(&self.0.damage) = damage;
                    *database = Some(opened);
                }
                Err(error @ StoreError::Full { .. }) if !self.0.unsynced.load(Ordering::SeqCst) => {
                    return Err(error);
                }
                Err(error) => return Err(self.end(error)),
            }
        }
        Ok(())
    }

    fn shut(&self) {
        let mut database = self.0.database.write().unwrap_or_else(PoisonError::into_inner);
        drop_caught(database.take());
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { path: self.0.path.clone() }
    }

    fn end(&self, error: StoreError) -> StoreError {
        let first = self.0.broke.get_or_init(|| final_error(error)).clone();
        // Whoever waits for a snapshot learns of it.
        self.0.durable.send_modify(|_| {});
        first
    }

    /// Where it blocks for a while, on a thread for that.
    async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let done = tokio::task::spawn_blocking(move || ask(&store)).await;
        done.unwrap_or_else(|error| {
            let why = error.to_string();
            Err(self.end(StoreError::Broke { path: self.0.path.clone(), why }))
        })
    }
}

/// The error as one that nobody waits out: where a full disk was found by a sync, room alone mends nothing.
fn final_error(error: StoreError) -> StoreError {
    match error {
        StoreError::Full { path } => {
            StoreError::Broke { path, why: "its disk was full when it was synced".to_owned() }
        }
        error => error,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// It puts itself in order, which is as well done when it is opened the next time.
fn drop_caught(database: Option<Database>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
}

fn catch<T>(ask: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(|_| "its database panicked".to_owned())
}

/// Makes a file with no database in it. It has another name until it is whole.
fn make(disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
    let making = path.with_extension("making");
    drop(Pages::create(disk.open(&making, Mode::Create)?)?);
    disk.open(&making, Mode::Change)?.sync()?;
    disk.rename(&making, path)?;
    fault::hit(Point::ControlNamed);
    disk.sync_dir(dir_of(path))
}

fn open(disk: &dyn Disk, path: &Path, unsynced: &Arc<AtomicBool>) -> Result<(Database, Damage), StoreError> {
    let none = Damage::default();
    let file = disk.open(path, Mode::Change).map_err(|error| failed(path, &none, redb::Error::Io(error)))?;
    let file = Watched { file, unsynced: unsynced.clone() };
    let pages = Pages::open(Box::new(file)).map_err(|error| failure::unopened(path, error))?;
    let damage = pages.damage();
    let opened = catch(|| Database::builder().set_cache_size(CONTROL_CACHE_BYTES).create_with_backend(pages));
    let opened = opened.map_err(redb::Error::Corrupted).and_then(|opened| Ok(opened?));
    opened.map(|database| (database, damage.clone())).map_err(|error| failed(path, &damage, error))
}

/// Whose it is, or the number of its layout where that is another one; made where it is missing. What is there is not
/// written to, so that it opens on a full disk.
fn prepare(
    database: &Database,
    head: Head,
    may_make: bool,
) -> Result<Option<Result<Head, u64>>, redb::Error> {
    let read = database.begin_read()?;
    // A crash may have left it with no table.
    let found = match read.open_table(META) {
        Ok(meta) => meta.get(HEAD)?.map(|head| head.value().to_vec()),
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(found) = found {
        let Layout { format } = decode(&found)?;
        return if format == FORMAT { Ok(Some(Ok(decode(&found)?))) } else { Ok(Some(Err(format))) };
    }
    if !may_make {
        return Ok(None);
    }
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    write_meta(&transaction, HEAD, &head)?;
    transaction.open_table(LOG)?;
    transaction.open_table(PIECES)?;
    transaction.commit()?;
    Ok(Some(Ok(head)))
}

fn whose(path: &Path, node: NodeId, found: Option<Result<Head, u64>>) -> Result<Head, StoreError> {
    let path = path.to_owned();
    match found {
        None => Err(StoreError::Empty { path }),
        Some(Err(format)) => Err(StoreError::Foreign {
            path,
            why: format!("its layout is number {format}, this version writes {FORMAT}"),
        }),
        Some(Ok(head)) if head.node != node => {
            Err(StoreError::OtherNode { path, found: head.node, wanted: node })
        }
        Some(Ok(head)) => Ok(head),
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(bytes).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(value).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

/// What has a name of its own in [`META`].
fn read_meta<T: DeserializeOwned>(read: &ReadTransaction, name: &str) -> Result<Option<T>, redb::Error> {
    let found = read.open_table(META)?.get(name)?;
    found.map(|found| decode(found.value())).transpose()
}

fn write_meta(change: &WriteTransaction, name: &str, value: &impl Serialize) -> Result<(), redb::Error> {
    change.open_table(META)?.insert(name, encode(value)?.as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests;
