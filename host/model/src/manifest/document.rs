//! The manifest's shape for editors: a JSON Schema, generated from types that mirror what the parser takes.
//!
//! The types are never filled. They are here so that the schema has one source that a compiler reads, and the
//! tests hold them to the parser's own lists of keys. What this version refuses is not in the schema.

// Only their schemas are used.
#![allow(dead_code)]

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use crate::limits::{GRANTS_MAX, NAME_CHARS_MAX, STAGES_MAX};

/// The JSON Schema of a manifest, draft 2020-12.
pub fn json_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Manifest>();
    present(&mut schema);
    schema.to_value()
}

/// A pipeline of stages: sources, transforms and sinks.
#[derive(JsonSchema)]
#[schemars(title = "Conveyor pipeline", deny_unknown_fields, rename_all = "kebab-case")]
struct Manifest {
    /// The pipeline's name.
    pipeline: NameText,
    /// What the pipeline is for.
    description: Option<String>,
    /// The stages by name, in the order in which they are shown.
    #[schemars(transform = bounded_stages)]
    stages: BTreeMap<String, Stage>,
    /// What a failed stage does to the pipeline.
    on_failure: Option<OnFailure>,
    /// The pipeline's share of a busy machine, against the weights of the others: 100 unless set.
    #[schemars(range(min = 1, max = 10000))]
    weight: Option<u32>,
    /// What the pipeline may use up.
    quota: Option<Quota>,
    /// How often `run --state` takes a checkpoint.
    checkpoint: Option<Checkpoint>,
    /// When a revision that is deployed over another is given up, and the other goes on.
    deploy: Option<Deploy>,
    /// Checks that `conveyor test` runs.
    tests: Option<Vec<Test>>,
}

