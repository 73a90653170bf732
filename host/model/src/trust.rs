//! The trust policy as it is written: which keys there are, and whose images they may sign.
//!
//! The text is YAML, read as manifests are: strict, with everything that is wrong told together and underlined. What is in a
//! file of a key, and whether a pattern names a repository, is for whoever knows keys and repositories
//! (`registry::trust`), who tells it over the same text.

use std::time::Duration;

use crate::convert::times;
use crate::diagnostics::{Diagnostic, Diagnostics, SourceText, Span, Spanned};
use crate::limits::{MANIFEST_BYTES_MAX, TRUST_KEYS_MAX, TRUST_RULES_MAX};
use crate::manifest::lower::read::{Fields, Reader, is_nothing};
use crate::manifest::suggest::{did_you_mean, quoted};
use crate::manifest::tree::{self, Entry, Node};

/// A trust policy, as far as its text goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDecl {
    pub text: SourceText,
    pub keys: Vec<KeyDecl>,
    pub rules: Vec<RuleDecl>,
}

/// A key, by the name that rules and messages have for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDecl {
    pub name: Spanned<String>,
    pub source: Spanned<KeySource>,
    /// From then on what it signs does not count: seconds since the Unix epoch.
    pub expires: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file, relative to the policy's directory.
    File(String),
    /// The key itself, in PEM.
    Pem(String),
}

/// What holds for the repositories that a pattern names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleDecl {
    /// `registry.example.com/acme/large`, `registry.example.com/acme/*`, `*`.
    pub pattern: Spanned<String>,
    pub verify: Verify,
    /// Which of the keys may sign, by their places in [`TrustDecl::keys`].
    pub keys: Vec<usize>,
    /// Patterns of repositories for which a signature may be as well: those that these are copies of.
    pub signed_as: Vec<Spanned<String>>,
}

/// What becomes of an image without a signature that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// It is not run.
    #[default]
    Require,
    /// It is run, and told of.
    Warn,
}

const KEYS: &[&str] = &["keys", "repositories"];
const KEY_KEYS: &[&str] = &["file", "pem", "expires"];
const RULE_KEYS: &[&str] = &["verify", "keys", "signed-as"];
const VERIFY: &[(&str, Verify)] = &[("require", Verify::Require), ("warn", Verify::Warn)];
const SMALLEST: &str = "the smallest is:\n  keys:\n    release: { file: release.pub }\n  repositories:\n    registry.example.com/acme/*: \
                        { keys: [release] }";
const KEY_HELP: &str = "such as `{ file: release.pub, expires: 2027-06-30 }`";
const RULE_HELP: &str = "such as `{ verify: require, keys: [release] }`";

/// Reads a policy. `name` is what to call the text, its path as the user wrote it.
pub fn parse(name: &str, text: &str) -> Result<TrustDecl, Diagnostics> {
    if text.len() > MANIFEST_BYTES_MAX {
        let message =
            format!("{name} has more than the {MANIFEST_BYTES_MAX} bytes that a trust policy can have");
        let diagnostic = Diagnostic::new("trust::too-large", message).help("is this the right file?");
        return Err(Diagnostics::new(SourceText::new(name, ""), vec![diagnostic]));
    }
    let source = SourceText::new(name, text);
    let mut problems = Vec::new();
    // What is trusted does not depend on the environment.
    let root = tree::read(text, &|_| None, &mut problems);
    let mut reader = Reader { problems };
    let decl = match root {
        Some(root) if !is_nothing(&root) => policy(&mut reader, &root, &source),
        _ => {
            if reader.problems.is_empty() {
                let empty = Diagnostic::new("trust::empty", format!("{name} says nothing"));
                reader.report(empty.label(Span::new(0, 0), "a trust policy is wanted here").help(SMALLEST));
            }
            None
        }
    };
    let problems = reader.problems.into_iter().map(of_a_policy).collect();
    Diagnostics::check(source.clone(), problems)?;
    decl.ok_or_else(|| {
        let message = "the policy is wrong in a way that was not told apart";
        Diagnostics::new(source, vec![Diagnostic::new("trust::unreported", message)])
    })
}

