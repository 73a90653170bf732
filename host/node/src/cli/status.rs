//! `conveyor status NAME`.

use clap::Args;

use super::nodes::{self, Target};
use super::{Output, block_on};
use crate::api::types::{PipelineStatus, StageStatus, Status as Answered};
use crate::exit::Result;
use crate::report::{duration, number, plain_table};
use crate::terminal;
use crate::words::Words;

/// Shows how a pipeline of a node is: what its stages did, its last checkpoint, and its last error
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    target: Target,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Status {
    pub(super) fn execute(self) -> Result {
        let (client, pipeline) = (self.target.client()?, self.target.pipeline()?);
        let status = block_on(client.status(&pipeline))?.map_err(nodes::failure)?;
        match self.output {
            Output::Json => terminal::print_json(&status),
            Output::Text => terminal::print(told(&status)),
        }
    }
}

fn told(status: &Answered) -> Words {
    let Answered { namespace, name, version, revision, state, detail, .. } = status;
    let detail = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let mut words = Words::from(format!("{namespace}/{name}  {}{detail}", state.as_str()));
    words.push(format!("  revision {revision}, version {version}"));
    if let Some(run) = &status.run {
        let other = if run.revision == *revision {
            String::new()
        } else {
            format!(", revision {} yet", run.revision)
        };
        words.push(format!("  on node {} since {}, epoch {}{other}", run.node, run.since, run.epoch));
    }
    if let Some(stopped) = status.stopped.as_ref().filter(|_| status.run.is_none()) {
        let at = stopped
            .checkpoint
            .map_or("with no checkpoint".to_owned(), |number| format!("at checkpoint {number}"));
        let why = stopped.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        words.push(format!("  stopped {at}, {}{why}", stopped.at));
    }
    if let Some(here) = &status.here {
        running(here, &mut words);
    }
    words
}

fn running(here: &PipelineStatus, words: &mut Words) {
    if here.restarts > 0 {
        let again = here.retry_at.map(|at| format!(", again at {at}")).unwrap_or_default();
        words.push(format!("  restarted {} times{again}", number(here.restarts)));
    }
    if let Some(last) = &here.last_checkpoint {
        let (took, bytes) = (duration(last.took_us), number(last.bytes));
        words
            .push(format!("  checkpoint {} at {}, in {took}, {bytes} new bytes", last.number, last.taken_at));
    }
    if let Some(error) = &here.last_error {
        let stage = error.stage.as_ref().map(|stage| format!(" in stage `{stage}`")).unwrap_or_default();
        words.push(format!("  last error{stage}, at {}: {}", error.at, error.message));
        if let Some(next) = &error.next {
            words.push(format!("    {next}"));
        }
    }
    if here.stages.is_empty() {
        return;
    }
    let header = [
        "stage",
        "role",
        "in",
        "out",
        "filtered",
        "rejected",
        "lag",
        "fuel/record",
        "batch p50",
        "batch p99",
    ];
    words.append(plain_table(&header, here.stages.iter().map(row), &[2, 3, 4, 5, 6, 7, 8, 9]));
}

fn row(stage: &StageStatus) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let time = |us: u64| if us == 0 { "-".to_owned() } else { duration(us) };
    vec![
        stage.stage.clone(),
        stage.role.clone(),
        number(stage.records_in),
        number(stage.records_out),
        number(stage.filtered),
        number(stage.rejected),
        or_dash(stage.lag.map(number)),
        or_dash(stage.fuel_per_record.map(|fuel| number(fuel.round() as u64))),
        time(stage.batch_p50_us),
        time(stage.batch_p99_us),
    ]
}

#[cfg(test)]
mod tests {
    use crate::api::types::{CheckpointStatus, Desired, LastError, Run, RunState, State, Time};

    use super::*;

    #[test]
    fn what_there_is_to_know_is_shown_and_nothing_else() {
        let mut status = Answered {
            namespace: "default".into(),
            name: "orders".into(),
            id: 1,
            version: 4,
            desired: Desired::Running,
            revision: 3,
            state: State::BackingOff,
            detail: Some("no such file".into()),
            node: Some(1),
            run: Some(Run { node: 1, revision: 2, epoch: 9, since: Time(0), is_stopping: false }),
            stopped: None,
            here: Some(PipelineStatus {
                state: RunState::BackingOff,
                since: Time(0),
                revision: 2,
                epoch: 9,
                restarts: 2,
                retry_at: Some(Time(1_000_000)),
                last_error: Some(LastError {
                    at: Time(0),
                    stage: Some("in".into()),
                    message: "no such file".into(),
                    next: Some("name a file that is there".into()),
                }),
                last_checkpoint: Some(CheckpointStatus {
                    number: 7,
                    taken_at: Time(0),
                    took_us: 1500,
                    bytes: 1234,
                }),
                stages: vec![StageStatus {
                    stage: "in".into(),
                    role: "source".into(),
                    records_in: 1234,
                    ..StageStatus::default()
                }],
            }),
        };
        let text = told(&status).to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines[..7],
            [
                "default/orders  backing-off: no such file",
                "revision 3, version 4",
                "on node 1 since 1970-01-01T00:00:00Z, epoch 9, revision 2 yet",
                "restarted 2 times, again at 1970-01-01T00:00:01Z",
                "checkpoint 7 at 1970-01-01T00:00:00Z, in 1.5 ms, 1,234 new bytes",
                "last error in stage `in`, at 1970-01-01T00:00:00Z: no such file",
                "name a file that is there",
            ]
        );
        assert_eq!(lines[8].split_whitespace().collect::<Vec<_>>()[..3], ["in", "source", "1,234"]);
        status = Answered { run: None, here: None, state: State::Paused, detail: None, ..status };
        assert_eq!(told(&status).lines().count(), 2);
    }
}
