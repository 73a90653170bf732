//! Lists of a guest as they come out: checked, then taken over by Arrow.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BinaryArray, BooleanArray, DictionaryArray, PrimitiveArray,
    StringArray, UInt32Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use model::convert::{is_json_text, shown};
use model::fields::{FieldSpec, Kind, instants};
use model::limits;
use model::outcome::{Emission, Forwarded, Made, Origins, Outcome, Rejection};
use model::stage::PortPlan;

use super::headers::lift_headers;
use crate::contract::{
    BatchOut, BlobColumnOut, ColumnOut, DataOut, DictionaryOut, ForwardedOut, MadeRecordsOut, MadeRowsOut,
    OriginsOut, OutcomeOut, RejectionOut, TableOut, TableOutcomeOut, VarlenOut,
};
use crate::error::AnswerError;
use crate::texts::{code, cut};

/// Which list of an answer is meant, for whoever has to mend the stage. Only shown when something is wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    list: &'static str,
    port: Option<u32>,
    column: Option<usize>,
}

impl Place {
    pub(crate) fn new(list: &'static str) -> Self {
        Self { list, port: None, column: None }
    }

    fn on(list: &'static str, port: u32) -> Self {
        Self { list, port: Some(port), column: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.list)?;
        if let Some(column) = self.column {
            write!(f, " {column}")?;
        }
        self.port.map_or(Ok(()), |port| write!(f, " of port {port}"))
    }
}

/// The answer of a stage of bytes to `rows` records.
pub(crate) fn outcome_of_records(
    outcome: OutcomeOut,
    ports: &[PortPlan],
    rows: usize,
) -> Result<Outcome, AnswerError> {
    check_emissions(outcome.emissions.len(), ports)?;
    let mut emissions = Vec::with_capacity(outcome.emissions.len());
    for emission in outcome.emissions {
        let port = emission.port;
        check_port(port, ports)?;
        let (origins, made) = match emission.made {
            Some(made) => made_records(made, rows, port)?,
            None => (Origins::default(), Made::default()),
        };
        let forwarded = forwarded(emission.forwarded);
        emissions.push(Emission { port, forwarded, set: Vec::new(), origins, made });
    }
    Ok(Outcome { emissions, rejections: rejections(outcome.rejections, rows)?, held: outcome.held })
}

fn origins(origins: OriginsOut) -> Origins {
    match origins {
        OriginsOut::These(list) => Origins::These(list),
        OriginsOut::Each => Origins::Each,
    }
}

/// The origins of what was made for `port` of `input_rows` records, and what was made.
fn made_records(made: MadeRecordsOut, input_rows: usize, port: u32) -> Result<(Origins, Made), AnswerError> {
    let origins = origins(made.origins);
    let rows = origins.len(input_rows);
    let headers = made.headers.map(|h| lift_headers(h, rows, Place::on("the made headers", port)));
    let columns = Made {
        times: made.times.map(|t| lift_times(t, rows, Place::on("the made times", port))).transpose()?,
        keys: made.keys.map(|k| lift_keys(k, rows, Place::on("the made keys", port))).transpose()?,
        headers: headers.transpose()?,
        set: vec![blob_column(made.values, rows, Place::on("the made values", port))?],
    };
    Ok((origins, columns))
}

/// The answer of a stage of tables to `rows` rows.
pub(crate) fn outcome_of_table(
    outcome: TableOutcomeOut,
    ports: &[PortPlan],
    rows: usize,
) -> Result<Outcome, AnswerError> {
    check_emissions(outcome.emissions.len(), ports)?;
    let mut emissions = Vec::with_capacity(outcome.emissions.len());
    for emission in outcome.emissions {
        let port = emission.port;
        let specs = &check_port(port, ports)?.set;
        let forwarded = forwarded(emission.forwarded);
        let forwarded_rows = match &forwarded {
            Forwarded::All => rows,
            Forwarded::None => 0,
            Forwarded::These(list) => list.len(),
        };
        let set = columns(emission.set, specs, forwarded_rows, Place::on("set column", port))?;
        let (origins, made) = match emission.made {
            Some(made) => made_of_table(made, specs, rows, port)?,
            None => (Origins::default(), Made::default()),
        };
        emissions.push(Emission { port, forwarded, set, origins, made });
    }
    Ok(Outcome { emissions, rejections: rejections(outcome.rejections, rows)?, held: outcome.held })
}

