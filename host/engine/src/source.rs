//! A component as a source: one instance that reads the splits assigned to it.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::ArrayRef;
use model::fields::FieldSpec;
use model::limits;
use wasmtime::component::TypedFunc;

use crate::access::Access;
use crate::contract::{PlaceOut, RefusedOut, Split};
use crate::data::{PulledOut, pulled_records, pulled_table};
use crate::engine::Component;
use crate::error::{AnswerError, CallError};
use crate::hits::Hits;
use crate::instance::{Budget, Instance};
use crate::link::log::StageLog;
use crate::meter::{Pulse, StageLimits};
use crate::plan::check_splits;
use crate::signatures::{
    Answer, Assign, Committed, Open, OpenTableSource, Pull, PullTable, Signature, Splits,
};
use crate::texts::{self, cut};

/// A source as one pipeline uses it.
#[derive(Clone, Debug)]
pub struct SourceSetup {
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
    /// The stage's `with:`.
    pub config: serde_json::Value,
    /// For tables: the schema that the source gave when it was planned.
    pub schema: Vec<FieldSpec>,
    /// For tables: indices into the schema of the columns that anybody downstream reads.
    pub wanted: Vec<u32>,
    pub limits: StageLimits,
    pub access: Access,
}

/// A split for a source to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitStart {
    pub name: String,
    /// Where to go on; none at the very start.
    pub cursor: Option<Vec<u8>>,
}

/// How much a pull may bring, and how long it may wait.
#[derive(Clone, Copy, Debug)]
pub struct PullBounds {
    pub records_max: u32,
    pub bytes_max: u32,
    /// Cut to half of what one host call may take, since a source waits inside of one.
    pub wait: Duration,
}

/// Records of one split, checked, in columns of the wanted kinds.
#[derive(Debug)]
pub struct PulledBatch {
    pub rows: usize,
    pub times: Option<ArrayRef>,
    pub keys: Option<ArrayRef>,
    pub headers: Option<ArrayRef>,
    /// The wanted columns; for bytes one, the values.
    pub columns: Vec<ArrayRef>,
    /// Index of the split, in the order of assignment.
    pub split: usize,
    /// Place of each record within its split, strictly ascending.
    pub offsets: Vec<u64>,
    pub refused: Vec<RefusedRecord>,
    /// Where to go on after these records.
    pub cursor: Vec<u8>,
    /// The split has ended.
    pub ended: bool,
}

/// What could not be made into a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    pub offset: u64,
    pub code: String,
    pub message: String,
    pub raw: Vec<u8>,
    /// Whether that is the beginning of what it handed over: no record may be longer.
    pub is_cut: bool,
}

/// Takes note of times in which a call into a source was left alone: they do not count as its own.
#[derive(Clone)]
pub struct Absence(Arc<Pulse>);

impl Absence {
    /// It could have gone on for so long.
    pub fn of(&self, time: Duration) {
        self.0.was_away(time);
    }
}

/// A source that was opened.
pub struct SourceDriver {
    instance: Instance,
    /// None once a call left the instance in an unknown state.
    alive: bool,
    limits: StageLimits,
    /// The fields of the columns that come.
    fields: Vec<FieldSpec>,
    config: String,
    /// For each split that was assigned, the highest offset that was pulled of it.
    reached: Vec<Option<u64>>,
    splits: Func<Splits<'static>>,
    assign: Func<Assign<'static>>,
    pull: PullFn,
    committed: Func<Committed<'static>>,
}

type Func<S> = TypedFunc<<S as Signature>::Params, <S as Signature>::Results>;

#[derive(Clone, Copy)]
enum PullFn {
    Records(Func<Pull>),
    Table(Func<PullTable>),
}

