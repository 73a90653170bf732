//! A store, asked for what it was given, on the disk of this machine.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::manifest::IMAGE;

fn opened(dir: &TempDir) -> Store {
    StoreOptions::new(dir.path()).open().expect("a store")
}

fn repository(name: &str) -> Repository {
    name.parse().expect("a name")
}

fn tag(name: &str) -> Tag {
    name.parse().expect("a tag")
}

fn nonce() -> u128 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst).into()
}

fn whole(content: &[u8]) -> Whole<'_> {
    Whole { digest: Digest::of(content), content, bytes_max: None, nonce: nonce() }
}

fn push(store: &Store, repository: &Repository, content: &[u8]) -> Digest {
    store.put_blob(repository, whole(content)).expect("a blob");
    Digest::of(content)
}

fn push_image(
    store: &Store,
    name: &Repository,
    layer: &[u8],
    tags: &[&str],
    subject: Option<Digest>,
) -> Digest {
    try_push_image(store, name, layer, tags, subject).expect("an image")
}

/// An image of one layer, with a subject perhaps; its digest.
fn try_push_image(
    store: &Store,
    name: &Repository,
    layer: &[u8],
    tags: &[&str],
    subject: Option<Digest>,
) -> Result<Digest> {
    let descriptor =
        |content: &[u8]| json!({ "mediaType": "a/b", "digest": Digest::of(content), "size": content.len() });
    push(store, name, b"{}");
    push(store, name, layer);
    let mut manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": descriptor(b"{}"),
        "layers": [descriptor(layer)] });
    if let Some(subject) = subject {
        manifest["subject"] = json!({ "mediaType": IMAGE, "digest": subject, "size": 1 });
    }
    let content = manifest.to_string().into_bytes();
    let manifest = Manifest::parse(&content, None).expect("a manifest");
    let tags = tags.iter().map(|name| tag(name)).collect();
    store.put_manifest(name, whole(&content), manifest, tags).map(|()| Digest::of(&content))
}

fn read(store: &Store, name: &Repository, digest: &Digest) -> Result<Vec<u8>> {
    store.open_blob(name, digest).and_then(|content| store.read_content(&content))
}

fn file(dir: &TempDir, digest: &Digest) -> PathBuf {
    dir.path().join("content").join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
}

const NOW: Rules = Rules { grace: Duration::ZERO, untagged: false };

#[test]
fn what_was_pushed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let name = repository("acme/large");
    let (image, layer) = {
        let store = opened(&dir);
        assert!(matches!(StoreOptions::new(dir.path()).open(), Err(StoreError::Locked { .. })));
        (push_image(&store, &name, b"wasm", &["1.0", "latest"], None), Digest::of(b"wasm"))
    };
    let store = opened(&dir);
    assert_eq!(read(&store, &name, &layer).expect("the layer"), b"wasm");
    let kept = store.manifest(&name, &Reference::Tag(tag("1.0"))).expect("the manifest");
    assert_eq!((kept.digest, kept.media_type.as_str()), (image, IMAGE));
    assert_eq!(Digest::of(&store.read_manifest(&kept).expect("its bytes")), image);
    assert_eq!(
        store.tags(&name, None, 10).expect("tags"),
        (vec!["1.0".to_owned(), "latest".to_owned()], false)
    );
    assert_eq!(store.tags(&name, Some("1.0"), 10).expect("tags").0, ["latest"]);
    assert_eq!(store.tags(&name, None, 1).expect("tags"), (vec!["1.0".to_owned()], true));
    assert!(matches!(
        store.tags(&repository("none"), None, 1),
        Err(StoreError::Refused(Refused::RepositoryUnknown { .. }))
    ));
    assert_eq!(store.check().expect("checked").problems, Vec::<String>::new());
}

#[test]
fn repositories_see_their_own_and_mount_what_others_have() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = opened(&dir);
    let (one, other) = (repository("one"), repository("other"));
    let digest = push(&store, &one, b"x");
    assert!(matches!(read(&store, &other, &digest), Err(StoreError::Refused(Refused::BlobUnknown { .. }))));
    store.mount(&other, vec![repository("none"), one.clone()], digest, None).expect("mounted");
    assert_eq!(read(&store, &other, &digest).expect("there"), b"x");
    store.remove_blob(&one, digest).expect("removed");
    assert_eq!(read(&store, &other, &digest).expect("there still"), b"x");
    assert!(file(&dir, &digest).exists());
    store.remove_blob(&other, digest).expect("removed");
    assert!(!file(&dir, &digest).exists(), "nobody has it");
    assert_eq!(store.usage(&other).expect("usage"), (0, 0));
}

