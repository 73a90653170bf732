//! Dead letters, counted by stage and code on their way into the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow::checkpoint::Checkpoint;
use flow::letters::{
    BRANCH_CUT, Closing, Filter, Group, Identity, Letters, LettersError, Outcome, Reached, Reading, Repeats,
    Store, StoreOptions,
};
use model::batch::Batch;
use model::ids::RecordId;
use model::{limits, plain};
use serde_json::{Value, json};

use crate::report::number;
use crate::words::Words;

/// One store, shared by the pipelines that write to it. It is closed when the last of them has ended.
#[derive(Clone)]
pub struct Written(Arc<Shared>);

struct Shared(Mutex<Store>);

impl Written {
    pub fn open(options: StoreOptions) -> Result<Self, LettersError> {
        Ok(Self(Arc::new(Shared(Mutex::new(options.open()?)))))
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store()
    }

    /// Lets the store say what is durable when nothing is written to it for a while, as long as somebody has it. On the
    /// runtime of whoever calls it.
    pub fn mark_when_idle(&self) {
        let shared = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(limits::SYNCED_MARK_AFTER / 2);
            loop {
                ticks.tick().await;
                let Some(shared) = shared.upgrade() else { return };
                let idle = tokio::task::spawn_blocking(move || shared.store().idle());
                if let Ok(Err(error)) = idle.await {
                    // Whoever writes next is told that nothing more goes in.
                    tracing::error!(%error, "it cannot be said what of the dead letters is durable");
                    return;
                }
            }
        });
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(error) = self.store().close() {
            tracing::error!(%error, "it cannot be said what of the dead letters is durable");
        }
    }
}

/// Where the dead letters of a pipeline are kept unless it is said.
pub fn default_dir(pipeline: &str) -> PathBuf {
    PathBuf::from(format!("{pipeline}.dead-letters"))
}

/// What a pipeline put into its store.
#[derive(Clone, Debug)]
pub struct Tally {
    dir: PathBuf,
    pipeline: String,
    manifest: String,
    /// Where the checkpoints are.
    state: Option<PathBuf>,
    /// Whether the directory is the one that commands take by themselves.
    is_default: bool,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    counts: BTreeMap<(String, String), u64>,
    /// The first entry on which a stage died, with the stage.
    death: Option<(u64, String)>,
}

/// The dead letters of one pipeline.
pub struct Counted {
    store: Written,
    identity: Identity,
    tally: Tally,
    /// Of an earlier run.
    repeats: Repeats,
}

/// Codes beyond the bound are counted as one.
const MORE: &str = "(others)";

impl Counted {
    pub fn new(store: Written, identity: Identity) -> Self {
        let dir = store.store().dir().to_owned();
        let is_default = dir == default_dir(&identity.pipeline);
        let (pipeline, manifest) = (identity.pipeline.clone(), identity.manifest.clone());
        let state = identity.state.as_ref().map(PathBuf::from);
        let tally = Tally { dir, pipeline, manifest, state, is_default, seen: Arc::default() };
        Self::counting_on(store, identity, tally)
    }

    /// Goes on with what was counted so far.
    pub fn counting_on(store: Written, identity: Identity, tally: Tally) -> Self {
        Self { store, identity, tally, repeats: Repeats::default() }
    }

    /// Goes on from a checkpoint: what it has closed is marked, and letters of records that may come again are not kept
    /// twice. `gives_again`: whether a source of this name does so.
    pub fn going_on_from(
        mut self,
        checkpoint: &Checkpoint,
        gives_again: impl Fn(&str) -> bool,
    ) -> Result<Self, LettersError> {
        let mut store = self.store.store();
        store.apply_closing(&self.identity.pipeline, &checkpoint.closing)?;
        let mut repeats = store.refused_from(checkpoint.letters, &self.identity.pipeline)?;
        drop(store);
        repeats.retain(
            |letter, origin| gives_again(&origin.source) && checkpoint.comes_again(letter, origin),
            |origin| checkpoint.is_vague(origin),
        );
        self.repeats = repeats;
        Ok(self)
    }

    /// Can be read while letters are written and after.
    pub fn tally(&self) -> Tally {
        self.tally.clone()
    }
}

