use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use arrow::array::BinaryArray;
use flow::connector::{Barrier, ConnectErrorKind, Refusals, Sink, Then};
use model::batch::Parts;
use model::ids::RecordId;
use model::lineage::{Lineage, Offsets, SourceRows};
use model::plan::Stream;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::sinks::sink_spec;
use super::*;
use crate::{SinkSpec, plan_sink};

/// What the server does with one request.
#[derive(Clone, Copy, Debug)]
enum Act {
    Say(&'static str),
    /// Says nothing, and keeps the connection.
    Hang,
    /// Closes the connection without an answer.
    Close,
    /// Answers, and closes the connection though it did not say so.
    SayAndClose(&'static str),
}

const OK: Act = Act::Say("200 OK\r\ncontent-length: 0");

/// A server that does one thing after the other, over as many connections as come.
struct Server {
    port: u16,
    seen: mpsc::Receiver<String>,
}

impl Server {
    fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, seen) = mpsc::channel();
        let script = Arc::new(Mutex::new(script.into_iter()));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, script, sender) =
                    (stream.expect("a connection"), script.clone(), sender.clone());
                std::thread::spawn(move || converse(stream, &script, &sender));
            }
        });
        Self { port, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.try_iter().collect()
    }
}

fn converse(mut stream: TcpStream, script: &Mutex<std::vec::IntoIter<Act>>, seen: &mpsc::Sender<String>) {
    while let Some(request) = read_request(&mut stream) {
        let act = script.lock().expect("no test has panicked").next().unwrap_or(OK);
        if seen.send(request).is_err() {
            return;
        }
        let (answer, stays) = match act {
            Act::Say(answer) => (answer, true),
            Act::SayAndClose(answer) => (answer, false),
            Act::Close => return,
            Act::Hang => {
                // Until whoever asked goes away.
                let _ = stream.read(&mut [0]);
                return;
            }
        };
        let end = if answer.contains("\r\n\r\n") { "" } else { "\r\n\r\n" };
        let sent = stream.write_all(format!("HTTP/1.1 {answer}{end}").as_bytes());
        if sent.is_err() || !stays {
            return;
        }
    }
}

/// Head and body.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        read.push(byte[0]);
    }
    let head = String::from_utf8(read).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a length")];
    stream.read_exact(&mut body).expect("a body");
    Some(head + &String::from_utf8_lossy(&body))
}

struct Scene {
    runtime: Runtime,
    sink: Box<dyn Sink>,
    server: Server,
}

fn spec_to(port: u16, mut with: Value) -> SinkSpec {
    with["url"] = format!("http://127.0.0.1:{port}/in?key=1").into();
    sink_spec(Path::new("."), "http", with)
}

impl Scene {
    fn new(script: Vec<Act>, with: Value) -> Self {
        let server = Server::start(script);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let planned = plan_sink(&spec_to(server.port, with)).expect("a plan");
        assert!(!planned.commits());
        let sink = planned.open(&Stream::Opaque, None).expect("a sink");
        assert!(sink.wants_ids());
        Self { runtime, sink, server }
    }

    fn write(&mut self, values: &[&str]) -> Result<Refusals, ConnectError> {
        let (batch, ids) = batch(values);
        self.runtime.block_on(self.sink.write(&batch, &ids))
    }
}

/// Records of a source, and their ids.
pub(crate) fn batch(values: &[&str]) -> (Batch, Vec<RecordId>) {
    let lineage = Lineage::of_source(SourceRows {
        pipeline: "p".into(),
        source: "in".into(),
        split: "0".into(),
        offsets: Offsets::From(0),
    });
    let batch = Batch::from_values(BinaryArray::from_iter_values(values), Parts::default(), lineage);
    let batch = batch.expect("a batch");
    let ids = batch.ids();
    (batch, ids)
}

fn bodies(seen: &[String]) -> Vec<&str> {
    seen.iter().map(|request| request.split_once("\r\n\r\n").expect("a body").1).collect()
}

