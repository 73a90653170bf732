//! A new stage: a crate that builds to a component and passes its own test.
//!
//! The templates have `@NAME@`, `@STAGE@`, `@SUMMARY@` and `@SDK@` where the stage's own words go.

mod sdk;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use model::manifest::Name;

/// The six forms of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Source,
    TableSource,
    Transform,
    TableTransform,
    Sink,
    TableSink,
}

const CARGO_TOML: &str = include_str!("templates/Cargo.toml.in");
const GITIGNORE: &str = include_str!("templates/gitignore.in");

impl Form {
    fn code(self) -> &'static str {
        match self {
            Self::Source => include_str!("templates/source.rs.in"),
            Self::TableSource => include_str!("templates/table_source.rs.in"),
            Self::Transform => include_str!("templates/transform.rs.in"),
            Self::TableTransform => include_str!("templates/table_transform.rs.in"),
            Self::Sink => include_str!("templates/sink.rs.in"),
            Self::TableSink => include_str!("templates/table_sink.rs.in"),
        }
    }

    /// The first line of the template says what the stage does.
    fn summary(self) -> &'static str {
        let first = self.code().lines().next().unwrap_or_default();
        let text = first.trim_start_matches("//! ");
        text.split_once(": a start").map_or(text, |(text, _)| text).trim_end_matches('.')
    }
}

/// Makes the directory `name` in `here`, and tells which files are in it. `sdk`: the directory of the SDK,
/// where the user names one.
pub fn make(here: &Path, name: &str, form: Form, sdk: Option<&Path>) -> Result<Vec<PathBuf>> {
    if let Err(error) = Name::parse(name) {
        let near = Name::nearest(name).map(|near| format!("; `{near}` would be one")).unwrap_or_default();
        bail!("`{name}` is no name for a stage: {error}{near}");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        bail!("`{name}` is no name for a crate: it has to begin with a letter");
    }
    let dir = here.join(name);
    if dir.exists() {
        bail!("{} is there already: choose another name, or move it away", dir.display());
    }
    let dependency = sdk::dependency(&dir, sdk)?;
    let filled = |template: &str| {
        let filled = template.replace("@NAME@", name).replace("@STAGE@", &type_name(name));
        filled.replace("@SUMMARY@", form.summary()).replace("@SDK@", &dependency)
    };
    let files = [("Cargo.toml", CARGO_TOML), (".gitignore", GITIGNORE), ("src/lib.rs", form.code())];
    fs::create_dir_all(dir.join("src")).with_context(|| format!("{} cannot be made", dir.display()))?;
    let mut made = Vec::with_capacity(files.len());
    for (file, template) in files {
        let path = dir.join(file);
        fs::write(&path, filled(template))
            .with_context(|| format!("{} cannot be written", path.display()))?;
        made.push(Path::new(name).join(file));
    }
    Ok(made)
}

/// `split-by-country` becomes `SplitByCountry`.
fn type_name(name: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        let first = chars.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    let name: String = name.split('-').map(word).collect();
    // Names that the templates use for something else.
    const TAKEN: [&str; 26] = [
        "Batch",
        "Config",
        "Context",
        "Emitter",
        "Failure",
        "Field",
        "Fields",
        "FieldsOf",
        "Ids",
        "Kind",
        "Number",
        "Order",
        "Pull",
        "Rejected",
        "Result",
        "Row",
        "Sink",
        "Source",
        "Split",
        "Table",
        "TableEmitter",
        "Taxed",
        "Transform",
        "Wanted",
        "Self",
        "Ok",
    ];
    if TAKEN.contains(&name.as_str()) || name.starts_with("Table") { format!("{name}Stage") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_its_own_words_and_no_placeholders() {
        let forms = [
            Form::Source,
            Form::TableSource,
            Form::Transform,
            Form::TableTransform,
            Form::Sink,
            Form::TableSink,
        ];
        for form in forms {
            let here = tempfile::tempdir().expect("a directory");
            make(here.path(), "by-country", form, None).expect("made");
            let read =
                |file: &str| fs::read_to_string(here.path().join("by-country").join(file)).expect(file);
            let (cargo, code) = (read("Cargo.toml"), read("src/lib.rs"));
            for text in [&cargo, &code] {
                assert!(
                    !["@NAME", "@STAGE", "@SUM", "@SDK"].iter().any(|left| text.contains(left)),
                    "{text}"
                );
            }
            let manifest: toml::Table = cargo.parse().expect("good TOML");
            assert_eq!(manifest["package"]["name"].as_str(), Some("by-country"));
            assert!(manifest["dependencies"]["conveyor-sdk"].get("path").is_some(), "{cargo}");
            assert!(code.contains("struct ByCountry {"), "{form:?}: {code}");
        }
    }

    #[test]
    fn what_cannot_be_made_is_refused_and_leaves_nothing() {
        let here = tempfile::tempdir().expect("a directory");
        fs::create_dir(here.path().join("there")).expect("made");
        let cases = [
            ("My_Stage", "`my-stage` would be one"),
            ("there", "is there already"),
            ("7up", "begin with a letter"),
            ("", "cannot be empty"),
        ];
        for (name, expected) in cases {
            let error = make(here.path(), name, Form::Transform, None).expect_err("refused").to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
        let error =
            make(here.path(), "a", Form::Transform, Some(here.path())).expect_err("no SDK").to_string();
        assert!(error.contains("--sdk"), "{error}");
        assert_eq!(fs::read_dir(here.path()).expect("read").count(), 1);
    }

    #[test]
    fn names_become_types() {
        for (name, expected) in [("large", "Large"), ("by-country-2", "ByCountry2"), ("sink", "SinkStage")] {
            assert_eq!(type_name(name), expected);
        }
    }
}
