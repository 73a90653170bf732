//! A guest is hostile: whatever it says is taken over or refused, and never panics.

use arrow::array::{Array, AsArray};
use proptest::prelude::*;

use super::*;
use crate::contract::{EmissionOut, HeadersOut, MadeRecordsOut, MadeRowsOut, TableEmissionOut};

fn spec(kind: Kind, nullable: bool) -> FieldSpec {
    FieldSpec { name: "c".into(), kind, nullable, logical: String::new() }
}

fn texts(offsets: &[u32], bytes: &[u8]) -> VarlenOut {
    VarlenOut { offsets: offsets.into(), bytes: bytes.into() }
}

fn place() -> Place {
    Place { column: Some(3), ..Place::on("set column", 1) }
}

#[test]
fn a_column_that_fits_becomes_what_it_says() {
    let out =
        ColumnOut { valid: Some(vec![0b101]), data: DataOut::Texts(texts(&[0, 2, 2, 4], "aéz".as_bytes())) };
    let Err(error) = column(out, &spec(Kind::Texts, true), 3, place()) else { panic!("cut inside of é") };
    assert_eq!(error, AnswerError::Utf8 { what: "set column 3 of port 1".into(), row: 0 });
    let out =
        ColumnOut { valid: Some(vec![0b101]), data: DataOut::Texts(texts(&[0, 3, 3, 4], "aéz".as_bytes())) };
    let array = column(out, &spec(Kind::Texts, true), 3, place()).expect("fits");
    let found: Vec<Option<&str>> = array.as_string::<i32>().iter().collect();
    assert_eq!(found, [Some("aé"), None, Some("z")]);
}

#[test]
fn bytes_behind_the_last_offset_are_left_out() {
    let array = blob_values(texts(&[0, 1], b"abc"), 1, None, place()).expect("fits");
    assert_eq!((array.value(0), array.value_data()), (&b"a"[..], &b"a"[..]));
}

#[test]
fn what_breaks_the_contract_is_named() {
    let data = |list: &[i64]| DataOut::S64s(list.into());
    let nums =
        |valid: Option<&[u8]>, list: &[i64]| ColumnOut { valid: valid.map(Into::into), data: data(list) };
    let text = |offsets: &[u32], bytes: &[u8]| ColumnOut {
        valid: None,
        data: DataOut::Texts(texts(offsets, bytes)),
    };
    let json = |offsets: &[u32], bytes: &[u8]| ColumnOut {
        valid: None,
        data: DataOut::Jsons(texts(offsets, bytes)),
    };
    let dict = |valid: Option<&[u8]>, indices: &[u32]| {
        let texts = texts(&[0, 1, 2], b"ab");
        ColumnOut {
            valid: valid.map(Into::into),
            data: DataOut::Dictionaries(DictionaryOut { indices: indices.into(), texts }),
        }
    };
    let cases = [
        (Kind::S64s, nums(None, &[1]), "has 1 values for 2 rows"),
        (Kind::S64s, nums(Some(&[1, 1]), &[1, 2]), "has 2 bytes, 2 rows need 1"),
        (
            Kind::S64s,
            nums(Some(&[]), &[1, 2]),
            "the bitmap of set column 3 of port 1: an empty list for 2 rows; what is not there is said with none",
        ),
        (Kind::S64s, nums(Some(&[0b01]), &[1, 2]), "has no value in row 1"),
        (Kind::F64s, nums(None, &[1, 2]), "is s64s, the plan says f64s (`c`)"),
        (Kind::Bools, ColumnOut { valid: None, data: DataOut::Bools(vec![]) }, "has 0 bytes, 2 rows need 1"),
        (Kind::Texts, text(&[], b""), "has 0 values for 2 rows"),
        (Kind::Texts, text(&[0, 1], b"a"), "has 1 values for 2 rows"),
        (Kind::Texts, text(&[1, 1, 1], b"a"), "offset 0 of set column 3 of port 1 is 1"),
        (Kind::Texts, text(&[0, 2, 1], b"ab"), "offset 2 of set column 3 of port 1 is 1 after 2"),
        (Kind::Texts, text(&[0, 1, 3], b"ab"), "end at 3, it has 2 bytes"),
        (Kind::Texts, text(&[0, 1, u32::MAX], b"ab"), "end at 4294967295"),
        (Kind::Texts, text(&[0, 1, 2], b"a\xff"), "value 1 of set column 3 of port 1 is not UTF-8"),
        (Kind::Jsons, text(&[0, 1, 2], b"ab"), "is texts, the plan says jsons"),
        (
            Kind::Jsons,
            json(&[0, 1, 11], b"11,\"id\":666"),
            "value 1 of set column 3 of port 1 is not one JSON value",
        ),
        (
            Kind::Jsons,
            json(&[0, 9, 10], b"{not json1"),
            "value 0 of set column 3 of port 1 is not one JSON value: `{not json`",
        ),
        (Kind::Jsons, json(&[0, 0, 1], b"1"), "is not one JSON value: ``"),
        (Kind::Jsons, json(&[0, 1, 4], b"1NaN"), "is not one JSON value: `NaN`"),
        (Kind::Dictionaries, dict(None, &[0, 2]), "value 1 of set column 3 of port 1 is text 2 of 2"),
        (Kind::Dictionaries, dict(None, &[0]), "has 1 values for 2 rows"),
    ];
    for (kind, out, expected) in cases {
        let shown = format!("{out:?}");
        let Err(error) = column(out, &spec(kind, false), 2, place()) else { panic!("{shown} was taken") };
        assert!(error.to_string().contains(expected), "{shown}: {error}");
    }
    let absent = column(dict(Some(&[0b01]), &[0, 9]), &spec(Kind::Dictionaries, true), 2, place());
    assert!(absent.is_ok(), "an index of an absent value was looked at: {absent:?}");
}

