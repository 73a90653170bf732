//! From batches to bytes on a file or standard output.
//!
//! Encoding happens where the batch is; writing and packing block, and have a thread of their own. Between
//! the two stand a few blocks at most, so that a slow disk stops the belt and memory stays flat.

mod aside;
mod csv;
mod durable;
mod encode;
mod file;
mod lock;
mod one;
mod packed;
mod rotate;
mod row;
mod stdout;
mod token;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use flow::connector::{Barrier, ConnectError};
use flow::pacing::Drain;
use model::limits::{WRITE_BEHIND, WRITE_BEHIND_BYTES_MAX, WRITE_BYTES, WRITE_TIME};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub use aside::SetAside;
pub(crate) use aside::{Next, has_file, path_of, set_file_aside};
pub(crate) use csv::{CsvEncoder, CsvStyle};
pub(crate) use durable::resolved;
pub(crate) use encode::{EncodedSink, Encoder};
pub(crate) use file::{Delivery, FileOptions, IfExists, failed as write_failed};
pub(crate) use one::part_name;
pub(crate) use packed::Packing;
pub(crate) use rotate::{Rotation, row_names};
pub(crate) use stdout::StdoutOutput;

/// What is handed over to be written.
#[derive(Debug)]
pub(crate) enum Block {
    /// Whole records.
    Bytes(Vec<u8>),
    Rows(RecordBatch),
}

impl Block {
    fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Rows(rows) => rows.get_array_memory_size(),
        }
    }
}

/// The thing that is written to, on the writing thread. After an error it is not asked again.
pub(crate) trait Output: Send {
    /// Whether whoever drops the writer waits until the thread is done with it: a run that begins anew in the same
    /// process goes on in the same files. Not of what may block for ever, such as a pipe.
    fn is_waited_for(&self) -> bool {
        false
    }
    fn write(&mut self, block: &Block) -> Result<(), ConnectError>;
    /// What was written becomes visible to others.
    fn flush(&mut self) -> Result<(), ConnectError>;
    /// What was written becomes durable. The token says what it was.
    fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError>;
    /// What was prepared up to this token becomes visible, if it is not yet.
    fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError>;
    /// After how long there is something to prepare though nothing is written until then.
    fn due_in(&self) -> Option<Duration> {
        None
    }
}

impl<T: Output + ?Sized> Output for Box<T> {
    fn is_waited_for(&self) -> bool {
        (**self).is_waited_for()
    }

    fn write(&mut self, block: &Block) -> Result<(), ConnectError> {
        (**self).write(block)
    }

    fn flush(&mut self) -> Result<(), ConnectError> {
        (**self).flush()
    }

    fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        (**self).prepare(barrier)
    }

    fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        (**self).commit(token)
    }

    fn due_in(&self) -> Option<Duration> {
        (**self).due_in()
    }
}

enum Command {
    /// With its room, which is free when it is written.
    Write(Block, OwnedSemaphorePermit),
    Flush(oneshot::Sender<()>),
    Prepare(Barrier, oneshot::Sender<Vec<u8>>),
    Commit(Vec<u8>, oneshot::Sender<()>),
}

/// The near end of a writing thread. When it is dropped, what was not prepared may be lost.
pub(crate) struct Writer {
    commands: mpsc::Sender<Command>,
    /// In bytes. One block that is larger than all of it has it for itself.
    room: Arc<Semaphore>,
    /// To be waited for, of outputs that want it.
    thread: Option<thread::JoinHandle<()>>,
    /// What may be on its way to the thread, which finds out how quick the output is.
    window: Arc<AtomicUsize>,
    /// When the output has something to prepare by itself.
    due: Arc<Due>,
    /// Nobody wants what is still to be written.
    abandoned: Arc<AtomicBool>,
    /// Why the thread has ended, once it has.
    failed: Arc<Mutex<Option<ConnectError>>>,
}

/// Who writes to an output.
pub(crate) enum Writing {
    Thread(Writer),
    /// Whoever calls: each call is done when it comes back.
    Here(Box<dyn Output>),
}

/// When an output has something to prepare by itself, as its thread found last.
struct Due {
    since: Instant,
    /// Microseconds from then.
    at: AtomicU64,
}

impl Due {
    const NEVER: u64 = u64::MAX;

    fn of(output: &impl Output) -> Self {
        let due = Self { since: Instant::now(), at: AtomicU64::new(Self::NEVER) };
        due.look(output);
        due
    }

    fn look(&self, output: &impl Output) {
        let at = output.due_in().map(|due_in| self.since.elapsed().saturating_add(due_in).as_micros());
        let at = at.map_or(Self::NEVER, |at| u64::try_from(at).unwrap_or(Self::NEVER));
        self.at.store(at, Ordering::Relaxed);
    }

    fn due_in(&self) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed);
        (at != Self::NEVER).then(|| Duration::from_micros(at).saturating_sub(self.since.elapsed()))
    }
}

