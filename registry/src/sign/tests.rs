use super::fake::Fake;
use super::*;

const NOW: i64 = 1_800_000_000;
const BOTH: [Layout; 2] = [Layout::Tag, Layout::Bundle];

fn image() -> ImageRef {
    "registry.example.com/acme/large:1".parse().expect("an image")
}

fn key() -> Key {
    Key::generate(KeyKind::P256).expect("a key")
}

fn by(found: &[Signature], key: &Key) -> Vec<Layout> {
    let public = key.public().expect("public");
    let is_by = |signature: &&Signature| signature.found.as_ref().is_ok_and(|signed| signed.is_by(&public));
    found.iter().filter(is_by).map(|signature| signature.layout).collect()
}

#[tokio::test]
async fn signatures_stand_beside_one_another_and_once() {
    let target = Fake::default();
    let manifest = target.image("1", "{}", "wasm").await;
    assert!(signatures(&target, &manifest.digest).await.expect("none").is_empty());
    let (first, second) = (key(), Key::generate(KeyKind::Ed25519).expect("a key"));
    for key in [&first, &second] {
        let put = sign(&target, &image(), &manifest, key, &BOTH, NOW).await.expect("signed");
        assert!(put.iter().all(|put| !put.was_there), "{put:?}");
    }
    let again = sign(&target, &image(), &manifest, &first, &BOTH, NOW + 1).await.expect("signed");
    assert!(again.iter().all(|put| put.was_there), "{again:?}");
    let found = signatures(&target, &manifest.digest).await.expect("four");
    assert_eq!(found.len(), 4);
    assert_eq!((by(&found, &first), by(&found, &second)), (BOTH.to_vec(), BOTH.to_vec()));
    for signature in &found {
        let claim = signature.found.as_ref().expect("signed").claim().expect("a claim");
        assert_eq!((claim.says, &claim.digests[..]), (Says::Signature, &[manifest.digest.to_string()][..]));
        let repository =
            (signature.layout == Layout::Tag).then(|| "registry.example.com/acme/large".to_owned());
        assert_eq!(claim.repository, repository);
    }
    let json = serde_json::to_string(&found).expect("JSON");
    assert_eq!(serde_json::from_str::<Vec<Signature>>(&json).expect("signatures"), found);
}

#[tokio::test]
async fn a_signature_that_another_signer_has_overwritten_is_added_again() {
    let target = Fake::default();
    let manifest = target.image("1", "{}", "wasm").await;
    let (ours, theirs) = (key(), key());
    sign(&target, &image(), &manifest, &theirs, &[Layout::Tag], NOW).await.expect("signed");
    let tag = tag(&manifest.digest).expect("a tag");
    let before = target.kept().tags[&tag];
    let restore = move |kept: &mut super::fake::Kept| {
        kept.tags.insert(tag, before);
    };
    target.kept().meanwhile.push(Box::new(restore));
    let put = sign(&target, &image(), &manifest, &ours, &[Layout::Tag], NOW).await.expect("signed");
    assert!(!put[0].was_there);
    assert!(target.kept().meanwhile.is_empty(), "nobody was in between");
    let found = signatures(&target, &manifest.digest).await.expect("two");
    assert_eq!((by(&found, &ours).len(), by(&found, &theirs).len()), (1, 1));
}

#[tokio::test]
async fn what_is_no_signature_is_among_them_as_that_and_hides_none() {
    let target = Fake::default();
    let manifest = target.image("1", "{}", "wasm").await;
    let (first, second) = (key(), key());
    sign(&target, &image(), &manifest, &first, &[Layout::Bundle], NOW).await.expect("signed");
    let bundle = target.kept().blobs.keys().copied().collect::<Vec<_>>();
    // The content of the first signature is damaged where it lies.
    for digest in bundle {
        target.kept().blobs.insert(digest, Bytes::from_static(b"other"));
    }
    sign(&target, &image(), &manifest, &second, &BOTH, NOW).await.expect("signed");
    let found = signatures(&target, &manifest.digest).await.expect("three");
    assert_eq!((found.len(), by(&found, &first).len(), by(&found, &second).len()), (3, 0, 2));
    let unread = found.iter().find_map(|signature| signature.found.as_ref().err()).expect("one that is none");
    assert!(matches!(unread, Unread::Malformed { why } if why.contains("damaged")), "{unread}");
}

