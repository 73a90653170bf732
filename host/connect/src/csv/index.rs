//! Where fields and rows end.
//!
//! The quick way takes 64 bytes at a time: three masks, quotes paired by a running exclusive-or, and the
//! separators outside of quotes read off the bits. It is right as long as quotes stand where RFC 4180 puts
//! them: around a field, and doubled inside. It notices when one does not, and that piece of input is then
//! gone through byte by byte, by the rules that the `csv` crate has for such quotes. So are files with escapes, with
//! comments beside quotes, and with carriage returns alone as the ends of their rows.
//!
//! Source of the masks: Langdale and Lemire, "Parsing Gigabytes of JSON per Second", 2019.

use super::dialect::{Dialect, RowEnds};
use super::masks::{BLOCK, masks};
use super::state::State;

/// The whole rows of a piece of input.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Ends of fields. In front stands the place before the first byte, so that each field begins behind its
    /// predecessor's end. Longer than what is used of it, so that a block is written without looking whether
    /// there is room for each.
    ends: Vec<u32>,
    len: usize,
    /// For each row, the place in `ends` of its last field's end.
    rows: Vec<u32>,
    /// Whether a field has a line break in it, so that rows and lines are counted differently.
    broken_lines: bool,
    open_quote: bool,
    /// Whether there may be a quote anywhere.
    quotes: bool,
}

impl Index {
    /// Indexes the rows of `data[start..]`, which begins with a row. A last row without a line break is one
    /// only when the input has `ended`, and only if its quotes are closed.
    pub(crate) fn scan(
        &mut self,
        data: &[u8],
        start: usize,
        ended: bool,
        dialect: Dialect,
        row_ends: RowEnds,
    ) {
        self.clear(start);
        let scanned = match dialect {
            _ if row_ends == RowEnds::Any => Err(Irregular),
            Dialect { escape: None, comment: None, quote: Some(quote), delimiter } => {
                self.scan_blocks(data, start, delimiter, quote)
            }
            // No byte is a quote: the delimiter's own mask stands in and is never looked at.
            Dialect { escape: None, quote: None, delimiter, .. } => {
                self.scan_unquoted(data, start, delimiter)
            }
            _ => Err(Irregular),
        };
        if let Err(Irregular) = scanned {
            self.clear(start);
            self.scan_bytes(data, start, ended, dialect, row_ends);
        }
        let fields = self.rows.last().map_or(0, |&last| last as usize);
        let row_start = self.ends[fields].wrapping_add(1) as usize;
        if ended && !self.open_quote && row_start < data.len() {
            self.push_row_end(data.len());
        }
    }

    fn push_end(&mut self, at: usize) {
        self.reserve();
        self.ends[self.len] = at as u32;
        self.len += 1;
    }

    fn push_row_end(&mut self, at: usize) {
        self.push_end(at);
        self.rows.push(self.len as u32 - 1);
    }

    /// Makes room for the ends of one block.
    #[inline]
    fn reserve(&mut self) {
        if self.ends.len() < self.len + BLOCK {
            self.ends.resize((self.ends.len() * 2).max(64 * BLOCK), 0);
        }
    }

