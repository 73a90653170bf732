//! Words for people go to stderr, data to stdout. Colours only where a terminal shows them and `NO_COLOR`
//! does not forbid them.

use std::io::{self, IsTerminal, Write};

use model::diagnostics::Diagnostics;

use crate::exit::{Failure, Result};

/// Columns of a line where no terminal says how many it has.
const WIDTH: usize = 100;
/// Wider lines are hard to read.
const WIDTH_MAX: usize = 140;

/// Whether stderr is a terminal that may be painted.
pub fn colours() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    is_terminal() && !no_color && !dumb
}

/// Whether a person looks at stderr.
pub fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

pub fn width() -> usize {
    let size = console::Term::stderr().size_checked();
    size.map_or(WIDTH, |(_, columns)| usize::from(columns).clamp(40, WIDTH_MAX))
}

/// A line for people.
pub fn say(line: &str) {
    // Nobody can be told that stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

pub fn error(why: &str) {
    let head = if colours() { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
    say(&format!("{head} {why}"));
}

pub fn warning(what: &str) {
    let head = if colours() { "\u{1b}[1;33mwarning:\u{1b}[0m" } else { "warning:" };
    say(&format!("{head} {what}"));
}

pub fn diagnostics(diagnostics: &Diagnostics) {
    let _ = write!(io::stderr().lock(), "{}", diagnostics.render(width(), colours()));
    let problems = diagnostics.count();
    let plural = if problems == 1 { "problem" } else { "problems" };
    error(&format!("{}: {problems} {plural}", diagnostics.source().name));
}

/// Data, whole, to stdout.
pub fn print(data: &str) -> Result {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(data.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::ReaderGone),
        Err(error) => Err(Failure::Ran(anyhow::anyhow!("stdout cannot be written to: {error}"))),
    }
}

pub fn print_json(data: &serde_json::Value) -> Result {
    print(&format!("{data:#}\n"))
}
