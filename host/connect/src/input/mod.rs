//! Where bytes come from: files, one after the other or followed as they grow, and standard input.
//!
//! Reading blocks, so that it has a thread of its own, which hands pieces over through a bounded channel. The
//! thread ends when its input does, which it says, or when nobody takes its pieces any more.

mod compression;
mod files;
mod follow;
mod gzip;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc as sync;
use std::thread;

use flow::connector::ConnectError;
use model::limits::{READ_AHEAD, READ_BYTES};
use rustix::fs::OFlags;
use tokio::sync::mpsc;

pub(crate) use compression::{Compression, open, open_stream};
use compression::{Opened, open_at, packing};
pub(crate) use files::{Found, find, is_pattern, no_match};
pub(crate) use follow::{Follow, Reach};
pub(crate) use gzip::Members;

use crate::decode::{Chunk, HEADROOM};
use crate::digest::Digest;
use crate::place::{Changed, Mark, Place};

/// What standard input is called.
const STDIN: &str = "stdin";

/// What a reading thread says.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A split begins. Lanes are numbered anew for each.
    Open {
        lane: u64,
        split: Arc<str>,
        /// None of what cannot be read again.
        origin: Option<Box<Origin>>,
    },
    /// More is known of a file that grows.
    Mark {
        lane: u64,
        mark: Mark,
    },
    Data {
        lane: u64,
        chunk: Chunk,
    },
    End {
        lane: u64,
    },
    /// A split that has ended is not to be known any more: its file is gone.
    Forget {
        split: Arc<str>,
    },
    /// All of it has been read. A thread that is gone without having said so has broken off.
    Done,
    Failed(ConnectError),
}

/// Where in its file a split begins or goes on.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) place: Place,
    /// The header again, where the split goes on behind it.
    pub(crate) header: Vec<u8>,
    /// Of what was read before, of a file that is followed.
    pub(crate) digest: Option<Digest>,
}

/// Where files go on, by the names of their splits.
pub(crate) type FilePlaces = BTreeMap<Arc<str>, Place>;

/// A file of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputFile {
    pub(crate) path: PathBuf,
    /// As the manifest names it, which is how records are named after it.
    pub(crate) name: Arc<str>,
}

/// What to read.
pub(crate) enum Input {
    Files {
        files: Vec<InputFile>,
        compression: Compression,
        from: FilePlaces,
    },
    Follow(Follow),
    Stdin {
        compression: Compression,
    },
    /// Standard input of which the beginning was read already, and stands in front again.
    Stream(Box<dyn Read + Send>),
}

/// The receiving end of a reading thread.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub(crate) pieces: mpsc::Receiver<Piece>,
    spent: sync::SyncSender<Vec<u8>>,
}

impl Pieces {
    pub(crate) fn read(input: Input) -> Result<Self, ConnectError> {
        let (sender, pieces) = mpsc::channel(READ_AHEAD);
        let (spent, buffers) = sync::sync_channel(READ_AHEAD + 2);
        let feeder = Feeder { pieces: sender, buffers };
        let name = "source-input".to_owned();
        let spawned = thread::Builder::new().name(name).spawn(move || feeder.run(input));
        spawned.map_err(|error| {
            ConnectError::failed("the reading thread", error, "free some memory or threads")
        })?;
        Ok(Self { pieces, spent })
    }

    /// Gives a buffer back to be filled again. One too many is simply dropped.
    pub(crate) fn give_back(&self, buffer: Vec<u8>) {
        let _ = self.spent.try_send(buffer);
    }
}

/// The sending end, on the thread.
pub(crate) struct Feeder {
    pieces: mpsc::Sender<Piece>,
    buffers: sync::Receiver<Vec<u8>>,
}

/// Nobody listens any more.
pub(crate) struct Gone;

impl Feeder {
    fn run(&self, input: Input) {
        let done = match input {
            Input::Files { files, compression, from } => self.read_files(&files, compression, &from),
            Input::Follow(follow) => follow.run(self),
            Input::Stdin { compression } => open_stream(std::io::stdin(), STDIN, compression)
                .map_err(Stop::from)
                .and_then(|r| self.read_stream(r)),
            Input::Stream(reader) => self.read_stream(reader),
        };
        let last = match done {
            Ok(()) => Piece::Done,
            Err(Stop::Failed(error)) => Piece::Failed(error),
            Err(Stop::Gone) => return,
        };
        // Nobody who does not listen any more waits for the end.
        let _ = self.send(last);
    }

    fn read_files(
        &self,
        files: &[InputFile],
        compression: Compression,
        from: &FilePlaces,
    ) -> Result<(), Stop> {
        for (lane, file) in files.iter().enumerate() {
            let lane = lane as u64;
            let from = from.get(&file.name);
            if from.is_some_and(|place| place.ended) {
                continue;
            }
            let Opened { mut reader, mark, header } = open_at(&file.path, &file.name, compression, from)?;
            let is_live = mark.is_none();
            let origin = mark.map(|mark| {
                Box::new(Origin {
                    place: Place { file: mark, ..from.cloned().unwrap_or_default() },
                    header,
                    digest: None,
                })
            });
            self.send(Piece::Open { lane, split: file.name.clone(), origin })?;
            let mut next = || match is_live {
                true => self.some(&mut *reader, &file.name),
                false => self.fill(&mut *reader, &file.name),
            };
            while let Some(chunk) = next()? {
                self.send(Piece::Data { lane, chunk })?;
            }
            self.send(Piece::End { lane })?;
        }
        Ok(())
    }

    fn read_stream(&self, mut reader: Box<dyn Read + Send>) -> Result<(), Stop> {
        self.send(Piece::Open { lane: 0, split: STDIN.into(), origin: None })?;
        while let Some(chunk) = self.some(&mut *reader, STDIN)? {
            self.send(Piece::Data { lane: 0, chunk })?;
        }
        self.send(Piece::End { lane: 0 })?;
        Ok(())
    }

