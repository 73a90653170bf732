//! Numbers and truth values written as text, as CSV has them and as people write them. Times are in [`times`](super::times).
//!
//! Spaces around a value are ignored for every type but text. Numbers have no thousands separators. A number that its
//! type cannot hold is none of that type: an integer beyond 64 bits, a float that is too large, one that would be zero,
//! and one from 2^53 on, where not every integer is a float, that would not have the digits that are written.

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Up to here every integer is a float of 64 bits, and one of 32 bits.
const EXACT_64: f64 = 9_007_199_254_740_992.0;
const EXACT_32: f64 = 16_777_216.0;

/// A whole number, whatever it is written as: `2`, `2.0`, `2e3`.
#[inline]
pub fn int(text: &[u8]) -> Option<i64> {
    short_int(text).or_else(|| long_int(text))
}

/// A whole number that is written as one: an optional sign and digits.
pub fn plain_int(text: &[u8]) -> Option<i64> {
    short_int(text).or_else(|| trimmed(text)?.parse().ok())
}

/// A whole number that is not negative.
pub fn unsigned(text: &[u8]) -> Option<u64> {
    trimmed(text)?.parse().ok().or_else(|| whole(text)?.try_into().ok())
}

/// Without spaces, and of so few digits that they fit.
#[inline]
fn short_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

#[cold]
fn long_int(text: &[u8]) -> Option<i64> {
    let is_plain = !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    if is_plain { trimmed(text)?.parse().ok() } else { whole(text)?.try_into().ok() }
}

#[cold]
fn whole(text: &[u8]) -> Option<i128> {
    const DIGITS_MAX: usize = 38;
    let number = Written::of(trimmed(text)?)?;
    if number.significant == 0 {
        return Some(0);
    }
    let zeros =
        usize::try_from(number.exponent).ok().filter(|zeros| zeros + number.significant <= DIGITS_MAX)?;
    let digits = number.digits().chain(std::iter::repeat_n(b'0', zeros));
    let value = digits.fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    Some(if number.negative { -value } else { value })
}

/// A number: anything that Rust reads as one, so also `NaN`, `inf` and `1e-3`.
#[inline]
pub fn float(text: &[u8]) -> Option<f64> {
    let (negative, digits) = sign(text);
    match short_decimal(digits) {
        Some(value) => Some(if negative { -value } else { value }),
        None => long_float(text),
    }
}

#[inline(never)]
fn long_float(text: &[u8]) -> Option<f64> {
    let text = trimmed(text)?;
    let value: f64 = text.parse().ok()?;
    let near = value != 0.0 && value.abs() < EXACT_64;
    (near || is_held(text, value, || zmij::Buffer::new().format(value).to_owned())).then_some(value)
}

/// The same for floats of 32 bits.
pub fn float32(text: &[u8]) -> Option<f32> {
    let text = trimmed(text)?;
    let value: f32 = text.parse().ok()?;
    let near = value != 0.0 && f64::from(value.abs()) < EXACT_32;
    (near || is_held(text, value.into(), || zmij::Buffer::new().format(value).to_owned())).then_some(value)
}

/// Whether `value`, which was read from `text`, is what is written there. `shortest`: the fewest digits that mean it.
fn is_held(text: &str, value: f64, shortest: impl Fn() -> String) -> bool {
    let Some(number) = Written::of(text) else {
        // A name: not a number, or infinite and meant to be.
        return true;
    };
    let is_same = |text: String| Written::of(&text).is_some_and(|other| number.is_same(&other));
    if number.significant == 0 || value == 0.0 {
        return number.significant == 0;
    }
    value.is_finite() && (is_same(shortest()) || is_same(format!("{value:.0}")))
}

/// A decimal number as it is written.
struct Written<'a> {
    negative: bool,
    mantissa: &'a [u8],
    /// Zeros before the first other digit.
    leading: usize,
    /// Digits from the first to the last that is no zero.
    significant: usize,
    /// The power of ten that the last of them counts.
    exponent: i64,
}

impl<'a> Written<'a> {
    /// None where something else than a number in digits is written.
    fn of(text: &'a str) -> Option<Self> {
        let (negative, rest) = sign(text.as_bytes());
        let end = rest.iter().position(|byte| byte | 0x20 == b'e');
        let mantissa = &rest[..end.unwrap_or(rest.len())];
        let exponent: i64 = match end {
            None => 0,
            // No power of ten that a number needs has this many digits.
            Some(end) => std::str::from_utf8(&rest[end + 1..]).ok()?.parse::<i64>().ok()?,
        };
        let point = mantissa.iter().position(|&byte| byte == b'.').unwrap_or(mantissa.len());
        let (whole, fraction) = (&mantissa[..point], mantissa.get(point + 1..).unwrap_or_default());
        let digits = || whole.iter().chain(fraction);
        let count = whole.len() + fraction.len();
        if count == 0 || !digits().all(u8::is_ascii_digit) {
            return None;
        }
        let leading = digits().take_while(|&&digit| digit == b'0').count();
        let trailing = digits().rev().take_while(|&&digit| digit == b'0').count();
        let exponent = exponent.saturating_sub(fraction.len() as i64).saturating_add(trailing as i64);
        Some(Self {
            negative,
            mantissa,
            leading,
            significant: count.saturating_sub(leading + trailing),
            exponent,
        })
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        let digits = self.mantissa.iter().copied().filter(u8::is_ascii_digit);
        digits.skip(self.leading).take(self.significant)
    }

