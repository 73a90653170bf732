//! The data directory of a node, which one process has at a time.
//!
//! ```text
//! node.json      which node this is, of which cluster
//! lock           held while a process has the directory
//! token          what writes are asked for by those who may read this file
//! secret.key     what secrets are sealed with
//! control/       the control state
//! registry/      what was pushed here
//! pipelines/N/   what pipeline number N keeps: its checkpoints, its spools, its dead letters
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use control::state::{BootId, ClusterId, NodeId, PipelineId};
use disk::{Disk as _, Lock, SystemDisk};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

/// The version of the layout above.
const VERSION: u32 = 1;
/// Bytes of chance in a token.
const TOKEN_BYTES: usize = 32;
/// Where the dead letters of a pipeline are, in its directory.
const DEAD_LETTERS: &str = "dead-letters";

/// A data directory that this process has.
pub struct Data {
    dir: PathBuf,
    node: NodeId,
    cluster: ClusterId,
    boot: BootId,
    /// Of those who may read the file with it.
    token: String,
    _lock: Box<dyn Lock>,
}

/// What `node.json` says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    version: u32,
    node: u64,
    cluster: String,
}

#[derive(thiserror::Error, Debug)]
pub enum DataError {
    #[error("{}: {error}; name a directory that this user may write to with `--data`", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} is no directory; name one with `--data`", path.display())]
    NoDirectory { path: PathBuf },
    #[error("another node uses {}; stop it, or name another directory with `--data`", dir.display())]
    Locked { dir: PathBuf },
    #[error(
        "{} is of version {found} of the data directory, and this program knows {VERSION}; use the program that wrote it",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("{} is damaged: {why}; put it back from a copy", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error(
        "{} has files, and is no data directory of a node; name an empty directory with `--data`", dir.display()
    )]
    Foreign { dir: PathBuf },
    #[error("{}: {why}; remove it, and another is made at the next start", path.display())]
    Token { path: PathBuf, why: String },
    #[error("the system gives no random numbers")]
    Random,
}

impl Data {
    /// Takes a directory, which is made and filled where it is missing or empty.
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        if let Some(file) = dir.ancestors().find(|path| path.exists() && !path.is_dir()) {
            return Err(DataError::NoDirectory { path: file.to_owned() });
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| DataError::Io { path, error }
        };
        let (node_file, lock_file) = (dir.join("node.json"), dir.join("lock"));
        if dir.is_dir() && !node_file.exists() && !is_free(dir).map_err(failed(dir))? {
            return Err(DataError::Foreign { dir: dir.to_owned() });
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
        let dir = dir.canonicalize().map_err(failed(dir))?;
        let lock = SystemDisk.lock(&lock_file).map_err(failed(&lock_file))?;
        let lock = lock.ok_or_else(|| DataError::Locked { dir: dir.clone() })?;
        let (node, cluster) = match fs::read(&node_file) {
            Ok(bytes) => read_node(&node_file, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (node, cluster) = (NodeId(1), ClusterId(random()?));
                let file = NodeFile { version: VERSION, node: node.0, cluster: cluster.to_string() };
                let text = serde_json::to_vec_pretty(&file).map_err(|error| DataError::Damaged {
                    path: node_file.clone(),
                    why: error.to_string(),
                })?;
                write_whole(&node_file, &text).map_err(failed(&node_file))?;
                (node, cluster)
            }
            Err(error) => return Err(DataError::Io { path: node_file, error }),
        };
        let token = token(&dir)?;
        Ok(Self { node, cluster, boot: BootId(random()?), token, _lock: lock, dir })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// This start of the node.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// What whoever may read [`Self::token_file`] shows to be let in.
    pub fn token(&self) -> &str {
        &self.token
    }

    pub fn token_file(&self) -> PathBuf {
        self.dir.join("token")
    }

    pub fn secret_key(&self) -> PathBuf {
        self.dir.join("secret.key")
    }

    pub fn control(&self) -> PathBuf {
        self.dir.join("control")
    }

    pub fn registry(&self) -> PathBuf {
        self.dir.join("registry")
    }

    /// All that a pipeline keeps here.
    pub fn pipeline(&self, id: PipelineId) -> PathBuf {
        self.dir.join("pipelines").join(id.to_string())
    }

    pub fn dead_letters(&self, id: PipelineId) -> PathBuf {
        self.pipeline(id).join(DEAD_LETTERS)
    }

    /// Removes what a pipeline kept here, all of it or all but its dead letters. What is gone already is as good.
    pub fn remove_pipeline(&self, id: PipelineId, keeps_dead_letters: bool) -> io::Result<()> {
        let dir = self.pipeline(id);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true if keeps_dead_letters && entry.file_name() == DEAD_LETTERS => {}
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        if !keeps_dead_letters || !dir.join(DEAD_LETTERS).exists() {
            fs::remove_dir(&dir)?;
        }
        dir.parent().map_or(Ok(()), |above| SystemDisk.sync_dir(above))
    }
}

/// Whether nothing is in a directory, or only what a start leaves that was cut off before it had written which node it is.
fn is_free(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name != "lock" && name != "node.json.new" {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_node(path: &Path, bytes: &[u8]) -> Result<(NodeId, ClusterId), DataError> {
    let damaged = |why: String| DataError::Damaged { path: path.to_owned(), why };
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let Head { version } = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if version != VERSION {
        return Err(DataError::Newer { path: path.to_owned(), found: version });
    }
    let file: NodeFile = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    let cluster = file.cluster.parse().map_err(|_| damaged("it names no cluster".to_owned()))?;
    Ok((NodeId(file.node), cluster))
}

/// The token in a directory, which is made where there is none.
fn token(dir: &Path) -> Result<String, DataError> {
    let path = dir.join("token");
    match fs::read_to_string(&path) {
        Ok(text) => match whole_token(&path, text.trim()) {
            Ok(()) => Ok(text.trim().to_owned()),
            Err(why) => Err(DataError::Token { path, why }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; TOKEN_BYTES];
            SystemRandom::new().fill(&mut bytes).map_err(|_| DataError::Random)?;
            let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let written = write_whole(&path, format!("{token}\n").as_bytes());
            written.map(|()| token).map_err(|error| DataError::Io { path, error })
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(DataError::Token { path, why: "it is no text".to_owned() })
        }
        Err(error) => Err(DataError::Io { path, error }),
    }
}

/// Nobody guesses it, and nobody else reads it.
fn whole_token(path: &Path, token: &str) -> Result<(), String> {
    if token.len() < TOKEN_BYTES {
        return Err(format!("it has {} characters, and {TOKEN_BYTES} are the least", token.len()));
    }
    let mode = fs::metadata(path).map_err(|error| error.to_string())?.permissions().mode() & 0o777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(format!("others may read it (its mode is {mode:o})")),
    }
}

fn random() -> Result<u128, DataError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| DataError::Random)?;
    Ok(u128::from_be_bytes(bytes))
}

