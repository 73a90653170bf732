//! Runs a stage natively, without WebAssembly: records or rows go in, and what left by which port, what was
//! rejected and what was filtered out comes back. It goes through the same code as in a component, and keeps
//! to what a host does: a stage gets only what its plan asks for, and rows that do not fit the columns that it
//! wants do not reach it.
//!
//! ```
//! use conveyor_sdk::{Batch, Emitter, NoConfig, Result, Transform, testing};
//!
//! struct Shout;
//!
//! impl Transform for Shout {
//!     type Config = NoConfig;
//!
//!     fn open(_: NoConfig) -> Result<Self> {
//!         Ok(Shout)
//!     }
//!
//!     fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
//!         for record in batch {
//!             out.emit(record, &record.bytes().to_ascii_uppercase());
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let mut stage = testing::transform::<Shout>(testing::json!({})).unwrap();
//! let outcome = stage.run(["a", "b"]).unwrap();
//! assert_eq!(outcome.values("main"), ["A", "B"]);
//! ```

mod cells;
mod ends;
mod records;
mod secrets;
mod state;
mod tables;

pub use ends::{
    Pulled, PulledRecord, PulledRow, SinkTest, SourceTest, TableSinkTest, TableSourceTest, sink, source,
    table_sink, table_source,
};
pub use records::{OutRecord, RecordOutcome, TestRecord, TransformTest, deletion, record, transform};
pub(crate) use secrets::secret_of;
pub use secrets::set_secret;
pub use serde_json::{Value, json};
pub use state::TestState;
pub(crate) use state::host as host_state;
pub use tables::{OutRow, TableOutcome, TableTransformTest, TestRow, row, table_transform};

use crate::bindings::types::outcomes::{Forwarded, Origins};

/// A record that a stage refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub of: u32,
    pub code: String,
    pub message: String,
}

impl From<crate::bindings::types::outcomes::Rejection> for Rejection {
    fn from(wire: crate::bindings::types::outcomes::Rejection) -> Self {
        Rejection { of: wire.of, code: wire.code, message: wire.message }
    }
}

/// So that `unwrap_err` works on what opens a stage, whether or not the stage can be printed.
macro_rules! opaque {
    ($($test:ident),*) => {
        $(impl<S> std::fmt::Debug for $test<S> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($test)).finish_non_exhaustive()
            }
        })*
    };
}

opaque!(TransformTest, TableTransformTest, SourceTest, TableSourceTest, SinkTest, TableSinkTest);

/// The input record of each made one, as a host takes it.
fn origins(origins: &Origins, rows: usize) -> Vec<u32> {
    match origins {
        Origins::These(these) => these.clone(),
        Origins::Each => (0..rows as u32).collect(),
    }
}

/// The input records that go on by a port, then those that are made from them, in the order in which they
/// leave: `(origin, index of the made one)`.
fn leaving(forwarded: &Forwarded, origins: &[u32], rows: u32) -> Vec<(u32, Option<usize>, usize)> {
    let forwarded: Vec<u32> = match forwarded {
        Forwarded::Nothing => Vec::new(),
        Forwarded::All => (0..rows).collect(),
        Forwarded::These(these) => these.clone(),
    };
    assert!(forwarded.windows(2).all(|pair| pair[0] < pair[1]), "forwarded records ascend: {forwarded:?}");
    assert!(origins.is_sorted(), "origins ascend: {origins:?}");
    let forwarded = forwarded.into_iter().enumerate().map(|(nth, origin)| (origin, None, nth));
    let made = origins.iter().enumerate().map(|(nth, origin)| (*origin, Some(nth), nth));
    let mut leaving: Vec<_> = forwarded.chain(made).collect();
    leaving.sort_by_key(|(origin, made, _)| (*origin, made.is_some()));
    leaving
}

/// The index of a port, for a test that names it.
fn port(outputs: &[String], name: &str) -> u32 {
    match outputs.iter().position(|output| output == name) {
        Some(port) => port as u32,
        None => panic!("the plan has no output `{name}`; there are: {}", outputs.join(", ")),
    }
}
