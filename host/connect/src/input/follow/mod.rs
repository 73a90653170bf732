//! Files that grow: new lines, new files, files that are rotated away or cut off.
//!
//! A file is polled rather than watched: it works on every file system, and costs one `stat` each round. A file is what
//! its inode and its bytes say, not its name: one that has another name now is read on under its old split. What was
//! moved away is read until it stays quiet. A file that begins anew under an old name is a split of its own, named with
//! a number behind `#`, so that no two records have the same id.
//!
//! Before anything is read on, the file's first bytes and the last ones that were read are looked at again. Where they
//! have changed, the file was cut off or written anew, and a copy of what was read is looked for beside it
//! (`copytruncate`), in which the rest is. A run that goes on from a checkpoint looks for its files in the same way.

mod copies;
mod ended;
mod followed;
mod reach;
mod search;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flow::connector::ConnectError;
use model::limits::{ENDED_SPLITS_MAX, FOLLOWED_FILES_MAX, ROTATED_FILES_MAX};

use super::compression::{MAGIC_BYTES, packed_as};
use super::{Feeder, FilePlaces, Found, Gone, InputFile, Origin, Piece, Stop, failed, find};
use crate::place::{At, Generation, Id, Place};
use copies::{Copies, Verdict, begins_like};
use ended::Ended;
use followed::{Followed, Step};
pub(crate) use reach::Reach;
use search::Again;

/// What to follow.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) base: PathBuf,
    pub(crate) reach: Reach,
    pub(crate) paths: Vec<String>,
    pub(crate) poll: Duration,
    /// How long a file that was moved away has to be quiet before it is over.
    pub(crate) rotate_wait: Duration,
    /// Whether files are read as they are, whatever they begin with.
    pub(crate) raw: bool,
    /// Where its splits go on.
    pub(crate) from: FilePlaces,
}

/// A name that is there, and what it leads to.
struct Named {
    file: InputFile,
    metadata: Metadata,
    id: Id,
}

/// All that is followed.
#[derive(Default)]
struct Followings {
    /// By lane, and so in the order in which they began.
    all: BTreeMap<u64, Followed>,
    /// Lanes of those that are open, the longest first.
    open: VecDeque<u64>,
    /// The next generation of each file.
    generations: BTreeMap<Arc<str>, u64>,
    /// What was read to its end in an earlier run and may still be there, the oldest first.
    over: VecDeque<Place>,
    ended: Ended,
    copies: Copies,
    /// Files that are packed, of which that was said.
    packed: BTreeSet<Id>,
    lanes: u64,
}

impl Follow {
    pub(super) fn run(self, feeder: &Feeder) -> Result<(), Stop> {
        let mut all = Followings::default();
        self.resume(&mut all, feeder)?;
        loop {
            let names = self.names()?;
            let mut any = all.read_on(&self, &names, feeder)?;
            any |= all.begin_new(&self, &names, feeder)?;
            all.leave_ended(&names, feeder)?;
            if !any {
                self.wait(feeder)?;
            }
        }
    }

    /// What is there now, each file once, whatever its names.
    fn names(&self) -> Result<Vec<Named>, Stop> {
        let Found { files, .. } = find(&self.base, &self.reach.roots, &self.paths, true)?;
        let mut names = Vec::with_capacity(files.len());
        let mut seen = BTreeSet::new();
        for file in files {
            let there = look_at(&file.path).map_err(|error| failed(&file.name, &error))?;
            // It was moved away since, or was never there.
            let Some(metadata) = there else { continue };
            let id = Id::of(&metadata);
            if seen.insert(id) {
                names.push(Named { file, metadata, id });
            }
        }
        Ok(names)
    }

