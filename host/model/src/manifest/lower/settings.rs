//! What a stage is set to: its config, the declared schema, limits, and what becomes of errors.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::pipeline::{
    BatchDecl, ColumnDecl, ColumnType, Config, GrantsDecl, Isolation, KeyFrom, Limits, OnError, Retry, Role,
    SchemaDecl, TimeFrom, UnknownFields,
};
use super::super::scalar::json;
use super::super::suggest::quoted;
use super::super::tree::{Entry, Node, Tree};
use super::super::units::{Bytes, Duration, DurationRange, Fuel};
use super::read::{Fields, Reader, is_nothing};
use crate::diagnostics::{Diagnostic, Span, Spanned};
use crate::limits;

pub(in super::super) const LIMIT_KEYS: &[&str] = &[
    "memory",
    "fuel-per-record",
    "fuel-per-batch",
    "batch-time",
    "host-call-time",
    "host-call-bytes",
    "output-bytes",
    "output-ratio",
    "log-lines",
    "resources",
    "instances",
    "state-bytes",
    "record-bytes",
];
pub(in super::super) const BATCH_KEYS: &[&str] = &["records", "bytes", "delay"];
/// The smallest linear memory is one page.
const PAGE_BYTES: u64 = 64 << 10;

pub(in super::super) struct Settings {
    pub with: Config,
    pub schema: SchemaDecl,
    pub time: Spanned<TimeFrom>,
    pub unknown: Spanned<UnknownFields>,
    pub key: Option<Spanned<KeyFrom>>,
    pub limits: Limits,
    pub grants: GrantsDecl,
    pub on_error: Spanned<OnError>,
    pub retry: Retry,
    pub isolation: Isolation,
    pub batch: BatchDecl,
}

impl Settings {
    /// All defaults; `place` is what to point at for them.
    pub fn at(place: Span) -> Self {
        Self {
            with: Config { value: Map::new(), span: place, keys: BTreeMap::new() },
            schema: SchemaDecl::default(),
            time: Spanned::new(TimeFrom::Now, place),
            unknown: Spanned::new(UnknownFields::Reject, place),
            key: None,
            limits: Limits::default(),
            grants: GrantsDecl::default(),
            on_error: Spanned::new(OnError::DeadLetter, place),
            retry: Retry::default(),
            isolation: Isolation::default(),
            batch: BatchDecl::default(),
        }
    }
}

/// `place` is the stage's reference, or its name when there is none.
pub(super) fn read(
    reader: &mut Reader,
    fields: &Fields<'_>,
    role: Option<Spanned<Role>>,
    built_in: bool,
    place: Span,
) -> Settings {
    let mut settings = Settings::at(place);
    if let Some(entry) = fields.get("with") {
        settings.with = with(reader, fields, entry);
    }
    if let Some(entry) = fields.get("schema") {
        settings.schema = schema(reader, fields, entry);
    }
    if let Some(entry) = fields.get("time") {
        let what = format!("`time` of {}", fields.of);
        if let Some(text) = reader.text(&what, &entry.value, "write `now` or the name of a column") {
            settings.time = text.map(time_from);
        }
    }
    if let Some(entry) = fields.get("unknown") {
        let what = format!("`unknown` of {}", fields.of);
        settings.unknown = reader.choice(&what, &entry.value, UNKNOWN).unwrap_or(settings.unknown);
    }
    if let Some(entry) = fields.get("key") {
        let what = format!("`key` of {}", fields.of);
        let help = "write the name of a column, or a JSON pointer such as `/customer/id`";
        settings.key = reader.text(&what, &entry.value, help).map(|text| text.map(key_from));
    }
    if let Some(entry) = fields.get("limits") {
        settings.limits = limits(reader, fields, entry, role, built_in);
    }
    if let Some(entry) = fields.get("grants") {
        settings.grants = super::grants::grants(reader, fields, entry, built_in);
    }
    if let Some(entry) = fields.get("on-error") {
        let what = format!("`on-error` of {}", fields.of);
        settings.on_error = reader.choice(&what, &entry.value, ON_ERROR).unwrap_or(settings.on_error);
    }
    if let Some(entry) = fields.get("retry") {
        settings.retry = retry(reader, fields, entry);
    }
    if let Some(entry) = fields.get("isolation") {
        let what = format!("`isolation` of {}", fields.of);
        let choice = reader.choice(&what, &entry.value, ISOLATION);
        settings.isolation = choice.map_or(settings.isolation, |choice| choice.value);
        if built_in {
            let message = format!("{what} has nothing to do: a built-in connector has no instances");
            let diagnostic = Diagnostic::new("manifest::misplaced-key", message);
            reader.report(diagnostic.label(entry.key.span, "not here").help("remove it"));
        }
    }
    if let Some(entry) = fields.get("batch") {
        settings.batch = batch(reader, fields, entry);
    }
    settings
}

