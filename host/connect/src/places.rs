//! What the paths of files resolve to, for the plan to see who meets whom (`model::plan::places`).
//!
//! A file that is there is known by its device and inode, and by its path with all links resolved; one that is not there
//! yet, by the directory that it will be in. A pattern stands for all names that it would match. Devices and pipes are no
//! places: what is written there is nobody's to lose.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use disk::dir_of;
use flow::connector::ConnectError;
use model::limits::{GLOB_FILES_MAX, LINKS_MAX};
use model::plan::places::{Name, PathPattern, Place};

use crate::input::{InputFile, is_pattern};

/// What a path stands for.
pub(crate) fn of_file(path: &Path) -> io::Result<Vec<Place>> {
    let real = resolved(&std::path::absolute(path)?)?;
    match real.metadata() {
        Ok(there) if !there.is_file() => Ok(Vec::new()),
        Ok(there) => Ok(vec![of_metadata(&there), Place::Names(literal(&real))]),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(vec![Place::Names(literal(&real))]),
        Err(error) => Err(error),
    }
}

/// A file in the directory that `path` is in, by the pattern of its name.
pub(crate) fn beside(path: &Path, name: Name) -> io::Result<Place> {
    let dir = resolved(&std::path::absolute(dir_of(path))?)?;
    Ok(Place::Names(literal(&dir).then(name)))
}

/// What a source reads: `files` are what its paths and patterns match now.
pub(crate) fn of_source(
    base: &Path,
    paths: &[String],
    files: &[InputFile],
) -> Result<Vec<Place>, ConnectError> {
    let mut places = Vec::new();
    for file in files {
        places.extend(of_file(&file.path).map_err(|error| crate::input::failed(&file.name, &error))?);
    }
    for path in paths.iter().filter(|path| is_pattern(path)) {
        places.extend(of_pattern(base, path).map_err(|error| crate::input::failed(path, &error))?);
    }
    Ok(places)
}

/// The file that a stream of this process is, if it is one.
pub(crate) fn of_stream(stream: impl AsFd) -> io::Result<Vec<Place>> {
    let there = File::from(stream.as_fd().try_clone_to_owned()?).metadata()?;
    Ok(if there.is_file() { vec![of_metadata(&there)] } else { Vec::new() })
}

/// Where requests go. None where the host is a name that only the network knows.
pub(crate) fn of_url(host: &str, port: u16, path: &str) -> Vec<Place> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = match host.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() || address.is_unspecified() => "localhost".to_owned(),
        Ok(address) => address.to_string(),
        Err(_) if host.eq_ignore_ascii_case("localhost") => "localhost".to_owned(),
        Err(_) => return Vec::new(),
    };
    vec![Place::Url { host, port, path: path.to_owned() }]
}

fn of_metadata(there: &Metadata) -> Place {
    Place::File { device: there.dev(), inode: there.ino() }
}

/// As the pattern stands, and once more for each directory that is there and may have such files in it: some of them are
/// links.
fn of_pattern(base: &Path, pattern: &str) -> io::Result<Vec<Place>> {
    // The directory of a bare name is this one.
    let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    let full = std::path::absolute(base.join(pattern))?;
    // What the directory of the manifest is called is no pattern.
    let fixed =
        if Path::new(pattern).is_absolute() { 0 } else { std::path::absolute(base)?.components().count() };
    let names: Vec<String> =
        full.components().map(|part| part.as_os_str().to_string_lossy().into()).collect();
    let first = (fixed..names.len()).find(|&index| is_pattern(&names[index])).unwrap_or(names.len());
    let (before, rest) = names.split_at(first);
    let root = resolved(&before.iter().collect::<PathBuf>())?;
    let of = |dir: &Path, rest: &[String]| {
        let all = rest.iter().fold(literal(dir), |pattern, part| pattern.then_glob(part));
        Place::Names(all)
    };
    let mut places = vec![of(&root, rest)];
    if let Some((name, dirs @ [_, ..])) = rest.split_last() {
        let escaped = PathBuf::from(glob::Pattern::escape(&root.to_string_lossy()));
        let dirs = dirs.iter().fold(escaped, |path, part| path.join(part));
        let found = glob::glob(&dirs.to_string_lossy())
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        for dir in found.take(GLOB_FILES_MAX) {
            // One that cannot be read is told of by whoever looks for the files.
            let Ok(dir) = dir else { continue };
            if dir.is_dir() {
                places.push(of(&resolved(&dir)?, std::slice::from_ref(name)));
            }
        }
    }
    Ok(places)
}

