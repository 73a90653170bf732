//! Keys, as files in PEM: P-256 as cosign has them, and Ed25519.
//!
//! A private key is PKCS #8, sealed with a password ([`super::sealed`]) or bare. A public key is a SubjectPublicKeyInfo
//! (RFC 5480, RFC 8410).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::KeypairBytes;
use model::ids::Digest;
use model::limits::KEY_BYTES_MAX;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::elliptic_curve::zeroize::Zeroizing;
use p256::pkcs8::der::pem;
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use p256::pkcs8::{LineEnding, SecretDocument};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::sealed::{self, SealError};

const SEALED: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// As cosign called it before 2.0.
const SEALED_ONCE: &str = "ENCRYPTED COSIGN PRIVATE KEY";
const BARE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// What a key is sealed with; its memory is wiped.
pub type Password = Zeroizing<Vec<u8>>;

/// What signs.
pub enum Key {
    P256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

/// What a signature is checked with.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    point: Point,
    /// Of the key as SubjectPublicKeyInfo in DER, as bundles name keys: SHA-256 in Base64.
    hint: String,
}

#[derive(Clone, PartialEq, Eq)]
enum Point {
    P256(p256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

/// The kinds of key that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// What cosign makes unless it is told otherwise.
    P256,
    /// Signatures that only Conveyor makes and checks in this way.
    Ed25519,
}

/// Why a text is no key.
#[derive(thiserror::Error, Debug)]
pub enum KeyError {
    #[error("it has more than the {KEY_BYTES_MAX} bytes that a key can have")]
    Long,
    #[error("it is no key in PEM: {0}")]
    Pem(String),
    #[error("it is `{label}`, and a private key is wanted: `{SEALED}` or `{BARE}`; `conveyor key generate` makes one{}", advice(.label))]
    NotPrivate { label: String },
    #[error("it is `{label}`, and a public key is wanted: `{PUBLIC}`{}", public_advice(.label))]
    NotPublic { label: String },
    #[error("it is sealed with a password, and none was given")]
    NoPassword,
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error("it is neither a P-256 nor an Ed25519 key, or it is damaged")]
    Kind,
    #[error("the system has no random numbers")]
    Random,
    #[error("the key cannot be written: {0}")]
    Encode(String),
}

fn advice(label: &str) -> &'static str {
    match label {
        "EC PRIVATE KEY" => ", and `openssl pkcs8 -topk8 -nocrypt -in FILE` turns this one into the second",
        PUBLIC => ", and the file beside this one, without `.pub`, may be it",
        _ => "",
    }
}

fn public_advice(label: &str) -> &'static str {
    match label.ends_with("PRIVATE KEY") {
        true => {
            "; this one is private and is not to be given to others: name the file beside it that ends with `.pub`"
        }
        false => "",
    }
}

