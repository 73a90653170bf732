//! What the stages of a pipeline are, for the run that goes on from a checkpoint of this one.

use std::collections::BTreeMap;

use flow::checkpoint::compat::StageNow;
use flow::checkpoint::{Change, LastCommitted, MarkPart, MarkParts, StageMark, config_parts};
use model::manifest::{Role, Stage, StageRef};
use serde_json::{Map, Value};

use super::{BuiltIn, ResolvedPipeline};

impl ResolvedPipeline {
    /// By name: sources, sinks and stages with state.
    pub fn marks(&self) -> BTreeMap<String, StageMark> {
        let stages = self.pipeline.stages.iter().enumerate();
        stages.filter_map(|(index, stage)| Some((stage.name.to_string(), self.mark(index)?))).collect()
    }

    /// Its stages, beside what a checkpoint has of those of their names.
    pub fn beside(&self, last_committed: &LastCommitted) -> Vec<StageNow> {
        let stages = self.pipeline.stages.iter().enumerate();
        let now = |(index, stage): (usize, &Stage)| {
            let was = last_committed.stages.get(stage.name.as_str());
            let component = self.component(index).filter(|_| self.keeps_state(index));
            StageNow {
                name: stage.name.to_string(),
                role: *stage.role,
                reference: stage.reference.value.to_string(),
                is_built_in: matches!(stage.reference.value, StageRef::BuiltIn(_)),
                keeps_state_as: component.map(|component| component.about().name.clone()),
                mark: self.mark(index),
                changes: was.map(|was| self.changes_since(index, was)).unwrap_or_default(),
                says_if_exists: ["if-exists", "rotate"]
                    .iter()
                    .any(|option| stage.with.value.contains_key(*option)),
            }
        };
        stages.map(now).collect()
    }

    fn mark(&self, index: usize) -> Option<StageMark> {
        let (stage, input) = (&self.pipeline.stages[index], &self.plan.stages[index].input);
        let keeps_state = self.keeps_state(index);
        let uses = match self.component(index) {
            Some(component) if keeps_state => component.about().name.clone(),
            _ if *stage.role == Role::Transform => return None,
            _ => uses(stage),
        };
        let said = match self.built_in(index) {
            Some(built_in) => built_in.mark(None, input),
            None => self.fingerprints[index].as_ref().map(|said| {
                said.iter().map(|(name, value)| (name.clone(), MarkPart::hidden(value))).collect()
            }),
        };
        let config = keeps_state.then(|| config_parts(&stage.with.value));
        Some(StageMark { uses, with: None, said, config })
    }

    /// What a stage rests on that it did not when it had the mark `was`.
    fn changes_since(&self, index: usize, was: &StageMark) -> Vec<Change> {
        let Some(mark) = self.mark(index) else { return Vec::new() };
        let input = &self.plan.stages[index].input;
        let of_old = |built_in: &BuiltIn| built_in.mark(was.with.as_ref(), input);
        let was = match (&was.with, self.built_in(index)) {
            (Some(_), Some(built_in)) => StageMark { said: of_old(built_in), ..was.clone() },
            _ => was.clone(),
        };
        let defaults = self.component(index).map(|component| defaults(&component.about().config_schema));
        mark.changed_from(&was, &defaults.unwrap_or_default())
    }
}

/// What stands behind a stage, as marks name it. Another version of what is in a registry is no other thing.
pub fn uses(stage: &Stage) -> String {
    match &stage.reference.value {
        StageRef::Oci(reference) => reference.name(),
        reference => reference.to_string(),
    }
}

/// The values that keys of a config have where they are left out, as far as its schema says.
fn defaults(schema: &str) -> MarkParts {
    let Ok(Value::Object(schema)) = serde_json::from_str(schema) else { return MarkParts::new() };
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let default = |(name, property): (&String, &Value)| {
        Some((name.clone(), property.as_object()?.get("default")?.clone()))
    };
    config_parts(&properties.filter_map(default).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_version_of_a_reference_has_the_same_mark() {
        let digest = model::ids::Digest::of(b"x");
        for version in [":1".to_owned(), ":2".to_owned(), format!("@{digest}"), format!(":1@{digest}")] {
            let text = format!(
                "pipeline: p\nstages:\n  in: {{ source: \"r.example:5000/acme/in{version}\" }}\n  out: {{ sink: out.wasm, from: in }}\n"
            );
            let context = model::manifest::Context { sources: &[], sinks: &[], env: &|_| None };
            let pipeline = model::manifest::parse("p.yaml", &text, &context).expect("a manifest");
            assert_eq!(
                pipeline.stages.iter().map(uses).collect::<Vec<_>>(),
                ["r.example:5000/acme/in", "out.wasm"]
            );
        }
    }

    #[test]
    fn what_a_schema_says_of_defaults_is_found() {
        let schema =
            json!({ "properties": { "count": { "default": "n", "type": "string" }, "by": {}, "all": true } });
        let expected = config_parts(json!({ "count": "n" }).as_object().expect("an object"));
        assert_eq!(defaults(&schema.to_string()), expected);
        for schema in ["", "[]", "{}", r#"{"properties":[]}"#] {
            assert_eq!(defaults(schema), MarkParts::new(), "{schema}");
        }
    }
}
