//! Group commit: appenders put their records down, one thread writes what is there and syncs it, and answers them all.
//! What comes while it syncs goes with the next one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use model::limits::{SPOOL_GROUP_BYTES, SPOOL_PENDING_BYTES_MAX, SYNCED_MARK_AFTER};
use tokio::sync::{oneshot, watch};

use super::log::{Group, Log};
use super::reader::{Durable, Reader};
use super::{NotTaken, Records, SpoolError};
use crate::fault::{self, Point};

/// The near end of a spool. Cheap to clone.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

/// Where records are that were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    pub first: u64,
    pub records: u32,
}

/// What a spool holds, to be looked at from elsewhere.
#[derive(Debug, Default)]
pub struct SpoolMeter {
    bytes: AtomicU64,
    next: AtomicU64,
    released: AtomicU64,
    syncs: AtomicU64,
}

impl SpoolMeter {
    /// What its segments hold.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Records that are durable and not released.
    pub fn records(&self) -> u64 {
        self.next.load(Ordering::Relaxed).saturating_sub(self.released.load(Ordering::Relaxed))
    }

    /// How often it was synced.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    fn look(&self, log: &Log) {
        self.bytes.store(log.used_bytes(), Ordering::Relaxed);
        self.next.store(log.next(), Ordering::Relaxed);
        self.released.store(log.released(), Ordering::Relaxed);
    }
}

struct Shared {
    dir: Arc<std::path::Path>,
    inbox: Mutex<Inbox>,
    /// The thread waits for it.
    more: Condvar,
    meter: Arc<SpoolMeter>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread is to do.
#[derive(Default)]
struct Inbox {
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    release_to: u64,
    /// Nobody wakes a thread that works.
    waits: bool,
    /// Why nothing more is taken.
    closed: Option<NotTaken>,
}

struct Pending {
    records: Records,
    answer: oneshot::Sender<Result<Numbers, NotTaken>>,
}

impl Spool {
    /// `at`: the first record that is read.
    pub(super) fn spawn(log: Log, at: u64) -> Result<(Self, Reader), SpoolError> {
        let meter = Arc::new(SpoolMeter::default());
        meter.look(&log);
        let shared = Arc::new(Shared {
            dir: log.dir().into(),
            inbox: Mutex::default(),
            more: Condvar::new(),
            meter,
            thread: Mutex::default(),
        });
        let (durable, watch) = watch::channel(Durable { next: log.durable(), failed: None });
        let tail = log.tail(at);
        let spool = Self { shared: shared.clone() };
        let thread = std::thread::Builder::new().name("spool".to_owned());
        let thread = thread.spawn(move || Writer { log, shared, durable, group: Group::default() }.run());
        let thread = thread.map_err(|error| spool.gone(&error.to_string()))?;
        *lock(&spool.shared.thread) = Some(thread);
        Ok((spool.clone(), Reader::new(spool, watch, tail)))
    }

    /// Puts records into the spool, all or none. They are durable when this comes back.
    pub async fn append(&self, records: Records) -> Result<Numbers, NotTaken> {
        let bytes = Group::bytes_of(&records);
        let (answer, answered) = oneshot::channel();
        {
            let mut inbox = lock(&self.shared.inbox);
            if let Some(why) = &inbox.closed {
                return Err(why.clone());
            }
            if !inbox.pending.is_empty() && inbox.pending_bytes + bytes > SPOOL_PENDING_BYTES_MAX {
                return Err(NotTaken::Busy);
            }
            inbox.pending_bytes += bytes;
            inbox.pending.push_back(Pending { records, answer });
            self.shared.wake(inbox);
        }
        answered.await.unwrap_or_else(|_| Err(self.gone("it has ended").into()))
    }

    pub fn meter(&self) -> Arc<SpoolMeter> {
        self.shared.meter.clone()
    }

    /// Nothing more is taken from now on; what was put down is made durable and answered for.
    pub fn stop(&self) {
        let mut inbox = lock(&self.shared.inbox);
        inbox.closed.get_or_insert(NotTaken::Stopping);
        self.shared.wake(inbox);
    }

    /// Records before `to` are not wanted any more.
    pub fn release(&self, to: u64) {
        let mut inbox = lock(&self.shared.inbox);
        if to > inbox.release_to {
            inbox.release_to = to;
            self.shared.wake(inbox);
        }
    }

