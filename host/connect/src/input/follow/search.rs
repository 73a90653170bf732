//! Where a file is that has lost its name: it was renamed, or it was copied and then cut off.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use disk::dir_of;
use model::limits::ROTATED_FILES_MAX;

use super::Reach;
use crate::RootsError;
use crate::digest::{Digest, Trail};
use crate::input::compression::unpack_if_packed;
use crate::input::open_at_once;
use crate::place::{At, Generation, Id, Mark, Place};

/// A file that is what was read before, or begins with it.
pub(super) struct Again {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) mark: Mark,
    pub(super) digest: Digest,
}

/// What is left of a file in its packed form.
pub(super) struct Packed {
    pub(super) header: Vec<u8>,
    pub(super) rest: Box<dyn Read + Send>,
}

/// A regular file in one of the directories.
struct Entry {
    path: PathBuf,
    metadata: Metadata,
}

/// The directories to look in: that of the name, that of what it leads to as a link, and `before`, where that lay before.
pub(super) fn directories(path: &Path, before: Option<&Path>) -> std::io::Result<Vec<PathBuf>> {
    let mut all = vec![dir_of(path).to_owned()];
    all.extend(beside(path)?);
    all.extend(before.map(Path::to_owned));
    all.dedup();
    Ok(all)
}

/// The directory of the file itself, where the path is a link.
pub(super) fn beside(path: &Path) -> std::io::Result<Option<PathBuf>> {
    match path.read_link() {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    match path.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => Ok(found?.parent().map(Path::to_owned)),
    }
}

/// What the file itself is called, where the path is a link.
pub(super) fn target(path: &Path) -> std::io::Result<Option<String>> {
    match beside(path)? {
        None => Ok(None),
        // What the link led to may be gone by now.
        Some(_) => Ok(path.canonicalize().ok().and_then(|real| name_of(&real))),
    }
}

fn name_of(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// What a file was called of which a copy is looked for: as it is named, and as that is called which a link leads to.
fn names(path: &Path, generation: Option<&Generation>) -> Vec<String> {
    let named = generation.and_then(|generation| name_of(Path::new(&generation.name)));
    let before = generation.and_then(|generation| generation.target.clone());
    let now = path.canonicalize().ok().and_then(|real| name_of(&real));
    [name_of(path), named, before, now].into_iter().flatten().collect()
}

/// Whether a file of this name may be what was made of `original` when that was rotated: `app.log.1`,
/// `app.log-20260101.gz`, `app-20260101.log`. Any other file that begins with the same bytes is somebody's own, such as
/// what another run has written; following that would read it for ever.
fn is_rotated_name(original: &str, name: &str) -> bool {
    if name.starts_with('.') && !original.starts_with('.') {
        return false;
    }
    let no_letter = |rest: &&str| !rest.starts_with(char::is_alphabetic);
    if name.strip_prefix(original).filter(no_letter).is_some() {
        return true;
    }
    let Some((stem, end)) = original.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()) else {
        return false;
    };
    let Some(rest) = name.strip_prefix(stem).filter(no_letter) else { return false };
    let end = format!(".{end}");
    let middle = rest.split_once(&end).filter(|(_, behind)| behind.is_empty() || behind.starts_with('.'));
    middle.is_some_and(|(middle, _)| middle.contains(|letter: char| letter.is_ascii_digit()))
}

fn is_rotated(entry: &Entry, names: &[String]) -> bool {
    name_of(&entry.path).is_some_and(|name| names.iter().any(|original| is_rotated_name(original, &name)))
}

/// The file that was read up to this place: under its name, or renamed, or a copy that was made of it before it was cut
/// off.
pub(super) fn again(path: &Path, place: &Place, reach: &Reach) -> std::io::Result<Option<Again>> {
    if let Some(file) = open(path)?
        && let Some(found) = same(path, file, place)?
    {
        return Ok(Some(found));
    }
    let beside = place.followed.as_ref().and_then(|followed| followed.beside.as_deref());
    let names = names(path, place.followed.as_ref());
    let may_be =
        |entry: &Entry| Id::of(&entry.metadata).may_be(&place.file.id()) || is_rotated(entry, &names);
    let entries = entries(&directories(path, beside)?, reach, may_be)?;
    for entry in &entries {
        if Id::of(&entry.metadata).may_be(&place.file.id())
            && let Some(file) = open(&entry.path)?
            && let Some(found) = same(&entry.path, file, place)?
        {
            return Ok(Some(found));
        }
    }
    let Some(trail) = &place.trail else { return Ok(None) };
    copy_in(&entries, &names, &place.file, trail, place.position)
}

/// The file of this identity, wherever it lies in these directories.
pub(super) fn by_id(
    directories: &[PathBuf],
    id: Id,
    reach: &Reach,
) -> std::io::Result<Option<(PathBuf, File)>> {
    for entry in entries(directories, reach, |entry| Id::of(&entry.metadata) == id)? {
        if let Some(file) = open(&entry.path)? {
            return Ok(Some((entry.path, file)));
        }
    }
    Ok(None)
}

/// A copy of all that was read.
pub(super) fn copy(
    directories: &[PathBuf],
    path: &Path,
    generation: &Generation,
    mark: &Mark,
    trail: &Trail,
    reach: &Reach,
) -> std::io::Result<Option<Again>> {
    let names = names(path, Some(generation));
    copy_in(
        &entries(directories, reach, |entry| is_rotated(entry, &names))?,
        &names,
        mark,
        trail,
        trail.bytes,
    )
}

