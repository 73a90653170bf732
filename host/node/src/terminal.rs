//! Words for people go to stderr, data to stdout. Colours only where a terminal shows them and `NO_COLOR`
//! does not forbid them.
//!
//! Whatever is written for people goes through [`Words`], or is a problem of a manifest, or a line of the log: each of
//! these shows what a terminal would obey as an escape. Data is written as it is.

use std::io::{self, IsTerminal, Write};

use model::diagnostics::Diagnostics;
use model::plain;

use crate::exit::{Failure, Result};
use crate::words::Words;

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

/// Says something to people.
pub fn say(words: impl Into<Words>) {
    // Nobody can be told that stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{}", words.into());
}

/// A question, behind which the answer is typed.
pub fn ask(question: &str) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{} ", plain::line(question)).and_then(|()| stderr.flush())
}

pub fn error(why: impl Into<Words>) {
    let head = if colours() { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
    let _ = writeln!(io::stderr().lock(), "{head} {}", why.into());
}

pub fn warning(what: impl Into<Words>) {
    let head = if colours() { "\u{1b}[1;33mwarning:\u{1b}[0m" } else { "warning:" };
    let _ = writeln!(io::stderr().lock(), "{head} {}", what.into());
}

pub fn diagnostics(diagnostics: &Diagnostics) {
    let _ = write!(io::stderr().lock(), "{}", diagnostics.render(width(), colours()));
    let problems = diagnostics.count();
    let plural = if problems == 1 { "problem" } else { "problems" };
    error(format!("{}: {problems} {plural}", diagnostics.source().name));
}

/// What is wrong with the command line, and help and version, which are data that were asked for. It quotes what was
/// typed, which colours cannot be told from any more once they are in.
pub fn command_line(error: &clap::Error) {
    let text = error.render().to_string();
    // A closed stdout is the reader's will.
    let _ = match plain::lines(&text) {
        std::borrow::Cow::Borrowed(_) => error.print(),
        std::borrow::Cow::Owned(shown) if error.use_stderr() => {
            io::stderr().lock().write_all(shown.as_bytes())
        }
        std::borrow::Cow::Owned(shown) => io::stdout().lock().write_all(shown.as_bytes()),
    };
}

/// Words for people that were asked for, to stdout.
pub fn print(words: impl Into<Words>) -> Result {
    print_data(&format!("{}\n", words.into()))
}

/// Data, whole and as it is, to stdout.
pub fn print_data(data: &str) -> Result {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(data.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::ReaderGone),
        Err(error) => Err(Failure::Ran(anyhow::anyhow!("stdout cannot be written to: {error}"))),
    }
}

pub fn print_json(data: &impl serde::Serialize) -> Result {
    let text = serde_json::to_string_pretty(data).map_err(Failure::ran)?;
    print_data(&plain::json(&format!("{text}\n")))
}

/// One of many, in a line of its own.
pub fn print_json_line(data: &impl serde::Serialize) -> Result {
    let text = serde_json::to_string(data).map_err(Failure::ran)?;
    print_data(&plain::json(&format!("{text}\n")))
}
