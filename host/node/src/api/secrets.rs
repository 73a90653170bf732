//! Secrets of a namespace: which there are, set, and removed. Their values go in and never out.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control::sealing::{Plain, SealError};
use control::state::{self, Answer as Answered, Command, Refusal, SecretName};
use model::limits::SECRET_BYTES_MAX;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::access::{Caller, Role};
use super::extract::{Answer, AnyProblem, InNamespace, Json, Keyed, Path, bad, namespace};
use super::pipelines::other_answer;
use super::problem::{Kind, Problem};
use super::types::{Secret, SecretSet, Secrets, SetSecret, Time};

/// Which secret.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfSecret {
    /// The namespace, such as `default`
    #[param(max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    namespace: String,
    /// The name of the secret, such as `API_KEY`
    #[param(max_length = 128, pattern = "^[A-Za-z_][A-Za-z0-9_]*$")]
    secret: String,
}

impl OfSecret {
    fn parse(&self) -> Result<SecretName, Problem> {
        let name = self.secret.parse().map_err(|error: state::BadName| bad(error.to_string()))?;
        Ok(SecretName { namespace: namespace(&self.namespace)?, name })
    }
}

fn shown(name: &SecretName, secret: &state::Secret) -> Secret {
    Secret {
        name: name.name.to_string(),
        version: secret.version,
        set_at: Time::of_us(secret.set_at_us),
        by: secret.by.clone(),
    }
}

/// Lists the secrets of a namespace, without their values
#[utoipa::path(
    get, path = "/namespaces/{namespace}/secrets", tag = "secrets", params(InNamespace),
    responses((status = 200, description = "By name", body = Secrets), AnyProblem)
)]
pub async fn list_secrets(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<InNamespace>,
) -> Result<Answer<Secrets>, Problem> {
    let namespace = path.parse()?;
    caller.may(Role::Viewer, &namespace)?;
    let secrets = api.read(|state| {
        if !state.namespaces().contains_key(&namespace) {
            return Err(Refusal::NoNamespace { name: namespace.clone() });
        }
        let within = state.secrets().iter().filter(|(name, _)| name.namespace == namespace);
        Ok(within.map(|(name, secret)| shown(name, secret)).collect())
    });
    Ok(Answer::ok(Secrets { secrets: secrets.await?? }))
}

/// What is known of a secret, without its value
#[utoipa::path(
    get, path = "/namespaces/{namespace}/secrets/{secret}", tag = "secrets", params(OfSecret),
    responses((status = 200, description = "When it was set, and by whom", body = Secret), AnyProblem)
)]
pub async fn get_secret(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfSecret>,
) -> Result<Answer<Secret>, Problem> {
    let name = path.parse()?;
    caller.may(Role::Viewer, &name.namespace)?;
    let secret = api.read(|state| {
        let secret = state.secrets().get(&name).map(|secret| shown(&name, secret));
        secret.ok_or_else(|| Refusal::NoSecret { secret: name.clone() })
    });
    Ok(Answer::ok(secret.await??))
}

/// Sets a secret: whatever reads it is started anew
#[utoipa::path(
    put, path = "/namespaces/{namespace}/secrets/{secret}", tag = "secrets", params(OfSecret, Keyed), request_body = SetSecret,
    responses((status = 200, description = "It is set", body = SecretSet), AnyProblem)
)]
pub async fn set_secret(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfSecret>,
    keyed: Keyed,
    Json(value): Json<SetSecret>,
) -> Result<Answer<SecretSet>, Problem> {
    let secret = path.parse()?;
    caller.may(Role::Deployer, &secret.namespace)?;
    let plain = plain(value)?;
    let sealed = api.key.seal(&secret, &plain).map_err(|error| match error {
        SealError::NoRandom => Problem::new(Kind::Unavailable, error.to_string()),
        error => Problem::new(Kind::Internal, error.to_string()),
    })?;
    let done = api.propose(&caller, keyed.key()?, Command::SetSecret { secret, sealed }).await?;
    let Answered::SecretSet { version } = done.answer else { return Err(other_answer()) };
    Ok(Answer::ok(SecretSet { version }))
}

fn plain(value: SetSecret) -> Result<Plain, Problem> {
    let plain = match value {
        SetSecret { value: Some(text), base64: None } => Plain::new(text.into_bytes()),
        SetSecret { value: None, base64: Some(text) } => {
            let bytes = STANDARD.decode(text).map_err(|_| {
                Problem::new(
                    Kind::Invalid,
                    "`base64` is no base64; write it with `+`, `/` and `=`, or send `value`",
                )
            })?;
            Plain::new(bytes)
        }
        _ => {
            return Err(Problem::new(
                Kind::Invalid,
                "send the secret as `value` or as `base64`, one of the two",
            ));
        }
    };
    let bytes = plain.as_bytes().len();
    if bytes > SECRET_BYTES_MAX {
        let detail =
            format!("the secret has {bytes} bytes, and {SECRET_BYTES_MAX} are the most; make it smaller");
        return Err(Problem::new(Kind::TooLarge, detail));
    }
    Ok(plain)
}

/// Removes a secret
#[utoipa::path(
    delete, path = "/namespaces/{namespace}/secrets/{secret}", tag = "secrets", params(OfSecret, Keyed),
    responses((status = 204, description = "It is gone"), AnyProblem)
)]
pub async fn delete_secret(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<OfSecret>,
    keyed: Keyed,
) -> Result<StatusCode, Problem> {
    let secret = path.parse()?;
    caller.may(Role::Deployer, &secret.namespace)?;
    api.propose(&caller, keyed.key()?, Command::DeleteSecret { secret }).await?;
    Ok(StatusCode::NO_CONTENT)
}
