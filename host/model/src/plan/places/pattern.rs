//! Which names a path or a pattern stands for, and whether two of them have one in common.

/// A path from the root on, each part of it a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(Vec<Item<Option<Name>>>);

/// The pattern of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name(Vec<Item<Set>>);

/// One thing, or any number of them one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item<T> {
    of: T,
    repeats: bool,
}

/// Characters that may stand in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Set {
    Any,
    These(Vec<(char, char)>),
    Others(Vec<(char, char)>),
}

impl PathPattern {
    /// Of these names, from the root on; none is a pattern.
    pub fn literal<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = names.into_iter().map(|name| Name::default().text(name));
        Self(names.map(|name| Item { of: Some(name), repeats: false }).collect())
    }

    /// The same with another name behind it.
    #[must_use]
    pub fn then(mut self, name: Name) -> Self {
        self.0.push(Item { of: Some(name), repeats: false });
        self
    }

    /// The same with another part behind it, in which `*`, `?`, `[a-z]` and, alone, `**` have a meaning.
    #[must_use]
    pub fn then_glob(mut self, part: &str) -> Self {
        if part == "**" {
            self.0.push(Item { of: None, repeats: true });
            return self;
        }
        self.then(Name::default().glob(part))
    }

    /// Whether there is a path that both stand for.
    pub fn meets(&self, other: &Self) -> bool {
        meet(&self.0, &other.0, |one, other| match (one, other) {
            (Some(one), Some(other)) => one.meets(other),
            _ => true,
        })
    }
}

impl Name {
    /// With this text behind it.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.0.extend(text.chars().map(|char| Item { of: Set::These(vec![(char, char)]), repeats: false }));
        self
    }

    /// With this many digits behind it, or more.
    #[must_use]
    pub fn digits(mut self, least: usize) -> Self {
        let digit = |repeats| Item { of: Set::These(vec![('0', '9')]), repeats };
        self.0.extend((0..least).map(|_| digit(false)).chain([digit(true)]));
        self
    }

    fn glob(mut self, glob: &str) -> Self {
        let mut rest = glob;
        while let Some(char) = rest.chars().next() {
            rest = &rest[char.len_utf8()..];
            let item = match char {
                '*' => Item { of: Set::Any, repeats: true },
                '?' => Item { of: Set::Any, repeats: false },
                '[' => match class(rest) {
                    Some((set, behind)) => {
                        rest = behind;
                        Item { of: set, repeats: false }
                    }
                    None => Item { of: Set::These(vec![('[', '[')]), repeats: false },
                },
                char => Item { of: Set::These(vec![(char, char)]), repeats: false },
            };
            self.0.push(item);
        }
        self
    }

    fn meets(&self, other: &Self) -> bool {
        meet(&self.0, &other.0, Set::meets)
    }
}

/// What stands between brackets, the first of which is read, and what comes behind them.
fn class(text: &str) -> Option<(Set, &str)> {
    let (is_negated, text) = match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    // A bracket in the first place is one of the characters.
    let first = text.chars().next()?.len_utf8();
    let end = first + text[first..].find(']')?;
    let mut chars: &[char] = &text[..end].chars().collect::<Vec<_>>();
    let mut ranges = Vec::new();
    while let [from, rest @ ..] = chars {
        match rest {
            ['-', to, rest @ ..] => {
                ranges.push((*from, *to));
                chars = rest;
            }
            _ => {
                ranges.push((*from, *from));
                chars = rest;
            }
        }
    }
    let set = if is_negated { Set::Others(ranges) } else { Set::These(ranges) };
    Some((set, &text[end + 1..]))
}

