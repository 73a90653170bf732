//! Runs a few records through a plan without its sources and sinks, and tells what left where.
//!
//! It is the same belt that `run` uses, with every stage on one loop, so that a test of a manifest tests
//! what will run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::batch::Batch;
use model::plan::Plan;

use crate::belt::{Belt, Context, Station, Tap};
use crate::error::RunError;
use crate::job::{Rules, Transform};
use crate::letters::{Group, Letters, LettersError};
use crate::meters::Meters;

/// What to try. A plan for it keeps all columns, see `Planner::keeping_all`.
pub struct Trial {
    pub plan: Arc<Plan>,
    /// By stage; none for sources and sinks.
    pub transforms: Vec<Option<Transform>>,
    /// Batches for stages: what a source would have read, or what would have come into any other stage, in
    /// the form of its planned input.
    pub inputs: Vec<(usize, Batch)>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Batches that left a stage by a port, or that reached a sink (no port), in order.
    pub batches: Vec<(usize, Option<usize>, Batch)>,
    pub letters: Vec<SeenLetter>,
}

/// A record that a stage refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenLetter {
    pub stage: String,
    pub code: String,
    pub message: String,
}

struct Kept(Arc<Mutex<Seen>>);

impl Letters for Kept {
    fn put(&mut self, group: &Group) -> Result<(), LettersError> {
        let stage = group.stage.to_string();
        let letters = group.refusals.iter().map(|refusal| SeenLetter {
            stage: stage.clone(),
            code: refusal.code.clone(),
            message: refusal.message.clone(),
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).letters.extend(letters);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        Ok(())
    }
}

impl Trial {
    /// Runs the inputs one after the other.
    pub async fn run(self) -> Result<Seen, RunError> {
        let Self { plan, transforms, inputs } = self;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let watched = seen.clone();
        let tap: Tap = Box::new(move |stage, port, batch| {
            let mut seen = watched.lock().unwrap_or_else(PoisonError::into_inner);
            seen.batches.push((stage, port, batch.clone()));
        });
        let rules = Rules::defaults(&plan);
        let letters = Box::new(Kept(seen.clone()));
        let context = Context::new(&plan, rules, &Meters::new(&plan, Vec::new()), letters);
        let station = |transform: Option<Transform>| match transform {
            Some(transform) => Station::Transform { transform, lease: None },
            None => Station::Nowhere,
        };
        let stations: HashMap<usize, Station> = transforms.into_iter().map(station).enumerate().collect();
        let mut belt = Belt::new(context, stations, HashMap::new(), Some(tap))?;
        for (stage, batch) in inputs {
            match plan.stages[stage].inputs.is_empty() {
                true => belt.leave(stage, 0, batch),
                false => belt.enter(stage, batch),
            }
            belt.drain().await?;
        }
        drop(belt);
        Ok(std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
