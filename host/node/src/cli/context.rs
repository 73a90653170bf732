//! `conveyor context ...`: the nodes that somebody speaks to, each under a name.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use model::manifest::Name;
use serde_json::json;

use super::Output;
use super::nodes::{contexts, not_found};
use crate::client::place::{self, Context, Contexts};
use crate::exit::{Failure, Result};
use crate::report::plain_table;
use crate::{places, terminal};

/// The nodes that verbs speak to, each under a name
#[derive(Debug, Subcommand)]
#[command(name = "context")]
pub(super) enum Contextual {
    Add(Add),
    Use(Use),
    List(List),
    Remove(Remove),
}

impl Contextual {
    pub(super) fn execute(self) -> Result {
        match self {
            Self::Add(verb) => verb.execute(),
            Self::Use(verb) => verb.execute(),
            Self::List(verb) => verb.execute(),
            Self::Remove(verb) => verb.execute(),
        }
    }
}

/// Gives a node a name, and has verbs speak to it from now on
#[derive(Debug, Args)]
pub(super) struct Add {
    /// What it is called here; one of that name is replaced
    #[arg(value_name = "NAME")]
    name: String,
    /// Where it is, such as https://node.example:5000
    #[arg(value_name = "URL")]
    url: String,
    /// The file with the token that it is shown
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Trust these certificates beside those of the system
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// The namespace that is meant where none is named
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
}

/// Has verbs speak to another node
#[derive(Debug, Args)]
pub(super) struct Use {
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,
}

/// Lists the nodes that have a name
#[derive(Debug, Args)]
pub(super) struct List {
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Takes the name of a node away
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,
}

fn kept(contexts: &Contexts) -> Result<PathBuf> {
    let path = places::contexts().ok_or_else(|| {
        Failure::Input(anyhow!(
            "nobody knows where to keep it: set HOME or XDG_CONFIG_HOME to an absolute path"
        ))
    })?;
    contexts.write(&path).map_err(not_found)?;
    Ok(path)
}

impl Add {
    fn execute(self) -> Result {
        let Self { name, url, token_file, ca_cert, namespace } = self;
        let named = namespace.as_deref().map(Name::parse).transpose();
        named.map_err(|why| Failure::Input(anyhow!("`--namespace`: {why}")))?;
        place::url(&url).map_err(not_found)?;
        // They are read wherever a verb is started.
        let whole = |path: Option<PathBuf>| path.map(std::path::absolute).transpose().map_err(Failure::ran);
        let (token_file, ca_cert) = (whole(token_file)?, whole(ca_cert)?);
        if let Some(missing) = token_file.iter().chain(&ca_cert).find(|path| !path.exists()) {
            return Err(Failure::Input(anyhow!("there is no file {}", missing.display())));
        }
        let mut contexts = contexts()?;
        contexts.contexts.insert(name.clone(), Context { url: url.clone(), token_file, ca_cert, namespace });
        contexts.current = Some(name.clone());
        let path = kept(&contexts)?;
        terminal::say(format!("`{name}` is {url}, and verbs speak to it; kept in {}", path.display()));
        Ok(())
    }
}

impl Use {
    fn execute(self) -> Result {
        let mut contexts = contexts()?;
        let (name, context) = contexts.meant(Some(&self.name)).map_err(not_found)?.unzip();
        let (name, url) = (name.map(str::to_owned), context.map(|context| context.url.clone()));
        contexts.current = name;
        kept(&contexts)?;
        terminal::say(format!("verbs speak to `{}`, {}", self.name, url.unwrap_or_default()));
        Ok(())
    }
}

impl List {
    fn execute(self) -> Result {
        let Contexts { current, contexts } = contexts()?;
        if self.output == Output::Json {
            let data = |(name, context): (&String, &Context)| {
                let Context { url, token_file, ca_cert, namespace } = context;
                json!({ "name": name, "url": url, "token_file": token_file, "ca_cert": ca_cert,
                    "namespace": namespace, "is_current": Some(name) == current.as_ref() })
            };
            let contexts: Vec<_> = contexts.iter().map(data).collect();
            return terminal::print_json(&json!({ "contexts": contexts }));
        }
        if contexts.is_empty() {
            terminal::say("no node has a name; `conveyor context add NAME URL` gives it one");
            return Ok(());
        }
        let rows = contexts.iter().map(|(name, context)| {
            let mark = if Some(name) == current.as_ref() { "*" } else { "" };
            let namespace = context.namespace.clone().unwrap_or_default();
            vec![mark.to_owned(), name.clone(), context.url.clone(), namespace]
        });
        terminal::print(plain_table(&["", "name", "node", "namespace"], rows, &[]))
    }
}

impl Remove {
    fn execute(self) -> Result {
        let mut contexts = contexts()?;
        contexts.meant(Some(&self.name)).map_err(not_found)?;
        contexts.contexts.remove(&self.name);
        let was_current = contexts.current.as_ref() == Some(&self.name);
        if was_current {
            contexts.current = None;
        }
        kept(&contexts)?;
        let next = if was_current { "; `conveyor context use` names another" } else { "" };
        terminal::say(format!("`{}` names no node any more{next}", self.name));
        Ok(())
    }
}
