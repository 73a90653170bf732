//! Layouts in directories and in tars, ours and those of the system's `tar`, whole, damaged and hostile.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use model::ids::Algorithm;
use proptest::prelude::*;
use serde_json::json;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::manifest::{IMAGE, INDEX};

fn tag(name: &str) -> Reference {
    Reference::Tag(name.parse().expect("a tag"))
}

fn described(media_type: &str, digest: Digest, size: usize) -> Descriptor {
    Descriptor {
        media_type: media_type.into(),
        digest,
        size: size as u64,
        artifact_type: None,
        annotations: BTreeMap::new(),
    }
}

fn bytes(content: &[u8]) -> Content {
    Content::Bytes(Bytes::copy_from_slice(content))
}

/// Puts an image of one layer; its digest.
async fn put(
    layout: &Layout,
    reference: Option<&str>,
    layer: &[u8],
    algorithm: Algorithm,
    subject: Option<Digest>,
) -> Digest {
    let named = |content: &[u8]| described("a/b", Digest::by(algorithm, content), content.len());
    for content in [b"{}".as_slice(), layer] {
        layout.put_blob(&named(content), bytes(content), &()).await.expect("a blob");
    }
    let mut manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE, "artifactType": "application/x",
        "config": named(b"{}"), "layers": [named(layer)] });
    if let Some(subject) = subject {
        manifest["subject"] = json!(described(IMAGE, subject, 1));
    }
    put_manifest(layout, reference, IMAGE, &manifest, algorithm).await
}

async fn put_manifest(
    layout: &Layout,
    reference: Option<&str>,
    media_type: &str,
    manifest: &serde_json::Value,
    algorithm: Algorithm,
) -> Digest {
    let text = Bytes::from(manifest.to_string());
    let reference = reference.map_or_else(|| Reference::Digest(Digest::by(algorithm, &text)), tag);
    layout.put_manifest(&reference, media_type, text).await.expect("a manifest")
}

/// The layer of an image, by a reference.
async fn layer(layout: &Layout, reference: &Reference) -> Result<Vec<u8>> {
    let fetched = layout.manifest(reference).await?;
    let manifest = Manifest::parse(&fetched.bytes, None).expect("a manifest");
    let last = manifest.names.last().expect("a layer");
    let what = described("a/b", last.digest, last.bytes as usize);
    let dir = tempfile::tempdir().expect("a directory");
    let into = dir.path().join("layer");
    layout.blob(&what, &into, &()).await?;
    let read = layout.blob_bytes(&what, 1 << 20).await?;
    assert_eq!(fs::read(&into).expect("the file"), read);
    Ok(read.to_vec())
}

fn tar_of(dir: &TempDir) -> PathBuf {
    dir.path().join("layout.tar")
}

#[tokio::test]
async fn what_is_put_into_a_layout_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    for path in [dir.path().join("dir"), tar_of(&dir)] {
        let layout = Layout::create(&path).expect("a layout");
        let one = put(&layout, Some("1.0"), b"one", Algorithm::Sha256, None).await;
        let two = put(&layout.of("r.example/a/b"), Some("1.0"), b"two", Algorithm::Sha256, None).await;
        let long = put(&layout, None, b"long", Algorithm::Sha512, None).await;
        let about = put(&layout.of("r.example/a/b"), None, b"about", Algorithm::Sha256, Some(two)).await;
        layout.finish(false).expect("finished");
        let layout = Layout::open(&path).expect("a layout");
        assert_eq!(layout.resolve(&tag("1.0")).await.expect("there").digest, one);
        assert_eq!(layer(&layout, &tag("1.0")).await.expect("there"), b"one");
        assert_eq!(layer(&layout, &Reference::Digest(long)).await.expect("there"), b"long");
        let of = layout.of("r.example/a/b");
        assert_eq!(layer(&of, &tag("1.0")).await.expect("there"), b"two");
        let tags = of.tags().await.expect("tags");
        assert_eq!(tags.iter().map(Tag::to_string).collect::<Vec<_>>(), ["1.0"]);
        let found = of.referrers(&two, Some("application/x")).await.expect("referrers");
        assert_eq!(found.iter().map(|found| found.digest).collect::<Vec<_>>(), [about]);
        assert!(of.referrers(&two, Some("application/y")).await.expect("referrers").is_empty());
        let mut names: Vec<_> = layout.entries().iter().filter_map(|entry| entry.name().map(str::to_owned)).collect();
        names.sort();
        assert_eq!(names, ["1.0".to_owned(), "r.example/a/b:1.0".to_owned(), format!("r.example/a/b@{about}")]);
        let gone = layout.resolve(&tag("2.0")).await.expect_err("it is not there");
        assert!(gone.is_not_found() && gone.to_string().contains("2.0"), "{gone}");
        // The layer is there, and no manifest.
        assert!(layout.resolve(&Reference::Digest(Digest::of(b"one"))).await.expect_err("no manifest").is_not_found());
    }
}

