//! `conveyor key ...`: keys that sign, and reading them.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use model::limits::{KEY_BYTES_MAX, KEY_PASSWORD_BYTES_MAX};
use registry::sign::{Key, KeyKind, Password, PublicKey};

use crate::exit::{Failure, Result};
use crate::terminal;

/// Keys that sign stages
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    Generate(Generate),
}

/// Makes a key that signs, and the public key that others check with: PREFIX.key and PREFIX.pub
///
/// Both are files as cosign has them. The private key is sealed with a password, which is that of CONVEYOR_KEY_PASSWORD or
/// COSIGN_PASSWORD, or is asked for; an empty one is none that protects. A file that is there is not replaced.
#[derive(Debug, Args)]
pub(super) struct Generate {
    /// What both files are called, up to their endings
    #[arg(long, value_name = "PREFIX", default_value = "conveyor")]
    out: PathBuf,
    /// Make an Ed25519 key, whose signatures Conveyor alone checks, rather than a P-256 key
    #[arg(long)]
    ed25519: bool,
    /// Write the private key as it is, without a password: PKCS #8 in PEM
    #[arg(long, conflicts_with = "password_stdin")]
    unencrypted: bool,
    #[command(flatten)]
    password: PasswordOptions,
}

/// Where the password of a key comes from.
#[derive(Debug, Args)]
pub(super) struct PasswordOptions {
    /// Read the password of the key from standard input, to its end without the last line break
    #[arg(long)]
    pub(super) password_stdin: bool,
}

/// The variables that a password is looked for in, the first of which counts.
const VARIABLES: [&str; 2] = ["CONVEYOR_KEY_PASSWORD", "COSIGN_PASSWORD"];

impl Keys {
    pub(super) fn execute(self) -> Result {
        match self {
            Self::Generate(verb) => verb.execute(),
        }
    }
}

impl Generate {
    fn execute(self) -> Result {
        let (private, public) = (with_ending(&self.out, "key"), with_ending(&self.out, "pub"));
        for path in [&private, &public] {
            if path.symlink_metadata().is_ok() {
                return Err(Failure::Input(anyhow!(
                    "{} is there, and keys are never replaced: give another --out",
                    path.display()
                )));
            }
        }
        let kind = if self.ed25519 { KeyKind::Ed25519 } else { KeyKind::P256 };
        let password = match self.unencrypted {
            true => None,
            false => Some(self.password.read("password for the new key:", true)?),
        };
        let key = Key::generate(kind).map_err(Failure::ran)?;
        let sealed = key.to_pem(password.as_deref().map(Vec::as_slice)).map_err(Failure::ran)?;
        let of_others = key.public().and_then(|public| public.to_pem()).map_err(Failure::ran)?;
        write_new(&private, sealed.as_bytes(), 0o600)?;
        if let Err(failure) = write_new(&public, of_others.as_bytes(), 0o644) {
            // Half a pair is of no use, and would be in the way.
            let _ = std::fs::remove_file(&private);
            return Err(failure);
        }
        let how = match &password {
            None => "without a password: whoever reads it can sign",
            Some(password) if password.is_empty() => {
                "sealed with an empty password: whoever reads it can sign"
            }
            Some(_) => "sealed with the password",
        };
        terminal::say(format!("{}: the key that signs ({kind}), {how}", private.display()));
        terminal::say(format!("{}: the public key, for whoever checks what it signs", public.display()));
        Ok(())
    }
}

fn with_ending(prefix: &Path, ending: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    path.into()
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result {
    let named = || path.display().to_string();
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.with_context(named).map_err(Failure::Input)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written.with_context(named).map_err(Failure::Ran)
}

/// The private key in a file; its password is asked for where it has one.
pub(super) fn private(path: &Path, password: &PasswordOptions) -> Result<Key> {
    let named = || format!("the key {}", path.display());
    let text = text(path)?;
    let is_sealed = Key::is_sealed(&text).with_context(named).map_err(Failure::Input)?;
    let password = match is_sealed {
        true => Some(password.read(&format!("password of {}:", path.display()), false)?),
        false => None,
    };
    let key = Key::from_pem(&text, password.as_deref().map(Vec::as_slice));
    key.with_context(named).map_err(Failure::Input)
}

pub(super) fn public(path: &Path) -> Result<PublicKey> {
    let key = PublicKey::from_pem(&text(path)?);
    key.with_context(|| format!("the key {}", path.display())).map_err(Failure::Input)
}

fn text(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(KEY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.with_context(|| {
        format!("the key {} (`conveyor key generate` makes one, and says what it is called)", path.display())
    })
    .map_err(Failure::Input)?;
    String::from_utf8(bytes).map_err(|_| {
        Failure::Input(anyhow!("the key {}: it is no text, and keys are in PEM", path.display()))
    })
}

impl PasswordOptions {
    /// `is_new` is asked for twice.
    fn read(&self, question: &str, is_new: bool) -> Result<Password> {
        if self.password_stdin {
            return from_stdin();
        }
        if let Some(found) = VARIABLES.iter().find_map(std::env::var_os) {
            return bounded(Password::new(found.into_vec()));
        }
        if !io::stdin().is_terminal() || !terminal::is_terminal() {
            return Err(Failure::Input(anyhow!(
                "a password is wanted, and nobody can be asked: set {}, or give --password-stdin",
                VARIABLES[0]
            )));
        }
        let password = ask(question, is_new)?;
        if is_new && *ask("the same again:", is_new)? != *password {
            return Err(Failure::Input(anyhow!("these were two passwords: nothing was written")));
        }
        bounded(password)
    }
}

fn from_stdin() -> Result<Password> {
    let mut bytes = Password::default();
    let most = KEY_PASSWORD_BYTES_MAX as u64 + 2;
    io::stdin().lock().take(most).read_to_end(&mut bytes).context("standard input").map_err(Failure::Ran)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bounded(bytes)
}

/// Without an echo.
fn ask(question: &str, is_new: bool) -> Result<Password> {
    terminal::ask(question).map_err(Failure::ran)?;
    let line = console::Term::stderr().read_secure_line().context("the terminal").map_err(Failure::Ran)?;
    if line.is_empty() && is_new {
        return Err(Failure::Input(anyhow!(
            "no password was typed, and nothing was written: type one, or say `--unencrypted`"
        )));
    }
    Ok(Password::new(line.into_bytes()))
}

fn bounded(password: Password) -> Result<Password> {
    if password.len() > KEY_PASSWORD_BYTES_MAX {
        return Err(Failure::Input(anyhow!("a password has at most {KEY_PASSWORD_BYTES_MAX} bytes")));
    }
    Ok(password)
}
