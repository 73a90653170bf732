//! A node with a healthy pipeline, and maybe a hostile one beside it. The healthy one echoes lines from stdin to stdout
//! through a stage of its own, so that what it loses and how long each record takes is seen from outside.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::measure::{Latencies, Sleeper, peak_bytes};
use crate::scene::{Ran, Scene};

const HEALTHY: &str = "pipeline: healthy\nstages:\n  in: { source: stdin, with: { format: lines }, batch: { delay: 1ms } \
                       }\n  keep: { transform: GUEST(probe-run), from: in, with: { at: nothing, then: panic } }\n  out: { \
                       sink: stdout, from: keep }\n";
/// The two pipelines share them.
const THREADS: &str = "2";
/// Records that the healthy pipeline gets at the least.
const SAMPLES_MIN: usize = 500;
const PACE: Duration = Duration::from_millis(1);
/// Something hangs, and no machine is that slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was seen from outside.
#[derive(Debug)]
pub struct Seen {
    pub latencies: Latencies,
    pub peak_bytes: u64,
    /// When the hostile pipeline was over, after the healthy one had begun.
    pub over_after: Duration,
    pub ran: Ran,
}

/// When the hostile pipeline is over.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// There is none.
    Alone,
    /// It fails, and that is said.
    Fails,
    /// This time has gone by; it has ended by then.
    Lasts(Duration),
    /// It goes on for ever, and is told to stop after this time.
    Stopped(Duration),
}

/// Runs the healthy pipeline, and `hostile.yaml` of the scene beside it.
pub fn run(scene: &Scene, until: Until) -> Seen {
    scene.write("healthy.yaml", HEALTHY);
    let manifests: &[&str] = match until {
        Until::Alone => &["healthy.yaml"],
        _ => &["healthy.yaml", "hostile.yaml"],
    };
    let args = [&["run"], manifests, &["--threads", THREADS]].concat();
    let mut command = scene.command(&args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut node = Node::of(command.spawn().expect("the binary starts"));
    node.first();
    let (begun, machine) = (Instant::now(), Sleeper::start(|| ()));
    let over_after = loop {
        node.send();
        if node.sent >= SAMPLES_MIN
            && let Some(at) = node.over_at(until, begun)
        {
            break at.saturating_duration_since(begun);
        }
        assert!(begun.elapsed() < PATIENCE, "{until:?} did not come; the node says: {}", node.said());
    };
    let machine = machine.wake();
    let peak_bytes = peak_bytes(node.child.id()).expect("the node lives");
    let Node { mut child, stdin, echoes, errors, sent, .. } = node;
    drop(stdin);
    if let Until::Stopped(_) = until {
        let told = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
        assert!(told.expect("kill runs").success());
    }
    let (received, latencies) = echoes.join().expect("the echoes are read");
    let stderr = errors.join().expect("stderr is read");
    assert_eq!(received, sent, "the healthy pipeline lost records: {stderr}");
    let code = child.0.wait().expect("it ends").code();
    let ran = Ran { code, stdout: String::new(), stderr };
    let ran = ran.says(&[if let Until::Stopped(_) = until {
        "pipeline healthy: "
    } else {
        "pipeline healthy: done"
    }]);
    Seen { latencies: Latencies::new(latencies, machine), peak_bytes, over_after, ran }
}

/// Killed where the test does not get to its end.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Node {
    child: Killed,
    stdin: ChildStdin,
    echoes: JoinHandle<(usize, Vec<Duration>)>,
    errors: JoinHandle<String>,
    /// Lines of stderr as they come, beside `errors`.
    lines: Receiver<(Instant, String)>,
    seen_lines: Vec<(Instant, String)>,
    /// That the first record came back.
    first: Receiver<()>,
    epoch: Instant,
    sent: usize,
}

impl Killed {
    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Node {
    fn of(mut child: Child) -> Self {
        let epoch = Instant::now();
        let (stdin, stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (say_first, first) = channel();
        let echoes = std::thread::spawn(move || {
            let (mut next, mut latencies) = (0, Vec::new());
            for line in BufReader::new(stdout).lines() {
                let line = line.expect("a line");
                let (number, at) = line.split_once(' ').expect("a number and a time");
                assert_eq!(number.parse(), Ok(next), "a record is lost, or out of order");
                let at = Duration::from_nanos(at.parse().expect("a time"));
                // The first one waits for the node to start.
                match next {
                    0 => say_first.send(()).expect("it is waited for"),
                    _ => latencies.push(epoch.elapsed().saturating_sub(at)),
                }
                next += 1;
            }
            (next, latencies)
        });
        let (say, lines) = channel();
        let errors = std::thread::spawn(move || {
            let mut all = String::new();
            let mut line = Vec::new();
            while stderr.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                let text = String::from_utf8_lossy(&line);
                all.push_str(&text);
                // Nobody listens any more once the run is over.
                let _ = say.send((Instant::now(), text.into_owned()));
                line.clear();
            }
            all
        });
        let child = Killed(child);
        Self { child, stdin, echoes, errors, lines, seen_lines: Vec::new(), first, epoch, sent: 0 }
    }

    fn send(&mut self) {
        let at = self.epoch.elapsed().as_nanos();
        let sent = writeln!(self.stdin, "{} {at}", self.sent);
        if sent.is_err() {
            panic!("the node is gone; it says: {}", self.said());
        }
        self.sent += 1;
        std::thread::sleep(PACE);
    }

    /// Waits until the node has started.
    fn first(&mut self) {
        self.send();
        if self.first.recv_timeout(PATIENCE).is_err() {
            panic!("the healthy pipeline does not start; the node says: {}", self.said());
        }
    }

    fn said(&mut self) -> String {
        std::thread::sleep(Duration::from_millis(50));
        self.seen_lines.extend(self.lines.try_iter());
        self.seen_lines.iter().map(|(_, line)| line.as_str()).collect()
    }

    fn over_at(&mut self, until: Until, begun: Instant) -> Option<Instant> {
        match until {
            Until::Alone => Some(begun),
            Until::Fails => {
                self.seen_lines.extend(self.lines.try_iter());
                let failed = |(_, line): &&(Instant, String)| line.contains("pipeline `hostile` failed");
                self.seen_lines.iter().find(failed).map(|(at, _)| *at)
            }
            Until::Lasts(time) | Until::Stopped(time) => (begun.elapsed() >= time).then(Instant::now),
        }
    }
}

/// The healthy pipeline alone, measured again every few seconds: what it can do depends on what else the machine does.
pub fn alone(fresh: bool) -> (Latencies, u64) {
    use std::sync::Mutex;
    static LAST: Mutex<Option<(Instant, Latencies, u64)>> = Mutex::new(None);
    const GOOD_FOR: Duration = Duration::from_secs(10);
    let mut last = LAST.lock().expect("no test panics with it");
    match &*last {
        Some((at, latencies, peak)) if !fresh && at.elapsed() < GOOD_FOR => (latencies.clone(), *peak),
        _ => {
            let seen = run(&Scene::new(), Until::Alone);
            *last = Some((Instant::now(), seen.latencies.clone(), seen.peak_bytes));
            (seen.latencies, seen.peak_bytes)
        }
    }
}