fn made_of_table(
    made: MadeRowsOut,
    specs: &[FieldSpec],
    input_rows: usize,
    port: u32,
) -> Result<(Origins, Made), AnswerError> {
    let origins = origins(made.origins);
    let rows = origins.len(input_rows);
    let parts = Made {
        times: made.times.map(|t| lift_times(t, rows, Place::on("the made times", port))).transpose()?,
        keys: made.keys.map(|k| lift_keys(k, rows, Place::on("the made keys", port))).transpose()?,
        headers: None,
        set: columns(made.set, specs, rows, Place::on("made column", port))?,
    };
    Ok((origins, parts))
}

fn check_emissions(found: usize, ports: &[PortPlan]) -> Result<(), AnswerError> {
    if found <= ports.len() {
        return Ok(());
    }
    Err(AnswerError::Emissions { found, ports: ports.len() })
}

fn check_port(port: u32, ports: &[PortPlan]) -> Result<&PortPlan, AnswerError> {
    ports.get(port as usize).ok_or(AnswerError::Port { port, ports: ports.len() })
}

fn forwarded(forwarded: ForwardedOut) -> Forwarded {
    match forwarded {
        ForwardedOut::Nothing => Forwarded::None,
        ForwardedOut::All => Forwarded::All,
        ForwardedOut::These(list) => Forwarded::These(list),
    }
}

/// What a stage refuses; at most one of each record. Codes and messages are cut to their bounds.
pub(crate) fn rejections(list: Vec<RejectionOut>, rows: usize) -> Result<Vec<Rejection>, AnswerError> {
    if list.len() > rows {
        return Err(AnswerError::Rejections { found: list.len(), rows });
    }
    if let Some(beyond) = list.iter().find(|rejection| rejection.of as usize >= rows) {
        return Err(AnswerError::Rejected { row: beyond.of, rows });
    }
    if let Some(row) = twice(&list) {
        return Err(AnswerError::RejectedTwice { row });
    }
    let rejection = |RejectionOut { of, code: text, message }| Rejection {
        row: of,
        code: code(text),
        message: cut(message, limits::REJECTION_MESSAGE_BYTES_MAX),
    };
    Ok(list.into_iter().map(rejection).collect())
}

