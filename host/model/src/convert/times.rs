//! Dates and times as text, one form for each.
//!
//! Read: a date is `YYYY-MM-DD`, or with a sign and six digits or more where the year has more than four. A timestamp is
//! that, or that and `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fraction` behind a `T` or a space, then nothing, `Z` or an offset
//! from UTC. With `Z` or an offset it is a point in time; without, it is local to a zone that nobody names. What is finer
//! than a microsecond is cut off. Spaces around it are ignored.
//!
//! Written: `2020-01-31T12:00:00.000001Z`, with as many digits of the fraction as there are (none, three, six or nine), and
//! without the `Z` where the time is local.

use calendar::{DAY_US, civil_from_days, days_from_civil, days_in_month};

const SECOND_NS: i128 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// Days since the Unix epoch of `YYYY-MM-DD`.
pub fn date(text: &[u8]) -> Option<i32> {
    let text = text.trim_ascii();
    let (days, rest) = date_prefix(text)?;
    if rest.is_empty() { i32::try_from(days).ok() } else { None }
}

/// Microseconds since the Unix epoch, of a point in time and of a local time alike, which counts as if it were UTC.
pub fn timestamp(text: &[u8]) -> Option<i64> {
    read(text).map(|(micros, _)| micros)
}

/// A point in time: its text has `Z` or an offset.
#[inline]
pub fn instant(text: &[u8]) -> Option<i64> {
    read(text).and_then(|(micros, zoned)| zoned.then_some(micros))
}

/// A local time: its text has no offset.
#[inline]
pub fn local(text: &[u8]) -> Option<i64> {
    read(text).and_then(|(micros, zoned)| (!zoned).then_some(micros))
}

/// What a text is that is written as times are written here, byte by byte: whether it is a point in time.
pub fn as_written(text: &[u8]) -> Option<bool> {
    let (micros, zoned) = read(text)?;
    let mut written = Vec::with_capacity(text.len());
    write_micros(micros, zoned, &mut written);
    (written == text).then_some(zoned)
}

/// Microseconds, and whether they count from a point in time.
fn read(text: &[u8]) -> Option<(i64, bool)> {
    let text = text.trim_ascii();
    let (days, rest) = date_prefix(text)?;
    let time = match rest {
        [] => return Some((days.checked_mul(DAY_US)?, false)),
        [b'T' | b't' | b' ', time @ ..] => time,
        _ => return None,
    };
    let (micros, rest) = time_of_day(time)?;
    let zone = rest.trim_ascii_start();
    let of_day = micros - offset(zone)?;
    let moment = days.checked_mul(DAY_US).and_then(|midnight| midnight.checked_add(of_day));
    // The midnight of the first day is before all that 64 bits can say.
    let moment =
        moment.or_else(|| (i128::from(days) * i128::from(DAY_US) + i128::from(of_day)).try_into().ok());
    Some((moment?, !zone.is_empty()))
}

fn date_prefix(text: &[u8]) -> Option<(i64, &[u8])> {
    let (year, head, rest) = match text {
        [b'+' | b'-', ..] => long_year(text)?,
        _ => {
            let (head, rest) = text.split_at_checked(10)?;
            let year = i64::from(two(head[0], head[1])? * 100 + two(head[2], head[3])?);
            (year, &head[4..], rest)
        }
    };
    if head[0] != b'-' || head[3] != b'-' {
        return None;
    }
    let (month, day) = (two(head[1], head[2])?, two(head[4], head[5])?);
    let real = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    real.then(|| (days_from_civil(year, month, day), rest))
}

