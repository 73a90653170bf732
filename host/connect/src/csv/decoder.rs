//! The rows of one file, from pieces of input to columns, and the rows that are refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, UInt32Array};
use arrow::compute::take;
use flow::connector::{ConnectError, PullLimits};
use memchr::memchr;
use model::convert::{BAD_ROW, shown, times};
use model::lineage::Offsets;
use model::manifest::{ColumnType, UnknownFields};

use super::columns::{Portion, Target};
use super::index::{Dialect, Index};
use super::rows::{Rows, is_blank};
use crate::decode::{Chunk, Decoder, Progress, Refusal, Taken, Window, oversize};

/// How the files of a source are laid out.
#[derive(Clone, Debug)]
pub(crate) struct CsvLayout {
    pub(crate) dialect: Dialect,
    pub(crate) header: bool,
    pub(crate) null: Option<Vec<u8>>,
    /// The columns of the stream, as their first file has them, without `rest`.
    pub(crate) names: Vec<String>,
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
    /// Known once the header is.
    places: Option<Places>,
    index: Index,
    rows: Rows,
    next_row: usize,
    next_offset: u64,
    /// Lines behind us.
    lines: u64,
    fresh: bool,
    skipping: bool,
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

/// Where in a row of this file the wanted columns are.
struct Places {
    fields: usize,
    wanted: Vec<usize>,
    /// Columns that the schema does not know, with the names as keys of JSON.
    rest: Vec<(usize, Box<[u8]>)>,
}

impl CsvDecoder {
    pub(crate) fn new(layout: Arc<CsvLayout>, wanted: Arc<[CsvColumn]>, file: Arc<str>) -> Self {
        Self {
            layout,
            wanted,
            file,
            places: None,
            index: Index::default(),
            rows: Rows::default(),
            next_row: 0,
            next_offset: 0,
            lines: 0,
            fresh: true,
            skipping: false,
            ended: false,
            header: 0,
            header_text: None,
            refused: Vec::new(),
            portion: (0, 0),
        }
    }

    /// Finds the wanted columns of this file by their names.
    fn place(&self, header: &[String]) -> Result<Places, ConnectError> {
        let next = |what: &str| format!("give all files of the source the same columns, {what}");
        let places: HashMap<&str, usize> =
            header.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        for name in &self.layout.names {
            if !places.contains_key(name.as_str()) {
                let why = format!("its header has no column `{name}`");
                return Err(ConnectError::failed(
                    &*self.file,
                    why,
                    next("or read it as a source of its own"),
                ));
            }
        }
        let known: HashSet<&str> = self.layout.names.iter().map(String::as_str).collect();
        let unknown = header.iter().enumerate().filter(|(_, name)| !known.contains(name.as_str()));
        let rest: Vec<_> = unknown.map(|(place, name)| (place, json_key(name))).collect();
        if let (UnknownFields::Reject, Some((place, _))) = (self.layout.unknown, rest.first()) {
            let why = format!("its header has a column `{}` that the schema does not know", header[*place]);
            let next = next("or set `unknown: ignore` or `unknown: rest`");
            return Err(ConnectError::failed(&*self.file, why, next));
        }
        let wanted = self.wanted.iter().map(|column| match column {
            CsvColumn::Column(target) => places.get(target.name.as_str()).copied().unwrap_or_default(),
            CsvColumn::Rest => usize::MAX,
        });
        Ok(Places { fields: header.len(), wanted: wanted.collect(), rest })
    }