#[tokio::test]
async fn an_index_has_what_it_names_and_tags_move_and_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(dir.path()).expect("a layout");
    let below = put(&layout, None, b"below", Algorithm::Sha256, None).await;
    assert_eq!(layout.entries().len(), 1);
    let size = layout.manifest(&Reference::Digest(below)).await.expect("there").bytes.len();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [described(IMAGE, below, size)] });
    let index = put_manifest(&layout, Some("i"), INDEX, &index, Algorithm::Sha256).await;
    assert_eq!(layout.entries().iter().map(|entry| entry.descriptor.digest).collect::<Vec<_>>(), [index]);
    assert_eq!(layer(&layout, &Reference::Digest(below)).await.expect("below"), b"below");
    let other = put(&layout, Some("i"), b"other", Algorithm::Sha256, None).await;
    assert_eq!(layout.resolve(&tag("i")).await.expect("there").digest, other);
    // By its digest it is there already, by a name.
    put(&layout, None, b"other", Algorithm::Sha256, None).await;
    assert_eq!(layout.entries().len(), 1);
    layout.delete(&tag("i")).await.expect("gone");
    assert!(layout.delete(&tag("i")).await.expect_err("it is gone").is_not_found());
    layout.delete(&Reference::Digest(other)).await.expect("gone");
    assert!(layout.manifest(&Reference::Digest(other)).await.expect_err("it is gone").is_not_found());
    let lacking = json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": described("a/b", Digest::of(b"?"), 1),
        "layers": [] });
    let lacking = layout.put_manifest(&tag("l"), IMAGE, lacking.to_string().into()).await;
    assert!(lacking.expect_err("it lacks its config").to_string().contains("which is not there"));
}

#[tokio::test]
async fn the_fallback_tag_of_a_registry_without_referrers_is_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(dir.path()).expect("a layout");
    let one = put(&layout, Some("1"), b"one", Algorithm::Sha256, None).await;
    let about = put(&layout, None, b"about", Algorithm::Sha256, None).await;
    let size = layout.manifest(&Reference::Digest(about)).await.expect("there").bytes.len();
    let mut entry = json!(described(IMAGE, about, size));
    entry["artifactType"] = json!("application/x");
    let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    put_manifest(&layout, Some(&format!("sha256-{}", one.hex())), INDEX, &list, Algorithm::Sha256).await;
    let found = layout.referrers(&one, Some("application/x")).await.expect("referrers");
    assert_eq!(found.iter().map(|found| found.digest).collect::<Vec<_>>(), [about]);
}

#[tokio::test]
async fn the_same_contents_are_the_same_tar_and_another_file_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = tar_of(&dir);
    let write = async |path: &Path, layers: &[&[u8]]| {
        let layout = Layout::create(path).expect("a layout");
        for content in layers {
            put(&layout, Some(std::str::from_utf8(content).expect("text")), content, Algorithm::Sha256, None).await;
        }
        layout
    };
    write(&path, &[b"a", b"b"]).await.finish(false).expect("written");
    let first = fs::read(&path).expect("the tar");
    write(&path, &[b"b", b"a"]).await.finish(false).expect("it is the same");
    assert_eq!(fs::read(&path).expect("the tar"), first);
    let refused = write(&path, &[b"a"]).await.finish(false).expect_err("another");
    assert!(refused.to_string().contains("add --force"), "{refused}");
    assert_eq!(fs::read(&path).expect("the tar"), first);
    write(&path, &[b"a"]).await.finish(true).expect("replaced");
    assert_ne!(fs::read(&path).expect("the tar"), first);
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "something is left over");
    let layout = Layout::open(&path).expect("a layout");
    let refused = layout.put_blob(&described("a/b", Digest::of(b"x"), 1), bytes(b"x"), &()).await;
    assert!(refused.expect_err("it is a tar").to_string().contains("stays as it is"));
}

