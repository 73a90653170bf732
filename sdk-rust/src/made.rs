//! The records that a stage makes for one port, and the builder of one with a time, key or headers of its
//! own.

use crate::batch::{Batch, Record};
use crate::bindings::types::{outcomes, records};
use crate::emitter::Emitter;
use crate::origins::OriginsBuilder;
use crate::plan::Port;
use crate::raw::{self, Parts};
use crate::varlen::{BlobBuilder, VarlenBuilder};

/// The made records of one port. Times, keys and headers are kept only once a record sets them; what a record
/// does not set is then filled in from its origin, as the contract does where a whole column is left out.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) origins: OriginsBuilder,
    pub(crate) values: BlobBuilder,
    /// Whether any of the three below is there: the one test that a plain record costs.
    extras: bool,
    times: Option<Vec<i64>>,
    keys: Option<BlobBuilder>,
    headers: Option<HeadersBuilder>,
}

/// What a made record says of itself, where it is not as its origin.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Own<'k> {
    time: Option<i64>,
    key: Option<Option<&'k [u8]>>,
}

/// A record that is being made from `origin`.
///
/// ```
/// # use conveyor_sdk::{Batch, Emitter, Port, Result};
/// # fn process(batch: &Batch, out: &mut Emitter) -> Result {
/// for record in batch {
///     out.make(record).key(Some(b"all")).header("kind", b"copy").value(record.bytes());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a record is made by `value`, `parts`, `write` or `deletion`"]
pub struct MakeRecord<'e, 'a, 'k> {
    out: &'e mut Emitter,
    origin: Record<'a>,
    port: Port,
    own: Own<'k>,
    headers: bool,
}

impl<'e, 'a, 'k> MakeRecord<'e, 'a, 'k> {
    pub(crate) fn new(out: &'e mut Emitter, origin: Record<'a>) -> Self {
        MakeRecord { out, origin, port: Port::MAIN, own: Own::default(), headers: false }
    }

    /// Leaves by this port. To be said before the headers.
    pub fn to(mut self, port: Port) -> Self {
        debug_assert!(!self.headers, "the port comes before the headers");
        self.port = port;
        self
    }

    /// Its event time, in microseconds since the Unix epoch.
    pub fn time(mut self, micros: i64) -> Self {
        self.own.time = Some(micros);
        self
    }

    /// Its key, or that it has none.
    pub fn key(mut self, key: Option<&'k [u8]>) -> Self {
        self.own.key = Some(key);
        self
    }

    /// One header more, in place of those of its origin.
    pub fn header(mut self, name: &str, value: &[u8]) -> Self {
        let batch = self.origin.batch;
        if let Some(made) = self.out.made(self.port) {
            let at = made.origins.len() as u32;
            let problem = made.own_headers(batch);
            made.headers.get_or_insert_default().push(at, name, value);
            self.out.misuse_if(problem);
        }
        self.headers = true;
        self
    }

    /// Makes it, with this value.
    pub fn value(self, value: &[u8]) {
        self.finish(|values| values.push(Some(value)));
    }

    /// Makes it, with a value of these parts one after the other.
    pub fn parts(self, parts: impl Parts) {
        self.finish(|values| values.push_parts(parts));
    }

    /// Makes it, with the value that `write` appends.
    pub fn write(self, write: impl FnOnce(&mut Vec<u8>)) {
        self.finish(|values| {
            Made::append_only(values, write);
        });
    }

    /// Makes it, without a value.
    pub fn deletion(self) {
        self.finish(|values| values.push(None));
    }

    fn finish(self, value: impl FnOnce(&mut BlobBuilder)) {
        let MakeRecord { out, origin, port, own, headers } = self;
        if let Some(made) = out.made(port) {
            made.reserve_for(origin.batch);
            let problem = made.note_own(origin, own, headers);
            made.origins.push(origin.index());
            value(&mut made.values);
            out.misuse_if(problem);
        }
    }
}

