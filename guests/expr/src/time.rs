//! Timestamps and dates: reading and writing.

use calendar::{DAY_US, civil_from_days, days_from_civil, days_in_month};

/// `2024-12-31`, as days since the Unix epoch.
pub fn parse_date(text: &str) -> Option<i32> {
    let mut bytes = text.as_bytes();
    let days = take_date(&mut bytes)?;
    if bytes.is_empty() { i32::try_from(days).ok() } else { None }
}

/// `2024-12-31T23:59:59.999999Z`, as microseconds since the Unix epoch. A blank may stand for the `T`, seconds
/// and fraction may be left out, the zone is `Z`, `+02:00`, `+0200`, `+02`, or UTC where there is none, and a
/// date alone is its midnight.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let mut bytes = text.as_bytes();
    let days = take_date(&mut bytes)?;
    let midnight = days.checked_mul(DAY_US)?;
    if bytes.is_empty() {
        return Some(midnight);
    }
    if !matches!(bytes[0], b'T' | b't' | b' ') {
        return None;
    }
    bytes = &bytes[1..];
    let hour = take_digits(&mut bytes, 2).filter(|hour| *hour < 24)?;
    take_byte(&mut bytes, b':')?;
    let minute = take_digits(&mut bytes, 2).filter(|minute| *minute < 60)?;
    let mut micros = (hour * 60 + minute) * 60_000_000;
    if take_byte(&mut bytes, b':').is_some() {
        // A leap second counts as the first of the next minute.
        micros += take_digits(&mut bytes, 2).filter(|second| *second <= 60)? * 1_000_000;
        if take_byte(&mut bytes, b'.').is_some() {
            micros += take_fraction(&mut bytes)?;
        }
    }
    let offset = take_zone(&mut bytes)?;
    if !bytes.is_empty() {
        return None;
    }
    midnight.checked_add(micros)?.checked_sub(offset)
}

/// Digits after the point, as microseconds; what is finer is cut off.
pub fn take_fraction(bytes: &mut &[u8]) -> Option<i64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = (0..6).fold(0, |sum, place| {
        let digit = if place < digits { i64::from(bytes[place] - b'0') } else { 0 };
        sum * 10 + digit
    });
    *bytes = &bytes[digits..];
    (digits > 0).then_some(value)
}

/// Offset from UTC in microseconds; nothing at all is none.
pub fn take_zone(bytes: &mut &[u8]) -> Option<i64> {
    let sign = match bytes.first() {
        None => return Some(0),
        Some(b'Z' | b'z') => {
            *bytes = &bytes[1..];
            return Some(0);
        }
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    *bytes = &bytes[1..];
    let hours = take_digits(bytes, 2).filter(|hours| *hours < 24)?;
    let colon = take_byte(bytes, b':').is_some();
    let minutes = match (bytes.is_empty(), colon) {
        (true, false) => 0,
        _ => take_digits(bytes, 2).filter(|minutes| *minutes < 60)?,
    };
    Some(sign * (hours * 60 + minutes) * 60_000_000)
}

/// Exactly `count` digits.
pub fn take_digits(bytes: &mut &[u8], count: usize) -> Option<i64> {
    let digits = bytes.get(..count)?;
    let value = digits
        .iter()
        .try_fold(0i64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))?;
    *bytes = &bytes[count..];
    Some(value)
}

pub fn take_byte(bytes: &mut &[u8], wanted: u8) -> Option<()> {
    if bytes.first() != Some(&wanted) {
        return None;
    }
    *bytes = &bytes[1..];
    Some(())
}

fn take_date(bytes: &mut &[u8]) -> Option<i64> {
    let year = take_digits(bytes, 4)?;
    take_byte(bytes, b'-')?;
    let month = take_digits(bytes, 2)?;
    take_byte(bytes, b'-')?;
    let day = take_digits(bytes, 2)?;
    days_if_valid(year, month, day)
}

/// Days since the Unix epoch, where there is such a date.
pub fn days_if_valid(year: i64, month: i64, day: i64) -> Option<i64> {
    let month = u32::try_from(month).ok().filter(|month| (1..=12).contains(month))?;
    let day = u32::try_from(day).ok().filter(|day| (1..=days_in_month(year, month)).contains(day))?;
    Some(days_from_civil(year, month, day))
}

/// Appends `2024-12-31`.
pub fn write_date(days: i64, to: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    to.extend_from_slice(format!("{year:04}-{month:02}-{day:02}").as_bytes());
}

/// Appends `2024-12-31T23:59:59.999999Z`, without the fraction where it is none.
pub fn write_timestamp(micros: i64, to: &mut Vec<u8>) {
    write_date(micros.div_euclid(DAY_US), to);
    let of_day = micros.rem_euclid(DAY_US);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    to.extend_from_slice(format!("T{hour:02}:{minute:02}:{second:02}").as_bytes());
    if fraction != 0 {
        let digits = format!(".{fraction:06}");
        to.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
    to.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_in_their_usual_forms() {
        let noon = 1_704_110_400_000_000;
        for (text, wanted) in [
            ("2024-01-01T12:00:00Z", Some(noon)),
            ("2024-01-01 12:00:00", Some(noon)),
            ("2024-01-01T12:00Z", Some(noon)),
            ("2024-01-01T14:00:00+02:00", Some(noon)),
            ("2024-01-01T07:30:00-0430", Some(noon)),
            ("2024-01-01T13:00:00+01", Some(noon)),
            ("2024-01-01T12:00:00.5Z", Some(noon + 500_000)),
            ("2024-01-01T12:00:00.123456789Z", Some(noon + 123_456)),
            ("2024-01-01", Some(noon - DAY_US / 2)),
            ("2024-02-30", None),
            ("2024-13-01", None),
            ("2024-01-01T25:00:00Z", None),
            ("2024-01-01T12:00:00.Z", None),
            ("2024-01-01T12:00:00Zx", None),
            ("2024-01-01T12:00:00+2", None),
            ("24-01-01", None),
            ("", None),
            ("ü024-01-01", None),
        ] {
            assert_eq!(parse_timestamp(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for micros in [0, -1, 1_704_110_400_000_000, 1_704_110_400_123_400, -62_135_596_800_000_000] {
            let mut text = Vec::new();
            write_timestamp(micros, &mut text);
            let text = String::from_utf8(text).unwrap();
            assert_eq!(parse_timestamp(&text), Some(micros), "{text}");
        }
    }
}
