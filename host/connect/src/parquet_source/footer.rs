//! The end of a file, which says what is in it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// A file of no rows, and behind it a list of nothing that does not say of what: fastparquet writes its row groups so. The
/// library wants the type of the list.
const NO_ROWS_AND_NO_TYPE: [u8; 4] = [0x16, 0, 0x19, 0];
const NO_ROWS_OF_STRUCTS: [u8; 4] = [0x16, 0, 0x19, 0x0c];

/// What stands at the end of a file of Parquet.
pub(super) fn read(file: &File) -> Result<ParquetMetaData, ParquetError> {
    let error = match ParquetMetaDataReader::new().parse_and_finish(file) {
        Ok(metadata) => return Ok(metadata),
        Err(error) => error,
    };
    match typed(file) {
        Some(footer) => ParquetMetaDataReader::decode_metadata(&footer).map_err(|_| error),
        None => Err(error),
    }
}

/// The footer of a file without rows, with the type of its row groups. None of any other file.
fn typed(file: &File) -> Option<Vec<u8>> {
    const TAIL: u64 = 8;
    let end = file.metadata().ok()?.len().checked_sub(TAIL)?;
    let mut tail = [0; TAIL as usize];
    file.read_exact_at(&mut tail, end).ok()?;
    let [a, b, c, d, b'P', b'A', b'R', b'1'] = tail else { return None };
    let length = u32::from_le_bytes([a, b, c, d]);
    // Behind the magic of the beginning nothing else is in a file without rows.
    let start = end.checked_sub(length.into()).filter(|start| *start == 4)?;
    let mut footer = vec![0; length as usize];
    file.read_exact_at(&mut footer, start).ok()?;
    let at = memchr::memmem::find(&footer, &NO_ROWS_AND_NO_TYPE)?;
    footer[at..at + NO_ROWS_OF_STRUCTS.len()].copy_from_slice(&NO_ROWS_OF_STRUCTS);
    Some(footer)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::ArrowWriter;

    use super::*;

    #[test]
    fn a_list_of_no_row_groups_needs_no_type() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let writer = ArrowWriter::try_new(Vec::new(), schema, None).expect("a writer");
        let mut bytes = writer.into_inner().expect("a file");
        let at = memchr::memmem::find(&bytes, &NO_ROWS_OF_STRUCTS).expect("the row groups");
        bytes[at + 3] = 0;
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&bytes).expect("written");
        assert!(ParquetMetaDataReader::new().parse_and_finish(&file).is_err(), "the library has learnt it");
        let read = read(&file).expect("a file without rows");
        assert_eq!(
            (read.file_metadata().num_rows(), read.file_metadata().schema_descr().num_columns()),
            (0, 1)
        );
        file.write_all(b"more").expect("written");
        assert!(super::read(&file).is_err());
    }
}
