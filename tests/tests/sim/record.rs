//! Records as they move, and as the text that a file of lines holds.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::BinaryArray;
use model::batch::{Batch, Parts};
use model::lineage::{Lineage, Offsets, SourceRows};

use super::graph::{Arrival, Origin, has_break};

/// A record on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub origin: Origin,
    /// Nodes that it went through.
    pub way: Vec<u8>,
    pub counted: Vec<Counted>,
}

/// What a counting stage said to a record: it is the `number`th of this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted {
    pub node: u8,
    pub key: u8,
    pub number: u64,
}

impl Record {
    pub fn new(origin: Origin) -> Self {
        Self { origin, way: vec![origin.source], counted: Vec::new() }
    }

    pub fn arrival(&self) -> Arrival {
        Arrival { origin: self.origin, way: self.way.clone() }
    }

    /// One line, or two for the records that a file of lines refuses.
    pub fn text(&self) -> String {
        let Origin { source, split, number } = self.origin;
        let way: Vec<String> = self.way.iter().map(u8::to_string).collect();
        let counted: Vec<String> = self
            .counted
            .iter()
            .map(|Counted { node, key, number }| format!("{node}.{key}.{number}"))
            .collect();
        let gap = if has_break(self.origin) { "\n" } else { " " };
        format!("{source}.{split}.{number}{gap}{} {}", way.join("."), counted.join(","))
    }
}

/// A line that no record was written as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine;

impl FromStr for Record {
    type Err = BadLine;

    fn from_str(line: &str) -> Result<Self, BadLine> {
        let numbers = |text: &str| -> Result<Vec<u64>, BadLine> {
            text.split('.').map(|part| part.parse().map_err(|_| BadLine)).collect()
        };
        let mut parts = line.splitn(3, [' ', '\n']);
        let mut next = || parts.next().ok_or(BadLine);
        let [source, split, number] = numbers(next()?)?[..] else { return Err(BadLine) };
        let way = numbers(next()?)?.into_iter().map(|node| node as u8).collect();
        let counted = next()?.split(',').filter(|text| !text.is_empty()).map(|text| {
            let [node, key, number] = numbers(text)?[..] else { return Err(BadLine) };
            Ok(Counted { node: node as u8, key: key as u8, number })
        });
        let counted = counted.collect::<Result<_, _>>()?;
        let origin = Origin { source: source as u8, split: split as u8, number };
        Ok(Self { origin, way, counted })
    }
}

/// As a sink gets them.
pub fn batch(records: &[Record]) -> Batch {
    let origin = records[0].origin;
    let lineage = Lineage::of_source(SourceRows {
        pipeline: Arc::from("simulated"),
        source: origin.source.to_string().into(),
        split: origin.split.to_string().into(),
        offsets: Offsets::These(records.iter().map(|record| record.origin.number).collect()),
    });
    let values = BinaryArray::from_iter_values(records.iter().map(Record::text));
    Batch::from_values(values, Parts::default(), lineage).expect("as many offsets as values")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_from_their_lines() {
        for number in 0..50 {
            let mut record = Record::new(Origin { source: 1, split: 2, number });
            assert_eq!(record.text().parse(), Ok(record.clone()));
            record.way.extend([3, 4]);
            record.counted =
                vec![Counted { node: 3, key: 0, number: 7 }, Counted { node: 4, key: 2, number: 1 }];
            assert_eq!(record.text().parse(), Ok(record));
        }
        for bad in ["", "1.2", "1.2.3", "1.2.3 1", "1.2.3 1 x", "1.2.3 a ", "1.2.3.4 1 "] {
            assert_eq!(bad.parse::<Record>(), Err(BadLine), "{bad}");
        }
    }
}