/// What was read, packed by whoever rotates it: the rest of it behind `place`, with the header before it.
pub(super) fn packed(
    directories: &[PathBuf],
    path: &Path,
    place: &Place,
    reach: &Reach,
) -> std::io::Result<Option<Packed>> {
    let Some(trail) = place.trail.as_ref().filter(|_| place.file.is_full()) else { return Ok(None) };
    let names = names(path, place.followed.as_ref());
    for entry in entries(directories, reach, |entry| is_rotated(entry, &names))? {
        let Some(mut reader) = unpacked(&entry.path)? else { continue };
        let is_it = place.file.is_head_in(&mut reader).and_then(|is_head| {
            let Some(again) = unpacked(&entry.path)?.filter(|_| is_head) else { return Ok(false) };
            trail.is_begin_in(again)
        });
        match is_it {
            Ok(true) => {}
            // It is damaged, or still being written: then what is packed is there as well.
            Ok(false) => continue,
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => {
                continue;
            }
            Err(error) => return Err(error),
        }
        let Some(mut reader) = unpacked(&entry.path)? else { continue };
        let mut header = vec![0; place.header.min(place.position) as usize];
        reader.read_exact(&mut header)?;
        std::io::copy(&mut (&mut reader).take(place.position - header.len() as u64), &mut std::io::sink())?;
        return Ok(Some(Packed { header, rest: reader }));
    }
    Ok(None)
}

fn unpacked(path: &Path) -> std::io::Result<Option<Box<dyn Read + Send>>> {
    open(path)?.map_or(Ok(None), |file| unpack_if_packed(file, &path.to_string_lossy()))
}

fn same(path: &Path, file: File, place: &Place) -> std::io::Result<Option<Again>> {
    if place.file.check(&file, place.position)?.is_err() {
        return Ok(None);
    }
    let digest = match &place.trail {
        Some(trail) => trail.go_on_in(&file, place.position)?,
        None => Digest::of_begin(At { file: &file, at: 0 }, place.position)?,
    };
    let found = |digest| Again { path: path.to_owned(), file, mark: place.file, digest };
    Ok(digest.map(found))
}

/// Of a file that is no longer than its fingerprint, nobody can say whether another is a copy of it or begins alike.
fn copy_in(
    entries: &[Entry],
    names: &[String],
    mark: &Mark,
    trail: &Trail,
    position: u64,
) -> std::io::Result<Option<Again>> {
    if !mark.is_full() {
        return Ok(None);
    }
    let may_be = |entry: &&Entry| entry.metadata.len() >= trail.bytes && is_rotated(entry, names);
    for entry in entries.iter().filter(may_be) {
        let Some(file) = open(&entry.path)? else { continue };
        if !mark.is_head_of(&file)? || !trail.is_begin_of(&file)? {
            continue;
        }
        let (digest, copied) = (trail.go_on_in(&file, position)?, Mark::of(&file)?);
        if let (Some(digest), Some(mark)) = (digest, copied) {
            return Ok(Some(Again { path: entry.path.clone(), file, mark, digest }));
        }
    }
    Ok(None)
}

/// Those that `may_be` what is looked for, and that no sink of this run writes. What a link leads to lies elsewhere, and
/// maybe where nothing is to be read.
fn entries(
    directories: &[PathBuf],
    reach: &Reach,
    may_be: impl Fn(&Entry) -> bool,
) -> std::io::Result<Vec<Entry>> {
    let (mut all, mut seen) = (Vec::new(), 0);
    for directory in directories {
        match reach.roots.check(directory) {
            Ok(_) => {}
            Err(RootsError::Io(error)) if error.kind() != ErrorKind::NotFound => return Err(error),
            Err(_) => continue,
        }
        let entries = match std::fs::read_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            if seen == ROTATED_FILES_MAX {
                let directory = directory.display();
                tracing::warn!(%directory, most = ROTATED_FILES_MAX, "not all of its files are looked through");
                return Ok(all);
            }
            let entry = entry?;
            let metadata = match entry.metadata() {
                // One that was removed meanwhile is not the one.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if !metadata.is_file() {
                continue;
            }
            seen += 1;
            let found = Entry { path: entry.path(), metadata };
            if may_be(&found) && !reach.is_written(&found.path, &found.metadata)? {
                all.push(found);
            }
        }
    }
    Ok(all)
}

/// None where nothing has that name any more.
pub(super) fn open(path: &Path) -> std::io::Result<Option<File>> {
    match open_at_once(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_told_by_their_names() {
        for (original, name, expected) in [
            ("app.log", "app.log.1", true),
            ("app.log", "app.log-20260101", true),
            ("app.log", "app.log.1.gz", true),
            ("app.log", "app.log.old", true),
            ("app.log", "app-20260101.log", true),
            ("app.log", "app.1.log.gz", true),
            ("app.log", "app-2026-01-01T10-00-00.000.log", true),
            ("0.log", "0.log.20260101-120000", true),
            ("messages", "messages-20260101", true),
            (".app.log", ".app.log.1", true),
            ("app.log", "got.txt", false),
            ("app.log", ".app.log.1.part", false),
            ("app.log", "app-clean.log", false),
            ("app.log", "app.txt", false),
            ("app.log", "apple-1.log", false),
            ("app.log", "app-1.logger", false),
            ("messages", "other", false),
        ] {
            assert_eq!(is_rotated_name(original, name), expected, "{original} and {name}");
        }
    }
}
