//! A plain database, as older versions wrote it, becomes one of checked pages.
//!
//! It is opened above an overlay, so that it stays as it is, puts itself in order where a crash left it, and is looked at
//! as a whole by the checksums that it has itself: what was damaged before does not get a checksum that says it is right.

use std::io;
use std::path::Path;

use disk::DiskFile;
use disk::pages::{Damage, HEADER_BYTES, Overlay, PAGE_BYTES, Pages, Plain};
use redb::{Builder, Database, DatabaseError, StorageBackend as _, StorageError};

use super::CheckpointError;
use super::kept::{self, Kept};

/// Copied at a time.
const PIECE_PAGES: usize = 256;

/// What an older version wrote, without changing it.
pub(super) fn above(plain: Box<dyn DiskFile>) -> io::Result<Overlay> {
    Overlay::over(Plain(plain))
}

/// Opens it, and looks at all of it.
pub(super) fn checked(options: &mut Builder, above: Overlay) -> Result<Database, DatabaseError> {
    let mut database = options.create_with_backend(above)?;
    if database.check_integrity()? {
        return Ok(database);
    }
    Err(StorageError::Corrupted("some of its pages are not what was written there".to_owned()).into())
}

/// Puts into `file`, which is empty, what a plain database at `path` has. It is durable when this has come back.
pub(super) fn take_over(
    path: &Path,
    plain: Box<dyn DiskFile>,
    file: Box<dyn DiskFile>,
) -> Result<(), CheckpointError> {
    let above = above(plain).map_err(|error| kept::io(path, error))?;
    // Closed, it has put itself in order.
    drop(Kept::open(path, Damage::default(), |options| checked(options, above.clone()))?);
    let copied = Pages::create(file).and_then(|pages| copy(&above, &pages));
    copied.map_err(|error| kept::io(path, error))
}

fn copy(from: &Overlay, to: &Pages) -> io::Result<()> {
    let bytes = from.len()?;
    to.set_len(bytes)?;
    let mut header = [0; HEADER_BYTES];
    from.read(0, &mut header)?;
    to.write(0, &header)?;
    let mut piece = vec![0; PIECE_PAGES * PAGE_BYTES];
    let mut at = PAGE_BYTES as u64;
    while at < bytes {
        let some = piece.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
        from.read(at, &mut piece[..some])?;
        to.write(at, &piece[..some])?;
        at += some as u64;
    }
    to.sync_data()
}
