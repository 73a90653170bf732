//! The turns of the loops: as [`flow`] drives a chain, one thing at a time. What is decided about checkpoints is decided
//! by the product: `Alignment`, `Participant` and `ON_BARRIER`.

use flow::checkpoint::{Ack, BarrierStep, LoopReport, ON_BARRIER, Step as Aligned};
use flow::connector::Places;
use flow::letters::Letters as _;
use futures::FutureExt as _;
use model::signal::{Barrier, Signal};

use super::bug::Bug;
use super::graph::{Kind, key, refuses};
use super::invariants::Seen;
use super::letters;
use super::life::{EDGE_BATCHES_MAX, Life, Part};
use super::places;
use super::record::{Counted, Record, batch};
use super::store::Counts;
use super::task::{Backoff, Todo};
use super::world::Step;

/// Sinks on the simulated disk never wait.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("what is written here and not by a thread is done when it comes back")
}

impl Life<'_> {
    /// One thing of what the loop has to do. Whether there was any.
    pub fn turn(&mut self, index: usize) -> Step<bool> {
        self.let_go(index);
        if let Some(todo) = self.tasks[index].todo.pop_front() {
            return self.perform(index, todo);
        }
        if self.heed_status(index) {
            return Ok(true);
        }
        let task = &mut self.tasks[index];
        let late = task.acks_late.take();
        let has_done = match (task.has_ended, &task.meeting) {
            (true, _) => false,
            (false, Some(_)) => self.meet(index)?,
            (false, None) => self.pull(index)?,
        };
        // What came next has been counted by then.
        self.tasks[index].todo.extend(late.map(Todo::Ack));
        Ok(has_done || late.is_some())
    }

    /// A stage that has backed off for long enough gets its records.
    fn let_go(&mut self, index: usize) {
        let now = self.now;
        let task = &mut self.tasks[index];
        if let Some(backoff) = task.backoff.take_if(|backoff| backoff.until <= now) {
            // They came before all that is still to do for this stage.
            let batches = backoff.batches.into_iter().rev();
            batches.for_each(|batch| task.todo.push_front(Todo::Stage(backoff.stage, batch)));
        }
    }

    /// Has sinks commit the last checkpoint, and begins what has begun.
    fn heed_status(&mut self, index: usize) -> bool {
        let (status, version) = (self.status, self.version);
        let task = &mut self.tasks[index];
        if version == task.heard && !task.participant.is_behind() {
            return false;
        }
        task.heard = version;
        self.commit(index);
        let task = &mut self.tasks[index];
        if (task.meeting.is_none() || task.has_ended)
            && let Some(barrier) = task.participant.begins(status.begun, task.backoff.is_some())
        {
            self.on_barrier(index, barrier);
        }
        let task = &mut self.tasks[index];
        if task.has_ended && task.participant.is_done() && task.todo.is_empty() {
            task.is_done = true;
            let number = status.committed.map_or(0, |last| last.number);
            self.report(index, LoopReport::SinksCommitted { number, all_sinks: true }, Counts::new());
        } else if task.has_ended && task.participant.is_done() {
            // It is looked at again when that is done.
            task.heard = 0;
        }
        !self.tasks[index].todo.is_empty()
    }

    fn commit(&mut self, index: usize) {
        let last = self.status.committed;
        let task = &mut self.tasks[index];
        let Some(Barrier { number, .. }) = task.participant.commits(last) else { return };
        for (node, token) in std::mem::take(&mut task.prepared) {
            task.todo.push_back(Todo::Commit(node, number, token));
        }
        if task.meeting.is_none() {
            task.todo.push_back(Todo::Release(std::mem::take(&mut task.prepared_places)));
        }
    }

    /// A barrier has come to this loop.
    fn on_barrier(&mut self, index: usize, barrier: Barrier) {
        self.world.note(self.now, format_args!("barrier {} comes to loop {index}", barrier.number));
        let bug = self.world.bug;
        self.commit(index);
        let sinks: Vec<usize> = self.tasks[index].nodes.clone();
        let sinks = sinks.into_iter().filter(|&node| self.world.graph().nodes[node].kind.is_sink());
        let sinks: Vec<usize> = sinks.collect();
        let task = &mut self.tasks[index];
        task.prepared = std::mem::take(&mut task.not_told);
        task.prepared_places = task.places.clone();
        task.letters = self.letters.next();
        let mut order = ON_BARRIER.to_vec();
        if bug == Some(Bug::CursorBeforeSink) {
            order = vec![BarrierStep::Freeze, BarrierStep::Forward, BarrierStep::Ack, BarrierStep::Prepare];
        }
        for step in order {
            match step {
                BarrierStep::Freeze if bug == Some(Bug::StateAfterBarrier) => {}
                BarrierStep::Freeze => task.todo.push_back(Todo::Freeze),
                BarrierStep::Forward => {
                    let away = task.away.clone();
                    task.todo.extend(away.into_iter().map(|edge| Todo::Forward(edge, barrier)));
                }
                BarrierStep::Prepare => {
                    task.todo.extend(sinks.iter().map(|&sink| Todo::Prepare(sink, barrier)));
                    if bug != Some(Bug::LetterNotSynced) {
                        task.todo.push_back(Todo::SyncLetters);
                    }
                }
                BarrierStep::Ack if bug == Some(Bug::StateAfterBarrier) => task.acks_late = Some(barrier),
                BarrierStep::Ack => task.todo.push_back(Todo::Ack(barrier)),
            }
        }
    }

    /// The next batch of a source.
    fn pull(&mut self, index: usize) -> Step<bool> {
        if self.is_stopping {
            return Ok(self.end(index, true));
        }
        let source = self.tasks[index].head;
        let count = self.world.random.usize(1..=5);
        let (split, from, records) = match self.world.graph().nodes[source].kind {
            Kind::Log { splits, records } => {
                let open: Vec<(u8, u64)> = (0..splits)
                    .map(|split| (split, self.place(index, split)))
                    .filter(|(_, next)| *next < records)
                    .collect();
                let Some(&(split, from)) = open.get(self.world.random.usize(0..open.len().max(1))) else {
                    return Ok(self.end(index, false));
                };
                let numbers = from..(from + count as u64).min(records);
                let origin = |number| super::graph::Origin { source: source as u8, split, number };
                (split, from, numbers.map(|number| Record::new(origin(number))).collect::<Vec<_>>())
            }
            _ => {
                let Part::Spool(spool) = &mut self.parts[source] else { return Ok(false) };
                let pulled = spool.pull(count);
                let is_idle = spool.is_idle();
                let pulled = self.world.done(pulled)?;
                let Some(&(from, _)) = pulled.first() else {
                    let is_over = is_idle && self.world.clients[source].requests_left == 0;
                    return Ok(is_over && self.end(index, false));
                };
                (0, from, pulled.into_iter().map(|(_, origin)| Record::new(origin)).collect())
            }
        };
        let to = from + records.len() as u64;
        let split = split.to_string();
        self.world.note(self.now, format_args!("source {source} reads {from}..{to} of {split}"));
        self.world.see(&Seen::Read { source, split: &split, from, to })?;
        for record in &records {
            let is_new = self.world.taken.insert(record.origin);
            self.world.tally.read_again += u64::from(!is_new);
        }
        self.has_moved = true;
        let task = &mut self.tasks[index];
        task.places.insert(split.into(), places::write(to));
        let graph = self.world.graph();
        task.leave(graph, source, &records);
        Ok(true)
    }

    fn place(&self, index: usize, split: u8) -> u64 {
        self.tasks[index].places.get(split.to_string().as_str()).map_or(0, |place| places::read(place))
    }

    /// The loop has nothing more to work off, once no stage backs off.
    fn end(&mut self, index: usize, is_stopped: bool) -> bool {
        let task = &mut self.tasks[index];
        if task.backoff.is_some() {
            return false;
        }
        task.has_ended = true;
        task.heard = 0;
        self.is_stopped |= is_stopped;
        // No barrier follows on these edges: whoever is there counts them as aligned.
        let away = std::mem::take(&mut task.away);
        task.todo.extend(away.into_iter().map(Todo::End));
        task.todo.push_back(Todo::SayEnded { is_stopped });
        true
    }

    /// Takes what comes next where streams meet.
    fn meet(&mut self, index: usize) -> Step<bool> {
        let bug = self.world.bug;
        let task = &mut self.tasks[index];
        let Some(meeting) = &mut task.meeting else { return Ok(false) };
        let step = match meeting.alignment.step() {
            Some(step) => step,
            None => match meeting.inbox.pop_front() {
                None => return Ok(false),
                Some((edge, Signal::Item(batch))) if bug == Some(Bug::BarrierOvertaken) => {
                    Aligned::Item(edge, batch)
                }
                Some((edge, signal)) => {
                    meeting.alignment.accept(edge, signal);
                    match meeting.alignment.step() {
                        Some(step) => step,
                        None => return Ok(true),
                    }
                }
            },
        };
        match step {
            Aligned::Item(edge, batch) => {
                self.ways[edge].batches -= 1;
                task.todo.push_back(Todo::Edge(edge, batch));
            }
            Aligned::Barrier(barrier) => task.todo.push_back(Todo::OnBarrier(barrier)),
            Aligned::End => task.todo.push_back(Todo::Ends),
        }
        Ok(true)
    }

    /// What waits for a stage that backs off is worked off first, whatever it takes: it was before what comes `then`.
    fn drain(&mut self, index: usize, then: &Todo) -> bool {
        let task = &mut self.tasks[index];
        let Some(backoff) = task.backoff.take() else { return false };
        let batches = backoff.batches.into_iter().map(|batch| Todo::Stage(backoff.stage, batch));
        task.todo.extend(batches);
        task.todo.push_back(then.clone());
        true
    }

    fn perform(&mut self, index: usize, todo: Todo) -> Step<bool> {
        match todo {
            Todo::Edge(edge, batch) => return self.over_edge(index, edge, batch),
            Todo::Stage(stage, batch) => self.process(index, stage, batch)?,
            Todo::OnBarrier(barrier) => {
                if !self.drain(index, &todo) {
                    self.on_barrier(index, barrier);
                }
            }
            Todo::Ends => {
                if !self.drain(index, &todo) {
                    let is_stopped = self.is_stopped;
                    self.end(index, is_stopped);
                }
            }
            Todo::Forward(edge, barrier) => self.send(edge, Signal::Barrier(barrier)),
            Todo::End(edge) => self.send(edge, Signal::End),
            Todo::SayEnded { is_stopped } => {
                self.report(index, LoopReport::Ended { is_stopped }, Counts::new())
            }
            Todo::Freeze => self.tasks[index].frozen = self.state(index),
            Todo::Prepare(sink, barrier) => self.prepare(index, sink, barrier)?,
            Todo::SyncLetters => {
                let synced = self.letters.sync();
                self.world.done(synced)?;
            }
            Todo::Ack(barrier) => self.ack_barrier(index, barrier)?,
            Todo::Commit(sink, number, token) => self.commit_sink(sink, number, &token)?,
            Todo::Release(places) => {
                let source = self.tasks[index].head;
                self.world.note(self.now, format_args!("source {source} may release"));
                self.world.see(&Seen::Released { source, places: &places })?;
                self.release(source, &places)?;
            }
        }
        Ok(true)
    }

    /// The state of all stages of this loop, as it is now.
    fn state(&self, index: usize) -> Counts {
        let of = |&node: &usize| match &self.parts[node] {
            Part::Counting(counts) => {
                counts.iter().map(|(&key, &count)| ((node as u8, key), count)).collect()
            }
            _ => Vec::new(),
        };
        self.tasks[index].nodes.iter().flat_map(of).collect()
    }

    fn ack_barrier(&mut self, index: usize, barrier: Barrier) -> Step {
        if self.world.has(Bug::StateAfterBarrier) {
            self.tasks[index].frozen = self.state(index);
        }
        let source = self.tasks[index].head;
        if self.world.has(Bug::SegmentUnlinkedBeforeCommit) {
            let places = self.tasks[index].prepared_places.clone();
            self.release(source, &places)?;
        }
        let task = &mut self.tasks[index];
        task.participant.acked(barrier);
        let name = |node: usize| self.world.graph().nodes[node].name.as_str().into();
        let tokens = task.prepared.iter().map(|(node, token)| (name(*node), token.clone())).collect();
        let mut ack = Ack { tokens, letters: task.letters, ..Ack::default() };
        if task.meeting.is_none() {
            ack.places.insert(name(source), task.prepared_places.clone());
            // In a spool the numbers of records are not those that their clients gave them.
            if let Kind::Log { .. } = self.world.graph().nodes[source].kind {
                let places = task.prepared_places.iter();
                let reached = places.map(|(split, place)| (split.clone(), places::read(place)));
                ack.reached.insert(source.to_string().into(), reached.collect());
            }
        }
        let state = std::mem::take(&mut task.frozen);
        // Whoever acknowledges a checkpoint that is committed already finds no new status behind this.
        task.heard = 0;
        self.report(index, LoopReport::Acked { number: barrier.number, ack }, state);
        Ok(())
    }

    fn prepare(&mut self, index: usize, sink: usize, barrier: Barrier) -> Step {
        self.world.note(self.now, format_args!("sink {sink} prepares {}", barrier.number));
        let (is_read, is_stopping) = (self.is_read(), self.is_stopping);
        self.world.see(&Seen::Prepared { sink, then: barrier.then, is_read, is_stopping })?;
        let token = match &mut self.parts[sink] {
            Part::File(file) => {
                let prepared = at_once(file.prepare(barrier));
                self.world.done(prepared)?
            }
            _ => Vec::new(),
        };
        if self.world.has(Bug::CommitBeforeStored) {
            self.commit_sink(sink, barrier.number, &token)?;
        }
        let is_late = self.world.has(Bug::CursorBeforeSink);
        let task = &mut self.tasks[index];
        if is_late { &mut task.not_told } else { &mut task.prepared }.push((sink, token));
        Ok(())
    }

    /// Whether nothing is left of any input.
    fn is_read(&self) -> bool {
        let graph = self.world.graph();
        self.tasks.iter().enumerate().filter(|(_, task)| task.meeting.is_none()).all(|(index, task)| {
            match (graph.nodes[task.head].kind, &self.parts[task.head]) {
                (Kind::Log { splits, records }, _) => {
                    (0..splits).all(|split| self.place(index, split) >= records)
                }
                (_, Part::Spool(spool)) => {
                    spool.is_idle() && self.world.clients[task.head].requests_left == 0
                }
                _ => true,
            }
        })
    }

    fn commit_sink(&mut self, sink: usize, number: u64, token: &[u8]) -> Step {
        self.world.note(self.now, format_args!("sink {sink} commits {number}"));
        if let Part::File(file) = &mut self.parts[sink] {
            let committed = at_once(file.commit(token));
            self.world.done(committed)?;
        }
        self.world.see(&Seen::Committed { sink, token })
    }

    fn release(&mut self, source: usize, places: &Places) -> Step {
        if let (Part::Spool(spool), Some(place)) = (&mut self.parts[source], places.get("0")) {
            let released = spool.release(places::read(place));
            self.world.done(released)?;
        }
        Ok(())
    }

    /// A batch goes into the stage behind an edge, or on its way to another loop. False where it has to wait for room.
    fn over_edge(&mut self, index: usize, edge: usize, batch: Vec<Record>) -> Step<bool> {
        let to = self.world.graph().edges[edge].to;
        let is_away = self.tasks[index].away.contains(&edge);
        if is_away {
            if self.ways[edge].batches >= EDGE_BATCHES_MAX {
                self.tasks[index].todo.push_front(Todo::Edge(edge, batch));
                return Ok(false);
            }
            self.ways[edge].batches += 1;
            self.send(edge, Signal::Item(batch));
            return Ok(true);
        }
        let now = self.now;
        let may_hold = self.world.graph().nodes[to].kind == Kind::Plain;
        let task = &mut self.tasks[index];
        match &mut task.backoff {
            Some(backoff) if backoff.stage == to => backoff.batches.push_back(batch),
            None if may_hold && self.world.random.u8(0..12) == 0 => {
                let until = now + self.world.random.u64(10..150);
                self.world.note(now, format_args!("stage {to} backs off until {until}"));
                task.backoff = Some(Backoff { stage: to, until, batches: [batch].into() });
            }
            _ => self.process(index, to, batch)?,
        }
        Ok(true)
    }

    fn process(&mut self, index: usize, node: usize, mut records: Vec<Record>) -> Step {
        let kind = self.world.graph().nodes[node].kind;
        records.iter_mut().for_each(|record| record.way.push(node as u8));
        match kind {
            Kind::Refusing => {
                let is_refused = |record: &Record| refuses(kind, node as u8, record.origin);
                let (refused, passed): (Vec<_>, Vec<_>) = records.into_iter().partition(is_refused);
                self.refuse(node, &refused)?;
                records = passed;
            }
            Kind::Counting => {
                if let Part::Counting(counts) = &mut self.parts[node] {
                    for record in &mut records {
                        let key = key(node as u8, record.origin);
                        let count = counts.entry(key).or_default();
                        *count += 1;
                        record.counted.push(Counted { node: node as u8, key, number: *count });
                    }
                }
            }
            Kind::OneFile | Kind::FileRow => return self.write(node, records),
            Kind::Remote => {
                let there = &mut self.world.facts.remote[node];
                for record in records {
                    self.world.tally.repeats +=
                        u64::from(there.iter().any(|before| before.arrival() == record.arrival()));
                    there.push(record);
                }
                return Ok(());
            }
            _ => {}
        }
        let graph = self.world.graph();
        self.tasks[index].leave(graph, node, &records);
        Ok(())
    }

    fn write(&mut self, node: usize, records: Vec<Record>) -> Step {
        let Part::File(file) = &mut self.parts[node] else { return Ok(()) };
        let written = at_once(file.write(&batch(&records), &[]));
        let refusals = self.world.done(written)?;
        self.world
            .note(self.now, format_args!("sink {node} takes {} records", records.len() - refusals.len()));
        let refused = refusals.into_iter().map(|refusal| records[refusal.row as usize].clone());
        let refused: Vec<Record> = refused.collect();
        self.refuse(node, &refused)
    }

    fn refuse(&mut self, node: usize, records: &[Record]) -> Step {
        if self.world.has(Bug::RejectCountedAsDelivered) || records.is_empty() {
            return Ok(());
        }
        let name = self.world.graph().nodes[node].name.clone();
        self.world.note(self.now, format_args!("{name} refuses {} records", records.len()));
        let put = self.letters.put(&letters::group(&name, records));
        self.world.done(put)
    }
}
