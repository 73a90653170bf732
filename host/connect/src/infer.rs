//! Types of columns, guessed from the beginning of the input.
//!
//! A guess is the narrowest type that every sampled value fits; what nothing is known of is text (JSON in
//! JSON lines, where it takes anything). Numbers with leading zeros are text: they are codes, and the zeros
//! are part of them. So are numbers that neither an integer of 64 bits nor a float holds. A time is guessed where every
//! text comes out again byte by byte.

use std::collections::HashMap;
use std::io::Read;

use flow::connector::ConnectError;
use model::convert::{Scalar, members, shown, text, times};
use model::limits::{INFER_BYTES_MAX, INFER_FILES_MAX, INFER_ROWS_MAX};
use model::manifest::ColumnType;

use crate::csv::{
    CsvForm, Dialect, Field, Index, RowEnds, ZeekHeader, ZeekType, is_blank, not_zeek, read_header,
    with_point,
};
use crate::input::{Compression, InputFile, failed, open, read_some};

/// The beginning of one input.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) data: Vec<u8>,
    /// Whether that is all of it.
    pub(crate) ended: bool,
}

/// Reads the beginnings of files, within the bounds of `model::limits`.
pub(crate) fn sample_files(
    files: &[InputFile],
    compression: Compression,
) -> Result<Vec<Sample>, ConnectError> {
    let mut samples = Vec::new();
    let mut left = INFER_BYTES_MAX;
    for file in files.iter().take(INFER_FILES_MAX) {
        if left == 0 {
            break;
        }
        let mut reader = open(&file.path, &file.name, compression)?;
        let (data, ended) = sample_reader(&mut *reader, &file.name, left, &|_| false)?;
        left -= data.len();
        samples.push(Sample { name: file.name.to_string(), data, ended });
    }
    Ok(samples)
}

/// Reads up to `max` bytes, or until there is `enough`, so that nobody waits for a trickle.
pub(crate) fn sample_reader(
    reader: &mut dyn Read,
    name: &str,
    max: usize,
    enough: &dyn Fn(&[u8]) -> bool,
) -> Result<(Vec<u8>, bool), ConnectError> {
    const STEP: usize = 64 << 10;
    let mut data = Vec::new();
    while data.len() < max {
        let before = data.len();
        data.resize(before + STEP.min(max - before), 0);
        let count = read_some(reader, &mut data[before..]).map_err(|error| failed(name, &error))?;
        data.truncate(before + count);
        if count == 0 {
            return Ok((data, true));
        }
        if enough(&data) {
            break;
        }
    }
    Ok((data, false))
}

/// A column that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) column_type: ColumnType,
    /// Whether every text in it is a time without an offset, in whatever spelling.
    pub(crate) is_local: bool,
}

/// Which types all values of a column could have.
#[derive(Clone, Copy, Debug)]
struct Guess {
    any: bool,
    bool: bool,
    int: bool,
    float: bool,
    /// Whether one of the numbers is written as a float is.
    pointed: bool,
    date: bool,
    instant: bool,
    local: bool,
    /// Whether each is a time without an offset, in whatever spelling.
    is_local: bool,
}

impl Default for Guess {
    fn default() -> Self {
        Self {
            any: false,
            bool: true,
            int: true,
            float: true,
            pointed: false,
            date: true,
            instant: true,
            local: true,
            is_local: true,
        }
    }
}

impl Guess {
    /// `number`: the same with a point, where numbers have something else.
    fn see(&mut self, value: &[u8], number: &[u8]) {
        self.any = true;
        self.bool = self.bool && text::boolean(value).is_some();
        self.see_number(number);
        self.date = self.date && is_date_as_written(value);
        if self.instant || self.local {
            let as_written = times::as_written(value);
            self.instant = self.instant && as_written == Some(true);
            self.local = self.local && as_written == Some(false);
        }
        self.is_local = self.is_local && times::local(value).is_some();
    }

    fn see_number(&mut self, value: &[u8]) {
        if !self.int && !self.float {
            return;
        }
        let number = value.trim_ascii();
        let digits = number.strip_prefix(b"-").unwrap_or(number);
        let plain =
            digits.first().is_some_and(u8::is_ascii_digit) && !matches!(digits, [b'0', b'0'..=b'9', ..]);
        // No integer is minus zero.
        self.int = self.int && plain && number != b"-0" && text::plain_int(value).is_some();
        self.float = self.float && (plain || is_no_number(value)) && text::float(value).is_some();
        self.pointed = self.pointed || digits.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    }

    /// Integers that do not fit are codes, and no floats, unless others in the column are floats.
    fn column_type(&self) -> ColumnType {
        match self {
            Self { any: false, .. } => ColumnType::Text,
            Self { bool: true, .. } => ColumnType::Bool,
            Self { int: true, .. } => ColumnType::Int,
            Self { float: true, pointed: true, .. } => ColumnType::Float,
            Self { date: true, .. } => ColumnType::Date,
            Self { instant: true, .. } => ColumnType::Timestamp,
            Self { local: true, .. } => ColumnType::LocalTimestamp,
            _ => ColumnType::Text,
        }
    }

