//! `conveyor:stage/log`: lines of a stage, joined to its pipeline and stage, bounded in rate and length. Whoever shows
//! them to people sees to it that they are lines.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::limits;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, WasmList, WasmStr};

use super::State;
use crate::hits::Hits;
use crate::meter::TooMuch;

/// `log.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "guests name the levels that the host never does")]
pub(crate) enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

type Line = (Level, WasmStr, WasmList<(WasmStr, WasmStr)>);

pub(crate) fn add(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut log = linker.instance("conveyor:stage/log@0.1.0")?;
    log.func_wrap("write", |mut store: StoreContextMut<'_, State>, (level, message, fields): Line| {
        let voice = store.data().voice.clone();
        let admitted = voice.admit();
        if !admitted && level != Level::Error {
            return Ok(());
        }
        let mut handed = Handed { bytes: 0, limit_bytes: store.data().host_call_bytes };
        let mut line = String::new();
        handed.take(&mut line, &message.to_str(&store)?)?;
        if level == Level::Error {
            voice.remember(&line);
        }
        if !admitted {
            return Ok(());
        }
        for i in 0..fields.len() {
            if line.len() >= limits::LOG_LINE_BYTES_MAX {
                break;
            }
            let Some(field) = fields.get(&mut store, i) else { break };
            let (name, value) = field?;
            line.push(' ');
            handed.take(&mut line, &name.to_str(&store)?)?;
            line.push('=');
            handed.take(&mut line, &value.to_str(&store)?)?;
        }
        voice.write(level, &line);
        Ok(())
    })
}

/// What one call has handed over so far.
struct Handed {
    bytes: usize,
    limit_bytes: usize,
}

impl Handed {
    fn take(&mut self, line: &mut String, text: &str) -> Result<(), TooMuch> {
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > self.limit_bytes {
            return Err(TooMuch { limit_bytes: self.limit_bytes });
        }
        push(line, text);
        Ok(())
    }
}

/// Appends what fits.
pub(crate) fn push(line: &mut String, text: &str) {
    let room = limits::LOG_LINE_BYTES_MAX.saturating_sub(line.len());
    line.push_str(&text[..text.floor_char_boundary(room)]);
    if text.len() > room {
        line.push('…');
    }
}

/// The log of one stage, shared by its instances, so that they share its rate.
#[derive(Debug)]
pub(crate) struct StageLog {
    pipeline: Arc<str>,
    stage: Arc<str>,
    lines_per_second: u32,
    rate: Mutex<Rate>,
    hits: Arc<Hits>,
}

#[derive(Debug)]
struct Rate {
    since: Instant,
    lines: u32,
    dropped: u64,
}

impl Rate {
    /// Whether a line may be written now, and how many were dropped in the second before, where a new one
    /// begins.
    fn admit(&mut self, now: Instant, lines_per_second: u32) -> (bool, u64) {
        let mut dropped = 0;
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            dropped = self.dropped;
            *self = Self { since: now, lines: 0, dropped: 0 };
        }
        let admitted = self.lines < lines_per_second;
        self.lines = self.lines.saturating_add(1);
        self.dropped += u64::from(!admitted);
        (admitted, dropped)
    }
}

impl StageLog {
    pub(crate) fn new(pipeline: Arc<str>, stage: Arc<str>, lines_per_second: u32) -> Arc<Self> {
        let rate = Mutex::new(Rate { since: Instant::now(), lines: 0, dropped: 0 });
        Arc::new(Self { pipeline, stage, lines_per_second, rate, hits: Arc::default() })
    }

    pub(crate) fn hits(&self) -> &Arc<Hits> {
        &self.hits
    }

    fn admit(&self) -> bool {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let (admitted, dropped) = rate.admit(Instant::now(), self.lines_per_second);
        drop(rate);
        if !admitted {
            self.hits.count(Hits::LOG_LINES);
        }
        if dropped > 0 {
            self.write(Level::Warn, &format!("{dropped} log lines of this stage were dropped"));
        }
        admitted
    }

    fn write(&self, level: Level, line: &str) {
        let (pipeline, stage) = (&*self.pipeline, &*self.stage);
        match level {
            Level::Trace => tracing::trace!(target: "stage", pipeline, stage, "{line}"),
            Level::Debug => tracing::debug!(target: "stage", pipeline, stage, "{line}"),
            Level::Info => tracing::info!(target: "stage", pipeline, stage, "{line}"),
            Level::Warn => tracing::warn!(target: "stage", pipeline, stage, "{line}"),
            Level::Error => tracing::error!(target: "stage", pipeline, stage, "{line}"),
        }
    }
}

/// How one instance speaks: through the log of its stage, and with its last words remembered for the
/// report of its death.
#[derive(Debug)]
pub(crate) struct Voice {
    log: Arc<StageLog>,
    spoke: AtomicBool,
    last_words: Mutex<String>,
}

impl Voice {
    pub(crate) fn new(log: Arc<StageLog>) -> Self {
        Self { log, spoke: AtomicBool::new(false), last_words: Mutex::default() }
    }

    pub(crate) fn log(&self) -> &StageLog {
        &self.log
    }

    pub(crate) fn hits(&self) -> &Hits {
        self.log.hits()
    }

    pub(crate) fn admit(&self) -> bool {
        self.log.admit()
    }

    pub(crate) fn write(&self, level: Level, line: &str) {
        self.log.write(level, line);
    }

    pub(crate) fn remember(&self, line: &str) {
        let mut words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        // A panic on stderr comes in several lines, a stage that logs errors in many: the last ones count.
        if words.len() + line.len() > limits::LOG_LINE_BYTES_MAX {
            words.clear();
        }
        if !words.is_empty() {
            words.push_str("; ");
        }
        words.push_str(line);
        self.spoke.store(true, Ordering::Relaxed);
    }

    /// Forgets what was said in an earlier call.
    pub(crate) fn hush(&self) {
        if self.spoke.swap(false, Ordering::Relaxed) {
            self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    pub(crate) fn last_words(&self) -> Option<String> {
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        (!words.is_empty()).then(|| words.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_a_character() {
        let mut line = String::new();
        push(&mut line, "a\u{1b}b");
        push(&mut line, "");
        assert_eq!(line, "a\u{1b}b");
        let mut line = "x".to_owned();
        push(&mut line, &"é".repeat(limits::LOG_LINE_BYTES_MAX));
        assert!(line.len() <= limits::LOG_LINE_BYTES_MAX + 3, "{} bytes", line.len());
        assert!(line.ends_with("é…"), "{line}");
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let start = Instant::now();
        let mut rate = Rate { since: start, lines: 0, dropped: 0 };
        let admitted = (0..250).filter(|_| rate.admit(start, limits::LOG_LINES_PER_SECOND).0).count();
        assert_eq!(admitted, limits::LOG_LINES_PER_SECOND as usize);
        let later = start + Duration::from_secs(1);
        assert_eq!(
            rate.admit(later, limits::LOG_LINES_PER_SECOND),
            (true, 250 - u64::from(limits::LOG_LINES_PER_SECOND))
        );
        assert_eq!(rate.admit(later, limits::LOG_LINES_PER_SECOND), (true, 0));
    }
}
