//! `/token`: tokens for those who show a password or an earlier token. `GET` as registries have always had it, `POST` as
//! OAuth 2.0.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, StatusCode};
use model::limits::{REGISTRY_FORM_BYTES_MAX, REGISTRY_SCOPES_MAX, REGISTRY_TOKEN_TIME};
use serde_json::json;

use super::body::Incoming;
use super::{Answer, Registry, json_answer, set};
use crate::auth::{Keys, Scope, Shown, Who, shown};
use crate::refusal::{Code, Refusal};
use crate::route::Query;

/// What somebody wants of `/token`.
struct Wanted {
    who: Who,
    scopes: Vec<Scope>,
    /// A token too that gets them others.
    offline: bool,
}

impl Registry {
    pub(super) async fn token(self: &Arc<Self>, head: &Parts, query: &Query, body: &mut Incoming) -> Answer {
        let Some(keys) = &self.auth.keys else {
            let message = "nobody has to sign in here, and there are no tokens";
            return Err(Refusal::new(Code::Unsupported, message).status(StatusCode::NOT_FOUND));
        };
        let wanted = match head.method {
            Method::POST => self.by_form(keys, body).await?,
            _ => self.by_password_shown(head, query).await?,
        };
        let now = self.store.now();
        let granted = self.auth.grant(&wanted.who, &wanted.scopes);
        let token = keys.tokens.access(wanted.who.user.as_deref(), &granted, now);
        let scope: Vec<String> = granted.iter().map(ToString::to_string).collect();
        let mut body = json!({
            "token": token,
            "access_token": token,
            "expires_in": REGISTRY_TOKEN_TIME.as_secs(),
            "scope": scope.join(" "),
        });
        if let Some(user) = wanted.who.user.as_ref().filter(|_| wanted.offline)
            && let Some(mark) = keys.passwords.mark(user)
        {
            body["refresh_token"] = keys.tokens.refresh(user, mark, now).into();
        }
        let mut response = json_answer("application/json", body.to_string());
        set(&mut response, CACHE_CONTROL, "no-store");
        Ok(response)
    }

    async fn by_password_shown(&self, head: &Parts, query: &Query) -> Result<Wanted, Refusal> {
        let who = match shown(&head.headers)? {
            Shown::Nothing => Who::anonymous(),
            Shown::Password { user, password } if self.by_password(&user, &password).await? => {
                Who::user(user)
            }
            _ => return Err(wrong()),
        };
        let offline = query.one("offline_token")? == Some("true");
        Ok(Wanted { who, scopes: scopes(query.all("scope"))?, offline })
    }

    async fn by_form(&self, keys: &Keys, body: &mut Incoming) -> Result<Wanted, Refusal> {
        let form = body.whole(REGISTRY_FORM_BYTES_MAX).await?;
        let form = String::from_utf8(form.to_vec()).map_err(|_| no_grant())?;
        let form = Query::parse(Some(&form));
        let scopes = scopes(form.all("scope"))?;
        match form.one("grant_type")? {
            Some("password") => {
                let (user, password) = (form.one("username")?, form.one("password")?);
                let (Some(user), Some(password)) = (user, password) else { return Err(no_grant()) };
                if !self.by_password(user, password).await? {
                    return Err(wrong());
                }
                Ok(Wanted {
                    who: Who::user(user),
                    scopes,
                    offline: form.one("access_type")? == Some("offline"),
                })
            }
            Some("refresh_token") => {
                let token = form.one("refresh_token")?.ok_or_else(no_grant)?;
                let refreshed = keys.tokens.refreshed(token, self.store.now());
                let refreshed =
                    refreshed.map_err(|error| Refusal { message: error.to_string(), ..wrong() })?;
                if keys.passwords.mark(&refreshed.user) != Some(refreshed.mark) {
                    return Err(Refusal {
                        message: "the password has changed since: sign in again".to_owned(),
                        ..wrong()
                    });
                }
                Ok(Wanted { who: Who::user(refreshed.user), scopes, offline: true })
            }
            _ => Err(no_grant()),
        }
    }
}

fn wrong() -> Refusal {
    let refusal = Refusal::new(Code::Unauthorized, "the name or the password is wrong");
    refusal.header(WWW_AUTHENTICATE, "Basic realm=\"conveyor\"")
}

fn no_grant() -> Refusal {
    let message =
        "send grant_type=password with username and password, or grant_type=refresh_token with refresh_token";
    Refusal::new(Code::Unsupported, message).status(StatusCode::BAD_REQUEST)
}

/// Scopes, given one by one or several with spaces between them. Such as are of no repository get nobody anything.
fn scopes<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Scope>, Refusal> {
    let all: Vec<&str> = texts.flat_map(str::split_whitespace).collect();
    if all.len() > REGISTRY_SCOPES_MAX {
        let message =
            format!("{} scopes are asked for; {REGISTRY_SCOPES_MAX} are the most at once", all.len());
        return Err(Refusal::new(Code::Unsupported, message).status(StatusCode::BAD_REQUEST));
    }
    Ok(all.into_iter().filter_map(|text| text.parse().ok()).collect())
}
