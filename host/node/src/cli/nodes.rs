//! How verbs find the node that they speak to and the pipeline that they mean, and how what it refuses ends.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use control::state::PipelineName;
use model::manifest::Name;
use zeroize::Zeroizing;

use crate::client::place::{self, Contexts, Named, PlaceError};
use crate::client::{Client, ClientError};
use crate::exit::{Failure, Result};
use crate::places;

/// What names the context where nothing names the node.
const CONTEXT: &str = "CONVEYOR_CONTEXT";
/// A token, where no file has it.
const TOKEN: &str = "CONVEYOR_TOKEN";

/// Which node: one that is named, else that of a context (CONVEYOR_CONTEXT, or the current one), else `conveyor up`.
#[derive(Clone, Debug, Args)]
pub(super) struct NodeOptions {
    /// The node, such as https://node.example:5000; that of the context or `conveyor up` unless set
    #[arg(long, value_name = "URL", env = "CONVEYOR_NODE")]
    node: Option<String>,
    /// The file with the token that the node is shown; CONVEYOR_TOKEN has it where that is set
    #[arg(long, value_name = "FILE", env = "CONVEYOR_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Trust these certificates beside those of the system
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
}

impl NodeOptions {
    pub(super) fn client(&self) -> Result<Client> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let named = Named {
            node: self.node.clone(),
            context: variable(CONTEXT),
            token: variable(TOKEN).filter(|_| self.token_file.is_none()).map(Zeroizing::new),
            token_file: self.token_file.clone(),
            ca_cert: self.ca_cert.clone(),
        };
        let up = places::up_file();
        let place = place::find(named, &contexts()?, up.as_deref()).map_err(not_found)?;
        Client::new(place).map_err(failure)
    }

    /// Which is meant where none is named.
    fn namespace(&self) -> Result<Name> {
        let contexts = contexts()?;
        let named = std::env::var(CONTEXT).ok().filter(|name| !name.is_empty());
        let context = match self.node {
            Some(_) => None,
            None => contexts.meant(named.as_deref()).map_err(not_found)?,
        };
        let name = context.and_then(|(_, context)| context.namespace.as_deref());
        parsed(name.unwrap_or(control::state::DEFAULT_NAMESPACE))
    }
}

/// A namespace, that of the context where none is named.
#[derive(Clone, Debug, Args)]
pub(super) struct Within {
    /// The namespace; unless set, all that a list can have, else that of the context or `default`
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    #[command(flatten)]
    pub(super) node: NodeOptions,
}

impl Within {
    pub(super) fn named(&self) -> Result<Option<Name>> {
        self.namespace.as_deref().map(parsed).transpose()
    }

    pub(super) fn namespace(&self) -> Result<Name> {
        match self.named()? {
            Some(namespace) => Ok(namespace),
            None => self.node.namespace(),
        }
    }
}

/// A pipeline of a node.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// The pipeline, or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    within: Within,
}

impl Target {
    pub(super) fn client(&self) -> Result<Client> {
        self.within.node.client()
    }

    pub(super) fn pipeline(&self) -> Result<PipelineName> {
        let Some((namespace, name)) = self.name.split_once('/') else {
            return Ok(PipelineName::new(self.within.namespace()?, parsed(&self.name)?));
        };
        let pipeline = PipelineName::new(parsed(namespace)?, parsed(name)?);
        match self.within.named()?.filter(|named| *named != pipeline.namespace) {
            Some(named) => {
                Err(Failure::Input(anyhow!("`{pipeline}` is not in the namespace `{named}`: leave `-n` out")))
            }
            None => Ok(pipeline),
        }
    }
}

fn parsed(text: &str) -> Result<Name> {
    Name::parse(text).map_err(|why| Failure::Input(anyhow!("`{text}` is no name: {why}")))
}

/// The contexts of this user.
pub(super) fn contexts() -> Result<Contexts> {
    match places::contexts() {
        Some(path) => Contexts::read(&path).map_err(not_found),
        None => Ok(Contexts::default()),
    }
}

pub(super) fn not_found(error: PlaceError) -> Failure {
    match error {
        PlaceError::Client(error) => failure(error),
        error => Failure::input(error),
    }
}

pub(super) fn failure(error: ClientError) -> Failure {
    match error {
        error if error.is_unreachable() => Failure::Unreachable(error.into()),
        error if error.is_input() => Failure::input(error),
        error => Failure::ran(error),
    }
}
