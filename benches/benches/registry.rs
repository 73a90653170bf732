//! `cargo bench -p benches --bench registry [WORD...]`: Conveyor's registry beside docker-registry 2.8 and distribution 3.1,
//! with one client that does the same to each of them in turn. Client and server share the cores. What is needed:
//! `cargo build --release --workspace --bin conveyor` and `cargo xtask peers`, which installs the others.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use benches::guests;
use benches::measure::{median, percentile, spread};
use benches::registry::load::{Line, Until, Work, drive};
use benches::registry::server::{Kind, Server, conveyor, peer};
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
/// Pulls and pushes of each client, as processes.
const PULLS: usize = 21;
const CLIENT_NAMES: [&str; 3] = ["conveyor", "oras", "crane"];
/// Questions whether a stage is there.
const AGAIN: usize = 200;
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
    let asked: Vec<&Row> = ROWS.iter().filter(|row| is_asked(row.name)).collect();
    for row in &asked {
        let found = measure(row).with_context(|| row.name)?;
        missed |= tell(row, &found, &mut rates, &mut memory);
    }
    if !asked.is_empty() {
        println!("{rates}\n{memory}");
    }
    if is_asked("others") {
        missed |= others()?;
    }
    if is_asked("clients") {
        missed |= clients()?;
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
    let work = if row.is_push { Work::Push(Box::new(mould), next) } else { Work::Pull(stages.clone()) };
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
        for _ in 0..AGAIN {
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
    let component = guests::path("mask");
    let push = || {
        let mut command = Command::new(conveyor()?);
        timed(command.arg("push").arg(&component).arg(format!("{}/bench/mask:1", server.address)))
    };
    push()?;
    let mut pushed = (0..PULLS).map(|_| push()).collect::<Result<Vec<_>>>()?;
    alone(async { Line::open(server.address).await?.tag(&stage, TAGS).await })?;
    // It is killed: what it finds is what a crash leaves.
    drop(server);
    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let server = Server::start(Kind::Conveyor, &data)?;
        let last = format!("manifests/tag-{:06}", TAGS - 1);
        ensure!(alone(async { Line::open(server.address).await?.has(&last).await })?, "the last tag is gone");
        starts.push(begun.elapsed());
    }
    let mut table = Table::new(["figure", "found", "must be at most"]);
    let mut missed = false;
    for (name, times, most) in [
        ("whether a stage is there: a connection, three requests", &mut again, AGAIN_MAX),
        ("`conveyor push` of a component that is there, the whole process", &mut pushed, AGAIN_MAX),
        ("start over 100,000 tags after a kill, until one of them is answered", &mut starts, START_MAX),
    ] {
        let found = percentile(times, 0.5);
        let goal = Goal::AtMost(ms(most));
        missed |= !goal.reached(ms(found));
        table.row([
            name.to_owned(),
            format!("{:.2} ms", ms(found)),
            format!("{:.0} ms: {}", ms(most), goal.verdict(ms(found))),
        ]);
    }
    println!("{table}");
    Ok(missed)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How long a process takes, which has to end well.
fn timed(command: &mut Command) -> Result<Duration> {
    let begun = Instant::now();
    let ran = command.stdin(Stdio::null()).output()?;
    let took = begun.elapsed();
    ensure!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(took)
}

/// The clients in turn, each a process that pulls one stage into a directory that is not there yet.
fn clients() -> Result<bool> {
    let dir = scratch()?;
    let server = Server::start(Kind::Conveyor, &dir.path().join("data"))?;
    let mut table =
        Table::new(["pull", "client", "ms", "fastest and slowest", "Conveyor against it", "must reach"]);
    let mut missed = false;
    for (name, bytes) in [("24 KB", SMALL_BYTES), ("12 MB", LARGE_BYTES)] {
        let stage = Mould::new(bytes).stage(0);
        fill(&server, std::slice::from_ref(&stage))?;
        let image = format!("localhost:{}/bench/stage:{}", server.address.port(), stage.tag);
        let into = dir.path().join("pulled");
        let pull = |client: &str| {
            std::fs::create_dir(&into)?;
            let mut command = Command::new(if client == "conveyor" { conveyor()? } else { peer(client)? });
            match client {
                "conveyor" => command.args(["pull", &image, "-o"]).arg(into.join("stage.wasm")),
                "oras" => command.args(["pull", "--plain-http", &image, "-o"]).arg(&into),
                _ => command.args(["pull", "--format", "oci", &image]).arg(&into),
            };
            let took = timed(&mut command)?;
            std::fs::remove_dir_all(&into)?;
            Ok::<_, anyhow::Error>(ms(took))
        };
        let mut found = CLIENT_NAMES.map(|name| (name, Vec::new()));
        for _ in 0..PULLS {
            for (name, times) in &mut found {
                times.push(pull(name)?);
            }
        }
        let ours = median(&found[0].1);
        for (client, times) in &found {
            let (fastest, slowest) = spread(times);
            let ratio = median(times) / ours;
            let goal = Goal::AtLeast(1.0);
            let is_other = *client != CLIENT_NAMES[0];
            missed |= is_other && !goal.reached(ratio);
            table.row([
                name.to_owned(),
                (*client).to_owned(),
                format!("{:.1}", median(times)),
                format!("{fastest:.1} to {slowest:.1}"),
                format!("{ratio:.2}"),
                if is_other { format!("1: {}", goal.verdict(ratio)) } else { String::new() },
            ]);
        }
    }
    println!("{table}");
    Ok(missed)
}
