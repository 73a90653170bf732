//! Signatures of what is in a repository, in the two ways in which cosign keeps them, and the keys that make them.
//!
//! [`sign`] puts them there, [`signatures`] brings them all. That somebody signed something is a fact that a key shows
//! ([`Signed::is_by`]); what follows from it is for [`crate::trust`].

mod bundle;
#[cfg(test)]
pub(crate) mod fake;
mod key;
mod sealed;
mod signature;
mod simple;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::try_join;
use model::convert::times::write_seconds;
use model::ids::Digest;
use model::limits::{BUNDLE_BYTES_MAX, SIGNATURE_PAYLOAD_BYTES_MAX, SIGNATURE_TRIES, SIGNATURES_MAX};

pub use key::{Key, KeyError, KeyKind, Password, PublicKey};
pub use sealed::SealError;
pub use signature::{Claim, Layout, Says, Signature, Signed, Unread};
pub use simple::tag;

use crate::client::{ClientError, Content, Origin, Target};
use crate::image_ref::ImageRef;
use crate::manifest::{Descriptor, IMAGE};
use crate::name::Reference;

/// Where a signature is by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    pub layout: Layout,
    /// What names it in the repository.
    pub reference: Reference,
    /// Whether the same key had signed the same there before, so that nothing was written.
    pub was_there: bool,
}

/// Why nothing was signed, or not all.
#[derive(thiserror::Error, Debug)]
pub enum SignError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(
        "{tag}, in which signatures are kept, is not what it should be: {why}; remove it, or sign with --layout bundle"
    )]
    Image { tag: String, why: String },
    #[error("{of} is too long for the tag of a signature: sign it with --layout bundle")]
    NoTag { of: Digest },
    #[error(
        "{tag} has {SIGNATURES_MAX} signatures, and more are not looked at: remove some, or sign with --layout bundle"
    )]
    Many { tag: String },
    #[error("others keep replacing {tag} while this signature is added to it: try again")]
    Busy { tag: String },
}

/// Signs a manifest of the repository `image` is in, in each of the layouts. `now` is in seconds since the Unix epoch.
pub async fn sign(
    target: &dyn Target,
    image: &ImageRef,
    manifest: &Descriptor,
    key: &Key,
    layouts: &[Layout],
    now: i64,
) -> Result<Vec<Put>, SignError> {
    let mut put = Vec::new();
    for layout in layouts {
        put.push(match layout {
            Layout::Tag => sign_by_tag(target, image, manifest, key).await?,
            Layout::Bundle => sign_by_bundle(target, manifest, key, now).await?,
        });
    }
    Ok(put)
}

async fn sign_by_tag(
    target: &dyn Target,
    image: &ImageRef,
    manifest: &Descriptor,
    key: &Key,
) -> Result<Put, SignError> {
    let tag = simple::tag(&manifest.digest).ok_or(SignError::NoTag { of: manifest.digest })?;
    let wrong = |why: serde_json::Error| SignError::Image { tag: tag.to_string(), why: why.to_string() };
    let payload = simple::payload(&format!("{}/{}", image.registry, image.repository), &manifest.digest);
    let payload = payload.map_err(wrong)?;
    let signature = key.sign(&payload);
    let reference = Reference::Tag(tag.clone());
    // Nobody can replace a tag on a condition: whoever signs at the same time may overwrite it, so it is looked at again.
    for attempt in 0..SIGNATURE_TRIES {
        let existing = found(target.manifest(&reference).await)?;
        let existing = existing.as_ref().map(|fetched| &*fetched.bytes);
        let count = existing.map_or(Ok(0), |bytes| simple::layers(bytes).map(|layers| layers.len()));
        let count = count.map_err(|why| SignError::Image { tag: tag.to_string(), why: why.to_string() })?;
        let Some(image) = simple::with(existing, &payload, &signature).map_err(wrong)? else {
            return Ok(Put { layout: Layout::Tag, reference, was_there: attempt == 0 });
        };
        if count >= SIGNATURES_MAX {
            return Err(SignError::Many { tag: tag.to_string() });
        }
        put_blob(target, simple::LAYER, &payload).await?;
        put_blob(target, "", &image.config).await?;
        target.put_manifest(&reference, IMAGE, image.manifest.into()).await?;
    }
    let existing = found(target.manifest(&reference).await)?;
    match simple::with(existing.as_ref().map(|fetched| &*fetched.bytes), &payload, &signature)
        .map_err(wrong)?
    {
        None => Ok(Put { layout: Layout::Tag, reference, was_there: false }),
        Some(_) => Err(SignError::Busy { tag: tag.to_string() }),
    }
}

