//! One stage: its role, its reference, its inputs, and which keys may stand beside them.

use std::collections::HashMap;

use super::super::names::Name;
use super::super::pipeline::{Role, StageRef};
use super::super::reference::{self, Unfit};
use super::super::suggest::{did_you_mean, one_of, quoted};
use super::super::tree::{Entry, Node};
use super::super::units::Fuel;
use super::draft::{Draft, From};
use super::read::{Fields, Reader, is_nothing};
use super::settings::{self, Settings};
use super::{Context, name};
use crate::diagnostics::{Diagnostic, Span, Spanned};
use crate::limits::INPUTS_MAX;

pub(in super::super) const STAGE_KEYS: &[&str] = &[
    "source",
    "transform",
    "sink",
    "from",
    "with",
    "schema",
    "time",
    "unknown",
    "key",
    "limits",
    "grants",
    "on-error",
    "retry",
    "isolation",
    "batch",
    "buffer",
    "replicas",
];
/// Known, and refused in this version.
const LATER_KEYS: &[&str] = &["partition", "place"];
const ROLES: [Role; 3] = [Role::Source, Role::Transform, Role::Sink];
const STAGE_HELP: &str =
    "a stage says what it is, such as `{ source: file }` or `{ sink: stdout, from: orders }`";

pub(super) fn draft(reader: &mut Reader, context: &Context<'_>, entry: &Entry) -> Draft {
    let written = Spanned::new(entry.key.value.to_string(), entry.key.span);
    let valid = name(reader, "a stage's name", Spanned::new(&entry.key.value, entry.key.span));
    let of = format!("stage {}", quoted(&written.value));
    let mut draft = Draft {
        name: valid.map(|name| name.value),
        role: None,
        reference: None,
        from: None,
        settings: Settings::at(written.span),
        written,
    };
    let Some(fields) = reader.fields(of, entry.key.span, &entry.value, STAGE_HELP) else { return draft };
    let known = [STAGE_KEYS, LATER_KEYS].concat();
    reader.only(&fields, STAGE_KEYS, LATER_KEYS);
    draft.role = role(reader, &fields, &known);
    draft.reference = draft.role.and_then(|role| reference(reader, context, &fields, role));
    draft.from = from(reader, &fields, draft.role, &known);
    misplaced(reader, &fields, draft.role);
    unknown_alone(reader, &fields, draft.role);
    later(reader, &fields);
    let built_in = matches!(draft.reference.as_deref(), Some(StageRef::BuiltIn(_)));
    let place = draft.reference.as_ref().map_or(draft.written.span, |reference| reference.span);
    draft.settings = settings::read(reader, &fields, draft.role, built_in, place);
    draft
}

fn role(reader: &mut Reader, fields: &Fields<'_>, known: &[&str]) -> Option<Spanned<Role>> {
    let found: Vec<Spanned<Role>> = ROLES
        .iter()
        .filter_map(|role| fields.get(role.as_str()).map(|entry| Spanned::new(*role, entry.key.span)))
        .collect();
    match found.as_slice() {
        [one] => Some(*one),
        [] => {
            if !ROLES.iter().any(|role| fields.has_likely(role.as_str(), known)) {
                let message = format!("{} does not say what it is", fields.of);
                let diagnostic = Diagnostic::new("manifest::role", message);
                let help = "give it one of `source`, `transform` or `sink`";
                reader.report(diagnostic.label(fields.place, "what is this?").help(help));
            }
            None
        }
        several => {
            let names = one_of(several.iter().map(|role| role.as_str())).replace(" or ", " and ");
            let mut diagnostic =
                Diagnostic::new("manifest::role", format!("{} cannot be {names} at once", fields.of));
            for role in several {
                diagnostic = diagnostic.label(role.span, format!("a {role}?"));
            }
            reader.report(diagnostic.help("keep one, and make the others stages of their own"));
            None
        }
    }
}

