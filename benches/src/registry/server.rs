//! Registries as processes: each on an address and in a directory of its own, with its logs left out.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// How long a registry may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of what the kernel tells of the time that a process worked, on every Linux.
const MILLIS_PER_TICK: u64 = 10;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Conveyor,
    /// Debian's, of version 2.8.
    DockerRegistry,
    /// Of version 3.
    Distribution,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Conveyor, Self::DockerRegistry, Self::Distribution];

    pub fn name(self) -> &'static str {
        match self {
            Self::Conveyor => "conveyor",
            Self::DockerRegistry => "docker-registry 2.8.2",
            Self::Distribution => "distribution 3.1.2",
        }
    }

    fn program(self) -> Result<PathBuf> {
        match self {
            Self::Conveyor => conveyor(),
            Self::DockerRegistry => peer("docker-registry"),
            Self::Distribution => peer("registry"),
        }
    }
}

/// A process that ends with this value.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From its start until it answered.
    pub started_in: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts one over what is in `dir`, and waits until it listens.
    pub fn start(kind: Kind, dir: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(kind.program()?);
        match kind {
            Kind::Conveyor => {
                command.args(["registry", "serve", "--listen", &address.to_string(), "--data"]).arg(dir);
            }
            Kind::DockerRegistry | Kind::Distribution => {
                std::fs::create_dir_all(dir)?;
                let config = dir.with_extension("yml");
                std::fs::write(&config, settings(dir, address))?;
                command.arg("serve").arg(config).env("OTEL_TRACES_EXPORTER", "none");
            }
        }
        let begun = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Self { child, address, started_in: Duration::ZERO };
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} has ended: {status}", kind.name());
            }
            ensure!(begun.elapsed() < PATIENCE, "{} does not listen", kind.name());
            std::thread::sleep(Duration::from_micros(200));
        }
        server.started_in = begun.elapsed();
        Ok(server)
    }

    /// The most memory that it had since it started, or since this was forgotten, in bytes.
    pub fn peak_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB")).context("no VmHWM")?;
        Ok(kib.trim().parse::<u64>()? << 10)
    }

    pub fn forget_peak(&self) -> Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").context("clear_refs")
    }

    /// How long cores have worked for it.
    pub fn worked(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let behind_name = stat.rsplit_once(") ").context("no name")?.1;
        // The fields 14 and 15, of which the first here is the third.
        let ticks: u64 = behind_name.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * MILLIS_PER_TICK))
    }
}

/// As its example has it, with the cache that it recommends, and without logs.
fn settings(dir: &Path, address: SocketAddr) -> String {
    format!(
        "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\nstorage:\n  cache: {{ blobdescriptor: inmemory \
         }}\n  delete: {{ enabled: true }}\n  filesystem: {{ rootdirectory: '{}' }}\nhttp: {{ addr: '{address}', secret: bench \
         }}\n",
        dir.display()
    )
}

/// Beside the benches.
pub fn conveyor() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let there = here.ancestors().nth(2).context("a bench lies in a target directory")?.join("conveyor");
    ensure!(
        there.is_file(),
        "there is no {}: `cargo build --release --workspace --bin conveyor`",
        there.display()
    );
    Ok(there)
}

/// A program that `cargo xtask peers` has put into the cache.
pub fn peer(name: &str) -> Result<PathBuf> {
    let there = crate::guests::cache_dir().join("tools/peers").join(name);
    ensure!(there.is_file(), "there is no {}: `cargo xtask peers` installs it", there.display());
    Ok(there)
}
