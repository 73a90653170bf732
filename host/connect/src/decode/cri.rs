//! The log format of Kubernetes' container runtimes (CRI): `TIME stream P|F text` a line. A record that is longer than
//! what the runtime writes at once comes in parts, of which the last one has the tag `F`; the parts of `stdout` and
//! `stderr` stand among each other.
//!
//! Who goes on from a checkpoint reads the parts of records that are not whole once more, and drops what was taken behind
//! their beginnings: as many records as [`Progress::ahead`] says.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, TimestampMicrosecondArray};
use flow::connector::{ConnectError, PullLimits};
use memchr::{memchr, memchr_iter};
use model::convert::{BAD_ROW, times};
use model::lineage::Offsets;
use model::manifest::ColumnType;

use super::{Decoder, Progress, RECORD_TOO_LARGE, Refusal, Taken, Window, oversize};

/// The columns that there are, with their types.
pub(crate) const CRI_COLUMNS: [(&str, ColumnType); 3] =
    [("time", ColumnType::Timestamp), ("stream", ColumnType::Text), ("text", ColumnType::Text)];

/// A column that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CriColumn {
    /// Microseconds.
    Time,
    /// As it stands, to the nanosecond.
    TimeText,
    Stream,
    Text,
}

const STREAMS: [&str; 2] = ["stdout", "stderr"];
/// More than there is in front of the text of a line.
const HEAD_BYTES: usize = 128;

/// When a record began.
struct Head<'a> {
    /// As it stands.
    time: &'a str,
    micros: i64,
}

/// One line, taken apart.
struct Part<'a> {
    head: Head<'a>,
    /// Index into [`STREAMS`].
    stream: usize,
    is_last: bool,
    text: &'a [u8],
}

/// A record of which not all parts have come.
struct Open {
    time: String,
    micros: i64,
    text: Vec<u8>,
    /// More has come of it than may be kept.
    is_too_long: bool,
    /// Where it begins: bytes and lines since the decoder began, and the records that had ended there.
    at: u64,
    lines: u64,
    ended: u64,
}

pub(crate) struct CriDecoder {
    columns: Columns,
    record_bytes_max: usize,
    /// Ends of whole lines, absolute in the window.
    ends: Vec<u32>,
    next: usize,
    /// How far the window has been searched for the end of a line that is still open.
    searched: usize,
    skipping: bool,
    ended: bool,
    open: [Option<Open>; 2],
    next_offset: u64,
    lines: u64,
    /// Bytes that were taken off the input.
    at: u64,
    /// Records that have ended, and how many of the first of them were taken in an earlier run.
    records: u64,
    known: u64,
    refused: Vec<Refusal>,
    /// Offsets and lines of the good records of the last portion, where somebody may ask for them.
    lines_taken: Option<Vec<(u64, Vec<u8>)>>,
}

impl CriDecoder {
    /// `keeps_lines`: whether a good record may be refused later, for what it has in a column.
    pub(crate) fn new(columns: Vec<CriColumn>, keeps_lines: bool, record_bytes_max: usize) -> Self {
        Self {
            columns: Columns::new(columns),
            record_bytes_max,
            ends: Vec::new(),
            next: 0,
            searched: 0,
            skipping: false,
            ended: false,
            open: [None, None],
            next_offset: 0,
            lines: 0,
            at: 0,
            records: 0,
            known: 0,
            refused: Vec::new(),
            lines_taken: keeps_lines.then(Vec::new),
        }
    }

    fn consume(&mut self, input: &mut Window, bytes: usize) {
        input.consume_to(input.start() + bytes);
        self.at += bytes as u64;
    }

    /// Counts a record. Its offset, unless it was taken in an earlier run.
    fn ends_record(&mut self) -> Option<u64> {
        self.records += 1;
        if self.records <= self.known {
            return None;
        }
        self.next_offset += 1;
        Some(self.next_offset - 1)
    }

    fn refuse(&mut self, code: &'static str, why: &str, raw: &[u8]) {
        let message = format!("line {}: {why}", self.lines + 1);
        if let Some(offset) = self.ends_record() {
            self.refused.push(Refusal::new(offset, code, message, raw));
        }
    }

    fn refuse_too_long(&mut self, line: &[u8], max: usize) {
        let message = format!("line {}: {}", self.lines + 1, oversize(self.record_bytes_max));
        if let Some(offset) = self.ends_record() {
            self.refused.push(Refusal::too_long(offset, message, line, max));
        }
    }

