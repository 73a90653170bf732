//! The index: who has which content under which name, in one database.
//!
//! Whoever changes something waits for its commit, and all that wait at the same time share one: the first in line does
//! the work of all that came meanwhile.

use std::collections::{HashSet, VecDeque};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use disk::frame::HeadError;
use disk::pages::{OpenError, Pages};
use disk::{Disk, DiskFile, Mode, dir_of, is_full};
use model::ids::Digest;
use model::limits::{REGISTRY_CACHE_BYTES, REGISTRY_CHANGES_MAX};
use redb::{Database, ReadTransaction, ReadableDatabase};

use super::StoreError;
use super::change::{Change, Done};
use super::tables::{
    BLOBS, BYTES, HOLDERS, MANIFESTS, META, NAMES, REFERRERS, REPOSITORIES, TAGS, Tables, digest, digests,
    key,
};
use crate::name::{Repository, Tag};

/// Of the tables and of the file.
const FORMAT: u64 = 1;

pub(super) struct Index {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// None after a failure that another try to open it may mend.
    database: RwLock<Option<Database>>,
    queue: Mutex<VecDeque<Arc<Waiting>>>,
    /// Whoever has it commits.
    leader: Mutex<()>,
    /// Whether a sync has failed: nobody knows what is on the disk then.
    unsynced: Arc<AtomicBool>,
    /// Why nothing is done any more.
    broke: OnceLock<String>,
}

struct Waiting {
    change: Change,
    answer: Mutex<Option<Result<Done, StoreError>>>,
}

/// What the index has of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: u64,
}

