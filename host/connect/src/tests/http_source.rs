use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use arrow::array::{Array as _, AsArray as _};
use model::batch::Parts;
use model::manifest::{ColumnType, UnknownFields};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::*;
use crate::Secrets;

/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A source that listens, and what it gives.
struct Scene {
    runtime: Runtime,
    address: SocketAddr,
    source: Option<Box<dyn Source>>,
    /// What the first pull brought, of a spool that had something.
    early: Option<flow::connector::Pulled>,
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

fn listening(dir: &Path, address: SocketAddr, mut with: Value) -> SourceSpec {
    with["listen"] = address.to_string().into();
    let secrets = Secrets::new(|name| match name {
        "TOKEN" => Ok("s3cret".to_owned()),
        _ => Err("there is none; set it".to_owned()),
    });
    SourceSpec { secrets, spool: Some(dir.join("spool/in")), ..spec(dir, "http", with) }
}

impl Scene {
    fn open(spec: &SourceSpec, from: &Places) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let address = spec.with["listen"].as_str().expect("an address").parse().expect("an address");
        let planned = plan_source(spec).expect("a plan");
        let wanted = Wanted { columns: None, times: true };
        let source = runtime.block_on(async { planned.open(&wanted, from) });
        let mut scene = Self { runtime, address, source: Some(source.expect("a source")), early: None };
        // The first pull begins to listen.
        scene.early = scene.pull_for(Duration::from_millis(1));
        scene
    }

    fn new(dir: &Path, with: Value) -> Self {
        Self::open(&listening(dir, free_port(), with), &Places::new())
    }

    fn pull_for(&mut self, wait: Duration) -> Option<flow::connector::Pulled> {
        if let Some(early) = self.early.take() {
            return Some(early);
        }
        let source = self.source.as_mut().expect("it is open");
        self.runtime.block_on(async {
            match tokio::time::timeout(wait, source.pull(LIMITS)).await {
                Ok(pulled) => pulled.expect("pulled"),
                Err(_) => None,
            }
        })
    }

    /// Pulls until so many records have come, the refused ones among them.
    fn pull(&mut self, count: usize) -> (Output, Vec<flow::connector::Pulled>) {
        let (mut output, mut all) = (Output::default(), Vec::new());
        while output.records.len() + output.refused.len() < count {
            let pulled = self.pull_for(PATIENCE).expect("records");
            if let Some(batch) = &pulled.batch {
                output.add(batch);
            }
            output.refused.extend(pulled.refused.iter().cloned());
            all.push(pulled);
        }
        (output, all)
    }

    fn peer(&self) -> Peer {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Peer(stream)
    }

    fn post(&self, headers: &str, body: &[u8]) -> (u16, String) {
        self.peer().post(headers, body)
    }
}

struct Peer(TcpStream);

impl Peer {
    fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).expect("sent");
    }

    /// The status, and the head and body.
    fn answer(&mut self) -> (u16, String) {
        let mut read = Vec::new();
        let mut byte = [0];
        while !read.ends_with(b"\r\n\r\n") {
            assert_eq!(self.0.read(&mut byte).expect("an answer"), 1, "{}", String::from_utf8_lossy(&read));
            read.push(byte[0]);
        }
        let head = String::from_utf8(read).expect("text");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
        self.0.read_exact(&mut body).expect("a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head + &String::from_utf8_lossy(&body))
    }

    fn post(&mut self, headers: &str, body: &[u8]) -> (u16, String) {
        self.send(format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{headers}\r\n", body.len()));
        self.send(body);
        self.answer()
    }
}

#[test]
fn what_is_answered_is_durable_and_comes_in_order_with_its_numbers() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::new(dir.path(), json!({}));
    let mut peer = scene.peer();
    assert_eq!(peer.post("", b"one\ntwo\n").1.rsplit("\r\n").next(), Some("{\"records\":2,\"first\":0}\n"));
    // The same connection takes the next one; whatever is wrong with a request is no reason to end it.
    assert_eq!(peer.post("content-type: application/json\r\n", b"[{\"a\":1},").0, 400);
    assert_eq!(peer.post("content-type: application/json\r\n", b"[{\"a\":1},3]").0, 200);
    let (output, _) = scene.pull(4);
    assert_eq!(output.records, ["one", "two", "{\"a\":1}", "3"]);
    let origins: Vec<(String, u64)> = (0..4).map(|number| ("spool".to_owned(), number)).collect();
    assert_eq!(output.origins, origins);
}

