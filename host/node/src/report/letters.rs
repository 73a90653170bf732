//! Dead letters, counted by stage and code on their way into the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flow::letters::{DeadLetter, LetterFile, Letters, LettersError};
use model::limits;
use serde_json::{Value, json};

/// One file, shared by the pipelines that write to it.
#[derive(Clone, Debug)]
pub struct Written(Arc<Mutex<LetterFile>>);

impl Written {
    pub fn to(path: &Path) -> Self {
        Self(Arc::new(Mutex::new(LetterFile::new(path, limits::DEAD_LETTER_FILE_BYTES_MAX))))
    }
}

/// What a pipeline put into its file.
#[derive(Clone, Debug)]
pub struct Tally {
    pub path: PathBuf,
    counts: Arc<Mutex<BTreeMap<(String, String), u64>>>,
}

/// The dead letters of one pipeline.
#[derive(Debug)]
pub struct Counted {
    file: Written,
    tally: Tally,
}

/// Codes beyond the bound are counted as one.
const MORE: &str = "(others)";

impl Counted {
    pub fn new(file: Written, path: &Path) -> Self {
        Self { file, tally: Tally { path: path.to_owned(), counts: Arc::default() } }
    }

    /// Can be read while letters are written and after.
    pub fn tally(&self) -> Tally {
        self.tally.clone()
    }
}

impl Letters for Counted {
    fn put(&mut self, letter: &DeadLetter) -> Result<(), LettersError> {
        self.file.0.lock().unwrap_or_else(PoisonError::into_inner).put(letter)?;
        let mut counts = self.tally.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let full = counts.len() >= limits::REJECTION_CODES_COUNTED_MAX;
        let mut key = (letter.stage.clone(), letter.code.clone());
        if full && !counts.contains_key(&key) {
            key.1 = MORE.to_owned();
        }
        *counts.entry(key).or_default() += 1;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        self.file.0.lock().unwrap_or_else(PoisonError::into_inner).sync()
    }
}

impl Tally {
    /// By stage and code.
    pub fn counts(&self) -> BTreeMap<(String, String), u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A line for people; none where nothing was refused.
    pub fn line(&self) -> Option<String> {
        let counts = self.counts();
        let all: u64 = counts.values().sum();
        if all == 0 {
            return None;
        }
        let codes: Vec<String> =
            counts.iter().map(|((stage, code), count)| format!("{count} x {stage}: {code}")).collect();
        let (records, they) = if all == 1 { ("record was", "it is") } else { ("records were", "they are") };
        Some(format!("{all} {records} refused ({}); {they} in {}", codes.join(", "), self.path.display()))
    }

    pub fn json(&self) -> Value {
        let counts = self.counts();
        let codes: Vec<Value> = counts
            .iter()
            .map(|((stage, code), records)| json!({ "stage": stage, "code": code, "records": records }))
            .collect();
        let all: u64 = counts.values().sum();
        // A run without refused records leaves no file.
        let path = (all > 0).then(|| self.path.display().to_string());
        json!({ "path": path, "records": all, "codes": codes })
    }
}

#[cfg(test)]
mod tests {
    use flow::letters::{LetterOrigin, Record};

    use super::*;

    fn letter(code: &str) -> DeadLetter {
        DeadLetter {
            pipeline: "p".into(),
            stage: "s".into(),
            code: code.into(),
            message: "no".into(),
            backtrace: None,
            attempts: 1,
            origin: LetterOrigin { source: "in".into(), split: "a".into(), offset: 3 },
            id: None,
            time_us: None,
            key: None,
            record: Record::None,
        }
    }

    #[test]
    fn letters_are_counted_by_code_and_the_codes_are_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("letters.jsonl");
        let mut letters = Counted::new(Written::to(&path), &path);
        let tally = letters.tally();
        assert_eq!(tally.line(), None);
        for code in ["bad", "bad", "worse"] {
            letters.put(&letter(code)).expect("written");
        }
        let line = tally.line().expect("a line");
        assert!(line.starts_with("3 records were refused (2 x s: bad, 1 x s: worse)"), "{line}");
        for nth in 0..limits::REJECTION_CODES_COUNTED_MAX + 5 {
            letters.put(&letter(&nth.to_string())).expect("written");
        }
        assert_eq!(tally.counts().len(), limits::REJECTION_CODES_COUNTED_MAX + 1);
        assert_eq!(tally.json()["records"], 3 + limits::REJECTION_CODES_COUNTED_MAX as u64 + 5);
    }
}