    fn clear(&mut self, start: usize) {
        self.len = 0;
        self.rows.clear();
        self.push_end(start.wrapping_sub(1));
        self.broken_lines = false;
        self.open_quote = false;
        self.quotes = false;
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Whether a line break stands inside of a field.
    pub(crate) fn has_broken_lines(&self) -> bool {
        self.broken_lines
    }

    /// Whether there may be a quote in a field.
    pub(crate) fn has_quotes(&self) -> bool {
        self.quotes
    }

    /// Whether the input stops inside of a quoted field.
    pub(crate) fn has_open_quote(&self) -> bool {
        self.open_quote
    }

    /// The place in [`Self::field`] of a row's first field.
    #[inline]
    pub(crate) fn first_field(&self, row: usize) -> usize {
        if row == 0 { 1 } else { self.rows[row - 1] as usize + 1 }
    }

    #[inline]
    pub(crate) fn fields(&self, row: usize) -> usize {
        self.rows[row] as usize + 1 - self.first_field(row)
    }

    /// Where a field begins and ends, quotes and all.
    #[inline]
    pub(crate) fn field(&self, place: usize) -> (usize, usize) {
        (self.ends[place - 1].wrapping_add(1) as usize, self.ends[place] as usize)
    }

    /// Where a row begins.
    pub(crate) fn row_start(&self, row: usize) -> usize {
        self.field(self.first_field(row)).0
    }

    /// Where a row's line break stands, or the input ends.
    pub(crate) fn row_end(&self, row: usize) -> usize {
        self.ends[self.rows[row] as usize] as usize
    }

    /// How many rows from `first` end at or before `end`.
    pub(crate) fn rows_until(&self, first: usize, end: usize) -> usize {
        self.rows[first..].partition_point(|&last| self.ends[last as usize] as usize <= end)
    }

    #[inline]
    fn mark(&mut self, base: usize, separators: u64, newlines: u64) {
        self.reserve();
        let before = self.len as u32;
        let Some(places) = self.ends[self.len..].first_chunk_mut::<BLOCK>() else { return };
        let (mut bits, mut count) = (separators, 0);
        while bits != 0 {
            // Four at a time: the branch is then taken about as often in every block, and predicted.
            for place in 0..4 {
                places[(count + place) % BLOCK] = (base as u32).wrapping_add(bits.trailing_zeros());
                bits &= bits.wrapping_sub(1);
            }
            count += 4;
        }
        self.len += separators.count_ones() as usize;
        let mut bits = newlines;
        while bits != 0 {
            let below = separators & ((bits & bits.wrapping_neg()) - 1);
            self.rows.push(before + below.count_ones());
            bits &= bits - 1;
        }
    }

    fn scan_unquoted(&mut self, data: &[u8], start: usize, delimiter: u8) -> Result<(), Irregular> {
        for (base, block) in Blocks::of(data, start) {
            let found = masks(&block, delimiter, delimiter);
            let inside = Blocks::inside(data, base);
            let newlines = found.newline & inside;
            self.mark(base, found.delimiter & inside | newlines, newlines);
        }
        Ok(())
    }

    fn scan_blocks(&mut self, data: &[u8], start: usize, delimiter: u8, quote: u8) -> Result<(), Irregular> {
        // All ones while a quoted field is open; what the byte before the block allows.
        let (mut open, mut field_begins, mut closed) = (0u64, 1u64, 0u64);
        for (base, block) in Blocks::of(data, start) {
            let found = masks(&block, delimiter, quote);
            let inside = Blocks::inside(data, base);
            let separators = (found.delimiter | found.newline) & inside;
            if found.quote & inside == 0 && open == 0 && closed == 0 {
                self.mark(base, separators, found.newline & inside);
                field_begins = separators >> 63;
                continue;
            }
            self.quotes = true;
            let quotes = found.quote & inside;
            let quoted = running_xor(quotes) ^ open;
            let opening = quotes & quoted;
            let closing = quotes & !quoted;
            let separators = separators & !quoted;
            // A quote opens where a field begins, or right behind the one that closed: a doubled quote.
            let may_open = (separators | closing) << 1 | field_begins | closed;
            // Behind a closing one come a separator, another quote, or the line break.
            let may_follow = found.delimiter | found.newline | quotes | returns(&block, data, base);
            let followed = (closing << 1 | closed) & inside;
            if opening & !may_open != 0 || followed & !may_follow != 0 {
                return Err(Irregular);
            }
            self.broken_lines |= found.newline & inside & quoted != 0;
            self.mark(base, separators, found.newline & separators);
            field_begins = separators >> 63;
            closed = closing >> 63;
            open = if quoted >> 63 == 1 { u64::MAX } else { 0 };
        }
        self.open_quote = open != 0;
        Ok(())
    }

    /// The rules of the `csv` crate for every place in which a quote can stand.
    fn scan_bytes(&mut self, data: &[u8], start: usize, ended: bool, dialect: Dialect, row_ends: RowEnds) {
        self.quotes = true;
        let mut state = State::Row;
        for (at, &byte) in data.iter().enumerate().skip(start) {
            let breaks = byte == b'\n' || byte == b'\r' && row_ends == RowEnds::Any;
            // At the end of a piece nobody knows whether `\n` follows.
            let ends = byte == b'\n' || breaks && data.get(at + 1).map_or(ended, |next| *next != b'\n');
            self.broken_lines |=
                breaks && matches!(state, State::Quoted | State::Escaped | State::EscapedInQuotes);
            state = state.next(byte, dialect, ends);
            match state {
                State::Row => self.push_row_end(at),
                State::Begin => self.push_end(at),
                _ => {}
            }
        }
        self.open_quote = state.is_in_quotes();
    }
}

/// A quote stands where the quick way does not know it.
struct Irregular;

/// Each bit is the exclusive-or of all bits up to it: between a quote and the next one it is set.
#[inline]
fn running_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// Carriage returns that are part of a line break.
fn returns(block: &[u8; BLOCK], data: &[u8], base: usize) -> u64 {
    let next = |i: usize| block.get(i + 1).copied().or_else(|| data.get(base + BLOCK).copied());
    let is = |i: usize| block[i] == b'\r' && (next(i) == Some(b'\n') || base + i + 1 == data.len());
    (0..BLOCK).fold(0, |bits, i| bits | u64::from(is(i)) << i)
}

/// The input in blocks; the last one is filled up with zeros.
struct Blocks<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Blocks<'a> {
    fn of(data: &'a [u8], start: usize) -> Self {
        Self { data, at: start }
    }

