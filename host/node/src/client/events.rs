//! What happens on a node, one event after the other. Where the connection breaks off, it is gone on with behind the last one.

use std::collections::VecDeque;

use model::limits::API_EVENTS_TRIES;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Response};

use super::blocks::{Block, Blocks};
use super::{Asked, Client, ClientError, WAIT};
use crate::api::types::{Event, ProblemBody};

/// Those that come.
pub struct Events<'c> {
    client: &'c Client,
    path: String,
    follow: bool,
    /// The number of the last one.
    seen: Option<u64>,
    open: Option<(Response, Blocks)>,
    /// Whether the node has answered so once.
    was_there: bool,
    pending: VecDeque<Event>,
    /// How often in a row the connection broke off.
    broke: u32,
}

impl Client {
    /// Those that are kept, from the first on, and, where they are followed, those that come.
    pub fn events(&self, follow: bool) -> Events<'_> {
        let path = format!("v1/events?kept=true&follow={follow}");
        Events {
            client: self,
            path,
            follow,
            seen: None,
            open: None,
            was_there: false,
            pending: VecDeque::new(),
            broke: 0,
        }
    }
}

impl Events<'_> {
    /// The next one; none at the end, where they are not followed.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            let error = match self.more().await {
                Ok(true) => continue,
                Ok(false) if !self.follow => return Ok(None),
                Ok(false) => self.client.strange("it has ended its events".to_owned()),
                Err(error) => error,
            };
            // A node that is started again is gone for a while.
            let is_away =
                error.may_pass() || error.is_unreachable() || matches!(error, ClientError::Strange { .. });
            self.broke += 1;
            if !self.follow || !self.was_there || !is_away || self.broke == API_EVENTS_TRIES {
                return Err(error);
            }
            self.open = None;
            tokio::time::sleep(WAIT).await;
        }
    }

    /// Waits for more. False at the end.
    async fn more(&mut self) -> Result<bool, ClientError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => (self.connect().await?, Blocks::default()),
        };
        self.was_there = true;
        let Some(bytes) = open.0.chunk().await.map_err(|error| self.client.unreachable(&error))? else {
            return Ok(false);
        };
        open.1.add(&bytes);
        while let Some(block) = open.1.next().map_err(|error| self.client.strange(error.to_string()))? {
            self.take(block)?;
        }
        self.open = Some(open);
        Ok(true)
    }

    fn take(&mut self, block: Block) -> Result<(), ClientError> {
        let strange = |error: serde_json::Error| self.client.strange(format!("{error} in an event"));
        if block.event == "problem" {
            let problem: ProblemBody = serde_json::from_str(&block.data).map_err(strange)?;
            return Err(ClientError::Problem(Box::new(problem)));
        }
        if !block.data.is_empty() {
            self.pending.push_back(serde_json::from_str(&block.data).map_err(strange)?);
        }
        self.broke = 0;
        self.seen = block.id.and_then(|id| id.parse().ok()).or(self.seen);
        Ok(())
    }

    async fn connect(&self) -> Result<Response, ClientError> {
        let seen = self.seen.and_then(|seen| HeaderValue::from_str(&seen.to_string()).ok());
        let headers = seen.map(|seen| (HeaderName::from_static("last-event-id"), seen)).into_iter().collect();
        let asked = Asked { method: Method::GET, path: self.path.clone(), headers, body: None };
        // It comes without end.
        let response = self.client.send(&asked, None).await?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.client.whole(response).await.err().unwrap_or(ClientError::NoNode)),
        }
    }
}