fn literal(path: &Path) -> PathPattern {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    let names: Vec<_> = names.collect();
    PathPattern::literal(names.iter().map(|name| &**name))
}

/// An absolute path with its links resolved, as far as it is there; also that of a link which leads to nothing yet, since
/// writing to it makes what it leads to.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let mut at = path.to_owned();
    for _ in 0..LINKS_MAX {
        match at.canonicalize() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => return found,
        }
        let Some(name) = at.file_name() else {
            // `..` behind a directory that is made when it is written to.
            let Some(below) = at.parent().filter(|_| at.ends_with("..")) else { return Ok(at) };
            let mut above = resolved(below)?;
            above.pop();
            return Ok(above);
        };
        match at.read_link() {
            Ok(target) => at = dir_of(&at).join(target),
            Err(_) => return Ok(resolved(dir_of(&at))?.join(name)),
        }
    }
    at.canonicalize()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_pattern_beside_a_bare_name_is_one_of_this_directory() {
        let paths = ["src/*.rs".to_owned()];
        let places = of_source(Path::new(""), &paths, &[]).expect("places");
        assert_eq!(places, of_source(Path::new("."), &paths, &[]).expect("places"));
        assert!(!places.is_empty());
    }

    #[test]
    fn a_way_back_out_of_what_is_not_there_yet_leads_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("a directory");
        for way in
            ["q.txt", "none/../q.txt", "none/deep/../../q.txt", "./none/../q.txt", "none/../none/../q.txt"]
        {
            assert_eq!(resolved(&root.join(way)).expect("a path"), root.join("q.txt"), "{way}");
        }
        std::fs::create_dir(root.join("there")).expect("a directory");
        symlink("there", root.join("link")).expect("a link");
        assert_eq!(resolved(&root.join("link/none/../q.txt")).expect("a path"), root.join("there/q.txt"));
    }

    #[test]
    fn whatever_leads_to_a_file_meets_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |path: &str| directory.path().join(path);
        std::fs::create_dir_all(at("data/deep")).expect("a directory");
        std::fs::write(at("data/a.jsonl"), "x").expect("a file");
        std::fs::hard_link(at("data/a.jsonl"), at("hard")).expect("a link");
        symlink("data/a.jsonl", at("soft")).expect("a link");
        symlink("data", at("other")).expect("a link");
        symlink("data/new.jsonl", at("dangling")).expect("a link");
        let source = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            let files = crate::input::find(directory.path(), &crate::Roots::default(), &paths, true);
            of_source(directory.path(), &paths, &files.expect("files").files).expect("places")
        };
        let meets = |one: &[Place], other: &[Place]| {
            let end = |access, places: &[Place]| model::plan::places::End { access, places: places.to_vec() };
            use model::plan::places::Access::{Reads, Writes};
            !model::plan::places::clashes(&[end(Reads, one), end(Writes, other)], &[(0, 1)]).is_empty()
        };
        let cases = [
            ("data/a.jsonl", "./data/../data/a.jsonl", true),
            ("data/a.jsonl", "hard", true),
            ("hard", "data/a.jsonl", true),
            ("data/a.jsonl", "soft", true),
            ("soft", "other/a.jsonl", true),
            ("data/*.jsonl", "data/new.jsonl", true),
            ("data/*.jsonl", "other/new.jsonl", true),
            ("other/*.jsonl", "data/new.jsonl", true),
            ("o*/*.jsonl", "data/new.jsonl", true),
            ("**/*.jsonl", "data/deeper/new.jsonl", true),
            ("data/new.jsonl", "dangling", true),
            ("data/a.jsonl", "data/b.jsonl", false),
            ("data/*.jsonl", "data/deep/new.jsonl", false),
            ("data/*.jsonl", "data/new.csv", false),
            ("data", "data", false),
            ("/dev/null", "/dev/null", false),
        ];
        for (reads, writes, expected) in cases {
            let written = of_file(&at(writes)).expect("places");
            assert_eq!(meets(&source(&[reads]), &written), expected, "{reads} and {writes}");
        }
        std::fs::remove_file(at("data/a.jsonl")).expect("removed");
        std::fs::remove_file(at("hard")).expect("removed");
        for (reads, writes) in [("data/a.jsonl", "soft"), ("soft", "other/a.jsonl"), ("none/x", "./none/x")] {
            assert!(meets(&source(&[reads]), &of_file(&at(writes)).expect("places")), "{reads} and {writes}");
        }
    }
}
