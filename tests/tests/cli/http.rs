//! The source and the sink `http` in the real binary: what was acknowledged is delivered, whatever dies or is full.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::scene::{Ran, Scene};

/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(2);

/// Where a process may die in the spool.
pub const IN_THE_SPOOL: [&str; 5] =
    ["spool-written", "spool-synced", "spool-answered", "segment-begun", "segment-removed"];

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn start(scene: &Scene, more: &[&str]) -> Child {
    start_to_die(scene, more, None)
}

/// `fault`: where it dies by itself.
fn start_to_die(scene: &Scene, more: &[&str], fault: Option<&str>) -> Child {
    let mut args = vec!["run", "pipeline.yaml", "--state", "state"];
    args.extend(more);
    let mut command = scene.command(&args);
    if let Some(fault) = fault {
        command.env("CONVEYOR_FAULT", fault);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

/// Asks it to stop, and waits for its end.
fn stop(child: Child) -> Ran {
    let killed =
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill is there");
    assert!(killed.success());
    Ran::of(child.wait_with_output().expect("an end"))
}

#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        sleep(TICK);
    }
}

/// Reads a head and the body that it says.
fn read_message(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// One connection to the source, made again where it breaks.
struct Peer {
    port: u16,
    stream: Option<TcpStream>,
}

impl Peer {
    fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// The status of the answer. None where there was none: nobody knows what became of it.
    fn post(&mut self, body: &[u8]) -> Option<(u16, String)> {
        let answer = self.try_post(body);
        if answer.is_none() {
            self.stream = None;
        }
        answer
    }

    fn try_post(&mut self, body: &[u8]) -> Option<(u16, String)> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
                stream.set_read_timeout(Some(PATIENCE)).ok()?;
                none.insert(stream)
            }
        };
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
        let (head, body) = read_message(stream)?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, head + &String::from_utf8_lossy(&body)))
    }
}

/// Senders that never send a record twice, and know which ones were acknowledged.
struct Flood {
    senders: Vec<JoinHandle<Vec<String>>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
}

impl Flood {
    fn start(port: u16, senders: usize) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let sender = |number: usize| {
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            std::thread::spawn(move || {
                let (mut peer, mut known, mut next) = (Peer::new(port), Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let count = if number.is_multiple_of(2) { 1 } else { 1 + next % 20 };
                    let records: Vec<String> =
                        (next..next + count).map(|n| format!("{number}-{n}")).collect();
                    next += count;
                    match peer.post(records.join("\n").as_bytes()) {
                        Some((200, _)) => {
                            acknowledged.fetch_add(records.len(), Ordering::Relaxed);
                            known.extend(records);
                        }
                        Some((429 | 503, _)) | None => sleep(TICK),
                        Some((status, text)) => panic!("{status}: {text}"),
                    }
                }
                known
            })
        };
        let senders = (0..senders).map(sender).collect();
        Self { senders, stop, acknowledged }
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.senders.into_iter().flat_map(|sender| sender.join().expect("a sender")).collect()
    }
}

