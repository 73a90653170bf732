//! Dead letters sent in again: into the stage that refused them or another one, and through all that is behind it.
//!
//! [`Chosen`] reads which entries are meant and checks how they fit the plan of today (`fit`), before anything is
//! opened. [`Chosen::feeds`] then gives them to [`crate::Job::build_behind`], frame by frame, so that memory stays
//! flat. [`Fates`] watches what becomes of each.

mod fates;
mod fit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use model::batch::Batch;
use model::outcome::Rejection;
use model::plan::Plan;
use model::stage::Role;

use crate::error::{Records, RunError};
use crate::letters::{Entry, Filter, Form, FrameAt, LettersError, Reading};

pub use fates::{Fate, Fates, RefusedAgain};
use fit::Fit;
pub use fit::Misfit;

/// Where entries come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Into the stage, in the form of its planned input.
    Stage(usize),
    /// By an edge, in the form in which they left the stage before it.
    Edge(usize),
}

/// Records that come in together.
#[derive(Debug)]
pub struct Feed {
    pub stage: usize,
    pub entrance: Entrance,
    pub batch: Batch,
    /// Those that do not fit the plan of today are refused by the stage again.
    pub misfits: Option<(Batch, Vec<Rejection>)>,
}

/// The batches for the stages of one loop.
pub type Feeds = Box<dyn Iterator<Item = Result<Feed, RunError>> + Send>;

/// Entries that are sent in again.
#[derive(Debug)]
pub struct Chosen {
    plan: Arc<Plan>,
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
    /// Which entries of this pipeline `filter` means, with those left out that do not fit. `into`: the stage into
    /// which they are sent, where it is not the one that refused them.
    pub fn choose(
        reading: &Reading,
        filter: &Filter,
        plan: &Arc<Plan>,
        into: Option<usize>,
    ) -> Result<(Self, Vec<Left>), LettersError> {
        let mut chosen = Self { plan: plan.clone(), frames: Vec::new() };
        let mut left = Vec::new();
        let mut fits: Vec<(usize, Form, SchemaRef, Arc<Fit>)> = Vec::new();
        for at in reading.frames(filter).filter(|at| at.pipeline == plan.pipeline) {
            let Some((kept, rows)) = reading.rows(at, filter)? else { continue };
            let entries: Vec<u64> = rows.iter().map(|&row| kept.id(row as usize)).collect();
            let named = || plan.stages.iter().position(|stage| stage.name == at.stage);
            let schema = kept.schema();
            let fit = match into.or_else(named) {
                None => Err(Misfit::Gone),
                Some(stage) => {
                    let same = |(of, form, known, _): &&(usize, Form, SchemaRef, Arc<Fit>)| {
                        (*of, *form, known) == (stage, kept.form(), &schema)
                    };
                    match fits.iter().find(same) {
                        Some((_, _, _, fit)) => Ok((stage, fit.clone())),
                        None => Fit::of(plan, stage, kept.form(), &schema).map(|fit| {
                            let fit = Arc::new(fit);
                            fits.push((stage, kept.form(), schema.clone(), fit.clone()));
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

    /// By stage of the plan, whether it is one of those that are fed or lies behind one.
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

    /// The stages that are fed, each with what it gets.
    pub fn feeds(&self) -> BTreeMap<usize, Feeds> {
        let stages: BTreeSet<usize> = self.frames.iter().map(|frame| frame.stage).collect();
        let of = |stage: usize| {
            let frames: Vec<ChosenFrame> =
                self.frames.iter().filter(|frame| frame.stage == stage).cloned().collect();
            let plan = self.plan.clone();
            let feeds: Feeds = Box::new(frames.into_iter().map(move |frame| frame.feed(&plan)));
            (stage, feeds)
        };
        stages.into_iter().map(of).collect()
    }
}

impl ChosenFrame {
    fn feed(&self, plan: &Plan) -> Result<Feed, RunError> {
        let stage = || plan.stages[self.stage].name.to_string();
        let unread = |error: arrow::error::ArrowError| RunError::Broke {
            stage: stage(),
            why: format!("dead letters cannot be made into a batch: {error}"),
        };
        let batch = self.at.read()?.batch(&self.rows).map_err(unread)?;
        let records = Records::of(&batch);
        let feed = self.fit.feed(self.stage, batch);
        feed.map_err(|error| RunError::Feed { stage: stage(), records, error: Box::new(error) })
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
