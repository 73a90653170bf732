//! What becomes of each entry that is sent in again: which sinks it reaches, and where it is refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use model::batch::Batch;
use model::ids::RecordId;

use crate::connector::{Barrier, ConnectError, ConnectErrorKind, Refusals, Sink};
use crate::letters::{Closed, Closing, Group, Letters, LettersError, Outcome, Reached};

/// What became of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// By sink, the records that came of it there.
    pub reached: BTreeMap<String, u64>,
    pub refused: Vec<RefusedAgain>,
}

impl Fate {
    /// What closes the entry.
    pub fn outcome(&self) -> Outcome {
        if self.refused.is_empty() { Outcome::Replayed } else { Outcome::RefusedAgain }
    }
}

/// Where and why a record of an entry was refused again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAgain {
    pub stage: String,
    pub code: String,
    pub message: String,
    pub backtrace: Option<Arc<str>>,
}

/// Watches the letters and the sinks of a job. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Fates(Arc<Mutex<BTreeMap<u64, Fate>>>);

impl Fates {
    /// Letters that are watched, and go to `inner` where there is one. `comes_again_from`: what a checkpoint of the
    /// replay says of letters of records that may come again; none where it is those that follow.
    pub fn letters(
        &self,
        inner: Option<Box<dyn Letters>>,
        comes_again_from: Option<u64>,
    ) -> Box<dyn Letters> {
        Box::new(Watched { fates: self.clone(), inner, comes_again_from, sent_in: Vec::new() })
    }

    /// A sink that is watched, and writes to `inner` where there is one. One whose reader goes away fails: what it
    /// did not get was not delivered.
    pub fn sink(&self, name: &str, inner: Option<Box<dyn Sink>>) -> Box<dyn Sink> {
        Box::new(Watching { name: name.to_owned(), fates: self.clone(), inner })
    }

    /// By entry. Of an entry that is not in here, nothing came.
    pub fn seen(&self) -> BTreeMap<u64, Fate> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Fate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watched {
    fates: Fates,
    inner: Option<Box<dyn Letters>>,
    comes_again_from: Option<u64>,
    /// Worked off, and closed by no checkpoint yet.
    sent_in: Vec<(u64, RecordId)>,
}

impl Letters for Watched {
    fn put(&mut self, group: &Group) -> Result<(), LettersError> {
        let mut fates = self.fates.lock();
        for (row, refusal) in group.refusals.iter().enumerate() {
            let Some(entry) = group.rows.lineage().letter(row) else { continue };
            fates.entry(entry).or_default().refused.push(RefusedAgain {
                stage: group.stage.to_string(),
                code: refusal.code.clone(),
                message: refusal.message.clone(),
                backtrace: refusal.backtrace.clone(),
            });
        }
        drop(fates);
        self.inner.as_mut().map_or(Ok(()), |inner| inner.put(group))
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        self.inner.as_mut().map_or(Ok(()), |inner| inner.sync())
    }

    fn next(&self) -> u64 {
        let next = || self.inner.as_ref().map_or(0, |inner| inner.next());
        self.comes_again_from.unwrap_or_else(next)
    }

    fn sent_in(&mut self, letters: Vec<(u64, RecordId)>) {
        self.sent_in.extend(letters);
    }

    fn closing(&mut self, _: &Reached) -> Closing {
        let fates = self.fates.lock();
        let closed = |(letter, record)| {
            (letter, Closed { record, outcome: fates.get(&letter).map_or(Outcome::Replayed, Fate::outcome) })
        };
        std::mem::take(&mut self.sent_in).into_iter().map(closed).collect()
    }

    fn close(&mut self, closing: &Closing) -> Result<(), LettersError> {
        self.inner.as_mut().map_or(Ok(()), |inner| inner.close(closing))
    }
}

struct Watching {
    name: String,
    fates: Fates,
    inner: Option<Box<dyn Sink>>,
}

/// The end of a reader is a failure here.
fn strict(error: ConnectError) -> ConnectError {
    let next = "what was sent in stays open in the dead-letter store: replay it again".to_owned();
    match error.is_closed() {
        true => ConnectError { kind: ConnectErrorKind::Failed, next, ..error },
        false => error,
    }
}

#[async_trait]
impl Sink for Watching {
    async fn write(&mut self, batch: &Batch, ids: &[RecordId]) -> Result<Refusals, ConnectError> {
        let refusals = match &mut self.inner {
            Some(inner) => inner.write(batch, ids).await.map_err(strict)?,
            None => Refusals::new(),
        };
        let mut fates = self.fates.lock();
        for row in 0..batch.rows() {
            let is_refused = refusals.iter().any(|refusal| refusal.row as usize == row);
            if let Some(entry) = batch.lineage().letter(row).filter(|_| !is_refused) {
                *fates.entry(entry).or_default().reached.entry(self.name.clone()).or_default() += 1;
            }
        }
        drop(fates);
        Ok(refusals)
    }

    fn wants_ids(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.wants_ids())
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        match &mut self.inner {
            Some(inner) => inner.flush().await.map_err(strict),
            None => Ok(()),
        }
    }

    async fn prepare(&mut self, barrier: Barrier) -> Result<Vec<u8>, ConnectError> {
        match &mut self.inner {
            Some(inner) => inner.prepare(barrier).await.map_err(strict),
            None => Ok(Vec::new()),
        }
    }

    async fn commit(&mut self, token: &[u8]) -> Result<(), ConnectError> {
        match &mut self.inner {
            Some(inner) => inner.commit(token).await.map_err(strict),
            None => Ok(()),
        }
    }
}
