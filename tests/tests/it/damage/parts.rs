//! What the sink `file` has written and not committed, beside the token of a committed checkpoint.

use std::path::Path;
use std::sync::Arc;

use arrow::array::BinaryArray;
use connect::SinkSpec;
use disk::SystemDisk;
use flow::connector::{Barrier, Committed, Sink, Then};
use futures::FutureExt as _;
use model::batch::{Batch, Parts};
use model::lineage::{Lineage, Offsets, SourceRows};
use model::plan::Stream;
use serde_json::{Map, Value, json};

use super::{Kind, MayLose, Read};

const TOKEN: &str = "token";

/// A sink of which each call is done when it comes back.
fn block_on<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("it waits for nothing")
}

fn open(dir: &Path, with: Value, token: Option<Vec<u8>>) -> Result<Box<dyn Sink>, String> {
    let Value::Object(more) = with else { panic!("options") };
    let mut with: Map<String, Value> = [("path".to_owned(), "out.txt".into())].into_iter().collect();
    with.extend(more);
    let spec = SinkSpec {
        stage: "out".into(),
        connector: "file".into(),
        with,
        base: dir.to_owned(),
        roots: connect::Roots::default(),
        secrets: connect::Secrets::default(),
    };
    let sink = connect::open_file_on(Arc::new(SystemDisk), &spec, &Stream::Opaque, Some(Committed(token)));
    sink.map_err(|error| error.to_string())
}

fn batch(from: u64) -> Batch {
    let lineage = Lineage::of_source(SourceRows {
        pipeline: "p".into(),
        source: "in".into(),
        split: "a.txt".into(),
        offsets: Offsets::From(from),
    });
    let values = BinaryArray::from_iter_values((from..from + 50).map(|number| format!("record {number}")));
    Batch::from_values(values, Parts::default(), lineage).expect("a batch")
}

/// Writes `commits` checkpoints, and of one more all but the commit.
fn write(dir: &Path, with: Value, commits: u64) {
    let mut sink = open(dir, with, None).expect("a sink");
    let mut step = |number: u64| {
        block_on(sink.write(&batch(number * 50), &[])).expect("written");
        let token = block_on(sink.prepare(Barrier { number, then: Then::GoOn })).expect("prepared");
        if number <= commits {
            block_on(sink.commit(&token)).expect("committed");
        }
        token
    };
    let token = (1..=commits + 1).map(&mut step).last().expect("one");
    std::fs::write(dir.join(TOKEN), token).expect("written");
}

/// The output, when it has committed the last checkpoint, and one more behind it.
fn read(dir: &Path, with: Value) -> Read {
    let token = std::fs::read(dir.join(TOKEN)).expect("the token");
    let mut sink = open(dir, with, Some(token.clone()))?;
    let mut go_on = || {
        block_on(sink.commit(&token))?;
        block_on(sink.write(&batch(7000), &[]))?;
        let token = block_on(sink.prepare(Barrier { number: 9, then: Then::End }))?;
        block_on(sink.commit(&token))
    };
    go_on().map_err(|error| error.to_string())?;
    let outputs = super::files(dir).into_iter().filter(|path| super::name_of(path) != TOKEN);
    let lines = outputs.flat_map(|path| {
        let name = super::name_of(&path);
        let lines = String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned();
        lines.lines().map(|line| format!("{name}: {line}")).collect::<Vec<_>>()
    });
    Ok(lines.collect::<Vec<_>>().into())
}

fn is_part(name: &str) -> bool {
    name.ends_with(".part")
}

#[test]
fn a_part_that_becomes_the_file() {
    let (make, read) = (|dir: &Path| write(dir, json!({}), 0), |dir: &Path| read(dir, json!({})));
    let name = "a part that becomes the file";
    Kind { name, make, is_struck: is_part, read, may_lose: MayLose::Nothing }.strike_all();
}

#[test]
fn a_part_that_goes_behind_the_file() {
    let (make, read) = (|dir: &Path| write(dir, json!({}), 2), |dir: &Path| read(dir, json!({})));
    let name = "a part that goes behind the file";
    Kind { name, make, is_struck: is_part, read, may_lose: MayLose::Nothing }.strike_all();
}

fn row() -> Value {
    json!({ "rotate": { "size": 1300 } })
}

#[test]
fn files_of_a_row() {
    let (make, read) = (|dir: &Path| write(dir, row(), 3), |dir: &Path| read(dir, row()));
    let name = "files of a row, full and not";
    Kind { name, make, is_struck: is_part, read, may_lose: MayLose::Nothing }.strike_all();
}