pub(in super::super) const UNKNOWN: &[(&str, UnknownFields)] =
    &[("reject", UnknownFields::Reject), ("ignore", UnknownFields::Ignore), ("rest", UnknownFields::Rest)];
pub(in super::super) const ON_ERROR: &[(&str, OnError)] =
    &[("dead-letter", OnError::DeadLetter), ("drop", OnError::Drop), ("fail", OnError::Fail)];

pub(in super::super) const ISOLATION: &[(&str, Isolation)] =
    &[("stage", Isolation::Stage), ("batch", Isolation::Batch)];
pub(in super::super) const RETRY_KEYS: &[&str] = &["attempts", "backoff"];

fn retry(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry) -> Retry {
    let mut retry = Retry::default();
    let of = format!("`retry` of {}", fields.of);
    let help = "such as `{ attempts: 5, backoff: 100ms..10s }`";
    let Some(map) = reader.fields(of, entry.key.span, &entry.value, help) else { return retry };
    reader.only(&map, RETRY_KEYS, &[]);
    if let Some(entry) = map.get("attempts") {
        let most = Fuel(u64::from(limits::RETRY_ATTEMPTS_MAX));
        let attempts = reader.within(&format!("`attempts` of {}", map.of), &entry.value, Fuel(1), most);
        retry.attempts = attempts.map_or(retry.attempts, |attempts| attempts.value.0 as u32);
    }
    if let Some(entry) = map.get("backoff") {
        let what = format!("`backoff` of {}", map.of);
        if let Some(backoff) = reader.amount::<DurationRange>(&what, &entry.value) {
            let most = Duration(limits::RETRY_WAIT_MAX);
            if backoff.value.to > most {
                let message = format!("{what} is longer than a stage may wait");
                let diagnostic = Diagnostic::new("manifest::out-of-range", message);
                let help = format!("at most {most}");
                reader.report(diagnostic.label(backoff.span, "out of range").help(help));
            } else {
                retry.backoff = backoff.value;
            }
        }
    }
    retry
}

fn time_from(text: &str) -> TimeFrom {
    if text == "now" { TimeFrom::Now } else { TimeFrom::Column(text.to_owned()) }
}

fn key_from(text: &str) -> KeyFrom {
    if text.starts_with('/') { KeyFrom::Pointer(text.to_owned()) } else { KeyFrom::Column(text.to_owned()) }
}

fn with(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry) -> Config {
    let mut config = Config { value: Map::new(), span: entry.key.span, keys: BTreeMap::new() };
    let what = format!("`with` of {}", fields.of);
    if is_nothing(&entry.value) {
        return config;
    }
    let help = "such as `{ path: data/orders.csv }`";
    if reader.fields(what, entry.key.span, &entry.value, help).is_none() {
        return config;
    }
    if let Value::Object(map) = json(&entry.value, &mut reader.problems) {
        config.value = map;
    }
    places(&entry.value, "", &mut config.keys);
    config
}

/// Of what lies deeper, the place of what is around it has to do.
const POINTER_BYTES_MAX: usize = 256;