#[test]
fn what_was_not_committed_comes_again_with_the_same_numbers() {
    let dir = tempfile::tempdir().expect("a directory");
    let address = free_port();
    let spec = listening(dir.path(), address, json!({ "headers": ["x-from"], "key-header": "x-key" }));
    let mut scene = Scene::open(&spec, &Places::new());
    assert_eq!(scene.post("x-from: a\r\nx-key: k\r\n", b"1\n2").0, 200);
    assert_eq!(scene.post("", b"3\n").0, 200);
    assert_eq!(scene.post("x-from: b\r\nx-from: c\r\n", b"4").0, 200);
    let (first, pulled) = scene.pull(4);
    let cursor = pulled[0].cursor.clone().expect("a cursor");
    drop(scene);
    let shown = |pulled: &[flow::connector::Pulled]| -> Vec<String> {
        let mut shown = Vec::new();
        for batch in pulled.iter().filter_map(|pulled| pulled.batch.as_ref()) {
            let parts = batch.parts();
            let times = parts.times.as_ref().expect("times").flat().expect("flat");
            let keys = parts.keys.as_ref().map(|keys| keys.flat().expect("flat"));
            let headers = parts.headers.as_ref().map(|headers| headers.flat().expect("flat"));
            for row in 0..batch.rows() {
                let key = keys.as_ref().map(|keys| keys.as_binary::<i32>()).filter(|keys| keys.is_valid(row));
                let key = key.map(|keys| String::from_utf8_lossy(keys.value(row)).into_owned());
                let of = headers.as_ref().map(|headers| headers.as_map().value(row));
                let of = of.map(|of| {
                    let values = of.column(1).as_binary::<i32>().clone();
                    values.iter().flatten().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
                });
                let of: Vec<String> = of.unwrap_or_default();
                let time = times.as_primitive::<arrow::datatypes::TimestampMicrosecondType>().value(row);
                shown.push(format!("{key:?} {of:?} {time}"));
            }
        }
        shown
    };
    let before = shown(&pulled);
    assert!(before[0].starts_with("Some(\"k\") [\"a\"]") && before[0][..16] == before[1][..16], "{before:?}");
    assert!(before[2].starts_with("None []") && before[3].starts_with("None [\"b\", \"c\"]"), "{before:?}");
    // Nothing was committed: all of it comes again, as it was.
    let mut scene = Scene::open(&spec, &Places::new());
    let (again, pulled) = scene.pull(4);
    assert_eq!((again.records, again.origins, shown(&pulled)), (first.records, first.origins, before));
    drop(scene);
    // From a place on, what is behind it comes.
    let mut scene = Scene::open(&spec, &Places::from([(cursor.split, cursor.place)]));
    assert_eq!(scene.post("", b"more").0, 200);
    let rest = scene.pull(1).0;
    assert_eq!(rest.origins.last().map(|(_, number)| *number), Some(4));
}

#[test]
fn rows_are_read_by_their_schema_and_bad_ones_are_refused_with_their_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut spec = listening(dir.path(), free_port(), json!({ "format": "jsonl" }));
    spec = declare(spec, &[("id", ColumnType::Int), ("name", ColumnType::Text)]);
    spec.unknown = UnknownFields::Ignore;
    let mut scene = Scene::open(&spec, &Places::new());
    let body = b"{\"id\":1,\"name\":\"a\"}\n{\"id\":\"x\"}\n{\"id\":3,\"name\":\"c\",\"more\":0}\n[]\n";
    assert_eq!(scene.post("", body).0, 200);
    let (output, _) = scene.pull(4);
    assert_eq!(output.records, ["{\"id\":1,\"name\":\"a\"}", "{\"id\":3,\"name\":\"c\"}"]);
    assert_eq!(output.origins.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [0, 2]);
    let refused: Vec<_> = output.refused.iter().map(|refused| (refused.offset, &refused.raw[..])).collect();
    assert_eq!(refused, [(1, &b"{\"id\":\"x\"}"[..]), (3, b"[]")]);
}

