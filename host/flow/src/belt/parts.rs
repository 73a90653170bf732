//! What comes out of a source, and by an edge, in parts: batches that are small as they came can be large where they are
//! needed in full.
//!
//! `model::expand` says where. What no part could hold, a single record that is larger than one may be, is refused by the
//! stage that it was meant for.

use std::sync::Arc;

use model::batch::Batch;
use model::expand::{Cut, cut};
use model::limits::RECORD_BYTES_MAX;
use model::outcome::Rejection;
use model::plan::{Plan, Work};

use super::{Belt, Way, mapping_error};
use crate::connector::Pulled;
use crate::error::RunError;
use crate::input_mapping::{rows_without, set_key};
use crate::meters::BatchCount;

/// A single record is larger than one may be.
const RECORD_TOO_LARGE: &str = "record-too-large";

/// By stage, how large a record may be that comes from it, by what each may make: one that was let in goes on.
pub(super) fn record_bytes(plan: &Plan, mut of_stages: Vec<u64>) -> Arc<[u64]> {
    of_stages.iter_mut().for_each(|bytes| *bytes = (*bytes).max(RECORD_BYTES_MAX as u64));
    // There are no cycles: each round settles those one edge further from the sources.
    for _ in 0..plan.stages.len() {
        let mut is_settled = true;
        for edge in &plan.edges {
            if of_stages[edge.to] < of_stages[edge.from] {
                (of_stages[edge.to], is_settled) = (of_stages[edge.from], false);
            }
        }
        if is_settled {
            break;
        }
    }
    of_stages.into()
}

impl Belt {
    /// A batch comes by an edge in parts; records that are too large do not come.
    #[cold]
    pub(super) fn hand_on_in_parts(&mut self, edge: usize, batch: &Batch, cut: Cut) -> Result<(), RunError> {
        let (from, to) = (self.context.plan.edges[edge].from, self.context.plan.edges[edge].to);
        let max = self.context.record_bytes[from];
        self.refuse_too_large(from, to, batch, &cut.too_large, max)?;
        if !cut.too_large.is_empty() {
            self.context.meters.stages[to].count_refused(cut.too_large.len());
        }
        for part in cut.parts.into_iter().rev() {
            self.waiting.push((Way::Edge(edge), batch.pick(&part.collect())));
        }
        Ok(())
    }

    /// What a source has read is to go on its way with the next `work`. `record_bytes_max`: of a record of it.
    pub fn take_from_source(
        &mut self,
        source: usize,
        pulled: Box<Pulled>,
        record_bytes_max: u64,
    ) -> Result<(), RunError> {
        let Pulled { batch, refused, refused_parts, header, misfits, cursor: _, forgotten: _ } = *pulled;
        let found = misfits.as_ref().map_or(0, |misfits| misfits.rejections.len());
        let refusals = (refused.len() + found) as u64;
        let rows = batch.as_ref().map_or(0, |batch| batch.rows() as u64);
        let mut count = BatchCount { records_in: rows + refusals, ..BatchCount::default() };
        count.tally.rejected = refusals;
        self.context.refusing.raw(source, refused, &refused_parts, header.as_ref())?;
        if let Some(misfits) = misfits {
            self.context.refusing.found(source, misfits)?;
        }
        if let Some(batch) = batch {
            self.come(source, batch, record_bytes_max, &mut count)?;
        }
        self.context.meters.stages[source].count(&count);
        Ok(())
    }

    /// What was made of records that a source had refused goes on its way as its records do.
    pub fn return_to_source(
        &mut self,
        source: usize,
        batch: Batch,
        record_bytes_max: u64,
    ) -> Result<(), RunError> {
        let mut count = BatchCount { records_in: batch.rows() as u64, ..BatchCount::default() };
        self.come(source, batch, record_bytes_max, &mut count)?;
        self.context.meters.stages[source].count(&count);
        Ok(())
    }

    /// What a source has read comes, without records that are too large, and in parts where it would be too large once
    /// its key is set.
    #[inline]
    fn come(
        &mut self,
        source: usize,
        batch: Batch,
        record_bytes_max: u64,
        count: &mut BatchCount,
    ) -> Result<(), RunError> {
        let sets_key =
            matches!(&self.context.plan.stages[source].work, Work::Source(work) if work.key.is_some());
        let is_looked_at = sets_key || record_bytes_max < u64::MAX;
        let Some(Cut { parts, too_large }) =
            is_looked_at.then(|| cut(&batch, None, 0, record_bytes_max)).flatten()
        else {
            return self.leave_source(source, batch, count);
        };
        self.refuse_too_large(source, source, &batch, &too_large, record_bytes_max)?;
        count.tally.rejected += too_large.len() as u64;
        for part in parts.into_iter().rev() {
            self.waiting.push((Way::Source(source), batch.pick(&part.collect())));
        }
        Ok(())
    }

