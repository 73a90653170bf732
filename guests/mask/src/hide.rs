//! One method, ready to be used on value after value.

use conveyor_sdk::{ColumnBuilder, Failure, Result};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{Method, email};

/// A shorter key is found by trying, and a shorter hash makes different values the same.
const KEY_BYTES_MIN: usize = 16;
const DIGITS_MIN: usize = 16;
const DIGITS_MAX: usize = 64;

#[derive(Debug)]
pub enum Hider {
    /// Keyed once; each value starts from a copy.
    Hash {
        keyed: Box<Hmac<Sha256>>,
        digits: usize,
    },
    KeepLast {
        count: usize,
        with: char,
    },
    Email,
    Replace(String),
    Remove,
}

impl Hider {
    pub fn new(column: &str, method: &Method, key: Option<&str>) -> Result<Self> {
        Ok(match method {
            Method::Hash { digits } if !(DIGITS_MIN..=DIGITS_MAX).contains(digits) => {
                return Err(Failure::invalid(format!(
                    "config: `columns.{column}.digits`: {digits} is not from {DIGITS_MIN} to {DIGITS_MAX}"
                )));
            }
            Method::Hash { digits } => Hider::Hash { keyed: Box::new(keyed(column, key)?), digits: *digits },
            Method::KeepLast { count, with } => Hider::KeepLast { count: *count, with: *with },
            Method::Email {} => Hider::Email,
            Method::Replace { with } => Hider::Replace(with.clone()),
            Method::Remove {} => Hider::Remove,
        })
    }

    /// Adds what is left of `value` to `to`.
    #[inline]
    pub fn hide(&self, value: &str, scratch: &mut Vec<u8>, to: &mut ColumnBuilder) {
        scratch.clear();
        match self {
            Hider::Hash { keyed, digits } => {
                let mut mac = keyed.clone();
                mac.update(value.as_bytes());
                for byte in mac.finalize().into_bytes() {
                    scratch.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
                }
                scratch.truncate(*digits);
            }
            Hider::KeepLast { count, with } => {
                let hidden = value.chars().count().saturating_sub(*count);
                let mut mark = [0; 4];
                let mark = with.encode_utf8(&mut mark).as_bytes();
                (0..hidden).for_each(|_| scratch.extend_from_slice(mark));
                scratch.extend(value.chars().skip(hidden).flat_map(|kept| {
                    let mut bytes = [0; 4];
                    let length = kept.encode_utf8(&mut bytes).len();
                    bytes.into_iter().take(length)
                }));
            }
            Hider::Email => email::redact(value, scratch),
            Hider::Replace(with) => return to.push_text(with),
            Hider::Remove => return to.push_null(),
        }
        to.push_text(std::str::from_utf8(scratch).unwrap_or_default());
    }
}

fn keyed(column: &str, key: Option<&str>) -> Result<Hmac<Sha256>> {
    let Some(key) = key else {
        return Err(Failure::invalid(format!(
            "config: `columns.{column}`: `hash` wants a `key` beside `columns`, such as `key: ${{MASK_KEY}}`"
        )));
    };
    if key.len() < KEY_BYTES_MIN {
        return Err(Failure::invalid(format!(
            "config: `key`: {} bytes are too few, at least {KEY_BYTES_MIN} are wanted",
            key.len()
        )));
    }
    Hmac::new_from_slice(key.as_bytes()).map_err(|error| Failure::invalid(format!("config: `key`: {error}")))
}

fn hex(digit: u8) -> u8 {
    b"0123456789abcdef"[usize::from(digit & 15)]
}
