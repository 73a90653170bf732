//! Files that Conveyor keeps, damaged at random: what is read of them is what was written, or it is refused by name.
//!
//! Each kind of file is written by the product once, struck in a copy, and read by the product. `cargo xtask damage`
//! strikes each kind 500 times, the tests a few dozen times; a seed strikes in the same places again.

mod cache;
mod checkpoints;
mod letters;
mod parts;
mod spool;
mod strike;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fastrand::Rng;

use strike::Strike;

/// What was found; the error is what a user is told.
type Read = Result<Found, String>;

/// What a reader has of files, in lines that can be compared.
#[derive(Debug, Default)]
struct Found {
    lines: Vec<String>,
    /// What it says of damage beside them: of what is missing then.
    told: Vec<String>,
}

impl From<Vec<String>> for Found {
    fn from(lines: Vec<String>) -> Self {
        Self { lines, told: Vec::new() }
    }
}

/// A kind of file that is kept.
struct Kind {
    name: &'static str,
    /// Writes everything, and what is to be found later.
    make: fn(&Path),
    /// Which of the files are struck, by their names.
    is_struck: fn(&str) -> bool,
    /// Reads it as whoever starts again does.
    read: fn(&Path) -> Read,
    may_lose: MayLose,
}

/// What may be missing of what is found, with nothing said.
enum MayLose {
    Nothing,
    /// What was written last, behind so many lines, where it was cut off or is zeros: so it looks when it was not there
    /// yet as there was a crash.
    End(usize),
    /// Nobody rests on it.
    All,
}

/// How many times, and from which seed on.
fn asked() -> (usize, u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    (number("DAMAGE_COUNT").unwrap_or(40) as usize, number("DAMAGE_SEED").unwrap_or(1))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("a copy")),
        }
    }
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something").to_owned()
}

#[derive(Debug, Default)]
struct Counts {
    refused: usize,
    right: usize,
    lost: usize,
}

impl Kind {
    fn strike_all(&self) {
        let (count, seed) = asked();
        let made = tempfile::tempdir().expect("a directory");
        (self.make)(made.path());
        let whole = tempfile::tempdir().expect("a directory");
        copy(made.path(), whole.path());
        let expected = (self.read)(whole.path()).expect("nothing is damaged yet");
        assert!(!expected.lines.is_empty() && expected.told.is_empty(), "{}: {expected:?}", self.name);
        let expected = expected.lines;
        let names = files(made.path()).into_iter();
        let struck: Vec<PathBuf> = names
            .filter(|path| (self.is_struck)(&name_of(path)))
            .map(|path| path.strip_prefix(made.path()).expect("below it").to_owned())
            .collect();
        assert!(!struck.is_empty(), "{}: there is nothing to strike", self.name);
        let mut counts = Counts::default();
        for round in 0..count as u64 {
            let mut random = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(round));
            let file = &struck[random.usize(0..struck.len())];
            self.strike(made.path(), file, &mut random, &expected, &mut counts);
        }
        println!("{}: {count} times from seed {seed}: {counts:?}", self.name);
        assert_eq!(counts.refused + counts.right + counts.lost, count);
    }

    fn strike(&self, made: &Path, file: &Path, random: &mut Rng, expected: &[String], counts: &mut Counts) {
        let dir = tempfile::tempdir().expect("a directory");
        copy(made, dir.path());
        let path = dir.path().join(file);
        let strike = Strike::draw(random, &path);
        strike.at(&path);
        let what = format!("{}, {}, {strike:?}", self.name, file.display());
        let found = catch_unwind(AssertUnwindSafe(|| (self.read)(dir.path())));
        let found = found.unwrap_or_else(|panic| panic!("{what}: it panicked: {}", text_of(&*panic)));
        let is_named =
            |why: &str| why.contains(&name_of(&path)) || why.contains(&*dir.path().to_string_lossy());
        match found {
            Ok(Found { lines, told }) if lines == *expected && told.iter().all(|why| is_named(why)) => {
                counts.right += 1;
            }
            Ok(Found { lines, told }) => {
                let other = lines.iter().find(|line| !expected.contains(line));
                assert!(is_part(&lines, expected), "{what}: something else was found: {other:?}");
                let sure = match self.may_lose {
                    MayLose::All => 0,
                    _ if !told.is_empty() => 0,
                    MayLose::End(sure) if strike.is_at_an_end() => sure,
                    _ => expected.len(),
                };
                let missing = expected[..sure].iter().find(|line| !lines.contains(line));
                assert!(missing.is_none(), "{what}: {missing:?} is missing, and nothing said so");
                assert!(told.iter().all(|why| is_named(why)), "{what}: the file is not named: {told:?}");
                counts.lost += 1;
            }
            Err(why) => {
                assert!(is_named(&why), "{what}: the file is not named: {why}");
                assert!(!why.contains("panicked"), "{what}: {why}");
                counts.refused += 1;
            }
        }
    }
}

/// Whether `lines` are those of `all`, in their order, but for some that are missing.
fn is_part(lines: &[String], all: &[String]) -> bool {
    let mut all = all.iter();
    lines.iter().all(|line| all.any(|other| other == line))
}
