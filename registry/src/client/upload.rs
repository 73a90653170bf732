//! Bringing a blob to a registry. What broke off goes on behind what the registry says to have, never behind what was sent:
//! some take every byte for the next one, whatever `Content-Range` says.

use std::path::Path;
use std::sync::atomic::Ordering;

use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{Method, StatusCode};
use model::limits::{
    CLIENT_AT_ONCE_BYTES_MAX, CLIENT_ERROR_BYTES_MAX, CLIENT_RESUMED_MAX, CLIENT_UPLOADS_BEGUN,
};
use reqwest::Url;
use tokio::time::sleep;

use super::failure::{Failure, Tries};
use super::session::{Answer, Request};
use super::wire::Payload;
use super::{ClientError, Content, Progress, Remote};
use crate::manifest::Descriptor;
use crate::name::Repository;
use crate::range::Chunk;

/// How far an upload is.
enum At {
    /// There is none.
    Nowhere,
    /// It is at this URL, and has so many bytes.
    Has(Url, u64),
    /// It is at this URL, and what it has is for the registry to say.
    Unknown(Url),
    Done,
}

/// What came of a step that did not end well.
enum Ended {
    Failed(Failure, At),
    /// The upload is of no more use; the error is why, where another one does no better.
    Useless(ClientError),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        Self::Failed(Failure::Final(error), At::Nowhere)
    }
}

impl Remote {
    /// Brings a blob that is not there.
    pub(super) async fn upload(
        &self,
        what: &Descriptor,
        from: &Content,
        progress: &dyn Progress,
    ) -> Result<(), ClientError> {
        has_size(from, what.size).await?;
        let (mut tries, mut begun, mut resumed) = (Tries::default(), 0, 0);
        let (mut at, mut had) = (At::Nowhere, 0);
        loop {
            let step = match at {
                At::Done => return Ok(()),
                At::Nowhere => {
                    begun += 1;
                    self.begin(what, from).await
                }
                At::Has(url, has) => {
                    if has > had {
                        tries.went_on();
                    }
                    had = has;
                    self.send_rest(what, from, &url, has, progress).await
                }
                At::Unknown(url) => {
                    resumed += 1;
                    self.ask_how_far(what, url).await
                }
            };
            let (failure, next) = match step {
                Ok(next) => {
                    at = next;
                    continue;
                }
                Err(Ended::Useless(error)) => {
                    if begun >= CLIENT_UPLOADS_BEGUN {
                        return Err(error);
                    }
                    at = At::Nowhere;
                    continue;
                }
                Err(Ended::Failed(failure, next)) => (failure, next),
            };
            if resumed > CLIENT_RESUMED_MAX {
                return Err(failure.into_error());
            }
            let wait = tries.again(failure, fastrand::f64())?;
            tracing::debug!(digest = %what.digest, ?wait, "an upload is tried again");
            sleep(wait).await;
            at = next;
        }
    }

