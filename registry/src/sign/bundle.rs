//! Signatures as Sigstore bundles that refer to what is signed, as cosign 3 writes them: an in-toto statement in a DSSE
//! envelope, signed with a key that is named by its hash.
//!
//! Formats: <https://github.com/sigstore/cosign/blob/v3.1.3/specs/BUNDLE_SPEC.md>,
//! <https://github.com/sigstore/protobuf-specs/blob/v0.5.1/protos/sigstore_bundle.proto> as JSON,
//! <https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md>,
//! <https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/statement.md>.

use base64::Engine as _;
use base64::alphabet::{STANDARD as PLAIN, URL_SAFE};
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use model::ids::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::key::{Key, KeyError};
use super::signature::{Claim, Content, Says, Signed, Unread};
use crate::manifest::{Descriptor, IMAGE};

/// What a bundle is, as an artifact and as its layer.
pub(super) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// As version 0.3 was called first.
const BUNDLE_ONCE: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";
/// All versions begin so.
pub(super) const ANY_BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
pub(super) const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
/// What cosign says of an image that it signs.
pub(super) const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
const CONTENT: &str = "dev.sigstore.bundle.content";
const CREATED: &str = "org.opencontainers.image.created";
const TITLE: &str = "org.opencontainers.image.title";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub(super) const EMPTY_CONFIG: &[u8] = b"{}";
const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const STATEMENT_ONCE: &str = "https://in-toto.io/Statement/v0.1";

#[derive(Serialize, Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    #[serde(default)]
    predicate: Value,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    #[serde(default)]
    digest: Map<String, Value>,
}

/// As protobuf's JSON has it: names of fields come in both styles.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    #[serde(alias = "media_type")]
    media_type: String,
    #[serde(alias = "verification_material")]
    verification_material: Option<Material>,
    #[serde(alias = "dsse_envelope")]
    dsse_envelope: Option<Envelope>,
    #[serde(alias = "message_signature")]
    message_signature: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(alias = "public_key")]
    public_key: Option<PublicKeyName>,
}

#[derive(Deserialize)]
struct PublicKeyName {
    #[serde(default)]
    hint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    #[serde(alias = "payload_type")]
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

/// Protobuf's JSON takes both alphabets, with padding and without.
fn bytes(text: &str) -> Result<Vec<u8>, Unread> {
    let lax = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { URL_SAFE } else { PLAIN };
    GeneralPurpose::new(&alphabet, lax).decode(text).map_err(Unread::malformed)
}

/// The bytes that a DSSE envelope's signature is of: PAE, "DSSEv1" and both parts with their lengths.
pub(super) fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

/// A bundle in which this key signs a manifest.
pub(super) fn sign(digest: &Digest, key: &Key) -> Result<Vec<u8>, KeyError> {
    say(digest, key, SIGNED)
}

/// A bundle in which this key says something of a manifest.
pub(super) fn say(digest: &Digest, key: &Key, predicate_type: &str) -> Result<Vec<u8>, KeyError> {
    let statement = Statement {
        kind: STATEMENT.to_owned(),
        subject: vec![Subject {
            digest: Map::from_iter([(digest.algorithm().name().to_owned(), digest.hex().into())]),
        }],
        predicate_type: predicate_type.to_owned(),
        predicate: json!({}),
    };
    let payload = serde_json::to_vec(&statement).map_err(|error| KeyError::Encode(error.to_string()))?;
    let signature = key.sign(&pre_authentication(STATEMENT_TYPE, &payload));
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": key.public()?.hint() } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": STATEMENT_TYPE,
            "signatures": [{ "sig": STANDARD.encode(signature) }],
        },
    });
    serde_json::to_vec(&bundle).map_err(|error| KeyError::Encode(error.to_string()))
}

