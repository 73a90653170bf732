//! SIGKILL of a node at named places and at random while pipelines flow and change: what was acknowledged is there at the
//! next start, and each output has every record once, in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use disk::fault::OF_CONTROL;
use fastrand::Rng;
use serde_json::{Value, json};

use super::{Up, append, append_to, ask, in_order, lines, manifest, verb};
use crate::faults::count;
use crate::scene::Scene;
use crate::watching::PATIENCE;

/// What whoever kills gives up after when nothing comes to the place.
const UNSTRUCK: Duration = Duration::from_millis(500);
/// Places that a start or a command comes to, and places on the way of a checkpoint and of what a sink commits.
const PLACES: [&str; 10] = [
    "entries-synced",
    "entry-applied",
    "checkpoint-begun",
    "sinks-prepared",
    "checkpoint-stored",
    "sinks-committing",
    "sinks-committed",
    "target-appended",
    "part-synced",
    "state-settled",
];
/// Where the very first start dies, one time after the other.
const AT_FIRST: [&str; 2] = ["control-named@1", "vote-synced@1"];
/// Places that take thousands of entries to come to.
const OF_SNAPSHOTS: [&str; 4] = ["piece-synced", "snapshot-synced", "entries-purged", "entries-removed"];
/// More than are kept between two snapshots.
const ENTRIES: usize = 10_000;

/// What is wanted of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    version: u64,
    is_paused: bool,
    rev: u64,
    out: String,
}

/// A pipeline as whoever asks for changes knows it.
struct Known {
    name: &'static str,
    /// The text, the lock and the directory with which it was deployed.
    content: Value,
    /// None while it is deleted.
    wanted: Option<Wanted>,
    /// What it may be instead, because an answer did not come.
    or: Option<Option<Wanted>>,
    /// What its revisions write, by their numbers.
    revisions: BTreeMap<u64, u64>,
    /// All that was ever asked for to be written, by the file, in order.
    asked: Vec<(String, Vec<u64>)>,
    /// The highest number in a revision that was asked for.
    last_rev: u64,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Deploy,
    Rollback,
    Pause,
    Resume,
    Restart,
    Delete,
}

/// A node that may die at any time.
struct Life {
    address: Option<String>,
    token: String,
    /// Gives the signal where the node ended by itself.
    killer: Option<JoinHandle<Option<i32>>>,
    ends: Arc<AtomicBool>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(killer) = self.killer.take() {
            let _ = killer.join();
        }
    }
}

/// How many there were.
#[derive(Debug, Default)]
struct Struck {
    /// By the test, at random.
    kills: usize,
    /// By itself, at a named place.
    faults: BTreeMap<String, usize>,
    /// Acts that were acknowledged.
    acts: BTreeMap<String, usize>,
    /// Acts to which no answer came.
    unanswered: usize,
    /// Of these, those that were done.
    done_unanswered: usize,
}

