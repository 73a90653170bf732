//! Sources and sinks under test.

use crate::bindings::types::splits::Place;
use crate::fields::{Field, Fields};
use crate::plan::Parts;
use crate::pull::{Room, Split};
use crate::sink::{Context, OpenSink, OpenTableSink, TableSinkPlan};
use crate::source::{OpenSource, OpenTableSource};
use crate::testing::records::{TestRecord, batch, unpack as unpack_records};
use crate::testing::tables::{TestRow, fits, table, unpack as unpack_rows};
use crate::testing::{Rejection, Value};
use crate::{Failure, Fingerprint, Result, Sink, Source, TableSink, TableSource, config, fingerprint};

/// How often a source may be pulled before a test gives up on its end.
const PULLS_MAX: usize = 100_000;

/// A record with its place: `(split, offset)`.
pub type PulledRecord = (u32, u64, TestRecord);

/// A row with its place: `(split, offset)`.
pub type PulledRow = (u32, u64, TestRow);

/// What a source gave in one pull.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled<R> {
    pub split: u32,
    /// Offset and record.
    pub records: Vec<(u64, R)>,
    /// Offset, code and bytes of what could not be made into a record.
    pub refused: Vec<(u64, String, Vec<u8>)>,
    pub cursor: Vec<u8>,
    pub ended: bool,
}

impl<R> Pulled<R> {
    fn new(place: Place, records: Vec<R>) -> Self {
        assert!(
            place.offsets.windows(2).all(|pair| pair[0] < pair[1]),
            "offsets ascend: {:?}",
            place.offsets
        );
        assert_eq!(place.offsets.len(), records.len(), "an offset for each record");
        Pulled {
            split: place.split,
            records: place.offsets.into_iter().zip(records).collect(),
            refused: place
                .refused
                .into_iter()
                .map(|refused| (refused.offset, refused.code, refused.raw))
                .collect(),
            cursor: place.cursor,
            ended: place.ended,
        }
    }
}

const ROOM: Room = Room { records_max: 1024, bytes_max: 1 << 20, wait_ms_max: 0 };

macro_rules! source_test {
    ($test:ident, $open:ident, $stage:ident, $record:ty, $pulled:ty, $unpack:expr) => {
        impl<S: $stage> $test<S> {
            /// The splits that there are, by name.
            pub fn splits(&self) -> Result<Vec<String>> {
                S::splits(&config::parse(&self.config)?)
            }

            /// Assigns every split that there is, from its start.
            pub fn assign_all(&mut self) -> Result {
                let splits = self.splits()?.into_iter().map(|name| Split { name, cursor: None }).collect();
                self.assign(splits)
            }

            pub fn assign(&mut self, splits: Vec<Split>) -> Result {
                self.open += splits.len();
                self.source.stage.assign(splits)
            }

            /// Pulls once; none where no split has anything.
            pub fn pull(&mut self, room: Room) -> Result<Option<Pulled<$record>>> {
                let Some((batch, place)) = self.source.pull(room)? else { return Ok(None) };
                let records = $unpack(&batch, self);
                let pulled = Pulled::new(place, records);
                self.open -= usize::from(pulled.ended);
                Ok(Some(pulled))
            }

            /// Pulls until every split has ended.
            ///
            /// # Panics
            /// Where one does not.
            pub fn pull_all(&mut self) -> Result<Vec<$pulled>> {
                let mut all = Vec::new();
                for _ in 0..PULLS_MAX {
                    if self.open == 0 {
                        return Ok(all);
                    }
                    if let Some(pulled) = self.pull(ROOM)? {
                        let split = pulled.split;
                        all.extend(
                            pulled.records.into_iter().map(|(offset, record)| (split, offset, record)),
                        );
                    }
                }
                panic!("after {PULLS_MAX} pulls, {} splits have not ended", self.open);
            }

            pub fn committed(&mut self, split: u32, cursor: &[u8]) -> Result {
                self.source.stage.committed(split, cursor)
            }

            /// What the stage says that its place rests on, as the host asks it.
            pub fn fingerprint(&self) -> Result<Option<Fingerprint>> {
                fingerprint::asked::<$open<S>>(&self.config)
            }
        }
    };
}

/// An open source.
pub struct SourceTest<S> {
    source: OpenSource<S>,
    config: String,
    open: usize,
}

/// An open table source.
pub struct TableSourceTest<S> {
    source: OpenTableSource<S>,
    config: String,
    open: usize,
    given: Vec<Field>,
}

/// Opens a source with this config.
pub fn source<S: Source>(config: Value) -> Result<SourceTest<S>> {
    let config = config.to_string();
    Ok(SourceTest { source: OpenSource::open(&config)?, config, open: 0 })
}

/// Opens a table source with this config, of whose columns only these are read; or all.
pub fn table_source<S: TableSource>(config: Value, wanted: Option<&[&str]>) -> Result<TableSourceTest<S>> {
    let config = config.to_string();
    let schema = S::schema(&config::parse(&config)?)?;
    let indices: Vec<u32> = match wanted {
        None => (0..schema.len() as u32).collect(),
        Some(names) => {
            let index =
                |name: &&str| schema.require(name).map(|_| schema.index(name).unwrap_or_default() as u32);
            names.iter().map(index).collect::<Result<_>>()?
        }
    };
    let given = indices.iter().map(|index| schema[*index as usize].clone()).collect();
    Ok(TableSourceTest { source: OpenTableSource::open(&config, indices)?, config, open: 0, given })
}

