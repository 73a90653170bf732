//! Who may use the registry of a node, and see its meters: no web page of others; to write, and on a server to look, whoever has a
//! token of the node, which stands for the password of any name.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::api::access::{Hosts, Role, Tokens};
use crate::api::problem::Problem;

/// What stands before routes that are none of the API.
#[derive(Clone)]
pub struct Door {
    pub hosts: Hosts,
    pub tokens: Tokens,
    /// Whether nobody needs a token to look.
    pub is_open: bool,
}

impl Door {
    pub fn before(self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(Arc::new(self), enter))
    }

    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        self.hosts.check(headers)?;
        let role = if matches!(*method, Method::GET | Method::HEAD) { Role::Viewer } else { Role::Deployer };
        if self.is_open && role == Role::Viewer {
            return Ok(());
        }
        self.tokens.caller(&shown(headers))?.may_everywhere(role)
    }
}

async fn enter(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    match door.check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                let challenge = HeaderValue::from_static("Basic realm=\"conveyor\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

/// The token in what clients of registries show: a password, whatever the name beside it.
fn shown(headers: &HeaderMap) -> HeaderMap {
    let password = headers.get(AUTHORIZATION).and_then(|value| {
        let basic = value.to_str().ok()?.strip_prefix("Basic ")?;
        let bytes = STANDARD.decode(basic.trim()).ok()?;
        let (_, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        HeaderValue::from_str(&format!("Bearer {password}")).ok()
    });
    let shown = password.as_ref().or_else(|| headers.get(AUTHORIZATION)).cloned();
    shown.into_iter().map(|value| (AUTHORIZATION, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::access::{Rights, Token};

    fn headers(authorization: Option<&str>) -> HeaderMap {
        let host = (axum::http::header::HOST, HeaderValue::from_static("localhost:1"));
        let shown =
            authorization.map(|value| (AUTHORIZATION, HeaderValue::from_str(value).expect("a value")));
        [host].into_iter().chain(shown).collect()
    }

    #[test]
    fn a_token_is_a_password_of_any_name_and_a_viewer_does_not_push() {
        let known = vec![
            Token::new("ops", "secret", Rights::everywhere(Role::Admin)),
            Token::new("eyes", "look", Rights::everywhere(Role::Viewer)),
        ];
        let tokens = Tokens::new(known, false).expect("tokens");
        let door = Door { hosts: Hosts::new([]), tokens, is_open: false };
        let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("anybody:{password}")));
        let is_let_in = |method: Method, shown: Option<&str>| door.check(&method, &headers(shown)).is_ok();
        assert!(!is_let_in(Method::GET, None));
        assert!(!is_let_in(Method::GET, Some(&basic("wrong"))));
        assert!(!is_let_in(Method::GET, Some("Basic %%%")));
        assert!(is_let_in(Method::GET, Some(&basic("look"))));
        assert!(!is_let_in(Method::PUT, Some(&basic("look"))));
        assert!(is_let_in(Method::PUT, Some(&basic("secret"))));
        assert!(is_let_in(Method::PUT, Some("Bearer secret")));
        let open = Door { is_open: true, ..door };
        assert!(open.check(&Method::GET, &headers(None)).is_ok());
        assert!(open.check(&Method::PUT, &headers(None)).is_err());
        assert!(open.check(&Method::PUT, &headers(Some("Bearer secret"))).is_ok());
        let foreign = [(axum::http::header::HOST, HeaderValue::from_static("evil.example"))];
        assert!(open.check(&Method::GET, &foreign.into_iter().collect()).is_err());
    }
}
