//! Lists, page by page: tags, repositories, and what says something of a manifest. Registries give them null, unsorted, with
//! repetitions, and with a last page on which there is nothing.

use std::collections::{BTreeSet, HashSet};
use std::str::FromStr;

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use model::ids::Digest;
use model::limits::{CLIENT_ENTRIES_MAX, CLIENT_PAGE_BYTES_MAX, CLIENT_PAGE_ENTRIES, CLIENT_PAGES_MAX};
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::challenge::Scopes;
use super::session::{Answer, Request, Session};
use super::{ClientError, Remote, address, failure};
use crate::manifest::{Descriptor, INDEX};
use crate::name::{Repository, Tag};

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Repositories {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Referrers {
    manifests: Option<Vec<Descriptor>>,
}

/// A list that is gone through.
struct Pages<'a> {
    session: &'a Session,
    scopes: Scopes,
    what: String,
    next: Option<Url>,
    seen: HashSet<Url>,
    entries: usize,
}

impl<'a> Pages<'a> {
    fn new(session: &'a Session, first: Url, scopes: Scopes, what: String) -> Self {
        Self { session, scopes, what, next: Some(first), seen: HashSet::new(), entries: 0 }
    }

    fn wrong(&self, why: impl Into<String>) -> ClientError {
        ClientError::Protocol { what: self.what.clone(), why: why.into() }
    }

    /// The next page; None behind the last one. Statuses of `expected` are answers, and no pages.
    async fn next(&mut self, expected: &[StatusCode]) -> Result<Option<Answer>, ClientError> {
        let Some(url) = self.next.take() else { return Ok(None) };
        if self.seen.len() >= CLIENT_PAGES_MAX {
            return Err(self.wrong(format!("the list has more than {CLIENT_PAGES_MAX} pages")));
        }
        if !self.seen.insert(url.clone()) {
            return Err(self.wrong("a page of the list leads to one before it"));
        }
        let request = Request::new(Method::GET, url, &self.scopes, self.what.as_str());
        let answer = self.session.ask(&request, CLIENT_PAGE_BYTES_MAX, expected).await?;
        self.next = address::next_page(&answer.url, &answer.headers).map_err(|why| self.wrong(why))?;
        Ok(Some(answer))
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, ClientError> {
        serde_json::from_slice(&answer.body)
            .map_err(|error| self.wrong(format!("a page of the list is not what it should be: {error}")))
    }

    fn count(&mut self, entries: usize) -> Result<(), ClientError> {
        self.entries += entries;
        match self.entries > CLIENT_ENTRIES_MAX {
            true => Err(self.wrong(format!("the list has more than {CLIENT_ENTRIES_MAX} entries"))),
            false => Ok(()),
        }
    }

    /// Names, sorted, each once.
    async fn names<P: DeserializeOwned, N: FromStr + Ord>(
        mut self,
        of: impl Fn(P) -> Option<Vec<String>>,
    ) -> Result<Vec<N>, ClientError>
    where
        N::Err: std::fmt::Display,
    {
        let mut all = BTreeSet::new();
        while let Some(answer) = self.next(&[]).await? {
            let names = of(self.read(&answer)?).unwrap_or_default();
            self.count(names.len())?;
            for name in names {
                all.insert(
                    name.parse().map_err(|error: N::Err| self.wrong(failure::shown(&error.to_string())))?,
                );
            }
        }
        Ok(all.into_iter().collect())
    }
}

impl Session {
    /// The names of all repositories that one may know of.
    pub(super) async fn list_repositories(&self) -> Result<Vec<Repository>, ClientError> {
        let first = self.url(&format!("_catalog?n={CLIENT_PAGE_ENTRIES}")).await?;
        let pages = Pages::new(self, first, Scopes::catalog(), format!("the repositories of {}", self.host));
        match pages.names(|page: Repositories| page.repositories).await {
            Err(ClientError::NotFound { what }) => {
                let why = "it does not list them: name one, as HOST/REPOSITORY".to_owned();
                Err(ClientError::Protocol { what, why })
            }
            listed => listed,
        }
    }
}

impl Remote {
    pub(super) async fn list_tags(&self) -> Result<Vec<Tag>, ClientError> {
        let first = self.url(&format!("tags/list?n={CLIENT_PAGE_ENTRIES}")).await?;
        let what = format!("{}/{}", self.session.host, self.repository);
        Pages::new(&self.session, first, self.pull(), what).names(|page: Tags| page.tags).await
    }

    /// By the registry; None where it does not know referrers.
    pub(super) async fn referrers_by_api(
        &self,
        of: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, ClientError> {
        let mut first = self.url(&format!("referrers/{of}")).await?;
        if let Some(artifact_type) = artifact_type {
            first.query_pairs_mut().append_pair("artifactType", artifact_type);
        }
        let what = format!("what is about {}/{}@{of}", self.session.host, self.repository);
        let mut pages = Pages::new(&self.session, first, self.pull(), what);
        let unknown = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
        let mut all = vec![];
        while let Some(answer) = pages.next(&unknown).await? {
            let named = answer.header(CONTENT_TYPE).and_then(|named| named.split(';').next());
            // Some answer every path with a page of theirs.
            let is_page = answer.status == StatusCode::OK && named.is_some_and(|named| named.trim() == INDEX);
            if !is_page && all.is_empty() {
                return Ok(None);
            }
            let found = pages.read::<Referrers>(&answer)?.manifests.unwrap_or_default();
            pages.count(found.len())?;
            all.extend(found);
        }
        Ok(Some(all))
    }

    pub(super) async fn list_referrers(
        &self,
        of: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let found = match self.referrers_by_api(of, artifact_type).await? {
            Some(found) => found,
            None => self.referrers_by_tag(of).await?,
        };
        let mut seen = BTreeSet::new();
        // A registry may filter, or not.
        let is_wanted = |entry: &Descriptor| {
            artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted))
        };
        Ok(found.into_iter().filter(|entry| is_wanted(entry) && seen.insert(entry.digest)).collect())
    }
}
