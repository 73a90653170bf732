//! What a stage of bytes makes of a batch: which records go on, which it makes, which it refuses.

use crate::batch::{Batch, Record};
use crate::bindings::types::outcomes;
use crate::made::{Made, MakeRecord};
use crate::plan::Port;
use crate::raw::{self, Parts};
use crate::{Failure, Result};

/// Takes what a stage makes of a batch. An input record that is neither forwarded nor made into others nor
/// rejected is filtered out.
///
/// Whatever the order of the calls, records leave a port in the order of the input records that they are or
/// come from: a forwarded one before those made from it, made ones in the order in which they were made.
#[derive(Debug)]
pub struct Emitter {
    rows: u32,
    main: Leaving,
    others: Vec<Leaving>,
    rejections: Vec<outcomes::Rejection>,
    held: u32,
    misuse: Option<String>,
}

/// What leaves by one port.
#[derive(Debug, Default)]
struct Leaving {
    all: bool,
    forwarded: Vec<u32>,
    /// How many of `forwarded` are known to ascend.
    ascending: usize,
    made: Made,
}

impl Emitter {
    pub(crate) fn new(outputs: usize) -> Self {
        Emitter {
            rows: 0,
            main: Leaving::default(),
            others: (1..outputs).map(|_| Leaving::default()).collect(),
            rejections: Vec::new(),
            held: 0,
            misuse: None,
        }
    }

    /// Passes a record on as it came, by the main port. Its bytes are not copied.
    #[inline(always)]
    pub fn forward(&mut self, record: Record<'_>) {
        self.main.make_room(self.rows);
        self.main.forwarded.push(record.index());
    }

    /// Passes a record on where `condition` holds, without a branch.
    #[inline(always)]
    pub fn forward_if(&mut self, record: Record<'_>, condition: bool) {
        self.main.make_room(self.rows);
        raw::push_if(&mut self.main.forwarded, record.index(), condition);
    }

    /// Passes a record on as it came, by `port`.
    #[inline]
    pub fn forward_to(&mut self, port: Port, record: Record<'_>) {
        let rows = self.rows;
        if let Some(leaving) = self.leaving(port) {
            leaving.make_room(rows);
            leaving.forwarded.push(record.index());
        }
    }

    /// Passes every record of the batch on by the main port.
    pub fn forward_all(&mut self) {
        self.forward_all_to(Port::MAIN);
    }

    /// Passes every record of the batch on by `port`.
    pub fn forward_all_to(&mut self, port: Port) {
        if let Some(leaving) = self.leaving(port) {
            leaving.all = true;
        }
    }

    /// Passes on the records whose value fulfils `keep`, an absent value being none. The fastest filter that
    /// there is: without a branch on the answer, and without a look at the validity where all are there.
    #[inline(always)]
    pub fn forward_where(&mut self, batch: &Batch, mut keep: impl FnMut(Option<&[u8]>) -> bool) {
        let values = batch.values();
        let kept = if values.validity().is_all() {
            raw::indices_where(self.rows, |index| keep(Some(values.present_within(index as usize))))
        } else {
            raw::indices_where(self.rows, |index| keep(values.get_within(index as usize)))
        };
        self.main.forward_these(kept);
    }

    /// Makes a record from `origin`, with this value and all else of the origin.
    #[inline(always)]
    pub fn emit(&mut self, origin: Record<'_>, value: &[u8]) {
        self.main.emit(origin, |made| made.values.push(Some(value)));
    }

    /// Makes a record whose value is these parts, one after the other; they are written straight to where they
    /// leave from. There are 1 to 8 of them.
    #[inline(always)]
    pub fn emit_parts(&mut self, origin: Record<'_>, parts: impl Parts) {
        self.main.emit(origin, |made| made.values.push_parts(parts));
    }

    /// Makes a record from each for which `make` gives a value, an array of 1 to 8 parts. The fastest map that
    /// there is.
    ///
    /// ```
    /// # use conveyor_sdk::{Batch, Emitter};
    /// # fn process(batch: &Batch, out: &mut Emitter) {
    /// out.emit_each(batch, |value| value.map(|value| [b"<<", value, b">>"]));
    /// # }
    /// ```
    #[inline(always)]
    pub fn emit_each<'b, P: Parts>(
        &mut self,
        batch: &'b Batch,
        make: impl FnMut(Option<&'b [u8]>) -> Option<P>,
    ) {
        self.main.made.make_each(batch, make);
    }