    /// Opens again what was being read.
    fn resume(&self, all: &mut Followings, feeder: &Feeder) -> Result<(), Stop> {
        all.ended = Ended::of(&self.from);
        for (split, place) in &self.from {
            // A file that was read once before is the first of its name.
            let first = || Generation { name: split.to_string(), ..Generation::default() };
            let generation = place.followed.clone().unwrap_or_else(first);
            let name: Arc<str> = generation.name.as_str().into();
            let next = all.generations.entry(name.clone()).or_default();
            *next = (*next).max(generation.number + 1);
            let place = Place { followed: Some(generation), ..place.clone() };
            if place.ended {
                all.keep(place);
                continue;
            }
            let path = self.base.join(&*name);
            let again = search::again(&path, &place, &self.reach).map_err(|error| failed(&name, &error))?;
            match again {
                Some(again) => all.go_on(split, place, again, feeder)?,
                None => {
                    all.ended.push(split.clone(), Some(place.file.id()));
                    self.end(all.next_lane(), split, &path, place, feeder)?;
                }
            }
        }
        Ok(())
    }

    /// Ends a split whose file is not there any more. The rest of it may be there, packed.
    fn end(
        &self,
        lane: u64,
        split: &Arc<str>,
        path: &Path,
        place: Place,
        feeder: &Feeder,
    ) -> Result<(), Stop> {
        let told = |error: std::io::Error| Stop::from(failed(split, &error));
        let beside = place.followed.as_ref().and_then(|followed| followed.beside.as_deref());
        let directories = search::directories(path, beside).map_err(told)?;
        let packed = search::packed(&directories, path, &place, &self.reach).map_err(told)?;
        if packed.is_none() {
            let (file, position) = (&**split, place.position);
            tracing::warn!(
                file,
                position,
                "what was being read is gone: neither the file of that name nor any beside it has its inode and its \
                 bytes. What was written to it behind this position is lost"
            );
        }
        let (header, rest) = packed.map_or((Vec::new(), None), |packed| (packed.header, Some(packed.rest)));
        let origin = Some(Box::new(Origin { place, header, digest: None }));
        feeder.send(Piece::Open { lane, split: split.clone(), origin })?;
        if let Some(rest) = rest {
            feed(lane, split, rest, feeder)?;
        }
        Ok(feeder.send(Piece::End { lane })?)
    }

    /// In steps, so that a long pause does not hold up the end.
    fn wait(&self, feeder: &Feeder) -> Result<(), Gone> {
        const STEP: Duration = Duration::from_millis(50);
        let mut left = self.poll;
        while !left.is_zero() {
            if feeder.is_gone() {
                return Err(Gone);
            }
            let step = left.min(STEP);
            thread::sleep(step);
            left -= step;
        }
        if feeder.is_gone() { Err(Gone) } else { Ok(()) }
    }
}

impl Followings {
    fn next_lane(&mut self) -> u64 {
        self.lanes += 1;
        self.lanes
    }

    /// Keeps in mind what is over: its file may still be there, under a name that is looked at.
    fn keep(&mut self, place: Place) {
        // The first bytes tell files apart, or nothing does.
        if !place.file.is_full() || place.trail.is_none() {
            return;
        }
        if self.over.len() == ROTATED_FILES_MAX {
            self.over.pop_front();
        }
        self.over.push_back(place);
    }

    /// Says which splits are not to be known any more.
    fn leave_ended(&mut self, names: &[Named], feeder: &Feeder) -> Result<(), Gone> {
        let followed: BTreeSet<Id> = self.all.values().map(|followed| followed.id).collect();
        let there = names.iter().map(|named| named.id).filter(|id| !followed.contains(id));
        for split in self.ended.leave(there, ENDED_SPLITS_MAX) {
            feeder.send(Piece::Forget { split })?;
        }
        Ok(())
    }

    /// Goes on where a split was, in the file that was found.
    fn go_on(&mut self, split: &Arc<str>, place: Place, again: Again, feeder: &Feeder) -> Result<(), Stop> {
        self.ended.remove(split);
        let lane = self.next_lane();
        let place = Place { file: again.mark, ended: false, ..place };
        let generation = place.followed.clone().unwrap_or_default();
        let mut header = vec![0; place.header.min(place.position) as usize];
        let read = At { file: &again.file, at: 0 }.read_exact(&mut header);
        read.map_err(|error| failed(&generation.name, &error))?;
        let followed = Followed::go_on(lane, generation, &place, again);
        let digest = Some(followed.digest.clone());
        let origin = Some(Box::new(Origin { place, header, digest }));
        feeder.send(Piece::Open { lane, split: split.clone(), origin })?;
        self.opens(lane);
        self.all.insert(lane, followed);
        Ok(())
    }