impl SourceDriver {
    pub async fn open(component: &Component, setup: SourceSetup) -> Result<Self, CallError> {
        let compiled = &component.inner.compiled;
        let SourceSetup { pipeline, stage, config, schema, wanted, limits, access } = setup;
        let mut instance =
            Instance::start(compiled, &limits, StageLog::new(pipeline, stage, limits.log_lines), &access)
                .await?;
        let (config, budget) = (config.to_string(), Budget::of(&limits, 0));
        let mut fields = Vec::new();
        let pull = if compiled.kind.is_table() {
            let open: TypedFunc<<OpenTableSource<'_> as Signature>::Params, Answer<()>> =
                instance.func(compiled, "open")?;
            instance.ask(&open, (&config, &wanted), budget).await?;
            let field = |&index: &u32| schema.get(index as usize).cloned();
            fields = wanted.iter().map(field).collect::<Option<_>>().ok_or_else(|| {
                CallError::Start(format!("columns {wanted:?} are wanted of a schema of {}", schema.len()))
            })?;
            PullFn::Table(instance.func(compiled, "pull")?)
        } else {
            let open: TypedFunc<<Open<'_> as Signature>::Params, Answer<()>> =
                instance.func(compiled, "open")?;
            instance.ask(&open, (&config,), budget).await?;
            PullFn::Records(instance.func(compiled, "pull")?)
        };
        let splits = instance.func(compiled, "splits")?;
        let assign = instance.func(compiled, "assign")?;
        let committed = instance.func(compiled, "committed")?;
        let (alive, reached) = (true, Vec::new());
        Ok(Self { instance, alive, limits, fields, config, reached, splits, assign, pull, committed })
    }

    /// Whom to tell that a call could have gone on, and nobody looked after it.
    pub fn absence(&self) -> Absence {
        Absence(self.instance.pulse.clone())
    }

    /// The names of the splits that there are now.
    pub async fn splits(&mut self) -> Result<Vec<String>, CallError> {
        let (func, budget) = (self.splits, self.enter(0)?);
        let answer = self.instance.ask(&func, (&self.config,), budget).await;
        Ok(check_splits(self.leave(answer)?)?)
    }

    /// Splits for this source to read, beside those that it has. They are numbered on in this order.
    pub async fn assign(&mut self, splits: &[SplitStart]) -> Result<(), CallError> {
        let wire = |split: &SplitStart| Split { name: split.name.clone(), cursor: split.cursor.clone() };
        let given: Vec<Split> = splits.iter().map(wire).collect();
        let (func, budget) = (self.assign, self.enter(0)?);
        let answer = self.instance.ask(&func, (&given,), budget).await;
        self.leave(answer)?;
        self.reached.resize(self.reached.len() + splits.len(), None);
        Ok(())
    }

    /// Some records of one split; none where no split has anything yet.
    pub async fn pull(&mut self, bounds: PullBounds) -> Result<Option<PulledBatch>, CallError> {
        let asked = bounds.wait.min(self.limits.host_call_time / 2);
        let params = (bounds.records_max, bounds.bytes_max, asked.as_millis() as u32);
        let (func, budget) = (self.pull, self.enter(bounds.records_max as usize)?.back_after(asked));
        let late = |error| match error {
            CallError::HostCallTimedOut { limit } | CallError::HostCallsTimedOut { limit } => {
                CallError::PullTimedOut { asked, limit }
            }
            error => error,
        };
        let pulled = match func {
            PullFn::Records(func) => {
                let answer = self.instance.ask(&func, params, budget).await.map_err(late);
                answer.and_then(|answer| {
                    answer.map(|(batch, place)| Ok((pulled_records(batch)?, place))).transpose()
                })
            }
            PullFn::Table(func) => {
                let answer = self.instance.ask(&func, params, budget).await.map_err(late);
                let fields = &self.fields;
                answer.and_then(|answer| {
                    answer.map(|(table, place)| Ok((pulled_table(table, fields)?, place))).transpose()
                })
            }
        };
        let most = Most {
            records: bounds.records_max as usize,
            record_bytes: usize::try_from(self.limits.record_bytes).unwrap_or(usize::MAX),
        };
        let pulled = pulled.and_then(|pulled| {
            let placed = pulled.map(|(out, place)| placed(out, place, &mut self.reached, most));
            Ok(placed.transpose()?)
        });
        self.leave(pulled)
    }

    /// All of `split` up to `cursor` is durable downstream.
    pub async fn committed(&mut self, split: u32, cursor: &[u8]) -> Result<(), CallError> {
        let (func, budget) = (self.committed, self.enter(0)?);
        let answer = self.instance.ask(&func, (split, cursor), budget).await;
        self.leave(answer)
    }

