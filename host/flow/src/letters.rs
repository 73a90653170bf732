//! Where refused records go: one JSON object a line, with all that is needed to find the record again.
//!
//! The store with segments and replay comes later; this file is what a user reads today.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use model::lineage::Origin;
use serde::Serialize;

/// A record that a stage refused, or that did not fit what a stage takes.
#[derive(Debug, Serialize)]
pub struct DeadLetter {
    pub pipeline: String,
    pub stage: String,
    pub code: String,
    pub message: String,
    /// The guest's frames, where it died on the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    /// How many calls had the record in them.
    pub attempts: u32,
    pub origin: LetterOrigin,
    /// The record's id; a record that a source could not make has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Event time in microseconds since the Unix epoch, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_us: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Blob>,
    pub record: Record,
}

#[derive(Debug, Serialize)]
pub struct LetterOrigin {
    pub source: String,
    pub split: String,
    pub offset: u64,
}

impl From<Origin> for LetterOrigin {
    fn from(origin: Origin) -> Self {
        Self { source: origin.source.to_string(), split: origin.split.to_string(), offset: origin.offset }
    }
}

/// What the record was.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Record {
    /// A typed row: the columns that anybody wanted.
    Row(Box<serde_json::value::RawValue>),
    Opaque(Blob),
    /// A deletion: a record without a value.
    None,
}

/// Bytes: as text where they are text.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Blob {
    Text(String),
    Bytes { base64: String },
}

impl Blob {
    pub fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes { base64: base64::engine::general_purpose::STANDARD.encode(bytes) },
        }
    }
}

/// Takes dead letters; one for all loops of a pipeline.
pub trait Letters: Send {
    fn put(&mut self, letter: &DeadLetter) -> Result<(), LettersError>;
    /// Makes all letters durable. Called before a sink commits.
    fn sync(&mut self) -> Result<(), LettersError>;
}

/// Why a refused record could not be kept. The pipeline stops: a record would be lost otherwise.
#[derive(thiserror::Error, Debug)]
pub enum LettersError {
    #[error(
        "dead letters cannot be written to {path}: {error}; free the disk or name another file with `--dead-letters`"
    )]
    Io { path: String, error: io::Error },
    #[error(
        "{path} holds {bytes} bytes of dead letters, the most is {max}; look at its codes, mend the stage or the data, and run again"
    )]
    Full { path: String, bytes: u64, max: u64 },
}

/// A file of JSON lines, made when the first letter comes.
#[derive(Debug)]
pub struct LetterFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    bytes: u64,
    bytes_max: u64,
}

impl LetterFile {
    /// Letters go to `path`, which is made new with the first one.
    pub fn new(path: &Path, bytes_max: u64) -> Self {
        Self { path: path.to_owned(), file: None, bytes: 0, bytes_max }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, error: io::Error) -> LettersError {
        LettersError::Io { path: self.path.display().to_string(), error }
    }

    fn open(&mut self) -> io::Result<&mut BufWriter<File>> {
        if self.file.is_none() {
            if let Some(parent) = self.path.parent() {
                fs::create_dir_all(parent)?;
            }
            self.file = Some(BufWriter::new(File::create(&self.path)?));
        }
        Ok(self.file.as_mut().expect("it was opened above"))
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.open()?.write_all(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.flush()?;
        file.get_ref().sync_all()
    }
}

impl Letters for LetterFile {
    fn put(&mut self, letter: &DeadLetter) -> Result<(), LettersError> {
        let mut line = serde_json::to_vec(letter).map_err(|error| self.error(error.into()))?;
        line.push(b'\n');
        let bytes = self.bytes + line.len() as u64;
        if bytes > self.bytes_max {
            let path = self.path.display().to_string();
            return Err(LettersError::Full { path, bytes: self.bytes, max: self.bytes_max });
        }
        self.write(&line).map_err(|error| self.error(error))?;
        self.bytes = bytes;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        self.flush().map_err(|error| self.error(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(record: &[u8]) -> DeadLetter {
        DeadLetter {
            pipeline: "p".into(),
            stage: "s".into(),
            code: "bad".into(),
            message: "no".into(),
            backtrace: None,
            attempts: 1,
            origin: LetterOrigin { source: "in".into(), split: "a".into(), offset: 3 },
            id: None,
            time_us: None,
            key: None,
            record: Record::Opaque(Blob::new(record)),
        }
    }

    #[test]
    fn letters_are_lines_of_json_and_bytes_survive() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/letters.jsonl");
        let mut file = LetterFile::new(&path, 1 << 20);
        assert!(!path.exists(), "a run without refused records leaves no file");
        file.put(&letter(b"text")).expect("written");
        file.put(&letter(&[0xff, 0])).expect("written");
        file.sync().expect("synced");
        let text = fs::read_to_string(&path).expect("the file");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines[0]["record"], "text");
        assert_eq!(lines[1]["record"]["base64"], "/wA=");
        assert_eq!(lines[1]["origin"]["offset"], 3);
    }

    #[test]
    fn a_full_file_says_so_and_keeps_what_it_has() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("letters.jsonl");
        let mut file = LetterFile::new(&path, 200);
        file.put(&letter(b"a")).expect("fits");
        let error = file.put(&letter(&[b'x'; 200])).expect_err("does not fit");
        assert!(error.to_string().contains("the most is 200"), "{error}");
        file.sync().expect("synced");
        assert_eq!(fs::read_to_string(&path).expect("the file").lines().count(), 1);
    }
}
