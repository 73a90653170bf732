//! Reads columns of text as numbers, timestamps, dates and truth values, in the form in which people wrote them.
//! A row whose value cannot be read is rejected, or the value becomes null.

use conveyor_sdk::{
    At, Failure, Field, Fields, Kind, Port, Result, Table, TableEmitter, TablePlan, TableTransform,
    table_transform,
};
use expr::config::{InOrder, column};

mod config;
mod format;
mod read;

use config::Target;
pub use config::{Config, OnError};
use read::{Read, Reader};

#[derive(Debug)]
pub struct Parse {
    columns: Vec<(String, Reader)>,
    nulls: Vec<String>,
    trim: bool,
    on_error: OnError,
    /// One list of values for each column; kept from batch to batch.
    read: Vec<Vec<Option<Read>>>,
}

fn check(columns: &InOrder<Target>, input: &Fields) -> Result<Vec<(Field, Reader)>> {
    if columns.is_empty() {
        return Err(Failure::invalid("config: `columns`: name at least one column and what it holds"));
    }
    let check = |(name, target): (&str, &Target)| {
        let field = column("columns", name, input)?;
        if !matches!(field.kind, Kind::Texts | Kind::Dictionaries | Kind::Opaque) {
            return Err(Failure::invalid(format!(
                "config: `columns.{name}`: the column holds {:?} already, and texts are read here",
                field.kind
            )));
        }
        let reader = Reader::new(name, target)?;
        Ok((Field { nullable: field.nullable, ..Field::new(name, Kind::Texts) }, reader))
    };
    columns.iter().map(check).collect()
}

impl TableTransform for Parse {
    type Config = Config;

    fn plan(config: &Config, input: &Fields) -> Result<TablePlan> {
        let columns = check(&config.columns, input)?;
        Ok(columns.into_iter().fold(TablePlan::new(), |plan, (field, reader)| {
            let set = Field::new(&field.name, reader.kind());
            plan.want(field).set(set)
        }))
    }

    fn open(config: Config, input: &Fields) -> Result<Self> {
        let columns = check(&config.columns, input)?;
        let columns: Vec<_> = columns.into_iter().map(|(field, reader)| (field.name, reader)).collect();
        let read = columns.iter().map(|_| Vec::new()).collect();
        Ok(Parse { columns, nulls: config.nulls, trim: config.trim, on_error: config.on_error, read })
    }

    fn process(&mut self, table: &Table, out: &mut TableEmitter) -> Result {
        let mut kept = vec![true; table.len()];
        for (index, (name, reader)) in self.columns.iter().enumerate() {
            let (values, to) = (table.texts(index), &mut self.read[index]);
            to.clear();
            for (row, kept) in kept.iter_mut().enumerate() {
                let value = values.get(row).map(|value| if self.trim { value.trim() } else { value });
                let value = value.filter(|value| !self.nulls.iter().any(|null| null == value));
                let read = value.and_then(|value| {
                    let read = reader.read(value);
                    if read.is_none() && self.on_error == OnError::Reject && std::mem::take(kept) {
                        let message = format!("`{name}`: `{}` is not {}", shortened(value), reader.wanted());
                        out.reject(At(row as u32), reader.code(), message);
                    }
                    read
                });
                to.push(read);
            }
        }
        if kept.contains(&false) {
            out.forward_where(|row| kept[row]);
        } else {
            out.forward_all();
        }
        let mut columns = out.set(Port::MAIN);
        for (index, read) in self.read.iter().enumerate() {
            let to = columns.column(index);
            for (value, _) in read.iter().zip(&kept).filter(|(_, kept)| **kept) {
                match value {
                    Some(value) => value.write(to),
                    None => to.push_null(),
                }
            }
        }
        Ok(())
    }
}

/// As much of a value as a message can hold.
fn shortened(value: &str) -> String {
    const SHOWN: usize = 60;
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

table_transform!(Parse);

#[cfg(test)]
mod tests;