#[tokio::test]
async fn an_attestation_is_not_fetched_and_an_image_by_referrer_is_read() {
    let target = Fake::default();
    let manifest = target.image("1", "{}", "wasm").await;
    let key = key();
    let payload = simple::payload("registry.example.com/acme/large", &manifest.digest).expect("JSON");
    let image = simple::with(None, &payload, &key.sign(&payload)).expect("JSON").expect("an image");
    let mut referrer: serde_json::Value = serde_json::from_slice(&image.manifest).expect("JSON");
    referrer["artifactType"] = simple::REFERRER.into();
    referrer["subject"] =
        serde_json::json!({ "mediaType": IMAGE, "digest": manifest.digest, "size": manifest.size });
    let mut other = referrer.clone();
    other["artifactType"] = bundle::BUNDLE.into();
    other["annotations"] = serde_json::json!({ bundle::PREDICATE_TYPE: "https://slsa.dev/provenance/v1" });
    target.kept().blobs.insert(Digest::of(&payload), payload.into());
    for referrer in [referrer, other] {
        let bytes = Bytes::from(referrer.to_string());
        let reference = Reference::Digest(Digest::of(&bytes));
        target.put_manifest(&reference, IMAGE, bytes).await.expect("put");
    }
    let found = signatures(&target, &manifest.digest).await.expect("one");
    assert_eq!((found.len(), by(&found, &key)), (1, vec![Layout::Tag]));
}

#[tokio::test]
async fn more_signatures_than_are_looked_at_are_counted_and_not_made() {
    let target = Fake::default();
    let manifest = target.image("1", "{}", "wasm").await;
    let payload = simple::payload("registry.example.com/acme/large", &manifest.digest).expect("JSON");
    let mut existing = None;
    for nth in 0..SIGNATURES_MAX + 3 {
        let image = simple::with(existing.as_deref(), &payload, format!("{nth}").as_bytes());
        existing = Some(image.expect("JSON").expect("one more").manifest);
    }
    target.kept().blobs.insert(Digest::of(&payload), payload.into());
    let reference = Reference::Tag(tag(&manifest.digest).expect("a tag"));
    target.put_manifest(&reference, IMAGE, existing.expect("one").into()).await.expect("put");
    let found = signatures(&target, &manifest.digest).await.expect("many");
    assert_eq!(found.len(), SIGNATURES_MAX + 1);
    assert_eq!(found.last().map(|last| last.found.clone()), Some(Err(Unread::LeftOut { count: 3 })));
    let error =
        sign(&target, &image(), &manifest, &key(), &[Layout::Tag], NOW).await.expect_err("one too many");
    assert!(matches!(error, SignError::Many { .. }), "{error}");
}

#[tokio::test]
async fn a_long_digest_is_signed_in_a_bundle_alone() {
    let target = Fake::default();
    let mut manifest = target.image("1", "{}", "wasm").await;
    manifest.digest = Digest::by(model::ids::Algorithm::Sha512, b"manifest");
    let key = key();
    let error = sign(&target, &image(), &manifest, &key, &[Layout::Tag], NOW).await.expect_err("no tag");
    assert!(error.to_string().contains("--layout bundle"), "{error}");
    sign(&target, &image(), &manifest, &key, &[Layout::Bundle], NOW).await.expect("signed");
    let found = signatures(&target, &manifest.digest).await.expect("one");
    let claim = found[0].found.as_ref().expect("signed").claim().expect("a claim");
    assert_eq!(claim.digests, [manifest.digest.to_string()]);
}

