//! What the rows that a stage made stand for, which may be far more than crossed: a row has what it has not set from the
//! one that it comes from, and a text of a dictionary is there once.

use super::{Origins, Outcome, OutcomeError, OutputColumn, OutputShape};
use crate::batch::Batch;
use crate::expand::{self, Made};
use crate::limits::OUTPUT_BYTES_LEAST;

/// What crossed in full was bounded when it did.
pub(super) fn check(
    input: &Batch,
    outputs: &[OutputShape],
    outcome: &Outcome,
    ratio: u64,
) -> Result<(), OutcomeError> {
    let mut all = Vec::new();
    // What is made of a row so often at most has it within the ratio, whatever it is.
    let often = usize::try_from(ratio / (outcome.emissions.len() as u64).max(1)).unwrap_or(usize::MAX);
    for emission in &outcome.emissions {
        let origins = match &emission.origins {
            // As often as it came.
            Origins::Each => None,
            Origins::These(list) if list.is_empty() => continue,
            Origins::These(list) => Some(&**list),
        };
        let (made, old) = (&emission.made, input.parts());
        let columns = &outputs[emission.port as usize].columns;
        if let Some(origins) = origins.filter(|origins| is_one_more_often(origins, often)) {
            let parts = [(&made.times, &old.times), (&made.keys, &old.keys), (&made.headers, &old.headers)];
            let left = parts.into_iter().filter_map(|(made, old)| old.as_ref().filter(|_| made.is_none()));
            let columns = columns.iter().filter_map(|from| match from {
                OutputColumn::Input(i) => Some(&input.columns()[*i]),
                OutputColumn::Set(_) | OutputColumn::Value => None,
            });
            all.extend(columns.chain(left).map(|column| Made::Inherited(column, origins)));
        }
        let set = columns.iter().filter_map(|from| match from {
            OutputColumn::Set(i) => made.set.get(*i).filter(|values| expand::is_shared(values)),
            OutputColumn::Input(_) | OutputColumn::Value => None,
        });
        all.extend(set.map(Made::Set));
    }
    let Some(bytes) = expand::more_than(OUTPUT_BYTES_LEAST as u64, &all) else { return Ok(()) };
    let allowed = ratio.saturating_mul(expand::batch_bytes(input)).max(OUTPUT_BYTES_LEAST as u64);
    if bytes <= allowed { Ok(()) } else { Err(OutcomeError::TooLarge { bytes, allowed }) }
}

/// Whether one origin is there more than `often` times. They ascend.
fn is_one_more_often(origins: &[u32], often: usize) -> bool {
    let later = origins.get(often..).unwrap_or_default();
    origins.iter().zip(later).any(|(one, later)| one == later)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray, UInt32Array};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::batch::{Column, Parts};
    use crate::lineage::{Lineage, Offsets, SourceRows};
    use crate::outcome::{Emission, Forwarded, apply};

    /// Two records, of 10 bytes and of 12 kB, and a stage that sets a dictionary beside what it has from them.
    fn input() -> (Batch, Vec<OutputShape>) {
        let dictionary = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
        let text = Field::new("text", DataType::Utf8, false);
        let out = Schema::new(vec![text.clone(), Field::new("word", dictionary.clone(), false)]);
        let values = StringArray::from(vec!["x".repeat(10), "y".repeat(12_000)]);
        let lineage = Lineage::of_source(SourceRows {
            pipeline: "p".into(),
            source: "in".into(),
            split: "0".into(),
            offsets: Offsets::From(0),
        });
        let column = Column::new(Arc::new(values));
        let batch = Batch::new(Arc::new(Schema::new(vec![text])), 2, vec![column], Parts::default(), lineage);
        let shape = OutputShape {
            stage: "s".into(),
            schema: Arc::new(out),
            columns: vec![OutputColumn::Input(0), OutputColumn::Set(0)],
            set: vec![dictionary],
        };
        (batch.expect("a batch"), vec![shape])
    }

    fn words(bytes: usize, rows: usize) -> ArrayRef {
        let text = Arc::new(StringArray::from(vec!["w".repeat(bytes)]));
        Arc::new(DictionaryArray::new(UInt32Array::from(vec![0; rows]), text))
    }

    fn makes(origins: Origins, word: usize) -> Emission {
        let set = vec![words(word, origins.len(2))];
        Emission { origins, made: crate::outcome::Made { set, ..Default::default() }, ..Emission::default() }
    }

    #[test]
    fn rows_stand_for_no_more_than_the_ratio_allows_whatever_crossed() {
        let (input, outputs) = input();
        let of = |row, count| Origins::These(vec![row; count]);
        let cases = [
            // Of 12 kB that came: 12 MB at a ratio of 1000.
            (makes(of(1, 1000), 1), 1000, true),
            (makes(of(1, 1100), 1), 1000, false),
            (makes(of(1, 250_000), 1), 1000, false),
            (makes(of(1, 250_000), 1), 1_000_000, true),
            // What is granted in any case.
            (makes(of(1, 80), 1), 1, true),
            (makes(of(1, 100), 1), 1, false),
            (makes(of(0, 50_000), 1), 1, true),
            // By the texts of a dictionary.
            (makes(Origins::Each, 500_000), 1, true),
            (makes(Origins::Each, 600_000), 1, false),
            (makes(of(0, 4000), 900_000), 1000, false),
        ];
        for (at, (emission, ratio, passes)) in cases.into_iter().enumerate() {
            let outcome = Outcome { emissions: vec![emission], ..Outcome::default() };
            match apply(&input, &outputs, outcome, ratio) {
                Ok(_) => assert!(passes, "case {at} passes"),
                Err(error) => {
                    assert!(!passes, "case {at}: {error}");
                    assert_eq!(error.code(), "output-too-large", "{error}");
                }
            }
        }
    }

    #[test]
    fn a_forwarded_row_is_not_made() {
        let (input, outputs) = input();
        let set = vec![words(900_000, 2)];
        let emission = Emission { forwarded: Forwarded::All, set, ..Emission::default() };
        let outcome = Outcome { emissions: vec![emission], ..Outcome::default() };
        assert!(apply(&input, &outputs, outcome, 1).is_ok(), "it is handed on in parts");
    }

    #[test]
    fn rows_of_one_origin_repeat_what_they_have_from_it() {
        let (input, outputs) = input();
        let repeats = |origins: &[u32], forwarded| {
            let set = if forwarded == Forwarded::None { Vec::new() } else { vec![words(1, 1)] };
            let emission = Emission { forwarded, set, ..makes(Origins::These(origins.to_vec()), 1) };
            let outcome = Outcome { emissions: vec![emission], ..Outcome::default() };
            apply(&input, &outputs, outcome, 1000).expect("a good answer").batches[0].1.repeats()
        };
        assert_eq!(repeats(&[0, 1], Forwarded::None), 1);
        assert_eq!(repeats(&[0, 1, 1, 1], Forwarded::None), 3);
        assert_eq!(repeats(&[0], Forwarded::These(vec![0])), 2, "a row and one that was made of it");
        assert_eq!(repeats(&[0], Forwarded::These(vec![1])), 1);
        let again = [(&[0, 1, 1][..], 1), (&[0, 1, 1], 2), (&[1, 1, 1], 2), (&[], 0)];
        assert_eq!(
            again.map(|(origins, often)| is_one_more_often(origins, often)),
            [true, false, true, false]
        );
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert!(!expand::is_shared(&numbers));
    }
}
