//! WASI 0.2 with what is granted and nothing more: no environment, no arguments, no directory, no sockets
//! unless said; random numbers are seeded and the clock stands unless said. What is written to stdout or
//! stderr becomes log lines.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model::grants::DirMode;
use model::limits;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use super::clock::{Coarse, Standing};
use super::log::{self, Level, Voice};
use crate::access::Access;

/// Random numbers repeat from run to run: a grant of true randomness is not among the defaults.
const SEED: &[u8] = b"conveyor: every run draws the same random numbers unless granted others.";

/// Fails where a granted directory cannot be opened (any more).
pub(crate) fn context(access: &Access, voice: &Arc<Voice>) -> wasmtime::Result<WasiCtx> {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(Lines { voice: voice.clone(), level: Level::Info })
        .stderr(Lines { voice: voice.clone(), level: Level::Error })
        .max_random_size(limits::RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .allow_blocking_current_thread(false);
    let grants = access.grants();
    if !grants.random {
        builder
            .secure_random(Deterministic::new(SEED.to_vec()))
            .insecure_random(Deterministic::new(SEED.to_vec()))
            .insecure_random_seed(0);
    }
    if !grants.clock {
        builder.wall_clock(Standing(access.inner.stands_at)).monotonic_clock(Coarse(Instant::now()));
    }
    for (name, value) in &grants.env {
        builder.env(name, value);
    }
    for dir in &access.inner.dirs {
        let perms = match dir.mode {
            DirMode::ReadOnly => FsPerms::ReadOnly,
            DirMode::ReadWrite => FsPerms::ReadWrite,
        };
        let opened = builder.preopened_dir(&dir.host, &dir.guest, perms);
        opened.map_err(|error| {
            wasmtime::Error::msg(format!("the directory {} cannot be opened: {error}", dir.host.display()))
        })?;
    }
    Ok(builder.build())
}

/// Turns what is written into log lines.
struct Lines {
    voice: Arc<Voice>,
    level: Level,
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Asked for by WASI 0.3 alone, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Writer { voice: self.voice.clone(), level: self.level, line: Vec::new() })
    }
}

struct Writer {
    voice: Arc<Voice>,
    level: Level,
    /// What came since the last line feed.
    line: Vec<u8>,
}

impl Writer {
    fn end_line(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let mut line = String::new();
        log::push(&mut line, &String::from_utf8_lossy(&self.line));
        self.line.clear();
        if self.level == Level::Error {
            self.voice.remember(&line);
        }
        if self.voice.admit() {
            self.voice.write(self.level, &line);
        }
    }
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        for &byte in &bytes {
            if byte == b'\n' || self.line.len() >= limits::LOG_LINE_BYTES_MAX {
                self.end_line();
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(limits::LOG_LINE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end_line();
    }
}
