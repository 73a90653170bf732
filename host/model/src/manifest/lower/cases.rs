//! The section `tests`: what goes into a stage, and what must come out.

use std::collections::HashMap;

use serde_json::Value;

use super::super::names::Name;
use super::super::pipeline::{Expect, Role, Test, TestInput};
use super::super::scalar::json;
use super::super::suggest::{did_you_mean, one_of, quoted};
use super::super::tree::{Entry, Node, Tree};
use super::draft::Draft;
use super::name;
use super::read::{Fields, Reader};
use crate::diagnostics::{Diagnostic, Span, Spanned};

pub(in super::super) const TEST_KEYS: &[&str] = &["name", "feed", "expect"];
pub(in super::super) const RECORDS_KEYS: &[&str] = &["stage", "records"];
const TEST_HELP: &str = "a test is `{ name: ..., feed: { stage: ..., records: [...] }, expect: { stage: ..., \
                         records: [...] } }`";

pub(super) fn tests(reader: &mut Reader, drafts: &[Draft], entry: &Entry) -> Vec<Test> {
    let Tree::List(items) = &*entry.value.tree else {
        reader.wrong_type("`tests`", "a list", &entry.value, TEST_HELP);
        return Vec::new();
    };
    let tests: Vec<Test> = items.iter().filter_map(|item| test(reader, drafts, item)).collect();
    let mut named: HashMap<&str, Span> = HashMap::new();
    for test in &tests {
        if let Some(first) = named.insert(&test.name, test.name.span) {
            let message = format!("two tests are named {}", quoted(&test.name));
            reader.report(
                Diagnostic::new("manifest::duplicate-test", message)
                    .label(test.name.span, "named again here")
                    .label(first, "named here")
                    .help("give each a name of its own, so that a failure says which it was"),
            );
        }
    }
    tests
}

fn test(reader: &mut Reader, drafts: &[Draft], node: &Node) -> Option<Test> {
    let fields = reader.fields("a test".to_owned(), node.span, node, TEST_HELP)?;
    reader.only(&fields, TEST_KEYS, &[]);
    let name = required(reader, &fields, "name", TEST_KEYS)
        .and_then(|entry| reader.text("`name` of a test", &entry.value, "say what the test shows"));
    let inputs = required(reader, &fields, "feed", TEST_KEYS).map_or_else(Vec::new, |entry| {
        let nodes = reader.one_or_many(&entry.value);
        nodes.into_iter().filter_map(|node| test_input(reader, drafts, node, entry.key.span)).collect()
    });
    let expect = required(reader, &fields, "expect", TEST_KEYS).map_or_else(Vec::new, |entry| {
        let nodes = reader.one_or_many(&entry.value);
        nodes.into_iter().filter_map(|node| expect(reader, drafts, node, entry.key.span)).collect()
    });
    for (key, none) in [("feed", inputs.is_empty()), ("expect", expect.is_empty())] {
        let given = fields
            .get(key)
            .filter(|entry| matches!(&*entry.value.tree, Tree::List(items) if items.is_empty()));
        if let Some(entry) = given.filter(|_| none) {
            let diagnostic = Diagnostic::new("manifest::test", format!("`{key}` of a test names no stage"));
            reader.report(diagnostic.label(entry.key.span, "nothing here").help(TEST_HELP));
        }
    }
    Some(Test { name: name?.map(str::to_owned), inputs, expect })
}

fn test_input(reader: &mut Reader, drafts: &[Draft], node: &Node, place: Span) -> Option<TestInput> {
    let fields = reader.fields("`feed`".to_owned(), place, node, TEST_HELP)?;
    reader.only(&fields, RECORDS_KEYS, &[]);
    let stage = stage(reader, drafts, &fields, "feed");
    let records = records(reader, &fields);
    let (stage, port) = stage?;
    if port.is_some() {
        let diagnostic = Diagnostic::new("manifest::test", "records are fed to a stage, not to a port");
        reader.report(diagnostic.label(stage.span, "").help("name the stage that should get them"));
    }
    Some(TestInput { stage, records: records?.0 })
}

fn expect(reader: &mut Reader, drafts: &[Draft], node: &Node, place: Span) -> Option<Expect> {
    let fields = reader.fields("`expect`".to_owned(), place, node, TEST_HELP)?;
    reader.only(&fields, RECORDS_KEYS, &[]);
    let stage = stage(reader, drafts, &fields, "expect");
    let records = records(reader, &fields);
    let (stage, port) = stage?;
    let role = drafts[stage.value].role;
    if port.is_some() && role.is_some_and(|role| role.value == Role::Sink) {
        let diagnostic = Diagnostic::new("manifest::test", "a sink has no ports");
        reader.report(diagnostic.label(stage.span, "").help("name the sink alone"));
    }
    let (records, span) = records?;
    Some(Expect { stage, port, records, span })
}

fn stage(
    reader: &mut Reader,
    drafts: &[Draft],
    fields: &Fields<'_>,
    section: &str,
) -> Option<(Spanned<usize>, Option<Name>)> {
    let entry = required(reader, fields, "stage", RECORDS_KEYS)?;
    let what = format!("`stage` of `{section}`");
    let text = reader.text(&what, &entry.value, "give the name of a stage")?;
    let (stage, port) = match text.value.split_once('.') {
        Some((stage, port)) => (stage, Some(name(reader, "a port's name", Spanned::new(port, text.span))?)),
        None => (text.value, None),
    };
    let names = || drafts.iter().map(|draft| draft.written.value.as_str());
    let Some(index) = names().position(|name| name == stage) else {
        let message = format!("`{section}` names {}, which is no stage", quoted(stage));
        let help =
            did_you_mean(reader.nearest(stage, names()), || format!("the stages are {}", one_of(names())));
        let diagnostic = Diagnostic::new("manifest::unknown-stage", message);
        reader.report(diagnostic.label(text.span, "no such stage").help(help));
        return None;
    };
    Some((Spanned::new(index, text.span), port.map(|port| port.value)))
}

fn records(reader: &mut Reader, fields: &Fields<'_>) -> Option<(Vec<Spanned<Value>>, Span)> {
    let entry = required(reader, fields, "records", RECORDS_KEYS)?;
    let Tree::List(items) = &*entry.value.tree else {
        let what = format!("`records` of {}", fields.of);
        reader.wrong_type(&what, "a list", &entry.value, "write `[]` for none");
        return None;
    };
    let records =
        items.iter().map(|item| Spanned::new(json(item, &mut reader.problems), item.span)).collect();
    Some((records, entry.key.span))
}

fn required<'n>(reader: &mut Reader, fields: &Fields<'n>, key: &str, known: &[&str]) -> Option<&'n Entry> {
    let found = fields.get(key);
    if found.is_none() && !fields.has_likely(key, known) {
        let diagnostic = Diagnostic::new("manifest::missing", format!("{} has no `{key}`", fields.of));
        let at = fields.entries.first().map_or(fields.place, |entry| entry.key.span);
        reader.report(diagnostic.label(at, "in this one").help(TEST_HELP));
    }
    found
}