    fn uploads(&self) -> impl Future<Output = Result<Url, ClientError>> + '_ {
        self.url("blobs/uploads/")
    }

    /// Begins an upload; a small blob goes along with the question, which some registries do not look at.
    async fn begin(&self, what: &Descriptor, from: &Content) -> Result<At, Ended> {
        let again = |failure| Ended::Failed(failure, At::Nowhere);
        let url = self.uploads().await?;
        let request = |url| Request::new(Method::POST, url, &self.push(), self.called_blob(what));
        let is_small = what.size <= CLIENT_AT_ONCE_BYTES_MAX;
        if is_small && !self.session.asks_first.load(Ordering::Relaxed) {
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("digest", &what.digest.to_string());
            let payload = Payload::Rest { content: from.clone(), from: 0, bytes: what.size };
            let request = request(url).header(CONTENT_TYPE, "application/octet-stream").payload(payload);
            match self.session.answer(&request, CLIENT_ERROR_BYTES_MAX, &[], &|_| {}).await {
                Ok(answer) if answer.status == StatusCode::CREATED => return Ok(At::Done),
                Ok(answer) => {
                    self.session.asks_first.store(true, Ordering::Relaxed);
                    return Ok(At::Has(self.location(what, &answer)?, 0));
                }
                // It may be refused for the body alone.
                Err(Failure::Final(ClientError::Refused { status, .. })) => {
                    tracing::debug!(status, "a blob does not go along with the question");
                    self.session.asks_first.store(true, Ordering::Relaxed);
                }
                Err(failure) => return Err(again(failure)),
            }
        }
        let answer = self.session.answer(&request(url), CLIENT_ERROR_BYTES_MAX, &[], &|_| {}).await;
        Ok(At::Has(self.location(what, &answer.map_err(again)?)?, 0))
    }

    /// Where an upload goes on.
    fn location(&self, what: &Descriptor, answer: &Answer) -> Result<Url, ClientError> {
        let to = answer.header(LOCATION).ok_or_else(|| "it does not say where to send it".to_owned());
        let led = to.and_then(|to| self.session.lead(&answer.url, to));
        led.map_err(|why| ClientError::Protocol { what: self.called_blob(what), why })
    }

    /// Sends all that the registry does not have, and ends the upload.
    async fn send_rest(
        &self,
        what: &Descriptor,
        from: &Content,
        at: &Url,
        has: u64,
        progress: &dyn Progress,
    ) -> Result<At, Ended> {
        let mut url = at.clone();
        url.query_pairs_mut().append_pair("digest", &what.digest.to_string());
        let mut request = Request::new(Method::PUT, url, &self.push(), self.called_blob(what))
            .header(CONTENT_TYPE, "application/octet-stream")
            .payload(Payload::Rest { content: from.clone(), from: has, bytes: what.size });
        if has > 0 && has < what.size {
            request = request.header(CONTENT_RANGE, format!("{has}-{}", what.size - 1));
        }
        let sent = |bytes| progress.at(what, has + bytes);
        match self.session.answer(&request, CLIENT_ERROR_BYTES_MAX, &[], &sent).await {
            Ok(answer) if answer.status != StatusCode::ACCEPTED => Ok(At::Done),
            // Taken, and not as the end.
            Ok(answer) => Err(Ended::Useless(ClientError::Protocol {
                what: self.called_blob(what),
                why: format!("it answers {} to the end of an upload", answer.status.as_u16()),
            })),
            Err(Failure::Final(error @ ClientError::NotFound { .. })) => Err(Ended::Useless(error)),
            // What the registry has may not be what it says to have: the next one is sent from its first byte on.
            Err(Failure::Final(error @ ClientError::Refused { .. })) if has > 0 => Err(Ended::Useless(error)),
            Err(failure) => Err(Ended::Failed(failure, At::Unknown(at.clone()))),
        }
    }

    async fn ask_how_far(&self, what: &Descriptor, at: Url) -> Result<At, Ended> {
        let request = Request::new(Method::GET, at.clone(), &self.push(), self.called_blob(what));
        let answer = match self.session.answer(&request, CLIENT_ERROR_BYTES_MAX, &[], &|_| {}).await {
            Ok(answer) => answer,
            // It is gone, or cannot be asked about.
            Err(Failure::Final(error)) => return Err(Ended::Useless(error)),
            Err(failure) => return Err(Ended::Failed(failure, At::Unknown(at))),
        };
        let url = match answer.header(LOCATION) {
            Some(_) => self.location(what, &answer)?,
            None => at,
        };
        match answer.header(RANGE).and_then(Chunk::parse) {
            // `0-0` is one byte, and nothing as well.
            Some(Chunk { first: 0, last }) if last > 0 && last < what.size => Ok(At::Has(url, last + 1)),
            _ => {
                self.cancel(&url, what).await;
                let why = "it does not say how far an upload is".to_owned();
                Err(Ended::Useless(ClientError::Protocol { what: self.called_blob(what), why }))
            }
        }
    }

    /// Gives an upload up. That it is given up is for its registry's sake: whether it hears it is all the same.
    async fn cancel(&self, url: &Url, what: &Descriptor) {
        let request = Request::new(Method::DELETE, url.clone(), &self.push(), self.called_blob(what));
        let _ = self.session.answer(&request, CLIENT_ERROR_BYTES_MAX, &[], &|_| {}).await;
    }

    /// Has the registry take a blob from another of its repositories.
    pub(super) async fn mount_from(&self, what: &Descriptor, from: &Repository) -> Result<bool, ClientError> {
        let mut url = self.uploads().await?;
        url.query_pairs_mut()
            .append_pair("mount", &what.digest.to_string())
            .append_pair("from", from.as_str());
        let scopes = self.push().and(&super::remote::pull(from));
        let request = Request::new(Method::POST, url, &scopes, self.called_blob(what));
        match self.session.ask(&request, CLIENT_ERROR_BYTES_MAX, &[]).await {
            Ok(answer) if answer.status == StatusCode::CREATED => Ok(true),
            Ok(answer) => {
                // An upload was begun in its place.
                if let Ok(url) = self.location(what, &answer) {
                    self.cancel(&url, what).await;
                }
                Ok(false)
            }
            // Who may not read there may have the bytes from elsewhere.
            Err(ClientError::Denied { .. } | ClientError::NotFound { .. } | ClientError::Refused { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a content is as long as it should be: what is not would be sent for nothing.
async fn has_size(content: &Content, bytes: u64) -> Result<(), ClientError> {
    let (what, found) = match content {
        Content::Bytes(found) => ("what is to be pushed".to_owned(), found.len() as u64),
        Content::File(path) => (path.display().to_string(), file_size(path).await?),
    };
    match found == bytes {
        true => Ok(()),
        false => Err(ClientError::Corrupt {
            what,
            expected: format!("{bytes} bytes"),
            came: format!("{found} bytes"),
        }),
    }
}

async fn file_size(path: &Path) -> Result<u64, ClientError> {
    let metadata = tokio::fs::metadata(path).await;
    Ok(metadata.map_err(|error| ClientError::File { path: path.to_owned(), error })?.len())
}