#[tokio::test]
async fn a_blob_is_taken_and_given_as_what_it_is_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(&dir.path().join("l")).expect("a layout");
    let right = described("a/b", Digest::of(b"right"), 5);
    let long = layout.put_blob(&described("a/b", right.digest, 4), bytes(b"right"), &()).await;
    assert!(matches!(long, Err(ClientError::Corrupt { .. })), "{long:?}");
    let wrong = layout.put_blob(&right, bytes(b"wrong"), &()).await;
    assert!(matches!(wrong, Err(ClientError::Corrupt { .. })), "{wrong:?}");
    assert!(!layout.has_blob(&right).await.expect("asked"));
    let file = dir.path().join("file");
    fs::write(&file, b"right").expect("written");
    layout.put_blob(&right, Content::File(file.clone()), &()).await.expect("taken");
    let blob = dir.path().join("l").join(blob_name(&right.digest));
    let into = dir.path().join("into");
    fs::write(&into, b"before").expect("written");
    for damage in [b"wrong".as_slice(), b"righ", b"rights"] {
        fs::write(&blob, damage).expect("damaged");
        let given = layout.blob(&right, &into, &()).await;
        assert!(matches!(given, Err(ClientError::Corrupt { .. })), "{given:?}");
        let given = layout.blob_bytes(&right, 100).await;
        assert!(matches!(given, Err(ClientError::Corrupt { .. })), "{given:?}");
        assert_eq!(fs::read(&into).expect("the file"), b"before");
    }
    fs::remove_file(&blob).expect("removed");
    assert!(layout.blob(&right, &into, &()).await.expect_err("gone").is_not_found());
    fs::write(&blob, b"right").expect("mended");
    assert!(matches!(layout.blob_bytes(&right, 4).await, Err(ClientError::Large { .. })));
    let none = Content::File(dir.path().join("none"));
    let none = layout.put_blob(&described("a/b", Digest::of(b"n"), 1), none, &()).await.expect_err("no file");
    assert!(none.to_string().contains("none"), "{none}");
    assert_eq!(fs::read_dir(blob.parent().expect("a directory")).expect("read").count(), 1, "parts are left");
}

#[tokio::test]
async fn tars_of_the_system_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let from = dir.path().join("l");
    let layout = Layout::create(&from).expect("a layout");
    put(&layout, Some("short"), b"short", Algorithm::Sha256, None).await;
    // Its name is longer than the field of a header.
    put(&layout, Some("long"), b"long", Algorithm::Sha512, None).await;
    for (nth, args) in
        [&["--format=gnu", "."][..], &["--format=posix", "."], &["--format=gnu", "oci-layout", "index.json", "blobs"]]
            .into_iter()
            .enumerate()
    {
        let path = dir.path().join(format!("{nth}.tar"));
        let ran = Command::new("tar").arg("-cf").arg(&path).arg("-C").arg(&from).args(args).status();
        assert!(ran.expect("tar runs").success());
        let layout = Layout::open(&path).expect("a layout");
        for name in ["short", "long"] {
            assert_eq!(layer(&layout, &tag(name)).await.expect("there"), name.as_bytes(), "{args:?}");
        }
    }
    let packed = dir.path().join("packed.tar");
    let ran = Command::new("tar").arg("-czf").arg(&packed).arg("-C").arg(&from).arg(".").status();
    assert!(ran.expect("tar runs").success());
    let told = Layout::open(&packed).expect_err("it is packed").to_string();
    assert!(told.contains("packed.tar") && told.contains("`gunzip`"), "{told}");
    // And ours by the system.
    let ours = Layout::create(&tar_of(&dir)).expect("a layout");
    put(&ours, Some("long"), b"long", Algorithm::Sha512, None).await;
    ours.finish(false).expect("written");
    let unpacked = dir.path().join("unpacked");
    fs::create_dir(&unpacked).expect("made");
    let ran = Command::new("tar").arg("-xf").arg(tar_of(&dir)).arg("-C").arg(&unpacked).status();
    assert!(ran.expect("tar runs").success());
    let unpacked = Layout::open(&unpacked).expect("a layout");
    assert_eq!(layer(&unpacked, &tag("long")).await.expect("there"), b"long");
}

