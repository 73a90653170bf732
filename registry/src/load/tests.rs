//! Layouts in stores.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::client::{Content, Target as _};
use crate::manifest::{IMAGE, INDEX};
use crate::name::Reference;
use crate::store::StoreOptions;

fn described(media_type: &str, content: &[u8]) -> Descriptor {
    let (digest, size) = (Digest::of(content), content.len() as u64);
    Descriptor {
        media_type: media_type.into(),
        digest,
        size,
        artifact_type: None,
        annotations: BTreeMap::new(),
    }
}

/// Runs what a layout does by itself.
fn run<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(what)
}

fn put(layout: &Layout, tag: Option<&str>, media_type: &str, manifest: &serde_json::Value) -> Descriptor {
    let text = manifest.to_string();
    let reference = match tag {
        Some(tag) => Reference::Tag(tag.parse().expect("a tag")),
        None => Reference::Digest(Digest::of(text.as_bytes())),
    };
    run(layout.put_manifest(&reference, media_type, Bytes::from(text.clone()))).expect("a manifest");
    described(media_type, text.as_bytes())
}

fn image(layout: &Layout, tag: Option<&str>, layer: &[u8], subject: Option<&Descriptor>) -> Descriptor {
    for content in [b"{}".as_slice(), layer] {
        let bytes = Content::Bytes(Bytes::copy_from_slice(content));
        run(layout.put_blob(&described("a/b", content), bytes, &())).expect("a blob");
    }
    let mut manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": described("a/b", b"{}"),
        "layers": [described("a/b", layer)] });
    if let Some(subject) = subject {
        manifest["subject"] = json!(subject);
    }
    put(layout, tag, IMAGE, &manifest)
}

fn layer(store: &Store, repository: &str, reference: &str) -> Vec<u8> {
    let repository: Repository = repository.parse().expect("a name");
    let reference = match reference.parse() {
        Ok(digest) => Reference::Digest(digest),
        Err(_) => Reference::Tag(reference.parse().expect("a tag")),
    };
    let kept = store.manifest(&repository, &reference).expect("a manifest");
    let manifest =
        Manifest::parse(&store.read_manifest(&kept).expect("its bytes"), None).expect("a manifest");
    let last = manifest.names.last().expect("a layer").digest;
    store.open_blob(&repository, &last).and_then(|content| store.read_content(&content)).expect("a blob")
}

#[test]
fn images_come_under_the_repositories_that_they_name_with_what_is_said_of_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(&dir.path().join("layout.tar")).expect("a layout");
    let large = image(&layout.of("r.example/acme/large"), Some("1.2.0"), b"large", None);
    image(&layout.of("other.example:5000/acme/small"), Some("1"), b"small", None);
    let about = image(&layout.of("r.example/acme/large"), None, b"signature", Some(&large));
    // As others write what is about something: by its digest alone.
    let bare = image(&layout, None, b"attestation", Some(&large));
    let below = image(&layout, None, b"below", None);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [below] });
    put(&layout.of("r.example/acme/index"), Some("1"), INDEX, &index);
    image(&layout, Some("bare"), b"bare", None);
    layout.finish(false).expect("written");
    let layout = Layout::open(&dir.path().join("layout.tar")).expect("a layout");
    let store = StoreOptions::new(dir.path().join("data")).open().expect("a store");
    let loaded = load(&store, &layout, None).expect("loaded");
    assert_eq!((loaded.images, &loaded.skipped), (4, &vec!["bare".to_owned()]));
    assert!(loaded.names.contains(&"acme/large:1.2.0".to_owned()), "{loaded:?}");
    assert_eq!(layer(&store, "acme/large", "1.2.0"), b"large");
    assert_eq!(layer(&store, "acme/small", "1"), b"small");
    assert_eq!(layer(&store, "acme/index", &below.digest.to_string()), b"below");
    let repository = "acme/large".parse().expect("a name");
    let (found, _) = store.referrers(&repository, &large.digest, None, &[]).expect("referrers");
    let mut found: Vec<_> = found.iter().map(|found| found["digest"].clone()).collect();
    found.sort_by_key(ToString::to_string);
    let mut expected = [json!(about.digest), json!(bare.digest)];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(found, expected);
    // Once more, nothing has to come.
    let again = load(&store, &layout, None).expect("loaded");
    assert_eq!(again, Loaded { bytes: 0, ..loaded });
    let named = load(&store, &layout, Some(&"x/y".parse().expect("a name"))).expect("loaded");
    assert_eq!(named.skipped, Vec::<String>::new());
    assert_eq!(layer(&store, "x/y", "bare"), b"bare");
    assert!(store.check().expect("checked").problems.is_empty());
    // A tag that stood for something else is told.
    assert_eq!((named.moved, again.moved), (vec![], vec![]));
    let path = dir.path().join("next.tar");
    let layout = Layout::create(&path).expect("a layout");
    image(&layout.of("r.example/acme/large"), Some("1.2.0"), b"another", None);
    layout.finish(false).expect("written");
    let next = load(&store, &Layout::open(&path).expect("a layout"), None).expect("loaded");
    assert_eq!(next.moved, [format!("acme/large:1.2.0 (was {})", large.digest)]);
}

#[test]
fn what_is_damaged_is_not_loaded_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("layout");
    let layout = Layout::create(&path).expect("a layout");
    image(&layout.of("r.example/a"), Some("1"), b"layer", None);
    let blob = path.join("blobs/sha256").join(Digest::of(b"layer").hex());
    let store = StoreOptions::new(dir.path().join("data")).open().expect("a store");
    std::fs::write(&blob, b"lawyer").expect("damaged");
    assert!(load(&store, &layout, None).expect_err("its size").to_string().contains("is not there"));
    std::fs::write(&blob, b"liver").expect("damaged");
    let told = load(&store, &layout, None).expect_err("its digest").to_string();
    assert!(told.contains("a:1") && told.contains(&Digest::of(b"layer").to_string()), "{told}");
    let repository = "a".parse().expect("a name");
    assert!(store.manifest(&repository, &Reference::Tag("1".parse().expect("a tag"))).is_err());
    std::fs::write(&blob, b"layer").expect("mended");
    assert_eq!(load(&store, &layout, None).expect("loaded").images, 1);
}