impl Made {
    pub(crate) fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Room for as much as came in and a little more, so that a map does not reallocate. It is not touched
    /// before it is used.
    #[inline(always)]
    pub(crate) fn reserve_for(&mut self, batch: &Batch) {
        if self.values.is_unreserved() {
            self.reserve(batch);
        }
    }

    /// What is to be done beside the value for a record that is as its origin in all else.
    #[inline(always)]
    pub(crate) fn note_plain(&mut self, origin: Record<'_>) {
        if self.extras {
            // Every column is there already or was filled up, so that nothing can go wrong now.
            let _ = self.note_own(origin, Own::default(), false);
        }
        self.origins.push(origin.index());
    }

    /// Makes a record for each for which `make` gives the parts of a value.
    #[inline(always)]
    pub(crate) fn make_each<'b, P: Parts>(
        &mut self,
        batch: &'b Batch,
        mut make: impl FnMut(Option<&'b [u8]>) -> Option<P>,
    ) {
        if !self.is_empty() {
            for record in batch {
                if let Some(parts) = make(record.value()) {
                    self.note_plain(record);
                    self.values.push_parts(parts);
                }
            }
            return;
        }
        let (rows, values) = (batch.len() as u32, batch.values());
        let bytes = Vec::with_capacity(bytes_expected(batch));
        let made = if values.validity().is_all() {
            raw::make_each(rows, bytes, |index| make(Some(values.present_within(index as usize))))
        } else {
            raw::make_each(rows, bytes, |index| make(values.get_within(index as usize)))
        };
        self.origins = OriginsBuilder::of(made.count, made.origins);
        self.values.fill(made.offsets, made.bytes);
    }

    /// Runs `write` on the bytes of a column and closes the value; a writer can append and nothing else.
    pub(crate) fn append_only(values: &mut BlobBuilder, write: impl FnOnce(&mut Vec<u8>)) {
        let before = values.bytes_len();
        write(values.open_value());
        assert!(values.bytes_len() >= before, "a value is appended to what is there, which is not shortened");
        values.close();
    }

    /// Puts the records in the order of their origins, which is how they leave.
    pub(crate) fn sort(&mut self) {
        if let Some(order) = self.origins.sort() {
            self.reorder(&order);
        }
    }

    #[cold]
    #[inline(never)]
    fn reorder(&mut self, order: &[usize]) {
        self.values = self.values.take(order);
        self.times = self.times.take().map(|times| order.iter().map(|index| times[*index]).collect());
        self.keys = self.keys.take().map(|keys| keys.take(order));
        self.headers = self.headers.take().map(|headers| headers.take(order));
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.values.is_too_large() || self.keys.as_ref().is_some_and(BlobBuilder::is_too_large)
    }

    /// What was made of a batch of `rows`.
    pub(crate) fn finish(self, rows: u32) -> Option<outcomes::MadeRecords> {
        (!self.is_empty()).then(|| outcomes::MadeRecords {
            origins: self.origins.finish(rows),
            times: self.times,
            keys: self.keys.map(BlobBuilder::finish),
            headers: self.headers.map(HeadersBuilder::finish),
            values: self.values.finish(),
        })
    }

    #[cold]
    #[inline(never)]
    fn reserve(&mut self, batch: &Batch) {
        self.values.reserve(batch.len(), bytes_expected(batch));
    }

