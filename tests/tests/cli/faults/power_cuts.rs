//! Power cuts: what is on the disk at one instant, and nothing that the system still had in memory, is gone on from.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::flights::{MANIFEST, check, end, scene, start};
use super::{Mount, count, run_tool};
use crate::scene::Scene;

const IMAGE_BYTES: u64 = 192 << 20;
/// Nothing gets to the disk by itself while a run lasts: only what was synced.
const LAZY: [&str; 3] = ["-o", "loop,commit=300,noauto_da_alloc", "--"];

fn mount(image: &Path, place: &Path) -> Option<Mount> {
    let image = image.display().to_string();
    Mount::at(place.to_owned(), &[LAZY[0], LAZY[1], &image])
}

/// Stops every thread of a process: when this comes back, no system call of it is under way.
fn freeze(child: &Child) {
    let pid = child.id();
    run_tool(Command::new("kill").args(["-STOP", &pid.to_string()])).expect("stopped");
    let begun = Instant::now();
    loop {
        let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let is_stopped = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['T', 't', 'Z', 'X']))
        };
        if tasks.all(is_stopped) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One run whose disk is copied in the middle. Gives how many records came again, or none if it was done before the
/// copy was made, or had not begun.
fn cut(random: &mut Rng) -> Option<Option<usize>> {
    let images = tempfile::tempdir().expect("a directory");
    let (image, copy) = (images.path().join("disk"), images.path().join("copy"));
    let file = std::fs::File::create(&image).expect("an image");
    file.set_len(IMAGE_BYTES).expect("its length");
    run_tool(Command::new("mkfs.ext4").arg("-q").arg(&image)).expect("a file system");
    let at = images.path().join("mnt");
    let mounted = mount(&image, &at)?;
    let scene: Scene = scene(MANIFEST, &at);
    let mut child = start(&scene, &at, None);
    let begun = Instant::now();
    let seen = || std::fs::metadata(mounted.path("out/one.csv")).map_or(0, |there| there.len());
    while seen() == 0 && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(random.u64(0..150)));
    freeze(&child);
    let is_running = child.try_wait().expect("a child").is_none();
    std::fs::copy(&image, &copy).expect("a copy");
    child.kill().expect("killed");
    end(child);
    drop(mounted);
    if !is_running {
        return Some(None);
    }
    let mounted = mount(&copy, &at)?;
    let ran = end(start(&scene, &at, None)).code(0);
    let went_on = ran.stderr.contains("goes on from checkpoint");
    let repeats = check(&scene, &at, "after a power cut");
    drop(mounted);
    Some(went_on.then_some(repeats))
}

#[test]
fn a_power_cut_loses_nothing_and_repeats_nothing() {
    let mut random = Rng::with_seed(5);
    let wanted = count(5, "POWER_CUTS");
    let (mut struck, mut repeats) = (0, 0);
    for _ in 0..wanted * 4 {
        match cut(&mut random) {
            None => return,
            Some(None) => continue,
            Some(Some(came_again)) => {
                struck += 1;
                repeats += came_again;
            }
        }
        if struck == wanted {
            break;
        }
    }
    eprintln!("{struck} power cuts, {repeats} repeats");
    assert_eq!(struck, wanted, "too few cuts came in the middle of a run");
}