/// Problems that any YAML can have, as problems of a policy.
fn of_a_policy(mut problem: Diagnostic) -> Diagnostic {
    problem.code = match problem.code {
        "manifest::yaml" => "trust::yaml",
        "manifest::type" => "trust::type",
        "manifest::too-large" => "trust::too-large",
        "manifest::duplicate-key" => "trust::duplicate-key",
        "manifest::unknown-key" => "trust::unknown-key",
        "manifest::choice" => "trust::choice",
        other => other,
    };
    problem
}

fn policy(reader: &mut Reader, root: &Node, source: &SourceText) -> Option<TrustDecl> {
    let fields = reader.fields("the trust policy".to_owned(), Span::new(0, 0), root, SMALLEST)?;
    reader.only(&fields, KEYS, &[]);
    let mut keys = Vec::new();
    for entry in entries(reader, &fields, "keys", TRUST_KEYS_MAX) {
        keys.push(key(reader, entry));
    }
    let names: Vec<&str> = entries_of(&fields, "keys").map(|entry| &*entry.key.value).collect();
    let mut rules = Vec::new();
    for entry in entries(reader, &fields, "repositories", TRUST_RULES_MAX) {
        rules.push(rule(reader, entry, &names));
    }
    if fields.get("repositories").is_none() && !fields.has_likely("repositories", KEYS) {
        let missing =
            Diagnostic::new("trust::missing", "the policy names no repositories, so it asks for nothing");
        let at = fields.entries.first().map_or(fields.place, |entry| entry.key.span);
        reader.report(missing.label(at, "beside this").help(SMALLEST));
    }
    let (keys, rules): (Option<Vec<_>>, Option<Vec<_>>) =
        (keys.into_iter().collect(), rules.into_iter().collect());
    Some(TrustDecl { text: source.clone(), keys: keys?, rules: rules? })
}

fn entries_of<'n>(fields: &Fields<'n>, key: &str) -> impl Iterator<Item = &'n Entry> {
    let map = fields.get(key).map(|entry| &*entry.value.tree);
    let entries = match map {
        Some(tree::Tree::Map(entries)) => &entries[..],
        _ => &[],
    };
    entries.iter()
}

/// What is in the map under a key, which has so many at most.
fn entries<'n>(reader: &mut Reader, fields: &Fields<'n>, key: &str, most: usize) -> Vec<&'n Entry> {
    let Some(entry) = fields.get(key) else { return Vec::new() };
    let help = format!("under `{key}`, each key is a name, and its value says what holds for it");
    let Some(map) = reader.fields(format!("`{key}`"), entry.key.span, &entry.value, &help) else {
        return Vec::new();
    };
    if let Some(one) = map.entries.get(most) {
        let message = format!("`{key}` has {} entries; {most} are the most", map.entries.len());
        reader.report(Diagnostic::new("trust::too-large", message).label(one.key.span, "one too many"));
        return Vec::new();
    }
    map.entries.iter().collect()
}

