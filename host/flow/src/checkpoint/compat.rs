//! Whether a manifest may go on from a checkpoint: what the checkpoint has of each stage is held against what the stage is
//! now.
//!
//! It is decided from values. What is said to people, and what becomes of the files of sinks, is the caller's.

use std::collections::{BTreeMap, BTreeSet};

use model::stage::Role;

use super::mark::{Change, MarkPart, StageMark};
use super::store::LastCommitted;

/// A stage as it is now, beside what the checkpoint has of one of its name.
#[derive(Clone, Debug)]
pub struct StageNow {
    pub name: String,
    pub role: Role,
    /// What stands behind it, as the manifest names it.
    pub reference: String,
    pub is_built_in: bool,
    /// Where it keeps state, the name that its component gives itself.
    pub keeps_state_as: Option<String>,
    /// None of a transform without state.
    pub mark: Option<StageMark>,
    /// What it rests on that it did not when the checkpoint was taken.
    pub changes: Vec<Change>,
    /// Whether its config says what becomes of a file that is there.
    pub says_if_exists: bool,
}

/// What is to be known of connectors.
#[derive(Clone, Copy, Debug)]
pub struct Connectors<'a> {
    /// The names of built-in sinks.
    pub sinks: &'a [&'a str],
    /// Whether a sink `file` with this token has written a file.
    pub has_file: fn(&[u8]) -> bool,
}

/// A checkpoint, and the stages that are to go on from it.
#[derive(Clone, Copy, Debug)]
pub struct Compat<'a> {
    pub last_committed: &'a LastCommitted,
    pub stages: &'a [StageNow],
    pub connectors: Connectors<'a>,
}

/// Why a manifest cannot go on from a checkpoint, by the name of a stage in the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    pub stage: String,
    pub kind: MisfitKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MisfitKind {
    /// There is no source of this name.
    SourceGone,
    /// It is another connector.
    SourceIsOther { was: String, is: String },
    /// It reads in another way.
    SourceChanged { changes: Vec<Change> },
    /// It is another connector, and what the one before has prepared is not committed.
    SinkIsOtherUncommitted { was: String, is: String },
    /// It writes in another way.
    SinkChanged { changes: Vec<Change>, way_out: WayOut },
    /// There is no sink of this name, and what it has prepared is not committed.
    SinkGoneUncommitted,
    /// There is no sink of this name, and this new one may be what it is called now.
    SinkGone { heir: String },
    /// There is state of a stage that is not there.
    StateOfGone { keys: u64 },
    /// There is state of a stage that keeps none now.
    StateNotKept { keys: u64 },
    /// There is state of another component.
    StateOfOther { keys: u64, was: String, is: String },
    /// The state rests on another config.
    StateChanged { keys: u64, changes: Vec<Change> },
}

/// What may be done about a sink that writes in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// It may begin a new file.
    NewFile,
    /// What it has committed may be forgotten.
    Forget,
    /// Nothing, before it has committed what it has prepared.
    Commit,
}

/// Why what a checkpoint has of a stage cannot be thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unforgettable {
    /// All that is kept of it is what it has written.
    Written,
    /// It would lose what it has prepared for this checkpoint, which is not committed.
    Uncommitted { checkpoint: u64 },
    /// This sink would replace what it has committed.
    ReplacedBy { sink: String },
}

impl<'a> Compat<'a> {
    /// What does not fit. `renewed`: sinks that begin a new file.
    pub fn misfits(&self, renewed: &[String]) -> Vec<Misfit> {
        let sources = self.last_committed.checkpoint.places.keys();
        let sources = sources.filter_map(|name| Some(misfit(name, self.source_misfit(name)?)));
        sources.chain(self.misfits_behind(renewed, |_| true)).collect()
    }

