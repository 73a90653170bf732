//! The file that a sink wrote so far, finished and out of the way of the one that follows it.
//!
//! What the checkpoint knows of it is put in its place first. Then, where the sink goes on under the same name, the
//! file gets the next number that a row of files would have: `out-000001.csv`. Each step finds out by itself whether it
//! was done, so that a crash between two of them costs nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
use flow::connector::{Committed, ConnectError};

use super::durable::{directory_of, resolved};
use super::file::{Delivery, FileOptions, IfExists, failed};
use super::lock;
use super::one::OneFile;
use super::packed::Packing;
use super::rotate::{Names, Rotation, name_end};
use super::row::FileRow;
use super::token::{InPlace, Row, Token, Wrote};

/// The path that a token is of, as the manifest named it. None where it cannot be read.
pub(crate) fn path_of(token: &[u8]) -> Option<String> {
    Some(Token::parse(token).ok()?.0)
}

/// Whether there is a file to go on in, or to be given its name. Nobody knows what a token says that cannot be read.
pub(crate) fn has_file(token: &[u8]) -> bool {
    match Token::parse(token) {
        Ok((_, Wrote::One(one))) => one.begun,
        Ok((_, Wrote::Row(row))) => row.open.is_some() || !row.full.is_empty(),
        Ok((_, Wrote::Place(place))) => place.begun,
        Err(_) => true,
    }
}

/// What became of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAside {
    /// As it is called now. None where there is none, or where it was set aside before.
    pub kept: Option<PathBuf>,
    /// For the sink that follows: that the numbers of a row go on. None where it begins with nothing.
    pub token: Option<Vec<u8>>,
}

/// Who writes from now on.
pub(crate) struct Next<'a> {
    /// As the manifest names it.
    pub(crate) name: &'a str,
    pub(crate) path: &'a Path,
    /// Whether it commits a row of files.
    pub(crate) is_row: bool,
}

/// Sets aside the file that a token is of. `path`: where that is.
pub(crate) fn set_file_aside(
    disk: Arc<dyn Disk>,
    path: PathBuf,
    token: &[u8],
    next: &Next<'_>,
) -> Result<SetAside, ConnectError> {
    let (name, wrote) = Token::parse(token).map_err(|lost| lost.of(&path))?;
    let options = FileOptions {
        name,
        path: path.clone(),
        if_exists: IfExists::Replace,
        packing: Packing::None,
        header: Vec::new(),
        rotation: None,
        delivery: Delivery::ExactlyOnce,
        lines: false,
        disk: disk.clone(),
    };
    let committed = Committed(Some(token.to_vec()));
    match wrote {
        Wrote::Row(row) => {
            // Whether its names have times in them is not asked: the file has its name already.
            let rotation = Rotation { size: None, every: Some(Duration::MAX) };
            let _held = lock::of_row(&*disk, &path)?;
            let is_same_row = next.is_row && next.name == options.name;
            let goes_on = Row { full: Vec::new(), open: None, ..row.clone() };
            let token = is_same_row.then(|| Token::write(next.name, Wrote::Row(goes_on)));
            Ok(SetAside { kept: FileRow::finish(options, rotation, &committed, row)?, token })
        }
        Wrote::One(one) => {
            let path = resolved(path.clone()).map_err(|error| failed(&path, &error))?;
            let _held = lock::of_file(&*disk, &path)?;
            let is_there = OneFile::settle(FileOptions { path: path.clone(), ..options }, token, &one)?;
            if is_there { keep(&*disk, path, next.path) } else { Ok(SetAside::default()) }
        }
        Wrote::Place(InPlace { file, begun, .. }) => {
            let path = resolved(path.clone()).map_err(|error| failed(&path, &error))?;
            let _held = lock::of_file(&*disk, &path)?;
            // One of a row has a number of its own.
            let is_one = path.file_name().is_some_and(|name| name.to_string_lossy() == file);
            let there = disk.stat(&path).map_err(|error| failed(&path, &error))?;
            let is_file = there.is_some_and(|there| there.is_file);
            if begun && is_one && is_file { keep(&*disk, path, next.path) } else { Ok(SetAside::default()) }
        }
    }
}

/// Gives the file the next number, where what follows would get its name.
fn keep(disk: &dyn Disk, path: PathBuf, next: &Path) -> Result<SetAside, ConnectError> {
    let same = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if same(&path) != same(next) {
        return Ok(SetAside { kept: Some(path), token: None });
    }
    let move_it = || {
        let kept = Names::new(disk, &path, &name_end(&path), false)?.next(0);
        disk.rename(&path, &kept)?;
        disk.sync_dir(directory_of(&path))?;
        Ok(kept)
    };
    let kept: PathBuf = move_it().map_err(|error| failed(&path, &error))?;
    Ok(SetAside { kept: Some(kept), token: None })
}
