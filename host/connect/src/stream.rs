//! A source of records in text or bytes: pieces of input from the reading thread, through a decoder for each
//! split, to batches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{FieldRef, SchemaRef, TimestampMicrosecondType};
use async_trait::async_trait;
use flow::connector::{ConnectError, Cursor, PullLimits, Pulled, Source};
use model::batch::{Batch, Column, Parts};
use model::convert::{BAD_ROW, cast_array};
use model::fields::Kind;
use model::lineage::{Lineage, Offsets, SourceRows};
use tokio::time::{Instant, timeout_at};

use crate::decode::{Decoder, HEADROOM, Progress, Refusal, Taken, Window};
use crate::digest::Digest;
use crate::input::{Input, Origin, Piece, Pieces, broken_off};
use crate::place::{Place, cursor};

/// What of the decoded columns becomes a batch.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) pipeline: Arc<str>,
    pub(crate) stage: Arc<str>,
    /// The wanted columns.
    pub(crate) schema: SchemaRef,
    pub(crate) times: Times,
}

/// Where event times come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// Nobody asks.
    Unwanted,
    Now,
    /// A decoded column, by its index; those from `schema.len()` on are decoded for this alone.
    Column {
        index: usize,
        field: FieldRef,
    },
}

/// Makes a decoder for a split, which it is told the name of.
pub(crate) type MakeDecoder = Box<dyn Fn(&Arc<str>) -> Box<dyn Decoder> + Send>;

/// Drives one decoder for each split that is being read.
pub(crate) struct StreamSource {
    pieces: Pieces,
    make: MakeDecoder,
    lanes: BTreeMap<u64, Lane>,
    /// Of splits that have ended without a record behind which it could have been said.
    over: VecDeque<Cursor>,
    /// Splits that are not to be known any more.
    forgotten: Vec<Arc<str>>,
    output: Output,
    /// When the first record came that is waiting for more.
    waiting_since: Option<Instant>,
    ended: bool,
    failed: Option<ConnectError>,
}

struct Lane {
    split: Arc<str>,
    window: Window,
    decoder: Box<dyn Decoder>,
    ended: bool,
    /// Bytes of the file up to the end of the window.
    read: u64,
    /// Where its file was when it was opened. None of what cannot be read again.
    place: Option<Place>,
    /// Whether a cursor has said that it has ended.
    told: bool,
}

impl Lane {
    fn begin(
        split: Arc<str>,
        origin: Option<Box<Origin>>,
        mut decoder: Box<dyn Decoder>,
    ) -> Result<Self, ConnectError> {
        let Some(Origin { place, header, digest }) = origin.map(|origin| *origin) else {
            let window = Window::default();
            return Ok(Self { split, window, decoder, ended: false, read: 0, place: None, told: false });
        };
        let mut window = Window::default();
        window.digest = digest;
        let Place { offset, position, lines, skipping, within, ahead, .. } = place;
        if position > 0 || ahead > 0 {
            let header_bytes = place.header;
            let from = Progress { offset, lines, skipping, within, ahead, ..Progress::default() };
            decoder.resume(&Progress { header: header_bytes, ..from }, header)?;
        }
        Ok(Self { split, window, decoder, ended: false, read: position, place: Some(place), told: false })
    }

    fn is_over(&self) -> bool {
        self.ended && self.decoder.ready() == 0 && self.window.is_empty()
    }

    /// Where it goes on behind all that was taken.
    fn cursor(&mut self) -> Option<Cursor> {
        let place = self.place.clone()?;
        let Progress { offset, lines, header, skipping, within, held, ahead, done } = self.decoder.progress();
        let position = self.read - self.window.len() as u64 - held;
        let ended = done || self.is_over();
        let trail = self.window.digest.as_ref().map(Digest::trail);
        self.told = ended;
        let place = Place { offset, position, lines, header, skipping, within, ..place };
        Some(cursor(&self.split, &Place { ahead, ended, trail, ..place }))
    }
}

impl StreamSource {
    pub(crate) fn open(input: Input, output: Output, make: MakeDecoder) -> Result<Self, ConnectError> {
        Ok(Self {
            pieces: Pieces::read(input)?,
            make,
            lanes: BTreeMap::new(),
            over: VecDeque::new(),
            forgotten: Vec::new(),
            output,
            waiting_since: None,
            ended: false,
            failed: None,
        })
    }

