//! What stands before the first row: lines that are skipped, and the header, which says where the wanted columns are.

use std::collections::{HashMap, HashSet};

use flow::connector::ConnectError;
use model::convert::shown;
use model::manifest::UnknownFields;

use super::rest::json_key;
use super::{CsvColumn, CsvDecoder, Places, without_return};
use crate::csv::dialect::{Dialect, RowEnds};
use crate::csv::field::Field;
use crate::csv::index::Index;
use crate::csv::rows::is_blank;
use crate::csv::zeek::{ZeekHeader, ZeekType};
use crate::decode::Window;

impl CsvDecoder {
    /// Reads what stands before the first row. `false` where there is too little of it.
    pub(super) fn begin(&mut self, input: &mut Window) -> Result<bool, ConnectError> {
        let ended = self.ended;
        if self.fresh {
            if !input.skip_mark(ended, &self.file)? {
                return Ok(false);
            }
            self.fresh = false;
        }
        if self.row_ends.is_none() {
            // Nobody knows what stands in a line that is skipped.
            let quote = self.dialect.quote.filter(|_| self.to_skip == 0);
            let rest = &input.data()[input.start()..];
            let known = ended || rest.len() > self.layout.record_bytes_max;
            self.row_ends = RowEnds::of(rest, known, Dialect { quote, ..self.dialect });
            if self.row_ends.is_none() {
                return Ok(false);
            }
        }
        while self.to_skip > 0 {
            let rest = &input.data()[input.start()..];
            let (used, is_whole) =
                (self.row_ends().spent(rest, ended), self.row_ends().first_end(rest, ended).is_some());
            input.consume_to(input.start() + used);
            if !is_whole {
                return Ok(false);
            }
            self.lines += 1;
            self.to_skip -= 1;
        }
        if self.layout.zeek.is_some() {
            return self.take_zeek_header(input);
        }
        self.find_rows(input)?;
        self.take_header(input)?;
        self.check_header_is_there(input)?;
        Ok(self.places.is_some())
    }

    fn take_zeek_header(&mut self, input: &mut Window) -> Result<bool, ConnectError> {
        let rest = &input.data()[input.start()..];
        let known = self.ended || rest.len() > self.layout.record_bytes_max;
        let header = ZeekHeader::read(rest, known).map_err(|why| not_zeek(&self.file, why))?;
        let Some(header) = header else { return Ok(false) };
        self.dialect.delimiter = header.delimiter;
        self.lines += header.lines;
        // Its names are text, or it would not have been read; what else it says is ASCII.
        let text = String::from_utf8_lossy(rest[..header.bytes].trim_ascii_end());
        self.header_text = Some(text.into());
        input.consume_to(input.start() + header.bytes);
        let names = header.names.clone();
        self.zeek = Some(header);
        self.places = Some(self.place(&names)?);
        Ok(true)
    }

    /// Takes the header off the rows that were just found.
    fn take_header(&mut self, input: &mut Window) -> Result<(), ConnectError> {
        if !self.layout.form.header {
            self.places = Some(self.place(&self.layout.names)?);
            return Ok(());
        }
        while self.next_row < self.index.rows() {
            let row = self.next_row;
            self.next_row += 1;
            let (start, end) = (self.index.row_start(row), self.index.row_end(row));
            let raw = &input.data()[start..end];
            let is_none = is_blank(raw) || self.dialect.is_comment(raw);
            if !is_none {
                let header = read_header(&self.index, row, input.data(), self.dialect, &self.file)?;
                self.places = Some(self.place(&header)?);
                // It is text, or it would not have been read.
                self.header_text = Some(String::from_utf8_lossy(without_return(raw)).into());
            }
            self.lines += 1 + self.row_ends().count(without_return(raw));
            input.consume_to(end + 1);
            if !is_none {
                break;
            }
        }
        Ok(())
    }

    /// A file without a header row is none, unless there is nothing in it: it has no rows, and that is all right.
    fn check_header_is_there(&self, input: &mut Window) -> Result<(), ConnectError> {
        if self.places.is_some() || !self.ended && input.len() <= self.layout.record_bytes_max {
            return Ok(());
        }
        if input.data()[input.start()..].iter().any(|byte| !byte.is_ascii_whitespace()) {
            let why = "there is no header row in it";
            let next = "check that it is CSV, or say `header: false`";
            return Err(ConnectError::failed(&*self.file, why, next));
        }
        input.consume_to(input.data().len());
        Ok(())
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
        self.check_zeek(&places)?;
        let wanted = self.wanted.iter().map(|column| match column {
            CsvColumn::Column(target) => places.get(target.name.as_str()).copied().unwrap_or_default(),
            CsvColumn::Rest => usize::MAX,
        });
        Ok(Places { fields: header.len(), wanted: wanted.collect(), rest })
    }

    /// Whether the columns of a log of Zeek are of the types that the first file gave them.
    fn check_zeek(&self, places: &HashMap<&str, usize>) -> Result<(), ConnectError> {
        let (Some(header), Some(types)) = (&self.zeek, &self.layout.zeek) else { return Ok(()) };
        let differs = |(name, of_type): &(&String, &ZeekType)| {
            places.get(name.as_str()).is_some_and(|&place| header.types[place] != **of_type)
        };
        match self.layout.names.iter().zip(types).find(differs) {
            Some((name, _)) => {
                let why = format!("its column `{name}` is of another type than in the first file");
                Err(ConnectError::failed(&*self.file, why, "read it as a source of its own"))
            }
            None => Ok(()),
        }
    }

    /// Lines further down that begin with `#` may say again what the header has said, and nothing else.
    pub(super) fn check_zeek_lines(&self, input: &Window) -> Result<(), ConnectError> {
        let Some(header) = &self.zeek else { return Ok(()) };
        for row in 0..self.index.rows() {
            let raw = &input.data()[self.index.row_start(row)..self.index.row_end(row)];
            if raw.first() == Some(&b'#') && header.is_contradicted(raw) {
                let why = format!("line {}: what its header said changes here", self.lines + 1 + row as u64);
                let next = "cut the file there, and read both parts";
                return Err(ConnectError::failed(&*self.file, why, next));
            }
        }
        Ok(())
    }
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
        let field = Field::of(data, start, end, place + 1 == count, dialect);
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

/// What is wrong with a file that is to be a log of Zeek.
pub(crate) fn not_zeek(file: &str, why: String) -> ConnectError {
    ConnectError::failed(file, why, "give a log of Zeek in its own format, or name the file's `format`")
}
