//! Forwards records until one comes that it was told of, and then goes wrong in the way that it was told: for
//! tests of whole runs.

use conveyor_sdk::{Batch, Emitter, Failure, Result, Transform, log};

/// What it is told.
#[conveyor_sdk::config]
pub struct Config {
    /// The record at which it goes wrong.
    at: String,
    then: Then,
}

/// The ways of going wrong.
#[conveyor_sdk::config]
#[derive(Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    Panic,
    Loop,
    Hoard,
    Fail,
    Reject,
    Log,
}

pub struct Probe {
    config: Config,
    hoard: Vec<Vec<u8>>,
}

impl Transform for Probe {
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        Ok(Probe { config, hoard: Vec::new() })
    }

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
        for record in batch {
            if record.bytes() != self.config.at.as_bytes() {
                out.forward(record);
                continue;
            }
            match self.config.then {
                Then::Panic => not_to_my_liking(&self.config.at),
                Then::Loop => spin(),
                Then::Hoard => self.fill_memory(),
                Then::Fail => return Err(Failure::fatal("it does not go on")),
                Then::Reject => out.reject(record, "disliked", "it is not to its liking"),
                Then::Log => log::info!("here it is"; record = self.config.at),
            }
        }
        Ok(())
    }
}

impl Probe {
    fn fill_memory(&mut self) {
        loop {
            self.hoard.push(Vec::with_capacity(1 << 20));
        }
    }
}

/// Frames of its own, for the backtrace.
#[inline(never)]
fn not_to_my_liking(record: &str) {
    panic!("`{record}` is not to my liking");
}

#[inline(never)]
fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

conveyor_sdk::transform!(Probe);