/// Adds an entry whose name is not looked at.
fn add(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &[u8], content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_cksum();
    builder.append(&header, content).expect("appended");
}

/// A layout without images, with something else in it.
fn hostile(change: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    add(&mut builder, EntryType::Regular, b"oci-layout", MARKED.as_bytes());
    add(&mut builder, EntryType::Regular, b"index.json", Index::new().print().as_bytes());
    change(&mut builder);
    builder.into_inner().expect("written")
}

#[test]
fn what_a_tar_says_is_not_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = tar_of(&dir);
    let opened = |tar: &[u8]| {
        fs::write(&path, tar).expect("written");
        Layout::open(&path).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(opened(&hostile(|_| {})), Ok(()));
    // Other files, and what is said of all.
    let harmless = hostile(|tar| {
        add(tar, EntryType::XGlobalHeader, b"pax_global_header", b"20 comment=something\n");
        add(tar, EntryType::Regular, b"manifest.json", b"[]");
        add(tar, EntryType::Directory, b"blobs/", b"");
    });
    assert_eq!(opened(&harmless), Ok(()));
    type Change = fn(&mut Builder<Vec<u8>>);
    let cases: [(Change, &str); 16] = [
        (|tar| add(tar, EntryType::Regular, b"../x", b""), "`../x` in it leads out of it"),
        (|tar| add(tar, EntryType::Regular, b"blobs/../../x", b""), "leads out of it"),
        (|tar| add(tar, EntryType::Regular, b"/etc/x", b""), "`/etc/x` in it leads out of it"),
        (|tar| add(tar, EntryType::Directory, b"../", b""), "leads out of it"),
        (|tar| add(tar, EntryType::Regular, b"\xff", b""), "is no text"),
        (|tar| add(tar, EntryType::Symlink, b"blobs", b""), "`blobs` in it is a link"),
        (|tar| add(tar, EntryType::Link, b"blobs/x", b""), "is a link"),
        (|tar| add(tar, EntryType::Fifo, b"blobs/x", b""), "is no file"),
        (|tar| add(tar, EntryType::GNUSparse, b"blobs/x", b""), "is a sparse file"),
        (|tar| add(tar, EntryType::Regular, b"./index.json", b"{}"), "`./index.json` is in it twice"),
        (|tar| add(tar, EntryType::GNULongName, b"long", &[b'x'; 100 << 10]), "a name in it has 102400 bytes"),
        (
            |tar| {
                add(tar, EntryType::GNULongName, b"long", b"../x\0");
                add(tar, EntryType::Regular, b"x", b"");
            },
            "`../x` in it leads out of it",
        ),
        (
            |tar| {
                add(tar, EntryType::XHeader, b"pax", b"13 path=../x\n");
                add(tar, EntryType::Regular, b"x", b"");
            },
            "`../x` in it leads out of it",
        ),
        (
            |tar| {
                add(tar, EntryType::GNULongName, b"long", b"a\0");
                add(tar, EntryType::XHeader, b"pax", b"10 path=b\n");
                add(tar, EntryType::Regular, b"x", b"");
            },
            "a file has two names",
        ),
        (|tar| add(tar, EntryType::XHeader, b"pax", b"10 size=1\n"), "says its size twice"),
        (|tar| add(tar, EntryType::XHeader, b"pax", b"22 GNU.sparse.major=1\n"), "sparse file"),
    ];
    for (change, expected) in cases {
        let told = opened(&hostile(change)).expect_err(expected);
        assert!(told.contains(expected) && told.contains("layout.tar"), "{expected}: {told}");
    }
    let whole = hostile(|tar| add(tar, EntryType::Regular, b"blobs/x", &[1; 600]));
    let told = opened(&whole[..whole.len() - 1024 - 600]).expect_err("it is cut off");
    assert!(told.contains("cut off"), "{told}");
    assert!(opened(b"no tar at all").expect_err("no tar").contains("cut off"));
    assert!(opened(b"").expect_err("nothing").contains("it has no `oci-layout`"));
}

