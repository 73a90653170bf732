//! What is said where a manifest cannot go on from a checkpoint (`flow::checkpoint::compat`), with what to do about it.

use std::path::Path;

use anyhow::anyhow;
use connect::{SINKS, has_file};
use flow::checkpoint::compat::{Compat, Connectors, Misfit, MisfitKind, StageNow, Unforgettable, WayOut};
use flow::checkpoint::{Change, LastCommitted};

use crate::exit::Failure;
use crate::terminal;
use crate::words::Words;

pub(crate) const CONNECTORS: Connectors<'static> = Connectors { sinks: &SINKS, has_file };

/// A checkpoint beside the stages that are to go on from it.
pub(crate) fn compat<'a>(last_committed: &'a LastCommitted, stages: &'a [StageNow]) -> Compat<'a> {
    Compat { last_committed, stages, connectors: CONNECTORS }
}

pub(crate) fn cannot_go_on(pipeline: &str, number: u64, dir: &Path, misfits: &[Misfit], next: &str) -> Words {
    let mut words = Words::from(format!(
        "pipeline `{pipeline}` cannot go on from checkpoint {number} in {}:",
        dir.display()
    ));
    misfits.iter().for_each(|misfit| words.push(format!("  {}", line(misfit))));
    words.push(next);
    words
}

/// Takes out of a checkpoint what sinks have committed that are another connector now, and says so. Whether there was one.
pub(crate) fn leave_others(
    last_committed: &mut LastCommitted,
    stages: &[StageNow],
    pipeline: &str,
    is_meant: impl Fn(&str) -> bool,
) -> bool {
    let others = compat(last_committed, stages).other_connectors(is_meant);
    let others: Vec<(String, String, String)> =
        others.into_iter().map(|(stage, was)| (stage.name.clone(), stage.reference.clone(), was)).collect();
    for (name, is, was) in &others {
        last_committed.checkpoint.tokens.remove(name.as_str());
        terminal::say(format!(
            "sink `{name}` of `{pipeline}` was `{was}` and is `{is}`: it begins without what the checkpoint has of it, and \
             what was written stays where it is"
        ));
    }
    !others.is_empty()
}

/// With another format other options come and go, which says nothing more.
fn listed(changes: &[Change]) -> String {
    let has_format = changes.iter().any(|change| change.name() == "format");
    let told = changes.iter().filter(|change| change.is_of_value() || !has_format);
    told.map(Change::to_string).collect::<Vec<_>>().join(", ")
}

fn line(misfit: &Misfit) -> String {
    let Misfit { stage: name, kind } = misfit;
    match kind {
        MisfitKind::SourceGone => {
            format!(
                "there is no source `{name}` any more; if it has another name now, say `--rename {name}=NEW`"
            )
        }
        MisfitKind::SourceIsOther { was, is } => {
            from_the_beginning(name, &format!("source `{name}` was `{was}` and is `{is}`"))
        }
        MisfitKind::SourceChanged { changes } => {
            from_the_beginning(name, &format!("source `{name}` reads in another way: {}", listed(changes)))
        }
        MisfitKind::SinkIsOtherUncommitted { was, is } => {
            format!("sink `{name}` was `{was}` and is `{is}`, and what it has prepared is not committed yet")
        }
        MisfitKind::SinkChanged { changes, way_out } => {
            let what = format!("sink `{name}` writes in another way: {}", listed(changes));
            match way_out {
                WayOut::NewFile => format!(
                    "{what}; to begin a new file, say `--new-file {name}`, which keeps the one that is there under a name \
                     of its own"
                ),
                WayOut::Forget => {
                    format!("{what}; to write as if it had written nothing yet, say `--forget {name}`")
                }
                WayOut::Commit => format!("{what}, and what it has prepared is not committed yet"),
            }
        }
        MisfitKind::SinkGoneUncommitted => format!(
            "there is no sink `{name}` any more, and what it has prepared is not committed yet; if it has another \
             name now, say `--rename {name}=NEW`"
        ),
        MisfitKind::SinkGone { heir } => format!(
            "there is no sink `{name}` any more, and sink `{heir}` is new; if that is its name now, say `--rename \
             {name}={heir}`; to go on without what `{name}` has committed, `--forget {name}`"
        ),
        MisfitKind::StateOfGone { keys } => {
            state_without_stage(name, *keys, "and there is no such stage any more")
        }
        MisfitKind::StateNotKept { keys } => state_without_stage(name, *keys, "which keeps none now"),
        MisfitKind::StateOfOther { keys, was, is } => {
            state_of_another(name, *keys, &format!("which was a `{was}` and is a `{is}`"))
        }
        MisfitKind::StateChanged { keys, changes } => {
            state_of_another(name, *keys, &format!("which rests on another config: {}", listed(changes)))
        }
    }
}

fn from_the_beginning(name: &str, what: &str) -> String {
    format!("{what}; to read all that it has from the beginning, say `--forget {name}`")
}

fn state_without_stage(name: &str, keys: u64, why: &str) -> String {
    format!(
        "the checkpoint has state of `{name}` ({keys} keys), {why}; if the stage has another name now, say `--rename \
         {name}=NEW`; to throw its state away, `--forget {name}`"
    )
}

fn state_of_another(name: &str, keys: u64, why: &str) -> String {
    format!(
        "the checkpoint has state of `{name}` ({keys} keys), {why}; to throw its state away, say `--forget {name}`"
    )
}

/// What is said of a stage that cannot be forgotten.
pub(super) fn unforgettable(stage: &str, why: &Unforgettable) -> Failure {
    Failure::Input(match why {
        Unforgettable::Written => anyhow!(
            "`--forget {stage}`: nothing is remembered for `{stage}` but what it has written; where that is a file, \
             `--new-file {stage}` begins a new one"
        ),
        Unforgettable::Uncommitted { checkpoint } => anyhow!(
            "`--forget {stage}` would lose what `{stage}` has prepared and not committed yet: run the manifest that \
             checkpoint {checkpoint} was taken with once more"
        ),
        Unforgettable::ReplacedBy { sink } => anyhow!(
            "`--forget {stage}`: sink `{sink}` would replace what `{stage}` has committed; to go on with that file, say \
             `--rename {stage}={sink}`, or say with `if-exists` of `{sink}` what is to become of it"
        ),
    })
}
