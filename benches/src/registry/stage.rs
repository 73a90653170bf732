//! Stages of a given size, no two of them the same, as a client pushes and pulls them: a config, a layer and a manifest.

use bytes::Bytes;
use model::ids::{Algorithm, Digest, Digester};

/// What all stages of one size share: everything but the end of the layer, and what that hashes to.
#[derive(Clone)]
pub struct Mould {
    base: Bytes,
    digester: Digester,
}

/// Bytes at the end of a layer that are its own.
const OWN_BYTES: usize = 16;

/// A content, of one or two parts.
#[derive(Clone, Debug)]
pub struct Content {
    pub digest: Digest,
    pub parts: [Bytes; 2],
}

impl Content {
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    fn of(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), parts: [bytes.into(), Bytes::new()] }
    }
}

/// A stage in a registry.
#[derive(Clone, Debug)]
pub struct Stage {
    pub tag: String,
    pub layer: Content,
    pub config: Content,
    pub manifest: Content,
}

impl Mould {
    /// Of stages whose layer has this many bytes, which do not compress.
    pub fn new(bytes: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let base: Bytes = words.flatten().take(bytes.saturating_sub(OWN_BYTES)).collect();
        let mut digester = Digester::new(Algorithm::Sha256);
        digester.update(&base);
        Self { base, digester }
    }

    /// The stage of this number. Only what is its own is hashed.
    pub fn stage(&self, number: u64) -> Stage {
        let own = format!("{number:0OWN_BYTES$}");
        let mut digester = self.digester.clone();
        digester.update(own.as_bytes());
        let layer = Content { digest: digester.finish(), parts: [self.base.clone(), own.into()] };
        let config = Content::of(
            format!(
                "{{\"created\":\"2026-11-30T00:00:00Z\",\"architecture\":\"wasm\",\"os\":\"wasip2\",\"layerDigests\":[\"{}\"]}}",
                layer.digest
            )
            .into_bytes(),
        );
        let manifest = Content::of(
            format!(
                "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\"config\":{{\"mediaType\":\
                 \"application/vnd.wasm.config.v0+json\",\"digest\":\"{}\",\"size\":{}}},\"layers\":[{{\"mediaType\":\
                 \"application/wasm\",\"digest\":\"{}\",\"size\":{},\"annotations\":{{\"org.opencontainers.image.title\":\"stage.wasm\"}}}}]}}",
                config.digest,
                config.bytes(),
                layer.digest,
                layer.bytes(),
            )
            .into_bytes(),
        );
        Stage { tag: format!("v{number}"), layer, config, manifest }
    }
}

/// The media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_as_large_as_asked_for_and_is_what_its_digest_says() {
        let mould = Mould::new(24 << 10);
        let (one, two) = (mould.stage(1), mould.stage(2));
        assert_eq!(one.layer.bytes(), 24 << 10);
        assert_eq!(Digest::of(&one.layer.parts.concat()), one.layer.digest);
        assert_ne!(one.layer.digest, two.layer.digest);
        assert_ne!(one.manifest.digest, two.manifest.digest);
    }
}
