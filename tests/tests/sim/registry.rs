//! A registry's store on the simulated disk: it is killed, loses power and runs out of room at any operation, over any
//! number of starts. What was acknowledged is there, whole, with all that it names; what was not is there or is not; and
//! nothing is given that is not what its digest says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::registry::manifest::{IMAGE, Manifest};
use ::registry::name::{Reference, Repository, Tag};
use ::registry::store::{Refused, Rules, Store, StoreError, StoreOptions, UploadId, Whole};
use fastrand::Rng;
use model::ids::{Algorithm, Digest};
use serde_json::json;

use super::disk::{Crash, SimDisk};

const SEEDS: u64 = 150;
const LIVES: u64 = 6;
const STEPS: u32 = 14;
/// Larger than a page, smaller than what a seed has time for.
const LAYER_BYTES: usize = 5000;

/// What one registry was given.
#[derive(Default)]
struct Given {
    /// By tag: what may stand there. The first was acknowledged; what came behind it may stand there too.
    tags: BTreeMap<String, Vec<Option<Digest>>>,
    /// The layer that each manifest names.
    layers: BTreeMap<Digest, Vec<u8>>,
    manifests: BTreeMap<Digest, Vec<u8>>,
    uploads: BTreeMap<u128, Upload>,
    next: u128,
    tally: Tally,
}

/// An upload of which the first `had` bytes were acknowledged.
struct Upload {
    content: Vec<u8>,
    had: usize,
}

/// What came to pass, so that it is known to have.
#[derive(Debug, Default)]
struct Tally {
    images: u64,
    crashes: u64,
    full: u64,
    resumed: u64,
    collected: u64,
    in_doubt: u64,
}

fn name() -> Repository {
    "acme/a".parse().expect("a name")
}

fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::Full { .. })
}

impl Given {
    fn nonce(&mut self) -> u128 {
        self.next += 1;
        self.next
    }

    fn content(&mut self, random: &mut Rng) -> Vec<u8> {
        let id = self.nonce();
        let mut content = vec![b' '; random.usize(16..LAYER_BYTES)];
        content[..16].copy_from_slice(&id.to_le_bytes());
        content
    }

    fn whole<'c>(&mut self, content: &'c [u8]) -> Whole<'c> {
        Whole { digest: Digest::of(content), content, bytes_max: None, nonce: self.nonce() }
    }

    /// Pushes an image under a tag.
    fn push(&mut self, store: &Store, random: &mut Rng) -> Result<(), StoreError> {
        let layer = self.content(random);
        for content in [b"{}", layer.as_slice()] {
            store.put_blob(&name(), self.whole(content))?;
        }
        let named = |content: &[u8]| json!({ "mediaType": "a/b", "digest": Digest::of(content), "size": content.len() });
        let content = json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": named(b"{}"), "layers": [named(&layer)] })
            .to_string()
            .into_bytes();
        let digest = Digest::of(&content);
        let tag = format!("t{}", random.u8(0..4));
        let manifest = Manifest::parse(&content, None).expect("a manifest");
        self.layers.insert(digest, layer);
        self.manifests.insert(digest, content.clone());
        let stands = self.tags.entry(tag.clone()).or_insert_with(|| vec![None]);
        stands.push(Some(digest));
        let whole = self.whole(&content);
        store.put_manifest(&name(), whole, manifest, vec![tag.parse().expect("a tag")])?;
        self.tags.insert(tag, vec![Some(digest)]);
        self.tally.images += 1;
        Ok(())
    }

    fn untag(&mut self, store: &Store, random: &mut Rng) -> Result<(), StoreError> {
        let tag = format!("t{}", random.u8(0..4));
        let stands = self.tags.entry(tag.clone()).or_insert_with(|| vec![None]);
        stands.push(None);
        match store.remove_tag(&name(), &tag.parse().expect("a tag")) {
            Ok(()) | Err(StoreError::Refused(Refused::TagUnknown { .. })) => {}
            Err(error) => return Err(error),
        }
        self.tags.insert(tag, vec![None]);
        Ok(())
    }

    /// Begins an upload and sends a part of it, goes on with one, or ends it.
    fn upload(&mut self, store: &Store, random: &mut Rng) -> Result<(), StoreError> {
        let Some((&id, _)) = self.uploads.iter().next().filter(|_| random.bool()) else {
            let content = self.content(random);
            let (id, half) = (self.nonce(), content.len() / 2);
            store.begin(&name(), Algorithm::Sha256, UploadId(id))?;
            let upload = store.upload(&name(), UploadId(id))?;
            let mut upload = upload.try_lock().expect("nobody else has it");
            store.append(&mut upload, &content[..half])?;
            store.settle(&mut upload)?;
            self.uploads.insert(id, Upload { content, had: half });
            return Ok(());
        };
        let Upload { content, had } = self.uploads.remove(&id).expect("it is there");
        let upload = store.upload(&name(), UploadId(id))?;
        let mut upload = upload.try_lock().expect("nobody else has it");
        assert!(
            upload.bytes() >= had as u64,
            "{} bytes of an upload are there, {had} were acknowledged",
            upload.bytes()
        );
        store.cut(&mut upload, had as u64)?;
        store.append(&mut upload, &content[had..])?;
        store.finish(&mut upload, Digest::of(&content), None)?;
        self.tally.resumed += 1;
        Ok(())
    }

    fn collect(&mut self, store: &Store, random: &mut Rng) -> Result<(), StoreError> {
        let collection = store.collect(&Rules { grace: Duration::ZERO, untagged: random.bool() })?;
        self.tally.collected += collection.files;
        Ok(())
    }

    /// That all is there that has to be, and nothing else is given.
    fn check(&mut self, seed: u64, store: &Store) {
        for (tag, stands) in &mut self.tags {
            let reference = Reference::Tag(tag.parse::<Tag>().expect("a tag"));
            let found = match store.manifest(&name(), &reference) {
                Ok(kept) => Some(kept),
                Err(StoreError::Refused(Refused::TagUnknown { .. })) => None,
                Err(error) => panic!("seed {seed}: {tag}: {error}"),
            };
            let digest = found.as_ref().map(|kept| kept.digest);
            assert!(stands.contains(&digest), "seed {seed}: {tag} is {digest:?}, may be {stands:?}");
            self.tally.in_doubt += u64::from(stands.len() > 1);
            *stands = vec![digest];
            let Some(kept) = found else { continue };
            let content =
                store.read_manifest(&kept).unwrap_or_else(|error| panic!("seed {seed}: {tag}: {error}"));
            assert_eq!(Some(&content), self.manifests.get(&kept.digest), "seed {seed}: {tag}");
            let layer = &self.layers[&kept.digest];
            let read =
                store.open_blob(&name(), &Digest::of(layer)).and_then(|content| store.read_content(&content));
            let read = read.unwrap_or_else(|error| panic!("seed {seed}: the layer of {tag}: {error}"));
            assert_eq!(&read, layer, "seed {seed}: {tag}");
        }
        let checked = store.check().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(checked.problems, Vec::<String>::new(), "seed {seed}");
    }
}