/// The manifest by which a bundle refers to what is signed. `created` is RFC 3339.
pub(super) fn manifest(
    bundle: &[u8],
    subject: &Descriptor,
    created: &str,
) -> Result<Vec<u8>, serde_json::Error> {
    let digest = Digest::of(bundle);
    serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {
            "mediaType": EMPTY,
            "size": EMPTY_CONFIG.len(),
            "digest": Digest::of(EMPTY_CONFIG),
            "artifactType": BUNDLE,
        },
        "layers": [{
            "mediaType": BUNDLE,
            "size": bundle.len(),
            "digest": digest,
            "annotations": { TITLE: format!("{}-{}.sigstore.json", digest.algorithm().name(), digest.hex()) },
        }],
        "annotations": {
            CONTENT: "dsse-envelope",
            PREDICATE_TYPE: SIGNED,
            CREATED: created,
        },
        "subject": { "mediaType": subject.media_type, "size": subject.size, "digest": subject.digest },
        "artifactType": BUNDLE,
    }))
}

/// The one layer of the manifest of a bundle: its digest and size.
pub(super) fn layer(manifest: &[u8]) -> Result<Descriptor, Unread> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        layers: Vec<Descriptor>,
    }
    let Manifest { mut layers } = serde_json::from_slice(manifest).map_err(Unread::malformed)?;
    match (layers.pop(), layers.is_empty()) {
        (Some(layer), true) if layer.media_type.starts_with(ANY_BUNDLE) => Ok(layer),
        (Some(layer), true) => Err(Unread::malformed(format_args!("it is `{}`", layer.media_type))),
        _ => Err(Unread::malformed("a bundle has one layer")),
    }
}

pub(super) fn read(bundle: &[u8]) -> Result<Signed, Unread> {
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(Unread::malformed)?;
    if ![BUNDLE, BUNDLE_ONCE].contains(&bundle.media_type.as_str()) {
        return Err(Unread::malformed(format_args!(
            "it is `{}`, and `{BUNDLE}` is known",
            bundle.media_type
        )));
    }
    let Some(PublicKeyName { hint }) = bundle.verification_material.and_then(|material| material.public_key)
    else {
        return Err(Unread::Certificate);
    };
    let Some(Envelope { payload, payload_type, signatures }) = bundle.dsse_envelope else {
        let why = match bundle.message_signature {
            Some(_) => "a bundle with a signature of bytes, which are those of no image",
            None => "a bundle without an envelope",
        };
        return Err(Unread::malformed(why));
    };
    let [EnvelopeSignature { sig }] = &signatures[..] else {
        return Err(Unread::malformed(format_args!(
            "a bundle has one signature, and this one {}",
            signatures.len()
        )));
    };
    let content = Content::Envelope { payload_type, payload: bytes(&payload)? };
    Ok(Signed::new(content, bytes(sig)?, Some(hint).filter(|hint| !hint.is_empty())))
}