impl Letters for Counted {
    fn put(&mut self, group: &Group) -> Result<(), LettersError> {
        let fresh;
        let group = match self.repeats.is_empty() {
            true => group,
            false => match self.repeats.unknown(group) {
                Some(unknown) => {
                    fresh = unknown;
                    &fresh
                }
                None => return Ok(()),
            },
        };
        let first = self.store.store().put(&self.identity, group)?;
        let mut seen = self.tally.seen();
        for (id, refusal) in (first..).zip(&group.refusals) {
            if seen.death.is_none() && refusal.backtrace.is_some() {
                seen.death = Some((id, group.stage.to_string()));
            }
        }
        // Neighbours mostly say the same.
        for same in group.refusals.chunk_by(|a, b| a.code == b.code) {
            let mut key = (group.stage.to_string(), same[0].code.clone());
            let is_full = seen.counts.len() >= limits::REJECTION_CODES_COUNTED_MAX;
            if is_full && !seen.counts.contains_key(&key) {
                key.1 = MORE.to_owned();
            }
            *seen.counts.entry(key).or_default() += same.len() as u64;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        self.store.store().sync()
    }

    fn next(&self) -> u64 {
        self.repeats.first().unwrap_or_else(|| self.store.store().next())
    }

    fn dropped(&mut self, stage: &Arc<str>, records: &dyn Fn() -> Vec<RecordId>) {
        if !self.repeats.is_empty() {
            self.repeats.stay(stage, records());
        }
    }

    fn closing(&mut self, reached: &Reached) -> Closing {
        self.repeats.passed(reached)
    }

    fn close(&mut self, closing: &Closing) -> Result<(), LettersError> {
        let entries: Vec<(u64, Outcome)> =
            closing.iter().map(|(entry, closed)| (*entry, closed.outcome)).collect();
        self.store.store().mark(&entries)
    }

    fn keeps_cut(&self, stage: &str) -> bool {
        self.repeats.has_cut(stage)
    }

    fn kept_as_cut(&mut self, stage: &Arc<str>, batch: &Batch) -> Vec<u32> {
        match self.repeats.is_empty() {
            true => Vec::new(),
            false => self.repeats.take_cut(stage, batch),
        }
    }
}

impl Tally {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries of the pipeline are open, of this run and of earlier ones, that a branch did not take because it
    /// was cut off.
    pub fn open_cut(&self) -> Result<u64, LettersError> {
        match Reading::open(&self.dir) {
            Ok(reading) => reading.open_entries(&self.pipeline, BRANCH_CUT),
            Err(LettersError::None { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// What somebody types to send those in again.
    pub fn replay_cut(&self) -> String {
        let mut command =
            format!("conveyor dlq replay {} --code {BRANCH_CUT}", typed(Path::new(&self.manifest)));
        let dir = (!self.is_default).then_some(self.dir.as_path());
        push_dirs(&mut command, dir, self.state.as_deref());
        command
    }

    /// By stage and code.
    pub fn counts(&self) -> BTreeMap<(String, String), u64> {
        self.seen().counts.clone()
    }

    /// Lines for people; none where nothing was refused.
    pub fn lines(&self) -> Option<Words> {
        let counts = self.counts();
        let all: u64 = counts.values().sum();
        if all == 0 {
            return None;
        }
        let codes: Vec<String> = counts
            .iter()
            .map(|((stage, code), count)| format!("{count} x {stage}: {}", plain::line(code)))
            .collect();
        let (records, they) = if all == 1 { ("record was", "it is") } else { ("records were", "they are") };
        let dir = self.dir.display();
        let codes = codes.join(", ");
        let mut words = Words::from(format!(
            "{all} {records} refused ({codes}); {they} in {dir}: conveyor dlq list {}",
            typed(&self.dir)
        ));
        if let Some((entry, stage)) = &self.seen().death {
            words.push(format!(
                "stage `{stage}` died on entry {entry}; to see it die alone: {}",
                self.replay(stage, *entry)
            ));
        }
        Some(words)
    }

    fn replay(&self, stage: &str, entry: u64) -> String {
        let dir = (!self.is_default).then_some(self.dir.as_path());
        replay_command(&self.manifest, stage, entry, dir, self.state.as_deref())
    }

    pub fn json(&self) -> Value {
        let counts = self.counts();
        let codes: Vec<Value> = counts
            .iter()
            .map(|((stage, code), records)| json!({ "stage": stage, "code": code, "records": records }))
            .collect();
        let all: u64 = counts.values().sum();
        // A run without refused records makes no directory.
        let path = (all > 0).then(|| self.dir.display().to_string());
        let replay = self.seen().death.as_ref().map(|(entry, stage)| self.replay(stage, *entry));
        json!({ "path": path, "records": all, "codes": codes, "replay": replay })
    }
}

/// What somebody types to send one entry in again. `dir`: the store, where it is not the default one; `state`: where the
/// checkpoints of its run are.
pub fn replay_command(
    manifest: &str,
    stage: &str,
    entry: u64,
    dir: Option<&Path>,
    state: Option<&Path>,
) -> String {
    let mut command =
        format!("conveyor replay {} --stage {stage} --record {entry}", typed(Path::new(manifest)));
    push_dirs(&mut command, dir, state);
    command
}

/// What somebody types to run a pipeline whose checkpoints are in `state`.
pub fn run_command(manifest: &str, state: &Path) -> String {
    let mut command = format!("conveyor run {}", typed(Path::new(manifest)));
    push_dirs(&mut command, None, Some(state));
    command
}

fn push_dirs(command: &mut String, dir: Option<&Path>, state: Option<&Path>) {
    if let Some(dir) = dir {
        command.push_str(&format!(" --dead-letters {}", typed(dir)));
    }
    if let Some(state) = state {
        let here = std::env::current_dir().unwrap_or_default();
        command.push_str(&format!(" --state {}", typed(state.strip_prefix(here).unwrap_or(state))));
    }
}

/// A directory as letters remember it, wherever the next command is typed.
pub fn full_path(dir: &Path) -> String {
    std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).to_string_lossy().into_owned()
}

/// A path as a shell takes it.
fn typed(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=@%".contains(c);
    match text.chars().all(is_plain) && !text.is_empty() {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// What is said where a filter means no entry: which stages have open ones, where it names one that has none.
pub fn nothing_is_open(reading: &Reading, filter: &Filter) -> Result<String, LettersError> {
    let open = reading.open_of_stages()?;
    if open.is_empty() {
        return Ok("nothing is open".to_owned());
    }
    let what = match &filter.stage {
        Some(stage) if !open.contains_key(stage) => format!("nothing of stage `{stage}` is open"),
        _ => "nothing that was asked for is open".to_owned(),
    };
    let open: Vec<String> =
        open.iter().map(|(stage, count)| format!("`{stage}` ({})", number(*count))).collect();
    Ok(format!("{what}; there are open entries of {}", open.join(", ")))
}

#[cfg(test)]
mod tests {
    use arrow::array::BinaryArray;
    use flow::letters::{Form, Refusal};
    use model::batch::Parts;
    use model::lineage::{Lineage, Offsets, SourceRows};

    use super::*;

    fn group(codes: &[&str], backtrace: Option<&str>) -> Group {
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "in".into(),
            split: "a".into(),
            offsets: Offsets::From(0),
        });
        let values = BinaryArray::from_iter_values(codes);
        let refusal = |(row, code): (usize, &&str)| Refusal {
            row: row as u32,
            code: (*code).to_owned(),
            message: "no".into(),
            backtrace: backtrace.map(Into::into),
            attempts: 1,
            is_cut: false,
        };
        Group {
            stage: "s".into(),
            kept_as: Form::Opaque.into(),
            rows: Batch::from_values(values, Parts::default(), lineage).expect("a batch"),
            refusals: codes.iter().enumerate().map(refusal).collect(),
        }
    }

    fn counted(dir: &Path) -> Counted {
        let manifest = "my pipe.yaml".to_owned();
        let identity = Identity { pipeline: "p".into(), manifest, ..Identity::default() };
        let store = Written::open(StoreOptions::new(dir)).expect("a store");
        Counted::new(store, identity)
    }

    #[test]
    fn letters_are_counted_by_code_and_the_codes_are_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut letters = counted(&dir.path().join("dead"));
        let tally = letters.tally();
        assert_eq!(tally.lines(), None);
        letters.put(&group(&["bad", "bad", "worse"], None)).expect("written");
        let line = tally.lines().expect("a line").to_string();
        assert!(line.starts_with("3 records were refused (2 x s: bad, 1 x s: worse)"), "{line}");
        let many: Vec<String> =
            (0..limits::REJECTION_CODES_COUNTED_MAX + 5).map(|nth| nth.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        letters.put(&group(&many, None)).expect("written");
        assert_eq!(tally.counts().len(), limits::REJECTION_CODES_COUNTED_MAX + 1);
        assert_eq!(tally.json()["records"], 3 + limits::REJECTION_CODES_COUNTED_MAX as u64 + 5);
        assert_eq!(tally.json()["replay"], Value::Null);
    }

    fn from(letters: u64) -> Checkpoint {
        Checkpoint { letters, ..Checkpoint::default() }
    }

    #[test]
    fn a_record_that_comes_again_is_not_kept_twice() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut letters = counted(&dir.path().join("dead"));
        letters.put(&group(&["early"], None)).expect("written");
        let mark = letters.next();
        letters.put(&group(&["a", "b"], None)).expect("written");
        drop(letters);
        let letters = counted(&dir.path().join("dead"));
        let mut letters = letters.going_on_from(&from(mark), |_| true).expect("read");
        letters.put(&group(&["a", "b", "c"], None)).expect("written");
        let tally = letters.tally().json();
        assert_eq!((&tally["records"], &tally["codes"][0]["code"]), (&json!(1), &json!("c")));
        letters.put(&group(&["a"], None)).expect("written");
        assert_eq!(letters.next(), 6, "the same record once more is another letter");
    }

    #[test]
    fn a_record_that_comes_again_after_two_crashes_with_a_checkpoint_between_is_not_kept_twice() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut letters = counted(&dir.path().join("dead"));
        let mark = letters.next();
        letters.put(&group(&["a", "b"], None)).expect("written");
        drop(letters);
        // The next run crashes before the record comes again, and behind a checkpoint that is before it.
        let again =
            |mark| counted(&dir.path().join("dead")).going_on_from(&from(mark), |_| true).expect("read");
        let letters = again(mark);
        let mark = letters.next();
        drop(letters);
        let mut letters = again(mark);
        letters.put(&group(&["a", "b"], None)).expect("known");
        assert_eq!(letters.next(), 3);
        drop(letters);
        // What nobody has refused by the time that its source has passed it is delivered, and closed by the checkpoint.
        let mut letters = again(mark);
        assert_eq!(letters.next(), 1);
        letters.put(&group(&["a"], None)).expect("known");
        let reached = [("in".into(), [("a".into(), 2)].into())].into();
        let closing = letters.closing(&reached);
        assert_eq!(closing.keys().copied().collect::<Vec<u64>>(), [2]);
        assert_eq!(letters.next(), 3);
        drop(letters);
        // It is marked by whoever goes on from that one, as long as it is the same record.
        let reading = || Reading::open(&dir.path().join("dead")).expect("a store");
        let other = closing.iter().map(|(entry, closed)| (*entry - 1, *closed)).collect();
        for closing in [other, closing] {
            assert_eq!(reading().outcome(2), None);
            let checkpoint = Checkpoint { letters: 3, closing, ..Checkpoint::default() };
            drop(counted(&dir.path().join("dead")).going_on_from(&checkpoint, |_| true).expect("marked"));
        }
        assert_eq!((reading().outcome(1), reading().outcome(2)), (None, Some(Outcome::Delivered)));
    }

    #[test]
    fn a_death_is_told_with_the_command_that_shows_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut letters = counted(&dir.path().join("dead"));
        letters.put(&group(&["bad"], None)).expect("written");
        letters.put(&group(&["trap", "trap"], Some("0: f"))).expect("written");
        let lines = letters.tally().lines().expect("lines").to_string();
        let command = "conveyor replay 'my pipe.yaml' --stage s --record 2 --dead-letters ";
        assert!(
            lines.contains(&format!("stage `s` died on entry 2; to see it die alone: {command}")),
            "{lines}"
        );
    }
}
