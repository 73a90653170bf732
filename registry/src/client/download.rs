//! Bringing a blob: what broke off goes on behind what came, and nothing is kept that is not what its digest says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, Method, StatusCode};
use model::ids::{Algorithm, Digest, Digester};
use model::limits::{CLIENT_PIECES_AHEAD, CLIENT_RESUMED_MAX};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::failure::{Failure, Tries};
use super::session::Request;
use super::{ClientError, Progress, Remote, wire};
use crate::manifest::Descriptor;

/// Where a blob goes, and how much of it is there.
pub(super) struct Incoming {
    into: Into,
    received: u64,
}

enum Into {
    Memory(BytesMut),
    File(Partial),
}

impl Incoming {
    pub(super) fn memory() -> Self {
        Self { into: Into::Memory(BytesMut::new()), received: 0 }
    }

    pub(super) async fn file(path: &Path, algorithm: Algorithm) -> Result<Self, ClientError> {
        Ok(Self { into: Into::File(Partial::create(path, algorithm).await?), received: 0 })
    }

    async fn put(&mut self, piece: Bytes) -> Result<(), ClientError> {
        self.received += piece.len() as u64;
        match &mut self.into {
            Into::Memory(all) => {
                all.extend_from_slice(&piece);
                Ok(())
            }
            Into::File(partial) => partial.tell(Told::Bytes(piece)).await,
        }
    }

    async fn restart(&mut self) -> Result<(), ClientError> {
        self.received = 0;
        match &mut self.into {
            Into::Memory(all) => {
                all.clear();
                Ok(())
            }
            Into::File(partial) => partial.tell(Told::Restart).await,
        }
    }

    /// Leaves nothing behind.
    pub(super) async fn discard(self) {
        if let Into::File(Partial { told, writer: Some(writer), .. }) = self.into {
            drop(told);
            let _ = writer.await;
        }
    }

    /// The bytes, where they were wanted in memory, once they are what they should be.
    pub(super) async fn finish(self, what: &Descriptor, called: &str) -> Result<Bytes, ClientError> {
        let is_right = |came: &Digest| match *came == what.digest {
            true => Ok(()),
            false => Err(ClientError::corrupt(called, &what.digest, came)),
        };
        match self.into {
            Into::Memory(all) => {
                is_right(&Digest::by(what.digest.algorithm(), &all))?;
                Ok(all.freeze())
            }
            Into::File(partial) => partial.finish(is_right).await.map(|()| Bytes::new()),
        }
    }
}

/// A file that is written beside the one that it is to be. A thread of its own hashes and writes, while the next bytes come.
struct Partial {
    beside: PathBuf,
    into: PathBuf,
    told: mpsc::Sender<Told>,
    /// What the bytes were, once they have ended. None once it was waited for.
    writer: Option<JoinHandle<io::Result<Option<Digest>>>>,
}

enum Told {
    Bytes(Bytes),
    Restart,
    End,
}

impl Partial {
    async fn create(into: &Path, algorithm: Algorithm) -> Result<Self, ClientError> {
        let beside = into.with_file_name(format!(".{:016x}.part", fastrand::u64(..)));
        let (told, tells) = mpsc::channel(CLIENT_PIECES_AHEAD);
        let file = OpenOptions::new().write(true).create_new(true).open(&beside);
        let file = file.map_err(|error| ClientError::File { path: into.to_owned(), error })?;
        let path = beside.clone();
        let writer = tokio::task::spawn_blocking(move || {
            let written = write(file, algorithm, tells);
            // Whoever wanted it has gone, or it could not be written.
            if !matches!(written, Ok(Some(_))) {
                let _ = fs::remove_file(&path);
            }
            written
        });
        Ok(Self { beside, into: into.to_owned(), told, writer: Some(writer) })
    }

    async fn tell(&mut self, told: Told) -> Result<(), ClientError> {
        if self.told.send(told).await.is_ok() {
            return Ok(());
        }
        // The writer ends by itself only where it failed.
        match self.written().await {
            Err(error) => Err(error),
            Ok(_) => Err(self.failed(io::Error::other("it is not written any more"))),
        }
    }

