//! Why a pipeline failed: stage, records, cause, where the guest was, and what to do next.

use flow::RunError;
use serde_json::{Value, json};

/// For people: the cause with the guest's frames below it and the next step last.
pub fn explain(pipeline: &str, error: &RunError) -> String {
    let mut text = format!("pipeline `{pipeline}` failed: {error}");
    if let Some(backtrace) = error.backtrace().filter(|backtrace| !backtrace.frames.is_empty()) {
        text.push_str("\n  where the stage was, the innermost first:\n");
        text.push_str(backtrace.to_string().trim_end());
    }
    text.push_str("\n  next: ");
    text.push_str(next_step(error));
    text
}

/// For programs.
pub fn failure_json(error: &RunError) -> Value {
    let frames = error.backtrace().map(|backtrace| {
        let frames = backtrace.frames.iter().map(|frame| {
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

fn stage(error: &RunError) -> Option<&str> {
    match error {
        RunError::Call { stage, .. }
        | RunError::Start { stage, .. }
        | RunError::Outcome { stage, .. }
        | RunError::Refused { stage, .. }
        | RunError::Connect { stage, .. }
        | RunError::Feed { stage, .. }
        | RunError::Broke { stage, .. } => Some(stage),
        RunError::Letters(_) => None,
    }
}

fn records(error: &RunError) -> Option<&flow::error::Records> {
    match error {
        RunError::Call { records, .. }
        | RunError::Outcome { records, .. }
        | RunError::Refused { records, .. }
        | RunError::Feed { records, .. } => Some(records),
        _ => None,
    }
}

/// What to do about it.
fn next_step(error: &RunError) -> &'static str {
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
        RunError::Feed { .. } => "check the columns that come with `conveyor graph`",
        RunError::Letters(_) => "make room, or name another file with `--dead-letters`; then run again",
        RunError::Broke { .. } => {
            "this should not happen: run again with CONVEYOR_LOG=debug and report what it prints"
        }
    }
}
