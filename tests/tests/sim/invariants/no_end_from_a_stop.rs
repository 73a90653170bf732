//! A stop is no end: sinks are told that the input has ended where all of it was read, and that the pipeline stops where
//! somebody wanted that.

use model::signal::Then;

use super::{Broken, Facts, Invariant, Seen};

#[derive(Default)]
pub struct NoEndFromAStop;

impl Invariant for NoEndFromAStop {
    fn name(&self) -> &'static str {
        "no end from a stop"
    }

    fn see(&mut self, seen: &Seen<'_>, facts: &Facts) -> Result<(), Broken> {
        let Seen::Prepared { sink, then, is_read, is_stopping } = seen else { return Ok(()) };
        let name = &facts.graph.nodes[*sink].name;
        match then {
            Then::End if !is_read => {
                Err(format!("{name} was told that the input has ended, and not all of it was read"))
            }
            Then::Stop if !is_stopping => Err(format!("{name} was told of a stop that nobody wanted")),
            _ => Ok(()),
        }
    }
}
