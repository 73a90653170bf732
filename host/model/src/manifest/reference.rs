//! What stands behind `source:`, `transform:` and `sink:`: a built-in connector, a path or an OCI reference.

use super::pipeline::{OciRef, StageRef};

/// What a text refers to, or `None` when it is nothing of the kind. `built_in` are the connectors of the role.
pub(super) fn parse(text: &str, built_in: &[&str]) -> Option<StageRef> {
    if built_in.contains(&text) {
        return Some(StageRef::BuiltIn(text.to_owned()));
    }
    if text.ends_with(".wasm") && !text.contains("://") {
        return Some(StageRef::WasmFile(text.to_owned()));
    }
    let is_path =
        ["./", "../", "/"].iter().any(|start| text.starts_with(start)) || text == "." || text == "..";
    if is_path {
        return Some(StageRef::Directory(text.to_owned()));
    }
    oci(text).map(StageRef::Oci)
}

/// `registry/repository[:tag][@digest]`. The registry is a host name with a dot or a port, or `localhost`, as
/// in the distribution specification's clients, <https://github.com/opencontainers/distribution-spec>.
fn oci(text: &str) -> Option<OciRef> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let (registry, path) = name.split_once('/')?;
    let (repository, tag) = match path.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    let host_like = registry.contains(['.', ':']) || registry == "localhost";
    let word = |text: &str, extra: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c) || extra.contains(c))
    };
    let digest_like = |digest: &str| {
        digest.split_once(':').is_some_and(|(algorithm, hash)| word(algorithm, "+") && word(hash, ""))
    };
    let fits = host_like
        && word(registry, ":")
        && repository.split('/').all(|part| word(part, ""))
        && tag.is_none_or(|tag| word(tag, ""))
        && digest.is_none_or(digest_like);
    fits.then(|| OciRef {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_apart() {
        let cases = [
            ("file", "built-in"),
            ("./guests/large", "directory"),
            ("../large", "directory"),
            ("/srv/stages/large", "directory"),
            (".", "directory"),
            ("large.wasm", "wasm"),
            ("./out/large.wasm", "wasm"),
            ("registry.example/acme/large:1.2.0", "oci"),
            ("registry.example:5000/large", "oci"),
            ("localhost/large", "oci"),
            ("registry.example/acme/split@sha256:0a1b", "oci"),
            ("registry.example/acme/split:1@sha256:0a1b", "oci"),
            ("large", "nothing"),
            ("guests/large", "nothing"),
            ("registry.example/", "nothing"),
            ("registry.example/a:", "nothing"),
            ("registry.example/a@sha256", "nothing"),
            ("https://x.example/large.wasm", "nothing"),
            ("", "nothing"),
        ];
        for (text, expected) in cases {
            let found = match parse(text, &["file", "stdin"]) {
                Some(StageRef::BuiltIn(_)) => "built-in",
                Some(StageRef::Directory(_)) => "directory",
                Some(StageRef::WasmFile(_)) => "wasm",
                Some(StageRef::Oci(_)) => "oci",
                None => "nothing",
            };
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn an_oci_reference_prints_as_it_was_written() {
        for text in ["r.example/a/b:1.2", "r.example:5000/a@sha256:00", "r.example/a:1@sha256:00"] {
            assert_eq!(parse(text, &[]).map(|reference| reference.to_string()).as_deref(), Some(text));
        }
    }
}