fn key(reader: &mut Reader, entry: &Entry) -> Option<KeyDecl> {
    let name = Spanned::new(entry.key.value.to_string(), entry.key.span);
    let of = format!("key {}", quoted(&name.value));
    let fields = reader.fields(of, entry.key.span, &entry.value, KEY_HELP)?;
    reader.only(&fields, KEY_KEYS, &[]);
    let mut text = |key: &str| {
        let entry = fields.get(key)?;
        let what = format!("`{key}` of {}", fields.of);
        reader.text(&what, &entry.value, KEY_HELP).map(|text| text.map(str::to_owned))
    };
    let (file, pem, expires) = (text("file"), text("pem"), text("expires"));
    let expires = match expires {
        Some(text) => moment(reader, &fields.of, &text).map(Some),
        // It is there, and was told of.
        None if fields.get("expires").is_some() => None,
        None => Some(None),
    };
    let source = match (file, pem) {
        (Some(file), None) => file.map(KeySource::File),
        (None, Some(pem)) => pem.map(KeySource::Pem),
        (Some(_), Some(pem)) => {
            let message = format!("{} has both `file` and `pem`", fields.of);
            let both = Diagnostic::new("trust::key", message).label(pem.span, "one too many");
            reader.report(both.help("keep one of them"));
            return None;
        }
        (None, None) => {
            let is_there = ["file", "pem"]
                .iter()
                .any(|key| fields.get(key).is_some() || fields.has_likely(key, KEY_KEYS));
            if !is_there {
                let message = format!("{} does not say where the key is", fields.of);
                let missing = Diagnostic::new("trust::missing", message).label(entry.key.span, "this one");
                reader.report(missing.help(KEY_HELP));
            }
            return None;
        }
    };
    Some(KeyDecl { name, source, expires: expires? })
}

/// A point in time, or the midnight in UTC with which a day begins: seconds since the Unix epoch.
fn moment(reader: &mut Reader, of: &str, text: &Spanned<String>) -> Option<i64> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let bytes = text.value.as_bytes();
    let midnight = times::date(bytes).map(|days| i64::from(days) * DAY.as_secs() as i64);
    let moment = midnight.or_else(|| times::instant(bytes).map(|micros| micros.div_euclid(1_000_000)));
    if moment.is_none() {
        let message = format!("{} is no time at which {of} could expire", quoted(&text.value));
        let wrong = Diagnostic::new("trust::time", message).label(text.span, "here");
        reader.report(wrong.help("write a day, which begins at midnight in UTC, or a time with its zone: `2027-06-30`, `2027-06-30T12:00:00Z`"));
    }
    moment
}

fn rule(reader: &mut Reader, entry: &Entry, names: &[&str]) -> Option<RuleDecl> {
    let pattern = Spanned::new(entry.key.value.to_string(), entry.key.span);
    let of = quoted(&pattern.value);
    let fields = reader.fields(of, entry.key.span, &entry.value, RULE_HELP)?;
    reader.only(&fields, RULE_KEYS, &[]);
    let verify = match fields.get("verify") {
        Some(entry) => {
            let choice = reader.choice(&format!("`verify` of {}", fields.of), &entry.value, VERIFY);
            choice.map(|choice| choice.value)
        }
        None => Some(Verify::default()),
    };
    let Some(listed) = fields.get("keys") else {
        if !fields.has_likely("keys", RULE_KEYS) {
            let message = format!("no key may sign for {}", fields.of);
            let missing = Diagnostic::new("trust::missing", message).label(entry.key.span, "this one");
            reader.report(missing.help(RULE_HELP));
        }
        return None;
    };
    let mut keys = Vec::new();
    for name in texts(reader, &fields, listed) {
        match names.iter().position(|known| *known == name.value) {
            Some(at) => keys.push(Some(at)),
            None => {
                let near = reader.nearest(&name.value, names.iter().copied());
                let help = did_you_mean(near, || "name one of those under `keys`".to_owned());
                let message = format!("{} is no key of this policy", quoted(&name.value));
                let unknown = Diagnostic::new("trust::unknown-name", message);
                reader.report(unknown.label(name.span, "not known").help(help));
                keys.push(None);
            }
        }
    }
    if keys.is_empty() {
        let message = format!("no key may sign for {}", fields.of);
        reader.report(
            Diagnostic::new("trust::missing", message).label(listed.value.span, "no key").help(RULE_HELP),
        );
    }
    let signed_as = fields.get("signed-as").map(|entry| texts(reader, &fields, entry)).unwrap_or_default();
    Some(RuleDecl { pattern, verify: verify?, keys: keys.into_iter().collect::<Option<_>>()?, signed_as })
}

