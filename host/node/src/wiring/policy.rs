//! What this process lets pipelines reach at all, whatever their manifests grant: where files may lie, and
//! where the values of secrets are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use connect::{Presence, Roots};
use engine::Secret;
use model::limits::GRANT_VALUE_BYTES_MAX;

use crate::exit::{Failure, Result};
use crate::pulled;

/// Before the name of a secret, in the environment of this process.
pub const SECRET_PREFIX: &str = "CONVEYOR_SECRET_";

/// What a node keeps of secrets, for the pipelines of one namespace.
#[derive(Clone)]
pub struct KeptSecrets(Arc<FindSecret>);

type FindSecret = dyn Fn(&str) -> anyhow::Result<Option<Vec<u8>>> + Send + Sync;

impl KeptSecrets {
    /// `find`: the value of a secret by its name; none where there is none of that name.
    pub fn new(find: impl Fn(&str) -> anyhow::Result<Option<Vec<u8>>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }
}

impl std::fmt::Debug for KeptSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the secrets of a node")
    }
}

/// The policy of one process. The default: files anywhere, secrets from the environment, needed by nobody.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Files of connectors and directories that are granted lie inside.
    pub roots: Roots,
    /// Where each secret is a file of its name, as Kubernetes mounts them.
    secrets: Option<PathBuf>,
    /// Where a node keeps them; what is not there is looked for as without it.
    kept: Option<KeptSecrets>,
    /// Where sources that cannot be read again keep what they have taken, in a directory for each pipeline. None where
    /// nothing is kept.
    pub state: Option<PathBuf>,
    /// How registries are spoken with, and whose components are let in.
    pub pulling: pulled::Options,
    /// Whether nothing is read from sources.
    is_replay: bool,
    /// Whether a secret that is granted has to have a value: where stages really run.
    pub needs_secrets: bool,
}

impl Policy {
    pub fn new(roots: &[PathBuf], secrets: Option<&Path>) -> Result<Self> {
        let roots = if roots.is_empty() { Ok(Roots::default()) } else { Roots::new(roots) };
        let roots = roots.map_err(|error| {
            Failure::Input(anyhow!("`--allow-root`: {error}; name directories that are there"))
        })?;
        if let Some(dir) = secrets.filter(|dir| !dir.is_dir()) {
            let dir = dir.display();
            return Err(Failure::Input(anyhow!(
                "`--secrets {dir}`: it is no directory; name one with a file for each secret"
            )));
        }
        Ok(Self { roots, secrets: secrets.map(Path::to_owned), ..Self::default() })
    }

    pub fn pulling(self, pulling: pulled::Options) -> Self {
        Self { pulling, ..self }
    }

    /// The same for a replay, which reads nothing from sources.
    pub fn of_replay(self) -> Self {
        Self { is_replay: true, ..self }
    }

    /// The same for a pipeline that keeps what it takes in this directory.
    pub fn keeping(self, state: Option<PathBuf>) -> Self {
        Self { state, ..self }
    }

    /// The same for pipelines whose secrets a node keeps.
    pub fn with_secrets(self, kept: KeptSecrets) -> Self {
        Self { kept: Some(kept), ..self }
    }

    pub fn needing_secrets(self) -> Self {
        Self { needs_secrets: true, ..self }
    }

    /// The same for connectors.
    pub fn connector_secrets(&self) -> connect::Secrets {
        let policy = self.clone();
        connect::Secrets::new(move |name| {
            let secret =
                policy.secret(name).map_err(|error| format!("{error:#}; {}", policy.secret_help(name)))?;
            Ok(secret.reveal().to_owned())
        })
    }

    /// Where the stage of a pipeline keeps what it has taken.
    pub fn spool(&self, pipeline: &str, stage: &str) -> Option<PathBuf> {
        Some(spools_in(&self.state.as_ref()?.join(pipeline)).join(stage))
    }

    /// What has to be there of the input of a pipeline.
    pub fn presence(&self, pipeline: &str) -> Presence {
        let has_run = |state: &PathBuf| state.join(pipeline).is_dir();
        match self.is_replay {
            true => Presence::Unread,
            false if self.state.as_ref().is_some_and(has_run) => Presence::MayBeGone,
            false => Presence::There,
        }
    }

    /// The value of a secret, or why there is none.
    pub fn secret(&self, name: &str) -> anyhow::Result<Secret> {
        let kept = self.kept.as_ref().map(|KeptSecrets(find)| find(name)).transpose()?.flatten();
        let value = match (kept, &self.secrets) {
            (Some(bytes), _) => String::from_utf8(bytes).map_err(|_| anyhow!("it is not UTF-8"))?,
            (None, Some(dir)) => {
                let path = dir.join(name);
                let what = || format!("{} cannot be read", path.display());
                let bytes = read_some(&path).with_context(what)?;
                let text = String::from_utf8(bytes).map_err(|_| anyhow!("it is not UTF-8"));
                without_line_end(text.with_context(what)?)
            }
            (None, None)
                if self.kept.is_some() && std::env::var_os(format!("{SECRET_PREFIX}{name}")).is_none() =>
            {
                bail!("there is no secret `{name}` in the pipeline's namespace")
            }
            (None, None) => match std::env::var(format!("{SECRET_PREFIX}{name}")) {
                Ok(value) => value,
                Err(std::env::VarError::NotPresent) => bail!("{SECRET_PREFIX}{name} is not set"),
                Err(std::env::VarError::NotUnicode(_)) => bail!("{SECRET_PREFIX}{name} is not UTF-8"),
            },
        };
        if value.len() > GRANT_VALUE_BYTES_MAX {
            bail!("it has {} bytes or more, at most {GRANT_VALUE_BYTES_MAX} are taken", value.len());
        }
        Ok(Secret::new(value))
    }

    /// What to do about a secret without a value.
    pub fn secret_help(&self, name: &str) -> String {
        match &self.secrets {
            None if self.kept.is_some() => format!("set it with `conveyor secret set {name}`"),
            Some(dir) => format!("put its value into {}", dir.join(name).display()),
            None => format!(
                "set {SECRET_PREFIX}{name}, or name with `--secrets` a directory with a file `{name}`"
            ),
        }
    }
}

/// The spools of a pipeline, in its directory.
pub fn spools_in(dir: &Path) -> PathBuf {
    dir.join("spool")
}

/// Editors and `echo` end a file with a line feed that is no part of a key.
fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// More than a secret may have is enough to refuse it.
fn read_some(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(GRANT_VALUE_BYTES_MAX as u64 + 3).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_file_of_its_name_without_its_last_line_feed() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("A"), "one\n\n").expect("a file");
        std::fs::write(dir.path().join("LONG"), vec![b'x'; GRANT_VALUE_BYTES_MAX + 1]).expect("a file");
        std::fs::write(dir.path().join("RAW"), [0xff]).expect("a file");
        let policy = Policy::new(&[], Some(dir.path())).expect("a policy");
        assert!(policy.secret("A").expect("a value") == Secret::new("one\n".to_owned()));
        for (name, why) in [("LONG", "bytes"), ("RAW", "UTF-8"), ("NONE", "cannot be read")] {
            let error = format!("{:#}", policy.secret(name).expect_err(name));
            assert!(error.contains(why), "{name}: {error}");
        }
        assert!(policy.secret_help("B").contains("B"));
        assert!(Policy::new(&[dir.path().join("A")], None).is_err());
        assert!(Policy::new(&[], Some(&dir.path().join("A"))).is_err());
    }
}