    /// How large a record of it may be.
    pub fn record_bytes_max(&self) -> u64 {
        self.limits.record_bytes
    }

    /// How often it ran into its limits.
    pub fn hits(&self) -> Arc<Hits> {
        self.instance.store.data().voice.log().hits().clone()
    }

    /// Fuel that the last call used up.
    pub fn last_fuel(&self) -> u64 {
        self.instance.last_fuel
    }

    fn enter(&mut self, rows: usize) -> Result<Budget, CallError> {
        if !std::mem::take(&mut self.alive) {
            return Err(CallError::Start("its instance died in an earlier call".into()));
        }
        Ok(Budget::of(&self.limits, rows))
    }

    fn leave<T>(&mut self, answer: Result<T, CallError>) -> Result<T, CallError> {
        self.alive = matches!(answer, Ok(_) | Err(CallError::Failure(_)));
        if let Err(error) = &answer {
            self.instance.note(error);
        }
        answer
    }
}

/// What one pull may bring.
#[derive(Clone, Copy)]
struct Most {
    records: usize,
    /// Of one refused record; more of it is cut off.
    record_bytes: usize,
}

/// `reached`: for each split that is assigned, the highest offset of it so far.
fn placed(
    out: PulledOut,
    place: PlaceOut,
    reached: &mut [Option<u64>],
    most: Most,
) -> Result<PulledBatch, AnswerError> {
    let PulledOut { rows, times, keys, headers, columns } = out;
    let PlaceOut { split, offsets, refused, cursor, ended } = place;
    let all = rows + refused.len();
    if all > most.records {
        let what = "records and refused ones of one pull".to_owned();
        return Err(AnswerError::TooMany { what, found: all, max: most.records });
    }
    let splits = reached.len();
    let Some(reached) = reached.get_mut(split as usize) else {
        return Err(AnswerError::Split { split, splits });
    };
    if offsets.len() != rows {
        let what = "the list of offsets".to_owned();
        return Err(AnswerError::Length { what, found: offsets.len(), rows });
    }
    *reached = reach(*reached, &offsets, &refused)?;
    let refused = refused.into_iter().map(|RefusedOut { offset, code, message, mut raw }| {
        let is_cut = raw.len() > most.record_bytes;
        raw.truncate(most.record_bytes);
        let (code, message) = (texts::code(code), cut(message, limits::REJECTION_MESSAGE_BYTES_MAX));
        RefusedRecord { offset, code, message, raw, is_cut }
    });
    let (split, refused) = (split as usize, refused.collect());
    Ok(PulledBatch { rows, times, keys, headers, columns, split, offsets, refused, cursor, ended })
}

