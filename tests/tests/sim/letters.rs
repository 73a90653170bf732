//! Dead letters: the real store, on the simulated disk.

use std::path::Path;
use std::sync::Arc;

use flow::checkpoint::Checkpoint;
use flow::letters::{
    Closing, Filter, Form, Group, Identity, LettersError, Outcome, Reached, Reading, Refusal, Repeats, Store,
    StoreOptions,
};
use model::outcome::Rejection;

use super::disk::SimDisk;
use super::graph::{Arrival, Graph};
use super::record::{Record, batch};

const DIR: &str = "/letters";
const PIPELINE: &str = "simulated";

pub struct SimLetters {
    store: Store,
    /// Of lives before.
    repeats: Repeats,
    identity: Identity,
}

/// How a letter is told from all others: the stage that has refused a record, and the record's id.
fn name(stage: &str, record: &Record) -> String {
    format!("{stage} {}", batch(std::slice::from_ref(record)).lineage().id(0))
}

/// The name of the letter that has to be there.
pub fn due(graph: &Graph, arrival: &Arrival) -> String {
    let stage = arrival.way.last().map_or("", |&node| graph.nodes[usize::from(node)].name.as_str());
    let record = Record { origin: arrival.origin, way: arrival.way.clone(), counted: Vec::new() };
    name(stage, &record)
}

/// The names of all letters that are open on a disk.
pub fn kept(disk: &SimDisk) -> Result<Vec<String>, LettersError> {
    let reading = match Reading::open_on(Arc::new(disk.clone()), Path::new(DIR)) {
        Err(LettersError::None { .. }) => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut letters = Vec::new();
    for frame in reading.frames(&Filter::default()) {
        let kept = frame.read()?;
        let open = (0..kept.len()).filter(|row| reading.outcome(kept.id(*row)).is_none());
        letters.extend(open.map(|row| format!("{} {}", frame.stage, kept.record_id(row))));
    }
    Ok(letters)
}

impl SimLetters {
    /// Goes on from a checkpoint. `knows_places`: whether it is known what its sources have passed.
    pub fn open(disk: &SimDisk, checkpoint: &Checkpoint, knows_places: bool) -> Result<Self, LettersError> {
        // So small that most frames begin a segment, and some do not.
        let options = StoreOptions { segment_bytes: 2500, clock: || 0, ..StoreOptions::new(DIR) };
        let mut store = StoreOptions { disk: Arc::new(disk.clone()), ..options }.open()?;
        store.apply_closing(PIPELINE, &checkpoint.closing)?;
        let mut repeats = store.refused_from(checkpoint.letters, PIPELINE)?;
        if knows_places {
            repeats.retain(
                |letter, origin| checkpoint.comes_again(letter, origin),
                |origin| checkpoint.is_vague(origin),
            );
        }
        let identity = Identity { pipeline: PIPELINE.to_owned(), ..Identity::default() };
        Ok(Self { store, repeats, identity })
    }

    pub fn put(&mut self, stage: &str, records: &[Record]) -> Result<(), LettersError> {
        let refusal = |row| Refusal::from(Rejection { row, code: "bad".into(), message: String::new() });
        let refusals = (0..records.len() as u32).map(refusal).collect();
        let group =
            Group { stage: stage.into(), kept_as: Form::Opaque.into(), rows: batch(records), refusals };
        match self.repeats.unknown(&group) {
            Some(unknown) => self.store.put(&self.identity, &unknown).map(|_| ()),
            None => Ok(()),
        }
    }

    pub fn sync(&mut self) -> Result<(), LettersError> {
        self.store.sync()
    }

    /// Called now and then: says durably what is durable, where nothing else does.
    pub fn idle(&mut self) -> Result<(), LettersError> {
        self.store.idle()
    }

    /// Letters from this number on may come again, should the next life go on from a checkpoint that begins now.
    pub fn next(&self) -> u64 {
        self.repeats.first().unwrap_or(self.store.next())
    }

    /// What becomes of letters with a checkpoint that all loops have answered. Whoever refuses what it refused before
    /// closes none.
    pub fn closing(&mut self, reached: &Reached) -> Closing {
        self.repeats.passed(reached)
    }

    pub fn close(&mut self, closing: &Closing) -> Result<(), LettersError> {
        let entries: Vec<(u64, Outcome)> =
            closing.iter().map(|(entry, closed)| (*entry, closed.outcome)).collect();
        self.store.mark(&entries)
    }
}
