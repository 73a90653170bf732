//! Signatures in an image with a tag of its own, as cosign has kept them from its beginning: payloads of simple signing as
//! layers, with the signatures in annotations.
//!
//! Format: <https://github.com/sigstore/cosign/blob/v3.1.3/specs/SIGNATURE_SPEC.md>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::ids::{Algorithm, Digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::signature::{Claim, Content, Says, Signed, Unread};
use crate::manifest::IMAGE;
use crate::name::Tag;

pub(super) const LAYER: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What an image of signatures is where it refers to what is signed rather than having a tag: an experiment of cosign's.
pub(super) const REFERRER: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TYPE: &str = "cosign container image signature";
/// The time that Go has where nobody set one.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

#[derive(Serialize, Deserialize)]
struct Payload {
    critical: Critical,
    /// Not critical, and not looked at.
    #[serde(default)]
    optional: Value,
}

#[derive(Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Serialize, Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: String,
}

/// The tag under which signatures of a manifest are kept. None where it would be too long for one.
pub fn tag(of: &Digest) -> Option<Tag> {
    match of.algorithm() {
        Algorithm::Sha256 => format!("sha256-{}.sig", of.hex()).parse().ok(),
        Algorithm::Sha512 => None,
    }
}

/// What is signed.
pub(super) fn payload(repository: &str, digest: &Digest) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Payload {
        critical: Critical {
            identity: Identity { docker_reference: repository.to_owned() },
            image: Image { docker_manifest_digest: digest.to_string() },
            kind: TYPE.to_owned(),
        },
        optional: Value::Null,
    })
}

pub(super) fn claim(payload: &[u8]) -> Result<Claim, Unread> {
    let Payload { critical, .. } = serde_json::from_slice(payload).map_err(Unread::malformed)?;
    let says = match critical.kind.as_str() {
        TYPE => Says::Signature,
        _ => Says::Attestation { predicate_type: critical.kind },
    };
    let repository = without_tag(&critical.identity.docker_reference).to_owned();
    Ok(Claim { says, digests: vec![critical.image.docker_manifest_digest], repository: Some(repository) })
}

/// Some signers write a whole reference.
fn without_tag(reference: &str) -> &str {
    let reference = reference.split_once('@').map_or(reference, |(before, _)| before);
    match reference.rsplit_once(':') {
        // A port is followed by a path.
        Some((before, tag)) if !tag.contains('/') => before,
        _ => reference,
    }
}

/// An image of signatures: its manifest and its config.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SignatureImage {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
}

/// One layer of an image of signatures: what is to be fetched, and the signature of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub digest: Digest,
    pub bytes: u64,
    pub signature: Result<Vec<u8>, Unread>,
}

/// The layers of an image of signatures.
pub(super) fn layers(manifest: &[u8]) -> Result<Vec<Result<Layer, Unread>>, Unread> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        layers: Vec<Value>,
    }
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(Unread::malformed)?;
    Ok(manifest.layers.into_iter().map(layer).collect())
}

fn layer(layer: Value) -> Result<Layer, Unread> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw {
        media_type: String,
        digest: Digest,
        size: u64,
        #[serde(default)]
        annotations: std::collections::BTreeMap<String, String>,
    }
    let raw: Raw = serde_json::from_value(layer).map_err(Unread::malformed)?;
    if raw.media_type != LAYER {
        return Err(Unread::malformed(format_args!("it is `{}`", raw.media_type)));
    }
    let is_by_certificate = raw.annotations.get(CERTIFICATE).is_some_and(|text| !text.is_empty());
    let signature = match raw.annotations.get(SIGNATURE) {
        _ if is_by_certificate => Err(Unread::Certificate),
        Some(text) => STANDARD.decode(text).map_err(Unread::malformed),
        None => Err(Unread::malformed("it has no signature in its annotations")),
    };
    Ok(Layer { digest: raw.digest, bytes: raw.size, signature })
}

pub(super) fn signed(payload: &[u8], signature: Vec<u8>) -> Signed {
    Signed::new(Content::Simple(payload.to_vec()), signature, None)
}

