//! Secrets, sealed: what the control state has of them says nothing to anybody without the key.
//!
//! The key is in a file of its own, which is in no backup. A secret is sealed with its name, so that it opens under no
//! other one. XChaCha is not needed: 96 random bits for each of fewer than 2^32 seals do not meet (RFC 8439, and
//! NIST SP 800-38D, 8.3, for the bound).

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use disk::{Disk as _, SystemDisk, dir_of};
use model::limits::SECRET_KEY_FILE_BYTES_MAX;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use zeroize::{Zeroize as _, Zeroizing};

use crate::sealed::SEALED_BYTES_MORE;
pub use crate::sealed::Sealed;
use crate::state::SecretName;

/// What begins the file with a key.
const HEAD: &str = "conveyor-secret-key-1 ";
const KEY_BYTES: usize = 32;
const MARK_BYTES: usize = 16;
/// A secret as it is. Never shown, and gone from memory with it.
pub struct Plain(Zeroizing<Vec<u8>>);

impl Plain {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }
}

/// What seals secrets and opens them.
pub struct SecretKey {
    id: String,
    seal: LessSafeKey,
    mark: hmac::Key,
    random: SystemRandom,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key {}", self.id)
    }
}

/// Why there is no key, or a secret stays closed.
#[derive(thiserror::Error, Debug)]
pub enum SealError {
    #[error("the key of secrets in {} cannot be read or made: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error(
        "{} can be read by others (mode {mode:03o}): secrets are not safe with it. Run `chmod 600 {}`, and set secrets anew \
         that others may have read", path.display(), path.display()
    )]
    Open { path: PathBuf, mode: u32 },
    #[error("{} is no key of secrets; put back the file that was there, or name another with `--secret-key-file`", path.display())]
    NoKey { path: PathBuf },
    #[error(
        "there is no key of secrets in {}; put back the file that was there, or name it with `--secret-key-file`", path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "`{secret}` was sealed with the key {found}, and this node has {has}; put back the file of that key, or set the secret \
         again"
    )]
    OtherKey { secret: SecretName, found: String, has: String },
    #[error("`{secret}` is not what was sealed under that name; set it again")]
    Broken { secret: SecretName },
    #[error("the machine gives no random numbers; try again")]
    NoRandom,
}

impl SecretKey {
    /// The key in a file, which is made where there is none.
    pub fn open_or_make(path: &Path) -> Result<Self, SealError> {
        match Self::open(path) {
            Err(SealError::Missing { .. }) => {}
            opened => return opened,
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        ring::rand::SystemRandom::new().fill(&mut *key).map_err(|_| SealError::NoRandom)?;
        let mut text = Zeroizing::new(format!("{HEAD}{}\n", STANDARD.encode(*key)));
        let made = make(path, text.as_bytes()).map_err(|why| SealError::Io { path: path.to_owned(), why });
        text.zeroize();
        made?;
        // Where another process has been quicker, its key counts.
        Self::open(path)
    }

    /// The key in a file that is there.
    pub fn open(path: &Path) -> Result<Self, SealError> {
        let failed = |why| SealError::Io { path: path.to_owned(), why };
        let file = match std::fs::File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(SealError::Missing { path: path.to_owned() });
            }
            file => file.map_err(failed)?,
        };
        let there = file.metadata().map_err(failed)?;
        let mode = there.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SealError::Open { path: path.to_owned(), mode });
        }
        let no_key = || SealError::NoKey { path: path.to_owned() };
        let mut text = Zeroizing::new(String::new());
        let read = file.take(SECRET_KEY_FILE_BYTES_MAX + 1).read_to_string(&mut text);
        match read {
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(no_key()),
            read => read.map_err(failed)?,
        };
        let key = text.trim_end().strip_prefix(HEAD).and_then(|key| STANDARD.decode(key).ok());
        let key = Zeroizing::new(key.ok_or_else(no_key)?);
        let key: &[u8; KEY_BYTES] = key.as_slice().try_into().map_err(|_| no_key())?;
        Self::of(key).ok_or_else(no_key)
    }

    fn of(key: &[u8; KEY_BYTES]) -> Option<Self> {
        let root = Salt::new(HKDF_SHA256, b"conveyor secrets").extract(key);
        let seal = UnboundKey::new(&CHACHA20_POLY1305, &*derived(&root, b"seal")?).ok()?;
        let mark = hmac::Key::new(hmac::HMAC_SHA256, &*derived(&root, b"mark")?);
        let id = derived(&root, b"id")?[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { id, seal: LessSafeKey::new(seal), mark, random: SystemRandom::new() })
    }

    /// Says which key it is, and nothing about it.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn seal(&self, secret: &SecretName, plain: &Plain) -> Result<Sealed, SealError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SealError::NoRandom)?;
        // With room for the tag, so that what is in it is never copied.
        let mut text = Vec::with_capacity(plain.0.len() + SEALED_BYTES_MORE);
        text.extend_from_slice(&plain.0);
        let about = Aad::from(secret.to_string());
        let tag = self.seal.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), about, &mut text);
        let tag = tag.map_err(|_| SealError::Broken { secret: secret.clone() })?;
        let text: Vec<u8> = nonce.iter().chain(&text).chain(tag.as_ref()).copied().collect();
        let mut mark = hmac::Context::with_key(&self.mark);
        mark.update(secret.to_string().as_bytes());
        mark.update(&[0]);
        mark.update(&plain.0);
        let mark = mark.sign().as_ref()[..MARK_BYTES].to_vec();
        Ok(Sealed { key: self.id.clone(), mark: mark.into(), text: text.into() })
    }

    pub fn open_sealed(&self, secret: &SecretName, sealed: &Sealed) -> Result<Plain, SealError> {
        if sealed.key != self.id {
            let (found, has) = (sealed.key.clone(), self.id.clone());
            return Err(SealError::OtherKey { secret: secret.clone(), found, has });
        }
        let broken = || SealError::Broken { secret: secret.clone() };
        let (nonce, text) = sealed.text.as_slice().split_first_chunk().ok_or_else(broken)?;
        let mut text = Zeroizing::new(text.to_vec());
        let about = Aad::from(secret.to_string());
        let opened = self.seal.open_in_place(Nonce::assume_unique_for_key(*nonce), about, &mut text);
        let bytes = opened.map_err(|_| broken())?.len();
        text.truncate(bytes);
        Ok(Plain(text))
    }
}

