//! Seeds: each is a pipeline with its data, its lives and what strikes them, and is the same each time.

use std::fmt::Write as _;

use super::bug::Bug;
use super::disk::Crash;
use super::invariants::{Outcome, Seen};
use super::letters;
use super::life::{Fate, Life};
use super::store::SimStore;
use super::world::{Broken, Stop, Tally, Trace, World};

/// Crashes and stops of one seed.
const INTERRUPTIONS_MAX: u32 = 7;

/// What came of a seed.
#[derive(Debug)]
pub struct Verdict {
    pub seed: u64,
    pub bug: Option<Bug>,
    pub trace: Trace,
    pub tally: Tally,
    pub broken: Option<Broken>,
}

impl Verdict {
    /// For whoever has to find out why.
    pub fn shown(&self, lines: usize) -> String {
        let mut text = String::new();
        let all = &self.trace.0;
        for line in all.iter().take(1).chain(&all[all.len().saturating_sub(lines).max(1)..]) {
            let _ = writeln!(text, "{line}");
        }
        let bug = self.bug.map(|bug| format!(" --bug {bug:?}")).unwrap_or_default();
        let _ = match &self.broken {
            Some(Broken { invariant, why }) => writeln!(text, "seed {}: {invariant}: {why}", self.seed),
            None => writeln!(text, "seed {}: all invariants hold", self.seed),
        };
        let _ = writeln!(text, "again, with all of the trace: cargo xtask sim --seed {}{bug}", self.seed);
        text
    }
}

/// Runs a seed to its end, or to the first thing that is wrong.
pub fn run(seed: u64, bug: Option<Bug>) -> Verdict {
    let mut world = World::of_seed(seed, bug);
    let broken = lives(&mut world).err();
    world.tally.struck = world.disk().struck();
    Verdict { seed, bug, trace: world.trace, tally: world.tally, broken }
}

fn lives(world: &mut World) -> Result<(), Broken> {
    let interruptions = world.random.u32(1..=INTERRUPTIONS_MAX);
    for number in 0.. {
        let fate = if number < interruptions { fate(world) } else { Fate::Lives };
        world.tally.lives += 1;
        world.note(0, format_args!("life {number}: {fate:?}"));
        match Life::open(world).and_then(|mut life| life.live(fate)) {
            Err(Stop::Broken(broken)) => return Err(broken),
            Ok(()) if fate == Fate::Lives => break,
            // A disk may strike in what a life does at its very end, too.
            Ok(()) if !world.disk().is_down() => world.disk().set_fuse(None),
            Ok(()) | Err(Stop::Crashed) => {
                let crash = if world.random.u8(0..3) == 0 { Crash::Kill } else { Crash::PowerCut };
                world.note(0, format_args!("crashes: {crash:?}"));
                world.disk().restart(crash);
            }
        }
    }
    let kept = letters::kept(world.disk());
    let letters = match world.done(kept) {
        Err(Stop::Broken(broken)) => return Err(broken),
        kept => kept.unwrap_or_default(),
    };
    world.tally.letters = letters.len() as u64;
    let expected = world.graph().expected(world.taken.iter().copied());
    let state = SimStore::last_committed(world.disk()).state;
    let outcome = Outcome { expected, letters, state };
    match world.see(&Seen::Over(&outcome)) {
        Err(Stop::Broken(broken)) => Err(broken),
        _ => Ok(()),
    }
}

/// What becomes of the next life.
fn fate(world: &mut World) -> Fate {
    let random = &mut world.random;
    // Some die while they are being opened, and some when nearly all is done.
    let scale = [20, 100, 400, 1500][random.usize(0..4)];
    match random.u8(0..10) {
        0 => Fate::StopsAfterEvents(random.u64(0..scale)),
        1..=4 => Fate::DiesAfterEvents(random.u64(0..scale)),
        _ => {
            let operations = random.u64(0..scale / 2);
            world.disk().set_fuse(Some(operations));
            Fate::DiesInDisk
        }
    }
}

/// Runs these seeds on all cores, and gives what came of those that failed, by seed, and how often what struck.
pub fn explore(seeds: std::ops::Range<u64>, bug: Option<Bug>) -> (Vec<Verdict>, Tally) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let explored = std::thread::scope(|scope| {
        let seeds = &seeds;
        let some = |first: u64| {
            move || {
                let (mut failed, mut tally) = (Vec::new(), Tally::default());
                for seed in seeds.clone().skip(first as usize).step_by(threads as usize) {
                    let verdict = run(seed, bug);
                    tally.add(&verdict.tally);
                    if verdict.broken.is_some() {
                        failed.push(verdict);
                    }
                }
                (failed, tally)
            }
        };
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(some(first))).collect();
        let joined = running.into_iter().map(|thread| thread.join().expect("the simulation does not panic"));
        joined.collect::<Vec<_>>()
    });
    let (mut failed, mut tally) = (Vec::new(), Tally::default());
    for (some, tallied) in explored {
        failed.extend(some);
        tally.add(&tallied);
    }
    failed.sort_by_key(|verdict| verdict.seed);
    (failed, tally)
}
