//! Names and passwords, from where every client of registries keeps them: `~/.docker/config.json` and the programs that it
//! names.

use std::path::PathBuf;

/// Why names and passwords could not be read, asked for, or kept.
#[derive(thiserror::Error, Debug)]
pub enum CredentialsError {
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
}
