//! Log lines go to stderr, filtered by `CONVEYOR_LOG`, and never through a progress display that is being
//! drawn.

use std::fmt::{self, Debug};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::MultiProgress;
use model::plain;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::terminal;

/// Warnings, and what stages say of themselves.
const DEFAULT: &str = "warn,stage=info,openraft=error";
const VARIABLE: &str = "CONVEYOR_LOG";

/// Lines have to be kept away from the display that is being drawn, wherever they come from.
static DISPLAY: Mutex<Option<MultiProgress>> = Mutex::new(None);

pub fn start() {
    let (filter, wrong) = match std::env::var(VARIABLE) {
        Ok(text) => match EnvFilter::try_new(&text) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new(DEFAULT), Some(error)),
        },
        Err(_) => (EnvFilter::new(DEFAULT), None),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal::colours())
        .fmt_fields(debug_fn(field).delimited(" "))
        .with_writer(Stderr)
        .finish();
    // It can be set once; whoever set it before keeps it.
    let _ = tracing::subscriber::set_global_default(subscriber);
    if let Some(error) = wrong {
        terminal::warning(format!("{VARIABLE} is not understood: {error}; `{DEFAULT}` is used"));
    }
}

/// One field of an event, or its message. Whatever stands in it is shown within the line.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let text = format!("{value:?}");
    let shown = plain::line(&text);
    match (field.name(), writer.has_ansi_escapes()) {
        ("message", _) => writer.write_str(&shown),
        (name, true) => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{shown}"),
        (name, false) => write!(writer, "{name}={shown}"),
    }
}

/// From now on lines are written above `display`; with none, plainly.
pub fn beside(display: Option<MultiProgress>) {
    *DISPLAY.lock().unwrap_or_else(PoisonError::into_inner) = display;
}

struct Stderr;

/// One event, written at once when it is complete.
struct Line(Vec<u8>);

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Nobody can be told that stderr is closed.
        let write = || drop(io::stderr().lock().write_all(&self.0));
        match &*DISPLAY.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(display) => display.suspend(write),
            None => write(),
        }
    }
}
