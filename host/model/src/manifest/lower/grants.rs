//! The key `grants` of a stage: what it may reach of the world outside.

use std::collections::HashMap;

use super::super::pipeline::GrantsDecl;
use super::super::suggest::quoted;
use super::super::tree::{Entry, Node, Tree};
use super::read::{Fields, Reader};
use crate::diagnostics::{Diagnostic, Span};
use crate::grants::{DirGrant, DirMode, HostGrant, guest_path, is_name};
use crate::limits::{GRANT_NAME_BYTES_MAX, GRANT_VALUE_BYTES_MAX, GRANTS_MAX};

pub(in super::super) const GRANT_KEYS: &[&str] = &["http", "env", "dirs", "secrets", "clock", "random"];
pub(in super::super) const DIR_KEYS: &[&str] = &["host", "guest", "mode"];
pub(in super::super) const DIR_MODES: &[(&str, DirMode)] =
    &[("ro", DirMode::ReadOnly), ("rw", DirMode::ReadWrite)];
const HELP: &str = "such as `{ http: [api.example.com:443], env: { REGION: eu }, secrets: [API_KEY] }`";
const HTTP_HELP: &str = "such as `[api.example.com:443]`";
const ENV_HELP: &str = "such as `{ REGION: eu }`";
const DIR_HELP: &str = "such as `[{ host: ./lookup, guest: /lookup, mode: ro }]`";
const SECRETS_HELP: &str = "such as `[API_KEY]`: their values are in no manifest";

pub(super) fn grants(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry, built_in: bool) -> GrantsDecl {
    let mut decl = GrantsDecl { span: Some(entry.key.span), ..GrantsDecl::default() };
    if built_in {
        let message = format!("`grants` belongs to a component, and {} is a built-in connector", fields.of);
        let diagnostic = Diagnostic::new("manifest::misplaced-key", message);
        let help = "remove it: a connector reaches what its config names, and nothing else";
        reader.report(diagnostic.label(entry.key.span, "not here").help(help));
    }
    let of = format!("`grants` of {}", fields.of);
    let Some(map) = reader.fields(of, entry.key.span, &entry.value, HELP) else { return decl };
    reader.only(&map, GRANT_KEYS, &[]);
    let what = |key: &str| format!("`{key}` in {}", map.of);
    if let Some(entry) = map.get("http") {
        http(reader, &what("http"), entry, &mut decl);
    }
    if let Some(entry) = map.get("env") {
        env(reader, &what("env"), entry, &mut decl);
    }
    if let Some(entry) = map.get("dirs") {
        dirs(reader, &what("dirs"), entry, &mut decl);
    }
    if let Some(entry) = map.get("secrets") {
        secrets(reader, &what("secrets"), entry, &mut decl);
    }
    let truth = [("true", true), ("false", false)];
    for (key, into) in [("clock", &mut decl.value.clock), ("random", &mut decl.value.random)] {
        if let Some(entry) = map.get(key)
            && let Some(granted) = reader.choice(&what(key), &entry.value, &truth)
        {
            *into = granted.value;
        }
    }
    decl
}

fn http(reader: &mut Reader, what: &str, entry: &Entry, decl: &mut GrantsDecl) {
    let mut seen = Seen::new(what);
    for node in items(reader, what, &entry.value, HTTP_HELP) {
        let Some(text) = reader.text(&format!("an entry of {what}"), node, HTTP_HELP) else { continue };
        match text.value.parse::<HostGrant>() {
            Ok(grant) if seen.is_new(reader, &grant.to_string(), node.span) => decl.value.http.push(grant),
            Ok(_) => {}
            Err(why) => bad(reader, text.value, "no host that can be granted", node.span, why.to_string()),
        }
    }
}

fn env(reader: &mut Reader, what: &str, entry: &Entry, decl: &mut GrantsDecl) {
    let Some(map) = reader.fields(what.to_owned(), entry.key.span, &entry.value, ENV_HELP) else { return };
    if let Some(one) = map.entries.get(GRANTS_MAX) {
        too_many(reader, what, map.entries.len(), one.key.span);
        return;
    }
    for entry in map.entries {
        let name = &*entry.key.value;
        let named = check_name(reader, name, entry.key.span);
        let value = reader.text(&format!("the value of {}", quoted(name)), &entry.value, "write a text");
        let value = value.filter(|value| is_short(reader, value.value, value.span));
        if let Some(value) = value.filter(|_| named) {
            decl.value.env.insert(name.to_owned(), value.value.to_owned());
        }
    }
}

