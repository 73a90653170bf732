//! `conveyor pause NAME`, `conveyor resume NAME` and `conveyor restart NAME`.

use clap::Args;
use control::state::{Expects, PipelineName};
use serde_json::json;

use super::nodes::{self, Target};
use super::{Output, block_on};
use crate::api::types::Wanted;
use crate::client::Act;
use crate::exit::Result;
use crate::terminal;

/// Stops a pipeline at a checkpoint; it stays so until it is resumed
#[derive(Debug, Args)]
pub(super) struct Pause {
    #[command(flatten)]
    what: What,
}

/// Lets a pipeline run again that was paused, has ended or has failed, from its last checkpoint on
#[derive(Debug, Args)]
pub(super) struct Resume {
    #[command(flatten)]
    what: What,
}

/// Stops a pipeline at a checkpoint, and opens it there again
#[derive(Debug, Args)]
pub(super) struct Restart {
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
struct What {
    #[command(flatten)]
    target: Target,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Pause {
    pub(super) fn execute(self) -> Result {
        self.what.has_done(Act::Pause, "it is to pause")
    }
}

impl Resume {
    pub(super) fn execute(self) -> Result {
        self.what.has_done(Act::Resume, "it is to run")
    }
}

impl Restart {
    pub(super) fn execute(self) -> Result {
        self.what.has_done(Act::Restart, "it is to restart")
    }
}

impl What {
    fn has_done(self, act: Act, words: &str) -> Result {
        let (client, pipeline) = (self.target.client()?, self.target.pipeline()?);
        let wanted = block_on(client.act(&pipeline, act, Expects::Anything))?.map_err(nodes::failure)?;
        tell(&pipeline, wanted, words, self.output)
    }
}

/// Says what is wanted of a pipeline now.
pub(super) fn tell(pipeline: &PipelineName, wanted: Wanted, words: &str, output: Output) -> Result {
    let Wanted { version } = wanted;
    terminal::say(format!("{pipeline}: {words} (version {version})"));
    match output {
        Output::Text => Ok(()),
        Output::Json => {
            let (namespace, name) = (pipeline.namespace.as_str(), pipeline.name.as_str());
            terminal::print_json(&json!({ "namespace": namespace, "name": name, "version": version }))
        }
    }
}
