//! From the tree to a [`Pipeline`]: the manifest as a whole.

pub(super) mod cases;
mod draft;
pub(super) mod grants;
pub(crate) mod read;
pub(super) mod settings;
pub(super) mod stage;

use crate::diagnostics::{Diagnostic, Diagnostics, SourceText, Span, Spanned};
use crate::limits::{self, MANIFEST_BYTES_MAX, STAGES_MAX};

pub(super) use self::draft::{Draft, From};
use self::read::{Reader, is_nothing};
pub(super) use self::settings::escaped;
use super::graph;
use super::names::Name;
use super::pipeline::{CheckpointDecl, Gate, OnFailure, Pipeline, Quota, Stage};
use super::suggest::quoted;
use super::tree::{self, Node, Tree};
use super::units::{Duration, Fuel, Percent};
use super::variables::Environment;

/// What a manifest is read against.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Names of the built-in sources.
    pub sources: &'a [&'a str],
    /// Names of the built-in sinks.
    pub sinks: &'a [&'a str],
    /// Looks up what `${VAR}` stands for.
    pub env: Environment<'a>,
}

pub(super) const MANIFEST_KEYS: &[&str] =
    &["pipeline", "description", "stages", "checkpoint", "deploy", "on-failure", "weight", "quota", "tests"];

const SMALLEST: &str = "the smallest is:\n  pipeline: name\n  stages:\n    in: { source: stdin }\n    out: { sink: \
                        stdout, from: in }";

/// A manifest that is wrong.
#[derive(Debug)]
pub struct Rejected {
    pub problems: Diagnostics,
    /// Its stages, where each of them stands by itself: then what is wrong is how they hang together.
    pub stages: Option<Pipeline>,
}

impl Rejected {
    fn whole(problems: Diagnostics) -> Box<Self> {
        Box::new(Self { problems, stages: None })
    }
}

/// Reads a manifest. `name` is what to call the text, its path as the user wrote it.
pub fn parse(name: &str, text: &str, context: &Context<'_>) -> Result<Pipeline, Diagnostics> {
    read(name, text, context).map_err(|rejected| rejected.problems)
}

fn read(name: &str, text: &str, context: &Context<'_>) -> Result<Pipeline, Box<Rejected>> {
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(Rejected::whole(too_large(name)));
    }
    let source = SourceText::new(name, text);
    let mut problems = Vec::new();
    let root = tree::read(text, context.env, &mut problems);
    let mut reader = Reader { problems };
    let pipeline = match root {
        Some(root) if !is_nothing(&root) => manifest(&mut reader, context, &root, &source),
        _ => {
            if reader.problems.is_empty() {
                let empty = Diagnostic::new("manifest::empty", format!("{name} says nothing"));
                reader.report(empty.label(Span::new(0, 0), "a pipeline is wanted here").help(SMALLEST));
            }
            None
        }
    };
    match (Diagnostics::check(source.clone(), reader.problems), pipeline) {
        (Err(problems), stages) => Err(Box::new(Rejected { problems, stages })),
        (Ok(()), Some(pipeline)) => Ok(pipeline),
        (Ok(()), None) => Err(Rejected::whole(unreported(source))),
    }
}

/// The same from bytes as they come from a file.
pub fn parse_bytes(name: &str, bytes: &[u8], context: &Context<'_>) -> Result<Pipeline, Box<Rejected>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => read(name, text, context),
        Err(_) if bytes.len() > MANIFEST_BYTES_MAX => Err(Rejected::whole(too_large(name))),
        Err(error) => {
            // What comes before the first bad byte is shown; nothing behind it can be.
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
            let source = SourceText::new(name, &good);
            let diagnostic = Diagnostic::new("manifest::yaml", format!("{name} is not UTF-8"))
                .label(Span::new(good.len(), 0), "what follows is not text")
                .help("is this the right file? a manifest is a text in YAML");
            Err(Rejected::whole(Diagnostics::new(source, vec![diagnostic])))
        }
    }
}

