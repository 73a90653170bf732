//! The client against the API of a node, over sockets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::*;
use crate::api::problem::{Kind, Problem};
use crate::api::tests::{DEPLOYER, Scene};
use crate::api::types::{
    Deploy, Event, Happened, Namespace, Namespaces, NodeInfo, SetSecret, State, Time, Wanted,
};

/// What was asked, and what is answered, in this order.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<(Vec<Request>, Vec<Response>)>>);

struct Scripted {
    script: Script,
    url: String,
    serving: JoinHandle<()>,
}

async fn answer(Shared(Script(script)): Shared<Script>, request: Request) -> Response {
    let (asked, answers) = &mut *script.lock().expect("no panic");
    asked.push(request);
    if answers.is_empty() { StatusCode::IM_A_TEAPOT.into_response() } else { answers.remove(0) }
}

async fn scripted(answers: Vec<Response>) -> Scripted {
    let script = Script(Arc::new(Mutex::new((vec![], answers))));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().fallback(answer).with_state(script.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    Scripted { script, url, serving }
}

impl Scripted {
    fn client(&self) -> Client {
        client(&self.url, Some("secret")).expect("a client")
    }

    fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.script.0.lock().expect("no panic").0)
    }
}

fn client(url: &str, token: Option<&str>) -> Result<Client, ClientError> {
    let url = place::url(url).expect("an address");
    let token = token.map(|token| Zeroizing::new(token.to_owned()));
    Client::new(Place { url, token, ca_cert: None, found: "a test".into() })
}

fn json(value: &impl Serialize) -> Response {
    serde_json::to_string(value).expect("JSON").into_response()
}

fn orders() -> control::state::PipelineName {
    "team/orders".parse().expect("a name")
}

fn events(blocks: &[(u64, Option<Event>)]) -> Response {
    let block = |(id, event): &(u64, Option<Event>)| match event {
        Some(event) => format!("id: {id}\ndata: {}\n\n", serde_json::to_string(event).expect("JSON")),
        None => format!(": alive\n\nid: {id}\n\n"),
    };
    blocks.iter().map(block).collect::<String>().into_response()
}

fn event(number: u64) -> (u64, Option<Event>) {
    let what = Happened::NodeRemoved { node: number };
    (number, Some(Event { number, at: Time(0), namespace: None, what }))
}

#[tokio::test]
async fn a_write_says_what_it_expects_and_is_sent_again_under_the_same_key() {
    let unavailable = || {
        let mut response = Problem::new(Kind::Unavailable, "try again").into_response();
        response.headers_mut().insert(RETRY_AFTER, 0.into());
        response
    };
    let node = scripted(vec![unavailable(), unavailable(), json(&Wanted { version: 4 })]).await;
    let expects = Expects::Version(control::state::Version(3));
    let wanted = node.client().act(&orders(), Act::Pause, expects).await.expect("done");
    assert_eq!(wanted, Wanted { version: 4 });
    let asked = node.asked();
    let header = |request: &Request, name: &str| {
        request.headers().get(name).map(|value| value.to_str().expect("ASCII").to_owned())
    };
    let keys: Vec<_> = asked.iter().map(|request| header(request, "idempotency-key")).collect();
    assert_eq!((keys.len(), &keys[0], &keys[1]), (3, &keys[1], &keys[2]));
    assert_eq!(keys[0].as_ref().map(String::len), Some(32));
    assert_eq!(asked[0].method(), "POST");
    assert_eq!(asked[0].uri().path(), "/v1/namespaces/team/pipelines/orders/pause");
    assert_eq!(header(&asked[0], "if-match").as_deref(), Some("\"3\""));
    assert_eq!(header(&asked[0], "authorization").as_deref(), Some("Bearer secret"));
    node.serving.abort();
}

#[tokio::test]
async fn what_the_node_says_is_what_is_told_and_what_it_refuses_is_asked_once() {
    let late = {
        let problem = Problem::new(Kind::TooManyRequests, "wait a while");
        Problem { retry_after: Some(Duration::from_secs(3600)), ..problem }.into_response()
    };
    let node = scripted(vec![
        Problem::new(Kind::Stale, "look at it, and try again").into_response(),
        late,
        "no JSON".into_response(),
        (StatusCode::BAD_GATEWAY, "<html>").into_response(),
        StatusCode::NO_CONTENT.into_response(),
    ])
    .await;
    let client = node.client();
    let stale = client.act(&orders(), Act::Restart, Expects::Something).await.expect_err("it is stale");
    assert_eq!(stale.to_string(), "look at it, and try again");
    assert!(stale.is_input() && stale.is_kind("stale") && !stale.is_unreachable());
    let many = client.namespaces().await.expect_err("too many");
    assert!(!many.is_input() && many.is_kind("too-many-requests"));
    for _ in 0..2 {
        let strange = client.node().await.expect_err("no node answers so").to_string();
        assert!(strange.contains("is no node of this version") && strange.contains("`--node`"), "{strange}");
    }
    assert_eq!(client.delete_namespace(&model::manifest::Name::parse("a").expect("a name")).await, Ok(()));
    assert_eq!(node.asked().len(), 5);
    node.serving.abort();
    // Nobody listens there any more.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let nobody = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let error = super::Client { http: client.http.clone(), url: place::url(&nobody).expect("one"), ..client }
        .send(&Asked { method: Method::GET, path: "v1/node".into(), headers: vec![], body: None }, None)
        .await
        .expect_err("nobody answers");
    assert!(error.is_unreachable(), "{error}");
    let text = error.to_string();
    assert!(text.contains(&nobody) && text.contains("a test") && text.contains("start it"), "{text}");
}