impl Writing {
    /// A thread of its own.
    pub(crate) fn behind(output: impl Output + 'static) -> Result<Self, ConnectError> {
        Ok(Self::Thread(Writer::spawn(output)?))
    }

    /// How many bytes are to be gathered before they are handed over. Pieces are smaller in front of a slow reader, so
    /// that what is on its way to it is soon read, and a barrier comes through.
    pub(crate) fn piece_bytes(&self) -> usize {
        match self {
            Self::Thread(writer) => {
                let window = writer.window.load(Ordering::Relaxed);
                // Beside those that wait, one is being written.
                (window / (WRITE_BEHIND + 1)).clamp(1, WRITE_BYTES)
            }
            Self::Here(_) => WRITE_BYTES,
        }
    }

    pub(crate) async fn write(&mut self, block: Block) -> Result<(), ConnectError> {
        match self {
            Self::Thread(writer) => writer.write(block).await,
            Self::Here(output) => output.write(&block),
        }
    }

    pub(crate) async fn flush(&mut self) -> Result<(), ConnectError> {
        match self {
            Self::Thread(writer) => writer.flush().await,
            Self::Here(output) => output.flush(),
        }
    }

    pub(crate) async fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        match self {
            Self::Thread(writer) => writer.prepare(barrier).await,
            Self::Here(output) => output.prepare(barrier),
        }
    }

    pub(crate) async fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        match self {
            Self::Thread(writer) => writer.commit(token).await,
            Self::Here(output) => output.commit(token),
        }
    }

    pub(crate) fn due_in(&self) -> Option<Duration> {
        match self {
            Self::Thread(writer) => writer.due.due_in(),
            Self::Here(output) => output.due_in(),
        }
    }
}

impl Writer {
    fn spawn(mut output: impl Output + 'static) -> Result<Self, ConnectError> {
        let (commands, mut incoming) = mpsc::channel(WRITE_BEHIND);
        let failed = Arc::new(Mutex::new(None));
        let slot = failed.clone();
        let is_waited_for = output.is_waited_for();
        let abandoned = Arc::new(AtomicBool::new(false));
        let stop = abandoned.clone();
        let window = Arc::new(AtomicUsize::new(0));
        let open = window.clone();
        let due = Arc::new(Due::of(&output));
        let found = due.clone();
        let work = move || {
            let mut drain = Drain::default();
            while let Some(command) = incoming.blocking_recv() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let done = match command {
                    Command::Write(block, room) => {
                        let begun = Instant::now();
                        let written = output.write(&block);
                        let now = Instant::now();
                        drain.worked_off(block.bytes(), now - begun, WRITE_TIME, now);
                        open.store(drain.window(), Ordering::Relaxed);
                        found.look(&output);
                        drop((block, room));
                        written
                    }
                    Command::Flush(reply) => output.flush().map(|()| {
                        let _ = reply.send(());
                    }),
                    Command::Prepare(barrier, reply) => output.prepare(barrier).map(|token| {
                        found.look(&output);
                        let _ = reply.send(token);
                    }),
                    Command::Commit(token, reply) => output.commit(&token).map(|()| {
                        let _ = reply.send(());
                    }),
                };
                if let Err(error) = done {
                    *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    break;
                }
            }
        };
        let spawned = thread::Builder::new().name("sink-output".to_owned()).spawn(work);
        let thread = spawned.map_err(|error| {
            ConnectError::failed("the writing thread", error, "free some memory or threads")
        })?;
        let (room, thread) =
            (Arc::new(Semaphore::new(WRITE_BEHIND_BYTES_MAX)), Some(thread).filter(|_| is_waited_for));
        Ok(Self { commands, room, thread, window, due, abandoned, failed })
    }

    async fn write(&mut self, block: Block) -> Result<(), ConnectError> {
        let bytes = block.bytes().clamp(1, WRITE_BEHIND_BYTES_MAX) as u32;
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| self.error())?;
        self.commands.send(Command::Write(block, room)).await.map_err(|_| self.error())
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        let (reply, done) = oneshot::channel();
        self.commands.send(Command::Flush(reply)).await.map_err(|_| self.error())?;
        done.await.map_err(|_| self.error())
    }

    async fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        let (reply, token) = oneshot::channel();
        self.commands.send(Command::Prepare(barrier, reply)).await.map_err(|_| self.error())?;
        token.await.map_err(|_| self.error())
    }

    async fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        let (reply, done) = oneshot::channel();
        self.commands.send(Command::Commit(token.to_vec(), reply)).await.map_err(|_| self.error())?;
        done.await.map_err(|_| self.error())
    }

    fn error(&self) -> ConnectError {
        let failed = self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        failed.unwrap_or_else(|| {
            ConnectError::failed("the writing thread", "it is gone", "this is a defect: please report it")
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.abandoned.store(true, Ordering::Relaxed);
        // The thread ends when nobody can send to it any more.
        drop(std::mem::replace(&mut self.commands, mpsc::channel(1).0));
        // A panic there has been told by the panic hook.
        let _ = thread.join();
    }
}
