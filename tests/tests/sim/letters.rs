//! Dead letters: the real store and its writer, on the simulated disk.

use std::path::Path;
use std::sync::Arc;

use flow::checkpoint::Checkpoint;
use flow::letters::{
    Filter, Form, Group, Identity, LetterCounts, LettersError, Reading, Refusal, SharedStore, StoreOptions,
    Writer,
};
use model::outcome::Rejection;

use super::disk::SimDisk;
use super::graph::{Arrival, Graph};
use super::record::{Record, batch};

const DIR: &str = "/letters";
const PIPELINE: &str = "simulated";

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

/// The store and the writer of a life that goes on from a checkpoint. `knows_places`: whether it is known what its sources
/// have passed.
pub fn open(
    disk: &SimDisk,
    checkpoint: &Checkpoint,
    knows_places: bool,
) -> Result<(SharedStore, Writer), LettersError> {
    // So small that most frames begin a segment, and some do not.
    let options = StoreOptions { segment_bytes: 2500, clock: || 0, ..StoreOptions::new(DIR) };
    let store = SharedStore::open(StoreOptions { disk: Arc::new(disk.clone()), ..options })?;
    let identity = Identity { pipeline: PIPELINE.to_owned(), ..Identity::default() };
    let writer = Writer::new(store.clone(), identity, LetterCounts::default());
    let mut checkpoint = checkpoint.clone();
    if !knows_places {
        checkpoint.places.clear();
        checkpoint.reached.clear();
    }
    Ok((store, writer.going_on_from(&checkpoint, |_| true)?))
}

/// What a stage refuses.
pub fn group(stage: &str, records: &[Record]) -> Group {
    let refusal = |row| Refusal::from(Rejection { row, code: "bad".into(), message: String::new() });
    let refusals = (0..records.len() as u32).map(refusal).collect();
    Group { stage: stage.into(), kept_as: Form::Opaque.into(), rows: batch(records), refusals }
}
