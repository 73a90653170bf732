//! What a manifest names, read out of its bytes, which are kept as they came.
//!
//! OCI image specification 1.1, <https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md>, and the media
//! types of Docker that mean the same.

use std::collections::BTreeMap;

use model::ids::Digest;
use serde::{Deserialize, Serialize};

pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Of a candidate of the specification; what was pushed with it is still about.
const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// All that is taken.
pub const TAKEN: [&str; 5] = [IMAGE, INDEX, DOCKER_IMAGE, DOCKER_LIST, ARTIFACT];

/// A manifest, as far as a registry looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub media_type: String,
    /// All that it names, but for the subject.
    pub names: Vec<Named>,
    pub subject: Option<Digest>,
    pub artifact_type: Option<String>,
    pub annotations: BTreeMap<String, String>,
}

/// Something that a manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub digest: Digest,
    pub bytes: u64,
    /// Whether it has to be here for the manifest to be of use. Layers that may not be given on lie elsewhere.
    pub is_needed: bool,
}

/// What a list of referrers, or an index, has of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Why bytes are no manifest that is taken.
#[derive(thiserror::Error, Debug)]
pub enum ManifestError {
    #[error("the manifest is not what it should be: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the manifest says neither by `mediaType` nor by the header Content-Type what it is")]
    NoMediaType,
    #[error(
        "the manifest is `{media_type}`, which is not known; manifests and indexes of OCI and of Docker are"
    )]
    MediaType { media_type: String },
    #[error(
        "the manifest says that it is `{inside}`, and the header Content-Type `{outside}`: they have to be the same"
    )]
    TwoTypes { inside: String, outside: String },
    #[error("the manifest is of schema version {found}; 2 is what there is")]
    Version { found: u64 },
    #[error("the manifest has no `{field}`, which `{media_type}` has to have")]
    Missing { field: &'static str, media_type: String },
    #[error("the manifest has a `{field}`, which `{media_type}` has not")]
    Foreign { field: &'static str, media_type: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawNamed>,
    layers: Option<Vec<RawNamed>>,
    manifests: Option<Vec<RawNamed>>,
    blobs: Option<Vec<RawNamed>>,
    subject: Option<RawNamed>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawNamed {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    urls: Vec<String>,
}

impl RawNamed {
    fn named(&self) -> Named {
        Named { digest: self.digest, bytes: self.size, is_needed: true }
    }

    /// Layers that may not be given on lie where their URLs say, and are not pushed, or are all the same.
    fn layer(&self) -> Named {
        let is_foreign = ["nondistributable", ".foreign."].iter().any(|word| self.media_type.contains(word));
        Named { is_needed: !is_foreign && self.urls.is_empty(), ..self.named() }
    }
}

impl Manifest {
    /// Reads one that came with this `Content-Type`.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        let raw: Raw = serde_json::from_slice(bytes)?;
        let outside = content_type.map(|named| named.split(';').next().unwrap_or_default().trim());
        let media_type = media_type(raw.media_type.as_deref(), outside.filter(|named| is_specific(named)))?;
        let missing = |field| ManifestError::Missing { field, media_type: media_type.clone() };
        let none = |field, is_there: bool| match is_there {
            true => Err(ManifestError::Foreign { field, media_type: media_type.clone() }),
            false => Ok(()),
        };
        if media_type != ARTIFACT && raw.schema_version != Some(2) {
            return Err(ManifestError::Version { found: raw.schema_version.unwrap_or(1) });
        }
        let names = match media_type.as_str() {
            IMAGE | DOCKER_IMAGE => {
                // What is two kinds at once is read as either, by one and by another.
                none("manifests", raw.manifests.is_some())?;
                let config = raw.config.as_ref().ok_or_else(|| missing("config"))?;
                let layers = raw.layers.as_ref().ok_or_else(|| missing("layers"))?;
                std::iter::once(config.named()).chain(layers.iter().map(RawNamed::layer)).collect()
            }
            INDEX | DOCKER_LIST => {
                none("layers", raw.layers.is_some())?;
                none("config", raw.config.is_some())?;
                let manifests = raw.manifests.as_ref().ok_or_else(|| missing("manifests"))?;
                manifests.iter().map(RawNamed::named).collect()
            }
            _ => raw.blobs.iter().flatten().map(RawNamed::layer).collect(),
        };
        let of_config = raw.config.map(|config| config.media_type).filter(|named| !named.is_empty());
        Ok(Self {
            media_type,
            names,
            subject: raw.subject.map(|subject| subject.digest),
            artifact_type: raw.artifact_type.filter(|named| !named.is_empty()).or(of_config),
            annotations: raw.annotations.unwrap_or_default(),
        })
    }

    pub fn descriptor(&self, digest: Digest, size: u64) -> Descriptor {
        let (media_type, annotations) = (self.media_type.clone(), self.annotations.clone());
        Descriptor { media_type, digest, size, artifact_type: self.artifact_type.clone(), annotations }
    }
}

/// Whether what it names are manifests.
pub fn is_index(media_type: &str) -> bool {
    [INDEX, DOCKER_LIST].contains(&media_type)
}

/// What clients send that do not say what it is.
fn is_specific(named: &str) -> bool {
    !named.is_empty() && !["application/json", "application/octet-stream", "text/plain"].contains(&named)
}

fn media_type(inside: Option<&str>, outside: Option<&str>) -> Result<String, ManifestError> {
    let named = match (inside.filter(|named| !named.is_empty()), outside) {
        (Some(inside), Some(outside)) if inside != outside => {
            return Err(ManifestError::TwoTypes { inside: inside.to_owned(), outside: outside.to_owned() });
        }
        (Some(named), _) | (None, Some(named)) => named,
        (None, None) => return Err(ManifestError::NoMediaType),
    };
    match TAKEN.contains(&named) {
        true => Ok(named.to_owned()),
        false => Err(ManifestError::MediaType { media_type: named.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn named(media_type: &str, content: &[u8]) -> Value {
        json!({ "mediaType": media_type, "digest": Digest::of(content), "size": content.len() })
    }

    fn image() -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": named("application/vnd.wasm.config.v0+json", b"{}"),
            "layers": [named("application/wasm", b"wasm")],
            "annotations": { "a": "b" },
        })
    }

    fn parse(manifest: &Value, content_type: Option<&str>) -> Result<Manifest, ManifestError> {
        Manifest::parse(manifest.to_string().as_bytes(), content_type)
    }

    #[test]
    fn an_image_needs_its_config_and_its_layers() {
        let manifest = parse(&image(), Some(IMAGE)).expect("a manifest");
        let names: Vec<_> =
            manifest.names.iter().map(|named| (named.digest, named.bytes, named.is_needed)).collect();
        assert_eq!(names, [(Digest::of(b"{}"), 2, true), (Digest::of(b"wasm"), 4, true)]);
        assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.wasm.config.v0+json"));
        let descriptor = serde_json::to_value(manifest.descriptor(Digest::of(b"m"), 1)).expect("JSON");
        let wanted = json!({ "mediaType": IMAGE, "digest": Digest::of(b"m"), "size": 1,
            "artifactType": "application/vnd.wasm.config.v0+json", "annotations": { "a": "b" } });
        assert_eq!(descriptor, wanted);
    }

    #[test]
    fn layers_that_lie_elsewhere_are_not_needed() {
        let mut manifest = image();
        let elsewhere = "application/vnd.oci.image.layer.nondistributable.v1.tar";
        let docker = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let mut by_url = named("application/wasm", b"u");
        by_url["urls"] = json!(["https://store.example.com/u"]);
        manifest["layers"] = json!([named(elsewhere, b"x"), named(docker, b"y"), by_url]);
        let names = parse(&manifest, None).expect("a manifest").names;
        let needed: Vec<_> = names.iter().filter(|named| named.is_needed).map(|named| named.digest).collect();
        assert_eq!((names.len(), needed), (4, vec![Digest::of(b"{}")]));
    }

    #[test]
    fn an_index_needs_its_manifests_and_has_the_artifact_type_that_it_says() {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [named(IMAGE, b"m")],
            "subject": named(IMAGE, b"s"), "artifactType": "application/x" });
        let manifest = parse(&index, None).expect("a manifest");
        assert_eq!((manifest.names.len(), manifest.subject), (1, Some(Digest::of(b"s"))));
        assert_eq!(manifest.artifact_type.as_deref(), Some("application/x"));
    }

    #[test]
    fn the_media_type_is_said_once_or_twice_the_same() {
        let mut manifest = image();
        assert!(matches!(parse(&manifest, Some(INDEX)), Err(ManifestError::TwoTypes { .. })));
        assert!(parse(&manifest, Some(&format!("{IMAGE}; charset=utf-8"))).is_ok());
        assert!(parse(&manifest, Some("application/json")).is_ok());
        manifest.as_object_mut().expect("an object").remove("mediaType");
        assert!(parse(&manifest, Some(IMAGE)).is_ok());
        assert!(matches!(parse(&manifest, None), Err(ManifestError::NoMediaType)));
        assert!(matches!(parse(&manifest, Some("a/b")), Err(ManifestError::MediaType { .. })));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let change = |key: &str, value: Value| {
            let mut manifest = image();
            manifest[key] = value;
            manifest
        };
        for manifest in [
            json!([]),
            json!({}),
            change("schemaVersion", json!(1)),
            change("schemaVersion", json!("2")),
            change("config", Value::Null),
            change("layers", Value::Null),
            change("layers", json!([{ "digest": "sha256:x", "size": 1 }])),
            change("layers", json!([{ "digest": Digest::of(b""), "size": -1 }])),
            change("layers", json!([{ "digest": Digest::of(b"") }])),
            change("manifests", json!([])),
            change("subject", json!({ "digest": "md5:x", "size": 1 })),
            change("annotations", json!({ "a": 1 })),
        ] {
            assert!(parse(&manifest, None).is_err(), "{manifest}");
        }
        let twice = image().to_string().replace("\"schemaVersion\":2", "\"schemaVersion\":2,\"layers\":[]");
        assert!(Manifest::parse(twice.as_bytes(), None).is_err(), "one key twice is two manifests");
        assert!(Manifest::parse(b"\xff", None).is_err());
    }
}
