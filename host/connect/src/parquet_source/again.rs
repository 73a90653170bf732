//! Rows that were refused, taken again under the schema that the source has now.

use flow::connector::{ConnectError, Decode, Decoded, KeptRefused};
use model::convert::BAD_CAST;
use model::outcome::Rejection;

use super::schema::Wide;
use super::steps::{Given, Steps, pick};
use crate::again::Made;
use crate::stream::Output;

pub(super) struct RowsAgain {
    pub(super) given: Given,
    pub(super) output: Output,
}

impl Decode for RowsAgain {
    fn decode(&mut self, kept: KeptRefused<'_>) -> Result<Decoded, ConnectError> {
        let rows = kept.rows.to_arrow().map_err(|error| self.output.broken(error))?;
        let found = rows.schema();
        let mut made = Made::default();
        let of_row = |row: u32, code: &str, message| Rejection { row, code: code.to_owned(), message };
        // A column that is declared is null where a file lacks it.
        let lacks = |(declared, field): &&(bool, _)| {
            let field: &arrow::datatypes::FieldRef = field;
            !declared && found.field_with_name(field.name()).is_err()
        };
        let taken = match self.given.columns.iter().find(lacks) {
            Some((_, field)) => {
                Err(format!("it has no column `{}`; declare it under `schema`", field.name()))
            }
            None => Steps::new(&self.given, &found, &Wide::new())
                .take(&rows)
                .map_err(|(column, error)| format!("its column `{column}`: {error}")),
        };
        match taken {
            Err(why) => {
                let all = 0..rows.num_rows() as u32;
                made.rejections = all.map(|row| of_row(row, BAD_CAST, why.clone())).collect();
            }
            Ok((rows, refused)) => {
                let is_refused = |row: &u32| refused.binary_search_by_key(row, |(row, ..)| *row).is_ok();
                let keep: Vec<u32> = (0..rows.num_rows() as u32).filter(|row| !is_refused(row)).collect();
                made.rows = keep.iter().map(|&row| u64::from(row)).collect();
                let kept = pick(&rows, keep).map_err(|error| self.output.broken(error))?;
                made.columns = vec![kept.columns().to_vec()];
                made.rejections =
                    refused.into_iter().map(|(row, code, why)| of_row(row, code, why)).collect();
            }
        }
        made.into_records(&self.output, kept.rows)
    }

    fn takes_rows(&self) -> bool {
        true
    }
}