impl Index {
    /// Opens the index at `path`, or makes it.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        let unsynced = Arc::new(AtomicBool::new(false));
        if disk.stat(path).map_err(|error| StoreError::io(path, error))?.is_none() {
            make(&*disk, path).map_err(|error| StoreError::io(path, error))?;
        }
        let database = open(&*disk, path, &unsynced)?;
        Ok(Self {
            disk,
            path: path.to_owned(),
            database: RwLock::new(Some(database)),
            queue: Mutex::default(),
            leader: Mutex::default(),
            unsynced,
            broke: OnceLock::new(),
        })
    }

    /// Why nothing is done any more, where that is so: the process has to end.
    pub fn broke(&self) -> Option<&str> {
        self.broke.get().map(String::as_str)
    }

    /// Does what is asked for, durably. `contents`: the directory whose names have to be durable before.
    pub fn apply(&self, contents: &Path, change: Change) -> Result<Done, StoreError> {
        let waiting = Arc::new(Waiting { change, answer: Mutex::default() });
        lock(&self.queue).push_back(waiting.clone());
        let _leader = lock(&self.leader);
        loop {
            if let Some(answer) = lock(&waiting.answer).take() {
                return answer;
            }
            let batch: Vec<_> = {
                let mut queue = lock(&self.queue);
                let some = queue.len().min(REGISTRY_CHANGES_MAX);
                queue.drain(..some).collect()
            };
            self.commit(contents, &batch);
        }
    }

    fn commit(&self, contents: &Path, batch: &[Arc<Waiting>]) {
        let answers = self.try_commit(contents, batch);
        match answers {
            Ok(answers) => {
                for (waiting, answer) in batch.iter().zip(answers) {
                    *lock(&waiting.answer) = Some(answer);
                }
            }
            Err(error) => {
                let why = error.to_string();
                let full = matches!(error, StoreError::Full { .. });
                for waiting in batch {
                    let path = self.path.clone();
                    let error = if full {
                        StoreError::Full { path }
                    } else {
                        StoreError::Broke { path, why: why.clone() }
                    };
                    *lock(&waiting.answer) = Some(Err(error));
                }
            }
        }
    }

    fn try_commit(
        &self,
        contents: &Path,
        batch: &[Arc<Waiting>],
    ) -> Result<Vec<Result<Done, StoreError>>, StoreError> {
        if batch.iter().any(|waiting| waiting.change.has_content()) {
            self.disk.sync_dir(contents).map_err(|error| self.end(contents, error))?;
        }
        self.ensure_open()?;
        let change = |database: &Database| {
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            let answers = {
                let mut tables = Tables::open(&transaction)?;
                let applied = batch.iter().map(|waiting| tables.apply(&waiting.change));
                applied.collect::<Result<Vec<_>, redb::Error>>()?
            };
            transaction.commit()?;
            Ok(answers)
        };
        let answers = self.with(change).inspect_err(|_| self.shut())?;
        Ok(answers.into_iter().map(|answer| answer.map_err(StoreError::Refused)).collect())
    }

    /// After an error the database only says so again, when there is room too: it is closed, and opened by the next one
    /// who wants something. After a sync that failed, what would be read then need not be on the disk.
    fn shut(&self) {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let closed = database.take();
        // It puts itself in order, which is as well done when it is opened the next time.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(closed)));
        if self.unsynced.load(Ordering::SeqCst) {
            self.broke.get_or_init(|| format!("{} could not be synced", self.path.display()));
        }
    }

    fn end(&self, path: &Path, error: io::Error) -> StoreError {
        self.broke.get_or_init(|| format!("{} could not be synced: {error}", path.display()));
        StoreError::io(path, error)
    }

    fn ensure_open(&self) -> Result<(), StoreError> {
        if let Some(why) = self.broke.get() {
            return Err(StoreError::Broke { path: self.path.clone(), why: why.clone() });
        }
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            *database = Some(open(&*self.disk, &self.path, &self.unsynced)?);
        }
        Ok(())
    }

    /// Does something with the database. A panic in it is an error as any other.
    fn with<T>(&self, ask: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else {
            let why = "it is not open".to_owned();
            return Err(StoreError::Broke { path: self.path.clone(), why });
        };
        match catch_unwind(AssertUnwindSafe(|| ask(database))) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(&self.path, error)),
            Err(_) => {
                Err(StoreError::Broke { path: self.path.clone(), why: "its database panicked".to_owned() })
            }
        }
    }

    fn read<T>(&self, ask: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.ensure_open()?;
        self.with(|database| ask(&database.begin_read()?))
    }

    /// The bytes of a blob that the repository has.
    pub fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let key = key(digest);
        self.read(|read| {
            let blob = read.open_table(BLOBS)?.get((repository.as_str(), &*key))?;
            Ok(blob.map(|blob| blob.value().0))
        })
    }

    pub fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<Option<Kept>, StoreError> {
        self.read(|read| manifest(read, repository, &key(digest)))
    }

    pub fn tagged(&self, repository: &Repository, tag: &Tag) -> Result<Option<Kept>, StoreError> {
        self.read(|read| {
            let tagged = read.open_table(TAGS)?.get((repository.as_str(), tag.as_str()))?;
            match tagged {
                Some(key) => manifest(read, repository, key.value()),
                None => Ok(None),
            }
        })
    }

    /// Tags behind `last`, sorted, and whether there are more. None where there is no such repository.
    pub fn tags(
        &self,
        repository: &Repository,
        last: Option<&str>,
        entries: usize,
    ) -> Result<Option<(Vec<String>, bool)>, StoreError> {
        let name = repository.as_str();
        self.read(|read| {
            if read.open_table(REPOSITORIES)?.get(name)?.is_none() {
                return Ok(None);
            }
            let table = read.open_table(TAGS)?;
            let mut tags = Vec::new();
            for entry in table.range((name, last.unwrap_or_default())..)? {
                let entry = entry?.0;
                let (of, tag) = entry.value();
                if of != name {
                    break;
                }
                if last == Some(tag) {
                    continue;
                }
                if tags.len() == entries {
                    return Ok(Some((tags, true)));
                }
                tags.push(tag.to_owned());
            }
            Ok(Some((tags, false)))
        })
    }

    /// Names of repositories behind `last` that are `wanted`, sorted, and whether there are more.
    pub fn repositories(
        &self,
        last: Option<&str>,
        entries: usize,
        wanted: &dyn Fn(&Repository) -> bool,
    ) -> Result<(Vec<Repository>, bool), StoreError> {
        self.read(|read| {
            let table = read.open_table(REPOSITORIES)?;
            let mut names = Vec::new();
            for entry in table.range(last.unwrap_or_default()..)? {
                let entry = entry?.0;
                let name = entry.value();
                let repository = name.parse::<Repository>().ok().filter(|_| last != Some(name));
                let Some(repository) = repository.filter(|repository| wanted(repository)) else { continue };
                if names.len() == entries {
                    return Ok((names, true));
                }
                names.push(repository);
            }
            Ok((names, false))
        })
    }

    /// The descriptors, as JSON, of manifests whose subject this is, behind the manifest `last`, by their digests, until
    /// `each` says that it is enough.
    pub fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        last: Option<&Digest>,
        each: &mut dyn FnMut(Digest, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let (name, subject, last) = (repository.as_str(), key(subject), last.map(key).unwrap_or_default());
        self.read(|read| {
            let table = read.open_table(REFERRERS)?;
            for entry in table.range((name, &*subject, &*last)..)? {
                let (place, descriptor) = entry?;
                let (of, about, by) = place.value();
                if (of, about) != (name, &*subject) {
                    break;
                }
                if by != last && !each(digest(by)?, descriptor.value()) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The repositories that have some content, no more than `max`.
    pub fn holders(&self, digest: &Digest, max: usize) -> Result<Vec<Repository>, StoreError> {
        let key = key(digest);
        self.read(|read| {
            let mut holders = Vec::new();
            for entry in read.open_table(HOLDERS)?.range((&*key, "")..)? {
                let entry = entry?.0;
                let (of, holder) = entry.value();
                if of != key || holders.len() == max {
                    break;
                }
                holders.extend(holder.parse::<Repository>());
            }
            Ok(holders)
        })
    }

    /// Bytes of a repository, and of all.
    pub fn usage(&self, repository: &Repository) -> Result<(u64, u64), StoreError> {
        self.read(|read| {
            let has = read.open_table(REPOSITORIES)?.get(repository.as_str())?.map_or(0, |row| row.value().0);
            let total = read.open_table(META)?.get(BYTES)?.map_or(0, |bytes| bytes.value());
            Ok((has, total))
        })
    }

    /// Contents with their bytes, behind `last`, no more than `max`.
    pub fn contents(&self, last: Option<&Digest>, max: usize) -> Result<Vec<(Digest, u64)>, StoreError> {
        let last = last.map(key).unwrap_or_default();
        self.read(|read| {
            let mut all: Vec<(Digest, u64)> = Vec::new();
            for entry in read.open_table(HOLDERS)?.range((&*last, "")..)? {
                let (place, bytes) = entry?;
                let of = digest(place.value().0)?;
                if place.value().0 == last || all.last().is_some_and(|(last, _)| *last == of) {
                    continue;
                }
                if all.len() == max {
                    break;
                }
                all.push((of, bytes.value()));
            }
            Ok(all)
        })
    }

    /// What names something in this repository that it has not: manifests by what they lack, and tags.
    pub fn dangling(&self, repository: &Repository) -> Result<Vec<String>, StoreError> {
        let name = repository.as_str();
        self.read(|read| {
            let (manifests, blobs) = (read.open_table(MANIFESTS)?, read.open_table(BLOBS)?);
            let names = read.open_table(NAMES)?;
            let mut found = Vec::new();
            for entry in manifests.range((name, &[][..])..)? {
                let place = entry?.0;
                if place.value().0 != name {
                    break;
                }
                let named = names.get(place.value())?.map(|named| digests(named.value())).transpose()?;
                let by = digest(place.value().1)?;
                for named in named.unwrap_or_default().into_iter().collect::<HashSet<_>>() {
                    let place = (name, &*key(&named));
                    if blobs.get(place)?.is_none() && manifests.get(place)?.is_none() {
                        found.push(format!("{name}: the manifest {by} names {named}, which is not there"));
                    }
                }
            }
            for entry in read.open_table(TAGS)?.range((name, "")..)? {
                let (place, tagged) = entry?;
                let (of, tag) = place.value();
                if of != name {
                    break;
                }
                if manifests.get((name, tagged.value()))?.is_none() {
                    found.push(format!(
                        "{name}: the tag `{tag}` is of {}, which is not there",
                        digest(tagged.value())?
                    ));
                }
            }
            found.sort();
            Ok(found)
        })
    }
}

fn manifest(
    read: &ReadTransaction,
    repository: &Repository,
    key: &[u8],
) -> Result<Option<Kept>, redb::Error> {
    let found = read.open_table(MANIFESTS)?.get((repository.as_str(), key))?;
    let Some(found) = found else { return Ok(None) };
    let (media_type, bytes, _) = found.value();
    Ok(Some(Kept { digest: digest(key)?, media_type: media_type.to_owned(), bytes }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a file with no database in it. It has another name until it is whole.
fn make(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let making = path.with_extension("making");
    drop(Pages::create(disk.open(&making, Mode::Create)?)?);
    disk.open(&making, Mode::Change)?.sync()?;
    disk.rename(&making, path)?;
    disk.sync_dir(dir_of(path))
}

fn open(disk: &dyn Disk, path: &Path, unsynced: &Arc<AtomicBool>) -> Result<Database, StoreError> {
    let file = disk.open(path, Mode::Change).map_err(|error| StoreError::io(path, error))?;
    let file = Watched { file, unsynced: unsynced.clone() };
    let pages = Pages::open(Box::new(file)).map_err(|error| unopened(path, error))?;
    let damage = pages.damage();
    let opened = catch_unwind(AssertUnwindSafe(|| -> Result<(Database, u64), redb::Error> {
        let database = Database::builder().set_cache_size(REGISTRY_CACHE_BYTES).create_with_backend(pages)?;
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        let format = Tables::open(&transaction)?.format(FORMAT)?;
        transaction.commit()?;
        Ok((database, format))
    }));
    match opened {
        Ok(Ok((database, FORMAT))) => Ok(database),
        Ok(Ok((_, format))) => Err(StoreError::Foreign {
            path: path.to_owned(),
            why: format!("its layout is number {format}, known is {FORMAT}"),
        }),
        Ok(Err(error)) => match damage.found() {
            Some(why) => Err(StoreError::Damaged { path: path.to_owned(), why: why.to_owned() }),
            None => Err(failed(path, error)),
        },
        Err(_) => Err(StoreError::Damaged { path: path.to_owned(), why: "its database panicked".to_owned() }),
    }
}

fn unopened(path: &Path, error: OpenError) -> StoreError {
    let path = path.to_owned();
    match error {
        OpenError::Head(HeadError::Damaged) => {
            StoreError::Damaged { path, why: HeadError::Damaged.to_string() }
        }
        OpenError::Head(error) => StoreError::Foreign { path, why: error.to_string() },
        OpenError::Io(error) => failed(&path, redb::Error::Io(error)),
    }
}

fn failed(path: &Path, error: redb::Error) -> StoreError {
    let path = path.to_owned();
    match error {
        redb::Error::Io(error) if is_full(error.kind()) => StoreError::Full { path },
        redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
            StoreError::Damaged { path, why: error.to_string() }
        }
        redb::Error::Corrupted(why) => StoreError::Damaged { path, why },
        redb::Error::Io(error) => StoreError::Io { path, error },
        error => StoreError::Broke { path, why: error.to_string() },
    }
}

/// A file that notes that a sync of it has failed.
struct Watched {
    file: Box<dyn DiskFile>,
    unsynced: Arc<AtomicBool>,
}

impl DiskFile for Watched {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(into, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_at(bytes, at)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_bytes(bytes)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.file.preallocate(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync().inspect_err(|_| self.unsynced.store(true, Ordering::SeqCst))
    }
}
