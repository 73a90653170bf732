//! Sources and sinks, native and under test.
#![allow(clippy::unwrap_used)]

use conveyor_sdk::testing::{self, json, record, row};
use conveyor_sdk::{
    Batch, Context, Failure, Field, Fields, Ids, Kind, NoConfig, Pull, Rejected, Result, Room, Row, Sink,
    SinkPlan, Source, Split, Table, TablePull, TableSink, TableSinkPlan, TableSource, Wanted, config,
};

/// Counts from the cursor of each split to its end, in steps of at most what there is room for.
#[config]
struct Counting {
    ends: Vec<u64>,
}

struct Counter {
    ends: Vec<u64>,
    at: Vec<u64>,
    released: Vec<(u32, Vec<u8>)>,
}

impl Counter {
    fn assign_from(&mut self, splits: Vec<Split>) -> Result {
        for split in splits {
            let start = match split.cursor {
                Some(cursor) => {
                    u64::from_le_bytes(cursor.try_into().map_err(|_| Failure::fatal("not my cursor"))?)
                }
                None => 0,
            };
            self.at.push(start);
        }
        Ok(())
    }

    /// The first split that has not ended.
    fn next(&self) -> Option<usize> {
        (0..self.at.len()).find(|split| self.at[*split] <= self.ends[*split])
    }
}

impl Source for Counter {
    type Config = Counting;

    fn splits(config: &Counting) -> Result<Vec<String>> {
        Ok(config.ends.iter().map(|end| format!("to-{end}")).collect())
    }

    fn open(config: Counting) -> Result<Self> {
        Ok(Counter { ends: config.ends, at: Vec::new(), released: Vec::new() })
    }

    fn assign(&mut self, splits: Vec<Split>) -> Result {
        self.assign_from(splits)
    }

    fn pull(&mut self, out: &mut Pull) -> Result {
        let Some(split) = self.next() else { return Ok(()) };
        out.of(split as u32);
        while self.at[split] < self.ends[split] && !out.is_full() {
            let n = self.at[split];
            match n {
                3 => out.refuse(n, "three", "no three, please", b"3"),
                _ => out.record(n).key(b"k").time(n as i64).header("h", b"v").value(n.to_string().as_bytes()),
            }
            self.at[split] += 1;
        }
        out.cursor(self.at[split].to_le_bytes());
        if self.at[split] == self.ends[split] {
            self.at[split] += 1;
            out.end();
        }
        Ok(())
    }

    fn committed(&mut self, split: u32, cursor: &[u8]) -> Result {
        self.released.push((split, cursor.to_vec()));
        Ok(())
    }
}

conveyor_sdk::source!(Counter);

const ROOM: Room = Room { records_max: 2, bytes_max: 1000, wait_ms_max: 0 };

#[test]
fn a_source_gives_what_there_is_room_for_and_says_how_to_go_on() {
    let mut source = testing::source::<Counter>(json!({ "ends": [5] })).unwrap();
    assert_eq!(source.splits().unwrap(), ["to-5"]);
    assert_eq!(source.pull(ROOM).unwrap(), None, "nothing is assigned");
    source.assign(vec![Split { name: "to-5".into(), cursor: Some(1_u64.to_le_bytes().to_vec()) }]).unwrap();
    let first = source.pull(ROOM).unwrap().unwrap();
    let one = record("1").key("k").time(1).header("h", "v");
    assert_eq!(first.records[0], (1, one));
    assert_eq!(
        (first.records.len(), first.cursor.as_slice(), first.ended),
        (2, &3_u64.to_le_bytes()[..], false)
    );
    let second = source.pull(ROOM).unwrap().unwrap();
    assert_eq!(second.refused, [(3, "three".to_owned(), b"3".to_vec())]);
    assert_eq!((second.records.len(), second.ended), (1, true));
    assert_eq!(source.pull(ROOM).unwrap(), None);
    source.committed(0, &second.cursor).unwrap();
}

