//! Values that connectors must not show: tokens, by the name of a secret or from a file.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use flow::connector::ConnectError;
use model::limits::GRANT_VALUE_BYTES_MAX;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::roots::Roots;

/// Where a value is, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SecretFrom {
    /// The name of a secret: `CONVEYOR_SECRET_NAME`, or a file in `--secrets DIR`.
    Secret(String),
    /// A file. A line break at its end does not count.
    File(PathBuf),
}

type Lookup = dyn Fn(&str) -> Result<String, String> + Send + Sync;

/// Where values of secrets are. The default has none.
#[derive(Clone, Default)]
pub struct Secrets(Option<Arc<Lookup>>);

impl Secrets {
    /// `lookup`: the value of a secret by its name, or why there is none and what to do about it.
    pub fn new(lookup: impl Fn(&str) -> Result<String, String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(lookup)))
    }

    /// The value. `base`: what a path is relative to; `roots`: where files may lie.
    pub(crate) fn read(
        &self,
        from: &SecretFrom,
        base: &std::path::Path,
        roots: &Roots,
    ) -> Result<String, ConnectError> {
        let (what, value) = match from {
            SecretFrom::Secret(name) => {
                let what = format!("secret `{name}`");
                let value = match &self.0 {
                    Some(lookup) => lookup(name),
                    None => Err("no secrets are kept here".to_owned()),
                };
                (what, value)
            }
            SecretFrom::File(path) => {
                let what = base.join(path);
                let read = roots
                    .check(&what)
                    .map_err(|error| error.to_string())
                    .and_then(|path| std::fs::read_to_string(path).map_err(|error| error.to_string()));
                let line = |mut text: String| {
                    text.truncate(text.trim_end_matches(['\n', '\r']).len());
                    text
                };
                (what.display().to_string(), read.map(line))
            }
        };
        let value = value.and_then(|value| match value.len() {
            0 => Err("it is empty".to_owned()),
            bytes if bytes > GRANT_VALUE_BYTES_MAX => {
                Err(format!("it has {bytes} bytes, at most {GRANT_VALUE_BYTES_MAX} are taken"))
            }
            _ => Ok(value),
        });
        value.map_err(|why| ConnectError::failed(what, why, "give it a value, or name another"))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}
