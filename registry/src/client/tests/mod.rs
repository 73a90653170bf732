//! A client against a registry that does all as it should, and against one that does what others were seen to do.

mod auth;
mod lists;
mod odd;
mod ours;
mod pull;
mod push;

use model::ids::Digest;

use super::*;
use crate::manifest::IMAGE;

/// A client that is nobody.
fn client() -> Client {
    Client::new(Settings::default()).expect("a client")
}

fn descriptor(content: &[u8]) -> Descriptor {
    let (media_type, size) = ("application/wasm".to_owned(), content.len() as u64);
    Descriptor {
        media_type,
        digest: Digest::of(content),
        size,
        artifact_type: None,
        annotations: Default::default(),
    }
}

/// Bytes that are not the same anywhere.
fn content(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}

fn tag(text: &str) -> Reference {
    Reference::Tag(text.parse().expect("a tag"))
}

fn image(config: &[u8], layers: &[&[u8]]) -> serde_json::Value {
    let named = |media_type: &str, content: &[u8]| {
        serde_json::json!({
        "mediaType": media_type, "digest": Digest::of(content), "size": content.len() })
    };
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": named("application/vnd.wasm.config.v0+json", config),
        "layers": layers.iter().map(|layer| named("application/wasm", layer)).collect::<Vec<_>>(),
    })
}