    /// The bits of a block that are bytes of the input.
    #[inline]
    fn inside(data: &[u8], base: usize) -> u64 {
        match data.len() - base {
            left @ 0..BLOCK => (1 << left) - 1,
            _ => u64::MAX,
        }
    }
}

impl Iterator for Blocks<'_> {
    type Item = (usize, [u8; BLOCK]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let base = self.at;
        let rest = self.data.get(base..).filter(|rest| !rest.is_empty())?;
        self.at += BLOCK;
        if let Some(block) = rest.first_chunk::<BLOCK>() {
            return Some((base, *block));
        }
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        Some((base, block))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::field::Field;
    use super::*;

    const PLAIN: Dialect = Dialect::of(b',');

    fn rows_of(index: &Index, data: &[u8], dialect: Dialect) -> Vec<Vec<Vec<u8>>> {
        let mut rows = Vec::new();
        for row in 0..index.rows() {
            let (first, count) = (index.first_field(row), index.fields(row));
            let field = |i| {
                let (start, end) = index.field(first + i);
                let last = i + 1 == count;
                Field::of(data, start, end, last, dialect).bytes().into_owned()
            };
            let fields: Vec<_> = (0..count).map(field).collect();
            if fields.len() > 1
                || index.row_end(row) > index.row_start(row)
                    && data[index.row_start(row)..index.row_end(row)] != *b"\r"
            {
                rows.push(fields);
            }
        }
        rows
    }

    fn by_csv(data: &[u8], dialect: Dialect) -> Vec<Vec<Vec<u8>>> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(dialect.delimiter)
            .quoting(dialect.quote.is_some())
            .quote(dialect.quote.unwrap_or(b'"'))
            .from_reader(data);
        let records = reader.byte_records().map(|record| record.expect("bytes are always CSV"));
        records.map(|record| record.iter().map(<[u8]>::to_vec).collect()).collect()
    }

    fn check(text: &str, dialect: Dialect) {
        check_ends(text, dialect, RowEnds::Newline);
    }

    fn check_ends(text: &str, dialect: Dialect, row_ends: RowEnds) {
        let data = text.as_bytes();
        let mut index = Index::default();
        index.scan(data, 0, true, dialect, row_ends);
        if index.has_open_quote() {
            // What comes behind an open quote is where we and the crate differ on purpose.
            return;
        }
        assert_eq!(rows_of(&index, data, dialect), by_csv(data, dialect), "{text:?}");
        // From the middle of a buffer, the same rows.
        let padded = [b"\"x,\n", data].concat();
        let mut shifted = Index::default();
        shifted.scan(&padded, 4, true, dialect, row_ends);
        assert_eq!(rows_of(&shifted, &padded, dialect), by_csv(data, dialect), "{text:?} shifted");
    }

    #[test]
    fn rows_are_those_of_the_csv_crate() {
        let long = "x".repeat(70);
        let cases = [
            "a,b\n1,2\n",
            "a,b\r\n1,2",
            "\n\na\n\r\n\nb\n",
            "\"a\",\"b,c\"\n\"d\ne\",f\n",
            "\"a\"\"b\",\"\"\n",
            "a\"b,c\n",
            "\"a\"b,c\n",
            "\"a\"b\"c,d\n",
            " \"a,b\"\n",
            "\"\"\"\"\n",
            ",\n,",
            "\"a\"\r\nb\r\n",
            "é,\"ü\"\n",
            "\"a\"\"\n",
        ];
        for case in cases {
            check(case, PLAIN);
            check(&format!("{long},{case}"), PLAIN);
            check(case, Dialect { quote: Some(b'\''), ..Dialect::of(b';') });
            check(case, Dialect { quote: None, ..PLAIN });
        }
    }

    #[test]
    fn an_unfinished_row_waits_for_more() {
        let mut index = Index::default();
        index.scan(b"a,b\nc,", 0, false, PLAIN, RowEnds::Newline);
        assert_eq!((index.rows(), index.row_end(0)), (1, 3));
        index.scan(b"a,\"b\nc", 0, true, PLAIN, RowEnds::Newline);
        assert_eq!((index.rows(), index.has_open_quote()), (0, true));
    }

    #[test]
    fn a_carriage_return_at_the_end_of_a_piece_ends_a_row_once_it_is_known_to_stand_alone() {
        let mut index = Index::default();
        index.scan(b"a,b\r", 0, false, PLAIN, RowEnds::Any);
        assert_eq!(index.rows(), 0);
        index.scan(b"a,b\r", 0, true, PLAIN, RowEnds::Any);
        assert_eq!((index.rows(), index.row_end(0)), (1, 3));
        index.scan(b"a,b\r\nc\r\rd", 0, false, PLAIN, RowEnds::Any);
        assert_eq!((index.rows(), index.row_end(0), index.row_end(1)), (3, 4, 6));
    }

    #[test]
    fn escapes_and_comments_end_where_they_do() {
        let escaped = Dialect { escape: Some(b'\\'), ..PLAIN };
        let bare = Dialect { quote: None, ..escaped };
        let hash = Dialect { comment: Some(b'#'), ..PLAIN };
        let hash_bare = Dialect { quote: None, ..hash };
        let cases: [(&str, Dialect, &[&[&str]]); 8] = [
            ("\"a\\\"b\",c\n", escaped, &[&["a\"b", "c"]]),
            ("\"a\"\"b\\\\\",c\n", escaped, &[&["a\"b\\", "c"]]),
            ("a\\,b,c\\\nd\n", escaped, &[&["a,b", "c\nd"]]),
            ("C:\\temp,\\N,\\0\n", escaped, &[&["C:\\temp", "\\N", "\0"]]),
            ("\"a\n\\,b\n", bare, &[&["\"a"], &[",b"]]),
            ("#a \"b,c\nd,e\n#\n f,#g\n", hash, &[&["#a \"b,c"], &["d", "e"], &["#"], &[" f", "#g"]]),
            ("\"x\n#y\",z\n", hash, &[&["x\n#y", "z"]]),
            ("#a,b\nc,d\n", hash_bare, &[&["#a", "b"], &["c", "d"]]),
        ];
        for (text, dialect, expected) in cases {
            let mut index = Index::default();
            index.scan(text.as_bytes(), 0, true, dialect, RowEnds::Newline);
            let rows = rows_of(&index, text.as_bytes(), dialect);
            let rows: Vec<Vec<_>> =
                rows.iter().map(|row| row.iter().map(|f| String::from_utf8_lossy(f)).collect()).collect();
            assert_eq!(rows, expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_the_rows_of_the_csv_crate(parts in prop::collection::vec(prop_oneof![
            4 => Just(","), 3 => Just("\""), 2 => Just("\n"), 1 => Just("\r\n"), 3 => Just("a"), 1 => Just("é"),
            1 => Just("\"\""), 1 => Just("\",\""), 2 => Just("bcdefghijklmnopqrstuvwxyz"),
        ], 0..60)) {
            check(&parts.concat(), PLAIN);
        }

        #[test]
        fn rows_that_end_anyhow_are_those_of_the_csv_crate(parts in prop::collection::vec(prop_oneof![
            3 => Just(","), 2 => Just("\""), 2 => Just("\n"), 2 => Just("\r"), 1 => Just("\r\n"), 3 => Just("a"),
            1 => Just("\",\""),
        ], 0..60)) {
            check_ends(&parts.concat(), PLAIN, RowEnds::Any);
        }

        #[test]
        fn well_quoted_text_takes_the_quick_way(fields in prop::collection::vec("[a-z,\"\n]{0,20}", 1..40)) {
            let mut text = String::new();
            for (i, field) in fields.iter().enumerate() {
                text.push_str(&format!("\"{}\"", field.replace('"', "\"\"")));
                text.push(if i % 3 == 2 { '\n' } else { ',' });
            }
            let mut index = Index::default();
            index.clear(0);
            prop_assert!(index.scan_blocks(text.as_bytes(), 0, b',', b'"').is_ok());
            check(&text, PLAIN);
        }
    }
}
