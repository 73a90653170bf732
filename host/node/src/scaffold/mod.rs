//! `conveyor new`.
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug)]
pub enum Form {
    Source,
    TableSource,
    Transform,
    TableTransform,
    Sink,
    TableSink,
}

pub fn make(_here: &Path, _name: &str, _form: Form, _sdk: Option<&Path>) -> anyhow::Result<Vec<PathBuf>> {
    anyhow::bail!("later")
}
