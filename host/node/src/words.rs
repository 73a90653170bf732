//! What is said to people, line by line.

use std::fmt;

use model::plain;

/// Lines for people. What goes into one line stays there, whoever made it up: what a terminal would obey is shown as an
/// escape, and a line break that came with it is shown with a bar in front of what follows, so that nobody else's text
/// looks like a line of ours. More lines are made by more calls alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(Vec<String>);

impl Words {
    /// Adds one line.
    pub fn push(&mut self, line: impl AsRef<str>) {
        let mut parts = line.as_ref().split('\n');
        let first = shown(parts.next().unwrap_or_default());
        let indent = first.len() - first.trim_start_matches(' ').len();
        self.0.push(first);
        self.0.extend(parts.map(|part| format!("{:indent$}  | {}", "", shown(part))));
    }

    /// Adds lines that are words already.
    pub fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Tabs are harmless within a line.
fn shown(part: &str) -> String {
    plain::lines(part).into_owned()
}

impl<T: AsRef<str>> From<T> for Words {
    fn from(line: T) -> Self {
        let mut words = Self::default();
        words.push(line);
        words
    }
}

impl<T: AsRef<str>> FromIterator<T> for Words {
    fn from_iter<I: IntoIterator<Item = T>>(lines: I) -> Self {
        let mut words = Self::default();
        lines.into_iter().for_each(|line| words.push(line));
        words
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, line) in self.0.iter().enumerate() {
            write!(f, "{}{line}", if nth == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// So that what takes several lines to explain can be a failure.
impl std::error::Error for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_a_line_makes_no_other_and_moves_no_cursor() {
        let mut words = Words::from("said: \u{1b}[2Jx\r\nerror: forged\u{2028}");
        words.push("  next: a\nb");
        words.append(["one", "two"].into_iter().collect());
        let expected = "said: \\u{1b}[2Jx\\r\n  | error: forged\\u{2028}\n  next: a\n    | b\none\ntwo";
        assert_eq!(words.to_string(), expected);
    }
}
