//! What `inspect` tells of an artifact that was not pulled: all that it claims.

use registry::artifact::{Artifact, Claimed};
use registry::image_ref::ImageRef;
use serde_json::{Value, json};

use super::component::{options, schema, size};
use crate::words::Words;

/// As programs read it: what is claimed stands apart from what is so.
pub fn json(image: &ImageRef, artifact: &Artifact) -> Value {
    let mut claimed = json!(artifact.claimed);
    if let Some(text) = &artifact.claimed.config_schema {
        claimed["config_schema"] = schema(text);
    }
    json!({
        "reference": image.to_string(),
        "digest": artifact.manifest.digest,
        "index": artifact.index,
        "component": { "digest": artifact.layer.digest, "bytes": artifact.layer.size },
        "claimed": claimed,
    })
}

/// As people read it.
pub fn text(image: &ImageRef, artifact: &Artifact) -> Words {
    let Artifact { manifest, index, layer, claimed } = artifact;
    let mut words = Words::default();
    words.push(format!("{:<10}{image}", "reference"));
    if let Some(index) = index {
        words.push(format!("{:<10}{index}", "index"));
    }
    words.push(format!("{:<10}{}", "digest", manifest.digest));
    let bytes = usize::try_from(layer.size).unwrap_or(usize::MAX);
    words.push(format!("{:<10}{}, {}", "component", layer.digest, size(bytes)));
    words.push("claimed by whoever pushed it; where it is run, the component is asked and has to say the same:");
    for (name, value) in lines(claimed) {
        words.push(format!("  {name:<10}{value}"));
    }
    if let Some(text) = &claimed.config_schema {
        let schema = options("config", &schema(text));
        words.append(schema.lines().map(|line| format!("  {line}")).collect());
    }
    words
}

fn lines(claimed: &Claimed) -> Vec<(&'static str, String)> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let list = |value: &Option<Vec<String>>| value.as_deref().unwrap_or_default().join(", ");
    let stage = format!("{} {}", text(&claimed.name), text(&claimed.version));
    let all = [
        ("stage", stage.trim().to_owned()),
        ("summary", text(&claimed.summary)),
        ("world", text(&claimed.world)),
        ("ports", list(&claimed.ports)),
        ("needs", list(&claimed.needs)),
        ("exports", list(&claimed.exports)),
        ("imports", list(&claimed.imports)),
        ("SDK", text(&claimed.sdk)),
        ("created", text(&claimed.created)),
        ("source", text(&claimed.source)),
        ("revision", text(&claimed.revision)),
        ("file", text(&claimed.title)),
    ];
    let said: Vec<_> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    match said.is_empty() {
        true => vec![("", "nothing at all".to_owned())],
        false => said,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::ids::Digest;
    use registry::manifest::Descriptor;

    use super::*;

    fn described(content: &[u8]) -> Descriptor {
        let (digest, size) = (Digest::of(content), content.len() as u64);
        Descriptor { media_type: String::new(), digest, size, artifact_type: None, annotations: BTreeMap::new() }
    }

    #[test]
    fn what_is_claimed_is_told_apart_and_moves_no_cursor() {
        let claimed = Claimed {
            name: Some("large".into()),
            summary: Some("keeps\u{1b}[2J\nerror: forged".into()),
            config_schema: Some(r#"{"properties":{"minimum":{"type":"number"}}}"#.into()),
            ..Claimed::default()
        };
        let artifact = Artifact { manifest: described(b"m"), index: None, layer: described(b"layer"), claimed };
        let image = "r.example/acme/large:1".parse().expect("a reference");
        let said = text(&image, &artifact).to_string();
        let (before, claimed) = said.split_once("claimed by").expect("both");
        assert!(before.contains(&Digest::of(b"m").to_string()) && before.contains("5 B"), "{said}");
        assert!(claimed.contains("\n  stage     large\n  summary   keeps\\u{1b}[2J\n    | error: forged\n"), "{said}");
        assert!(claimed.contains("\n    minimum (number)"), "{said}");
        let data = json(&image, &artifact);
        assert_eq!(data["claimed"]["config_schema"]["properties"]["minimum"]["type"], "number");
        assert_eq!(data["component"]["digest"], Digest::of(b"layer").to_string());
    }
}
