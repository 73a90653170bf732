//! Server-sent events, read from bytes as they come (WHATWG HTML, 9.2.6), as far as nodes send them.

use model::limits::API_EVENT_BYTES_MAX;

/// One block: what stands between two empty lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub id: Option<String>,
    pub event: String,
    pub data: String,
}

/// A block that is longer than any that a node sends.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("it sends an event with more than {API_EVENT_BYTES_MAX} bytes")]
pub struct TooLong;

/// What came and is no block yet.
#[derive(Debug, Default)]
pub struct Blocks {
    bytes: Vec<u8>,
    /// How far it was looked at.
    read: usize,
    block: Block,
}

impl Blocks {
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.read));
        self.bytes.extend_from_slice(bytes);
    }

    /// The next one that has an id or data, once it is whole. Comments, which keep the connection alive, are none.
    pub fn next(&mut self) -> Result<Option<Block>, TooLong> {
        while let Some(end) = self.bytes[self.read..].iter().position(|byte| *byte == b'\n') {
            let line = &self.bytes[self.read..self.read + end];
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
            self.read += end + 1;
            if line.is_empty() {
                let block = std::mem::take(&mut self.block);
                if block != Block::default() {
                    return Ok(Some(block));
                }
            }
            self.line(&line);
            if self.block.data.len() > API_EVENT_BYTES_MAX {
                return Err(TooLong);
            }
        }
        if self.bytes.len() - self.read > API_EVENT_BYTES_MAX { Err(TooLong) } else { Ok(None) }
    }

    fn line(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.block.id = Some(value.to_owned()),
            "event" => self.block.event = value.to_owned(),
            "data" => {
                if !self.block.data.is_empty() {
                    self.block.data.push('\n');
                }
                self.block.data.push_str(value);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_the_same_in_whatever_pieces_they_come() {
        let text = ": alive\n\nid: 1\ndata: {\"a\":1}\n\nid:2\n\nevent: problem\r\ndata: x\r\ndata: y\r\n\r\ndata: cut";
        let block = |id: &str, event: &str, data: &str| Block {
            id: Some(id.to_owned()).filter(|id| !id.is_empty()),
            event: event.to_owned(),
            data: data.to_owned(),
        };
        let expected = [block("1", "", "{\"a\":1}"), block("2", "", ""), block("", "problem", "x\ny")];
        for size in [1, 2, 3, 7, 1000] {
            let (mut blocks, mut got) = (Blocks::default(), vec![]);
            for piece in text.as_bytes().chunks(size) {
                blocks.add(piece);
                while let Some(block) = blocks.next().expect("short") {
                    got.push(block);
                }
            }
            assert_eq!(got, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_never_ends_is_given_up() {
        for line in [&b"data: "[..], b"data: x\n"] {
            let mut blocks = Blocks::default();
            blocks.add(&line.repeat(API_EVENT_BYTES_MAX + 1));
            let ended = loop {
                match blocks.next() {
                    Ok(None) => break Ok(()),
                    Ok(Some(_)) => {}
                    Err(error) => break Err(error),
                }
            };
            assert_eq!(ended, Err(TooLong), "{line:?}");
        }
    }
}
