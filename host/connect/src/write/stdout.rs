//! Standard output.

use std::io::{ErrorKind, Write as _};

use flow::connector::{Barrier, ConnectError};

use super::{Block, Output};

/// Writes a header first, if there is one, and then what comes.
pub(crate) struct StdoutOutput {
    header: Vec<u8>,
}

impl StdoutOutput {
    pub(crate) fn new(header: Vec<u8>) -> Self {
        Self { header }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        let header = std::mem::take(&mut self.header);
        let mut out = std::io::stdout().lock();
        out.write_all(&header).and_then(|()| out.write_all(bytes)).and_then(|()| out.flush()).map_err(failed)
    }
}

impl Output for StdoutOutput {
    fn write(&mut self, block: &Block) -> Result<(), ConnectError> {
        match block {
            Block::Bytes(bytes) => self.put(bytes),
            Block::Rows(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), ConnectError> {
        self.put(b"")
    }

    fn prepare(&mut self, _: Barrier) -> Result<Vec<u8>, ConnectError> {
        self.put(b"").map(|()| Vec::new())
    }

    fn commit(&mut self, _token: &[u8]) -> Result<(), ConnectError> {
        Ok(())
    }
}

/// Whoever reads may stop when it has seen enough; that is no failure.
fn failed(error: std::io::Error) -> ConnectError {
    if error.kind() == ErrorKind::BrokenPipe {
        return ConnectError::closed("stdout");
    }
    ConnectError::failed("stdout", error, "check where standard output leads")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_goes_away_is_a_clean_end() {
        assert!(failed(ErrorKind::BrokenPipe.into()).is_closed());
        assert!(!failed(ErrorKind::StorageFull.into()).is_closed());
    }
}
