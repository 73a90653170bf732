//! Running other programs: a line says what is about to be done, and a failure names the step and what to do.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Says that a step begins.
pub fn say(line: impl AsRef<str>) {
    println!("==> {}", line.as_ref());
    // Children write to the same place, so order matters; a closed pipe is theirs to report.
    std::io::stdout().flush().ok();
}

/// Says that a step has nothing to do, or how it ended.
pub fn note(line: impl AsRef<str>) {
    println!("    {}", line.as_ref());
    std::io::stdout().flush().ok();
}

/// Runs a program that shows what it does, and fails when it does.
pub fn run(step: &str, command: &mut Command) -> Result<()> {
    say(step);
    let start = Instant::now();
    let status = command.status().with_context(|| format!("{step}: cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{step} ({status}). It ran: {}", shown(command));
    }
    let seconds = start.elapsed().as_secs();
    if seconds >= 10 {
        note(format!("took {seconds} s"));
    }
    Ok(())
}

/// Runs a program whose words are shown only when it fails.
pub fn quiet(step: &str, command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{step}: cannot start {}", shown(command)))?;
    if !output.status.success() {
        let words = [output.stdout, output.stderr].concat();
        bail!("{step} ({}). It ran: {}\n{}", output.status, shown(command), String::from_utf8_lossy(&words));
    }
    Ok(output.stdout)
}

/// Whether a program is there and ends well. Nothing of it is shown.
pub fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs a program, shows its standard output as it comes, and hands each line of it to `each`. Answers whether
/// it ended well.
pub fn watched(step: &str, command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    say(step);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{step}: cannot start {}", shown(command)))?;
    let output = child.stdout.take().context("the output of a child was asked for")?;
    let mut lines = BufReader::new(output.take(LINES_BYTES_MAX));
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().write_all(&line)?;
        each(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(child.wait()?.success())
}

/// More output than this is a test gone wild.
const LINES_BYTES_MAX: u64 = 1 << 30;

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
