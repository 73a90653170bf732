//! The formats of files, and which one a name stands for.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::input::Compression;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One opaque record a line.
    Lines,
    /// One opaque record a file.
    Bytes,
    /// One JSON object a line.
    Jsonl,
    Csv,
    Parquet,
    /// The logs of containers on Kubernetes: `TIME stdout|stderr P|F TEXT` a line, parts joined.
    Cri,
    /// The logs of Zeek, which say themselves what their columns are.
    Zeek,
}

impl Format {
    /// By the end of a file's name, without what it is compressed with.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let name = match Compression::of_name(&name) {
            Compression::None | Compression::Auto => &name[..],
            _ => name.rsplit_once('.').map_or(&name[..], |(stem, _)| stem),
        };
        Some(match name.rsplit_once('.')?.1 {
            "csv" | "tsv" => Self::Csv,
            "jsonl" | "ndjson" | "jsonlines" => Self::Jsonl,
            "parquet" => Self::Parquet,
            "txt" | "log" | "lines" => Self::Lines,
            _ => return None,
        })
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Bytes => "bytes",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Cri => "cri",
            Self::Zeek => "zeek",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_in_it() {
        let cases = [
            ("data/a.csv", Some(Format::Csv)),
            ("a.CSV.GZ", Some(Format::Csv)),
            ("a.b.jsonl.zst", Some(Format::Jsonl)),
            ("x.parquet", Some(Format::Parquet)),
            ("*.ndjson", Some(Format::Jsonl)),
            ("var/app.log", Some(Format::Lines)),
            ("a.gz", None),
            ("a", None),
            ("a.json", None),
        ];
        for (name, expected) in cases {
            assert_eq!(Format::of_name(name), expected, "{name}");
        }
    }
}
