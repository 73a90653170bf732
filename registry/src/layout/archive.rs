//! Layouts in a tar: where each file of it lies, so that it is read without being unpacked; and one written from files.
//!
//! What a tar says is not believed: nothing of it becomes a path of this machine, and whatever two readers could understand
//! differently is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use model::limits::{LAYOUT_FILES_MAX, LAYOUT_NAME_BYTES_MAX};
use model::plain;
use tar::{Archive, Builder, EntryType, Header};

/// A file within a tar: where its bytes begin, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub at: u64,
    pub bytes: u64,
}

/// What is said of a file that follows, in entries of their own.
#[derive(Default)]
struct Ahead {
    long_name: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
}

/// Finds the files of a tar, by their names without a leading `./`. An error is words for people.
pub(super) fn files(file: &File) -> Result<BTreeMap<String, Place>, String> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    refuse_packed(file)?;
    let mut archive = Archive::new(file);
    let entries = archive.entries_with_seek().map_err(|error| error.to_string())?;
    let (mut files, mut ahead, mut seen) = (BTreeMap::new(), Ahead::default(), 0);
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(|error| format!("it is no tar, or cut off: {error}"))?;
        seen += 1;
        if seen > LAYOUT_FILES_MAX {
            return Err(format!("it has more than {LAYOUT_FILES_MAX} entries"));
        }
        let place = Place { at: entry.raw_file_position(), bytes: entry.size() };
        if place.at.checked_add(place.bytes).is_none_or(|end| end > length) {
            return Err(format!("it is cut off: it has {length} bytes, and a file ends behind that"));
        }
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let name = said(&mut entry, place.bytes)?;
                let name = name.strip_suffix(b"\0").unwrap_or(&name).to_vec();
                if ahead.long_name.replace(name).is_some() {
                    return Err("a file has two names".to_owned());
                }
            }
            EntryType::XHeader => {
                let said = said(&mut entry, place.bytes)?;
                extensions(&said, &mut ahead)?;
            }
            // Of all files: a comment, or times.
            EntryType::XGlobalHeader => {}
            kind => {
                let ahead = std::mem::take(&mut ahead);
                let name = name(&entry.header().clone(), ahead)?;
                file_of(kind, name, place, &mut files)?;
            }
        }
    }
    Ok(files)
}

/// Adds what is a file, and refuses what is neither that nor a directory.
fn file_of(kind: EntryType, name: Vec<u8>, place: Place, files: &mut BTreeMap<String, Place>) -> Result<(), String> {
    let shown = plain::line(&String::from_utf8_lossy(&name)).into_owned();
    let what = match kind {
        EntryType::Directory => return local(&name).map(|_| ()),
        EntryType::Regular | EntryType::Continuous => None,
        EntryType::Symlink | EntryType::Link => Some("a link"),
        EntryType::GNULongLink => Some("the name of a link"),
        EntryType::GNUSparse => Some("a sparse file"),
        _ => Some("no file"),
    };
    if let Some(what) = what {
        return Err(format!("`{shown}` in it is {what}; a layout has files and directories alone"));
    }
    let name = local(&name)?;
    match files.insert(name, place) {
        Some(_) => Err(format!("`{shown}` is in it twice")),
        None => Ok(()),
    }
}

/// What is packed is not read by offsets.
fn refuse_packed(mut file: &File) -> Result<(), String> {
    let mut head = [0; 4];
    let read = file.read(&mut head).and_then(|read| file.seek(SeekFrom::Start(0)).map(|_| read));
    let read = read.map_err(|error| error.to_string())?;
    let packed = match &head[..read] {
        [0x1f, 0x8b, ..] => Some("gunzip"),
        [0x28, 0xb5, 0x2f, 0xfd] => Some("unzstd"),
        _ => None,
    };
    packed.map_or(Ok(()), |with| Err(format!("it is packed: unpack it with `{with}` first")))
}

/// The bytes of an entry that says something of the next one.
fn said(entry: &mut impl Read, bytes: u64) -> Result<Vec<u8>, String> {
    if bytes > LAYOUT_NAME_BYTES_MAX {
        return Err(format!("a name in it has {bytes} bytes; {LAYOUT_NAME_BYTES_MAX} are the most"));
    }
    let mut said = Vec::new();
    entry.read_to_end(&mut said).map_err(|error| error.to_string())?;
    Ok(said)
}

/// Takes the path out of a PAX header. A size that differs from that of the file's own header, and sparse files, are read
/// differently by different readers.
fn extensions(said: &[u8], ahead: &mut Ahead) -> Result<(), String> {
    for extension in tar::PaxExtensions::new(said) {
        let extension = extension.map_err(|error| format!("a PAX header in it is damaged: {error}"))?;
        match extension.key_bytes() {
            b"path" if ahead.path.replace(extension.value_bytes().to_vec()).is_some() => {
                return Err("a file has two names".to_owned());
            }
            b"size" => return Err("a file in it says its size twice; write it with `tar --format=gnu`".to_owned()),
            b"linkpath" => return Err("it has a link; a layout has files and directories alone".to_owned()),
            key if key.starts_with(b"GNU.sparse") => {
                return Err("it has a sparse file; write it without `tar --sparse`".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

fn name(header: &Header, ahead: Ahead) -> Result<Vec<u8>, String> {
    match (ahead.long_name, ahead.path) {
        (Some(_), Some(_)) => Err("a file has two names".to_owned()),
        (Some(name), None) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(header.path_bytes().into_owned()),
    }
}

/// A name within the tar: no way leads out of it.
fn local(name: &[u8]) -> Result<String, String> {
    let shown = || plain::line(&String::from_utf8_lossy(name)).into_owned();
    let text = std::str::from_utf8(name).map_err(|_| format!("`{}` in it is no text", shown()))?;
    if text.starts_with('/') || text.split('/').any(|part| part == "..") || text.contains('\0') {
        return Err(format!("`{}` in it leads out of it", shown()));
    }
    let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
    Ok(parts.collect::<Vec<_>>().join("/"))
}

/// Writes the files of a layout, by names within `dir`, in their order. The same files are the same bytes.
pub(super) fn write(dir: &Path, names: &[String], into: File) -> io::Result<File> {
    let mut builder = Builder::new(io::BufWriter::new(into));
    for name in names {
        let mut file = File::open(dir.join(name))?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(file.metadata()?.len());
        builder.append_data(&mut header, name, &mut file)?;
    }
    let mut written = builder.into_inner()?;
    written.flush()?;
    written.into_inner().map_err(io::IntoInnerError::into_error)
}
