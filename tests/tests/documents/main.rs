//! Every command of the documents is run, in the order in which a reader meets it, and prints what the document
//! says.
//!
//! In README.md and docs/*.md, a block ```` ```sh ```` is run by bash; the blocks of one document share a directory
//! and an environment. A block ```` ```text ```` right behind it is what it prints: its lines come in this order,
//! `...` stands for any lines or, inside a line, for any characters. Blocks of other languages are not run.

mod blocks;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use blocks::{Block, blocks, mismatch};

/// Commands that run the tests (and so this one), or that put something into the reader's home. `cargo xtask test`
/// runs the demo itself.
const NOT_HERE: [&str; 3] = ["cargo xtask demo", "cargo xtask test", "cargo xtask install"];

fn clone() -> PathBuf {
    let clone = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the clone");
    clone.to_owned()
}

/// The directory of the binary under test, for the documents' `PATH`.
fn binaries() -> PathBuf {
    // Beside the test's own directory, as cargo lays them out.
    let deps = std::env::current_exe().expect("this test's path");
    let binary = deps.ancestors().nth(2).expect("target/release").join("conveyor");
    assert!(
        binary.exists(),
        "{} is missing: run `cargo build --release --workspace --bin conveyor`",
        binary.display()
    );
    binary.parent().expect("a binary is in a directory").to_owned()
}

/// The reader stands in a clone called `conveyor`, and may go beside it: a directory with all that the clone has.
fn stand_in(place: &Path) {
    fs::create_dir(place).expect("a directory");
    for entry in fs::read_dir(clone()).expect("the clone") {
        let entry = entry.expect("an entry of the clone");
        std::os::unix::fs::symlink(entry.path(), place.join(entry.file_name()))
            .expect("a link into the clone");
    }
}

fn run(document: &Path) {
    let text = fs::read_to_string(document).unwrap_or_else(|error| panic!("{}: {error}", document.display()));
    let blocks = blocks(&text);
    let home = tempfile::tempdir().expect("a directory");
    stand_in(&home.path().join("conveyor"));
    let state = home.path().join(".state");
    fs::write(&state, "cd conveyor\n").expect("a file");
    let before = untracked();
    for block in blocks {
        let output = run_block(&block, home.path(), &state, document);
        if let Some(expected) = &block.prints
            && let Some(problem) = mismatch(expected, &output)
        {
            panic!("{}:{}: {problem}\n--- printed:\n{output}", document.display(), block.line);
        }
    }
    let left: Vec<String> = untracked().difference(&before).cloned().collect();
    assert!(left.is_empty(), "{}: its commands left files in the clone: {left:?}", document.display());
}

/// What lies in the clone and git does not know.
fn untracked() -> BTreeSet<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--others", "--exclude-standard"])
        .current_dir(clone())
        .output()
        .expect("git runs");
    assert!(listed.status.success(), "git lists no files: {}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
}

/// Runs one block where the last one left off, with the directory and variables that it left.
fn run_block(block: &Block, home: &Path, state: &Path, document: &Path) -> String {
    let lines = block
        .commands
        .lines()
        .filter(|line| !NOT_HERE.contains(&line.split(" #").next().unwrap_or(line).trim()));
    let commands: Vec<&str> = lines.collect();
    // Of a command in the background, or in front of `||`, the exit code alone would not tell.
    let unknown = home.join(".not-found");
    let script = format!(
        "set -eu\ncommand_not_found_handle() {{ echo \"$1\" >> {unknown}; return 127; }}\n. {state}\n{commands}\n\
         {{ export -p; printf 'cd %q\\n' \"$PWD\"; }} > {state}\n",
        state = state.display(),
        unknown = unknown.display(),
        commands = commands.join("\n"),
    );
    let path = format!("{}:{}", binaries().display(), std::env::var("PATH").unwrap_or_default());
    let ran = Command::new("bash")
        .args(["-c", &format!("exec 2>&1\n{script}")])
        .current_dir(home)
        .env("PATH", path)
        .env("NO_COLOR", "1")
        // What runs learn of signatures is of this reader alone.
        .env("XDG_STATE_HOME", home.join(".state-home"))
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_MANIFEST_DIR")
        .output()
        .expect("bash runs");
    let output = String::from_utf8_lossy(&ran.stdout).into_owned();
    let place = format!("{}:{}", document.display(), block.line);
    let unknown = fs::read_to_string(unknown).unwrap_or_default();
    assert!(unknown.is_empty(), "{place}: there is no command {unknown}--- printed:\n{output}");
    assert!(ran.status.success(), "{place}: a command failed ({})\n--- printed:\n{output}", ran.status);
    output
}

#[test]
#[should_panic(expected = "there is no command conveyor-of-nobody")]
fn a_command_that_is_not_there_is_told_though_nobody_asks_how_it_ended() {
    let home = tempfile::tempdir().expect("a directory");
    let state = home.path().join(".state");
    fs::write(&state, "").expect("a file");
    let commands = "conveyor-of-nobody 2> /dev/null &\nwait".to_owned();
    run_block(&Block { line: 1, commands, prints: None }, home.path(), &state, Path::new("none.md"));
}

#[test]
fn the_readme_can_be_followed_word_for_word() {
    run(&clone().join("README.md"));
}

#[test]
fn the_guides_can_be_followed_word_for_word() {
    let mut guides: Vec<PathBuf> = fs::read_dir(clone().join("docs"))
        .expect("docs/")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        // Its commands are benchmarks, which take long and are no tests.
        .filter(|path| path.file_name().is_some_and(|name| name != "performance.md"))
        .collect();
    guides.sort();
    assert!(!guides.is_empty(), "there are no guides in docs/");
    for guide in guides {
        run(&guide);
    }
}
