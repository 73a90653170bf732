//! The command line: one verb, one file, each a clap struct with `execute(self)`.

mod act;
mod amounts;
mod build;
mod bundle;
mod checkpoint;
mod compile_stage;
mod completions;
mod context;
mod delete;
mod deploy;
mod diff;
mod dlq;
mod doctor;
mod events;
mod graph;
mod history;
mod inspect;
mod key;
mod list;
mod lock;
mod login;
mod new;
mod node;
mod nodes;
mod policy;
mod pull;
mod pulling;
mod push;
mod registry;
mod remote;
mod replay;
mod rollback;
mod run;
mod secret;
mod sign;
mod status;
mod test;
mod trust;
mod up;
mod validate;
mod verify;

use std::ffi::OsString;
use std::future::Future;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use model::plain;

use crate::exit::{Failure, Result};
use crate::wiring::{self, ResolvedPipeline, Resolver};
use crate::{logging, terminal};

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 it ran and failed; 2 the input or the command line is wrong; 3 the node cannot be reached.
Human words go to stderr, data to stdout. CONVEYOR_LOG filters the log (`warn,stage=info,openraft=error` unless set),
NO_COLOR=1 turns colours off.";

/// Runs data pipelines whose stages are WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "conveyor", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    New(new::New),
    Build(build::Build),
    Inspect(inspect::Inspect),
    Push(push::Push),
    Pull(pull::Pull),
    Login(login::Login),
    Logout(login::Logout),
    Validate(validate::Validate),
    Graph(graph::Graph),
    Lock(lock::LockVerb),
    Bundle(bundle::Bundle),
    Run(run::Run),
    Up(up::Up),
    Deploy(deploy::Deploy),
    #[command(subcommand)]
    Node(node::Node),
    Test(test::Test),
    List(list::List),
    Status(status::Status),
    History(history::History),
    Diff(diff::Diff),
    Pause(act::Pause),
    Resume(act::Resume),
    Restart(act::Restart),
    Rollback(rollback::Rollback),
    Delete(delete::Delete),
    Events(events::Events),
    #[command(subcommand)]
    Context(context::Contextual),
    #[command(subcommand)]
    Secret(secret::Secret),
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    Replay(replay::Replay),
    #[command(subcommand)]
    Checkpoint(checkpoint::Checkpoint),
    #[command(subcommand)]
    Registry(registry::Registry),
    #[command(subcommand)]
    Key(key::Keys),
    Sign(sign::Sign),
    Verify(verify::Verify),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    #[command(hide = true)]
    CompileStage(compile_stage::CompileStage),
}

/// How a verb prints its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What the binary does.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
            terminal::command_line(&of_what_is_shown(error));
            return code;
        }
    };
    logging::start();
    if let Some(text) = std::env::var_os(disk::fault::VARIABLE)
        && let Err(error) = disk::fault::arm(&text.to_string_lossy())
    {
        return crate::exit::Failure::input(error).tell();
    }
    match cli.verb.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

/// What is wrong with a command line, over its arguments as they are shown: the message quotes them.
fn of_what_is_shown(error: clap::Error) -> clap::Error {
    let shown = |arg: OsString| plain::line(&arg.to_string_lossy()).into_owned();
    Cli::try_parse_from(std::env::args_os().map(shown)).err().unwrap_or(error)
}

impl Verb {
    fn execute(self) -> Result {
        match self {
            Self::New(verb) => verb.execute(),
            Self::Build(verb) => verb.execute(),
            Self::Inspect(verb) => verb.execute(),
            Self::Push(verb) => verb.execute(),
            Self::Pull(verb) => verb.execute(),
            Self::Login(verb) => verb.execute(),
            Self::Logout(verb) => verb.execute(),
            Self::Validate(verb) => verb.execute(),
            Self::Graph(verb) => verb.execute(),
            Self::Lock(verb) => verb.execute(),
            Self::Bundle(verb) => verb.execute(),
            Self::Run(verb) => verb.execute(),
            Self::Up(verb) => verb.execute(),
            Self::Deploy(verb) => verb.execute(),
            Self::Node(verb) => verb.execute(),
            Self::Test(verb) => verb.execute(),
            Self::List(verb) => verb.execute(),
            Self::Status(verb) => verb.execute(),
            Self::History(verb) => verb.execute(),
            Self::Diff(verb) => verb.execute(),
            Self::Pause(verb) => verb.execute(),
            Self::Resume(verb) => verb.execute(),
            Self::Restart(verb) => verb.execute(),
            Self::Rollback(verb) => verb.execute(),
            Self::Delete(verb) => verb.execute(),
            Self::Events(verb) => verb.execute(),
            Self::Context(verb) => verb.execute(),
            Self::Secret(verb) => verb.execute(),
            Self::Dlq(verb) => verb.execute(),
            Self::Replay(verb) => verb.execute(),
            Self::Checkpoint(verb) => verb.execute(),
            Self::Registry(verb) => verb.execute(),
            Self::Key(verb) => verb.execute(),
            Self::Sign(verb) => verb.execute(),
            Self::Verify(verb) => verb.execute(),
            Self::Doctor(verb) => verb.execute(),
            Self::Completions(verb) => verb.execute(),
            Self::CompileStage(verb) => verb.execute(),
        }
    }
}

/// Waits for something that a verb needs once; `run` has executors of its own.
fn block_on<T>(what: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(Failure::ran)?.block_on(what))
}

/// Asks a person, who types `yes` or is told that it was not done; there is none where nobody can answer.
fn agree(what: &str, not_done: &str) -> Result {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Input(anyhow::anyhow!("{what} Say `--yes` if that is meant")));
    }
    terminal::ask(&format!("{what} Type `yes` if that is meant:")).map_err(Failure::ran)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::ran)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::Input(anyhow::anyhow!("{not_done}"))),
    }
}

/// Reads, loads and plans one manifest.
fn resolve(resolver: &Resolver, file: &Path, sets: &[String]) -> Result<ResolvedPipeline> {
    let mut draft = wiring::read(file)?;
    draft.set(sets)?;
    Ok(block_on(resolver.resolve(draft))??)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
