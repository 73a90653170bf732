//! What a guest may use up: fuel, running time, memory; and how a call that went past it is told apart.
//!
//! Fuel counts work and is deterministic. Epochs count the guest's own running time: each tick that finds
//! it running is one, the guest gives up its thread at each, and one that was descheduled for a second is
//! met by a single tick. Memory is summed over all memories and tables of a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::limits;
use wasmtime::{FrameInfo, ResourceLimiter, UpdateDeadline, WasmBacktrace};

use crate::backtrace::{GuestBacktrace, Place};
use crate::error::{AnswerError, CallError, EngineError, Trap};
use crate::keyed::StateError;
use crate::symbols::Symbols;

/// The bounds of one stage, from its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageLimits {
    /// Linear memories and tables of one instance, added up.
    pub memory_bytes: usize,
    pub fuel_per_record: u64,
    pub fuel_per_call: u64,
    /// The guest's own running time for one batch.
    pub batch_time: Duration,
    /// Bytes of one answer.
    pub output_bytes: usize,
    /// Bytes of one answer for each byte that came in; `limits::OUTPUT_BYTES_LEAST` are granted in any case.
    pub output_ratio: u64,
    /// Bytes of one record of a source.
    pub record_bytes: u64,
    /// Bytes that the guest may hand over in one call into the host.
    pub host_call_bytes: usize,
    /// Log lines in a second.
    pub log_lines: u32,
    /// Handles to things of the host that are open at once.
    pub resources: usize,
    /// Instances of the stage that are alive at once.
    pub instances: u32,
    /// Calls after which an instance is thrown away.
    pub instance_calls: u64,
    /// The longest that one call of the guest into the host may take.
    pub host_call_time: Duration,
}

impl Default for StageLimits {
    fn default() -> Self {
        Self {
            memory_bytes: limits::STAGE_MEMORY_BYTES,
            fuel_per_record: limits::FUEL_PER_RECORD,
            fuel_per_call: limits::FUEL_PER_CALL,
            batch_time: limits::BATCH_TIME,
            output_bytes: limits::OUTPUT_BYTES,
            output_ratio: limits::OUTPUT_RATIO,
            record_bytes: limits::RECORD_BYTES_MAX as u64,
            host_call_bytes: limits::HOST_CALL_BYTES,
            log_lines: limits::LOG_LINES_PER_SECOND,
            resources: limits::RESOURCES_MAX,
            instances: limits::STAGE_INSTANCES,
            instance_calls: limits::INSTANCE_CALLS_MAX,
            host_call_time: limits::HOST_CALL_TIME,
        }
    }
}

impl StageLimits {
    pub(crate) fn fuel(&self, rows: usize) -> u64 {
        self.fuel_per_call.saturating_add(self.fuel_per_record.saturating_mul(rows as u64))
    }

    /// Bytes that the answer to `input_bytes` may have.
    pub(crate) fn output(&self, input_bytes: usize) -> usize {
        let by_ratio = usize::try_from(self.output_ratio.saturating_mul(input_bytes as u64));
        let granted = by_ratio.unwrap_or(usize::MAX).max(limits::OUTPUT_BYTES_LEAST);
        granted.min(self.output_bytes)
    }

    /// Ticks that may find the guest running: one more than fit, since the first comes at any time.
    pub(crate) fn ticks(&self) -> u64 {
        let ticks = self.batch_time.as_nanos().div_ceil(limits::EPOCH_TICK.as_nanos());
        u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// Ticks the epoch of an engine on a thread of its own, until it is dropped.
pub(crate) struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: &wasmtime::Engine) -> Result<Self, EngineError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, engine) = (stop.clone(), engine.clone());
        let tick = move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(limits::EPOCH_TICK);
                engine.increment_epoch();
            }
        };
        let thread = std::thread::Builder::new().name("epochs".into()).spawn(tick);
        Ok(Self { stop, thread: Some(thread.map_err(EngineError::Ticker)?) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It runs nothing that can panic.
            let _ = thread.join();
        }
    }
}

/// The running time of the call that is under way.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ticks_left: u64,
    pulse: Arc<Pulse>,
}

