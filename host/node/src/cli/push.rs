//! `conveyor push FILE REF`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, anyhow};
use clap::Args;
use engine::componentize;
use model::ids::Digest;
use registry::artifact::{self, Built, Facts, PushError, Pushed};
use registry::client::{Client, Content};
use registry::image_ref::ImageRef;
use registry::manifest::{Descriptor, IMAGE};
use registry::sign::Put;
use serde_json::json;

use super::remote::{self, RemoteOptions};
use super::sign::{self, Signing};
use super::{Output, block_on};
use crate::bars;
use crate::exit::{Failure, Result};
use crate::report::component;
use crate::terminal;
use crate::wiring::{self, Resolver};

/// Pushes a stage to a registry
///
/// What the registry has already is not sent again. What is printed is the reference by its digest, which stands for this very
/// component whatever becomes of the tag. The time in it is that of the file, or SOURCE_DATE_EPOCH.
#[derive(Debug, Args)]
pub(super) struct Push {
    /// A `.wasm` file: a component, or a core module that one is made of
    file: PathBuf,
    /// Where to: REGISTRY/REPOSITORY:TAG
    #[arg(value_name = "REF")]
    image: ImageRef,
    /// Say something of it, once for each: where its source is (org.opencontainers.image.source=URL), of which revision
    /// (org.opencontainers.image.revision=REV), or anything else
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
    /// Sign it with this private key (docs/signing.md)
    #[arg(id = "signing_key", long = "sign", value_name = "KEY")]
    key: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
    #[command(flatten)]
    remote: RemoteOptions,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn annotation(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE, such as org.opencontainers.image.revision=0a1b2c".to_owned()),
    }
}

impl Push {
    pub(super) fn execute(self) -> Result {
        // A password is asked for before anything is done.
        let key = self.key.as_deref().map(|path| self.signing.key(path)).transpose()?;
        let (wasm, created) = read(&self.file)?;
        let title = title(&self.file)?;
        let facts = block_on(asked(&self.file, &wasm))??;
        let mut annotations = BTreeMap::new();
        for (key, value) in &self.annotations {
            if annotations.insert(key.clone(), value.clone()).is_some() {
                return Err(Failure::Input(anyhow!("the annotation `{key}` is given twice")));
            }
        }
        let (digest, bytes) = (Digest::of(&wasm), wasm.len() as u64);
        let stage = artifact::Stage {
            digest,
            bytes,
            facts: &facts,
            title: &title,
            created,
            annotations: &annotations,
        };
        let built = artifact::build(&stage).map_err(Failure::input)?;
        let client = remote::client(&self.remote)?;
        let pushed = block_on(self.push(&client, &built, wasm))??;
        let manifest = Descriptor {
            media_type: IMAGE.to_owned(),
            digest: pushed.digest,
            size: built.manifest.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
        };
        let signed = match key {
            Some(key) => block_on(self.signing.sign(&client, &self.image, &manifest, &key))??,
            None => Vec::new(),
        };
        self.tell(&built, &pushed, &signed)
    }

    async fn push(&self, client: &Client, built: &Built, wasm: Vec<u8>) -> Result<Pushed> {
        let target = client.at(&self.image);
        let layers = vec![Content::Bytes(wasm.into())];
        let progress = bars::progress();
        let pushed = artifact::push(&target, &self.image.reference(), built, layers, &*progress).await;
        pushed.map_err(|error| match error {
            PushError::Client(error) => remote::failure(error),
            PushError::OtherDigest { .. } => Failure::input(error),
        })
    }

    fn tell(&self, built: &Built, pushed: &Pushed, signed: &[Put]) -> Result {
        let by_digest = self.image.with_digest(pushed.digest);
        let sent = match pushed.sent_bytes {
            0 => "it is there already; nothing was sent".to_owned(),
            bytes => format!("{} sent", component::size(usize::try_from(bytes).unwrap_or(usize::MAX))),
        };
        let was = pushed.was.map(|was| format!(", was {was} before")).unwrap_or_default();
        terminal::say(format!("pushed {}: {sent}{was}", self.image));
        sign::say(&self.image, signed);
        match self.output {
            Output::Text => terminal::print_data(&format!("{by_digest}\n")),
            Output::Json => terminal::print_json(&json!({
                "reference": by_digest.to_string(),
                "digest": pushed.digest,
                "component": built.layers.first().map(|layer| layer.digest),
                "sent_bytes": pushed.sent_bytes,
                "was": pushed.was,
                "signatures": sign::data(&self.image, signed),
            })),
        }
    }
}

/// The component in a file, and the time that it is of, in seconds.
fn read(file: &Path) -> Result<(Vec<u8>, i64)> {
    let name = file.display();
    if file.is_dir() {
        return Err(Failure::Input(anyhow!(
            "{name} is a directory, and what is pushed is a component: build it with `conveyor build {name}`, and push the \
             `.wasm` that it names"
        )));
    }
    let bytes = wiring::read_component(file)
        .map_err(|error| Failure::Input(anyhow!("{name} cannot be read: {error}; name a `.wasm` file")))?;
    let created = match std::env::var_os("SOURCE_DATE_EPOCH") {
        Some(text) => text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
            let text = text.to_string_lossy().into_owned();
            Failure::Input(anyhow!(
                "SOURCE_DATE_EPOCH is `{text}`: write seconds since 1970, as in 1785585600"
            ))
        })?,
        None => changed(file).with_context(|| name.to_string()).map_err(Failure::Input)?,
    };
    let wasm = componentize(&bytes).map_err(|error| not_a_stage(file, &error))?;
    Ok((wasm.into_owned(), created))
}

/// When a file was changed last.
fn changed(file: &Path) -> anyhow::Result<i64> {
    let changed = std::fs::metadata(file)?.modified()?;
    let seconds = match changed.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs())?,
        Err(before) => -i64::try_from(before.duration().as_secs())?,
    };
    Ok(seconds)
}

/// Under which name others write it to their disks.
fn title(file: &Path) -> Result<String> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        let name = file.display();
        Failure::Input(anyhow!(
            "the name of {name} is no text, and others get it under that name: give it another"
        ))
    })
}

async fn asked(file: &Path, wasm: &[u8]) -> Result<Facts> {
    let resolver = Resolver::new(false)?;
    let stage = resolver.engine.load(wasm.to_vec()).await.map_err(|error| not_a_stage(file, &error))?;
    Ok(component::facts(&stage).await)
}

fn not_a_stage(file: &Path, error: &engine::LoadError) -> Failure {
    let verdict = if error.is_of_compiling() { "cannot be compiled" } else { "is not a stage" };
    Failure::Input(anyhow!("{} {verdict}, and nothing was pushed: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_has_a_key_and_a_value() {
        assert_eq!(annotation("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(annotation("a="), Ok(("a".to_owned(), String::new())));
        assert!(annotation("a").is_err() && annotation("=b").is_err());
    }

    #[test]
    fn a_file_from_before_1970_has_a_time() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let time = UNIX_EPOCH - std::time::Duration::from_secs(5);
        file.as_file().set_modified(time).expect("a time");
        assert_eq!(changed(file.path()).expect("a time"), -5);
    }
}
