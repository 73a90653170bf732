//! `${VAR}` and `${VAR:-default}` in scalars. `$${` stands for `${`; any other `$` is just that.
//!
//! What a variable holds is put in as it is: it cannot bring keys, lists or further variables with it.

use super::suggest::quoted;
use crate::diagnostics::{Diagnostic, Span};
use crate::limits::MANIFEST_BYTES_MAX;

/// Looks a variable up; the environment is an argument here as everything else is.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The text with its variables replaced. A variable that cannot be is reported and left out.
pub(super) fn expand(
    value: &str,
    span: Span,
    text: &str,
    env: Environment<'_>,
    problems: &mut Vec<Diagnostic>,
) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    let mut places = Places { raw: text.get(span.start..span.end()).unwrap_or(""), span, from: 0 };
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            problems.push(bad(places.next(&rest[at..]), "a variable is not closed", "close it with `}`"));
            return out;
        };
        if out.len() > MANIFEST_BYTES_MAX {
            problems.push(bad(
                span,
                "variables make this text larger than a manifest can be",
                "hand on less",
            ));
            return String::new();
        }
        let written = &rest[at..=at + end];
        let place = places.next(written);
        match replacement(&written[2..written.len() - 1], env) {
            Ok(value) => out.push_str(&value),
            Err(Unset::NoName(name)) => {
                let message = format!("{} is not the name of a variable", quoted(name));
                problems.push(bad(place, &message, NAME_HELP));
            }
            Err(Unset::Missing(name)) => problems.push(
                Diagnostic::new(
                    "manifest::unset-variable",
                    format!("the variable {} is not in the environment", quoted(name)),
                )
                .label(place, "wanted here")
                .help("set it, or give a default behind its name: ${NAME:-default}"),
            ),
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    out
}

const NAME_HELP: &str =
    "a name has letters, digits and `_`, and begins with no digit; write `$${` for a plain `${`";

enum Unset<'a> {
    NoName(&'a str),
    Missing(&'a str),
}

fn replacement<'a>(inside: &'a str, env: Environment<'_>) -> Result<String, Unset<'a>> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !valid {
        return Err(Unset::NoName(name));
    }
    match (env(name), default) {
        // As in a shell, `:-` also stands in for a variable that is set to nothing.
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Unset::Missing(name)),
    }
}

/// Finds what stands in a scalar's value in the text of that scalar, which may be quoted and escaped.
struct Places<'a> {
    raw: &'a str,
    span: Span,
    from: usize,
}

impl Places<'_> {
    fn next(&mut self, written: &str) -> Span {
        match self.raw.get(self.from..).and_then(|raw| raw.find(written)) {
            Some(at) => {
                let start = self.from + at;
                self.from = start + written.len();
                Span::new(self.span.start + start, written.len())
            }
            None => {
                // Escapes hide it; looking for each of many in vain would take the square of the text.
                self.raw = "";
                self.span
            }
        }
    }
}

fn bad(span: Span, message: &str, help: &str) -> Diagnostic {
    Diagnostic::new("manifest::variable", message).label(span, "").help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "CITY" => Some("Oslo".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${CITY}".to_owned()),
            _ => None,
        }
    }

    fn run(value: &str) -> (String, Vec<(usize, usize)>) {
        let mut problems = Vec::new();
        let out = expand(value, Span::new(0, value.len()), value, &env, &mut problems);
        (out, problems.iter().map(|p| (p.labels[0].span.start, p.labels[0].span.len)).collect())
    }

    #[test]
    fn variables_are_replaced() {
        let cases = [
            ("${CITY}", "Oslo"),
            ("a ${CITY} b ${CITY}", "a Oslo b Oslo"),
            ("${CITY:-Rome}", "Oslo"),
            ("${NOWHERE:-Rome}", "Rome"),
            ("${NOWHERE:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-Rome}", "Rome"),
            ("${NESTED}", "${CITY}"),
            ("$${CITY}", "${CITY}"),
            ("$$${CITY}", "$${CITY}"),
            ("^a$ $b {c}", "^a$ $b {c}"),
        ];
        for (value, expected) in cases {
            assert_eq!(run(value), (expected.to_owned(), vec![]), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_pointed_at() {
        let cases = [
            ("x ${GONE} ${GONE}", vec![(2, 7), (10, 7)]),
            ("${}", vec![(0, 3)]),
            ("${1A}", vec![(0, 5)]),
            ("${a b}", vec![(0, 6)]),
            ("x ${CITY", vec![(2, 6)]),
        ];
        for (value, places) in cases {
            assert_eq!(run(value).1, places, "{value}");
        }
    }
}