    /// A source's records leave it.
    #[inline]
    pub(super) fn leave_source(
        &mut self,
        source: usize,
        batch: Batch,
        count: &mut BatchCount,
    ) -> Result<(), RunError> {
        if let Some(batch) = self.key_of_source(source, batch, count)? {
            let rows = batch.rows() as u64;
            (count.records_out, count.tally.forwarded) = (rows, rows);
            self.leave(source, 0, batch);
        }
        Ok(())
    }

    /// The key of a source's records. None where no record is left.
    #[inline]
    fn key_of_source(
        &mut self,
        source: usize,
        batch: Batch,
        count: &mut BatchCount,
    ) -> Result<Option<Batch>, RunError> {
        let plan = &*self.context.plan;
        let Work::Source(work) = &plan.stages[source].work else { return Ok(Some(batch)) };
        let Some(key) = &work.key else { return Ok(Some(batch)) };
        let (keyed, rejections) =
            set_key(batch.clone(), key).map_err(|error| mapping_error(plan, source, &batch, error))?;
        if rejections.is_empty() {
            return Ok(Some(keyed));
        }
        count.tally.rejected += rejections.len() as u64;
        let kept = keyed.pick(&rows_without(keyed.rows(), &rejections));
        self.context.refusing.rows(source, &batch, rejections, None)?;
        Ok((!kept.is_empty()).then_some(kept))
    }

