//! Files that may be copies of others that are followed: `copytruncate` makes them, and until the original is cut off
//! nobody can say where what comes next is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use model::limits::{FINGERPRINT_BYTES, READ_BYTES};

use super::followed::Followed;
use crate::place::{At, Id};

/// What is known of files that begin like one that is followed.
#[derive(Default)]
pub(super) struct Copies(BTreeMap<Id, Copy>);

struct Copy {
    /// Of the original.
    lane: u64,
    bytes: u64,
    /// How many of its bytes were found to be the same.
    same: u64,
    /// Since when it has had this length.
    since: Instant,
}

/// What a file is that nobody has read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    New,
    /// All of it was read in its original.
    Copy,
    /// So far it is a copy, and what is behind that may still be read in the original.
    Wait,
}

impl Copies {
    /// Looks at a file of this length that nobody has read, and that was not found to be a copy. `original`: one that is
    /// followed and begins like it, open.
    pub(super) fn judge(
        &mut self,
        id: Id,
        candidate: &File,
        bytes: u64,
        original: Option<(&Followed, &File)>,
        wait: Duration,
        now: Instant,
    ) -> std::io::Result<Verdict> {
        let known = self.0.get(&id).filter(|copy| copy.bytes <= bytes);
        let Some((followed, file)) =
            original.filter(|(followed, _)| known.is_none_or(|copy| copy.lane == followed.lane))
        else {
            // The original is over, and this is not all in it.
            self.0.remove(&id);
            return Ok(Verdict::New);
        };
        let (before, since) = match known {
            Some(copy) if copy.bytes == bytes => (copy.same, copy.since),
            Some(copy) => (copy.same, now),
            None => (0, now),
        };
        let end = bytes.min(followed.read);
        let same = before + alike(file, candidate, before, end)?;
        if same < end || same < bytes && now.duration_since(since) >= wait {
            self.0.remove(&id);
            return Ok(Verdict::New);
        }
        self.0.insert(id, Copy { lane: followed.lane, bytes, same, since });
        Ok(if same == bytes { Verdict::Copy } else { Verdict::Wait })
    }

    /// Whether a file of this length was found to be a copy, all of it.
    pub(super) fn has(&self, id: Id, bytes: u64) -> bool {
        self.0.get(&id).is_some_and(|copy| copy.bytes == bytes && copy.same == bytes)
    }

    /// Forgets files that are not there any more.
    pub(super) fn retain(&mut self, is_there: impl Fn(Id) -> bool) {
        self.0.retain(|id, _| is_there(*id));
    }
}

/// Whether a file may be a copy of this one, by its beginning. A file that is no longer than its fingerprint is read,
/// rather than taken for a copy of one that begins alike.
pub(super) fn begins_like(followed: &Followed, candidate: &File, bytes: u64) -> std::io::Result<bool> {
    match followed.mark {
        Some(mark) if mark.is_full() && bytes > FINGERPRINT_BYTES => mark.is_head_of(candidate),
        _ => Ok(false),
    }
}

/// How many bytes from `from` on are the same, up to `end`.
fn alike(one: &File, other: &File, from: u64, end: u64) -> std::io::Result<u64> {
    if from >= end {
        return Ok(0);
    }
    let (mut one, mut other) = (At { file: one, at: from }, At { file: other, at: from });
    let (mut left, mut right) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
    let mut at = from;
    while at < end {
        let some = left.len().min((end - at) as usize);
        let read = one.read_exact(&mut left[..some]).and_then(|()| other.read_exact(&mut right[..some]));
        match read {
            // One of them was cut off meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        if left[..some] != right[..some] {
            break;
        }
        at += some as u64;
    }
    Ok(at - from)
}
