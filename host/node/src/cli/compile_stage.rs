//! `conveyor compile-stage ORDER`: what an engine starts to have one component compiled. Nobody types it.

use clap::Args;

use crate::exit::{Failure, Result};

/// Compiles the component on stdin, as an engine asks for it
#[derive(Debug, Args)]
pub(super) struct CompileStage {
    order: String,
}

impl CompileStage {
    pub(super) fn execute(self) -> Result {
        engine::compile_stage(&self.order).map_err(Failure::ran)
    }
}
