//! What a file sink remembers with a checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use flow::connector::ConnectError;
use serde::{Deserialize, Serialize};

use crate::place::RESET;

/// Of the tokens below.
const VERSION: u32 = 1;

/// What the last checkpoint knows of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    v: u32,
    /// As the manifest names it.
    path: String,
    #[serde(flatten)]
    pub(super) wrote: Wrote,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wrote {
    /// One file, which grows with each commit.
    One(One),
    /// A row of files.
    Row(Row),
    /// In place.
    Place(InPlace),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct One {
    /// The number of the next part.
    pub(super) next: u64,
    /// Bytes of the file once all parts are in it.
    pub(super) end: u64,
    /// Whether the file is this pipeline's, so that what follows goes behind what is in it.
    pub(super) begun: bool,
    /// Parts that are in the file when the checkpoint is committed.
    pub(super) parts: Vec<Part>,
}

/// What was written between two barriers, in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) number: u64,
    /// Where it goes.
    pub(super) at: u64,
    pub(super) bytes: u64,
    /// It becomes the file, in place of what has the name now.
    pub(super) replaces: bool,
    /// CRC32C of it; none in a token of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) crc: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// The number of the next file.
    pub(super) next: u64,
    /// Names of files that are full, and get them when the checkpoint is committed.
    pub(super) full: Vec<String>,
    /// What is in those, by their names; nothing of those of an older version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) sums: BTreeMap<String, Sum>,
    pub(super) open: Option<Working>,
    /// Whether there has been a file.
    pub(super) begun: bool,
}

/// How many bytes a file has, and their CRC32C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

/// A file that is being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Working {
    /// What it is called when it is full.
    pub(super) name: String,
    /// How much of it belongs to the checkpoint.
    pub(super) bytes: u64,
    /// CRC32C of that; none in a token of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) crc: Option<u32>,
    /// Microseconds since the Unix epoch.
    pub(super) begun: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InPlace {
    /// The file that was being written.
    pub(super) file: String,
    pub(super) bytes: u64,
    /// Whether anything was written: what was there before is replaced then, or gone on with.
    pub(super) begun: bool,
}

/// Why the output cannot be gone on with.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    #[error("the checkpoint's token cannot be read: {0}")]
    Unreadable(String),
    #[error("the checkpoint's token is of version {0}, not {VERSION}")]
    Version(u32),
    #[error("the checkpoint is of `{0}`")]
    OtherPath(String),
    #[error("the checkpoint is of an output that was written otherwise: `rotate` or `delivery` was changed")]
    OtherKind,
    #[error("it has {found} bytes, and the last checkpoint knows of {known}: it was cut off or replaced")]
    Shorter { known: u64, found: u64 },
    #[error("it is not there, and the last checkpoint knows of {known} bytes")]
    Gone { known: u64 },
    #[error(
        "it has {found} bytes, and the last checkpoint knows of {known}: it was cut off, or {part}, which was prepared for \
         it, was removed"
    )]
    ShorterOrNoPart { known: u64, found: u64, part: String },
    #[error("what was prepared for it is gone: there is no {0}")]
    NoPart(String),
    #[error("what was prepared for it is damaged: {0} is not what was written")]
    Damaged(String),
    #[error("it was finished by a later checkpoint than the one to go on from")]
    Later,
    #[error("something else has that name now")]
    Taken,
}

impl Lost {
    pub(super) fn of(self, path: &Path) -> ConnectError {
        let why = format!("it cannot be gone on with: {self}");
        ConnectError::failed(path.to_string_lossy(), why, RESET)
    }
}

impl Token {
    pub(super) fn write(path: &str, wrote: Wrote) -> Vec<u8> {
        let token = Self { v: VERSION, path: path.to_owned(), wrote };
        serde_json::to_vec(&token).expect("tokens are numbers and names, which JSON can say")
    }

    pub(super) fn read(path: &str, token: &[u8]) -> Result<Wrote, Lost> {
        let (of, wrote) = Self::parse(token)?;
        if of != path { Err(Lost::OtherPath(of)) } else { Ok(wrote) }
    }

    /// The path that it is of, and what was written there.
    pub(super) fn parse(token: &[u8]) -> Result<(String, Wrote), Lost> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let broken = |error: serde_json::Error| Lost::Unreadable(error.to_string());
        let Version { v } = serde_json::from_slice(token).map_err(broken)?;
        if v != VERSION {
            return Err(Lost::Version(v));
        }
        let Self { path, wrote, .. } = serde_json::from_slice(token).map_err(broken)?;
        Ok((path, wrote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_were_and_others_are_told() {
        let part = Part { number: 3, at: 10, bytes: 5, replaces: false, crc: Some(9) };
        let one = Wrote::One(One { next: 4, end: 15, begun: true, parts: vec![part] });
        let working = Working { name: "o-000002.csv".into(), bytes: 9, crc: Some(7), begun: -1 };
        let full = "o-000001.csv".to_owned();
        let sums = [(full.clone(), Sum { bytes: 8, crc: 6 })].into();
        let row = Wrote::Row(Row { next: 3, full: vec![full], sums, open: Some(working), begun: true });
        for wrote in [one, row, Wrote::Place(InPlace { file: "o.csv".into(), bytes: 1, begun: true })] {
            let token = Token::write("o.csv", wrote.clone());
            assert_eq!(Token::read("o.csv", &token), Ok(wrote));
            assert_eq!(Token::read("p.csv", &token), Err(Lost::OtherPath("o.csv".into())));
        }
        let older = br#"{"v":1,"path":"o.csv","row":{"next":3,"full":["a"],"open":{"name":"b","bytes":9,"begun":-1},"begun":true}}"#;
        let open = Working { name: "b".into(), bytes: 9, crc: None, begun: -1 };
        let row = Row { next: 3, full: vec!["a".into()], open: Some(open), begun: true, ..Row::default() };
        assert_eq!(Token::read("o.csv", older), Ok(Wrote::Row(row)));
        assert_eq!(Token::read("o.csv", b"{\"v\":7}"), Err(Lost::Version(7)));
        assert!(matches!(Token::read("o.csv", b"{\"v\":1}"), Err(Lost::Unreadable(_))));
        assert!(matches!(Token::read("o.csv", b""), Err(Lost::Unreadable(_))));
    }
}
