//! What may be wrong with the database, by name, each with what to do.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use disk::frame::HeadError;
use disk::is_full;
use disk::pages::{Damage, OpenError};

use crate::state::NodeId;

/// Why the control state cannot be kept.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    #[error("the control state cannot be kept in {}: {why}; look at the disk, and start the node again", path.display())]
    Io { path: PathBuf, why: String },
    #[error("the control state cannot be kept in {}: its disk is full; free some space, nothing else is needed", path.display())]
    Full { path: PathBuf },
    #[error("{} is used by another process; stop that node first, or name another directory", path.display())]
    Locked { path: PathBuf },
    #[error("{} is not of this version: {why}; use the version that wrote it, or a later one", path.display())]
    Foreign { path: PathBuf, why: String },
    #[error("{} belongs to node {found}, and this is node {wanted}; name that node's own directory", path.display())]
    OtherNode { path: PathBuf, found: NodeId, wanted: NodeId },
    #[error("there is no control state in {}; start a node there first", path.display())]
    Empty { path: PathBuf },
    #[error(
        "{} is damaged: {why}; nothing of it is used. Put back a copy, or begin with an empty \
         directory", path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error("the database in {} broke: {why}; what was acknowledged stands. Start the node again", path.display())]
    Broke { path: PathBuf, why: String },
    #[error("the control state in {} is closed: the node is stopping", path.display())]
    Closed { path: PathBuf },
}

pub(super) fn failed(path: &Path, damage: &Damage, error: redb::Error) -> StoreError {
    let path = path.to_owned();
    if let Some(why) = damage.found() {
        return StoreError::Damaged { path, why: why.to_owned() };
    }
    match error {
        redb::Error::Io(error) if is_full(error.kind()) => StoreError::Full { path },
        // Of another call, which has said what it was: if that was final, whoever opens it again is told so.
        redb::Error::PreviousIo => StoreError::Full { path },
        redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
            StoreError::Damaged { path, why: error.to_string() }
        }
        redb::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            StoreError::Damaged { path, why: "it ends before what is in use".to_owned() }
        }
        redb::Error::Corrupted(why) => StoreError::Damaged { path, why },
        redb::Error::UpgradeRequired(version) => {
            StoreError::Foreign { path, why: format!("its file format is number {version}") }
        }
        redb::Error::Io(error) => StoreError::Io { path, why: error.to_string() },
        error => StoreError::Broke { path, why: error.to_string() },
    }
}

pub(super) fn unopened(path: &Path, error: OpenError) -> StoreError {
    match error {
        OpenError::Head(error @ HeadError::Damaged) => {
            StoreError::Damaged { path: path.to_owned(), why: error.to_string() }
        }
        OpenError::Head(error) => StoreError::Foreign { path: path.to_owned(), why: error.to_string() },
        OpenError::Io(error) => failed(path, &Damage::default(), redb::Error::Io(error)),
    }
}
