//! Which node is meant: one that was named, that of a context, or `conveyor up` of this user.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use model::limits::{API_TOKEN_BYTES_MAX, CONTEXTS_BYTES_MAX};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ClientError;

/// Where a node is, and what it is shown.
pub struct Place {
    /// Ends with `/`.
    pub url: Url,
    pub token: Option<Zeroizing<String>>,
    /// Certificates that are trusted beside those of the system.
    pub ca_cert: Option<PathBuf>,
    /// By what it was found, for people.
    pub found: String,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.url, self.found)
    }
}

/// What somebody has said of the node, by options and by the environment.
#[derive(Clone, Debug, Default)]
pub struct Named {
    pub node: Option<String>,
    pub context: Option<String>,
    pub token: Option<Zeroizing<String>>,
    pub token_file: Option<PathBuf>,
    pub ca_cert: Option<PathBuf>,
}

/// The nodes that somebody speaks to, each under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Contexts {
    /// Which is meant where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Context {
    pub url: String,
    /// In which its token is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Certificates that are trusted beside those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,
    /// Which is meant where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// By what `conveyor up` is found: it writes this file, and takes it away when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpFile {
    pub url: String,
    pub token_file: PathBuf,
}

/// Why nobody knows which node is meant.
#[derive(thiserror::Error, Debug)]
pub enum PlaceError {
    #[error("`{url}` is no address of a node: {why}; write http://HOST:PORT or https://HOST:PORT")]
    Url { url: String, why: String },
    #[error("there is no context `{name}`; `conveyor context list` shows those that there are")]
    NoContext { name: String },
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Contexts {
    /// What is in the file; nothing where there is none.
    pub fn read(path: &Path) -> Result<Self, PlaceError> {
        let Some(text) = read(path, CONTEXTS_BYTES_MAX)? else { return Ok(Self::default()) };
        toml::from_str(&text).map_err(|error| wrong(path, format!("{error}\nmend the file, or take it away")))
    }

    /// Puts it into the file, as a whole.
    pub fn write(&self, path: &Path) -> Result<(), PlaceError> {
        let text = toml::to_string(self).map_err(|error| wrong(path, error.to_string()))?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(dir).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)
        });
        written.map(|_| ()).map_err(|error| wrong(path, format!("{error}; it is as it was")))
    }

    /// That which is meant, with its name.
    pub fn meant(&self, named: Option<&str>) -> Result<Option<(&str, &Context)>, PlaceError> {
        let Some(name) = named.or(self.current.as_deref()) else { return Ok(None) };
        let found = self.contexts.get_key_value(name);
        let (name, context) = found.ok_or_else(|| PlaceError::NoContext { name: name.to_owned() })?;
        Ok(Some((name, context)))
    }
}

/// Finds the node. `up`: the file that `conveyor up` writes.
pub fn find(named: Named, contexts: &Contexts, up: Option<&Path>) -> Result<Place, PlaceError> {
    let Named { node, context, token, token_file, ca_cert } = named;
    let (text, of_place, of_context, found) = if let Some(node) = node {
        (node, None, None, "named by `--node` or CONVEYOR_NODE".to_owned())
    } else if let Some((name, context)) = contexts.meant(context.as_deref())? {
        let found = format!("the context `{name}`");
        (context.url.clone(), context.token_file.clone(), context.ca_cert.clone(), found)
    } else {
        let path = up.ok_or(ClientError::NoNode)?;
        let text = read(path, CONTEXTS_BYTES_MAX)?.ok_or(ClientError::NoNode)?;
        let up: UpFile = serde_json::from_str(&text)
            .map_err(|error| wrong(path, format!("{error}; start `conveyor up` again, which writes it")))?;
        // Whoever has its port since it was killed is not told the token.
        if !is_held(&up.token_file) {
            return Err(ClientError::NoNode.into());
        }
        (up.url, Some(up.token_file), None, format!("`conveyor up`, as {} says", path.display()))
    };
    let url = url(&text)?;
    let token = match (token, token_file.or(of_place)) {
        (Some(token), _) => Some(token),
        (None, Some(path)) => Some(self::token(&path)?),
        (None, None) => None,
    };
    Ok(Place { url, token, ca_cert: ca_cert.or(of_context), found })
}

/// Whether a node has the directory in which its token is, and its lock beside that.
fn is_held(token_file: &Path) -> bool {
    let lock = token_file.with_file_name("lock");
    let taken = std::fs::File::open(lock).map(|file| file.try_lock());
    matches!(taken, Ok(Err(std::fs::TryLockError::WouldBlock)))
}

/// The address of a node, which ends with `/`.
pub fn url(text: &str) -> Result<Url, PlaceError> {
    let wrong = |why: &str| PlaceError::Url { url: text.to_owned(), why: why.to_owned() };
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it has neither http:// nor https://"));
    }
    if url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it has a host, and no name and password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("nothing comes behind its path"));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// The token in a file: what is in it, without the line break at its end.