    /// Takes in a line that begins at `at`. The offset of the record that ends with it. `cut`: there is more of it than
    /// anybody may hold.
    fn take_line(&mut self, line: &[u8], at: u64, cut: bool) -> Option<u64> {
        let part = match Part::of(line) {
            Ok(part) => part,
            Err(_) if cut => {
                self.refuse_too_long(line, line.len());
                return None;
            }
            Err(why) => {
                self.refuse(BAD_ROW, why, line);
                return None;
            }
        };
        let max = self.record_bytes_max;
        let is_whole = part.is_last && self.open[part.stream].is_none();
        if is_whole && !cut && part.text.len() <= max {
            return self.put(&part.head, part.stream, part.text);
        }
        let (lines, ended) = (self.lines, self.records);
        let mut open = self.open[part.stream].take().unwrap_or_else(|| Open {
            time: part.head.time.to_owned(),
            micros: part.head.micros,
            text: Vec::new(),
            is_too_long: false,
            at,
            lines,
            ended,
        });
        let room = max - open.text.len();
        open.is_too_long |= cut || part.text.len() > room;
        open.text.extend_from_slice(&part.text[..part.text.len().min(room)]);
        if !part.is_last {
            self.open[part.stream] = Some(open);
            return None;
        }
        self.end(part.stream, &open)
    }

    /// Ends a record of several parts. Whoever reads it again from a later part on has to count one as well, so that one
    /// which is too long is refused here and not where that was found.
    fn end(&mut self, stream: usize, open: &Open) -> Option<u64> {
        let head = Head { time: &open.time, micros: open.micros };
        if open.is_too_long {
            let line = head.line(stream, &open.text);
            self.refuse_too_long(&line, line.len());
            return None;
        }
        self.put(&head, stream, &open.text)
    }

    /// Gives a whole record to the columns, or refuses it. Its offset.
    fn put(&mut self, head: &Head<'_>, stream: usize, text: &[u8]) -> Option<u64> {
        let (code, why) = match std::str::from_utf8(text) {
            Ok(text) if self.columns.has_room(text) => {
                let offset = self.ends_record()?;
                self.columns.push(head, STREAMS[stream], text);
                if let Some(lines) = &mut self.lines_taken {
                    lines.push((offset, head.line(stream, text.as_bytes())));
                }
                return Some(offset);
            }
            Ok(_) => (RECORD_TOO_LARGE, "the batch would hold more than 2 GiB"),
            Err(_) => (BAD_ROW, "its text is not UTF-8"),
        };
        self.refuse(code, why, &head.line(stream, text));
        None
    }

    /// The rest of a line that is too long.
    fn skip(&mut self, input: &mut Window) {
        let rest = &input.data()[input.start()..];
        let end = memchr(b'\n', rest);
        let used = end.map_or(rest.len(), |end| end + 1);
        self.skipping = end.is_none();
        self.lines += u64::from(end.is_some());
        self.consume(input, used);
        self.searched = 0;
    }

    fn has_open(&self) -> usize {
        self.open.iter().flatten().count()
    }
}

impl Decoder for CriDecoder {
    fn scan(&mut self, input: &mut Window, ended: bool) -> Result<(), ConnectError> {
        self.ended = ended;
        if self.skipping {
            self.skip(input);
        }
        self.ends.clear();
        self.next = 0;
        let from = input.start() + self.searched.min(input.len());
        self.ends.extend(memchr_iter(b'\n', &input.data()[from..]).map(|at| (from + at) as u32));
        let tail = self.ends.last().map_or(input.start(), |&end| end as usize + 1);
        let left = input.data().len() - tail;
        if ended && left > 0 {
            self.ends.push(input.data().len() as u32);
        }
        self.searched = if self.ends.is_empty() { left } else { 0 };
        let max = self.record_bytes_max + HEAD_BYTES;
        if self.ends.is_empty() && left > max {
            let head = input.data()[tail..tail + max].to_vec();
            // Too long for a record, so that none ends with it.
            self.take_line(&head, self.at, true);
            self.skipping = true;
            self.skip(input);
        }
        Ok(())
    }

    fn ready(&self) -> usize {
        let lines = self.ends.len() - self.next;
        lines + self.refused.len() + if self.ended && lines == 0 { self.has_open() } else { 0 }
    }

