//! One record a line: plain lines, and JSON lines.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use flow::connector::{ConnectError, PullLimits};
use memchr::{memchr, memchr_iter};
use model::convert::{JsonReader, RowError};
use model::lineage::Offsets;

use super::{Decoder, Progress, RECORD_TOO_LARGE, Refusal, Taken, Window, oversize};

/// What becomes of a line.
pub(crate) trait LineRows: Send {
    /// Whether a line of nothing is a record.
    const BLANK_IS_RECORD: bool;
    fn push(&mut self, line: &[u8]) -> Result<(), RowError>;
    fn finish(&mut self) -> Vec<ArrayRef>;
}

/// Lines as they are, without their line breaks.
#[derive(Debug, Default)]
pub(crate) struct PlainLines {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl LineRows for PlainLines {
    const BLANK_IS_RECORD: bool = true;

    fn push(&mut self, line: &[u8]) -> Result<(), RowError> {
        if self.ends.is_empty() {
            self.ends.push(0);
        }
        self.bytes.extend_from_slice(line);
        let end = i32::try_from(self.bytes.len());
        self.ends.push(end.map_err(|_| RowError {
            code: RECORD_TOO_LARGE,
            message: "the batch would hold more than 2 GiB".to_owned(),
        })?);
        Ok(())
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        if self.ends.is_empty() {
            self.ends.push(0);
        }
        let next = Vec::with_capacity(self.bytes.len());
        let bytes = Buffer::from_vec(std::mem::replace(&mut self.bytes, next));
        let ends = OffsetBuffer::new(std::mem::take(&mut self.ends).into());
        vec![Arc::new(BinaryArray::new(ends, bytes, None))]
    }
}

/// Lines that hold a JSON object each.
#[derive(Debug)]
pub(crate) struct JsonLines(pub(crate) JsonReader);

impl LineRows for JsonLines {
    const BLANK_IS_RECORD: bool = false;

    fn push(&mut self, line: &[u8]) -> Result<(), RowError> {
        self.0.push(line)
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.0.take().expect("columns of one reader are as long and of the types that it set up")
    }
}

/// Splits input into lines.
pub(crate) struct LineDecoder<R> {
    rows: R,
    file: Arc<str>,
    record_bytes_max: usize,
    /// Ends of whole lines, absolute in the window.
    ends: Vec<u32>,
    next: usize,
    next_offset: u64,
    /// Lines behind us, for messages.
    lines: u64,
    fresh: bool,
    skipping: bool,
    refused: Vec<Refusal>,
    /// How far the window has been searched for the end of a line that is still open.
    searched: usize,
    /// Where the portion began that was taken last.
    portion: Portion,
}

#[derive(Clone, Copy, Default)]
struct Portion {
    /// Index of its first line.
    next: usize,
    /// Where that is in the window.
    at: usize,
    offset: u64,
}

impl<R: LineRows> LineDecoder<R> {
    pub(crate) fn new(rows: R, file: Arc<str>, record_bytes_max: usize) -> Self {
        Self {
            rows,
            file,
            record_bytes_max,
            ends: Vec::new(),
            next: 0,
            next_offset: 0,
            lines: 0,
            fresh: true,
            skipping: false,
            refused: Vec::new(),
            searched: 0,
            portion: Portion::default(),
        }
    }

    fn refuse(&mut self, code: &'static str, message: &str, line: &[u8]) {
        let message = format!("line {}: {message}", self.lines + 1);
        self.refused.push(Refusal::new(self.next_offset, code, message, line));
    }

    fn refuse_too_long(&mut self, line: &[u8]) {
        let max = self.record_bytes_max;
        let message = format!("line {}: {}", self.lines + 1, oversize(max));
        self.refused.push(Refusal::too_long(self.next_offset, message, line, max));
    }

