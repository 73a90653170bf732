//! The seeds, and what shows that they strike.

use super::bug::Bug;
use super::explore::{Verdict, explore, run};

/// What `cargo xtask sim` asks for.
fn asked(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str, default: u64) -> u64 {
    asked(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

fn bug() -> Option<Bug> {
    asked("SIM_BUG").map(|name| Bug::named(&name).unwrap_or_else(|| panic!("there is no bug {name}")))
}

#[test]
fn nothing_is_lost_or_doubled_whatever_crashes() {
    if let Some(seed) = asked("SIM_SEED") {
        let seed = seed.parse().unwrap_or_else(|_| panic!("SIM_SEED is no number: {seed}"));
        let verdict = run(seed, bug());
        println!("{}", verdict.shown(usize::MAX));
        assert!(verdict.broken.is_none(), "seed {seed} fails");
        return;
    }
    let seeds = number("SIM_SEEDS", 200);
    let (failed, tally) = explore(0..seeds, bug());
    println!("{seeds} seeds: {tally}");
    if let Some(first) = failed.first() {
        panic!("{} of {seeds} seeds fail; the first:\n{}", failed.len(), first.shown(50));
    }
    // Each thing that may strike has.
    let struck = tally.struck;
    for (what, count) in [
        ("kills", struck.kills),
        ("power cuts", struck.power_cuts),
        ("crashes within an operation of the disk", struck.within_operations),
        ("torn writes", struck.torn_writes),
        ("lost writes", struck.lost_writes),
        ("writes that overtook others", struck.out_of_order),
        ("lost names", struck.lost_names),
        ("syncs that were cut off", struck.lost_syncs),
        ("checkpoints", tally.checkpoints),
        ("stops", tally.stops),
        ("records that were read again", tally.read_again),
        ("repeats at sinks that cannot commit", tally.repeats),
        ("acknowledged records", tally.acked),
        ("requests that a full spool turned away", tally.turned_away),
        ("dead letters", tally.letters),
    ] {
        assert!(count > seeds / 10, "in {seeds} seeds there were {count} {what}: too few");
    }
}

#[test]
fn a_seed_gives_the_same_trace_each_time() {
    for seed in 0..20 {
        let (first, second) = (run(seed, None), run(seed, None));
        assert!(first.trace.0.len() > 10, "seed {seed} does next to nothing");
        let differs = first.trace.0.iter().zip(&second.trace.0).position(|(first, second)| first != second);
        if let Some(line) = differs {
            let (first, second) = (&first.trace.0[line], &second.trace.0[line]);
            panic!("seed {seed} differs in line {line}:\n{first}\n{second}");
        }
        assert_eq!(first.trace.0.len(), second.trace.0.len(), "seed {seed}");
    }
}

#[test]
fn a_failure_names_its_seed_and_how_to_repeat_it() {
    let (failed, _) = explore(0..200, Some(Bug::RejectCountedAsDelivered));
    let shown = failed.first().map(|verdict: &Verdict| verdict.shown(50)).expect("it is caught");
    let seed = failed[0].seed;
    assert!(
        shown.contains(&format!("cargo xtask sim --seed {seed} --bug RejectCountedAsDelivered")),
        "{shown}"
    );
    assert!(shown.contains("no loss") && shown.lines().count() <= 54, "{shown}");
}