pub(super) fn claim(payload_type: &str, payload: &[u8]) -> Result<Claim, Unread> {
    if payload_type != STATEMENT_TYPE {
        return Err(Unread::malformed(format_args!(
            "it says `{payload_type}`, and `{STATEMENT_TYPE}` is known"
        )));
    }
    let statement: Statement = serde_json::from_slice(payload).map_err(Unread::malformed)?;
    if ![STATEMENT, STATEMENT_ONCE].contains(&statement.kind.as_str()) {
        return Err(Unread::malformed(format_args!(
            "it is `{}`, and `{STATEMENT}` is known",
            statement.kind
        )));
    }
    let digests = statement.subject.iter().flat_map(|subject| &subject.digest);
    let digests = digests.filter_map(|(algorithm, hex)| Some(format!("{algorithm}:{}", hex.as_str()?)));
    let says = match statement.predicate_type.as_str() {
        SIGNED => Says::Signature,
        _ => Says::Attestation { predicate_type: statement.predicate_type },
    };
    Ok(Claim { says, digests: digests.collect(), repository: None })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::key::KeyKind;
    use super::*;

    #[test]
    fn a_bundle_is_read_back_as_what_its_key_signed() {
        let (digest, key) = (Digest::of(b"manifest"), Key::generate(KeyKind::P256).expect("a key"));
        let public = key.public().expect("public");
        let bundle = sign(&digest, &key).expect("a bundle");
        let signed = read(&bundle).expect("a signature");
        assert!(signed.is_by(&public));
        assert_eq!(signed.hint(), Some(public.hint()));
        let claim = signed.claim().expect("a claim");
        let expected = Claim { says: Says::Signature, digests: vec![digest.to_string()], repository: None };
        assert_eq!(claim, expected);
        let text = String::from_utf8(bundle).expect("text");
        for (from, to) in [
            ("mediaType", "media_type"),
            ("dsseEnvelope", "dsse_envelope"),
            ("publicKey", "public_key"),
            ("payloadType", "payload_type"),
        ] {
            assert_eq!(read(text.replace(from, to).as_bytes()).as_ref(), Ok(&signed), "{to}");
        }
    }

    /// The example of the specification of DSSE.
    #[test]
    fn what_is_signed_is_what_dsse_says() {
        let message = pre_authentication("http://example.com/HelloWorld", b"hello world");
        assert_eq!(message, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn the_manifest_says_what_cosign_says() {
        let subject = Descriptor {
            media_type: IMAGE.to_owned(),
            digest: Digest::of(b"image"),
            size: 5,
            artifact_type: None,
            annotations: [("a".to_owned(), "b".to_owned())].into(),
        };
        let manifest = manifest(b"bundle", &subject, "2026-01-02T03:04:05Z").expect("JSON");
        let said: Value = serde_json::from_slice(&manifest).expect("JSON");
        assert_eq!(said["artifactType"], BUNDLE);
        assert_eq!(said["config"]["artifactType"], BUNDLE);
        assert_eq!(said["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
        assert_eq!(said["annotations"]["dev.sigstore.bundle.content"], "dsse-envelope");
        assert_eq!(said["annotations"]["dev.sigstore.bundle.predicateType"], SIGNED);
        assert_eq!(said["annotations"]["org.opencontainers.image.created"], "2026-01-02T03:04:05Z");
        assert_eq!(said["subject"], json!({ "mediaType": IMAGE, "size": 5, "digest": subject.digest }));
        let layer = layer(&manifest).expect("a layer");
        assert_eq!((layer.digest, layer.size), (Digest::of(b"bundle"), 6));
    }

    #[test]
    fn what_is_no_signature_by_a_key_is_told_as_what_it_is() {
        let key = Key::generate(KeyKind::P256).expect("a key");
        let bundle: Value =
            serde_json::from_slice(&sign(&Digest::of(b""), &key).expect("a bundle")).expect("JSON");
        let changed = |change: fn(&mut Value)| {
            let mut bundle = bundle.clone();
            change(&mut bundle);
            read(bundle.to_string().as_bytes()).expect_err("no signature").to_string()
        };
        let version = changed(|bundle| {
            bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into()
        });
        assert!(version.contains("version=0.1"), "{version}");
        let certificate =
            changed(|bundle| bundle["verificationMaterial"] = json!({ "certificate": { "rawBytes": "" } }));
        assert!(certificate.contains("certificate"), "{certificate}");
        let two = changed(|bundle| {
            let one = bundle["dsseEnvelope"]["signatures"][0].clone();
            bundle["dsseEnvelope"]["signatures"] = json!([one, one]);
        });
        assert!(two.contains("one signature, and this one 2"), "{two}");
        let blob = changed(|bundle| {
            bundle["dsseEnvelope"] = Value::Null;
            bundle["messageSignature"] = json!({});
        });
        assert!(blob.contains("signature of bytes"), "{blob}");
    }

    #[test]
    fn an_attestation_is_no_signature() {
        let payload =
            json!({ "_type": STATEMENT, "subject": [], "predicateType": "https://slsa.dev/provenance/v1" });
        let claim = claim(STATEMENT_TYPE, payload.to_string().as_bytes()).expect("a claim");
        assert!(
            matches!(claim.says, Says::Attestation { predicate_type } if predicate_type.contains("slsa"))
        );
        assert!(super::claim("text/plain", b"{}").is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_comes_in_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), text in ".{0,60}") {
            let _ = (read(&bytes).is_ok(), layer(&bytes).is_ok(), claim(STATEMENT_TYPE, &bytes).is_ok());
            let bundle = json!({
                "mediaType": BUNDLE,
                "verificationMaterial": { "publicKey": { "hint": text } },
                "dsseEnvelope": { "payload": text, "payloadType": text, "signatures": [{ "sig": text }] },
            });
            if let Ok(signed) = read(bundle.to_string().as_bytes()) {
                prop_assert!(signed.claim().is_err());
            }
        }
    }
}
