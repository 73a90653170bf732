//! When a file is full and what the next one is called.
//!
//! The files of `out/a.jsonl.gz` are `out/a-000001.jsonl.gz` and so on, with the time at which each was begun
//! before the number where they rotate by time. A number is never used twice: a later run goes on behind the
//! highest that is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use disk::{Disk, dir_of};
use model::convert::times::write_timestamp;
use model::plan::places::Name;

/// A file is full when it has reached the size or the age, whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// Bytes on the disk. The batch that reaches it is still in.
    pub(crate) size: Option<u64>,
    pub(crate) every: Option<Duration>,
}

impl Rotation {
    pub(super) fn is_due(&self, written: u64, age: Duration) -> bool {
        self.size.is_some_and(|size| written >= size) || self.every.is_some_and(|every| age >= every)
    }

    /// After how long one of this age is full though nothing more is written.
    pub(super) fn due_in(&self, age: Duration) -> Option<Duration> {
        self.every.map(|every| every.saturating_sub(age))
    }
}

/// Names one file after the other.
#[derive(Debug)]
pub(super) struct Names {
    directory: PathBuf,
    stem: String,
    end: String,
    next: u64,
    timed: bool,
}

impl Names {
    /// Looks up the highest number that is there.
    pub(super) fn new(disk: &dyn Disk, path: &Path, end: &str, timed: bool) -> std::io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(end).unwrap_or(&name).to_owned();
        let directory = dir_of(path).to_owned();
        let mut highest = 0;
        for name in disk.list(&directory)? {
            let name = name.to_string_lossy();
            let number = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(end));
            let number =
                number.and_then(|rest| rest.rsplit_once('-')).and_then(|(_, number)| number.parse().ok());
            highest = highest.max(number.unwrap_or(0));
        }
        Ok(Self { directory, stem, end: end.to_owned(), next: highest + 1, timed })
    }

    /// Whether an earlier run has left files.
    pub(super) fn is_taken(&self) -> bool {
        self.next > 1
    }

    /// The number of the next file.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// No number below this one is used any more.
    pub(super) fn skip_to(&mut self, number: u64) {
        self.next = self.next.max(number);
    }

    /// Whether a file of that name would be one of these.
    pub(super) fn is_one(&self, name: &str) -> bool {
        let middle = name.strip_prefix(&self.stem).and_then(|rest| rest.strip_suffix(&self.end));
        let Some((time, number)) = middle.and_then(|middle| middle.rsplit_once('-')) else { return false };
        let is_time = |time: &[u8]| match time {
            [b'-', day @ .., b'T', _, _, _, _, _, _, b'Z'] => day.len() == 8,
            _ => false,
        };
        number.len() >= 6
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && (time.is_empty() || is_time(time.as_bytes()))
    }

    /// `now` in microseconds since the Unix epoch.
    pub(super) fn next(&mut self, now: i64) -> PathBuf {
        let number = self.next;
        self.next += 1;
        let mut time = Vec::new();
        if self.timed {
            write_timestamp(now - now.rem_euclid(1_000_000), &mut time);
            time.retain(|byte| !matches!(byte, b'-' | b':'));
            time.insert(0, b'-');
        }
        let Self { directory, stem, end, .. } = self;
        directory.join(format!("{stem}{}-{number:06}{end}", String::from_utf8_lossy(&time)))
    }
}

/// What the files of a row are called, with and without a time, and while they are written.
pub(crate) fn row_names(path: &Path) -> Vec<Name> {
    let (name, end) = (path.file_name().unwrap_or_default().to_string_lossy(), name_end(path));
    let stem = name.strip_suffix(&end).unwrap_or(&name);
    let mut all = Vec::new();
    for (before, behind) in [("", ""), (".", ".part")] {
        let begun = || Name::default().text(&format!("{before}{stem}-"));
        let numbered = |name: Name| name.digits(6).text(&format!("{end}{behind}"));
        all.push(numbered(begun()));
        all.push(numbered(begun().digits(8).text("T").digits(6).text("Z-")));
    }
    all
}

/// What a file's name ends with, packing and all: `.jsonl.gz`.
pub(super) fn name_end(path: &Path) -> String {
    use crate::input::Compression;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let packed = Compression::of_name(&name) != Compression::None;
    let end_of = |name: &str| name.rfind('.').filter(|&dot| dot > 0);
    let Some(mut dot) = end_of(&name) else { return String::new() };
    if packed && let Some(inner) = end_of(&name[..dot]) {
        dot = inner;
    }
    name[dot..].to_owned()
}

#[cfg(test)]
mod tests {
    use disk::SystemDisk;

    use super::*;

    #[test]
    fn names_end_with_format_and_packing() {
        let cases = [
            ("a.jsonl", ".jsonl"),
            ("x/v1.2.csv.gz", ".csv.gz"),
            (".hidden", ""),
            ("plain", ""),
            ("a.gz", ".gz"),
        ];
        for (name, expected) in cases {
            assert_eq!(name_end(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn files_of_a_row_are_told_by_their_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.csv.gz");
        let mut names = Names::new(&SystemDisk, &path, &name_end(&path), true).expect("names");
        names.skip_to(41);
        let made = names.next(0);
        let made = made.file_name().and_then(|name| name.to_str()).expect("a name");
        assert_eq!(made, "a-19700101T000000Z-000041.csv.gz");
        for (name, expected) in [
            (made, true),
            ("a-000001.csv.gz", true),
            ("a-1000000.csv.gz", true),
            ("a-b-000001.csv.gz", false),
            ("a-2020-000001.csv.gz", false),
            ("a-000001.csv", false),
            ("b-000001.csv.gz", false),
            ("a-.csv.gz", false),
            ("a.csv.gz", false),
        ] {
            assert_eq!(names.is_one(name), expected, "{name}");
        }
    }

    #[test]
    fn full_by_size_or_by_age() {
        let rotation = Rotation { size: Some(10), every: Some(Duration::from_secs(60)) };
        assert!(!rotation.is_due(9, Duration::from_secs(59)));
        assert!(rotation.is_due(10, Duration::ZERO));
        assert!(rotation.is_due(0, Duration::from_secs(60)));
        assert!(!Rotation { size: None, every: None }.is_due(u64::MAX, Duration::MAX));
    }
}
