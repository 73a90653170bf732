//! Bounds of what a command brings along, before anything is done with it.

use model::limits::{
    CONTROL_ANSWERS_BYTES_MAX, CONTROL_GRANT_BYTES_MAX, CONTROL_GRANTS_MAX, CONTROL_LOCK_BYTES_MAX,
    CONTROL_TEXT_BYTES_MAX, CONTROL_VARIABLES_MAX, MANIFEST_BYTES_MAX, SECRET_BYTES_MAX, STAGES_MAX,
};

use super::command::{Boot, Command, Content, Proposal};
use super::refusal::{Kind, Refusal};
use crate::bytes::kept_bytes;
use crate::sealed::SEALED_BYTES_MORE;

pub(super) fn check(proposal: &Proposal) -> Result<(), Refusal> {
    text(proposal.by.as_deref())?;
    text(proposal.command.why())?;
    match &proposal.command {
        Command::Boot(Boot { address, version, .. }) => text(Some(address)).and(text(Some(version))),
        Command::Deploy(deploy) => content(&deploy.content),
        Command::SetSecret { sealed, .. } => {
            at_most(Kind::Secret, sealed.bytes() as usize, SECRET_BYTES_MAX + SEALED_BYTES_MORE)
        }
        _ => Ok(()),
    }
}

fn content(content: &Content) -> Result<(), Refusal> {
    at_most(Kind::Manifest, content.manifest.len(), MANIFEST_BYTES_MAX)?;
    at_most(Kind::Answers, content.answers.as_slice().len(), CONTROL_ANSWERS_BYTES_MAX)?;
    at_most(Kind::Lock, content.lock.len(), CONTROL_LOCK_BYTES_MAX)?;
    text(content.dir.as_deref())?;
    count(Kind::Variables, content.variables.len(), CONTROL_VARIABLES_MAX)?;
    for (name, value) in &content.variables {
        at_most(Kind::Text, name.len().saturating_add(value.len()), CONTROL_TEXT_BYTES_MAX)?;
    }
    count(Kind::Stages, content.grants.len(), STAGES_MAX)?;
    for grants in content.grants.values() {
        count(Kind::Grants, grants.len(), CONTROL_GRANTS_MAX)?;
        grants.iter().try_for_each(|grant| at_most(Kind::Grant, grant.len(), CONTROL_GRANT_BYTES_MAX))?;
    }
    Ok(())
}

/// As it is kept, where a character may take six bytes.
fn text(text: Option<&str>) -> Result<(), Refusal> {
    let bytes = text.map_or(0, |text| kept_bytes(&text));
    at_most(Kind::Text, bytes as usize, CONTROL_TEXT_BYTES_MAX)
}

fn at_most(what: Kind, found: usize, max: usize) -> Result<(), Refusal> {
    if found <= max { Ok(()) } else { Err(Refusal::TooLarge { what, found: found as u64, max: max as u64 }) }
}

fn count(what: Kind, found: usize, max: usize) -> Result<(), Refusal> {
    if found <= max { Ok(()) } else { Err(Refusal::TooMany { what, max: max as u64 }) }
}