    /// Rows of a batch that comes from one stage for another, or that a source gives.
    fn refuse_too_large(
        &self,
        from: usize,
        to: usize,
        batch: &Batch,
        rows: &[(u32, u64)],
        max: u64,
    ) -> Result<(), RunError> {
        // Together they could be more than a dead letter file takes at once.
        rows.iter().try_for_each(|&(row, bytes)| {
            let stage = &self.context.plan.stages[from].name;
            let message = format!(
                "the record has {bytes} bytes, more than the {max} that one may have; raise `limits.record-bytes` of \
                 `{stage}`"
            );
            let rejection = Rejection { row: 0, code: RECORD_TOO_LARGE.to_owned(), message };
            self.context.refusing.rows(to, &batch.pick(&[row].into()), vec![rejection], None)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::array::{DictionaryArray, StringArray, UInt32Array};
    use arrow::datatypes::{DataType, Field, Schema};
    use async_trait::async_trait;
    use model::batch::{Column, Parts};
    use model::ids::RecordId;
    use model::lineage::{Lineage, Offsets, SourceRows};
    use model::manifest::{self, Context as ManifestContext};
    use model::plan::{Answer, Form, Planner, Stream};
    use model::stage::Role;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::connector::{Barrier, ConnectError, PullLimits, Refusals, Sink, Source};
    use crate::job::{Job, Part, Rules};
    use crate::letters::{Group, Letters, LettersError};

    fn dictionary() -> DataType {
        DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
    }

    fn plan(stages: &str) -> Arc<Plan> {
        let context = ManifestContext { sources: &["stdin"], sinks: &["stdout"], env: &|_| None };
        let text = format!("pipeline: p\nstages:\n{stages}");
        let pipeline = manifest::parse("p.yaml", &text, &context).expect("a manifest");
        let mut planner = Planner::new(&pipeline, vec![Form::Any; pipeline.stages.len()]);
        let schema = Arc::new(Schema::new(vec![Field::new("x", dictionary(), false)]));
        while let Some(ask) = planner.next_ask() {
            planner.answer(match *pipeline.stages[ask.stage].role {
                Role::Source => Answer::Source(Stream::Rows(schema.clone())),
                _ => Answer::BuiltInSink { columns: true },
            });
        }
        Arc::new(planner.finish().expect("a plan"))
    }

    /// Gives one batch, of which each row has one of these texts.
    struct Once {
        texts: Vec<usize>,
        rows: Option<Vec<u32>>,
        record_bytes_max: u64,
    }

    #[async_trait]
    impl Source for Once {
        async fn pull(&mut self, _: PullLimits) -> Result<Option<Pulled>, ConnectError> {
            let Some(rows) = self.rows.take() else { return Ok(None) };
            let lineage = Lineage::of_source(SourceRows {
                pipeline: "p".into(),
                source: "in".into(),
                split: "0".into(),
                offsets: Offsets::From(0),
            });
            let texts = StringArray::from_iter_values(self.texts.iter().map(|&bytes| "w".repeat(bytes)));
            let schema = Arc::new(Schema::new(vec![Field::new("x", dictionary(), false)]));
            let count = rows.len();
            let values = DictionaryArray::new(UInt32Array::from(rows), Arc::new(texts));
            let columns = vec![Column::new(Arc::new(values))];
            let batch = Batch::new(schema, count, columns, Parts::default(), lineage).expect("a batch");
            Ok(Some(Pulled { batch: Some(batch), ..Pulled::default() }))
        }

        fn record_bytes_max(&self) -> u64 {
            self.record_bytes_max
        }
    }

    type Written = Arc<Mutex<Vec<Vec<u64>>>>;

    /// Keeps the offsets of each batch.
    struct Kept(Written);

    #[async_trait]
    impl Sink for Kept {
        async fn write(&mut self, batch: &Batch, _: &[RecordId]) -> Result<Refusals, ConnectError> {
            let offsets = (0..batch.rows()).map(|row| batch.lineage().origin(row).offset);
            self.0.lock().expect("the log").push(offsets.collect());
            Ok(Vec::new())
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

    /// Stage, code and offset of each.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl Letters for Told {
        fn put(&mut self, group: &Group) -> Result<(), LettersError> {
            let told = group.refusals.iter().enumerate().map(|(row, refusal)| {
                format!("{} {} {}", group.stage, refusal.code, group.rows.lineage().origin(row).offset)
            });
            self.0.lock().expect("the log").extend(told);
            Ok(())
        }

        fn sync(&mut self) -> Result<(), LettersError> {
            Ok(())
        }
    }

    async fn run(
        stages: &str,
        texts: &[usize],
        rows: &[u32],
        record_bytes_max: u64,
    ) -> (Vec<Vec<u64>>, Vec<String>, Vec<[u64; 3]>) {
        let plan = plan(stages);
        let (written, told) = (Written::default(), Told::default());
        let source = Once { texts: texts.into(), rows: Some(rows.into()), record_bytes_max };
        let limits = PullLimits { records_max: 1024, bytes_max: 1 << 20, delay: std::time::Duration::ZERO };
        let job = Job {
            epoch: 1,
            checkpoints: None,
            parts: vec![
                Part::Source { source: Box::new(source), limits },
                Part::Sink(Box::new(Kept(written.clone()))),
            ],
            rules: Rules::defaults(&plan),
            plan,
            letters: Box::new(told.clone()),
        };
        let run = job.build().expect("loops");
        let meters = run.meters();
        run.run(CancellationToken::new()).await.result().expect("a good run");
        let report = meters.report();
        let counts = report.iter().map(|stage| [stage.records_in, stage.records_out, stage.rejected]);
        let (written, told) =
            (written.lock().expect("the log").clone(), told.0.lock().expect("the log").clone());
        (written, told, counts.collect())
    }

    const MB: usize = 1 << 20;
    const PLAIN: &str = "  in: { source: stdin }\n  out: { sink: stdout, from: in }\n";
    const KEYED: &str = "  in: { source: stdin, key: x }\n  out: { sink: stdout, from: in }\n";

    #[tokio::test]
    async fn rows_come_in_parts_once_and_in_order() {
        for stages in [PLAIN, KEYED] {
            let (written, told, counts) = run(stages, &[2 * MB], &[0; 9], u64::MAX).await;
            assert!(written.iter().all(|part| part.len() <= 3), "{written:?}");
            assert_eq!(written.concat(), (0..9).collect::<Vec<u64>>());
            assert!(told.is_empty(), "{told:?}");
            assert_eq!(counts, [[9, 9, 0], [9, 9, 0]]);
        }
    }

    #[tokio::test]
    async fn a_row_that_is_too_large_is_refused_by_whom_it_was_meant_for() {
        let (written, told, counts) = run(PLAIN, &[1, 17 * MB], &[0, 1, 0, 1], u64::MAX).await;
        assert_eq!(written.concat(), [0, 2]);
        assert_eq!(told, ["out record-too-large 1", "out record-too-large 3"]);
        assert_eq!(counts[0], [4, 4, 0]);
        // Where the host looks after the records of a source, it is the source that refuses them.
        let (written, told, counts) = run(KEYED, &[1, 3000], &[0, 1, 0], 2000).await;
        assert_eq!(written.concat(), [0, 2]);
        assert_eq!(told, ["in record-too-large 1"]);
        assert_eq!(counts, [[3, 2, 1], [2, 2, 0]]);
    }

    #[test]
    fn what_was_let_in_goes_on() {
        let plan = plan(
            "  a: { source: stdin }\n  b: { source: stdin }\n  x: { sink: stdout, from: [a, b] }\n  y: { sink: stdout, \
             from: b }\n",
        );
        let (default, more) = (RECORD_BYTES_MAX as u64, 2 * RECORD_BYTES_MAX as u64);
        assert_eq!(*record_bytes(&plan, vec![more, 64, default, default]), [more, default, more, default]);
        assert_eq!(*record_bytes(&plan, vec![64; 4]), [default; 4]);
    }
}
