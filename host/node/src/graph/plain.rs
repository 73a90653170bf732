//! The picture as text.

use std::fmt::Write as _;

use super::{EdgePicture, Picture, StagePicture};

/// Stage by stage, with what leaves it.
pub fn text(picture: &Picture) -> String {
    let mut out = String::new();
    let loops = match picture.chains.len() {
        1 => "one loop".to_owned(),
        loops => format!("{loops} loops"),
    };
    // Writing into a string does not fail.
    let _ = writeln!(out, "pipeline {}: {} stages in {loops}", picture.pipeline, picture.stages.len());
    for (nth, chain) in picture.chains.iter().enumerate() {
        let _ = writeln!(out, "  loop {}: {}", nth + 1, chain.join(" -> "));
    }
    for stage in &picture.stages {
        out.push('\n');
        describe(&mut out, stage);
        for edge in picture.edges.iter().filter(|edge| edge.from == stage.name) {
            leave(&mut out, edge);
        }
    }
    out
}

fn describe(out: &mut String, stage: &StagePicture) {
    let exports = stage.exports.as_ref().map(|exports| format!(", {exports}")).unwrap_or_default();
    let _ = writeln!(out, "{} ({} {}{exports})", stage.name, stage.role, stage.is);
    if let Some(gives) = &stage.gives {
        let _ = writeln!(out, "  reads {}", gives.short());
    }
    if !stage.reads.is_empty() {
        let _ = writeln!(out, "  looks at {}", stage.reads.join(", "));
    }
    if let Some(key) = &stage.key {
        let _ = writeln!(out, "  key {key}");
    }
}

fn leave(out: &mut String, edge: &EdgePicture) {
    let between = if edge.between_loops { ", to another loop" } else { "" };
    let conversion = edge.conversion.map(|what| format!(", converted: {what}")).unwrap_or_default();
    let _ = writeln!(out, "  {} -> {}: {}{conversion}{between}", edge.port, edge.to, edge.carries.short());
    for column in edge.carries.columns() {
        let _ = writeln!(out, "      {column}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_text_shows_columns_conversions_and_loops() {
        let text = super::text(&super::super::sample());
        let expected = "\
pipeline orders: 3 stages in 2 loops
  loop 1: in -> large
  loop 2: out

in (source file)
  reads 1 of 19 columns
  key amount
  main -> large: 1 of 19 columns
      amount: f64s?

large (transform large.wasm, table-transform)
  looks at amount
  main -> out: opaque records, converted: rows to JSON, to another loop

out (sink stdout)
";
        assert_eq!(text, expected);
    }
}
