//! The rows of `benches/limits.rs`: stages with limits and without, and one record in a million that kills one.

use anyhow::Result;
use arrow::array::BinaryArray;
use engine::Engine;

use crate::lone::{Ends, HARMLESS, Lone, POISON, with_one};
use crate::workload;

/// Records of which one is poison.
const MILLION_BATCHES: usize = 1_000_000 / workload::BATCH_RECORDS;

/// A row, and what it is held against.
pub struct Row {
    pub name: &'static str,
    /// Each as the manifest has it, all but `from`.
    pub stages: &'static [&'static str],
    pub metered: bool,
    pub ends: Ends,
    /// The row that it is held against, and how much of its rate must be reached.
    pub against: Option<(&'static str, f64)>,
}

impl Row {
    const fn new(name: &'static str, stages: &'static [&'static str], keeps: f64) -> Self {
        Self { name, stages, metered: true, ends: Ends { keeps, poisoned: false }, against: None }
    }

    const fn limits_off(self) -> Self {
        Self { metered: false, ..self }
    }

    const fn poisoned(self) -> Self {
        Self { ends: Ends { poisoned: true, ..self.ends }, ..self }
    }

    const fn against(self, row: &'static str, bound: f64) -> Self {
        Self { against: Some((row, bound)), ..self }
    }

    /// Its pipeline, over a million records of which one is poison or stands where that would be: nothing else differs.
    pub async fn lone(&self, engine: &Engine, values: &[BinaryArray]) -> Result<Lone> {
        let odd = if self.ends.poisoned { POISON } else { HARMLESS };
        Lone::new(engine, self.stages, with_one(odd, values, MILLION_BATCHES)?, self.ends).await
    }
}

const FILTER_OFF: &str = "the filter, limits off";
const FILTER: &str = "the filter, limits on";
const MAP_OFF: &str = "the map, limits off";
const BELT: &str = "three stages, the first of which some record would kill";
const ALONE: &str = "that stage alone";

/// It forwards everything, and panics on the record that `benches::lone` calls poison.
const POISONABLE: &str = "transform: GUEST(probe-run), with: { at: POISON, then: panic }";
const MAP: &str = "transform: GUEST(wrap)";
const MOST: &str = "transform: GUEST(filter-most)";

pub const ROWS: [Row; 9] = [
    Row::new(FILTER_OFF, &["transform: GUEST(filter-half)"], 0.5).limits_off(),
    Row::new(FILTER, &["transform: GUEST(filter-half)"], 0.5).against(FILTER_OFF, 1.0 / 1.5),
    Row::new("the filter, `isolation: batch`", &["transform: GUEST(filter-half), isolation: batch"], 0.5)
        .against(FILTER, 0.1),
    Row::new(MAP_OFF, &[MAP], 1.0).limits_off(),
    Row::new("the map, limits on", &[MAP], 1.0).against(MAP_OFF, 1.0 / 1.15),
    Row::new(BELT, &[POISONABLE, MAP, MOST], 0.9),
    Row::new("the three, one record in a million kills it", &[POISONABLE, MAP, MOST], 0.9)
        .poisoned()
        .against(BELT, 0.95),
    Row::new(ALONE, &[POISONABLE], 1.0),
    Row::new("alone, one record in a million kills it", &[POISONABLE], 1.0).poisoned().against(ALONE, 0.95),
];