impl Life {
    /// Starts a node, which dies at the `place` or after `at_most`. It may do so before it listens.
    fn start(scene: &Scene, place: Option<&str>, at_most: Duration) -> Self {
        let mut command = verb(scene, &["up", "--data", "data", "--listen", "127.0.0.1:0", "--threads", "2"]);
        command.stdout(Stdio::null()).stderr(File::create(scene.path("up.txt")).expect("a file"));
        if let Some(place) = place {
            command.env(disk::fault::VARIABLE, place);
        }
        let begun = Instant::now();
        let mut child = command.spawn().expect("the binary starts");
        let ends = Arc::new(AtomicBool::new(false));
        let told = ends.clone();
        let killer = thread::spawn(move || {
            loop {
                if let Some(ended) = child.try_wait().expect("a child") {
                    return Some(ended.signal().unwrap_or(0));
                }
                if begun.elapsed() >= at_most || told.load(Ordering::Relaxed) {
                    child.kill().expect("killed");
                    child.wait().expect("it ends");
                    return None;
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        let mut address = None;
        while address.is_none() && !killer.is_finished() {
            thread::sleep(Duration::from_millis(1));
            let said = scene.read("up.txt");
            address = said
                .split_once("http://")
                .and_then(|(_, rest)| Some(rest.split_once(" has the API")?.0.to_owned()));
        }
        let token = std::fs::read_to_string(scene.path("data/token")).unwrap_or_default().trim().to_owned();
        Self { address, token, killer: Some(killer), ends }
    }

    /// The status code and the body; none where the node has died.
    fn ask(&self, line: &str, body: &str) -> Option<(u16, Value)> {
        let address = self.address.as_ref()?;
        let headers = format!(
            "Host: {address}\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\n",
            self.token
        );
        let (status, body) = ask(address, line, &headers, body)?;
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).ok()? };
        Some((status, body))
    }

    /// Says whether it died at its named place.
    fn end(mut self, scene: &Scene) -> bool {
        let signal = self.killer.take().and_then(|killer| killer.join().expect("joined"));
        assert!(matches!(signal, None | Some(9)), "it ended by itself: {}", scene.read("up.txt"));
        signal.is_some()
    }
}

/// `name` of the pipeline, the file it reads, the file it writes, and what it writes as `rev`.
fn text(name: &str, out: &str, rev: u64) -> String {
    manifest(&rev.to_string())
        .replace("orders", name)
        .replace("in.csv", &format!("{name}.csv"))
        .replace("out.jsonl", out)
}

fn path(name: &str) -> String {
    format!("/v1/namespaces/default/pipelines/{name}")
}

/// What is between two texts.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map(|(found, _)| found).expect(text)
}

/// The pipeline as the node tells it; the number of its revision is first.
fn told(body: &Value) -> Option<(u64, Wanted)> {
    let revision = &body["revision"];
    let manifest = revision["manifest"].as_str().expect("a manifest");
    let wanted = Wanted {
        version: body["version"].as_u64()?,
        is_paused: body["desired"] == "paused",
        rev: between(manifest, "rev: \"", "\"").parse().ok()?,
        out: between(manifest, "with: { path: b", " }").to_owned(),
    };
    (body["desired"] != "deleted").then_some((revision["revision"].as_u64()?, wanted))
}

impl Known {
    /// Of a pipeline that was deployed and runs.
    fn new(name: &'static str, life: &Up) -> Self {
        let (status, body) =
            life.ask(&format!("GET {}", path(name)), &format!("Host: {}\r\n", life.address), "");
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let (number, wanted) = told(&body).expect("a pipeline");
        let revision = &body["revision"];
        let content =
            json!({ "manifest": revision["manifest"], "lock": revision["lock"], "dir": revision["dir"] });
        let asked = vec![(wanted.out.clone(), vec![wanted.rev])];
        Self {
            name,
            content,
            revisions: [(number, wanted.rev)].into(),
            last_rev: wanted.rev,
            wanted: Some(wanted),
            or: None,
            asked,
        }
    }

    /// Compares what the node tells with what is known. Says whether it came to answer.
    fn look(&mut self, life: &Life, struck: &mut Struck, what: &str) -> bool {
        let Some((status, body)) = life.ask(&format!("GET {}", path(self.name)), "") else { return false };
        let there = match status {
            200 => told(&body),
            404 => None,
            _ => panic!("{what}: {body}"),
        };
        let number = there.as_ref().map(|(number, _)| *number);
        let there = there.map(|(_, wanted)| wanted);
        if there != self.wanted {
            let or = self.or.take();
            assert_eq!(
                or.as_ref(),
                Some(&there),
                "{what}: {} was acknowledged as {:?}",
                self.name,
                self.wanted
            );
            struck.done_unanswered += 1;
            if self.wanted.is_none() {
                self.revisions.clear();
            }
        }
        if let (Some(number), Some(wanted)) = (number, &there) {
            let known = *self.revisions.entry(number).or_insert(wanted.rev);
            assert_eq!(known, wanted.rev, "{what}: revision {number} of {} is another", self.name);
        }
        (self.wanted, self.or) = (there, None);
        self.wanted.is_none() || self.stands(life, what)
    }