fn manifest(
    reader: &mut Reader,
    context: &Context<'_>,
    root: &Node,
    source: &SourceText,
) -> Option<Pipeline> {
    let fields = reader.fields("the manifest".to_owned(), Span::new(0, 0), root, SMALLEST)?;
    reader.only(&fields, MANIFEST_KEYS, &[]);
    let name = match fields.get("pipeline") {
        Some(entry) => {
            let text = reader.text("`pipeline`", &entry.value, "give the pipeline's name");
            text.and_then(|text| self::name(reader, "a pipeline's name", text))
        }
        None if fields.has_likely("pipeline", MANIFEST_KEYS) => None,
        None => {
            let missing = Diagnostic::new("manifest::missing", "the manifest does not name its pipeline");
            let at = fields.entries.first().map_or(fields.place, |entry| entry.key.span);
            reader.report(missing.label(at, "above this").help("add a line such as `pipeline: orders`"));
            None
        }
    };
    let description = fields
        .get("description")
        .and_then(|entry| reader.text("`description`", &entry.value, "write a text, or remove the key"));
    let on_failure = fields.get("on-failure").map(|entry| on_failure(reader, entry)).unwrap_or_default();
    let weight = fields.get("weight").map_or(limits::WEIGHT, |entry| weight(reader, entry));
    let quota = fields.get("quota").map(|entry| quota(reader, entry)).unwrap_or_default();
    let checkpoint = fields.get("checkpoint").map(|entry| checkpoint(reader, entry)).unwrap_or_default();
    let gate = fields.get("deploy").map(|entry| gate(reader, entry)).unwrap_or_default();
    let likely = fields.has_likely("stages", MANIFEST_KEYS);
    let drafts = match fields.get("stages") {
        Some(entry) => drafts(reader, context, &entry.value, entry.key.span),
        None => {
            if !likely {
                no_stages(reader, fields.entries.first().map_or(fields.place, |entry| entry.key.span));
            }
            Vec::new()
        }
    };
    let tests = match fields.get("tests") {
        Some(entry) => cases::tests(reader, &drafts, entry),
        None => Vec::new(),
    };
    let inputs = graph::link(&drafts, &mut reader.problems);
    let stages: Option<Vec<Stage>> =
        drafts.into_iter().zip(inputs).map(|(draft, from)| draft.into_stage(from)).collect();
    let description = description.map(|text| text.value.to_owned());
    let text = source.clone();
    Some(Pipeline {
        name: name?,
        description,
        stages: stages?,
        checkpoint,
        gate,
        on_failure,
        weight,
        quota,
        tests,
        text,
    })
}

fn drafts(reader: &mut Reader, context: &Context<'_>, node: &Node, key: Span) -> Vec<Draft> {
    let help = "under `stages`, each key is a stage's name, and its value says what it is";
    if is_nothing(node) || matches!(&*node.tree, Tree::Map(entries) if entries.is_empty()) {
        no_stages(reader, key);
        return Vec::new();
    }
    let Some(fields) = reader.fields("`stages`".to_owned(), key, node, help) else { return Vec::new() };
    if let Some(entry) = fields.entries.get(STAGES_MAX) {
        let message = format!("{} stages are more than a pipeline can have", fields.entries.len());
        let diagnostic = Diagnostic::new("manifest::too-large", message);
        let help = format!("it can have {STAGES_MAX}: split it into pipelines that hand on through files");
        reader.report(diagnostic.label(entry.key.span, "one too many").help(help));
        return Vec::new();
    }
    fields.entries.iter().map(|entry| stage::draft(reader, context, entry)).collect()
}

fn no_stages(reader: &mut Reader, at: Span) {
    let diagnostic = Diagnostic::new("manifest::missing", "the pipeline has no stages");
    reader.report(diagnostic.label(at, "nothing would run").help(SMALLEST));
}

pub(super) const DEPLOY_KEYS: &[&str] = &["max-reject-rate", "within"];
pub(super) const ON_FAILURE: &[(&str, OnFailure)] =
    &[("stop", OnFailure::Stop), ("continue", OnFailure::Continue)];

fn on_failure(reader: &mut Reader, entry: &tree::Entry) -> OnFailure {
    reader.choice("`on-failure`", &entry.value, ON_FAILURE).map(|choice| choice.value).unwrap_or_default()
}