#[test]
fn a_manifest_whose_parts_are_not_there_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = opened(&dir);
    let name = repository("a");
    push(&store, &name, b"{}");
    let image = |size: usize, layer: &[u8]| {
        let named =
            |content: &[u8], size| json!({ "mediaType": "a/b", "digest": Digest::of(content), "size": size });
        json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": named(b"{}", 2), "layers": [named(layer, size)] })
            .to_string()
    };
    let put = |text: String| {
        let manifest = Manifest::parse(text.as_bytes(), None).expect("a manifest");
        store.put_manifest(&name, whole(text.as_bytes()), manifest, vec![tag("t")])
    };
    assert!(matches!(put(image(4, b"gone")), Err(StoreError::Refused(Refused::Lacks { .. }))));
    assert!(matches!(
        put(image(3, b"{}")),
        Err(StoreError::Refused(Refused::OtherSize { bytes: 2, said: 3, .. }))
    ));
    assert!(store.manifest(&name, &Reference::Tag(tag("t"))).is_err());
    let files = fs::read_dir(dir.path().join("content")).expect("a directory").count();
    assert_eq!(files, 1, "what was refused left a file");
}

#[test]
fn a_removed_manifest_takes_its_tags_and_its_place_among_the_referrers() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = opened(&dir);
    let name = repository("a");
    let subject = push_image(&store, &name, b"subject", &["subject"], None);
    let first = push_image(&store, &name, b"1", &["one", "two"], Some(subject));
    let second = push_image(&store, &name, b"2", &[], Some(subject));
    let referrers = || store.referrers(&name, &subject, None, &[]).expect("referrers").0;
    let mut wanted = [first, second];
    wanted.sort();
    let found: Vec<String> =
        referrers().iter().map(|one| one["digest"].as_str().expect("a digest").to_owned()).collect();
    assert_eq!(found, wanted.map(|digest| digest.to_string()));
    assert_eq!(store.referrers(&name, &subject, None, &["c/d".to_owned()]).expect("referrers").0.len(), 0);
    assert_eq!(store.referrers(&name, &subject, None, &["a/b".to_owned()]).expect("referrers").0.len(), 2);
    assert_eq!(store.referrers(&name, &subject, Some(&wanted[0]), &[]).expect("referrers").0.len(), 1);
    store.remove_tag(&name, &tag("one")).expect("removed");
    store.remove_manifest(&name, first).expect("removed");
    assert_eq!(store.tags(&name, None, 9).expect("tags").0, ["subject"]);
    assert_eq!(referrers().len(), 1);
    // A tag that moves is not the old one's any more.
    push_image(&store, &name, b"3", &["subject"], None);
    store.remove_manifest(&name, subject).expect("removed");
    assert_eq!(store.tags(&name, None, 9).expect("tags").0, ["subject"]);
}

#[test]
fn an_upload_goes_on_after_a_restart_where_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let (name, id) = (repository("a"), UploadId(7));
    for algorithm in model::ids::Algorithm::ALL {
        {
            let store = opened(&dir);
            store.begin(&name, algorithm, id).expect("begun");
            let upload = store.upload(&name, id).expect("an upload");
            let mut upload = upload.blocking_lock();
            store.append(&mut upload, b"hello ").expect("written");
            store.settle(&mut upload).expect("settled");
        }
        let store = opened(&dir);
        assert!(matches!(
            store.upload(&repository("b"), id),
            Err(StoreError::Refused(Refused::UploadUnknown))
        ));
        let upload = store.upload(&name, id).expect("an upload");
        let mut upload = upload.blocking_lock();
        assert_eq!(upload.bytes(), 6);
        store.append(&mut upload, b"world, or not").expect("written");
        store.cut(&mut upload, 11).expect("cut");
        let digest = Digest::by(algorithm, b"hello world");
        store.finish(&mut upload, digest, None).expect("a blob");
        assert_eq!(read(&store, &name, &digest).expect("there"), b"hello world");
        assert!(store.append(&mut upload, b"x").is_err(), "it has ended");
    }
}

#[test]
fn what_is_not_what_it_was_said_to_be_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = opened(&dir);
    let name = repository("a");
    let other = Whole { content: b"y", ..whole(b"x") };
    assert!(matches!(store.put_blob(&name, other), Err(StoreError::Refused(Refused::OtherDigest(_)))));
    store.begin(&name, model::ids::Algorithm::Sha256, UploadId(1)).expect("begun");
    let upload = store.upload(&name, UploadId(1)).expect("an upload");
    let mut upload = upload.blocking_lock();
    store.append(&mut upload, b"y").expect("written");
    let refused = store.finish(&mut upload, Digest::of(b"x"), None);
    assert!(matches!(refused, Err(StoreError::Refused(Refused::OtherDigest(_)))));
    assert_eq!(fs::read_dir(dir.path().join("content")).expect("a directory").count(), 0);
}

