//! Where records go that a stage refuses: dead letters, a counter, or the end of the run, as `on-error` says.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::BinaryArray;
use model::batch::{Batch, BatchError, Parts};
use model::ids::RecordId;
use model::limits::DEAD_LETTER_GROUP_BYTES;
use model::lineage::{Lineage, Offsets, Origin, SourceRows};
use model::manifest::OnError;
use model::plan::Plan;

use crate::connector::{Misfits, Refused};
use crate::error::{Records, RunError};
use crate::fault::{self, Point};
pub use crate::letters::Refusal;
use crate::letters::{BRANCH_CUT, Closing, Form, Group, KeptAs, Letters, Reached};
use crate::meters::Meters;

/// Takes what the stages of one pipeline refuse; one for all its loops.
#[derive(Clone)]
pub(crate) struct Refusing {
    pub plan: Arc<Plan>,
    /// By stage of the plan.
    pub on_error: Arc<[OnError]>,
    pub meters: Meters,
    pub letters: Arc<Mutex<Box<dyn Letters>>>,
}

impl Refusing {
    /// Records that a source could not make, of one pull. `parts`: what they have beside their bytes; `header`: what
    /// their input began with.
    pub fn raw(
        &self,
        source: usize,
        refused: Vec<Refused>,
        parts: &Parts,
        header: Option<&Arc<str>>,
    ) -> Result<(), RunError> {
        let name = &self.plan.stages[source].name;
        match self.on_error[source] {
            OnError::Fail => match refused.into_iter().next() {
                None => Ok(()),
                Some(Refused { split, offset, code, message, .. }) => Err(RunError::Refused {
                    stage: name.to_string(),
                    records: Records::one(Origin { source: name.clone(), split, offset }),
                    code,
                    message,
                }),
            },
            OnError::Drop => {
                self.meters.stages[source].count_dropped(refused.len() as u64);
                let id =
                    |one: &Refused| RecordId::of_source(&self.plan.pipeline, name, &one.split, one.offset);
                self.letters().dropped(name, &|| refused.iter().map(id).collect());
                Ok(())
            }
            OnError::DeadLetter => {
                let source_columns = self.columns_of(source);
                let kept_as = KeptAs { form: Form::Raw, header: header.cloned(), source_columns };
                let mut refused = refused;
                let mut first = 0;
                while !refused.is_empty() {
                    let rest = refused.split_off(together(&refused));
                    let rows: Arc<[u32]> = (first..first + refused.len() as u32).collect();
                    let group = self.raw_group(name, &refused, parts.pick(&rows), kept_as.clone());
                    let group = group.map_err(|error| RunError::Broke {
                        stage: name.to_string(),
                        why: format!("a refused record cannot be written down: {error}"),
                    })?;
                    self.letters().put(&group)?;
                    fault::hit(Point::LetterWritten);
                    (first, refused) = (first + rows.len() as u32, rest);
                }
                Ok(())
            }
        }
    }

    /// All of one split.
    fn raw_group(
        &self,
        source: &Arc<str>,
        refused: &[Refused],
        parts: Parts,
        kept_as: KeptAs,
    ) -> Result<Group, BatchError> {
        let lineage = Lineage::of_source(SourceRows {
            pipeline: self.plan.pipeline.clone(),
            source: source.clone(),
            split: refused[0].split.clone(),
            offsets: Offsets::These(refused.iter().map(|refused| refused.offset).collect()),
        });
        let values = BinaryArray::from_iter_values(refused.iter().map(|refused| &refused.raw));
        let rows = Batch::from_values(values, parts, lineage)?;
        let refusals = refused.iter().enumerate().map(|(row, refused)| Refusal {
            row: row as u32,
            code: refused.code.clone(),
            message: refused.message.clone(),
            backtrace: None,
            attempts: 1,
            is_cut: refused.is_cut,
        });
        Ok(Group { stage: source.clone(), kept_as, rows, refusals: refusals.collect() })
    }

    /// Rows that a source has found and cannot give.
    pub fn found(&self, source: usize, misfits: Misfits) -> Result<(), RunError> {
        let Misfits { rows, rejections } = misfits;
        let kept_as = KeptAs { source_columns: self.columns_of(source), ..Form::Found.into() };
        self.rows(source, &rows, rejections, Some(kept_as))
    }

    /// Names of the columns that a source gives, wanted or not.
    fn columns_of(&self, source: usize) -> Option<Arc<[String]>> {
        let port = self.plan.stages[source].ports.first()?;
        Some(port.offered.schema()?.fields().iter().map(|field| field.name().clone()).collect())
    }

