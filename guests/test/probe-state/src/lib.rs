//! Does to its state what each record says, and tells what it found: for tests of state. Some records make the call
//! fail, in one way or another, after what came before them was done.

use conveyor_sdk::state::{self, Entries, KeyedState, Values};
use conveyor_sdk::{Batch, Emitter, Failure, Result, Transform};

#[conveyor_sdk::config]
pub struct Config {
    /// Asks for state where there is none.
    #[serde(default)]
    opens_with: Option<String>,
}

pub struct Probe {
    /// Calls of this instance, which what lasts must not depend on.
    calls: u64,
}

const COUNT: KeyedState<u64> = KeyedState::new("count");

impl Transform for Probe {
    type Config = Config;

    fn open(config: Config) -> Result<Self> {
        if let Some(key) = config.opens_with {
            COUNT.get(key.as_bytes())?;
        }
        Ok(Probe { calls: 0 })
    }

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
        self.calls += 1;
        for record in batch {
            let asked = std::str::from_utf8(record.bytes()).map_err(|_| Failure::fatal("no text"))?;
            let answer = self.answer(asked)?;
            out.emit(record, answer.as_bytes());
        }
        Ok(())
    }
}

impl Probe {
    fn answer(&self, asked: &str) -> Result<String> {
        let words: Vec<&str> = asked.split(' ').collect();
        Ok(match words[..] {
            ["add", key] => {
                let count = COUNT.get(key.as_bytes())?.unwrap_or(0) + 1;
                COUNT.set(key.as_bytes(), Some(&count));
                format!("{key} {count}")
            }
            ["get", key] => format!("{key} {}", COUNT.get(key.as_bytes())?.unwrap_or(0)),
            ["forget", key] => {
                let mut entries = Entries::named("count");
                entries.push(key.as_bytes());
                state::delete(entries);
                format!("{key} is forgotten")
            }
            ["put", key, name, value] => {
                let (mut entries, mut values) = (Entries::with_names(), Values::new());
                entries.push_named(key.as_bytes(), name.as_bytes());
                values.push(Some(value.as_bytes()));
                state::set(entries, values);
                format!("{key} {name}")
            }
            ["scan", key, prefix] => {
                let found: Vec<String> = state::scan(key.as_bytes(), prefix.as_bytes())
                    .map(|(name, value)| {
                        format!("{}={}", String::from_utf8_lossy(&name), String::from_utf8_lossy(&value))
                    })
                    .collect();
                found.join(" ")
            }
            ["key", bytes] => {
                let key = vec![b'k'; bytes.parse()?];
                COUNT.set(&key, Some(&1));
                format!("a key of {bytes}")
            }
            ["value", bytes] => {
                let (mut entries, mut values) = (Entries::named("large"), Values::new());
                entries.push(b"large");
                values.push(Some(&vec![b'v'; bytes.parse()?]));
                state::set(entries, values);
                format!("a value of {bytes}")
            }
            ["fill", key, count] => {
                let value = vec![b'v'; 1_000_000];
                for nth in 0..count.parse::<u32>()? {
                    let (mut entries, mut values) = (Entries::named("fill"), Values::new());
                    entries.push(format!("{key}{nth}").as_bytes());
                    values.push(Some(&value));
                    state::set(entries, values);
                }
                format!("{count} values of a megabyte")
            }
            ["panic"] => panic!("as it was told"),
            ["panic-when-used"] if self.calls > 1 => panic!("as it was told"),
            ["panic-when-used"] => "it is the first call".to_owned(),
            ["retry-when-used"] if self.calls > 1 => return Err(Failure::retry(1, "as it was told")),
            ["retry-once"] if self.calls % 2 == 1 => return Err(Failure::retry(1, "as it was told")),
            ["retry-when-used" | "retry-once"] => "it goes on".to_owned(),
            ["fatal"] => return Err(Failure::fatal("as it was told")),
            ["loop"] => loop {
                std::hint::black_box(self.calls);
            },
            _ => format!("error: it does not know `{asked}`"),
        })
    }
}

conveyor_sdk::transform!(Probe);