#[test]
fn records_go_in_order_with_their_ids_over_one_connection() {
    let with = json!({ "records-max": 2, "headers": { "X-From": "test" }, "method": "PUT" });
    let mut scene = Scene::new(vec![], with);
    assert_eq!(scene.write(&["a", "b", "c"]), Ok(vec![]));
    let seen = scene.server.seen();
    assert_eq!(bodies(&seen), ["a\nb\n", "c\n"]);
    let ids = batch(&["a", "b", "c"]).1;
    let expected = format!("conveyor-record-ids: {},{}\r\n", ids[0], ids[1]);
    for part in
        ["PUT /in?key=1 HTTP/1.1\r\n", "x-from: test\r\n", "host: 127.0.0.1:", "text/plain", &expected]
    {
        assert!(seen[0].contains(part), "{part}: {}", seen[0]);
    }
    let barrier = Barrier { number: 1, then: Then::GoOn };
    let token = scene.runtime.block_on(scene.sink.prepare(barrier)).expect("a token");
    scene.runtime.block_on(scene.sink.commit(&token)).expect("committed");
}

#[test]
fn what_was_delivered_of_a_batch_is_not_sent_again_with_the_rest() {
    let later = Act::Say("503 Service Unavailable\r\nretry-after: 3\r\ncontent-length: 4\r\n\r\nbusy");
    let mut scene = Scene::new(vec![OK, later, OK, OK], json!({ "format": "record" }));
    let error = scene.write(&["a", "b", "c"]).expect_err("it is to be sent later");
    assert_eq!(error.kind, ConnectErrorKind::Retry { after: Duration::from_secs(3) });
    assert!(error.to_string().contains("503") && error.to_string().contains("busy"), "{error}");
    assert!(!error.to_string().contains("key=1"), "{error}");
    assert_eq!(scene.write(&["a", "b", "c"]), Ok(vec![]));
    let seen = scene.server.seen();
    assert_eq!(bodies(&seen), ["a", "b", "b", "c"]);
    let key = |request: &String| {
        request.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).map(str::to_owned)
    };
    assert!(key(&seen[1]).is_some() && key(&seen[1]) == key(&seen[2]) && key(&seen[1]) != key(&seen[3]));
}

#[test]
fn what_is_too_much_is_halved_and_what_is_refused_is_told() {
    let too_much = Act::Say("413 Content Too Large\r\ncontent-length: 0");
    let bad = Act::Say("400 Bad Request\r\ncontent-length: 5\r\n\r\nno id");
    let mut scene = Scene::new(vec![too_much, too_much, too_much, OK, bad], json!({}));
    let refusals = scene.write(&["a", "b", "c", "d"]).expect("refusals");
    let told: Vec<_> = refusals.iter().map(|refusal| (refusal.row, refusal.code.as_str())).collect();
    assert_eq!(told, [(0, "http-413"), (2, "http-400"), (3, "http-400")]);
    assert!(refusals[1].message.contains("no id"), "{refusals:?}");
    assert_eq!(bodies(&scene.server.seen()), ["a\nb\nc\nd\n", "a\nb\n", "a\n", "b\n", "c\nd\n"]);
    // A format that cannot say a record refuses it, and the rest goes.
    let refusals = scene.write(&["x", "y\nz"]).expect("refusals");
    assert_eq!((refusals.len(), refusals[0].row, bodies(&scene.server.seen())), (1, 1, vec!["x\n"]));
}

