//! The live display of a run: one line a stage, drawn on a terminal and nowhere else.

use std::time::{Duration, Instant};

use flow::meters::Meters;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::{number, rate};
use crate::logging;

/// How often the display is drawn, which is also the time over which a rate is taken.
const EVERY: Duration = Duration::from_millis(250);
const STAGES_SHOWN_MAX: usize = 30;

/// Lines of a display. Dropped, it vanishes from the terminal.
pub struct Progress {
    all: MultiProgress,
    lines: Vec<Line>,
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
        Self { all, lines }
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
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        logging::beside(None);
        for line in &self.lines {
            line.bar.finish_and_clear();
        }
        // Where the terminal is gone, so is the display.
        let _ = self.all.clear();
    }
}