fn derived(root: &Prk, what: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    root.expand(&[what], HKDF_SHA256).ok()?.fill(&mut *key).ok()?;
    Some(key)
}

/// Durable, whole, and never in the place of another.
fn make(path: &Path, text: &[u8]) -> io::Result<()> {
    let making = path.with_extension("making");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&making)?;
    // What a crash left there may have been made by somebody with another mask.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    file.write_all(text)?;
    file.sync_all()?;
    match renameat_with(CWD, &making, CWD, path, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::EXIST) => std::fs::remove_file(&making)?,
        // Some file systems cannot promise that nothing is replaced.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::rename(&making, path)?,
        renamed => renamed?,
    }
    SystemDisk.sync_dir(dir_of(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key() -> (tempfile::TempDir, SecretKey) {
        let dir = tempfile::tempdir().expect("a directory");
        let key = SecretKey::open_or_make(&dir.path().join("secret.key")).expect("a key");
        (dir, key)
    }

    fn name(text: &str) -> SecretName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_secret_opens_as_it_was_under_its_own_name_and_key_alone() {
        let ((dir, key), (_other_dir, other)) = (key(), key());
        for plain in [b"".as_slice(), b"hunter2", &[0; 70_000]] {
            let sealed = key.seal(&name("default/A"), &Plain::new(plain.to_vec())).expect("sealed");
            assert_eq!(sealed.bytes() as usize, plain.len() + SEALED_BYTES_MORE);
            let again = SecretKey::open(&dir.path().join("secret.key")).expect("the same key");
            let opened = again.open_sealed(&name("default/A"), &sealed).expect("opened");
            assert_eq!(opened.as_bytes(), plain);
            assert!(matches!(key.open_sealed(&name("default/B"), &sealed), Err(SealError::Broken { .. })));
            assert!(matches!(
                other.open_sealed(&name("default/A"), &sealed),
                Err(SealError::OtherKey { .. })
            ));
            for at in [0, sealed.text.as_slice().len() - 1] {
                let mut text = sealed.text.as_slice().to_vec();
                text[at] ^= 1;
                let changed = Sealed { text: text.into(), ..sealed.clone() };
                assert!(key.open_sealed(&name("default/A"), &changed).is_err(), "byte {at}");
            }
            let short = Sealed { text: vec![1, 2].into(), ..sealed };
            assert!(key.open_sealed(&name("default/A"), &short).is_err());
        }
    }

    #[test]
    fn what_is_kept_differs_each_time_and_its_mark_does_not() {
        let (_dir, key) = key();
        let seal = |secret: &str, plain: &[u8]| {
            key.seal(&name(secret), &Plain::new(plain.to_vec())).expect("sealed")
        };
        let (one, same) = (seal("default/A", b"x"), seal("default/A", b"x"));
        assert_ne!(one.text, same.text);
        assert_eq!(one.mark, same.mark);
        assert_ne!(one.mark, seal("default/A", b"y").mark);
        assert_ne!(one.mark, seal("default/B", b"x").mark);
        let shown = format!("{one:?} {:?} {key:?}", Plain::new(b"hunter2".to_vec()));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_file_that_is_no_key_or_that_others_read_is_refused_and_stays() {
        let (dir, _) = key();
        let path = dir.path().join("secret.key");
        let mode =
            |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        assert_eq!(path.metadata().expect("there").mode() & 0o777, 0o600);
        for open in [0o640, 0o604, 0o660] {
            mode(open);
            let error = SecretKey::open_or_make(&path).expect_err("others read it").to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        mode(0o600);
        for text in ["", "hello", "conveyor-secret-key-1 AAAA\n", "conveyor-secret-key-2 AAAA"] {
            std::fs::write(&path, text).expect("written");
            assert!(matches!(SecretKey::open_or_make(&path), Err(SealError::NoKey { .. })), "{text}");
            assert_eq!(std::fs::read_to_string(&path).expect("there"), text);
        }
        std::fs::write(&path, [0xff; 20]).expect("written");
        assert!(matches!(SecretKey::open_or_make(&path), Err(SealError::NoKey { .. })));
        let missing = dir.path().join("missing");
        assert!(matches!(SecretKey::open(&missing), Err(SealError::Missing { .. })));
    }

    #[test]
    fn two_who_make_a_key_at_once_have_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret.key");
        std::fs::write(dir.path().join("secret.making"), "left by a crash").expect("written");
        let one = SecretKey::open_or_make(&path).expect("a key");
        make(&path, b"another").expect("it gives way");
        assert_eq!(SecretKey::open_or_make(&path).expect("a key").id(), one.id());
        assert_eq!(std::fs::read_dir(dir.path()).expect("names").count(), 1);
    }
}
