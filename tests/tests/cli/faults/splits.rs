//! A thousand splits with a checkpoint every 10 ms: where each of them goes on is never lost.

use super::flights::same;
use super::{KILLED_AT, killed};
use crate::scene::Scene;

const SPLITS: usize = 1_000;
const LINES: usize = 40;

const MANIFEST: &str = "\
pipeline: splits
checkpoint: { interval: 10ms }
stages:
  in: { source: file, with: { path: 'in/*.txt' }, batch: { records: 16 } }
  one: { sink: file, from: in, with: { path: one.txt } }
  place: { sink: file, from: in, with: { path: place.txt, delivery: at-least-once } }
";

#[test]
fn a_thousand_splits_are_read_once_whenever_the_process_is_killed() {
    let scene = Scene::with(MANIFEST);
    let mut expected = Vec::new();
    for split in 0..SPLITS {
        let lines: Vec<String> = (0..LINES).map(|n| format!("{split:03} {n}")).collect();
        scene.write(&format!("in/{split:03}.txt"), lines.join("\n") + "\n");
        expected.extend(lines);
    }
    expected.sort_unstable();
    let kills = killed(&scene, "splits", &KILLED_AT);
    let lines = |name: &str| -> Vec<String> { scene.read(name).lines().map(str::to_owned).collect() };
    same(lines("one.txt"), &expected, &format!("one.txt after {kills}"));
    let mut place = lines("place.txt");
    place.sort_unstable();
    place.dedup();
    same(place, &expected, &format!("place.txt, without repeats, after {kills}"));
    let looked = scene.run(&["checkpoint", "inspect", "state", "--output", "json"]).code(0).json();
    assert_eq!(looked[0]["is_committed"], true);
}