#[test]
fn what_is_no_layout_is_told_with_what_is_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    let told = || Layout::open(dir.path()).expect_err("no layout").to_string();
    assert!(told().contains("it has no `oci-layout`"), "{}", told());
    // What is there is not taken for a place to write to.
    fs::write(dir.path().join("x"), "").expect("written");
    assert!(Layout::create(dir.path()).expect_err("it has files").to_string().contains("it has no `oci-layout`"));
    fs::write(dir.path().join(MARK), r#"{"imageLayoutVersion":"2.0.0"}"#).expect("written");
    assert!(told().contains("the version of its layout is 2.0.0"), "{}", told());
    fs::write(dir.path().join(MARK), "[").expect("written");
    assert!(told().contains("`oci-layout` is not what it should be"), "{}", told());
    fs::write(dir.path().join(MARK), MARKED).expect("written");
    assert!(told().contains("it has no `index.json`"), "{}", told());
    for index in ["{}", "[]", r#"{"schemaVersion":2,"manifests":{}}"#, r#"{"schemaVersion":2,"manifests":[{"digest":"x"}]}"#]
    {
        fs::write(dir.path().join(INDEX_FILE), index).expect("written");
        assert!(told().contains("`index.json` is not what it should be"), "{}", told());
    }
    File::create(dir.path().join(INDEX_FILE)).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    assert!(told().contains("are the most"), "{}", told());
    assert!(Layout::open(&dir.path().join("none")).expect_err("nothing").to_string().contains("none"));
}

#[test]
fn what_others_say_in_an_index_stays() {
    let entry = json!({ "mediaType": IMAGE, "digest": Digest::of(b"x"), "size": 1, "data": "eA==",
        "annotations": { IMAGE_NAME_OF_OTHERS: "r.example/a/b:1", REF_NAME: "1" }, "platform": { "os": "linux" },
        "artifactType": null });
    let text = json!({ "schemaVersion": 2, "manifests": [entry], "annotations": { "a": "b" } });
    let mut index = Index::parse(text.to_string().as_bytes()).expect("an index");
    assert_eq!(index.entries()[0].image().map(|image| image.to_string()).as_deref(), Some("r.example/a/b:1"));
    index.put(described(IMAGE, Digest::of(b"y"), 1), None, &tag("2"), &[]);
    let printed: serde_json::Value = serde_json::from_str(&index.print()).expect("JSON");
    assert_eq!((&printed["annotations"], &printed["manifests"][0]), (&json!({ "a": "b" }), &entry));
}

const IMAGE_NAME_OF_OTHERS: &str = "io.containerd.image.name";

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_put_into_a_tar_comes_out_equal(
        images in prop::collection::btree_map("[a-z][a-z0-9.-]{0,8}", prop::collection::vec(any::<u8>(), 0..3000), 0..6),
        of_sha512 in any::<bool>(),
        at in any::<prop::sample::Index>(),
        flipped in 1_u8..,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let algorithm = if of_sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let dir = tempfile::tempdir().expect("a directory");
            let layout = Layout::create(&tar_of(&dir)).expect("a layout");
            for (name, content) in &images {
                put(&layout, Some(name), content, algorithm, None).await;
            }
            layout.finish(false).expect("written");
            let layout = Layout::open(&tar_of(&dir)).expect("a layout");
            for (name, content) in &images {
                assert_eq!(&layer(&layout, &tag(name)).await.expect("there"), content);
            }
            // One byte is another: what is given is what it was, or nothing is.
            let mut tar = fs::read(tar_of(&dir)).expect("the tar");
            let at = at.index(tar.len());
            tar[at] ^= flipped;
            fs::write(tar_of(&dir), tar).expect("written");
            let Ok(layout) = Layout::open(&tar_of(&dir)) else { return };
            for (name, content) in &images {
                if let Ok(digest) = layout.resolve(&tag(name)).await.map(|found| found.digest)
                    && let Ok(given) = layer(&layout, &Reference::Digest(digest)).await
                {
                    assert!(&given == content || images.values().any(|other| *other == given));
                }
            }
        });
    }
}