#[test]
fn a_damaged_content_is_not_given_and_is_mended_by_whoever_pushes_it_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = opened(&dir);
    let name = repository("a");
    let large: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
    for content in [&b"small"[..], &large] {
        let digest = push(&store, &name, content);
        for _ in 0..2 {
            // The second time it is known to be right.
            assert_eq!(read(&store, &name, &digest).expect("there"), content);
        }
        let mut damaged = content.to_vec();
        damaged[2] ^= 1;
        fs::write(file(&dir, &digest), &damaged).expect("written");
        let content_of = store.open_blob(&name, &digest).expect("open");
        let (mut reader, mut given) = (store.reader(content_of, 0, content.len() as u64), 0);
        let error = loop {
            match reader.next(&store) {
                Ok(Some(piece)) => given += piece.len(),
                Ok(None) => panic!("all of it was given"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Content { .. }) && given < content.len(), "{error}");
        assert!(matches!(store.blob(&name, &digest), Err(StoreError::Refused(Refused::BlobUnknown { .. }))));
        push(&store, &name, content);
        assert_eq!(read(&store, &name, &digest).expect("mended"), content);
        fs::write(file(&dir, &digest), &content[1..]).expect("written");
        assert!(read(&store, &name, &digest).is_err(), "it is shorter");
        push(&store, &name, content);
        fs::remove_file(file(&dir, &digest)).expect("removed");
        let checked = store.check().expect("checked");
        assert_eq!((checked.missing, checked.problems.len()), (1, 1), "{checked:?}");
        push(&store, &name, content);
    }
    fs::write(file(&dir, &Digest::of(b"small")), b"other").expect("written");
    let checked = store.check().expect("checked");
    assert_eq!((checked.damaged, checked.missing), (1, 0), "{checked:?}");
    assert!(checked.problems[0].contains("push it again to a"), "{checked:?}");
}

#[test]
fn collection_leaves_what_is_named_and_what_is_young() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = opened(&dir);
    let name = repository("a");
    let image = push_image(&store, &name, b"layer", &["t"], None);
    let loose = push(&store, &name, b"loose");
    let grace = Rules { grace: Duration::from_secs(3600), untagged: true };
    assert_eq!(store.collect(&grace).expect("collected"), Collection::default());
    assert!(store.blob(&name, &loose).is_ok(), "it is young");
    store.recent.lock().expect("recent").newer.clear();
    let collection = store.collect(&NOW).expect("collected");
    assert_eq!((collection.blobs, collection.files, collection.bytes), (1, 1, 5));
    assert!(store.blob(&name, &loose).is_err());
    assert!(
        store.manifest(&name, &Reference::Digest(image)).is_ok()
            && store.blob(&name, &Digest::of(b"layer")).is_ok()
    );
}

#[test]
fn collection_of_untagged_manifests_follows_tags_indexes_and_subjects() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = opened(&dir);
    let name = repository("a");
    let child = push_image(&store, &name, b"child", &[], None);
    let child_bytes = store.manifest(&name, &Reference::Digest(child)).expect("a manifest").bytes;
    let index = json!({ "schemaVersion": 2, "mediaType": crate::manifest::INDEX,
        "manifests": [{ "mediaType": IMAGE, "digest": child, "size": child_bytes }] })
    .to_string();
    let manifest = Manifest::parse(index.as_bytes(), None).expect("a manifest");
    store.put_manifest(&name, whole(index.as_bytes()), manifest, vec![tag("t")]).expect("an index");
    let says = push_image(&store, &name, b"says", &[], Some(child));
    let alone = push_image(&store, &name, b"alone", &[], None);
    let says_of_it = push_image(&store, &name, b"says of it", &[], Some(alone));
    let collection = store.collect(&Rules { untagged: true, ..NOW }).expect("collected");
    assert_eq!((collection.manifests, collection.blobs), (2, 2));
    let is_there = |digest| store.manifest(&name, &Reference::Digest(digest)).is_ok();
    assert!(is_there(child) && is_there(says) && !is_there(alone) && !is_there(says_of_it));
    assert_eq!(store.check().expect("checked").problems, Vec::<String>::new());
    store.remove_tag(&name, &tag("t")).expect("removed");
    assert_eq!(store.collect(&Rules { untagged: true, ..NOW }).expect("collected").manifests, 3);
    assert_eq!(fs::read_dir(dir.path().join("content")).expect("a directory").count(), 0);
    assert_eq!(store.usage(&name).expect("usage"), (0, 0));
}