/// One text or a list of them.
fn texts(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry) -> Vec<Spanned<String>> {
    let what = format!("an entry of `{}` of {}", &*entry.key.value, fields.of);
    let nodes = reader.one_or_many(&entry.value);
    let texts = nodes.into_iter().filter_map(|node| reader.text(&what, node, RULE_HELP));
    texts.map(|text| text.map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TrustDecl, Diagnostics> {
        parse("trust.yaml", text)
    }

    #[test]
    fn a_policy_is_what_it_says() {
        let decl = read(
            "keys:\n  release: { file: keys/release.pub, expires: 2027-06-30 }\n  ops:\n    pem: |\n      \
             -----BEGIN PUBLIC KEY-----\n    expires: 2027-06-30T02:00:00+02:00\nrepositories:\n  \
             a.example:5000/acme/*: { keys: [release, ops], signed-as: b.example/acme/* }\n  '*': { verify: warn, keys: ops }\n",
        );
        let decl = decl.unwrap_or_else(|problems| panic!("{}", problems.render(100, false)));
        let expires: Vec<_> = decl.keys.iter().map(|key| key.expires).collect();
        assert_eq!(expires, [Some(1_814_313_600); 2]);
        assert_eq!(decl.keys[0].source.value, KeySource::File("keys/release.pub".to_owned()));
        assert!(matches!(&decl.keys[1].source.value, KeySource::Pem(pem) if pem.starts_with("-----BEGIN")));
        let [first, any] = &decl.rules[..] else { panic!("{:?}", decl.rules) };
        assert_eq!(
            (&*first.pattern.value, first.verify, &first.keys[..]),
            ("a.example:5000/acme/*", Verify::Require, &[0, 1][..])
        );
        assert_eq!(first.signed_as[0].value, "b.example/acme/*");
        assert_eq!((&*any.pattern.value, any.verify, &any.keys[..]), ("*", Verify::Warn, &[1][..]));
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_place() {
        let text = "keys:\n  a: { fil: a.pub }\n  b: { file: b.pub, pem: x }\n  c: { expires: 2027-06-30 }\n  \
                    d: { file: d.pub, expires: tomorrow }\n  e: e.pub\n  e: {}\nrepositories:\n  \
                    x.example/a: { verify: demand, keys: [b, z9] }\n  x.example/b: { keys: [aa] }\n  x.example/c: { keys: [] }\n  \
                    x.example/d: {}\nrepos: 1\n";
        insta::assert_snapshot!(read(text).expect_err("wrong").render(100, false));
    }

    #[test]
    fn what_is_no_policy_is_told_as_that() {
        for (text, said) in [
            ("", "says nothing"),
            ("- a\n", "the trust policy must be a map"),
            ("keys: {}\n", "names no repositories"),
            ("keys: {}\n---\nkeys: {}\n", "second document"),
            ("repositories: { a.example/b: { keys: [${KEY}] } }\n", "${KEY}"),
        ] {
            let problems = read(text).expect_err(text);
            assert!(
                problems.to_string().contains(said) || problems.render(100, false).contains(said),
                "{text:?}: {problems}"
            );
            assert!(problems.iter().all(|problem| !problem.code.is_empty()));
        }
    }

    #[test]
    fn too_many_are_refused() {
        let rules: String =
            (0..=TRUST_RULES_MAX).map(|nth| format!("  a.example/r{nth}: {{ keys: [k] }}\n")).collect();
        let text = format!("keys: {{ k: {{ file: k.pub }} }}\nrepositories:\n{rules}");
        assert!(read(&text).expect_err("too many").to_string().contains("1000 are the most"));
        let keys: String = (0..=TRUST_KEYS_MAX).map(|nth| format!("  k{nth}: {{ file: k.pub }}\n")).collect();
        assert!(
            read(&format!("keys:\n{keys}repositories: {{}}\n"))
                .expect_err("too many")
                .to_string()
                .contains("64 are the most")
        );
        assert!(read(&"#".repeat(MANIFEST_BYTES_MAX + 1)).is_err());
    }
}
