//! Programs that keep passwords: `docker-credential-NAME get|store|erase`, which are told on their standard input and answer
//! on their standard output.
//!
//! <https://github.com/docker/docker-credential-helpers#development>.

use std::ffi::OsString;
use std::io::{Read, Seek as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use model::limits::{CLIENT_HELPER_BYTES_MAX, CLIENT_HELPER_TIME};
use serde::Deserialize;
use serde_json::json;

use super::{Credential, CredentialsError, TOKEN_USER};
use crate::client::failure::shown;

/// What a program says that has nothing of a registry. No other failure means that.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// How often it is looked whether a program has ended that has said everything.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(super) struct Helper {
    pub(super) name: String,
    pub(super) host: String,
    /// The file that names it.
    pub(super) config: PathBuf,
    pub(super) programs: Option<OsString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// What came of a program.
struct Ended {
    is_done: bool,
    said: String,
    complained: String,
}

impl Helper {
    pub(super) fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    pub(super) fn get(&self, server: &str) -> Result<Credential, CredentialsError> {
        let ended = self.run("get", server)?;
        if !ended.is_done {
            let is_not_found = ended.said.trim() == NOT_FOUND;
            return if is_not_found { Ok(Credential::Anonymous) } else { Err(self.failed("get", &ended)) };
        }
        let given: Given = serde_json::from_str(&ended.said)
            .map_err(|_| self.wrong("answered `get` with what is no name and password in JSON"))?;
        Ok(match given.username.as_str() {
            "" if given.secret.is_empty() => Credential::Anonymous,
            TOKEN_USER => Credential::Identity { user: String::new(), token: given.secret },
            _ => Credential::Password { user: given.username, password: given.secret },
        })
    }

    pub(super) fn store(&self, server: &str, user: &str, secret: &str) -> Result<(), CredentialsError> {
        let told = json!({ "ServerURL": server, "Username": user, "Secret": secret }).to_string();
        let ended = self.run("store", &told)?;
        if ended.is_done { Ok(()) } else { Err(self.failed("store", &ended)) }
    }

    pub(super) fn erase(&self, server: &str) -> Result<(), CredentialsError> {
        let ended = self.run("erase", server)?;
        if ended.is_done || ended.said.trim() == NOT_FOUND {
            return Ok(());
        }
        Err(self.failed("erase", &ended))
    }

    fn wrong(&self, why: impl Into<String>) -> CredentialsError {
        let (program, host, path) = (self.program(), self.host.clone(), self.config.clone());
        CredentialsError::Helper { program, host, path, why: why.into() }
    }

    fn failed(&self, verb: &str, ended: &Ended) -> CredentialsError {
        let said = [&ended.said, &ended.complained].map(|text| shown(text));
        let said: Vec<&str> = said.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let said = if said.is_empty() { "it does not say why".to_owned() } else { said.join("; ") };
        self.wrong(format!("failed to {verb}: {said}"))
    }

    fn run(&self, verb: &str, told: &str) -> Result<Ended, CredentialsError> {
        // What it complains of is no secret, and a file is at its end when the program is. Its answer is one, and goes through
        // memory alone.
        let complaints = tempfile::tempfile().and_then(|file| Ok((file.try_clone()?, file)));
        let (mut complaints, for_it) =
            complaints.map_err(|error| CredentialsError::File { path: std::env::temp_dir(), error })?;
        let mut command = Command::new(self.program());
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(for_it);
        if let Some(programs) = &self.programs {
            command.env("PATH", programs);
        }
        let mut child = command.spawn().map_err(|error| {
            self.wrong(format!("cannot be run: {error}; install it, or take it out of that file"))
        })?;
        let said = gathered(child.stdout.take());
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not want to know closes its end; how it ends says what that means.
            let _ = stdin.write_all(told.as_bytes());
        }
        let said = said.recv_timeout(CLIENT_HELPER_TIME);
        let status = self.wait(verb, &mut child, said.is_ok())?;
        let mut complained = vec![];
        // Nothing of it is nothing to tell.
        let _ = complaints.rewind();
        let _ = complaints.take(CLIENT_HELPER_BYTES_MAX).read_to_end(&mut complained);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let said = said.unwrap_or_default();
        Ok(Ended { is_done: status.success(), said: text(said), complained: text(complained) })
    }

    /// Waits for a program to end that has said everything; one that has not in its time is ended.
    fn wait(&self, verb: &str, child: &mut Child, has_said: bool) -> Result<ExitStatus, CredentialsError> {
        let mut waited = Duration::ZERO;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if has_said && waited < CLIENT_HELPER_TIME => {
                    thread::sleep(LOOK_EVERY);
                    waited += LOOK_EVERY;
                }
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let seconds = CLIENT_HELPER_TIME.as_secs();
                    return Err(self.wrong(format!("has not answered `{verb}` in {seconds} s")));
                }
                Err(error) => return Err(self.wrong(format!("cannot be waited for: {error}"))),
            }
        }
    }
}

/// All that comes out of a pipe, up to a bound.
fn gathered(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut bytes = vec![];
        if let Some(pipe) = pipe {
            // What was read before it broke is what there is.
            let _ = pipe.take(CLIENT_HELPER_BYTES_MAX).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}