    /// Makes a record whose value is what `write` appends. What is in the vector before is not the record's,
    /// and is to be left alone.
    #[inline]
    pub fn emit_with(&mut self, origin: Record<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        self.main.emit(origin, |made| Made::append_only(&mut made.values, write));
    }

    /// As [`Emitter::emit`], by `port`.
    #[inline]
    pub fn emit_to(&mut self, port: Port, origin: Record<'_>, value: &[u8]) {
        if let Some(leaving) = self.leaving(port) {
            leaving.emit(origin, |made| made.values.push(Some(value)));
        }
    }

    /// Makes a record that differs from its origin in more than the value.
    pub fn make<'e, 'a, 'k>(&'e mut self, origin: Record<'a>) -> MakeRecord<'e, 'a, 'k> {
        MakeRecord::new(self, origin)
    }

    /// Refuses a record. `code` is short and stable, for counting and routing: `bad-json`.
    pub fn reject(&mut self, record: Record<'_>, code: impl Into<String>, message: impl Into<String>) {
        self.rejections.push(outcomes::Rejection {
            of: record.index(),
            code: code.into(),
            message: message.into(),
        });
    }

    /// Says that the stage keeps `records` more of the input in its state, to make something of them later.
    pub fn hold(&mut self, records: u32) {
        self.held += records;
    }

    pub(crate) fn start(&mut self, rows: u32) {
        self.rows = rows;
    }

    pub(crate) fn made(&mut self, port: Port) -> Option<&mut Made> {
        self.leaving(port).map(|leaving| &mut leaving.made)
    }

    pub(crate) fn misuse_if(&mut self, problem: Option<&str>) {
        if let (Some(problem), None) = (problem, &self.misuse) {
            self.misuse = Some(problem.to_owned());
        }
    }

    /// What the stage made of the batch. The emitter is as new after it, whatever comes of it.
    #[inline(never)]
    pub(crate) fn finish(&mut self) -> Result<outcomes::Outcome> {
        let mut emissions = Vec::with_capacity(1 + self.others.len());
        let mut problem = self.misuse.take();
        let ports = std::iter::once(&mut self.main).chain(&mut self.others);
        for (port, leaving) in ports.enumerate() {
            match std::mem::take(leaving).finish(port as u32, self.rows) {
                Ok(emission) => emissions.extend(emission),
                Err(failure) => problem = problem.or(Some(failure)),
            }
        }
        let rejections = std::mem::take(&mut self.rejections);
        let held = std::mem::take(&mut self.held);
        match problem {
            None => Ok(outcomes::Outcome { emissions, rejections, held }),
            Some(problem) => Err(Failure::fatal(problem)),
        }
    }

    /// None, and a failure of the call at its end, where the plan has no such port.
    #[inline]
    fn leaving(&mut self, port: Port) -> Option<&mut Leaving> {
        if port == Port::MAIN {
            return Some(&mut self.main);
        }
        if self.others.len() < port.0 as usize {
            let outputs = self.others.len() + 1;
            self.misuse_if(Some(&format!(
                "{port:?} is used, but the plan of the stage has {outputs} outputs"
            )));
        }
        self.others.get_mut(port.0 as usize - 1)
    }
}

impl Leaving {
    #[inline(always)]
    fn make_room(&mut self, rows: u32) {
        if self.forwarded.capacity() == 0 {
            self.forwarded.reserve(rows as usize);
        }
    }

    fn forward_these(&mut self, kept: Vec<u32>) {
        if self.forwarded.is_empty() {
            self.ascending = kept.len();
            self.forwarded = kept;
        } else {
            self.forwarded.extend(kept);
        }
    }

    #[inline(always)]
    fn emit(&mut self, origin: Record<'_>, value: impl FnOnce(&mut Made)) {
        self.made.reserve_for(origin.batch);
        self.made.note_plain(origin);
        value(&mut self.made);
    }

