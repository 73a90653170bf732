//! What `inspect` and `build` tell of a component.

use engine::{Component, StageLimits};
use model::stage::{Role, StagePlan};
use registry::artifact::Facts;
use serde_json::{Value, json};

use crate::words::Words;

/// The output ports under a config; none where it cannot be asked without knowing the fields that come, or
/// does not take the config.
pub async fn ports(stage: &Component, config: &Value) -> Option<Vec<String>> {
    let plan = stage.plan(config, &[], &StageLimits::default()).await.ok()?;
    let StagePlan::Transform(plan) = plan else { return None };
    Some(plan.outputs.into_iter().map(|port| port.name).collect())
}

/// What it says of itself, as an artifact claims it and as claims are held against.
pub async fn facts(stage: &Component) -> Facts {
    let (about, kind) = (stage.about(), stage.kind().interface());
    let interface = format!("conveyor:stage/{kind}@");
    let version = stage.exports().iter().find_map(|name| name.strip_prefix(&interface)).unwrap_or_default();
    // The parentheses of a function at the root are ours.
    let names = |names: &[String]| names.iter().map(|name| name.trim_end_matches("()").to_owned()).collect();
    Facts {
        name: about.name.clone(),
        version: about.version.clone(),
        summary: about.summary.clone(),
        world: format!("conveyor:stage/{kind}-stage@{version}"),
        exports: names(stage.exports()),
        imports: names(stage.imports()),
        ports: ports(stage, &json!({})).await,
        config_schema: about.config_schema.clone(),
        needs: about.needs.clone(),
        sdk: about.hints.iter().find(|(name, _)| name == SDK).map(|(_, value)| value.clone()),
    }
}

/// The hint by which an SDK says which one it is.
const SDK: &str = "sdk";

/// As programs read it.
pub fn json(stage: &Component, bytes: usize) -> Value {
    let about = stage.about();
    json!({
        "kind": stage.kind().interface(),
        "role": stage.kind().role().as_str(),
        "name": about.name,
        "version": about.version,
        "summary": about.summary,
        "config_schema": schema(&about.config_schema),
        "needs": about.needs,
        "hints": about.hints.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>(),
        "exports": stage.exports(),
        "imports": stage.imports(),
        "keeps_state": stage.keeps_state(),
        "bytes": bytes,
        "digest": stage.digest().to_string(),
    })
}

/// As people read it.
pub fn text(stage: &Component, bytes: usize, ports: Option<Vec<String>>) -> Words {
    let about = stage.about();
    let mut words = Words::default();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            words.push(format!("{name:<10}{value}"));
        }
    };
    line("stage", &format!("{} {}", about.name, about.version));
    line("summary", &about.summary);
    line("kind", &format!("{} (stands as `{}:`)", stage.kind(), stage.kind().role()));
    match ports {
        Some(ports) => line("ports", &ports.join(", ")),
        None if stage.kind().role() == Role::Transform => {
            line("ports", "as its config and input say: give `--with`, or see `conveyor graph`");
        }
        None => {}
    }
    line("size", &size(bytes));
    line("digest", &stage.digest().to_string());
    line(
        "state",
        if stage.keeps_state() { "keeps state: have checkpoints with `run --state DIR`" } else { "" },
    );
    line("needs", &about.needs.join(", "));
    line("exports", &stage.exports().join(", "));
    line("imports", &stage.imports().join(", "));
    let hints: Vec<String> = about.hints.iter().map(|(name, value)| format!("{name}={value}")).collect();
    line("hints", &hints.join(", "));
    line("config", if about.config_schema.trim().is_empty() { "anything: it gives no schema" } else { "" });
    if !about.config_schema.trim().is_empty() {
        words.append(options("config", &schema(&about.config_schema)));
    }
    words
}

/// A built-in connector: what it takes as a source, and as a sink.
pub fn connector_text(connector: &Value) -> Words {
    let mut words = Words::from(format!("connector {}", connector["connector"].as_str().unwrap_or_default()));
    for (role, schema) in connector["config_schema"].as_object().into_iter().flatten() {
        words.append(options(&format!("as a {role}"), schema));
    }
    words
}

/// Bytes, as people count them.
pub fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// The schema of a config; null where it gives none.
pub fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// The properties of a schema, one a line: name, type, whether it must be there, what it is for.
pub fn options(title: &str, schema: &Value) -> Words {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = schema["properties"].as_object().filter(|properties| !properties.is_empty())
    else {
        return format!("{title}: nothing to set").into();
    };
    let mut words = Words::from(format!("{title}:"));
    for (name, property) in properties {
        let must = if required.contains(&name.as_str()) { ", required" } else { "" };
        // Descriptions are broken where their source is.
        let about = property["description"].as_str().unwrap_or_default().replace('\n', " ");
        let about = if about.is_empty() { about } else { format!(": {about}") };
        words.push(format!("  {name} ({}{must}){about}", type_of(property, schema)));
    }
    words
}

/// The type that a property names, its alternatives joined; references are followed once.
fn type_of(property: &Value, schema: &Value) -> String {
    let follow = |property: &Value| -> Option<Value> {
        let name = property["$ref"].as_str()?.rsplit('/').next()?.to_owned();
        Some(schema["$defs"][name].clone())
    };
    let property = &follow(property).unwrap_or_else(|| property.clone());
    let join = |values: Vec<String>| {
        let mut seen = Vec::new();
        for value in values {
            if value != "null" && !seen.contains(&value) {
                seen.push(value);
            }
        }
        seen.join(" or ")
    };
    let literal =
        |value: &Value| value.as_str().map_or_else(|| value.to_string(), |text| format!("`{text}`"));
    if let Some(choices) = property["enum"].as_array() {
        return join(choices.iter().map(literal).collect());
    }
    if property.get("const").is_some() {
        return literal(&property["const"]);
    }
    match (&property["type"], property["anyOf"].as_array().or(property["oneOf"].as_array())) {
        (Value::String(of), _) => of.clone(),
        (Value::Array(of), _) => join(of.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        (_, Some(any)) => join(any.iter().map(|one| type_of(one, schema)).collect()),
        _ => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_with_type_and_purpose() {
        let schema = json!({
            "properties": {
                "path": { "anyOf": [{ "type": "string" }, { "type": "array" }], "description": "A file" },
                "format": { "anyOf": [{ "$ref": "#/$defs/Format" }, { "type": "null" }] },
                "rows": { "type": ["integer", "null"] },
            },
            "required": ["path"],
            "$defs": { "Format": { "oneOf": [{ "const": "csv" }, { "const": "lines" }] } },
        });
        let text = options("config", &schema).to_string();
        assert!(text.contains("  path (string or array, required): A file\n"), "{text}");
        assert!(text.contains("  format (`csv` or `lines`)\n"), "{text}");
        assert!(text.ends_with("  rows (integer)"), "{text}");
        assert_eq!(options("config", &json!({})).to_string(), "config: nothing to set");
    }

    #[test]
    fn sizes_are_in_the_unit_that_fits() {
        assert_eq!([size(12), size(2048), size(3 << 20)], ["12 B", "2.0 KiB", "3.0 MiB"]);
    }
}