/// By JSON pointer, where each key stands, and each item of a list.
fn places(node: &Node, pointer: &str, keys: &mut BTreeMap<String, Span>) {
    if pointer.len() > POINTER_BYTES_MAX {
        return;
    }
    match &*node.tree {
        Tree::Scalar { .. } => {}
        Tree::List(items) => {
            for (nth, item) in items.iter().enumerate() {
                let pointer = format!("{pointer}/{nth}");
                keys.insert(pointer.clone(), item.span);
                places(item, &pointer, keys);
            }
        }
        Tree::Map(entries) => {
            for entry in entries {
                let pointer = format!("{pointer}/{}", escaped(&entry.key));
                let span = match &*entry.value.tree {
                    // A short pair is underlined as a whole; of a long one, the key.
                    Tree::Scalar { .. } if entry.value.span.start > entry.key.span.start => Span::new(
                        entry.key.span.start,
                        entry.value.span.end().saturating_sub(entry.key.span.start),
                    ),
                    _ => entry.key.span,
                };
                keys.insert(pointer.clone(), span);
                places(&entry.value, &pointer, keys);
            }
        }
    }
}

/// One segment of a JSON pointer, RFC 6901.
pub(in super::super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn schema(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry) -> SchemaDecl {
    let mut schema = SchemaDecl { columns: Vec::new(), span: Some(entry.key.span) };
    if matches!(&*entry.value.tree, Tree::Scalar { text, .. } if text == "infer") {
        return schema;
    }
    let what = format!("`schema` of {}", fields.of);
    let help = "write `infer`, or columns with their types, such as `{ amount: float }`";
    let Some(columns) = reader.fields(what, entry.key.span, &entry.value, help) else { return schema };
    if let Some(entry) = columns.entries.get(limits::COLUMNS_MAX) {
        let message = format!("{} declares {} columns", columns.of, columns.entries.len());
        let help = format!("a stream can have {}", limits::COLUMNS_MAX);
        let diagnostic = Diagnostic::new("manifest::too-large", message);
        reader.report(diagnostic.label(entry.key.span, "one too many").help(help));
        return schema;
    }
    let infer = ("infer", None);
    let types = ColumnType::ALL.iter().map(|column_type| (column_type.as_str(), Some(*column_type)));
    let types: Vec<(&str, Option<ColumnType>)> = types.chain([infer]).collect();
    for column in columns.entries {
        let what = format!("the type of column {}", quoted(&column.key.value));
        let found = reader.choice(&what, &column.value, &types);
        schema.columns.push(ColumnDecl {
            name: Spanned::new(column.key.to_string(), column.key.span),
            column_type: found.and_then(|found| found.value.map(|value| Spanned::new(value, found.span))),
        });
    }
    schema
}

fn limits(
    reader: &mut Reader,
    fields: &Fields<'_>,
    entry: &Entry,
    role: Option<Spanned<Role>>,
    built_in: bool,
) -> Limits {
    let what = format!("`limits` of {}", fields.of);
    let help = "such as `{ memory: 64MiB, fuel-per-record: 100k, batch-time: 250ms }`";
    let Some(map) = reader.fields(what, entry.key.span, &entry.value, help) else {
        return Limits::default();
    };
    reader.only(&map, LIMIT_KEYS, &[]);
    for limit in map.entries {
        if let Some(why) = misplaced(&limit.key, role, built_in) {
            let message = format!("{} of {} {why}", quoted(&limit.key.value), map.of);
            let diagnostic = Diagnostic::new("manifest::misplaced-key", message);
            reader.report(diagnostic.label(limit.key.span, "not here").help("remove it"));
        }
    }
    let what = |key: &str| format!("`{key}` of {}", map.of);
    let mut bytes = |key: &str, least: u64, most: usize| {
        let entry = map.get(key)?;
        reader.within(&what(key), &entry.value, Bytes(least), Bytes(most as u64))
    };
    let memory = bytes("memory", PAGE_BYTES, limits::STAGE_MEMORY_BYTES_MAX);
    let host_call_bytes = bytes("host-call-bytes", 1, limits::HOST_CALL_BYTES_MAX);
    let output_bytes = bytes("output-bytes", 1, limits::OUTPUT_BYTES_MAX);
    let record_bytes = bytes("record-bytes", 1, limits::BATCH_BYTES_MAX);
    let state_bytes = bytes("state-bytes", 1, limits::STATE_BYTES_MAX as usize);
    let mut count = |key: &str, most: u64| {
        let entry = map.get(key)?;
        reader.within(&what(key), &entry.value, Fuel(1), Fuel(most))
    };
    let fuel_per_record = count("fuel-per-record", limits::FUEL_MAX);
    let fuel_per_batch = count("fuel-per-batch", limits::FUEL_MAX);
    let output_ratio = count("output-ratio", limits::OUTPUT_RATIO_MAX);
    let log_lines = count("log-lines", u64::from(limits::LOG_LINES_PER_SECOND_MAX));
    let resources = count("resources", limits::RESOURCES_GRANTED_MAX as u64);
    let instances = count("instances", u64::from(limits::INSTANCES_MAX));
    let mut time = |key: &str, least: std::time::Duration| {
        let entry = map.get(key)?;
        reader.within(&what(key), &entry.value, Duration(least), Duration(limits::BATCH_TIME_MAX))
    };
    let batch_time = time("batch-time", limits::EPOCH_TICK);
    let host_call_time = time("host-call-time", std::time::Duration::from_millis(1));
    Limits {
        memory,
        fuel_per_record,
        fuel_per_batch,
        batch_time,
        host_call_time,
        host_call_bytes,
        output_bytes,
        output_ratio,
        log_lines,
        resources,
        instances,
        state_bytes,
        record_bytes,
    }
}

/// Why a limit has no meaning for a stage.
fn misplaced(key: &str, role: Option<Spanned<Role>>, built_in: bool) -> Option<&'static str> {
    match key {
        "record-bytes" => {
            role.is_some_and(|role| role.value == Role::Sink).then_some("belongs to a source or a transform")
        }
        "state-bytes" if role.is_some_and(|role| role.value != Role::Transform) => {
            Some("belongs to a transform: sources keep their places, and sinks what they commit")
        }
        key if built_in && LIMIT_KEYS.contains(&key) => {
            Some("belongs to a component, and a built-in connector is none")
        }
        _ => None,
    }
}

