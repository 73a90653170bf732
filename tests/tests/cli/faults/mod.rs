//! What dies, and goes on: SIGKILL, power cuts, full disks and slow readers, each against the binary and with real
//! flights. `CONVEYOR_FAULTS` says how many of each there are; `cargo xtask faults` sets it.

mod clock;
mod cut_branch;
mod failing_server;
mod flights;
mod full_disk;
mod kills;
mod packed;
mod power_cuts;
mod slow_sink;
mod splits;

use fastrand::Rng;

use crate::scene::{Ran, Scene};

/// Places on the way of every checkpoint and commit.
const KILLED_AT: [&str; 8] = [
    "checkpoint-begun",
    "barrier-passed",
    "sinks-prepared",
    "checkpoint-complete",
    "checkpoint-stored",
    "sinks-committing",
    "sinks-committed",
    "source-released",
];

/// Runs the pipeline of a scene, with its state in `state`, until it dies at one of these places; as often as is wanted of
/// this pipeline, and then to its end. Gives the kills.
fn killed(scene: &Scene, of: &str, places: &[&str]) -> String {
    let mut random = Rng::with_seed(17);
    let mut kills = Vec::new();
    while kills.len() < count(4, "PIPELINE_KILLS") {
        let place = places[random.usize(0..places.len())];
        let mut command = scene.command(&["run", "pipeline.yaml", "--state", "state"]);
        // Each life comes there once at the least, however little is left to do.
        let fault = format!("{place}@1");
        let ran = Ran::of(command.env("CONVEYOR_FAULT", &fault).output().expect("the binary starts"));
        match ran.code {
            None => kills.push(fault),
            Some(0) => break,
            Some(_) => panic!("{of}: after {kills:?}: {}", ran.stderr),
        }
    }
    let ran = scene.run(&["run", "pipeline.yaml", "--state", "state"]).code(0);
    assert!(kills.len() >= 3, "{of} was killed {} times alone: {}", kills.len(), ran.stderr);
    eprintln!("{of}: {} kills", kills.len());
    kills.join(", ")
}

/// How many faults there are to be: `few` in the test command.
pub fn count(few: usize, of: &str) -> usize {
    std::env::var(format!("CONVEYOR_FAULTS_{of}")).ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// Runs `command`; gives what it said where it failed.
fn run_tool(command: &mut std::process::Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ran = command.output().map_err(|error| format!("{name}: {error}"))?;
    let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
    if ran.status.success() { Ok(()) } else { Err(format!("{name}: {said}")) }
}

/// A file system of its own, mounted until it is dropped.
struct Mount(std::path::PathBuf);

impl Mount {
    /// `args`: of `mount`, but for the place. None, with a message, where this user may not mount.
    fn at(place: std::path::PathBuf, args: &[&str]) -> Option<Self> {
        std::fs::create_dir_all(&place).expect("a directory");
        match run_tool(std::process::Command::new("mount").args(args).arg(&place)) {
            Ok(()) => Some(Self(place)),
            Err(why) => {
                assert!(std::env::var_os("CI").is_none() || !is_root(), "root cannot mount: {why}");
                eprintln!("skipped: only root can mount a file system: {why}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(why) = run_tool(std::process::Command::new("umount").arg("--lazy").arg(&self.0)) {
            eprintln!("{why}");
        }
    }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}
