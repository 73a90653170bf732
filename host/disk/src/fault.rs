//! Places at which a test has the process die, to show that a crash there loses nothing and repeats nothing.
//!
//! Each is where something has just become durable, has just been seen, or is about to. They lie on the way of a
//! checkpoint, of a start, of what a spool makes durable at once, of what is pushed to a registry, and of a command of the
//! control state, never on that of a batch. With `CONVEYOR_FAULT=NAME@N` the process gets SIGKILL from itself when it
//! comes to the place for the Nth time. With `NAME@N+MS` the thread that comes there waits for so many milliseconds, so
//! that all others get ahead of it. Otherwise nothing happens at these places.

use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// The variable that is looked at when the process starts.
pub const VARIABLE: &str = "CONVEYOR_FAULT";

macro_rules! points {
    ($($point:ident $name:literal,)*) => {
        /// A place, by what has just happened there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($point,)*
        }

        /// All of them, with their names.
        pub const POINTS: &[(&str, Point)] = &[$(($name, Point::$point),)*];
    };
}

points! {
    CheckpointBegun "checkpoint-begun",
    BarrierPassed "barrier-passed",
    SinksPrepared "sinks-prepared",
    LoopAnswered "loop-answered",
    CheckpointComplete "checkpoint-complete",
    CheckpointStored "checkpoint-stored",
    CheckpointAnnounced "checkpoint-announced",
    SinksCommitting "sinks-committing",
    SinksCommitted "sinks-committed",
    SourceReleasing "source-releasing",
    SourceReleased "source-released",
    LastAwaited "last-awaited",
    StateSettled "state-settled",
    LoopsEnded "loops-ended",
    LetterWritten "letter-written",
    LettersSynced "letters-synced",
    PartBegun "part-begun",
    PartSynced "part-synced",
    PartNamed "part-named",
    TargetReplaced "target-replaced",
    TargetAppended "target-appended",
    TargetSynced "target-synced",
    PartRemoved "part-removed",
    RowSettled "row-settled",
    FileNaming "file-naming",
    FileNamed "file-named",
    NamesSynced "names-synced",
    PlaceSynced "place-synced",
    LeftoversRemoved "leftovers-removed",
    FileCut "file-cut",
    SpoolWritten "spool-written",
    SpoolSynced "spool-synced",
    SpoolAnswered "spool-answered",
    SegmentBegun "segment-begun",
    SegmentRemoved "segment-removed",
    ContentSynced "content-synced",
    ContentNamed "content-named",
    ContentIndexed "content-indexed",
    ControlNamed "control-named",
    VoteSynced "vote-synced",
    EntriesSynced "entries-synced",
    EntryApplied "entry-applied",
    PieceSynced "piece-synced",
    SnapshotSynced "snapshot-synced",
    EntriesPurged "entries-purged",
    EntriesRemoved "entries-removed",
}

/// Those that a registry comes to, and no pipeline.
pub const OF_REGISTRIES: [&str; 3] = ["content-synced", "content-named", "content-indexed"];

/// Those that the control state comes to, and no pipeline.
pub const OF_CONTROL: [&str; 8] = [
    "control-named",
    "vote-synced",
    "entries-synced",
    "entry-applied",
    "piece-synced",
    "snapshot-synced",
    "entries-purged",
    "entries-removed",
];

/// Where to die, or to wait, and at which time.
#[derive(Debug)]
struct Fault {
    point: Point,
    left: AtomicU32,
    /// None where it dies.
    wait: Option<Duration>,
}

static FAULT: OnceLock<Fault> = OnceLock::new();

/// What is not the name of a place.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error(
    "{VARIABLE}={text} names no place to die or wait at; write NAME@N or NAME@N+MS, with a name of \
     disk::fault::POINTS and N from 1 on"
)]
pub struct UnknownPoint {
    text: String,
}

impl FromStr for Fault {
    type Err = UnknownPoint;

    fn from_str(text: &str) -> Result<Self, UnknownPoint> {
        let parsed = || {
            let (name, count) = text.split_once('@')?;
            let (_, point) = POINTS.iter().find(|(known, _)| *known == name)?;
            let (count, wait) = match count.split_once('+') {
                Some((count, ms)) => (count, Some(Duration::from_millis(ms.parse().ok()?))),
                None => (count, None),
            };
            let left = count.parse().ok().filter(|count| *count > 0)?;
            Some(Self { point: *point, left: AtomicU32::new(left), wait })
        };
        parsed().ok_or_else(|| UnknownPoint { text: text.to_owned() })
    }
}

/// Has this process die or wait as `text` says.
pub fn arm(text: &str) -> Result<(), UnknownPoint> {
    let fault = text.parse()?;
    // Whoever arms twice gets the first one.
    FAULT.get_or_init(|| fault);
    Ok(())
}

/// Says that this place has been reached.
#[inline]
pub fn hit(point: Point) {
    if let Some(fault) = FAULT.get()
        && fault.point == point
        && fault.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        match fault.wait {
            Some(wait) => std::thread::sleep(wait),
            None => die(),
        }
    }
}

#[cold]
fn die() -> ! {
    // As by a power cut: nothing is flushed, nobody is told.
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_with_the_time_at_which_to_die() {
        let fault: Fault = "sinks-committed@3".parse().expect("a place");
        assert_eq!((fault.point, fault.left.into_inner()), (Point::SinksCommitted, 3));
        assert_eq!(fault.wait, None);
        let fault: Fault = "last-awaited@1+300".parse().expect("a place");
        assert_eq!((fault.point, fault.wait), (Point::LastAwaited, Some(Duration::from_millis(300))));
        for text in [
            "",
            "sinks-committed",
            "sinks-committed@0",
            "sinks-committed@-1",
            "nowhere@1",
            "@1",
            "last-awaited@1+",
        ] {
            assert!(text.parse::<Fault>().is_err(), "`{text}` was taken");
        }
    }

    #[test]
    fn every_place_has_a_name_of_its_own() {
        for (at, (name, point)) in POINTS.iter().enumerate() {
            assert!(POINTS[..at].iter().all(|(other, _)| other != name), "{name} is there twice");
            let found: Fault = format!("{name}@1").parse().expect("a place");
            assert_eq!(found.point, *point);
        }
        let is_known = |name: &&str| POINTS.iter().any(|(known, _)| known == name);
        assert!(OF_REGISTRIES.iter().chain(&OF_CONTROL).all(is_known));
    }
}
