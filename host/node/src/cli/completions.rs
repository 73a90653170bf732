//! `conveyor completions SHELL`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::exit::{Failure, Result};
use crate::terminal;

/// Prints the completions of a shell
///
/// Put them where the shell finds them, for example:
///   conveyor completions bash > ~/.local/share/bash-completion/completions/conveyor
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self) -> Result {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "conveyor", &mut script);
        terminal::print_data(&String::from_utf8(script).map_err(Failure::ran)?)
    }
}
