//! Components that manifests name by references: found in a registry or in a bundle, looked at, judged, and loaded.
//!
//! A reference is looked up once in a process, whoever names it. What it stands for is what the lock says or, without one,
//! what the registry says now, which is told. A component is handed out when its bytes are what its digest says, the policy
//! lets it in, and it is what its image says of it. Not here: what becomes of it in a pipeline.

mod bundle;
mod failure;
mod pushed;
mod trusting;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use engine::{Component, Engine};
use model::ids::{Algorithm, Digest};
use model::limits::COMPONENT_CACHE_BYTES;
use model::lock::{Image, Pinned};
use registry::artifact::{self, Artifact};
use registry::cached::{Cache, Cached};
use registry::client::{Client, Origin, Settings};
use registry::image_ref::ImageRef;
use registry::manifest::Descriptor;
use registry::name::Reference;
use tokio::sync::OnceCell;

use crate::bars;
use crate::exit::Failure;
use crate::places;
use crate::report::component::facts;
use crate::terminal;
pub use bundle::{Bundle, is_bundle};
pub use failure::PullError;
pub use pushed::Pushed;
use trusting::Trusting;

/// How registries are spoken with, and who is trusted.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub settings: Settings,
    /// The trust policy that was named; else there may be one where this user has it.
    pub trust: Option<PathBuf>,
    /// Whether it stays untold what a tag stands for that nothing pins.
    pub is_locking: bool,
}

/// A component that is loaded, and where it came from.
#[derive(Clone)]
pub struct Loaded {
    pub component: Component,
    /// None where it is not from a registry.
    pub image: Option<Image>,
    /// Of its bytes.
    pub bytes: u64,
    pub digest: Digest,
}

/// What a reference is to stand for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub image: ImageRef,
    /// As the lock has it.
    pub pinned: Option<Pinned>,
}

/// What was looked up, by reference and by what pins it.
type Looked = HashMap<(String, Option<Digest>), Arc<OnceCell<Result<Loaded, Arc<PullError>>>>>;

/// Brings components here. One for a process.
pub struct Puller {
    client: OnceCell<Client>,
    settings: Settings,
    cache: Cache,
    trusting: Trusting,
    tells_tags: bool,
    looked: Mutex<Looked>,
}

impl Puller {
    pub fn new(options: Options) -> Result<Self, Failure> {
        Ok(Self {
            client: OnceCell::new(),
            cache: Cache::new(&places::components(), COMPONENT_CACHE_BYTES),
            trusting: Trusting::open(options.trust.as_deref())?,
            settings: options.settings,
            tells_tags: !options.is_locking,
            looked: Mutex::default(),
        })
    }

    /// The component that a reference stands for. `bundle`: where everything comes from, instead of from registries.
    pub async fn component(
        &self,
        engine: &Engine,
        wanted: &Wanted,
        bundle: Option<&Bundle>,
    ) -> Result<Loaded, Arc<PullError>> {
        let pinned = wanted.pinned.as_ref().and_then(|pinned| pinned.image).map(|image| image.resolved());
        let key = (wanted.image.to_string(), pinned);
        let looked = {
            let mut all = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(key).or_default().clone()
        };
        looked
            .get_or_init(|| async { self.look_up(engine, wanted, bundle).await.map_err(Arc::new) })
            .await
            .clone()
    }

    /// The component that a bundle has for a path.
    pub async fn bundled(&self, bundle: &Bundle, path: &str) -> Result<Bytes, PullError> {
        self.trusting.judge_unnamed(path).await?;
        Ok(bundle.component(path).await?)
    }

    /// The component that was pushed to this node for a path.
    pub async fn pushed(
        &self,
        engine: &Engine,
        pushed: &Pushed,
        path: &str,
        digest: Digest,
    ) -> Result<Component, PullError> {
        self.trusting.judge_unnamed(path).await?;
        match compiled(engine, &digest).await? {
            Some(component) => Ok(component),
            None => Ok(engine.load(pushed.component(digest).await?).await?),
        }
    }

    /// What was built here and is pinned by its digest; none where it is not here any more.
    pub async fn built(&self, engine: &Engine, pinned: &Pinned) -> Result<Option<Component>, PullError> {
        if let Some(component) = compiled(engine, &pinned.component).await? {
            self.cache.touch(&pinned.component);
            return Ok(Some(component));
        }
        match self.cache.content(&pinned.component) {
            Some(bytes) => Ok(Some(engine.load(bytes).await?)),
            None => Ok(None),
        }
    }

    /// Keeps what was built, so that runs need not build it.
    pub fn keep(&self, bytes: &[u8]) {
        self.cache.keep(&Digest::of(bytes), bytes);
        self.cache.tidy();
    }

    /// What is kept here of this digest.
    pub fn content(&self, digest: &Digest) -> Option<Bytes> {
        self.cache.content(digest)
    }

    async fn client(&self) -> Result<&Client, PullError> {
        let made = self.client.get_or_try_init(|| async { Client::new(self.settings.clone()) }).await;
        made.map_err(PullError::Client)
    }

