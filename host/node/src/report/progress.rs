//! The live display of a run: one line a stage, drawn on a terminal and nowhere else.

use std::time::{Duration, Instant};

use flow::meters::{CheckpointReport, Meters};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::{number, rate};
use crate::logging;

/// How often the display is drawn, which is also the time over which a rate is taken.
const EVERY: Duration = Duration::from_millis(250);
const STAGES_SHOWN_MAX: usize = 30;
/// After this time a checkpoint that is under way is shown.
const SLOW: Duration = Duration::from_secs(2);

/// Lines of a display. Dropped, it vanishes from the terminal.
pub struct Progress {
    all: MultiProgress,
    lines: Vec<Line>,
    /// Of the pipelines that keep checkpoints.
    checkpoints: Vec<(ProgressBar, Meters)>,
}

struct Line {
    bar: ProgressBar,
    meters: Meters,
    stage: usize,
    seen: u64,
    at: Instant,
}

impl Progress {
    pub const EVERY: Duration = EVERY;

    pub fn start(pipelines: &[Meters]) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        logging::beside(Some(all.clone()));
        let stages =
            pipelines.iter().flat_map(|meters| (0..meters.stages.len()).map(move |stage| (meters, stage)));
        let several = pipelines.len() > 1;
        let width =
            pipelines.iter().flat_map(|meters| meters.stages.iter()).map(|stage| stage.name.len()).max();
        let lines = stages.take(STAGES_SHOWN_MAX).map(|(meters, stage)| {
            let bar = all.add(ProgressBar::new_spinner());
            // The template is a constant, and good.
            bar.set_style(ProgressStyle::with_template("{spinner} {prefix} {msg}").expect("a good template"));
            let name = format!("{:width$}", meters.stages[stage].name, width = width.unwrap_or(0));
            bar.set_prefix(if several { format!("{} {name}", meters.pipeline) } else { name });
            Line { bar, meters: meters.clone(), stage, seen: 0, at: Instant::now() }
        });
        let lines = lines.collect();
        let kept = pipelines.iter().filter(|meters| meters.checkpoints.report().keeps);
        let checkpoints = kept.map(|meters| {
            let bar = all.add(ProgressBar::new_spinner());
            // The template is a constant, and good.
            bar.set_style(ProgressStyle::with_template("  {prefix}{msg}").expect("a good template"));
            bar.set_prefix(if several { format!("{} ", meters.pipeline) } else { String::new() });
            (bar, meters.clone())
        });
        let checkpoints = checkpoints.collect();
        Self { all, lines, checkpoints }
    }

    /// Does what writes to the terminal, with the display out of its way.
    pub fn suspend(&self, write: impl FnOnce()) {
        self.all.suspend(write);
    }

    pub fn draw(&mut self) {
        for line in &mut self.lines {
            let report = line.meters.stages[line.stage].report();
            let took = line.at.elapsed();
            let speed = rate(report.records_in - line.seen, took);
            (line.seen, line.at) = (report.records_in, Instant::now());
            let rejected = match report.rejected {
                0 => String::new(),
                rejected => format!("  {} rejected", number(rejected)),
            };
            line.bar.set_message(format!(
                "{:>13} in  {:>13} out  {speed:>10}{rejected}",
                number(report.records_in),
                number(report.records_out)
            ));
            line.bar.tick();
        }
        for (bar, meters) in &self.checkpoints {
            bar.set_message(checkpoint(&meters.checkpoints.report(), meters.lag(), Instant::now()));
            bar.tick();
        }
    }
}

/// Where a restart would go on. `lag`: records that it would read again.
fn checkpoint(report: &CheckpointReport, lag: u64, now: Instant) -> String {
    let number = match (report.number, report.committed_at) {
        (0, _) => "no checkpoint yet".to_owned(),
        (last, None) => format!("checkpoint {last}, from an earlier run"),
        (last, Some(at)) => format!(
            "checkpoint {last}, {:.1} s old, took {} ms, {} bytes new",
            now.saturating_duration_since(at).as_secs_f64(),
            report.took_ms,
            number(report.bytes)
        ),
    };
    let under_way = match report.begun_at {
        Some(at) if now.saturating_duration_since(at) > SLOW => {
            format!(", the next one since {:.0} s", now.saturating_duration_since(at).as_secs_f64())
        }
        _ => String::new(),
    };
    format!("{number}{under_way}, {} records behind", self::number(lag))
}

impl Drop for Progress {
    fn drop(&mut self) {
        logging::beside(None);
        for line in &self.lines {
            line.bar.finish_and_clear();
        }
        for (bar, _) in &self.checkpoints {
            bar.finish_and_clear();
        }
        // Where the terminal is gone, so is the display.
        let _ = self.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_checkpoint_says_how_old_it_is_and_what_would_come_again() {
        let start = Instant::now();
        let now = start + Duration::from_secs(10);
        let mut report = CheckpointReport { begun_at: Some(start), ..CheckpointReport::default() };
        let line = |report: &CheckpointReport| checkpoint(report, 1234, now);
        assert_eq!(line(&report), "no checkpoint yet, the next one since 10 s, 1,234 records behind");
        (report.number, report.begun_at) = (3, Some(now));
        assert_eq!(line(&report), "checkpoint 3, from an earlier run, 1,234 records behind");
        (report.committed_at, report.took_ms, report.bytes) =
            (Some(now - Duration::from_millis(1500)), 7, 4096);
        assert_eq!(
            line(&report),
            "checkpoint 3, 1.5 s old, took 7 ms, 4,096 bytes new, 1,234 records behind"
        );
    }
}