#[test]
fn a_row_that_is_refused_keeps_its_key_its_headers_and_the_time_at_which_it_came() {
    let dir = tempfile::tempdir().expect("a directory");
    let with = json!({ "format": "jsonl", "headers": ["x-from"], "key-header": "x-key" });
    let spec = declare(listening(dir.path(), free_port(), with), &[("id", ColumnType::Int)]);
    let mut scene = Scene::open(&spec, &Places::new());
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(200_000));
    assert_eq!(scene.post("x-key: k1\r\nx-from: a\r\n", b"{\"id\":1}\n").0, 200);
    assert_eq!(scene.post("x-key: k2\r\nx-from: b\r\n", long.as_bytes()).0, 200);
    let (_, pulled) = scene.pull(2);
    let mut refused = pulled.iter().filter(|pulled| !pulled.refused.is_empty());
    let refused = refused.next().expect("a refused record");
    assert!(refused.refused[0].raw == long.as_bytes(), "it is not whole");
    let Parts { times, keys, headers } = &refused.refused_parts;
    let keys = keys.as_ref().expect("keys").flat().expect("flat");
    assert_eq!(keys.as_binary::<i32>().iter().collect::<Vec<_>>(), [Some(&b"k2"[..])]);
    let headers = headers.as_ref().expect("headers").flat().expect("flat");
    let values = headers.as_map().value(0);
    assert_eq!(values.column(1).as_binary::<i32>().value(0), b"b");
    assert!(times.as_ref().is_some_and(|times| times.len() == 1));
}

#[test]
fn each_thing_that_is_wrong_has_its_status() {
    let dir = tempfile::tempdir().expect("a directory");
    let with = json!({
        "path": "/in", "token": { "secret": "TOKEN" }, "body-bytes-max": 100, "records-max": 3,
        "request-timeout": "300ms",
    });
    let scene = Scene::new(dir.path(), with);
    let good = "authorization: Bearer s3cret\r\n";
    let line = |line: &str, headers: &str, body: &str| {
        let mut peer = scene.peer();
        peer.send(format!("{line} HTTP/1.1\r\nhost: x\r\n{headers}\r\n{body}"));
        peer.answer()
    };
    let post = |headers: &str, body: &str| {
        line("POST /in", &format!("{good}{headers}content-length: {}\r\n", body.len()), body)
    };
    let cases = [
        (post("", "x"), 200, "{\"records\":1,"),
        (line("POST /", good, ""), 404, "post to /in"),
        (line("GET /in", good, ""), 405, "allow: POST"),
        (line("POST /in", "content-length: 1\r\n", "x"), 401, "www-authenticate: Bearer"),
        (line("POST /in", "authorization: Bearer nope\r\ncontent-length: 1\r\n", "x"), 401, "Authorization"),
        (post("content-type: image/png\r\n", "x"), 415, "text/plain"),
        (post("content-encoding: br\r\n", "x"), 415, "gzip, zstd"),
        (post("content-encoding: gzip\r\n", "x"), 400, "not gzip"),
        // Nothing is wrong with these.
        (post("", ""), 200, "{\"records\":0}"),
        (post("content-type:\r\n", "x"), 200, "{\"records\":1,"),
        (post("content-type: text/plain; charset=utf-16\r\n", "x"), 415, "`charset=utf-16`"),
        (post("content-type: application/x-ndjson\r\n", "{}\n{\n"), 400, "line 2 is not JSON"),
        (post("", "1\n2\n3\n4\n"), 413, "more than 3 records"),
        (line("POST /in", &format!("{good}content-length: 101\r\n"), ""), 413, "longer than 100 bytes"),
        (
            line(
                "POST /in",
                &format!("{good}transfer-encoding: chunked\r\n"),
                &format!("65\r\n{}\r\n", "x".repeat(101)),
            ),
            413,
            "longer than 100 bytes",
        ),
        (line("POST /in", &format!("{good}content-length: 2\r\n"), "x"), 408, "longer than 300ms"),
        (
            line("POST /in", &format!("{good}transfer-encoding: chunked\r\n"), "2\r\nab\r\n0\r\n\r\n"),
            200,
            "records",
        ),
    ];
    for (at, ((status, text), expected, says)) in cases.into_iter().enumerate() {
        assert_eq!(status, expected, "case {at}: {text}");
        assert!(text.contains(says), "case {at} does not say `{says}`: {text}");
        assert!(!text.contains("s3cret"));
    }
    // A head that does not come to its end ends the connection.
    let mut peer = scene.peer();
    peer.send("POST /in HTTP/1.1\r\nhost: x\r\n");
    let mut rest = Vec::new();
    assert!(peer.0.read_to_end(&mut rest).is_ok(), "it is still open");
    // What all of this came to can be seen.
    let figures = scene.source.as_ref().expect("a source").figures().expect("figures").figures();
    let counted = |status: &str| {
        let of = |figure: &&flow::connector::Figure| {
            figure.name == "source_requests" && figure.label == Some(("status", status.to_owned()))
        };
        figures.iter().find(of).map_or(0, |figure| figure.value)
    };
    let found = ["200", "400", "401", "404", "405", "408", "413", "415"].map(counted);
    assert_eq!(found, [4, 2, 2, 1, 1, 1, 3, 3]);
}

