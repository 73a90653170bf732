//! Where the trust policy is, and what is said of what it decides.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use registry::image_ref::ImageRef;
use registry::trust::{Memory, Policy, PolicyError, Trust};

use crate::exit::{Failure, Result};
use crate::places;

/// The policy that is named, or the one of this user, or none; with what was required before.
pub fn open(named: Option<&Path>) -> Result<Trust> {
    let policy = match named.map(Path::to_owned).or_else(of_this_user) {
        Some(path) => Policy::read(&path).map_err(|error| match error {
            PolicyError::Wrong(problems) => Failure::from(problems),
            error => Failure::Input(anyhow::Error::from(error).context("the trust policy")),
        })?,
        None => Policy::default(),
    };
    let memory = places::required_signatures().map(Memory::open).transpose().map_err(Failure::input)?;
    Ok(Trust { policy, memory })
}

/// `trust.yaml` of the configuration directory, where it is there.
pub fn of_this_user() -> Option<PathBuf> {
    let is_missing =
        |error: &std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    // One that cannot be read, or not even be looked for, is no reason to trust everybody.
    places::trust().filter(|path| !path.symlink_metadata().as_ref().is_err_and(is_missing))
}

/// Not that something was typed wrong: it is not what it has to be.
pub fn refused(image: &ImageRef, expected: &str, came: &str) -> Failure {
    let mut words = crate::words::Words::from(format!("{image} is not trusted"));
    words.push(format!("  expected: {expected}"));
    words.push(format!("  came: {came}"));
    Failure::ran(words)
}

/// Seconds since the Unix epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