fn counts(lines: impl IntoIterator<Item = String>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for line in lines {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

#[test]
fn what_was_acknowledged_before_a_kill_arrives_once() {
    let port = free_port();
    let scene = Scene::with(&format!(
        "pipeline: taken\ncheckpoint: {{ interval: 30ms }}\nstages:\n  in: {{ source: http, with: {{ listen: \
         '127.0.0.1:{port}', spool-bytes-max: 1MiB, body-bytes-max: 64KiB }} }}\n  out: {{ sink: file, from: in, with: \
         {{ path: out.txt }} }}\n"
    ));
    let mut random = fastrand::Rng::with_seed(11);
    let flood = Flood::start(port, 8);
    let mut went_on = 0;
    // At random, and at each place in the spool.
    for place in [None; 5].into_iter().chain(IN_THE_SPOOL.map(Some)) {
        let before = flood.acknowledged();
        let fault = place.map(|place| format!("{place}@{}", random.u32(1..4)));
        let mut child = start_to_die(&scene, &[], fault.as_deref());
        match &fault {
            None => {
                wait_until("an acknowledgement", || flood.acknowledged() > before + 200);
                sleep(Duration::from_micros(random.u64(0..60_000)));
                child.kill().expect("killed");
            }
            Some(fault) => {
                wait_until(&format!("its death at {fault}"), || child.try_wait().expect("a child").is_some())
            }
        }
        let ran = Ran::of(child.wait_with_output().expect("an end"));
        assert_eq!(ran.code, None, "it was not killed: {}", ran.stderr);
        went_on += usize::from(ran.stderr.contains("goes on from checkpoint"));
    }
    let child = start(&scene, &[]);
    let acknowledged = flood.acknowledged();
    wait_until("another acknowledgement", || flood.acknowledged() > acknowledged + 200);
    let known = flood.end();
    stop(child).code(0);
    // What was taken while it stopped is in the spool: the next run has it.
    let child = start(&scene, &[]);
    let all_there = || {
        let found = counts(scene.read("out.txt").lines().map(str::to_owned));
        known.iter().all(|record| found.contains_key(record))
    };
    wait_until("what was acknowledged", all_there);
    stop(child).code(0);
    let found = counts(scene.read("out.txt").lines().map(str::to_owned));
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{} records are there twice, such as {:?}", twice.len(), twice[0]);
    assert!(known.len() > 1200 && went_on >= 3, "{} records, {went_on} runs went on", known.len());
}

#[test]
fn without_a_directory_for_its_spool_the_source_says_what_to_add() {
    let scene = Scene::with(&format!(
        "pipeline: p\nstages:\n  in: {{ source: http, with: {{ listen: '127.0.0.1:{}' }} }}\n  out: {{ sink: stdout, \
         from: in }}\n",
        free_port()
    ));
    scene.run_pipeline().code(2).says(&["`in` cannot be opened", "run with `--state DIR`"]);
    scene.run(&["validate", "pipeline.yaml"]).code(0);
}

/// A server that answers with a status, which may change, and keeps what it got.
pub struct Receiver {
    pub port: u16,
    pub status: Arc<AtomicU16>,
    /// Lines that it answered with 200.
    taken: Arc<Mutex<Vec<String>>>,
    /// Those that came alone, with their ids.
    pub named: Arc<Mutex<Vec<(String, String)>>>,
    pub asked: Arc<AtomicUsize>,
}

impl Receiver {
    pub fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let status = Arc::new(AtomicU16::new(status));
        let (taken, named) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let asked = Arc::new(AtomicUsize::new(0));
        let receiver = Self {
            port,
            status: status.clone(),
            taken: taken.clone(),
            named: named.clone(),
            asked: asked.clone(),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let (status, taken, asked) = (status.clone(), taken.clone(), asked.clone());
                let named = named.clone();
                std::thread::spawn(move || {
                    while let Some((head, body)) = read_message(&mut stream) {
                        asked.fetch_add(1, Ordering::Relaxed);
                        let body = String::from_utf8_lossy(&body).into_owned();
                        // A record that says so is refused for good.
                        let status = if body.contains("bad") { 422 } else { status.load(Ordering::Relaxed) };
                        if status == 200 {
                            if let Some(id) =
                                head.lines().find_map(|line| line.strip_prefix("idempotency-key: "))
                            {
                                named.lock().expect("no panic").push((id.to_owned(), body.clone()));
                            }
                            taken.lock().expect("no panic").extend(body.lines().map(str::to_owned));
                        }
                        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        receiver
    }

    pub fn taken(&self) -> Vec<String> {
        self.taken.lock().expect("no panic").clone()
    }
}

#[test]
fn a_receiver_that_is_down_fills_the_spool_and_nothing_is_lost() {
    let (port, receiver) = (free_port(), Receiver::start(503));
    let scene = Scene::with(&format!(
        "pipeline: full\ncheckpoint: {{ interval: 20ms }}\nstages:\n  in: {{ source: http, with: {{ listen: \
         '127.0.0.1:{port}', spool-bytes-max: 1MiB, body-bytes-max: 300KiB }} }}\n  out: {{ sink: http, from: in, \
         with: {{ url: 'http://127.0.0.1:{}/' }}, retry: {{ attempts: 1000, backoff: 10ms..50ms }} }}\n",
        receiver.port
    ));
    let child = start(&scene, &[]);
    wait_until("the source", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut peer = Peer::new(port);
    let mut known = Vec::new();
    let text = "x".repeat(20_000);
    let mut send = |known: &mut Vec<String>| {
        let record = format!("{}-{text}", known.len());
        match peer.post(record.as_bytes()) {
            Some((200, _)) => {
                known.push(record);
                200
            }
            Some((status, text)) => {
                assert!(status == 429 && text.contains("retry-after: 1"), "{status} {text}");
                status
            }
            None => panic!("no answer"),
        }
    };
    while send(&mut known) == 200 {
        assert!(known.len() < 5000, "it takes whatever comes");
    }
    let full_at = known.len();
    assert_eq!(receiver.taken().len(), 0);
    receiver.status.store(200, Ordering::Relaxed);
    wait_until("room in the spool", || send(&mut known) == 200);
    wait_until("everything", || receiver.taken().len() >= known.len());
    assert_eq!(receiver.taken(), known, "in order, and nothing missing");
    stop(child).code(0);
    assert!(full_at > 30, "{full_at}");
    // All of it was delivered, and nothing comes again.
    let child = start(&scene, &[]);
    wait_until("the source", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    stop(child).code(0).says(&["0 read"]);
    assert_eq!(receiver.taken().len(), known.len());
}

#[test]
fn what_a_server_refuses_for_good_is_a_dead_letter_and_an_id_stays_the_same() {
    let receiver = Receiver::start(200);
    let scene = Scene::with(&format!(
        "pipeline: sent\nstages:\n  in: {{ source: file, with: {{ path: in.txt, format: lines }} }}\n  out: {{ sink: \
         http, from: in, with: {{ url: 'http://127.0.0.1:{}/', format: record }} }}\n",
        receiver.port
    ));
    scene.write("in.txt", "one\nbad\nthree\n");
    scene.run_pipeline().code(0);
    assert_eq!(receiver.taken(), ["one", "three"]);
    let letters = scene.letters("sent.dead-letters");
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0]["code"].as_str(), letters[0]["stage"].as_str()), (Some("http-422"), Some("out")));
    // A server that knows nothing of the path is a mistake in the manifest, which no other try mends.
    receiver.status.store(404, Ordering::Relaxed);
    let asked = receiver.asked.load(Ordering::Relaxed);
    scene.run_pipeline().code(1).says(&["404", "correct `url`"]);
    assert_eq!(receiver.asked.load(Ordering::Relaxed), asked + 1);
}

#[test]
fn both_arms_of_a_diamond_have_ids_of_their_own_which_stay_the_same_after_a_kill() {
    const LINES: usize = 6000;
    let receiver = Receiver::start(200);
    let scene = Scene::with(&format!(
        "pipeline: diamond\ncheckpoint: {{ interval: 10ms }}\nstages:\n  in: {{ source: file, with: {{ path: in.txt, \
         format: lines }} }}\n  a: {{ transform: GUEST(probe-run), from: in, with: {{ at: never, then: panic }} }}\n  b: \
         {{ transform: GUEST(probe-run), from: in, with: {{ at: never, then: panic }} }}\n  out: {{ sink: http, from: \
         [a, b], with: {{ url: 'http://127.0.0.1:{}/', format: record }} }}\n",
        receiver.port
    ));
    scene.write("in.txt", (0..LINES).map(|n| format!("record {n}\n")).collect::<String>());
    // Two loops prepare: it dies in the third checkpoint, and what was sent since the second comes again.
    let mut child = start_to_die(&scene, &[], Some("sinks-prepared@5"));
    wait_until("its death", || child.try_wait().expect("a child").is_some());
    let ran = Ran::of(child.wait_with_output().expect("an end"));
    assert_eq!(ran.code, None, "it was not killed: {}", ran.stderr);
    scene.run(&["run", "pipeline.yaml", "--state", "state"]).code(0);
    let named = receiver.named.lock().expect("no panic").clone();
    assert!(named.len() > 2 * LINES, "nothing came again: {} requests", named.len());
    let mut ids: HashMap<String, BTreeSet<String>> = HashMap::new();
    for (id, body) in named {
        ids.entry(body).or_default().insert(id);
    }
    assert_eq!(ids.len(), LINES, "records are missing");
    let odd = ids.iter().find(|(_, ids)| ids.len() != 2);
    assert!(odd.is_none(), "a record has not one id for each arm: {odd:?}");
    let all: BTreeSet<&String> = ids.values().flatten().collect();
    assert_eq!(all.len(), 2 * LINES, "two records have one id");
}

/// The memory that a process takes up, in MiB; none of one that has ended.
fn resident(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? >> 10)
}

/// Each call keeps to its bound, and all of them would not fit into memory. While a sink is held no barrier passes, so that
/// the loop has to wait with nothing under way.
#[test]
fn a_stage_that_writes_much_in_each_call_waits_with_its_sink() {
    const CALLS: usize = 10;
    let receiver = Receiver::start(503);
    let scene = Scene::with(&format!(
        "pipeline: much\nstages:\n  in: {{ source: file, with: {{ path: in.txt }}, batch: {{ records: 1 }} }}\n  probe: {{ \
         transform: GUEST(probe-state), from: in, limits: {{ fuel-per-record: 1G, batch-time: 60s }} }}\n  out: {{ sink: \
         http, from: probe, with: {{ url: 'http://127.0.0.1:{}/' }}, retry: {{ attempts: 1000, backoff: 100ms..500ms }} \
         }}\n",
        receiver.port
    ));
    scene.write("in.txt", (0..CALLS).map(|n| format!("fill k{n}- 60\n")).collect::<String>());
    let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state", "--output", "json"]);
    command.env("CONVEYOR_LOG", "error").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary starts");
    // Until it has come to where it waits.
    let (mut held, mut same, begun) = (0, 0, Instant::now());
    while let Some(now) = resident(&child).filter(|_| same < 20 && begun.elapsed() < PATIENCE) {
        same = if now > 128 && now == held { same + 1 } else { 0 };
        held = now;
        sleep(Duration::from_millis(100));
    }
    receiver.status.store(200, Ordering::Relaxed);
    let ran = Ran::of(child.wait_with_output().expect("it ends")).code(0);
    let stages = &ran.json()["pipelines"][0]["stages"];
    assert_eq!(stages[1]["state"]["keys"], 60 * CALLS, "{stages}");
    assert_eq!(receiver.taken().len(), CALLS);
    // More than 128 MiB with what one call brings, and what the process takes up besides.
    assert!(held < 400, "{held} MiB while it waited");
}
