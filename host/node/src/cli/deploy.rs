//! `conveyor deploy FILE...`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use clap::Args;
use control::state::{Expects, PipelineName, Version};
use model::diagnostics::{Diagnostic, Diagnostics, SourceText, Span};
use model::ids::Digest;
use model::limits::DEPLOY_WAIT;
use model::manifest::StageRef;
use registry::artifact;
use registry::client::{Client as Registry, Content};
use registry::image_ref::ImageRef;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::nodes::{self, Within};
use super::pulling::Pulling;
use super::{Output, block_on, diff, lock, remote};
use crate::api::types::{self, RunState};
use crate::bars;
use crate::client::{Client, ClientError};
use crate::exit::{Code, Failure, Result};
use crate::pulled::{Loaded, is_bundle};
use crate::report::component;
use crate::terminal;
use crate::wiring::{self, Draft, Policy, Resolver};
use crate::words::Words;

/// Puts pipelines on a node, or new revisions of them
///
/// Components that a manifest names by a path are pushed to the node's registry first, references are pinned by what they
/// stand for now or by the lock beside the manifest, and variables are replaced by what they are here. What changes is shown,
/// and asked for on a terminal. Nothing is built: `conveyor build` does that.
///
/// A new revision opens at the checkpoint at which the one before has stopped. Where it fails, or rejects more than `deploy: {
/// max-reject-rate, within }` of its manifest says, the one before goes on by itself.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Deploy {
    /// Manifests
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    within: Within,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Show what would change, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not wait until it runs
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    pulling: Pulling,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// A pipeline that is ready to be sent.
struct Prepared {
    file: PathBuf,
    name: PipelineName,
    deploy: types::Deploy,
    /// By path of the manifest: what has to be in the node's registry.
    components: BTreeMap<String, Local>,
}

/// A component that is here.
struct Local {
    digest: Digest,
    bytes: Bytes,
    facts: artifact::Facts,
}

/// What came of one file.
struct Outcome {
    data: Value,
    runs: bool,
}

impl Deploy {
    pub(super) fn execute(self) -> Result {
        let outcomes = block_on(self.deploy())??;
        let all_run = outcomes.iter().all(|outcome| outcome.runs);
        if self.output == Output::Json {
            let pipelines: Vec<&Value> = outcomes.iter().map(|outcome| &outcome.data).collect();
            terminal::print_json(&json!({ "pipelines": pipelines }))?;
        }
        if all_run { Ok(()) } else { Err(Failure::Told(Code::Failed)) }
    }

    async fn deploy(&self) -> Result<Vec<Outcome>> {
        let client = self.within.node.client()?;
        let policy = Policy::default().pulling(self.pulling.options());
        let resolver = Resolver::under(policy, false)?;
        let mut all = Vec::with_capacity(self.files.len());
        // What is wrong with one of them is told before anything is sent.
        for file in &self.files {
            all.push(self.prepare(&resolver, file).await?);
        }
        let mut outcomes = Vec::with_capacity(all.len());
        for prepared in &all {
            outcomes.push(self.send(&client, prepared).await?);
        }
        Ok(outcomes)
    }

    async fn prepare(&self, resolver: &Resolver, file: &Path) -> Result<Prepared> {
        if is_bundle(file) {
            return Err(Failure::Input(anyhow!(
                "{} is a bundle: put it into the node's registry with `conveyor registry load`, and deploy its manifest",
                file.display()
            )));
        }
        let draft = wiring::read(file)?;
        let (loaded, problems) = resolver.components(&draft, |_| true).await;
        if !problems.is_empty() {
            return Err(draft.pipeline.diagnostics(problems).into());
        }
        let lock = lock::without_ports(&draft, &loaded);
        let mut components = BTreeMap::new();
        for (stage, loaded) in draft.pipeline.stages.iter().zip(&loaded) {
            let (StageRef::WasmFile(path) | StageRef::Directory(path), Some(loaded)) =
                (&stage.reference.value, loaded)
            else {
                continue;
            };
            if !components.contains_key(path) {
                components.insert(path.clone(), local(resolver, &draft, path, loaded).await?);
            }
        }
        let dir = std::env::current_dir().map_err(Failure::ran)?.join(&draft.home);
        let dir = dir.to_str().ok_or_else(|| {
            Failure::Input(anyhow!(
                "the name of {} is no text: move the manifest into another directory",
                dir.display()
            ))
        })?;
        let deploy = types::Deploy {
            manifest: draft.pipeline.text.text.to_string(),
            lock: if lock.components.is_empty() { String::new() } else { lock.print() },
            dir: Some(dir.to_owned()),
            variables: draft.variables.clone(),
            ..types::Deploy::default()
        };
        let name = PipelineName::new(self.within.namespace()?, draft.pipeline.name.value.clone());
        Ok(Prepared { file: file.to_owned(), name, deploy, components })
    }

