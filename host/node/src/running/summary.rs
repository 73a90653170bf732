//! The end of a run: a table per pipeline for people, or one object for programs.

use flow::meters::{CheckpointReport, StageReport};
use model::limits::STOP_GRACE;
use serde_json::{Value, json};

use super::{End, Pipeline};
use crate::exit::Result;
use crate::report::{explain, explain_cut, failure_json, number, rate, stage_table};
use crate::terminal;
use crate::words::Words;

pub(super) fn print(pipelines: &[Pipeline], as_data: bool) -> Result {
    for pipeline in pipelines {
        if !as_data {
            terminal::say(text(pipeline));
        }
        match &pipeline.end {
            End::Failed(error) => terminal::error(explain(&pipeline.name, error)),
            End::Cut(cuts) => {
                let explain = |error| explain_cut(&pipeline.name, error, pipeline.keeps_state);
                cuts.iter().for_each(|error| terminal::error(explain(error)))
            }
            End::CutOff => terminal::error(cut_off(&pipeline.name)),
            End::Running | End::Done | End::Stopped => {}
        }
        if let Some(lines) = pipeline.letters.lines() {
            terminal::say(lines);
        }
        if let Some(error) = left_open(pipeline) {
            terminal::error(error);
        }
    }
    if as_data {
        let all: Vec<Value> = pipelines.iter().map(data).collect();
        terminal::print_json(&json!({ "pipelines": all }))?;
    }
    Ok(())
}

/// What only a replay delivers.
fn left_open(pipeline: &Pipeline) -> Option<Words> {
    let records = match &pipeline.open_cut {
        Ok(0) => return None,
        Ok(1) => "1 record that a cut branch did not take is an open dead letter".to_owned(),
        Ok(open) => format!("{} records that cut branches did not take are open dead letters", number(*open)),
        Err(error) => return Some(format!("pipeline `{}`: {error}", pipeline.name).into()),
    };
    let (name, replay) = (&pipeline.name, pipeline.letters.replay_cut());
    let mut words = Words::from(format!("pipeline `{name}`: {records}"));
    words.push(format!("  next: mend the branch, and send them in: {replay}"));
    Some(words)
}

fn cut_off(pipeline: &str) -> Words {
    let mut words = Words::from(format!(
        "pipeline `{pipeline}` was cut off before it had drained: what the sinks had not committed may be missing or \
         written in part"
    ));
    words.push(format!(
        "  next: run it again, and stop it once: it has {} s to drain then; where it hangs, look at the stage that has taken \
         the least of what came for it: a component is bound with `limits.batch-time`, a connector waits for what it reads \
         or writes",
        STOP_GRACE.as_secs()
    ));
    words
}

fn text(pipeline: &Pipeline) -> Words {
    let stages = pipeline.meters.report();
    let read: u64 = stages.iter().filter(|stage| stage.role == "source").map(|stage| stage.records_in).sum();
    let seconds = pipeline.took.as_secs_f64();
    let mut words = Words::from(format!(
        "pipeline {}: {} in {seconds:.2} s, {} read, {}",
        pipeline.name,
        pipeline.end.word(),
        number(read),
        rate(read, pipeline.took)
    ));
    words.append(stage_table(&stages));
    words.append(troubles(&stages));
    words.append(checkpoints(&pipeline.meters.checkpoints.report(), pipeline.meters.lag()));
    words
}

/// Lines of a run that keeps its state.
fn checkpoints(report: &CheckpointReport, lag: u64) -> Words {
    let mut words = Words::default();
    match report.restarts {
        0 => {}
        1 => words.push("went back to its last checkpoint once"),
        times => words.push(format!("went back to its last checkpoint {times} times")),
    }
    let again = match lag {
        0 => String::new(),
        1 => "; 1 record was read behind it and comes again".to_owned(),
        lag => format!("; {} records were read behind it and come again", number(lag)),
    };
    if report.stored == 0 {
        if report.from > 0 {
            words.push(format!("nothing new since checkpoint {}{again}", report.from));
        }
        return words;
    }
    let count = if report.stored == 1 {
        "1 checkpoint".to_owned()
    } else {
        format!("{} checkpoints", number(report.stored))
    };
    words.push(format!(
        "{count} stored, the last is {}: took {} ms, {} bytes new{again}",
        report.number,
        report.took_ms,
        number(report.bytes)
    ));
    words
}

/// A line for each stage that died, was tried again or was cut.
fn troubles(stages: &[StageReport]) -> Words {
    let mut words = Words::default();
    for stage in stages {
        let hits: Vec<String> =
            stage.limits.iter().map(|(limit, count)| format!("{} {limit}", number(*count))).collect();
        let mut said = Vec::new();
        if stage.deaths > 0 {
            said.push(format!("died in {} calls", number(stage.deaths)));
        }
        if stage.retries > 0 {
            said.push(format!("was tried again {} times", number(stage.retries)));
        }
        if stage.is_cut {
            said.push(format!("failed and was cut off: {} records did not reach it", number(stage.cut)));
        }
        if stage.ended_early {
            said.push("was read no further: nobody was left to take its records".to_owned());
        }
        if !hits.is_empty() {
            said.push(format!("ran into its limits ({})", hits.join(", ")));
        }
        if !said.is_empty() {
            words.push(format!("`{}` {}", stage.stage, said.join("; ")));
        }
    }
    words
}

fn data(pipeline: &Pipeline) -> Value {
    let mut data = json!({
        "pipeline": pipeline.name,
        "end": pipeline.end.word(),
        "seconds": pipeline.took.as_secs_f64(),
        "stages": pipeline.meters.report(),
        "dead_letters": pipeline.letters.json(),
    });
    let checkpoints = pipeline.meters.checkpoints.report();
    if checkpoints.from > 0 || checkpoints.stored > 0 || checkpoints.restarts > 0 {
        data["checkpoints"] = json!(checkpoints);
    }
    if let Ok(open @ 1..) = &pipeline.open_cut {
        data["dead_letters"]["open_branch_cut"] = json!(open);
    }
    if let End::Failed(error) = &pipeline.end {
        data["error"] = failure_json(error);
    }
    if let End::Cut(cuts) = &pipeline.end {
        data["cut"] = cuts.iter().map(failure_json).collect();
    }
    data
}

impl End {
    fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
            Self::Cut(_) => "done in part",
            Self::CutOff => "cut off",
        }
    }
}
