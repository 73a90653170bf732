//! A secret that is sealed with a password, as cosign seals private keys: JSON with scrypt and NaCl's secretbox.
//!
//! Format: `encrypted` of go-securesystemslib,
//! <https://github.com/secure-systems-lab/go-securesystemslib/blob/v0.11.0/encrypted/encrypted.go>, which takes the three
//! strengths alone that it writes itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use model::limits::KEY_SCRYPT_BYTES_MAX;
use p256::elliptic_curve::zeroize::Zeroizing;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

const SCRYPT: &str = "scrypt";
const SECRETBOX: &str = "nacl/secretbox";
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;
/// What cosign takes: a tenth of a second and 64 MiB.
const COST: Cost = Cost { n: 1 << 16, r: 8, p: 1 };
/// One after the other; those that there are have one.
const TURNS_MAX: u32 = 4;

#[derive(Serialize, Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    /// In Base64, as all bytes here.
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Why a secret is not to be had.
#[derive(thiserror::Error, Debug)]
pub enum SealError {
    #[error("what is sealed is not what it should be: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is sealed with `{name}`, which is not known; `{SCRYPT}` and `{SECRETBOX}` are")]
    Unknown { name: String },
    #[error(
        "it is sealed with scrypt of N={n}, r={r}, p={p}, which is none, or takes more than {KEY_SCRYPT_BYTES_MAX} bytes of memory"
    )]
    Cost { n: u64, r: u32, p: u32 },
    #[error("its {field} is not what it should be")]
    Field { field: &'static str },
    #[error("the password is wrong, or the key is damaged")]
    Password,
    #[error("the system has no random numbers")]
    Random,
}

impl Cost {
    fn params(self) -> Result<scrypt::Params, SealError> {
        let Self { n, r, p } = self;
        let wrong = || SealError::Cost { n, r, p };
        let bytes = n.checked_mul(u64::from(r)).and_then(|blocks| blocks.checked_mul(128));
        let is_allowed = n > 1
            && n.is_power_of_two()
            && bytes.is_some_and(|bytes| bytes <= KEY_SCRYPT_BYTES_MAX)
            && (1..=TURNS_MAX).contains(&p);
        if !is_allowed {
            return Err(wrong());
        }
        scrypt::Params::new(n.trailing_zeros() as u8, r, p, KEY_BYTES).map_err(|_| wrong())
    }
}

fn cipher(password: &[u8], salt: &[u8], cost: Cost) -> Result<XSalsa20Poly1305, SealError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    scrypt::scrypt(password, salt, &cost.params()?, key.as_mut()).map_err(|_| SealError::Cost {
        n: cost.n,
        r: cost.r,
        p: cost.p,
    })?;
    Ok(XSalsa20Poly1305::new((&*key).into()))
}

/// JSON in which a secret is that opens with this password.
pub fn seal(secret: &[u8], password: &[u8]) -> Result<Vec<u8>, SealError> {
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
    let random = SystemRandom::new();
    random.fill(&mut salt).and_then(|()| random.fill(&mut nonce)).map_err(|_| SealError::Random)?;
    let box_ = cipher(password, &salt, COST)?;
    let ciphertext = box_.encrypt(Nonce::from_slice(&nonce), secret).map_err(|_| SealError::Random)?;
    let sealed = Sealed {
        kdf: Kdf { name: SCRYPT.to_owned(), params: COST, salt: STANDARD.encode(salt) },
        cipher: Cipher { name: SECRETBOX.to_owned(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(ciphertext),
    };
    Ok(serde_json::to_vec(&sealed)?)
}

pub fn open(sealed: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let sealed: Sealed = serde_json::from_slice(sealed)?;
    for (name, known) in [(&sealed.kdf.name, SCRYPT), (&sealed.cipher.name, SECRETBOX)] {
        if name != known {
            return Err(SealError::Unknown { name: name.chars().take(64).collect() });
        }
    }
    let bytes = |text: &str, field| STANDARD.decode(text).map_err(|_| SealError::Field { field });
    let salt = bytes(&sealed.kdf.salt, "salt")?;
    let nonce: [u8; NONCE_BYTES] =
        bytes(&sealed.cipher.nonce, "nonce")?.try_into().map_err(|_| SealError::Field { field: "nonce" })?;
    let ciphertext = bytes(&sealed.ciphertext, "ciphertext")?;
    let opened = cipher(password, &salt, sealed.kdf.params)?.decrypt(Nonce::from_slice(&nonce), &*ciphertext);
    opened.map(Zeroizing::new).map_err(|_| SealError::Password)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_password_alone() {
        let sealed = seal(b"a secret", b"password").expect("sealed");
        assert_eq!(&**open(&sealed, b"password").expect("open"), b"a secret");
        assert!(matches!(open(&sealed, b""), Err(SealError::Password)));
        let mut other: Sealed = serde_json::from_slice(&sealed).expect("JSON");
        assert_eq!((other.kdf.name.as_str(), other.cipher.name.as_str()), ("scrypt", "nacl/secretbox"));
        let mut ciphertext = STANDARD.decode(&other.ciphertext).expect("Base64");
        ciphertext[20] ^= 1;
        other.ciphertext = STANDARD.encode(ciphertext);
        let other = serde_json::to_vec(&other).expect("JSON");
        assert!(matches!(open(&other, b"password"), Err(SealError::Password)));
    }

    #[test]
    fn a_cost_that_nobody_would_pay_is_refused_before_it_is_paid() {
        for (n, r, p) in [
            (1 << 30, 8, 1),
            (0, 8, 1),
            (3, 8, 1),
            (1 << 16, 0, 1),
            (1 << 16, 8, 9),
            (u64::MAX, u32::MAX, u32::MAX),
            (1, 8, 1),
        ] {
            let json = format!(
                r#"{{"kdf":{{"name":"scrypt","params":{{"N":{n},"r":{r},"p":{p}}},"salt":""}},"cipher":{{"name":"nacl/secretbox","nonce":"{}"}},"ciphertext":""}}"#,
                STANDARD.encode([0; NONCE_BYTES])
            );
            let opened = open(json.as_bytes(), b"");
            assert!(matches!(opened, Err(SealError::Cost { .. })), "N={n} r={r} p={p}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_in_sealed_panics(
            (n, r, p) in (0..64_u64, 0..4_u32, 0..3_u32),
            salt in ".{0,8}",
            nonce in prop::collection::vec(any::<u8>(), 0..40),
            ciphertext in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let json = serde_json::json!({
                "kdf": { "name": "scrypt", "params": { "N": n, "r": r, "p": p }, "salt": salt },
                "cipher": { "name": "nacl/secretbox", "nonce": STANDARD.encode(nonce) },
                "ciphertext": STANDARD.encode(ciphertext),
            });
            prop_assert!(open(json.to_string().as_bytes(), b"").is_err());
        }
    }
}