/// One stage: exactly one of `source`, `transform` and `sink` says what it is.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", transform = one_role)]
struct Stage {
    /// Makes records: a built-in source such as `file`, a directory, a `.wasm` file, or a reference
    /// into a registry.
    source: Option<String>,
    /// Takes and gives records: a directory, a `.wasm` file, or a reference into a registry, such as
    /// `registry.example/acme/large:1.2.0`.
    transform: Option<String>,
    /// Takes records out: a built-in sink such as `file`, a directory, a `.wasm` file, or a reference
    /// into a registry.
    sink: Option<String>,
    /// What the stage reads: `stage`, `stage.port`, or a list of these.
    from: Option<OneOrMany<String>>,
    /// Config, handed to the stage's `open`.
    with: Option<BTreeMap<String, Value>>,
    /// Of a source: the columns that are known beforehand, or `infer`; the rest is taken as found. Of any
    /// other stage: the columns that are in the opaque records that come to it.
    schema: Option<Columns>,
    /// Sources: event time, a column or `now`.
    time: Option<String>,
    /// Goes with `schema`: what becomes of a field that is neither in it nor found in the first rows of a source.
    unknown: Option<Unknown>,
    /// The column, or the JSON pointer, that sets a record's key.
    key: Option<Scalar>,
    /// Bounds on what the stage may use.
    limits: Option<Limits>,
    /// Components: what the stage may reach of the world outside. Nothing else is.
    grants: Option<Grants>,
    /// What becomes of a record that the stage refuses.
    on_error: Option<OnError>,
    /// How long the stage is tried again when it asks for that, or keeps dying.
    retry: Option<Retry>,
    /// Whether an instance takes many batches or one.
    isolation: Option<Isolation>,
    /// Sources: when a batch is closed.
    batch: Option<Batch>,
    /// Where records wait between the stage and what it reads.
    buffer: Option<Buffer>,
    /// How many of the stage run at a time: one, in this version.
    #[schemars(range(min = 1, max = 1))]
    replicas: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Limits {
    /// Linear memories and tables of one instance: `64MiB`.
    memory: Option<Size>,
    /// Fuel for each record: `100k`. An instruction costs about one.
    fuel_per_record: Option<Count>,
    /// Fuel for a batch beside what its records are worth: `50M`.
    fuel_per_batch: Option<Count>,
    /// The stage's own running time for one batch: `250ms`.
    batch_time: Option<DurationText>,
    /// The longest that one call of the stage into the host may take: `5s` unless set.
    host_call_time: Option<DurationText>,
    /// Bytes that the stage may hand over in one call into the host: `4MiB` unless set.
    host_call_bytes: Option<Size>,
    /// Bytes of one answer: `64MiB` unless set.
    output_bytes: Option<Size>,
    /// Bytes of one answer for each byte that came in: 1000 unless set; 1 MiB is granted in any case.
    output_ratio: Option<Count>,
    /// Log lines in a second: 100 unless set; the rest is counted and dropped.
    log_lines: Option<Count>,
    /// Handles to things of the host that are open at once: 256 unless set.
    resources: Option<Count>,
    /// Instances that are alive at once: 8 unless set.
    instances: Option<Count>,
    /// Transforms that keep state: all of it, `16GiB` unless set; without `--state` it is in memory, `256MiB` at most.
    state_bytes: Option<Size>,
    /// Sources and transforms: the longest single record that they make; a longer one is refused.
    record_bytes: Option<Size>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Grants {
    /// Hosts that it may send HTTP requests to: `api.example.com:443`, `10.0.0.5:8080`, `10.1.0.0/16:8080`.
    #[schemars(length(max = GRANTS_MAX))]
    http: Option<Vec<String>>,
    /// Environment variables, with their values.
    #[schemars(extend("maxProperties" = GRANTS_MAX))]
    env: Option<BTreeMap<String, Scalar>>,
    /// Directories of this machine, as the stage sees them.
    #[schemars(length(max = GRANTS_MAX))]
    dirs: Option<Vec<Directory>>,
    /// Names of the secrets that it may read.
    #[schemars(length(max = GRANTS_MAX))]
    secrets: Option<Vec<Secret>>,
    /// The time as it is; without it the wall clock stands still.
    clock: Option<bool>,
    /// True random numbers; without it they repeat from run to run.
    random: Option<bool>,
}

/// Letters, digits and `_`.
#[derive(JsonSchema)]
#[schemars(transparent, inline)]
struct Secret(#[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))] String);

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Directory {
    /// The directory on this machine, relative to the manifest.
    host: String,
    /// Where the stage sees it: an absolute path.
    #[schemars(regex(pattern = r"^/"))]
    guest: String,
    /// `ro` unless set.
    mode: Option<DirMode>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum DirMode {
    /// It can be read.
    Ro,
    /// It can be read and written.
    Rw,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Batch {
    /// At most so many records: 1024 unless set.
    records: Option<Count>,
    /// At most so many bytes of values: `1MiB` unless set.
    bytes: Option<Size>,
    /// The first record waits at most so long for others: `5ms` unless set.
    delay: Option<DurationText>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Test {
    /// What the test shows.
    name: Scalar,
    /// Records that are put into stages.
    feed: OneOrMany<Records>,
    /// Records that must come out, in this order.
    expect: OneOrMany<Records>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Records {
    /// The stage; in `expect` also `stage.port`.
    stage: String,
    /// Rows as maps, or opaque records as texts.
    records: Vec<Value>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Quota {
    /// Fuel of all its stages together in a second, averaged: `500M`.
    fuel_per_second: Option<Count>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Checkpoint {
    /// From one to the next: 1s unless set, 10ms to 24h. What a crash makes the pipeline do again is about this much.
    interval: Option<DurationText>,
    /// When one that is not done is told of: 1m unless set. It goes on, whatever it takes.
    timeout: Option<DurationText>,
}

/// A new revision that fails, or refuses more than this, is given up, and the one before goes on.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Deploy {
    /// Of the records that its sources gave, once there are 1,000 of them: `1%` unless set.
    max_reject_rate: Option<PercentText>,
    /// How long it is watched from its start: 1m unless set, 1s to 24h.
    within: Option<DurationText>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Retry {
    /// Tries after the first, before the stage counts as failed: 10 unless set.
    #[schemars(range(min = 1, max = 1000))]
    attempts: Option<u32>,
    /// The first wait and the longest: `100ms..10s` unless set.
    backoff: Option<RangeText>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Isolation {
    /// An instance takes many batches.
    Stage,
    /// Each batch gets a fresh one.
    Batch,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum OnFailure {
    /// All of the pipeline stops.
    Stop,
    /// The branch that cannot go on is cut, and what it would have got is counted.
    Continue,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum OnError {
    /// It goes to the dead letters.
    DeadLetter,
    /// It is counted and gone.
    Drop,
    /// The pipeline ends.
    Fail,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Unknown {
    /// The record is rejected.
    Reject,
    /// The field is dropped.
    Ignore,
    /// The field goes into the JSON column `rest`.
    Rest,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Buffer {
    /// In memory.
    Memory,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum ColumnType {
    Bool,
    Int,
    Float,
    Text,
    /// A point in time: its text has `Z` or an offset. Where all texts at the beginning have none, as
    /// `local-timestamp`.
    Timestamp,
    /// A date and a time of day without a zone.
    LocalTimestamp,
    Date,
    Bytes,
    Json,
    /// The column must be there; its type is as found.
    Infer,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Infer {
    Infer,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Columns {
    Inferred(Infer),
    Declared(BTreeMap<String, ColumnType>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(#[schemars(length(min = 1))] Vec<T>),
}

/// Letters a to z, digits and `-`.
#[derive(JsonSchema)]
#[schemars(transparent, inline)]
struct NameText(#[schemars(transform = name_pattern)] String);

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Scalar {
    Text(String),
    Number(f64),
    Bool(bool),
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Size {
    Text(#[schemars(regex(pattern = r"^[0-9][0-9_]*(\.[0-9_]+)? ?([KMG]iB|[kKMG]B|B)?$"))] String),
    Bytes(u64),
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Count {
    Text(#[schemars(regex(pattern = r"^[0-9][0-9_]*(\.[0-9_]+)? ?[kKMG]?$"))] String),
    Number(u64),
}

#[derive(JsonSchema)]
#[schemars(transparent, inline)]
struct DurationText(#[schemars(regex(pattern = r"^([0-9][0-9_]*(\.[0-9_]+)? ?(h|m|s|ms|us|µs)|0)$"))] String);

#[derive(JsonSchema)]
#[schemars(transparent, inline)]
struct PercentText(#[schemars(regex(pattern = r"^[0-9][0-9_]*(\.[0-9_]+)? ?%$"))] String);

#[derive(JsonSchema)]
#[schemars(transparent, inline)]
struct RangeText(
    #[schemars(regex(
        pattern = r"^[0-9][0-9_]*(\.[0-9_]+)? ?(h|m|s|ms|us|µs)\.\.[0-9][0-9_]*(\.[0-9_]+)? ?(h|m|s|ms|us|µs)$"
    ))]
    String,
);

fn name_pattern(schema: &mut Schema) {
    schema.insert("pattern".to_owned(), json!(NAME_PATTERN));
    schema.insert("maxLength".to_owned(), json!(NAME_CHARS_MAX));
}

const NAME_PATTERN: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";

fn bounded_stages(schema: &mut Schema) {
    schema.insert("minProperties".to_owned(), json!(1));
    schema.insert("maxProperties".to_owned(), json!(STAGES_MAX));
    schema
        .insert("propertyNames".to_owned(), json!({ "pattern": NAME_PATTERN, "maxLength": NAME_CHARS_MAX }));
}

/// A key may be left out, but when it is there it says something: the parser takes no `null` for an `Option`.
fn present(schema: &mut Schema) {
    let null = json!({ "type": "null" });
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = &types[..] {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(choices)) = schema.get("anyOf")
        && let [Value::Object(inner), other] = &choices[..]
        && *other == null
    {
        let inner = inner.clone();
        schema.remove("anyOf");
        for (key, value) in inner {
            schema.ensure_object().entry(key).or_insert(value);
        }
    }
    transform_subschemas(&mut present, schema);
}

/// The rules that the derive cannot say: one role, and inputs for everything but a source.
fn one_role(schema: &mut Schema) {
    let without = |keys: &[&str]| {
        let any: Vec<Value> = keys.iter().map(|key| json!({ "required": [key] })).collect();
        json!({ "anyOf": any })
    };
    let rules = json!([
        { "required": ["source"], "not": without(&["transform", "sink", "from"]) },
        { "required": ["transform", "from"], "not": without(&["source", "sink"]) },
        { "required": ["sink", "from"], "not": without(&["source", "transform"]) },
    ]);
    schema.insert("oneOf".to_owned(), rules);
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::lower::cases::{RECORDS_KEYS, TEST_KEYS};
    use super::super::lower::grants::{DIR_KEYS, DIR_MODES, GRANT_KEYS};
    use super::super::lower::settings::{BATCH_KEYS, ISOLATION, LIMIT_KEYS, ON_ERROR, RETRY_KEYS, UNKNOWN};
    use super::super::lower::stage::STAGE_KEYS;
    use super::super::lower::{DEPLOY_KEYS, MANIFEST_KEYS, ON_FAILURE};
    use super::super::pipeline;
    use super::*;

    fn keys(schema: &Value, of: &str) -> Vec<String> {
        let object = if of.is_empty() { schema } else { &schema["$defs"][of] };
        assert_eq!(object["additionalProperties"], json!(false), "{of}");
        let mut keys: Vec<String> = object["properties"].as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    }

    fn values(schema: &Value, of: &str) -> Vec<String> {
        let choices = schema["$defs"][of]["oneOf"].as_array().cloned().unwrap_or_default();
        let named = choices.iter().filter_map(|choice| choice["const"].as_str().map(str::to_owned));
        let listed = choices.iter().filter_map(|choice| choice["enum"].as_array()).flatten();
        let mut all: Vec<String> =
            named.chain(listed.map(|value| value.as_str().unwrap().to_owned())).collect();
        all.sort();
        all
    }

    #[test]
    fn the_schema_has_the_keys_that_the_parser_takes() {
        let schema = json_schema();
        let cases = [
            ("", MANIFEST_KEYS),
            ("Stage", STAGE_KEYS),
            ("Limits", LIMIT_KEYS),
            ("Batch", BATCH_KEYS),
            ("Grants", GRANT_KEYS),
            ("Directory", DIR_KEYS),
            ("Retry", RETRY_KEYS),
            ("Deploy", DEPLOY_KEYS),
            ("Test", TEST_KEYS),
            ("Records", RECORDS_KEYS),
        ];
        for (of, taken) in cases {
            let mut taken: Vec<&str> = taken.to_vec();
            taken.sort_unstable();
            assert_eq!(keys(&schema, of), taken, "{of:?}");
        }
    }

    #[test]
    fn the_schema_has_the_choices_that_the_parser_takes() {
        let schema = json_schema();
        let mut types: Vec<&str> = pipeline::ColumnType::ALL.iter().map(|ty| ty.as_str()).collect();
        types.push("infer");
        let cases = [
            ("OnError", ON_ERROR.iter().map(|(name, _)| *name).collect()),
            ("Unknown", UNKNOWN.iter().map(|(name, _)| *name).collect()),
            ("OnFailure", ON_FAILURE.iter().map(|(name, _)| *name).collect()),
            ("Isolation", ISOLATION.iter().map(|(name, _)| *name).collect()),
            ("ColumnType", types),
            ("DirMode", DIR_MODES.iter().map(|(name, _)| *name).collect()),
        ];
        for (of, mut taken) in cases {
            taken.sort_unstable();
            assert_eq!(values(&schema, of), taken, "{of}");
        }
    }

    #[test]
    fn the_published_schema_is_the_generated_one() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/pipeline.schema.json");
        let generated = format!("{:#}\n", json_schema());
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &generated).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(published == generated, "{} is old: run this test with UPDATE_SCHEMA=1", path.display());
    }
}
