//! `conveyor lock FILE`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use model::lock::{Change, Facts, Lock, Pinned, changes};
use model::manifest::{Role, Stage, StageRef};
use serde_json::json;

use super::Output;
use super::pulling::Pulling;
use crate::exit::{Failure, Result};
use crate::pulled::{Loaded, Options, is_bundle, lock_path};
use crate::report::component;
use crate::terminal;
use crate::wiring::{self, Draft, Policy, ResolvedPipeline, Resolver};
use crate::words::Words;

/// Writes down what the references of a manifest stand for, so that every run has the same components
///
/// The lock is beside the manifest: pipeline.lock for pipeline.yaml. `run`, `validate`, `graph` and `test` take from it what
/// a tag stands for, and refuse a manifest that names anything else. What the lock has already stays as it is; with --update,
/// all tags are asked for anew. What changes is printed: version, ports, config, needs.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct LockVerb {
    /// The manifest
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Ask what all tags stand for now
    #[arg(long)]
    update: bool,
    /// Build stages that are directories, and lock what comes of it: runs take that, and build nothing
    #[arg(long)]
    build: bool,
    #[command(flatten)]
    pulling: Pulling,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl LockVerb {
    pub(super) fn execute(self) -> Result {
        if is_bundle(&self.file) {
            return Err(Failure::Input(anyhow!(
                "{} is a bundle, which has its lock in it: lock its manifest, and bundle that again",
                self.file.display()
            )));
        }
        let mut draft = wiring::read_unlocked(&self.file)?;
        let old = wiring::read_lock_for_update(&self.file, self.update)?;
        draft.lock = old.clone().map(|lock| self.staying(lock, &draft));
        let options = Options { is_locking: true, ..self.pulling.options() };
        let mut resolver = Resolver::under(Policy::default().pulling(options), self.build)?;
        resolver.keeps_builds = true;
        let is_meant = |stage: &Stage| match &stage.reference.value {
            StageRef::Oci(_) => true,
            StageRef::Directory(_) => self.build || is_pinned(&draft, stage),
            StageRef::BuiltIn(_) | StageRef::WasmFile(_) => false,
        };
        let (loaded, problems) = super::block_on(resolver.components(&draft, is_meant))?;
        if !problems.is_empty() {
            return Err(draft.pipeline.diagnostics(problems).into());
        }
        let new = super::block_on(of(&resolver, &draft, &loaded, old.as_ref()))?;
        let before = old.unwrap_or_else(|| Lock { components: BTreeMap::new(), ..new.clone() });
        let changes = changes(&before, &new);
        let path = lock_path(&self.file);
        super::build::replace(&path, new.print().as_bytes()).map_err(Failure::Ran)?;
        self.tell(&path.display().to_string(), &new, &changes)?;
        for (stage, loaded) in draft.pipeline.stages.iter().zip(&loaded) {
            for problem in loaded.iter().flat_map(|loaded| wiring::needs_left(stage, &loaded.component)) {
                let help = problem.help.map(|help| format!("; {help}")).unwrap_or_default();
                terminal::warning(format!("{}{help}", problem.message));
            }
        }
        Ok(())
    }

    /// What of an earlier lock stays.
    fn staying(&self, mut lock: Lock, draft: &Draft) -> Lock {
        let digest_of = |reference: &str| {
            let stages = draft.pipeline.stages.iter();
            let mut oci = stages.filter_map(|stage| match &stage.reference.value {
                StageRef::Oci(oci) if oci.to_string() == reference => Some(oci.digest.clone()),
                _ => None,
            });
            oci.next()
        };
        lock.components.retain(|reference, pinned| match (pinned.image, digest_of(reference)) {
            // A digest says by itself what it stands for, whatever somebody has written beside it.
            (Some(image), Some(Some(digest))) => digest == image.resolved().to_string(),
            (Some(_), Some(None)) => !self.update,
            (Some(_), None) | (None, Some(_)) => false,
            (None, None) => !self.build,
        });
        lock
    }

    fn tell(&self, path: &str, lock: &Lock, changes: &[Change]) -> Result {
        let count = lock.components.len();
        match self.output {
            Output::Json => {
                terminal::print_json(&json!({ "lock": path, "components": count, "changes": changes }))
            }
            Output::Text => {
                if !changes.is_empty() {
                    terminal::print(changes.iter().flat_map(Change::lines).collect::<Words>())?;
                }
                let plural = if count == 1 { "component" } else { "components" };
                let changed = match (count, changes.is_empty()) {
                    (0, _) => ": the manifest names none by a reference",
                    (_, true) => ", as before",
                    (_, false) => "",
                };
                terminal::say(format!("{path} has {count} {plural}{changed}"));
                Ok(())
            }
        }
    }
}