    /// Whether what runs is what is wanted, or on its way there. False where no answer came.
    fn stands(&self, life: &Life, what: &str) -> bool {
        let Some((200, body)) = life.ask(&format!("GET {}/status", path(self.name)), "") else {
            return false;
        };
        let is_paused = self.wanted.as_ref().is_some_and(|wanted| wanted.is_paused);
        let may_be: &[&str] = match is_paused {
            true => &["stopping", "paused"],
            false => &["stopping", "starting", "running"],
        };
        assert!(body["state"].as_str().is_some_and(|state| may_be.contains(&state)), "{what}: {body:#}");
        true
    }

    /// What is asked for, as a request, and what it leads to.
    fn request(&mut self, act: Act, random: &mut Rng) -> (String, String, Option<Wanted>) {
        let path = path(self.name);
        let next = |wanted: &Wanted| Wanted { version: wanted.version + 1, ..wanted.clone() };
        let Some(now) = self.wanted.clone() else {
            self.last_rev += 1;
            // Its checkpoints are gone, so that it begins anew.
            let out = format!("-{}-{}.jsonl", self.name, self.asked.len());
            self.asked.push((out.clone(), vec![self.last_rev]));
            let wanted = Wanted { version: 1, is_paused: false, rev: self.last_rev, out };
            return (format!("PUT {path}"), self.deploy(&wanted), Some(wanted));
        };
        let mut to = next(&now);
        let (line, body) = match act {
            Act::Deploy => {
                self.last_rev += 1;
                to.rev = self.last_rev;
                (format!("PUT {path}"), self.deploy(&to))
            }
            Act::Rollback => {
                let numbers: Vec<u64> = self.revisions.keys().rev().take(4).copied().collect();
                let number = numbers[random.usize(0..numbers.len())];
                to.rev = self.revisions[&number];
                (format!("POST {path}/rollback"), json!({ "revision": number }).to_string())
            }
            Act::Pause | Act::Resume => {
                to.is_paused = act == Act::Pause;
                let word = if to.is_paused { "pause" } else { "resume" };
                (format!("POST {path}/{word}"), String::new())
            }
            Act::Restart => (format!("POST {path}/restart"), String::new()),
            Act::Delete => return (format!("DELETE {path}"), String::new(), None),
        };
        if (to.is_paused, to.rev) == (now.is_paused, now.rev) && act != Act::Restart {
            to.version = now.version;
        }
        if to.rev != now.rev {
            self.asked.last_mut().expect("a file").1.push(to.rev);
        }
        (line, body, Some(to))
    }

    fn deploy(&self, wanted: &Wanted) -> String {
        let manifest = self.content["manifest"].as_str().expect("a manifest");
        let rev = between(manifest, "rev: \"", "\"");
        let out = between(manifest, "with: { path: b", " }");
        let manifest = manifest.replace(&format!("rev: \"{rev}\""), &format!("rev: \"{}\"", wanted.rev));
        let mut content = self.content.clone();
        content["manifest"] =
            manifest.replace(&format!("path: b{out}"), &format!("path: b{}", wanted.out)).into();
        content.to_string()
    }

    /// Has one thing done. Says whether the node answered.
    fn act(&mut self, life: &Life, act: Act, random: &mut Rng, struck: &mut Struck) -> bool {
        let (was_there, files) = (self.wanted.is_some(), self.asked.len());
        let (line, body, to) = self.request(act, random);
        match life.ask(&line, &body) {
            Some((200..300, body)) => {
                let act = if was_there { format!("{act:?}") } else { "DeployAnew".to_owned() };
                *struck.acts.entry(act).or_default() += 1;
                if let Some(to) = &to {
                    assert_eq!(body["version"], to.version, "{line}: {body}");
                    if !was_there {
                        self.revisions.clear();
                    }
                    if let Some(number) = body["revision"].as_u64() {
                        self.revisions.insert(number, to.rev);
                    }
                }
                self.wanted = to;
                true
            }
            // What is being deleted has to go first.
            Some((409, body)) if !was_there => {
                assert!(body.to_string().contains("delet"), "{body}");
                self.asked.truncate(files);
                true
            }
            Some((status @ 400..500, body)) => panic!("{line}: {status} {body}"),
            Some(_) | None => {
                struck.unanswered += 1;
                self.or = Some(to);
                false
            }
        }
    }

