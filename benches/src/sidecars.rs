//! Sidecars as processes of their own, as they are deployed: this program again, started once per stage.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::grpc::{Sidecar, listen};
use crate::stages::Stage;

/// The first argument that makes a bench serve as a sidecar; the second names the stage.
pub const ARGUMENT: &str = "sidecar";

/// The sidecars, ended when this is dropped.
pub struct Sidecars {
    children: Vec<Child>,
    pub addresses: Vec<SocketAddr>,
}

impl Sidecars {
    /// Starts a sidecar for each stage and waits until all of them listen.
    pub fn start() -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut sidecars = Self { children: Vec::new(), addresses: Vec::new() };
        for stage in Stage::ALL {
            let mut command = Command::new(&program);
            let mut child = command.args([ARGUMENT, stage.name()]).stdout(Stdio::piped()).spawn()?;
            let output = child.stdout.take().context("the sidecar has no output")?;
            sidecars.children.push(child);
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line)?;
            sidecars
                .addresses
                .push(line.trim().parse().with_context(|| format!("sidecar {}", stage.name()))?);
        }
        Ok(sidecars)
    }

    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }
}

impl Drop for Sidecars {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended by itself is fine too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Serves as a sidecar until the end of the process, where the arguments ask for that.
pub fn serve_if_asked() -> Result<bool> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(ARGUMENT) {
        return Ok(false);
    }
    let name = arguments.next().unwrap_or_default();
    let Some(stage) = Stage::from_name(&name) else { bail!("there is no stage `{name}`") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (listener, address) = listen().await?;
        println!("{address}");
        Sidecar { stage }.serve(listener).await
    })?;
    Ok(true)
}
