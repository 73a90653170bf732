//! WASI 0.2 with nothing granted: no environment, no arguments, no directory, no network; random numbers
//! are seeded, and what is written to stdout or stderr becomes log lines.

use std::sync::Arc;

use bytes::Bytes;
use model::limits;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use super::log::{self, Level, Voice};

/// Random numbers repeat from run to run: a grant of true randomness is not among the defaults.
const SEED: &[u8] = b"conveyor: every run draws the same random numbers unless granted others.";

pub(crate) fn denied(voice: &Arc<Voice>) -> WasiCtx {
    WasiCtxBuilder::new()
        .stdout(Lines { voice: voice.clone(), level: Level::Info })
        .stderr(Lines { voice: voice.clone(), level: Level::Error })
        .secure_random(Deterministic::new(SEED.to_vec()))
        .insecure_random(Deterministic::new(SEED.to_vec()))
        .insecure_random_seed(0)
        .max_random_size(limits::RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .allow_blocking_current_thread(false)
        .build()
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