    fn found(&self, name: String) -> Found {
        Found { name, column_type: self.column_type(), is_local: self.any && self.is_local }
    }
}

/// How sinks write what is not a number, or infinite.
fn is_no_number(value: &[u8]) -> bool {
    matches!(value, b"NaN" | b"Infinity" | b"-Infinity")
}

fn is_date_as_written(value: &[u8]) -> bool {
    let is_trimmed = value.trim_ascii().len() == value.len();
    is_trimmed && value.first().is_some_and(u8::is_ascii_digit) && times::date(value).is_some()
}

/// The rows of the beginning of a file that are neither empty nor comments.
struct CsvHead<'a> {
    data: &'a [u8],
    index: Index,
    rows: Vec<usize>,
}

impl<'a> CsvHead<'a> {
    fn read(data: &'a [u8], ended: bool, form: &CsvForm) -> Self {
        let mut start = if data.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let quote = form.dialect.quote.filter(|_| form.skip_lines == 0);
        let first_line = RowEnds::of(&data[start..], true, Dialect { quote, ..form.dialect });
        let row_ends = first_line.unwrap_or(RowEnds::Newline);
        for _ in 0..form.skip_lines.min(data.len() as u64) {
            start += row_ends.spent(&data[start..], ended);
        }
        let mut index = Index::default();
        index.scan(data, start, ended, form.dialect, row_ends);
        let filled = |row: &usize| {
            let raw = &data[index.row_start(*row)..index.row_end(*row)];
            !is_blank(raw) && !form.dialect.is_comment(raw)
        };
        let rows = (0..index.rows()).filter(filled).collect();
        Self { data, index, rows }
    }
}

/// Whether a row of values is whole in `data`, behind the header.
pub(crate) fn has_csv_row(data: &[u8], form: &CsvForm) -> bool {
    CsvHead::read(data, false, form).rows.len() > usize::from(form.header)
}

/// The columns of a CSV source and their types. `names` are those of a source without header.
pub(crate) fn infer_csv(
    samples: &[Sample],
    form: &CsvForm,
    names: Option<&[String]>,
) -> Result<Vec<Found>, ConnectError> {
    let mut columns: Vec<(String, Guess)> = Vec::new();
    let mut rows_left = INFER_ROWS_MAX;
    for sample in samples {
        let data = &sample.data[..];
        if data.starts_with(b"\xff\xfe") || data.starts_with(b"\xfe\xff") {
            let next = "convert it to UTF-8, for example with `iconv -f UTF-16 -t UTF-8`";
            return Err(ConnectError::failed(&*sample.name, "this is UTF-16, not UTF-8", next));
        }
        let mut head = CsvHead::read(data, sample.ended, form);
        if head.index.rows() == 0 && !data.is_empty() {
            // One long line, or a quote that never closes: what there is of it says what it is.
            let unquoted = Dialect { quote: None, ..form.dialect };
            head = CsvHead::read(data, true, &CsvForm { dialect: unquoted, ..form.clone() });
        }
        let (dialect, index) = (form.dialect, &head.index);
        let Some((&first, body)) = head.rows.split_first() else { continue };
        let found = if form.header {
            read_header(index, first, data, dialect, &sample.name)?
        } else {
            read_header(index, first, data, dialect, &sample.name).map(|_| ()).or_else(only_not_text)?;
            match names {
                Some(names) => names.to_vec(),
                None => (1..=index.fields(first)).map(|place| format!("column_{place}")).collect(),
            }
        };
        if columns.is_empty() {
            columns = found.iter().map(|name| (name.clone(), Guess::default())).collect();
        }
        let body = if form.header { body } else { &head.rows };
        let body = &body[..body.len().min(rows_left)];
        rows_left -= body.len();
        see_rows(&head, body, &found, form, &mut columns);
    }
    Ok(columns.into_iter().map(|(name, guess)| guess.found(name)).collect())
}

/// Shows the values of these rows, whose columns are those that were `found`, to the guesses.
fn see_rows(
    head: &CsvHead<'_>,
    rows: &[usize],
    found: &[String],
    form: &CsvForm,
    columns: &mut [(String, Guess)],
) {
    let places: HashMap<&str, usize> =
        found.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let placed = |(name, guess)| places.get(String::as_str(name)).map(|&place| (place, guess));
    let mut guesses: Vec<(usize, &mut Guess)> =
        columns.iter_mut().map(|(name, guess)| (&*name, guess)).filter_map(placed).collect();
    let pointed = with_point(|value: &[u8]| Some(value.to_vec()));
    for &row in rows.iter().filter(|row| head.index.fields(**row) == found.len()) {
        for (place, guess) in &mut guesses {
            let (start, end) = head.index.field(head.index.first_field(row) + *place);
            let field = Field::of(head.data, start, end, *place + 1 == found.len(), form.dialect);
            if field.is_null(form.null.as_deref(), found.len() == 1, false) {
                continue;
            }
            let value = field.bytes();
            match form.decimal_comma {
                true => guess.see(&value, &pointed(&value).unwrap_or_default()),
                false => guess.see(&value, &value),
            }
        }
    }
}

