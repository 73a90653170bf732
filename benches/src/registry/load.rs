//! The client: raw connections that are kept, one request under way on each, all on one thread. It reads everything that it
//! pulls and computes nothing of it, so that what is measured is the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::stage::{MANIFEST, Mould, Stage};

const REPOSITORY: &str = "bench/stage";
const TAGS_AT_ONCE: usize = 50;
/// What is read at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// What clients do, over and over.
#[derive(Clone)]
pub enum Work {
    /// Each client pulls one of these: the manifest by its tag, the config, the layer.
    Pull(Arc<Vec<Stage>>),
    /// Stages that nobody has pushed: a question whether each blob is there, the blobs, the manifest. Numbers go on from
    /// this counter.
    Push(Box<Mould>, Arc<AtomicU64>),
}

/// When a round is over: whoever begins something before does it to its end.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Time(Duration),
    /// As many for each client.
    Count(u32),
}

/// What was done in a round.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub count: u64,
    pub time: Duration,
}

impl Done {
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.time.as_secs_f64()
    }
}

/// Has so many clients do it, on one thread.
pub fn drive(to: SocketAddr, clients: usize, work: &Work, until: Until) -> Result<Done> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut lines = Vec::new();
        for _ in 0..clients {
            lines.push(Line::open(to).await?);
        }
        let begun = Instant::now();
        let mut all = JoinSet::new();
        for (number, line) in lines.into_iter().enumerate() {
            all.spawn(client(line, number, work.clone(), begun, until));
        }
        let mut count = 0;
        while let Some(done) = all.join_next().await {
            count += done??;
        }
        Ok(Done { count, time: begun.elapsed() })
    })
}

async fn client(mut line: Line, number: usize, work: Work, begun: Instant, until: Until) -> Result<u64> {
    let mut count = 0;
    loop {
        let is_over = match until {
            Until::Time(time) => begun.elapsed() >= time,
            Until::Count(most) => count >= u64::from(most),
        };
        if is_over {
            return Ok(count);
        }
        match &work {
            Work::Pull(stages) => line.pull(&stages[number % stages.len()]).await?,
            Work::Push(mould, next) => {
                line.push(&mould.stage(next.fetch_add(1, Ordering::Relaxed))).await?;
            }
        }
        count += 1;
    }
}

/// A connection.
pub struct Line {
    stream: TcpStream,
    host: SocketAddr,
    buffer: Vec<u8>,
}

struct Answer {
    status: u16,
    location: Option<String>,
    bytes: u64,
}