    fn skip(&mut self, input: &mut Window) {
        let rest = &input.data()[input.start()..];
        let end = memchr(b'\n', rest);
        let used = end.map_or(rest.len(), |end| end + 1);
        self.skipping = end.is_none();
        self.lines += u64::from(end.is_some());
        input.consume_to(input.start() + used);
        self.searched = 0;
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

impl<R: LineRows> Decoder for LineDecoder<R> {
    fn scan(&mut self, input: &mut Window, ended: bool) -> Result<(), ConnectError> {
        if self.skipping {
            self.skip(input);
        }
        if self.fresh {
            if !input.skip_mark(ended, &self.file)? {
                return Ok(());
            }
            self.fresh = false;
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
        // One byte more may be the first of a line break.
        if self.ends.is_empty() && left > self.record_bytes_max + 1 {
            self.refuse_too_long(&input.data()[tail..]);
            self.next_offset += 1;
            self.skipping = true;
            self.skip(input);
        }
        Ok(())
    }

    fn ready(&self) -> usize {
        self.ends.len() - self.next + self.refused.len()
    }

    fn take(&mut self, input: &mut Window, limits: &PullLimits) -> Taken {
        let first_offset = self.next_offset;
        let first_byte = input.start();
        // Offsets of good lines, from the first one on that has a gap before it.
        let mut offsets: Option<Vec<u64>> = None;
        let mut rows = 0;
        let mut at = input.start();
        self.portion = Portion { next: self.next, at, offset: first_offset };
        while self.next < self.ends.len()
            && rows < limits.records_max
            && at - first_byte < limits.bytes_max.max(1)
        {
            let end = self.ends[self.next] as usize;
            let line = without_return(&input.data()[at..end]);
            self.next += 1;
            at = end + 1;
            if line.is_empty() && !R::BLANK_IS_RECORD {
                self.lines += 1;
                continue;
            }
            let pushed = if line.len() > self.record_bytes_max {
                Err(RowError { code: RECORD_TOO_LARGE, message: oversize(self.record_bytes_max) })
            } else {
                self.rows.push(line)
            };
            match pushed {
                Ok(()) => {
                    rows += 1;
                    if let Some(offsets) = &mut offsets {
                        offsets.push(self.next_offset);
                    }
                }
                Err(RowError { code, message }) => {
                    match line.len() > self.record_bytes_max {
                        true => self.refuse_too_long(line),
                        false => self.refuse(code, &message, line),
                    }
                    let before = first_offset..first_offset + rows as u64;
                    offsets.get_or_insert_with(|| before.collect());
                }
            }
            self.next_offset += 1;
            self.lines += 1;
            if self.refused.len() >= limits.records_max {
                break;
            }
        }
        input.consume_to(at);
        Taken {
            rows,
            columns: self.rows.finish(),
            offsets: offsets.map_or(Offsets::From(first_offset), |offsets| Offsets::These(offsets.into())),
            refused: std::mem::take(&mut self.refused),
        }
    }

    fn raws(&self, input: &Window, offsets: &[u64]) -> Vec<Vec<u8>> {
        let Portion { next, mut at, mut offset } = self.portion;
        let mut wanted = offsets.iter().peekable();
        let mut raws = Vec::with_capacity(offsets.len());
        for &end in &self.ends[next..self.next] {
            let line = without_return(&input.data()[at..end as usize]);
            at = end as usize + 1;
            if line.is_empty() && !R::BLANK_IS_RECORD {
                continue;
            }
            raws.extend(wanted.next_if(|&&wanted| wanted == offset).map(|_| line.to_vec()));
            offset += 1;
        }
        raws
    }

    fn progress(&self) -> Progress {
        let Self { next_offset, lines, skipping, .. } = *self;
        Progress { offset: next_offset, lines, skipping, ..Progress::default() }
    }

    fn resume(&mut self, from: &Progress, _header: Vec<u8>) -> Result<(), ConnectError> {
        self.next_offset = from.offset;
        self.lines = from.lines;
        self.skipping = from.skipping;
        self.fresh = false;
        Ok(())
    }
}
