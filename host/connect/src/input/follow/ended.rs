//! Splits that were read to their end, as far as a checkpoint has to know them: a file that is still there under a name
//! that is looked at would be read once more by whoever does not.
//!
//! Where files are rotated there is one more of them each time. Those whose file has no such name any more leave the
//! checkpoint, the oldest first; the last ones stay, because a file may be out of sight for a moment, as when others are
//! renamed around it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::input::FilePlaces;
use crate::place::{Id, Place};

#[derive(Debug, PartialEq, Eq)]
struct Split {
    name: Arc<str>,
    id: Option<Id>,
}

/// The oldest first.
#[derive(Debug, Default)]
pub(super) struct Ended {
    splits: VecDeque<Split>,
    /// Whether one has come that nobody has looked at yet.
    has_new: bool,
}

impl Ended {
    /// Those of an earlier run. A file that is out of sight only because its disk is not there yet is not to be read again:
    /// nothing leaves before another split ends.
    pub(super) fn of(places: &FilePlaces) -> Self {
        let age = |place: &Place| place.followed.as_ref().map_or(0, |generation| generation.number);
        let mut ended: Vec<(&Arc<str>, &Place)> = places.iter().filter(|(_, place)| place.ended).collect();
        // Nothing says when a split has ended; names that have a date in them are in order.
        ended.sort_by_key(|(name, place)| (age(place), *name));
        let split =
            |(name, place): (&Arc<str>, &Place)| Split { name: name.clone(), id: Some(place.file.id()) };
        Self { splits: ended.into_iter().map(split).collect(), has_new: false }
    }

    /// One has ended. `id`: of its file; none of what is no file.
    pub(super) fn push(&mut self, name: Arc<str>, id: Option<Id>) {
        self.splits.push_back(Split { name, id });
        self.has_new = true;
    }

    /// One goes on.
    pub(super) fn remove(&mut self, name: &str) {
        self.splits.retain(|split| &*split.name != name);
    }

    /// Those that leave, where more than `most` are gone. `there`: the files that have a name now and are not followed.
    pub(super) fn leave(&mut self, there: impl IntoIterator<Item = Id>, most: usize) -> Vec<Arc<str>> {
        if !std::mem::take(&mut self.has_new) || self.splits.len() <= most {
            return Vec::new();
        }
        let mut files: BTreeMap<u64, Vec<Id>> = BTreeMap::new();
        for id in there {
            files.entry(id.inode()).or_default().push(id);
        }
        // Of splits of one file, as of one that was cut off or of an inode that was given to the next, the last one is it.
        let mut is_there = |split: &Split| {
            let (id, files) = split.id.and_then(|id| Some((id, files.get_mut(&id.inode())?)))?;
            files.iter().position(|file| file.may_be(&id)).map(|at| files.remove(at))
        };
        let mut gone: VecDeque<bool> = VecDeque::with_capacity(self.splits.len());
        for split in self.splits.iter().rev() {
            gone.push_front(is_there(split).is_none());
        }
        let mut too_many = gone.iter().filter(|gone| **gone).count().saturating_sub(most);
        let (mut stay, mut leave) = (VecDeque::new(), Vec::new());
        for (split, is_gone) in self.splits.drain(..).zip(gone) {
            if is_gone && too_many > 0 {
                too_many -= 1;
                leave.push(split.name);
            } else {
                stay.push_back(split);
            }
        }
        self.splits = stay;
        leave
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_are_gone_leave_and_what_is_there_stays() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let there = Id::of(&file.as_file().metadata().expect("a file"));
        let mut ended = Ended::default();
        for number in 0..6 {
            ended.push(format!("a#{number}").into(), (number <= 1).then_some(there));
        }
        ended.remove("a#2");
        let names = |names: &[&str]| -> Vec<Arc<str>> { names.iter().map(|name| (*name).into()).collect() };
        assert_eq!(ended.leave([there], 2), names(&["a#0", "a#3"]), "the file is that of the later one");
        assert_eq!(ended.leave([there], 0), names(&[]), "nothing has ended since");
        ended.push("a#6".into(), None);
        assert_eq!(ended.leave([], 2), names(&["a#1", "a#4"]));
    }

    #[test]
    fn those_of_an_earlier_run_go_by_their_numbers() {
        let place = |number, ended| Place {
            ended,
            followed: Some(crate::place::Generation { number, ..Default::default() }),
            ..Place::default()
        };
        let places = [(10, true), (9, true), (11, false), (2, true)]
            .map(|(number, ended)| (format!("a#{number}").into(), place(number, ended)));
        let mut ended = Ended::of(&places.into());
        assert_eq!(ended.leave([], 0), [] as [Arc<str>; 0], "its disk may not be there yet");
        ended.push("a#11".into(), None);
        assert_eq!(ended.leave([], 2), ["a#2".into(), "a#9".into()] as [Arc<str>; 2]);
    }
}
