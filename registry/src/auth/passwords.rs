//! A file of passwords, as `htpasswd -B` writes it: NAME:HASH, a line each, hashed with bcrypt.
//!
//! bcrypt is slow on purpose. So few passwords are checked at once, and one that was right a short while ago is known by a
//! keyed hash of it, in memory alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use model::limits::{
    REGISTRY_PASSWORD_TIME, REGISTRY_PASSWORDS_CHECKED, REGISTRY_PASSWORDS_REMEMBERED,
    REGISTRY_PASSWORDS_WAITING,
};
use ring::hmac;
use tokio::sync::Semaphore;

use super::token::Secret;

/// How often it is looked whether the file has changed.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Why a file holds no passwords.
#[derive(thiserror::Error, Debug)]
pub enum HtpasswdError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{}, line {line}: write NAME:HASH, as `htpasswd -B` does", path.display())]
    Line { path: PathBuf, line: usize },
    #[error("{}, line {line}: the password of `{user}` is not hashed with bcrypt: write it with `htpasswd -B`", path.display())]
    Hash { path: PathBuf, line: usize, user: String },
    #[error("{}, line {line}: `{user}` is there twice", path.display())]
    Twice { path: PathBuf, line: usize, user: String },
    #[error("{} has no passwords", path.display())]
    None { path: PathBuf },
}

/// More passwords wait to be checked than may.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("too many passwords are being checked: try again in a moment")]
pub struct TooMany;

/// The passwords of a file, read again when it changes.
pub struct Passwords {
    path: PathBuf,
    hashes: RwLock<Hashes>,
    known: Mutex<HashMap<[u8; 32], Instant>>,
    key: hmac::Key,
    checking: Semaphore,
    waiting: Semaphore,
}

struct Hashes {
    by_user: HashMap<String, String>,
    looked: Instant,
    changed: Option<SystemTime>,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").field("path", &self.path).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<(HashMap<String, String>, Option<SystemTime>), HtpasswdError> {
    let failed = |error| HtpasswdError::Io { path: path.to_owned(), error };
    // Before it is read: what is written meanwhile is read again.
    let changed = path.metadata().map_err(failed)?.modified().ok();
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok((parse(path, &text)?, changed))
}

fn parse(path: &Path, text: &str) -> Result<HashMap<String, String>, HtpasswdError> {
    let mut by_user = HashMap::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let path = || path.to_owned();
        let Some((user, hash)) = text.split_once(':').filter(|(user, _)| !user.is_empty()) else {
            return Err(HtpasswdError::Line { path: path(), line });
        };
        let user = user.to_owned();
        if !["$2a$", "$2b$", "$2y$"].iter().any(|start| hash.starts_with(start)) || hash.len() != 60 {
            return Err(HtpasswdError::Hash { path: path(), line, user });
        }
        if by_user.insert(user.clone(), hash.to_owned()).is_some() {
            return Err(HtpasswdError::Twice { path: path(), line, user });
        }
    }
    if by_user.is_empty() { Err(HtpasswdError::None { path: path.to_owned() }) } else { Ok(by_user) }
}

impl Passwords {
    /// Reads a file. `secret` is this process's own.
    pub fn open(path: impl Into<PathBuf>, secret: &Secret) -> Result<Self, HtpasswdError> {
        let path = path.into();
        let (by_user, changed) = read(&path)?;
        Ok(Self {
            path,
            hashes: RwLock::new(Hashes { by_user, changed, looked: Instant::now() }),
            known: Mutex::default(),
            key: secret.key(),
            checking: Semaphore::new(REGISTRY_PASSWORDS_CHECKED),
            waiting: Semaphore::new(REGISTRY_PASSWORDS_WAITING),
        })
    }

    pub fn knows(&self, user: &str) -> bool {
        self.hash_of(user).is_some()
    }

