//! Reading one value.

use calendar::DAY_US;
use conveyor_sdk::{ColumnBuilder, Day, Failure, Kind as ColumnKind, Result, Time};
use expr::time;

use crate::config::{Details, Kind, Target};
use crate::format::Format;

/// How the values of one column are read.
#[derive(Debug, Clone)]
pub enum Reader {
    Int { thousands: Option<char> },
    Float { thousands: Option<char>, decimal: char },
    Bool { yes: Vec<String>, no: Vec<String> },
    Timestamp { format: Moment, offset: i64 },
    Date { format: Moment },
}

/// How a timestamp or date is written.
#[derive(Debug, Clone)]
pub enum Moment {
    Iso,
    /// Whole numbers since the Unix epoch, in units of this many microseconds.
    Unix {
        unit_micros: i64,
    },
    Pattern(Format),
}

/// A value that was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Read {
    Int(i64),
    Float(f64),
    Bool(bool),
    Timestamp(i64),
    Date(i32),
}

impl Read {
    pub fn write(self, to: &mut ColumnBuilder) {
        match self {
            Read::Int(value) => to.push_i64(value),
            Read::Float(value) => to.push_f64(value),
            Read::Bool(value) => to.push_bool(value),
            Read::Timestamp(micros) => to.push_time(Time(micros)),
            Read::Date(days) => to.push_day(Day(days)),
        }
    }
}

impl Reader {
    pub fn new(column: &str, Target(details): &Target) -> Result<Self> {
        check_keys(column, details)?;
        let Details { thousands, decimal, format, zone, .. } = details;
        Ok(match details.r#as {
            Kind::Int => Reader::Int { thousands: *thousands },
            Kind::Float => {
                let decimal = decimal.unwrap_or('.');
                if *thousands == Some(decimal) {
                    return Err(invalid(
                        column,
                        "thousands",
                        "the mark is that of the decimals too; say `decimal`",
                    ));
                }
                Reader::Float { thousands: *thousands, decimal }
            }
            Kind::Bool => {
                let words = |given: &[String], usual: [&str; 2]| -> Vec<String> {
                    if given.is_empty() { usual.map(str::to_owned).to_vec() } else { given.to_vec() }
                };
                let yes = words(&details.true_words, ["true", "1"]);
                let no = words(&details.false_words, ["false", "0"]);
                if let Some(word) = yes.iter().find(|word| is_one_of(word, &no)) {
                    return Err(invalid(column, "true-words", &format!("`{word}` is a word for false too")));
                }
                Reader::Bool { yes, no }
            }
            Kind::Timestamp => {
                let offset = match zone {
                    None => 0,
                    Some(zone) => offset(zone).ok_or_else(|| {
                        invalid(column, "zone", &format!("`{zone}` is not an offset from UTC such as +01:00"))
                    })?,
                };
                Reader::Timestamp { format: moment(column, format.as_deref())?, offset }
            }
            Kind::Date => Reader::Date { format: moment(column, format.as_deref())? },
        })
    }

    pub fn kind(&self) -> ColumnKind {
        match self {
            Reader::Int { .. } => ColumnKind::S64s,
            Reader::Float { .. } => ColumnKind::F64s,
            Reader::Bool { .. } => ColumnKind::Bools,
            Reader::Timestamp { .. } => ColumnKind::Times,
            Reader::Date { .. } => ColumnKind::Days,
        }
    }

    /// Of a rejection: short and stable.
    pub fn code(&self) -> &'static str {
        match self {
            Reader::Int { .. } => "bad-int",
            Reader::Float { .. } => "bad-float",
            Reader::Bool { .. } => "bad-bool",
            Reader::Timestamp { .. } => "bad-timestamp",
            Reader::Date { .. } => "bad-date",
        }
    }

    /// What a value has to be, for messages.
    pub fn wanted(&self) -> String {
        match self {
            Reader::Int { .. } => "an integer of 64 bits".to_owned(),
            Reader::Float { .. } => "a number".to_owned(),
            Reader::Bool { yes, no } => format!("one of {}, {}", yes.join(", "), no.join(", ")),
            Reader::Timestamp { format, .. } => format!("a timestamp as {}", format.name()),
            Reader::Date { format } => format!("a date as {}", format.name()),
        }
    }

    pub fn read(&self, value: &str) -> Option<Read> {
        match self {
            Reader::Int { thousands } => {
                with_plain_digits(value, *thousands, None, |plain| plain.parse().ok()).map(Read::Int)
            }
            Reader::Float { thousands, decimal } => {
                // What Rust reads as a number beside digits, `inf` and `nan`, is none here.
                let number = |plain: &str| plain.parse().ok().filter(|value: &f64| value.is_finite());
                with_plain_digits(value, *thousands, Some(*decimal), number).map(Read::Float)
            }
            Reader::Bool { yes, .. } if is_one_of(value, yes) => Some(Read::Bool(true)),
            Reader::Bool { no, .. } => is_one_of(value, no).then_some(Read::Bool(false)),
            Reader::Timestamp { format, offset } => format.micros(value, *offset).map(Read::Timestamp),
            Reader::Date { format } => {
                let days = format.micros(value, 0)?.div_euclid(DAY_US);
                i32::try_from(days).ok().map(Read::Date)
            }
        }
    }
}

