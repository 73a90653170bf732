//! DuckDB on one thread, from Python, timed inside.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::data::{DataError, Flights, run, script};

/// Why DuckDB gave no time.
#[derive(thiserror::Error, Debug)]
pub enum DuckDbError {
    #[error(transparent)]
    Run(#[from] DataError),
    #[error("instead of seconds it printed `{0}`")]
    NoSeconds(String),
}

/// How DuckDB is called.
#[derive(Debug)]
pub struct DuckDb;

impl DuckDb {
    /// How long the core worked for the statement.
    pub fn run(flights: &Flights, output: &Path) -> Result<Duration, DuckDbError> {
        let mut command = Command::new(&flights.python);
        let printed = run(command.arg(script("flights_duckdb.py")).arg(&flights.csv).arg(output))?;
        let seconds: f64 = printed.trim().parse().map_err(|_| DuckDbError::NoSeconds(printed.clone()))?;
        Duration::try_from_secs_f64(seconds).map_err(|_| DuckDbError::NoSeconds(printed))
    }
}
