//! What was pulled is there when nobody can be asked, is what its name says, and goes when there is too much.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::files::{Entry, too_many};
use super::*;

/// A repository with one image, which counts what it is asked, and may be out of reach.
struct Registry {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
    asked: AtomicUsize,
    is_up: std::sync::atomic::AtomicBool,
}

fn named(content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: "application/x".to_owned(),
        digest: Digest::of(content),
        size: content.len() as u64,
        artifact_type: None,
        annotations: Default::default(),
    }
}

fn tag(text: &str) -> Reference {
    Reference::Tag(text.parse().expect("a tag"))
}

impl Registry {
    fn new() -> Self {
        let (config, layer) = (b"{}".to_vec(), vec![7; 5000]);
        let manifest = json!({ "schemaVersion": 2, "config": named(&config), "layers": [named(&layer)] });
        let manifest = manifest.to_string().into_bytes();
        Self { manifest, config, layer, asked: AtomicUsize::new(0), is_up: true.into() }
    }

    fn ask(&self) -> Result<(), ClientError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.is_up.load(Ordering::Relaxed) {
            true => Ok(()),
            false => {
                Err(ClientError::Unreachable { host: "r.example".to_owned(), why: "it is down".to_owned() })
            }
        }
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

#[async_trait]
impl Origin for Registry {
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, ClientError> {
        self.manifest(reference).await.map(|fetched| fetched.descriptor)
    }

    async fn manifest(&self, reference: &Reference) -> Result<Fetched, ClientError> {
        self.ask()?;
        if *reference == tag("1") || *reference == Reference::Digest(Digest::of(&self.manifest)) {
            let descriptor = Descriptor { media_type: IMAGE.to_owned(), ..named(&self.manifest) };
            return Ok(Fetched { descriptor, bytes: self.manifest.clone().into() });
        }
        Err(ClientError::NotFound { what: self.called(reference) })
    }

    async fn blob(&self, what: &Descriptor, into: &Path, _: &dyn Progress) -> Result<(), ClientError> {
        let bytes = self.blob_bytes(what, u64::MAX).await?;
        std::fs::write(into, bytes).map_err(|error| ClientError::File { path: into.to_owned(), error })
    }

    async fn blob_bytes(&self, what: &Descriptor, _: u64) -> Result<Bytes, ClientError> {
        self.ask()?;
        let found =
            [&self.config, &self.layer].into_iter().find(|content| Digest::of(content) == what.digest);
        found
            .map(|content| content.clone().into())
            .ok_or(ClientError::NotFound { what: what.digest.to_string() })
    }

    async fn referrers(&self, of: &Digest, _: Option<&str>) -> Result<Vec<Descriptor>, ClientError> {
        self.ask()?;
        Ok(if *of == Digest::of(&self.manifest) { vec![named(b"signature")] } else { Vec::new() })
    }

    async fn tags(&self) -> Result<Vec<Tag>, ClientError> {
        Ok(Vec::new())
    }

    fn called(&self, reference: &Reference) -> String {
        format!("r.example/a:{reference}")
    }
}

struct Scene {
    registry: Registry,
    cache: Cache,
    dir: tempfile::TempDir,
}

fn scene(bytes_max: u64) -> Scene {
    let dir = tempfile::tempdir().expect("a directory");
    Scene { registry: Registry::new(), cache: Cache::new(dir.path(), bytes_max), dir }
}

impl Scene {
    fn asking(&self) -> Cached<'_> {
        Cached::asking(&self.cache, &self.registry)
    }

    fn pinned(&self) -> Cached<'_> {
        Cached::pinned(&self.cache, &self.registry)
    }

    /// All that a run asks for.
    async fn pull(&self, origin: &Cached<'_>, reference: &Reference) -> Result<(), ClientError> {
        let fetched = origin.manifest(reference).await?;
        assert_eq!(fetched.bytes, self.registry.manifest);
        assert_eq!(fetched.descriptor.media_type, IMAGE);
        assert_eq!(origin.blob_bytes(&named(&self.registry.config), 100).await?, self.registry.config);
        assert_eq!(origin.component(&named(&self.registry.layer), &()).await?, self.registry.layer);
        assert_eq!(origin.referrers(&fetched.descriptor.digest, None).await?, [named(b"signature")]);
        let none = origin.resolve(&tag("none")).await;
        assert!(none.is_err_and(|error| error.is_not_found()));
        Ok(())
    }

    /// The same cache, in the next process.
    fn again(self) -> Self {
        let Self { registry, cache, dir } = self;
        drop(cache);
        let cache = Cache::new(dir.path(), 1 << 20);
        Self { registry, cache, dir }
    }

    fn file(&self, content: &[u8]) -> std::path::PathBuf {
        self.dir.path().join("contents").join(Digest::of(content).to_string().replace(':', "-"))
    }
}

