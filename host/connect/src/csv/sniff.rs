//! Whether the head of a file is written in another way than it would be read, and much more likely so.

use std::collections::HashSet;

use super::dialect::{CsvForm, Dialect, RowEnds};
use super::field::Field;
use super::index::Index;
use super::rows::is_blank;

/// What is looked at of a file.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Rows of it that are looked at, beside the header.
const ROWS_MAX: usize = 100;
/// Lines that are looked for in front of a header.
const PREAMBLE_LINES_MAX: u64 = 20;
/// So many rows have to differ from their header in the same way before the header is what is wrong.
const ROWS_AGAINST_HEADER: usize = 3;

/// One row in so many may be dirty where the others fit their header.
const ROWS_FOR_ONE_DIRTY: usize = 10;
/// With fewer rows than that one may be, where so many fit a header of three names or more.
const ROWS_BESIDE_ONE_DIRTY: usize = 3;

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Why a file is not to be read as it would be, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Better {
    pub(crate) why: String,
    pub(crate) next: String,
}

/// The columns that the manifest names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named<'a> {
    pub(crate) schema: Vec<&'a str>,
    /// Of a source without header.
    pub(crate) columns: Option<&'a [String]>,
}

/// The options with which the rows of a file fit its header much better than with those of `form`, by its head. Texts of one
/// column may look alike in any way: where somebody has named that column, they are what they are.
pub(crate) fn better(data: &[u8], ended: bool, form: &CsvForm, named: &Named<'_>) -> Option<Better> {
    let ended = ended && data.len() <= HEAD_BYTES_MAX;
    let head = Head { data: &data[..data.len().min(HEAD_BYTES_MAX)], ended };
    if data.starts_with(b"#separator ") {
        let why = "it is a log of Zeek, which has a format of its own".to_owned();
        return Some(Better { why, next: "set `format: zeek`".to_owned() });
    }
    let own = Way { dialect: form.dialect, skip_lines: 0 };
    let table = head.table(&own);
    if table.is_one_column() && named.has_column(&table, form) {
        return None;
    }
    let found = head.by_first_line(form).or_else(|| head.find(form, &table));
    if let Some(way) = found {
        return Some(table.outdone(&way, &head.table(&way), form));
    }
    table.against_header(form)
}

impl Named<'_> {
    /// Whether the only column of a table has one of these names, or a header that is a plain name.
    fn has_column(&self, table: &Table<'_>, form: &CsvForm) -> bool {
        let is_declared = |name: &str| self.schema.contains(&name);
        let Some([first]) = table.rows.first().map(Vec::as_slice) else { return false };
        if !form.header {
            return self.columns.is_some_and(|columns| columns.len() == 1) || is_declared("column_1");
        }
        let name = Field::of(first, 0, first.len(), true, form.dialect).bytes();
        let is_part = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.');
        std::str::from_utf8(&name).is_ok_and(|name| {
            let name = name.trim_start_matches('\u{feff}').trim();
            is_declared(name)
                || name.starts_with(|char: char| char.is_alphabetic() || char == '_')
                    && name.chars().all(is_part)
        })
    }
}

/// A way to read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    dialect: Dialect,
    skip_lines: u64,
}

impl Way {
    /// As options of a manifest, as far as they differ from `form`.
    fn options(&self, form: &CsvForm, decimal_comma: bool) -> String {
        let shown = |byte: u8| match byte {
            b'\t' => "\"\\t\"".to_owned(),
            b'\\' => "\"\\\\\"".to_owned(),
            byte => format!("\"{}\"", char::from(byte)),
        };
        let own = form.dialect;
        let mut options = Vec::new();
        if self.skip_lines > 0 {
            options.push(format!("skip-lines: {}", self.skip_lines));
        }
        if self.dialect.delimiter != own.delimiter {
            options.push(format!("delimiter: {}", shown(self.dialect.delimiter)));
        }
        if self.dialect.quote != own.quote {
            options.push("quote: \"\"".to_owned());
        }
        options.extend(self.dialect.escape.map(|escape| format!("escape: {}", shown(escape))));
        options.extend(self.dialect.comment.map(|comment| format!("comment: {}", shown(comment))));
        if decimal_comma {
            options.push("decimal: \",\"".to_owned());
        }
        if options.is_empty() {
            options.push(format!("delimiter: {}", shown(own.delimiter)));
        }
        format!("`{}`", options.join(", "))
    }
}

