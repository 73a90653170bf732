//! Opens one pipeline for its supervisor (`flow::supervise`): for its first run, and for each that begins at its last
//! committed checkpoint.

use flow::letters::{Identity, Letters as _, SharedStore, StoreOptions, Writer};
use flow::supervise::{Open, RestartPolicy, Supervisor};
use flow::{Recovery, RestartCause, Run};
use model::manifest::Retry;
use tokio_util::sync::CancellationToken;

use super::State;
use super::resuming;
use crate::exit::Failure;
use crate::report::{Tally, full_path};
use crate::wiring::{ResolvedPipeline, epoch_now};

/// The store of a pipeline's dead letters. Where a disk has no room for that, and there are checkpoints (`may_wait`), it waits
/// until there is some, or `stop` is cancelled.
pub(crate) async fn open_store(
    options: StoreOptions,
    pipeline: &str,
    may_wait: bool,
    stop: &CancellationToken,
) -> Result<SharedStore, Failure> {
    let mut start = Start::new(pipeline, may_wait, stop);
    let store = loop {
        match SharedStore::open(options.clone()) {
            Ok(store) => break store,
            Err(error) => start.wait_for_room(error.into()).await?,
        }
    };
    store.mark_when_idle();
    Ok(store)
}

/// A pipeline with all that it takes to open it.
pub(crate) struct Opener {
    resolved: ResolvedPipeline,
    store: SharedStore,
    tally: Tally,
    state: Option<State>,
}

impl Opener {
    /// Opens a pipeline for its first run. Where a disk has no room for that, and there are checkpoints, it waits until
    /// there is some, or `stop` is cancelled. Without checkpoints, or with a source that cannot be read again, it runs once.
    pub(crate) async fn supervise(
        resolved: ResolvedPipeline,
        store: SharedStore,
        state: Option<&State>,
        stop: &CancellationToken,
    ) -> Result<(Supervisor<Self>, Tally), Failure> {
        let tally = Tally::new(store.store().dir(), &identity(&resolved, state));
        let restarts = resolved.replays();
        let recovery = Recovery { restarts, restarts_to_cut: restarts, ..Recovery::default() };
        let mut start = Start::new(resolved.name(), state.is_some(), stop);
        let mut opener = Self { resolved, store, tally: tally.clone(), state: state.cloned() };
        let run = loop {
            match opener.run(recovery.clone(), true).await {
                Ok(run) => break run,
                // Something may have been read that cannot be read again.
                Err(failure @ Failure::Manifest(_)) if !restarts => return Err(failure),
                Err(failure) => start.wait_for_room(failure).await?,
            }
        };
        // What was asked for once was done.
        opener.state = opener.state.map(State::again);
        let opener = Some(opener).filter(|opener| restarts && opener.state.is_some());
        Ok((Supervisor::new(run, opener, recovery), tally))
    }

    /// Opens everything that one run takes.
    async fn run(&self, recovery: Recovery, is_first: bool) -> Result<Run, Failure> {
        let Self { resolved, store, tally, state } = self;
        let state = state.as_ref();
        let mut letters = Writer::new(store.clone(), identity(resolved, state), tally.counts());
        let next = letters.next();
        let (checkpoints, epoch) = match state {
            Some(state) => {
                let (checkpoints, epoch) = resuming::open(state, resolved, next, recovery, is_first)?;
                (Some(checkpoints), epoch)
            }
            None => (None, epoch_now()),
        };
        if let Some(checkpoints) = &checkpoints {
            letters =
                letters.going_on_from(&checkpoints.last_committed, |source| resolved.gives_again(source))?;
        }
        let job = resolved.open(Box::new(letters), epoch, checkpoints).await?;
        job.build().map_err(Failure::ran)
    }
}

impl Open for Opener {
    async fn open(&mut self, recovery: Recovery) -> Result<Run, String> {
        self.run(recovery, false).await.map_err(|failure| failure.line())
    }
}

/// What dead letters say of what ran, and where it goes on.
fn identity(resolved: &ResolvedPipeline, state: Option<&State>) -> Identity {
    Identity { state: state.map(|state| full_path(&state.dir)), ..resolved.identity() }
}

/// The start of a pipeline, which waits for room on a disk as long as one that runs does.
struct Start<'a> {
    pipeline: String,
    may_wait: bool,
    stop: &'a CancellationToken,
    policy: RestartPolicy,
}

impl<'a> Start<'a> {
    fn new(pipeline: &str, may_wait: bool, stop: &'a CancellationToken) -> Self {
        Self { pipeline: pipeline.to_owned(), may_wait, stop, policy: RestartPolicy::default() }
    }

    /// Waits before another try. Gives the failure back where that would not help, or nobody wants one any more.
    async fn wait_for_room(&mut self, failure: Failure) -> Result<(), Failure> {
        let may_help = self.may_wait && failure.is_full();
        let wait = self.policy.wait(RestartCause::Full, &Retry::default(), fastrand::f64());
        let Some(wait) = wait.filter(|_| may_help) else { return Err(failure) };
        tracing::warn!(
            pipeline = &*self.pipeline,
            ?wait,
            "{}; the pipeline waits for room, and then begins",
            failure.line()
        );
        tokio::select! {
            () = self.stop.cancelled() => Err(failure),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}
