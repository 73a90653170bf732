//! Where records go that a stage refuses: dead letters, a counter, or the end of the run, as `on-error` says.

use std::sync::{Arc, Mutex, PoisonError};

use model::batch::{Batch, Column};
use model::convert::{JsonWriter, to_json};
use model::ids::RecordId;
use model::manifest::OnError;
use model::outcome::Rejection;
use model::plan::Plan;

use crate::connector::Refused;
use crate::error::{Records, RunError};
use crate::letters::{Blob, DeadLetter, LetterOrigin, Letters, Record};
use crate::meters::Meters;

/// A row that a stage refused, or died on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of the batch as it came into the stage.
    pub row: u32,
    pub code: String,
    pub message: String,
    /// The guest's frames, where it died on the row.
    pub backtrace: Option<Arc<str>>,
    /// How many calls had the row in them.
    pub attempts: u32,
}

impl From<Rejection> for Refusal {
    fn from(Rejection { row, code, message }: Rejection) -> Self {
        Self { row, code, message, backtrace: None, attempts: 1 }
    }
}

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
    /// A record that a source could not make.
    pub fn raw(&self, source: usize, refused: Refused) -> Result<(), RunError> {
        let origin = model::lineage::Origin {
            source: self.plan.stages[source].name.clone(),
            split: refused.split,
            offset: refused.offset,
        };
        match self.on_error[source] {
            OnError::Fail => Err(RunError::Refused {
                stage: origin.source.to_string(),
                records: Records::one(origin),
                code: refused.code,
                message: refused.message,
            }),
            OnError::Drop => {
                self.meters.stages[source].count_dropped(1);
                Ok(())
            }
            OnError::DeadLetter => {
                let plan = &self.plan;
                let id = RecordId::of_source(&plan.pipeline, &origin.source, &origin.split, origin.offset);
                let letter = DeadLetter {
                    pipeline: plan.pipeline.to_string(),
                    stage: origin.source.to_string(),
                    code: refused.code,
                    message: refused.message,
                    backtrace: None,
                    attempts: 1,
                    origin: origin.into(),
                    id: Some(id.to_string()),
                    time_us: None,
                    key: None,
                    record: Record::Opaque(Blob::new(&refused.raw)),
                };
                self.letters().put(&letter).map_err(RunError::from)
            }
        }
    }

    /// Rows of `batch`, as it came into the stage.
    pub fn rows(&self, stage: usize, batch: &Batch, rejections: Vec<Rejection>) -> Result<(), RunError> {
        self.refusals(stage, batch, rejections.into_iter().map(Refusal::from).collect())
    }

    /// As [`Refusing::rows`], with what is known of a death.
    pub fn refusals(&self, stage: usize, batch: &Batch, refusals: Vec<Refusal>) -> Result<(), RunError> {
        let name = &self.plan.stages[stage].name;
        match self.on_error[stage] {
            OnError::Drop => {
                self.meters.stages[stage].count_dropped(refusals.len() as u64);
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
            OnError::DeadLetter => {
                let broke = |error: arrow::error::ArrowError| RunError::Broke {
                    stage: name.to_string(),
                    why: format!("a refused record cannot be written down: {error}"),
                };
                let letters = dead_letters(&self.plan.pipeline, name, batch, refusals).map_err(broke)?;
                let mut file = self.letters();
                letters.iter().try_for_each(|letter| file.put(letter)).map_err(RunError::from)
            }
        }
    }

    /// Makes all dead letters durable.
    pub fn sync(&self) -> Result<(), RunError> {
        self.letters().sync().map_err(RunError::from)
    }

    fn letters(&self) -> std::sync::MutexGuard<'_, Box<dyn Letters>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One letter for each refused row, with the row as it came into the stage.
fn dead_letters(
    pipeline: &str,
    stage: &str,
    batch: &Batch,
    refusals: Vec<Refusal>,
) -> Result<Vec<DeadLetter>, arrow::error::ArrowError> {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::TimestampMicrosecondType;

    let rows: Arc<[u32]> = refusals.iter().map(|refusal| refusal.row).collect();
    let picked = batch.pick(&rows);
    let opaque = *picked.schema() == model::batch::opaque_schema();
    let values = match opaque {
        true => picked.columns()[0].flat()?.as_binary::<i32>().clone(),
        false => to_json(&JsonWriter::new(picked.schema()), &picked)?,
    };
    let flat = |column: &Option<Column>| column.as_ref().map(Column::flat).transpose();
    let (keys, times) = (flat(&picked.parts().keys)?, flat(&picked.parts().times)?);
    let letter = |(row, refusal): (usize, Refusal)| {
        let record = match (values.is_valid(row), opaque) {
            (false, _) => Record::None,
            (true, true) => Record::Opaque(Blob::new(values.value(row))),
            (true, false) => {
                let json = String::from_utf8_lossy(values.value(row)).into_owned();
                match serde_json::value::RawValue::from_string(json) {
                    Ok(row) => Record::Row(row),
                    Err(_) => Record::Opaque(Blob::new(values.value(row))),
                }
            }
        };
        let key = keys.as_ref().filter(|keys| keys.is_valid(row));
        let times = times.as_ref().and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        DeadLetter {
            pipeline: pipeline.to_owned(),
            stage: stage.to_owned(),
            code: refusal.code,
            message: refusal.message,
            backtrace: refusal.backtrace.map(|frames| frames.to_string()),
            attempts: refusal.attempts,
            origin: LetterOrigin::from(picked.lineage().origin(row)),
            id: Some(picked.lineage().id(row).to_string()),
            time_us: times.filter(|times| times.is_valid(row)).map(|times| times.value(row)),
            key: key.map(|keys| Blob::new(keys.as_binary::<i32>().value(row))),
            record,
        }
    };
    Ok(refusals.into_iter().enumerate().map(letter).collect())
}