/// The beginning of a file.
struct Head<'a> {
    data: &'a [u8],
    ended: bool,
}

/// Its rows, read in one way.
struct Table<'a> {
    rows: Vec<Vec<&'a [u8]>>,
    /// Rows in which a quote stands where none can.
    strays: usize,
}

impl<'a> Head<'a> {
    fn table(&self, way: &Way) -> Table<'a> {
        let quote = way.dialect.quote.filter(|_| way.skip_lines == 0);
        let first = RowEnds::of(self.data, true, Dialect { quote, ..way.dialect });
        let row_ends = first.unwrap_or(RowEnds::Newline);
        let start = self.behind_lines(way.skip_lines, row_ends);
        let mut index = Index::default();
        index.scan(self.data, start, self.ended, way.dialect, row_ends);
        let mut table = Table { rows: Vec::new(), strays: 0 };
        for row in 0..index.rows() {
            let raw = &self.data[index.row_start(row)..index.row_end(row)];
            if is_blank(raw) || way.dialect.is_comment(raw) {
                continue;
            }
            let fields = (0..index.fields(row)).map(|place| index.field(index.first_field(row) + place));
            let last = index.fields(row) - 1;
            let field = |(place, (start, end)): (usize, (usize, usize))| {
                let raw = &self.data[start..end];
                if place == last { raw.strip_suffix(b"\r").unwrap_or(raw) } else { raw }
            };
            let fields: Vec<&[u8]> = fields.enumerate().map(field).collect();
            table.strays += usize::from(fields.iter().any(|raw| is_stray(raw, way.dialect)));
            table.rows.push(fields);
            if table.rows.len() > ROWS_MAX {
                break;
            }
        }
        table
    }

    fn behind_lines(&self, lines: u64, row_ends: RowEnds) -> usize {
        let next = |start: usize, _| {
            start + row_ends.first_end(&self.data[start..], true).map_or(0, |(_, next)| next)
        };
        (0..lines).fold(0, next)
    }

    /// Whether so many lines end within a quoted field of a file that is read as `form` says.
    fn is_in_quotes(&self, lines: u64, form: &CsvForm) -> bool {
        let row_ends = RowEnds::of(self.data, true, form.dialect).unwrap_or(RowEnds::Newline);
        let start = self.behind_lines(lines, row_ends);
        let mut index = Index::default();
        index.scan(self.data, 0, self.ended, form.dialect, row_ends);
        (0..index.rows()).any(|row| index.row_start(row) < start && start <= index.row_end(row))
    }

    /// Excel is told the delimiter in front of the header.
    fn by_first_line(&self, form: &CsvForm) -> Option<Way> {
        let end = self.data.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
        let line = self.data[..end].trim_ascii();
        let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
        match line {
            [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] if delimiter.is_ascii() => {
                Some(Way { dialect: Dialect { delimiter: *delimiter, ..form.dialect }, skip_lines: 1 })
            }
            _ => None,
        }
    }

    fn find(&self, form: &CsvForm, own: &Table<'_>) -> Option<Way> {
        let dialects = || {
            let others = DELIMITERS.into_iter().filter(|&other| other != form.dialect.delimiter);
            [form.dialect.delimiter]
                .into_iter()
                .chain(others)
                .map(|delimiter| Dialect { delimiter, ..form.dialect })
        };
        let way = |dialect: Dialect| Way { dialect, skip_lines: 0 };
        let is_better = |way: &Way| {
            let table = self.table(way);
            table.strays == 0 && table.is_even(1)
        };
        // Nothing comes of the delimiter that is set, and nearly all rows fit their header with another one: those that do
        // not are dirt, and no reason to read all as one column.
        let is_nearly_better = |way: &Way| {
            let table = self.table(way);
            table.is_nearly_even(form.header) && (!form.header || table.begins_with_names())
        };
        let is_hopeless = own.fields() == 1 || own.even() * ROWS_FOR_ONE_DIRTY <= own.body();
        let dirty = || dialects().skip(1).map(way).filter(|_| is_hopeless).find(is_nearly_better);
        let plain = || dialects().skip(1).map(way).find(is_better);
        let escaped = || {
            let both = |dialect: Dialect| {
                let escaped = Dialect { escape: Some(b'\\'), ..dialect };
                [escaped, Dialect { quote: None, ..escaped }].map(way)
            };
            dialects().filter(|_| self.has_escapes(form)).flat_map(both).find(is_better)
        };
        if own.fits() {
            return if own.strays > 0 || own.even() < own.body() { escaped() } else { None };
        }
        let comments = || {
            let has_comment = self.data.starts_with(b"#");
            let hash = dialects().map(|dialect| way(Dialect { comment: Some(b'#'), ..dialect }));
            hash.filter(move |_| has_comment).find(is_better)
        };
        let preamble = || self.find_preamble(form, own, &mut dialects());
        plain().or_else(escaped).or_else(comments).or_else(preamble).or_else(dirty)
    }

    fn find_preamble(
        &self,
        form: &CsvForm,
        own: &Table<'_>,
        dialects: &mut dyn Iterator<Item = Dialect>,
    ) -> Option<Way> {
        // Texts of one column may have any character in them, and a few rows that look alike by chance.
        let (fields_min, rows_min) = if own.is_one_column() { (3, 2) } else { (2, 1) };
        let dialects: Vec<Dialect> = dialects.collect();
        (1..=PREAMBLE_LINES_MAX).filter(|&lines| !self.is_in_quotes(lines, form)).find_map(|skip_lines| {
            dialects.iter().map(|&dialect| Way { dialect, skip_lines }).find(|way| {
                let table = self.table(way);
                let before = self.table(&Way { skip_lines: 0, ..*way });
                let fields = table.fields();
                let gone = before.rows.len().saturating_sub(table.rows.len());
                table.is_even(rows_min)
                    && fields >= fields_min
                    && before.rows[..gone].iter().all(|row| row.len() < fields)
                    && (!form.header || table.begins_with_names())
            })
        })
    }

    fn has_escapes(&self, form: &CsvForm) -> bool {
        let Dialect { delimiter, quote, .. } = form.dialect;
        self.data.windows(2).any(|pair| {
            pair[0] == b'\\'
                && (Some(pair[1]) == quote || pair[1] == delimiter || matches!(pair[1], b'\n' | b'\r'))
        })
    }
}