    /// What comes is handed over as it comes: whoever types, or writes into a pipe, waits for an answer. None at the
    /// end.
    pub(crate) fn some(&self, reader: &mut dyn Read, name: &str) -> Result<Option<Chunk>, Stop> {
        let mut chunk = self.chunk();
        let count = read_some(reader, &mut chunk.data[HEADROOM..]).map_err(|error| failed(name, &error))?;
        chunk.end = HEADROOM + count;
        Ok((count > 0).then_some(chunk))
    }

    /// As much as fits into a piece. None at the end.
    pub(crate) fn fill(&self, reader: &mut dyn Read, name: &str) -> Result<Option<Chunk>, Stop> {
        let mut chunk = self.chunk();
        let mut end = HEADROOM;
        while end < chunk.data.len() {
            match read_some(reader, &mut chunk.data[end..]).map_err(|error| failed(name, &error))? {
                0 => break,
                count => end += count,
            }
        }
        chunk.end = end;
        Ok((end > HEADROOM).then_some(chunk))
    }

    fn chunk(&self) -> Chunk {
        let size = HEADROOM + READ_BYTES;
        let mut data = self.buffers.try_recv().unwrap_or_default();
        data.resize(size, 0);
        Chunk { data, end: HEADROOM }
    }

    pub(crate) fn send(&self, piece: Piece) -> Result<(), Gone> {
        self.pieces.blocking_send(piece).map_err(|_| Gone)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.pieces.is_closed()
    }
}

/// Opens a file, and a pipe without waiting for its writer: what it has not got yet is `WouldBlock` when it is read.
pub(crate) fn open_at_once(path: &Path) -> std::io::Result<File> {
    File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

/// Whether all files are still those that were read before, and as far as they have to be.
pub(crate) fn check_places(files: &[InputFile], from: &FilePlaces) -> Result<(), ConnectError> {
    let there: BTreeMap<&str, &InputFile> = files.iter().map(|file| (&*file.name, file)).collect();
    for (split, place) in from {
        let opened = match there.get(&**split).map(|file| open_at_once(&file.path)) {
            Some(Ok(opened)) => Some(opened),
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => return Err(failed(split, &error)),
            _ => None,
        };
        let Some(opened) = opened else {
            // One that was read to its end is not needed any more.
            if place.ended {
                continue;
            }
            return Err(Changed::Gone { position: place.position }.of_file(split));
        };
        let checked = place.file.check(&opened, place.file.bytes).map_err(|error| failed(split, &error))?;
        checked.map_err(|changed| changed.of_file(split))?;
    }
    Ok(())
}

/// A plain file of lines that was read to its end and has grown since goes on where it ended, if that was the end of a
/// line. Of any other it is said that what has come since is not read.
pub(crate) fn go_on_where_grown(
    files: &[InputFile],
    compression: Compression,
    from: &mut FilePlaces,
) -> Result<(), ConnectError> {
    for file in files {
        let Some(place) = from.get_mut(&file.name).filter(|place| place.ended) else { continue };
        let read = || -> std::io::Result<(u64, Vec<u8>, Vec<u8>)> {
            let mut opened = open_at_once(&file.path)?;
            let (mut head, mut last) = (Vec::new(), Vec::new());
            opened.by_ref().take(4).read_to_end(&mut head)?;
            opened.seek(SeekFrom::Start(place.position.saturating_sub(1)))?;
            opened.by_ref().take(1).read_to_end(&mut last)?;
            Ok((opened.metadata()?.len(), head, last))
        };
        let (bytes, head, last) = read().map_err(|error| failed(&file.name, &error))?;
        let is_plain = packing(&head, &file.name, compression)? == Compression::None;
        if is_plain && bytes > place.position && (last == *b"\n" || place.position == 0) {
            place.ended = false;
        } else if bytes > place.file.bytes {
            let (was, file) = (place.file.bytes, &*file.name);
            tracing::warn!(
                file,
                was,
                bytes,
                "the file has grown since it was read to its end, and cannot be gone on with: what has come is not read"
            );
        }
    }
    Ok(())
}

/// A reading thread is gone, and has said neither that all was read nor what failed. What came before it is no whole.
pub(crate) fn broken_off() -> ConnectError {
    ConnectError::failed(
        "the reading thread",
        "it broke off before the end of its input",
        "what it said last stands above; fetch the file again if it is damaged, else report this as a defect",
    )
}

/// Why a reading thread ends early.
pub(crate) enum Stop {
    Gone,
    Failed(ConnectError),
}

impl From<Gone> for Stop {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<ConnectError> for Stop {
    fn from(error: ConnectError) -> Self {
        Self::Failed(error)
    }
}

pub(crate) fn read_some(reader: &mut dyn Read, into: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match reader.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

pub(crate) fn failed(name: &str, error: &std::io::Error) -> ConnectError {
    let (why, next) = match error.kind() {
        ErrorKind::NotFound => (
            "there is no such file",
            "check the path; it is relative to the manifest, and of a bundle to the current directory",
        ),
        ErrorKind::PermissionDenied => ("permission denied", "let this user read it, or run as one who may"),
        ErrorKind::IsADirectory => ("it is a directory", "name the files in it, for example with `*.csv`"),
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
            let next = "the file is damaged or cut off: fetch it again";
            return ConnectError::failed(name, format!("it cannot be unpacked: {error}"), next);
        }
        _ => {
            return ConnectError::failed(
                name,
                format!("it cannot be read: {error}"),
                "check the file and its disk",
            );
        }
    };
    ConnectError::failed(name, why, next)
}
