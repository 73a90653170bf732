//! The rows of one file, from pieces of input to columns, and the rows that are refused.

mod header;
mod misfit;
mod rest;

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use flow::connector::{ConnectError, PullLimits};
use model::convert::BAD_ROW;
use model::limits::{LONG_ROW_BYTES_LEAST, LONG_ROW_FACTOR};
use model::lineage::Offsets;
use model::manifest::{Bytes, UnknownFields};

pub(crate) use self::header::{not_zeek, read_header};
use self::misfit::{LONE_RETURN, misfit, misfit_of_rest};
use self::rest::read_rest;
use super::columns::{Portion, Target};
use super::dialect::{CsvForm, Dialect, RowEnds, lone_returns};
use super::field::Field;
use super::index::Index;
use super::rows::Rows;
use super::state::State;
use super::zeek::{ZeekHeader, ZeekType};
use crate::decode::{Chunk, Decoder, Progress, Refusal, Taken, Window, oversize};

/// How the files of a source are laid out.
#[derive(Clone, Debug)]
pub(crate) struct CsvLayout {
    pub(crate) form: CsvForm,
    /// The columns of the stream, as their first file has them, without `rest`.
    pub(crate) names: Vec<String>,
    /// Of logs of Zeek, what they are.
    pub(crate) zeek: Option<Vec<ZeekType>>,
    pub(crate) unknown: UnknownFields,
    pub(crate) record_bytes_max: usize,
}

/// What is read of a file.
#[derive(Clone, Debug)]
pub(crate) enum CsvColumn {
    Column(Target),
    /// What the schema does not know, as one JSON object.
    Rest,
}

/// Decodes one file.
pub(crate) struct CsvDecoder {
    layout: Arc<CsvLayout>,
    wanted: Arc<[CsvColumn]>,
    file: Arc<str>,
    /// That of the layout, or what the file says of itself.
    dialect: Dialect,
    /// Known once the end of the first line is.
    row_ends: Option<RowEnds>,
    /// Lines in front that are still to be skipped.
    to_skip: u64,
    /// Of a log of Zeek.
    zeek: Option<ZeekHeader>,
    /// Known once the header is.
    places: Option<Places>,
    index: Index,
    rows: Rows,
    next_row: usize,
    next_offset: u64,
    /// Lines behind us.
    lines: u64,
    fresh: bool,
    skipping: Option<Skipping>,
    /// Whether what was scanned last was all there is.
    ended: bool,
    /// Bytes of the file up to the end of its header.
    header: u64,
    /// As it stands in the file.
    header_text: Option<Arc<str>>,
    refused: Vec<Refusal>,
    /// The first row of the portion that was taken last, and its offset.
    portion: (usize, u64),
}

/// The rest of a row that was refused, up to its end.
#[derive(Clone, Copy, Debug, Default)]
struct Skipping {
    state: State,
    /// As far as this decoder has seen it.
    bytes: u64,
}

/// Where in a row of this file the wanted columns are.
struct Places {
    fields: usize,
    wanted: Vec<usize>,
    /// Columns that the schema does not know, with the names as keys of JSON.
    rest: Vec<(usize, Box<[u8]>)>,
}

impl CsvDecoder {
    pub(crate) fn new(layout: Arc<CsvLayout>, wanted: Arc<[CsvColumn]>, file: Arc<str>) -> Self {
        let (dialect, to_skip) = (layout.form.dialect, layout.form.skip_lines);
        Self {
            layout,
            wanted,
            file,
            dialect,
            row_ends: None,
            to_skip,
            zeek: None,
            places: None,
            index: Index::default(),
            rows: Rows::default(),
            next_row: 0,
            next_offset: 0,
            lines: 0,
            fresh: true,
            skipping: None,
            ended: false,
            header: 0,
            header_text: None,
            refused: Vec::new(),
            portion: (0, 0),
        }
    }

    fn row_ends(&self) -> RowEnds {
        self.row_ends.unwrap_or(RowEnds::Newline)
    }

