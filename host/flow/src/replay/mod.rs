//! Dead letters sent in again: into the stage that refused them or another one, and through all that is behind it.
//!
//! [`Chosen`] reads which entries are meant and checks how they fit the plan of today (`fit`), before anything is
//! opened. [`Chosen::injections`] then gives them to [`crate::Job::build_behind`], frame by frame, so that memory stays
//! flat. [`Fates`] watches what becomes of each.

mod fates;
mod fit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use model::batch::Batch;
use model::lineage::Origin;
use model::outcome::Rejection;
use model::plan::Plan;
use model::stage::Role;

use crate::connector::{Decode, Decoded, KeptRefused};
use crate::error::{Records, RunError};
use crate::letters::{Entry, Filter, FrameAt, Kept, KeptAs, LettersError, Reading};

pub use fates::{Fate, Fates, RefusedAgain};
pub use fit::Misfit;
use fit::{Case, Fit};

/// Where entries come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Out of a source, as its records do.
    Source(usize),
    /// Into the stage, in the form of its planned input.
    Stage(usize),
    /// By an edge, in the form in which they left the stage before it.
    Edge(usize),
}

/// Records that come in together.
#[derive(Debug)]
pub struct Injection {
    pub stage: usize,
    pub entrance: Entrance,
    pub batch: Batch,
    /// Those that do not fit the plan of today are refused by the stage again.
    pub misfits: Option<RefusedNow>,
}

/// Records that are refused before they have come in.
#[derive(Debug)]
pub struct RefusedNow {
    pub rows: Batch,
    pub rejections: Vec<Rejection>,
    /// What the rows are, where a source refuses them again.
    pub kept_as: Option<KeptAs>,
}

/// The batches for the stages of one loop.
pub type Injections = Box<dyn Iterator<Item = Result<Injection, RunError>> + Send>;

/// By stage of the plan: what makes records of what a source has refused.
pub type Decoders = BTreeMap<usize, Arc<Mutex<Box<dyn Decode>>>>;

/// Which entries are sent in again, and where.
pub struct Choice<'a> {
    pub filter: &'a Filter,
    /// The stage into which they are sent, where it is not the one that refused them.
    pub into: Option<usize>,
    pub decoders: &'a Decoders,
    /// Whether a source may give the record of an entry again, by the entry's number and the record's origin.
    pub comes_again: &'a dyn Fn(u64, &Origin) -> bool,
}

/// Entries that are sent in again.
pub struct Chosen {
    plan: Arc<Plan>,
    decoders: Decoders,
    frames: Vec<ChosenFrame>,
}

#[derive(Clone, Debug)]
struct ChosenFrame {
    at: FrameAt,
    rows: Arc<[u32]>,
    /// In the order of `rows`.
    entries: Vec<u64>,
    stage: usize,
    fit: Arc<Fit>,
}

/// Entries that cannot be sent in, and why.
#[derive(Debug)]
pub struct Left {
    pub stage: String,
    pub why: Misfit,
    pub count: u64,
    pub first: u64,
    pub last: u64,
}

impl Chosen {
    /// Which entries of this pipeline are meant, with those left out that cannot be sent in.
    pub fn choose(
        reading: &Reading,
        choice: &Choice<'_>,
        plan: &Arc<Plan>,
    ) -> Result<(Self, Vec<Left>), LettersError> {
        let mut chosen = Self { plan: plan.clone(), decoders: choice.decoders.clone(), frames: Vec::new() };
        let mut left = Vec::new();
        let mut fits: Vec<(Case, Arc<Fit>)> = Vec::new();
        for at in reading.frames(choice.filter).filter(|at| at.pipeline == plan.pipeline) {
            let Some((kept, rows)) = reading.rows(at, choice.filter)? else { continue };
            let rows = choice.whole(&kept, rows, &at.stage, &mut left);
            if rows.is_empty() {
                continue;
            }
            let entries: Vec<u64> = rows.iter().map(|&row| kept.id(row as usize)).collect();
            let named = || plan.stages.iter().position(|stage| stage.name == at.stage);
            let fit = match choice.into.or_else(named) {
                None => Err(Misfit::Gone),
                Some(stage) => {
                    let case = Case {
                        stage,
                        form: kept.form(),
                        is_older: kept.is_older(),
                        schema: kept.schema(),
                        source_columns: kept.source_columns().map(<[String]>::to_vec),
                    };
                    match fits.iter().find(|(known, _)| *known == case) {
                        Some((_, fit)) => Ok((stage, fit.clone())),
                        None => Fit::of(plan, &case, choice.decoders).map(|fit| {
                            let fit = Arc::new(fit);
                            fits.push((case, fit.clone()));
                            (stage, fit)
                        }),
                    }
                }
            };
            match fit {
                Ok((stage, fit)) => {
                    let (at, rows) = (at.clone(), rows.into());
                    chosen.frames.push(ChosenFrame { at, rows, entries, stage, fit });
                }
                Err(why) => note(&mut left, &at.stage, why, &entries),
            }
        }
        Ok((chosen, left))
    }

