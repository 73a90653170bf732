//! `--set stage.key=value`: config from the command line, over what the manifest says.

use serde_json::{Map, Value};

use super::lower::escaped;
use super::pipeline::{Config, Pipeline};
use super::scalar::{json, meaning};
use super::suggest::{did_you_mean, nearest, one_of};
use super::tree;
use crate::diagnostics::Diagnostic;
use crate::limits::{MANIFEST_BYTES_MAX, MANIFEST_DEPTH_MAX};

/// Why a `--set` cannot be taken.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    #[error("`--set {0}` has no `=`: write it as stage.key=value")]
    NoValue(String),
    #[error("`--set {0}` names no key: write it as stage.key=value, such as large.minimum=100")]
    NoKey(String),
    #[error("`--set` names the stage `{stage}`, which is not in pipeline `{pipeline}`: {help}")]
    UnknownStage { stage: String, pipeline: String, help: String },
    #[error(
        "`--set {stage}.{key}` goes into `{at}`, which is not a map in the manifest: set `{stage}.{at}` as a whole"
    )]
    NotAMap { stage: String, key: String, at: String },
    #[error("`--set {stage}.{key}`: the value cannot be read: {why}")]
    BadValue { stage: String, key: String, why: String },
    #[error("`--set {stage}...` is longer or deeper than a manifest can be")]
    TooLarge { stage: String },
}

impl Pipeline {
    /// Takes `stage.key=value`, or `stage.key.inner=value`, into the stage's `with`. The value is read as in
    /// the manifest: `100` is a number, `"100"` a text, `[a, b]` a list.
    pub fn set(&mut self, assignment: &str) -> Result<(), SetError> {
        let (path, value) =
            assignment.split_once('=').ok_or_else(|| SetError::NoValue(assignment.to_owned()))?;
        let (stage, key) = path
            .split_once('.')
            .filter(|(_, key)| key.split('.').all(|part| !part.is_empty()))
            .ok_or_else(|| SetError::NoKey(assignment.to_owned()))?;
        if assignment.len() > MANIFEST_BYTES_MAX || key.split('.').count() > MANIFEST_DEPTH_MAX {
            return Err(SetError::TooLarge { stage: stage.to_owned() });
        }
        let Some(index) = self.index_of(stage) else { return Err(self.unknown_stage(stage)) };
        let value = read_value(value).map_err(|why| SetError::BadValue {
            stage: stage.to_owned(),
            key: key.to_owned(),
            why,
        })?;
        put(&mut self.stages[index].with, key, value).map_err(|at| SetError::NotAMap {
            stage: stage.to_owned(),
            key: key.to_owned(),
            at,
        })
    }

    fn unknown_stage(&self, stage: &str) -> SetError {
        let names = || self.stages.iter().map(|stage| stage.name.as_str());
        SetError::UnknownStage {
            stage: stage.to_owned(),
            pipeline: self.name.to_string(),
            help: did_you_mean(nearest(stage, names()), || format!("the stages are {}", one_of(names()))),
        }
    }
}

/// Lists, maps and quoted texts are read as YAML; anything else is one plain scalar, whatever it holds.
fn read_value(text: &str) -> Result<Value, String> {
    let said =
        |problems: &[Diagnostic]| problems.iter().map(|p| p.message.as_str()).collect::<Vec<_>>().join("; ");
    if !text.trim_start().starts_with(['[', '{', '"', '\'']) {
        return meaning(text.trim()).map_err(|why| format!("`{text}` {why}"));
    }
    let mut problems = Vec::new();
    // The shell has replaced its variables by then, so what is left of `${` is meant as it is.
    let verbatim = text.replace("${", "$${");
    let node = tree::read(&verbatim, &|_| None, &mut problems);
    let value = node.map(|node| json(&node, &mut problems));
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(said(&problems)),
    }
}

