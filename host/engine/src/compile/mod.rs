//! Bytes -> code of a component, in a process of its own where there is a program for it, and what is known of it before
//! anything runs: which stage it is, and the schema of its config.

mod binary;
mod cache;
mod child;
mod fit;
mod schema;
mod translate;

pub(crate) use binary::check;
pub use binary::componentize;
pub(crate) use cache::{Entry, Hit, from_compiler};
pub use child::{CompileBounds, CompileStageError, Compiler, compile_stage};
pub(crate) use fit::{Functions, Names, fit};
pub use schema::ConfigProblem;
pub(crate) use schema::ConfigSchema;
pub(crate) use translate::{Translated, Untranslated, translate};
