//! What a node keeps is apart from what its pipelines reach: a pipeline that wrote there would write over its own checkpoints,
//! over those of others, or over the token.

use std::path::{Path, PathBuf};

use model::manifest::{Pipeline, Stage};
use serde_json::Value;

/// The keys under `with` whose values are paths of connectors.
const PATH_KEYS: [&str; 1] = ["path"];

/// The first stage that names something in `dir`, with what it names. `home`: to which paths of the manifest are relative.
pub fn reaches_into(dir: &Path, pipeline: &Pipeline, home: &Path) -> Option<(String, String)> {
    let is_in = |path: &str| real(&home.join(path)).starts_with(dir);
    let is_above = |path: &str| dir.starts_with(real(&home.join(path)));
    let named = |stage: &Stage| {
        let dirs = stage.grants.value.dirs.iter().map(|dir| dir.host.clone());
        let granted = dirs.into_iter().find(|path| is_in(path) || is_above(path));
        granted.or_else(|| {
            paths(stage).into_iter().find(|path| match pattern(path) {
                None => is_in(path),
                Some(Pattern { below, is_deep }) => is_in(below) || is_deep && is_above(below),
            })
        })
    };
    pipeline.stages.iter().find_map(|stage| Some((stage.name.to_string(), named(stage)?)))
}

/// What a connector names of the file system.
fn paths(stage: &Stage) -> Vec<String> {
    let given = PATH_KEYS.iter().filter_map(|key| stage.with.value.get(*key));
    let texts = given.flat_map(|value| match value {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect::<Vec<_>>(),
    });
    texts.map(str::to_owned).collect()
}

/// A path that stands for several.
struct Pattern<'a> {
    /// The directory in which it begins.
    below: &'a str,
    /// Whether it goes into directories that it does not name.
    is_deep: bool,
}

fn pattern(path: &str) -> Option<Pattern<'_>> {
    let begins = path.find(['*', '?', '[', '{'])?;
    let below = path[..begins].rfind('/').map_or("", |slash| &path[..=slash]);
    Some(Pattern { below, is_deep: path[begins..].contains('/') })
}

/// With links resolved as far as something is there.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for above in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), absolute.strip_prefix(above)) {
            return real.join(rest);
        }
    }
    absolute
}

#[cfg(test)]
mod tests {
    use model::manifest::{Context, parse};

    use super::*;

    #[test]
    fn no_stage_names_what_a_node_keeps() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().canonicalize().expect("there");
        let data = home.join("data");
        std::fs::create_dir_all(data.join("control")).expect("made");
        std::fs::create_dir_all(home.join("lookup")).expect("made");
        std::os::unix::fs::symlink(&data, home.join("link")).expect("linked");
        let reaches = |with: &str, grants: &str| {
            let text = format!(
                "pipeline: p\nstages:\n  in: {{ source: file, with: {{ path: {with} }} }}\n  mid: {{ transform: ./a.wasm, from: in, \
                 grants: {{ dirs: [{grants}] }} }}\n  out: {{ sink: stdout, from: mid }}\n"
            );
            let context = Context { sources: &["file"], sinks: &["stdout"], env: &|_| None };
            let pipeline = parse("p.yaml", &text, &context).expect("a manifest");
            reaches_into(&data, &pipeline, &home).is_some()
        };
        for path in [
            "data/token",
            "data/new/x",
            "[a.csv, ./data/control/control.redb]",
            "link/token",
            "lookup/../data/x",
        ] {
            assert!(reaches(path, ""), "{path}");
        }
        for (path, expected) in [
            ("'data/*'", true),
            ("'*.csv'", false),
            ("'**/x'", true),
            ("'d*/token'", true),
            ("'lookup/*/x'", false),
        ] {
            assert_eq!(reaches(path, ""), expected, "{path}");
        }
        for path in ["in.csv", "data2/x", "lookup/x", "[a.csv, b.csv]"] {
            assert!(!reaches(path, ""), "{path}");
        }
        for (host, expected) in [("./data", true), (".", true), ("./link", true), ("./lookup", false)] {
            assert_eq!(reaches("in.csv", &format!("{{ host: {host}, guest: /x }}")), expected, "{host}");
        }
    }
}
