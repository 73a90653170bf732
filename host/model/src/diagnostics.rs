//! Problems with a manifest: what is wrong, where, and what to do next.
//!
//! Finding a problem never ends the search for others: whoever checks pushes a [`Diagnostic`] and goes on, and
//! all of them are handed over together as [`Diagnostics`]. The manifest's parser and the plan report the same
//! way, over the same text. Printing them is the caller's business; nothing here touches a terminal.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use crate::limits;
use crate::plain::{self, Shown};

/// A range of bytes in the manifest's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// Bytes before the range.
    pub start: usize,
    /// Bytes in it; 0 marks a place between two bytes.
    pub len: usize,
}

impl Span {
    pub fn new(start: usize, len: usize) -> Self {
        Self { start, len }
    }

    pub fn end(self) -> usize {
        self.start.saturating_add(self.len)
    }
}

/// A value and where the manifest says it. Two are equal when their values are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

impl<T> Spanned<T> {
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned::new(f(self.value), self.span)
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// The text that spans are ranges of, and what to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// The file's path as the user wrote it.
    pub name: Arc<str>,
    pub text: Arc<str>,
}

impl SourceText {
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub fn line_column(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// A piece of the text that a diagnostic points at, and what to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable, for programs: `manifest::unknown-key`.
    pub code: &'static str,
    /// What is wrong, naming the thing.
    pub message: String,
    /// Where; the first is the place to look at.
    pub labels: Vec<Label>,
    /// What to do next.
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), labels: Vec::new(), help: None }
    }

    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All problems found in one text, in the order of the text. As an error it prints one line for each; for the
/// underlined form see [`Diagnostics::render`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    source: SourceText,
    list: Vec<Diagnostic>,
    /// Problems beyond [`limits::DIAGNOSTICS_MAX`], counted and not kept.
    left_out: usize,
}

