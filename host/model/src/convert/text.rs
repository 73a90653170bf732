//! Values written as text, as CSV has them and as people write them.
//!
//! Spaces around a value are ignored for every type but text. Numbers have no thousands separators.
//! A timestamp is `YYYY-MM-DD`, or that and `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fraction` behind a `T` or a space,
//! then nothing, `Z` or an offset; without an offset it is UTC. What is finer than a microsecond is cut off.

use calendar::{DAY_US, civil_from_days, days_from_civil, days_in_month};

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// A whole number: an optional sign and digits.
#[inline]
pub fn int(text: &[u8]) -> Option<i64> {
    short_int(text).or_else(|| long_int(text))
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
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// A number: anything that Rust reads as one, so also `NaN`, `inf` and `1e-3`.
#[inline]
pub fn float(text: &[u8]) -> Option<f64> {
    let (negative, digits) = sign(text);
    match short_decimal(digits) {
        Some(value) => Some(if negative { -value } else { value }),
        None => std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok(),
    }
}

/// Decimals of few enough digits that the digits and the power of ten are exact doubles, so that one division
/// rounds right (Clinger, "How to read floating point numbers accurately", 1990).
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

/// Days since the Unix epoch of `YYYY-MM-DD`.
pub fn date(text: &[u8]) -> Option<i32> {
    let text = text.trim_ascii();
    let (days, rest) = date_prefix(text)?;
    if rest.is_empty() { i32::try_from(days).ok() } else { None }
}

/// Microseconds since the Unix epoch.
pub fn timestamp(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii();
    let (days, rest) = date_prefix(text)?;
    let midnight = days * DAY_US;
    let time = match rest {
        [] => return Some(midnight),
        [b'T' | b't' | b' ', time @ ..] => time,
        _ => return None,
    };
    let (micros, rest) = time_of_day(time)?;
    Some(midnight + micros - offset(rest.trim_ascii_start())?)
}

fn date_prefix(text: &[u8]) -> Option<(i64, &[u8])> {
    let (head, rest) = text.split_at_checked(10)?;
    if head[4] != b'-' || head[7] != b'-' {
        return None;
    }
    let year = i64::from(two(head[0], head[1])? * 100 + two(head[2], head[3])?);
    let (month, day) = (two(head[5], head[6])?, two(head[8], head[9])?);
    let real = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    real.then(|| (days_from_civil(year, month, day), rest))
}

fn time_of_day(time: &[u8]) -> Option<(i64, &[u8])> {
    let (head, rest) = time.split_at_checked(5)?;
    let (hours, minutes) = (two(head[0], head[1])?, two(head[3], head[4])?);
    if head[2] != b':' || hours > 23 || minutes > 59 {
        return None;
    }
    let micros = i64::from(hours * 60 + minutes) * 60_000_000;
    let [b':', tens, ones, rest @ ..] = rest else { return Some((micros, rest)) };
    let seconds = two(*tens, *ones)?;
    if seconds > 59 {
        return None;
    }
    let micros = micros + i64::from(seconds) * 1_000_000;
    let [b'.' | b',', fraction @ ..] = rest else { return Some((micros, rest)) };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 9 {
        return None;
    }
    let (fraction, rest) = fraction.split_at(digits);
    let six = (0..6).map(|i| fraction.get(i).map_or(0, |byte| i64::from(byte - b'0')));
    Some((micros + six.fold(0, |sum, digit| sum * 10 + digit), rest))
}

/// Microseconds east of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    let (east, digits) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match *digits {
        [a, b] => (two(a, b)?, 0),
        [a, b, c, d] | [a, b, b':', c, d] => (two(a, b)?, two(c, d)?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then(|| east * i64::from(hours * 60 + minutes) * 60_000_000)
}

fn two(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// Writes `YYYY-MM-DD`; years outside 0 to 9999 get a sign and six digits, as ISO 8601 has it.
pub fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    if (0..=9999).contains(&year) {
        let year = year as u32;
        out.extend_from_slice(&pair(year / 100));
        out.extend_from_slice(&pair(year % 100));
    } else {
        out.extend_from_slice(format!("{year:+07}").as_bytes());
    }
    let ([a, b], [c, d]) = (pair(month), pair(day));
    out.extend_from_slice(&[b'-', a, b, b'-', c, d]);
}

/// Writes RFC 3339 in UTC, with as many fraction digits as there are: none, three or six.
pub fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    write_date(micros.div_euclid(DAY_US), out);
    let of_day = micros.rem_euclid(DAY_US);
    let (seconds, fraction) = ((of_day / 1_000_000) as u32, (of_day % 1_000_000) as u32);
    let ([a, b], [c, d], [e, f]) = (pair(seconds / 3600), pair(seconds / 60 % 60), pair(seconds % 60));
    out.extend_from_slice(&[b'T', a, b, b':', c, d, b':', e, f]);
    if fraction != 0 {
        let ([a, b], [c, d], [e, f]) =
            (pair(fraction / 10_000), pair(fraction / 100 % 100), pair(fraction % 100));
        let digits = [b'.', a, b, c, d, e, f];
        out.extend_from_slice(if fraction % 1000 == 0 { &digits[..4] } else { &digits });
    }
    out.push(b'Z');
}

fn pair(number: u32) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
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
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("1.0", None),
            ("1e3", None),
            ("12a", None),
        ];
        for (text, expected) in cases {
            assert_eq!(int(text.as_bytes()), *expected, "{text:?}");
        }
    }

    #[test]
    fn times() {
        let noon = 1_577_880_000_000_000; // 2020-01-01T12:00:00Z
        let cases: &[(&str, Option<i64>)] = &[
            ("2020-01-01T12:00:00Z", Some(noon)),
            ("2020-01-01 12:00", Some(noon)),
            ("2020-01-01T14:30:00.5+02:30", Some(noon + 500_000)),
            ("2020-01-01T07:00:00,000001999-0500", Some(noon + 1)),
            ("2020-01-01 12:00:00 UTC", None),
            ("2020-01-01", Some(noon - DAY_US / 2)),
            ("2020-01-01T", None),
            ("2020-02-30", None),
            ("2020-01-01T24:00", None),
            ("2020-01-01T12:60", None),
            ("20200101", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(timestamp(text.as_bytes()), *expected, "{text:?}");
        }
        assert_eq!(date(b"1969-12-31"), Some(-1));
        assert_eq!(date(b"1969-12-31T00:00"), None);
    }

    proptest::proptest! {
        #[test]
        fn a_float_is_read_as_the_standard_library_reads_it(text in "[+-]?[0-9]{0,18}\\.?[0-9]{0,12}(e-?[0-9]{1,3})?") {
            let expected: Option<f64> = text.parse().ok();
            proptest::prop_assert_eq!(float(text.as_bytes()).map(f64::to_bits), expected.map(f64::to_bits));
        }

        #[test]
        fn a_written_timestamp_reads_back(micros in -62_135_596_800_000_000i64..253_402_300_800_000_000) {
            let mut text = Vec::new();
            write_timestamp(micros, &mut text);
            proptest::prop_assert_eq!(timestamp(&text), Some(micros));
        }
    }
}
