//! `conveyor pull REF [-o FILE]`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use model::ids::{Digest, Digester};
use model::limits::REGISTRY_PIECE_BYTES;
use registry::artifact::{self, Artifact, Claimed};
use registry::client::{Origin, Remote};
use registry::image_ref::ImageRef;
use serde_json::json;

use super::remote::{self, RemoteOptions};
use super::{Output, block_on};
use crate::bars;
use crate::exit::{Failure, Result};
use crate::report::component;
use crate::terminal;

/// Pulls a stage out of a registry into a file
///
/// Takes what `push`, `wkg` and `oras` have pushed, and an index with one stage in it. The file is there when its bytes are
/// what their digest says; another file of that name stays.
#[derive(Debug, Args)]
pub(super) struct Pull {
    /// REGISTRY/REPOSITORY:TAG, or REGISTRY/REPOSITORY@DIGEST
    #[arg(value_name = "REF")]
    image: ImageRef,
    /// The file; as it was called when it was pushed, in this directory, unless set
    #[arg(short, long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace another file of that name
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    remote: RemoteOptions,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Pull {
    pub(super) fn execute(self) -> Result {
        let (artifact, file) = block_on(self.pull())??;
        match self.output {
            Output::Text => terminal::print_data(&format!("{}\n", file.display())),
            Output::Json => terminal::print_json(&json!({
                "file": file.display().to_string(),
                "reference": self.image.with_digest(artifact.manifest.digest).to_string(),
                "digest": artifact.manifest.digest,
                "component": artifact.layer.digest,
                "bytes": artifact.layer.size,
            })),
        }
    }

    async fn pull(&self) -> Result<(Artifact, PathBuf)> {
        let origin = remote::client(&self.remote)?.at(&self.image);
        let artifact = artifact::find(&origin, &self.image.reference()).await.map_err(remote::not_found)?;
        let file = self.out.clone().unwrap_or_else(|| name(&artifact.claimed, &self.image).into());
        let size = component::size(usize::try_from(artifact.layer.size).unwrap_or(usize::MAX));
        let what = format!("{}, {size}, {}", self.image, artifact.manifest.digest);
        match is_there(&file, &artifact.layer.digest).map_err(|error| unwritten(&file, &error))? {
            There::Same => terminal::say(format!("{} is {what} already", file.display())),
            There::Other if !self.force => return Err(other(&file)),
            There::Other | There::Nothing => {
                self.bring(&origin, &artifact, &file).await?;
                terminal::say(format!("pulled {what}"));
            }
        }
        Ok((artifact, file))
    }

    async fn bring(&self, origin: &Remote, artifact: &Artifact, file: &Path) -> Result {
        let dir = disk::dir_of(file);
        std::fs::create_dir_all(dir).map_err(|error| unwritten(file, &error))?;
        let part = tempfile::Builder::new().prefix(".pull-").tempfile_in(dir);
        let part = part.map_err(|error| unwritten(file, &error))?.into_temp_path();
        let progress = bars::progress();
        origin.blob(&artifact.layer, &part, &*progress).await.map_err(remote::failure)?;
        let named = match self.force {
            true => part.persist(file),
            false => part.persist_noclobber(file),
        };
        named.map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => other(file),
            _ => unwritten(file, &error.error),
        })
    }
}

enum There {
    Nothing,
    Same,
    Other,
}

/// Whether what stands under a name is what is wanted.
fn is_there(path: &Path, wanted: &Digest) -> io::Result<There> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        file => file?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let (mut digester, mut piece) = (Digester::new(wanted.algorithm()), vec![0; REGISTRY_PIECE_BYTES]);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => digester.update(&piece[..read]),
        }
    }
    Ok(if digester.finish() == *wanted { There::Same } else { There::Other })
}

fn other(file: &Path) -> Failure {
    Failure::Input(anyhow!(
        "{} is there, and is something else: name another file with `--out`, or replace it with `--force`",
        file.display()
    ))
}

fn unwritten(file: &Path, error: &io::Error) -> Failure {
    let name = file.display();
    match disk::is_full(error.kind()) {
        true => Failure::Full(anyhow!("{name} cannot be written: {error}; free some space")),
        false => Failure::Input(anyhow!("{name} cannot be written: {error}; name another file with `--out`")),
    }
}

/// What it was called when it was pushed, where that is the name of a component and nothing else; else what its repository
/// is called.
fn name(claimed: &Claimed, image: &ImageRef) -> String {
    let is_plain = |title: &&String| {
        title.len() <= 200
            && title.ends_with(".wasm")
            && !title.starts_with(['.', '-'])
            && !title.contains(['/', '\\'])
            && !title.chars().any(char::is_control)
    };
    let repository = image.repository.as_str().rsplit('/').next().unwrap_or_default();
    claimed.title.as_ref().filter(is_plain).cloned().unwrap_or_else(|| format!("{repository}.wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_as_it_was_unless_that_leads_elsewhere() {
        let image: ImageRef = "r.example/acme/large:1".parse().expect("a reference");
        let called = |title: &str| name(&Claimed { title: Some(title.into()), ..Claimed::default() }, &image);
        assert_eq!(called("filter-large.wasm"), "filter-large.wasm");
        let long = format!("{}.wasm", "x".repeat(300));
        for title in
            ["../x.wasm", "/etc/x.wasm", ".x.wasm", "-x.wasm", "Makefile", "a\n.wasm", "a\\b.wasm", "", &long]
        {
            assert_eq!(called(title), "large.wasm", "{title:?}");
        }
        assert_eq!(name(&Claimed::default(), &image), "large.wasm");
    }
}
