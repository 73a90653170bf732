//! `conveyor events`.

use clap::Args;

use super::nodes::{self, Within};
use super::{Output, block_on};
use crate::api::types::Event;
use crate::exit::Result;
use crate::terminal;

/// Shows what has happened on a node: deploys, starts, stops, and what else changed
///
/// A line an event; of all namespaces, unless one is named. As JSON, each is an object in a line of its own.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Go on with those that come
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    within: Within,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Events {
    pub(super) fn execute(self) -> Result {
        let (client, only) = (self.within.node.client()?, self.within.named()?);
        let is_meant = |event: &Event| {
            only.as_ref().is_none_or(|only| event.namespace.as_deref() == Some(only.as_str()))
        };
        block_on(async {
            let mut events = client.events(self.follow);
            while let Some(event) = events.next().await.map_err(nodes::failure)? {
                match self.output {
                    _ if !is_meant(&event) => {}
                    Output::Json => terminal::print_json_line(&event)?,
                    Output::Text => terminal::print(line(&event))?,
                }
            }
            Ok(())
        })?
    }
}

/// The number, the time, the namespace, what it was, and the rest as it is called.
fn line(event: &Event) -> String {
    let data = serde_json::to_value(event).unwrap_or_default();
    let shown = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = data.as_object().into_iter().flatten().filter(|(name, value)| {
        !matches!(name.as_str(), "number" | "at" | "namespace" | "event") && !value.is_null()
    });
    let fields: Vec<String> = fields.map(|(name, value)| format!("{name}={}", shown(value))).collect();
    let namespace = event.namespace.as_deref().unwrap_or("-");
    format!("{}  {}  {namespace}  {}  {}", event.number, event.at, shown(&data["event"]), fields.join(" "))
}

#[cfg(test)]
mod tests {
    use crate::api::types::{Happened, Time};

    use super::*;

    #[test]
    fn an_event_is_a_line_of_what_it_has() {
        let what = Happened::PipelineStarts {
            pipeline: "orders".into(),
            id: 1,
            node: 2,
            revision: 3,
            epoch: 4,
            checkpoint: None,
        };
        let event = Event { number: 9, at: Time(0), namespace: Some("default".into()), what };
        let expected = "9  1970-01-01T00:00:00Z  default  pipeline-starts  pipeline=orders id=1 node=2 revision=3 epoch=4";
        assert_eq!(line(&event), expected);
    }
}
