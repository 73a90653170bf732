//! Expressions over columns, as `filter`, `project`, `route` and `json-filter` take them in their config.
//!
//! A text becomes an [`Expression`] (`parse`), which is checked against what comes in when the pipeline is
//! planned and becomes a [`Program`] (`check`), which runs over whole columns at a time (`eval`): each operator
//! is one loop over slices, and nothing is decided per row. Not in here: reading configs, and what a stage does
//! with the answer.

mod ast;
mod batch;
mod bits;
mod check;
pub mod config;
mod error;
mod eval;
mod functions;
mod lex;
mod like;
mod node;
mod parse;
mod scalar;
mod scope;
pub mod stage;
pub mod suggest;
pub mod time;
mod vector;

pub use batch::Input;
pub use check::{Program, Wish};
pub use error::{Located, Problem, Span};
pub use eval::Overflow;
pub use lex::Names;
pub use parse::Expression;
pub use scalar::{Scalar, Type};
pub use scope::{Scope, Slot, TableScope};
pub use vector::{Ints, Known, Mask, TextWriter, Texts, Vector};

/// An expression is at most this long: what is longer was not written by hand, and a list belongs into data.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;

/// Operators within operators, at most: bounds the stack that checking and evaluating take.
pub const EXPRESSION_DEPTH_MAX: u16 = 100;
