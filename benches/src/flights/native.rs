//! What somebody would write by hand, without Conveyor: one program that reads a row, decides, and writes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use csv::ByteRecord;
use serde::Serialize;
use serde_json::json;

use super::{KILOMETRES_PER_MILE, LATE_MINUTES, NULL};

/// Why a native program stopped.
#[derive(thiserror::Error, Debug)]
pub enum NativeError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the CSV: {0}")]
    Csv(#[from] csv::Error),
    #[error("the CSV has no column `{0}`")]
    NoColumn(&'static str),
    #[error("row {row}, column `{column}`: not what it should be")]
    Cell { row: u64, column: &'static str },
    #[error("the JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the output: {0}")]
    Output(#[from] std::io::Error),
}

/// What comes out, borrowed from the row.
#[derive(Serialize)]
struct Late<'a> {
    carrier: &'a str,
    flight: i64,
    origin: &'a str,
    dest: &'a str,
    distance: i64,
    kilometres: f64,
}

/// Reads with csv's `ByteRecord` and writes JSON straight from the row; gives how many rows came out.
pub fn fused(input: &Path, output: &Path) -> Result<u64, NativeError> {
    run(input, output, |writer, late| Ok(serde_json::to_writer(writer, &late)?))
}

/// The same with a JSON value built for each row that is written.
pub fn with_values(input: &Path, output: &Path) -> Result<u64, NativeError> {
    run(input, output, |writer, late| {
        let value = json!({
            "carrier": late.carrier,
            "flight": late.flight,
            "origin": late.origin,
            "dest": late.dest,
            "distance": late.distance,
            "kilometres": late.kilometres,
        });
        Ok(serde_json::to_writer(writer, &value)?)
    })
}

fn run(
    input: &Path,
    output: &Path,
    write: impl Fn(&mut BufWriter<File>, Late<'_>) -> Result<(), NativeError>,
) -> Result<u64, NativeError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| NativeError::File { path, source }
    };
    let input_file = File::open(input).map_err(at(input))?;
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(1 << 18).from_reader(input_file);
    let mut writer = BufWriter::with_capacity(1 << 18, File::create(output).map_err(at(output))?);
    let columns = Columns::find(reader.byte_headers()?)?;
    let mut record = ByteRecord::new();
    let (mut row, mut written) = (0, 0);
    while reader.read_byte_record(&mut record)? {
        row += 1;
        if let Some(late) = columns.late(&record, row)? {
            write(&mut writer, late)?;
            writer.write_all(b"\n")?;
            written += 1;
        }
    }
    writer.flush()?;
    Ok(written)
}

/// Where the columns are that are looked at.
struct Columns {
    dep_delay: usize,
    carrier: usize,
    flight: usize,
    origin: usize,
    dest: usize,
    distance: usize,
}

impl Columns {
    fn find(header: &ByteRecord) -> Result<Self, NativeError> {
        let find = |name: &'static str| {
            header.iter().position(|found| found == name.as_bytes()).ok_or(NativeError::NoColumn(name))
        };
        Ok(Self {
            dep_delay: find("dep_delay")?,
            carrier: find("carrier")?,
            flight: find("flight")?,
            origin: find("origin")?,
            dest: find("dest")?,
            distance: find("distance")?,
        })
    }

    /// What is written of a row; none where it is dropped.
    fn late<'a>(&self, record: &'a ByteRecord, row: u64) -> Result<Option<Late<'a>>, NativeError> {
        let text = |index: usize, column| {
            std::str::from_utf8(&record[index]).map_err(|_| NativeError::Cell { row, column })
        };
        let number = |index: usize, column| {
            text(index, column)?.parse::<i64>().map_err(|_| NativeError::Cell { row, column })
        };
        // A flight that was cancelled has no delay.
        if &record[self.dep_delay] == NULL || number(self.dep_delay, "dep_delay")? < LATE_MINUTES {
            return Ok(None);
        }
        let distance = number(self.distance, "distance")?;
        Ok(Some(Late {
            carrier: text(self.carrier, "carrier")?,
            flight: number(self.flight, "flight")?,
            origin: text(self.origin, "origin")?,
            dest: text(self.dest, "dest")?,
            distance,
            kilometres: distance as f64 * KILOMETRES_PER_MILE,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "origin,dest,dep_delay,carrier,flight,distance,other\n\
        JFK,MIA,20,AA,11,1000,x\nEWR,IAH,19,UA,12,1400,y\nLGA,ATL,NA,DL,13,762,z\n\
        LGA,\"A\"\"B\",-3,DL,13,762,z\nLGA,\"A\"\"B\",300,DL,13,762,z\n";

    #[test]
    fn late_flights_come_out_both_ways() {
        let dir = tempfile::tempdir().expect("a directory");
        let (input, output) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::write(&input, CSV).expect("written");
        let expected = concat!(
            r#"{"carrier":"AA","flight":11,"origin":"JFK","dest":"MIA","distance":1000,"kilometres":1609.344}"#,
            "\n",
            r#"{"carrier":"DL","flight":13,"origin":"LGA","dest":"A\"B","distance":762,"kilometres":1226.320128}"#,
            "\n",
        );
        for program in [fused, with_values] {
            assert_eq!(program(&input, &output).expect("runs"), 2);
            assert_eq!(std::fs::read_to_string(&output).expect("read"), expected);
        }
    }

    #[test]
    fn what_is_wrong_with_a_csv_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let (input, output) = (dir.path().join("in"), dir.path().join("out"));
        for (csv, expected) in [
            ("a,b\n1,2\n", "no column `dep_delay`"),
            ("dep_delay,carrier,flight,origin,dest,distance\n30,a,b,c,d,5\n", "row 1, column `flight`"),
        ] {
            std::fs::write(&input, csv).expect("written");
            let error = fused(&input, &output).expect_err(csv).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
