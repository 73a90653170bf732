//! Namespaces, tags of repositories, and secrets.

use std::sync::Arc;

use model::ids::Digest;
use model::limits::{CONTROL_NAMESPACES_MAX, CONTROL_SECRETS_MAX, CONTROL_STATE_BYTES_MAX, CONTROL_TAGS_MAX};
use model::manifest::Name;
use serde::{Deserialize, Serialize};

use super::command::Answer;
use super::effect::Effect;
use super::ids::{SecretName, TagName};
use super::pipeline::Moment;
use super::refusal::{Kind, Refusal};
use super::{DEFAULT_NAMESPACE, State};
use crate::bytes::kept_bytes;
use crate::sealed::Sealed;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    pub made_at_us: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Counts how often it was set.
    pub version: u64,
    pub sealed: Sealed,
    pub set_at_us: u64,
    pub by: Option<String>,
}

impl Secret {
    /// What it takes, as far as it counts.
    pub fn bytes(&self) -> u64 {
        kept_bytes(self)
    }
}

impl State {
    pub(super) fn create_namespace(
        &mut self,
        now: Moment,
        name: &Name,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        if self.namespaces.contains_key(name) {
            return Err(Refusal::NamespaceTaken { name: name.clone() });
        }
        room(Kind::Namespaces, self.namespaces.len(), CONTROL_NAMESPACES_MAX)?;
        self.namespaces.insert(name.clone(), Namespace { made_at_us: now.at_us });
        effects.push(Effect::NamespaceMade { name: name.clone() });
        Ok(Answer::Done)
    }

    pub(super) fn delete_namespace(
        &mut self,
        name: &Name,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        self.namespace(name)?;
        if name.as_str() == DEFAULT_NAMESPACE {
            return Err(Refusal::DefaultNamespace);
        }
        let pipelines = self.pipelines.keys().filter(|pipeline| pipeline.namespace == *name).count();
        let secrets = self.secrets.keys().filter(|secret| secret.namespace == *name).count();
        if pipelines + secrets > 0 {
            return Err(Refusal::NamespaceInUse { name: name.clone(), pipelines, secrets });
        }
        self.namespaces.remove(name);
        effects.push(Effect::NamespaceGone { name: name.clone() });
        Ok(Answer::Done)
    }

    pub(super) fn namespace(&self, name: &Name) -> Result<&Namespace, Refusal> {
        self.namespaces.get(name).ok_or_else(|| Refusal::NoNamespace { name: name.clone() })
    }

    pub(super) fn set_tag(
        &mut self,
        tag: &TagName,
        digest: Digest,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        match self.tags.get(tag) {
            Some(known) if *known == digest => return Ok(Answer::Done),
            Some(_) => {}
            None => room(Kind::Tags, self.tags.len(), CONTROL_TAGS_MAX)?,
        }
        self.tags.insert(tag.clone(), digest);
        effects.push(Effect::TagSet { tag: tag.clone(), digest });
        Ok(Answer::Done)
    }

    pub(super) fn delete_tag(&mut self, tag: &TagName, effects: &mut Vec<Effect>) -> Result<Answer, Refusal> {
        self.tags.remove(tag).ok_or_else(|| Refusal::NoTag { tag: tag.clone() })?;
        effects.push(Effect::TagGone { tag: tag.clone() });
        Ok(Answer::Done)
    }

    pub(super) fn set_secret(
        &mut self,
        now: Moment,
        by: &Option<String>,
        secret: &SecretName,
        sealed: &Sealed,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        self.namespace(&secret.namespace)?;
        let (version, had) = match self.secrets.get(secret) {
            Some(known) => (known.version + 1, known.bytes()),
            None => {
                room(Kind::Secrets, self.secrets.len(), CONTROL_SECRETS_MAX)?;
                (1, 0)
            }
        };
        let made = Secret { version, sealed: sealed.clone(), set_at_us: now.at_us, by: by.clone() };
        self.bytes = self.bytes_with(made.bytes(), had)?;
        self.secrets.insert(secret.clone(), Arc::new(made));
        effects.push(Effect::SecretSet { secret: secret.clone(), version });
        Ok(Answer::SecretSet { version })
    }

    pub(super) fn delete_secret(
        &mut self,
        secret: &SecretName,
        effects: &mut Vec<Effect>,
    ) -> Result<Answer, Refusal> {
        let gone = self.secrets.remove(secret).ok_or_else(|| Refusal::NoSecret { secret: secret.clone() })?;
        self.bytes -= gone.bytes();
        effects.push(Effect::SecretGone { secret: secret.clone() });
        Ok(Answer::Done)
    }

    /// What everything takes when `new` comes and `gone` goes.
    pub(super) fn bytes_with(&self, new: u64, gone: u64) -> Result<u64, Refusal> {
        let found = self.bytes - gone + new;
        let max = CONTROL_STATE_BYTES_MAX;
        if found > max && new > gone { Err(Refusal::NoRoom { found, max }) } else { Ok(found) }
    }
}

/// Whether one more may come to so many.
pub(super) fn room(what: Kind, there: usize, max: usize) -> Result<(), Refusal> {
    if there < max { Ok(()) } else { Err(Refusal::TooMany { what, max: max as u64 }) }
}