    /// Stops, and waits until the files are free.
    pub(super) fn close(&self) {
        self.stop();
        let thread = lock(&self.shared.thread).take();
        // A panic there has been told by the panic hook.
        let _ = thread.map(JoinHandle::join);
    }

    pub(super) fn gone(&self, why: &str) -> SpoolError {
        SpoolError::Gone { path: self.shared.dir.to_path_buf(), why: why.to_owned() }
    }
}

impl Shared {
    fn wake(&self, mut inbox: MutexGuard<'_, Inbox>) {
        if std::mem::take(&mut inbox.waits) {
            drop(inbox);
            self.more.notify_one();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread has to do.
enum Todo {
    /// What it took, and then to release what is before this record.
    Commit { release_to: u64 },
    /// Nothing has come for a while.
    Mark,
    /// Nothing more can come.
    End,
}

/// The thread.
struct Writer {
    log: Log,
    shared: Arc<Shared>,
    durable: watch::Sender<Durable>,
    group: Group,
}

impl Writer {
    fn run(mut self) {
        let mut taken = Vec::new();
        loop {
            let done = match self.next(&mut taken) {
                Todo::Commit { release_to } => {
                    self.commit(&mut taken).and_then(|()| self.log.release(release_to))
                }
                Todo::Mark => self.log.mark(),
                Todo::End => break,
            };
            self.shared.meter.look(&self.log);
            if let Err(error) = done {
                tracing::error!(%error, "the spool has failed");
                return self.fail(error);
            }
        }
        if let Err(error) = self.log.mark() {
            tracing::error!(%error, "the spool has failed");
            self.fail(error);
        }
    }

    /// Says it to everybody, those who are about to come included.
    fn fail(&self, error: SpoolError) {
        let pending = {
            let mut inbox = lock(&self.shared.inbox);
            inbox.closed = Some(error.clone().into());
            std::mem::take(&mut inbox.pending)
        };
        for Pending { answer, .. } in pending {
            // Nobody waits for an answer whose connection is gone.
            let _ = answer.send(Err(error.clone().into()));
        }
        self.durable.send_modify(|durable| durable.failed = Some(error));
    }

    /// Waits for something to do, and takes as much as one frame should have.
    fn next(&self, taken: &mut Vec<Pending>) -> Todo {
        let idle_from = Instant::now();
        let mut inbox = lock(&self.shared.inbox);
        while inbox.pending.is_empty() && inbox.release_to <= self.log.released() {
            if inbox.closed.is_some() {
                return Todo::End;
            }
            inbox.waits = true;
            inbox = match self.log.is_marked() {
                true => self.shared.more.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                false => {
                    let Some(left) = SYNCED_MARK_AFTER.checked_sub(idle_from.elapsed()) else {
                        inbox.waits = false;
                        return Todo::Mark;
                    };
                    let waited = self.shared.more.wait_timeout(inbox, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let mut bytes = 0;
        while let Some(pending) = inbox.pending.pop_front_if(|pending| {
            let more = Group::bytes_of(&pending.records);
            let fits = bytes == 0 || bytes + more <= SPOOL_GROUP_BYTES;
            bytes += more;
            fits
        }) {
            inbox.pending_bytes -= Group::bytes_of(&pending.records);
            taken.push(pending);
        }
        Todo::Commit { release_to: inbox.release_to }
    }

    /// Makes all of them durable with one sync, and answers.
    fn commit(&mut self, taken: &mut Vec<Pending>) -> Result<(), SpoolError> {
        if taken.is_empty() {
            return Ok(());
        }
        self.group.clear();
        taken.iter().for_each(|pending| self.group.push(&pending.records));
        let appended = self.log.append(&mut self.group);
        let appended = appended.and_then(|appended| {
            self.log.sync()?;
            Ok(appended)
        });
        // Nobody waits for an answer whose connection is gone.
        match appended {
            Ok(appended) => {
                self.shared.meter.syncs.fetch_add(1, Ordering::Relaxed);
                let mut first = appended.first;
                for Pending { records, answer } in taken.drain(..) {
                    let count = records.count();
                    let _ = answer.send(Ok(Numbers { first, records: count }));
                    first += u64::from(count);
                }
                fault::hit(Point::SpoolAnswered);
                self.durable.send_modify(|durable| durable.next = first);
                Ok(())
            }
            Err(why) => {
                for Pending { answer, .. } in taken.drain(..) {
                    let _ = answer.send(Err(why.clone()));
                }
                match why {
                    NotTaken::Failed(error) => Err(error),
                    _ => Ok(()),
                }
            }
        }
    }
}