    /// Those of sinks and of stages with state, where `is_meant` says so by their names.
    pub fn misfits_behind(&self, renewed: &[String], is_meant: impl Fn(&str) -> bool) -> Vec<Misfit> {
        let sinks = self.last_committed.checkpoint.tokens.iter().filter(|(name, _)| is_meant(name));
        let sinks = sinks.filter_map(|(name, token)| {
            let is_renewed = renewed.iter().any(|renewed| **renewed == **name);
            Some(misfit(name, self.sink_misfit(name, token, is_renewed)?))
        });
        let states = self.last_committed.states.iter();
        let states = states.filter(|(name, size)| size.keys > 0 && is_meant(name));
        let states =
            states.filter_map(|(name, size)| Some(misfit(name, self.state_misfit(name, size.keys)?)));
        sinks.chain(states).collect()
    }

    /// Sinks that are another connector than the one that committed what the checkpoint has, with what that was. What
    /// one has committed says nothing to another.
    pub fn other_connectors(&self, is_meant: impl Fn(&str) -> bool) -> Vec<(&'a StageNow, String)> {
        let names = self.last_committed.checkpoint.tokens.keys().filter(|name| is_meant(name));
        let other = |name: &std::sync::Arc<str>| {
            let stage = self.find(name, Role::Sink)?;
            let was = self.mark_of(name)?;
            self.is_other(stage, was).then(|| (stage, was.uses.clone()))
        };
        names.filter_map(other).collect()
    }

    /// The sinks that begin a new file: those that were asked for, and those that write in another way and have none yet.
    pub fn begins_files(&self, asked: &[String]) -> Vec<String> {
        let begins = |name: &&String| asked.contains(name) || self.begins_anew(name);
        self.last_committed.stages.keys().filter(begins).cloned().collect()
    }

    /// The marks that go on with the checkpoint: those of the stages that run, and of sinks that do not, as long as the
    /// checkpoint has what they committed.
    pub fn marks(&self) -> BTreeMap<String, StageMark> {
        let has_token = |name: &str| self.last_committed.checkpoint.tokens.contains_key(name);
        let others = self.last_committed.stages.iter().filter(|(name, _)| has_token(name));
        let others = others.map(|(name, mark)| (name.clone(), mark.clone()));
        others.chain(marks(self.stages)).collect()
    }

