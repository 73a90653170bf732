//! The file itself: read whole, and written whole beside itself, so that nobody ever sees half of it. What is in it that
//! is nobody's here stays as it is.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use model::limits::CLIENT_CONFIG_BYTES_MAX;
use serde::Serialize as _;
use serde_json::{Map, Value};

use super::CredentialsError;

/// What is in it; nothing where it is not there.
pub(super) fn read(path: &Path) -> Result<Map<String, Value>, CredentialsError> {
    let of = |error| CredentialsError::File { path: path.to_owned(), error };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(of(error)),
    };
    let mut text = Vec::new();
    file.take(CLIENT_CONFIG_BYTES_MAX + 1).read_to_end(&mut text).map_err(of)?;
    let wrong = |why: String| CredentialsError::Config { path: path.to_owned(), why };
    if text.len() as u64 > CLIENT_CONFIG_BYTES_MAX {
        return Err(wrong(format!("it has more than {CLIENT_CONFIG_BYTES_MAX} bytes")));
    }
    if text.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&text) {
        Ok(Value::Object(config)) => Ok(config),
        Ok(_) => Err(wrong("it is no object of JSON: mend it, or move it away".to_owned())),
        Err(error) => Err(wrong(format!("it is no JSON: {error}; mend it, or move it away"))),
    }
}

/// Changes what is in it.
pub(super) fn change(
    path: &Path,
    change: impl FnOnce(&mut Map<String, Value>),
) -> Result<(), CredentialsError> {
    // What a link leads to is what is written: the link stays.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let of = |error| CredentialsError::File { path: path.clone(), error };
    let mut config = read(&path)?;
    change(&mut config);
    let mut text = vec![];
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    config.serialize(&mut serializer).map_err(|error| of(error.into()))?;
    text.push(b'\n');
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(of)?;
    }
    let beside = beside(&path);
    let written = write(&beside, &text).and_then(|()| fs::rename(&beside, &path));
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        of(error)
    })
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    // What a process of the same number has left is in the way.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
