//! `cargo bench -p benches --bench http`: how many records the source `http` takes, all durable before they are
//! answered for, beside a server that reads the same requests and keeps nothing. Load, server and pipeline share the
//! cores. The binary has to be there: `cargo build --release --workspace --bin conveyor`.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use benches::posting::{Answered, Load, post};
use benches::report::{Goal, Table};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

const WARM: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(5);
/// Of one record.
const RECORD_BYTES: usize = 100;

struct Row {
    name: &'static str,
    connections: usize,
    records: usize,
    /// In records a second.
    goal: Option<f64>,
}

const ROWS: [Row; 4] = [
    Row { name: "one record a request, 64 connections", connections: 64, records: 1, goal: Some(15_000.0) },
    Row { name: "one record a request, 256 connections", connections: 256, records: 1, goal: Some(15_000.0) },
    Row {
        name: "100 records a request, 32 connections",
        connections: 32,
        records: 100,
        goal: Some(500_000.0),
    },
    Row { name: "1000 records a request, 16 connections", connections: 16, records: 1000, goal: None },
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, address] = arguments.as_slice()
        && flag == "--serve"
    {
        return serve(address.parse()?);
    }
    let mut table =
        Table::new(["requests", "records/s", "p50", "p99", "keeps nothing", "of it", "asked for"]);
    let mut missed = false;
    for row in ROWS {
        let yardstick = measure(&row, Server::yardstick)?;
        let found = measure(&row, Server::conveyor)?;
        let rate = |answered: &Answered| answered.requests_per_second * row.records as f64;
        let asked = row.goal.map_or(String::new(), |goal| {
            let reached = Goal::AtLeast(goal).reached(rate(&found));
            missed |= !reached;
            format!("{goal:.0}, {}", Goal::AtLeast(goal).verdict(rate(&found)))
        });
        table.row([
            row.name.to_owned(),
            format!("{:.0}", rate(&found)),
            format!("{:.1} ms", found.p50.as_secs_f64() * 1e3),
            format!("{:.1} ms", found.p99.as_secs_f64() * 1e3),
            format!("{:.0}", rate(&yardstick)),
            format!("{:.0}%", 100.0 * rate(&found) / rate(&yardstick)),
            asked,
        ]);
    }
    println!("{table}");
    ensure!(!missed, "what was asked for is not reached");
    Ok(())
}

fn measure(row: &Row, start: fn(&Path, SocketAddr) -> Result<Server>) -> Result<Answered> {
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let server = start(dir.path(), address)?;
    server.wait_for(address)?;
    let load = Load {
        connections: row.connections,
        records: row.records,
        record_bytes: RECORD_BYTES,
        warm: WARM,
        time: TIME,
    };
    let answered = post(address, load)?;
    ensure!(answered.requests > 0, "nothing was answered");
    Ok(answered)
}

/// A process that answers, and ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn yardstick(_: &Path, address: SocketAddr) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?).args(["--serve", &address.to_string()]).spawn()?;
        Ok(Self(child))
    }

    fn conveyor(dir: &Path, address: SocketAddr) -> Result<Self> {
        std::fs::write(
            dir.join("pipeline.yaml"),
            format!(
                "pipeline: posted\nstages:\n  in: {{ source: http, with: {{ listen: '{address}', spool-bytes-max: 4GiB }} \
                 }}\n  out: {{ sink: discard, from: in }}\n"
            ),
        )?;
        let child = Command::new(binary()?)
            .args(["run", "pipeline.yaml", "--state", "state"])
            .current_dir(dir)
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    fn wait_for(&self, address: SocketAddr) -> Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > Duration::from_secs(20) {
                bail!("nobody listens on {address}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Beside the benches.
fn binary() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let there = here.ancestors().nth(2).context("a bench lies in a target directory")?.join("conveyor");
    ensure!(
        there.is_file(),
        "there is no {}: `cargo build --release --workspace --bin conveyor`",
        there.display()
    );
    Ok(there)
}

/// Reads requests and keeps nothing, with as many threads as a pipeline has.
fn serve(address: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let service = service_fn(async |request: Request<Incoming>| {
                    let read = request.into_body().collect().await;
                    let bytes = read.map_or(0, |body| body.to_bytes().len());
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("{bytes}\n")))))
                });
                // Whoever went away knows that.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}