#[test]
fn collection_removes_what_a_crash_has_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = StoreOptions { clock: later, ..StoreOptions::new(dir.path()) }.open().expect("a store");
    fs::write(file(&dir, &Digest::of(b"orphan")), b"orphan").expect("written");
    fs::write(dir.path().join("content/upload-00000000000000000000000000000001-0"), b"left")
        .expect("written");
    assert_eq!(store.check().expect("checked").unheld, 1);
    let collection = store.collect(&NOW).expect("collected");
    assert_eq!((collection.files, collection.uploads, collection.bytes), (1, 1, 10));
}

/// Two days from now.
fn later() -> u64 {
    wall_clock() + 2 * 24 * 3600
}

#[test]
fn quotas_bound_what_a_repository_and_all_of_them_have() {
    let dir = tempfile::tempdir().expect("a directory");
    let store =
        StoreOptions { bytes_max: Some(20), ..StoreOptions::new(dir.path()) }.open().expect("a store");
    let (one, other) = (repository("one"), repository("other"));
    let put = |name: &Repository, content: &[u8], max| {
        store.put_blob(name, Whole { bytes_max: max, ..whole(content) })
    };
    put(&one, b"0123456789", Some(10)).expect("it fits");
    put(&one, b"0123456789", Some(10)).expect("it is there already");
    let full = put(&one, b"x", Some(10)).expect_err("no room");
    assert!(
        matches!(full, StoreError::Refused(Refused::RepositoryFull { has: 10, bytes: 1, max: 10 })),
        "{full}"
    );
    store.mount(&other, vec![one.clone()], Digest::of(b"0123456789"), None).expect("no bytes more");
    put(&other, b"abcdefghij", None).expect("it fits");
    let full = put(&other, b"x", None).expect_err("no room");
    assert!(matches!(full, StoreError::Refused(Refused::RegistryFull { has: 20, .. })), "{full}");
    assert_eq!(store.free(&one, Some(12)).expect("free"), Some(0));
    store.remove_blob(&other, Digest::of(b"abcdefghij")).expect("removed");
    assert_eq!(store.free(&one, Some(12)).expect("free"), Some(2));
    assert_eq!(fs::read_dir(dir.path().join("content")).expect("a directory").count(), 1);
}

/// Many push the same and their own while everything that no manifest names yet is collected: what was acknowledged is
/// there, with all that it names, and what was collected too soon is refused by name.
#[test]
fn pushes_of_one_blob_and_collections_go_on_at_the_same_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = &opened(&dir);
    let push = move |thread: usize| {
        let name = repository(&format!("r{}", thread % 2));
        let (mut pushed, mut refused) = (Vec::new(), 0);
        for round in 0..12 {
            let layer = format!("layer {}", round % 5);
            loop {
                match try_push_image(store, &name, layer.as_bytes(), &["t"], None) {
                    Ok(digest) => break pushed.push((name.clone(), digest, Digest::of(layer.as_bytes()))),
                    Err(StoreError::Refused(Refused::Lacks { .. })) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        (pushed, refused)
    };
    let (pushed, collected) = std::thread::scope(|scope| {
        let pushing: Vec<_> = (0..4).map(|thread| scope.spawn(move || push(thread))).collect();
        let mut collected = 0;
        for _ in 0..60 {
            collected += store.collect(&NOW).expect("collected").blobs;
        }
        (pushing.into_iter().map(|thread| thread.join().expect("pushed")).collect::<Vec<_>>(), collected)
    });
    let refused: usize = pushed.iter().map(|(_, refused)| refused).sum();
    assert!(refused as u64 <= collected, "{refused} were refused, {collected} collected");
    for (name, image, layer) in pushed.into_iter().flat_map(|(pushed, _)| pushed) {
        let kept = store.manifest(&name, &Reference::Digest(image)).expect("acknowledged");
        store.read_manifest(&kept).expect("whole");
        read(store, &name, &layer).expect("it is named");
    }
    let checked = store.check().expect("checked");
    assert_eq!((checked.problems.len(), checked.unheld), (0, 0), "{checked:?}");
}

#[test]
fn a_directory_with_something_else_in_it_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("index"), b"something else entirely").expect("written");
    assert!(matches!(StoreOptions::new(dir.path()).open(), Err(StoreError::Foreign { .. })));
    assert_eq!(fs::read(dir.path().join("index")).expect("there"), b"something else entirely");
}
