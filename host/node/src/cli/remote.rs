//! How registries are reached, as several verbs take it: options, bars, and how failures end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::ids::Digest;
use model::plain;
use registry::artifact::FindError;
use registry::client::{Client, ClientError, Keyring, Moved, Progress, Settings};
use registry::manifest::Descriptor;

use crate::exit::{Failure, Result};
use crate::{logging, terminal};

#[derive(Clone, Debug, Args)]
pub(super) struct RemoteOptions {
    /// Speak http with registries that are not on this machine
    #[arg(long)]
    plain_http: bool,
    /// Trust these certificates beside those of the system
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
}

impl RemoteOptions {
    pub(super) fn settings(&self) -> Settings {
        let keyring = Keyring::of(|name| std::env::var_os(name));
        Settings { plain_http: self.plain_http, ca_cert: self.ca_cert.clone(), keyring }
    }
}

pub(super) fn client(options: &RemoteOptions) -> Result<Client> {
    Client::new(options.settings()).map_err(failure)
}

pub(super) fn failure(error: ClientError) -> Failure {
    if error.is_input() { Failure::input(error) } else { Failure::ran(error) }
}

/// Of what is there and is no stage, the reference is wrong.
pub(super) fn not_found(error: FindError) -> Failure {
    match error {
        FindError::Client(error) => failure(error),
        error => Failure::input(error),
    }
}

/// A bar for each content that is brought over, on a terminal and nowhere else.
pub(super) fn progress() -> Box<dyn Progress> {
    match terminal::is_terminal() {
        true => Box::new(Bars::start()),
        false => Box::new(()),
    }
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