    /// Takes the header off the rows that were just found.
    fn take_header(&mut self, input: &mut Window) -> Result<(), ConnectError> {
        if !self.layout.header {
            self.places = Some(self.place(&self.layout.names)?);
            return Ok(());
        }
        while self.next_row < self.index.rows() {
            let row = self.next_row;
            self.next_row += 1;
            let (start, end) = (self.index.row_start(row), self.index.row_end(row));
            let blank = is_blank(&input.data()[start..end]);
            if !blank {
                let header = read_header(&self.index, row, input.data(), self.layout.dialect, &self.file)?;
                self.places = Some(self.place(&header)?);
                // It is text, or it would not have been read.
                let text = String::from_utf8_lossy(without_return(&input.data()[start..end]));
                self.header_text = Some(text.into());
            }
            self.lines += 1 + count_lines(&input.data()[start..end]);
            input.consume_to(end + 1);
            if !blank {
                break;
            }
        }
        Ok(())
    }

    /// Finds the rows of the window. Where no whole row is in sight there may be one that is too long, or a quote that
    /// never closes.
    fn find_rows(&mut self, input: &mut Window) {
        self.index.scan(input.data(), input.start(), self.ended, self.layout.dialect);
        self.next_row = 0;
        if self.index.rows() > 0 || self.places.is_none() {
            return;
        }
        let never_closed = self.ended && self.index.has_open_quote() && !input.is_empty();
        if never_closed || input.len() > self.layout.record_bytes_max {
            self.give_up_line(input);
        }
    }

    /// Refuses the first line of a row that is too long, or never ends. Of a row that has grown over many lines only
    /// the first is given up: most likely a quote stands there that was never closed, and the lines behind it are
    /// rows. What is refused depends on the row alone and not on where pieces of input end, so that records have the
    /// same offsets when they are read again.
    fn give_up_line(&mut self, input: &mut Window) {
        let rest = &input.data()[input.start()..];
        let (max, line) = (self.layout.record_bytes_max, self.lines + 1);
        let end = memchr(b'\n', rest);
        let used = end.map_or(rest.len(), |end| end + 1);
        let text = end.unwrap_or(rest.len());
        let refusal = if text <= max {
            let message = format!("line {line}: a quote is opened and never closed");
            Refusal::new(self.next_offset, BAD_ROW, message, without_return(&rest[..text]))
        } else {
            self.skipping = end.is_none();
            let message = format!("line {line}: {}", oversize(max));
            Refusal::too_long(self.next_offset, message, rest, max)
        };
        self.refused.push(refusal);
        self.next_offset += 1;
        self.lines += u64::from(!self.skipping);
        input.consume_to(input.start() + used);
    }

    /// The first of `count` rows from `first` on that is too long and has line breaks in it.
    fn long_broken_row(&self, data: &[u8], first: usize, count: usize) -> Option<usize> {
        let max = self.layout.record_bytes_max;
        if data.len() <= max || !self.index.has_broken_lines() {
            return None;
        }
        (first..first + count).find(|&row| {
            let raw = &data[self.index.row_start(row)..self.index.row_end(row)];
            raw.len() > max && memchr(b'\n', raw).is_some()
        })
    }

    /// The line on which a row of the portion that begins with `first` stands.
    fn line_of(&self, data: &[u8], first: usize, row: usize) -> u64 {
        let between = &data[self.index.row_start(first)..self.index.row_start(row)];
        self.lines
            + 1
            + if self.index.has_broken_lines() { count_lines(between) } else { (row - first) as u64 }
    }

    fn refuse_uneven(&mut self, data: &[u8], first: usize, fields: usize) {
        for &(row, before) in &self.rows.uneven {
            let raw = self.raw(data, row);
            let (line, found) = (self.line_of(data, first, row), self.index.fields(row));
            let message = format!("line {line}: {found} fields where the header has {fields}");
            self.refused.push(Refusal::new(self.next_offset + u64::from(before), BAD_ROW, message, raw));
        }
        for &(row, before) in &self.rows.oversize {
            let max = self.layout.record_bytes_max;
            let message = format!("line {}: {}", self.line_of(data, first, row), oversize(max));
            let (offset, rest) = (self.next_offset + u64::from(before), &data[self.index.row_start(row)..]);
            self.refused.push(Refusal::too_long(offset, message, rest, max));
        }
    }

