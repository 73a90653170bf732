//! A sink that commits files into a directory that it was granted, and dies as it is told: for tests of whole runs.
//! Each checkpoint is a file of its own, hidden until it stands.

use conveyor_sdk::{Batch, Context, Failure, Fingerprint, Ids, Rejected, Result, Sink, SinkPlan};
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

/// What it is told.
#[conveyor_sdk::config]
#[derive(Default)]
#[serde(default, rename_all = "kebab-case")]
pub struct Config {
    /// Records on which it dies.
    poison: Vec<String>,
    /// Records on which it dies for the first time that it sees one of them.
    startles: Vec<String>,
    /// Whether it dies for the first time that it is to prepare something.
    dies_in_prepare: bool,
    /// Whether it dies for the first time that it is to commit something.
    dies_in_commit: bool,
    /// Whether it dies on whatever comes.
    hopeless: bool,
    /// What each line ends with, before its line break. Its fingerprint.
    suffix: String,
    /// Records at which it gives up.
    gives_up: Vec<String>,
}

pub struct Store {
    config: Config,
    lines: Vec<u8>,
}

fn failed(error: ErrorCode) -> Failure {
    Failure::fatal(format!("its directory: {error:?}"))
}

/// The first directory that it was granted.
fn directory() -> Result<Descriptor> {
    let granted = preopens::get_directories().into_iter().next();
    granted.map(|(directory, _)| directory).ok_or_else(|| Failure::fatal("grant it a directory"))
}

fn write(name: &str, bytes: &[u8]) -> Result {
    let (create, flags) = (OpenFlags::CREATE | OpenFlags::TRUNCATE, DescriptorFlags::WRITE);
    let file = directory()?.open_at(PathFlags::empty(), name, create, flags).map_err(failed)?;
    let mut written = 0;
    while written < bytes.len() {
        written += file.write(&bytes[written..], written as u64).map_err(failed)? as usize;
    }
    Ok(())
}

fn exists(name: &str) -> Result<bool> {
    Ok(directory()?.stat_at(PathFlags::empty(), name).is_ok())
}

impl Sink for Store {
    type Config = Config;

    fn plan(_: &Config) -> Result<SinkPlan> {
        Ok(SinkPlan::new().commits())
    }

    fn fingerprint(config: &Config) -> Option<Fingerprint> {
        Some(Fingerprint::new().part("suffix", &config.suffix))
    }

    fn open(config: Config, context: Context) -> Result<Self> {
        for token in &context.committed {
            commit(token)?;
        }
        let directory = directory()?;
        let mut hidden = Vec::new();
        let entries = directory.read_directory().map_err(failed)?;
        while let Some(entry) = entries.read_directory_entry().map_err(failed)? {
            if entry.name.starts_with(".part") {
                hidden.push(entry.name);
            }
        }
        for name in hidden {
            directory.unlink_file_at(&name).map_err(failed)?;
        }
        Ok(Store { config, lines: Vec::new() })
    }

    fn write(&mut self, batch: &Batch, _: Ids<'_>, _: &mut Rejected) -> Result {
        for record in batch {
            let is_one_of = |these: &[String]| these.iter().any(|this| this.as_bytes() == record.bytes());
            if self.config.hopeless || is_one_of(&self.config.poison) {
                die_of_poison();
            }
            if is_one_of(&self.config.gives_up) {
                return Err(Failure::fatal("it has had enough"));
            }
            if is_one_of(&self.config.startles) {
                die_once("startled")?;
            }
            self.lines.extend_from_slice(record.bytes());
            self.lines.extend_from_slice(self.config.suffix.as_bytes());
            self.lines.push(b'\n');
        }
        Ok(())
    }

    fn prepare(&mut self, checkpoint: u64) -> Result<Vec<u8>> {
        if self.config.dies_in_prepare {
            die_once("prepared")?;
        }
        if self.lines.is_empty() {
            return Ok(Vec::new());
        }
        let name = format!("part-{checkpoint:06}");
        write(&format!(".{name}"), &self.lines)?;
        self.lines.clear();
        Ok(name.into_bytes())
    }

    fn commit(&mut self, token: &[u8]) -> Result {
        if self.config.dies_in_commit {
            die_once("committed")?;
        }
        commit(token)
    }
}

/// Gives a file its name; one that has it already is as good.
fn commit(token: &[u8]) -> Result {
    let name = std::str::from_utf8(token).map_err(Failure::fatal)?;
    let hidden = format!(".{name}");
    if name.is_empty() || !exists(&hidden)? {
        return Ok(());
    }
    let directory = directory()?;
    directory.rename_at(&hidden, &directory, name).map_err(failed)
}

#[inline(never)]
fn die_of_poison() -> ! {
    panic!("this is poison");
}

/// Dies unless it has died in this way before.
fn die_once(why: &str) -> Result {
    let mark = format!("died-{why}");
    if !exists(&mark)? {
        write(&mark, why.as_bytes())?;
        panic!("{why} for the first time");
    }
    Ok(())
}

conveyor_sdk::sink!(Store);
