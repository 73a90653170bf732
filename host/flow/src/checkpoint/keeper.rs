//! A loop's part in the checkpoints of its pipeline.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};

use super::Share;
use super::watch::{News, Report, What};
use crate::belt::Belt;
use crate::connector::{Barrier, Cursor, Places, Source};
use crate::error::RunError;

/// Stands beside the belt of one loop: knows where its source is, lets barriers pass, and has sinks commit.
pub(crate) struct Keeper {
    of: usize,
    news: watch::Receiver<News>,
    reports: mpsc::Sender<Report>,
    wanted: Arc<Notify>,
    /// The source at the head of the loop, where there is one, and where it is.
    source: Option<Arc<str>>,
    places: Places,
    /// The last checkpoint that this loop has answered.
    answered: u64,
    prepared: Vec<(usize, Vec<u8>)>,
    /// Where the source was then.
    prepared_places: Places,
    committed: u64,
    /// What the source has not been told yet.
    to_release: Option<Places>,
    /// A checkpoint has begun that this loop could not answer yet.
    is_behind: bool,
}

impl Keeper {
    pub fn new(
        of: usize,
        news: watch::Receiver<News>,
        reports: mpsc::Sender<Report>,
        wanted: Arc<Notify>,
        source: Option<(Arc<str>, Places)>,
    ) -> Self {
        let (source, places) = match source {
            Some((source, places)) => (Some(source), places),
            None => (None, Places::new()),
        };
        Self {
            of,
            news,
            reports,
            wanted,
            source,
            places,
            answered: 0,
            prepared: Vec::new(),
            prepared_places: Places::new(),
            committed: 0,
            to_release: None,
            is_behind: false,
        }
    }

    /// The source has read up to here.
    pub fn note(&mut self, cursor: Cursor) {
        match self.places.get_mut(&cursor.split) {
            Some(place) => *place = cursor.place,
            None => {
                self.places.insert(cursor.split, cursor.place);
            }
        }
    }

    /// Whether there is anything to heed. Cheap: it is asked for every batch.
    pub fn has_news(&self) -> bool {
        // An error means that nobody coordinates any more, which is news.
        self.is_behind || self.news.has_changed().unwrap_or(true)
    }

    /// Waits until there is something new to heed.
    pub async fn changed(&mut self) {
        // Where nobody coordinates any more, `is_over` says it.
        let _ = self.news.changed().await;
    }

    /// Whether nothing will be committed any more: another loop or the store has failed.
    pub fn is_over(&self) -> bool {
        self.news.borrow().is_over || self.news.has_changed().is_err()
    }

    /// Commits what stands by now, and answers where a checkpoint has begun. `answers`: whether it is this loop that
    /// sees a barrier first. A loop with a stage that is held answers later: what waits there was before the barrier.
    pub async fn heed(&mut self, belt: &mut Belt, answers: bool) -> Result<(), RunError> {
        let news = *self.news.borrow_and_update();
        if news.is_over {
            return Ok(());
        }
        self.commit(belt, news).await?;
        match news.begun {
            Some(barrier) if answers && barrier.number > self.answered => {
                self.is_behind = belt.wakes_at().is_some();
                if self.is_behind { Ok(()) } else { self.pass(belt, barrier).await }
            }
            _ => Ok(()),
        }
    }

    async fn commit(&mut self, belt: &mut Belt, news: News) -> Result<(), RunError> {
        let Some(stands) = news.stands else { return Ok(()) };
        if stands.number <= self.committed || stands.number != self.answered {
            return Ok(());
        }
        self.committed = stands.number;
        belt.states_stored();
        belt.commit(&std::mem::take(&mut self.prepared)).await?;
        self.to_release = Some(std::mem::take(&mut self.prepared_places));
        Ok(())
    }

    /// Everything before the barrier has been worked off on this belt: sends it on, prepares, and answers.
    pub async fn pass(&mut self, belt: &mut Belt, barrier: Barrier) -> Result<(), RunError> {
        // Whoever passes this barrier has seen the one before stand.
        let news = *self.news.borrow();
        self.commit(belt, news).await?;
        // What comes behind the barrier is not to be in it.
        let states = belt.freeze_states();
        belt.pass(barrier).await;
        let (tokens, prepared) = belt.prepare(barrier).await;
        prepared?;
        let stages = &belt.context.plan.stages;
        let mut share = Share { states, ..Share::default() };
        share.tokens.extend(tokens.iter().map(|(stage, token)| (stages[*stage].name.clone(), token.clone())));
        if let Some(source) = &self.source {
            share.places.insert(source.clone(), self.places.clone());
        }
        (self.prepared, self.prepared_places) = (tokens, self.places.clone());
        self.answered = barrier.number;
        self.report(What::Answered { number: barrier.number, share }).await;
        Ok(())
    }

    /// Asks for a checkpoint where a stage has written much since the last one, and waits for the one that is under way
    /// where it has written too much. This loop has done its part in it, so that it waits for nothing that comes here.
    pub async fn relieve(&mut self, belt: &mut Belt) -> Result<(), RunError> {
        if !belt.is_state_heavy() {
            return Ok(());
        }
        self.wanted.notify_one();
        while belt.is_state_full() && !self.is_over() {
            self.changed().await;
            self.heed(belt, false).await?;
        }
        Ok(())
    }

    /// Tells the source what it may release.
    pub async fn release(&mut self, source: &mut dyn Source) -> Result<(), crate::connector::ConnectError> {
        match self.to_release.take() {
            Some(places) => source.committed(&places).await,
            None => Ok(()),
        }
    }

    /// All that came has been worked off: takes part in what checkpoints follow, up to the last one, which stands when
    /// this comes back.
    pub async fn settle(&mut self, belt: &mut Belt) -> Result<(), RunError> {
        belt.end().await;
        self.report(What::Ended).await;
        loop {
            self.heed(belt, true).await?;
            let news = *self.news.borrow();
            let stands_last =
                news.stands.is_some_and(|stands| stands.last && stands.number == self.committed);
            if stands_last || self.is_over() {
                return Ok(());
            }
            self.changed().await;
        }
    }

    async fn report(&self, what: What) {
        // Nobody listens when the run has failed, and then nothing depends on it.
        let _ = self.reports.send(Report { of: self.of, what }).await;
    }
}
