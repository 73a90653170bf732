//! Several JSON pointers (RFC 6901) looked for in one walk.

use crate::{Malformed, Result, Value, Walk};

/// A set of pointers, as a tree of the names in them.
#[derive(Debug, Clone, Default)]
pub struct Pointers {
    root: Branch,
    count: usize,
}

#[derive(Debug, Clone, Default)]
struct Branch {
    /// Which of the pointers end here.
    ends: Vec<usize>,
    children: Vec<(Box<str>, Branch)>,
}

/// What each pointer found in one text; none where there is nothing.
#[derive(Debug, Clone, Default)]
pub struct Found<'t>(Vec<Option<Value<'t>>>);

impl Pointers {
    /// Adds a pointer and answers with its number; none where it is none.
    pub fn add(&mut self, pointer: &str) -> Option<usize> {
        let mut branch = &mut self.root;
        if !pointer.is_empty() {
            for part in pointer.strip_prefix('/')?.split('/') {
                branch = branch.child(part.replace("~1", "/").replace("~0", "~"));
            }
        }
        branch.ends.push(self.count);
        self.count += 1;
        Some(self.count - 1)
    }

    /// Looks for all of them in a text that is one JSON value, all of which is checked. Of members of one name
    /// the last counts.
    pub fn find<'t>(&self, bytes: &'t [u8], found: &mut Found<'t>) -> Result<()> {
        found.0.clear();
        found.0.resize(self.count, None);
        let mut walk = Walk::new(bytes)?;
        self.root.walk(&mut walk, 0, &mut found.0)?;
        walk.end()
    }
}

impl<'t> Found<'t> {
    pub fn get(&self, pointer: usize) -> Option<Value<'t>> {
        self.0.get(pointer).copied().flatten()
    }

    /// As if there were nothing at all.
    pub fn nothing(&mut self) {
        self.0.fill(None);
    }
}

impl Branch {
    fn child(&mut self, name: String) -> &mut Branch {
        let known = self.children.iter().position(|(known, _)| **known == *name);
        let index = known.unwrap_or_else(|| {
            self.children.push((name.into(), Branch::default()));
            self.children.len() - 1
        });
        &mut self.children[index].1
    }

    fn walk<'t>(&self, walk: &mut Walk<'t>, depth: usize, found: &mut [Option<Value<'t>>]) -> Result<()> {
        walk.blanks();
        let start = walk.at;
        let value = match walk.peek() {
            Some(b'{') if !self.children.is_empty() => {
                walk.at += 1;
                self.forget(found);
                walk.object(depth, |walk, name, depth| {
                    match self.children.iter().find(|(wanted, _)| name.is(wanted)) {
                        Some((_, child)) => child.walk(walk, depth, found),
                        None => walk.skip(depth),
                    }
                })?;
                Value::Object(&walk.text[start..walk.at])
            }
            Some(b'[') if !self.children.is_empty() => {
                walk.at += 1;
                self.forget(found);
                walk.list(depth, |walk, index, depth| {
                    let plain = |name: &str| name == "0" || !name.starts_with(['0', '+']);
                    let wanted = |name: &str| plain(name) && name.parse() == Ok(index);
                    match self.children.iter().find(|(name, _)| wanted(name)) {
                        Some((_, child)) => child.walk(walk, depth, found),
                        None => walk.skip(depth),
                    }
                })?;
                Value::List(&walk.text[start..walk.at])
            }
            _ => {
                self.forget(found);
                walk.value(depth)?
            }
        };
        self.ends.iter().for_each(|end| found[*end] = Some(value));
        Ok(())
    }

    /// What an earlier member of the same name held is not there.
    fn forget(&self, found: &mut [Option<Value<'_>>]) {
        for (_, child) in &self.children {
            child.ends.iter().for_each(|end| found[*end] = None);
            child.forget(found);
        }
    }
}

impl Malformed {
    /// Short and stable, for rejections.
    pub const CODE: &'static str = "bad-json";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pointers_are_found_in_one_walk() {
        let text =
            br#" {"user":{"country":"DE","tags":[1,{"x":true}],"a/b":5,"~":6},"amount":7,"user2":null,"":8,
            "esc\u0061pe":9} "#;
        for (pointer, wanted) in [
            ("/user/country", Some("a text")),
            ("/user/tags/1/x", Some("a truth value")),
            ("/user/tags/0", Some("a number")),
            ("/user/tags/2", None),
            ("/user/tags/00", None),
            ("/user/tags", Some("a list")),
            ("/user/a~1b", Some("a number")),
            ("/user/~0", Some("a number")),
            ("/amount", Some("a number")),
            ("/amount/x", None),
            ("/user2", Some("null")),
            ("/", Some("a number")),
            ("/escape", Some("a number")),
            ("", Some("an object")),
            ("/nothing/at/all", None),
        ] {
            let mut pointers = Pointers::default();
            pointers.add("/user").unwrap();
            let number = pointers.add(pointer).unwrap();
            let mut found = Found::default();
            pointers.find(text, &mut found).unwrap();
            assert_eq!(found.get(number).map(Value::name), wanted, "{pointer}");
            assert_eq!(found.get(0).map(Value::name), Some("an object"));
        }
        assert_eq!(Pointers::default().add("user"), None);
    }

    #[test]
    fn of_two_members_of_one_name_the_last_counts() {
        let mut pointers = Pointers::default();
        pointers.add("/a/b").unwrap();
        let mut found = Found::default();
        for (text, wanted) in [
            (r#"{"a":{"b":1},"a":{"b":2}}"#, Some(Value::Number("2"))),
            (r#"{"a":{"b":1},"a":{}}"#, None),
            (r#"{"a":{"b":1},"a":5}"#, None),
        ] {
            pointers.find(text.as_bytes(), &mut found).unwrap();
            assert_eq!(found.get(0), wanted, "{text}");
        }
    }

    #[test]
    fn what_nobody_looks_for_is_checked_too() {
        let mut pointers = Pointers::default();
        pointers.add("/a").unwrap();
        let mut found = Found::default();
        let bad = pointers.find(br#"{"a":1,"b":[1,2}"#, &mut found);
        assert_eq!(bad, Err(Malformed::Missing { wanted: "`,` or `]`", at: 15 }));
    }
}
