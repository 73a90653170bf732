//! `cargo bench -p benches --bench registry [WORD...]`: Conveyor's registry beside docker-registry 2.8 and distribution 3.1,
//! with one client that does the same to each of them in turn. Client and server share the cores. What is needed:
//! `cargo build --release --workspace --bin conveyor` and `cargo xtask peers`, which installs the others.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use benches::measure::{median, percentile, spread};
use benches::registry::load::{Line, Until, Work, drive};
use benches::registry::server::{Kind, Server};
use benches::registry::stage::{Mould, Stage};
use benches::report::{Goal, Table};

const CLIENTS: usize = 64;
/// Rounds of which the median counts, behind one that does not.
const ROUNDS: usize = 5;
const SMALL_BYTES: usize = 24 << 10;
const LARGE_BYTES: usize = 12 << 20;
/// Stages that are pulled.
const STAGES: u64 = 16;
const TIME: Duration = Duration::from_secs(2);
/// Large ones that each client pushes in a round: what is pushed has to fit on a disk.
const PUSHES: u32 = 1;
/// What share of the memory of either of the others Conveyor's may have.
const MEMORY_SHARE: f64 = 1.0 / 3.0;
const TAGS: u64 = 100_000;
const AGAIN_MAX: Duration = Duration::from_millis(5);
const START_MAX: Duration = Duration::from_millis(50);

struct Row {
    name: &'static str,
    bytes: usize,
    is_push: bool,
    until: Until,
    /// Times the rate of either of the others.
    goal: f64,
}

const ROWS: [Row; 4] = [
    Row { name: "pull 24 KB", bytes: SMALL_BYTES, is_push: false, until: Until::Time(TIME), goal: 3.0 },
    Row { name: "push 24 KB", bytes: SMALL_BYTES, is_push: true, until: Until::Time(TIME), goal: 3.0 },
    Row { name: "pull 12 MB", bytes: LARGE_BYTES, is_push: false, until: Until::Time(TIME), goal: 1.2 },
    Row { name: "push 12 MB", bytes: LARGE_BYTES, is_push: true, until: Until::Count(PUSHES), goal: 1.2 },
];

/// What a registry came to in a row.
struct Found {
    kind: Kind,
    rates: Vec<f64>,
    peak_bytes: u64,
    /// Of the server, for each thing done, in the rounds that count.
    worked: Duration,
    count: u64,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_asked = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut missed = false;
    let mut rates = Table::new([
        "row",
        "server",
        "a second",
        "slowest and fastest",
        "server's ms for each",
        "Conveyor against it",
        "must reach",
    ]);
    let mut memory = Table::new(["row", "server", "peak MiB", "Conveyor's share", "must be at most"]);
    for row in ROWS.iter().filter(|row| is_asked(row.name)) {
        let found = measure(row).with_context(|| row.name)?;
        missed |= tell(row, &found, &mut rates, &mut memory);
    }
    println!("{rates}\n{memory}");
    if is_asked("others") {
        missed |= others()?;
    }
    ensure!(!missed, "what was asked for is not reached");
    Ok(())
}

fn tell(row: &Row, found: &[Found], rates: &mut Table, memory: &mut Table) -> bool {
    let mut missed = false;
    let ours = &found[0];
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for one in found {
        let is_other = one.kind != ours.kind;
        let (ratio, share) =
            (median(&ours.rates) / median(&one.rates), ours.peak_bytes as f64 / one.peak_bytes as f64);
        let mut verdict = |goal: Goal, bound: f64, found: f64| {
            missed |= is_other && !goal.reached(found);
            if is_other { format!("{bound:.2}: {}", goal.verdict(found)) } else { String::new() }
        };
        let (slowest, fastest) = spread(&one.rates);
        rates.row([
            row.name.to_owned(),
            one.kind.name().to_owned(),
            format!("{:.1}", median(&one.rates)),
            format!("{slowest:.1} to {fastest:.1}"),
            format!("{:.3}", one.worked.as_secs_f64() * 1e3 / one.count as f64),
            format!("{ratio:.2}"),
            verdict(Goal::AtLeast(row.goal), row.goal, ratio),
        ]);
        memory.row([
            row.name.to_owned(),
            one.kind.name().to_owned(),
            format!("{:.1}", mib(one.peak_bytes)),
            format!("{share:.2}"),
            verdict(Goal::AtMost(MEMORY_SHARE), MEMORY_SHARE, share),
        ]);
    }
    missed
}

