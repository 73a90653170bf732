//! A stage that may still be wrong somewhere, so that the rest of it can be checked all the same.

use super::super::names::Name;
use super::super::pipeline::{Input, Role, Stage, StageRef};
use super::settings::Settings;
use crate::diagnostics::{Span, Spanned};

/// What was read of one stage. What is `None` was wrong and has been reported.
pub(in super::super) struct Draft {
    /// As written, so that `from` finds a stage even when its name is not a valid one.
    pub written: Spanned<String>,
    pub name: Option<Name>,
    pub role: Option<Spanned<Role>>,
    pub reference: Option<Spanned<StageRef>>,
    /// `None` when there is a `from` that could not be read, or when nobody knows whether there should be one.
    pub from: Option<Vec<From>>,
    pub settings: Settings,
}

/// One entry of `from`, not yet looked up.
pub(in super::super) struct From {
    pub stage: String,
    /// Of the stage's name alone.
    pub stage_span: Span,
    pub port: Option<Name>,
    pub span: Span,
}

impl Draft {
    pub fn into_stage(self, from: Vec<Input>) -> Option<Stage> {
        let Settings { with, schema, time, unknown, key, limits, grants, on_error, retry, isolation, batch } =
            self.settings;
        Some(Stage {
            name: Spanned::new(self.name?, self.written.span),
            role: self.role?,
            reference: self.reference?,
            from,
            with,
            schema,
            time,
            unknown,
            key,
            limits,
            grants,
            on_error,
            retry,
            isolation,
            batch,
        })
    }
}