fn weight(reader: &mut Reader, entry: &tree::Entry) -> u32 {
    let weight = reader.within("`weight`", &entry.value, Fuel(1), Fuel(u64::from(limits::WEIGHT_MAX)));
    weight.map_or(limits::WEIGHT, |weight| weight.value.0 as u32)
}

fn quota(reader: &mut Reader, entry: &tree::Entry) -> Quota {
    let help = "such as `{ fuel-per-second: 500M }`";
    let fields = reader.fields("`quota`".to_owned(), entry.key.span, &entry.value, help);
    let Some(fields) = fields else { return Quota::default() };
    reader.only(&fields, &["fuel-per-second"], &[]);
    let fuel = fields.get("fuel-per-second").and_then(|entry| {
        reader.within("`fuel-per-second` of `quota`", &entry.value, Fuel(1), Fuel(limits::FUEL_MAX))
    });
    Quota { fuel_per_second: fuel.map(|fuel| fuel.value) }
}

fn checkpoint(reader: &mut Reader, entry: &tree::Entry) -> CheckpointDecl {
    let help = "such as `{ interval: 1s }`";
    let default = CheckpointDecl::default();
    let fields = reader.fields("`checkpoint`".to_owned(), entry.key.span, &entry.value, help);
    let Some(fields) = fields else { return default };
    reader.only(&fields, &["interval", "timeout"], &[]);
    let (least, most) = (Duration(limits::CHECKPOINT_TIME_MIN), Duration(limits::CHECKPOINT_TIME_MAX));
    let mut time = |key: &str, otherwise: Duration| {
        let what = format!("`{key}` of `checkpoint`");
        let given = fields.get(key).and_then(|entry| reader.within(&what, &entry.value, least, most));
        given.map_or(otherwise, |given| given.value)
    };
    CheckpointDecl { interval: time("interval", default.interval), timeout: time("timeout", default.timeout) }
}

fn gate(reader: &mut Reader, entry: &tree::Entry) -> Gate {
    let help = "such as `{ max-reject-rate: 1%, within: 1m }`";
    let default = Gate::default();
    let fields = reader.fields("`deploy`".to_owned(), entry.key.span, &entry.value, help);
    let Some(fields) = fields else { return default };
    reader.only(&fields, DEPLOY_KEYS, &[]);
    let rate = fields.get("max-reject-rate").and_then(|entry| {
        reader.within("`max-reject-rate` of `deploy`", &entry.value, Percent(0), Percent(1_000_000))
    });
    let (least, most) = (Duration(limits::DEPLOY_WITHIN_MIN), Duration(limits::DEPLOY_WITHIN_MAX));
    let within = fields
        .get("within")
        .and_then(|entry| reader.within("`within` of `deploy`", &entry.value, least, most));
    Gate {
        max_reject_rate: rate.map_or(default.max_reject_rate, |rate| rate.value),
        within: within.map_or(default.within, |within| within.value),
    }
}

/// A name, or a report of why the text is none.
fn name(reader: &mut Reader, what: &str, text: Spanned<&str>) -> Option<Spanned<Name>> {
    match Name::parse(text.value) {
        Ok(name) => Some(Spanned::new(name, text.span)),
        Err(why) => {
            let message = format!("{} cannot be {what}", quoted(text.value));
            let help = match Name::nearest(text.value) {
                Some(nearest) => format!("{why}; try `{nearest}`"),
                None => why.to_string(),
            };
            reader.report(Diagnostic::new("manifest::name", message).label(text.span, "").help(help));
            None
        }
    }
}

/// How large it is nobody knows: it is not read to its end.
fn too_large(name: &str) -> Diagnostics {
    let message = format!("{name} has more than the {MANIFEST_BYTES_MAX} bytes that a manifest can have");
    let help = "is this the right file? data belongs into files that the stages read";
    Diagnostics::new(
        SourceText::new(name, ""),
        vec![Diagnostic::new("manifest::too-large", message).help(help)],
    )
}

/// Whatever keeps a pipeline from being made has been reported by then; should that ever fail to hold, the
/// user still gets an answer and not a panic.
fn unreported(source: SourceText) -> Diagnostics {
    let message = "the manifest is wrong in a way that was not told apart";
    let help = "please report this manifest as a defect of Conveyor";
    Diagnostics::new(source, vec![Diagnostic::new("manifest::unreported", message).help(help)])
}
