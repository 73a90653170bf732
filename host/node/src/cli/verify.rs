//! `conveyor verify`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use registry::client::Origin as _;
use registry::image_ref::ImageRef;
use registry::sign::signatures;
use registry::trust::{By, Policy, Trust, Verdict, judge};
use serde_json::json;

use super::remote::{self, RemoteOptions};
use super::trust::TrustOptions;
use super::{Output, block_on, key};
use crate::exit::{Code, Failure, Result};
use crate::{terminal, trust};

/// Checks that what is in a registry is signed: with one key, or as the trust policy says
///
/// Exit code 0 where a signature counts; 1 where none does, with what was expected and what came.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// What is checked, such as registry.example.com/acme/large:1.2.0
    #[arg(value_name = "REF")]
    image: ImageRef,
    /// The public key of whoever has to have signed it
    #[arg(long, value_name = "FILE", conflicts_with = "trust")]
    key: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustOptions,
    #[command(flatten)]
    remote: RemoteOptions,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Verify {
    pub(super) fn execute(self) -> Result {
        let trust = self.policy()?;
        if !trust.wants_signatures(&self.image) {
            let (host, name) = (&self.image.registry, &self.image.repository);
            let why = match self.trust.path() {
                Some(path) => format!("no rule of {} is for {host}/{name}", path.display()),
                None => "there is no trust policy".to_owned(),
            };
            return Err(Failure::Input(anyhow!("{why}: write one, or give --key")));
        }
        let client = remote::client(&self.remote)?;
        let (digest, verdict) = block_on(async {
            let origin = client.at(&self.image);
            let manifest = origin.resolve(&self.image.reference()).await.map_err(remote::failure)?;
            let signatures = signatures(&origin, &manifest.digest).await.map_err(remote::failure)?;
            // What is only checked is not remembered as required.
            let (policy, seen) = (&trust.policy, trust.seen());
            let verdict = judge(policy, seen, &self.image, &manifest.digest, &signatures, trust::now());
            Ok::<_, Failure>((manifest.digest, verdict))
        })??;
        let image = self.image.with_digest(digest);
        let by = match &verdict {
            Verdict::Accepted { by: By::Key { name, key, layout, .. } } => Some((name, key, layout)),
            _ => None,
        };
        if self.output == Output::Json {
            let signed =
                by.map(|(name, key, layout)| json!({ "name": name, "hint": key.hint(), "layout": layout }));
            let (expected, came) = match &verdict {
                Verdict::Warn { expected, came } | Verdict::Refused { expected, came } => {
                    (Some(expected), Some(came))
                }
                Verdict::Accepted { .. } => (None, None),
            };
            terminal::print_json(&json!({
                "image": image.to_string(), "digest": digest, "is_signed": by.is_some(), "by": signed,
                "expected": expected, "came": came,
            }))?;
            return if by.is_some() { Ok(()) } else { Err(Failure::Told(Code::Failed)) };
        }
        match verdict {
            Verdict::Accepted { by } => terminal::print(format!("{image} is trusted by {by}")),
            Verdict::Warn { expected, came } | Verdict::Refused { expected, came } => {
                Err(trust::refused(&image, &expected, &came))
            }
        }
    }

    fn policy(&self) -> Result<Trust> {
        match &self.key {
            Some(path) => {
                let name = path.display().to_string();
                let policy = Policy::of_key(&self.image, &name, key::public(path)?);
                Ok(Trust { policy, memory: None })
            }
            None => self.trust.open(),
        }
    }
}
