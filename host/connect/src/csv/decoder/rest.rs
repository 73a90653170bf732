//! The column `rest`: what the schema does not know, as one JSON object for each row.

use std::sync::Arc;

use arrow::array::StringBuilder;

use crate::csv::columns::{Portion, Read};

pub(super) fn read_rest(portion: &Portion<'_>, rest: &[(usize, Box<[u8]>)]) -> Read {
    let (mut texts, mut failed) = (StringBuilder::new(), Vec::new());
    let mut json = Vec::new();
    for row in 0..portion.rows.len() {
        json.clear();
        for (place, key) in rest {
            let field = portion.field(row, *place);
            if portion.is_null_text(field) {
                continue;
            }
            let Ok(text) = String::from_utf8(meant(portion, row, *place)) else {
                failed.push(row as u32);
                json.clear();
                break;
            };
            json.push(if json.is_empty() { b'{' } else { b',' });
            json.extend_from_slice(key);
            json.push(b':');
            json.extend_from_slice(serde_json::Value::String(text).to_string().as_bytes());
        }
        if json.is_empty() {
            texts.append_null();
        } else {
            json.push(b'}');
            texts.append_value(String::from_utf8_lossy(&json));
        }
    }
    Read { values: Arc::new(texts.finish()), failed }
}

/// What a field of `rest` means.
pub(super) fn meant(portion: &Portion<'_>, row: usize, place: usize) -> Vec<u8> {
    let field = portion.field(row, place);
    match portion.zeek {
        Some(form) => {
            let mut meant = Vec::new();
            form.meant(field.bare().unwrap_or_default(), &mut meant);
            meant
        }
        None => field.bytes().into_owned(),
    }
}

pub(super) fn json_key(name: &str) -> Box<[u8]> {
    serde_json::Value::String(name.to_owned()).to_string().into_bytes().into()
}