#[test]
fn every_split_is_read_to_its_end() {
    let mut source = testing::source::<Counter>(json!({ "ends": [2, 0, 1] })).unwrap();
    source.assign_all().unwrap();
    let all = source.pull_all().unwrap();
    let seen: Vec<_> = all.iter().map(|(split, offset, record)| (*split, *offset, record.text())).collect();
    assert_eq!(seen, [(0, 0, "0".to_owned()), (0, 1, "1".to_owned()), (2, 0, "0".to_owned())]);
}

#[test]
fn a_pull_that_breaks_the_contract_is_a_failure() {
    macro_rules! source {
        ($name:ident, |$out:ident| $pull:block) => {
            struct $name;
            impl Source for $name {
                type Config = NoConfig;
                fn splits(_: &NoConfig) -> Result<Vec<String>> {
                    Ok(vec!["all".into()])
                }
                fn open(_: NoConfig) -> Result<Self> {
                    Ok($name)
                }
                fn assign(&mut self, _: Vec<Split>) -> Result {
                    Ok(())
                }
                fn pull(&mut self, $out: &mut Pull) -> Result {
                    $pull
                    Ok(())
                }
            }
        };
    }
    source!(NoSplit, |out| {
        out.push(0, b"x");
        out.cursor([]);
    });
    source!(NoCursor, |out| {
        out.of(0).push(0, b"x");
    });
    source!(Descends, |out| {
        out.of(0).push(1, b"x");
        out.push(1, b"x");
        out.cursor([]);
    });
    source!(TwoSplits, |out| {
        out.of(0).of(1).cursor([]);
    });
    source!(SomeTimes, |out| {
        out.of(0).push(0, b"x");
        out.record(1).time(1).value(b"y");
        out.cursor([]);
    });
    fn check<S: Source>(message: &str) {
        let mut source = testing::source::<S>(json!({})).unwrap();
        source.assign_all().unwrap();
        let failure = source.pull(ROOM).unwrap_err();
        assert!(failure.message().contains(message), "{failure}");
    }
    check::<NoSplit>("has to say `of` which split");
    check::<NoCursor>("has to say with `cursor`");
    check::<Descends>("offset 1 follows 1");
    check::<TwoSplits>("not of 0 and 1");
    check::<SomeTimes>("some have none");
}

#[derive(Row)]
struct Number<'a> {
    n: i64,
    #[row(name = "as text")]
    text: Option<&'a str>,
}

struct Numbers {
    at: u64,
    with_text: bool,
}

impl TableSource for Numbers {
    type Config = NoConfig;

    fn schema(_: &NoConfig) -> Result<Fields> {
        Ok(<Number<'_> as conveyor_sdk::FieldsOf>::fields().into())
    }

    fn splits(_: &NoConfig) -> Result<Vec<String>> {
        Ok(vec!["all".into()])
    }

    fn open(_: NoConfig, wanted: &Wanted) -> Result<Self> {
        Ok(Numbers { at: 0, with_text: wanted.has(1) })
    }

    fn assign(&mut self, _: Vec<Split>) -> Result {
        Ok(())
    }

    fn pull(&mut self, out: &mut TablePull) -> Result {
        out.of(0);
        while self.at < 3 && !out.is_full() {
            let text = self.at.to_string();
            let row = Number { n: self.at as i64, text: self.with_text.then_some(&text) };
            out.row(self.at).time(5).key(b"k").row(&row);
            self.at += 1;
        }
        out.cursor([self.at as u8]);
        if self.at == 3 {
            out.end();
        }
        Ok(())
    }
}

conveyor_sdk::table_source!(Numbers);

#[test]
fn a_table_source_gives_the_columns_that_are_read() {
    for (wanted, expected) in [
        (None, json!({ "n": 1, "as text": "1" })),
        (Some(&["as text", "n"][..]), json!({ "n": 1, "as text": "1" })),
        (Some(&["n"]), json!({ "n": 1 })),
        (Some(&[]), json!({})),
    ] {
        let mut source = testing::table_source::<Numbers>(json!({}), wanted).unwrap();
        source.assign_all().unwrap();
        let rows = source.pull_all().unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1], (0, 1, row(expected).key("k").time(5)), "of {wanted:?}");
    }
}

