//! `demo`
use crate::places::Places;
pub fn run(_: &Places) -> anyhow::Result<()> {
    anyhow::bail!("later")
}