    fn mark_of(&self, name: &str) -> Option<&'a StageMark> {
        self.last_committed.stages.get(name)
    }

    fn find(&self, name: &str, role: Role) -> Option<&'a StageNow> {
        self.stages.iter().find(|stage| stage.name == name && stage.role == role)
    }

    /// A component has the name of its file, and may be another version of itself.
    fn is_other(&self, stage: &StageNow, was: &StageMark) -> bool {
        stage.reference != was.uses && (stage.is_built_in || self.is_sink(&was.uses))
    }

    fn is_sink(&self, connector: &str) -> bool {
        self.connectors.sinks.contains(&connector)
    }

    /// A source has to read what it read before. A component may be another version of itself: what is in its cursors is
    /// its own.
    fn source_misfit(&self, name: &str) -> Option<MisfitKind> {
        let Some(stage) = self.find(name, Role::Source) else { return Some(MisfitKind::SourceGone) };
        let was = self.mark_of(name)?;
        if stage.is_built_in && stage.reference != was.uses {
            let (was, is) = (was.uses.clone(), stage.reference.clone());
            return Some(MisfitKind::SourceIsOther { was, is });
        }
        let changes = stage.changes.clone();
        (!changes.is_empty()).then_some(MisfitKind::SourceChanged { changes })
    }

    /// A sink may change once all that it prepared is committed, but for what its output so far rests on.
    fn sink_misfit(&self, name: &str, token: &[u8], is_renewed: bool) -> Option<MisfitKind> {
        let Some(stage) = self.find(name, Role::Sink) else { return self.gone_sink_misfit(name, token) };
        let was = self.mark_of(name)?;
        let is_committed = self.last_committed.sinks_committed;
        if self.is_other(stage, was) {
            let (was, is) = (was.uses.clone(), stage.reference.clone());
            let is_lost = !is_committed && !token.is_empty();
            return is_lost.then_some(MisfitKind::SinkIsOtherUncommitted { was, is });
        }
        if is_renewed || stage.changes.is_empty() || self.begins_anew(name) {
            return None;
        }
        let way_out = match (stage.is_built_in, is_committed) {
            (true, _) => WayOut::NewFile,
            (false, true) => WayOut::Forget,
            (false, false) => WayOut::Commit,
        };
        Some(MisfitKind::SinkChanged { changes: stage.changes.clone(), way_out })
    }

    /// A sink that is gone, and has something to commit yet, or may go on under another name: that one would begin where
    /// the output of this one is.
    fn gone_sink_misfit(&self, name: &str, token: &[u8]) -> Option<MisfitKind> {
        if !self.last_committed.sinks_committed {
            return Some(MisfitKind::SinkGoneUncommitted);
        }
        if token.is_empty() {
            return None;
        }
        Some(MisfitKind::SinkGone { heir: self.heir(name)?.to_owned() })
    }

    /// The sink that one that is gone most likely has become: it is new, and of the same kind.
    fn heir(&self, gone: &str) -> Option<&'a str> {
        let was = self.mark_of(gone)?;
        let is_new = |stage: &&StageNow| {
            stage.role == Role::Sink
                && !self.last_committed.checkpoint.tokens.contains_key(stage.name.as_str())
        };
        let is_alike = |stage: &&StageNow| match stage.is_built_in {
            true => stage.reference == was.uses,
            false => !self.is_sink(&was.uses),
        };
        let heirs: Vec<&StageNow> = self.stages.iter().filter(is_new).filter(is_alike).collect();
        let is_same = |stage: &&&StageNow| stage.mark.as_ref().is_some_and(|mark| mark.said == was.said);
        heirs.iter().find(is_same).or(heirs.first()).map(|stage| stage.name.as_str())
    }

    /// The new sink `file` that would replace what one that is gone has committed, and was not told to.
    fn replacing(&self, gone: &str) -> Option<&'a str> {
        let was = self.mark_of(gone).filter(|was| was.uses == "file")?;
        let path = |mark: &StageMark| {
            let of_old = || mark.with.as_ref()?.get("path")?.as_str().map(MarkPart::shown);
            match mark.said.as_ref().and_then(|said| said.get("path").cloned()).or_else(of_old)? {
                MarkPart::Value(path) => Some(MarkPart::Value(path.trim_start_matches("./").to_owned())),
                hash => Some(hash),
            }
        };
        let replaces = |stage: &&StageNow| {
            let is_same = |mark: &StageMark| mark.uses == was.uses && path(mark) == path(was);
            stage.role == Role::Sink && stage.mark.as_ref().is_some_and(is_same) && !stage.says_if_exists
        };
        self.stages.iter().find(replaces).map(|stage| stage.name.as_str())
    }

    /// Whether a sink `file` writes in another way, and has no file yet.
    fn begins_anew(&self, name: &str) -> bool {
        let Some(stage) = self.find(name, Role::Sink) else { return false };
        let token = self.last_committed.checkpoint.tokens.get(name);
        stage.is_built_in
            && self.mark_of(name).is_some_and(|was| was.uses == "file")
            && token.is_some_and(|token| !(self.connectors.has_file)(token))
            && !stage.changes.is_empty()
    }

    /// State that nobody is left for, or that is somebody else's, or of another config. Another version of a component
    /// has what the one before had; which it is, its own name says, and not that of its file.
    fn state_misfit(&self, name: &str, keys: u64) -> Option<MisfitKind> {
        let Some(stage) = self.stages.iter().find(|stage| stage.name == name) else {
            return Some(MisfitKind::StateOfGone { keys });
        };
        let Some(is) = &stage.keeps_state_as else { return Some(MisfitKind::StateNotKept { keys }) };
        let was = self.mark_of(name)?;
        if was.uses != *is {
            return Some(MisfitKind::StateOfOther { keys, was: was.uses.clone(), is: is.clone() });
        }
        let changes = stage.changes.clone();
        (!changes.is_empty()).then_some(MisfitKind::StateChanged { keys, changes })
    }
}

