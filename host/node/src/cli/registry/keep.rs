//! `conveyor registry gc` and `registry fsck`: by this process, or by the one that serves the directory.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use model::limits::REGISTRY_GRACE;
use registry::auth::Secret;
use registry::server::{AdminAsked, AdminTold, ask};
use registry::store::{Checked, Collection, Rules, StoreError, StoreOptions};

use super::super::{Output, amounts};
use crate::exit::{Code, Failure, Result};
use crate::report::number;
use crate::terminal;

/// Removes what nothing needs any more: blobs that no manifest names, and what a crash has left
///
/// Pushes may go on meanwhile: where the directory is served, the process that serves it is asked to do it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Gc {
    /// What `registry serve --data` was given
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// What is younger stays, for example 30m; 1h unless set: somebody may be about to name it
    #[arg(long, value_name = "AGE", value_parser = amounts::duration)]
    grace: Option<Duration>,
    /// Remove manifests too to which no tag leads, not by an index and not as what they say something of
    #[arg(long)]
    untagged: bool,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Reads everything, and says what is damaged or missing; exit code 1 where something is
///
/// What is damaged is put aside, so that whoever pushes it again mends it. Where the directory is served, the process that
/// serves it is asked to do it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Fsck {
    /// What `registry serve --data` was given
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Gc {
    pub(super) fn execute(self) -> Result {
        let rules = Rules { grace: self.grace.unwrap_or(REGISTRY_GRACE), untagged: self.untagged };
        let AdminTold::Collected(collection) = execute(&self.data, &AdminAsked::Collect(rules))? else {
            return Err(Failure::Ran(anyhow!(
                "the registry that runs in {} answers something else",
                self.data.display()
            )));
        };
        match self.output {
            Output::Json => terminal::print_json(&serde_json::to_value(&collection).map_err(Failure::ran)?),
            Output::Text => terminal::print(told(&collection)),
        }
    }
}

fn told(collection: &Collection) -> String {
    let Collection { manifests, blobs, files, uploads, bytes } = collection;
    format!(
        "removed {} manifests, {} blobs, {} files and {} uploads: {} bytes",
        number(*manifests),
        number(*blobs),
        number(*files),
        number(*uploads),
        number(*bytes)
    )
}

impl Fsck {
    pub(super) fn execute(self) -> Result {
        let AdminTold::Checked(checked) = execute(&self.data, &AdminAsked::Check)? else {
            return Err(Failure::Ran(anyhow!(
                "the registry that runs in {} answers something else",
                self.data.display()
            )));
        };
        match self.output {
            Output::Json => terminal::print_json(&serde_json::to_value(&checked).map_err(Failure::ran)?)?,
            Output::Text => {
                checked.problems.iter().try_for_each(terminal::print)?;
                terminal::print(summary(&checked))?;
            }
        }
        if checked.problems.is_empty() { Ok(()) } else { Err(Failure::Told(Code::Failed)) }
    }
}

fn summary(checked: &Checked) -> String {
    let Checked { repositories, contents, bytes, damaged, missing, unheld, problems } = checked;
    let problems = match problems.len() {
        0 => "nothing is wrong".to_owned(),
        count => format!("{count} problems: {} damaged, {} missing", number(*damaged), number(*missing)),
    };
    format!(
        "{} repositories, {} contents, {} bytes, {} that nobody has: {problems}",
        number(*repositories),
        number(*contents),
        number(*bytes),
        number(*unheld)
    )
}

/// Does it here, or has it done by whoever has the store.
pub(super) fn execute(data: &Path, asked: &AdminAsked) -> Result<AdminTold> {
    // Nothing is made by looking at a directory that is not there.
    if !data.join("index").is_file() {
        return Err(Failure::Input(anyhow!(
            "there is no registry in {}: name what `registry serve --data` was given",
            data.display()
        )));
    }
    let told = match StoreOptions::new(data).open() {
        Ok(store) => asked.execute(&store),
        Err(StoreError::Locked { .. }) => ask(data, asked).map_err(Failure::ran)?,
        Err(error) => return Err(failure(error)),
    };
    match told {
        AdminTold::Failed(why) => Err(Failure::Ran(anyhow!(why))),
        told => Ok(told),
    }
}

/// Whether somebody has to change what they typed, rather than the disk.
pub(super) fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Locked { .. } | StoreError::Foreign { .. } => Failure::input(error),
        StoreError::Full { .. } => Failure::Full(error.into()),
        error => Failure::ran(error),
    }
}

/// The number by which tokens are signed, which is made where there is none: nobody but its owner reads it.
pub(super) fn secret(data: &Path) -> Result<Secret> {
    let path = data.join("token.key");
    let wrong =
        |error: std::io::Error| Failure::Ran(anyhow::Error::from(error).context(path.display().to_string()));
    match std::fs::read(&path) {
        Ok(bytes) => {
            let bytes: [u8; 32] = bytes.try_into().map_err(|_| {
                Failure::Input(anyhow!(
                    "{} is no key: remove it, and everybody signs in again",
                    path.display()
                ))
            })?;
            Ok(Secret::of(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let bytes = Secret::random().context("the system has no random numbers").map_err(Failure::Ran)?;
            let making = path.with_extension("making");
            let _ = std::fs::remove_file(&making);
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&making)
                .map_err(wrong)?;
            file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(wrong)?;
            std::fs::rename(&making, &path).map_err(wrong)?;
            Ok(Secret::of(bytes))
        }
        Err(error) => Err(wrong(error)),
    }
}
