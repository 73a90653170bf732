//! How an entry is named on disk: group, key, name, in such an order that the entries of a group lie together, and
//! those of a key as well, by their names.

use model::groups::{KeyGroup, KeyHash};

/// Appends the place of an entry: one byte of group, the length of the key in two, the key, the name.
pub(crate) fn write_place(group: KeyGroup, key: &[u8], name: &[u8], to: &mut Vec<u8>) {
    to.push(group.index());
    // Keys are bounded well below what two bytes hold.
    to.extend_from_slice(&(key.len() as u16).to_be_bytes());
    to.extend_from_slice(key);
    to.extend_from_slice(name);
}

pub(crate) fn place(key: &[u8], name: &[u8]) -> Box<[u8]> {
    let mut place = Vec::with_capacity(3 + key.len() + name.len());
    write_place(KeyHash::of(key).group(), key, name, &mut place);
    place.into()
}

/// The key and the name of a place; none where it is none.
pub(crate) fn read_place(place: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = place.split_first()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// Where the places that begin with `prefix` end; none where nothing can be behind them.
pub(crate) fn end_of(prefix: &[u8]) -> Option<Box<[u8]>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_and_no_two_entries_share_one() {
        let entries: [(&[u8], &[u8]); 6] =
            [(b"", b""), (b"a", b""), (b"", b"a"), (b"a", b"b"), (b"ab", b""), (b"\0\xff", b"\0")];
        for (key, name) in entries {
            assert_eq!(read_place(&place(key, name)), Some((key, name)));
            assert_eq!(entries.iter().filter(|(k, n)| place(k, n) == place(key, name)).count(), 1);
        }
        for wrong in [&b""[..], b"\0", b"\0\0", b"\0\0\x01"] {
            assert_eq!(read_place(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_all_that_begins_with_it() {
        for (prefix, end) in
            [(&b"a"[..], Some(&b"b"[..])), (b"a\xff", Some(b"b")), (b"\xff", None), (b"", None)]
        {
            assert_eq!(end_of(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}
