//! The files of a layout, in a directory or in a tar, by their names within it.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk as _, SystemDisk, dir_of};
use model::ids::{Digest, Digester};
use model::limits::REGISTRY_PIECE_BYTES;
use tempfile::{NamedTempFile, TempDir};

use super::archive::{self, Place};
use crate::client::{ClientError, Content};
use crate::manifest::Descriptor;

/// Where the files are.
pub(super) enum Files {
    /// `staging`: the directory goes when it is dropped, and is what a tar is written of.
    Dir { dir: PathBuf, staging: Option<TempDir> },
    Tar { file: Arc<File>, places: BTreeMap<String, Place> },
}

/// The bytes of one file.
pub(super) struct Stored {
    file: Arc<File>,
    place: Place,
}

/// The name of a blob within a layout.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

impl Files {
    /// None where there is no such file.
    pub fn open(&self, name: &str) -> io::Result<Option<Stored>> {
        match self {
            Self::Dir { dir, .. } => match File::open(dir.join(name)) {
                Ok(file) => {
                    let bytes = file.metadata()?.len();
                    Ok(Some(Stored { file: Arc::new(file), place: Place { at: 0, bytes } }))
                }
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            Self::Tar { file, places } => {
                Ok(places.get(name).map(|place| Stored { file: file.clone(), place: *place }))
            }
        }
    }

    /// The directory that is written to. None of a tar that is there.
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Self::Dir { dir, .. } => Some(dir),
            Self::Tar { .. } => None,
        }
    }

    /// Whether a tar is made of it at the end.
    pub fn is_staged(&self) -> bool {
        matches!(self, Self::Dir { staging: Some(_), .. })
    }
}

impl Stored {
    pub fn bytes(&self) -> u64 {
        self.place.bytes
    }

    /// All of it; one byte more than `most` is not read.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut all = vec![0; usize::try_from(self.place.bytes).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut all, self.place.at)?;
        Ok(all)
    }

    /// Gives it piece by piece.
    pub fn each(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut piece = vec![0; REGISTRY_PIECE_BYTES];
        let mut done = 0;
        while done < self.place.bytes {
            let some = piece.len().min(usize::try_from(self.place.bytes - done).unwrap_or(usize::MAX));
            self.file.read_exact_at(&mut piece[..some], self.place.at + done)?;
            take(&piece[..some])?;
            done += some as u64;
        }
        Ok(())
    }
}

impl Content {
    fn each(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => take(bytes),
            Self::File(path) => {
                let mut file = File::open(path)?;
                let mut piece = vec![0; REGISTRY_PIECE_BYTES];
                loop {
                    match file.read(&mut piece)? {
                        0 => return Ok(()),
                        read => take(&piece[..read])?,
                    }
                }
            }
        }
    }
}

/// Bytes that are on their way to a file, which they become when they are what they should be.
pub(super) struct Landing {
    part: NamedTempFile,
    digester: Digester,
    bytes: u64,
    expected: Descriptor,
}

impl Landing {
    pub fn new(into: &Path, expected: &Descriptor) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".part-").permissions(Permissions::from_mode(0o666));
        let part = builder.tempfile_in(dir_of(into))?;
        let digester = Digester::new(expected.digest.algorithm());
        Ok(Self { part, digester, bytes: 0, expected: expected.clone() })
    }

    pub fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        self.digester.update(piece);
        self.bytes += piece.len() as u64;
        self.part.write_all(piece)
    }

    /// Gives it its name, durably.
    pub fn end(self, into: &Path, what: &str) -> Result<(), ClientError> {
        let Self { part, digester, bytes, expected } = self;
        if bytes != expected.size {
            let (what, bytes_of) = (what.to_owned(), |bytes: u64| format!("{bytes} bytes"));
            return Err(ClientError::Corrupt { what, expected: bytes_of(expected.size), came: bytes_of(bytes) });
        }
        let came = digester.finish();
        if came != expected.digest {
            return Err(ClientError::corrupt(what, &expected.digest, &came));
        }
        let wrong = |error| ClientError::File { path: into.to_owned(), error };
        part.as_file().sync_all().map_err(wrong)?;
        part.persist(into).map_err(|error| wrong(error.error))?;
        SystemDisk.sync_dir(dir_of(into)).map_err(wrong)
    }
}

/// Puts a blob into a directory.
pub(super) fn put(dir: &Path, what: &Descriptor, from: &Content) -> Result<(), ClientError> {
    let path = dir.join(blob_name(&what.digest));
    let wrong = |error| ClientError::File { path: path.clone(), error };
    fs::create_dir_all(dir_of(&path)).map_err(wrong)?;
    let mut landing = Landing::new(&path, what).map_err(wrong)?;
    from.each(|piece| landing.take(piece)).map_err(|error| match from {
        Content::File(path) => ClientError::File { path: path.clone(), error },
        Content::Bytes(_) => wrong(error),
    })?;
    landing.end(&path, &what.digest.to_string())
}

/// Writes a small file as a whole.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".part-").permissions(Permissions::from_mode(0o666));
    let mut part = builder.tempfile_in(dir_of(path))?;
    part.write_all(bytes)?;
    part.as_file().sync_all()?;
    part.persist(path).map_err(|error| error.error)?;
    SystemDisk.sync_dir(dir_of(path))
}

/// Names of the files of a layout in a directory, in the order in which a tar has them.
fn names(dir: &Path, blobs: &[Digest]) -> Vec<String> {
    let mut names: Vec<String> = blobs.iter().map(blob_name).filter(|name| dir.join(name).is_file()).collect();
    names.sort();
    names.dedup();
    ["oci-layout", "index.json"].into_iter().map(str::to_owned).chain(names).collect()
}

/// Writes a directory as a tar. What is there under that name stays, unless it is to be replaced, or is the same.
pub(super) fn pack(dir: &Path, blobs: &[Digest], into: &Path, replaces: bool) -> Result<(), ClientError> {
    let wrong = |error| ClientError::File { path: into.to_owned(), error };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".part-").permissions(Permissions::from_mode(0o666));
    let part = builder.tempfile_in(dir_of(into)).map_err(wrong)?;
    let file = part.as_file().try_clone().map_err(wrong)?;
    let mut file = archive::write(dir, &names(dir, blobs), file).map_err(wrong)?;
    file.sync_all().map_err(wrong)?;
    match replaces {
        true => part.persist(into).map(|_| ()).map_err(|error| wrong(error.error))?,
        false => match part.persist_noclobber(into) {
            Ok(_) => {}
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
                if !is_same(&mut file, into).map_err(wrong)? {
                    let why = "it is there, and is something else; name another file, or add --force".to_owned();
                    return Err(ClientError::Layout { path: into.to_owned(), why });
                }
            }
            Err(error) => return Err(wrong(error.error)),
        },
    }
    SystemDisk.sync_dir(dir_of(into)).map_err(wrong)
}

fn is_same(file: &mut File, other: &Path) -> io::Result<bool> {
    let mut other = File::open(other)?;
    if !other.metadata()?.is_file() || other.metadata()?.len() != file.metadata()?.len() {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(0))?;
    let (mut one, mut two) = (vec![0; REGISTRY_PIECE_BYTES], vec![0; REGISTRY_PIECE_BYTES]);
    loop {
        let read = file.read(&mut one)?;
        if read == 0 {
            return Ok(true);
        }
        other.read_exact(&mut two[..read])?;
        if one[..read] != two[..read] {
            return Ok(false);
        }
    }
}
