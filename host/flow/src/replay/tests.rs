//! Entries that come in again, behind a plan of built-in stages.

use std::sync::Mutex;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use model::batch::{Column, Parts};
use model::ids::RecordId;
use model::lineage::{Lineage, Offsets, SourceRows};
use model::manifest::{self, Context};
use model::plan::{Answer, Form as PlanForm, Planner, Stream};
use tempfile::{TempDir, tempdir};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::connector::{Barrier, ConnectError, Refusals, Sink};
use crate::job::{Job, Part, Rules};
use crate::letters::{Form, Group, Identity, Refusal, Store, StoreOptions};

fn plan(stages: &str, stream: Stream) -> Arc<Plan> {
    let context = Context { sources: &["stdin"], sinks: &["stdout"], env: &|_| None };
    let text = format!("pipeline: p\nstages:\n{stages}");
    let pipeline = manifest::parse("p.yaml", &text, &context).expect("a manifest");
    let mut planner = Planner::new(&pipeline, vec![PlanForm::Any; pipeline.stages.len()]);
    while let Some(ask) = planner.next_ask() {
        planner.answer(match *pipeline.stages[ask.stage].role {
            Role::Source => Answer::Source(stream.clone()),
            _ => Answer::BuiltInSink { columns: true },
        });
    }
    Arc::new(planner.finish().expect("a plan"))
}

const TWO: &str = "  a: { source: stdin }\n  x: { sink: stdout, from: a }\n  y: { sink: stdout, from: a }\n";
const MEET: &str = "  a: { source: stdin }\n  b: { source: stdin }\n  x: { sink: stdout, from: [a, b] }\n  \
                    y: { sink: stdout, from: a }\n";

fn refusals(rows: usize) -> Vec<Refusal> {
    let refusal = |row| Refusal {
        row: row as u32,
        code: "bad".into(),
        message: "no".into(),
        backtrace: None,
        attempts: 1,
        is_cut: false,
    };
    (0..rows).map(refusal).collect()
}

fn lineage() -> Lineage {
    Lineage::of_source(SourceRows {
        pipeline: "p".into(),
        source: "a".into(),
        split: "0".into(),
        offsets: Offsets::From(5),
    })
}

fn opaque(stage: &str, values: &[&str]) -> Group {
    let rows = Batch::from_values(BinaryArray::from_iter_values(values), Parts::default(), lineage());
    let (rows, refusals) = (rows.expect("a batch"), refusals(values.len()));
    Group { stage: stage.into(), kept_as: Form::Opaque.into(), rows, refusals }
}

fn rows(stage: &str, columns: Vec<(&str, ArrayRef)>) -> Group {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let count = columns[0].1.len();
    let columns = columns.into_iter().map(|(_, array)| Column::new(array)).collect();
    let rows = Batch::new(Arc::new(Schema::new(fields)), count, columns, Parts::default(), lineage());
    Group {
        stage: stage.into(),
        kept_as: Form::Rows.into(),
        rows: rows.expect("a batch"),
        refusals: refusals(count),
    }
}

struct Kept {
    dir: TempDir,
    _store: Store,
}

fn kept(groups: &[Group]) -> Kept {
    let dir = tempdir().expect("a directory");
    let mut store = StoreOptions::new(dir.path()).open().expect("a store");
    let identity = Identity { pipeline: "p".into(), ..Identity::default() };
    groups.iter().for_each(|group| {
        store.put(&identity, group).expect("put");
    });
    Kept { dir, _store: store }
}

impl Kept {
    fn choose(&self, plan: &Arc<Plan>, into: Option<usize>) -> (Chosen, Vec<Left>) {
        let reading = Reading::open(self.dir.path()).expect("a store");
        self.choose_of(&reading, plan, into, &Decoders::new())
    }

    fn choose_of(
        &self,
        reading: &Reading,
        plan: &Arc<Plan>,
        into: Option<usize>,
        decoders: &Decoders,
    ) -> (Chosen, Vec<Left>) {
        let choice = Choice { filter: &Filter::default(), into, decoders, comes_again: &|_, _| false };
        Chosen::choose(reading, &choice, plan).expect("read")
    }
}

type Got = Arc<Mutex<Vec<(String, RecordId)>>>;

struct Collect(Got);

#[async_trait]
impl Sink for Collect {
    async fn write(&mut self, batch: &Batch, ids: &[RecordId]) -> Result<Refusals, ConnectError> {
        let flat = batch.columns()[0].flat().expect("flat");
        let text = |row: usize| match flat.data_type() {
            DataType::Binary => String::from_utf8_lossy(flat.as_binary::<i32>().value(row)).into_owned(),
            _ => flat.as_string::<i32>().value(row).to_owned(),
        };
        self.0.lock().expect("a log").extend((0..batch.rows()).map(|row| (text(row), ids[row])));
        Ok(Vec::new())
    }

