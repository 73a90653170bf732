//! A database with what may be wrong with it: each call says so by name, and none of them ends more than itself.
//!
//! What the database reads is what it wrote (`pages`), so that it has no reason to panic. Should it do so all the same,
//! it is not asked again, and whoever asked gets an error as with any other failure.

use std::any::Any;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use disk::frame::HeadError;
use disk::is_full;
use disk::pages::{Damage, OpenError};
use model::limits::CHECKPOINT_CACHE_BYTES;
use redb::{Builder, Database, DatabaseError, Error};

use super::CheckpointError;

pub(super) struct Kept {
    path: PathBuf,
    /// There until it is dropped.
    database: Option<Database>,
    damage: Damage,
    /// What it panicked with.
    broke: OnceLock<String>,
}

impl Kept {
    /// `damage`: what is found in the pages beneath it.
    pub fn open(
        path: &Path,
        damage: Damage,
        open: impl FnOnce(&mut Builder) -> Result<Database, DatabaseError>,
    ) -> Result<Self, CheckpointError> {
        let mut kept = Self { path: path.to_owned(), database: None, damage, broke: OnceLock::new() };
        let database = kept.guarded(|_| {
            let mut options = Database::builder();
            options.set_cache_size(CHECKPOINT_CACHE_BYTES);
            Ok(open(&mut options)?)
        })?;
        kept.database = Some(database);
        Ok(kept)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does something with the database.
    pub fn with<T>(&self, ask: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, CheckpointError> {
        self.guarded(|database| match database {
            Some(database) => ask(database),
            None => Err(Error::DatabaseClosed),
        })
    }

    fn guarded<T>(
        &self,
        ask: impl FnOnce(Option<&Database>) -> Result<T, Error>,
    ) -> Result<T, CheckpointError> {
        if let Some(why) = self.broke.get() {
            return Err(self.broken(why));
        }
        // Nothing of what it was at is looked at again: neither the database, nor what it was to give.
        match catch_unwind(AssertUnwindSafe(|| ask(self.database.as_ref()))) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(&self.path, &self.damage, error)),
            Err(panic) => Err(self.broken(self.broke.get_or_init(|| text_of(&*panic)))),
        }
    }

    fn broken(&self, why: &str) -> CheckpointError {
        match self.damage.found() {
            Some(why) => damaged(&self.path, why),
            None => CheckpointError::Broke { path: self.path.clone(), why: why.to_owned() },
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let database = self.database.take();
        // It puts itself in order, which is as well done when it is opened the next time.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

fn damaged(path: &Path, why: impl ToString) -> CheckpointError {
    CheckpointError::Damaged { path: path.to_owned(), why: why.to_string() }
}

pub(super) fn io(path: &Path, error: std::io::Error) -> CheckpointError {
    failed(path, &Damage::default(), Error::Io(error))
}

pub(super) fn failed(path: &Path, damage: &Damage, error: Error) -> CheckpointError {
    if let Some(why) = damage.found() {
        return damaged(path, why);
    }
    match error {
        Error::Io(error) if is_full(error.kind()) => CheckpointError::Full { path: path.to_owned() },
        Error::Io(error) if error.kind() == ErrorKind::InvalidData => damaged(path, error),
        Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            damaged(path, "it ends before what is in use")
        }
        Error::Corrupted(why) => damaged(path, why),
        Error::DatabaseAlreadyOpen => CheckpointError::Locked { path: path.to_owned() },
        Error::UpgradeRequired(version) => {
            let why = format!("its file format is number {version}");
            CheckpointError::Foreign { path: path.to_owned(), why }
        }
        error => CheckpointError::Io { path: path.to_owned(), why: error.to_string() },
    }
}

pub(super) fn unopened(path: &Path, error: OpenError) -> CheckpointError {
    match error {
        OpenError::Head(HeadError::Damaged) => damaged(path, HeadError::Damaged),
        OpenError::Head(error) => CheckpointError::Foreign { path: path.to_owned(), why: error.to_string() },
        OpenError::Io(error) => io(path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    #[test]
    fn a_panic_is_an_error_of_that_call_and_of_all_behind_it() {
        let path = Path::new("there");
        let open = |options: &mut Builder| options.create_with_backend(InMemoryBackend::new());
        let kept = Kept::open(path, Damage::default(), open).expect("opened");
        assert_eq!(kept.with(|_| Ok(7)).expect("an answer"), 7);
        let panics = |database: &Database| {
            let _change = database.begin_write()?;
            panic!("no such page")
        };
        let error = kept.with::<()>(panics).expect_err("it panics").to_string();
        assert!(
            error.contains("there") && error.contains("no such page") && error.contains("--reset"),
            "{error}"
        );
        assert_eq!(kept.with(|_| Ok(7)).expect_err("it is not asked again").to_string(), error);
    }

    #[test]
    fn damage_is_told_whatever_the_database_makes_of_it() {
        let path = Path::new("there");
        let damage = Damage::default();
        let open = |options: &mut Builder| options.create_with_backend(InMemoryBackend::new());
        let kept = Kept::open(path, damage.clone(), open).expect("opened");
        damage.tell("page 7 is not what it was".to_owned());
        for error in [kept.with::<()>(|_| Err(Error::PreviousIo)), kept.with(|_| panic!("no such page"))] {
            let error = error.expect_err("it fails");
            assert!(
                matches!(&error, CheckpointError::Damaged { why, .. } if why.contains("page 7")),
                "{error}"
            );
        }
    }

    #[test]
    fn opening_panics_for_one_call_alone() {
        let error = Kept::open(Path::new("there"), Damage::default(), |_| panic!("no root")).map(|_| ());
        assert!(matches!(error, Err(CheckpointError::Broke { .. })), "{error:?}");
    }
}
