//! Reading values out of the tree: each of these either gives what was asked for, or reports why not.

use std::fmt::Display;
use std::str::FromStr;

use super::super::scalar::{described, meaning};
use super::super::suggest::{did_you_mean, nearest, one_of, quoted};
use super::super::tree::{Entry, Node, Tree};
use crate::diagnostics::{Diagnostic, Span, Spanned};
use crate::limits::DIAGNOSTICS_MAX;

/// A map of the manifest that is being read, and what to call it.
pub(crate) struct Fields<'n> {
    /// "stage `large`", "the manifest", "`limits` of stage `large`".
    pub of: String,
    /// What to point at when something is missing.
    pub place: Span,
    pub entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    pub fn get(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| &*entry.key.value == key)
    }

    /// Whether some key here is likely `key`, misspelt: then it is not missing but wrong, which is said.
    pub fn has_likely(&self, key: &str, known: &[&str]) -> bool {
        self.entries.iter().take(LIKELY_KEYS_MAX).any(|entry| {
            let written = &*entry.key.value;
            !known.contains(&written) && nearest(written, known.iter().copied()) == Some(key)
        })
    }
}

/// Misspelt keys are looked for among so many.
const LIKELY_KEYS_MAX: usize = 64;

/// Whether there is a value at all: `key:` with nothing behind it has none.
pub(crate) fn is_nothing(node: &Node) -> bool {
    matches!(&*node.tree, Tree::Scalar { text, plain: true } if meaning(text) == Ok(serde_json::Value::Null))
}

/// The problems found so far, and the ways to find more.
pub(crate) struct Reader {
    pub problems: Vec<Diagnostic>,
}

impl Reader {
    pub fn report(&mut self, diagnostic: Diagnostic) {
        self.problems.push(diagnostic);
    }

    pub fn wrong_type(&mut self, what: &str, wanted: &str, node: &Node, help: &str) {
        let message = format!("{what} must be {wanted}, not {}", described(node));
        self.report(
            Diagnostic::new("manifest::type", message).label(node.span, format!("not {wanted}")).help(help),
        );
    }

    pub fn fields<'n>(&mut self, of: String, place: Span, node: &'n Node, help: &str) -> Option<Fields<'n>> {
        match &*node.tree {
            Tree::Map(entries) => Some(Fields { of, place, entries }),
            _ => {
                self.wrong_type(&of, "a map", node, help);
                None
            }
        }
    }

    /// One value or a list of them.
    pub fn one_or_many<'n>(&mut self, node: &'n Node) -> Vec<&'n Node> {
        match &*node.tree {
            Tree::List(items) => items.iter().collect(),
            _ => vec![node],
        }
    }

    /// The nearest of the candidates, as long as somebody will see it: comparing is slow, and of a flood of
    /// problems only the first are shown.
    pub fn nearest<'c>(
        &self,
        written: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<&'c str> {
        if self.problems.len() > DIAGNOSTICS_MAX { None } else { nearest(written, candidates) }
    }

    /// Reports the keys that are neither among these nor among those that come in a later version.
    pub fn only(&mut self, fields: &Fields<'_>, known: &[&str], later: &[&str]) {
        for entry in fields.entries {
            let key = &*entry.key.value;
            if !known.contains(&key) && !later.contains(&key) {
                let message = format!("{} is not a key of {}", quoted(key), fields.of);
                let near = self.nearest(key, known.iter().chain(later).copied());
                let help = did_you_mean(near, || format!("it can have {}", one_of(known.iter().copied())));
                let diagnostic = Diagnostic::new("manifest::unknown-key", message);
                self.report(diagnostic.label(entry.key.span, "not known here").help(help));
            }
        }
    }

    /// Any scalar, as it is written: a name may look like a number.
    pub fn text<'n>(&mut self, what: &str, node: &'n Node, help: &str) -> Option<Spanned<&'n str>> {
        match &*node.tree {
            Tree::Scalar { text, .. } if !is_nothing(node) => Some(Spanned::new(text, node.span)),
            _ => {
                self.wrong_type(what, "a text", node, help);
                None
            }
        }
    }

    pub fn amount<T>(&mut self, what: &str, node: &Node) -> Option<Spanned<T>>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text(what, node, "write a number and, where it has one, its unit")?;
        match text.value.parse() {
            Ok(value) => Some(Spanned::new(value, text.span)),
            Err(why) => {
                let message = format!("{} is not a value for {what}", quoted(text.value));
                let diagnostic = Diagnostic::new("manifest::amount", message).label(text.span, "here");
                self.report(diagnostic.help(why.to_string()));
                None
            }
        }
    }

    pub fn within<T>(&mut self, what: &str, node: &Node, least: T, most: T) -> Option<Spanned<T>>
    where
        T: FromStr<Err: Display> + PartialOrd + Display,
    {
        let amount = self.amount::<T>(what, node)?;
        if amount.value >= least && amount.value <= most {
            return Some(amount);
        }
        let message = format!("{what} cannot be {}", amount.value);
        let diagnostic =
            Diagnostic::new("manifest::out-of-range", message).label(amount.span, "out of range");
        self.report(diagnostic.help(format!("anything from {least} to {most} will do")));
        None
    }

    pub fn choice<T: Copy>(&mut self, what: &str, node: &Node, choices: &[(&str, T)]) -> Option<Spanned<T>> {
        let names = || choices.iter().map(|(name, _)| *name);
        let text = self.text(what, node, &format!("it can be {}", one_of(names())))?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text.value) {
            return Some(Spanned::new(*value, text.span));
        }
        let help =
            did_you_mean(self.nearest(text.value, names()), || format!("it can be {}", one_of(names())));
        let message = format!("{} is not a value for {what}", quoted(text.value));
        self.report(Diagnostic::new("manifest::choice", message).label(text.span, "not known").help(help));
        None
    }

    /// What the manifest can say and this version cannot do.
    pub fn not_yet(&mut self, what: &str, span: Span, help: &str) {
        let message = format!("{what} is not there yet in this version");
        self.report(Diagnostic::new("manifest::not-yet", message).label(span, "not yet").help(help));
    }
}
