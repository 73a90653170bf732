//! From batches to bytes on a file or standard output.
//!
//! Encoding happens where the batch is; writing and packing block, and have a thread of their own. Between
//! the two stand a few blocks at most, so that a slow disk stops the belt and memory stays flat.

mod csv;
mod encode;
mod file;
mod rotate;
mod stdout;

use std::sync::{Arc, Mutex};
use std::thread;

use arrow::record_batch::RecordBatch;
use flow::connector::ConnectError;
use model::limits::WRITE_BEHIND;
use tokio::sync::{mpsc, oneshot};

pub(crate) use csv::{CsvEncoder, CsvStyle};
pub(crate) use encode::{EncodedSink, Encoder};
pub(crate) use file::{FileOutput, IfExists, Packing};
pub(crate) use rotate::Rotation;
pub(crate) use stdout::StdoutOutput;

/// What is handed over to be written.
#[derive(Debug)]
pub(crate) enum Block {
    /// Whole records.
    Bytes(Vec<u8>),
    Rows(RecordBatch),
}

/// The thing that is written to, on the writing thread. After an error it is not asked again.
pub(crate) trait Output: Send {
    fn write(&mut self, block: &Block) -> Result<(), ConnectError>;
    /// What was written becomes visible to others.
    fn flush(&mut self) -> Result<(), ConnectError>;
    /// What was written becomes durable. The token says what it was.
    fn prepare(&mut self) -> Result<Vec<u8>, ConnectError>;
}

enum Command {
    Write(Block),
    Flush(oneshot::Sender<()>),
    Prepare(oneshot::Sender<Vec<u8>>),
}

/// The near end of a writing thread.
pub(crate) struct Writer {
    commands: mpsc::Sender<Command>,
    /// Why the thread has ended, once it has.
    failed: Arc<Mutex<Option<ConnectError>>>,
}

impl Writer {
    pub(crate) fn spawn(mut output: impl Output + 'static) -> Result<Self, ConnectError> {
        let (commands, mut incoming) = mpsc::channel(WRITE_BEHIND);
        let failed = Arc::new(Mutex::new(None));
        let slot = failed.clone();
        let work = move || {
            while let Some(command) = incoming.blocking_recv() {
                let done = match command {
                    Command::Write(block) => output.write(&block),
                    Command::Flush(reply) => output.flush().map(|()| {
                        let _ = reply.send(());
                    }),
                    Command::Prepare(reply) => output.prepare().map(|token| {
                        let _ = reply.send(token);
                    }),
                };
                if let Err(error) = done {
                    *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    break;
                }
            }
        };
        let spawned = thread::Builder::new().name("sink-output".to_owned()).spawn(work);
        spawned.map_err(|error| {
            ConnectError::failed("the writing thread", error, "free some memory or threads")
        })?;
        Ok(Self { commands, failed })
    }

    pub(crate) async fn write(&mut self, block: Block) -> Result<(), ConnectError> {
        self.commands.send(Command::Write(block)).await.map_err(|_| self.error())
    }

    pub(crate) async fn flush(&mut self) -> Result<(), ConnectError> {
        let (reply, done) = oneshot::channel();
        self.commands.send(Command::Flush(reply)).await.map_err(|_| self.error())?;
        done.await.map_err(|_| self.error())
    }

    pub(crate) async fn prepare(&mut self) -> Result<Vec<u8>, ConnectError> {
        let (reply, token) = oneshot::channel();
        self.commands.send(Command::Prepare(reply)).await.map_err(|_| self.error())?;
        token.await.map_err(|_| self.error())
    }

    fn error(&self) -> ConnectError {
        let failed = self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        failed.unwrap_or_else(|| {
            ConnectError::failed("the writing thread", "it is gone", "this is a defect: please report it")
        })
    }
}
