//! The frames of a guest that died, as they are reported.

use std::fmt;
use std::sync::Arc;

use model::{limits, plain};

use crate::symbols::Symbols;
use crate::texts::cut;

/// The guest's own frames, the innermost first. Where they are in its source is looked up when it is asked for.
#[derive(Clone, Debug, Default)]
pub struct GuestBacktrace {
    places: Vec<Place>,
    symbols: Option<Arc<Symbols>>,
}

/// A frame as the runtime knows it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub module: Option<String>,
    /// Mangled, where wasm has it.
    pub function: Option<String>,
    pub function_index: u32,
    /// In the component.
    pub offset: Option<usize>,
}

impl GuestBacktrace {
    pub(crate) fn new(places: Vec<Place>, symbols: Arc<Symbols>) -> Self {
        Self { places, symbols: Some(symbols) }
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The frames with what the component's DWARF says of them. The first time for a place it takes milliseconds.
    pub fn frames(&self) -> Vec<Frame> {
        let offsets: Vec<usize> = self.places.iter().filter_map(|place| place.offset).collect();
        let mut symbols = self.symbols.iter().flat_map(|symbols| symbols.at(&offsets));
        let mut frames = Vec::new();
        for Place { module, function, function_index, offset } in
            self.places.iter().take(limits::BACKTRACE_FRAMES_MAX)
        {
            let module = module.as_deref().map(shown);
            let named = function.as_deref().map_or_else(|| format!("function {function_index}"), demangle);
            let found = offset.and_then(|_| symbols.next()).unwrap_or_default();
            if found.is_empty() {
                frames.push(Frame { module: module.clone(), function: named, file: None, line: None });
                continue;
            }
            for (i, symbol) in found.iter().enumerate() {
                // The last is the function itself, whose name wasm knows with its path; those before it were
                // inlined, and DWARF has their bare names.
                let inlined = symbol.name.as_deref().filter(|_| i + 1 < found.len());
                frames.push(Frame {
                    module: module.clone(),
                    function: inlined.map_or_else(|| named.clone(), demangle),
                    file: symbol.file.as_deref().map(shown),
                    line: symbol.line,
                });
            }
        }
        frames.truncate(limits::BACKTRACE_FRAMES_MAX);
        frames
    }
}

fn demangle(name: &str) -> String {
    // `{:#}` leaves out the hash.
    shown(&format!("{:#}", rustc_demangle::demangle(beginning(name))))
}

/// A name that the component gives, as long as it may be and harmless on a terminal.
fn shown(name: &str) -> String {
    cut(beginning(name).to_owned(), limits::FRAME_NAME_BYTES_MAX)
}

/// No more of a name than can matter.
fn beginning(name: &str) -> &str {
    &name[..name.floor_char_boundary(4 * limits::FRAME_NAME_BYTES_MAX)]
}

/// One frame of a guest; inlined functions have frames of their own where the component has DWARF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub module: Option<String>,
    pub function: String,
    pub file: Option<String>,
    pub line: Option<u32>,
}

impl fmt::Display for GuestBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Frames(&self.frames()).fmt(f)
    }
}

/// Frames as they are shown: one or two lines each.
pub struct Frames<'a>(pub &'a [Frame]);

impl fmt::Display for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, frame) in self.0.iter().enumerate() {
            write!(f, "{i:>4}: {}", plain::line(&frame.function))?;
            match (frame.file.as_deref().map(plain::line), frame.line) {
                (Some(file), Some(line)) => writeln!(f, "\n          at {file}:{line}")?,
                (Some(file), None) => writeln!(f, "\n          at {file}")?,
                _ => writeln!(f)?,
            }
        }
        Ok(())
    }
}
