//! Amounts as people write them: `64MiB`, `100k`, `250ms`, `100ms..10s`.

use std::fmt;
use std::str::FromStr;
use std::time;

/// Why a text is no amount. Each says what would be one.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitError {
    #[error("a size is a number and a unit, such as 512KiB, 64MiB, 1GiB or 10MB")]
    Bytes,
    #[error("a count is a number, such as 5000, 100k, 5M or 2G")]
    Count,
    #[error("a duration is a number and a unit, such as 500us, 250ms, 10s, 5m or 1h")]
    Duration,
    #[error("a share is a number of percent, such as 1%, 0.5% or 25%")]
    Percent,
    #[error("a range of durations is two of them, the shorter first, such as 100ms..10s")]
    Range,
    #[error("the number is too large")]
    TooLarge,
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Units of fuel, and other plain counts that get long: wasmtime spends about one for each instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fuel(pub u64);

/// A length of time, never below a microsecond's precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub time::Duration);

/// A share of a whole, in parts of a million: `1%` is 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(pub u64);

/// From a shorter to a longer length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DurationRange {
    pub from: Duration,
    pub to: Duration,
}

const BYTE_UNITS: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
    ("", 1),
];
const COUNT_UNITS: &[(&str, u64)] =
    &[("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000), ("K", 1_000), ("", 1)];
/// In microseconds.
const TIME_UNITS: &[(&str, u64)] =
    &[("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1), ("µs", 1)];

/// In parts of a million.
const PERCENT_UNITS: &[(&str, u64)] = &[("%", 10_000)];

/// More digits behind a point than any unit has zeros would only be dropped.
const FRACTION_DIGITS_MAX: usize = 10;

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        amount(text, BYTE_UNITS, UnitError::Bytes).map(Self)
    }
}

impl FromStr for Fuel {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        amount(text, COUNT_UNITS, UnitError::Count).map(Self)
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        amount(text, PERCENT_UNITS, UnitError::Percent).map(Self)
    }
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.trim() == "0" {
            return Ok(Self(time::Duration::ZERO));
        }
        amount(text, TIME_UNITS, UnitError::Duration).map(|micros| Self(time::Duration::from_micros(micros)))
    }
}

impl FromStr for DurationRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (from, to) = text.split_once("..").ok_or(UnitError::Range)?;
        let range = Self { from: from.parse()?, to: to.parse()? };
        if range.from <= range.to { Ok(range) } else { Err(UnitError::Range) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
        write_amount(f, self.0, units)
    }
}

impl fmt::Display for Fuel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_amount(f, self.0, &[("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000), ("", 1)])
    }
}

/// A decimal number of percent, exactly.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        match rest {
            0 => write!(f, "{whole}%"),
            _ => write!(f, "{}%", format!("{whole}.{rest:04}").trim_end_matches('0')),
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        write_amount(f, micros, &TIME_UNITS[..5])
    }
}

impl fmt::Display for DurationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.from, self.to)
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

/// Digits, at most one point, then a unit of the list. Exact: no float is in between.
fn amount(text: &str, units: &[(&str, u64)], otherwise: UnitError) -> Result<u64, UnitError> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let unit = unit.trim_start();
    let (_, scale) = units.iter().find(|(name, _)| *name == unit).ok_or(otherwise)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !digits(whole) || !digits(fraction) || fraction.len() > FRACTION_DIGITS_MAX {
        return Err(otherwise);
    }
    let whole: u64 = whole.replace('_', "").parse().map_err(|_| UnitError::TooLarge)?;
    let fraction = fraction.replace('_', "");
    let tenths = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| otherwise)?);
    let fraction: u128 = fraction.parse().map_err(|_| otherwise)?;
    let scaled = fraction * u128::from(*scale);
    if *scale == 1 && !scaled.is_multiple_of(tenths) {
        return Err(otherwise);
    }
    let total = u128::from(whole) * u128::from(*scale) + scaled / tenths;
    u64::try_from(total).map_err(|_| UnitError::TooLarge)
}

fn digits(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

/// In the largest unit that divides it, so that printing loses nothing and reads back the same.
fn write_amount(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)]) -> fmt::Result {
    let unit = units.iter().find(|(_, scale)| amount != 0 && amount.is_multiple_of(*scale));
    let (name, scale) = unit.or(units.last()).copied().unwrap_or(("", 1));
    write!(f, "{}{name}", amount / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Result<u128, UnitError> {
        text.parse::<Duration>().map(|duration| duration.0.as_micros())
    }

    #[test]
    fn sizes() {
        let cases = [
            ("64MiB", Ok(64 << 20)),
            ("1.5 KiB", Ok(1536)),
            ("1_000", Ok(1000)),
            ("10MB", Ok(10_000_000)),
            ("0", Ok(0)),
            ("64mb", Err(UnitError::Bytes)),
            ("MiB", Err(UnitError::Bytes)),
            ("1.", Err(UnitError::Bytes)),
            ("1.5", Err(UnitError::Bytes)),
            ("-1", Err(UnitError::Bytes)),
            ("", Err(UnitError::Bytes)),
            ("20000000000GiB", Err(UnitError::TooLarge)),
            ("99999999999999999999", Err(UnitError::TooLarge)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Bytes>().map(|bytes| bytes.0), expected, "{text:?}");
        }
    }

    #[test]
    fn shares() {
        for (text, parts, printed) in [
            ("1%", 10_000, "1%"),
            ("0.5 %", 5_000, "0.5%"),
            ("100%", 1_000_000, "100%"),
            ("0.0001%", 1, "0.0001%"),
        ] {
            let share: Percent = text.parse().expect("a share");
            assert_eq!((share.0, &*share.to_string()), (parts, printed));
        }
        assert_eq!("1".parse::<Percent>(), Err(UnitError::Percent));
    }

    #[test]
    fn counts() {
        let cases = [
            ("100k", Ok(100_000)),
            ("2.5M", Ok(2_500_000)),
            ("7", Ok(7)),
            ("100 records", Err(UnitError::Count)),
            ("1e6", Err(UnitError::Count)),
            ("1.2.3", Err(UnitError::Count)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Fuel>().map(|fuel| fuel.0), expected, "{text:?}");
        }
    }

    #[test]
    fn durations_and_ranges() {
        assert_eq!(micros("250ms"), Ok(250_000));
        assert_eq!(micros("1.5s"), Ok(1_500_000));
        assert_eq!(micros("0"), Ok(0));
        assert_eq!(micros("5"), Err(UnitError::Duration));
        assert_eq!(micros("5 minutes"), Err(UnitError::Duration));
        let range: DurationRange = "100ms..10s".parse().unwrap();
        assert_eq!(range.to_string(), "100ms..10s");
        assert_eq!("10s..100ms".parse::<DurationRange>(), Err(UnitError::Range));
        assert_eq!("10s".parse::<DurationRange>(), Err(UnitError::Range));
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_reads_back_the_same(amount: u64) {
            proptest::prop_assert_eq!(Bytes(amount).to_string().parse(), Ok(Bytes(amount)));
            proptest::prop_assert_eq!(Fuel(amount).to_string().parse(), Ok(Fuel(amount)));
            let duration = Duration(time::Duration::from_micros(amount));
            proptest::prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
