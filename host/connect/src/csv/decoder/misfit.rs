//! What is said of fields that are not of the type of their column.

use model::convert::{shown, times};
use model::manifest::ColumnType;

use super::rest::meant;
use crate::csv::columns::{Portion, Target};

pub(super) fn misfit(line: u64, target: &Target, value: &[u8], is_row_end: bool) -> String {
    let Target { name, column_type, inferred, zeek } = target;
    let what = column_type.as_str();
    if std::str::from_utf8(value).is_err() {
        return format!(
            "line {line}, column `{name}`: invalid UTF-8; convert the file, or declare `{name}: bytes`"
        );
    }
    let mut message = format!("line {line}, column `{name}`: `{}` is no {what}", shown(value));
    if is_row_end {
        message.push_str(LONE_RETURN);
        return message;
    }
    match column_type {
        ColumnType::Timestamp if times::local(value).is_some() => {
            message.push_str(": it has no offset from UTC; declare `local-timestamp`, or `text`");
        }
        ColumnType::LocalTimestamp if times::instant(value).is_some() => {
            message.push_str(": it has an offset from UTC; declare `timestamp`, or `text`");
        }
        _ => {}
    }
    if *inferred && *column_type != ColumnType::Text {
        let found = if zeek.is_some() { "" } else { "the type was guessed from the first rows, " };
        message.push_str(&format!("; {found}declare it with `schema: {{ {name}: text }}`"));
    }
    message
}

pub(super) fn misfit_of_rest(
    line: u64,
    portion: &Portion<'_>,
    row: usize,
    rest: &[(usize, Box<[u8]>)],
) -> String {
    let is_none = |(place, _): &&(usize, Box<[u8]>)| String::from_utf8(meant(portion, row, *place)).is_err();
    let name = rest.iter().find(is_none).map(|(_, key)| String::from_utf8_lossy(key));
    let name = name.unwrap_or_default();
    format!(
        "line {line}, column {name}, which goes into `rest`: invalid UTF-8; convert the file, or declare it as bytes"
    )
}

/// What is said of a carriage return that stands where rows of its file do not end.
pub(super) const LONE_RETURN: &str = "; a carriage return stands alone in it, outside of quotes: rows may end with it where the first \
                           one does, and elsewhere it has to be in quotes";