    /// Takes in what the reading thread says. Everything happens here, between two waits.
    fn accept(&mut self, piece: Option<Piece>) -> Result<(), ConnectError> {
        match piece {
            Some(Piece::Done) => self.ended = true,
            Some(Piece::Failed(error)) => {
                self.failed = Some(error);
                self.ended = true;
            }
            None => {
                self.failed = Some(broken_off());
                self.ended = true;
            }
            Some(Piece::Forget { split }) => self.forgotten.push(split),
            Some(Piece::Open { lane, split, origin }) => {
                let decoder = (self.make)(&split);
                self.lanes.insert(lane, Lane::begin(split, origin, decoder)?);
            }
            Some(Piece::Mark { lane, mark }) => {
                if let Some(place) = self.lanes.get_mut(&lane).and_then(|lane| lane.place.as_mut()) {
                    place.file = mark;
                }
            }
            Some(Piece::Data { lane, chunk }) => {
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    lane.read += (chunk.end - HEADROOM) as u64;
                    if let Some(spent) = lane.window.append(chunk) {
                        self.pieces.give_back(spent);
                    }
                    lane.decoder.scan(&mut lane.window, false)?;
                }
            }
            Some(Piece::End { lane }) => {
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    lane.ended = true;
                    lane.decoder.scan(&mut lane.window, true)?;
                }
            }
        }
        Ok(())
    }

    /// A lane whose records should go now. `hurry`: also those that could wait for more.
    fn pick_lane(&mut self, limits: &PullLimits, hurry: bool) -> Result<Option<u64>, ConnectError> {
        let mut over = Vec::new();
        let mut picked = None;
        for (&id, lane) in &mut self.lanes {
            // At the end of a split, what one look leaves over is looked at again.
            while lane.ended && lane.decoder.ready() == 0 && !lane.window.is_empty() {
                lane.decoder.scan(&mut lane.window, true)?;
            }
            let ready = lane.decoder.ready();
            if ready == 0 && lane.ended {
                over.push(id);
                continue;
            }
            // A batch that is a little short is better than copying its rows in front of the next piece.
            let enough = ready >= limits.records_max.div_ceil(4)
                || lane.window.len() >= limits.bytes_max
                || lane.ended
                || self.ended
                || hurry;
            if ready > 0 && enough {
                picked = Some(id);
                break;
            }
            if ready > 0 {
                self.waiting_since.get_or_insert_with(Instant::now);
            }
        }
        for id in over {
            let ended = self.lanes.remove(&id).filter(|lane| !lane.told);
            self.over.extend(ended.and_then(|mut lane| lane.cursor()));
        }
        Ok(picked)
    }

    fn take_from(&mut self, lane: u64, limits: &PullLimits) -> Result<Option<Pulled>, ConnectError> {
        self.waiting_since = None;
        let Some(lane) = self.lanes.get_mut(&lane) else { return Ok(None) };
        let taken = lane.decoder.take(&mut lane.window, limits);
        if taken.rows == 0 && taken.refused.is_empty() {
            return Ok(None);
        }
        let cursor = lane.cursor();
        let Lane { split, window, decoder, .. } = lane;
        let mut pulled = self.output.pulled(taken, split, cursor, |offsets| decoder.raws(window, offsets))?;
        if !pulled.refused.is_empty() {
            pulled.header = decoder.header();
        }
        Ok(Some(pulled))
    }
}

impl StreamSource {
    /// Splits of which nothing more comes and that are not to be known any more. One of which something does has to be
    /// known that long.
    fn forget(&mut self) -> Vec<Arc<str>> {
        let Self { forgotten, lanes, over, .. } = self;
        let comes = |split: &Arc<str>| {
            lanes.values().any(|lane| lane.split == *split)
                || over.iter().any(|cursor| cursor.split == *split)
        };
        forgotten.extract_if(.., |split| !comes(split)).collect()
    }
}

#[async_trait]
impl Source for StreamSource {
    async fn pull(&mut self, limits: PullLimits) -> Result<Option<Pulled>, ConnectError> {
        let mut hurry = false;
        loop {
            while let Some(lane) = self.pick_lane(&limits, hurry)? {
                // What begins anew under the same name comes behind the end of what had it before.
                if let Some(cursor) = self.over.pop_front() {
                    return Ok(Some(Pulled { cursor: Some(cursor), ..Pulled::default() }));
                }
                if let Some(pulled) = self.take_from(lane, &limits)? {
                    return Ok(Some(pulled));
                }
            }
            if let Some(cursor) = self.over.pop_front() {
                return Ok(Some(Pulled { cursor: Some(cursor), ..Pulled::default() }));
            }
            let forgotten = self.forget();
            if !forgotten.is_empty() {
                return Ok(Some(Pulled { forgotten, ..Pulled::default() }));
            }
            if self.ended {
                // What had been read before an error is out, so that it comes last.
                return self.failed.take().map_or(Ok(None), Err);
            }
            let piece = match self.waiting_since {
                None => self.pieces.pieces.recv().await,
                Some(since) => match timeout_at(since + limits.delay, self.pieces.pieces.recv()).await {
                    Ok(piece) => piece,
                    Err(_) => {
                        hurry = true;
                        continue;
                    }
                },
            };
            self.accept(piece)?;
        }
    }
}