fn misfit(stage: &str, kind: MisfitKind) -> Misfit {
    Misfit { stage: stage.to_owned(), kind }
}

/// The marks of stages, by name.
pub fn marks(stages: &[StageNow]) -> BTreeMap<String, StageMark> {
    stages.iter().filter_map(|stage| Some((stage.name.clone(), stage.mark.clone()?))).collect()
}

impl LastCommitted {
    /// Names of stages of which it has something.
    pub fn remembers(&self) -> BTreeSet<String> {
        let states = self.states.iter().filter(|(_, size)| size.keys > 0).map(|(name, _)| name.clone());
        let names = self.checkpoint.places.keys().chain(self.checkpoint.tokens.keys());
        states.chain(names.map(|name| name.to_string())).collect()
    }

    /// A stage has another name now.
    pub fn rename(&mut self, old: &str, new: &str) {
        let checkpoint = &mut self.checkpoint;
        if let Some(places) = checkpoint.places.remove(old) {
            checkpoint.places.insert(new.into(), places);
        }
        if let Some(reached) = checkpoint.reached.remove(old) {
            checkpoint.reached.insert(new.into(), reached);
        }
        if let Some(token) = checkpoint.tokens.remove(old) {
            checkpoint.tokens.insert(new.into(), token);
        }
        if let Some(size) = self.states.remove(old) {
            self.states.insert(new.to_owned(), size);
        }
        if let Some(mark) = self.stages.remove(old) {
            self.stages.insert(new.to_owned(), mark);
        }
    }

