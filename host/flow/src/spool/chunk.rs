//! Records that came together, as bytes: what they have in common once, the lengths of their values, and the values
//! side by side.
//!
//! ```text
//! chunk:  records u32  time i64  labels length u32  length u32 of each value  labels  values
//! labels: key length u32, all ones for none  key  headers u32  { name length u32  name  value length u32  value } ...
//! ```
//!
//! All numbers are little-endian. A chunk of one record costs 20 bytes and takes no second look at its values.

use std::ops::Range;

/// Before the lengths.
const HEAD_BYTES: usize = 16;
const NO_KEY: u32 = u32::MAX;

/// Records that one appender brings: all or none of them become durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    time_us: i64,
    labels: Vec<u8>,
    /// Little-endian.
    lengths: Vec<u8>,
    values: Vec<u8>,
}

impl Records {
    /// None yet. `time_us`: microseconds since the Unix epoch.
    pub fn new(time_us: i64) -> Self {
        Self { time_us, ..Self::default() }
    }

    /// What all of them have. Names and values have less than 4 GiB, as all that came in one piece.
    pub fn labelled<'a>(
        mut self,
        key: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let labels = &mut self.labels;
        match key {
            None => labels.extend(NO_KEY.to_le_bytes()),
            Some(key) => put_bytes(labels, key),
        }
        let count_at = labels.len();
        labels.extend([0; 4]);
        let mut count = 0u32;
        for (name, value) in headers {
            put_bytes(labels, name.as_bytes());
            put_bytes(labels, value);
            count += 1;
        }
        labels[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
        self
    }

    pub fn push(&mut self, value: &[u8]) {
        self.values.extend_from_slice(value);
        self.lengths.extend((value.len() as u32).to_le_bytes());
    }

    pub fn count(&self) -> u32 {
        (self.lengths.len() / 4) as u32
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        values_of(&self.lengths, &self.values)
    }

    /// What they take in a segment.
    pub fn encoded_bytes(&self) -> usize {
        HEAD_BYTES + self.lengths.len() + self.labels.len() + self.values.len()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_bytes());
        out.extend(self.count().to_le_bytes());
        out.extend(self.time_us.to_le_bytes());
        out.extend((self.labels.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.lengths);
        out.extend_from_slice(&self.labels);
        out.extend_from_slice(&self.values);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Where the parts of a chunk are, in the bytes that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub time_us: i64,
    pub lengths: Range<usize>,
    pub labels: Range<usize>,
    pub values: Range<usize>,
}

impl Layout {
    /// Of the chunk that begins at `at`. None where it does not fit.
    pub fn parse(bytes: &[u8], at: usize) -> Option<Self> {
        let head: &[u8; HEAD_BYTES] = bytes.get(at..)?.first_chunk()?;
        let records = u32::from_le_bytes(*head.first_chunk()?) as usize;
        let time_us = i64::from_le_bytes(head[4..12].try_into().ok()?);
        let labels = u32::from_le_bytes(*head.last_chunk()?) as usize;
        let lengths = at + HEAD_BYTES..(at + HEAD_BYTES).checked_add(records.checked_mul(4)?)?;
        let labels = lengths.end..lengths.end.checked_add(labels)?;
        let values = sum(bytes.get(lengths.clone())?);
        let values = labels.end..labels.end.checked_add(usize::try_from(values).ok()?)?;
        let fits = records > 0 && values.end <= bytes.len();
        let layout = fits.then_some(Self { time_us, lengths, labels, values })?;
        Labels::parse(&bytes[layout.labels.clone()])?;
        Some(layout)
    }

    pub fn records(&self) -> usize {
        self.lengths.len() / 4
    }
}

fn sum(lengths: &[u8]) -> u64 {
    lengths_of(lengths).map(|length| length as u64).sum()
}

fn lengths_of(lengths: &[u8]) -> impl Iterator<Item = usize> + '_ {
    lengths
        .chunks_exact(4)
        .map(|length| u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize)
}

fn values_of<'a>(lengths: &'a [u8], mut rest: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + 'a {
    lengths_of(lengths).map(move |length| {
        let (value, behind) = rest.split_at(length);
        rest = behind;
        value
    })
}

