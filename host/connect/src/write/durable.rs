//! The steps by which a file becomes durable and gets its name, each of them one thing that a crash may come before
//! or after. They go through [`disk::Disk`], so that a simulated disk can be beneath them.

use std::io::{ErrorKind, Read, Result};
use std::path::{Path, PathBuf};

pub(super) use disk::dir_of as directory_of;
use disk::fault::{self, Point};
use disk::{Disk, DiskFile, Mode, read_exact_at};
use model::limits::{LINKS_MAX, READ_BYTES};

use super::packed::Packing;
use crate::input::{Members, read_some};

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
        fault::hit(Point::FileCut);
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
        fault::hit(Point::LeftoversRemoved);
    }
    Ok(count)
}

/// Whether the last line of a file has no line break, so that what is put behind it would become a part of it.
pub(super) fn has_open_line(disk: &dyn Disk, path: &Path, packing: &Packing) -> Result<bool> {
    let file = disk.open(path, Mode::Read)?;
    let bytes = file.bytes()?;
    let mut last = b'\n';
    match packing {
        _ if bytes == 0 => {}
        Packing::None => {
            let mut byte = [0];
            read_exact_at(&*file, &mut byte, bytes - 1)?;
            [last] = byte;
        }
        Packing::Gzip => {
            let mut unpacked = Members::new(Whole { file, at: 0 }, &path.to_string_lossy());
            last = last_byte(&mut unpacked)?.unwrap_or(last);
            if unpacked.has_others() {
                let why =
                    "behind its last gzip member stand bytes that are none: nothing is found behind them";
                return Err(std::io::Error::new(ErrorKind::InvalidData, why));
            }
        }
        Packing::Zstd => {
            let mut unpacked = zstd::stream::read::Decoder::new(Whole { file, at: 0 })?;
            last = last_byte(&mut unpacked)?.unwrap_or(last);
        }
        Packing::Parquet(_) => {}
    }
    Ok(last != b'\n')
}

/// The last byte of what is packed is known when all of it was unpacked.
fn last_byte(reader: &mut dyn Read) -> Result<Option<u8>> {
    let (mut last, mut piece) = (None, vec![0; 64 << 10]);
    loop {
        match read_some(reader, &mut piece)? {
            0 => return Ok(last),
            count => last = piece[..count].last().copied(),
        }
    }
}

/// A file from its beginning to its end.
struct Whole {
    file: Box<dyn DiskFile>,
    at: u64,
}

impl Read for Whole {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let count = self.file.read_at(into, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// The file itself, where the path is a link to it, also to one that is not there yet: renaming would replace the link.
pub(crate) fn resolved(path: PathBuf) -> Result<PathBuf> {
    let mut path = path;
    for _ in 0..LINKS_MAX {
        match path.read_link() {
            Ok(target) => path = directory_of(&path).join(target),
            // It is no link, or nothing is there yet.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    // Links that lead to one another.
    path.canonicalize()
}