    /// Reads the good rows, and refuses those of them whose fields do not fit.
    fn read_columns(&mut self, data: &[u8], first: usize) -> (Vec<ArrayRef>, Vec<u32>) {
        let Some(places) = &self.places else { return (Vec::new(), Vec::new()) };
        let portion = Portion {
            data,
            index: &self.index,
            rows: &self.rows,
            fields: places.fields,
            quote: self.layout.dialect.quote,
            null: self.layout.null.as_deref(),
        };
        let mut columns = Vec::with_capacity(self.wanted.len());
        // For each row, the first column that failed.
        let mut failed: Vec<(u32, usize)> = Vec::new();
        for (column, (wanted, &place)) in self.wanted.iter().zip(&places.wanted).enumerate() {
            columns.push(match wanted {
                CsvColumn::Column(target) => {
                    let read = portion.read(place, target.column_type);
                    failed.extend(read.failed.into_iter().map(|row| (row, column)));
                    read.values
                }
                CsvColumn::Rest => read_rest(&portion, &places.rest),
            });
        }
        if failed.is_empty() {
            return (columns, (0..0).collect());
        }
        failed.sort_unstable();
        failed.dedup_by_key(|(row, _)| *row);
        let mut refused = Vec::with_capacity(failed.len());
        for &(row, column) in &failed {
            let CsvColumn::Column(target) = &self.wanted[column] else { continue };
            let place = self.rows.first_fields[row as usize] as usize;
            let index_row = self.row_of_place(place, first);
            let value = portion.field(row as usize, places.wanted[column]).bytes();
            let line = self.line_of(data, first, index_row);
            let raw = self.raw(data, index_row);
            let offset = self.next_offset + u64::from(self.rows.offsets[row as usize]);
            refused.push(Refusal::new(offset, BAD_ROW, misfit(line, target, &value), raw));
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
        if self.skipping {
            let rest = &input.data()[input.start()..];
            let end = memchr(b'\n', rest);
            let used = end.map_or(rest.len(), |end| end + 1);
            self.skipping = end.is_none();
            self.lines += u64::from(end.is_some());
            input.consume_to(input.start() + used);
        }
        self.ended = ended;
        let before = input.start();
        if self.fresh {
            if !input.skip_mark(ended, &self.file)? {
                return Ok(());
            }
            self.fresh = false;
        }
        self.find_rows(input);
        if self.places.is_none() {
            self.take_header(input)?;
            self.header += (input.start() - before) as u64;
            if self.places.is_none() && (ended || input.len() > self.layout.record_bytes_max) {
                let why = "there is no header row in it";
                let next = "check that it is CSV, or say `header: false`";
                // An empty file has no rows, and that is all right.
                if !input.is_empty() && input.data()[input.start()..].iter().any(|b| !b.is_ascii_whitespace())
                {
                    return Err(ConnectError::failed(&*self.file, why, next));
                }
                input.consume_to(input.data().len());
                return Ok(());
            }
            if self.index.rows() == 0 {
                self.find_rows(input);
            }
        }
        Ok(())
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
        let mut count = left.min(limits.records_max).min(by_bytes);
        match self.long_broken_row(input.data(), first, count) {
            Some(row) if row == first => {
                self.give_up_line(input);
                self.find_rows(input);
                return Taken { refused: std::mem::take(&mut self.refused), ..Taken::default() };
            }
            Some(row) => count = row - first,
            None => {}
        }
        let data = input.data();
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort(&self.index, data, first, count, fields, self.layout.record_bytes_max);
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
        self.lines += if self.index.has_broken_lines() { count_lines(used) } else { count as u64 };
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
        Progress { offset: next_offset, lines, header, skipping, ..Progress::default() }
    }

    fn resume(&mut self, from: &Progress, header: Vec<u8>) -> Result<(), ConnectError> {
        if from.header > 0 {
            // Where the columns are in a row.
            let mut window = Window::default();
            window.append(Chunk::of(&header));
            self.scan(&mut window, true)?;
        }
        self.next_offset = from.offset;
        self.lines = from.lines;
        self.header = from.header;
        self.skipping = from.skipping;
        self.fresh = false;
        self.ended = false;
        self.refused.clear();
        self.index = Index::default();
        self.next_row = 0;
        Ok(())
    }
}

fn without_return(row: &[u8]) -> &[u8] {
    row.strip_suffix(b"\r").unwrap_or(row)
}

/// The names in the header; a file that is not text says so here, once, and not for each of its rows.
pub(crate) fn read_header(
    index: &Index,
    row: usize,
    data: &[u8],
    dialect: Dialect,
    file: &str,
) -> Result<Vec<String>, ConnectError> {
    let raw = &data[index.row_start(row)..index.row_end(row)];
    let not_text =
        |why: &str| ConnectError::failed(file, why, "give a CSV file, or name the file's `format`");
    if raw.contains(&0) {
        return Err(not_text("this is a binary file, not CSV: its first line has zero bytes"));
    }
    let count = index.fields(row);
    let mut names: Vec<String> = Vec::with_capacity(count);
    let mut known = HashSet::with_capacity(count);
    for place in 0..count {
        let (start, end) = index.field(index.first_field(row) + place);
        let field = super::field::Field::of(data, start, end, place + 1 == count, dialect.quote);
        let name = String::from_utf8(field.bytes().into_owned())
            .map_err(|_| not_text("this is a binary file, or not UTF-8: its first line is no text"))?;
        let name = name.trim().to_owned();
        let name = if name.is_empty() { format!("column_{}", place + 1) } else { name };
        if !known.insert(name.clone()) {
            let why = format!("its header has the column `{}` twice", shown(name.as_bytes()));
            return Err(ConnectError::failed(file, why, "rename one of them"));
        }
        names.push(name);
    }
    Ok(names)
}

fn read_rest(portion: &Portion<'_>, rest: &[(usize, Box<[u8]>)]) -> ArrayRef {
    let mut texts = StringBuilder::new();
    let mut json = Vec::new();
    for row in 0..portion.rows.len() {
        json.clear();
        for (place, key) in rest {
            let field = portion.field(row, *place);
            if field.plain() == Some(portion.null_text()) {
                continue;
            }
            json.push(if json.is_empty() { b'{' } else { b',' });
            json.extend_from_slice(key);
            json.push(b':');
            let text = String::from_utf8_lossy(&field.bytes()).into_owned();
            json.extend_from_slice(serde_json::Value::String(text).to_string().as_bytes());
        }
        if json.is_empty() {
            texts.append_null();
        } else {
            json.push(b'}');
            texts.append_value(String::from_utf8_lossy(&json));
        }
    }
    Arc::new(texts.finish())
}

fn json_key(name: &str) -> Box<[u8]> {
    serde_json::Value::String(name.to_owned()).to_string().into_bytes().into()
}

fn misfit(line: u64, target: &Target, value: &[u8]) -> String {
    let Target { name, column_type, inferred } = target;
    let what = column_type.as_str();
    if std::str::from_utf8(value).is_err() {
        return format!(
            "line {line}, column `{name}`: invalid UTF-8; convert the file, or declare `{name}: bytes`"
        );
    }
    let mut message = format!("line {line}, column `{name}`: `{}` is no {what}", shown(value));
    match column_type {
        ColumnType::Timestamp if times::local(value).is_some() => {
            message.push_str(": it has no offset from UTC; declare `local-timestamp`, or `text`");
        }
        ColumnType::LocalTimestamp if times::instant(value).is_some() => {
            message.push_str(": it has an offset from UTC; declare `timestamp`, or `text`");
        }
        _ => {}
    }
    if *inferred && *column_type != ColumnType::Text {
        let hint = "the type was guessed from the first rows, declare it with";
        message.push_str(&format!("; {hint} `schema: {{ {name}: text }}`"));
    }
    message
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
