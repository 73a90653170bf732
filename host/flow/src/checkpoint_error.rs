//! Why checkpoints, and the state of stages that lies with them, cannot be kept or read.

use std::path::PathBuf;

/// Why checkpoints cannot be kept, or a pipeline not go on from them.
#[derive(thiserror::Error, Debug)]
pub enum CheckpointError {
    #[error("checkpoints cannot be kept in {}: {why}; look at the disk, or name another directory with `--state`", path.display())]
    Io { path: PathBuf, why: String },
    #[error("checkpoints cannot be kept in {}: its disk is full; free some space", path.display())]
    Full { path: PathBuf },
    #[error("{} is used by another process: the pipeline may be running already; let it end, or name another directory with `--state`", path.display())]
    Locked { path: PathBuf },
    #[error("{} is not of this version: {why}; use the version that wrote it, or begin anew with `run --reset`", path.display())]
    Foreign { path: PathBuf, why: String },
    #[error("{} is damaged: {why}; nothing of it is used. Put it back from a copy of its directory, or begin anew with `run --reset`: \
         then sources are read from their beginning, what stages remember is gone, and what sinks have may come again", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("the database in {} broke: {why}; nothing more is stored in it, and what was stands. Run again to go on from there; \
         if it breaks again, put the file back from a copy of its directory, or begin anew with `run --reset`: then sources are read \
         from their beginning, what stages remember is gone, and what sinks have may come again", path.display())]
    Broke { path: PathBuf, why: String },
    #[error("there are no checkpoints in {}; name the directory that `run --state` was given", path.display())]
    None { path: PathBuf },
    #[error("these checkpoints have no room for the state of stage `{stage}`")]
    NoState { stage: String },
}

impl CheckpointError {
    /// Whether somebody has to change what they typed, rather than the disk.
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::Io { .. } | Self::Full { .. } | Self::Damaged { .. } | Self::Broke { .. })
    }
}
