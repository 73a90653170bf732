//! Whether an image is what it is trusted to be: a decision over values.

use std::fmt;

use model::convert::times::write_seconds;
use model::ids::Digest;
use model::plain;
use model::trust::Verify;

use super::memory::Seen;
use super::pattern::Pattern;
use super::policy::{Policy, TrustedKey};
use crate::image_ref::{ImageRef, Place};
use crate::sign::{Claim, KeyKind, Layout, PublicKey, Says, Signature, Signed};

/// What is to become of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what it is trusted to be.
    Accepted { by: By },
    /// It is run, and its user is told.
    Warn { expected: String, came: String },
    /// It is not run.
    Refused { expected: String, came: String },
}

/// Why an image is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// It has the digest that was written down, and nobody asks for more.
    Digest,
    /// A key that may sign for it has signed it.
    Key {
        /// As the policy calls it.
        name: String,
        key: Box<PublicKey>,
        layout: Layout,
        /// Whether it would have been refused without.
        is_required: bool,
    },
}

/// Of many signatures that do not count, so many are told of.
const TOLD_MAX: usize = 5;

/// Judges an image. Its reference has the digest of the lock where there is one; `digest` is what is about to be run, and
/// `signatures` what lies beside it. `now` is in seconds since the Unix epoch.
///
/// A repository that no rule names, and that was signed when one did, has to be signed with the keys of then.
pub fn judge(
    policy: &Policy,
    seen: &Seen,
    image: &ImageRef,
    digest: &Digest,
    signatures: &[Signature],
    now: i64,
) -> Verdict {
    if let Some(written) = image.digest.filter(|written| written != digest) {
        return Verdict::Refused {
            expected: format!("{image}, which is {written}"),
            came: digest.to_string(),
        };
    }
    let case = match policy.rule(image) {
        Some(rule) => {
            let keys = rule.keys.iter().filter_map(|&at| policy.keys.get(at)).cloned().collect();
            Case { policy, image, digest, keys, signed_as: &rule.signed_as, now, remembered: false }
        }
        None => {
            let remembered = seen.keys(image);
            if remembered.is_empty() {
                return unasked(image, digest);
            }
            let keys = remembered.iter().map(|key| match policy.known(key) {
                Some(known) => known.clone(),
                None => TrustedKey { name: key.hint().to_owned(), key: key.clone(), expires: None },
            });
            Case { policy, image, digest, keys: keys.collect(), signed_as: &[], now, remembered: true }
        }
    };
    let is_required = policy.rule(image).is_none_or(|rule| rule.verify == Verify::Require);
    let mut came = Vec::new();
    for signature in signatures {
        match case.finding(signature) {
            Finding::Counts(trusted) => {
                let (name, key) = (trusted.name.clone(), trusted.key.clone());
                let by = By::Key { name, key: Box::new(key), layout: signature.layout, is_required };
                return Verdict::Accepted { by };
            }
            finding => came.push(finding.to_string()),
        }
    }
    let (expected, came) = (case.expected(), told(came));
    match is_required {
        true => Verdict::Refused { expected, came },
        false => Verdict::Warn { expected, came },
    }
}

/// Nobody asks for a signature.
fn unasked(image: &ImageRef, digest: &Digest) -> Verdict {
    match image.digest {
        Some(_) => Verdict::Accepted { by: By::Digest },
        None => Verdict::Warn {
            expected: format!(
                "{image} by its digest, in a lock or in its reference, or a rule of a trust policy for it"
            ),
            came: format!("a tag, which is {digest} for now and may be anything later"),
        },
    }
}

/// What is asked of one image.
struct Case<'a> {
    policy: &'a Policy,
    image: &'a ImageRef,
    digest: &'a Digest,
    /// Those that may sign for it.
    keys: Vec<TrustedKey>,
    signed_as: &'a [Pattern],
    now: i64,
    /// No rule asks for it any more.
    remembered: bool,
}

/// What a signature is, once it was looked at.
enum Finding<'c> {
    Counts(&'c TrustedKey),
    Not(String),
}

