//! `conveyor bundle FILE -o BUNDLE`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use bytes::Bytes;
use clap::Args;
use model::ids::Digest;
use model::manifest::{OciRef, StageRef};
use registry::artifact::pipeline::Pipeline;
use registry::artifact::{self, LAYER, PushError};
use registry::client::{Client, Content};
use registry::copy::copy;
use registry::image_ref::ImageRef;
use registry::layout::Layout;
use registry::manifest::Descriptor;
use registry::name::Reference;
use serde_json::json;

use super::pulling::Pulling;
use super::{Output, block_on, lock, remote};
use crate::bars;
use crate::exit::{Failure, Result};
use crate::pulled::{Loaded, is_bundle, lock_path};
use crate::report::component;
use crate::terminal;
use crate::wiring::{self, Draft, Policy, Resolver};

/// Packs a pipeline with its lock, its components and their signatures into one file, to be run where no registry is
///
/// The file is an OCI image layout: `run FILE` runs it, `registry load FILE` puts its components into a registry, and other
/// tools read it. What is not in it is the data that the pipeline reads. The same pipeline is the same file, byte for byte.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Bundle {
    /// The manifest
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The bundle, a name that ends with `.tar`; that of the manifest with `.tar` in its place, in this directory, unless set
    #[arg(short, long = "out", value_name = "BUNDLE")]
    out: Option<PathBuf>,
    /// Build stages that are directories
    #[arg(long)]
    build: bool,
    /// Replace another file of that name
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pulling: Pulling,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Bundle {
    pub(super) fn execute(self) -> Result {
        if is_bundle(&self.file) {
            return Err(Failure::Input(anyhow!(
                "{} is a bundle already: name a manifest",
                self.file.display()
            )));
        }
        let out = self.out()?;
        let draft = wiring::read(&self.file)?;
        let options = self.pulling.options();
        let client = Client::new(options.settings.clone()).map_err(remote::failure)?;
        let mut resolver = Resolver::under(Policy::default().pulling(options), self.build)?;
        resolver.keeps_builds = true;
        let (loaded, problems) = block_on(resolver.components(&draft, |_| true))?;
        if !problems.is_empty() {
            return Err(draft.pipeline.diagnostics(problems).into());
        }
        let layout = Layout::create(&out).map_err(remote::failure)?;
        let packing = Packing { client, draft: &draft, resolver: &resolver, layout: &layout };
        block_on(packing.pack(&self.file, &loaded))??;
        layout.finish(self.force).map_err(remote::failure)?;
        self.tell(&out, &draft, &loaded)
    }

    fn out(&self) -> Result<PathBuf> {
        let Some(out) = &self.out else {
            let name = self.file.file_name().map(PathBuf::from).unwrap_or_default();
            return Ok(name.with_extension("tar"));
        };
        match out.extension().is_some_and(|end| end == "tar") {
            true => Ok(out.clone()),
            false => Err(Failure::Input(anyhow!(
                "{} is no name of a bundle, which ends with `.tar`: write `-o {}.tar`",
                out.display(),
                out.display()
            ))),
        }
    }

    fn tell(&self, out: &Path, draft: &Draft, loaded: &[Option<Loaded>]) -> Result {
        let components: BTreeMap<String, Digest> = draft
            .pipeline
            .stages
            .iter()
            .zip(loaded)
            .filter_map(|(stage, loaded)| Some((stage.reference.to_string(), loaded.as_ref()?.digest)))
            .collect();
        let bytes = std::fs::metadata(out).map_or(0, |file| file.len());
        terminal::say(format!(
            "{} has pipeline {} with {} of its components: {}",
            out.display(),
            draft.pipeline.name.as_str(),
            components.len(),
            component::size(usize::try_from(bytes).unwrap_or(usize::MAX))
        ));
        match self.output {
            Output::Text => terminal::print_data(&format!("{}\n", out.display())),
            Output::Json => terminal::print_json(&json!({
                "bundle": out.display().to_string(),
                "pipeline": draft.pipeline.name.as_str(),
                "components": components,
                "bytes": bytes,
            })),
        }
    }
}