    /// One more is open. Too many are not: those that have been open for longest are closed, as far as they have a name
    /// by which they are found again, and those that have none are over sooner.
    fn opens(&mut self, lane: u64) {
        self.open.push_back(lane);
        for _ in 1..self.open.len() {
            if self.open.len() <= FOLLOWED_FILES_MAX {
                break;
            }
            let Some(first) = self.open.pop_front() else { break };
            match self.all.get_mut(&first) {
                Some(followed) if followed.mark.is_some() && followed.quiet.is_none() => {
                    followed.opened = None
                }
                Some(followed) => {
                    followed.is_rushed = true;
                    self.open.push_back(first);
                }
                // It is being looked at.
                None => self.open.push_back(first),
            }
        }
    }

    /// Whether there was anything new in what is followed.
    fn read_on(&mut self, rules: &Follow, names: &[Named], feeder: &Feeder) -> Result<bool, Stop> {
        let by_id: BTreeMap<Id, &Named> = names.iter().map(|named| (named.id, named)).collect();
        let lanes: Vec<u64> = self.all.keys().copied().collect();
        let mut any = false;
        for lane in lanes {
            let Some(mut followed) = self.all.remove(&lane) else { continue };
            let named = by_id.get(&followed.id).copied();
            let step = self.visit(&mut followed, named, rules, feeder)?;
            any |= step != Step::Nothing;
            let is_over = step == Step::Cut
                || named.is_none()
                    && followed
                        .is_over(&rules.base, step, rules.rotate_wait)
                        .map_err(|error| failed(&followed.generation.name, &error))?;
            if is_over {
                self.open.retain(|open| *open != lane);
                feeder.send(Piece::End { lane })?;
                let split = split_name(Some(&followed.generation));
                self.ended.push(split, followed.mark.map(|mark| mark.id()));
                any = true;
            } else {
                self.all.insert(lane, followed);
            }
        }
        Ok(any)
    }

    /// Reads one file on. `named`: the name under which it is to be seen, if it has one.
    fn visit(
        &mut self,
        followed: &mut Followed,
        named: Option<&Named>,
        rules: &Follow,
        feeder: &Feeder,
    ) -> Result<Step, Stop> {
        let name = followed.generation.name.clone();
        let told = |error: std::io::Error| Stop::from(failed(&name, &error));
        let look = match (named, &followed.opened) {
            (Some(named), _) => {
                followed.path.clone_from(&named.file.path);
                (followed.quiet, followed.is_rushed) = (None, false);
                Some(named.metadata.clone())
            }
            (None, Some(file)) => Some(file.metadata().map_err(told)?),
            (None, None) => {
                look_at(&followed.path).map_err(told)?.filter(|there| Id::of(there) == followed.id)
            }
        };
        if look.is_some_and(|look| followed.is_unchanged(&look)) {
            return Ok(Step::Nothing);
        }
        if followed.opened.is_none() && !self.open_again(followed, rules).map_err(told)? {
            let (file, position) = (&*followed.generation.name, followed.read);
            tracing::warn!(
                file,
                position,
                "the file was removed while it was closed: if anything was written behind this position, it is lost"
            );
            return Ok(Step::Cut);
        }
        let step = followed.read_on(feeder)?;
        if step != Step::Cut {
            return Ok(step);
        }
        let copy = followed.copy(&rules.reach).map_err(told)?;
        if let (None, Some(place)) = (&copy, followed.place()) {
            let directories = followed.directories().map_err(told)?;
            if let Some(packed) =
                search::packed(&directories, &followed.path, &place, &rules.reach).map_err(told)?
            {
                feed(followed.lane, &name, packed.rest, feeder)?;
                return Ok(Step::Cut);
            }
        }
        let Some(copy) = copy else {
            let (file, position) = (&*followed.generation.name, followed.read);
            tracing::warn!(
                file,
                position,
                "the file was cut off or written anew, and nothing beside it is a copy of what was read of it: if \
                 anything was written behind this position before, it is lost"
            );
            return Ok(Step::Cut);
        };
        followed.move_to(copy, feeder)?;
        match followed.read_on(feeder)? {
            Step::Nothing => Ok(Step::Grew),
            step => Ok(step),
        }
    }