fn token(path: &Path) -> Result<Zeroizing<String>, PlaceError> {
    let text = read(path, API_TOKEN_BYTES_MAX as u64)?;
    let text = text.ok_or_else(|| {
        wrong(path, "there is no such file; name that with the token of the node".to_owned())
    })?;
    let token = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    match token.is_empty() {
        true => Err(wrong(path, "it is empty; put the token of the node there".to_owned())),
        false => Ok(token),
    }
}

fn wrong(path: &Path, why: String) -> PlaceError {
    PlaceError::File { path: path.to_owned(), why }
}

/// The text of a file; none where there is no such file.
fn read(path: &Path, bytes_max: u64) -> Result<Option<Zeroizing<String>>, PlaceError> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| wrong(path, error.to_string()))?,
    };
    let mut text = Zeroizing::new(String::new());
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(|error| wrong(path, error.to_string()))?;
    match text.len() as u64 > bytes_max {
        true => Err(wrong(
            path,
            format!("it has more than {bytes_max} bytes, which is too much for what it is to be"),
        )),
        false => Ok(Some(text)),
    }
}

pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts(text: &str) -> Contexts {
        toml::from_str(text).expect("contexts")
    }

    fn two(dir: &Path) -> Contexts {
        contexts(&format!(
            "current = 'a'\n[contexts.a]\nurl = 'https://a.example'\n[contexts.b]\nurl = 'http://127.0.0.1:1/x'\n\
             token-file = '{}'\nca-cert = '/ca.pem'\nnamespace = 'team'\n",
            dir.join("token").display()
        ))
    }

    #[test]
    fn who_is_named_comes_first_then_the_context_then_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let up = dir.path().join("up.json");
        std::fs::write(dir.path().join("token"), "secret\n").expect("written");
        let contexts = two(dir.path());
        let find = |named, contexts: &Contexts| {
            find(named, contexts, Some(&up)).map(|place| {
                let token = place.token.as_deref().cloned();
                (place.url.to_string(), token, place.ca_cert, place.found)
            })
        };
        let node = Named {
            node: Some("http://localhost:5000".into()),
            context: Some("b".into()),
            ..Named::default()
        };
        let (url, token, _, _) = find(node, &contexts).expect("found");
        assert_eq!((url.as_str(), token), ("http://localhost:5000/", None));
        let b = Named { context: Some("b".into()), ..Named::default() };
        let (url, token, ca_cert, found) = find(b, &contexts).expect("found");
        assert_eq!((url.as_str(), token.as_deref()), ("http://127.0.0.1:1/x/", Some("secret")));
        assert_eq!((ca_cert, found.as_str()), (Some("/ca.pem".into()), "the context `b`"));
        let (url, ..) = find(Named::default(), &contexts).expect("found");
        assert_eq!(url, "https://a.example/");
        let none =
            find(Named { context: Some("c".into()), ..Named::default() }, &contexts).expect_err("none");
        assert!(none.to_string().contains("no context `c`"), "{none}");

        let nobody = find(Named::default(), &Contexts::default()).expect_err("nobody runs");
        assert!(matches!(nobody, PlaceError::Client(ClientError::NoNode)), "{nobody}");
        let here = UpFile { url: "http://127.0.0.1:5".into(), token_file: dir.path().join("token") };
        std::fs::write(&up, serde_json::to_string(&here).expect("JSON")).expect("written");
        let lock = std::fs::File::create(dir.path().join("lock")).expect("a file");
        let gone = find(Named::default(), &Contexts::default()).expect_err("it was killed");
        assert!(matches!(gone, PlaceError::Client(ClientError::NoNode)), "{gone}");
        lock.lock().expect("locked");
        let (url, token, _, found) = find(Named::default(), &Contexts::default()).expect("found");
        assert_eq!((url.as_str(), token.as_deref()), ("http://127.0.0.1:5/", Some("secret")));
        assert!(found.contains("up.json"), "{found}");
        let given = Named { token: Some(Zeroizing::new("other".into())), ..Named::default() };
        assert_eq!(find(given, &Contexts::default()).expect("found").1.as_deref(), Some("other"));
        for (name, text) in [("up.json", "{"), ("token", ""), ("token", &"x".repeat(API_TOKEN_BYTES_MAX + 1))]
        {
            std::fs::write(&up, serde_json::to_string(&here).expect("JSON")).expect("written");
            std::fs::write(dir.path().join(name), text).expect("written");
            let error = find(Named::default(), &Contexts::default()).expect_err("it is wrong").to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn contexts_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/config.toml");
        assert_eq!(Contexts::read(&path).expect("nothing"), Contexts::default());
        let contexts = two(dir.path());
        contexts.write(&path).expect("written");
        assert_eq!(Contexts::read(&path).expect("read"), contexts);
        std::fs::write(&path, "current = 1\nother = 2").expect("written");
        let error = Contexts::read(&path).expect_err("it is wrong").to_string();
        assert!(error.contains("config.toml") && error.contains("mend the file"), "{error}");
    }

    #[test]
    fn an_address_is_one_of_a_node() {
        for text in
            ["", "localhost:5000", "ftp://a", "http://", "http://u:p@a", "https://a/?x", "https://a/#x"]
        {
            assert!(url(text).is_err(), "{text}");
        }
        assert_eq!(url("https://a:1/b").expect("one").as_str(), "https://a:1/b/");
    }
}