/// Records of one chunk, as they lie in memory.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// The number of the first one.
    pub first: u64,
    pub time_us: i64,
    labels: &'a [u8],
    lengths: &'a [u8],
    values: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// The records from `from` on, whose values begin `values_at` bytes behind those of the first one.
    pub(super) fn of(bytes: &'a [u8], layout: &Layout, first: u64, from: usize, values_at: usize) -> Self {
        Self {
            first: first + from as u64,
            time_us: layout.time_us,
            labels: &bytes[layout.labels.clone()],
            lengths: &bytes[layout.lengths.clone()][from * 4..],
            values: &bytes[layout.values.clone()][values_at..],
        }
    }

    pub fn count(&self) -> usize {
        self.lengths.len() / 4
    }

    pub fn lengths(&self) -> impl Iterator<Item = usize> + 'a {
        lengths_of(self.lengths)
    }

    /// The values side by side.
    pub fn bytes(&self) -> &'a [u8] {
        self.values
    }

    pub fn values(&self) -> impl Iterator<Item = &'a [u8]> + 'a {
        values_of(self.lengths, self.values)
    }

    /// Whether it has a key or headers.
    pub fn has_labels(&self) -> bool {
        !self.labels.is_empty()
    }

    /// The first `count` of them, or all, and no more than fit into `bytes_max`; one in any case.
    pub fn head(&self, count: usize, bytes_max: usize) -> Self {
        let mut bytes = 0;
        let mut taken = 0;
        for length in self.lengths().take(count) {
            if taken > 0 && bytes + length > bytes_max {
                break;
            }
            bytes += length;
            taken += 1;
        }
        Self { lengths: &self.lengths[..taken * 4], values: &self.values[..bytes], ..*self }
    }

    pub fn key(&self) -> Option<&'a [u8]> {
        Labels::parse(self.labels)?.key
    }

    /// Names and values, in the order in which they came.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + 'a {
        Labels::parse(self.labels).into_iter().flat_map(|labels| labels.headers)
    }
}

struct Labels<'a> {
    key: Option<&'a [u8]>,
    headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Labels<'a> {
    fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self { key: None, headers: Vec::new() });
        }
        let rest = &mut bytes;
        let key = match take_number(rest)? {
            NO_KEY => None,
            length => Some(take(rest, length)?),
        };
        let count = take_number(rest)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let length = take_number(rest)?;
            let name = std::str::from_utf8(take(rest, length)?).ok()?;
            let length = take_number(rest)?;
            headers.push((name, take(rest, length)?));
        }
        bytes.is_empty().then_some(Self { key, headers })
    }
}

fn take_number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

fn take<'a>(bytes: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length as usize)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Records {
        let mut records = Records::new(7);
        values.iter().for_each(|value| records.push(value.as_bytes()));
        records
    }

    #[test]
    fn records_come_back_as_they_were() {
        let plain = of(&["a", "", "long enough"]);
        let headers = [("x-device", &b"7"[..]), ("x-none", b"")];
        let labelled = Records { labels: Records::new(0).labelled(Some(b"k"), headers).labels, ..of(&["b"]) };
        let keyless =
            Records { labels: Records::new(0).labelled(None, [headers[0]]).labels, ..of(&["c", "d"]) };
        let mut bytes = b"before".to_vec();
        for (records, key, names) in [
            (&plain, None, &[][..]),
            (&labelled, Some(&b"k"[..]), &["x-device", "x-none"]),
            (&keyless, None, &["x-device"]),
        ] {
            let at = bytes.len();
            records.encode(&mut bytes);
            assert_eq!(bytes.len() - at, records.encoded_bytes());
            let layout = Layout::parse(&bytes, at).expect("a chunk");
            assert_eq!((layout.values.end, layout.records()), (bytes.len(), records.count() as usize));
            let chunk = Chunk::of(&bytes, &layout, 40, 0, 0);
            assert_eq!((chunk.first, chunk.time_us, chunk.key()), (40, 7, key));
            assert_eq!(chunk.headers().map(|(name, _)| name).collect::<Vec<_>>(), names);
            assert_eq!(
                chunk.values().map(<[u8]>::len).collect::<Vec<_>>(),
                chunk.lengths().collect::<Vec<_>>()
            );
            assert_eq!(chunk.bytes(), records.values);
        }
    }

    #[test]
    fn a_part_of_a_chunk_is_one() {
        let mut bytes = Vec::new();
        of(&["one", "two", "three", "4"]).encode(&mut bytes);
        let layout = Layout::parse(&bytes, 0).expect("a chunk");
        let whole = Chunk::of(&bytes, &layout, 10, 0, 0);
        let texts = |chunk: Chunk<'_>| -> Vec<String> {
            chunk.values().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
        };
        let cases = [(2, 100, 2), (9, 100, 4), (9, 6, 2), (9, 7, 2), (9, 0, 1), (3, 11, 3)];
        for (count, bytes_max, taken) in cases {
            assert_eq!(texts(whole.head(count, bytes_max)), texts(whole)[..taken], "{count} {bytes_max}");
        }
        let behind = Chunk::of(&bytes, &layout, 10, 2, 6);
        assert_eq!((behind.first, texts(behind)), (12, vec!["three".to_owned(), "4".to_owned()]));
    }

    #[test]
    fn what_is_cut_off_or_overflows_is_no_chunk() {
        let mut bytes = Vec::new();
        Records {
            labels: Records::new(0).labelled(Some(b"k"), [("h", &b"v"[..])]).labels,
            ..of(&["one", "two"])
        }
        .encode(&mut bytes);
        assert!((0..bytes.len()).all(|end| Layout::parse(&bytes[..end], 0).is_none()));
        assert!(Layout::parse(&[0; 64], 0).is_none(), "a chunk of nothing");
        assert!(Layout::parse(&[0xff; 64], 0).is_none());
        assert!(Layout::parse(&bytes, usize::MAX).is_none() && Layout::parse(&bytes, bytes.len()).is_none());
    }
}