    /// What came of the writer.
    async fn written(&mut self) -> Result<Option<Digest>, ClientError> {
        match self.writer.take() {
            Some(writer) => match writer.await {
                Ok(written) => written.map_err(|error| self.failed(error)),
                Err(broke) => Err(self.failed(io::Error::other(broke))),
            },
            None => Err(self.failed(io::Error::other("it could not be written before"))),
        }
    }

    fn failed(&self, error: io::Error) -> ClientError {
        ClientError::File { path: self.into.clone(), error }
    }

    async fn finish(
        mut self,
        is_right: impl Fn(&Digest) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        self.tell(Told::End).await?;
        let came = self.written().await?;
        let renamed = match came.as_ref().map(is_right) {
            Some(Ok(())) => fs::rename(&self.beside, &self.into).map_err(|error| self.failed(error)),
            Some(Err(error)) => Err(error),
            None => Err(self.failed(io::Error::other("it was not written to its end"))),
        };
        if renamed.is_err() {
            let _ = fs::remove_file(&self.beside);
        }
        renamed
    }
}

fn write(
    mut file: File,
    algorithm: Algorithm,
    mut tells: mpsc::Receiver<Told>,
) -> io::Result<Option<Digest>> {
    let mut digester = Digester::new(algorithm);
    while let Some(told) = tells.blocking_recv() {
        match told {
            Told::Bytes(bytes) => {
                digester.update(&bytes);
                file.write_all(&bytes)?;
            }
            Told::Restart => {
                file.set_len(0)?;
                file.rewind()?;
                digester = Digester::new(algorithm);
            }
            Told::End => return Ok(Some(digester.finish())),
        }
    }
    Ok(None)
}

impl Remote {
    /// Brings all bytes of a blob, in as many tries as it takes.
    pub(super) async fn download(
        &self,
        what: &Descriptor,
        into: &mut Incoming,
        progress: &dyn Progress,
    ) -> Result<(), ClientError> {
        let (mut tries, mut resumed) = (Tries::default(), 0);
        loop {
            let before = into.received;
            let failure = match self.download_once(what, into, progress).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if into.received > before {
                tries.went_on();
            }
            resumed += 1;
            if resumed > CLIENT_RESUMED_MAX {
                return Err(failure.into_error());
            }
            let wait = tries.again(failure, fastrand::f64())?;
            tracing::debug!(digest = %what.digest, received = into.received, ?wait, "goes on");
            sleep(wait).await;
        }
    }

    async fn download_once(
        &self,
        what: &Descriptor,
        into: &mut Incoming,
        progress: &dyn Progress,
    ) -> Result<(), Failure> {
        let called = self.called_blob(what);
        let url = self.url(&format!("blobs/{}", what.digest)).await?;
        let mut request = Request::new(Method::GET, url, &self.pull(), called.as_str());
        if into.received > 0 {
            request = request.header(RANGE, format!("bytes={}-", into.received));
        }
        let expected = [StatusCode::RANGE_NOT_SATISFIABLE];
        let mut response = self.session.open(&request, &expected, &|_| {}).await?;
        let lost = |why: String| Failure::Lost { host: self.session.host.to_string(), why };
        let is_rest = response.status() == StatusCode::PARTIAL_CONTENT;
        if into.received > 0 && !(is_rest && begins_at(response.headers()) == Some(into.received)) {
            // Anything but what was asked for is not put behind what is there.
            into.restart().await?;
            if is_rest || response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                return Err(lost("it does not go on where it broke off".to_owned()));
            }
        }
        let of_other_size = |bytes: u64| ClientError::Corrupt {
            what: called.clone(),
            expected: format!("{} bytes", what.size),
            came: format!("{bytes} bytes"),
        };
        if let Some(bytes) = response.content_length().map(|bytes| bytes.saturating_add(into.received))
            && bytes != what.size
        {
            return Err(of_other_size(bytes).into());
        }
        while let Some(piece) = wire::piece(&mut response).await? {
            let bytes = into.received + piece.len() as u64;
            if bytes > what.size {
                return Err(of_other_size(bytes).into());
            }
            into.put(piece).await?;
            progress.at(what, into.received);
        }
        match into.received == what.size {
            true => Ok(()),
            false => Err(lost(format!("it ended after {} of {} bytes", into.received, what.size))),
        }
    }
}

/// Where a part begins, as its answer says.
fn begins_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.trim().strip_prefix("bytes")?.trim_start().split_once('-')?.0.parse().ok()
}