/// A year with a sign: as ISO 8601 has it, where both sides have agreed on more digits. The year, `-MM-DD`, and the rest.
fn long_year(text: &[u8]) -> Option<(i64, &[u8], &[u8])> {
    let digits = text[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(6..=9).contains(&digits) {
        return None;
    }
    let (year, rest) = text.split_at(digits + 1);
    let (head, rest) = rest.split_at_checked(6)?;
    Some((std::str::from_utf8(year).ok()?.parse().ok()?, head, rest))
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
    match short_date(days) {
        Some(date) => out.extend_from_slice(&date),
        None => write_long_date(days, out),
    }
}

/// The date, where its year has four digits.
#[inline]
fn short_date(days: i64) -> Option<[u8; 10]> {
    let (year, month, day) = civil_from_days(days);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let year = year as u32;
    let ([a, b], [c, d], [e, f], [g, h]) = (pair(year / 100), pair(year % 100), pair(month), pair(day));
    Some([a, b, c, d, b'-', e, f, b'-', g, h])
}

#[cold]
fn write_long_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    out.extend_from_slice(format!("{year:+07}-{month:02}-{day:02}").as_bytes());
}

/// Writes a point in time.
pub fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    write_micros(micros, true, out);
}

/// Writes a point in time, or a local time.
#[inline]
pub fn write_micros(micros: i64, zoned: bool, out: &mut Vec<u8>) {
    let of_day = micros.rem_euclid(DAY_US) as u64;
    let (seconds, micros_left) = ((of_day / 1_000_000) as u32, (of_day % 1_000_000) as u32);
    write_moment(micros.div_euclid(DAY_US), seconds, micros_left * 1000, zoned, out);
}

/// The same of seconds since the Unix epoch, and nanoseconds from there on.
pub fn write_seconds(seconds: i64, nanos: u32, zoned: bool, out: &mut Vec<u8>) {
    write_moment(seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S) as u32, nanos, zoned, out);
}

/// `seconds` are those of the day.
fn write_moment(days: i64, seconds: u32, nanos: u32, zoned: bool, out: &mut Vec<u8>) {
    let ([h, i], [m, n], [s, t]) = (pair(seconds / 3600), pair(seconds / 60 % 60), pair(seconds % 60));
    write_date(days, out);
    out.extend_from_slice(&[b'T', h, i, b':', m, n, b':', s, t]);
    write_fraction(nanos, out);
    if zoned {
        out.push(b'Z');
    }
}

/// Writes `HH:MM:SS`, and a fraction.
#[inline]
pub fn write_clock(seconds: u64, nanos: u32, out: &mut Vec<u8>) {
    let (hours, in_hour) = (seconds / 3600, (seconds % 3600) as u32);
    if hours < 100 {
        out.extend_from_slice(&pair(hours as u32));
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(hours).as_bytes());
    }
    let ([c, d], [e, f]) = (pair(in_hour / 60), pair(in_hour % 60));
    out.extend_from_slice(&[b':', c, d, b':', e, f]);
    write_fraction(nanos, out);
}

/// Writes a length of time as ISO 8601 has it: `PT90.5S`, `-PT1S`.
pub fn write_duration(nanos: i128, out: &mut Vec<u8>) {
    if nanos < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(b"PT");
    write_span(nanos.abs(), out);
}

/// Writes months, days and a length of time, each with its own sign: `P1M`, `P-2DT0.004S`. Nothing at all is `PT0S`.
pub fn write_interval(months: i64, days: i64, nanos: i128, out: &mut Vec<u8>) {
    out.push(b'P');
    for (count, unit) in [(months, b'M'), (days, b'D')] {
        if count != 0 {
            out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
            out.push(unit);
        }
    }
    if nanos != 0 || months == 0 && days == 0 {
        out.push(b'T');
        if nanos < 0 {
            out.push(b'-');
        }
        write_span(nanos.abs(), out);
    }
}

fn write_span(nanos: i128, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(nanos / SECOND_NS).as_bytes());
    write_fraction((nanos % SECOND_NS) as u32, out);
    out.push(b'S');
}

/// Writes none, three, six or nine digits.
#[inline]
fn write_fraction(nanos: u32, out: &mut Vec<u8>) {
    if nanos == 0 {
        return;
    }
    let (micros, last) = (nanos / 1000, nanos % 1000);
    let ([a, b], [c, d], [e, f]) = (pair(micros / 10_000), pair(micros / 100 % 100), pair(micros % 100));
    let [g, h] = pair(last % 100);
    let digits = [b'.', a, b, c, d, e, f, b'0' + (last / 100) as u8, g, h];
    let count = match (last, micros % 1000) {
        (0, 0) => 4,
        (0, _) => 7,
        _ => 10,
    };
    out.extend_from_slice(&digits[..count]);
}