/// Puts a value where a dotted path leads, making maps on the way; an error names what is no map.
fn put(config: &mut Config, key: &str, value: Value) -> Result<(), String> {
    let parts: Vec<&str> = key.split('.').collect();
    let Some((last, way)) = parts.split_last() else { return Err(key.to_owned()) };
    let mut map = &mut config.value;
    for (nth, part) in way.iter().enumerate() {
        let inner = map.entry(*part).or_insert_with(|| Value::Object(Map::new()));
        match inner {
            Value::Object(inner) => map = inner,
            _ => return Err(parts[..=nth].join(".")),
        }
    }
    map.insert((*last).to_owned(), value);
    // What the manifest said there is not what counts any more, so a problem must not point at it.
    let pointer: String = parts.iter().map(|part| format!("/{}", escaped(part))).collect();
    let inside = format!("{pointer}/");
    config.keys.retain(|at, _| *at != pointer && !at.starts_with(&inside));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::diagnosis::read;
    use super::*;

    fn pipeline() -> Pipeline {
        let text = "pipeline: p\nstages:\n  in: { source: file, with: { path: a.csv, csv: { comma: \";\" } } }\n  \
                    out: { sink: stdout, from: in }\n";
        read(text).unwrap()
    }

    #[test]
    fn values_are_read_as_in_the_manifest() {
        let cases = [
            ("in.path=b.csv", json!({ "path": "b.csv", "csv": { "comma": ";" } })),
            ("in.path=", json!({ "path": null, "csv": { "comma": ";" } })),
            ("in.rows=100", json!({ "path": "a.csv", "csv": { "comma": ";" }, "rows": 100 })),
            ("in.rows=\"100\"", json!({ "path": "a.csv", "csv": { "comma": ";" }, "rows": "100" })),
            ("in.csv.comma=,", json!({ "path": "a.csv", "csv": { "comma": "," } })),
            (
                "in.new.deep=[a, 1]",
                json!({ "path": "a.csv", "csv": { "comma": ";" }, "new": { "deep": ["a", 1] } }),
            ),
            ("in.path=a=b: *c ${D}", json!({ "path": "a=b: *c ${D}", "csv": { "comma": ";" } })),
            ("in.path='${D}'", json!({ "path": "${D}", "csv": { "comma": ";" } })),
        ];
        for (assignment, expected) in cases {
            let mut pipeline = pipeline();
            pipeline.set(assignment).unwrap();
            assert_eq!(Value::Object(pipeline.stages[0].with.value.clone()), expected, "{assignment}");
        }
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        let cases = [
            ("in.path", "`--set in.path` has no `=`: write it as stage.key=value"),
            ("in=b", "`--set in=b` names no key: write it as stage.key=value, such as large.minimum=100"),
            (
                "in..a=b",
                "`--set in..a=b` names no key: write it as stage.key=value, such as large.minimum=100",
            ),
            ("iin.path=b", "`--set` names the stage `iin`, which is not in pipeline `p`: did you mean `in`?"),
            (
                "elsewhere.path=b",
                "`--set` names the stage `elsewhere`, which is not in pipeline `p`: the stages are `in` or `out`",
            ),
            (
                "in.path.deep=b",
                "`--set in.path.deep` goes into `path`, which is not a map in the manifest: set `in.path` as a whole",
            ),
            ("in.a=.nan", "`--set in.a`: the value cannot be read: `.nan` is not a finite number"),
            ("in.a=[1", "`--set in.a`: the value cannot be read: this is not YAML: unclosed bracket '['"),
        ];
        for (assignment, message) in cases {
            let mut changed = pipeline();
            assert_eq!(changed.set(assignment).map_err(|error| error.to_string()), Err(message.to_owned()));
            assert_eq!(changed, pipeline(), "{assignment} changed something");
        }
    }

    #[test]
    fn a_problem_with_an_override_does_not_point_at_what_it_replaced() {
        let mut pipeline = pipeline();
        let before = pipeline.stages[0].with.span_of("/csv/comma");
        pipeline.set("in.csv=1").unwrap();
        let config = &pipeline.stages[0].with;
        assert_ne!(config.span_of("/csv/comma"), before);
        assert_eq!(config.span_of("/csv/comma"), config.span);
        assert_ne!(config.span_of("/path"), config.span);
    }
}