/// What cosign 3.1.3 wrote: `cosign generate-key-pair` with the password `secret`, and `cosign sign --key` in both formats.
mod cosign {
    use super::*;

    const KEY: &str = include_str!("cosign-3.1.3/cosign.key");
    const PUBLIC: &str = include_str!("cosign-3.1.3/cosign.pub");
    const IMAGE_: &[u8] = include_bytes!("cosign-3.1.3/image.json");
    const SIGNATURES: &[u8] = include_bytes!("cosign-3.1.3/signatures.json");
    const PAYLOAD: &[u8] = include_bytes!("cosign-3.1.3/payload.json");
    const CONFIG: &[u8] = include_bytes!("cosign-3.1.3/config.json");
    const BUNDLE: &[u8] = include_bytes!("cosign-3.1.3/bundle.json");
    const REFERRER: &[u8] = include_bytes!("cosign-3.1.3/referrer.json");
    const REPOSITORY: &str = "127.0.0.1:5431/acme/large";

    #[test]
    fn its_key_is_read_under_both_of_its_names() {
        let public = PublicKey::from_pem(PUBLIC).expect("a key");
        for text in [KEY.to_owned(), KEY.replace("ENCRYPTED SIGSTORE", "ENCRYPTED COSIGN")] {
            let key = Key::from_pem(&text, Some(b"secret")).expect("a key");
            assert_eq!(key.public().expect("public"), public);
        }
        assert_eq!(public.to_pem().expect("PEM"), PUBLIC);
    }

    #[tokio::test]
    async fn its_signatures_are_found_and_right() {
        let (target, public) = (Fake::default(), PublicKey::from_pem(PUBLIC).expect("a key"));
        let digest = Digest::of(IMAGE_);
        for blob in [PAYLOAD, BUNDLE] {
            target.kept().blobs.insert(Digest::of(blob), Bytes::from_static(blob));
        }
        let tag = Reference::Tag(tag(&digest).expect("a tag"));
        for (reference, bytes) in [(tag, SIGNATURES), (Reference::Digest(Digest::of(REFERRER)), REFERRER)] {
            target.put_manifest(&reference, IMAGE, Bytes::from_static(bytes)).await.expect("put");
        }
        let found = signatures(&target, &digest).await.expect("two");
        assert_eq!(found.iter().map(|signature| signature.layout).collect::<Vec<_>>(), BOTH);
        for signature in found {
            let signed = signature.found.expect("a signature");
            assert!(signed.is_by(&public));
            let claim = signed.claim().expect("a claim");
            assert_eq!((claim.says, claim.digests), (Says::Signature, vec![digest.to_string()]));
            assert!(claim.repository.is_none_or(|repository| repository == REPOSITORY));
        }
    }

    #[test]
    fn what_is_written_here_is_what_it_writes() {
        let digest = Digest::of(IMAGE_);
        let payload = simple::payload(REPOSITORY, &digest).expect("JSON");
        assert_eq!(String::from_utf8_lossy(&payload), String::from_utf8_lossy(PAYLOAD));
        let layer = simple::layers(SIGNATURES).expect("an image").remove(0).expect("a layer");
        let image = simple::with(None, PAYLOAD, &layer.signature.expect("a signature"));
        let image = image.expect("JSON").expect("an image");
        assert_eq!(String::from_utf8_lossy(&image.manifest), String::from_utf8_lossy(SIGNATURES));
        assert_eq!(String::from_utf8_lossy(&image.config), String::from_utf8_lossy(CONFIG));
        let subject = Descriptor {
            media_type: IMAGE.to_owned(),
            digest,
            size: IMAGE_.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
        };
        let manifest = bundle::manifest(BUNDLE, &subject, "2026-11-30T18:18:26Z").expect("JSON");
        let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
        // By which others make a file of it.
        manifest["layers"][0].as_object_mut().expect("a layer").remove("annotations");
        assert_eq!(manifest, serde_json::from_slice::<serde_json::Value>(REFERRER).expect("JSON"));
    }
}
