//! The steps by which a file becomes durable and gets its name, each of them one thing that a crash may come before
//! or after. They go through [`flow::disk::Disk`], so that a simulated disk can be beneath them.

use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};

pub(super) use flow::disk::dir_of as directory_of;
use flow::disk::{Disk, DiskFile, Mode};
use flow::fault::{self, Point};
use model::limits::READ_BYTES;

/// A file that is gone already is as good.
pub(super) fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens a file to write behind its first `bytes`, and cuts off what follows them. That is durable, also where a
/// process that was killed has cut it: when nothing more is written, nobody else syncs it, and what was cut off would
/// be there again after a power cut.
pub(super) fn open_cut(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<Box<dyn DiskFile>> {
    let file = disk.open(path, Mode::Change)?;
    if file.bytes()? > bytes {
        file.set_bytes(bytes)?;
        fault::pass(Point::FileCut);
    }
    file.sync()?;
    Ok(file)
}

/// The CRC32C of the first `bytes` of a file; none where it has fewer.
pub(super) fn checksum(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<Option<u32>> {
    let file = disk.open(path, Mode::Read)?;
    let (mut at, mut crc, mut piece) = (0, 0, vec![0; READ_BYTES]);
    while at < bytes {
        let some = piece.len().min(usize::try_from(bytes - at).unwrap_or(READ_BYTES));
        let read = file.read_at(&mut piece[..some], at)?;
        if read == 0 {
            return Ok(None);
        }
        crc = crc32c::crc32c_append(crc, &piece[..read]);
        at += read as u64;
    }
    Ok(Some(crc))
}

/// The length of a file; none if there is no such file.
pub(super) fn length(disk: &dyn Disk, path: &Path) -> Result<Option<u64>> {
    Ok(disk.stat(path)?.map(|there| there.bytes))
}

/// What cannot be written is found out before anything runs.
pub(super) fn check_writable(disk: &dyn Disk, path: &Path) -> Result<()> {
    disk.open(path, Mode::Create)?;
    remove(disk, path)
}

/// Removes the files of a directory that `is_leftover` picks by their names, and says how many there were.
pub(super) fn remove_leftovers(
    disk: &dyn Disk,
    directory: &Path,
    is_leftover: impl Fn(&str) -> bool,
) -> Result<usize> {
    let names = disk.list(directory)?;
    let leftovers = names.iter().filter(|name| name.to_str().is_some_and(&is_leftover));
    let mut count = 0;
    for name in leftovers {
        remove(disk, &directory.join(name))?;
        count += 1;
    }
    if count > 0 {
        fault::pass(Point::LeftoversRemoved);
    }
    Ok(count)
}

/// The file itself, where the path is a link to it: renaming would replace the link.
pub(super) fn resolved(path: PathBuf) -> PathBuf {
    let is_link = path.symlink_metadata().is_ok_and(|there| there.is_symlink());
    if is_link { path.canonicalize().unwrap_or(path) } else { path }
}