    fn finish(mut self, port: u32, rows: u32) -> Result<Option<outcomes::Emission>, String> {
        let these = std::mem::take(&mut self.forwarded);
        let ascending = self.ascending == these.len() && !self.all;
        let forwarded =
            if ascending { shortest(these, rows) } else { forwarded(self.all, these, rows, port)? };
        if matches!(forwarded, outcomes::Forwarded::Nothing) && self.made.is_empty() {
            return Ok(None);
        }
        if self.made.is_too_large() {
            return Err(format!(
                "more than 2 GiB were made for port {port} of one batch; make smaller records"
            ));
        }
        self.made.sort();
        Ok(Some(outcomes::Emission { port, forwarded, made: self.made.finish(rows) }))
    }
}

/// Which records go on. They are put in order; one twice is a mistake of the stage.
pub(crate) fn forwarded(
    all: bool,
    mut these: Vec<u32>,
    rows: u32,
    port: u32,
) -> Result<outcomes::Forwarded, String> {
    let ascends = |these: &[u32]| {
        // No early return, so that it is a few vector instructions.
        these.iter().zip(these.iter().skip(1)).fold(true, |ascends, (one, next)| ascends & (one < next))
    };
    if !ascends(&these) {
        these.sort_unstable();
    }
    if all && !these.is_empty() || !ascends(&these) {
        let twice = these.windows(2).find(|pair| pair[0] == pair[1]).map_or(these[0], |pair| pair[0]);
        return Err(format!(
            "record {twice} is forwarded twice to port {port}; make a copy of it to send two"
        ));
    }
    Ok(if all && rows > 0 { outcomes::Forwarded::All } else { shortest(these, rows) })
}

/// The shortest way to say that `these`, which ascend, go on.
fn shortest(these: Vec<u32>, rows: u32) -> outcomes::Forwarded {
    match these.len() {
        0 => outcomes::Forwarded::Nothing,
        count if count == rows as usize => outcomes::Forwarded::All,
        _ => outcomes::Forwarded::These(these),
    }
}

#[cfg(test)]
mod tests {
    use outcomes::Origins;

    use super::*;
    use crate::bindings::types::{columns, records};
    use crate::plan;

    /// Three records of one byte.
    fn batch() -> Batch {
        let blobs = columns::Varlen { offsets: vec![0, 1, 2, 3], bytes: b"abc".to_vec() };
        let values = columns::BlobColumn { valid: None, blobs };
        let wire = records::Batch { rows: 3, times: None, keys: None, headers: None, values };
        Batch::new(wire, plan::Parts::default()).expect("a batch")
    }

    fn each(batch: &Batch, out: &mut Emitter, keep: impl Fn(&[u8]) -> bool) {
        out.emit_each(batch, |value| value.filter(|value| keep(value)).map(|value| [value, b"!"]));
    }

    #[test]
    fn one_made_of_each_leaves_without_a_list() {
        type Make = fn(&Batch, &mut Emitter);
        let cases: [(&str, Make, Origins); 8] = [
            ("each", |b, out| each(b, out, |_| true), Origins::Each),
            ("each but the first", |b, out| each(b, out, |v| v != b"a"), Origins::These(vec![1, 2])),
            ("each but the second", |b, out| each(b, out, |v| v != b"b"), Origins::These(vec![0, 2])),
            ("each but the last", |b, out| each(b, out, |v| v != b"c"), Origins::These(vec![0, 1])),
            ("one by one", |b, out| b.records().for_each(|r| out.emit(r, b"x")), Origins::Each),
            (
                "with keys",
                |b, out| b.records().for_each(|r| out.make(r).key(Some(b"k")).value(b"x")),
                Origins::Each,
            ),
            (
                "from the last on",
                |b, out| [2, 1, 0].into_iter().for_each(|of| out.emit(b.record(of), b"x")),
                Origins::These(vec![0, 1, 2]),
            ),
            (
                "each, and the last again",
                |b, out| {
                    each(b, out, |_| true);
                    out.emit(b.record(2), b"x");
                },
                Origins::These(vec![0, 1, 2, 2]),
            ),
        ];
        let (batch, mut out) = (batch(), Emitter::new(1));
        for (name, make, expected) in cases {
            out.start(3);
            make(&batch, &mut out);
            let outcome = out.finish().expect(name);
            let [emission] = &*outcome.emissions else { panic!("{name}: {outcome:?}") };
            let made = emission.made.as_ref().expect(name);
            assert_eq!(made.origins, expected, "{name}");
            let count = if let Origins::These(list) = &expected { list.len() } else { 3 };
            assert_eq!((made.values.blobs.offsets.len(), &made.values.valid), (count + 1, &None), "{name}");
        }
    }
}