/// The columns of logs of Zeek, as the first one has them.
pub(crate) fn infer_zeek(samples: &[Sample]) -> Result<(Vec<Found>, Vec<ZeekType>), ConnectError> {
    for sample in samples {
        let data = sample.data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&sample.data);
        let header = ZeekHeader::read(data, true).map_err(|why| not_zeek(&sample.name, why))?;
        let Some(ZeekHeader { names, types, .. }) = header else { continue };
        let columns = names.into_iter().zip(&types);
        let found = |(name, of_type): (String, &ZeekType)| Found {
            name,
            column_type: of_type.column_type(),
            is_local: false,
        };
        return Ok((columns.map(found).collect(), types));
    }
    let name = samples.first().map_or("the input", |sample| &sample.name);
    let why = "there is no log in it whose header says what its columns are";
    Err(ConnectError::failed(name, why, "start when there is one"))
}

/// Without a header the first row is data, and may hold the same value twice.
fn only_not_text(error: ConnectError) -> Result<(), ConnectError> {
    if error.why.contains("binary") { Err(error) } else { Ok(()) }
}

/// What was seen of a field of JSON.
#[derive(Clone, Copy, Debug, Default)]
struct JsonGuess {
    bool: bool,
    number: bool,
    text: bool,
    other: bool,
    numbers: Guess,
    texts: Guess,
    /// A text that is more than the name of what is not a number.
    wordy: bool,
}

impl JsonGuess {
    fn see(&mut self, value: Scalar<'_>) {
        match value {
            Scalar::Null => {}
            Scalar::Bool(_) => self.bool = true,
            Scalar::Number(digits) => {
                self.number = true;
                self.numbers.see_number(digits.as_bytes());
            }
            Scalar::Text(quoted) => {
                self.text = true;
                self.wordy = self.wordy || !is_no_number(quoted.raw().as_bytes());
                if let Some(text) = quoted.text() {
                    self.texts.see(text.as_bytes(), text.as_bytes());
                }
            }
            Scalar::Nested(_) => self.other = true,
        }
    }

    fn column_type(&self) -> ColumnType {
        match (self.bool, self.number, self.text, self.other) {
            (true, false, false, false) => ColumnType::Bool,
            (false, true, false, false) if self.numbers.int => ColumnType::Int,
            (false, true, text, false) if self.numbers.float && self.numbers.pointed => {
                if text && self.wordy { ColumnType::Json } else { ColumnType::Float }
            }
            (false, false, true, false) => match self.texts.column_type() {
                found @ (ColumnType::Date | ColumnType::Timestamp | ColumnType::LocalTimestamp) => found,
                _ => ColumnType::Text,
            },
            _ => ColumnType::Json,
        }
    }

    fn found(&self, name: String) -> Found {
        let is_local = self.text && !self.bool && !self.number && !self.other && self.texts.is_local;
        Found { name, column_type: self.column_type(), is_local }
    }
}

/// The fields of JSON lines and their types, in the order in which they are first seen.
pub(crate) fn infer_jsonl(samples: &[Sample]) -> Result<Vec<Found>, ConnectError> {
    let mut fields: Vec<(String, JsonGuess)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let (mut rows_left, mut good, mut problem) = (INFER_ROWS_MAX, 0, None);
    for sample in samples {
        let data = sample.data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&sample.data);
        let mut lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
        if !sample.ended {
            lines.pop();
        }
        for line in lines.into_iter().filter(|line| !line.trim_ascii().is_empty()).take(rows_left) {
            rows_left -= 1;
            let read = std::str::from_utf8(line).map_err(|_| "invalid UTF-8".to_owned()).and_then(|line| {
                let mut row = Vec::new();
                let each = |name: std::borrow::Cow<'_, str>, value| {
                    row.push((name.into_owned(), value));
                    true
                };
                members(line, each).map_err(|error| error.to_string()).map(|()| row)
            });
            match read {
                Ok(row) => {
                    good += 1;
                    for (name, value) in row {
                        let place = *places.entry(name).or_insert_with_key(|name| {
                            fields.push((name.clone(), JsonGuess::default()));
                            fields.len() - 1
                        });
                        fields[place].1.see(value);
                    }
                }
                Err(error) => {
                    let name = &sample.name;
                    problem.get_or_insert_with(|| (name.clone(), format!("{error}: {}", shown(line))));
                }
            }
        }
    }
    if let (0, Some((name, why))) = (good, problem) {
        let why = format!("none of its first lines is a JSON object ({why})");
        return Err(ConnectError::failed(name, why, "give JSON lines, or name the file's `format`"));
    }
    Ok(fields.into_iter().map(|(name, guess)| guess.found(name)).collect())
}