#[tokio::test]
async fn events_go_on_behind_the_last_one_where_they_break_off() {
    let node = scripted(vec![
        events(&[event(1), event(2), (3, None)]),
        events(&[event(4)]),
        Problem::new(Kind::Behind, "list what there is, and watch from there on").into_response(),
    ])
    .await;
    let client = node.client();
    let mut all = client.events(true);
    for number in [1, 2, 4] {
        assert_eq!(all.next().await.expect("one").map(|event| event.number), Some(number));
    }
    let behind = all.next().await.expect_err("too far behind");
    assert!(behind.is_kind("behind"), "{behind}");
    let asked = node.asked();
    let ids: Vec<_> = asked.iter().map(|request| request.headers().get("last-event-id")).collect();
    assert_eq!(ids[0], None);
    assert_eq!([ids[1].expect("one"), ids[2].expect("one")], ["3", "4"]);
    assert_eq!(asked[0].uri().query(), Some("kept=true&follow=true"));
    drop(all);

    let mut answers = vec![events(&[event(1)]), Problem::new(Kind::NoToken, "send a token").into_response()];
    node.script.0.lock().expect("no panic").1.append(&mut answers);
    let mut kept = client.events(false);
    assert_eq!(kept.next().await.expect("one").map(|event| event.number), Some(1));
    assert_eq!(kept.next().await, Ok(None));
    assert!(client.events(false).next().await.expect_err("no token").is_kind("no-token"));
    node.serving.abort();
}

/// Both sides have the same types, and say the same with them.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_is_asked_for_it_does() {
    let scene = Scene::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = scene.router.clone();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    let client = client(&url, Some(DEPLOYER)).expect("a client");
    let orders = "default/orders".parse().expect("a name");
    let any = Expects::Anything;
    let deploy = async |manifest: &str, expects, dry_run| {
        let deploy = Deploy { manifest: manifest.to_owned(), ..Deploy::default() };
        client.deploy(&orders, &deploy, expects, dry_run).await
    };
    assert!(deploy("a", any, true).await.expect("it fits").is_dry_run);
    assert!(client.pipeline(&orders).await.expect_err("none yet").is_kind("unknown"));
    assert_eq!(deploy("a", Expects::Nothing, false).await.expect("done").version, 1);
    assert!(deploy("b", Expects::Nothing, false).await.expect_err("it is there").is_kind("stale"));
    assert_eq!(deploy("b", Expects::Something, false).await.expect("done").revision, 2);
    assert_eq!(client.act(&orders, Act::Pause, any).await, Ok(Wanted { version: 3 }));
    assert_eq!(
        client.rollback(&orders, 1, Some("it was right".into()), any).await,
        Ok(Wanted { version: 4 })
    );
    let pipeline = client.pipeline(&orders).await.expect("there");
    assert_eq!((pipeline.version, pipeline.revision.manifest.as_str()), (4, "a"));
    assert_eq!(client.revision(&orders, 2).await.expect("kept").manifest, "b");
    assert_eq!(client.revisions(&orders).await.expect("kept").revisions.len(), 2);
    assert_eq!(client.status(&orders).await.expect("there").state, State::Stopping);
    assert_eq!(client.pipelines(None).await.expect("a list").pipelines[0].name, "orders");
    let secret = "default/KEY".parse().expect("a name");
    let value = SetSecret { value: Some("hunter2".into()), base64: None };
    assert_eq!(client.set_secret(&secret, &value).await.expect("set").version, 1);
    assert_eq!(client.secrets(&secret.namespace).await.expect("a list").secrets[0].name, "KEY");
    assert_eq!(client.delete_secret(&secret).await, Ok(()));
    assert_eq!(client.node().await.expect("it answers").node, 1);
    assert_eq!(client.nodes().await.expect("a list").nodes.len(), 1);
    assert!(client.audit(None).await.expect_err("of admins alone").is_kind("forbidden"));
    let space = model::manifest::Name::parse("team").expect("a name");
    assert!(client.create_namespace(&space).await.expect_err("of admins alone").is_kind("forbidden"));
    assert_eq!(client.namespaces().await.expect("a list").namespaces.len(), 1);
    assert_eq!(client.delete(&orders, false, any).await, Ok(Wanted { version: 5 }));
    let mut events = client.events(false);
    let mut numbers = vec![];
    while let Some(event) = events.next().await.expect("they come") {
        numbers.push(event.number);
    }
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!(numbers.len() > 8, "{numbers:?}");
    drop(events);
    serving.abort();
    scene.close().await;
}

#[test]
fn a_token_does_not_go_over_the_net_in_the_clear() {
    assert!(matches!(client("http://node.example", Some("secret")), Err(ClientError::InTheClear { .. })));
    assert!(client("http://node.example", None).is_ok());
    assert!(client("http://[::1]:5000", Some("secret")).is_ok());
    assert!(client("http://127.0.0.1.example", Some("secret")).is_err());
    let two_lines = client("http://localhost", Some("a\nb"));
    assert!(matches!(two_lines, Err(ClientError::NoToken { .. })));
    let shown = format!("{:?}", client("http://localhost", Some("secret")));
    assert!(!shown.contains("secret"), "{shown}");
}

/// Of what the other side of the API answers.
#[test]
fn times_are_read_as_they_are_written() {
    let made =
        Namespaces { namespaces: vec![Namespace { name: "a".into(), made_at: Time(1_785_585_600_000_001) }] };
    let text = serde_json::to_string(&made).expect("JSON");
    assert!(text.contains("\"2026-08-01T12:00:00.000001Z\""), "{text}");
    assert_eq!(serde_json::from_str::<Namespaces>(&text).expect("read"), made);
    assert!(serde_json::from_str::<NodeInfo>("{}").is_err());
}