async fn sign_by_bundle(
    target: &dyn Target,
    manifest: &Descriptor,
    key: &Key,
    now: i64,
) -> Result<Put, SignError> {
    let public = key.public()?;
    for referrer in bundles(target, &manifest.digest).await? {
        let signature = read_bundle(target, &referrer).await?;
        if signature.found.is_ok_and(|signed| is_signed(&signed, &public, &manifest.digest)) {
            let reference = Reference::Digest(referrer.digest);
            return Ok(Put { layout: Layout::Bundle, reference, was_there: true });
        }
    }
    let bundle = bundle::sign(&manifest.digest, key)?;
    let mut created = Vec::new();
    write_seconds(now, 0, true, &mut created);
    let bytes = bundle::manifest(&bundle, manifest, &String::from_utf8_lossy(&created));
    let bytes = bytes.map_err(|error| KeyError::Encode(error.to_string()))?;
    put_blob(target, bundle::BUNDLE, &bundle).await?;
    put_blob(target, "", bundle::EMPTY_CONFIG).await?;
    let reference = Reference::Digest(Digest::of(&bytes));
    target.put_manifest(&reference, IMAGE, bytes.into()).await?;
    Ok(Put { layout: Layout::Bundle, reference, was_there: false })
}

fn is_signed(signed: &Signed, key: &PublicKey, digest: &Digest) -> bool {
    let is_of_it =
        |claim: Claim| claim.says == Says::Signature && claim.digests.contains(&digest.to_string());
    signed.is_by(key) && signed.claim().is_ok_and(is_of_it)
}

async fn put_blob(target: &dyn Target, media_type: &str, bytes: &[u8]) -> Result<(), ClientError> {
    let what = Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        artifact_type: None,
        annotations: BTreeMap::new(),
    };
    target.put_blob(&what, Content::Bytes(Bytes::copy_from_slice(bytes)), &()).await
}

/// All that lies where signatures of a manifest do, in both layouts; what is none is among it as that. At most
/// [`SIGNATURES_MAX`] of each are looked at, and how many more there are is said.
pub async fn signatures(origin: &dyn Origin, of: &Digest) -> Result<Vec<Signature>, ClientError> {
    let (mut by_tag, by_referrer) = try_join!(by_tag(origin, of), by_referrer(origin, of))?;
    by_tag.extend(by_referrer);
    Ok(by_tag)
}

async fn by_tag(origin: &dyn Origin, of: &Digest) -> Result<Vec<Signature>, ClientError> {
    let Some(tag) = simple::tag(of) else { return Ok(Vec::new()) };
    match found(origin.manifest(&Reference::Tag(tag)).await)? {
        Some(image) => read_image(origin, &image.bytes).await,
        None => Ok(Vec::new()),
    }
}

async fn by_referrer(origin: &dyn Origin, of: &Digest) -> Result<Vec<Signature>, ClientError> {
    let referrers = origin.referrers(of, None).await?;
    let (mut all, mut left_out) = (Vec::new(), 0);
    for referrer in &referrers {
        let is_image = referrer.artifact_type.as_deref() == Some(simple::REFERRER);
        match all.len() < SIGNATURES_MAX {
            false if is_image || is_bundle(referrer) => left_out += 1,
            true if is_image => {
                if let Some(image) = found(origin.manifest(&Reference::Digest(referrer.digest)).await)? {
                    all.extend(read_image(origin, &image.bytes).await?);
                }
            }
            true if is_bundle(referrer) => all.push(read_bundle(origin, referrer).await?),
            _ => {}
        }
    }
    all.extend(left_out_of(Layout::Bundle, left_out));
    Ok(all)
}