    fn is_same(&self, other: &Written<'_>) -> bool {
        self.exponent == other.exponent && self.digits().eq(other.digits())
    }
}

fn trimmed(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text.trim_ascii()).ok()
}

/// Decimals of few enough digits that the digits and the power of ten are exact doubles, so that one division
/// rounds right (Clinger, "How to read floating point numbers accurately", 1990).
#[inline]
fn short_decimal(digits: &[u8]) -> Option<f64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let (mut value, mut scale, mut point) = (0u64, 0usize, false);
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + u64::from(digit);
            scale += usize::from(point);
        } else if byte == b'.' && !point {
            point = true;
        } else {
            return None;
        }
    }
    // More than 15 digits may not be exact; a lone point has none.
    let count = digits.len() - usize::from(point);
    (count > 0 && count <= 15).then(|| value as f64 / POWERS[scale])
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// `true` or `false`, in any case.
pub fn boolean(text: &[u8]) -> Option<bool> {
    let text = text.trim_ascii();
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ints() {
        let cases: &[(&str, Option<i64>)] = &[
            ("0", Some(0)),
            ("-12", Some(-12)),
            ("+7", Some(7)),
            (" 42 ", Some(42)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775807.000", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            (".", None),
            ("e3", None),
            ("1.0", Some(1)),
            ("1e3", Some(1000)),
            ("-250E-1", Some(-25)),
            ("0e999999999999", Some(0)),
            ("2.5", None),
            ("1e19", None),
            ("1e99999999999999999999", None),
            ("12a", None),
        ];
        for (text, expected) in cases {
            assert_eq!(int(text.as_bytes()), *expected, "{text:?}");
        }
        assert_eq!((plain_int(b" -3 "), plain_int(b"1.0")), (Some(-3), None));
        assert_eq!(
            (unsigned(b"18446744073709551615"), unsigned(b"-1"), unsigned(b"7e1")),
            (Some(u64::MAX), None, Some(70))
        );
    }

    #[test]
    fn a_float_has_the_digits_that_are_written_or_is_none() {
        let cases: &[(&str, Option<f64>)] = &[
            ("0.1", Some(0.1)),
            ("-0.0", Some(0.0)),
            ("0.12345678901234567890", Some(0.123_456_789_012_345_68)),
            ("9007199254740992", Some(9_007_199_254_740_992.0)),
            ("9007199254740993", None),
            ("9007199254740991.9", None),
            ("135217135789158401", None),
            ("1352171357E+5", Some(135_217_135_700_000.0)),
            // The float is exactly this number, though fewer digits would mean it.
            ("9223372036854775808", Some(9_223_372_036_854_775_808.0)),
            ("9223372036854775809", None),
            ("100000000000000000000", Some(1e20)),
            ("1e300", Some(1e300)),
            ("1.7976931348623157e308", Some(f64::MAX)),
            ("1e400", None),
            ("39e1804", None),
            ("1e-400", None),
            ("0e-400", Some(0.0)),
            ("5e-324", Some(5e-324)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("e5", None),
            ("1_000", None),
        ];
        for (text, expected) in cases {
            assert_eq!(float(text.as_bytes()), *expected, "{text:?}");
        }
        assert!(float(b"NaN").is_some_and(f64::is_nan));
        let short = ["16777217", "16777216", "1e39", "0.1", "inf"].map(|text| float32(text.as_bytes()));
        assert_eq!(short, [None, Some(16_777_216.0), None, Some(0.1), Some(f32::INFINITY)]);
    }

    proptest::proptest! {
        #[test]
        fn a_float_is_read_as_the_standard_library_reads_it(text in "[+-]?[0-9]{0,18}\\.?[0-9]{0,12}(e-?[0-9]{1,3})?") {
            let expected: Option<f64> = text.parse().ok();
            if let Some(found) = float(text.as_bytes()) {
                proptest::prop_assert_eq!(Some(found.to_bits()), expected.map(f64::to_bits));
            } else if let Some(lost) = expected {
                let near = lost != 0.0 && lost.abs() < EXACT_64;
                proptest::prop_assert!(!near, "{text} is {lost}");
            }
        }

        #[test]
        fn a_written_float_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            let text = zmij::Buffer::new().format(value).to_owned();
            let found = float(text.as_bytes()).expect("a float");
            proptest::prop_assert!(found.to_bits() == bits || value.is_nan() && found.is_nan());
        }
    }
}