/// A record that is refused more than once; most stages refuse in order, where it is seen without sorting.
fn twice(list: &[RejectionOut]) -> Option<u32> {
    if list.is_sorted_by(|a, b| a.of < b.of) {
        return None;
    }
    let mut rows: Vec<u32> = list.iter().map(|rejection| rejection.of).collect();
    rows.sort_unstable();
    rows.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// Parts of what a source pulled.
pub(crate) struct PulledOut {
    pub rows: usize,
    pub times: Option<ArrayRef>,
    pub keys: Option<ArrayRef>,
    pub headers: Option<ArrayRef>,
    pub columns: Vec<ArrayRef>,
}

/// What a source of bytes pulled.
pub(crate) fn pulled_records(batch: BatchOut) -> Result<PulledOut, AnswerError> {
    let rows = batch.rows as usize;
    let BatchOut { times, keys, headers, values, .. } = batch;
    let times = times.map(|t| lift_times(t, rows, Place::new("the times"))).transpose()?;
    let keys = keys.map(|k| lift_keys(k, rows, Place::new("the keys"))).transpose()?;
    // A record may have no headers, so a batch may: that is as if the source had none.
    let carried = headers.as_ref().is_some_and(|headers| !headers.of.is_empty());
    let headers = headers.map(|h| lift_headers(h, rows, Place::new("the headers"))).transpose()?;
    let headers = headers.filter(|_| carried);
    let values = blob_column(values, rows, Place::new("the values"))?;
    Ok(PulledOut { rows, times, keys, headers, columns: vec![values] })
}

/// What a source of tables pulled.
pub(crate) fn pulled_table(table: TableOut, specs: &[FieldSpec]) -> Result<PulledOut, AnswerError> {
    let rows = table.rows as usize;
    let times = table.times.map(|t| lift_times(t, rows, Place::new("the times"))).transpose()?;
    let keys = table.keys.map(|k| lift_keys(k, rows, Place::new("the keys"))).transpose()?;
    let columns = columns(table.columns, specs, rows, Place::new("column"))?;
    Ok(PulledOut { rows, times, keys, headers: None, columns })
}

fn lift_times(list: Vec<i64>, rows: usize, place: Place) -> Result<ArrayRef, AnswerError> {
    check_there(list.len(), rows, place)?;
    primitive::<TimestampMicrosecondType>(list, rows, None, place)
}

fn lift_keys(column: BlobColumnOut, rows: usize, place: Place) -> Result<ArrayRef, AnswerError> {
    check_there(column.blobs.offsets.len().saturating_sub(1), rows, place)?;
    blob_column(column, rows, place)
}

/// A list that may be left out is not left out by being empty.
fn check_there(found: usize, rows: usize, place: Place) -> Result<(), AnswerError> {
    if found > 0 || rows == 0 {
        return Ok(());
    }
    Err(AnswerError::Empty { what: place.to_string(), rows })
}

fn columns(
    list: Vec<ColumnOut>,
    specs: &[FieldSpec],
    rows: usize,
    place: Place,
) -> Result<Vec<ArrayRef>, AnswerError> {
    // Where there are no rows, there need be no empty columns.
    if rows == 0 && list.is_empty() {
        return Ok(Vec::new());
    }
    if list.len() != specs.len() {
        let what = place.to_string();
        return Err(AnswerError::Columns { what, found: list.len(), expected: specs.len() });
    }
    let at = |i| Place { column: Some(i), ..place };
    list.into_iter().zip(specs).enumerate().map(|(i, (c, spec))| column(c, spec, rows, at(i))).collect()
}

fn column(out: ColumnOut, spec: &FieldSpec, rows: usize, place: Place) -> Result<ArrayRef, AnswerError> {
    let nulls = validity(out.valid, rows, place)?;
    if let Some(nulls) = &nulls
        && !spec.nullable
    {
        let row = (0..rows).find(|&row| nulls.is_null(row)).unwrap_or_default();
        return Err(AnswerError::Null { what: place.to_string(), row });
    }
    match (out.data, spec.kind) {
        (DataOut::Bools(list), Kind::Bools) => {
            let bits = bitmap(list, rows, place)?;
            Ok(Arc::new(BooleanArray::new(bits, nulls)))
        }
        (DataOut::S32s(list), Kind::S32s) => primitive::<Int32Type>(list, rows, nulls, place),
        (DataOut::S64s(list), Kind::S64s) => primitive::<Int64Type>(list, rows, nulls, place),
        (DataOut::U64s(list), Kind::U64s) => primitive::<UInt64Type>(list, rows, nulls, place),
        (DataOut::F32s(list), Kind::F32s) => primitive::<Float32Type>(list, rows, nulls, place),
        (DataOut::F64s(list), Kind::F64s) => primitive::<Float64Type>(list, rows, nulls, place),
        (DataOut::Times(list), Kind::Times) => {
            let times = primitive::<TimestampMicrosecondType>(list, rows, nulls, place)?;
            let times = times.as_primitive::<TimestampMicrosecondType>().clone();
            Ok(Arc::new(times.with_data_type(instants())))
        }
        (DataOut::Days(list), Kind::Days) => primitive::<Date32Type>(list, rows, nulls, place),
        (DataOut::Texts(list), Kind::Texts) => Ok(Arc::new(text_values(list, rows, nulls, place)?)),
        (DataOut::Jsons(list), Kind::Jsons) => {
            let texts = text_values(list, rows, nulls, place)?;
            check_json(&texts, place)?;
            Ok(Arc::new(texts))
        }
        (DataOut::Blobs(list), Kind::Blobs) => Ok(Arc::new(blob_values(list, rows, nulls, place)?)),
        (DataOut::Dictionaries(list), Kind::Dictionaries) => dictionary(list, rows, nulls, place),
        (data, _) => Err(wrong_kind(&data, spec, place)),
    }
}

fn wrong_kind(data: &DataOut, spec: &FieldSpec, place: Place) -> AnswerError {
    let found = match data {
        DataOut::Bools(_) => Kind::Bools,
        DataOut::S32s(_) => Kind::S32s,
        DataOut::S64s(_) => Kind::S64s,
        DataOut::U64s(_) => Kind::U64s,
        DataOut::F32s(_) => Kind::F32s,
        DataOut::F64s(_) => Kind::F64s,
        DataOut::Times(_) => Kind::Times,
        DataOut::Days(_) => Kind::Days,
        DataOut::Texts(_) => Kind::Texts,
        DataOut::Dictionaries(_) => Kind::Dictionaries,
        DataOut::Blobs(_) => Kind::Blobs,
        DataOut::Jsons(_) => Kind::Jsons,
    };
    let expected = format!("{} (`{}`)", spec.kind, spec.name);
    AnswerError::Kind { what: place.to_string(), found: found.name(), expected }
}

fn check_length(found: usize, rows: usize, place: Place) -> Result<(), AnswerError> {
    if found == rows {
        return Ok(());
    }
    Err(AnswerError::Length { what: place.to_string(), found, rows })
}

fn primitive<T>(
    list: Vec<T::Native>,
    rows: usize,
    nulls: Option<NullBuffer>,
    place: Place,
) -> Result<ArrayRef, AnswerError>
where
    T: ArrowPrimitiveType<Native: ArrowNativeType>,
{
    check_length(list.len(), rows, place)?;
    Ok(Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(list), nulls)))
}

