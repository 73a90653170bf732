//! Contents on their way out: what is not what its name says is never given whole.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use disk::{DiskFile, Mode, Stamp, read_exact_at};
use model::ids::{Digest, Digester};
use model::limits::{REGISTRY_PIECE_BYTES, REGISTRY_VERIFIED_MAX, REGISTRY_VERIFIED_TIME};

use super::{Refused, Result, Store, StoreError, lock};

/// A content that is open. It stays as it is, whatever becomes of its name.
pub struct Content {
    pub digest: Digest,
    pub bytes: u64,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    stamp: Option<Stamp>,
    is_verified: bool,
}

/// Contents that were read as a whole lately and were right. As long as its file has not changed and it is not long ago,
/// the next one who reads it need not compute its digest.
#[derive(Default)]
pub(super) struct Verified(Mutex<HashMap<Digest, (Stamp, u64)>>);

impl Verified {
    fn has(&self, digest: &Digest, stamp: Option<Stamp>, now: u64) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).is_some_and(|(seen, at)| {
            Some(*seen) == stamp && now.saturating_sub(*at) < REGISTRY_VERIFIED_TIME.as_secs()
        })
    }

    fn note(&self, digest: Digest, stamp: Option<Stamp>, now: u64) {
        let Some(stamp) = stamp else { return };
        let mut known = lock(&self.0);
        if known.len() >= REGISTRY_VERIFIED_MAX {
            known.clear();
        }
        known.insert(digest, (stamp, now));
    }
}

impl Store {
    pub(super) fn open_content(&self, digest: &Digest, bytes: u64) -> Result<Content> {
        let path = self.path_of(digest);
        let opened =
            self.disk.open(&path, Mode::Read).and_then(|file| Ok((file.bytes()?, file.stamp()?, file)));
        match opened {
            Ok((there, stamp, file)) => {
                let is_verified = self.verified.has(digest, stamp, self.now());
                let content = Content { digest: *digest, bytes, path, file, stamp, is_verified };
                if there == bytes {
                    return Ok(content);
                }
                Err(self.damaged(&content, format!("it has {there} bytes, and had {bytes}")))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(%digest, "the file of a content is gone");
                Err(Refused::BlobUnknown { digest: *digest }.into())
            }
            Err(error) => Err(StoreError::io(&path, error)),
        }
    }

    /// All of it, which is what its digest says.
    pub fn read_content(&self, content: &Content) -> Result<Vec<u8>> {
        let mut all = vec![0; usize::try_from(content.bytes).unwrap_or(usize::MAX)];
        content.read(&mut all, 0)?;
        if !content.is_verified {
            let found = Digest::by(content.digest.algorithm(), &all);
            self.verdict(content, found)?;
        }
        Ok(all)
    }

    /// Reads all of it, where that was not done lately, so that parts of it can be given.
    pub fn verify(&self, content: &mut Content) -> Result<()> {
        if content.is_verified {
            return Ok(());
        }
        let found = content.compute()?;
        self.verdict(content, found)?;
        content.is_verified = true;
        Ok(())
    }

    /// Reads all of it, whenever that was done before.
    pub(super) fn recheck(&self, mut content: Content) -> Result<()> {
        content.is_verified = false;
        self.verify(&mut content)
    }

    /// Gives the content piece by piece. What lies before `from` and behind `to` is left out, and then it has to be
    /// verified.
    pub fn reader(&self, content: Content, from: u64, to: u64) -> Reader {
        let is_whole = (from, to) == (0, content.bytes);
        let digester = (is_whole && !content.is_verified).then(|| Digester::new(content.digest.algorithm()));
        Reader { content, at: from, to, digester }
    }

    fn verdict(&self, content: &Content, found: Digest) -> Result<()> {
        if found == content.digest {
            self.verified.note(content.digest, content.stamp, self.now());
            return Ok(());
        }
        Err(self.damaged(content, format!("it is {found}")))
    }

    /// Puts what is damaged aside, so that it is not there for whoever wants to push it, and mends it by that.
    fn damaged(&self, content: &Content, why: String) -> StoreError {
        tracing::error!(digest = %content.digest, %why, "a content is damaged");
        if let Err(error) = self.put_aside(&content.digest, content.bytes) {
            tracing::error!(%error, "a damaged content stays where it is");
        }
        StoreError::Content { digest: content.digest, path: content.path.clone(), why }
    }

    /// Looks again, alone: somebody may have pushed it meanwhile. Says whether it was damaged.
    pub(super) fn put_aside(&self, digest: &Digest, bytes: u64) -> Result<bool> {
        let _alone = self.placing.write().unwrap_or_else(PoisonError::into_inner);
        let path = self.path_of(digest);
        let file = match self.disk.open(&path, Mode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.map_err(|error| StoreError::io(&path, error))?,
        };
        let there = file.bytes().map_err(|error| StoreError::io(&path, error))?;
        let content = Content { digest: *digest, bytes: there, path, file, stamp: None, is_verified: false };
        if there == bytes && content.compute()? == *digest {
            return Ok(false);
        }
        let aside = self.contents.join(format!("damaged-{}-{}", digest.algorithm().name(), digest.hex()));
        self.disk.rename(&content.path, &aside).map_err(|error| StoreError::io(&content.path, error))?;
        Ok(true)
    }
}

impl Content {
    fn read(&self, into: &mut [u8], at: u64) -> Result<()> {
        read_exact_at(&*self.file, into, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let why = format!("it ends before byte {}", at + into.len() as u64);
                StoreError::Content { digest: self.digest, path: self.path.clone(), why }
            }
            _ => StoreError::io(&self.path, error),
        })
    }

    /// The digest of what is there.
    fn compute(&self) -> Result<Digest> {
        let mut digester = Digester::new(self.digest.algorithm());
        let mut piece = vec![0; REGISTRY_PIECE_BYTES];
        let mut at = 0;
        while at < self.bytes {
            let some = piece.len().min(usize::try_from(self.bytes - at).unwrap_or(usize::MAX));
            self.read(&mut piece[..some], at)?;
            digester.update(&piece[..some]);
            at += some as u64;
        }
        Ok(digester.finish())
    }
}

/// A content that is given piece by piece. The last piece is given once the whole is known to be what its digest says, so
/// that whoever gets less knows that it is not.
pub struct Reader {
    content: Content,
    at: u64,
    to: u64,
    digester: Option<Digester>,
}

impl Reader {
    /// The next piece; None behind the last.
    pub fn next(&mut self, store: &Store) -> Result<Option<Bytes>> {
        if self.at >= self.to {
            return Ok(None);
        }
        let some = REGISTRY_PIECE_BYTES.min(usize::try_from(self.to - self.at).unwrap_or(usize::MAX));
        let mut piece = store.pieces.take(some);
        self.content.read(piece.room(), self.at)?;
        self.at += some as u64;
        if let Some(digester) = &mut self.digester {
            digester.update(piece.as_ref());
            if self.at == self.to {
                store.verdict(&self.content, digester.clone().finish())?;
            }
        }
        Ok(Some(piece.filled()))
    }
}