fn batch(reader: &mut Reader, fields: &Fields<'_>, entry: &Entry) -> BatchDecl {
    let mut batch = BatchDecl::default();
    let what = format!("`batch` of {}", fields.of);
    let help = "such as `{ records: 4096, bytes: 4MiB, delay: 20ms }`";
    let Some(map) = reader.fields(what, entry.key.span, &entry.value, help) else { return batch };
    reader.only(&map, BATCH_KEYS, &[]);
    let what = |key: &str| format!("`{key}` of {}", map.of);
    if let Some(entry) = map.get("records") {
        let most = Fuel(limits::BATCH_RECORDS_MAX as u64);
        let records = reader.within(&what("records"), &entry.value, Fuel(1), most);
        let records = records.and_then(|records| usize::try_from(records.value.0).ok());
        batch.records = records.unwrap_or(batch.records);
    }
    if let Some(entry) = map.get("bytes") {
        let most = Bytes(limits::BATCH_BYTES_MAX as u64);
        let bytes = reader.within(&what("bytes"), &entry.value, Bytes(1), most);
        batch.bytes = bytes.map_or(batch.bytes, |bytes| bytes.value);
    }
    if let Some(entry) = map.get("delay") {
        let (least, most) = (Duration(std::time::Duration::ZERO), Duration(limits::BATCH_DELAY_MAX));
        let delay = reader.within(&what("delay"), &entry.value, least, most);
        batch.delay = delay.map_or(batch.delay, |delay| delay.value);
    }
    batch
}