    /// Throws away what it has of a stage.
    pub fn forget(
        &mut self,
        name: &str,
        stages: &[StageNow],
        connectors: Connectors<'_>,
    ) -> Result<(), Unforgettable> {
        self.states.remove(name);
        let has_token = self.checkpoint.tokens.contains_key(name);
        let Some(stage) = stages.iter().find(|stage| stage.name == name) else {
            // What is not committed yet is told with all else that is in the way.
            if !self.sinks_committed || !has_token {
                return Ok(());
            }
            // What a sink that is gone has committed stays where it is, and no other takes it for its own by itself.
            let compat = Compat { last_committed: self, stages, connectors };
            if let Some(sink) = compat.replacing(name).map(str::to_owned) {
                return Err(Unforgettable::ReplacedBy { sink });
            }
            self.checkpoint.tokens.remove(name);
            return Ok(());
        };
        match stage.role {
            Role::Source => {
                self.checkpoint.places.remove(name);
                self.checkpoint.reached.remove(name);
            }
            Role::Transform => {}
            Role::Sink if !has_token => {}
            Role::Sink if stage.is_built_in => return Err(Unforgettable::Written),
            Role::Sink if !self.sinks_committed => {
                return Err(Unforgettable::Uncommitted { checkpoint: self.checkpoint.number });
            }
            Role::Sink => drop(self.checkpoint.tokens.remove(name)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Checkpoint, MarkParts, Summary};
    use crate::state::StateSize;

    const CONNECTORS: Connectors<'static> =
        Connectors { sinks: &["discard", "file"], has_file: |token| token == b"file" };

    fn mark(uses: &str, path: &str) -> StageMark {
        let said = MarkParts::from([("path".to_owned(), MarkPart::shown(path))]);
        StageMark { uses: uses.to_owned(), said: Some(said), ..StageMark::default() }
    }

    /// A checkpoint of a source `in`, of the sinks `out` (a file) and `sent` (a component), and of a stage with state.
    fn last_committed() -> LastCommitted {
        let checkpoint = Checkpoint {
            number: 7,
            places: [("in".into(), [("0".into(), vec![1])].into())].into(),
            tokens: [("out".into(), b"file".to_vec()), ("sent".into(), b"token".to_vec())].into(),
            ..Checkpoint::default()
        };
        let stages = [
            ("in", mark("http", "in")),
            ("out", mark("file", "./out.csv")),
            ("sent", mark("sent.wasm", "there")),
            ("count", mark("counter", "count")),
        ];
        let stages = stages.map(|(name, mark)| (name.to_owned(), mark)).into();
        let states = [("count".to_owned(), StateSize { keys: 3, bytes: 30 })].into();
        let revision = String::new();
        let summary = Summary { number: 7, taken_at_us: 0, took_us: 0, bytes: 0, revision };
        LastCommitted { checkpoint, summary, sinks_committed: true, stages, states }
    }

    fn stage(name: &str, role: Role, reference: &str, mark: StageMark) -> StageNow {
        let is_built_in = !reference.ends_with(".wasm");
        let keeps_state_as = (role == Role::Transform).then(|| mark.uses.clone());
        StageNow {
            name: name.to_owned(),
            role,
            reference: reference.to_owned(),
            is_built_in,
            keeps_state_as,
            mark: Some(mark),
            changes: Vec::new(),
            says_if_exists: false,
        }
    }

    /// The stages that the checkpoint was taken with.
    fn same() -> Vec<StageNow> {
        vec![
            stage("in", Role::Source, "http", mark("http", "in")),
            stage("count", Role::Transform, "count.wasm", mark("counter", "count")),
            stage("out", Role::Sink, "file", mark("file", "./out.csv")),
            stage("sent", Role::Sink, "sent.wasm", mark("sent.wasm", "there")),
        ]
    }

    fn without(name: &str) -> Vec<StageNow> {
        same().into_iter().filter(|stage| stage.name != name).collect()
    }

    fn with(name: &str, change: impl FnOnce(&mut StageNow)) -> Vec<StageNow> {
        let mut stages = same();
        change(stages.iter_mut().find(|stage| stage.name == name).expect("a stage"));
        stages
    }

    fn changes() -> Vec<Change> {
        mark("x", "b").changed_from(&mark("x", "a"), &MarkParts::new())
    }

    fn misfits(last_committed: &LastCommitted, stages: &[StageNow]) -> Vec<Misfit> {
        Compat { last_committed, stages, connectors: CONNECTORS }.misfits(&[])
    }

    #[test]
    fn what_is_as_it_was_fits_and_what_is_not_is_named() {
        let (last, keys) = (last_committed(), 3);
        let is = |name: &str, is: &str| with(name, |stage| stage.reference = is.to_owned());
        let changed = |name: &str| with(name, |stage| stage.changes = changes());
        let sink_changed = |way_out| MisfitKind::SinkChanged { changes: changes(), way_out };
        let other = |was: &str, is: &str| (was.to_owned(), is.to_owned());
        let (was, now) = other("http", "stdin");
        let cases = [
            (same(), None),
            (without("in"), Some(("in", MisfitKind::SourceGone))),
            (is("in", "stdin"), Some(("in", MisfitKind::SourceIsOther { was, is: now }))),
            (changed("in"), Some(("in", MisfitKind::SourceChanged { changes: changes() }))),
            (changed("out"), Some(("out", sink_changed(WayOut::NewFile)))),
            (changed("sent"), Some(("sent", sink_changed(WayOut::Forget)))),
            (is("out", "discard"), None),
            (is("sent", "other.wasm"), None),
            (without("out"), None),
            (without("count"), Some(("count", MisfitKind::StateOfGone { keys }))),
            (
                with("count", |stage| stage.keeps_state_as = None),
                Some(("count", MisfitKind::StateNotKept { keys })),
            ),
            (
                with("count", |stage| stage.keeps_state_as = Some("summer".to_owned())),
                Some((
                    "count",
                    MisfitKind::StateOfOther { keys, was: "counter".to_owned(), is: "summer".to_owned() },
                )),
            ),
            (changed("count"), Some(("count", MisfitKind::StateChanged { keys, changes: changes() }))),
        ];
        for (stages, expected) in cases {
            let expected: Vec<Misfit> = expected.into_iter().map(|(name, kind)| misfit(name, kind)).collect();
            assert_eq!(misfits(&last, &stages), expected, "{stages:#?}");
        }
    }

    #[test]
    fn what_is_not_committed_yet_needs_the_sink_that_prepared_it() {
        let last = LastCommitted { sinks_committed: false, ..last_committed() };
        let kinds = |stages: &[StageNow]| {
            misfits(&last, stages).into_iter().map(|misfit| misfit.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&same()), []);
        assert_eq!(kinds(&without("sent")), [MisfitKind::SinkGoneUncommitted]);
        let (was, is) = ("file".to_owned(), "discard".to_owned());
        let other = with("out", |stage| stage.reference = is.clone());
        assert_eq!(kinds(&other), [MisfitKind::SinkIsOtherUncommitted { was, is }]);
        let changed = with("sent", |stage| stage.changes = changes());
        assert_eq!(
            kinds(&changed),
            [MisfitKind::SinkChanged { changes: changes(), way_out: WayOut::Commit }]
        );
        let mut forgetful = last.clone();
        let uncommitted = Unforgettable::Uncommitted { checkpoint: 7 };
        assert_eq!(forgetful.forget("sent", &same(), CONNECTORS), Err(uncommitted));
        assert!(forgetful.checkpoint.tokens.contains_key("sent"));
    }

    #[test]
    fn a_sink_that_is_gone_may_have_become_a_new_one_which_does_not_take_its_file_unasked() {
        let last = last_committed();
        let mut stages = without("out");
        stages.push(stage("copy", Role::Sink, "file", mark("file", "copy.csv")));
        stages.push(stage("new", Role::Sink, "file", mark("file", "./out.csv")));
        let gone = misfit("out", MisfitKind::SinkGone { heir: "new".to_owned() });
        assert_eq!(misfits(&last, &stages), [gone], "the one that says the same");
        let mut forgetful = last.clone();
        let replaced = Unforgettable::ReplacedBy { sink: "new".to_owned() };
        assert_eq!(forgetful.forget("out", &stages, CONNECTORS), Err(replaced));
        stages.last_mut().expect("the new one").says_if_exists = true;
        assert_eq!(forgetful.forget("out", &stages, CONNECTORS), Ok(()));
        assert!(!forgetful.checkpoint.tokens.contains_key("out"));
        let mut renamed = last.clone();
        renamed.rename("out", "new");
        assert_eq!(misfits(&renamed, &stages), []);
    }

    #[test]
    fn a_file_sink_begins_anew_where_it_has_no_file_or_was_asked_to() {
        let mut last = last_committed();
        let stages = with("out", |stage| stage.changes = changes());
        let begins = |last: &LastCommitted, asked: &[String]| {
            Compat { last_committed: last, stages: &stages, connectors: CONNECTORS }.begins_files(asked)
        };
        assert_eq!(begins(&last, &[]), [""; 0]);
        assert_eq!(begins(&last, &["out".to_owned()]), ["out"]);
        last.checkpoint.tokens.insert("out".into(), b"no file yet".to_vec());
        assert_eq!(begins(&last, &[]), ["out"]);
        assert_eq!(misfits(&last, &stages), []);
    }

    #[test]
    fn what_is_forgotten_is_not_remembered_and_the_mark_of_a_sink_stays_as_long_as_its_token() {
        let mut last = last_committed();
        assert_eq!(last.remembers().into_iter().collect::<Vec<_>>(), ["count", "in", "out", "sent"]);
        let marked = |last: &LastCommitted, stages: &[StageNow]| {
            let compat = Compat { last_committed: last, stages, connectors: CONNECTORS };
            compat.marks().into_keys().collect::<Vec<_>>()
        };
        assert_eq!(marked(&last, &without("sent")), ["count", "in", "out", "sent"]);
        assert_eq!(last.forget("out", &same(), CONNECTORS), Err(Unforgettable::Written));
        for name in ["in", "count", "sent"] {
            assert_eq!(last.forget(name, &same(), CONNECTORS), Ok(()), "{name}");
        }
        assert_eq!(last.remembers().into_iter().collect::<Vec<_>>(), ["out"]);
        assert_eq!(marked(&last, &without("sent")), ["count", "in", "out"]);
    }
}