fn pair(number: u32) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let noon = 1_577_880_000_000_000; // 2020-01-01T12:00:00Z
        let cases: &[(&str, Option<(i64, bool)>)] = &[
            ("2020-01-01T12:00:00Z", Some((noon, true))),
            ("2020-01-01 12:00", Some((noon, false))),
            ("2020-01-01T14:30:00.5+02:30", Some((noon + 500_000, true))),
            ("2020-01-01T07:00:00,000001999-0500", Some((noon + 1, true))),
            ("2020-01-01 12:00:00 UTC", None),
            ("2020-01-01", Some((noon - DAY_US / 2, false))),
            ("2020-01-01T", None),
            ("2020-02-30", None),
            ("2020-01-01T24:00", None),
            ("2020-01-01T12:60", None),
            ("20200101", None),
            ("+999999-01-01T00:00:00Z", None),
            ("+12345-01-01T00:00:00Z", None),
            ("+002020-01-01T12:00:00Z", Some((noon, true))),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes()), *expected, "{text:?}");
        }
        assert_eq!(date(b"1969-12-31"), Some(-1));
        assert_eq!(date(b"1969-12-31T00:00"), None);
        assert_eq!(date(b"+5881580-07-11"), Some(i32::MAX));
        assert_eq!((instant(b"2020-01-01T12:00"), local(b"2020-01-01T12:00Z")), (None, None));
    }

    #[test]
    fn a_time_is_as_written_where_it_comes_back_byte_by_byte() {
        let cases = [
            ("2020-01-01T12:00:00Z", Some(true)),
            ("2020-01-01T12:00:00.120Z", Some(true)),
            ("2020-01-01T12:00:00", Some(false)),
            ("2020-01-01T12:00:00.000001", Some(false)),
            ("2020-01-01T12:00:00.1Z", None),
            ("2020-01-01T12:00:00.000Z", None),
            ("2020-01-01T12:00:00.123456789Z", None),
            ("2020-01-01T12:00:00+00:00", None),
            ("2020-01-01T12:00:00z", None),
            ("2020-01-01 12:00:00", None),
            (" 2020-01-01T12:00:00Z", None),
            ("2020-01-01", None),
        ];
        for (text, expected) in cases {
            assert_eq!(as_written(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn every_time_has_a_form() {
        let text = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).expect("text")
        };
        let cases = [
            (
                text(&|out| write_seconds(253_402_300_799, 999_999_999, true, out)),
                "9999-12-31T23:59:59.999999999Z",
            ),
            (text(&|out| write_seconds(i64::MIN, 0, false, out)), "-292277022657-01-27T08:29:52"),
            (text(&|out| write_micros(i64::MAX, true, out)), "+294247-01-10T04:00:54.775807Z"),
            (text(&|out| write_date(i32::MIN.into(), out)), "-5877641-06-23"),
            (text(&|out| write_clock(86_400, 0, out)), "24:00:00"),
            (text(&|out| write_clock(1, 1_000_000, out)), "00:00:01.001"),
            (text(&|out| write_duration(-1_500_000_000, out)), "-PT1.500S"),
            (text(&|out| write_interval(1, 0, 0, out)), "P1M"),
            (text(&|out| write_interval(0, -2, 4_000_000, out)), "P-2DT0.004S"),
            (text(&|out| write_interval(0, 0, 0, out)), "PT0S"),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_written_time_reads_back(micros: i64, zoned: bool) {
            let mut text = Vec::new();
            write_micros(micros, zoned, &mut text);
            proptest::prop_assert_eq!(read(&text), Some((micros, zoned)));
            proptest::prop_assert_eq!(as_written(&text), Some(zoned));
        }
    }
}