impl Line {
    pub async fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).await.with_context(|| format!("nobody listens on {to}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: to, buffer: vec![0; BUFFER_BYTES] })
    }

    pub async fn pull(&mut self, stage: &Stage) -> Result<()> {
        let blob = |digest: &dyn std::fmt::Display| format!("GET /v2/{REPOSITORY}/blobs/{digest}");
        let asked = [
            (format!("GET /v2/{REPOSITORY}/manifests/{}", stage.tag), &stage.manifest),
            (blob(&stage.config.digest), &stage.config),
            (blob(&stage.layer.digest), &stage.layer),
        ];
        for (line, content) in asked {
            let answer = self.ask(&line, &format!("Accept: {MANIFEST}\r\n"), &[]).await?;
            ensure!(answer.status == 200, "`{line}` is answered with {}", answer.status);
            let bytes = answer.bytes;
            ensure!(bytes == content.bytes() as u64, "`{line}` is answered with {bytes} bytes");
        }
        Ok(())
    }

    pub async fn push(&mut self, stage: &Stage) -> Result<()> {
        for content in [&stage.layer, &stage.config] {
            let digest = content.digest;
            if self.has(&format!("blobs/{digest}")).await? {
                continue;
            }
            let begun = self.ask(&format!("POST /v2/{REPOSITORY}/blobs/uploads/"), "", &[]).await?;
            ensure!(begun.status == 202, "an upload is answered with {}", begun.status);
            let location = begun.location.context("an upload is nowhere")?;
            let join = if location.contains('?') { '&' } else { '?' };
            let kind = "Content-Type: application/octet-stream\r\n";
            let put = self.ask(&format!("PUT {location}{join}digest={digest}"), kind, &content.parts).await?;
            ensure!(put.status == 201, "a blob is answered with {}", put.status);
        }
        let line = format!("PUT /v2/{REPOSITORY}/manifests/{}", stage.tag);
        let put = self.ask(&line, &format!("Content-Type: {MANIFEST}\r\n"), &stage.manifest.parts).await?;
        ensure!(put.status == 201, "a manifest is answered with {}", put.status);
        Ok(())
    }

    /// Whether `blobs/DIGEST` or `manifests/TAG` is there.
    pub async fn has(&mut self, what: &str) -> Result<bool> {
        let accept = format!("Accept: {MANIFEST}\r\n");
        match self.ask(&format!("HEAD /v2/{REPOSITORY}/{what}"), &accept, &[]).await?.status {
            200 => Ok(true),
            404 => Ok(false),
            status => bail!("`{what}` is answered with {status}"),
        }
    }

    /// Gives a stage that is there many tags, several with each request, as Conveyor's registry takes them.
    pub async fn tag(&mut self, stage: &Stage, tags: u64) -> Result<()> {
        let all: Vec<String> = (0..tags).map(|number| format!("tag-{number:06}")).collect();
        for some in all.chunks(TAGS_AT_ONCE) {
            let tags: Vec<String> = some.iter().map(|tag| format!("tag={tag}")).collect();
            let digest = stage.manifest.digest;
            let line = format!("PUT /v2/{REPOSITORY}/manifests/{digest}?{}", tags.join("&"));
            let kind = format!("Content-Type: {MANIFEST}\r\n");
            let put = self.ask(&line, &kind, &stage.manifest.parts).await?;
            ensure!(put.status == 201, "tags are answered with {}", put.status);
        }
        Ok(())
    }

    /// One request, whose answer is read to its end and thrown away.
    async fn ask(&mut self, line: &str, headers: &str, body: &[Bytes]) -> Result<Answer> {
        let bytes: usize = body.iter().map(Bytes::len).sum();
        let length =
            if line.starts_with('P') { format!("Content-Length: {bytes}\r\n") } else { String::new() };
        let head = format!("{line} HTTP/1.1\r\nHost: {}\r\n{length}{headers}\r\n", self.host);
        self.stream.write_all(head.as_bytes()).await?;
        for part in body {
            self.stream.write_all(part).await?;
        }
        let answer = self.answer(line).await;
        answer.with_context(|| format!("`{line}`"))
    }

    async fn answer(&mut self, line: &str) -> Result<Answer> {
        let mut read = 0;
        let end = loop {
            let more = self.stream.read(&mut self.buffer[read..]).await?;
            ensure!(more > 0, "the connection was closed");
            let from = read.saturating_sub(3);
            read += more;
            let end = self.buffer[from..read].windows(4).position(|end| end == b"\r\n\r\n");
            if let Some(end) = end {
                break from + end;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..end])?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        let header = |wanted: &str| {
            let headers = head.lines().filter_map(|line| line.split_once(": "));
            headers.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
        };
        let has_body = !line.starts_with("HEAD") && status != 204;
        let bytes: u64 = match header("content-length") {
            Some(bytes) if has_body => bytes.parse()?,
            None if has_body => bail!("an answer has no length"),
            _ => 0,
        };
        // Some give a whole URL, of which the place is wanted.
        let location = header("location").map(|location| match location.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or(String::new(), |path| rest[path..].to_owned()),
            None => location.to_owned(),
        });
        let mut left = bytes.checked_sub((read - end - 4) as u64).context("more came than was asked for")?;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let more = self.stream.read(&mut self.buffer[..most]).await?;
            ensure!(more > 0, "the connection was closed {left} bytes before the end");
            left -= more as u64;
        }
        Ok(Answer { status, location, bytes })
    }
}
