//! The trust policy with its keys: what [`model::trust`] read, and what is in the files that it names.

use std::path::{Path, PathBuf};

use model::diagnostics::{Diagnostic, Diagnostics};
use model::limits::{KEY_BYTES_MAX, MANIFEST_BYTES_MAX};
use model::trust::{KeySource, TrustDecl, Verify};

use super::pattern::Pattern;
use crate::image_ref::ImageRef;
use crate::sign::PublicKey;

/// Which keys may sign for which repositories. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub(super) keys: Vec<TrustedKey>,
    pub(super) rules: Vec<Rule>,
}

/// A key, and until when what it signs counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    pub name: String,
    pub key: PublicKey,
    /// Seconds since the Unix epoch.
    pub expires: Option<i64>,
}

/// What holds for some repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub pattern: Pattern,
    pub verify: Verify,
    /// Places in the policy's keys.
    pub(super) keys: Vec<usize>,
    pub(super) signed_as: Vec<Pattern>,
}

/// Why there is no policy.
#[derive(thiserror::Error, Debug)]
pub enum PolicyError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{}: it is not UTF-8", path.display())]
    Text { path: PathBuf },
    #[error(transparent)]
    Wrong(#[from] Diagnostics),
}

impl Policy {
    /// Reads a policy and the keys that it names, which lie beside it or where it says.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let failed = |error| PolicyError::Io { path: path.to_owned(), error };
        let bytes = bounded(path, MANIFEST_BYTES_MAX).map_err(failed)?;
        let text = String::from_utf8(bytes).map_err(|_| PolicyError::Text { path: path.to_owned() })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let load = |file: &str| {
            let path = directory.join(file);
            let bytes =
                bounded(&path, KEY_BYTES_MAX).map_err(|error| format!("{}: {error}", path.display()))?;
            String::from_utf8(bytes).map_err(|_| format!("{}: it is not UTF-8", path.display()))
        };
        Ok(Self::of(&model::trust::parse(&path.display().to_string(), &text)?, load)?)
    }

    /// `load` gives what is in a file of a key.
    pub fn of(decl: &TrustDecl, load: impl Fn(&str) -> Result<String, String>) -> Result<Self, Diagnostics> {
        let mut problems = Vec::new();
        let keys: Vec<_> = decl
            .keys
            .iter()
            .filter_map(|key| {
                let text = match &key.source.value {
                    KeySource::File(file) => load(file),
                    KeySource::Pem(pem) => Ok(pem.clone()),
                };
                match text.and_then(|text| PublicKey::from_pem(&text).map_err(|error| error.to_string())) {
                    Ok(public) => {
                        Some(TrustedKey { name: key.name.value.clone(), key: public, expires: key.expires })
                    }
                    Err(why) => {
                        let message = format!("there is no key `{}`: {why}", key.name.value);
                        problems
                            .push(Diagnostic::new("trust::key", message).label(key.source.span, "this one"));
                        None
                    }
                }
            })
            .collect();
        let mut rules: Vec<Rule> = Vec::new();
        for rule in &decl.rules {
            let mut pattern = |text: &model::diagnostics::Spanned<String>| {
                text.value.parse::<Pattern>().map_err(|why| {
                    let message = format!("`{}` names no repositories", text.value);
                    let wrong = Diagnostic::new("trust::repository", message);
                    problems.push(wrong.label(text.span, "here").help(why.to_string()));
                })
            };
            let signed_as: Vec<_> = rule.signed_as.iter().filter_map(|text| pattern(text).ok()).collect();
            let Ok(pattern) = pattern(&rule.pattern) else { continue };
            if rules.iter().any(|other| other.pattern == pattern) {
                let message = format!("there are two rules for {pattern}");
                let twice = Diagnostic::new("trust::duplicate-key", message);
                problems.push(twice.label(rule.pattern.span, "given again here").help("keep one of them"));
                continue;
            }
            rules.push(Rule { pattern, verify: rule.verify, keys: rule.keys.clone(), signed_as });
        }
        Diagnostics::check(decl.text.clone(), problems)?;
        Ok(Self { keys, rules })
    }

    /// That the one image has to be signed with the one key, of which nothing else is known.
    pub fn of_key(image: &ImageRef, name: &str, key: PublicKey) -> Self {
        let pattern = Pattern::One(image.registry.clone(), image.repository.clone());
        let rule = Rule { pattern, verify: Verify::Require, keys: vec![0], signed_as: Vec::new() };
        Self { keys: vec![TrustedKey { name: name.to_owned(), key, expires: None }], rules: vec![rule] }
    }

    /// The rule that says most of an image's repository.
    pub fn rule(&self, image: &ImageRef) -> Option<&Rule> {
        let rules = self.rules.iter().filter(|rule| rule.pattern.is_of(&image.registry, &image.repository));
        rules.max_by_key(|rule| rule.pattern.weight())
    }

    /// What is asked of everything, whatever it is called.
    pub(super) fn of_all(&self) -> Option<Verify> {
        self.rules.iter().find(|rule| rule.pattern == Pattern::Any).map(|rule| rule.verify)
    }

    /// What is known of a key that was seen before.
    pub(super) fn known(&self, key: &PublicKey) -> Option<&TrustedKey> {
        self.keys.iter().find(|known| known.key == *key)
    }
}

/// A file of at most so many bytes, and one byte of what is more.
fn bounded(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    disk::open_file(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
