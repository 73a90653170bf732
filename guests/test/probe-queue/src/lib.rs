//! A source like a client of a queue, in a directory that it was granted: it reads what is in `queue`, waits for more
//! inside the host, and writes down in `released` up to where it was told that it may forget. For tests of whole runs.

use conveyor_sdk::{Failure, Pull, Result, Source, Split};
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
}

pub struct Queue {
    wait_ms: Option<u64>,
    /// Bytes of the queue that were read.
    read: u64,
}

const BYTES_MAX: u64 = 64 << 10;

fn failed(error: ErrorCode) -> Failure {
    Failure::fatal(format!("its directory: {error:?}"))
}

/// A file of the first directory that it was granted.
fn file(name: &str, open: OpenFlags, flags: DescriptorFlags) -> Result<Descriptor> {
    let granted = preopens::get_directories().into_iter().next();
    let (directory, _) = granted.ok_or_else(|| Failure::fatal("grant it a directory"))?;
    directory.open_at(PathFlags::empty(), name, open, flags).map_err(failed)
}

impl Source for Queue {
    type Config = Config;

    fn splits(_: &Config) -> Result<Vec<String>> {
        Ok(vec!["queue".to_owned()])
    }

    fn open(config: Config) -> Result<Self> {
        Ok(Queue { wait_ms: config.wait_ms, read: 0 })
    }

    fn assign(&mut self, splits: Vec<Split>) -> Result {
        for cursor in splits.into_iter().filter_map(|split| split.cursor) {
            let read = cursor.try_into().map_err(|_| Failure::invalid("this is no cursor of its own"))?;
            self.read = u64::from_le_bytes(read);
        }
        Ok(())
    }

    fn pull(&mut self, out: &mut Pull) -> Result {
        let queue = file("queue", OpenFlags::empty(), DescriptorFlags::READ)?;
        let (bytes, _) = queue.read(BYTES_MAX, self.read).map_err(failed)?;
        for line in bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            if out.is_full() {
                break;
            }
            out.push(self.read, &line[..line.len() - 1]);
            self.read += line.len() as u64;
        }
        if out.is_empty() {
            let wait_ms = self.wait_ms.unwrap_or(u64::from(out.room().wait_ms_max));
            subscribe_duration(wait_ms * 1_000_000).block();
            return Ok(());
        }
        out.of(0).cursor(self.read.to_le_bytes());
        Ok(())
    }

    fn committed(&mut self, _: u32, cursor: &[u8]) -> Result {
        let cursor = cursor.try_into().map_err(|_| Failure::invalid("this is no cursor of its own"))?;
        let released = u64::from_le_bytes(cursor).to_string();
        let file = file("released", OpenFlags::CREATE | OpenFlags::TRUNCATE, DescriptorFlags::WRITE)?;
        file.write(released.as_bytes(), 0).map_err(failed)?;
        Ok(())
    }
}

conveyor_sdk::source!(Queue);