    /// Something that changes with the password of a user; None where there is no such user.
    pub fn mark(&self, user: &str) -> Option<String> {
        let hash = self.hash_of(user)?;
        let mark = hmac::sign(&self.key, format!("mark\0{user}\0{hash}").as_bytes());
        Some(mark.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether this is the password of this user.
    pub async fn check(self: &std::sync::Arc<Self>, user: &str, password: &str) -> Result<bool, TooMany> {
        let hash = self.hash_of(user);
        let shown = format!("seen\0{user}\0{}\0{password}", hash.as_deref().unwrap_or_default());
        let mut seen = [0; 32];
        seen.copy_from_slice(hmac::sign(&self.key, shown.as_bytes()).as_ref());
        if hash.is_some() && self.was_right(&seen) {
            return Ok(true);
        }
        let _place = self.waiting.try_acquire().map_err(|_| TooMany)?;
        let _turn = self.checking.acquire().await.map_err(|_| TooMany)?;
        // Where there is no such user it takes as long: somebody else's is looked at.
        let (password, against) =
            (password.to_owned(), hash.clone().or_else(|| self.any()).unwrap_or_default());
        let check = move || bcrypt::verify(password, &against).unwrap_or(false);
        let is_right = tokio::task::spawn_blocking(check).await.unwrap_or(false) && hash.is_some();
        if is_right {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= REGISTRY_PASSWORDS_REMEMBERED {
                known.clear();
            }
            known.insert(seen, Instant::now());
        }
        Ok(is_right)
    }

    fn was_right(&self, seen: &[u8; 32]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(seen).is_some_and(|at| at.elapsed() < REGISTRY_PASSWORD_TIME)
    }

    fn any(&self) -> Option<String> {
        self.hashes.read().unwrap_or_else(PoisonError::into_inner).by_user.values().next().cloned()
    }

    fn hash_of(&self, user: &str) -> Option<String> {
        self.look();
        let hashes = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        hashes.by_user.get(user).cloned()
    }

    /// Reads the file again where it has changed. What cannot be read leaves what was.
    fn look(&self) {
        let is_due = |hashes: &Hashes| hashes.looked.elapsed() >= LOOK_AFTER;
        if !is_due(&self.hashes.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut hashes = self.hashes.write().unwrap_or_else(PoisonError::into_inner);
        if !is_due(&hashes) {
            return;
        }
        hashes.looked = Instant::now();
        let changed = self.path.metadata().and_then(|there| there.modified()).ok();
        if changed == hashes.changed {
            return;
        }
        match read(&self.path) {
            Ok((by_user, changed)) => (hashes.by_user, hashes.changed) = (by_user, changed),
            Err(error) => tracing::error!(%error, "the passwords that were read before are still the ones"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_passwords_is_read_line_by_line() {
        let hash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        let path = Path::new("users");
        let users = parse(path, &format!("# users\n\nalice:{hash}\n bob:{}\n", hash.replace("$2b$", "$2y$")))
            .expect("users");
        assert_eq!(users.len(), 2);
        for (text, wanted) in [
            ("alice\n".to_owned(), "line 1: write NAME:HASH"),
            (format!(":{hash}"), "line 1: write NAME:HASH"),
            ("alice:secret".to_owned(), "`alice` is not hashed with bcrypt"),
            ("alice:$apr1$abc".to_owned(), "htpasswd -B"),
            (format!("a:{hash}\na:{hash}"), "line 2: `a` is there twice"),
            (String::new(), "has no passwords"),
        ] {
            let error = parse(path, &text).expect_err(&text).to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn passwords_are_checked_and_a_changed_file_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("users");
        let hash = |password: &str| bcrypt::hash(password, 4).expect("a hash");
        std::fs::write(&path, format!("alice:{}\n", hash("secret"))).expect("written");
        let passwords = std::sync::Arc::new(Passwords::open(&path, &Secret::of([7; 32])).expect("passwords"));
        for _ in 0..2 {
            assert_eq!(passwords.check("alice", "secret").await, Ok(true));
            assert_eq!(passwords.check("alice", "other").await, Ok(false));
            assert_eq!(passwords.check("nobody", "secret").await, Ok(false));
        }
        let mark = passwords.mark("alice");
        assert_eq!(passwords.mark("nobody"), None);
        std::fs::write(&path, format!("alice:{}\n", hash("other"))).expect("written");
        let later = SystemTime::now() + Duration::from_secs(5);
        std::fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(later))
            .expect("a time");
        passwords.hashes.write().expect("hashes").looked = Instant::now() - LOOK_AFTER;
        assert_eq!(passwords.check("alice", "secret").await, Ok(false), "it was remembered");
        assert_eq!(passwords.check("alice", "other").await, Ok(true));
        assert_ne!(passwords.mark("alice"), mark);
    }
}