/// What an instance and whoever waits for its call tell each other.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Ticks that found the guest running, ever: by it one sees that the call moves.
    beats: AtomicU64,
    /// Whether the next tick is that of a wait inside the host, and not of the guest's own running time.
    waited: AtomicBool,
    /// Microseconds that the call could have gone on in, and nobody looked after it.
    away_us: AtomicU64,
}

impl Pulse {
    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    pub(crate) fn was_away(&self, time: Duration) {
        self.away_us.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn take_away(&self) -> Duration {
        match self.away_us.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            _ => Duration::from_micros(self.away_us.swap(0, Ordering::Relaxed)),
        }
    }

    pub(crate) fn waited(&self) {
        self.waited.store(true, Ordering::Relaxed);
    }
}

/// Ends a call whose running time is over; found again in the error of the call.
#[derive(thiserror::Error, Debug)]
#[error("its running time is over")]
struct TimeIsOver;

/// Ends a call that handed too much to the host at once.
#[derive(thiserror::Error, Debug)]
#[error("more than {limit_bytes} bytes in one call into the host")]
pub(crate) struct TooMuch {
    pub limit_bytes: usize,
}

impl Clock {
    pub(crate) fn arm(&mut self, ticks: u64) {
        self.ticks_left = ticks;
    }

    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    pub(crate) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.pulse.beats.fetch_add(1, Ordering::Relaxed);
        if self.pulse.waited.swap(false, Ordering::Relaxed) {
            return Ok(UpdateDeadline::Yield(1));
        }
        if self.ticks_left == 0 {
            return Err(TimeIsOver.into());
        }
        self.ticks_left -= 1;
        Ok(UpdateDeadline::Yield(1))
    }
}

/// Bytes that an element of a table takes: a pointer.
const TABLE_ELEMENT_BYTES: usize = 8;

/// Adds up what the memories and tables of one store hold.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    limit_bytes: usize,
    used_bytes: usize,
    /// The last growth that was allowed, given back when the system refuses it.
    last_bytes: usize,
    refused: bool,
}

impl MemoryMeter {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, used_bytes: 0, last_bytes: 0, refused: false }
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Forgets an earlier refusal, so that the next failure is told by what happened in its own call.
    pub(crate) fn arm(&mut self) {
        self.refused = false;
    }

    fn grow(&mut self, by_bytes: usize) -> bool {
        let fits = self.used_bytes.checked_add(by_bytes).is_some_and(|used| used <= self.limit_bytes);
        if fits {
            self.used_bytes += by_bytes;
            self.last_bytes = by_bytes;
        } else {
            self.refused = true;
        }
        fits
    }

    fn give_back(&mut self) {
        self.used_bytes -= std::mem::take(&mut self.last_bytes);
        self.refused = true;
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(&mut self, now: usize, wanted: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(wanted.saturating_sub(now)))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.give_back();
        Ok(())
    }

    fn table_growing(&mut self, now: usize, wanted: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(wanted.saturating_sub(now).saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.give_back();
        Ok(())
    }
}

/// What was known of a call when it failed.
pub(crate) struct Failed<'a> {
    pub error: wasmtime::Error,
    pub memory: &'a MemoryMeter,
    pub symbols: &'a Arc<Symbols>,
    pub fuel: u64,
    pub time: Duration,
    pub output_bytes: usize,
    pub last_words: Option<String>,
    /// Whether the instance was being made, so that there is no answer to blame.
    pub starting: bool,
}

