//! One life of the pipeline, from its opening to a crash or to its end: events in the order of their times, which are
//! drawn, and of their numbers where those are the same.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use connect::SinkSpec;
use flow::checkpoint::{
    Checkpoint, CheckpointStore, Coordinator, CoordinatorStatus, Effect, LoopId, LoopReport, Mistake,
};
use flow::connector::{Committed, Sink};
use flow::letters::{Letters as _, SharedStore, Writer};
use model::plan::Stream;
use model::signal::Signal;
use serde_json::json;

use super::bad_disk::{BadDisk, Fault};
use super::bug::Bug;
use super::graph::{Kind, Origin};
use super::invariants::{Seen, directory};
use super::letters;
use super::places;
use super::record::Record;
use super::spool::SimSpool;
use super::store::{Counts, SimStore};
use super::task::Task;
use super::world::{Broken, STUCK, Step, Stop, World};

/// More events than any life needs.
const EVENTS_MAX: u64 = 60_000;
/// Batches on an edge.
pub const EDGE_BATCHES_MAX: usize = 3;

/// When the life ends, where it is not let live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Lives,
    /// Between two events.
    DiesAfterEvents(u64),
    /// Sources are stopped, and what was read is worked off.
    StopsAfterEvents(u64),
    /// The disk strikes by itself.
    DiesInDisk,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Turn(usize),
    /// What was sent first over an edge comes.
    Arrive(usize),
    Tick,
    /// What a loop has reported comes to the coordinator.
    Report(usize),
    /// What the coordinator wants stored is.
    Put,
    /// Clients of a source post, the spool writes, or syncs.
    Post(usize),
    Write(usize),
    Sync(usize),
    /// The spool of a source has waited, or the dead letters have.
    Mark(usize),
    MarkLetters,
}

/// What runs a stage.
pub enum Part {
    Log,
    Spool(Box<SimSpool>),
    Stage,
    Counting(BTreeMap<u8, u64>),
    File(Box<dyn Sink>),
    Remote,
}

/// A report on its way, with the state of the loop's stages, which goes around its deltas.
type Sent = (LoopReport, Counts);

/// A way between two loops.
#[derive(Default)]
pub struct Way {
    sent: VecDeque<Signal<Vec<Record>>>,
    /// When the last of it comes.
    last: u64,
    /// Batches that were sent and not worked off.
    pub batches: usize,
}

pub struct Life<'w> {
    pub world: &'w mut World,
    pub tasks: Vec<Task>,
    /// By node.
    pub parts: Vec<Part>,
    /// By edge.
    pub ways: Vec<Way>,
    letter_store: SharedStore,
    pub letters: Writer,
    pub status: CoordinatorStatus,
    /// How often the status has changed.
    pub version: u64,
    store: SimStore,
    coordinator: Coordinator,
    to_put: Option<Checkpoint>,
    /// By loop: reports on their way, and when the last of them comes.
    reports: Vec<(VecDeque<Sent>, u64)>,
    /// Something has moved since the last checkpoint began.
    pub has_moved: bool,
    pub is_stopping: bool,
    /// A source has ended because of that.
    pub is_stopped: bool,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    pub now: u64,
    interval: u64,
}

fn sink_spec(name: &str, kind: Kind) -> SinkSpec {
    let mut with = serde_json::Map::new();
    with.insert("path".into(), "out.txt".into());
    if kind == Kind::FileRow {
        with.insert("rotate".into(), json!({ "size": 150 }));
    }
    SinkSpec {
        stage: name.into(),
        connector: "file".into(),
        with,
        base: directory(name),
        roots: connect::Roots::default(),
        secrets: connect::Secrets::default(),
    }
}