fn is_pinned(draft: &Draft, stage: &Stage) -> bool {
    draft.lock.as_ref().is_some_and(|lock| lock.components.contains_key(&stage.reference.to_string()))
}

/// The lock of what was loaded, by stage. `old`: one that may know what is not to be found out now.
pub(super) async fn of(
    resolver: &Resolver,
    draft: &Draft,
    loaded: &[Option<Loaded>],
    old: Option<&Lock>,
) -> Lock {
    let mut lock = without_ports(draft, loaded);
    add_ports(resolver, draft, loaded, old, &mut lock).await;
    lock
}

/// The same without the ports of transforms, which nobody is asked for.
pub(super) fn without_ports(draft: &Draft, loaded: &[Option<Loaded>]) -> Lock {
    let mut components: BTreeMap<String, Pinned> = BTreeMap::new();
    for (stage, loaded) in draft.pipeline.stages.iter().zip(loaded) {
        let Some(Loaded { component, image, bytes, digest }) = loaded else { continue };
        let about = component.about();
        let schema = serde_json::from_str(&about.config_schema).ok();
        let is = Facts {
            name: about.name.clone(),
            version: about.version.clone(),
            kind: component.kind(),
            ports: None,
            needs: about.needs.clone(),
            config_schema: schema.filter(|schema: &serde_json::Value| !schema.is_null()),
        };
        let pinned = Pinned { image: *image, component: *digest, bytes: *bytes, is };
        components.insert(stage.reference.to_string(), pinned);
    }
    Lock { pipeline: draft.pipeline.name.to_string(), components }
}

/// Adds the ports that transforms have under the configs of the manifest: as planned or, where something is not there yet
/// that a plan needs, as they say without knowing what comes, or as they were.
async fn add_ports(
    resolver: &Resolver,
    draft: &Draft,
    loaded: &[Option<Loaded>],
    old: Option<&Lock>,
    lock: &mut Lock,
) {
    let again = Draft {
        pipeline: draft.pipeline.clone(),
        home: draft.home.clone(),
        lock: Some(lock.clone()),
        bundle: None,
        pushed: None,
        variables: draft.variables.clone(),
    };
    let planned = resolver.resolve(again).await.ok();
    for (index, (stage, loaded)) in draft.pipeline.stages.iter().zip(loaded).enumerate() {
        let Some(Loaded { component, .. }) = loaded.as_ref().filter(|_| *stage.role == Role::Transform)
        else {
            continue;
        };
        let reference = stage.reference.to_string();
        let Some(pinned) = lock.components.get_mut(&reference) else { continue };
        let names = |resolved: &ResolvedPipeline| {
            resolved.plan.stages[index].ports.iter().map(|port| port.name.to_string()).collect::<Vec<_>>()
        };
        let before = old.and_then(|old| old.components.get(&reference));
        let before = before.filter(|before| before.component == pinned.component);
        let ports = match &planned {
            Some(resolved) => Some(names(resolved)),
            None => component::ports(component, &serde_json::Value::Object(stage.with.value.clone())).await,
        };
        // Stages of one component may have ports of their own.
        if let Some(ports) = ports.or_else(|| before?.is.ports.clone()) {
            let known = pinned.is.ports.get_or_insert_default();
            let new: Vec<String> = ports.into_iter().filter(|port| !known.contains(port)).collect();
            known.extend(new);
        }
    }
}
