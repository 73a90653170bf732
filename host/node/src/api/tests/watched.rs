//! Events, as they are sent to those who watch.

use control::state::{Command, Expects};
use futures::future::join_all;
use model::limits::CONTROL_EFFECTS_KEPT;
use serde_json::json;

use super::super::types::{Event, Happened};
use super::*;

/// One who watches, and what came and was not read yet.
struct Watching {
    body: Body,
    text: String,
}

/// One event: its id, its name and its data.
type Block = (Option<u64>, String, String);

impl Scene {
    async fn watch(&self, query: &str, token: &str, headers: &[(&'static str, &str)]) -> Watching {
        let response = self.send(self.request(&format!("GET /v1/events{query}"), token, headers, "")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Watching { body: response.into_body(), text: String::new() }
    }
}

impl Watching {
    /// The next one; none at the end.
    async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim_start().to_owned()).unwrap_or_default()
                };
                return Some((field("id:").parse().ok(), field("event:"), field("data:")));
            }
            let frame = self.body.frame().await?.expect("it does not break");
            self.text.push_str(std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8"));
        }
    }

    async fn event(&mut self) -> Event {
        let (id, name, data) = self.block().await.expect("one more");
        let event: Event =
            serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {name} {data}"));
        assert_eq!(Some(event.number), id);
        event
    }
}

fn restart() -> Command {
    let pipeline = "default/a".parse().expect("a name");
    Command::Restart { pipeline, expects: Expects::Anything }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_sees_everything_in_order_and_goes_on_where_it_was() {
    let scene = Scene::open().await;
    let mut from_now_on = scene.watch("", VIEWER, &[]).await;
    scene.deploy("default/a", "m").await.is(201);
    let mut all = scene.watch("?after=0", VIEWER, &[]).await;
    let started = all.event().await;
    assert_eq!((started.number, &started.namespace), (1, &None));
    assert!(matches!(started.what, Happened::NodeStarted { node: 1, .. }));
    let wanted = all.event().await;
    assert_eq!(
        serde_json::to_value(&wanted).expect("JSON"),
        json!({ "number": 2, "at": "2026-08-01T12:00:00Z", "namespace": "default", "event": "pipeline-wanted",
            "pipeline": "a", "version": 1, "desired": "running", "revision": 1, "why": null })
    );
    assert!(matches!(all.event().await.what, Happened::PipelineStarts { revision: 1, node: 1, .. }));
    assert_eq!(from_now_on.event().await, wanted);
    // While it waits.
    scene.admin("POST /v1/namespaces/default/pipelines/a/pause", "").await.is(200);
    assert!(matches!(all.event().await.what, Happened::PipelineWanted { version: 2, .. }));
    let last = all.event().await;
    assert!(matches!(last.what, Happened::PipelineStops { .. }));
    drop(all);
    let mut kept = scene.watch("?kept=true&follow=false", VIEWER, &[]).await;
    for number in 1..=last.number {
        assert_eq!(kept.event().await.number, number);
    }
    assert_eq!(kept.block().await, None, "that is all");
    let none = format!("?after={}&follow=false", last.number);
    assert_eq!(scene.watch(&none, VIEWER, &[]).await.block().await, None);
    scene.ask("GET /v1/events?kept=true&after=1", VIEWER, &[], "").await.problem(400, "bad-request");
    // A reader that comes again sends what it asked for at first as well.
    let id = (last.number - 1).to_string();
    let mut again = scene.watch("?after=0", VIEWER, &[("last-event-id", &id)]).await;
    assert_eq!(again.event().await, last);
    let gone = scene.ask("GET /v1/events?after=999", VIEWER, &[], "").await;
    assert!(gone.problem(410, "behind").contains("list what there is"));
    scene.ask("GET /v1/events", VIEWER, &[("last-event-id", "x")], "").await.problem(400, "bad-request");
    scene.ask("GET /v1/events?after=x", VIEWER, &[], "").await.problem(400, "bad-request");
    scene.control.shutdown().await;
    assert_eq!(again.block().await, None, "it ends with the node");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_sees_its_own_namespaces_and_keeps_up_with_the_others() {
    let scene = Scene::open().await;
    scene.admin("POST /v1/namespaces", r#"{"name": "team"}"#).await.is(201);
    scene.deploy("default/a", "m").await.is(201);
    let mut team = scene.watch("?after=0", TEAM, &[]).await;
    assert!(matches!(team.event().await.what, Happened::NodeStarted { .. }));
    let made = team.event().await;
    assert_eq!((made.namespace.as_deref(), made.what), (Some("team"), Happened::NamespaceMade));
    // Two that it may not see: it is told how far it is.
    assert_eq!(team.block().await, Some((Some(4), String::new(), String::new())));
    scene.deploy("team/b", "m").await.is(201);
    assert!(matches!(team.event().await.what, Happened::PipelineWanted { pipeline, .. } if pipeline == "b"));
    let put = "PUT /v1/namespaces/team/secrets/KEY";
    scene.admin(put, r#"{"value": "hunter2"}"#).await.is(200);
    assert!(matches!(team.event().await.what, Happened::PipelineStarts { .. }));
    let (_, _, data) = team.block().await.expect("one more");
    assert!(data.contains("secret-set") && data.contains("KEY") && !data.contains("hunter2"), "{data}");
    drop(team);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_do_not_read_hold_up_nobody_and_are_told_that_they_are_behind() {
    let scene = Scene::with(|options| options.watchers_max = 501).await;
    scene.deploy("default/a", "m").await.is(201);
    let asleep = join_all((0..500).map(|_| scene.watch("?after=0", VIEWER, &[]))).await;
    let mut reader = scene.watch("", VIEWER, &[]).await;
    let one_too_many = scene.ask("GET /v1/events", VIEWER, &[], "").await;
    one_too_many.problem(429, "too-many-requests");
    assert_eq!(one_too_many.header("retry-after"), "1");
    let restarts = CONTROL_EFFECTS_KEPT + 10;
    let restarting = async {
        let all = (0..restarts).map(|_| async {
            let proposal = scene.control.proposal(restart());
            scene.control.propose(proposal, Instant::now() + LATE).await.expect("done")
        });
        join_all(all).await
    };
    let reading = async {
        let mut wanted = 0;
        while wanted < restarts {
            wanted += usize::from(matches!(reader.event().await.what, Happened::PipelineWanted { .. }));
        }
    };
    tokio::join!(restarting, reading);
    let mut asleep = asleep.into_iter();
    let mut late = asleep.next().expect("one of them");
    // What was read for it before the answer began.
    for number in 1..=3 {
        assert_eq!(late.event().await.number, number);
    }
    let (_, name, data) = late.block().await.expect("one more");
    assert_eq!(name, "problem");
    let problem: Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!((&problem["type"], &problem["status"]), (&json!("urn:conveyor:problem:behind"), &json!(410)));
    assert_eq!(late.block().await, None, "and that is the end");
    drop((late, asleep));
    scene.ask("GET /v1/events?after=3", VIEWER, &[], "").await.problem(410, "behind");
    scene.watch("", VIEWER, &[]).await;
    drop(reader);
    scene.close().await;
}
