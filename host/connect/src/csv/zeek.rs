//! Zeek's logs: lines that begin with `#` say what separates, what stands for nothing, and what each column is called
//! and of which type; the rows below have no quotes, and what would be misread in them as `\xHH`.

use arrow::datatypes::{Float64Type, Int64Type};
use model::convert::{is_json, text, times};
use model::fields::instants;
use model::manifest::ColumnType;
use serde_json::Value;

use super::columns::{Portion, Read, Varlen, nulls};

/// What Zeek says that a column is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ZeekType {
    Bool,
    /// Counts, integers and ports.
    Int,
    /// Also intervals, in seconds.
    Float,
    /// Seconds since the Unix epoch.
    Time,
    /// Addresses, enums and whatever else there is as well.
    Text,
    /// A set or a vector.
    Many(Box<ZeekType>),
}

/// How values are written.
#[derive(Clone, Debug)]
pub(crate) struct ZeekForm {
    set_separator: Vec<u8>,
    empty: Vec<u8>,
    pub(super) unset: Vec<u8>,
}

/// The lines that a log begins with.
#[derive(Clone, Debug)]
pub(crate) struct ZeekHeader {
    pub(crate) delimiter: u8,
    pub(crate) form: ZeekForm,
    pub(crate) names: Vec<String>,
    pub(crate) types: Vec<ZeekType>,
    pub(super) lines: u64,
    pub(super) bytes: usize,
    /// The lines that say something about rows, which may stand again further down and then say the same.
    said: Vec<Vec<u8>>,
}

/// What of a header rows depend on.
const SAYS: [&[u8]; 6] =
    [b"#separator", b"#set_separator", b"#empty_field", b"#unset_field", b"#fields", b"#types"];

impl ZeekType {
    fn of(name: &[u8]) -> Self {
        match name {
            b"bool" => Self::Bool,
            b"count" | b"int" | b"port" => Self::Int,
            b"double" | b"interval" => Self::Float,
            b"time" => Self::Time,
            _ => {
                let inner =
                    [&b"set["[..], b"vector[", b"table["].iter().find_map(|of| name.strip_prefix(*of));
                match inner.and_then(|inner| inner.strip_suffix(b"]")) {
                    Some(inner) => Self::Many(Box::new(Self::of(inner))),
                    None => Self::Text,
                }
            }
        }
    }

    pub(crate) fn column_type(&self) -> ColumnType {
        match self {
            Self::Bool => ColumnType::Bool,
            Self::Int => ColumnType::Int,
            Self::Float => ColumnType::Float,
            Self::Time => ColumnType::Timestamp,
            Self::Text => ColumnType::Text,
            Self::Many(_) => ColumnType::Json,
        }
    }

    /// Whether a column of it can be declared to be of this type.
    pub(crate) fn can_be(&self, column_type: ColumnType) -> bool {
        column_type == self.column_type()
            || column_type == ColumnType::Text
            || column_type == ColumnType::Bytes && *self == Self::Text
    }
}

