//! What it costs to cross into a stage and back, by itself: no belt, no source, no sink.
//!
//! `cargo run --release -p engine --example crossing [throughput|latency|starts|memory]`, after `cargo xtask guests`.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, BinaryArray, Int64Array, StringArray};
use engine::{Call, Component, Engine, EngineOptions, Lease, Pool, StageLimits, StageSetup};
use model::batch::{Column, Rows};
use model::fields::{FieldSpec, Kind};
use model::stage::StagePlan;

const ROWS: usize = 1024;
const VALUE_BYTES: usize = 100;
/// How long each row of the table is measured, and how often; the best one counts.
const SPELL: Duration = Duration::from_millis(150);
const SPELLS: usize = 7;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = tempfile::tempdir()?;
    let options = EngineOptions { cache_dir: Some(cache.path().to_owned()), ..EngineOptions::default() };
    let engine = Engine::new(options.clone())?;
    let bytes = engine.load(std::fs::read(guest("probe-bytes")?)?).await?;
    let table = engine.load(std::fs::read(guest("probe-table")?)?).await?;
    let only = std::env::args().nth(1);
    let wants = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wants("throughput") {
        throughput(&bytes, &table).await?;
    }
    if wants("latency") {
        latency(&bytes).await?;
    }
    if wants("starts") {
        starts(&bytes, options).await?;
    }
    if wants("memory") {
        memory(&bytes).await?;
    }
    Ok(())
}

fn guest(name: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let dir = match std::env::var_os("CONVEYOR_GUESTS") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
            cache.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("conveyor/guests")
        }
    };
    let path = dir.join(format!("{name}.wasm"));
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("no {}: run `cargo xtask guests`", path.display()).into())
    }
}

async fn pool(
    component: &Component,
    what: &str,
    input: &[FieldSpec],
) -> Result<Pool, Box<dyn std::error::Error>> {
    let (config, limits) = (serde_json::json!({ "do": what }), StageLimits::default());
    let StagePlan::Transform(plan) = component.plan(&config, input, &limits).await? else {
        return Err("it is no transform".into());
    };
    let (pipeline, stage) = (Arc::from("bench"), Arc::from(what));
    let setup = StageSetup {
        pipeline,
        stage,
        config,
        input: input.to_vec(),
        plan,
        limits,
        access: engine::Access::default(),
        state: None,
    };
    Ok(Pool::new(component.clone(), setup))
}

/// Values of 100 bytes whose first one is below 128 for every other, in no order that can be foreseen.
fn values(rows: usize) -> ArrayRef {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let value = |i: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut value = vec![b'a' + (i % 26) as u8; VALUE_BYTES];
        value[0] = (state >> 56) as u8;
        value
    };
    Arc::new(BinaryArray::from_iter_values((0..rows).map(value)))
}

async fn throughput(bytes: &Component, table: &Component) -> Result<(), Box<dyn std::error::Error>> {
    println!("{:<44} {:>12} {:>12}", "crossing, batches of 1,024 x 100 bytes", "M records/s", "fuel/record");
    let all = [Column::new(values(ROWS))];
    let half: Arc<[u32]> =
        (0..2 * ROWS as u32).filter(|i| (i * 2_654_435_761) >> 31 == 0).take(ROWS).collect();
    let half = [Column::with_rows(values(2 * ROWS), Rows::At(half))];
    let most: Arc<[u32]> = (0..2 * ROWS as u32).filter(|i| i % 10 != 0).take(ROWS).collect();
    let most = [Column::with_rows(values(2 * ROWS), Rows::At(most))];
    for (name, what, columns) in [
        ("bytes, nothing done, all forwarded", "all", &all),
        ("bytes, filter that keeps half", "half", &all),
        ("the same, rows gathered out of half", "half", &half),
        ("the same, rows gathered out of 9 in 10", "half", &most),
        ("bytes, map that adds 4 bytes", "wrap", &all),
    ] {
        let mut lease = pool(bytes, what, &[]).await?.lease().await?;
        measure(name, &mut lease, columns).await?;
    }
    let field = |name: &str, kind| FieldSpec { name: name.into(), kind, nullable: true, logical: "".into() };
    let input = [field("n", Kind::S64s), field("t", Kind::Texts)];
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|i| i % 7 - 3)));
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|i| format!("text {i}"))));
    for (name, what, columns) in [
        ("table, filter on one column of integers", "filter", vec![numbers.clone()]),
        ("table, a column of integers set", "set", vec![numbers.clone(), text.clone()]),
        ("table, integers and texts out and in again", "echo", vec![numbers, text]),
    ] {
        let columns: Vec<Column> = columns.into_iter().map(Column::new).collect();
        let mut lease = pool(table, what, &input).await?.lease().await?;
        measure(name, &mut lease, &columns).await?;
    }
    Ok(())
}