    /// Finds the rows of the window. Where no whole row is in sight there may be one that is too long, or a quote that
    /// never closes.
    fn find_rows(&mut self, input: &mut Window) -> Result<(), ConnectError> {
        self.index.scan(input.data(), input.start(), self.ended, self.dialect, self.row_ends());
        self.next_row = 0;
        if self.index.rows() > 0 || self.places.is_none() {
            return Ok(());
        }
        if input.len() > self.layout.record_bytes_max {
            self.refuse_long_row(input);
            return self.skip(input);
        }
        if self.ended && self.index.has_open_quote() && !input.is_empty() {
            self.give_up_line(input);
        }
        Ok(())
    }

    /// Refuses a row that is longer than a row may be. All of it is left out, to its end: what stands in its quotes is no
    /// row of its own, whatever it looks like.
    fn refuse_long_row(&mut self, input: &Window) {
        let (rest, max) = (&input.data()[input.start()..], self.layout.record_bytes_max);
        if !self.dialect.is_comment(rest) {
            let message = format!("line {}: {}", self.lines + 1, oversize(max));
            self.refused.push(Refusal::too_long(self.next_offset, message, rest, max));
            self.next_offset += 1;
        }
        self.skipping = Some(Skipping::default());
    }

    /// Leaves out what the window has of a row that was refused.
    fn skip(&mut self, input: &mut Window) -> Result<(), ConnectError> {
        let Some(mut skipping) = self.skipping.take() else { return Ok(()) };
        let rest = &input.data()[input.start()..];
        let (used, is_over) = skipping.state.skip(rest, self.ended, self.dialect, self.row_ends());
        let is_open = skipping.state.is_in_quotes();
        self.lines += self.row_ends().count(&rest[..used]);
        skipping.bytes += used as u64;
        input.consume_to(input.start() + used);
        if !is_over {
            let most = (self.layout.record_bytes_max as u64 * LONG_ROW_FACTOR).max(LONG_ROW_BYTES_LEAST);
            if is_open && skipping.bytes > most {
                let why = format!(
                    "up to line {}, a quote of the row before is not closed within {}",
                    self.lines,
                    Bytes(most)
                );
                let next =
                    "close it, set `quote: \"\"` where quotes enclose nothing, or raise `record-bytes-max`";
                return Err(ConnectError::failed(&*self.file, why, next));
            }
            self.skipping = Some(skipping);
        } else if is_open {
            let (file, line) = (&*self.file, self.lines);
            tracing::warn!(
                file,
                line,
                "a quote in the row that was refused last is never closed: all lines up to the end were refused with it"
            );
        }
        Ok(())
    }

    /// Refuses the first line of a row that never ends: most likely a quote stands there that was never closed, and the lines
    /// behind it are rows.
    fn give_up_line(&mut self, input: &mut Window) {
        let rest = &input.data()[input.start()..];
        let text = self.row_ends().first_end(rest, self.ended).map_or(rest.len(), |(end, _)| end);
        let used = self.row_ends().spent(rest, self.ended);
        self.lines += 1;
        let message = format!("line {}: a quote is opened and never closed", self.lines);
        self.refused.push(Refusal::new(self.next_offset, BAD_ROW, message, without_return(&rest[..text])));
        self.next_offset += 1;
        input.consume_to(input.start() + used);
    }

    /// The line on which a row of the portion that begins with `first` stands.
    fn line_of(&self, data: &[u8], first: usize, row: usize) -> u64 {
        let between = &data[self.index.row_start(first)..self.index.row_start(row)];
        self.lines
            + 1
            + if self.index.has_broken_lines() {
                self.row_ends().count(between)
            } else {
                (row - first) as u64
            }
    }

    fn refuse_uneven(&mut self, data: &[u8], first: usize, fields: usize) {
        for &(row, before) in &self.rows.uneven {
            let raw = self.raw(data, row);
            let (line, found) = (self.line_of(data, first, row), self.index.fields(row));
            let mut message = format!("line {line}: {found} fields where the header has {fields}");
            if self.row_ends() == RowEnds::Newline && self.has_lone_return(data, row) {
                message.push_str(LONE_RETURN);
            }
            self.refused.push(Refusal::new(self.next_offset + u64::from(before), BAD_ROW, message, raw));
        }
        for &(row, before) in &self.rows.oversize {
            let max = self.layout.record_bytes_max;
            let message = format!("line {}: {}", self.line_of(data, first, row), oversize(max));
            let (offset, rest) = (self.next_offset + u64::from(before), &data[self.index.row_start(row)..]);
            self.refused.push(Refusal::too_long(offset, message, rest, max));
        }
    }

