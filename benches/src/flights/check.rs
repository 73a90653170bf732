//! Whether two programs wrote the same rows: compared as values, since a number can be written in two ways.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::workload::Checksum;

/// Why an output cannot be compared.
#[derive(thiserror::Error, Debug)]
pub enum CheckError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path}, line {line}: {source}")]
    Line { path: PathBuf, line: u64, source: serde_json::Error },
}

/// All that must be in a row, and nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    carrier: String,
    flight: i64,
    origin: String,
    dest: String,
    distance: i64,
    kilometres: f64,
}

/// What an output says, however it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content(pub Checksum);

impl Content {
    pub fn of(path: &Path) -> Result<Self, CheckError> {
        let at = |source| CheckError::File { path: path.to_owned(), source };
        let mut checksum = Checksum::default();
        let mut reader = BufReader::with_capacity(1 << 18, File::open(path).map_err(at)?);
        let (mut text, mut line) = (String::new(), 0);
        while reader.read_line(&mut text).map_err(at)? > 0 {
            line += 1;
            let row: Row = serde_json::from_str(&text).map_err(|source| CheckError::Line {
                path: path.to_owned(),
                line,
                source,
            })?;
            for part in [&row.carrier, &row.origin, &row.dest] {
                checksum.add(part.as_bytes());
            }
            for part in [row.flight as u64, row.distance as u64, row.kilometres.to_bits()] {
                checksum.add(&part.to_le_bytes());
            }
            text.clear();
        }
        checksum.records = line;
        Ok(Self(checksum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_values_written_otherwise_are_the_same() {
        let of = |text: &str| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), text).expect("written");
            Content::of(file.path())
        };
        let row = |kilometres: &str| {
            format!(
                r#"{{"carrier":"AA","flight":1,"origin":"J","dest":"M","distance":2,"kilometres":{kilometres}}}"#
            )
        };
        let first = of(&row("3.50")).expect("fits");
        assert_eq!(first, of(&format!("{}\n", row("35e-1").replace(':', " : "))).expect("fits"));
        assert_ne!(first, of(&row("3.6")).expect("fits"));
        assert_ne!(first, of(&format!("{}\n{}\n", row("3.5"), row("3.5"))).expect("fits"));
        for wrong in [r#"{"carrier":"AA"}"#.to_owned(), row("3.5,\"more\":1"), "x".to_owned()] {
            let error = of(&format!("{}\n{wrong}", row("3.5"))).expect_err(&wrong).to_string();
            assert!(error.contains("line 2"), "{error}");
        }
    }
}
