//! What a belt does for checkpoints: its stages' state is frozen, its sinks prepare and commit, and barriers go on.

use std::time::Duration;

use model::signal::{Barrier, Then};

use super::{Belt, Station};
use crate::error::RunError;

impl Belt {
    /// Makes durable what the sinks of this belt have been given, then lets it be seen. Each sink is asked,
    /// whatever became of the others; the first error is told. A run without checkpoints has this one, numbered by its
    /// epoch, so that a sink that names things by the number finds none of an earlier run. `then`: why nothing follows.
    pub async fn finish(&mut self, then: Then) -> Result<(), RunError> {
        let (tokens, prepared) = self.prepare(Barrier { number: self.context.epoch, then }).await;
        prepared.and(self.commit(&tokens).await)
    }

    /// Makes durable what the sinks of this belt have been given, and what was refused. Gives the tokens by stage.
    pub async fn prepare(&mut self, barrier: Barrier) -> (Vec<(usize, Vec<u8>)>, Result<(), RunError>) {
        let mut first = Ok(());
        let mut tokens = Vec::new();
        for stage in 0..self.stations.len() {
            let Station::Sink(sink) = &mut self.stations[stage] else { continue };
            match sink.prepare(barrier).await {
                Ok(token) => {
                    self.prepared_out[stage] = self.context.meters.stages[stage].taken();
                    tokens.push((stage, token));
                }
                Err(error) => first = first.and(self.sink_fails(stage, None, error)),
            }
        }
        first = first.and(self.context.refusing.sync());
        (tokens, first)
    }

    /// Lets be seen what was prepared.
    pub async fn commit(&mut self, tokens: &[(usize, Vec<u8>)]) -> Result<(), RunError> {
        let mut first = Ok(());
        for (stage, token) in tokens {
            match &mut self.stations[*stage] {
                Station::Sink(sink) => {
                    if let Err(error) = sink.commit(token).await {
                        self.has_uncommitted |= !error.is_closed();
                        first = first.and(self.sink_fails(*stage, None, error));
                    }
                }
                // It has failed since it prepared this.
                Station::Cut { .. } => self.has_uncommitted = true,
                _ => {}
            }
        }
        first
    }

    /// After how long a sink of this belt will have something to prepare though nothing comes.
    pub fn due_in(&self) -> Option<Duration> {
        let due_in = |station: &Station| match station {
            Station::Sink(sink) => sink.due_in(),
            _ => None,
        };
        self.stations.iter().filter_map(due_in).min()
    }

    /// Whether no sink of this belt has a token left that it has not committed: one that was cut off may.
    pub fn has_committed_all(&self) -> bool {
        !self.has_uncommitted
    }

    /// Sends a barrier behind everything that has left this belt.
    pub async fn forward_barrier(&mut self, barrier: Barrier) {
        for outbox in &mut self.outboxes {
            if let Some(sender) = outbox
                && sender.forward_barrier(barrier).await.is_err()
            {
                *outbox = None;
            }
        }
    }

    /// Says behind everything that has left this belt that nothing follows.
    pub async fn end(&mut self) {
        for outbox in &mut self.outboxes {
            if let Some(sender) = outbox.take() {
                sender.end().await;
            }
        }
    }
}