fn open(disk: &SimDisk) -> Result<Store, StoreError> {
    let options =
        StoreOptions { disk: Arc::new(disk.clone()), clock: || 1000, ..StoreOptions::new("/registry") };
    options.open()
}

/// One life: opened, looked at, and used until something strikes, or it ends.
fn life(seed: u64, disk: &SimDisk, random: &mut Rng, given: &mut Given) -> Result<(), StoreError> {
    let store = open(disk)?;
    given.check(seed, &store);
    match random.u8(0..3) {
        0 => disk.set_room(Some(random.u64(0..400)), random.bool()),
        _ => disk.set_fuse(Some(random.u64(0..600))),
    }
    for _ in 0..STEPS {
        let done = match random.u8(0..8) {
            0 => given.untag(&store, random),
            1 | 2 => given.upload(&store, random),
            3 => given.collect(&store, random),
            _ => given.push(&store, random),
        };
        match done {
            Ok(()) => {}
            Err(error) if disk.is_down() || store.broke().is_some() => {
                assert!(
                    !matches!(error, StoreError::Damaged { .. } | StoreError::Content { .. }),
                    "seed {seed}: {error}"
                );
                return Err(error);
            }
            Err(error) if is_full(&error) => {
                given.tally.full += 1;
                // Somebody makes room, and it goes on.
                disk.set_room(None, true);
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    Ok(())
}

/// While it is looked at, nothing strikes.
fn disk_is_quiet(disk: &SimDisk, look: impl FnOnce(&SimDisk)) {
    disk.set_fuse(None);
    disk.set_room(None, true);
    look(disk);
}

#[test]
fn what_was_acknowledged_outlasts_whatever_strikes() {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        let mut random = Rng::with_seed(seed);
        let disk = SimDisk::new(random.fork());
        let mut given = Given::default();
        for _ in 0..LIVES {
            // Whether it strikes while it is opened, or later.
            if random.u8(0..4) == 0 {
                disk.set_fuse(Some(random.u64(0..60)));
            }
            let opened = open(&disk).map(drop);
            if opened.is_ok() {
                disk.set_fuse(None);
                let ended = life(seed, &disk, &mut random, &mut given);
                given.tally.crashes += u64::from(ended.is_err());
            } else {
                assert!(disk.is_down(), "seed {seed}: {opened:?}");
                given.tally.crashes += 1;
            }
            disk.restart(if random.bool() { Crash::Kill } else { Crash::PowerCut });
            disk.set_room(None, true);
        }
        disk_is_quiet(&disk, |disk| {
            let store = open(disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            given.check(seed, &store);
            store.collect(&Rules { grace: Duration::ZERO, untagged: true }).expect("collected");
            given.check(seed, &store);
            let checked = store.check().expect("checked");
            assert_eq!(checked.unheld, 0, "seed {seed}: {checked:?}");
        });
        let left: BTreeSet<String> = disk.names(Path::new("/registry/content")).into_iter().collect();
        assert!(!left.iter().any(|name| name.starts_with("damaged-")), "seed {seed}: {left:?}");
        let Tally { images, crashes, full, resumed, collected, in_doubt } = given.tally;
        tally = Tally {
            images: tally.images + images,
            crashes: tally.crashes + crashes,
            full: tally.full + full,
            resumed: tally.resumed + resumed,
            collected: tally.collected + collected,
            in_doubt: tally.in_doubt + in_doubt,
        };
    }
    eprintln!("{tally:?}");
    let Tally { images, crashes, full, resumed, collected, in_doubt } = tally;
    for (what, count) in
        [("images", images), ("crashes", crashes), ("no room", full), ("resumed uploads", resumed)]
    {
        assert!(count > SEEDS / 2, "{what}: {count}");
    }
    assert!(collected > SEEDS && in_doubt > 0, "{collected} were collected, {in_doubt} in doubt");
}
