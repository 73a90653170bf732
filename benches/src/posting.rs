//! Posts requests over raw connections, one under way on each, and says how many were answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How requests come.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: usize,
    /// Of each request.
    pub records: usize,
    pub record_bytes: usize,
    /// Until then nothing is counted.
    pub warm: Duration,
    pub time: Duration,
}

/// What was answered with 200.
#[derive(Clone, Debug)]
pub struct Answered {
    pub requests: u64,
    pub requests_per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

/// Posts from one thread. Every request has to be answered with 200.
pub fn post(to: SocketAddr, load: Load) -> Result<Answered> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let request = request(load);
        let begun = Instant::now();
        let (from, until) = (begun + load.warm, begun + load.warm + load.time);
        let mut connections = JoinSet::new();
        for _ in 0..load.connections {
            connections.spawn(converse(to, request.clone(), from, until));
        }
        let mut all = Histogram::<u64>::new_with_max(60_000_000, 3)?;
        while let Some(times) = connections.join_next().await {
            all.add(times??)?;
        }
        let micros = |quantile| Duration::from_micros(all.value_at_quantile(quantile));
        Ok(Answered {
            requests: all.len(),
            requests_per_second: all.len() as f64 / load.time.as_secs_f64(),
            p50: micros(0.5),
            p99: micros(0.99),
        })
    })
}

fn request(load: Load) -> Vec<u8> {
    let mut body = Vec::new();
    for record in 0..load.records {
        let start = body.len();
        body.extend(format!("{{\"n\":{record},\"text\":\"").into_bytes());
        while body.len() - start < load.record_bytes.saturating_sub(2) {
            body.push(b'a' + (body.len() % 26) as u8);
        }
        body.extend(b"\"}\n");
    }
    let head = format!("POST / HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

async fn converse(to: SocketAddr, request: Vec<u8>, from: Instant, until: Instant) -> Result<Histogram<u64>> {
    let mut stream = TcpStream::connect(to).await.context("nobody listens")?;
    stream.set_nodelay(true)?;
    let mut times = Histogram::new_with_max(60_000_000, 3)?;
    let mut buffer = vec![0; 4096];
    loop {
        let asked = Instant::now();
        if asked >= until {
            return Ok(times);
        }
        stream.write_all(&request).await?;
        answer(&mut stream, &mut buffer).await?;
        let answered = Instant::now();
        if asked >= from && answered < until {
            times.record((answered - asked).as_micros() as u64)?;
        }
    }
}

/// Reads one answer to its end.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    let mut read = 0;
    loop {
        let more = stream.read(&mut buffer[read..]).await?;
        ensure!(more > 0, "the connection was closed");
        read += more;
        let Some(end) = buffer[..read].windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end])?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("it is answered with {}", String::from_utf8_lossy(&buffer[..read]));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("an answer has no length")?.parse()?;
        if read >= end + 4 + length {
            return Ok(());
        }
    }
}