#[test]
fn a_server_that_does_not_answer_is_tried_again_and_one_that_says_no_is_not() {
    let cases = [
        (Act::Close, true, "broke off"),
        (Act::Hang, true, "no answer within"),
        (Act::Say("nonsense"), true, "broke off"),
        (Act::Say("401 Unauthorized\r\ncontent-length: 0"), false, "token"),
        (Act::Say("404 Not Found\r\ncontent-length: 0"), false, "correct `url`"),
        (
            Act::Say("301 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0"),
            false,
            "http://127.0.0.1:1/",
        ),
    ];
    for (act, again, says) in cases {
        let mut scene = Scene::new(vec![act], json!({ "timeout": "300ms" }));
        let error = scene.write(&["a"]).expect_err("it was taken");
        assert_eq!(matches!(error.kind, ConnectErrorKind::Retry { .. }), again, "{act:?}: {error}");
        assert!(error.to_string().contains(says), "{act:?}: {error}");
        assert_eq!(scene.server.seen().len(), 1, "{act:?}: it was sent again at once");
    }
    // A connection that was closed while nobody used it says nothing about the next request.
    let mut scene = Scene::new(vec![Act::SayAndClose("200 OK\r\ncontent-length: 0")], json!({}));
    assert_eq!(scene.write(&["a"]), Ok(vec![]));
    assert_eq!(scene.write(&["b"]), Ok(vec![]));
    assert_eq!(bodies(&scene.server.seen()), ["a\n", "b\n"]);
    // Nobody listens on a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let mut sink =
        plan_sink(&spec_to(port, json!({}))).expect("a plan").open(&Stream::Opaque, None).expect("a sink");
    let (batch, ids) = batch(&["a"]);
    let error = scene.runtime.block_on(sink.write(&batch, &ids)).expect_err("nobody is there");
    assert!(matches!(error.kind, ConnectErrorKind::Retry { .. }), "{error}");
}

#[test]
fn several_requests_are_under_way_at_once_where_that_is_asked_for() {
    // The first one is never answered; the others, which come over connections of their own, are.
    let with = json!({ "format": "record", "connections": 3, "timeout": "500ms" });
    let mut scene = Scene::new(vec![Act::Hang], with);
    let error = scene.write(&["a", "b", "c"]).expect_err("one hangs");
    assert!(matches!(error.kind, ConnectErrorKind::Retry { .. }), "{error}");
    let mut first = scene.server.seen();
    assert_eq!(first.len(), 3);
    assert_eq!(scene.write(&["a", "b", "c"]), Ok(vec![]));
    let again = scene.server.seen();
    assert_eq!(again.len(), 1, "what was delivered was sent again: {again:?}");
    first.retain(|request| bodies(std::slice::from_ref(request)) == bodies(&again));
    assert_eq!(first.len(), 1);
}

#[test]
fn options_that_cannot_be_are_named() {
    let cases = [
        (json!({ "url": "ftp://a.com/" }), "/url"),
        (json!({ "url": "https://user@a.com/" }), "/url"),
        (json!({ "url": "/in" }), "/url"),
        (json!({ "url": "https://127.1/" }), "/url"),
        (json!({ "method": "GET" }), "/method"),
        (json!({ "headers": { "host": "b.com" } }), "/headers"),
        (json!({ "headers": { "authorization": "x" } }), "/headers"),
        (json!({ "headers": { "idempotency-key": "x" } }), "/headers"),
        (json!({ "headers": { "x": "a\nb" } }), "/headers"),
        (json!({ "records-max": 201 }), "/records-max"),
        (json!({ "format": "lines", "id-field": "id" }), "/id-field"),
        (json!({ "id-field": "id" }), "/id-field"),
        (json!({ "connections": 65 }), "/connections"),
        (json!({ "timeout": "1h" }), "/timeout"),
        (json!({ "bytes-max": 0 }), "/bytes-max"),
        (json!({ "addresses": ["a.com"] }), "/addresses"),
    ];
    for (mut with, pointer) in cases {
        if with.get("url").is_none() {
            with["url"] = "https://a.com/in".into();
        }
        match plan_sink(&sink_spec(Path::new("."), "http", with.clone())) {
            Err(SpecError::Options(error)) => assert_eq!(error.pointer, pointer, "{with}: {error}"),
            Err(other) => panic!("{with}: {other}"),
            Ok(_) => panic!("{with} was taken"),
        }
    }
    let many = json!({ "url": "https://a.com/", "format": "json", "id-field": "id", "records-max": 5000,
                       "addresses": ["10.0.0.0/8", "[fd00::5]"] });
    assert!(plan_sink(&sink_spec(Path::new("."), "http", many)).is_ok());
}