/// Puts a file there for its owner alone, whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |above| SystemDisk.sync_dir(above))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_nodes_for_ever_and_one_processs_at_a_time() {
        let above = tempfile::tempdir().expect("a directory");
        let dir = above.path().join("a/b");
        let first = Data::open(&dir).expect("made");
        let (node, cluster, boot, token) =
            (first.node(), first.cluster(), first.boot(), first.token().to_owned());
        assert!(matches!(Data::open(&dir), Err(DataError::Locked { .. })));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&first.token_file())), (0o700, 0o600));
        drop(first);
        let again = Data::open(&dir).expect("it is free");
        assert_eq!((again.node(), again.cluster(), again.token()), (node, cluster, &*token));
        assert_ne!(again.boot(), boot, "another start");
        let file = again.token_file();
        drop(again);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("set");
        assert!(matches!(Data::open(&dir), Err(DataError::Token { .. })), "others may read it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
        fs::write(&file, "short").expect("written");
        assert!(matches!(Data::open(&dir), Err(DataError::Token { .. })));
    }

    #[test]
    fn what_is_no_data_directory_of_this_version_is_not_touched() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("photo.jpg"), "x").expect("written");
        assert!(matches!(Data::open(dir.path()), Err(DataError::Foreign { .. })));
        assert!(matches!(Data::open(&dir.path().join("photo.jpg")), Err(DataError::NoDirectory { .. })));
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
        let dir = tempfile::tempdir().expect("a directory");
        let node = dir.path().join("node.json");
        fs::write(&node, r#"{"version":7,"more":1}"#).expect("written");
        assert!(matches!(Data::open(dir.path()), Err(DataError::Newer { found: 7, .. })));
        fs::write(&node, r#"{"version":1}"#).expect("written");
        assert!(matches!(Data::open(dir.path()), Err(DataError::Damaged { .. })));
    }

    #[test]
    fn of_a_removed_pipeline_the_dead_letters_stay_where_that_is_asked_for() {
        let above = tempfile::tempdir().expect("a directory");
        let data = Data::open(&above.path().join("data")).expect("made");
        let id = PipelineId(3);
        for keeps in [true, false] {
            fs::create_dir_all(data.pipeline(id).join("orders/spool")).expect("made");
            fs::create_dir_all(data.dead_letters(id)).expect("made");
            data.remove_pipeline(id, keeps).expect("removed");
            assert_eq!(data.dead_letters(id).exists(), keeps);
            assert!(!data.pipeline(id).join("orders").exists());
            data.remove_pipeline(id, keeps).expect("it is gone already");
        }
        assert!(!data.pipeline(id).exists());
    }
}
