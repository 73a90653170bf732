//! Compiled code, with what stands beside it: it is made again where it is not what it was.

use std::path::Path;
use std::sync::Arc;

use arrow::array::BinaryArray;
use engine::{Call, CallError, Component, Engine, EngineOptions, StageLimits};
use model::batch::Column;
use tokio::runtime::{Builder, Runtime};

use super::{Kind, MayLose, Read};
use crate::guests::{guest, probe};

/// A small one, since it is compiled again and again.
const SMALL: &str = "probe-table-source";
/// One that dies where its debug information says.
const DYING: &str = "probe-bytes";

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn load(dir: &Path, name: &str) -> Result<Component, String> {
    let cache_dir = Some(dir.join("code"));
    let options = EngineOptions { cache_dir, instances_max: 4, ..EngineOptions::default() };
    let engine = Engine::new(options).map_err(|error| error.to_string())?;
    engine.load(guest(name)).await.map_err(|error| error.to_string())
}

fn read(dir: &Path) -> Read {
    let component = runtime().block_on(load(dir, SMALL))?;
    Ok(vec![
        format!("{:?} {:?}", component.kind(), component.about()),
        format!("{:?} {:?}", component.exports(), component.imports()),
    ]
    .into())
}

#[test]
fn compiled_code() {
    let make = |dir: &Path| drop(read(dir).expect("compiled"));
    let name = "compiled code";
    Kind { name, make, is_struck: |_| true, read, may_lose: MayLose::Nothing }.strike_all();
}

/// Where it died, as far as that is known.
async fn places_of_a_death(dir: &Path) -> Read {
    let component = load(dir, DYING).await?;
    let pool = probe(&component, "panic", &[], StageLimits::default()).await;
    let columns = [Column::new(Arc::new(BinaryArray::from_iter_values(["a"])))];
    let call = Call { rows: 1, columns: &columns, ..Call::default() };
    let answer = pool.lease().await.map_err(|error| error.to_string())?.process(call).await;
    let Err(CallError::Trap(trap)) = answer else { panic!("{answer:?}") };
    let known = trap.backtrace.frames().into_iter().filter(|frame| frame.line.is_some());
    Ok(known.map(|frame| format!("{frame:?}")).collect::<Vec<_>>().into())
}

#[test]
fn where_code_is_in_its_source() {
    let kind = Kind {
        name: "where compiled code is in its source",
        make: |dir| drop(runtime().block_on(load(dir, DYING)).expect("compiled")),
        is_struck: |name| name.ends_with(".dwarf"),
        read: |dir| runtime().block_on(places_of_a_death(dir)),
        // A death without a place is told as such.
        may_lose: MayLose::All,
    };
    kind.strike_all();
}