    /// Whether a carriage return stands alone in a row, outside of quotes.
    fn has_lone_return(&self, data: &[u8], row: usize) -> bool {
        let count = self.index.fields(row);
        (0..count).any(|place| {
            let (start, end) = self.index.field(self.index.first_field(row) + place);
            let field = Field::of(data, start, end, place + 1 == count, self.dialect);
            field.bare().is_some_and(|raw| lone_returns(raw).next().is_some())
        })
    }

    /// Reads the good rows, and refuses those of them whose fields do not fit.
    fn read_columns(&mut self, data: &[u8], first: usize) -> (Vec<ArrayRef>, Vec<u32>) {
        let Some(places) = &self.places else { return (Vec::new(), Vec::new()) };
        let portion = Portion {
            data,
            index: &self.index,
            rows: &self.rows,
            fields: places.fields,
            dialect: self.dialect,
            decimal_comma: self.layout.form.decimal_comma,
            row_ends: self.row_ends(),
            zeek: self.zeek.as_ref().map(|header| &header.form),
            null: match &self.zeek {
                Some(header) => Some(&header.form.unset),
                None => self.layout.form.null.as_deref(),
            },
        };
        let mut columns = Vec::with_capacity(self.wanted.len());
        // For each row, the first column that failed.
        let mut failed: Vec<(u32, usize)> = Vec::new();
        for (column, (wanted, &place)) in self.wanted.iter().zip(&places.wanted).enumerate() {
            let read = match wanted {
                CsvColumn::Column(target) => portion.read(place, target),
                CsvColumn::Rest => read_rest(&portion, &places.rest),
            };
            failed.extend(read.failed.into_iter().map(|row| (row, column)));
            columns.push(read.values);
        }
        if failed.is_empty() {
            return (columns, (0..0).collect());
        }
        failed.sort_unstable();
        failed.dedup_by_key(|(row, _)| *row);
        let mut refused = Vec::with_capacity(failed.len());
        for &(row, column) in &failed {
            let place = self.rows.first_fields[row as usize] as usize;
            let index_row = self.row_of_place(place, first);
            let line = self.line_of(data, first, index_row);
            let raw = self.raw(data, index_row);
            let offset = self.next_offset + u64::from(self.rows.offsets[row as usize]);
            let message = match &self.wanted[column] {
                CsvColumn::Column(target) => {
                    let field = portion.field(row as usize, places.wanted[column]);
                    let is_row_end = portion.has_row_end(row as usize, places.wanted[column]);
                    misfit(line, target, &field.bytes(), is_row_end)
                }
                CsvColumn::Rest => misfit_of_rest(line, &portion, row as usize, &places.rest),
            };
            refused.push(Refusal::new(offset, BAD_ROW, message, raw));
        }
        self.refused.extend(refused);
        let failed: Vec<u32> = failed.into_iter().map(|(row, _)| row).collect();
        (columns, failed)
    }

    fn raw<'a>(&self, data: &'a [u8], row: usize) -> &'a [u8] {
        without_return(&data[self.index.row_start(row)..self.index.row_end(row)])
    }

    /// The row of the index whose first field is at `place`.
    fn row_of_place(&self, place: usize, first: usize) -> usize {
        let (mut low, mut high) = (first, self.index.rows());
        while low + 1 < high {
            let middle = (low + high) / 2;
            if self.index.first_field(middle) <= place { low = middle } else { high = middle }
        }
        low
    }
}

impl Decoder for CsvDecoder {
    fn scan(&mut self, input: &mut Window, ended: bool) -> Result<(), ConnectError> {
        self.ended = ended;
        self.skip(input)?;
        if self.skipping.is_some() {
            return Ok(());
        }
        if self.places.is_none() {
            let before = input.start();
            let begun = self.begin(input);
            self.header += (input.start() - before) as u64;
            if !begun? {
                return Ok(());
            }
            if !self.layout.form.header && self.row_ends() == RowEnds::Any && self.index.rows() > 0 {
                // Whoever goes on from here has to know how rows end.
                self.header += (self.index.row_end(0) + 1 - input.start()) as u64;
            }
            if self.next_row < self.index.rows() {
                return Ok(());
            }
        }
        self.find_rows(input)?;
        self.check_zeek_lines(input)
    }