impl Diagnostics {
    pub fn new(source: SourceText, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span.start));
        let left_out = list.len().saturating_sub(limits::DIAGNOSTICS_MAX);
        list.truncate(limits::DIAGNOSTICS_MAX);
        Self { source, list, left_out }
    }

    /// `Ok` when nothing was found.
    pub fn check(source: SourceText, list: Vec<Diagnostic>) -> Result<(), Self> {
        if list.is_empty() { Ok(()) } else { Err(Self::new(source, list)) }
    }

    pub fn source(&self) -> &SourceText {
        &self.source
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// How many problems there are, those that were not kept included.
    pub fn count(&self) -> usize {
        self.list.len() + self.left_out
    }

    /// The text with each problem underlined, `width` characters wide; with colours only for a terminal. What a terminal
    /// would obey is shown as an escape, in the text and in what is said of it.
    pub fn render(&self, width: usize, colours: bool) -> String {
        let theme = if colours {
            miette::GraphicalTheme::unicode()
        } else {
            miette::GraphicalTheme::unicode_nocolor()
        };
        let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false);
        let mut out = String::new();
        let shown = Shown::of(&self.source.text);
        let name = plain::line(&self.source.name);
        let text = miette::NamedSource::new(name, Arc::clone(&shown.text)).with_language("yaml");
        for diagnostic in &self.list {
            let labels: Vec<Label> = diagnostic.labels.iter().map(|label| label.shown(&shown)).collect();
            let fits = fits_a_screen(&shown.text, &labels);
            let message = if fits { diagnostic.message.clone() } else { self.line(diagnostic) };
            let report = Report {
                code: diagnostic.code,
                message: plain::lines(&message).into_owned(),
                labels,
                help: diagnostic.help.as_deref().map(|help| plain::lines(help).into_owned()),
                text: fits.then_some(&text),
            };
            if handler.render_report(&mut out, &report).is_err() {
                out.push_str(&plain::line(&self.line(diagnostic)));
            }
            out.push('\n');
        }
        if self.left_out > 0 {
            out.push_str(&format!("... and {} more\n", self.left_out));
        }
        out
    }

    /// The same as data, with lines and columns.
    pub fn to_json(&self) -> serde_json::Value {
        let list: Vec<_> = self.list.iter().map(|diagnostic| self.diagnostic_json(diagnostic)).collect();
        json!({ "file": &*self.source.name, "count": self.count(), "diagnostics": list })
    }

    fn diagnostic_json(&self, diagnostic: &Diagnostic) -> serde_json::Value {
        let labels: Vec<_> = diagnostic
            .labels
            .iter()
            .map(|label| {
                let (line, column) = self.source.line_column(label.span.start);
                json!({ "text": label.text, "start": label.span.start, "len": label.span.len,
                    "line": line, "column": column })
            })
            .collect();
        json!({ "code": diagnostic.code, "message": diagnostic.message, "labels": labels,
            "help": diagnostic.help })
    }

    fn line(&self, diagnostic: &Diagnostic) -> String {
        let place = diagnostic.labels.first().map_or(String::new(), |label| {
            let (line, column) = self.source.line_column(label.span.start);
            format!(":{line}:{column}")
        });
        format!("{}{place}: {}", self.source.name, diagnostic.message)
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, diagnostic) in self.list.iter().enumerate() {
            let newline = if nth == 0 { "" } else { "\n" };
            write!(f, "{newline}{}", self.line(diagnostic))?;
        }
        if self.left_out > 0 {
            write!(f, "\n... and {} more", self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl Label {
    /// Over a text as it is shown.
    fn shown(&self, shown: &Shown) -> Self {
        let (start, end) = (shown.place(self.span.start), shown.place(self.span.end()));
        Self { span: Span::new(start, end - start), text: plain::lines(&self.text).into_owned() }
    }
}

/// A longer line is not printed, only its number is.
const SHOWN_LINE_BYTES_MAX: usize = 1000;

/// Whether the lines of these labels can be shown: there are some, and none is as long as a file that was never meant
/// to be read by people.
fn fits_a_screen(text: &str, labels: &[Label]) -> bool {
    let text = text.as_bytes();
    let newline = |byte: &u8| *byte == b'\n';
    !labels.is_empty()
        && labels.iter().all(|label| {
            let (start, end) = (label.span.start.min(text.len()), label.span.end().min(text.len()));
            let before = text[..start].iter().rev().take(SHOWN_LINE_BYTES_MAX).position(newline);
            let behind = text[end..].iter().take(SHOWN_LINE_BYTES_MAX).position(newline);
            (before.is_some() || start < SHOWN_LINE_BYTES_MAX)
                && (behind.is_some() || text.len() - end < SHOWN_LINE_BYTES_MAX)
                && end - start < SHOWN_LINE_BYTES_MAX * 4
        })
}

/// One diagnostic as miette wants it: with its text, and all of it as it is shown.
#[derive(Debug)]
struct Report<'a> {
    code: &'static str,
    message: String,
    labels: Vec<Label>,
    help: Option<String>,
    text: Option<&'a miette::NamedSource<Arc<str>>>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(self.code))
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.text.map(|text| text as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        self.text?;
        Some(Box::new(self.labels.iter().map(|label| {
            let text = (!label.text.is_empty()).then(|| label.text.clone());
            miette::LabeledSpan::new(text, label.span.start, label.span.len)
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Diagnostics {
        let source = SourceText::new("p.yaml", "a: 1\nbé: 2\n");
        let list = vec![
            Diagnostic::new("t::second", "second").label(Span::new(8, 1), "here").help("do this"),
            Diagnostic::new("t::first", "first").label(Span::new(0, 1), "there"),
        ];
        Diagnostics::new(source, list)
    }

    #[test]
    fn problems_come_in_the_order_of_the_text_with_line_and_column() {
        assert_eq!(sample().to_string(), "p.yaml:1:1: first\np.yaml:2:3: second");
        assert_eq!(sample().to_json()["diagnostics"][1]["labels"][0]["column"], 3);
    }

    #[test]
    fn rendering_underlines_and_says_what_to_do() {
        insta::assert_snapshot!(sample().render(80, false));
    }

    #[test]
    fn a_flood_of_problems_is_cut_and_counted() {
        let list = vec![Diagnostic::new("t::flood", "again"); limits::DIAGNOSTICS_MAX + 5];
        let diagnostics = Diagnostics::new(SourceText::new("p.yaml", ""), list);
        assert_eq!(diagnostics.iter().count(), limits::DIAGNOSTICS_MAX);
        assert!(diagnostics.to_string().ends_with("... and 5 more"));
    }

    #[test]
    fn a_line_that_no_screen_holds_is_not_printed() {
        let text = format!("a: 1\nb: [{}]\n", "2, ".repeat(1000));
        let list = vec![
            Diagnostic::new("t::long", "long line").label(Span::new(2000, 1), "here").help("break it"),
            Diagnostic::new("t::short", "short line").label(Span::new(0, 1), "here"),
        ];
        let rendered = Diagnostics::new(SourceText::new("p.yaml", &text), list).render(80, false);
        assert!(rendered.contains("p.yaml:2:1996: long line") && rendered.contains("break it"));
        assert!(rendered.len() < 4000, "{rendered}");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_with_the_underline_below_it() {
        let text = "a: \u{1b}[2J \u{202e}x\u{9b}\0\r\nb\u{2028}: bad\n";
        let at = text.find("bad").expect("it is there");
        let list = vec![
            Diagnostic::new("t::bad", "says \u{1b}[31m\nforged")
                .label(Span::new(at, 3), "here\u{7}")
                .help("do\u{1b}c"),
            Diagnostic::new("t::bad", "the escape").label(Span::new(3, 1), "this one"),
        ];
        let rendered = Diagnostics::new(SourceText::new("p\u{1b}.yaml", text), list).render(80, false);
        assert!(rendered.chars().all(|c| plain::is_plain(c) || c == '\n'), "{rendered:?}");
        insta::assert_snapshot!(rendered);
    }

    #[test]
    fn a_span_outside_the_text_does_not_panic() {
        let diagnostic = Diagnostic::new("t::far", "far").label(Span::new(99, 5), "");
        let diagnostics = Diagnostics::new(SourceText::new("p.yaml", "é"), vec![diagnostic]);
        assert!(diagnostics.render(80, false).contains("far"));
        assert!(diagnostics.to_string().contains("far"));
    }
}