    /// Times, keys and headers of the record that comes next; what is wrong with the plan, where it is.
    #[inline(never)]
    fn note_own(&mut self, origin: Record<'_>, own: Own<'_>, headers: bool) -> Option<&'static str> {
        let batch = origin.batch;
        let mut problem = None;
        if own.time.is_some() && self.times.is_none() {
            problem = self.own_times(batch);
        }
        if own.key.is_some() && self.keys.is_none() {
            problem = problem.or(self.own_keys(batch));
        }
        if let Some(times) = &mut self.times {
            problem = problem.or(lacks(own.time.is_none() && !batch.parts().times, TIMES));
            times.push(own.time.or(origin.time()).unwrap_or_default());
        }
        if let Some(keys) = &mut self.keys {
            problem = problem.or(lacks(own.key.is_none() && !batch.parts().keys, KEYS));
            keys.push(own.key.unwrap_or_else(|| origin.key()));
        }
        if let (Some(own_headers), false) = (&mut self.headers, headers) {
            problem = problem.or(lacks(!batch.parts().headers, HEADERS));
            let at = self.origins.len() as u32;
            origin.headers().for_each(|(name, value)| own_headers.push(at, name, value));
        }
        self.extras = self.times.is_some() || self.keys.is_some() || self.headers.is_some();
        problem
    }

    fn own_times(&mut self, batch: &Batch) -> Option<&'static str> {
        let times = self.origins.iter().map(|of| batch.record(of).time().unwrap_or_default()).collect();
        self.times = Some(times);
        lacks(!self.is_empty() && !batch.parts().times, TIMES)
    }

    fn own_keys(&mut self, batch: &Batch) -> Option<&'static str> {
        let mut keys = BlobBuilder::default();
        self.origins.iter().for_each(|of| keys.push(batch.record(of).key()));
        self.keys = Some(keys);
        lacks(!self.is_empty() && !batch.parts().keys, KEYS)
    }

    fn own_headers(&mut self, batch: &Batch) -> Option<&'static str> {
        if self.headers.is_some() {
            return None;
        }
        let headers = self.headers.get_or_insert_default();
        for (at, of) in self.origins.iter().enumerate() {
            batch.record(of).headers().for_each(|(name, value)| headers.push(at as u32, name, value));
        }
        self.extras = true;
        lacks(!self.is_empty() && !batch.parts().headers, HEADERS)
    }
}

/// Room for as much as came in and a little more for each record.
fn bytes_expected(batch: &Batch) -> usize {
    batch.values().total_bytes() + 16 * batch.len()
}

const TIMES: &str = "the stage sets the time of some records that it makes and leaves it to others to have that of \
                     their origin: its plan has to ask for `times`";
const KEYS: &str = "the stage sets the key of some records that it makes and leaves it to others to have that of \
                    their origin: its plan has to ask for `keys`";
const HEADERS: &str = "the stage sets headers of some records that it makes and leaves it to others to have those of \
                       their origin: its plan has to ask for `headers`";

fn lacks(problem: bool, message: &'static str) -> Option<&'static str> {
    problem.then_some(message)
}

/// Headers in their wire form, with each name once.
#[derive(Debug, Default)]
pub(crate) struct HeadersBuilder {
    names: Vec<String>,
    of: Vec<u32>,
    name: Vec<u16>,
    values: VarlenBuilder,
}

impl HeadersBuilder {
    pub(crate) fn push(&mut self, of: u32, name: &str, value: &[u8]) {
        let known = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        let known = u16::try_from(known).expect("a batch has fewer than 65,536 names of headers");
        self.of.push(of);
        self.name.push(known);
        self.values.push(value);
    }

    fn take(&self, order: &[usize]) -> Self {
        let mut taken = HeadersBuilder { names: self.names.clone(), ..Self::default() };
        for (to, from) in order.iter().enumerate() {
            let start = self.of.partition_point(|of| (*of as usize) < *from);
            for at in (start..self.of.len()).take_while(|at| self.of[*at] as usize == *from) {
                taken.of.push(to as u32);
                taken.name.push(self.name[at]);
                taken.values.push(self.values.get(at));
            }
        }
        taken
    }

    /// None where there are none at all.
    pub(crate) fn finish_any(self) -> Option<records::Headers> {
        (!self.of.is_empty()).then(|| self.finish())
    }

    pub(crate) fn finish(self) -> records::Headers {
        records::Headers { names: self.names, of: self.of, name: self.name, values: self.values.finish() }
    }
}