impl Key {
    /// A new one, from the system's random numbers.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        // One number in 2^32 is none of P-256.
        for _ in 0..16 {
            SystemRandom::new().fill(bytes.as_mut()).map_err(|_| KeyError::Random)?;
            match kind {
                KeyKind::Ed25519 => {
                    return Ok(Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(&bytes)));
                }
                KeyKind::P256 => {
                    if let Ok(key) = p256::ecdsa::SigningKey::from_slice(bytes.as_ref()) {
                        return Ok(Self::P256(key));
                    }
                }
            }
        }
        Err(KeyError::Random)
    }

    /// Whether [`Key::from_pem`] wants a password.
    pub fn is_sealed(text: &str) -> Result<bool, KeyError> {
        match decode(text)? {
            (SEALED | SEALED_ONCE, _) => Ok(true),
            (BARE, _) => Ok(false),
            (label, _) => Err(KeyError::NotPrivate { label: label.to_owned() }),
        }
    }

    pub fn from_pem(text: &str, password: Option<&[u8]>) -> Result<Self, KeyError> {
        let der = match decode(text)? {
            (SEALED | SEALED_ONCE, sealed) => sealed::open(&sealed, password.ok_or(KeyError::NoPassword)?)?,
            (BARE, der) => Zeroizing::new(der),
            (label, _) => return Err(KeyError::NotPrivate { label: label.to_owned() }),
        };
        let p256 = p256::ecdsa::SigningKey::from_pkcs8_der(&der).map(Self::P256);
        let any = p256.or_else(|_| ed25519_dalek::SigningKey::from_pkcs8_der(&der).map(Self::Ed25519));
        any.map_err(|_| KeyError::Kind)
    }

    /// Sealed with the password, or bare.
    pub fn to_pem(&self, password: Option<&[u8]>) -> Result<Zeroizing<String>, KeyError> {
        let der = self.to_der()?;
        match password {
            None => Ok(Zeroizing::new(encode(BARE, der.as_bytes())?)),
            Some(password) => Ok(Zeroizing::new(encode(SEALED, &sealed::seal(der.as_bytes(), password)?)?)),
        }
    }

    fn to_der(&self) -> Result<SecretDocument, KeyError> {
        let der = match self {
            Self::P256(key) => key.to_pkcs8_der(),
            // Without its public key: of those with it many readers want nothing.
            Self::Ed25519(key) => {
                KeypairBytes { secret_key: key.to_bytes(), public_key: None }.to_pkcs8_der()
            }
        };
        der.map_err(|error| KeyError::Encode(error.to_string()))
    }

    pub fn public(&self) -> Result<PublicKey, KeyError> {
        PublicKey::of(match self {
            Self::P256(key) => Point::P256(*key.verifying_key()),
            Self::Ed25519(key) => Point::Ed25519(key.verifying_key()),
        })
    }

    /// The same key makes the same signature of the same bytes (RFC 6979, RFC 8032). P-256's is in DER, over SHA-256.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl PublicKey {
    fn of(point: Point) -> Result<Self, KeyError> {
        let der = match &point {
            Point::P256(key) => key.to_public_key_der(),
            Point::Ed25519(key) => key.to_public_key_der(),
        };
        let der = der.map_err(|error| KeyError::Encode(error.to_string()))?;
        Ok(Self { point, hint: STANDARD.encode(Digest::of(der.as_bytes()).as_bytes()) })
    }

    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) = decode(text)?;
        if label != PUBLIC {
            return Err(KeyError::NotPublic { label: label.to_owned() });
        }
        let p256 = p256::ecdsa::VerifyingKey::from_public_key_der(&der).map(Point::P256);
        let any =
            p256.or_else(|_| ed25519_dalek::VerifyingKey::from_public_key_der(&der).map(Point::Ed25519));
        Self::of(any.map_err(|_| KeyError::Kind)?)
    }

    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pem = match &self.point {
            Point::P256(key) => key.to_public_key_pem(LineEnding::LF),
            Point::Ed25519(key) => key.to_public_key_pem(LineEnding::LF),
        };
        pem.map_err(|error| KeyError::Encode(error.to_string()))
    }

    pub fn kind(&self) -> KeyKind {
        match self.point {
            Point::P256(_) => KeyKind::P256,
            Point::Ed25519(_) => KeyKind::Ed25519,
        }
    }

    /// What a key is called where only itself is known: SHA-256 of it, in Base64, as bundles have it.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Whether this key made the signature of these bytes. Bytes that are no signature at all are none of this key's.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.point {
            Point::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Point::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.hint)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::Ed25519 => "Ed25519",
        })
    }
}

/// What stands between the lines of PEM (RFC 7468), and what they call it.
fn decode(text: &str) -> Result<(&str, Vec<u8>), KeyError> {
    if text.len() > KEY_BYTES_MAX {
        return Err(KeyError::Long);
    }
    pem::decode_vec(text.trim_end().as_bytes()).map_err(|error| KeyError::Pem(error.to_string()))
}