    /// What speaks with the registry of the node, which takes its token for a password.
    fn registry(&self, client: &Client) -> Result<Registry> {
        let mut settings = self.pulling.options().settings;
        let host = host_of(client).parse().map_err(Failure::input)?;
        settings.keyring.given = client.registry_credential().map(|credential| (host, credential));
        Registry::new(settings).map_err(remote::failure)
    }

    /// Shows what changes, and does it.
    async fn send(&self, client: &Client, prepared: &Prepared) -> Result<Outcome> {
        let Prepared { name, deploy, .. } = prepared;
        let before = match client.pipeline(name).await {
            Ok(before) => Some(before),
            Err(error) if error.is_kind("unknown") => None,
            Err(error) => return Err(nodes::failure(error)),
        };
        let registry = self.registry(client)?;
        for component in prepared.components.values() {
            push(client, &registry, prepared, component).await?;
        }
        // Whoever has deployed something else meanwhile is not overrun.
        let expects = match &before {
            Some(before) => Expects::Version(Version(before.version)),
            None => Expects::Nothing,
        };
        let tried =
            client.deploy(name, deploy, expects, true).await.map_err(|error| refused(error, prepared))?;
        for warning in &tried.warnings {
            terminal::warning(warning.as_str());
        }
        let told = tell_changes(prepared, before.as_ref())?;
        let mut data = json!({
            "pipeline": name.to_string(),
            "file": prepared.file.display().to_string(),
            "changes": told,
        });
        if self.dry_run {
            data["is_dry_run"] = true.into();
            return Ok(Outcome { data, runs: true });
        }
        if !self.yes && std::io::stdin().is_terminal() && !told.is_empty() {
            super::agree(&format!("Deploy pipeline `{name}`?"), "nothing was deployed")?;
        }
        let deployed =
            client.deploy(name, deploy, expects, false).await.map_err(|error| refused(error, prepared))?;
        data["revision"] = deployed.revision.into();
        data["version"] = deployed.version.into();
        data["is_new"] = deployed.is_new.into();
        if !deployed.is_new {
            terminal::say(format!("pipeline {name}: revision {} is as it was", deployed.revision));
        }
        if self.no_wait {
            return Ok(Outcome { data, runs: true });
        }
        let (state, runs) = wait(client, prepared, deployed.revision).await?;
        data["state"] = state.into();
        Ok(Outcome { data, runs })
    }
}

/// Says what is new in a revision, and gives it as lines.
fn tell_changes(prepared: &Prepared, before: Option<&types::Pipeline>) -> Result<Vec<String>> {
    let Prepared { name, deploy, .. } = prepared;
    let Some(before) = before else {
        let line = format!("pipeline {name} is new");
        terminal::say(line.as_str());
        return Ok(vec![line]);
    };
    let was = &before.revision;
    let is = types::Revision {
        revision: was.revision,
        made_at: was.made_at,
        by: None,
        manifest: deploy.manifest.clone(),
        variables: deploy.variables.clone(),
        lock: deploy.lock.clone(),
        dir: deploy.dir.clone(),
        grants: was.grants.clone(),
    };
    let lines = diff::lines(was, &is)?;
    if !lines.is_empty() {
        let mut words = Words::from(format!("pipeline {name} has revision {} and changes:", was.revision));
        lines.iter().for_each(|line| words.push(format!("  {line}")));
        terminal::say(words);
    }
    Ok(lines)
}

/// What a node does not take, underlined in the manifest where that is what is wrong.
fn refused(error: ClientError, prepared: &Prepared) -> Failure {
    let problems = match &error {
        ClientError::Problem(problem) if !problem.problems.is_empty() => &problem.problems,
        _ => return nodes::failure(error),
    };
    let source = SourceText::new(&prepared.file.display().to_string(), &prepared.deploy.manifest);
    let problems = problems.iter().map(|problem| {
        let found = Diagnostic::new(NODE_PROBLEM, problem.message.clone());
        let found = problem
            .labels
            .iter()
            .fold(found, |found, label| found.label(Span::new(label.start, label.len), label.text.clone()));
        match &problem.help {
            Some(help) => found.help(help.clone()),
            None => found,
        }
    });
    Diagnostics::new(source, problems.collect()).into()
}

