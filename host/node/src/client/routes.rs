//! What can be asked of a node, one function for each.

use control::state::{Expects, PipelineName, SecretName};
use model::manifest::Name;
use reqwest::Method;

use super::{Client, ClientError};
use crate::api::types::{
    Audit, CreateNamespace, Deploy, Deployed, Namespace, Namespaces, NodeInfo, Nodes, Pipeline, Pipelines,
    Revision, Revisions, Rollback, SecretSet, Secrets, SetSecret, Status, Wanted,
};

type Asked<T> = Result<T, ClientError>;

/// Something to be done to a pipeline that takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Pause,
    Resume,
    Restart,
}

impl Act {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Restart => "restart",
        }
    }
}

fn of(pipeline: &PipelineName) -> String {
    format!("v1/namespaces/{}/pipelines/{}", pipeline.namespace, pipeline.name)
}

fn secret_path(secret: &SecretName) -> String {
    format!("v1/namespaces/{}/secrets/{}", secret.namespace, secret.name)
}

const NO_BODY: Option<&()> = None;

impl Client {
    pub async fn node(&self) -> Asked<NodeInfo> {
        self.get("v1/node").await
    }

    pub async fn nodes(&self) -> Asked<Nodes> {
        self.get("v1/nodes").await
    }

    pub async fn audit(&self, before: Option<u64>) -> Asked<Audit> {
        match before {
            None => self.get("v1/audit").await,
            Some(before) => self.get(&format!("v1/audit?before={before}")).await,
        }
    }

    pub async fn namespaces(&self) -> Asked<Namespaces> {
        self.get("v1/namespaces").await
    }

    pub async fn create_namespace(&self, name: &Name) -> Asked<Namespace> {
        let body = CreateNamespace { name: name.to_string() };
        self.write((Method::POST, "v1/namespaces"), Expects::Anything, Some(&body)).await
    }

    pub async fn delete_namespace(&self, name: &Name) -> Asked<()> {
        self.write((Method::DELETE, &format!("v1/namespaces/{name}")), Expects::Anything, NO_BODY).await
    }

    /// Those of one namespace, or of all.
    pub async fn pipelines(&self, namespace: Option<&Name>) -> Asked<Pipelines> {
        match namespace {
            None => self.get("v1/pipelines").await,
            Some(namespace) => self.get(&format!("v1/pipelines?namespace={namespace}")).await,
        }
    }

    pub async fn pipeline(&self, pipeline: &PipelineName) -> Asked<Pipeline> {
        self.get(&of(pipeline)).await
    }

    pub async fn status(&self, pipeline: &PipelineName) -> Asked<Status> {
        self.get(&format!("{}/status", of(pipeline))).await
    }

    pub async fn revisions(&self, pipeline: &PipelineName) -> Asked<Revisions> {
        self.get(&format!("{}/revisions", of(pipeline))).await
    }

    pub async fn revision(&self, pipeline: &PipelineName, revision: u64) -> Asked<Revision> {
        self.get(&format!("{}/revisions/{revision}", of(pipeline))).await
    }

    /// `dry_run`: it is only said what would come of it.
    pub async fn deploy(
        &self,
        pipeline: &PipelineName,
        deploy: &Deploy,
        expects: Expects,
        dry_run: bool,
    ) -> Asked<Deployed> {
        let path = format!("{}?dry-run={dry_run}", of(pipeline));
        self.write((Method::PUT, &path), expects, Some(deploy)).await
    }

    pub async fn act(&self, pipeline: &PipelineName, act: Act, expects: Expects) -> Asked<Wanted> {
        let path = format!("{}/{}", of(pipeline), act.as_str());
        self.write((Method::POST, &path), expects, NO_BODY).await
    }

    /// Lets that revision run. Which it is has to be said: asked again, the one before is another one.
    pub async fn rollback(
        &self,
        pipeline: &PipelineName,
        revision: u64,
        why: Option<String>,
        expects: Expects,
    ) -> Asked<Wanted> {
        let body = Rollback { revision: Some(revision), why };
        self.write((Method::POST, &format!("{}/rollback", of(pipeline))), expects, Some(&body)).await
    }

    pub async fn delete(
        &self,
        pipeline: &PipelineName,
        keep_dead_letters: bool,
        expects: Expects,
    ) -> Asked<Wanted> {
        let path = format!("{}?keep-dead-letters={keep_dead_letters}", of(pipeline));
        self.write((Method::DELETE, &path), expects, NO_BODY).await
    }

    pub async fn secrets(&self, namespace: &Name) -> Asked<Secrets> {
        self.get(&format!("v1/namespaces/{namespace}/secrets")).await
    }

    pub async fn set_secret(&self, secret: &SecretName, value: &SetSecret) -> Asked<SecretSet> {
        self.write((Method::PUT, &secret_path(secret)), Expects::Anything, Some(value)).await
    }

    pub async fn delete_secret(&self, secret: &SecretName) -> Asked<()> {
        self.write((Method::DELETE, &secret_path(secret)), Expects::Anything, NO_BODY).await
    }
}
