//! The picture as text.

use std::collections::HashMap;

use super::{EdgePicture, Picture, StagePicture};
use crate::words::Words;

/// Stage by stage, with what leaves it.
pub fn text(picture: &Picture) -> Words {
    let mut words = Words::default();
    let loops = match picture.chains.len() {
        1 => "one loop".to_owned(),
        loops => format!("{loops} loops"),
    };
    words.push(format!("pipeline {}: {} stages in {loops}", picture.pipeline, picture.stages.len()));
    for (nth, chain) in picture.chains.iter().enumerate() {
        words.push(format!("  loop {}: {}", nth + 1, chain.join(" -> ")));
    }
    let mut edges: HashMap<&str, Vec<&EdgePicture>> = HashMap::new();
    for edge in &picture.edges {
        edges.entry(&edge.from).or_default().push(edge);
    }
    for stage in &picture.stages {
        words.push("");
        describe(&mut words, stage);
        for edge in edges.get(stage.name.as_str()).into_iter().flatten() {
            leave(&mut words, edge);
        }
    }
    words
}

fn describe(words: &mut Words, stage: &StagePicture) {
    let exports = stage.exports.as_ref().map(|exports| format!(", {exports}")).unwrap_or_default();
    words.push(format!("{} ({} {}{exports})", stage.name, stage.role, stage.is));
    if let Some(digest) = &stage.digest {
        words.push(format!("  is {digest}"));
    }
    if let Some(gives) = &stage.gives {
        words.push(format!("  reads {}", gives.short()));
    }
    if !stage.reads.is_empty() {
        words.push(format!("  looks at {}", stage.reads.join(", ")));
    }
    if let Some(key) = &stage.key {
        words.push(format!("  key {key}"));
    }
}

fn leave(words: &mut Words, edge: &EdgePicture) {
    let between = if edge.between_loops { ", to another loop" } else { "" };
    let conversion = edge.conversion.map(|what| format!(", converted: {what}")).unwrap_or_default();
    words.push(format!("  {} -> {}: {}{conversion}{between}", edge.port, edge.to, edge.carries.short()));
    for column in edge.carries.columns() {
        words.push(format!("      {column}"));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_text_shows_columns_conversions_and_loops() {
        let text = super::text(&super::super::sample()).to_string();
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
  is sha256:0a1b
  looks at amount
  main -> out: opaque records, converted: rows to JSON, to another loop

out (sink stdout)";
        assert_eq!(text, expected);
    }
}
