//! The picture for Graphviz (<https://graphviz.org/doc/info/lang.html>) and Mermaid
//! (<https://mermaid.js.org/syntax/flowchart.html>). Each chain is a box around its stages.

use std::collections::HashMap;
use std::fmt::Write as _;

use model::plain;
use model::stage::Role;

use super::{EdgePicture, Picture, StagePicture};

pub fn dot(picture: &Picture) -> String {
    let inside = |text: &str| plain::line(text).replace('\\', "\\\\").replace('"', "\\\"");
    let quoted = |text: &str| format!("\"{}\"", inside(text));
    let mut out =
        format!("digraph {} {{\n  rankdir=LR;\n  node [fontname=sans];\n", quoted(&picture.pipeline));
    let places = picture.places();
    for (nth, chain) in picture.chains.iter().enumerate() {
        // Writing into a string does not fail.
        let _ =
            writeln!(out, "  subgraph cluster_{nth} {{\n    label={};", quoted(&format!("loop {}", nth + 1)));
        for stage in stages_of(picture, &places, chain) {
            let shape = match stage.role {
                Role::Source => "cds",
                Role::Transform => "box",
                Role::Sink => "cylinder",
            };
            let label = format!("\"{}\\n{}\"", inside(&stage.name), inside(&stage.is));
            let _ = writeln!(out, "    {} [shape={shape}, label={label}];", quoted(&stage.name));
        }
        out.push_str("  }\n");
    }
    for edge in &picture.edges {
        let label = quoted(&edge_label(edge));
        let _ = writeln!(out, "  {} -> {} [label={label}];", quoted(&edge.from), quoted(&edge.to));
    }
    out.push_str("}\n");
    out
}

pub fn mermaid(picture: &Picture) -> String {
    // What Mermaid would read as its own is written as an entity.
    let quoted =
        |text: &str| format!("\"{}\"", plain::line(text).replace('#', "#35;").replace('"', "#quot;"));
    let places = picture.places();
    let node = |name: &str| format!("s{}", places.get(name).copied().unwrap_or_default());
    let mut out = "flowchart LR\n".to_owned();
    for (nth, chain) in picture.chains.iter().enumerate() {
        let _ = writeln!(out, "  subgraph loop{nth} [{}]", quoted(&format!("loop {}", nth + 1)));
        for stage in stages_of(picture, &places, chain) {
            let label = quoted(&format!("{}<br>{}", stage.name, stage.is));
            let shape = match stage.role {
                Role::Source => format!("([{label}])"),
                Role::Transform => format!("[{label}]"),
                Role::Sink => format!("[({label})]"),
            };
            let _ = writeln!(out, "    {}{shape}", node(&stage.name));
        }
        out.push_str("  end\n");
    }
    for edge in &picture.edges {
        let _ = writeln!(out, "  {} -->|{}| {}", node(&edge.from), quoted(&edge_label(edge)), node(&edge.to));
    }
    out
}

fn stages_of<'a>(
    picture: &'a Picture,
    places: &HashMap<&str, usize>,
    chain: &[String],
) -> impl Iterator<Item = &'a StagePicture> {
    chain.iter().filter_map(|name| Some(&picture.stages[*places.get(name.as_str())?]))
}

fn edge_label(edge: &EdgePicture) -> String {
    let conversion = edge.conversion.map(|what| format!(", {what}")).unwrap_or_default();
    format!("{}: {}{conversion}", edge.port, edge.carries.short())
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn both_forms_have_every_stage_in_its_loop_and_every_edge() {
        let dot = dot(&sample());
        assert!(dot.starts_with("digraph \"orders\" {") && dot.ends_with("}\n"), "{dot}");
        assert!(
            dot.contains("\"large\" -> \"out\" [label=\"main: opaque records, rows to JSON\"];"),
            "{dot}"
        );
        assert!(dot.contains("\"in\" [shape=cds, label=\"in\\nfile\"];"), "{dot}");
        let mermaid = mermaid(&sample());
        assert!(mermaid.contains("s0 -->|\"main: 1 of 19 columns\"| s1\n"), "{mermaid}");
        assert!(mermaid.contains("s2[(\"out<br>stdout\")]\n"), "{mermaid}");
        assert_eq!(mermaid.matches("subgraph").count(), 2);
    }
}