#[test]
fn a_sender_that_reads_after_its_whole_body_sees_why_it_was_refused() {
    /// More than the buffers of both sockets take.
    const BODY: usize = 24 << 20;
    let dir = tempfile::tempdir().expect("a directory");
    let with = json!({ "path": "/in", "token": { "secret": "TOKEN" }, "body-bytes-max": "1MiB" });
    let scene = Scene::new(dir.path(), with);
    let (good, length) = ("authorization: Bearer s3cret\r\n", format!("content-length: {BODY}\r\n"));
    let body = vec![b'x'; BODY];
    let chunk = [format!("{BODY:x}\r\n").as_bytes(), &body[..], b"\r\n0\r\n\r\n"].concat();
    let cases = [
        ("/in", length.clone(), &body, 401),
        ("/elsewhere", format!("{good}{length}"), &body, 404),
        ("/in", format!("{good}{length}content-type: image/png\r\n"), &body, 415),
        ("/in", format!("{good}{length}"), &body, 413),
        ("/in", format!("{good}transfer-encoding: chunked\r\n"), &chunk, 413),
    ];
    for (path, headers, body, expected) in cases {
        let mut peer = scene.peer();
        peer.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n"));
        peer.send(body);
        let (status, text) = peer.answer();
        assert!(status == expected && text.contains("connection: close"), "{path} {headers}: {text}");
    }
    // A body that is short is read to its end, and the connection takes the next request.
    let mut peer = scene.peer();
    peer.send(format!("POST /elsewhere HTTP/1.1\r\nhost: x\r\n{good}content-length: 3\r\n\r\n1\n2"));
    assert_eq!(peer.answer().0, 404);
    peer.send(format!("POST /in HTTP/1.1\r\nhost: x\r\n{good}content-length: 3\r\n\r\n1\n2"));
    assert_eq!(peer.answer().0, 200);
}

#[test]
fn a_full_spool_says_429_and_takes_more_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::new(dir.path(), json!({ "spool-bytes-max": "1MiB", "body-bytes-max": "200KiB" }));
    let body = vec![b'x'; 60_000];
    let mut peer = scene.peer();
    let mut taken = 0;
    let (status, text) = loop {
        match peer.post("", &body) {
            (200, _) => taken += 1,
            other => break other,
        }
    };
    assert!(status == 429 && text.contains("retry-after: 1") && text.contains("full"), "{status} {text}");
    assert!(taken >= 10, "{taken}");
    let (output, pulled) = scene.pull(taken);
    assert_eq!(output.records.len(), taken);
    let places = pulled.last().and_then(|pulled| pulled.cursor.clone());
    let places = places.map(|cursor| Places::from([(cursor.split, cursor.place)])).expect("a cursor");
    let source = scene.source.as_mut().expect("a source");
    scene.runtime.block_on(source.committed(&places)).expect("committed");
    let begun = std::time::Instant::now();
    while peer.post("", &body).0 != 200 {
        assert!(begun.elapsed() < PATIENCE, "it is full for ever");
    }
}

/// The certificate is for `localhost`, by an authority of its own.
const CERT: &[u8] = include_bytes!("../../../../tests/tests/it/tls/localhost.der");
const KEY: &[u8] = include_bytes!("../../../../tests/tests/it/tls/localhost.key.der");
const AUTHORITY: &[u8] = include_bytes!("../../../../tests/tests/it/tls/ca.der");

fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