impl Failed<'_> {
    /// Which of its limits a call hit, or how else it ended.
    pub(crate) fn explain(self) -> CallError {
        let Self { error, memory, symbols, fuel, time, output_bytes, last_words, starting } = self;
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return CallError::NoRoom;
        }
        let backtrace = error.downcast_ref::<WasmBacktrace>();
        let backtrace = backtrace.map(|found| GuestBacktrace::new(places(found), symbols.clone()));
        let trap = error.downcast_ref::<wasmtime::Trap>().copied();
        let in_guest = backtrace.is_some() || trap.is_some();
        let backtrace = backtrace.unwrap_or_default();
        if let Some(error) = error.downcast_ref::<StateError>() {
            return CallError::State { error: error.clone(), backtrace };
        }
        if error.is::<TimeIsOver>() || trap == Some(wasmtime::Trap::Interrupt) {
            return CallError::TimedOut { limit: time, backtrace };
        }
        if trap == Some(wasmtime::Trap::OutOfFuel) {
            return CallError::OutOfFuel { fuel, backtrace };
        }
        if trap == Some(wasmtime::Trap::StackOverflow) {
            return CallError::StackOverflow { limit_bytes: limits::GUEST_STACK_BYTES, backtrace };
        }
        if memory.refused {
            return CallError::OutOfMemory { limit_bytes: memory.limit_bytes, backtrace };
        }
        let message = error.root_cause().to_string();
        if let Some(TooMuch { limit_bytes }) = error.downcast_ref() {
            return CallError::HostCallTooLarge { limit_bytes: *limit_bytes, backtrace };
        }
        if message.contains(HOSTCALL_FUEL) {
            return match in_guest {
                true => CallError::HostCallTooLarge { limit_bytes: output_bytes, backtrace },
                false => CallError::OutputTooLarge { limit_bytes: output_bytes },
            };
        }
        if HANDLES.iter().any(|text| message.contains(text)) {
            return CallError::TooManyResources { backtrace };
        }
        if !in_guest && starting {
            return CallError::Start(message);
        }
        if !in_guest {
            // Raised by the host itself while it took values over: a pointer out of bounds, text that is
            // no text, more bytes than the call may give.
            return AnswerError::Abi(message).into();
        }
        CallError::Trap(Trap { message, last_words, backtrace })
    }
}

/// How wasmtime says that a guest handed over more than it may; the type of the error is not public.
const HOSTCALL_FUEL: &str = "fuel allocated for hostcalls has been exhausted";
/// How it says that a table of handles is full.
const HANDLES: [&str; 2] = ["store handle limit exceeded", "resource table has no free keys"];

fn places(backtrace: &WasmBacktrace) -> Vec<Place> {
    let frames = backtrace.frames().iter();
    let place = |frame: &FrameInfo| Place {
        module: frame.module().name().map(str::to_owned),
        function: frame.func_name().map(str::to_owned),
        function_index: frame.func_index(),
        offset: frame.module_offset(),
    };
    frames.map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_summed_over_memories_and_tables() {
        let mut meter = MemoryMeter::new(100);
        let cases = [(0, 40, true), (0, 40, true), (40, 61, false), (40, 60, true), (0, 1, false)];
        for (now, wanted, fits) in cases {
            let found = meter.memory_growing(now, wanted, None).expect("it never fails");
            assert_eq!(found, fits, "{now} to {wanted}");
        }
        assert!(meter.refused, "the refusal was forgotten");
        meter.arm();
        let mut meter = MemoryMeter::new(100);
        assert!(meter.table_growing(0, 12, None).expect("it never fails"));
        assert!(!meter.table_growing(12, 13, None).expect("it never fails"), "8 bytes an element");
    }

    #[test]
    fn growth_that_the_system_refuses_is_given_back() {
        let mut meter = MemoryMeter::new(100);
        assert!(meter.memory_growing(0, 80, None).expect("it never fails"));
        meter.memory_grow_failed(wasmtime::Error::msg("no memory")).expect("it never fails");
        assert_eq!(meter.used_bytes(), 0);
    }

    #[test]
    fn an_answer_may_grow_with_what_came_in_between_two_bounds() {
        let limits = StageLimits { output_bytes: 64 << 20, output_ratio: 10, ..StageLimits::default() };
        let cases =
            [(0, 1 << 20), (1000, 1 << 20), (1 << 20, 10 << 20), (1 << 30, 64 << 20), (usize::MAX, 64 << 20)];
        for (input, expected) in cases {
            assert_eq!(limits.output(input), expected, "{input} bytes came in");
        }
        let small = StageLimits { output_bytes: 1000, ..limits };
        assert_eq!(small.output(0), 1000, "what is granted in any case is bounded as well");
    }

    #[test]
    fn a_limit_that_overflows_is_no_limit_of_zero() {
        let limits = StageLimits { fuel_per_record: u64::MAX, ..StageLimits::default() };
        assert_eq!(limits.fuel(2), u64::MAX);
        assert_eq!(StageLimits { batch_time: Duration::from_millis(25), ..limits }.ticks(), 4);
    }
}