impl Table<'_> {
    /// Fields of the first row.
    fn fields(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// Rows behind the first one.
    fn body(&self) -> usize {
        self.rows.len().saturating_sub(1)
    }

    /// How many of them have as many fields as it has.
    fn even(&self) -> usize {
        self.rows.iter().skip(1).filter(|row| row.len() == self.fields()).count()
    }

    /// Whether it is a table of several columns in which all rows are alike.
    fn is_even(&self, rows_min: usize) -> bool {
        self.fields() > 1 && self.body() >= rows_min && self.even() == self.body()
    }

    /// Whether it is a table of several columns in which nearly all rows are alike.
    fn is_nearly_even(&self, header: bool) -> bool {
        let dirty = self.body() - self.even();
        let is_small = header && self.fields() > 2 && dirty == 1 && self.even() >= ROWS_BESIDE_ONE_DIRTY;
        self.fields() > 1 && (is_small || dirty * ROWS_FOR_ONE_DIRTY <= self.body())
    }

    fn is_one_column(&self) -> bool {
        self.fields() == 1 && self.even() == self.body()
    }

    /// Whether there is no reason to look for another way.
    fn fits(&self) -> bool {
        self.body() == 0 || self.fields() > 1 && self.even() * 2 >= self.body()
    }

    fn begins_with_names(&self) -> bool {
        let mut known = HashSet::new();
        self.rows.first().is_some_and(|row| {
            row.iter().all(|name| {
                let name = name.trim_ascii().trim_ascii_start();
                let name = name.strip_prefix(b"\"").unwrap_or(name);
                !name.is_empty()
                    && !name[0].is_ascii_digit()
                    && name[0] != b'-'
                    && known.insert(name.to_vec())
            })
        })
    }

    /// Whether a column has numbers with commas and nothing else.
    fn has_decimal_commas(&self, dialect: Dialect) -> bool {
        (0..self.fields()).any(|place| {
            let fields = self.rows.iter().skip(1).filter_map(|row| row.get(place));
            let values = fields.map(|raw| Field::of(raw, 0, raw.len(), false, dialect).bytes());
            let mut commas = 0;
            let all = values.filter(|value| !value.is_empty()).all(|value| {
                let mut parts = value.strip_prefix(b"-").unwrap_or(&value).splitn(2, |&byte| byte == b',');
                let (whole, fraction) = (parts.next().unwrap_or_default(), parts.next());
                commas += usize::from(fraction.is_some());
                let is_number = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
                is_number(whole) && fraction.is_none_or(is_number)
            });
            all && commas > 0
        })
    }

    /// That another way is better.
    fn outdone(&self, way: &Way, other: &Table<'_>, form: &CsvForm) -> Better {
        let options =
            way.options(form, way.dialect.delimiter != b',' && other.has_decimal_commas(way.dialect));
        let now = match (self.fields(), self.body(), self.even()) {
            (1, body, even) if body == even => "it would be read as one column".to_owned(),
            (_, body, even) if body == even => "quotes would stand in its values".to_owned(),
            (_, body, even) => format!("{even} of its first {body} rows would fit its header"),
        };
        let fit = match (other.even(), other.body()) {
            (even, body) if even == body => "each row fits".to_owned(),
            (even, body) => format!("{even} of its first {body} rows fit"),
        };
        let why = format!("{now}; with {options} it has {} columns, and {fit}", other.fields());
        let keep = Way { dialect: form.dialect, skip_lines: 0 }.options(form, false);
        let next = format!("set {options}, or {keep} if it is to be read as it would be");
        Better { why, next }
    }

    /// That the header is not one of the rows below it.
    fn against_header(&self, form: &CsvForm) -> Option<Better> {
        let fields = self.rows.get(1).map(Vec::len)?;
        let alike = self.rows.iter().skip(1).all(|row| row.len() == fields);
        if !form.header || !alike || fields == self.fields() || self.body() < ROWS_AGAINST_HEADER {
            return None;
        }
        let (header, body) = (self.fields(), self.body());
        let why = format!("its header has {header} fields, and each of its first {body} rows has {fields}");
        let next =
            "correct the header, or set `skip-lines: 1, header: false` and name the `columns`".to_owned();
        Some(Better { why, next })
    }
}