    /// Opens a file that was closed, wherever it lies now.
    fn open_again(&mut self, followed: &mut Followed, rules: &Follow) -> std::io::Result<bool> {
        let opened = search::open(&followed.path)?;
        let same = |file: &File| Ok::<_, std::io::Error>(Id::of(&file.metadata()?) == followed.id);
        let opened = match opened {
            Some(file) if same(&file)? => Some((followed.path.clone(), file)),
            _ => search::by_id(&followed.directories()?, followed.id, &rules.reach)?,
        };
        let Some((path, file)) = opened else { return Ok(false) };
        (followed.path, followed.opened) = (path, Some(file));
        self.opens(followed.lane);
        Ok(true)
    }

    /// Whether there was anything that nobody has read yet.
    fn begin_new(&mut self, rules: &Follow, names: &[Named], feeder: &Feeder) -> Result<bool, Stop> {
        let known: BTreeSet<Id> = self.all.values().map(|followed| followed.id).collect();
        let there: BTreeSet<Id> = names.iter().map(|named| named.id).collect();
        self.copies.retain(|id| there.contains(&id));
        self.packed.retain(|id| there.contains(id));
        let mut any = false;
        for named in names.iter().filter(|named| !known.contains(&named.id)) {
            // An empty file is nothing yet.
            let is_new = !named.metadata.is_file() || named.metadata.len() > 0;
            if !is_new || self.packed.contains(&named.id) || self.copies.has(named.id, named.metadata.len()) {
                continue;
            }
            any |= self.consider(named, rules, feeder)?;
        }
        Ok(any)
    }

    /// Begins a file that is not followed, unless it is packed, or a copy of one that is.
    fn consider(&mut self, named: &Named, rules: &Follow, feeder: &Feeder) -> Result<bool, Stop> {
        let Named { file: InputFile { path, name }, .. } = named;
        let told = |error: std::io::Error| Stop::from(failed(name, &error));
        let Some(opened) = search::open(path).map_err(told)? else { return Ok(false) };
        let metadata = opened.metadata().map_err(told)?;
        if Id::of(&metadata) != named.id {
            // The next look sees what has the name now.
            return Ok(true);
        }
        if !metadata.is_file() {
            self.begin(named, opened, &metadata, feeder)?;
            return Ok(true);
        }
        let mut head = Vec::new();
        At { file: &opened, at: 0 }.take(MAGIC_BYTES as u64).read_to_end(&mut head).map_err(told)?;
        if !rules.raw
            && let Some(packing) = packed_as(&head, name)
        {
            tracing::warn!(
                file = &**name,
                packing,
                "the file is packed and is not followed; to read it, name it in a source without `follow`"
            );
            self.packed.insert(named.id);
            return Ok(false);
        }
        if let Some(place) = self.was_over(&opened).map_err(told)? {
            let split = split_name(place.followed.as_ref());
            let again = search::again(path, &place, &rules.reach).map_err(told)?;
            if let Some(again) = again {
                self.go_on(&split, place, again, feeder)?;
                return Ok(true);
            }
        }
        match self.judge(&opened, named.id, metadata.len(), rules).map_err(told)? {
            Verdict::Copy | Verdict::Wait => Ok(false),
            Verdict::New => {
                self.begin(named, opened, &metadata, feeder)?;
                Ok(true)
            }
        }
    }

    /// The place of a split that ended in this very file, and is not needed as that of one that is over any more.
    fn was_over(&mut self, file: &File) -> std::io::Result<Option<Place>> {
        for index in 0..self.over.len() {
            let place = &self.over[index];
            if place.file.check(file, place.position)?.is_ok() {
                return Ok(self.over.remove(index));
            }
        }
        Ok(None)
    }

    fn judge(&mut self, candidate: &File, id: Id, bytes: u64, rules: &Follow) -> std::io::Result<Verdict> {
        let mut like = None;
        for (lane, followed) in &self.all {
            if begins_like(followed, candidate, bytes)? {
                like = Some(*lane);
                break;
            }
        }
        let mut original = like.and_then(|lane| self.all.remove(&lane));
        if let Some(followed) = &mut original
            && followed.opened.is_none()
        {
            self.open_again(followed, rules)?;
        }
        let pair = original.as_ref().and_then(|followed| Some((followed, followed.opened.as_ref()?)));
        let verdict = self.copies.judge(id, candidate, bytes, pair, rules.rotate_wait, Instant::now());
        self.all.extend(original.map(|followed| (followed.lane, followed)));
        verdict
    }

