//! `conveyor secret ...`: what stages of a node are granted by name, and nobody is shown.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use control::state::{SecretName, Variable};
use model::limits::SECRET_BYTES_MAX;
use serde_json::json;
use zeroize::Zeroizing;

use super::nodes::{self, Within};
use super::{Output, block_on};
use crate::api::types::SetSecret;
use crate::exit::{Failure, Result};
use crate::report::plain_table;
use crate::terminal;

/// Secrets of a node, which stages are granted by name
#[derive(Debug, Subcommand)]
pub(super) enum Secret {
    Set(Set),
    List(List),
    Remove(Remove),
}

impl Secret {
    pub(super) fn execute(self) -> Result {
        match self {
            Self::Set(verb) => verb.execute(),
            Self::List(verb) => verb.execute(),
            Self::Remove(verb) => verb.execute(),
        }
    }
}

/// Sets a secret, and has pipelines that read it restart
///
/// The value comes from standard input, to its end without the last line break, or from a file as it is. On a terminal it is
/// asked for, and not shown.
#[derive(Debug, Args)]
pub(super) struct Set {
    /// What it is called, such as API_KEY
    #[arg(value_name = "NAME")]
    name: Variable,
    /// The file that has the value
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    #[command(flatten)]
    within: Within,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Lists the secrets of a namespace, without their values
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    within: Within,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Removes a secret
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// What it is called
    #[arg(value_name = "NAME")]
    name: Variable,
    #[command(flatten)]
    within: Within,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Set {
    fn execute(self) -> Result {
        let (client, secret) = (self.within.node.client()?, named(&self.within, &self.name)?);
        let value = match &self.from_file {
            Some(path) => {
                let file = std::fs::File::open(path).with_context(|| path.display().to_string());
                bounded(file.map_err(Failure::Input)?, &path.display().to_string())?
            }
            None => typed()?,
        };
        let body = match std::str::from_utf8(&value) {
            Ok(text) => SetSecret { value: Some(text.to_owned()), base64: None },
            Err(_) => SetSecret { value: None, base64: Some(STANDARD.encode(&*value)) },
        };
        let set = block_on(client.set_secret(&secret, &body))?.map_err(nodes::failure)?;
        terminal::say(format!("{secret}: set (version {})", set.version));
        match self.output {
            Output::Text => Ok(()),
            Output::Json => terminal::print_json(&set),
        }
    }
}

fn named(within: &Within, name: &Variable) -> Result<SecretName> {
    Ok(SecretName { namespace: within.namespace()?, name: name.clone() })
}

fn typed() -> Result<Zeroizing<Vec<u8>>> {
    if io::stdin().is_terminal() && terminal::is_terminal() {
        terminal::ask("value:").map_err(Failure::ran)?;
        let line =
            console::Term::stderr().read_secure_line().context("the terminal").map_err(Failure::Ran)?;
        return Ok(Zeroizing::new(line.into_bytes()));
    }
    let mut value = bounded(io::stdin().lock(), "standard input")?;
    for end in [b'\n', b'\r'] {
        if value.last() == Some(&end) {
            value.pop();
        } else {
            break;
        }
    }
    Ok(value)
}

fn bounded(from: impl io::Read, place: &str) -> Result<Zeroizing<Vec<u8>>> {
    // Room for all of it, so that no part of it is left behind where it grows.
    let mut value = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 2));
    let read = from.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut value);
    read.with_context(|| place.to_owned()).map_err(Failure::Input)?;
    match value.len() {
        0 => Err(Failure::Input(anyhow!("{place} has nothing: the value of a secret is wanted"))),
        1..=SECRET_BYTES_MAX => Ok(value),
        _ => Err(Failure::Input(anyhow!(
            "{place} has more than {SECRET_BYTES_MAX} bytes, which is the most of a secret"
        ))),
    }
}

impl List {
    fn execute(self) -> Result {
        let (client, namespace) = (self.within.node.client()?, self.within.namespace()?);
        let found = block_on(client.secrets(&namespace))?.map_err(nodes::failure)?;
        if self.output == Output::Json {
            return terminal::print_json(&found);
        }
        if found.secrets.is_empty() {
            terminal::say(format!("the namespace `{namespace}` has no secrets"));
            return Ok(());
        }
        let rows = found.secrets.iter().map(|secret| {
            let by = secret.by.clone().unwrap_or_default();
            vec![secret.name.clone(), secret.version.to_string(), secret.set_at.to_string(), by]
        });
        terminal::print(plain_table(&["name", "version", "set at", "by"], rows, &[1]))
    }
}

impl Remove {
    fn execute(self) -> Result {
        let (client, secret) = (self.within.node.client()?, named(&self.within, &self.name)?);
        block_on(client.delete_secret(&secret))?.map_err(nodes::failure)?;
        terminal::say(format!("{secret}: removed"));
        match self.output {
            Output::Text => Ok(()),
            Output::Json => {
                let (namespace, name) = (secret.namespace.as_str(), secret.name.as_str());
                terminal::print_json(&json!({ "namespace": namespace, "name": name }))
            }
        }
    }
}
