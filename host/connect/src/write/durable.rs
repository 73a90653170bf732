//! The steps by which a file becomes durable and gets its name, each of them one thing that a crash may come before
//! or after.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Result, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// What is in the file outlasts a power cut.
pub(super) fn sync_file(file: &File) -> Result<()> {
    file.sync_all()
}

/// Which files are in the directory, and under which names, outlasts a power cut.
pub(super) fn sync_directory(directory: &Path) -> Result<()> {
    File::open(or_here(directory))?.sync_all()
}

/// The directory of a file.
pub(super) fn directory_of(path: &Path) -> &Path {
    or_here(path.parent().unwrap_or(Path::new("")))
}

fn or_here(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
}

/// Makes the directories that are missing, durably.
pub(super) fn make_directories(directory: &Path) -> Result<()> {
    let directory = or_here(directory);
    let missing: Vec<&Path> = directory.ancestors().take_while(|path| !or_here(path).exists()).collect();
    std::fs::create_dir_all(directory)?;
    missing.into_iter().rev().try_for_each(|made| sync_directory(directory_of(made)))
}

/// Gives a file another name, in the same directory. What had the name before is replaced.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to)
}

/// A file that is gone already is as good.
pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens a file to write behind its first `bytes`, and cuts off what follows them.
pub(super) fn open_cut(path: &Path, bytes: u64) -> Result<File> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() > bytes {
        file.set_len(bytes)?;
    }
    file.seek(SeekFrom::Start(bytes))?;
    Ok(file)
}

/// Puts the first `bytes` of `part` into `target` at `at`. Doing it twice is the same as once.
pub(super) fn put_at(part: &mut File, bytes: u64, target: &mut File, at: u64) -> Result<()> {
    target.seek(SeekFrom::Start(at))?;
    part.rewind()?;
    let copied = std::io::copy(&mut part.take(bytes), target)?;
    if copied < bytes { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// The length of a file; none if there is no such file.
pub(super) fn length(path: &Path) -> Result<Option<u64>> {
    match path.metadata() {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether what has that name can be committed to: a regular file, or nothing yet.
pub(super) fn is_regular_or_none(path: &Path) -> Result<bool> {
    match path.metadata() {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Removes the files of a directory that `is_leftover` picks by their names, and says how many there were.
pub(super) fn remove_leftovers(directory: &Path, is_leftover: impl Fn(&str) -> bool) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(or_here(directory))? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&is_leftover) {
            remove(&entry.path())?;
            count += 1;
        }
    }
    Ok(count)
}

/// The file itself, where the path is a link to it: renaming would replace the link.
pub(super) fn resolved(path: PathBuf) -> PathBuf {
    let is_link = path.symlink_metadata().is_ok_and(|there| there.is_symlink());
    if is_link { path.canonicalize().unwrap_or(path) } else { path }
}
