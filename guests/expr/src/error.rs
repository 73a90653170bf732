//! What can be wrong with an expression, and where.

use conveyor_sdk::Failure;

use crate::scalar::Type;

/// A range of bytes of the text of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        Span { start, end }
    }

    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the expression is empty")]
    Empty,
    #[error("the expression is longer than {max} bytes")]
    TooLong { max: usize },
    #[error("the expression is nested deeper than {max} levels")]
    TooDeep { max: u16 },
    #[error("`{0}` means nothing here")]
    Character(char),
    #[error("this {what} has no end: a closing `{quote}` is missing")]
    Unterminated { what: &'static str, quote: char },
    #[error("`{0}` is not a number that can be written")]
    Number(String),
    #[error("found {found} where {wanted} should be")]
    Unexpected { found: String, wanted: &'static str },
    #[error("`{written}` is not known; write `{instead}`")]
    OtherSyntax { written: String, instead: &'static str },
    #[error("no column `{name}` comes in{}", hint(.suggestion, .known, "column"))]
    UnknownColumn { name: String, suggestion: Option<String>, known: Vec<String> },
    #[error("there is no function `{name}`{}", hint(.suggestion, .known, "function"))]
    UnknownFunction { name: String, suggestion: Option<String>, known: Vec<String> },
    #[error("`{function}` takes {takes}, and {given} given here")]
    Arguments { function: &'static str, takes: String, given: String },
    #[error("{takes} is wanted here, and this is {found}")]
    Kind { takes: &'static str, found: Type },
    #[error("{left} and {right} cannot be {action}")]
    Mismatch { left: Type, right: Type, action: &'static str },
    #[error("`{text}` is not {wanted}")]
    Literal { text: String, wanted: &'static str },
    #[error("this {0}")]
    Constant(&'static str),
    #[error("a condition, true or false, is wanted, and this is {0}")]
    NoCondition(Type),
    #[error("the pattern of `like` has to be a text that is written out")]
    Pattern,
    #[error(
        "what kind of value this is cannot be told; write text(...), float(...), int(...) or bool(...) around it"
    )]
    KindUnknown,
    #[error("`{0}` is not a JSON pointer: it starts with `/`")]
    Pointer(String),
}

fn hint(suggestion: &Option<String>, known: &[String], what: &str) -> String {
    const SHOWN: usize = 20;
    match (suggestion, known.len()) {
        (Some(suggestion), _) => format!("; did you mean `{suggestion}`?"),
        (None, 0) => format!("; there is no {what} at all"),
        (None, count) if count > SHOWN => {
            format!("; there are: {}, and {} more", known[..SHOWN].join(", "), count - SHOWN)
        }
        (None, _) => format!("; there are: {}", known.join(", ")),
    }
}

/// A problem and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub problem: Problem,
    pub span: Span,
}

pub(crate) type Result<T> = std::result::Result<T, Located>;

impl Problem {
    pub(crate) fn at(self, span: Span) -> Located {
        Located { problem: self, span }
    }
}

impl Located {
    /// The problem, the key of the config that it is in, and the line with the place underlined.
    pub fn failure(&self, key: &str, text: &str) -> Failure {
        let start = self.span.start.min(text.len());
        let line_start = text[..start].rfind('\n').map_or(0, |end| end + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |end| start + end);
        let line = &text[line_start..line_end];
        let before = text[line_start..start].chars().count();
        let end = self.span.end.clamp(start, line_end);
        let marked = text[start..end].chars().count().max(1);
        let (mut shown, mut indent) = (line.to_owned(), before);
        const WIDTH: usize = 100;
        if line.chars().count() > WIDTH {
            let skipped = before.saturating_sub(WIDTH / 2);
            shown = line.chars().skip(skipped).take(WIDTH).collect();
            indent = before - skipped;
        }
        let marked = marked.min(shown.chars().count().saturating_sub(indent).max(1));
        let carets = format!("{}{}", " ".repeat(indent), "^".repeat(marked));
        Failure::invalid(format!(
            "config: `{key}`: {}\n  {}\n  {carets}",
            self.problem,
            shown.replace('\t', " ")
        ))
    }
}