fn encode(label: &'static str, bytes: &[u8]) -> Result<String, KeyError> {
    pem::encode_string(label, LineEnding::LF, bytes).map_err(|error| KeyError::Encode(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_read_back_as_they_are_written() {
        for kind in [KeyKind::P256, KeyKind::Ed25519] {
            let key = Key::generate(kind).expect("a key");
            let public = key.public().expect("its public key");
            assert_eq!(public.kind(), kind);
            assert_eq!(PublicKey::from_pem(&public.to_pem().expect("PEM")).expect("a key"), public);
            let bare = key.to_pem(None).expect("PEM");
            assert!(bare.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{}", bare.as_str());
            assert!(!Key::is_sealed(&bare).expect("a key"));
            let sealed = key.to_pem(Some(b"secret")).expect("PEM");
            assert!(sealed.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
            assert!(Key::is_sealed(&sealed).expect("a key"));
            for (text, password) in [(&bare, None), (&sealed, Some(&b"secret"[..]))] {
                let again = Key::from_pem(text, password).expect("a key");
                assert!(public.verify(b"message", &again.sign(b"message")), "{kind}");
            }
            assert!(matches!(Key::from_pem(&sealed, None), Err(KeyError::NoPassword)));
            let wrong = Key::from_pem(&sealed, Some(b"Secret")).expect_err("the wrong password");
            assert!(wrong.to_string().contains("password"), "{wrong}");
        }
    }

    #[test]
    fn a_signature_is_of_one_key_and_of_one_message() {
        for kind in [KeyKind::P256, KeyKind::Ed25519] {
            let (key, other) = (Key::generate(kind).expect("a key"), Key::generate(kind).expect("a key"));
            let public = key.public().expect("public");
            let signature = key.sign(b"message");
            assert!(public.verify(b"message", &signature));
            assert_eq!(key.sign(b"message"), signature, "the same message, another signature");
            assert!(!public.verify(b"Message", &signature));
            assert!(!other.public().expect("public").verify(b"message", &signature));
            for at in 0..signature.len() {
                let mut flipped = signature.clone();
                flipped[at] ^= 1;
                assert!(!public.verify(b"message", &flipped), "{kind}: byte {at}");
            }
        }
    }

    #[test]
    fn what_is_no_key_that_is_wanted_is_refused_by_what_it_is() {
        let key = Key::generate(KeyKind::P256).expect("a key");
        let public = key.public().expect("public").to_pem().expect("PEM");
        let private = key.to_pem(None).expect("PEM");
        let message = Key::from_pem(&public, None).expect_err("a public key").to_string();
        assert!(message.contains("`PUBLIC KEY`") && message.contains("without `.pub`"), "{message}");
        let message = PublicKey::from_pem(&private).expect_err("a private key").to_string();
        assert!(message.contains("is private"), "{message}");
        let ec = private.replace("PRIVATE KEY", "EC PRIVATE KEY");
        assert!(Key::from_pem(&ec, None).expect_err("SEC1").to_string().contains("openssl pkcs8"));
        assert!(matches!(Key::from_pem("", None), Err(KeyError::Pem(_))));
        assert!(matches!(PublicKey::from_pem(&"a".repeat(KEY_BYTES_MAX + 1)), Err(KeyError::Long)));
        let label = public.replace("PUBLIC KEY", "PRIVATE KEY");
        assert!(matches!(Key::from_pem(&label, None), Err(KeyError::Kind)));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_in_as_a_key_panics(
            label in prop::sample::select(vec![SEALED, SEALED_ONCE, BARE, PUBLIC, "EC PRIVATE KEY"]),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            text in ".{0,200}",
        ) {
            let pem = encode(label, &bytes).expect("PEM");
            for text in [&pem, &text] {
                let _ = Key::from_pem(text, Some(b"")).is_ok();
                let _ = PublicKey::from_pem(text).is_ok();
            }
        }

        #[test]
        fn a_damaged_key_is_another_or_none(at in 0..400_usize, byte in any::<u8>()) {
            let key = Key::generate(KeyKind::P256).expect("a key");
            for mut text in [key.to_pem(None).expect("PEM").as_bytes().to_vec(), key.public().expect("public").to_pem().expect("PEM").into_bytes()] {
                let at = at % text.len();
                text[at] = byte;
                if let Ok(text) = std::str::from_utf8(&text) {
                    let _ = Key::from_pem(text, None).is_ok();
                    let _ = PublicKey::from_pem(text).is_ok();
                }
            }
        }

        #[test]
        fn nothing_that_comes_in_as_a_signature_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for kind in [KeyKind::P256, KeyKind::Ed25519] {
                let public = Key::generate(kind).expect("a key").public().expect("public");
                prop_assert!(!public.verify(b"message", &bytes));
            }
        }
    }
}
