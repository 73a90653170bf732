//! Why a pipeline failed: stage, records, cause, where the guest was, and what to do next.

use engine::{Frame, Frames, GuestBacktrace};
use flow::RunError;
use serde_json::{Value, json};

use crate::words::Words;

/// For people: the cause with the guest's frames below it and the next step last.
pub fn explain(pipeline: &str, error: &RunError) -> Words {
    explained(format!("pipeline `{pipeline}` failed: {error}"), error, next_step(error))
}

fn explained(cause: String, error: &RunError, next: &str) -> Words {
    let mut words = Words::from(cause);
    if let Some(backtrace) = error.backtrace().filter(|backtrace| !backtrace.is_empty()) {
        words.push("  where the stage was, the innermost first:");
        words.append(frames(backtrace));
    }
    words.push(format!("  next: {next}"));
    words
}

/// As [`explain`], where the rest of the pipeline went on. `keeps_state`: whether the next run goes on behind what the
/// branch did not take.
pub fn explain_cut(pipeline: &str, error: &RunError, keeps_state: bool) -> Words {
    let cause = format!("pipeline `{pipeline}` went on without a branch: {error}");
    explained(cause, error, if keeps_state { MEND_AND_REPLAY } else { next_step(error) })
}

/// Where what a branch did not take has become dead letters.
const MEND_AND_REPLAY: &str =
    "mend it; what it did not take is in the dead letters as `branch-cut`, and a replay sends it in";

/// The frames of the stage's own code, without the type arguments that make names long. What the standard
/// library and the SDK do in between is counted; `--output json` has all of it.
pub fn frames(backtrace: &GuestBacktrace) -> Words {
    own_frames(&backtrace.frames())
}

fn own_frames(frames: &[Frame]) -> Words {
    let of_others = |frame: &&Frame| {
        let file = frame.file.as_deref().unwrap_or_default();
        OTHERS.iter().any(|other| file.contains(other))
    };
    let mut own: Vec<&Frame> = frames.iter().filter(|frame| !of_others(frame)).collect();
    if own.is_empty() {
        own = frames.iter().collect();
    }
    let shown =
        own.iter().map(|frame| Frame { function: without_arguments(&frame.function), ..(*frame).clone() });
    let left_out = frames.len() - own.len();
    let mut words: Words = Frames(&shown.collect::<Vec<_>>()).to_string().lines().collect();
    if left_out > 0 {
        words.push(format!("      ({left_out} frames of the standard library and the SDK are left out)"));
    }
    words
}

/// Parts of the paths of code that the stage's author did not write.
const OTHERS: [&str; 4] = ["/rustc/", "/rustlib/src/", "/sdk-rust/src/", "/conveyor-sdk-"];

/// `with<a::B, C<D>>` becomes `with`; `<A as B>::c` stays as it is.
fn without_arguments(function: &str) -> String {
    let Some((name, _)) = function.split_once('<').filter(|(name, _)| !name.is_empty()) else {
        return function.to_owned();
    };
    name.trim_end_matches("::").to_owned()
}

/// For programs.
pub fn failure_json(error: &RunError) -> Value {
    let frames = error.backtrace().map(|backtrace| {
        let frames = backtrace.frames().into_iter().map(|frame| {
            json!({ "function": frame.function, "module": frame.module, "file": frame.file, "line": frame.line })
        });
        frames.collect::<Vec<_>>()
    });
    let mut data = json!({ "message": error.to_string(), "next": next_step(error), "backtrace": frames });
    if let Some(stage) = stage(error) {
        data["stage"] = stage.into();
    }
    if let Some(records) = records(error) {
        let (first, last) = (records.first(), records.last());
        data["records"] = json!({
            "source": &*first.source,
            "first": { "split": &*first.split, "offset": first.offset },
            "last": { "split": &*last.split, "offset": last.offset },
        });
    }
    data
}

/// The stage at fault, where one is.
pub fn stage(error: &RunError) -> Option<&str> {
    match error {
        RunError::Call { stage, .. }
        | RunError::Start { stage, .. }
        | RunError::Outcome { stage, .. }
        | RunError::Refused { stage, .. }
        | RunError::Connect { stage, .. }
        | RunError::Mapping { stage, .. }
        | RunError::Broke { stage, .. } => Some(stage),
        RunError::Letters(_) | RunError::Checkpoint(_) => None,
    }
}

fn records(error: &RunError) -> Option<&flow::error::Records> {
    match error {
        RunError::Call { records, .. }
        | RunError::Outcome { records, .. }
        | RunError::Refused { records, .. }
        | RunError::Mapping { records, .. } => Some(records),
        RunError::Connect { records, .. } => records.as_ref(),
        _ => None,
    }
}

/// What to do about it.
pub fn next_step(error: &RunError) -> &'static str {
    match error {
        RunError::Call { .. } => {
            "feed these records to the stage in `tests:` and run `conveyor test`, mend the stage, and run again; \
             what the sinks wrote before is there"
        }
        RunError::Start { .. } => "change the stage's config or its `limits`, or mend it",
        RunError::Outcome { .. } => "rebuild the stage with the SDK of this version, or tell its author",
        RunError::Refused { .. } => "mend these records, or let refused ones go with `on-error: dead-letter`",
        RunError::Connect { .. } => {
            "mend what it reads or writes, and run again; what was written before is there"
        }
        RunError::Mapping { .. } => "check the columns that come with `conveyor graph`",
        RunError::Letters(_) => "make room, or name another directory with `--dead-letters`; then run again",
        RunError::Checkpoint(_) => {
            "make room, or mend the disk, and run again: it goes on from the last committed checkpoint"
        }
        RunError::Broke { .. } => {
            "this should not happen: run again with CONVEYOR_LOG=debug and report what it prints"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str) -> Frame {
        Frame { module: None, function: function.into(), file: Some(file.into()), line: Some(7) }
    }

    #[test]
    fn a_backtrace_shows_the_code_of_the_stage() {
        let frames_in = vec![
            frame("core::panicking::panic_fmt", "/rustc/5980/library/core/src/panicking.rs"),
            frame("large::parse<core::option::Option<u8>>", "/home/me/large/src/lib.rs"),
            frame("process<large::Large>", "/home/me/conveyor/sdk-rust/src/transform.rs"),
        ];
        let text = own_frames(&frames_in).to_string();
        let expected = "   0: large::parse\n          at /home/me/large/src/lib.rs:7\n      (2 frames of the standard \
                        library and the SDK are left out)";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_backtrace_of_nothing_else_shows_all() {
        let only = vec![frame("std::process::abort", "/rustc/5980/library/std/src/process.rs")];
        assert!(own_frames(&only).to_string().contains("abort"));
    }
}