/// A bundle that says itself that it is about something else is not fetched: it would be no signature.
fn is_bundle(referrer: &Descriptor) -> bool {
    let predicate = referrer.annotations.get(bundle::PREDICATE_TYPE);
    referrer.artifact_type.as_deref().is_some_and(|named| named.starts_with(bundle::ANY_BUNDLE))
        && predicate.is_none_or(|predicate| predicate == bundle::SIGNED)
}

async fn bundles(origin: &dyn Origin, of: &Digest) -> Result<Vec<Descriptor>, ClientError> {
    let mut referrers = origin.referrers(of, Some(bundle::BUNDLE)).await?;
    referrers.retain(is_bundle);
    referrers.truncate(SIGNATURES_MAX);
    Ok(referrers)
}

async fn read_bundle(origin: &dyn Origin, referrer: &Descriptor) -> Result<Signature, ClientError> {
    let of = |found| Ok(Signature::of(Layout::Bundle, found));
    let Some(manifest) = found(origin.manifest(&Reference::Digest(referrer.digest)).await)? else {
        return of(Err(Unread::malformed("it is named, and is not there")));
    };
    match bundle::layer(&manifest.bytes) {
        Ok(layer) => match blob(origin, &layer, BUNDLE_BYTES_MAX).await? {
            Ok(bytes) => of(bundle::read(&bytes)),
            Err(unread) => of(Err(unread)),
        },
        Err(unread) => of(Err(unread)),
    }
}

async fn read_image(origin: &dyn Origin, manifest: &[u8]) -> Result<Vec<Signature>, ClientError> {
    let layers = match simple::layers(manifest) {
        Ok(layers) => layers,
        Err(unread) => return Ok(vec![Signature::of(Layout::Tag, Err(unread))]),
    };
    let left_out = layers.len().saturating_sub(SIGNATURES_MAX);
    let mut all = Vec::new();
    // Signatures of one payload are many; it is fetched once.
    let mut payloads: BTreeMap<Digest, Result<Bytes, Unread>> = BTreeMap::new();
    for layer in layers.into_iter().take(SIGNATURES_MAX) {
        let found = match layer {
            Ok(simple::Layer { digest, bytes, signature: Ok(signature) }) => {
                if let std::collections::btree_map::Entry::Vacant(room) = payloads.entry(digest) {
                    let what = Descriptor {
                        media_type: simple::LAYER.to_owned(),
                        digest,
                        size: bytes,
                        artifact_type: None,
                        annotations: BTreeMap::new(),
                    };
                    room.insert(blob(origin, &what, SIGNATURE_PAYLOAD_BYTES_MAX).await?);
                }
                payloads[&digest].clone().map(|payload| simple::signed(&payload, signature))
            }
            Ok(simple::Layer { signature: Err(unread), .. }) | Err(unread) => Err(unread),
        };
        all.push(Signature::of(Layout::Tag, found));
    }
    all.extend(left_out_of(Layout::Tag, left_out));
    Ok(all)
}

fn left_out_of(layout: Layout, count: usize) -> Option<Signature> {
    (count > 0).then(|| Signature::of(layout, Err(Unread::LeftOut { count })))
}

/// A small blob. That it is too large, or is not there, is nothing that keeps the others from being looked at.
async fn blob(
    origin: &dyn Origin,
    what: &Descriptor,
    most: u64,
) -> Result<Result<Bytes, Unread>, ClientError> {
    if what.size > most {
        return Ok(Err(Unread::malformed(format_args!("it has {} bytes; {most} are the most", what.size))));
    }
    match origin.blob_bytes(what, most).await {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(
            error @ (ClientError::NotFound { .. } | ClientError::Corrupt { .. } | ClientError::Large { .. }),
        ) => Ok(Err(Unread::malformed(error))),
        Err(error) => Err(error),
    }
}

/// That something is not there is no failure here.
fn found<T>(fetched: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match fetched {
        Ok(fetched) => Ok(Some(fetched)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A bundle in which a key says something else of a manifest than that it stands by it.
#[cfg(test)]
pub(crate) fn attested(of: &Digest, key: &Key, predicate_type: &str) -> Signature {
    let bundle = bundle::say(of, key, predicate_type).expect("a bundle");
    Signature::of(Layout::Bundle, bundle::read(&bundle))
}