source_test!(SourceTest, OpenSource, Source, TestRecord, PulledRecord, |batch, _: &Self| unpack_records(
    batch
));
source_test!(TableSourceTest, OpenTableSource, TableSource, TestRow, PulledRow, |batch, test: &Self| {
    unpack_rows(batch, &test.given.iter().collect::<Vec<_>>())
});

/// An open sink. Records get the ids 0, 1, 2, and on, as numbers of 16 bytes with the most significant first.
pub struct SinkTest<S> {
    sink: OpenSink<S>,
    config: String,
    parts: Parts,
    ids: Numbered,
}

/// An open table sink, as [`SinkTest`] for rows.
pub struct TableSinkTest<S> {
    sink: OpenTableSink<S>,
    config: String,
    plan: TableSinkPlan,
    ids: Numbered,
}

#[derive(Debug)]
struct Numbered {
    wanted: bool,
    next: u128,
}

/// Opens a sink with this config, as the only replica and with nothing committed.
pub fn sink<S: Sink>(config: Value) -> Result<SinkTest<S>> {
    let config = config.to_string();
    let plan = OpenSink::<S>::plan(&config)?;
    let (parts, ids) = (plan.parts(), Numbered { wanted: plan.wants_ids(), next: 0 });
    Ok(SinkTest { sink: OpenSink::open(&config, alone())?, config, parts, ids })
}

/// Opens a table sink with this config for a stream with these columns, as [`sink`] does.
pub fn table_sink<S: TableSink>(config: Value, input: impl Into<Fields>) -> Result<TableSinkTest<S>> {
    let (config, input) = (config.to_string(), input.into());
    let plan = OpenTableSink::<S>::plan(&config, input.to_vec())?;
    plan.wanted().iter().try_for_each(|wanted| input.require(&wanted.name).map(drop))?;
    let ids = Numbered { wanted: plan.records().wants_ids(), next: 0 };
    let sink = OpenTableSink::open(&config, input.to_vec(), alone())?;
    Ok(TableSinkTest { sink, config, plan, ids })
}

impl<S: Sink> SinkTest<S> {
    /// Writes one batch; what the sink refuses comes back.
    pub fn write<R: Into<TestRecord>>(
        &mut self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Vec<Rejection>> {
        let records: Vec<TestRecord> = records.into_iter().map(Into::into).collect();
        let ids = self.ids.take(records.len());
        let rejected = self.sink.write(batch(&records, self.parts), ids.as_deref())?;
        Ok(rejected.into_iter().map(Rejection::from).collect())
    }

    /// Prepares and commits, as a host does at the end; the token comes back.
    pub fn finish(&mut self, checkpoint: u64) -> Result<Vec<u8>> {
        let token = self.sink.stage.prepare(checkpoint)?;
        self.sink.stage.commit(&token)?;
        Ok(token)
    }

    /// What the stage says that its place rests on, as the host asks it.
    pub fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        fingerprint::asked::<OpenSink<S>>(&self.config)
    }

    pub fn stage(&mut self) -> &mut S {
        &mut self.sink.stage
    }
}

impl<S: TableSink> TableSinkTest<S> {
    /// Writes one batch; what the sink refuses comes back.
    pub fn write<R: Into<TestRow>>(&mut self, rows: impl IntoIterator<Item = R>) -> Result<Vec<Rejection>> {
        let rows: Vec<TestRow> = rows.into_iter().map(Into::into).collect();
        if let Some(unfit) = rows.iter().position(|row| !fits(self.plan.wanted(), row)) {
            return Err(Failure::invalid(format!(
                "row {unfit} does not fit the columns that the sink wants"
            )));
        }
        let ids = self.ids.take(rows.len());
        let Parts { times, keys, .. } = self.plan.records().parts();
        let wire = table(self.plan.wanted(), &rows.iter().collect::<Vec<_>>(), times, keys);
        Ok(self.sink.write(wire, ids.as_deref())?.into_iter().map(Rejection::from).collect())
    }

    /// Prepares and commits, as a host does at the end; the token comes back.
    pub fn finish(&mut self, checkpoint: u64) -> Result<Vec<u8>> {
        let token = self.sink.stage.prepare(checkpoint)?;
        self.sink.stage.commit(&token)?;
        Ok(token)
    }

    /// What the stage says that its place rests on, as the host asks it.
    pub fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        fingerprint::asked::<OpenTableSink<S>>(&self.config)
    }

    pub fn stage(&mut self) -> &mut S {
        &mut self.sink.stage
    }
}

impl Numbered {
    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let first = self.next;
        self.next += count as u128;
        self.wanted.then(|| (first..self.next).flat_map(u128::to_be_bytes).collect())
    }
}

fn alone() -> Context {
    Context { replica: 0, replicas: 1, epoch: 1, committed: Vec::new() }
}
