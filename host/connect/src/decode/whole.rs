//! One record a file.

use std::sync::Arc;

use arrow::array::BinaryArray;
use flow::connector::{ConnectError, PullLimits};
use model::lineage::Offsets;

use super::{Decoder, Progress, Refusal, Taken, Window, oversize};

/// Waits for the end of the file, or until it is too long.
pub(crate) struct WholeDecoder {
    record_bytes_max: usize,
    refused: Option<Refusal>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Gathering,
    Ready,
    Done,
}

impl WholeDecoder {
    pub(crate) fn new(record_bytes_max: usize) -> Self {
        Self { record_bytes_max, refused: None, state: State::Gathering }
    }
}

impl Decoder for WholeDecoder {
    fn scan(&mut self, input: &mut Window, ended: bool) -> Result<(), ConnectError> {
        if self.state == State::Done {
            input.consume_to(input.data().len());
        } else if input.len() > self.record_bytes_max {
            let (max, record) = (self.record_bytes_max, &input.data()[input.start()..]);
            self.refused = Some(Refusal::too_long(0, oversize(max), record, max));
            input.consume_to(input.data().len());
            self.state = State::Done;
        } else if ended {
            self.state = State::Ready;
        }
        Ok(())
    }

    fn ready(&self) -> usize {
        usize::from(self.state == State::Ready || self.refused.is_some())
    }

    fn take(&mut self, input: &mut Window, _limits: &PullLimits) -> Taken {
        if let Some(refusal) = self.refused.take() {
            return Taken { refused: vec![refusal], ..Taken::default() };
        }
        let value = BinaryArray::from(vec![&input.data()[input.start()..]]);
        input.consume_to(input.data().len());
        self.state = State::Done;
        Taken { rows: 1, columns: vec![Arc::new(value)], offsets: Offsets::From(0), refused: Vec::new() }
    }

    /// Nothing is asked of a record that nobody looks into.
    fn raws(&self, _input: &Window, offsets: &[u64]) -> Vec<Vec<u8>> {
        vec![Vec::new(); offsets.len()]
    }

    fn progress(&self) -> Progress {
        let done = self.state == State::Done;
        Progress { offset: u64::from(done), done, ..Progress::default() }
    }

    /// A file is read from its beginning, or it is done with and not opened.
    fn resume(&mut self, _from: &Progress, _header: Vec<u8>) -> Result<(), ConnectError> {
        Ok(())
    }
}