impl Set {
    fn meets(&self, other: &Self) -> bool {
        let has =
            |ranges: &[(char, char)], char| ranges.iter().any(|(from, to)| (*from..=*to).contains(&char));
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) | (Self::Others(_), Self::Others(_)) => true,
            (Self::These(one), Self::These(other)) => {
                let meets = |a: &(char, char)| other.iter().any(|b| a.0.max(b.0) <= a.1.min(b.1));
                one.iter().any(meets)
            }
            (Self::These(these), Self::Others(not)) | (Self::Others(not), Self::These(these)) => {
                these.iter().any(|(from, to)| (*from..=*to).any(|char| !has(not, char)))
            }
        }
    }
}

/// Whether two rows of items have something in common, where one item may stand for any number.
fn meet<T>(one: &[Item<T>], other: &[Item<T>], both: impl Fn(&T, &T) -> bool) -> bool {
    // Whether the rests from each two places on meet, from the ends on.
    let mut behind = vec![false; other.len() + 1];
    for i in (0..=one.len()).rev() {
        let mut here = vec![false; other.len() + 1];
        for j in (0..=other.len()).rev() {
            here[j] = match (one.get(i), other.get(j)) {
                (None, None) => true,
                (Some(a), None) => a.repeats && behind[j],
                (None, Some(b)) => b.repeats && here[j + 1],
                (Some(a), Some(b)) => {
                    let (skips_a, skips_b) = (a.repeats && behind[j], b.repeats && here[j + 1]);
                    skips_a
                        || skips_b
                        || both(&a.of, &b.of)
                            && match (a.repeats, b.repeats) {
                                (false, false) => behind[j + 1],
                                (true, false) => here[j + 1],
                                (false, true) => behind[j],
                                // Skipping either is enough.
                                (true, true) => false,
                            }
                }
            };
        }
        behind = here;
    }
    behind[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(glob: &str) -> PathPattern {
        glob.split('/').fold(PathPattern::literal([]), PathPattern::then_glob)
    }

    #[test]
    fn patterns_meet_where_a_name_fits_both() {
        let cases = [
            ("a/b.jsonl", "a/b.jsonl", true),
            ("a/b.jsonl", "a/c.jsonl", false),
            ("a/b.jsonl", "a/*.jsonl", true),
            ("a/b.csv", "a/*.jsonl", false),
            ("a/x/b.jsonl", "a/*.jsonl", false),
            ("a/x/b.jsonl", "a/*/b.jsonl", true),
            ("a/x/y/b.jsonl", "a/**/*.jsonl", true),
            ("a/b.jsonl", "a/**/*.jsonl", true),
            ("b/b.jsonl", "a/**/*.jsonl", false),
            ("a/**/x", "**/y/x", true),
            ("a/*.log*", "a/*.gz", true),
            ("a/x*y", "a/*z", false),
            ("a/x?z", "a/xyz", true),
            ("a/x?z", "a/xz", false),
            ("a/[a-c]", "a/b", true),
            ("a/[!a-c]", "a/b", false),
            ("a/[!a-c]", "a/[a-d]", true),
            ("a/[!a-c]", "a/[a-c]", false),
            ("a/[]]", "a/]", true),
            ("a/[", "a/[", true),
            ("a/ä*", "a/*ö", true),
        ];
        for (one, other, expected) in cases {
            assert_eq!(path(one).meets(&path(other)), expected, "{one} and {other}");
            assert_eq!(path(other).meets(&path(one)), expected, "{other} and {one}");
        }
    }

    #[test]
    fn digits_are_digits() {
        let part =
            |stem: &str| PathPattern::literal(["a"]).then(Name::default().text(stem).digits(1).text(".part"));
        assert!(part(".o.").meets(&path("a/.o.17.part")) && part(".o.").meets(&path("a/*")));
        assert!(!part(".o.").meets(&path("a/.o.part")) && !part(".o.").meets(&path("a/.o.x.part")));
        assert!(!part(".o.").meets(&part(".o.1.")), "parts of another file");
        let row = PathPattern::literal(["a"]).then(Name::default().text("o-").digits(6));
        assert!(row.meets(&path("a/o-1234567")) && !row.meets(&path("a/o-12345")));
    }
}