    fn wants_ids(&self) -> bool {
        true
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn prepare(&mut self, _: Barrier) -> Result<Vec<u8>, ConnectError> {
        Ok(Vec::new())
    }

    async fn commit(&mut self, _: &[u8]) -> Result<(), ConnectError> {
        Ok(())
    }
}

/// Sends everything in; what each sink got, by the order of the plan.
async fn send(plan: &Arc<Plan>, chosen: &Chosen, fates: &Fates) -> Vec<(String, Vec<(String, RecordId)>)> {
    let mut got: Vec<(String, Got)> = Vec::new();
    let parts = plan.stages.iter().zip(chosen.stages()).map(|(stage, is_behind)| match is_behind {
        false => Part::Absent,
        true => {
            got.push((stage.name.to_string(), Got::default()));
            let sink: Box<dyn Sink> = Box::new(Collect(got[got.len() - 1].1.clone()));
            Part::Sink(fates.sink(&stage.name, Some(sink)))
        }
    });
    let job = Job {
        epoch: 1,
        checkpoints: None,
        plan: plan.clone(),
        parts: parts.collect(),
        rules: Rules::defaults(plan),
        letters: fates.letters(None, None),
    };
    let run = job.build_behind(chosen.injections()).expect("loops");
    run.run(CancellationToken::new()).await.result().expect("a good run");
    got.into_iter().map(|(name, got)| (name, got.lock().expect("a log").clone())).collect()
}

#[tokio::test]
async fn entries_come_to_what_is_behind_their_stage_and_nowhere_else() {
    let plan = plan(TWO, Stream::Opaque);
    let group = opaque("y", &["1", "2"]);
    let ids = [group.rows.lineage().id(0), group.rows.lineage().id(1)];
    let kept = kept(&[group]);
    let (chosen, left) = kept.choose(&plan, None);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(
        (chosen.stages(), chosen.entries().collect::<Vec<_>>()),
        (vec![false, false, true], vec![1, 2])
    );
    let fates = Fates::default();
    let got = send(&plan, &chosen, &fates).await;
    assert_eq!(got, [("y".to_owned(), vec![("1".to_owned(), ids[0]), ("2".to_owned(), ids[1])])]);
    let seen = fates.seen();
    assert_eq!(seen[&2].reached, BTreeMap::from([("y".to_owned(), 1)]));
}

#[tokio::test]
async fn a_stage_at_which_streams_meet_takes_entries_too_and_ends() {
    let plan = plan(MEET, Stream::Opaque);
    let kept = kept(&[opaque("x", &["1"]), opaque("y", &["2"])]);
    let (chosen, _) = kept.choose(&plan, None);
    let got = send(&plan, &chosen, &Fates::default()).await;
    let records: Vec<_> = got.iter().map(|(sink, got)| (sink.as_str(), got[0].0.as_str())).collect();
    assert_eq!(records, [("x", "1"), ("y", "2")]);
}

fn typed() -> Stream {
    Stream::Rows(Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ])))
}

#[tokio::test]
async fn columns_are_matched_by_name_and_cast_and_what_cannot_be_is_refused_again() {
    let plan = plan(TWO, typed());
    let texts = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let kept = kept(&[rows("x", vec![("n", texts(&["7", "seven"])), ("name", texts(&["a", "b"]))])]);
    let (chosen, left) = kept.choose(&plan, None);
    assert!(left.is_empty(), "{left:?}");
    let fates = Fates::default();
    let got = send(&plan, &chosen, &fates).await;
    assert_eq!(got[0].1.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a"]);
    let again = &fates.seen()[&2].refused[0];
    assert_eq!((again.stage.as_str(), again.code.as_str()), ("x", "bad-cast"));
    assert!(again.message.contains("`n`"), "{}", again.message);
}

#[test]
fn what_does_not_fit_is_told_with_every_field() {
    let rows_of = |name: &str, array: ArrayRef| rows("x", vec![(name, array)]);
    let ints = || Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
    let kept = kept(&[
        rows_of("n", ints()),
        rows_of("m", ints()),
        opaque("x", &["text"]),
        opaque("a", &["text"]),
        opaque("gone", &["text"]),
    ]);
    let (chosen, left) = kept.choose(&plan(TWO, typed()), None);
    assert!(chosen.is_empty());
    let said: Vec<String> =
        left.iter().map(|left| format!("{}-{}: {}", left.first, left.last, left.why)).collect();
    let expected = [
        "1-2: they do not fit what stage `x` takes now: they have no column `name`;",
        "3-4: they had the columns `m`, which stage `x` has no more, so that these would be lost",
        "5-5: they are records without columns, and stage `x` takes the columns `name`, `n`;",
        "6-6: a source refused them",
        "7-7: the stage is not in the manifest any more",
    ];
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(said.len(), expected.len());
}

#[tokio::test]
async fn another_stage_can_take_them_and_rows_become_json_where_it_takes_bytes() {
    let plan = plan(TWO, Stream::Opaque);
    let kept =
        kept(&[opaque("gone", &["1"]), rows("gone", vec![("n", Arc::new(Int64Array::from(vec![2])))])]);
    let (chosen, left) = kept.choose(&plan, Some(1));
    assert!(left.is_empty(), "{left:?}");
    let got = send(&plan, &chosen, &Fates::default()).await;
    let records: Vec<&str> = got[0].1.iter().map(|(record, _)| record.as_str()).collect();
    assert_eq!((got[0].0.as_str(), records), ("x", vec!["1", "{\"n\":2}"]));
}
