//! Patterns of timestamps, as those of `strptime`.

use calendar::DAY_US;
use expr::time::{days_if_valid, take_fraction, take_zone};

/// A pattern that was taken apart.
#[derive(Debug, Clone)]
pub struct Format {
    pattern: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Literal(u8),
    /// Any number of blanks, or none.
    Blanks,
    Year,
    /// Two digits: those up to 68 are of this century, as POSIX has it.
    ShortYear,
    Month,
    /// In English, short or whole.
    MonthName,
    /// In English, short or whole; it is read and says nothing.
    DayName,
    Day,
    Hour,
    /// Of a clock with twelve hours.
    Hour12,
    HalfDay,
    Minute,
    Second,
    Fraction,
    Zone,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatError {
    Unknown(char),
    Unfinished,
    NoDate,
}

impl std::fmt::Display for FormatError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FormatError::Unknown(found) => write!(
                f,
                "`%{found}` is not known; there are %Y %y %m %b %B %d %e %a %A %H %I %p %M %S %f %z %F %T %R %%"
            ),
            FormatError::Unfinished => f.write_str("a `%` at the end; write `%%` for the character"),
            FormatError::NoDate => f.write_str("a year, month and day are wanted, such as %Y-%m-%d"),
        }
    }
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl Format {
    pub fn parse(pattern: &str) -> Result<Self, FormatError> {
        let mut parts = Vec::new();
        // `%F` and the like are put in place of themselves.
        let whole = pattern.replace("%F", "%Y-%m-%d").replace("%T", "%H:%M:%S").replace("%R", "%H:%M");
        let mut characters = whole.chars();
        while let Some(found) = characters.next() {
            match found {
                '%' => parts.push(directive(characters.next().ok_or(FormatError::Unfinished)?)?),
                found if found.is_whitespace() => parts.push(Part::Blanks),
                found => {
                    let mut bytes = [0; 4];
                    parts.extend(found.encode_utf8(&mut bytes).bytes().map(Part::Literal));
                }
            }
        }
        let has = |any: &[Part]| parts.iter().any(|part| any.contains(part));
        if !has(&[Part::Year, Part::ShortYear]) || !has(&[Part::Month, Part::MonthName]) || !has(&[Part::Day])
        {
            return Err(FormatError::NoDate);
        }
        Ok(Format { pattern: pattern.to_owned(), parts })
    }

    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Microseconds since the Unix epoch as the text has it, and the offset from UTC where it says one.
    pub fn read(&self, text: &str) -> Option<(i64, Option<i64>)> {
        let mut fields = Fields::default();
        let mut rest = text.as_bytes();
        self.parts.iter().try_for_each(|part| fields.take(*part, &mut rest))?;
        if !rest.is_empty() {
            return None;
        }
        Some((fields.micros()?, fields.zone))
    }
}

fn directive(letter: char) -> Result<Part, FormatError> {
    Ok(match letter {
        'Y' => Part::Year,
        'y' => Part::ShortYear,
        'm' => Part::Month,
        'b' | 'B' | 'h' => Part::MonthName,
        'a' | 'A' => Part::DayName,
        'd' | 'e' => Part::Day,
        'H' => Part::Hour,
        'I' => Part::Hour12,
        'p' | 'P' => Part::HalfDay,
        'M' => Part::Minute,
        'S' => Part::Second,
        'f' => Part::Fraction,
        'z' => Part::Zone,
        '%' => Part::Literal(b'%'),
        other => return Err(FormatError::Unknown(other)),
    })
}

#[derive(Debug, Default)]
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
    zone: Option<i64>,
}