impl ZeekHeader {
    /// None where there is too little of `data` to tell. An error says what is wrong.
    pub(crate) fn read(data: &[u8], ended: bool) -> Result<Option<Self>, String> {
        let mut header = Self {
            delimiter: b'\t',
            form: ZeekForm { set_separator: vec![b','], empty: b"(empty)".to_vec(), unset: b"-".to_vec() },
            names: Vec::new(),
            types: Vec::new(),
            lines: 0,
            bytes: 0,
            said: Vec::new(),
        };
        let mut rest = data;
        while !rest.is_empty() {
            if header.lines == 0 && !b"#separator ".starts_with(&rest[..rest.len().min(11)]) {
                return Err("this is no log of Zeek: it does not begin with `#separator`".to_owned());
            }
            let end = memchr::memchr(b'\n', rest);
            if end.is_none() && !ended {
                return Ok(None);
            }
            let line = &rest[..end.unwrap_or(rest.len())];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.starts_with(b"#") {
                break;
            }
            let used = end.map_or(rest.len(), |end| end + 1);
            (header.lines, header.bytes, rest) = (header.lines + 1, header.bytes + used, &rest[used..]);
            header.take(line)?;
            if !header.types.is_empty() {
                return header.checked().map(Some);
            }
        }
        if rest.is_empty() && !ended || data.is_empty() {
            return Ok(None);
        }
        Err("its header has no `#fields` with `#types` below it".to_owned())
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        if !says(line) {
            return Ok(());
        }
        self.said.push(line.to_vec());
        if let Some(separator) = line.strip_prefix(b"#separator ") {
            let mut byte = Vec::new();
            unescape(separator, &mut byte);
            match byte[..] {
                [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => self.delimiter = byte,
                _ => return Err("its `#separator` is not one ASCII character".to_owned()),
            }
            return Ok(());
        }
        let mut fields = line.split(|&byte| byte == self.delimiter);
        let (name, first) = (fields.next().unwrap_or_default(), fields.clone().next().unwrap_or_default());
        match name {
            b"#set_separator" if !first.is_empty() => self.form.set_separator = first.to_vec(),
            b"#empty_field" => self.form.empty = first.to_vec(),
            b"#unset_field" => self.form.unset = first.to_vec(),
            b"#fields" => {
                let text = |name: &[u8]| String::from_utf8(name.to_vec());
                let names: Result<_, _> = fields.map(text).collect();
                self.names = names.map_err(|_| "a name in its `#fields` is not UTF-8".to_owned())?;
            }
            b"#types" => self.types = fields.map(ZeekType::of).collect(),
            _ => {}
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, String> {
        let (names, types) = (self.names.len(), self.types.len());
        if names != types {
            return Err(format!("its header has {names} `#fields` and {types} `#types`"));
        }
        let mut known = std::collections::HashSet::new();
        match self.names.iter().find(|name| name.is_empty() || !known.insert(name.as_str())) {
            Some(name) => Err(format!("its `#fields` have the column `{name}` twice, or without a name")),
            None => Ok(self),
        }
    }

    /// Whether a line below the header says something else than the header has said.
    pub(super) fn is_contradicted(&self, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        says(line) && !self.said.iter().any(|said| said == line)
    }
}

fn says(line: &[u8]) -> bool {
    let ends = |rest: &[u8]| rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    SAYS.iter().any(|name| line.strip_prefix(*name).is_some_and(ends))
}

impl ZeekForm {
    pub(super) fn read(
        &self,
        portion: &Portion<'_>,
        position: usize,
        of_type: &ZeekType,
        column_type: ColumnType,
    ) -> Read {
        let meant = |raw: &[u8], out: &mut Vec<u8>| {
            self.meant(raw, out);
            true
        };
        match (column_type, of_type) {
            (ColumnType::Int, _) => portion.read_numbers::<Int64Type>(position, text::int),
            (ColumnType::Float, _) => portion.read_numbers::<Float64Type>(position, text::float),
            (ColumnType::Timestamp, _) => portion.read_times(position, epoch, instants()),
            (ColumnType::Bool, _) => portion.read_bools(position, truth),
            (ColumnType::Json, ZeekType::Many(of_type)) => {
                let list = |raw: &[u8], out: &mut Vec<u8>| self.write_list(raw, of_type, out);
                portion.check_texts(gather(portion, position, list), is_json)
            }
            (ColumnType::Bytes, _) => Portion::bytes_of(gather(portion, position, meant)),
            _ => portion.check_texts(gather(portion, position, meant), |_| true),
        }
    }

    /// What a text means.
    pub(super) fn meant(&self, raw: &[u8], out: &mut Vec<u8>) {
        if raw != self.empty {
            unescape(raw, out);
        }
    }

    /// A set or a vector as JSON; `false` where an element is none of its type.
    fn write_list(&self, raw: &[u8], of_type: &ZeekType, out: &mut Vec<u8>) -> bool {
        out.push(b'[');
        let mut rest = Some(raw).filter(|raw| *raw != self.empty);
        while let Some(raw) = rest {
            let end = memchr::memmem::find(raw, &self.set_separator);
            let element = &raw[..end.unwrap_or(raw.len())];
            rest = end.map(|end| &raw[end + self.set_separator.len()..]);
            let value =
                if element == self.unset { Some(Value::Null) } else { self.element(element, of_type) };
            let Some(value) = value else { return false };
            out.extend_from_slice(value.to_string().as_bytes());
            if rest.is_some() {
                out.push(b',');
            }
        }
        out.push(b']');
        true
    }

    fn element(&self, raw: &[u8], of_type: &ZeekType) -> Option<Value> {
        Some(match of_type {
            ZeekType::Bool => truth(raw)?.into(),
            ZeekType::Int => match text::plain_int(raw) {
                Some(number) => number.into(),
                None => text::unsigned(raw)?.into(),
            },
            ZeekType::Float => serde_json::Number::from_f64(text::float(raw)?)?.into(),
            ZeekType::Time => {
                let mut written = Vec::new();
                times::write_micros(epoch(raw)?, true, &mut written);
                String::from_utf8(written).ok()?.into()
            }
            ZeekType::Text | ZeekType::Many(_) => {
                let mut meant = Vec::new();
                self.meant(raw, &mut meant);
                String::from_utf8(meant).ok()?.into()
            }
        })
    }
}

/// Values of a column that are not what stands there; `write` says whether there is one.
fn gather(portion: &Portion<'_>, position: usize, write: impl Fn(&[u8], &mut Vec<u8>) -> bool) -> Varlen {
    let count = portion.rows.len();
    let (mut varlen, mut value) = (Varlen::with_capacity(count), Vec::new());
    let nulls = nulls(count, |row| {
        let field = portion.field(row, position);
        let is_null = portion.is_null_text(field);
        value.clear();
        let written = is_null || write(field.bare().unwrap_or_default(), &mut value);
        let fitted = varlen.push(&value);
        if !written || !fitted {
            varlen.failed.push(row as u32);
        }
        !is_null
    });
    varlen.nulls = nulls;
    varlen
}

fn truth(text: &[u8]) -> Option<bool> {
    match text {
        b"T" => Some(true),
        b"F" => Some(false),
        _ => None,
    }
}

/// Microseconds of seconds since the Unix epoch; what is finer is cut off.
fn epoch(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let point = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let seconds: i64 = std::str::from_utf8(whole).ok()?.parse().ok()?;
    let micros = (0..6).fold(0, |micros, place| {
        micros * 10 + fraction.get(place).map_or(0, |digit| i64::from(digit - b'0'))
    });
    let micros = seconds.checked_mul(1_000_000)?.checked_add(micros)?;
    Some(if negative { -micros } else { micros })
}

/// `\xHH` is a byte, two backslashes are one, and any other is one itself.
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let digit = |place: usize| char::from(*rest.get(at + place)?).to_digit(16);
        rest = match (rest.get(at + 1), digit(2), digit(3)) {
            (Some(b'x'), Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                &rest[at + 4..]
            }
            (Some(b'\\'), ..) => {
                out.push(b'\\');
                &rest[at + 2..]
            }
            _ => {
                out.push(b'\\');
                &rest[at + 1..]
            }
        };
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds() {
        let cases: [(&[u8], Option<i64>); 7] = [
            (b"1300475167.096535", Some(1_300_475_167_096_535)),
            (b"0.5", Some(500_000)),
            (b"-1.000001", Some(-1_000_001)),
            (b"7", Some(7_000_000)),
            (b"1.0000019", Some(1_000_001)),
            (b"1e3", None),
            (b"", None),
        ];
        for (text, expected) in cases {
            assert_eq!(epoch(text), expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_header_is_whole_or_waited_for_or_wrong() {
        let text =
            b"#separator \\x09\n#set_separator\t;\n#path\tx\n#fields\ta\tb\n#types\ttime\tset[addr]\n1\t-\n";
        let header = ZeekHeader::read(text, false).expect("a header").expect("whole");
        assert_eq!(
            (header.names.join(" "), header.lines, header.bytes),
            ("a b".to_owned(), 5, text.len() - 4)
        );
        assert_eq!(header.types, [ZeekType::Time, ZeekType::Many(Box::new(ZeekType::Text))]);
        assert!(!header.is_contradicted(b"#fields\ta\tb") && !header.is_contradicted(b"#close\t2024"));
        assert!(header.is_contradicted(b"#fields\ta\tc"));
        for end in 0..header.bytes {
            assert!(matches!(ZeekHeader::read(&text[..end], false), Ok(None)), "{end}");
        }
        let wrong = [
            "a,b\n1,2\n",
            "#separator \\x09\n1\t2\n",
            "#separator \\x09\n#fields\ta\tb\n#types\tint\n",
            "#separator \\x09\n#fields\ta\ta\n#types\tint\tint\n",
            "#separator \\x09\n#fields\ta\n",
            "#separator ab\n",
        ];
        for text in wrong {
            assert!(ZeekHeader::read(text.as_bytes(), true).is_err(), "{text:?}");
        }
        assert!(matches!(ZeekHeader::read(b"", true), Ok(None)));
    }
}
