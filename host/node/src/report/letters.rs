//! Dead letters, as people and programs are told of them, and the commands that have to do with them.

use std::path::{Path, PathBuf};

use flow::letters::{BRANCH_CUT, Filter, Identity, LetterCounts, LettersError, Reading};
use model::plain;
use serde_json::{Value, json};

use crate::report::number;
use crate::words::Words;

/// Where the dead letters of a pipeline are kept unless it is said.
pub fn default_dir(pipeline: &str) -> PathBuf {
    PathBuf::from(format!("{pipeline}.dead-letters"))
}

/// What a pipeline put into its store, as people and programs are told it.
#[derive(Clone, Debug)]
pub struct Tally {
    dir: PathBuf,
    pipeline: String,
    manifest: String,
    /// Where the checkpoints are.
    state: Option<PathBuf>,
    /// Whether the directory is the one that commands take by themselves.
    is_default: bool,
    counts: LetterCounts,
}

impl Tally {
    /// Of a pipeline that has put nothing into the store in `dir` yet.
    pub fn new(dir: &Path, identity: &Identity) -> Self {
        Self {
            dir: dir.to_owned(),
            pipeline: identity.pipeline.clone(),
            manifest: identity.manifest.clone(),
            state: identity.state.as_ref().map(PathBuf::from),
            is_default: dir == default_dir(&identity.pipeline),
            counts: LetterCounts::default(),
        }
    }

    /// Where its writers count.
    pub fn counts(&self) -> LetterCounts {
        self.counts.clone()
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

    /// Lines for people; none where nothing was refused.
    pub fn lines(&self) -> Option<Words> {
        let counts = self.counts.by_code();
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
        if let Some((entry, stage)) = &self.counts.death() {
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
        let counts = self.counts.by_code();
        let codes: Vec<Value> = counts
            .iter()
            .map(|((stage, code), records)| json!({ "stage": stage, "code": code, "records": records }))
            .collect();
        let all: u64 = counts.values().sum();
        // A run without refused records makes no directory.
        let path = (all > 0).then(|| self.dir.display().to_string());
        let replay = self.counts.death().as_ref().map(|(entry, stage)| self.replay(stage, *entry));
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
    use flow::letters::{Form, Group, Letters as _, Refusal, SharedStore, StoreOptions, Writer};
    use model::batch::{Batch, Parts};
    use model::limits;
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

    fn writer(dir: &Path) -> (Writer, Tally) {
        let manifest = "my pipe.yaml".to_owned();
        let identity = Identity { pipeline: "p".into(), manifest, ..Identity::default() };
        let store = SharedStore::open(StoreOptions::new(dir)).expect("a store");
        let tally = Tally::new(dir, &identity);
        (Writer::new(store, identity, tally.counts()), tally)
    }

    #[test]
    fn letters_are_counted_by_code_and_the_codes_are_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut letters, tally) = writer(&dir.path().join("dead"));
        assert_eq!(tally.lines(), None);
        letters.put(&group(&["bad", "bad", "worse"], None)).expect("written");
        let line = tally.lines().expect("a line").to_string();
        assert!(line.starts_with("3 records were refused (2 x s: bad, 1 x s: worse)"), "{line}");
        let many: Vec<String> =
            (0..limits::REJECTION_CODES_COUNTED_MAX + 5).map(|nth| nth.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        letters.put(&group(&many, None)).expect("written");
        assert_eq!(tally.counts().by_code().len(), limits::REJECTION_CODES_COUNTED_MAX + 1);
        assert_eq!(tally.json()["records"], 3 + limits::REJECTION_CODES_COUNTED_MAX as u64 + 5);
        assert_eq!(tally.json()["replay"], Value::Null);
    }

    #[test]
    fn a_death_is_told_with_the_command_that_shows_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut letters, tally) = writer(&dir.path().join("dead"));
        letters.put(&group(&["bad"], None)).expect("written");
        letters.put(&group(&["trap", "trap"], Some("0: f"))).expect("written");
        let lines = tally.lines().expect("lines").to_string();
        let command = "conveyor replay 'my pipe.yaml' --stage s --record 2 --dead-letters ";
        assert!(
            lines.contains(&format!("stage `s` died on entry 2; to see it die alone: {command}")),
            "{lines}"
        );
    }
}