    fn take(&mut self, input: &mut Window, limits: &PullLimits) -> Taken {
        let (first, mut at) = (input.start(), input.start());
        let mut offsets = Vec::new();
        if let Some(lines) = &mut self.lines_taken {
            lines.clear();
        }
        while self.next < self.ends.len()
            && offsets.len() + self.refused.len() < limits.records_max
            && at - first < limits.bytes_max.max(1)
        {
            let end = self.ends[self.next] as usize;
            let line = &input.data()[at..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                offsets.extend(self.take_line(line, self.at + (at - first) as u64, false));
            }
            self.next += 1;
            self.lines += 1;
            at = end + 1;
        }
        let used = at.min(input.data().len()) - first;
        self.consume(input, used);
        if self.ended && self.next == self.ends.len() {
            // What ends in the middle of a record ends it.
            for stream in 0..STREAMS.len() {
                if offsets.len() + self.refused.len() < limits.records_max
                    && let Some(open) = self.open[stream].take()
                {
                    offsets.extend(self.end(stream, &open));
                }
            }
        }
        let (rows, refused) = (offsets.len(), std::mem::take(&mut self.refused));
        Taken { rows, columns: self.columns.finish(), offsets: Offsets::These(offsets.into()), refused }
    }

    fn raws(&self, _input: &Window, offsets: &[u64]) -> Vec<Vec<u8>> {
        let lines = self.lines_taken.as_deref().unwrap_or_default();
        let line = |offset: &u64| {
            let at = lines.binary_search_by_key(offset, |(offset, _)| *offset);
            at.map_or_else(|_| Vec::new(), |at| lines[at].1.clone())
        };
        offsets.iter().map(line).collect()
    }

    fn progress(&self) -> Progress {
        let taken = self.records.max(self.known);
        let (offset, skipping) = (self.next_offset, self.skipping);
        let done = Progress { offset, ..Progress::default() };
        match self.open.iter().flatten().min_by_key(|open| open.at) {
            Some(open) => {
                let (held, ahead) = (self.at - open.at, taken - open.ended);
                Progress { lines: open.lines, held, ahead, ..done }
            }
            None => Progress { lines: self.lines, skipping, ahead: taken - self.records, ..done },
        }
    }

    fn resume(&mut self, from: &Progress, _header: Vec<u8>) -> Result<(), ConnectError> {
        (self.next_offset, self.lines, self.skipping) = (from.offset, from.lines, from.skipping);
        self.known = from.ahead;
        Ok(())
    }
}

impl Head<'_> {
    /// The record as one line, as far as it has come.
    fn line(&self, stream: usize, text: &[u8]) -> Vec<u8> {
        let mut line = format!("{} {} F ", self.time, STREAMS[stream]).into_bytes();
        line.extend_from_slice(text);
        line
    }
}

impl<'a> Part<'a> {
    fn of(line: &'a [u8]) -> Result<Self, &'static str> {
        const FORM: &str = "it is not `TIME stdout|stderr P|F TEXT`";
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let mut next = || fields.next().ok_or(FORM);
        let (time, stream, tags) = (next()?, next()?, next()?);
        // A runtime may leave out the last space where there is no text.
        let text = next().unwrap_or_default();
        let micros = times::instant(time).ok_or("it does not begin with a time")?;
        let time = std::str::from_utf8(time).map_err(|_| FORM)?;
        let stream = STREAMS.iter().position(|name| name.as_bytes() == stream).ok_or(FORM)?;
        let is_last = match tags.split(|byte| *byte == b':').next() {
            Some(b"F") => true,
            Some(b"P") => false,
            _ => return Err(FORM),
        };
        Ok(Self { head: Head { time, micros }, stream, is_last, text })
    }
}

/// Columns of the records that were taken and not handed over.
struct Columns {
    kinds: Vec<CriColumn>,
    times: Vec<i64>,
    texts: Vec<StringBuilder>,
}

impl Columns {
    fn new(kinds: Vec<CriColumn>) -> Self {
        let texts = kinds.iter().map(|_| StringBuilder::new()).collect();
        Self { kinds, times: Vec::new(), texts }
    }

    fn has_room(&self, text: &str) -> bool {
        self.texts.iter().all(|column| {
            column.values_slice().len().saturating_add(text.len().max(HEAD_BYTES)) <= i32::MAX as usize
        })
    }

    fn push(&mut self, head: &Head<'_>, stream: &str, text: &str) {
        for (kind, column) in self.kinds.iter().zip(&mut self.texts) {
            match kind {
                CriColumn::Time => {}
                CriColumn::TimeText => column.append_value(head.time),
                CriColumn::Stream => column.append_value(stream),
                CriColumn::Text => column.append_value(text),
            }
        }
        self.times.push(head.micros);
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let times = std::mem::take(&mut self.times);
        let column = |(kind, texts): (&CriColumn, &mut StringBuilder)| -> ArrayRef {
            match kind {
                CriColumn::Time => {
                    Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC"))
                }
                _ => Arc::new(texts.finish()),
            }
        };
        self.kinds.iter().zip(&mut self.texts).map(column).collect()
    }
}