    /// Each file has each record once, in order, by revisions in the order in which they were asked for. Gives how often
    /// one took over from another.
    fn check(&self, scene: &Scene, what: &str) -> usize {
        let mut switches = 0;
        for (at, (out, asked)) in self.asked.iter().enumerate() {
            let Ok(text) = std::fs::read_to_string(scene.path(&format!("b{out}"))) else { continue };
            let records: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            in_order(&records, u32::try_from(records.len()).expect("few"));
            let mut revs: Vec<u64> = records.iter().filter_map(|record| record["rev"].as_u64()).collect();
            revs.dedup();
            let mut left = asked.iter();
            let is_as_asked = revs.iter().all(|rev| left.any(|asked| asked == rev));
            assert!(is_as_asked, "{what}: file {at} of {} has {revs:?}, asked for were {asked:?}", self.name);
            switches += revs.len().saturating_sub(1);
        }
        switches
    }
}

/// Adds rows to what is read, until it is told to end. Gives how many there are.
fn writer(dir: std::path::PathBuf, ends: Arc<AtomicBool>) -> JoinHandle<u32> {
    thread::spawn(move || {
        let mut id = 0;
        while !ends.load(Ordering::Relaxed) {
            for name in ["orders", "other"] {
                append_to(&dir.join(format!("{name}.csv")), id..id + 5);
            }
            id += 5;
            thread::sleep(Duration::from_millis(10));
        }
        id
    })
}

/// One life of the node, with acts until it dies.
fn round(scene: &Scene, known: &mut [Known], place: Option<&str>, random: &mut Rng, struck: &mut Struck) {
    let at_most = if place.is_some() { UNSTRUCK } else { Duration::from_millis(random.u64(20..400)) };
    let life = Life::start(scene, place, at_most);
    let what = format!("after {struck:?}");
    let mut lives = known.iter_mut().all(|known| known.look(&life, struck, &what));
    while lives {
        thread::sleep(Duration::from_millis(random.u64(0..30)));
        let is_other = random.bool();
        let acts = [
            Act::Deploy,
            Act::Deploy,
            Act::Rollback,
            Act::Pause,
            Act::Resume,
            Act::Resume,
            Act::Restart,
            Act::Delete,
        ];
        let act = acts[random.usize(0..if is_other { acts.len() } else { acts.len() - 1 })];
        lives = known[usize::from(is_other)].act(&life, act, random, struck);
    }
    died(life, scene, place, struck);
}

fn died(life: Life, scene: &Scene, place: Option<&str>, struck: &mut Struck) {
    let is_struck = life.end(scene);
    match place {
        Some(place) if is_struck => {
            let (name, _) = place.split_once('@').unwrap_or((place, ""));
            *struck.faults.entry(name.to_owned()).or_default() += 1;
        }
        _ => {
            assert!(!is_struck, "nothing has it die: {}", scene.read("up.txt"));
            struck.kills += 1;
        }
    }
}

/// So many entries that a snapshot is taken and earlier ones are removed, and it dies at that.
fn strike_at_snapshots(scene: &Scene, known: &mut [Known], struck: &mut Struck) {
    for place in OF_SNAPSHOTS {
        let fault = format!("{place}@1");
        let life = Life::start(scene, Some(&fault), PATIENCE * 20);
        let mut lives = known.iter_mut().all(|known| known.look(&life, struck, place));
        let mut entries = 0;
        while lives && entries < ENTRIES {
            let body = format!("{{\"value\":\"{entries}\"}}");
            let answer = life.ask("PUT /v1/namespaces/default/secrets/unread", &body);
            match &answer {
                Some((429, _)) => thread::sleep(Duration::from_millis(5)),
                Some((200, _)) => entries += 1,
                Some((status, body)) => panic!("{place}: {status} {body}"),
                None => lives = false,
            }
        }
        assert!(!lives, "{place} was not come to in {entries} entries");
        died(life, scene, Some(&fault), struck);
    }
}

#[test]
fn kills_while_pipelines_change_forget_nothing_lose_nothing_and_repeat_nothing() {
    const FEW: usize = 20;
    let (wanted, seed) = (count(FEW, "NODE_KILLS"), count(23, "NODE_SEED") as u64);
    eprintln!("{wanted} kills of seed {seed}");
    let (mut random, mut struck, begun) = (Rng::with_seed(seed), Struck::default(), Instant::now());
    let scene = Scene::new();
    for place in AT_FIRST {
        died(Life::start(&scene, Some(place), PATIENCE), &scene, Some(place), &mut struck);
    }
    for name in ["orders", "other"] {
        scene
            .write(&format!("{name}.csv"), "id\n")
            .write(&format!("{name}.yaml"), text(name, &format!("b-{name}-0.jsonl"), 1));
    }
    let up = Up::start(&scene);
    super::run(&scene, &["deploy", "orders.yaml", "other.yaml", "--yes", "--no-wait"]).code(0);
    let mut known = ["orders", "other"].map(|name| Known::new(name, &up));
    up.kill();
    struck.kills += 1;

    let ends = Arc::new(AtomicBool::new(false));
    let writing = writer(scene.path(""), ends.clone());
    let is_long = wanted > FEW;
    if is_long {
        strike_at_snapshots(&scene, &mut known, &mut struck);
    }
    let kills = |struck: &Struck| struck.kills + struck.faults.values().sum::<usize>();
    for at in 0.. {
        if kills(&struck) >= wanted {
            break;
        }
        let place = PLACES[(at / 2) % PLACES.len()];
        let fault = (at % 2 == 0).then(|| format!("{place}@{}", random.u32(1..6)));
        round(&scene, &mut known, fault.as_deref(), &mut random, &mut struck);
    }
    ends.store(true, Ordering::Relaxed);
    let rows = writing.join().expect("joined");
    let switches = settle(&scene, &mut known, rows, &mut random, &mut struck);
    eprintln!("{rows} rows, {switches} switches, {:?}, {struck:?}", begun.elapsed());
    assert!(struck.faults.len() >= 4 && struck.kills > 4 && switches > 4, "{switches} switches, {struck:?}");
    if is_long {
        let missed: Vec<&str> =
            OF_CONTROL.into_iter().filter(|place| !struck.faults.contains_key(*place)).collect();
        assert_eq!(missed, [""; 0], "{struck:?}");
    }
}

/// The last start: everything runs and is drained, and what is there is as it was asked for. Gives how often a
/// revision took over from another.
fn settle(scene: &Scene, known: &mut [Known], rows: u32, random: &mut Rng, struck: &mut Struck) -> usize {
    let life = Life::start(scene, None, PATIENCE * 3);
    let what = format!("{struck:?}");
    for known in known.iter_mut() {
        assert!(known.look(&life, struck, &what), "{what}: {}", scene.read("up.txt"));
        let begun = Instant::now();
        while known.wanted.as_ref().is_none_or(|wanted| wanted.is_paused) {
            assert!(known.act(&life, Act::Resume, random, struck) && begun.elapsed() < PATIENCE, "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
    let mut switches = 0;
    for known in &*known {
        append(scene, &format!("{}.csv", known.name), rows..rows + 50);
        let wanted = known.wanted.as_ref().expect("it runs");
        let records = lines(scene, &format!("b{}", wanted.out), rows as usize + 50);
        in_order(&records, rows + 50);
        assert_eq!(
            records.last().map(|last| &last["rev"]),
            Some(&json!(wanted.rev)),
            "{what}: {}",
            known.name
        );
        switches += known.check(scene, &what);
    }
    let ids = known.iter().map(|known| {
        life.ask(&format!("GET {}", path(known.name)), "").expect("it lives").1["id"].to_string()
    });
    let ids: Vec<String> = ids.collect();
    for kept in std::fs::read_dir(scene.path("data/pipelines")).expect("a directory") {
        let kept = kept.expect("an entry");
        let is_there = ids.iter().any(|id| kept.file_name() == id.as_str());
        assert!(is_there || !kept.path().join("other").exists(), "{what}: {kept:?} is of a deleted one");
    }
    switches
}