    async fn look_up(
        &self,
        engine: &Engine,
        wanted: &Wanted,
        bundle: Option<&Bundle>,
    ) -> Result<Loaded, PullError> {
        match bundle {
            Some(bundle) => {
                let layout = bundle.repository(&wanted.image);
                self.bring(engine, wanted, Supply { origin: &layout, cached: None, fresh: None }).await
            }
            None => {
                let remote = self.client().await?.at(&wanted.image);
                let asking = Cached::asking(&self.cache, &remote);
                if !wanted.pins() {
                    let from = Supply { origin: &asking, cached: Some(&asking), fresh: None };
                    return self.bring(engine, wanted, from).await;
                }
                let pinned = Cached::pinned(&self.cache, &remote);
                let from = Supply { origin: &pinned, cached: Some(&pinned), fresh: Some(&asking) };
                self.bring(engine, wanted, from).await
            }
        }
    }

    /// What was compiled here before is kept as it was pulled as well: bundles take it along, and another engine compiles it
    /// anew. Where it cannot be had now, what was compiled serves.
    async fn has_content(&self, layer: &Descriptor, cached: Option<&Cached<'_>>) {
        let is_there = self.cache.place_for(&layer.digest).is_ok_and(|path| path.is_file());
        if let Some(cached) = cached.filter(|_| !is_there)
            && let Err(error) = cached.component(layer, &*bars::progress()).await
        {
            tracing::debug!(digest = %layer.digest, %error, "a component is here as compiled code alone");
        }
        self.cache.touch(&layer.digest);
    }

    async fn bring(&self, engine: &Engine, wanted: &Wanted, from: Supply<'_>) -> Result<Loaded, PullError> {
        let Supply { origin, cached, fresh } = from;
        let reference = wanted.reference();
        let resolved = match &reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(_) => origin.resolve(&reference).await?.digest,
        };
        let artifact = artifact::find(origin, &Reference::Digest(resolved)).await?;
        let manifest = artifact.manifest.digest;
        let image = Image { manifest, index: (manifest != resolved).then_some(resolved) };
        wanted.check(&image, &artifact)?;
        let origins: Vec<&dyn Origin> = std::iter::once(origin).chain(fresh).collect();
        self.trusting.judge(&wanted.image, &image, &origins).await?;
        let component = match compiled(engine, &artifact.layer.digest).await? {
            Some(component) => {
                self.has_content(&artifact.layer, cached).await;
                component
            }
            None => {
                let bytes = match cached {
                    Some(cached) => cached.component(&artifact.layer, &*bars::progress()).await?,
                    None => origin.blob_bytes(&artifact.layer, artifact.layer.size).await?,
                };
                engine.load(bytes).await?
            }
        };
        artifact.check(&facts(&component).await)?;
        if self.tells_tags && matches!(reference, Reference::Tag(_)) {
            let version = &component.about().version;
            let version = if version.is_empty() { String::new() } else { format!("version {version}, ") };
            let image = &wanted.image;
            terminal::say(format!(
                "{image} is {version}manifest {resolved} now; `conveyor lock` would keep it so"
            ));
        }
        let (bytes, digest) = (artifact.layer.size, artifact.layer.digest);
        Ok(Loaded { component, image: Some(image), bytes, digest })
    }
}

/// Where a component comes from.
struct Supply<'a> {
    origin: &'a dyn Origin,
    /// The same, where it keeps what it brings.
    cached: Option<&'a Cached<'a>>,
    /// The same, asked anew.
    fresh: Option<&'a dyn Origin>,
}

/// Code that was compiled before: the engine knows components by their SHA-256.
async fn compiled(engine: &Engine, digest: &Digest) -> Result<Option<Component>, PullError> {
    match digest.algorithm() {
        Algorithm::Sha256 => Ok(engine.load_cached(*digest).await?),
        Algorithm::Sha512 => Ok(None),
    }
}

impl Wanted {
    /// Whether there is nothing that could have moved.
    pub fn pins(&self) -> bool {
        matches!(self.reference(), Reference::Digest(_))
    }

    fn reference(&self) -> Reference {
        match self.pinned.as_ref().and_then(|pinned| pinned.image) {
            Some(image) => Reference::Digest(image.resolved()),
            None => self.image.reference(),
        }
    }

    /// That what was found is what the lock has, down to the component.
    fn check(&self, image: &Image, artifact: &Artifact) -> Result<(), PullError> {
        let Some(pinned) = &self.pinned else { return Ok(()) };
        let differs = |what: &'static str, expected: Digest, came: Digest| match expected == came {
            true => Ok(()),
            false => Err(PullError::Unlocked { what, expected: expected.into(), came: came.into() }),
        };
        if let Some(expected) = pinned.image {
            differs("manifest", expected.manifest, image.manifest)?;
        }
        differs("component", pinned.component, artifact.layer.digest)
    }
}

/// The lock of a manifest: `orders.lock` beside `orders.yaml`. Of a manifest that ends in another way, all of its name is
/// kept, so that no two of a directory have one lock.
pub fn lock_path(manifest: &Path) -> PathBuf {
    match manifest.extension() {
        Some(extension) if extension == "yaml" => manifest.with_extension("lock"),
        _ => {
            let mut path = manifest.as_os_str().to_owned();
            path.push(".lock");
            path.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_manifest_has_a_lock_of_its_own() {
        for (manifest, lock) in [
            ("pipeline.yaml", "pipeline.lock"),
            ("a/orders.eu.yaml", "a/orders.eu.lock"),
            ("a/orders.yml", "a/orders.yml.lock"),
            ("orders", "orders.lock"),
            (".yaml", ".yaml.lock"),
        ] {
            assert_eq!(lock_path(Path::new(manifest)), Path::new(lock));
        }
    }
}
