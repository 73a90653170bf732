//! Bounds of keys, of signatures, and of what is trusted.

/// A key in PEM: RSA ones, which are refused by what they are, take a few thousand.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Memory that a password's scrypt may take: the most that cosign reads takes half.
pub const KEY_SCRYPT_BYTES_MAX: u64 = 256 << 20;
/// A password for a key.
pub const KEY_PASSWORD_BYTES_MAX: usize = 4 << 10;
/// Signatures of one manifest that are looked at, in each of the two places in which they are kept.
pub const SIGNATURES_MAX: usize = 64;
/// What a signature of simple signing is of: a few names.
pub const SIGNATURE_PAYLOAD_BYTES_MAX: u64 = 64 << 10;
/// A Sigstore bundle: with a certificate, times and the proof of a log, it has some ten thousand.
pub const BUNDLE_BYTES_MAX: u64 = 1 << 20;
/// How often a signature is added anew where another signer has replaced it meanwhile.
pub const SIGNATURE_TRIES: u32 = 5;
/// Keys of a trust policy: each signature is tried with each, which takes a fifth of a millisecond.
pub const TRUST_KEYS_MAX: usize = 64;
/// Rules of a trust policy.
pub const TRUST_RULES_MAX: usize = 1000;
/// Repositories of which it is remembered that they are signed. None is forgotten to make room for another.
pub const TRUST_SEEN_REPOSITORIES_MAX: usize = 10_000;
/// Keys that are remembered of each: the last ones.
pub const TRUST_SEEN_KEYS_MAX: usize = 8;
/// The file in which they are.
pub const TRUST_SEEN_BYTES_MAX: u64 = 64 << 20;
