//! `conveyor sign`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use registry::client::{Client, Origin as _};
use registry::image_ref::ImageRef;
use registry::manifest::Descriptor;
use registry::name::Reference;
use registry::sign::{self, Key, Layout, Put, SignError};
use serde_json::{Value, json};

use super::key::{self, PasswordOptions};
use super::remote::{self, RemoteOptions};
use super::{Output, block_on};
use crate::exit::{Failure, Result};
use crate::{terminal, trust};

/// Signs what is in a registry, so that whoever has the public key knows whose it is
///
/// A tag is signed as what it is at that moment: the signature names a digest. It is written in both of the ways in which
/// cosign keeps signatures, beside those of others.
#[derive(Debug, Args)]
pub(super) struct Sign {
    /// What is signed, such as registry.example.com/acme/large:1.2.0
    #[arg(value_name = "REF")]
    image: ImageRef,
    /// The private key, as `conveyor key generate` and `cosign generate-key-pair` write it
    #[arg(id = "signing_key", long = "key", value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    signing: Signing,
    #[command(flatten)]
    remote: RemoteOptions,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// How something is signed.
#[derive(Debug, Args)]
pub(super) struct Signing {
    /// Where signatures are kept: a Sigstore bundle that refers to what is signed (cosign 3), an image with a tag of its own
    /// (cosign 1 and 2), or both
    #[arg(long, value_enum, default_value_t, requires = "signing_key")]
    layout: Layouts,
    /// Read the password of the key from standard input, to its end without the last line break
    #[arg(long, requires = "signing_key")]
    password_stdin: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Layouts {
    #[default]
    Both,
    Bundle,
    Tag,
}

impl Sign {
    pub(super) fn execute(self) -> Result {
        let key = self.signing.key(&self.key)?;
        let client = remote::client(&self.remote)?;
        let (manifest, put) = block_on(async {
            let manifest =
                client.at(&self.image).resolve(&self.image.reference()).await.map_err(remote::failure)?;
            let put = self.signing.sign(&client, &self.image, &manifest, &key).await?;
            Ok::<_, Failure>((manifest, put))
        })??;
        told(&self.image, &manifest, &put, self.output)
    }
}

impl Signing {
    /// The key is opened first: its password is asked for before anything is done.
    pub(super) fn key(&self, path: &Path) -> Result<Key> {
        key::private(path, &PasswordOptions { password_stdin: self.password_stdin })
    }

    /// Signs a manifest of the image's repository.
    pub(super) async fn sign(
        &self,
        client: &Client,
        image: &ImageRef,
        manifest: &Descriptor,
        key: &Key,
    ) -> Result<Vec<Put>> {
        // Clients look for the tag as well, so that a digest which has none is signed in a bundle alone.
        let layouts: &[Layout] = match self.layout {
            Layouts::Both if sign::tag(&manifest.digest).is_none() => &[Layout::Bundle],
            Layouts::Both => &[Layout::Bundle, Layout::Tag],
            Layouts::Bundle => &[Layout::Bundle],
            Layouts::Tag => &[Layout::Tag],
        };
        let target = client.at(image);
        let put = sign::sign(&target, image, manifest, key, layouts, trust::now()).await;
        put.map_err(|error| match error {
            SignError::Client(error) => remote::failure(error),
            error @ SignError::NoTag { .. } => Failure::input(error),
            error => Failure::ran(error),
        })
    }
}

fn told(image: &ImageRef, manifest: &Descriptor, put: &[Put], output: Output) -> Result {
    let signed = image.with_digest(manifest.digest).to_string();
    if output == Output::Json {
        return terminal::print_json(
            &json!({ "image": signed, "digest": manifest.digest, "signatures": data(image, put) }),
        );
    }
    say(image, put);
    terminal::print(signed)
}

/// Where the signatures of an image are, for people.
pub(super) fn say(image: &ImageRef, put: &[Put]) {
    for put in put {
        let how = if put.was_there { "was signed by this key before" } else { "signed" };
        terminal::say(format!("{how}: {} ({})", name(image, put), put.layout));
    }
}

/// Where they are, as data.
pub(super) fn data(image: &ImageRef, put: &[Put]) -> Value {
    let data = |put: &Put| json!({ "layout": put.layout, "reference": name(image, put), "was_there": put.was_there });
    put.iter().map(data).collect()
}

fn name(image: &ImageRef, put: &Put) -> String {
    let (tag, digest) = match &put.reference {
        Reference::Tag(tag) => (Some(tag.clone()), None),
        Reference::Digest(digest) => (None, Some(*digest)),
    };
    ImageRef { tag, digest, ..image.clone() }.to_string()
}