/// The image of signatures with one more; all that it had stays as it was. None where it has this one.
pub(super) fn with(
    existing: Option<&[u8]>,
    payload: &[u8],
    signature: &[u8],
) -> Result<Option<SignatureImage>, serde_json::Error> {
    let mut manifest: Value = match existing {
        Some(bytes) => serde_json::from_slice(bytes)?,
        None => json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": null, "layers": [] }),
    };
    let signature = STANDARD.encode(signature);
    let added = json!({
        "mediaType": LAYER,
        "size": payload.len(),
        "digest": Digest::of(payload),
        "annotations": { SIGNATURE: signature },
    });
    if !manifest["layers"].is_array() {
        return Err(serde::de::Error::custom("the image with the tag of signatures has no layers"));
    }
    let Value::Array(layers) = &mut manifest["layers"] else { return Ok(None) };
    let is_this = |layer: &Value| {
        layer["digest"] == added["digest"]
            && layer["annotations"][SIGNATURE] == added["annotations"][SIGNATURE]
    };
    if layers.iter().any(is_this) {
        return Ok(None);
    }
    layers.push(added);
    let digests: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let history = vec![json!({ "created": NO_TIME }); digests.len()];
    let config = json!({
        "architecture": "",
        "created": NO_TIME,
        "history": history,
        "os": "",
        "rootfs": { "type": "layers", "diff_ids": digests },
        "config": {},
    });
    let config = serde_json::to_vec(&config)?;
    manifest["config"] = json!({ "mediaType": CONFIG, "size": config.len(), "digest": Digest::of(&config) });
    Ok(Some(SignatureImage { manifest: serde_json::to_vec(&manifest)?, config }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_payload_is_what_cosign_writes() {
        let digest = Digest::of(b"manifest");
        let payload = payload("registry.example:5000/acme/large", &digest).expect("JSON");
        let expected = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"registry.example:5000/acme/large"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        assert_eq!(String::from_utf8_lossy(&payload), expected);
        let claim = claim(&payload).expect("a claim");
        assert_eq!(claim.says, Says::Signature);
        assert_eq!(claim.digests, [digest.to_string()]);
        assert_eq!(claim.repository.as_deref(), Some("registry.example:5000/acme/large"));
    }

    #[test]
    fn a_tag_or_a_digest_is_no_part_of_the_repository() {
        for (reference, repository) in [
            ("a.example/b", "a.example/b"),
            ("a.example/b:1.2", "a.example/b"),
            ("a.example:5000/b", "a.example:5000/b"),
            ("a.example:5000/b:1@sha256:ab", "a.example:5000/b"),
            ("[::1]:5000/b", "[::1]:5000/b"),
            ("b", "b"),
            ("", ""),
        ] {
            assert_eq!(without_tag(reference), repository, "{reference}");
        }
    }

    #[test]
    fn the_tag_is_cosigns_and_a_longer_digest_has_none() {
        let digest = Digest::of(b"");
        let tag = tag(&digest).expect("a tag");
        assert_eq!(
            tag.as_str(),
            "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.sig"
        );
        assert_eq!(super::tag(&Digest::by(Algorithm::Sha512, b"")), None);
    }

    #[test]
    fn one_more_signature_leaves_the_others_as_they_were() {
        let first = with(None, b"{}", b"one").expect("JSON").expect("an image");
        assert_eq!(with(Some(&first.manifest), b"{}", b"one").expect("JSON"), None, "once is enough");
        let mut foreign: Value = serde_json::from_slice(&first.manifest).expect("JSON");
        foreign["layers"][0]["annotations"]["dev.sigstore.cosign/bundle"] = "{}".into();
        foreign["annotations"] = json!({ "by": "others" });
        let foreign = serde_json::to_vec(&foreign).expect("JSON");
        let second = with(Some(&foreign), b"{}", b"two").expect("JSON").expect("an image");
        let manifest: Value = serde_json::from_slice(&second.manifest).expect("JSON");
        assert_eq!(manifest["annotations"]["by"], "others");
        assert_eq!(manifest["layers"][0]["annotations"]["dev.sigstore.cosign/bundle"], "{}");
        let layers = layers(&second.manifest).expect("an image");
        let signatures: Vec<_> = layers.into_iter().map(|layer| layer.expect("a layer").signature).collect();
        assert_eq!(signatures, [Ok(b"one".to_vec()), Ok(b"two".to_vec())]);
        let config: Value = serde_json::from_slice(&second.config).expect("JSON");
        assert_eq!(config["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(2));
        assert_eq!(manifest["config"]["digest"], Digest::of(&second.config).to_string());
    }

    #[test]
    fn what_is_no_layer_of_signatures_is_told_as_that() {
        let digest = Digest::of(b"{}");
        let manifest = json!({ "layers": [
            { "mediaType": "application/wasm", "digest": digest, "size": 2 },
            { "mediaType": LAYER, "digest": digest, "size": 2 },
            { "mediaType": LAYER, "digest": digest, "size": 2, "annotations": { SIGNATURE: "!" } },
            { "mediaType": LAYER, "digest": digest, "size": 2, "annotations": { SIGNATURE: "YQ==", CERTIFICATE: "-----BEGIN" } },
            { "mediaType": LAYER },
        ]});
        let layers = layers(manifest.to_string().as_bytes()).expect("an image");
        assert!(matches!(&layers[0], Err(Unread::Malformed { why }) if why.contains("application/wasm")));
        assert!(matches!(&layers[1], Ok(Layer { signature: Err(Unread::Malformed { .. }), .. })));
        assert!(matches!(&layers[2], Ok(Layer { signature: Err(Unread::Malformed { .. }), .. })));
        assert!(matches!(&layers[3], Ok(Layer { signature: Err(Unread::Certificate), .. })));
        assert!(matches!(&layers[4], Err(Unread::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_in_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), text in ".{0,60}") {
            let _ = (claim(&bytes).is_ok(), layers(&bytes).is_ok(), with(Some(&bytes), b"", b"").is_ok());
            let manifest = json!({ "layers": [{ "mediaType": LAYER, "annotations": text }, text, [text]], "config": text });
            let manifest = manifest.to_string();
            let _ = (layers(manifest.as_bytes()).is_ok(), with(Some(manifest.as_bytes()), b"", b"").is_ok());
            let _ = without_tag(&text);
        }
    }
}