/// Whether something stands behind the quote that closes a field.
fn is_stray(raw: &[u8], dialect: Dialect) -> bool {
    let Some(quote) = dialect.quote.filter(|quote| raw.first() == Some(quote)) else { return false };
    let mut bytes = raw[1..].iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        if dialect.escape == Some(byte) {
            bytes.next();
        } else if byte == quote {
            match raw.get(at + 2) {
                Some(next) if *next == quote => _ = bytes.next(),
                next => return next.is_some(),
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(delimiter: u8, header: bool) -> CsvForm {
        CsvForm { dialect: Dialect::of(delimiter), skip_lines: 0, header, null: None, decimal_comma: false }
    }

    fn plain(data: &[u8], ended: bool, form: &CsvForm) -> Option<Better> {
        better(data, ended, form, &Named::default())
    }

    #[test]
    fn what_fits_much_better_is_named() {
        let cases = [
            ("a;b\n1;x\n", "delimiter: \";\""),
            ("a;b;c\n1;x;1,5\n2;y;2,25\n", "delimiter: \";\", decimal: \",\""),
            ("a\tb\n1\tx\n", "delimiter: \"\\t\""),
            ("a|b\r1|x\r", "delimiter: \"|\""),
            ("sep=;\r\na;b\r\n1;x\r\n", "skip-lines: 1, delimiter: \";\""),
            ("\"sep=,\"\na,b\n1,x\n", "skip-lines: 1"),
            ("# made by hand\n# twice\na,b\n1,x\n", "comment: \"#\""),
            ("# made, by hand\na;b\n1;x\n", "delimiter: \";\", comment: \"#\""),
            ("Report of May\n\nname,count\nx,1\ny,2\n", "skip-lines: 1"),
            (
                "Konto\nSaldo;1,5\nTag;Betrag;Wer\n1.5.;1,5;x\n2.5.;2;y\n",
                "skip-lines: 2, delimiter: \";\", decimal: \",\"",
            ),
            ("a,b\n\"say \\\"hi\\\"\",1\nx,2\n", "escape: \"\\\\\""),
            ("a,b\n\"x, \\\"y, z\\\"\",1\n", "escape: \"\\\\\""),
            ("a\tb\n1\tx\\\ny\n2\tz\n", "delimiter: \"\\t\", escape: \"\\\\\""),
            ("Nr;Kunde;Betrag\n1;a;1\n2;c;2\n3;d\n4;e;2\n", "delimiter: \";\""),
            ("Nr;Kunde;Betrag\n1;a;1,5\n2;c, d;2\n3;d\n4;e;2\n", "delimiter: \";\", decimal: \",\""),
            ("a;b\n1;x\n2;x\n3\n4;x\n5;x\n6;x\n7;x\n8;x\n9;x\n10;x\n", "delimiter: \";\""),
        ];
        for (text, options) in cases {
            let found = plain(text.as_bytes(), true, &form(b',', true)).unwrap_or_else(|| panic!("{text:?}"));
            assert!(found.next.starts_with(&format!("set `{options}`, or ")), "{text:?}: {found:?}");
        }
        let dirty = plain(b"Nr;Kunde;Betrag\n1;a;1\n2;c;2\n3;d\n4;e;2\n", true, &form(b',', true));
        let why = "it would be read as one column; with `delimiter: \";\"` it has 3 columns, and 3 of its first 4 rows fit";
        assert_eq!(dirty.map(|found| found.why), Some(why.to_owned()));
        let zeek = plain(b"#separator \\x09\n", false, &form(b',', true)).expect("Zeek");
        assert_eq!(zeek.next, "set `format: zeek`");
        let named = plain(b"\"a\",\"b\"\n\"1\",5,6\n\"2\",7,8\n\"3\",9,0\n", true, &form(b',', true))
            .expect("no header");
        assert_eq!(named.why, "its header has 2 fields, and each of its first 3 rows has 3");
    }

    #[test]
    fn what_may_well_be_meant_is_left_alone() {
        let cases = [
            "",
            "a,b\n",
            "a;b\n",
            "a,b\n1,x\n",
            "a,b\n1;2,x;y\n",
            "#id,name\n1,x\n",
            "a,b\n1\n2,x,y\n3,z\n4,z\n",
            "note\nfoo;bar\nx;y\n",
            "note\nplain\nwith, comma\n",
            "body\n\"Hello\na,b,c\nd,e,f\ng,h,i\"\n",
            "a,b\n\"C:\\\",1\n\"x\\\\\",2\n",
            "a,b\n1\n",
            "a,b,c\n1,2,3,\n",
            "note\none; two; three\nfour; five; six\nseven\neight; nine; ten\n",
            "to be; or not\none; two\nplain\nthree; four\nfive; six\n",
            "note\nwith, comma\nwith, comma\nplain\nwith; both, here\n",
            "a,b,c\n1;2,x;y,3\n1;2,x;y,3\n1;2,x;y\n4;5,x;y,6\n",
        ];
        for text in cases {
            assert_eq!(plain(text.as_bytes(), true, &form(b',', true)), None, "{text:?}");
        }
        assert_eq!(plain(b"a,b\tc\n1\t2\n", true, &form(b'\t', true)), None);
        assert_eq!(
            plain(b"1;2\n3;4\n", true, &form(b',', false)).map(|found| found.why.len() > 9),
            Some(true)
        );
    }

    #[test]
    fn a_column_that_somebody_has_named_is_one_whatever_its_texts_look_like() {
        let columns = ["note".to_owned()];
        let schema = |name| Named { schema: vec![name], columns: None };
        let given = Named { schema: Vec::new(), columns: Some(&columns) };
        let both = ["a".to_owned(), "b".to_owned()];
        let two = Named { schema: Vec::new(), columns: Some(&both) };
        let cases = [
            ("a;b\n1;x\n", true, schema("a;b"), true),
            ("\"a;b\"\n1;x\n", true, schema("a;b"), true),
            ("a;b\n1;x\n", true, schema("a"), false),
            ("a;b\n1;x\n", true, schema("a;b,c"), false),
            ("foo;bar\nx;y\n", false, given, true),
            ("foo;bar\nx;y\n", false, schema("column_1"), true),
            ("foo;bar\nx;y\n", false, two, false),
            ("note\none; two; three\nfour; five; six\nseven; eight; nine\n", true, Named::default(), true),
            ("Of May\nname;count;sum\nx;1;1\ny;2;3\n", true, Named::default(), false),
            ("Of May\nname;count;sum\nx;1;1\ny;2;3\n", true, schema("Of May"), true),
            ("a,b\n\"say \\\"hi\\\"\",1\nx,2\n", true, schema("a"), false),
        ];
        for (text, header, named, expected) in cases {
            let found = better(text.as_bytes(), true, &form(b',', header), &named);
            assert_eq!(found.is_none(), expected, "{text:?}, {named:?}: {found:?}");
        }
    }
}
