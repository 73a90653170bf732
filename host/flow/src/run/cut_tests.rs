//! Branches that are cut off in a run with checkpoints: what comes for them is kept, or the run ends.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use model::batch::Batch;
use model::ids::RecordId;
use model::manifest::{OnError, OnFailure};

use super::last_tests::{Commits, FAN_OUT, run};
use crate::connector::{Barrier, ConnectError, Refusals, Sink};
use crate::letters::{BRANCH_CUT, Group, Letters, LettersError};
use crate::{CutOff, Part};

/// Takes letters, as long as there is room, and knows those of an earlier run.
#[derive(Clone, Default)]
struct Kept {
    /// Stage, code and message of each.
    letters: Arc<Mutex<Vec<[String; 3]>>>,
    /// The only record of the source is one of the stage `x`.
    knows: bool,
    is_full: bool,
}

impl Letters for Kept {
    fn put(&mut self, group: &Group) -> Result<(), LettersError> {
        if self.is_full {
            return Err(LettersError::Full { path: PathBuf::from("dead"), bytes: 1, more: 1, max: 1 });
        }
        assert_eq!(group.rows.rows(), group.refusals.len());
        let letters =
            group.refusals.iter().map(|one| [group.stage.to_string(), one.code.clone(), one.message.clone()]);
        self.letters.lock().expect("letters").extend(letters);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LettersError> {
        Ok(())
    }

    fn keeps_cut(&self, stage: &str) -> bool {
        self.knows && stage == "x"
    }

    fn kept_as_cut(&mut self, stage: &Arc<str>, batch: &Batch) -> Vec<u32> {
        assert_eq!((&**stage, batch.rows()), ("x", 1));
        self.knows = false;
        vec![0]
    }
}

/// Fails at whatever it is given, and at nothing where it is whole.
struct Failing {
    is_whole: bool,
    taken: Arc<Mutex<usize>>,
}

#[async_trait]
impl Sink for Failing {
    async fn write(&mut self, batch: &Batch, _: &[RecordId]) -> Result<Refusals, ConnectError> {
        if self.is_whole {
            *self.taken.lock().expect("a count") += batch.rows();
            return Ok(Vec::new());
        }
        Err(ConnectError::failed("it", "it has had enough", "mend it"))
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn prepare(&mut self, _: Barrier) -> Result<Vec<u8>, ConnectError> {
        Ok(Vec::new())
    }

    async fn commit(&mut self, _: &[u8]) -> Result<(), ConnectError> {
        Ok(())
    }
}

/// One record for `x`, which is this part, and for `y`. Gives what is kept.
fn cut(
    part: Part,
    letters: Kept,
    change: impl FnOnce(&mut crate::Job),
) -> (crate::Ended, Vec<[String; 3]>, Vec<&'static str>) {
    let kept = letters.letters.clone();
    let (ended, log) = run(FAN_OUT, &[Commits::Well, Commits::Well], |job| {
        job.rules.on_failure = OnFailure::Continue;
        // It says nothing of records that nobody has looked at.
        job.rules.on_error = vec![OnError::Drop; 3];
        job.parts[1] = part;
        job.letters = Box::new(letters);
        change(job);
    });
    let kept = kept.lock().expect("letters").clone();
    (ended, kept, log.all())
}

fn failing(is_whole: bool) -> (Part, Arc<Mutex<usize>>) {
    let taken = Arc::<Mutex<usize>>::default();
    (Part::Sink(Box::new(Failing { is_whole, taken: taken.clone() })), taken)
}

#[test]
fn what_a_stage_did_not_take_is_kept_whatever_on_error_says() {
    let (ended, kept, log) = cut(failing(false).0, Kept::default(), |_| ());
    assert!(ended.failure.is_none() && ended.cuts.len() == 1, "{ended:?}");
    let why = "stage `x` failed on record 0 of `0` (source `a`): it: it has had enough; mend it";
    assert_eq!(kept, [["x", BRANCH_CUT, why].map(str::to_owned)]);
    assert_eq!(log, ["stored", "commit", "committed by all sinks"], "the rest goes on");
}

#[test]
fn a_stage_that_was_cut_off_in_an_earlier_life_keeps_what_comes_and_its_token_may_be_left() {
    for is_committed in [true, false] {
        let part = Part::Cut(CutOff { why: "it had had enough".into(), is_committed });
        let (ended, kept, log) = cut(part, Kept::default(), |_| ());
        assert!(ended.failure.is_none(), "{ended:?}");
        assert_eq!(kept, [["x", BRANCH_CUT, "it had had enough"].map(str::to_owned)]);
        assert_eq!(log.contains(&"committed by all sinks"), is_committed);
    }
}

#[test]
fn where_it_can_go_back_a_sink_that_has_failed_ends_its_life_and_a_full_store_ends_any() {
    let restarts = |job: &mut crate::Job| {
        job.checkpoints.as_mut().expect("checkpoints").recovery.restarts_to_cut = true;
    };
    let (ended, kept, log) = cut(failing(false).0, Kept::default(), restarts);
    assert!(ended.failure.expect("it goes back").to_string().contains("it has had enough"));
    assert_eq!((kept.len(), log.len()), (0, 0), "nothing is kept or committed before it was cut off");
    let full = Kept { is_full: true, ..Kept::default() };
    let (ended, _, log) = cut(failing(false).0, full, |_| ());
    assert!(matches!(ended.failure, Some(crate::RunError::Letters(LettersError::Full { .. }))), "{ended:?}");
    assert_eq!(log.len(), 0);
}

#[test]
fn what_was_kept_is_not_taken_when_the_stage_is_whole_again() {
    for (knows, takes) in [(true, 0), (false, 1)] {
        let (part, taken) = failing(true);
        let (ended, kept, _) = cut(part, Kept { knows, ..Kept::default() }, |_| ());
        assert!(ended.failure.is_none() && kept.is_empty(), "{ended:?}, {kept:?}");
        assert_eq!(*taken.lock().expect("a count"), takes);
    }
}