    /// Rows of `batch`, as it came into the stage, with why, and what more is known of them. `kept_as`: what they are; none
    /// where the columns say it.
    pub fn rows(
        &self,
        stage: usize,
        batch: &Batch,
        refusals: Vec<impl Into<Refusal>>,
        kept_as: Option<KeptAs>,
    ) -> Result<(), RunError> {
        let refusals: Vec<Refusal> = refusals.into_iter().map(Into::into).collect();
        let name = &self.plan.stages[stage].name;
        match self.on_error[stage] {
            OnError::Drop => {
                self.meters.stages[stage].count_dropped(refusals.len() as u64);
                let id = |refusal: &Refusal| batch.lineage().id(refusal.row as usize);
                self.letters().dropped(name, &|| refusals.iter().map(id).collect());
                Ok(())
            }
            OnError::Fail => match refusals.into_iter().next() {
                None => Ok(()),
                Some(first) => Err(RunError::Refused {
                    stage: name.to_string(),
                    records: Records::one(batch.lineage().origin(first.row as usize)),
                    code: first.code,
                    message: first.message,
                }),
            },
            OnError::DeadLetter => self.keep(stage, batch, refusals, kept_as),
        }
    }

    /// A batch that a stage does not take because it has failed, for the reason `why`. What `on-error` says of refused
    /// records does not matter: nobody has looked at these.
    pub fn cut(&self, stage: usize, batch: &Batch, why: &str) -> Result<(), RunError> {
        let refusal = |row| Refusal {
            row,
            code: BRANCH_CUT.to_owned(),
            message: why.to_owned(),
            backtrace: None,
            attempts: 0,
            is_cut: false,
        };
        self.keep(stage, batch, (0..batch.rows() as u32).map(refusal).collect(), None)
    }

    fn keep(
        &self,
        stage: usize,
        batch: &Batch,
        refusals: Vec<Refusal>,
        kept_as: Option<KeptAs>,
    ) -> Result<(), RunError> {
        let rows: Arc<[u32]> = refusals.iter().map(|refusal| refusal.row).collect();
        let rows = batch.pick(&rows);
        let is_opaque = *rows.schema() == model::batch::opaque_schema();
        let by_columns = if is_opaque { Form::Opaque } else { Form::Rows };
        let kept_as = kept_as.unwrap_or(by_columns.into());
        let group = Group { stage: self.plan.stages[stage].name.clone(), kept_as, rows, refusals };
        self.letters().put(&group)?;
        fault::hit(Point::LetterWritten);
        Ok(())
    }

    /// Whether records may come for a stage that a run before kept because it had failed.
    pub fn keeps_cut(&self, stage: usize) -> bool {
        self.letters().keeps_cut(&self.plan.stages[stage].name)
    }

    /// The rows of a batch that a run before kept because the stage had failed.
    pub fn kept_as_cut(&self, stage: usize, batch: &Batch) -> Vec<u32> {
        self.letters().kept_as_cut(&self.plan.stages[stage].name, batch)
    }

    /// Makes all dead letters durable.
    pub fn sync(&self) -> Result<(), RunError> {
        self.letters().sync()?;
        fault::hit(Point::LettersSynced);
        Ok(())
    }

    /// Dead letters from this number on may come again after a checkpoint that begins now.
    pub fn next(&self) -> u64 {
        self.letters().next()
    }

    /// A loop has worked off these letters of a replay, and what comes of them has left it.
    pub fn sent_in(&self, letters: Vec<(u64, RecordId)>) {
        if !letters.is_empty() {
            self.letters().sent_in(letters);
        }
    }

    /// What becomes of letters with a checkpoint that all loops have acknowledged.
    pub fn closing(&self, reached: &Reached) -> Closing {
        self.letters().closing(reached)
    }

    /// Marks what has become of letters, now that the checkpoint is committed.
    pub fn close(&self, closing: &Closing) -> Result<(), RunError> {
        if !closing.is_empty() {
            self.letters().close(closing)?;
        }
        Ok(())
    }

    fn letters(&self) -> std::sync::MutexGuard<'_, Box<dyn Letters>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of the first refused records go into one dead letter frame: those of one split, as far as they are no more
/// than is read at once.
fn together(refused: &[Refused]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&Refused| {
        let is_first = bytes == 0;
        bytes += record.raw.len().max(1);
        record.split == refused[0].split && (is_first || bytes <= DEAD_LETTER_GROUP_BYTES)
    };
    refused.iter().take_while(fits).count()
}
