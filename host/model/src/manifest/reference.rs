//! What stands behind `source:`, `transform:` and `sink:`: a built-in connector, a path or an OCI reference.

use super::pipeline::{OciRef, StageRef};
use crate::ids::{Digest, DigestError};

/// Why a text refers to no stage.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is nothing of the kind.
    Nothing,
    /// A repository, of which nobody says which version is meant.
    NoVersion,
    Digest(DigestError),
}

/// What a text refers to. `built_in` are the connectors of the role.
pub(super) fn parse(text: &str, built_in: &[&str]) -> Result<StageRef, Unfit> {
    if built_in.contains(&text) {
        return Ok(StageRef::BuiltIn(text.to_owned()));
    }
    if text.ends_with(".wasm") && !text.contains("://") {
        return Ok(StageRef::WasmFile(text.to_owned()));
    }
    let is_path =
        ["./", "../", "/"].iter().any(|start| text.starts_with(start)) || text == "." || text == "..";
    if is_path {
        return Ok(StageRef::Directory(text.to_owned()));
    }
    let oci = oci(text).ok_or(Unfit::Nothing)?;
    match oci.digest.as_deref().map(str::parse::<Digest>) {
        Some(Err(error)) => Err(Unfit::Digest(error)),
        None if oci.tag.is_none() => Err(Unfit::NoVersion),
        _ => Ok(StageRef::Oci(oci)),
    }
}

/// Whether a text has the form of a reference into a registry.
pub(super) fn is_oci(text: &str) -> bool {
    oci(text).is_some()
}

/// `registry/repository[:tag][@digest]`. The registry is a host name with a dot or a port, or `localhost`, as
/// in the distribution specification's clients, <https://github.com/opencontainers/distribution-spec>, or an address of
/// IPv6 in brackets.
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
    let word = |text: &str, extra: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c) || extra.contains(c))
    };
    let digest_like = |digest: &str| {
        digest.split_once(':').is_some_and(|(algorithm, hash)| word(algorithm, "+") && word(hash, ""))
    };
    let host_like = match registry.strip_prefix('[') {
        Some(rest) => rest.split_once(']').is_some_and(|(address, port)| {
            let port = port.strip_prefix(':').or(port.is_empty().then_some("0"));
            word(address, ":") && port.is_some_and(|port| word(port, ""))
        }),
        None => word(registry, ":") && (registry.contains(['.', ':']) || registry == "localhost"),
    };
    let fits = host_like
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

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_told_apart() {
        let (pinned, both) = (format!("r.example/split@sha256:{HEX}"), format!("r.example/split:1@sha256:{HEX}"));
        let cases = [
            ("file", "built-in"),
            ("./guests/large", "directory"),
            ("../large", "directory"),
            ("/srv/stages/large", "directory"),
            (".", "directory"),
            ("large.wasm", "wasm"),
            ("./out/large.wasm", "wasm"),
            ("registry.example/acme/large:1.2.0", "oci"),
            ("registry.example:5000/large:1", "oci"),
            ("localhost/large:1", "oci"),
            ("127.0.0.1:5000/acme/large:1", "oci"),
            ("[::1]:5000/acme/large:1", "oci"),
            ("[fe80::1]/large:1", "oci"),
            (&pinned, "oci"),
            (&both, "oci"),
            ("registry.example/acme/large", "no version"),
            ("registry.example:5000/large", "no version"),
            ("[::1]:5000/large", "no version"),
            ("registry.example/a@sha256:0a1b", "digest"),
            ("registry.example/a@sha256:...", "digest"),
            ("registry.example/a:1@md5:0a1b", "digest"),
            ("large", "nothing"),
            ("guests/large", "nothing"),
            ("acme/large:1", "nothing"),
            ("registry.example/", "nothing"),
            ("registry.example/a:", "nothing"),
            ("registry.example/a@sha256", "nothing"),
            ("[::1/a:1", "nothing"),
            ("[]/a:1", "nothing"),
            ("[::1]x/a:1", "nothing"),
            ("https://x.example/large.wasm", "nothing"),
            ("", "nothing"),
        ];
        for (text, expected) in cases {
            let found = match parse(text, &["file", "stdin"]) {
                Ok(StageRef::BuiltIn(_)) => "built-in",
                Ok(StageRef::Directory(_)) => "directory",
                Ok(StageRef::WasmFile(_)) => "wasm",
                Ok(StageRef::Oci(_)) => "oci",
                Err(Unfit::NoVersion) => "no version",
                Err(Unfit::Digest(_)) => "digest",
                Err(Unfit::Nothing) => "nothing",
            };
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn an_oci_reference_prints_as_it_was_written() {
        for text in [
            "r.example/a/b:1.2".to_owned(),
            format!("r.example:5000/a@sha256:{HEX}"),
            format!("[::1]:5000/a:1@sha256:{HEX}"),
        ] {
            assert_eq!(parse(&text, &[]).map(|reference| reference.to_string()), Ok(text));
        }
    }
}
