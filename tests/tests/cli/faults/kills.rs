//! SIGKILL at every named place and at random: in the end there is what an undisturbed run leaves.

use std::path::Path;
use std::time::{Duration, Instant};

use disk::fault::{OF_CONTROL, OF_REGISTRIES, POINTS};
use fastrand::Rng;

use super::flights::{MANIFEST, check, end, scene, start};
use crate::http::IN_THE_SPOOL;
use crate::scene::Scene;

/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Places that a process comes to only when one before it died in its work.
const AFTER_A_CRASH: [&str; 2] = ["leftovers-removed", "file-cut"];

#[derive(Default)]
struct Struck {
    kills: usize,
    /// Lines that the sink which does not commit has more than once.
    repeats: usize,
    /// Runs that went on from a checkpoint.
    went_on: usize,
}

/// Kills a run at a random moment of its work. Says whether it was quick enough.
fn kill_at_random(scene: &Scene, at: &Path, random: &mut Rng) -> bool {
    let mut child = start(scene, at, None);
    std::thread::sleep(Duration::from_millis(random.u64(20..400)));
    let is_running = child.try_wait().expect("a child").is_none();
    child.kill().expect("killed");
    let ran = end(child);
    is_running && ran.code.is_none()
}

/// Runs until the place is come to for the `nth` time. Says whether the process died there.
fn kill_at(scene: &Scene, at: &Path, place: &str, nth: u32) -> bool {
    let mut child = start(scene, at, Some(&format!("{place}@{nth}")));
    let begun = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("{place}@{nth}: neither dead nor done: {}", end(child).stderr);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let ran = end(child);
    assert!(matches!(ran.code, None | Some(0)), "{place}@{nth}: {}", ran.stderr);
    ran.code.is_none()
}

/// One pipeline that dies at this place, or at random, perhaps more than once, and is run to its end.
fn round(place: Option<(&str, u32)>, random: &mut Rng, struck: &mut Struck) -> bool {
    let scene = scene(MANIFEST, Path::new(""));
    let at = scene.path("");
    let mut what = Vec::new();
    // Some places are come to once, in the first life; others where there is something prepared that does not stand.
    if place.is_some_and(|(place, _)| AFTER_A_CRASH.contains(&place)) {
        assert!(kill_at(&scene, &at, "sinks-prepared", 3), "a run prepared less than three times");
        what.push("a kill at sinks-prepared@3".to_owned());
    }
    let dies_before = place.is_none_or(|(_, nth)| nth > 1) && what.is_empty() && random.bool();
    if dies_before && kill_at_random(&scene, &at, random) {
        what.push("a kill at random".to_owned());
    }
    if let Some((place, nth)) = place {
        if !kill_at(&scene, &at, place, nth) {
            return false;
        }
        what.push(format!("a kill at {place}@{nth}"));
    }
    struck.kills += what.len();
    let ran = end(start(&scene, &at, None)).code(0);
    struck.went_on += usize::from(ran.stderr.contains("goes on from checkpoint"));
    let what = what.join(", ");
    struck.repeats += check(&scene, &at, &what);
    true
}

#[test]
fn kills_at_named_places_and_at_random_lose_nothing_and_repeat_nothing() {
    let seed = 11;
    let (mut random, mut struck) = (Rng::with_seed(seed), Struck::default());
    // `http::` has those in the spool, and `registry::` its own.
    let elsewhere = [IN_THE_SPOOL.as_slice(), &OF_REGISTRIES, &OF_CONTROL];
    let is_here = |name: &&str| elsewhere.iter().all(|names| !names.contains(name));
    let points: Vec<&str> = POINTS.iter().map(|(name, _)| *name).filter(is_here).collect();
    let wanted = super::count(points.len() + 3, "KILLS");
    let begun = Instant::now();
    for at in 0.. {
        if struck.kills >= wanted && at >= points.len() {
            break;
        }
        let place = points.get(at % (points.len() + 2)).copied();
        let nth = random.u32(1..5);
        let done = round(place.map(|place| (place, nth)), &mut random, &mut struck)
            // The run ended before it came there so often.
            || (1..4).any(|_| round(place.map(|place| (place, 1)), &mut random, &mut struck));
        assert!(done, "no run ever came to {}", place.unwrap_or_default());
    }
    let Struck { kills, repeats, went_on } = struck;
    eprintln!("{kills} kills, {went_on} runs went on, {repeats} repeats, {:?}", begun.elapsed());
    assert!(kills >= wanted, "only {kills} kills struck");
    assert!(went_on > 0 && repeats > 0, "{went_on} runs went on, and {repeats} records were read again");
}