/// The highest offset of a split after a pull, of which each offset names one record, and none that came before.
fn reach(before: Option<u64>, offsets: &[u64], refused: &[RefusedOut]) -> Result<Option<u64>, AnswerError> {
    if let (Some(before), Some(&first)) = (before, offsets.first())
        && first <= before
    {
        return Err(AnswerError::Places { at: 0, offset: first, before });
    }
    if let Some(at) = offsets.windows(2).position(|w| w[0] >= w[1]) {
        return Err(AnswerError::Places { at: at + 1, offset: offsets[at + 1], before: offsets[at] });
    }
    let mut apart: Vec<u64> = refused.iter().map(|refused| refused.offset).collect();
    apart.sort_unstable();
    if let (Some(before), Some(&offset)) = (before, apart.first())
        && offset <= before
    {
        return Err(AnswerError::RefusedPlace { offset, before });
    }
    let is_twice = |(at, offset): (usize, &u64)| {
        apart.get(at + 1) == Some(offset) || offsets.binary_search(offset).is_ok()
    };
    if let Some((_, &offset)) = apart.iter().enumerate().find(|&entry| is_twice(entry)) {
        return Err(AnswerError::PlaceTwice { offset });
    }
    Ok(before.max(offsets.last().copied()).max(apart.last().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Most = Most { records: 3, record_bytes: 10 };

    #[test]
    fn what_a_source_says_of_its_places_is_checked() {
        let out = |rows| PulledOut { rows, times: None, keys: None, headers: None, columns: vec![] };
        let place = |split, offsets: &[u64], refused: usize| PlaceOut {
            split,
            offsets: offsets.into(),
            refused: (0..refused).map(refused_at).collect(),
            cursor: vec![],
            ended: false,
        };
        let cases = [
            (out(2), place(0, &[3, 9], 1), None),
            (out(2), place(1, &[3, 9], 0), Some("split 1, 1 are assigned")),
            (out(2), place(0, &[3], 0), Some("has 1 values for 2 rows")),
            (out(2), place(0, &[3, 3], 0), Some("offset 1 of what it pulled is 3 after 3")),
            (out(2), place(0, &[3, 9], 2), Some("4 of them, at most 3")),
        ];
        for (out, place, expected) in cases {
            match (placed(out, place, &mut [None], MOST), expected) {
                (Ok(batch), None) => {
                    let refused = &batch.refused[0];
                    assert_eq!(refused.code.len(), limits::REJECTION_CODE_BYTES_MAX + 3);
                    assert_eq!((&*refused.raw, refused.is_cut), (&[7; 10][..], false));
                }
                (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (found, _) => panic!("{found:?}"),
            }
        }
    }

    fn refused_at(offset: usize) -> RefusedOut {
        RefusedOut { offset: offset as u64, code: "x".repeat(1000), message: "m".into(), raw: vec![7; 10] }
    }

    #[test]
    fn a_refused_record_is_kept_up_to_what_a_record_may_have_and_says_so_where_there_was_more() {
        let out = PulledOut { rows: 0, times: None, keys: None, headers: None, columns: vec![] };
        let place = |refused| PlaceOut { split: 0, offsets: vec![], refused, cursor: vec![], ended: false };
        let refused = vec![refused_at(1), RefusedOut { raw: vec![8; 11], ..refused_at(2) }];
        let placed = placed(out, place(refused), &mut [None], MOST).expect("two refused records");
        let kept: Vec<_> = placed.refused.iter().map(|kept| (kept.raw.len(), kept.is_cut)).collect();
        assert_eq!(kept, [(10, false), (10, true)]);
    }

    #[test]
    fn an_offset_names_one_record_from_pull_to_pull() {
        /// What was reached, offsets of records and of refused ones, and what is reached then.
        type Case = (Option<u64>, &'static [u64], &'static [usize], Result<Option<u64>, &'static str>);
        let cases: [Case; 10] = [
            (None, &[], &[], Ok(None)),
            (Some(7), &[], &[], Ok(Some(7))),
            (None, &[0, 5], &[9, 2], Ok(Some(9))),
            (Some(5), &[6], &[7], Ok(Some(7))),
            (Some(5), &[5, 6], &[], Err("offset 0 of what it pulled is 5 after 5")),
            (Some(5), &[0], &[], Err("offset 0 of what it pulled is 0 after 5")),
            (Some(5), &[9], &[8, 5], Err("it refuses offset 5 after 5")),
            (Some(5), &[7, 9], &[6, 9], Err("it pulled offset 9 twice")),
            (Some(5), &[9], &[8, 7, 8], Err("it pulled offset 8 twice")),
            (Some(5), &[7, 7], &[], Err("offset 1 of what it pulled is 7 after 7")),
        ];
        for (before, offsets, refused, expected) in cases {
            let refused: Vec<RefusedOut> = refused.iter().map(|&offset| refused_at(offset)).collect();
            match (reach(before, offsets, &refused), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (found, expected) => panic!("{before:?} {offsets:?}: {found:?}, {expected:?}"),
            }
        }
    }

    #[test]
    fn what_was_reached_of_a_split_is_kept_for_the_next_pull() {
        let mut reached = [None, None];
        let mut pull = |split, offset| {
            let out = PulledOut { rows: 1, times: None, keys: None, headers: None, columns: vec![] };
            let offsets = vec![offset];
            let place = PlaceOut { split, offsets, refused: vec![], cursor: vec![], ended: false };
            placed(out, place, &mut reached, MOST)
        };
        assert!(pull(0, 5).is_ok() && pull(1, 3).is_ok() && pull(0, 6).is_ok());
        assert_eq!(pull(0, 6).expect_err("old"), AnswerError::Places { at: 0, offset: 6, before: 6 });
        assert_eq!(pull(1, 2).expect_err("old"), AnswerError::Places { at: 0, offset: 2, before: 3 });
    }
}