async fn measure(
    name: &str,
    lease: &mut Lease,
    columns: &[Column],
) -> Result<(), Box<dyn std::error::Error>> {
    let call = Call { rows: ROWS, columns, ..Call::default() };
    let mut best = 0.0_f64;
    for _ in 0..SPELLS {
        let (start, mut records) = (Instant::now(), 0);
        while start.elapsed() < SPELL {
            for _ in 0..20 {
                black_box(lease.process(call).await?);
                records += ROWS;
            }
        }
        best = best.max(records as f64 / start.elapsed().as_secs_f64());
    }
    println!("{name:<44} {:>12.1} {:>12.1}", best / 1e6, lease.last_fuel() as f64 / ROWS as f64);
    Ok(())
}

async fn latency(bytes: &Component) -> Result<(), Box<dyn std::error::Error>> {
    println!("\n{:<44} {:>12} {:>12}", "one call with one record", "p50 us", "p99 us");
    let columns = [Column::new(values(1))];
    let call = Call { rows: 1, columns: &columns, ..Call::default() };
    for what in ["none", "half", "wrap"] {
        let mut lease = pool(bytes, what, &[]).await?.lease().await?;
        let mut took = Vec::with_capacity(100_000);
        for _ in 0..100_000 {
            let start = Instant::now();
            black_box(lease.process(call).await?);
            took.push(start.elapsed());
        }
        show(what, took);
    }
    Ok(())
}

fn show(name: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |part: usize| took[took.len() * part / 100].as_secs_f64() * 1e6;
    println!("{name:<44} {:>12.2} {:>12.2}", at(50), at(99));
}

async fn starts(bytes: &Component, options: EngineOptions) -> Result<(), Box<dyn std::error::Error>> {
    println!("\n{:<44} {:>12} {:>12}", "starts", "p50 us", "p99 us");
    let warm = pool(bytes, "all", &[]).await?;
    let mut took = Vec::new();
    for _ in 0..10_000 {
        let start = Instant::now();
        black_box(warm.lease().await?);
        took.push(start.elapsed());
    }
    show("a fresh instance of a warm component, opened", took);
    let columns = [Column::new(values(1))];
    let call = Call { rows: 1, columns: &columns, ..Call::default() };
    let (mut engines, mut loads, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..20 {
        let start = Instant::now();
        let engine = Engine::new(options.clone())?;
        engines.push(start.elapsed());
        let start = Instant::now();
        let component = engine.load_cached(bytes.digest()).await?.ok_or("it is not in the cache")?;
        loads.push(start.elapsed());
        let mut lease = pool(&component, "all", &[]).await?.lease().await?;
        black_box(lease.process(call).await?);
        firsts.push(start.elapsed());
    }
    show("an engine", engines);
    show("a component from the cache", loads);
    show("the same, planned, to its first record out", firsts);
    Ok(())
}

/// KiB of this process that are in memory.
fn resident_kib() -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(kib.parse()?)
}

async fn memory(bytes: &Component) -> Result<(), Box<dyn std::error::Error>> {
    println!("\n{:<44} {:>12}", "memory of one of 300 pipelines", "KiB");
    let columns = [Column::new(values(ROWS))];
    let call = Call { rows: ROWS, columns: &columns, ..Call::default() };
    let before = resident_kib()?;
    let mut pools = Vec::new();
    for _ in 0..300 {
        let pool = pool(bytes, "half", &[]).await?;
        let mut lease = pool.lease().await?;
        black_box(lease.process(call).await?);
        lease.give_back();
        pools.push(pool);
    }
    let each = |now: f64| (now - before) / pools.len() as f64;
    println!("{:<44} {:>12.1}", "with one warm instance", each(resident_kib()?));
    pools.iter().for_each(Pool::cool);
    println!("{:<44} {:>12.1}", "cooled, its slots kept for the next ones", each(resident_kib()?));
    Ok(())
}