/// The code of what a node has found wrong.
const NODE_PROBLEM: &str = "node::refused";

/// A component that a manifest names by a path, with what is said of it in a registry.
async fn local(resolver: &Resolver, draft: &Draft, path: &str, loaded: &Loaded) -> Result<Local> {
    let file = draft.home.join(path);
    let bytes = match file.is_file() {
        true => wiring::read_component(&file)
            .map(Bytes::from)
            .map_err(|error| Failure::Input(anyhow!("{} cannot be read: {error}", file.display())))?,
        false => resolver.puller.content(&loaded.digest).ok_or_else(|| {
            Failure::Input(anyhow!(
                "what was built of {path} is not here any more: `conveyor lock FILE --build` builds it"
            ))
        })?,
    };
    match Digest::by(loaded.digest.algorithm(), &bytes) == loaded.digest {
        true => Ok(Local { digest: loaded.digest, bytes, facts: component::facts(&loaded.component).await }),
        false => Err(Failure::Ran(anyhow!("{path} has changed while it was looked at; try again"))),
    }
}

fn host_of(client: &Client) -> &str {
    client.url().split_once("://").map_or(client.url(), |(_, host)| host)
}

/// Puts a component into the registry of a node, unless it is there.
async fn push(client: &Client, registry: &Registry, prepared: &Prepared, component: &Local) -> Result {
    let Local { digest, bytes, facts } = component;
    let image = format!("{}/{}:{}", host_of(client), prepared.name, digest.hex());
    let image: ImageRef = image.parse().map_err(Failure::input)?;
    let annotations = BTreeMap::new();
    let stage = artifact::Stage {
        digest: *digest,
        bytes: bytes.len() as u64,
        facts,
        title: "stage.wasm",
        // The same component is the same image, whenever it is pushed.
        created: 0,
        annotations: &annotations,
    };
    let built = artifact::build(&stage).map_err(Failure::input)?;
    let progress = bars::progress();
    let layers = vec![Content::Bytes(bytes.clone())];
    let pushed = artifact::push(&registry.at(&image), &image.reference(), &built, layers, &*progress).await;
    pushed.map(|_| ()).map_err(|error| match error {
        artifact::PushError::Client(error) => remote::failure(error),
        error => Failure::ran(error),
    })
}

/// Waits until a revision runs or it is known that it does not, and says so. Gives its state in a word, and whether it runs.
async fn wait(client: &Client, prepared: &Prepared, revision: u64) -> Result<(&'static str, bool)> {
    let Prepared { name, .. } = prepared;
    let told = format!("pipeline {name}");
    let until = Instant::now() + DEPLOY_WAIT;
    loop {
        let status = client.status(name).await.map_err(nodes::failure)?;
        if status.revision != revision {
            let why = status.detail.unwrap_or_else(|| format!("revision {} is to run now", status.revision));
            terminal::error(format!("{told}: revision {revision} was given up: {why}"));
            return Ok(("given-up", false));
        }
        let here = status.here.as_ref().filter(|here| here.revision == revision);
        match (status.state, here) {
            (types::State::Paused, _) => {
                terminal::say(format!(
                    "{told} is paused: revision {revision} runs after `conveyor resume {name}`"
                ));
                return Ok(("paused", true));
            }
            (types::State::Ended, _) => {
                terminal::say(format!("{told}: revision {revision} has read all that there is"));
                return Ok(("ended", true));
            }
            (types::State::Running, Some(here)) if here.state == RunState::Running => {
                terminal::say(format!("{told}: revision {revision} runs"));
                return Ok(("running", true));
            }
            (_, Some(here)) if here.state == RunState::BackingOff || here.state == RunState::Failed => {
                let why = here.last_error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
                terminal::error(format!("{told}: revision {revision} fails and is tried again: {why}"));
                return Ok(("backing-off", false));
            }
            _ => {}
        }
        if Instant::now() >= until {
            terminal::warning(format!(
                "{told}: revision {revision} does not run yet; `conveyor status {name}` shows what it waits for"
            ));
            return Ok((status.state.as_str(), true));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