/// A bundle that is being made.
struct Packing<'a> {
    client: Client,
    draft: &'a Draft,
    resolver: &'a Resolver,
    layout: &'a Layout,
}

impl Packing<'_> {
    async fn pack(&self, file: &Path, loaded: &[Option<Loaded>]) -> Result {
        let pipeline = &self.draft.pipeline;
        let mut components: BTreeMap<String, Bytes> = BTreeMap::new();
        let mut images: BTreeMap<String, (&OciRef, Digest)> = BTreeMap::new();
        for (stage, loaded) in pipeline.stages.iter().zip(loaded) {
            let Some(loaded) = loaded else { continue };
            match (&stage.reference.value, loaded.image) {
                (StageRef::Oci(reference), Some(image)) => {
                    images.insert(reference.to_string(), (reference, image.resolved()));
                }
                (StageRef::WasmFile(path) | StageRef::Directory(path), _)
                    if !components.contains_key(path) =>
                {
                    components.insert(path.clone(), self.local(&stage.reference.value, loaded.digest)?);
                }
                _ => {}
            }
        }
        for (reference, digest) in images.into_values() {
            self.image(reference, digest).await?;
        }
        self.pipeline(file, loaded, components).await
    }

    /// Copies what a reference stands for, with what is said of it.
    async fn image(&self, reference: &OciRef, digest: Digest) -> Result {
        let image = ImageRef::try_from(reference).map_err(Failure::input)?;
        let (from, to) = (Reference::Digest(digest), image.tag.clone().map(Reference::Tag));
        let to = to.unwrap_or_else(|| from.clone());
        let target = self.layout.of(&format!("{}/{}", image.registry, image.repository));
        let progress = bars::progress();
        copy(&self.client.at(&image), &target, &from, &to, true, &*progress)
            .await
            .map_err(remote::failure)?;
        Ok(())
    }

    /// The bytes of a component that is here, which are those that were looked at.
    fn local(&self, reference: &StageRef, digest: Digest) -> Result<Bytes> {
        let bytes = match reference {
            StageRef::WasmFile(path) => {
                let path = self.draft.home.join(path);
                let read = wiring::read_component(&path).map(Bytes::from);
                read.map_err(|error| Failure::Input(anyhow!("{} cannot be read: {error}", path.display())))?
            }
            _ => self.resolver.puller.content(&digest).ok_or_else(|| {
                Failure::Input(anyhow!("what was built of {reference} is not here any more: add `--build`"))
            })?,
        };
        match Digest::by(digest.algorithm(), &bytes) == digest {
            true => Ok(bytes),
            false => Err(Failure::Ran(anyhow!("{reference} has changed while it was packed; try again"))),
        }
    }

    /// Adds what leads to all of it: the manifest, the lock, and what the manifest names by paths.
    async fn pipeline(
        &self,
        file: &Path,
        loaded: &[Option<Loaded>],
        components: BTreeMap<String, Bytes>,
    ) -> Result {
        let lock = match &self.draft.lock {
            Some(lock) => lock.clone(),
            None => lock::of(self.resolver, self.draft, loaded, None).await,
        };
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (text, pipeline) = (&self.draft.pipeline.text.text, &self.draft.pipeline);
        let described = components.iter().map(|(path, bytes)| {
            let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
            let (media_type, annotations) = (LAYER.to_owned(), BTreeMap::new());
            (path.clone(), Descriptor { media_type, digest, size, artifact_type: None, annotations })
        });
        let packed = Pipeline {
            name: pipeline.name.to_string(),
            manifest: (name(file), Bytes::from(text.as_bytes().to_vec())),
            lock: Some((name(&lock_path(file)), Bytes::from(lock.print().into_bytes()))),
            components: described.collect(),
        };
        let (built, mut contents) = packed.build();
        contents.extend(components.into_values().map(Content::Bytes));
        let tag = pipeline.name.as_str().parse().map_err(Failure::input)?;
        let pushed = artifact::push(self.layout, &Reference::Tag(tag), &built, contents, &()).await;
        pushed.map(|_| ()).map_err(|error| match error {
            PushError::Client(error) => remote::failure(error),
            error @ PushError::OtherDigest { .. } => Failure::ran(error),
        })
    }
}