fn reference(
    reader: &mut Reader,
    context: &Context<'_>,
    fields: &Fields<'_>,
    role: Spanned<Role>,
) -> Option<Spanned<StageRef>> {
    let key = role.as_str();
    let node = &fields.get(key)?.value;
    let what = format!("`{key}` of {}", fields.of);
    let text = reader.text(&what, node, "name a built-in connector or the path of a component")?;
    let built_in: &[&str] = match role.value {
        Role::Source => context.sources,
        Role::Transform => &[],
        Role::Sink => context.sinks,
    };
    match reference::parse(text.value, built_in) {
        Ok(reference) => Some(Spanned::new(reference, text.span)),
        Err(unfit) => {
            let (message, help) = match unfit {
                Unfit::Nothing => (
                    format!("{} is neither a path, a reference nor a built-in {key}", quoted(text.value)),
                    reference_help(reader, context, role.value, built_in, text.value),
                ),
                Unfit::NoVersion => (
                    format!("{} does not say which version is meant", quoted(text.value)),
                    format!(
                        "add a tag, such as `{0}:1.0.0`, or a digest; `conveyor registry list {0}` lists the tags",
                        text.value
                    ),
                ),
                Unfit::Digest(error) => (
                    format!("{} names no digest that there can be", quoted(text.value)),
                    format!("{error}; `conveyor inspect` of a tag shows its digest"),
                ),
            };
            let diagnostic =
                Diagnostic::new("manifest::reference", message).label(text.span, "what is this?");
            reader.report(diagnostic.help(help));
            None
        }
    }
}

fn reference_help(
    reader: &Reader,
    context: &Context<'_>,
    role: Role,
    built_in: &[&str],
    text: &str,
) -> String {
    let elsewhere = [(Role::Source, context.sources), (Role::Sink, context.sinks)];
    if let Some((other, _)) = elsewhere.iter().find(|(_, names)| names.contains(&text)) {
        return format!("`{text}` is a built-in {other}, and this stage is a {role}");
    }
    if let Some((scheme, rest)) = text.split_once("://").filter(|(_, rest)| reference::is_oci(rest)) {
        return format!("write it without `{scheme}://`: `{rest}`");
    }
    did_you_mean(reader.nearest(text, built_in.iter().copied()), || {
        let paths = "a path begins with `./`, `../` or `/`, or ends in `.wasm`; a reference begins with the host of \
                     its registry, such as `registry.example/acme/large:1.2.0`";
        if built_in.is_empty() {
            return paths.to_owned();
        }
        format!("built in are {}; {paths}", one_of(built_in.iter().copied()).replace(" or ", " and "))
    })
}

fn from(
    reader: &mut Reader,
    fields: &Fields<'_>,
    role: Option<Spanned<Role>>,
    known: &[&str],
) -> Option<Vec<From>> {
    let source = role.is_some_and(|role| role.value == Role::Source);
    match fields.get("from") {
        None if source => Some(Vec::new()),
        None => {
            if let Some(role) = role.filter(|_| !fields.has_likely("from", known)) {
                missing_from(reader, fields, role);
            }
            None
        }
        Some(entry) if source => {
            let message = format!("{} is a source, and a source reads from no stage", fields.of);
            let help = "remove `from`, or make the stage a `transform` or a `sink`";
            let diagnostic = Diagnostic::new("manifest::from-on-source", message);
            reader.report(diagnostic.label(entry.key.span, "not here").help(help));
            Some(Vec::new())
        }
        Some(entry) => {
            let items = reader.one_or_many(&entry.value);
            if items.is_empty() || is_nothing(&entry.value) {
                if let Some(role) = role {
                    missing_from(reader, fields, Spanned::new(role.value, entry.key.span));
                }
                return None;
            }
            if let Some(item) = items.get(INPUTS_MAX) {
                let message = format!("{} reads {} times from others", fields.of, items.len());
                let help = format!("it can read {INPUTS_MAX}: join some of them in a stage before it");
                let diagnostic = Diagnostic::new("manifest::too-large", message);
                reader.report(diagnostic.label(item.span, "one too many").help(help));
                return None;
            }
            let inputs: Vec<Option<From>> =
                items.into_iter().map(|item| from_entry(reader, fields, item)).collect();
            let complete: Option<Vec<From>> = inputs.into_iter().collect();
            complete.inspect(|inputs| given_twice(reader, fields, inputs))
        }
    }
}

fn missing_from(reader: &mut Reader, fields: &Fields<'_>, role: Spanned<Role>) {
    let message = format!("{} is a {}, and does not say what it reads", fields.of, role.value);
    let help = "add `from:` with the name of a stage, or with a list of names";
    reader.report(
        Diagnostic::new("manifest::missing-from", message).label(role.span, "reads nothing").help(help),
    );
}