impl Case<'_> {
    fn finding(&self, signature: &Signature) -> Finding<'_> {
        let signed = match &signature.found {
            Ok(signed) => signed,
            Err(unread) => return Finding::Not(unread.to_string()),
        };
        match self.keys.iter().find(|trusted| signed.is_by(&trusted.key)) {
            Some(trusted) => match self.fault(trusted, signed) {
                None => Finding::Counts(trusted),
                Some(fault) => Finding::Not(format!("a signature by {} {fault}", trusted.name)),
            },
            None => Finding::Not(self.stranger(signed)),
        }
    }

    /// Why what a key of its own has signed does not count.
    fn fault(&self, trusted: &TrustedKey, signed: &Signed) -> Option<String> {
        if let Some(expires) = trusted.expires.filter(|&expires| expires <= self.now) {
            return Some(format!("that does not count any more: the key expired at {}", time(expires)));
        }
        let Claim { says, digests, repository } = match signed.claim() {
            Ok(claim) => claim,
            Err(unread) => return Some(format!("of {unread}")),
        };
        if !digests.contains(&self.digest.to_string()) {
            let of = digests.first().map_or("nothing", String::as_str);
            return Some(format!("of {}", shown(of)));
        }
        if let Says::Attestation { predicate_type } = says {
            return Some(format!("that says something else of it: {}", shown(&predicate_type)));
        }
        let repository = repository.filter(|repository| !self.is_for(repository))?;
        Some(format!("for {}", shown(&repository)))
    }

    /// Whether a signature for this repository may be for the image.
    fn is_for(&self, repository: &str) -> bool {
        let Ok(Place::Repository(host, name)) = repository.parse() else { return false };
        (host == self.image.registry && name == self.image.repository)
            || self.signed_as.iter().any(|pattern| pattern.is_of(&host, &name))
    }

    /// What no key has signed that may.
    fn stranger(&self, signed: &Signed) -> String {
        if let Some(other) = self.policy.keys.iter().find(|other| signed.is_by(&other.key)) {
            return format!("a signature by {}, which may not sign for it", other.name);
        }
        let hint = signed.hint().unwrap_or_default();
        match self.keys.iter().find(|trusted| trusted.key.hint() == hint) {
            // The one kind of key with which others sign something else than the bytes.
            Some(trusted) if trusted.key.kind() == KeyKind::Ed25519 => format!(
                "a signature that is said to be by {}, and is not: it was changed, or is of a hash (Ed25519ph), as cosign's are",
                trusted.name
            ),
            Some(trusted) => {
                format!("a signature that is said to be by {}, and is not: it was changed", trusted.name)
            }
            None if hint.is_empty() => "a signature by another key".to_owned(),
            None => format!("a signature by another key, which is said to be {}", shown(hint)),
        }
    }

    fn expected(&self) -> String {
        let Self { image, digest, .. } = self;
        let names: Vec<&str> = self.keys.iter().map(|trusted| trusted.name.as_str()).collect();
        let of = format!("a signature of {digest} for {}/{}", image.registry, image.repository);
        let by = match &names[..] {
            [] => "a key, of which there is none".to_owned(),
            [one] => one.to_string(),
            many => format!("one of {}", many.join(", ")),
        };
        match self.remembered {
            false => format!("{of} by {by}"),
            true => format!(
                "{of} by {by}, as it had when a trust policy asked for it; no rule does now, and one with `verify: warn` \
                 would let it go without"
            ),
        }
    }
}

fn told(mut came: Vec<String>) -> String {
    if came.is_empty() {
        return "no signature".to_owned();
    }
    let more = came.len().saturating_sub(TOLD_MAX);
    came.truncate(TOLD_MAX);
    let told = came.join("; ");
    if more > 0 { format!("{told}; and {more} more") } else { told }
}

/// Of what others wrote.
fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 200;
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    plain::line(&cut).into_owned()
}

fn time(seconds: i64) -> String {
    let mut text = Vec::new();
    write_seconds(seconds, 0, true, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counts(trusted) => write!(f, "a signature by {}", trusted.name),
            Self::Not(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest => f.write_str("its digest"),
            Self::Key { name, layout, .. } => write!(f, "a signature by {name} ({layout})"),
        }
    }
}
