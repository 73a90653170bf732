//! Where a new stage finds the SDK: in the clone. It is not on crates.io yet, so a path is what works.

use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};

/// The name of the SDK's crate and directory.
const CRATE: &str = "conveyor-sdk";
const DIRECTORY: &str = "sdk-rust";

/// The clone that this program was built in.
const BUILT_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What stands behind `conveyor-sdk =` in the manifest of a stage in `stage`: the directory that the user
/// names, or the SDK of the clone around the stage, or that of the clone that this program was built in.
pub(super) fn dependency(stage: &Path, named: Option<&Path>) -> Result<String> {
    // A bare name lies in this directory, and that in others.
    let stage = &std::path::absolute(stage)?;
    if let Some(named) = named {
        if !is_sdk(named) {
            bail!("{} is not the SDK: `--sdk` names the directory `{DIRECTORY}` of a clone", named.display());
        }
        return Ok(path_dependency(&near(stage, named)));
    }
    let around = stage.ancestors().skip(1).map(|dir| dir.join(DIRECTORY));
    let sdk = first(around.chain([Path::new(BUILT_IN).join(DIRECTORY)]))?;
    Ok(path_dependency(&near(stage, &sdk)))
}

fn first(mut candidates: impl Iterator<Item = PathBuf>) -> Result<PathBuf> {
    match candidates.find(|dir| is_sdk(dir)) {
        Some(sdk) => Ok(sdk),
        None => bail!(
            "the SDK is not around here, nor where this program was built, and no registry has it yet: name the directory \
             `{DIRECTORY}` of a clone with `--sdk DIR`"
        ),
    }
}

fn path_dependency(path: &Path) -> String {
    // A path as a TOML text, whatever is in it.
    format!("{{ path = {} }}", toml::Value::String(path.to_string_lossy().into_owned()))
}

fn is_sdk(dir: &Path) -> bool {
    let text = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = text.parse().unwrap_or_default();
    manifest.get("package").and_then(|package| package.get("name")?.as_str()) == Some(CRATE)
}

/// The SDK as seen from the stage: a relative path where the two lie within one directory (so that both can be
/// moved together), else an absolute one.
fn near(stage: &Path, sdk: &Path) -> PathBuf {
    let absolute = sdk.canonicalize().unwrap_or_else(|_| sdk.to_owned());
    let Some(Ok(parent)) = stage.parent().map(Path::canonicalize) else { return absolute };
    let stage = parent.join(stage.file_name().unwrap_or_default());
    let shared = stage.components().zip(absolute.components()).take_while(|(a, b)| a == b).count();
    let up = stage.components().count() - shared;
    // Further up than beside the clone, a relative path says nothing to a reader.
    const UP_MAX: usize = 3;
    if up > UP_MAX || shared <= 1 {
        return absolute;
    }
    let down = absolute.components().skip(shared);
    std::iter::repeat_n(Component::ParentDir, up).chain(down).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clone(root: &Path) {
        let sdk = root.join("conveyor/sdk-rust");
        std::fs::create_dir_all(&sdk).expect("made");
        std::fs::write(sdk.join("Cargo.toml"), "[package]\nname = \"conveyor-sdk\"\n").expect("written");
    }

    #[test]
    fn a_stage_of_a_bare_name_lies_in_this_directory() {
        // Tests run in the directory of their crate, which is in the clone.
        let found = dependency(Path::new("large"), None).expect("found");
        assert_eq!(found, "{ path = \"../../../sdk-rust\" }");
    }

    #[test]
    fn the_sdk_is_found_in_the_clone_around_beside_and_by_name() {
        let root = tempfile::tempdir().expect("a directory");
        clone(root.path());
        let sdk = root.path().join("conveyor/sdk-rust");
        let cases = [
            ("conveyor/large", None, "{ path = \"../sdk-rust\" }"),
            ("large", Some(sdk.as_path()), "{ path = \"../conveyor/sdk-rust\" }"),
        ];
        for (stage, named, expected) in cases {
            assert_eq!(dependency(&root.path().join(stage), named).expect("found"), expected);
        }
        // Elsewhere, it is the one that this program was built with.
        let found = dependency(&root.path().join("elsewhere"), None).expect("found");
        assert!(found.contains("sdk-rust"), "{found}");
        let nowhere = first([root.path().to_owned()].into_iter()).expect_err("there is none");
        assert!(nowhere.to_string().contains("--sdk DIR"), "{nowhere}");
    }
}