    /// Begins the next generation of a name.
    fn begin(&mut self, named: &Named, file: File, metadata: &Metadata, feeder: &Feeder) -> Result<(), Stop> {
        let Named { file: InputFile { path, name }, .. } = named;
        let pipes = self.all.values().filter(|followed| followed.mark.is_none()).count();
        if !metadata.is_file() && pipes >= FOLLOWED_FILES_MAX {
            let why = format!("more than {FOLLOWED_FILES_MAX} pipes are followed");
            return Err(ConnectError::failed(&**name, why, "narrow the pattern").into());
        }
        let beside = search::beside(path).map_err(|error| failed(name, &error))?;
        let target = search::target(path).map_err(|error| failed(name, &error))?;
        let next = self.generations.entry(name.clone()).or_default();
        let generation = Generation { name: name.to_string(), number: *next, beside, target };
        *next += 1;
        let (lane, split) = (self.next_lane(), split_name(Some(&generation)));
        let followed = Followed::begin(lane, generation, path.clone(), file, metadata);
        let digest = Some(followed.digest.clone());
        let origin = followed.place().map(|place| Box::new(Origin { place, header: Vec::new(), digest }));
        feeder.send(Piece::Open { lane, split, origin })?;
        self.opens(lane);
        self.all.insert(lane, followed);
        Ok(())
    }
}

impl Followed {
    /// Whether nothing more is to come: something else has its name now, or it was removed, and it has been quiet.
    fn is_over(&mut self, base: &Path, step: Step, wait: Duration) -> std::io::Result<bool> {
        let is_removed = match &self.opened {
            Some(file) => file.metadata()?.nlink() == 0,
            None => false,
        };
        // Moved away and not there again yet, it may still be written to.
        let other = look_at(&base.join(&self.generation.name))?.filter(|there| Id::of(there) != self.id);
        if !is_removed && other.is_none() {
            self.quiet = None;
            return Ok(false);
        }
        let now = Instant::now();
        let since = self.quiet.filter(|_| step == Step::Nothing).unwrap_or(now);
        self.quiet = Some(since);
        Ok(now.duration_since(since) >= wait || self.is_rushed && step == Step::Nothing)
    }

    /// Where the rest of it may be.
    fn directories(&self) -> std::io::Result<Vec<PathBuf>> {
        search::directories(&self.path, self.generation.beside.as_deref())
    }

    /// A copy of all that was read, that was made before it was cut off.
    fn copy(&self, reach: &Reach) -> std::io::Result<Option<Again>> {
        let Some(mark) = &self.mark else { return Ok(None) };
        search::copy(&self.directories()?, &self.path, &self.generation, mark, &self.digest.trail(), reach)
    }

    /// As far as the reading thread knows it.
    fn place(&self) -> Option<Place> {
        let trail = Some(self.digest.trail()).filter(|trail| trail.bytes > 0);
        let (position, followed) = (self.read, Some(self.generation.clone()));
        self.mark.map(|file| Place { position, file, followed, trail, ..Place::default() })
    }
}

/// Gives all that is left to a lane.
fn feed(lane: u64, name: &str, mut rest: Box<dyn Read + Send>, feeder: &Feeder) -> Result<(), Stop> {
    while let Some(chunk) = feeder.fill(&mut *rest, name)? {
        feeder.send(Piece::Data { lane, chunk })?;
    }
    Ok(())
}

/// None where nothing has that name.
fn look_at(path: &Path) -> std::io::Result<Option<Metadata>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        metadata => metadata.map(Some),
    }
}

fn split_name(generation: Option<&Generation>) -> Arc<str> {
    match generation {
        Some(Generation { name, number: 0, .. }) => name.as_str().into(),
        Some(Generation { name, number, .. }) => format!("{name}#{number}").into(),
        None => "".into(),
    }
}
