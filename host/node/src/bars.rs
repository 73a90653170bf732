//! How far it is with what is brought from registries and to them: bars on a terminal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::ids::Digest;
use model::plain;
use registry::client::{Moved, Progress};
use registry::manifest::Descriptor;

use crate::{logging, terminal};

/// The bars that are on the terminal now, whoever brings something over.
static SHOWN: Mutex<Weak<Bars>> = Mutex::new(Weak::new());

/// A bar for each content that is brought over, on a terminal and nowhere else.
pub fn progress() -> Arc<dyn Progress> {
    if !terminal::is_terminal() {
        return Arc::new(());
    }
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    shown.upgrade().unwrap_or_else(|| {
        let bars = Arc::new(Bars::start());
        *shown = Arc::downgrade(&bars);
        bars
    })
}

/// Characters of what a bar is called.
const NAME_CHARS: usize = 24;
/// How a layer says what it is called.
const TITLE: &str = "org.opencontainers.image.title";

struct Bars {
    all: MultiProgress,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn start() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        logging::beside(Some(all.clone()));
        Self { all, bars: Mutex::default() }
    }

    fn with(&self, what: &Descriptor, done: impl FnOnce(&mut HashMap<Digest, ProgressBar>, Digest)) {
        done(&mut self.bars.lock().unwrap_or_else(PoisonError::into_inner), what.digest);
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        let _ = self.all.clear();
        logging::beside(None);
    }
}

impl Progress for Bars {
    fn begin(&self, what: &Descriptor) {
        let title = what.annotations.get(TITLE).cloned().unwrap_or_else(|| what.digest.hex());
        let name: String = title.chars().take(NAME_CHARS).collect();
        let bar = self.all.add(ProgressBar::new(what.size));
        // The template is a constant, and good.
        let style = ProgressStyle::with_template(
            "{prefix:24} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
        );
        bar.set_style(style.expect("a good template"));
        bar.set_prefix(plain::line(&name).into_owned());
        self.with(what, |bars, digest| {
            if let Some(before) = bars.insert(digest, bar) {
                before.finish_and_clear();
            }
        });
    }

    fn at(&self, what: &Descriptor, bytes: u64) {
        self.with(what, |bars, digest| {
            if let Some(bar) = bars.get(&digest) {
                bar.set_position(bytes);
            }
        });
    }

    fn end(&self, what: &Descriptor, _how: Moved) {
        self.with(what, |bars, digest| {
            if let Some(bar) = bars.remove(&digest) {
                bar.finish_and_clear();
            }
        });
    }
}