#[tokio::test]
async fn what_is_pinned_is_asked_for_once() {
    let scene = scene(1 << 20);
    let digest = Reference::Digest(Digest::of(&scene.registry.manifest));
    scene.pull(&scene.asking(), &tag("1")).await.expect("pulled");
    assert!(scene.registry.asked() > 0);
    let scene = scene.again();
    scene.registry.is_up.store(false, Ordering::Relaxed);
    scene.pull(&scene.pinned(), &digest).await.expect("it is all there");
    assert_eq!(scene.registry.asked(), 0, "somebody was asked");
    // Names are asked for, whatever they were.
    let refused = scene.pull(&scene.asking(), &tag("1")).await.expect_err("nobody can be asked");
    assert!(matches!(refused, ClientError::Unreachable { .. }), "{refused}");
}

#[tokio::test]
async fn what_is_damaged_is_pulled_again_or_is_not_there() {
    let scene = scene(1 << 20);
    let digest = Reference::Digest(Digest::of(&scene.registry.manifest));
    scene.pull(&scene.asking(), &tag("1")).await.expect("pulled");
    for content in
        [scene.registry.layer.clone(), scene.registry.manifest.clone(), scene.registry.config.clone()]
    {
        let mut bytes = std::fs::read(scene.file(&content)).expect("the file");
        bytes[1] ^= 1;
        std::fs::write(scene.file(&content), &bytes).expect("written");
        scene.registry.is_up.store(false, Ordering::Relaxed);
        scene.registry.asked();
        scene.pull(&scene.pinned(), &digest).await.expect_err("it is damaged");
        assert_eq!(scene.registry.asked(), 1, "the damage was not seen");
        scene.registry.is_up.store(true, Ordering::Relaxed);
        scene.pull(&scene.pinned(), &digest).await.expect("it is pulled again");
        assert_eq!(std::fs::read(scene.file(&content)).expect("the file"), content);
    }
    // Answers are looked at too.
    for file in std::fs::read_dir(scene.dir.path().join("answers")).expect("answers").flatten() {
        let mut bytes = std::fs::read(file.path()).expect("the file");
        let last = bytes.len() - 4;
        bytes[last] ^= 1;
        std::fs::write(file.path(), bytes).expect("written");
    }
    scene.registry.asked();
    scene.pull(&scene.pinned(), &digest).await.expect("it is asked again");
    assert_eq!(scene.registry.asked(), 2);
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let entry = |name: &str, bytes, used| Entry { path: name.into(), bytes, used: at(used) };
    let entries = vec![entry("a", 5, 1), entry("b", 5, 3), entry("c", 5, 2), entry("d", 1, 0)];
    let gone = |bytes, most| -> Vec<String> {
        let gone = too_many(entries.clone(), bytes, most);
        gone.iter().map(|entry| entry.path.display().to_string()).collect()
    };
    assert_eq!(gone(16, 9), [] as [&str; 0]);
    assert_eq!(gone(15, 9), ["d"]);
    assert_eq!(gone(14, 9), ["d", "a"]);
    assert_eq!(gone(4, 9), ["d", "a", "c", "b"]);
    assert_eq!(gone(16, 2), ["d", "a"]);
}

#[tokio::test]
async fn the_cache_is_bounded_and_keeps_what_is_in_use() {
    let mut scene = scene(6000);
    let old = Digest::of(b"old");
    scene.cache.keep(&old, &[0; 4000]);
    let held = scene.file(b"old");
    // Another process has read it, and has an end: then it goes.
    scene.cache = Cache::new(scene.dir.path(), 6000);
    let other = Cache::new(scene.dir.path(), 6000);
    other.touch(&old);
    scene.pull(&scene.asking(), &tag("1")).await.expect("pulled");
    assert!(held.exists(), "it is in use");
    drop(other);
    let later = Cache::new(scene.dir.path(), 6000);
    later.content(&Digest::of(&scene.registry.layer)).expect("in use");
    later.tidy();
    assert!(!held.exists(), "there is too much");
    assert!(scene.file(&scene.registry.layer).exists());
}

#[test]
fn what_a_crash_has_left_goes_when_it_is_old() {
    let scene = scene(1 << 20);
    let contents = scene.dir.path().join("contents");
    std::fs::create_dir_all(&contents).expect("a directory");
    let (young, old) = (contents.join(".new-1"), contents.join(".new-2"));
    for path in [&young, &old] {
        std::fs::write(path, "part").expect("written");
    }
    let long_ago = SystemTime::now() - model::limits::COMPONENT_CACHE_PART_AGE * 2;
    std::fs::File::open(&old).expect("the file").set_modified(long_ago).expect("set");
    scene.cache.tidy();
    assert!(young.exists() && !old.exists());
}