impl<'w> Life<'w> {
    /// Opens everything where the last checkpoint is.
    pub fn open(world: &'w mut World) -> Step<Self> {
        let disk = world.disk().clone();
        let opened = SimStore::open(&disk);
        let store = world.done(opened)?;
        let last_committed = store.last.clone();
        let checkpoint = last_committed.checkpoint.clone();
        world.note(0, format_args!("goes on from checkpoint {}", checkpoint.number));
        world.see(&Seen::Recovered(&last_committed))?;
        let letters = letters::open(&disk, &checkpoint, !world.has(Bug::LettersIgnorePlaces));
        let (letter_store, letters) = world.done(letters)?;
        let graph = world.graph().clone();
        let mut parts = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            let part = match node.kind {
                Kind::Log { .. } => Part::Log,
                Kind::Spool { .. } => {
                    let place = checkpoint.places.get(node.name.as_str()).and_then(|places| places.get("0"));
                    let place = place.map(|place| places::read(place));
                    let fault = world.has(Bug::NoChecksum).then(SimSpool::believing);
                    let seed = world.random.u64(..);
                    let spool = SimSpool::open(&disk, fault, &node.name, index as u8, place, seed);
                    Part::Spool(Box::new(world.done(spool)?))
                }
                Kind::Plain | Kind::Refusing => Part::Stage,
                Kind::Counting => {
                    let of = last_committed.state.iter().filter(|((node, _), _)| usize::from(*node) == index);
                    Part::Counting(of.map(|((_, key), count)| (*key, *count)).collect())
                }
                Kind::OneFile | Kind::FileRow => {
                    let tokens = match world.has(Bug::TokenNotRepeated) {
                        true => &last_committed.tokens_before,
                        false => &checkpoint.tokens,
                    };
                    let token = Committed(tokens.get(node.name.as_str()).cloned());
                    let sink = Self::open_sink(world, index, token)?;
                    Part::File(sink)
                }
                Kind::Remote => Part::Remote,
            };
            parts.push(part);
            if node.kind.is_sink() {
                world.see(&Seen::SinkOpened { sink: index })?;
            }
        }
        let tasks: Vec<Task> = graph
            .loops()
            .into_iter()
            .map(|nodes| {
                let name = graph.nodes[nodes[0]].name.as_str();
                let places = checkpoint.places.get(name).cloned().unwrap_or_default();
                Task::new(&graph, nodes, places, [2, 4, 12, 40][world.random.usize(0..4)])
            })
            .collect();
        let mut coordinator = Coordinator::new((0..tasks.len()).map(LoopId::only), checkpoint);
        if world.has(Bug::StopToldAsEnd) {
            coordinator = coordinator.mistaken(Mistake::StopToldAsEnd);
        }
        let mut life = Self {
            coordinator,
            reports: tasks.iter().map(|_| (VecDeque::new(), 0)).collect(),
            ways: graph.edges.iter().map(|_| Way::default()).collect(),
            tasks,
            parts,
            letter_store,
            letters,
            status: CoordinatorStatus::default(),
            version: 0,
            store,
            to_put: None,
            has_moved: false,
            is_stopping: false,
            is_stopped: false,
            queue: BinaryHeap::new(),
            sequence: 0,
            now: 0,
            interval: world.random.u64(10..200),
            world,
        };
        life.begin();
        Ok(life)
    }

    fn open_sink(world: &mut World, index: usize, token: Committed) -> Step<Box<dyn Sink>> {
        let (disk, node) = (world.disk().clone(), world.graph().nodes[index].clone());
        if world.has(Bug::PartUnlinkedBeforeCommit) {
            let dir = directory(&node.name);
            for name in disk.names(&dir).iter().filter(|name| name.ends_with(".part")) {
                let removed = disk::Disk::remove(&disk, &dir.join(name));
                world.done(removed)?;
            }
        }
        let fault = world.has(Bug::SyncDoesNothing).then_some(Fault::NoSync);
        let spec = sink_spec(&node.name, node.kind);
        let sink = connect::open_file_on(BadDisk::over(&disk, fault), &spec, &Stream::Opaque, Some(token));
        world.done(sink)
    }

    fn begin(&mut self) {
        for task in 0..self.tasks.len() {
            self.after(1, 10, Event::Turn(task));
        }
        for source in 0..self.parts.len() {
            if let Part::Spool(_) = self.parts[source] {
                self.after(1, 10, Event::Post(source));
                self.after(1, 80, Event::Mark(source));
            }
        }
        self.after(1, 80, Event::MarkLetters);
        self.after(1, self.interval, Event::Tick);
    }

    /// Something happens in `from` to `to` from now.
    fn after(&mut self, from: u64, to: u64, event: Event) {
        let at = self.now + self.world.random.u64(from..=to.max(from));
        self.at(at, event);
    }

    fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, event)));
    }

    /// Lives until it dies, is stopped, or has nothing left to do.
    pub fn live(&mut self, fate: Fate) -> Step {
        for count in 0..EVENTS_MAX {
            match fate {
                Fate::DiesAfterEvents(events) if count == events => {
                    // Nothing that is dropped from here on reaches the disk.
                    self.world.disk().kill();
                    return Err(Stop::Crashed);
                }
                Fate::StopsAfterEvents(events) if count == events => {
                    self.is_stopping = true;
                    self.world.tally.stops += 1;
                    self.world.note(self.now, "is stopped");
                }
                _ => {}
            }
            if self.status.sinks_committed.is_some() {
                return Ok(());
            }
            let Some(Reverse((now, _, event))) = self.queue.pop() else { break };
            self.now = now;
            self.world.tally.events += 1;
            self.happen(event)?;
        }
        let undone = self.tasks.iter().enumerate().filter(|(_, task)| !task.is_done);
        let undone: Vec<String> =
            undone.map(|(index, task)| format!("loop {index} has {:?}", task.todo.front())).collect();
        let why = format!("{} events, and {}", EVENTS_MAX, undone.join(", "));
        Err(Stop::Broken(Broken { invariant: STUCK, why }))
    }

    fn happen(&mut self, event: Event) -> Step {
        match event {
            Event::Turn(index) => {
                let has_done = self.turn(index)?;
                let task = &self.tasks[index];
                if !task.is_done {
                    let (from, to) = if has_done { (1, task.slowness) } else { (3, 20) };
                    self.after(from, to, Event::Turn(index));
                }
            }
            Event::Arrive(edge) => {
                let to = self.world.graph().edges[edge].to;
                let signal = self.ways[edge].sent.pop_front();
                let meeting = self.tasks.iter_mut().find(|task| task.head == to);
                if let (Some(signal), Some(meeting)) =
                    (signal, meeting.and_then(|task| task.meeting.as_mut()))
                {
                    meeting.inbox.push_back((edge, signal));
                }
            }
            Event::Tick => {
                if self.has_moved {
                    self.coordinator.moved();
                }
                let effect = self.coordinator.due();
                self.heed(effect);
                self.after(self.interval, self.interval * 2, Event::Tick);
            }
            Event::Report(of) => {
                let effect = match self.reports[of].0.pop_front() {
                    Some((report, state)) => {
                        self.store.state.extend(state);
                        self.coordinator.heard(LoopId::only(of), report)
                    }
                    None => None,
                };
                self.heed(effect);
            }
            Event::Put => self.put()?,
            Event::Post(source) => self.post(source)?,
            Event::Write(source) => self.write_spool(source)?,
            Event::Sync(source) => self.sync_spool(source)?,
            Event::Mark(source) => {
                let Part::Spool(spool) = &mut self.parts[source] else { return Ok(()) };
                let marked = spool.mark();
                self.world.done(marked)?;
                self.after(1, 80, Event::Mark(source));
            }
            Event::MarkLetters => {
                let marked = self.letter_store.store().idle();
                self.world.done(marked)?;
                self.after(1, 80, Event::MarkLetters);
            }
        }
        Ok(())
    }

    /// Does what the coordinator says.
    fn heed(&mut self, effect: Option<Effect>) {
        let mut next = effect;
        while let Some(effect) = next.take() {
            self.version += 1;
            match effect {
                Effect::Begin(barrier) => {
                    self.world.note(self.now, format_args!("checkpoint {} begins", barrier.number));
                    self.has_moved = false;
                    self.status.begun = Some(barrier);
                }
                Effect::Commit(checkpoint) => {
                    let closing = self.letters.closing(&checkpoint.reached);
                    self.to_put = Some(Checkpoint { closing, ..checkpoint });
                    self.after(1, 30, Event::Put);
                }
                Effect::Announce { barrier, is_new } => {
                    let what = if is_new { "is committed" } else { "is as the one before" };
                    self.world.note(self.now, format_args!("checkpoint {} {what}", barrier.number));
                    self.status.committed = Some(barrier);
                    next = self.coordinator.announced();
                }
                Effect::Finish { number, .. } => self.status.sinks_committed = Some(number),
            }
        }
    }

    fn put(&mut self) -> Step {
        let Some(checkpoint) = self.to_put.take() else { return Ok(()) };
        let put = self.store.put(&checkpoint, Duration::ZERO);
        self.world.done(put)?;
        self.world.tally.checkpoints += 1;
        self.world.see(&Seen::Stored(&checkpoint))?;
        let closed = self.letters.close(&checkpoint.closing);
        self.world.done(closed)?;
        let effect = self.coordinator.committed();
        self.heed(effect);
        Ok(())
    }

    /// Sends something over an edge behind all that was sent before.
    pub fn send(&mut self, edge: usize, signal: Signal<Vec<Record>>) {
        let at = self.now + self.world.random.u64(1..25);
        let way = &mut self.ways[edge];
        way.last = way.last.max(at);
        let at = way.last;
        way.sent.push_back(signal);
        self.at(at, Event::Arrive(edge));
    }

    /// `state`: of its stages, where it acknowledges a checkpoint.
    pub fn report(&mut self, of: usize, report: LoopReport, state: Counts) {
        let at = self.now + self.world.random.u64(1..25);
        let (reports, last) = &mut self.reports[of];
        *last = (*last).max(at);
        let at = *last;
        reports.push_back((report, state));
        self.at(at, Event::Report(of));
    }

    /// A client posts a few records, one request after the other.
    fn post(&mut self, source: usize) -> Step {
        if self.is_stopping || self.world.clients[source].requests_left == 0 {
            return Ok(());
        }
        let count = self.world.random.u64(1..=3);
        let client = &mut self.world.clients[source];
        client.requests_left -= 1;
        let numbers = client.next..client.next + count;
        client.next += count;
        let records: Vec<Origin> =
            numbers.map(|number| Origin { source: source as u8, split: 0, number }).collect();
        self.world.facts.given.extend(&records);
        self.world.note(self.now, format_args!("a client posts {} records to {source}", records.len()));
        let Part::Spool(spool) = &mut self.parts[source] else { return Ok(()) };
        spool.post(records);
        self.after(1, 10, Event::Write(source));
        self.after(1, 40, Event::Post(source));
        Ok(())
    }

    fn write_spool(&mut self, source: usize) -> Step {
        let Part::Spool(spool) = &mut self.parts[source] else { return Ok(()) };
        if spool.is_writing() || !spool.has_waiting() {
            return Ok(());
        }
        let written = spool.write();
        let refused = self.world.done(written)?;
        // A full spool turns its clients away, and they come again.
        let Part::Spool(spool) = &mut self.parts[source] else { return Ok(()) };
        let is_writing = spool.is_writing();
        self.world.tally.turned_away += refused.len() as u64;
        for records in refused {
            self.world.note(self.now, format_args!("{source} is full, a client waits"));
            spool.post(records);
        }
        if is_writing {
            if self.world.has(Bug::AckBeforeSync) {
                self.ack(source)?;
            }
            self.after(1, 20, Event::Sync(source));
        } else {
            self.after(20, 60, Event::Write(source));
        }
        Ok(())
    }

    fn sync_spool(&mut self, source: usize) -> Step {
        let Part::Spool(spool) = &mut self.parts[source] else { return Ok(()) };
        let synced = spool.sync();
        self.world.done(synced)?;
        self.ack(source)?;
        self.after(1, 5, Event::Write(source));
        Ok(())
    }

    fn ack(&mut self, source: usize) -> Step {
        let Part::Spool(spool) = &mut self.parts[source] else { return Ok(()) };
        for records in spool.take_written() {
            self.world.note(self.now, format_args!("{source} acknowledges {} records", records.len()));
            self.world.tally.acked += records.len() as u64;
            self.world.taken.extend(&records);
            self.world.see(&Seen::Acked { source, records: &records })?;
        }
        Ok(())
    }
}