fn bitmap(list: Vec<u8>, rows: usize, place: Place) -> Result<BooleanBuffer, AnswerError> {
    let expected = rows.div_ceil(8);
    if list.len() != expected {
        return Err(AnswerError::Bitmap { what: place.to_string(), found: list.len(), rows, expected });
    }
    Ok(BooleanBuffer::new(Buffer::from_vec(list), 0, rows))
}

/// None where every value is there.
fn validity(list: Option<Vec<u8>>, rows: usize, place: Place) -> Result<Option<NullBuffer>, AnswerError> {
    let Some(list) = list else { return Ok(None) };
    if list.is_empty() && rows > 0 {
        return Err(AnswerError::Empty { what: format!("the bitmap of {place}"), rows });
    }
    let nulls = NullBuffer::new(bitmap(list, rows, place)?);
    Ok((nulls.null_count() > 0).then_some(nulls))
}

fn blob_column(out: BlobColumnOut, rows: usize, place: Place) -> Result<ArrayRef, AnswerError> {
    let nulls = validity(out.valid, rows, place)?;
    Ok(Arc::new(blob_values(out.blobs, rows, nulls, place)?))
}

pub(super) fn blob_values(
    list: VarlenOut,
    rows: usize,
    nulls: Option<NullBuffer>,
    place: Place,
) -> Result<BinaryArray, AnswerError> {
    let (offsets, bytes) = varlen(list, rows, place)?;
    BinaryArray::try_new(offsets, bytes, nulls).map_err(|error| AnswerError::Abi(error.to_string()))
}