#[derive(Default)]
struct Kept {
    lines: Vec<String>,
    durable: usize,
    committed: usize,
}

impl Sink for Kept {
    type Config = NoConfig;

    fn plan(_: &NoConfig) -> Result<SinkPlan> {
        Ok(SinkPlan::new().keys().ids().commits())
    }

    fn open(_: NoConfig, context: Context) -> Result<Self> {
        assert_eq!((context.replica, context.replicas), (0, 1));
        Ok(Kept::default())
    }

    fn write(&mut self, batch: &Batch, ids: Ids<'_>, rejected: &mut Rejected) -> Result {
        for record in batch {
            let id = ids.get(record).map(|id| id[15]);
            match record.value() {
                Some(value) => {
                    let key = record.key().map(String::from_utf8_lossy);
                    self.lines.push(format!("{id:?} {key:?} {}", String::from_utf8_lossy(value)));
                }
                None => rejected.reject(record, "deletion", "this sink keeps everything"),
            }
        }
        Ok(())
    }

    fn prepare(&mut self, checkpoint: u64) -> Result<Vec<u8>> {
        self.durable = self.lines.len();
        Ok(vec![checkpoint as u8])
    }

    fn commit(&mut self, token: &[u8]) -> Result {
        assert_eq!(token, [9]);
        self.committed = self.durable;
        Ok(())
    }
}

conveyor_sdk::sink!(Kept);

#[test]
fn a_sink_writes_rejects_and_commits() {
    let mut sink = testing::sink::<Kept>(json!({})).unwrap();
    let rejected = sink.write([record("a").key("k"), testing::deletion(), record("c")]).unwrap();
    assert_eq!((rejected.len(), rejected[0].of, rejected[0].code.as_str()), (1, 1, "deletion"));
    sink.write([record("d")]).unwrap();
    assert_eq!(sink.finish(9).unwrap(), [9]);
    assert_eq!(sink.stage().lines, [r#"Some(0) Some("k") a"#, "Some(2) None c", "Some(3) None d"]);
    assert_eq!(sink.stage().committed, 3);
}

#[derive(Default)]
struct Sum(i64);

impl TableSink for Sum {
    type Config = NoConfig;

    fn plan(_: &NoConfig, _: &Fields) -> Result<TableSinkPlan> {
        Ok(TableSinkPlan::of::<Number<'_>>())
    }

    fn open(_: NoConfig, input: &Fields, _: Context) -> Result<Self> {
        input.require("n")?;
        Ok(Sum::default())
    }

    fn write(&mut self, table: &Table, ids: Ids<'_>, rejected: &mut Rejected) -> Result {
        for (at, row) in table.rows::<Number<'_>>() {
            assert_eq!(ids.get(at), None, "the plan does not ask for ids");
            match row.text {
                Some(_) => self.0 += row.n,
                None => rejected.reject(at, "no-text", ""),
            }
        }
        Ok(())
    }
}

conveyor_sdk::table_sink!(Sum);

#[test]
fn a_table_sink_gets_the_columns_that_it_wants() {
    let input =
        [Field::new("n", Kind::S64s), Field::new("as text", Kind::Texts), Field::new("more", Kind::Bools)];
    let mut sink = testing::table_sink::<Sum>(json!({}), input).unwrap();
    let rejected = sink.write([json!({ "n": 3, "as text": "x" }), json!({ "n": 4 })]).unwrap();
    assert_eq!((sink.stage().0, rejected[0].of), (3, 1));
    assert!(sink.finish(1).unwrap().is_empty());
}