const NO_ZONE: Option<Arc<str>> = None;

/// What is said of a row that has no time where all of them are to have one.
pub(crate) fn no_time(column: &str) -> String {
    format!("column `{column}`, which `time:` names, has no timestamp in this row")
}

impl Output {
    /// The batch of a portion, with lineage and times. `cursor`: where the split goes on behind it. `raws`: the bytes of
    /// records, by their offsets, which are refused here for want of a time.
    pub(crate) fn pulled(
        &self,
        taken: Taken,
        split: &Arc<str>,
        cursor: Option<Cursor>,
        raws: impl FnOnce(&[u64]) -> Vec<Vec<u8>>,
    ) -> Result<Pulled, ConnectError> {
        let Taken { mut rows, mut columns, mut offsets, mut refused } = taken;
        let mut times = None;
        match &self.times {
            Times::Unwanted => {}
            Times::Now => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let now = TimestampMicrosecondArray::from_value(now.as_micros() as i64, rows);
                times = Some(Arc::new(now) as ArrayRef);
            }
            Times::Column { index, field } if rows > 0 => {
                let (found, _) =
                    cast_array(field, &columns[*index], Kind::Times).map_err(|error| self.broken(error))?;
                // Times of records need not say that they are points in time.
                let found =
                    found.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(NO_ZONE);
                let found: ArrayRef = Arc::new(found);
                if found.logical_null_count() > 0 {
                    let keep: Vec<u32> =
                        (0..rows as u32).filter(|&row| found.is_valid(row as usize)).collect();
                    let lost = (0..rows).filter(|&row| found.is_null(row));
                    let lost: Vec<u64> = lost.map(|row| offsets.at(row)).collect();
                    let refusal = |(&offset, raw): (&u64, Vec<u8>)| {
                        Refusal::new(offset, BAD_ROW, no_time(field.name()), &raw)
                    };
                    refused.extend(lost.iter().zip(raws(&lost)).map(refusal));
                    refused.sort_by_key(|refusal| refusal.offset);
                    offsets = Offsets::These(keep.iter().map(|&row| offsets.at(row as usize)).collect());
                    rows = keep.len();
                    let keep = UInt32Array::from(keep);
                    let picked =
                        columns.iter().map(|column| take(column, &keep, None)).collect::<Result<_, _>>();
                    columns = picked.map_err(|error| self.broken(error))?;
                    times = Some(take(&found, &keep, None).map_err(|error| self.broken(error))?);
                } else {
                    times = Some(found);
                }
            }
            Times::Column { .. } => {}
        }
        let refused = refused.into_iter().map(|refusal| refusal.of_split(split)).collect();
        if rows == 0 {
            return Ok(Pulled { refused, cursor, ..Pulled::default() });
        }
        columns.truncate(self.schema.fields().len());
        let columns = columns.into_iter().map(Column::new).collect();
        let parts = Parts { times: times.map(Column::new), ..Parts::default() };
        let lineage = Lineage::of_source(SourceRows {
            pipeline: self.pipeline.clone(),
            source: self.stage.clone(),
            split: split.clone(),
            offsets,
        });
        let batch = Batch::new(self.schema.clone(), rows, columns, parts, lineage);
        let batch = Some(batch.map_err(|error| self.broken(error))?);
        Ok(Pulled { batch, refused, cursor, ..Pulled::default() })
    }

    pub(crate) fn broken(&self, error: impl ToString) -> ConnectError {
        ConnectError::failed(&*self.stage, error, "this is a defect of the connector: please report it")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::Wanted;
    use crate::format::Format;
    use crate::read::ReadOptions;
    use crate::tests::{LIMITS, drain, spec};

    /// Two lines, and then the thread that reads them is gone.
    struct BreaksOff(&'static [u8]);

    impl Read for BreaksOff {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            assert!(!self.0.is_empty(), "the decompressor met what it had not thought of");
            self.0.read(into)
        }
    }

    #[test]
    fn a_reading_thread_that_is_gone_is_not_the_end_of_the_input() {
        let spec = spec(std::path::Path::new("/"), "stdin", serde_json::json!({}));
        let reading = ReadOptions::default().check(Format::Lines, false).expect("options");
        let described = reading.describe(&spec, &[]).expect("lines");
        let (make, output) = reading.decoders(&spec, &described, &Wanted::default()).expect("decoders");
        let input = Input::Stream(Box::new(BreaksOff(b"one\ntwo\n")));
        let mut source = StreamSource::open(input, output, make).expect("a thread");
        let (output, error) = drain(&mut source, LIMITS);
        assert_eq!(output.records, ["one", "two"], "what came before it is delivered first");
        assert_eq!(error.expect("no end").why, "it broke off before the end of its input");
    }
}