    pub fn entries(&self) -> impl Iterator<Item = u64> {
        self.frames.iter().flat_map(|frame| frame.entries.iter().copied())
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// All that is known of the entry, where it is a single one.
    pub fn only(&self) -> Option<Entry> {
        match &*self.frames {
            [frame] if frame.rows.len() == 1 => frame.at.read().ok()?.entries(&frame.rows).ok()?.pop(),
            _ => None,
        }
    }

    /// By stage of the plan, whether it is one of those into which records are sent or lies behind one.
    pub fn stages(&self) -> Vec<bool> {
        let mut behind = vec![false; self.plan.stages.len()];
        let mut next: Vec<usize> = self.frames.iter().map(|frame| frame.stage).collect();
        while let Some(stage) = next.pop() {
            if !std::mem::replace(&mut behind[stage], true) {
                let edges = self.plan.stages[stage].ports.iter().flat_map(|port| &port.edges);
                next.extend(edges.map(|&edge| self.plan.edges[edge].to));
            }
        }
        behind
    }

    /// The stages into which records are sent, each with what it gets.
    pub fn injections(&self) -> BTreeMap<usize, Injections> {
        let stages: BTreeSet<usize> = self.frames.iter().map(|frame| frame.stage).collect();
        let of = |stage: usize| {
            let frames: Vec<ChosenFrame> =
                self.frames.iter().filter(|frame| frame.stage == stage).cloned().collect();
            let (plan, decoder) = (self.plan.clone(), self.decoders.get(&stage).cloned());
            let injections: Injections =
                Box::new(frames.into_iter().map(move |frame| frame.injection(&plan, decoder.as_ref())));
            (stage, injections)
        };
        stages.into_iter().map(of).collect()
    }
}

impl Choice<'_> {
    /// The rows of a frame that are whole records and come from nowhere else.
    fn whole(&self, kept: &Kept, rows: Vec<u32>, stage: &str, left: &mut Vec<Left>) -> Vec<u32> {
        let named = |row: usize| self.filter.names(kept, row);
        let comes_again = |row: &u32| {
            let row = *row as usize;
            !kept.is_of_replay(row) && !named(row) && (self.comes_again)(kept.id(row), &kept.origin(row))
        };
        let (again, rows): (Vec<u32>, Vec<u32>) = rows.into_iter().partition(comes_again);
        let (cut, rows): (Vec<u32>, Vec<u32>) = rows.into_iter().partition(|row| kept.is_cut(*row as usize));
        for (rows, why) in [(again, Misfit::ComesAgain), (cut, Misfit::Cut)] {
            let entries: Vec<u64> = rows.iter().map(|&row| kept.id(row as usize)).collect();
            note(left, stage, why, &entries);
        }
        rows
    }
}

impl ChosenFrame {
    fn injection(
        &self,
        plan: &Plan,
        decoder: Option<&Arc<Mutex<Box<dyn Decode>>>>,
    ) -> Result<Injection, RunError> {
        let stage = || plan.stages[self.stage].name.to_string();
        let unread = |error: arrow::error::ArrowError| RunError::Broke {
            stage: stage(),
            why: format!("dead letters cannot be made into a batch: {error}"),
        };
        let kept = self.at.read()?;
        let batch = kept.batch(&self.rows).map_err(unread)?;
        let records = Records::of(&batch);
        let stage_index = self.stage;
        let is_source = plan.stages[stage_index].role == Role::Source;
        let refused_now =
            |rows, rejections| RefusedNow { rows, rejections, kept_as: is_source.then(|| kept.kept_as()) };
        let (made, refused) = match decoder.filter(|_| self.fit.decodes()) {
            Some(decoder) => {
                let mut decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner);
                let decoded = decoder.decode(KeptRefused { rows: &batch, header: kept.header() });
                let Decoded { batch: made, rejections } = decoded.map_err(|error| RunError::Connect {
                    stage: stage(),
                    records: Some(records),
                    error,
                })?;
                (made, (!rejections.is_empty()).then_some((batch, rejections)))
            }
            None => self.fit.feed(batch).map_err(|error| RunError::Mapping {
                stage: stage(),
                records,
                error: Box::new(error),
            })?,
        };
        let misfits = refused.map(|(rows, rejections)| refused_now(rows, rejections));
        Ok(Injection { stage: stage_index, entrance: self.fit.entrance(), batch: made, misfits })
    }
}

fn note(left: &mut Vec<Left>, stage: &str, why: Misfit, entries: &[u64]) {
    let (Some(&first), Some(&last)) = (entries.first(), entries.last()) else { return };
    let count = entries.len() as u64;
    match left.iter_mut().find(|left| left.stage == stage && left.why == why) {
        Some(left) => (left.count, left.last) = (left.count + count, last),
        None => left.push(Left { stage: stage.to_owned(), why, count, first, last }),
    }
}

/// Whether a stage can be sent something.
pub fn takes_records(plan: &Plan, stage: usize) -> bool {
    plan.stages[stage].role != Role::Source
}

#[cfg(test)]
mod tests;
