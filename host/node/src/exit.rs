//! How a verb ends: 0 done, 1 it ran and failed, 2 the input or the command line is wrong, 3 the node cannot be reached.

use std::process::ExitCode;

use flow::letters::LettersError;
use model::diagnostics::Diagnostics;

use crate::terminal;
use crate::words::Words;

/// The code of a problem with a stage that finds no room on a disk.
pub const NO_ROOM: &str = "connector::no-room";

/// The code of a problem with a stage whose registry failed, which says nothing against the manifest.
pub const REGISTRY: &str = "stage::registry";

/// Why a verb did not end well. Printed once, in `cli::main`.
#[derive(Debug)]
pub enum Failure {
    /// The command line, a manifest, or a file that one of them names is wrong.
    Input(anyhow::Error),
    /// Problems of manifests, with their places.
    Manifest(Vec<Diagnostics>),
    /// It was tried and did not work.
    Ran(anyhow::Error),
    /// The same, and all that is missing is room on a disk.
    Full(anyhow::Error),
    /// The node that it is to speak to does not answer.
    Unreachable(anyhow::Error),
    /// It failed, and has said so itself.
    Told(Code),
    /// Nobody reads the data that it prints any more, which is no failure.
    ReaderGone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    Failed = 1,
    Wrong = 2,
    Unreachable = 3,
}

pub type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    pub fn input(why: impl Into<anyhow::Error>) -> Self {
        Self::Input(why.into())
    }

    pub fn ran(why: impl Into<anyhow::Error>) -> Self {
        Self::Ran(why.into())
    }

    /// What is the matter, in a line.
    pub fn line(&self) -> String {
        match self {
            Self::Input(why) | Self::Ran(why) | Self::Full(why) | Self::Unreachable(why) => {
                format!("{why:#}")
            }
            Self::Manifest(all) => {
                let problems = all.iter().flat_map(model::diagnostics::Diagnostics::iter);
                problems.map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
            }
            Self::Told(_) | Self::ReaderGone => "it has been told".to_owned(),
        }
    }

    /// Whether there is no room on a disk and nothing else is wrong: another try may go well.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Manifest(_) => self.is_all_of(&[NO_ROOM]),
            _ => false,
        }
    }

    /// Whether nothing is wrong with what was to be done: a disk is full, or a registry has failed.
    pub fn is_of_surroundings(&self) -> bool {
        self.is_full() || self.is_all_of(&[NO_ROOM, REGISTRY])
    }

    /// Whether all problems of manifests have one of these codes.
    fn is_all_of(&self, codes: &[&str]) -> bool {
        let Self::Manifest(all) = self else { return false };
        let mut problems = all.iter().flat_map(model::diagnostics::Diagnostics::iter);
        !all.is_empty() && problems.all(|problem| codes.contains(&problem.code))
    }

    /// What the process ends with.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Input(_) => Some(Code::Wrong),
            // Nothing is wrong with the manifests: a disk is full, or a registry has failed.
            Self::Manifest(_) if self.is_all_of(&[NO_ROOM, REGISTRY]) => Some(Code::Failed),
            Self::Manifest(_) => Some(Code::Wrong),
            Self::Ran(_) | Self::Full(_) => Some(Code::Failed),
            Self::Unreachable(_) => Some(Code::Unreachable),
            Self::Told(code) => Some(*code),
            Self::ReaderGone => None,
        }
    }

    /// Prints what is to be said, and gives the code of the process.
    pub fn tell(self) -> ExitCode {
        match &self {
            Self::Input(why) | Self::Ran(why) | Self::Full(why) | Self::Unreachable(why) => {
                terminal::error(words(why));
            }
            Self::Manifest(all) => all.iter().for_each(terminal::diagnostics),
            Self::Told(_) | Self::ReaderGone => {}
        }
        self.code().map_or(ExitCode::SUCCESS, |code| ExitCode::from(code as u8))
    }
}

/// Some failures take several lines.
fn words(why: &anyhow::Error) -> Words {
    why.downcast_ref::<Words>().cloned().unwrap_or_else(|| Words::from(format!("{why:#}")))
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Manifest(vec![diagnostics])
    }
}

/// What somebody typed, or what is the matter with a disk.
impl From<LettersError> for Failure {
    fn from(error: LettersError) -> Self {
        match error.is_input() {
            true => Self::input(error),
            false if error.is_no_room() => Self::Full(error.into()),
            false => Self::ran(error),
        }
    }
}