#[test]
fn a_sink_sends_over_tls_to_a_source_that_it_believes() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).expect("written");
    write("cert.pem", pem("CERTIFICATE", CERT));
    write("key.pem", pem("PRIVATE KEY", KEY));
    write("ca.pem", pem("CERTIFICATE", AUTHORITY));
    write("token", "s3cret\n".to_owned());
    let tls = json!({ "cert": "cert.pem", "key": "key.pem" });
    let mut scene = Scene::new(dir.path(), json!({ "tls": tls, "token": { "secret": "TOKEN" } }));
    let values = arrow::array::BinaryArray::from_iter_values(["a", "b"]);
    let lineage = model::lineage::Lineage::of_source(model::lineage::SourceRows {
        pipeline: "p".into(),
        source: "in".into(),
        split: "0".into(),
        offsets: model::lineage::Offsets::From(0),
    });
    let batch = Batch::from_values(values, model::batch::Parts::default(), lineage).expect("a batch");
    let ids = [batch.lineage().id(0), batch.lineage().id(1)];
    let send = |mut with: Value| {
        with["token"] = json!({ "file": "token" });
        let planned = crate::plan_sink(&super::sinks::sink_spec(dir.path(), "http", with)).expect("a plan");
        let mut sink = planned.open(&model::plan::Stream::Opaque, None).expect("a sink");
        scene.runtime.block_on(sink.write(&batch, &ids)).map_err(|error| error.to_string())
    };
    let (port, ca) = (scene.address.port(), "ca.pem");
    let url = format!("https://localhost:{port}/");
    let stranger = send(json!({ "url": url })).expect_err("its authority is not known");
    assert!(stranger.contains("TLS") && !stranger.contains("s3cret"), "{stranger}");
    let other = send(json!({ "url": format!("https://127.0.0.1:{port}/"), "ca": ca }));
    assert!(other.as_ref().is_err_and(|error| error.contains("TLS")), "it is not its name: {other:?}");
    let plain = send(json!({ "url": format!("http://localhost:{port}/") }));
    assert!(plain.as_ref().is_err_and(|error| error.contains("broke off")), "{plain:?}");
    assert_eq!(send(json!({ "url": url, "ca": ca })), Ok(vec![]));
    assert_eq!(scene.pull(2).0.records, ["a", "b"]);
}

#[test]
fn what_is_no_certificate_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = json!({ "tls": { "cert": "none.pem", "key": "none.pem" } });
    let spec = listening(dir.path(), free_port(), missing);
    let opened = plan_source(&spec).expect("a plan").open(&Wanted::default(), &Places::new());
    let error = opened.map(|_| ()).expect_err("there is no certificate").to_string();
    assert!(error.contains("none.pem") && error.contains("PEM"), "{error}");
    std::fs::write(dir.path().join("bad.pem"), "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").expect("written");
    let spec = listening(dir.path(), free_port(), json!({ "tls": { "cert": "bad.pem", "key": "bad.pem" } }));
    let opened = plan_source(&spec).expect("a plan").open(&Wanted::default(), &Places::new());
    let error = opened.map(|_| ()).expect_err("it is no certificate").to_string();
    assert!(error.contains("bad.pem") && !error.contains("c2VjcmV0"), "{error}");
}

#[test]
fn options_that_cannot_be_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let cases = [
        (json!({ "listen": "8080" }), "/listen"),
        (json!({ "path": "in" }), "/path"),
        (json!({ "body-bytes-max": 0 }), "/body-bytes-max"),
        (json!({ "body-bytes-max": "65MiB" }), "/body-bytes-max"),
        (json!({ "spool-bytes-max": "1KiB" }), "/spool-bytes-max"),
        (json!({ "spool-bytes-max": "8MiB" }), "/spool-bytes-max"),
        (json!({ "connections-max": 0 }), "/connections-max"),
        (json!({ "records-max": 0 }), "/records-max"),
        (json!({ "request-timeout": "2h" }), "/request-timeout"),
        (json!({ "headers": ["Authorization"] }), "/headers"),
        (json!({ "key-header": "a b" }), "/key-header"),
        (json!({ "format": "csv" }), "/format"),
        (json!({ "token": { "env": "X" } }), "/token"),
    ];
    for (with, pointer) in cases {
        match plan_source(&spec(dir.path(), "http", with.clone())) {
            Err(SpecError::Options(error)) => assert_eq!(error.pointer, pointer, "{with}: {error}"),
            Err(other) => panic!("{with}: {other}"),
            Ok(_) => panic!("{with} was taken"),
        }
    }
    let opened = |spec: &SourceSpec| {
        plan_source(spec)
            .expect("a plan")
            .open(&Wanted::default(), &Places::new())
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    let error = opened(&spec(dir.path(), "http", json!({}))).expect_err("there is no directory");
    assert!(error.contains("--state DIR"), "{error}");
    let error = opened(&listening(dir.path(), free_port(), json!({ "token": { "secret": "NONE" } })));
    assert!(error.as_ref().is_err_and(|error| error.contains("NONE")), "{error:?}");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let error = opened(&listening(dir.path(), taken.local_addr().expect("an address"), json!({})));
    assert!(error.as_ref().is_err_and(|error| error.contains("cannot be listened on")), "{error:?}");
}
