//! How another process has a registry that runs do what needs its store: a socket in its directory, for whoever may enter
//! that. One line of JSON is asked, and one is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::limits::{REGISTRY_ADMIN_BYTES_MAX, REGISTRY_HEAD_TIME};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use crate::layout::Layout;
use crate::load::{Loaded, load};
use crate::name::{NameError, Repository};
use crate::store::{Checked, Collection, Rules, Store};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    Collect(Rules),
    Check,
    /// The layout at this path of the process that is asked. `unnamed`: where that goes which names no repository.
    Load {
        path: PathBuf,
        unnamed: Option<String>,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    Collected(Collection),
    Checked(Checked),
    Loaded(Loaded),
    Failed(String),
}

/// Why a registry that runs could not be asked.
#[derive(thiserror::Error, Debug)]
pub enum AdminError {
    #[error("the registry that runs in {} cannot be asked: {error}; it may be about to start or to end: try again", dir.display())]
    Io { dir: PathBuf, error: std::io::Error },
    #[error("the registry that runs in {} answers something else; is it of this version?", dir.display())]
    Foreign { dir: PathBuf },
}

/// The name of the socket in the directory of a store.
const SOCKET: &str = "socket";

impl Asked {
    /// Does it.
    pub fn execute(&self, store: &Store) -> Told {
        let done = match self {
            Self::Collect(rules) => {
                store.collect(rules).map(Told::Collected).map_err(|error| error.to_string())
            }
            Self::Check => store.check().map(Told::Checked).map_err(|error| error.to_string()),
            Self::Load { path, unnamed } => load_from(store, path, unnamed.as_deref()).map(Told::Loaded),
        };
        done.unwrap_or_else(Told::Failed)
    }
}

fn load_from(store: &Store, path: &Path, unnamed: Option<&str>) -> Result<Loaded, String> {
    let unnamed: Option<Repository> =
        unnamed.map(str::parse).transpose().map_err(|error: NameError| error.to_string())?;
    let layout = Layout::open(path).map_err(|error| error.to_string())?;
    load(store, &layout, unnamed.as_ref()).map_err(|error| error.to_string())
}

/// A path to the socket that is short, however long that of the directory is: a socket's has at most 107 bytes.
fn short(dir: &Path) -> std::io::Result<(std::fs::File, PathBuf)> {
    let dir = std::fs::File::open(dir)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
    Ok((dir, path.into()))
}

/// Asks a registry that runs, and waits for what comes of it.
pub fn ask(dir: &Path, asked: &Asked) -> Result<Told, AdminError> {
    let failed = |error| AdminError::Io { dir: dir.to_owned(), error };
    let talk = || {
        let (_dir, path) = short(dir)?;
        let mut stream = UnixStream::connect(path)?;
        let mut line = serde_json::to_string(asked)?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        let mut told = String::new();
        BufReader::new(stream).take(REGISTRY_ADMIN_BYTES_MAX).read_line(&mut told)?;
        Ok(told)
    };
    let told = talk().map_err(failed)?;
    serde_json::from_str(&told).map_err(|_| AdminError::Foreign { dir: dir.to_owned() })
}

/// Answers in the directory of a store, which this process has, until it is dropped.
pub async fn listen(dir: &Path, store: Arc<Store>) -> std::io::Result<std::convert::Infallible> {
    let (held, path) = short(dir)?;
    // One that is there is of a process that has ended: the store is ours.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // One after the other: each reads everything.
        if let Err(error) = answer(stream, &store).await {
            tracing::debug!(%error, "whoever asked the registry has gone");
        }
        let _ = &held;
    }
}

async fn answer(mut stream: tokio::net::UnixStream, store: &Arc<Store>) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(REGISTRY_ADMIN_BYTES_MAX));
    tokio::time::timeout(REGISTRY_HEAD_TIME, read.read_line(&mut line)).await??;
    let told = match serde_json::from_str::<Asked>(&line) {
        Err(error) => Told::Failed(format!("it is not understood: {error}")),
        Ok(asked) => {
            let store = store.clone();
            let done = tokio::task::spawn_blocking(move || asked.execute(&store)).await;
            done.unwrap_or_else(|error| Told::Failed(format!("it broke: {error}")))
        }
    };
    let mut told = serde_json::to_string(&told)?;
    told.push('\n');
    write.write_all(told.as_bytes()).await
}
