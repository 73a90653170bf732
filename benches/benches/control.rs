//! `cargo bench -p benches --bench control [WORD...]`: how long a command of the control state takes on a node alone, and
//! how many are done a second where syncs are slow. What is written is a deploy of a new revision each time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use benches::measure::percentile;
use benches::report::{Goal, Table};
use benches::slow_disk::SlowDisk;
use control::network::NoNetwork;
use control::state::{BootId, ClusterId, Command, Content, Deploy, Expects, NodeId};
use control::{Control, New, Options, Tuning};
use disk::{Disk, SystemDisk};
use tokio::runtime::Builder;

const NODE: NodeId = NodeId(1);
/// Of a manifest.
const MANIFEST_BYTES: usize = 1000;
const PIPELINES: usize = 500;
/// Commands of a row, behind some that do not count.
const COMMANDS: usize = 10_000;
const WARM: usize = 200;
const SYNC: Duration = Duration::from_millis(5);

struct Row {
    name: &'static str,
    sync: Option<Duration>,
    writers: usize,
    commands: usize,
    /// Milliseconds that the slowest in a hundred takes.
    p99: Option<Goal>,
    /// Commands a second.
    rate: Option<Goal>,
}

const ROWS: [Row; 4] = [
    Row {
        name: "one writer, this disk",
        sync: None,
        writers: 1,
        commands: COMMANDS / 4,
        p99: Some(Goal::AtMost(10.0)),
        rate: None,
    },
    Row {
        name: "64 writers, this disk",
        sync: None,
        writers: 64,
        commands: COMMANDS,
        p99: Some(Goal::AtMost(10.0)),
        rate: None,
    },
    Row {
        name: "128 writers, syncs of 5 ms more",
        sync: Some(SYNC),
        writers: 128,
        commands: COMMANDS,
        p99: None,
        rate: Some(Goal::AtLeast(5000.0)),
    },
    Row {
        name: "400 writers, syncs of 5 ms more",
        sync: Some(SYNC),
        writers: 400,
        commands: 2 * COMMANDS,
        p99: None,
        rate: Some(Goal::AtLeast(5000.0)),
    },
];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_asked = |row: &&Row| words.is_empty() || words.iter().any(|word| row.name.contains(word.as_str()));
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut table =
        Table::new(["row", "commands a second", "must reach", "p50 ms", "p99 ms", "must be at most"]);
    let mut missed = false;
    for row in ROWS.iter().filter(is_asked) {
        let (rate, p50, p99) = runtime.block_on(measure(row))?;
        let mut told = |goal: Option<Goal>, found: f64| match goal {
            None => String::new(),
            Some(goal @ (Goal::AtLeast(bound) | Goal::AtMost(bound))) => {
                missed |= !goal.reached(found);
                format!("{bound}: {}", goal.verdict(found))
            }
        };
        let (of_rate, of_p99) = (told(row.rate, rate), told(row.p99, p99));
        table.row([
            row.name.to_owned(),
            format!("{rate:.0}"),
            of_rate,
            format!("{p50:.2}"),
            format!("{p99:.2}"),
            of_p99,
        ]);
    }
    println!("{table}");
    ensure!(!missed, "a goal was missed");
    Ok(())
}

/// Commands a second, and what half of them and all but one in a hundred take, in milliseconds.
async fn measure(row: &Row) -> Result<(f64, f64, f64)> {
    let dir = tempfile::tempdir()?;
    let disk: Arc<dyn Disk> = match row.sync {
        None => Arc::new(SystemDisk),
        Some(sync) => Arc::new(SlowDisk(sync)),
    };
    let voters = BTreeMap::from([(NODE, "127.0.0.1:1".to_owned())]);
    let options = Options {
        disk,
        dir: dir.path().to_owned(),
        node: NODE,
        boot: BootId(1),
        address: "127.0.0.1:1".to_owned(),
        version: "bench".to_owned(),
        new: New::Cluster { id: ClusterId(1), voters },
        network: Arc::new(NoNetwork),
        clock: Arc::new(|| 1),
        tuning: Tuning::default(),
    };
    let control = Control::open(options).await?;
    write(&control, row.writers.min(WARM), WARM).await?;
    let since = Instant::now();
    let mut took = write(&control, row.writers, row.commands).await?;
    let rate = took.len() as f64 / since.elapsed().as_secs_f64();
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let (p50, p99) = (ms(percentile(&mut took, 0.5)), ms(percentile(&mut took, 0.99)));
    control.shutdown().await;
    Ok((rate, p50, p99))
}

/// So many writers, each of which waits for its answer before it goes on.
async fn write(control: &Control, writers: usize, commands: usize) -> Result<Vec<Duration>> {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let control = control.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            for nth in (writer..commands).step_by(writers) {
                let proposal = control.proposal(deploy(nth)?);
                let since = Instant::now();
                let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
                control.propose(proposal, deadline).await.context("it is not done")?;
                took.push(since.elapsed());
            }
            Ok::<_, anyhow::Error>(took)
        });
    }
    let mut all = Vec::new();
    while let Some(took) = tasks.join_next().await {
        all.extend(took??);
    }
    Ok(all)
}

fn deploy(nth: usize) -> Result<Command> {
    let pipeline = format!("default/p{}", nth % PIPELINES).parse()?;
    let manifest = format!("# {nth:0width$}", width = MANIFEST_BYTES - 2);
    let content = Content { manifest: manifest.into(), ..Content::default() };
    let (expects, node) = (Expects::Anything, Some(NODE));
    Ok(Command::Deploy(Box::new(Deploy { pipeline, content, expects, node, taken_over: None })))
}
