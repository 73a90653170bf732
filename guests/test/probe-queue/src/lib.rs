//! A source like a client of a queue, in a directory that it was granted: it reads the files `queue...`, waits for more
//! inside the host, and writes down in `released-...` up to where it was told that it may forget. For tests of whole runs.

use conveyor_sdk::{Failure, Fingerprint, Pull, Result, Source, Split};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

/// What it is told.
#[conveyor_sdk::config]
#[derive(Default)]
#[serde(default, rename_all = "kebab-case")]
pub struct Config {
    /// How long it waits when nothing has come, in milliseconds; by default as long as it may.
    wait_ms: Option<u64>,
    /// Whether it takes what comes later at the second try.
    shy: bool,
    /// Of each line, the field that is its record, from 0 on; by default all of it. Its fingerprint.
    field: Option<usize>,
}

pub struct Queue {
    field: Option<usize>,
    wait_ms: Option<u64>,
    shy: bool,
    parts: Vec<Part>,
}

/// One file of the queue.
struct Part {
    name: String,
    /// Bytes of it that were read.
    read: u64,
}

const BYTES_MAX: u64 = 64 << 10;

fn failed(error: ErrorCode) -> Failure {
    Failure::fatal(format!("its directory: {error:?}"))
}

/// The first directory that it was granted.
fn directory() -> Result<Descriptor> {
    let granted = preopens::get_directories().into_iter().next();
    granted.map(|(directory, _)| directory).ok_or_else(|| Failure::fatal("grant it a directory"))
}

fn file(name: &str, open: OpenFlags, flags: DescriptorFlags) -> Result<Descriptor> {
    directory()?.open_at(PathFlags::empty(), name, open, flags).map_err(failed)
}

fn place(cursor: &[u8]) -> Result<u64> {
    let bytes = cursor.try_into().map_err(|_| Failure::invalid("this is no cursor of its own"))?;
    Ok(u64::from_le_bytes(bytes))
}

impl Part {
    /// Gives lines, or a field of them, as far as there is room.
    fn pull(&mut self, field: Option<usize>, out: &mut Pull) -> Result {
        let (bytes, _) = file(&self.name, OpenFlags::empty(), DescriptorFlags::READ)?
            .read(BYTES_MAX, self.read)
            .map_err(failed)?;
        for line in bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            if out.is_full() {
                break;
            }
            let line_bytes = &line[..line.len() - 1];
            let nth = |nth| line_bytes.split(|&byte| byte == b' ').nth(nth).unwrap_or_default();
            out.push(self.read, field.map_or(line_bytes, nth));
            self.read += line.len() as u64;
        }
        Ok(())
    }
}

impl Source for Queue {
    type Config = Config;

    /// The files of the queue that there are by now.
    fn splits(_: &Config) -> Result<Vec<String>> {
        let entries = directory()?.read_directory().map_err(failed)?;
        let mut names = Vec::new();
        while let Some(entry) = entries.read_directory_entry().map_err(failed)? {
            if entry.name.starts_with("queue") {
                names.push(entry.name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn fingerprint(config: &Config) -> Option<Fingerprint> {
        Some(Fingerprint::new().part("field", &config.field))
    }

    fn open(config: Config) -> Result<Self> {
        let Config { wait_ms, shy, field } = config;
        Ok(Queue { field, wait_ms, shy, parts: Vec::new() })
    }

    fn assign(&mut self, splits: Vec<Split>) -> Result {
        if !self.parts.is_empty() && std::mem::take(&mut self.shy) {
            return Err(Failure::retry(10, "not yet"));
        }
        for split in splits {
            let read = split.cursor.map_or(Ok(0), |cursor| place(&cursor))?;
            self.parts.push(Part { name: split.name, read });
        }
        Ok(())
    }

    fn pull(&mut self, out: &mut Pull) -> Result {
        for (split, part) in (0..).zip(&mut self.parts) {
            part.pull(self.field, out)?;
            if !out.is_empty() {
                out.of(split).cursor(part.read.to_le_bytes());
                return Ok(());
            }
        }
        let wait_ms = self.wait_ms.unwrap_or(u64::from(out.room().wait_ms_max));
        subscribe_duration(wait_ms * 1_000_000).block();
        Ok(())
    }

    fn committed(&mut self, split: u32, cursor: &[u8]) -> Result {
        let part = self.parts.get(split as usize).ok_or_else(|| Failure::invalid("no such part"))?;
        let name = format!("released-{}", part.name);
        let file = file(&name, OpenFlags::CREATE | OpenFlags::TRUNCATE, DescriptorFlags::WRITE)?;
        file.write(place(cursor)?.to_string().as_bytes(), 0).map_err(failed)?;
        Ok(())
    }
}

conveyor_sdk::source!(Queue);