fn dirs(reader: &mut Reader, what: &str, entry: &Entry, decl: &mut GrantsDecl) {
    let mut seen = Seen::new(what);
    for node in items(reader, what, &entry.value, DIR_HELP) {
        let of = format!("an entry of {what}");
        let Some(map) = reader.fields(of, node.span, node, DIR_HELP) else { continue };
        reader.only(&map, DIR_KEYS, &[]);
        let host = path(reader, &map, "host");
        let guest = path(reader, &map, "guest").and_then(|(text, span)| {
            let guest = guest_path(text);
            if guest.is_none() {
                let why = "a stage sees it at an absolute path without `.` and `..`, such as `/lookup`";
                bad(reader, text, "no path for a stage", span, why.to_owned());
            }
            guest.filter(|guest| seen.is_new(reader, guest, span))
        });
        let mode = map.get("mode").map_or(Some(DirMode::default()), |entry| {
            let mode = reader.choice(&format!("`mode` of {}", map.of), &entry.value, DIR_MODES);
            mode.map(|mode| mode.value)
        });
        if let (Some((host, span)), Some(guest), Some(mode)) = (host, guest, mode) {
            decl.value.dirs.push(DirGrant { host: host.to_owned(), guest, mode });
            decl.dirs.push(span);
        }
    }
}

fn path<'n>(reader: &mut Reader, map: &Fields<'n>, key: &str) -> Option<(&'n str, Span)> {
    let Some(entry) = map.get(key) else {
        if !map.has_likely(key, DIR_KEYS) {
            let diagnostic = Diagnostic::new("manifest::missing", format!("{} has no `{key}`", map.of));
            reader.report(diagnostic.label(map.place, "in this one").help(DIR_HELP));
        }
        return None;
    };
    let text = reader.text(&format!("`{key}` of {}", map.of), &entry.value, "write a path")?;
    if text.value.is_empty() || text.value.contains('\0') {
        bad(reader, text.value, "no path", text.span, "write the path of a directory".to_owned());
        return None;
    }
    is_short(reader, text.value, text.span).then_some((text.value, text.span))
}

fn secrets(reader: &mut Reader, what: &str, entry: &Entry, decl: &mut GrantsDecl) {
    let mut seen = Seen::new(what);
    for node in items(reader, what, &entry.value, SECRETS_HELP) {
        let Some(text) = reader.text(&format!("an entry of {what}"), node, SECRETS_HELP) else { continue };
        if check_name(reader, text.value, node.span) && seen.is_new(reader, text.value, node.span) {
            decl.value.secrets.push(text.value.to_owned());
            decl.secrets.push(node.span);
        }
    }
}

/// The items of a list that is not too long.
fn items<'n>(reader: &mut Reader, what: &str, node: &'n Node, help: &str) -> &'n [Node] {
    match &*node.tree {
        Tree::List(items) => match items.get(GRANTS_MAX) {
            Some(one) => {
                too_many(reader, what, items.len(), one.span);
                &[]
            }
            None => items,
        },
        _ => {
            reader.wrong_type(what, "a list", node, help);
            &[]
        }
    }
}

fn too_many(reader: &mut Reader, what: &str, count: usize, at: Span) {
    let diagnostic = Diagnostic::new("manifest::too-large", format!("{what} has {count} entries"));
    reader.report(diagnostic.label(at, "one too many").help(format!("it can have {GRANTS_MAX}")));
}

fn check_name(reader: &mut Reader, name: &str, at: Span) -> bool {
    if is_name(name) {
        return true;
    }
    let why = format!(
        "letters, digits and `_`, at most {GRANT_NAME_BYTES_MAX} of them, and no digit first: `API_KEY`"
    );
    bad(reader, name, "no name of a variable or a secret", at, why);
    false
}

fn is_short(reader: &mut Reader, text: &str, at: Span) -> bool {
    let short = text.len() <= GRANT_VALUE_BYTES_MAX;
    if !short {
        let message = format!("a text of `grants` has {} bytes", text.len());
        let diagnostic = Diagnostic::new("manifest::too-large", message).label(at, "too long");
        reader.report(diagnostic.help(format!("it can have {GRANT_VALUE_BYTES_MAX}")));
    }
    short
}

fn bad(reader: &mut Reader, text: &str, what: &str, at: Span, why: String) {
    let diagnostic = Diagnostic::new("manifest::grant", format!("{} is {what}", quoted(text)));
    reader.report(diagnostic.label(at, "here").help(why));
}

/// What one list has granted so far.
struct Seen<'w> {
    what: &'w str,
    spans: HashMap<String, Span>,
}

impl<'w> Seen<'w> {
    fn new(what: &'w str) -> Self {
        Self { what, spans: HashMap::new() }
    }

    fn is_new(&mut self, reader: &mut Reader, key: &str, at: Span) -> bool {
        let Some(first) = self.spans.insert(key.to_owned(), at) else { return true };
        let diagnostic =
            Diagnostic::new("manifest::duplicate-grant", format!("{} has {} twice", self.what, quoted(key)));
        reader.report(diagnostic.label(at, "again here").label(first, "here").help("keep one of them"));
        false
    }
}