fn text_values(
    list: VarlenOut,
    rows: usize,
    nulls: Option<NullBuffer>,
    place: Place,
) -> Result<StringArray, AnswerError> {
    let (offsets, bytes) = varlen(list, rows, place)?;
    let texts = StringArray::try_new(offsets.clone(), bytes.clone(), nulls);
    texts.map_err(|error| {
        // It says where in the bytes; which value that is has to be looked for.
        let text = |w: &[i32]| std::str::from_utf8(&bytes[w[0] as usize..w[1] as usize]).is_err();
        match offsets.windows(2).position(text) {
            Some(row) => AnswerError::Utf8 { what: place.to_string(), row },
            None => AnswerError::Abi(error.to_string()),
        }
    })
}

/// Each text that is there is one JSON value: it is written as it is, between the names of its row.
fn check_json(texts: &StringArray, place: Place) -> Result<(), AnswerError> {
    let is_json = |row: usize| texts.is_null(row) || is_json_text(texts.value(row));
    match (0..texts.len()).find(|&row| !is_json(row)) {
        None => Ok(()),
        Some(row) => {
            let text = shown(texts.value(row).as_bytes());
            Err(AnswerError::Json { what: place.to_string(), row, text })
        }
    }
}

fn dictionary(
    list: DictionaryOut,
    rows: usize,
    nulls: Option<NullBuffer>,
    place: Place,
) -> Result<ArrayRef, AnswerError> {
    let DictionaryOut { indices, texts } = list;
    check_length(indices.len(), rows, place)?;
    let count = texts.offsets.len().saturating_sub(1);
    let texts = text_values(texts, count, None, place)?;
    let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    if indices.iter().max().is_some_and(|&max| max as usize >= count)
        && let Some(row) = (0..rows).find(|&row| indices[row] as usize >= count && valid(row))
    {
        let index = indices[row];
        return Err(AnswerError::Dictionary { what: place.to_string(), row, index, texts: count });
    }
    let indices = UInt32Array::new(ScalarBuffer::from(indices), nulls);
    let array = DictionaryArray::<UInt32Type>::try_new(indices, Arc::new(texts));
    Ok(Arc::new(array.map_err(|error| AnswerError::Abi(error.to_string()))?))
}

/// Offsets that start at 0, ascend, and stay within the bytes; and the bytes up to the last of them.
fn varlen(list: VarlenOut, rows: usize, place: Place) -> Result<(OffsetBuffer<i32>, Buffer), AnswerError> {
    let VarlenOut { offsets, mut bytes } = list;
    // Both are how a guest may say that there are no values; some build their offsets with the first 0 in them.
    if rows == 0 && matches!(offsets.as_slice(), [] | [0]) {
        return Ok((OffsetBuffer::new_empty(), Buffer::from_vec(Vec::<u8>::new())));
    }
    check_length(offsets.len().saturating_sub(1), rows, place)?;
    let (first, last) = (offsets[0], offsets[rows]);
    let ascending = offsets.windows(2).fold(true, |ok, w| ok & (w[0] <= w[1]));
    if first != 0 || !ascending {
        return Err(descending(&offsets, place));
    }
    if last as usize > bytes.len() || last > i32::MAX as u32 {
        return Err(AnswerError::OffsetsEnd { what: place.to_string(), end: last, bytes: bytes.len() });
    }
    bytes.truncate(last as usize);
    // None is above `i32::MAX`, so they are the same numbers with a sign.
    let offsets = ScalarBuffer::<i32>::new(Buffer::from_vec(offsets), 0, rows + 1);
    Ok((OffsetBuffer::new(offsets), Buffer::from_vec(bytes)))
}

fn descending(offsets: &[u32], place: Place) -> AnswerError {
    let what = place.to_string();
    let at = offsets.windows(2).position(|w| w[0] > w[1]);
    match at {
        _ if offsets[0] != 0 => AnswerError::Offsets { what, at: 0, offset: offsets[0], before: 0 },
        Some(at) => AnswerError::Offsets { what, at: at + 1, offset: offsets[at + 1], before: offsets[at] },
        None => AnswerError::Offsets { what, at: 0, offset: 0, before: 0 },
    }
}

#[cfg(test)]
#[path = "lift_tests.rs"]
mod tests;