fn from_entry(reader: &mut Reader, fields: &Fields<'_>, node: &Node) -> Option<From> {
    let what = format!("`from` of {}", fields.of);
    let text = reader.text(&what, node, "give the name of a stage, such as `orders` or `split.port`")?;
    // Only a plain entry has its parts at known places: a quoted one may be escaped.
    let part = |start: usize, len: usize| match text.span.len == text.value.len() {
        true => Span::new(text.span.start + start, len),
        false => text.span,
    };
    let (stage, port) = match text.value.split_once('.') {
        Some((stage, port)) => {
            let place = part(stage.len() + 1, port.len());
            (stage, Some(name(reader, "a port's name", Spanned::new(port, place))?.value))
        }
        None => (text.value, None),
    };
    Some(From { stage: stage.to_owned(), stage_span: part(0, stage.len()), port, span: text.span })
}

fn given_twice(reader: &mut Reader, fields: &Fields<'_>, inputs: &[From]) {
    let mut given: HashMap<(&str, Option<&str>), &From> = HashMap::new();
    for input in inputs {
        let port = input.port.as_ref().map(|port| port.as_str());
        let first = *given.entry((&input.stage, port)).or_insert(input);
        if !std::ptr::eq(first, input) {
            let port = input.port.as_ref().map_or(String::new(), |port: &Name| format!(".{port}"));
            let message = format!("{} reads `{}{port}` twice", fields.of, input.stage);
            reader.report(
                Diagnostic::new("manifest::duplicate-input", message)
                    .label(input.span, "given again here")
                    .label(first.span, "first given here")
                    .help("keep one of them"),
            );
        }
    }
}

/// Keys that only some roles have.
fn misplaced(reader: &mut Reader, fields: &Fields<'_>, role: Option<Spanned<Role>>) {
    let Some(role) = role else { return };
    let rules: &[(&str, &[Role])] = &[
        ("time", &[Role::Source]),
        ("batch", &[Role::Source]),
        ("key", &[Role::Source, Role::Transform]),
        ("buffer", &[Role::Transform, Role::Sink]),
    ];
    for (key, roles) in rules {
        if let Some(entry) = fields.get(key).filter(|_| !roles.contains(&role.value)) {
            let owners = roles.iter().map(|role| format!("a {role}")).collect::<Vec<_>>().join(" or ");
            let message = format!("`{key}` belongs to {owners}, and {} is a {role}", fields.of);
            let diagnostic = Diagnostic::new("manifest::misplaced-key", message);
            reader.report(
                diagnostic
                    .label(entry.key.span, "not here")
                    .label(role.span, format!("a {role}"))
                    .help(format!("remove it, or move it to {owners}")),
            );
        }
    }
}

/// Away from a source, `unknown` is about records that are parsed, and without a schema none is.
fn unknown_alone(reader: &mut Reader, fields: &Fields<'_>, role: Option<Spanned<Role>>) {
    let elsewhere = role.is_some_and(|role| role.value != Role::Source);
    if let Some(entry) = fields.get("unknown").filter(|_| elsewhere && fields.get("schema").is_none()) {
        let message = format!("`unknown` goes with `schema`, and {} has none", fields.of);
        let diagnostic = Diagnostic::new("manifest::misplaced-key", message);
        let help = "remove it, or say with `schema` which fields the records have";
        reader.report(diagnostic.label(entry.key.span, "has nothing to do").help(help));
    }
}

/// What this version knows and does not do.
fn later(reader: &mut Reader, fields: &Fields<'_>) {
    for key in LATER_KEYS {
        if let Some(entry) = fields.get(key) {
            reader.not_yet(&format!("`{key}`"), entry.key.span, "remove it");
        }
    }
    if let Some(entry) = fields.get("buffer") {
        let what = format!("`buffer` of {}", fields.of);
        let choice = reader.choice(&what, &entry.value, &[("memory", false), ("disk", true)]);
        if choice.is_some_and(|disk| disk.value) {
            reader.not_yet("`buffer: disk`", entry.value.span, "remove it: edges are in memory for now");
        }
    }
    if let Some(entry) = fields.get("replicas") {
        let what = format!("`replicas` of {}", fields.of);
        let replicas = reader.within(&what, &entry.value, Fuel(1), Fuel(1024));
        if replicas.is_some_and(|replicas| replicas.value > Fuel(1)) {
            reader.not_yet("`replicas` above 1", entry.value.span, "write 1, or remove it");
        }
    }
}
