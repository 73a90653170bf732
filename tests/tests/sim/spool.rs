//! A source to which clients post, in front of the real spool.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use disk::Disk;
use flow::spool::{Group, Log, NotTaken, Records, SpoolError, SpoolOptions, Tail};

use super::bad_disk::{BadDisk, Fault};
use super::disk::SimDisk;
use super::graph::Origin;

/// Of a segment, before its first frame.
const FILE_HEAD_BYTES: usize = 40;

fn options(disk: Arc<dyn Disk>, name: &str, seed: u64) -> SpoolOptions {
    SpoolOptions { dir: PathBuf::from(format!("/{name}")), bytes_max: 1620, segment_bytes: 270, seed, disk }
}

/// The records that are in a spool, as whoever opens it finds them.
pub fn left(disk: &SimDisk, name: &str, source: u8) -> Result<Vec<Origin>, String> {
    let log = options(Arc::new(disk.clone()), name, 0).open_log(None).map_err(|error| error.to_string())?;
    let mut tail = log.tail(log.first());
    let mut found = Vec::new();
    read(&mut tail, source, &mut found).map_err(|error| error.to_string())?;
    Ok(found.into_iter().map(|(_, origin)| origin).collect())
}

/// What cannot be read as a record is one that nobody gave.
fn read(tail: &mut Tail, source: u8, into: &mut Vec<(u64, Origin)>) -> Result<(), SpoolError> {
    tail.each(|chunk| {
        for (number, value) in (chunk.first..).zip(chunk.values()) {
            let given =
                std::str::from_utf8(value).ok().and_then(|text| text.strip_prefix("record ")?.parse().ok());
            into.push((number, Origin { source, split: 0, number: given.unwrap_or(u64::MAX) }));
        }
    })
}

/// What waits for a sync.
struct Request {
    records: Vec<Origin>,
}

pub struct SimSpool {
    source: u8,
    log: Log,
    tail: Tail,
    /// Came, and are not written.
    waiting: Vec<Request>,
    /// Written, and not synced.
    written: Vec<Request>,
    /// Read from the spool: the number there, and the record.
    read: VecDeque<(u64, Origin)>,
}

impl SimSpool {
    /// `from`: where a checkpoint is, where there is one.
    pub fn open(
        disk: &SimDisk,
        fault: Option<Fault>,
        name: &str,
        source: u8,
        from: Option<u64>,
        seed: u64,
    ) -> Result<Self, SpoolError> {
        let log = options(BadDisk::over(disk, fault), name, seed).open_log(from)?;
        let tail = log.tail(from.unwrap_or(log.first()));
        let (waiting, written, read) = (Vec::new(), Vec::new(), VecDeque::new());
        Ok(Self { source, log, tail, waiting, written, read })
    }

    pub fn believing() -> Fault {
        Fault::NoChecksum { head: FILE_HEAD_BYTES }
    }

    pub fn post(&mut self, records: Vec<Origin>) {
        self.waiting.push(Request { records });
    }

    pub fn is_writing(&self) -> bool {
        !self.written.is_empty()
    }

    /// Writes all that has come as one group, where the one before is durable. Gives the requests that find no room,
    /// and whether anything was written.
    pub fn write(&mut self) -> Result<Vec<Vec<Origin>>, SpoolError> {
        let mut group = Group::default();
        for request in &self.waiting {
            let mut records = Records::new(0).labelled(None, []);
            request
                .records
                .iter()
                .for_each(|origin| records.push(format!("record {}", origin.number).as_bytes()));
            group.push(&records);
        }
        let waiting = std::mem::take(&mut self.waiting);
        match self.log.append(&mut group) {
            Ok(_) => {
                self.written = waiting;
                Ok(Vec::new())
            }
            Err(NotTaken::Failed(error)) => Err(error),
            Err(_) => Ok(waiting.into_iter().map(|request| request.records).collect()),
        }
    }

    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Makes durable what was written.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        self.log.sync()
    }

    /// The requests that are answered now.
    pub fn take_written(&mut self) -> Vec<Vec<Origin>> {
        std::mem::take(&mut self.written).into_iter().map(|request| request.records).collect()
    }

    /// Up to so many records that are durable, with their numbers.
    pub fn pull(&mut self, count: usize) -> Result<Vec<(u64, Origin)>, SpoolError> {
        if self.read.is_empty() {
            let mut found = Vec::new();
            read(&mut self.tail, self.source, &mut found)?;
            self.read.extend(found);
        }
        let count = count.min(self.read.len());
        Ok(self.read.drain(..count).collect())
    }

    /// Whether nothing is on its way through it.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.written.is_empty() && self.read.is_empty()
    }

    /// Says durably what is durable, where nothing else does.
    pub fn mark(&mut self) -> Result<(), SpoolError> {
        self.log.mark()
    }

    pub fn release(&mut self, to: u64) -> Result<(), SpoolError> {
        self.log.release(to)
    }
}