/// The servers in turn, round after round. What is pulled they have been given before; where something is pushed each round
/// begins with a server that has nothing, so that no more lies on the disk than one round pushes.
fn measure(row: &Row) -> Result<Vec<Found>> {
    let mould = Mould::new(row.bytes);
    let next = Arc::new(AtomicU64::new(0));
    let stages = Arc::new((0..STAGES).map(|_| mould.stage(take(&next))).collect::<Vec<_>>());
    let work = if row.is_push { Work::Push(mould, next) } else { Work::Pull(stages.clone()) };
    let of = |kind| Found { kind, rates: Vec::new(), peak_bytes: 0, worked: Duration::ZERO, count: 0 };
    let mut found = Kind::ALL.map(of);
    let mut filled = Vec::new();
    if !row.is_push {
        for kind in Kind::ALL {
            filled.push(Stand::new(kind, &stages)?);
        }
    }
    for round in 0..=ROUNDS {
        for (at, found) in found.iter_mut().enumerate() {
            let fresh = if row.is_push { Some(Stand::new(found.kind, &[])?) } else { None };
            let Stand { server, .. } = fresh.as_ref().or(filled.get(at)).context("a server")?;
            let before = server.worked()?;
            let done = drive(server.address, CLIENTS, &work, row.until);
            let done = done.with_context(|| found.kind.name())?;
            found.peak_bytes = found.peak_bytes.max(server.peak_bytes()?);
            if round > 0 {
                found.worked += server.worked()?.saturating_sub(before);
                found.rates.push(done.per_second());
                found.count += done.count;
            }
        }
    }
    Ok(found.into())
}

/// A server and its directory.
struct Stand {
    server: Server,
    _dir: tempfile::TempDir,
}

impl Stand {
    /// One that has these.
    fn new(kind: Kind, stages: &[Stage]) -> Result<Self> {
        let dir = scratch()?;
        let server = Server::start(kind, &dir.path().join("data"))?;
        fill(&server, stages)?;
        server.forget_peak()?;
        Ok(Self { server, _dir: dir })
    }
}

fn take(next: &AtomicU64) -> u64 {
    next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// On the disk that builds are on.
fn scratch() -> Result<tempfile::TempDir> {
    let here = std::env::current_exe()?;
    Ok(tempfile::tempdir_in(here.parent().context("a bench lies in a directory")?)?)
}

fn alone<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn fill(server: &Server, stages: &[Stage]) -> Result<()> {
    alone(async {
        let mut line = Line::open(server.address).await?;
        for stage in stages {
            line.push(stage).await?;
        }
        Ok(())
    })
}

/// What is there already, and how a registry with many tags starts.
fn others() -> Result<bool> {
    let dir = scratch()?;
    let data = dir.path().join("data");
    let stage = Mould::new(SMALL_BYTES).stage(0);
    let server = Server::start(Kind::Conveyor, &data)?;
    fill(&server, std::slice::from_ref(&stage))?;
    let mut again = alone(async {
        let mut times = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            let mut line = Line::open(server.address).await?;
            for what in [
                format!("blobs/{}", stage.layer.digest),
                format!("blobs/{}", stage.config.digest),
                format!("manifests/{}", stage.tag),
            ] {
                ensure!(line.has(&what).await?, "`{what}` is not there");
            }
            times.push(begun.elapsed());
        }
        Ok(times)
    })?;
    alone(async { Line::open(server.address).await?.tag(&stage, TAGS).await })?;
    // It is killed: what it finds is what a crash leaves.
    drop(server);
    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        let server = Server::start(Kind::Conveyor, &data)?;
        let has = format!("manifests/tag-{:06}", TAGS - 1);
        ensure!(alone(async { Line::open(server.address).await?.has(&has).await })?, "the last tag is gone");
        starts.push(server.started_in);
    }
    let mut table = Table::new(["figure", "found", "must be at most"]);
    let mut missed = false;
    let mut row = |name: &str, found: Duration, most: Option<Duration>| {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let asked = most.map_or(String::new(), |most| {
            let goal = Goal::AtMost(ms(most));
            missed |= !goal.reached(ms(found));
            format!("{:.0} ms: {}", ms(most), goal.verdict(ms(found)))
        });
        table.row([name.to_owned(), format!("{:.2} ms", ms(found)), asked]);
    };
    row(
        "whether a stage is there: a connection, three requests, p50",
        percentile(&mut again, 0.5),
        Some(AGAIN_MAX),
    );
    row("the same, p99", percentile(&mut again, 0.99), None);
    row(
        "start over 100,000 tags after a kill, until it listens, p50",
        percentile(&mut starts, 0.5),
        Some(START_MAX),
    );
    println!("{table}");
    Ok(missed)
}