fn ports(count: usize, set: Vec<FieldSpec>) -> Vec<PortPlan> {
    let port = |i| PortPlan { name: format!("p{i}"), select: None, set: set.clone() };
    (0..count).map(port).collect()
}

#[test]
fn an_answer_with_too_many_ports_or_rejections_is_refused() {
    let emission = |port| EmissionOut { port, forwarded: ForwardedOut::All, made: None };
    let outcome = |emissions, rejections| OutcomeOut { emissions, rejections, held: 0 };
    let rejected = |of| RejectionOut { of, code: "c".into(), message: "é".repeat(5000) };
    let cases = [
        (outcome(vec![emission(1)], vec![]), Some("by port 1, its plan has 1")),
        (outcome(vec![emission(0), emission(0)], vec![]), Some("emits 2 times")),
        (outcome(vec![], vec![rejected(0), rejected(0), rejected(1)]), Some("rejects 3 records of 2")),
        (outcome(vec![], vec![rejected(1), rejected(1)]), Some("rejects record 1 twice")),
        (outcome(vec![emission(0)], vec![rejected(1)]), None),
        (outcome(vec![], vec![rejected(1), rejected(0)]), None),
    ];
    for (outcome, expected) in cases {
        match (outcome_of_records(outcome, &ports(1, vec![]), 2), expected) {
            (Ok(outcome), None) => {
                let message = &outcome.rejections[0].message;
                assert!(message.len() <= limits::REJECTION_MESSAGE_BYTES_MAX + 3, "{}", message.len());
            }
            (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (found, _) => panic!("{found:?}"),
        }
    }
}

#[test]
fn a_table_that_forwards_nothing_need_send_no_columns() {
    let emission = TableEmissionOut {
        port: 0,
        forwarded: ForwardedOut::Nothing,
        set: vec![],
        made: Some(MadeRowsOut { origins: OriginsOut::These(vec![]), times: None, keys: None, set: vec![] }),
    };
    let outcome = TableOutcomeOut { emissions: vec![emission], rejections: vec![], held: 0 };
    let found = outcome_of_table(outcome, &ports(1, vec![spec(Kind::S64s, false)]), 5).expect("fits");
    assert!(found.emissions[0].set.is_empty());
}

#[test]
fn what_is_made_comes_with_its_origins() {
    let blobs = |offsets: &[u32]| BlobColumnOut { valid: None, blobs: texts(offsets, b"ab") };
    let outcome = |origins: Option<&[u32]>, keys: Option<BlobColumnOut>| {
        let made = MadeRecordsOut {
            origins: origins.map_or(OriginsOut::Each, |origins| OriginsOut::These(origins.into())),
            times: Some(vec![7; 2]),
            keys,
            headers: None,
            values: blobs(&[0, 1, 2]),
        };
        let emission = EmissionOut { port: 0, forwarded: ForwardedOut::Nothing, made: Some(made) };
        OutcomeOut { emissions: vec![emission], rejections: vec![], held: 0 }
    };
    let several = (outcome(Some(&[1, 1]), None), Origins::These(vec![1, 1]));
    for (outcome, expected) in [several, (outcome(None, None), Origins::Each)] {
        let found = outcome_of_records(outcome, &ports(1, vec![]), 2).expect("fits");
        let Emission { origins, made, .. } = &found.emissions[0];
        assert_eq!((origins, made.set[0].len()), (&expected, 2));
        assert_eq!(made.times.as_ref().map(|times| times.len()), Some(2));
    }
    let cases = [
        (outcome(Some(&[1]), None), 2, "the made times of port 0 has 2 values for 1 rows"),
        (outcome(Some(&[0, 1, 1]), None), 2, "the made times of port 0 has 2 values for 3 rows"),
        (outcome(None, None), 3, "the made times of port 0 has 2 values for 3 rows"),
        (outcome(Some(&[0, 1]), Some(blobs(&[0, 1]))), 2, "the made keys of port 0 has 1 values for 2 rows"),
        (outcome(Some(&[0, 1]), Some(blobs(&[0]))), 2, "the made keys of port 0: an empty list for 2 rows"),
        (outcome(None, Some(blobs(&[]))), 2, "the made keys of port 0: an empty list for 2 rows"),
    ];
    for (outcome, rows, expected) in cases {
        let error = outcome_of_records(outcome, &ports(1, vec![]), rows).expect_err(expected).to_string();
        assert!(error.contains(expected), "expected `{expected}`, got `{error}`");
    }
}

#[test]
fn no_values_are_no_offsets_or_the_first_alone() {
    for offsets in [&[][..], &[0]] {
        let array = blob_values(texts(offsets, b""), 0, None, place()).expect("fits");
        assert_eq!(array.len(), 0, "{offsets:?}");
    }
    let error = blob_values(texts(&[5], b"abcdef"), 0, None, place()).expect_err("starts at 5").to_string();
    assert!(error.contains("offset 0 of set column 3 of port 1 is 5"), "{error}");
}

/// A batch of three records, with these parts.
fn pulled(times: Option<&[i64]>, keys: Option<(&[u32], Option<&[u8]>)>, headers: Option<&[u32]>) -> BatchOut {
    let keys = keys
        .map(|(offsets, valid)| BlobColumnOut { valid: valid.map(Into::into), blobs: texts(offsets, b"ab") });
    let headers = headers.map(|of| HeadersOut {
        names: vec!["h".into()],
        of: of.into(),
        name: vec![0; of.len()],
        values: texts(&(0..=of.len() as u32).collect::<Vec<_>>(), b"abc"),
    });
    let values = BlobColumnOut { valid: None, blobs: texts(&[0, 1, 1, 2], b"ab") };
    BatchOut { rows: 3, times: times.map(Into::into), keys, headers, values }
}

#[test]
fn parts_that_a_source_has_are_for_every_record() {
    let found = pulled_records(pulled(None, None, None)).expect("fits");
    assert!(found.times.is_none() && found.keys.is_none() && found.headers.is_none());
    let keys = Some((&[0, 1, 1, 2][..], Some(&[0b101][..])));
    let found = pulled_records(pulled(Some(&[1, 2, 3]), keys, Some(&[1, 1]))).expect("fits");
    assert_eq!(found.times.expect("times").len(), 3);
    assert_eq!(found.keys.expect("keys").null_count(), 1);
    assert_eq!(found.headers.expect("headers").len(), 3);
    let found = pulled_records(pulled(None, None, Some(&[]))).expect("a record need have no headers");
    assert!(found.headers.is_none(), "headers that no record has are carried on");
    let cases = [
        (
            pulled(Some(&[]), None, None),
            "the times: an empty list for 3 rows; what is not there is said with none",
        ),
        (pulled(Some(&[1]), None, None), "the times has 1 values for 3 rows"),
        (pulled(None, Some((&[], None)), None), "the keys: an empty list for 3 rows"),
        (pulled(None, Some((&[0], None)), None), "the keys: an empty list for 3 rows"),
        (pulled(None, Some((&[0, 1], None)), None), "the keys has 1 values for 3 rows"),
        (
            pulled(None, Some((&[0, 1, 1, 2], Some(&[]))), None),
            "the bitmap of the keys: an empty list for 3 rows",
        ),
    ];
    for (batch, expected) in cases {
        let shown = format!("{batch:?}");
        let Err(error) = pulled_records(batch) else { panic!("{shown} was taken") };
        assert!(error.to_string().contains(expected), "{shown}: {error}");
    }
}

#[test]
fn nothing_pulled_may_be_said_with_empty_lists() {
    let none = || BlobColumnOut { valid: Some(vec![]), blobs: texts(&[], b"") };
    let batch = BatchOut { rows: 0, times: Some(vec![]), keys: Some(none()), headers: None, values: none() };
    let found = pulled_records(batch).expect("fits");
    assert_eq!((found.rows, found.columns[0].len()), (0, 0));
}

proptest! {
    #[test]
    fn no_list_of_values_panics(
        offsets in prop::collection::vec(prop_oneof![0u32..12, any::<u32>()], 0..8),
        bytes in prop::collection::vec(any::<u8>(), 0..12),
        valid in prop::option::of(prop::collection::vec(any::<u8>(), 0..3)),
        rows in 0usize..8,
    ) {
        for kind in [Kind::Texts, Kind::Blobs, Kind::Jsons] {
            let list = texts(&offsets, &bytes);
            let data = match kind {
                Kind::Texts => DataOut::Texts(list),
                Kind::Blobs => DataOut::Blobs(list),
                _ => DataOut::Jsons(list),
            };
            if let Ok(array) = column(ColumnOut { valid: valid.clone(), data }, &spec(kind, true), rows, place()) {
                prop_assert_eq!(array.len(), rows);
                // Reads every value through the checked accessors.
                let _ = format!("{array:?}");
            }
        }
    }

    #[test]
    fn no_dictionary_panics(
        indices in prop::collection::vec(0u32..5, 0..6),
        offsets in prop::collection::vec(0u32..6, 0..5),
        valid in prop::option::of(prop::collection::vec(any::<u8>(), 0..2)),
        rows in 0usize..6,
    ) {
        let data = DataOut::Dictionaries(DictionaryOut { indices, texts: texts(&offsets, b"abcdef") });
        if let Ok(array) = column(ColumnOut { valid, data }, &spec(Kind::Dictionaries, true), rows, place()) {
            prop_assert_eq!(array.len(), rows);
            let _ = format!("{array:?}");
        }
    }
}