    fn ready(&self) -> usize {
        let rows =
            if self.places.is_some() { self.index.rows() - self.next_row.min(self.index.rows()) } else { 0 };
        rows + self.refused.len()
    }

    fn take(&mut self, input: &mut Window, limits: &PullLimits) -> Taken {
        let left = self.index.rows() - self.next_row;
        let (first, Some(places)) = (self.next_row, &self.places) else { return Taken::default() };
        if left == 0 {
            return Taken { refused: std::mem::take(&mut self.refused), ..Taken::default() };
        }
        let fields = places.fields;
        self.portion = (first, self.next_offset);
        let bound = self.index.row_start(first) + limits.bytes_max;
        let by_bytes = self.index.rows_until(first, bound) + 1;
        let count = left.min(limits.records_max).min(by_bytes);
        let data = input.data();
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort(
            &self.index,
            data,
            first..first + count,
            fields,
            self.layout.record_bytes_max,
            self.dialect,
        );
        self.rows = rows;
        self.refuse_uneven(data, first, fields);
        let (mut columns, failed) = self.read_columns(data, first);
        let mut kept = self.rows.len();
        let mut offsets = if self.rows.is_complete() && failed.is_empty() {
            Offsets::From(self.next_offset)
        } else {
            Offsets::These(self.rows.offsets.iter().map(|&o| self.next_offset + u64::from(o)).collect())
        };
        if !failed.is_empty() {
            let keep: Vec<u32> = (0..kept as u32).filter(|row| failed.binary_search(row).is_err()).collect();
            kept = keep.len();
            offsets = Offsets::These(keep.iter().map(|&row| offsets.at(row as usize)).collect());
            let keep = UInt32Array::from(keep);
            columns = columns
                .iter()
                .map(|column| take(column, &keep, None).expect("indices of rows that are there"))
                .collect();
        }
        let end = (self.index.row_end(first + count - 1) + 1).min(data.len());
        let used = &data[self.index.row_start(first)..end];
        self.lines += if self.index.has_broken_lines() { self.row_ends().count(used) } else { count as u64 };
        self.next_offset += u64::from(self.rows.records);
        self.next_row += count;
        input.consume_to(end);
        let mut refused = std::mem::take(&mut self.refused);
        refused.sort_by_key(|refusal| refusal.offset);
        Taken { rows: kept, columns, offsets, refused }
    }

    fn raws(&self, input: &Window, offsets: &[u64]) -> Vec<Vec<u8>> {
        let (first, first_offset) = self.portion;
        let raw = |offset: &u64| {
            let row = self.rows.offsets.binary_search(&((offset - first_offset) as u32)).ok()?;
            let place = self.rows.first_fields[row] as usize;
            Some(self.raw(input.data(), self.row_of_place(place, first)).to_vec())
        };
        offsets.iter().map(|offset| raw(offset).unwrap_or_default()).collect()
    }

    fn header(&self) -> Option<Arc<str>> {
        self.header_text.clone()
    }

    fn progress(&self) -> Progress {
        let Self { next_offset, lines, header, skipping, .. } = *self;
        let within = skipping.map(|skipping| skipping.state).unwrap_or_default();
        let skipping = skipping.is_some();
        Progress { offset: next_offset, lines, header, skipping, within, ..Progress::default() }
    }

    fn resume(&mut self, from: &Progress, header: Vec<u8>) -> Result<(), ConnectError> {
        if from.header > 0 {
            // Where the columns are in a row.
            let mut window = Window::default();
            window.append(Chunk::of(&header));
            self.scan(&mut window, true)?;
        } else {
            (self.row_ends, self.to_skip) = (Some(RowEnds::Newline), 0);
        }
        self.next_offset = from.offset;
        self.lines = from.lines;
        self.header = from.header;
        // A checkpoint of a version that skipped single lines does not say where in a row it is.
        let state = if from.within == State::Row { State::Plain } else { from.within };
        self.skipping = from.skipping.then_some(Skipping { state, bytes: 0 });
        self.fresh = false;
        self.ended = false;
        self.refused.clear();
        self.index = Index::default();
        self.next_row = 0;
        Ok(())
    }
}

/// A row without the half of its line break that is its last byte.
fn without_return(row: &[u8]) -> &[u8] {
    row.strip_suffix(b"\r").unwrap_or(row)
}