impl Fields {
    fn take(&mut self, part: Part, rest: &mut &[u8]) -> Option<()> {
        match part {
            Part::Literal(wanted) => {
                rest.first().filter(|found| **found == wanted)?;
                *rest = &rest[1..];
            }
            Part::Blanks => *rest = rest.trim_ascii_start(),
            Part::Year => self.year = digits(rest, 4)?,
            Part::ShortYear => {
                let year = digits(rest, 2)?;
                self.year = if year <= 68 { 2000 + year } else { 1900 + year };
            }
            Part::Month => self.month = digits(rest, 2)?,
            Part::MonthName => self.month = name(rest, &MONTHS)? as i64 + 1,
            Part::DayName => {
                name(rest, &DAYS)?;
            }
            Part::Day => self.day = digits(rest, 2)?,
            Part::Hour => self.hour = digits(rest, 2).filter(|hour| *hour < 24)?,
            Part::Hour12 => self.hour = digits(rest, 2).filter(|hour| (1..=12).contains(hour))? % 12,
            Part::HalfDay => {
                let half = rest.get(..2)?;
                self.afternoon = Some(half.eq_ignore_ascii_case(b"pm"));
                if !half.eq_ignore_ascii_case(b"pm") && !half.eq_ignore_ascii_case(b"am") {
                    return None;
                }
                *rest = &rest[2..];
            }
            Part::Minute => self.minute = digits(rest, 2).filter(|minute| *minute < 60)?,
            Part::Second => self.second = digits(rest, 2).filter(|second| *second <= 60)?,
            Part::Fraction => self.micros = take_fraction(rest)?,
            Part::Zone => {
                // What is missing is no zone, though it would be UTC to what reads one.
                rest.first()?;
                self.zone = Some(take_zone(rest)?);
            }
        }
        Some(())
    }

    fn micros(&self) -> Option<i64> {
        let days = days_if_valid(self.year, self.month, self.day)?;
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            _ => self.hour,
        };
        let seconds = (hour * 60 + self.minute) * 60 + self.second;
        days.checked_mul(DAY_US)?.checked_add(seconds * 1_000_000 + self.micros)
    }
}

/// One to `most` digits.
fn digits(rest: &mut &[u8], most: usize) -> Option<i64> {
    let count = rest.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
    let value = rest[..count].iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    *rest = &rest[count..];
    (count > 0).then_some(value)
}

/// The place of the name that comes next, whole or as its first three letters.
fn name(rest: &mut &[u8], names: &[&str]) -> Option<usize> {
    let starts = |length: usize, name: &str| {
        rest.get(..length).is_some_and(|start| start.eq_ignore_ascii_case(&name.as_bytes()[..length]))
    };
    let (index, length) = names.iter().enumerate().find_map(|(index, name)| {
        let length = if starts(name.len(), name) { name.len() } else { 3 };
        starts(length, name).then_some((index, length))
    })?;
    *rest = &rest[length..];
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read() {
        let noon = 1_704_110_400_000_000;
        for (pattern, text, wanted) in [
            ("%d.%m.%Y %H:%M", "01.01.2024 12:00", Some((noon, None))),
            ("%d.%m.%Y %H:%M", "1.1.2024 12:00", Some((noon, None))),
            ("%m/%d/%y %I:%M %p", "01/01/24 12:00 PM", Some((noon, None))),
            ("%m/%d/%y %I:%M %p", "01/01/24 12:00 AM", Some((noon - DAY_US / 2, None))),
            (
                "%a, %d %b %Y %T %z",
                "Mon, 01 Jan 2024 13:00:00 +0100",
                Some((noon + 3_600_000_000, Some(3_600_000_000))),
            ),
            ("%d %B %Y", "1 january 2024", Some((noon - DAY_US / 2, None))),
            ("%F %T.%f", "2024-01-01 12:00:00.25", Some((noon + 250_000, None))),
            ("%Y年%m月%d日", "2024年1月1日", Some((noon - DAY_US / 2, None))),
            ("%Y-%m-%d", "2024-02-30", None),
            ("%Y-%m-%d", "2024-02-03x", None),
            ("%Y-%m-%d", "2024-02", None),
            ("%Y-%m-%d %H", "2024-02-03 24", None),
            ("%d %b %Y", "1 foo 2024", None),
            ("%Y%m%d", "20240101", Some((noon - DAY_US / 2, None))),
            ("%F %z", "2024-01-01 ", None),
        ] {
            assert_eq!(Format::parse(pattern).unwrap().read(text), wanted, "{pattern}: {text}");
        }
    }

    #[test]
    fn patterns_that_mean_nothing_are_refused() {
        assert_eq!(Format::parse("%Y-%m-%Q").unwrap_err(), FormatError::Unknown('Q'));
        assert_eq!(Format::parse("%Y-%m-%").unwrap_err(), FormatError::Unfinished);
        assert_eq!(Format::parse("%H:%M").unwrap_err(), FormatError::NoDate);
        assert_eq!(Format::parse("").unwrap_err(), FormatError::NoDate);
    }
}
