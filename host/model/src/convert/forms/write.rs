//! Single values as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::parts::Unit;
use crate::convert::times;

#[inline]
pub(super) fn write_int(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// JSON has no number for what is none or infinite, so that there it is a text.
#[inline]
pub(super) fn write_float(value: impl zmij::Float, wide: f64, json: bool, out: &mut Vec<u8>) {
    if wide.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        return;
    }
    let name = match (wide.is_nan(), wide > 0.0) {
        (true, _) => "NaN",
        (_, true) => "Infinity",
        (_, false) => "-Infinity",
    };
    if json { write_text(name.as_bytes(), out) } else { out.extend_from_slice(name.as_bytes()) }
}

/// `digits` times ten to the power of minus `scale`.
pub(super) fn write_decimal(digits: &str, scale: i8, out: &mut Vec<u8>) {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let zeros = |count: usize, out: &mut Vec<u8>| out.extend(std::iter::repeat_n(b'0', count));
    out.extend_from_slice(sign.as_bytes());
    let Ok(scale @ 1..) = usize::try_from(scale) else {
        out.extend_from_slice(digits.as_bytes());
        if digits != "0" {
            zeros(scale.unsigned_abs().into(), out);
        }
        return;
    };
    let point = digits.len().saturating_sub(scale);
    out.extend_from_slice(if point == 0 { b"0" } else { &digits.as_bytes()[..point] });
    out.push(b'.');
    zeros(scale.saturating_sub(digits.len()), out);
    out.extend_from_slice(&digits.as_bytes()[point..]);
}

/// A time of day. One that is none, which a source lets nobody have, keeps its sign.
pub(super) fn write_clock(unit: Unit, value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let nanos = unit.nanos(value).unsigned_abs();
    times::write_clock((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32, out);
}

pub(super) fn write_uuid(bytes: &[u8], out: &mut Vec<u8>) {
    for (nth, &byte) in bytes.iter().enumerate() {
        if matches!(nth, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

pub(super) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written =
        BASE64.encode_slice(bytes, &mut out[start..]).expect("base64 has four characters for three bytes");
    out.truncate(start + written);
}

/// JSON text as it is, on one line: outside of texts a line break is a space, inside there is none.
pub(super) fn write_json(json: &str, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(if json.is_empty() { b"null" } else { json.as_bytes() });
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// A JSON text with its quotes.
#[inline]
pub(in crate::convert) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    // No early exit, so that it is compiled to vector instructions.
    let plain =
        text.iter().fold(true, |plain, &byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'));
    if plain {
        out.extend_from_slice(text);
    } else {
        write_escaped(text, out);
    }
    out.push(b'"');
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cold]
fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
}
