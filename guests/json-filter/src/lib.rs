//! Keeps the JSON records for which a condition over their members holds. The records stay the bytes that they
//! are: each is walked once, what the condition reads is taken into columns, and the condition then runs over
//! these for the whole batch.

use conveyor_sdk::{Batch, Emitter, RecordPlan, Result, Transform, transform};
use expr::{Expression, Input, Names, Program, Wish};
use json_scan::{Found, Malformed};

mod members;

use members::{Collected, Members};

/// The code of records in which a condition leads to an integer beyond 64 bits.
const OVERFLOW: &str = expr::stage::OVERFLOW;

/// What `json-filter` can be told.
#[conveyor_sdk::config]
#[derive(Debug)]
pub struct Config {
    /// The condition, over JSON pointers: `/user/country == 'DE' and /amount > 5`. A member that is not there,
    /// or is of another kind than it is compared with, is null.
    r#where: String,
}

#[derive(Debug)]
pub struct JsonFilter {
    condition: Program,
    members: Members,
}

impl JsonFilter {
    fn new(config: &Config) -> Result<Self> {
        let mut members = Members::default();
        let expression = Expression::parse("where", &config.r#where, Names::Pointers)?;
        let condition = expression.check(&mut members, Wish::Condition)?;
        Ok(JsonFilter { condition, members })
    }
}

impl Transform for JsonFilter {
    type Config = Config;

    fn plan(config: &Config) -> Result<RecordPlan> {
        JsonFilter::new(config).map(|_| RecordPlan::new())
    }

    fn open(config: Config) -> Result<Self> {
        JsonFilter::new(&config)
    }

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
        let mut collected = Collected::new(&self.members, batch.len());
        let mut found = Found::default();
        let mut live = vec![1; batch.len()];
        for record in batch {
            // A deletion has no members, which a condition can ask for with `is null`.
            let walked = match record.value() {
                Some(value) => self.members.pointers().find(value, &mut found),
                None => {
                    found.nothing();
                    Ok(())
                }
            };
            if let Err(malformed) = walked {
                out.reject(record, Malformed::CODE, format!("the record is not JSON: {malformed}"));
                live[record.index() as usize] = 0;
                found.nothing();
            }
            collected.push(&found);
        }
        let input = Input { rows: batch.len(), columns: collected.columns() };
        let (mask, overflow) = self.condition.holds(&input, Some(&live));
        for row in overflow.rows() {
            out.reject(batch.record(row), OVERFLOW, "`where`: an integer is beyond the range of 64 bits");
            live[row as usize] = 0;
        }
        for (record, (live, truth)) in batch.into_iter().zip(live.iter().zip(mask.truth.iter())) {
            out.forward_if(record, live & truth == 1);
        }
        Ok(())
    }
}

transform!(JsonFilter);

#[cfg(test)]
mod tests;
