//! `conveyor login REGISTRY` and `conveyor logout REGISTRY`.

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::{Context as _, anyhow};
use clap::Args;
use model::limits::CLIENT_PASSWORD_BYTES_MAX;
use registry::client::Kept;
use registry::image_ref::RegistryHost;
use serde_json::json;

use super::remote::{self, RemoteOptions};
use super::{Output, block_on};
use crate::exit::{Failure, Result};
use crate::terminal;

/// Signs in to a registry
///
/// The registry is asked before anything is kept. What is kept goes where every client of registries looks for it: to the
/// program that `credHelpers` or `credsStore` names in `~/.docker/config.json` (DOCKER_CONFIG names another directory), else to
/// that file. A registry that gives a token in place of the password has the token kept.
#[derive(Debug, Args)]
pub(super) struct Login {
    /// Its host, and its port where it has one of its own; docker.io is Docker Hub
    #[arg(value_name = "REGISTRY")]
    registry: RegistryHost,
    /// Who signs in; asked for on a terminal unless set
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password from standard input, to its end without the last line break
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,
    /// The password, for whoever lists processes or reads the shell's history to see: --password-stdin is safer
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<String>,
    #[command(flatten)]
    remote: RemoteOptions,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Login {
    pub(super) fn execute(self) -> Result {
        let client = remote::client(&self.remote)?;
        let user = self.user()?;
        let password = self.password()?;
        let kept = block_on(client.login(&self.registry, &user, &password))?.map_err(remote::failure)?;
        let place = match &kept {
            Kept::File(path) => format!("{}, for whoever may read that file", path.display()),
            Kept::Helper(program) => program.clone(),
        };
        terminal::say(format!("signed in to {} as {user}; kept by {place}", self.registry));
        match (self.output, kept) {
            (Output::Text, _) => Ok(()),
            (Output::Json, kept) => {
                let (file, program) = match kept {
                    Kept::File(path) => (Some(path.display().to_string()), None),
                    Kept::Helper(program) => (None, Some(program)),
                };
                terminal::print_json(
                    &json!({ "registry": self.registry.to_string(), "username": user, "file": file,
                    "program": program }),
                )
            }
        }
    }

    fn user(&self) -> Result<String> {
        let user = match &self.username {
            Some(user) => user.clone(),
            None => {
                can_ask("a name", "--username")?;
                terminal::ask("name:").map_err(Failure::ran)?;
                let mut line = String::new();
                let asked = io::stdin().lock().take(CLIENT_PASSWORD_BYTES_MAX);
                io::BufRead::read_line(&mut io::BufReader::new(asked), &mut line).map_err(Failure::ran)?;
                line.trim().to_owned()
            }
        };
        match user.as_str() {
            "" => Err(Failure::Input(anyhow!("the name is empty: say who signs in by --username"))),
            // It would end the name.
            user if user.contains(':') => Err(Failure::Input(anyhow!(
                "`{user}` is no name that a registry can be told: it has a colon"
            ))),
            _ => Ok(user),
        }
    }

    fn password(&self) -> Result<String> {
        let password = match (&self.password, self.password_stdin) {
            (Some(password), _) => {
                terminal::warning(
                    "whoever lists processes or reads the shell's history sees --password: use --password-stdin",
                );
                password.clone()
            }
            (None, true) => from_stdin()?,
            (None, false) => {
                can_ask("a password", "--password-stdin")?;
                terminal::ask("password:").map_err(Failure::ran)?;
                console::Term::stderr().read_secure_line().context("the terminal").map_err(Failure::Ran)?
            }
        };
        match password.is_empty() {
            true => Err(Failure::Input(anyhow!("the password is empty"))),
            false => Ok(password),
        }
    }
}

fn can_ask(what: &str, option: &str) -> Result {
    match io::stdin().is_terminal() && terminal::is_terminal() {
        true => Ok(()),
        false => Err(Failure::Input(anyhow!("{what} is wanted, and nobody can be asked: give {option}"))),
    }
}

fn from_stdin() -> Result<String> {
    let mut text = String::new();
    let mut bounded = io::stdin().lock().take(CLIENT_PASSWORD_BYTES_MAX + 1);
    bounded.read_to_string(&mut text).context("the password on standard input").map_err(Failure::Input)?;
    if text.len() as u64 > CLIENT_PASSWORD_BYTES_MAX {
        return Err(Failure::Input(anyhow!("a password has at most {CLIENT_PASSWORD_BYTES_MAX} bytes")));
    }
    let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(text.to_owned())
}

/// Forgets a name and a password for a registry
#[derive(Debug, Args)]
pub(super) struct Logout {
    /// Its host, and its port where it has one of its own
    #[arg(value_name = "REGISTRY")]
    registry: RegistryHost,
    #[command(flatten)]
    remote: RemoteOptions,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Logout {
    pub(super) fn execute(self) -> Result {
        let client = remote::client(&self.remote)?;
        let was_there = block_on(client.logout(&self.registry))?.map_err(remote::failure)?;
        match was_there {
            true => terminal::say(format!("signed out of {}", self.registry)),
            false => terminal::say(format!("nobody was signed in to {}", self.registry)),
        }
        match self.output {
            Output::Text => Ok(()),
            Output::Json => terminal::print_json(
                &json!({ "registry": self.registry.to_string(), "was_signed_in": was_there }),
            ),
        }
    }
}
