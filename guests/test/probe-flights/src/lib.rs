//! Scores flights, with the faults that such code has: a table that is too short, a loop that never meets its end,
//! a cache without a bound. A few of three million real flights run into them; mended, it scores them all.

use conveyor_sdk::{
    Fields, Result, Row, Table, TableEmitter, TablePlan, TableTransform, config, table_transform,
};

#[config]
pub struct Config {
    /// Whether its faults were mended.
    #[serde(default)]
    mended: bool,
}

#[derive(Row)]
struct Flight<'a> {
    delay: i64,
    distance: i64,
    origin: &'a str,
    destination: &'a str,
}

#[derive(Row)]
struct Scored<'a> {
    score: i64,
    note: Option<&'a str>,
}

pub struct Scores {
    mended: bool,
    /// By minute of delay: one day's worth.
    minutes: Vec<i64>,
    seen: Vec<Vec<u8>>,
}

impl TableTransform for Scores {
    type Config = Config;

    fn plan(_: &Config, _: &Fields) -> Result<TablePlan> {
        let kept = ["delay", "distance", "origin", "destination"];
        Ok(TablePlan::of::<Flight<'_>>().select(kept).set_row::<Scored<'_>>())
    }

    fn open(config: Config, _: &Fields) -> Result<Self> {
        Ok(Scores { mended: config.mended, minutes: (0..1440).collect(), seen: Vec::new() })
    }

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result {
        for (at, flight) in table.rows::<Flight<'_>>() {
            let essay: String;
            let mut scored = Scored { score: score(&flight), note: None };
            if !self.mended {
                match fault(&flight) {
                    None => {}
                    Some(Fault::TooShort) => scored.score = self.by_minute(flight.delay),
                    Some(Fault::NeverMeets) => count_down(flight.distance),
                    Some(Fault::Hoards) => self.remember_all(),
                    Some(Fault::SaysTooMuch) => {
                        essay = "late ".repeat(1 << 20);
                        scored.note = Some(&essay);
                    }
                    Some(Fault::Refuses) => {
                        out.reject(at, "no-such-route", "nobody flies that far");
                        continue;
                    }
                }
            }
            out.forward_with(at, &scored);
        }
        Ok(())
    }
}

/// Minutes late for each thousand miles.
fn score(flight: &Flight<'_>) -> i64 {
    flight.delay * 1000 / flight.distance
}

enum Fault {
    TooShort,
    NeverMeets,
    Hoards,
    SaysTooMuch,
    Refuses,
}

/// What each of these flights meets. The test counts them in the data by itself.
fn fault(flight: &Flight<'_>) -> Option<Fault> {
    match (flight.delay, flight.distance, flight.origin, flight.destination) {
        (1440.., ..) => Some(Fault::TooShort),
        (_, 896, ..) => Some(Fault::NeverMeets),
        (_, _, "LFT", "IAH") => Some(Fault::Hoards),
        (_, _, "SDF", "EWR") => Some(Fault::SaysTooMuch),
        (_, 1174 | 2027, ..) => Some(Fault::Refuses),
        _ => None,
    }
}

impl Scores {
    #[inline(never)]
    fn by_minute(&self, delay: i64) -> i64 {
        self.minutes[delay as usize]
    }

    #[inline(never)]
    fn remember_all(&mut self) {
        loop {
            self.seen.push(Vec::with_capacity(1 << 20));
        }
    }
}

/// In steps of five it never comes to 0 exactly.
#[inline(never)]
fn count_down(distance: i64) {
    let mut left = distance % 5;
    while left != 0 {
        left = std::hint::black_box(if left < 0 { left + 5 } else { left - 5 });
    }
}

table_transform!(Scores);
