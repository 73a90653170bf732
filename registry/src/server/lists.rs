//! Lists: tags, referrers, repositories.

use std::sync::Arc;

use http::header::LINK;
use model::ids::Digest;
use serde_json::json;

use super::{Answer, Asked, FILTERS, Registry, blocking, json_answer, set};
use crate::auth::Who;
use crate::manifest::INDEX;
use crate::page::Page;
use crate::route::{self, Action, Query, escaped};

impl Registry {
    pub(super) async fn tags(self: &Arc<Self>, asked: Asked) -> Answer {
        let page = Page::parse(&asked.query)?;
        let (store, repository, of) = (self.store.clone(), asked.repository.clone(), page.clone());
        let (tags, is_more) =
            blocking(move || store.tags(&repository, of.last.as_deref(), of.entries)).await?;
        let body = json!({ "name": asked.repository.as_str(), "tags": tags });
        let mut response = json_answer("application/json", body.to_string());
        if let Some(last) = tags.last().filter(|_| is_more) {
            set(&mut response, LINK, page.link(&format!("/v2/{}/tags/list", asked.repository), last));
        }
        Ok(response)
    }

    /// The names of repositories that somebody may pull from.
    pub(super) async fn catalog(self: &Arc<Self>, query: &Query, who: Who) -> Answer {
        let page = Page::parse(query)?;
        let (registry, of) = (self.clone(), page.clone());
        let (names, is_more) = blocking(move || {
            let wanted = |name: &_| registry.auth.access_of(&who, name);
            registry.store.repositories(of.last.as_deref(), of.entries, &wanted)
        })
        .await?;
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let mut response = json_answer("application/json", json!({ "repositories": names }).to_string());
        if let Some(last) = names.last().filter(|_| is_more) {
            set(&mut response, LINK, page.link("/v2/_catalog", last));
        }
        Ok(response)
    }

    pub(super) async fn referrers(self: &Arc<Self>, asked: Asked, subject: Digest) -> Answer {
        let types: Vec<String> =
            asked.query.all("artifactType").filter(|named| !named.is_empty()).map(str::to_owned).collect();
        let last = asked.query.one("last")?.map(route::digest).transpose()?;
        let (store, repository, of) = (self.store.clone(), asked.repository.clone(), types.clone());
        let (found, more) =
            blocking(move || store.referrers(&repository, &subject, last.as_ref(), &of)).await?;
        let body = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": found });
        let mut response = json_answer(INDEX, body.to_string());
        if !types.is_empty() {
            set(&mut response, FILTERS, "artifactType");
        }
        if let Some(last) = more {
            let filter: String =
                types.iter().map(|named| format!("&artifactType={}", escaped(named))).collect();
            let last = last.to_string();
            let path =
                format!("/v2/{}/referrers/{subject}?last={}{filter}", asked.repository, escaped(&last));
            set(&mut response, LINK, format!("<{path}>; rel=\"next\""));
        }
        Ok(response)
    }
}

impl crate::auth::Auth {
    /// Whether somebody may see that there is a repository: a token is for what it names, and a list is of what its user may
    /// see.
    fn access_of(&self, who: &Who, repository: &crate::name::Repository) -> bool {
        self.keys.is_none() || self.access.allows(who.user.as_deref(), repository, Action::Pull)
    }
}