impl Moment {
    fn name(&self) -> String {
        match self {
            Moment::Iso => "2024-12-31T23:59:59Z".to_owned(),
            Moment::Unix { unit_micros: 1_000_000 } => "seconds since 1970".to_owned(),
            Moment::Unix { unit_micros: 1_000 } => "milliseconds since 1970".to_owned(),
            Moment::Unix { .. } => "microseconds since 1970".to_owned(),
            Moment::Pattern(format) => format!("`{}`", format.pattern()),
        }
    }

    /// Microseconds since the Unix epoch; `offset` is that of what says none.
    fn micros(&self, value: &str, offset: i64) -> Option<i64> {
        match self {
            Moment::Iso => {
                // A zone comes after the time of day, so only there can a sign be that of one.
                let has_zone = value.get(10..).is_some_and(|rest| rest.contains(['Z', 'z', '+', '-']));
                let micros = time::parse_timestamp(value)?;
                if has_zone { Some(micros) } else { micros.checked_sub(offset) }
            }
            Moment::Unix { unit_micros } => value.parse::<i64>().ok()?.checked_mul(*unit_micros),
            Moment::Pattern(format) => {
                let (micros, zone) = format.read(value)?;
                micros.checked_sub(zone.unwrap_or(offset))
            }
        }
    }
}

/// Runs `read` on the digits without the marks between thousands and with a point before the decimals. Without
/// either to do it is the value itself, and nothing is allocated.
fn with_plain_digits<T>(
    value: &str,
    thousands: Option<char>,
    decimal: Option<char>,
    read: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let is_number =
        |value: &str| value.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    let is_plain = |value: &str| value.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let has_thousands = thousands.is_some_and(|mark| value.contains(mark));
    let other_decimal = decimal.filter(|mark| *mark != '.');
    if !has_thousands && other_decimal.is_none() {
        return if is_number(value) && is_plain(value) { read(value) } else { None };
    }
    let whole_end = other_decimal.or(decimal).and_then(|mark| value.find(mark)).unwrap_or(value.len());
    let (whole, rest) = value.split_at(whole_end);
    if let Some(mark) = thousands.filter(|mark| whole.contains(*mark)) {
        let mut groups = whole.trim_start_matches(['+', '-']).split(mark);
        let first = groups.next().map_or(0, str::len);
        if !(1..=3).contains(&first) || groups.any(|group| group.len() != 3) {
            return None;
        }
    }
    let mut plain = String::with_capacity(value.len());
    plain.extend(whole.chars().filter(|digit| Some(*digit) != thousands));
    let mut rest = rest.chars();
    if rest.next().is_some() {
        plain.push('.');
        plain.push_str(rest.as_str());
    }
    let points = plain.matches('.').count();
    if points > 1
        || (points == 1 && decimal.is_none())
        || (points == 1 && whole.contains('.') && thousands != Some('.'))
    {
        return None;
    }
    if is_number(&plain) && is_plain(&plain) { read(&plain) } else { None }
}

fn is_one_of(value: &str, words: &[String]) -> bool {
    let same = |word: &String| match word.is_ascii() {
        true => word.eq_ignore_ascii_case(value),
        false => word.to_lowercase() == value.to_lowercase(),
    };
    words.iter().any(same)
}

fn moment(column: &str, format: Option<&str>) -> Result<Moment> {
    Ok(match format {
        None | Some("iso") => Moment::Iso,
        Some("unix") => Moment::Unix { unit_micros: 1_000_000 },
        Some("unix-ms") => Moment::Unix { unit_micros: 1_000 },
        Some("unix-us") => Moment::Unix { unit_micros: 1 },
        Some(pattern) => Moment::Pattern(
            Format::parse(pattern).map_err(|error| invalid(column, "format", &error.to_string()))?,
        ),
    })
}

fn offset(zone: &str) -> Option<i64> {
    let mut bytes = zone.as_bytes();
    let offset = time::take_zone(&mut bytes).filter(|_| !zone.is_empty())?;
    bytes.is_empty().then_some(offset)
}

/// A key that means nothing for the kind is a mistake, not to be passed over.
fn check_keys(column: &str, details: &Details) -> Result {
    let Details { r#as: kind, thousands, decimal, format, zone, true_words: yes, false_words: no } = details;
    let moments = &[Kind::Timestamp, Kind::Date][..];
    for (key, is_said, kinds, of) in [
        ("thousands", thousands.is_some(), &[Kind::Int, Kind::Float][..], "numbers"),
        ("decimal", decimal.is_some(), &[Kind::Float][..], "floats"),
        ("format", format.is_some(), moments, "timestamps and dates"),
        ("zone", zone.is_some(), &[Kind::Timestamp][..], "timestamps"),
        ("true-words", !yes.is_empty(), &[Kind::Bool][..], "truth values"),
        ("false-words", !no.is_empty(), &[Kind::Bool][..], "truth values"),
    ] {
        if is_said && !kinds.contains(kind) {
            return Err(invalid(column, key, &format!("this is for {of}")));
        }
    }
    Ok(())
}

fn invalid(column: &str, key: &str, message: &str) -> Failure {
    Failure::invalid(format!("config: `columns.{column}.{key}`: {message}"))
}
