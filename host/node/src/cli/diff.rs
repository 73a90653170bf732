//! `conveyor diff NAME [REV] [REV]`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;
use clap::Args;
use control::state::PipelineName;
use model::lock::{Change, Lock, changes};
use serde_json::json;
use similar::TextDiff;

use super::nodes::{self, Target};
use super::{Output, block_on};
use crate::api::types::Revision;
use crate::client::Client;
use crate::exit::{Failure, Result};
use crate::terminal;
use crate::words::Words;

/// Shows how two revisions of a pipeline differ: its manifest, its components, and what its stages may reach
#[derive(Debug, Args)]
pub(super) struct Diff {
    #[command(flatten)]
    target: Target,
    /// The earlier one, as `conveyor history` numbers them; the one before the other unless set
    #[arg(value_name = "REV")]
    from: Option<u64>,
    /// The later one; the current one unless set
    #[arg(value_name = "REV")]
    to: Option<u64>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Diff {
    pub(super) fn execute(self) -> Result {
        let (client, pipeline) = (self.target.client()?, self.target.pipeline()?);
        let (from, to) = block_on(self.revisions(&client, &pipeline))??;
        let components = components(&from, &to)?;
        let grants = grants(&from, &to);
        let manifest = text(&from, &to);
        if self.output == Output::Json {
            return terminal::print_json(&json!({
                "from": from.revision, "to": to.revision, "manifest": manifest, "components": components,
                "grants": grants, "dir": { "from": from.dir, "to": to.dir },
            }));
        }
        let mut words: Words = manifest.lines().collect();
        beside_manifest(&from, &to, &components).for_each(|line| words.push(line));
        if words.lines().next().is_none() {
            terminal::say(format!(
                "revisions {} and {} of `{pipeline}` have the same in them",
                from.revision, to.revision
            ));
            return Ok(());
        }
        terminal::print(words)
    }

    async fn revisions(&self, client: &Client, pipeline: &PipelineName) -> Result<(Revision, Revision)> {
        let to = match self.to {
            Some(number) => client.revision(pipeline, number).await.map_err(nodes::failure)?,
            None => client.pipeline(pipeline).await.map_err(nodes::failure)?.revision,
        };
        let from = match self.from {
            Some(number) => number,
            None => {
                let kept = client.revisions(pipeline).await.map_err(nodes::failure)?.revisions;
                let before = kept.iter().map(|kept| kept.revision).filter(|kept| *kept < to.revision).max();
                before.ok_or_else(|| {
                    Failure::Input(anyhow!(
                        "`{pipeline}` has no revision before {}; `conveyor history` shows those that it has",
                        to.revision
                    ))
                })?
            }
        };
        Ok((client.revision(pipeline, from).await.map_err(nodes::failure)?, to))
    }
}

/// How one revision differs from the one before it, a line each; none where they have the same in them.
pub(super) fn lines(from: &Revision, to: &Revision) -> Result<Vec<String>> {
    let changed = text(from, to);
    // Behind the two names.
    let manifest = changed.lines().skip(2).map(str::to_owned);
    let components = components(from, to)?;
    Ok(manifest.chain(beside_manifest(from, to, &components)).collect())
}

/// What differs beside the manifests, a line each.
fn beside_manifest(from: &Revision, to: &Revision, components: &[Change]) -> impl Iterator<Item = String> {
    let shown = |dir: &Option<String>| dir.clone().unwrap_or_else(|| "none".to_owned());
    let dirs = || format!("paths are relative to {}, and were to {}", shown(&to.dir), shown(&from.dir));
    let dir = (from.dir != to.dir).then(dirs);
    let components: Vec<String> = components.iter().flat_map(Change::lines).collect();
    components.into_iter().chain(grants(from, to)).chain(variables(from, to)).chain(dir)
}

/// Which variables stand for something else. What they stand for may be nobody's business.
fn variables(from: &Revision, to: &Revision) -> Vec<String> {
    let names: BTreeSet<&String> = from.variables.keys().chain(to.variables.keys()).collect();
    let differs = |name: &&String| from.variables.get(*name) != to.variables.get(*name);
    names.into_iter().filter(differs).map(|name| format!("${{{name}}} has another value")).collect()
}

/// Of the manifests, as `diff -u` prints it.
fn text(from: &Revision, to: &Revision) -> String {
    let diff = TextDiff::from_lines(&from.manifest, &to.manifest);
    let name = |revision: &Revision| format!("revision {}", revision.revision);
    diff.unified_diff().header(&name(from), &name(to)).to_string()
}

fn components(from: &Revision, to: &Revision) -> Result<Vec<Change>> {
    let (old, new) = (lock(from)?, lock(to)?);
    let Some(some) = old.as_ref().or(new.as_ref()) else { return Ok(vec![]) };
    // One without a lock has no components but those that are built in.
    let empty = Lock { pipeline: some.pipeline.clone(), components: BTreeMap::new() };
    Ok(changes(old.as_ref().unwrap_or(&empty), new.as_ref().unwrap_or(&empty)))
}

fn lock(revision: &Revision) -> Result<Option<Lock>> {
    if revision.lock.is_empty() {
        return Ok(None);
    }
    let name = format!("the lock of revision {}", revision.revision);
    Ok(Some(Lock::parse(&name, revision.lock.as_bytes(), "conveyor lock")?))
}

/// What stages may reach that they might not, and the other way round.
fn grants(from: &Revision, to: &Revision) -> Vec<String> {
    let none = BTreeSet::new();
    let stages: BTreeSet<&String> = from.grants.keys().chain(to.grants.keys()).collect();
    let of_stage = |stage: &String| {
        let [old, new] = [from, to].map(|revision| revision.grants.get(stage).unwrap_or(&none));
        let more = new.difference(old).map(|grant| format!("+ stage `{stage}` may reach {grant}"));
        let less = old.difference(new).map(|grant| format!("- stage `{stage}` may reach {grant}"));
        less.chain(more).collect::<Vec<_>>()
    };
    stages.into_iter().flat_map(of_stage).collect()
}

#[cfg(test)]
mod tests {
    use crate::api::types::Time;

    use super::*;

    #[test]
    fn manifests_and_grants_are_held_against_one_another() {
        let revision = |revision, manifest: &str, grant: &str| Revision {
            revision,
            made_at: Time(0),
            by: None,
            manifest: manifest.to_owned(),
            variables: BTreeMap::new(),
            lock: String::new(),
            dir: None,
            grants: [("in".to_owned(), BTreeSet::from(["a".to_owned(), grant.to_owned()]))].into(),
        };
        let (one, two) = (revision(1, "a\nb\n", "x"), revision(2, "a\nc\n", "y"));
        assert_eq!(text(&one, &two), "--- revision 1\n+++ revision 2\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        assert_eq!(grants(&one, &two), ["- stage `in` may reach x", "+ stage `in` may reach y"]);
        assert_eq!((text(&one, &one), grants(&two, &two)), (String::new(), vec![]));
        assert_eq!(components(&one, &two).expect("none"), []);
        let broken = Revision { lock: "x".into(), ..two };
        assert!(components(&one, &broken).is_err());
    }
}
