//! What a source has refused, under another config: the same records as if it had been read under that one.

use std::collections::BTreeMap;

use arrow::array::BinaryArray;
use flow::connector::{KeptRefused, Misfits};
use model::batch::Parts;
use model::lineage::{KeptRows, Lineage};
use serde_json::json;
use tempfile::tempdir;

use super::*;

const ALL: Wanted = Wanted { columns: None, times: true };

/// Everything that a source gives and refuses, by split and offset: the record, or why there is none. What is refused is
/// decoded again by `mended`.
fn refused_and_again(
    spec: &SourceSpec,
    mended: &SourceSpec,
) -> BTreeMap<(String, u64), Result<String, String>> {
    let mut again = plan_source(mended).expect("a plan").again(&ALL).expect("decoders").expect("it refuses");
    let mut source = plan_source(spec).expect("a plan").open(&ALL, &Places::new()).expect("a source");
    let runtime = runtime();
    let mut all = BTreeMap::new();
    while let Some(pulled) = runtime.block_on(source.pull(LIMITS)).expect("a pull") {
        let mut kept: Vec<Batch> = pulled.misfits.into_iter().map(|Misfits { rows, .. }| rows).collect();
        if !pulled.refused.is_empty() {
            assert!(pulled.refused.iter().all(|refused| !refused.is_cut));
            let values = BinaryArray::from_iter_values(pulled.refused.iter().map(|refused| &refused.raw));
            let origin = |refused: &Refused| model::lineage::Origin {
                source: "in".into(),
                split: refused.split.clone(),
                offset: refused.offset,
            };
            let lineage = Lineage::of_kept(KeptRows {
                ids: vec![model::ids::RecordId::from_bytes([7; 16]); pulled.refused.len()],
                origins: pulled.refused.iter().map(origin).collect(),
                letters: (0..pulled.refused.len() as u64).map(Some).collect(),
            });
            kept.push(Batch::from_values(values, Parts::default(), lineage).expect("a batch"));
        }
        for rows in kept {
            let place = |row: usize| {
                let origin = rows.lineage().origin(row);
                (origin.split.to_string(), origin.offset)
            };
            let decoded = again.decode(KeptRefused { rows: &rows, header: pulled.header.as_deref() });
            let decoded = decoded.expect("decoded");
            for (row, record) in texts(&decoded.batch).into_iter().enumerate() {
                let origin = decoded.batch.lineage().origin(row);
                all.insert((origin.split.to_string(), origin.offset), Ok(record));
            }
            for rejection in decoded.rejections {
                all.insert(place(rejection.row as usize), Err(rejection.message));
            }
        }
    }
    all
}

/// A file and its options, and the columns under which some records are refused, and others under which they are not.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, ColumnType)], &'a [(&'a str, ColumnType)]);

#[test]
fn what_was_refused_is_read_as_if_it_had_not_been() {
    use ColumnType::{Int, Text};
    let directory = tempdir().expect("a directory");
    let cri = "2016-10-06T00:17:09Z stdout P one \n2016-10-06T00:17:10Z stderr F no\n2016-10-06T00:17:11Z stdout F two\n";
    let zeek = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#fields\tat\tn\n#types\ttime\tcount\n1.5\t1\nnone\t2\n";
    let cases: [Case<'_>; 6] = [
        (
            "in.csv",
            "a,b\r\n1,x\r\n\"q\"\"1\",\"two\r\nlines, \u{e9}\"\r\n3,\r\ny,last",
            &[("a", Int), ("b", Text)],
            &[("a", Text), ("b", Text)],
        ),
        (
            "in.jsonl",
            "{\"a\":1,\"b\":[1, 2]}\n\n{\"a\":\"x\",\"b\":\"\\u00e9\"}\r\n{\"b\":\"y\",\"a\":1.50}\n",
            &[("a", Int), ("b", ColumnType::Json)],
            &[("a", ColumnType::Json), ("b", ColumnType::Json)],
        ),
        ("in.cri", cri, &[], &[("time", Text)]),
        (
            "skipped.csv",
            "made by somebody\n# a note\na;b\nq;1,5\n2;2,5\n",
            &[("a", Int), ("b", ColumnType::Float)],
            &[("a", Text), ("b", ColumnType::Float)],
        ),
        ("in.zeek", zeek, &[("at", ColumnType::Timestamp), ("n", Int)], &[("at", Text), ("n", Int)]),
        ("long.csv", &format!("a\n{}\n", "y".repeat(200_000)), &[("a", Int)], &[("a", Text)]),
    ];
    for (name, text, refusing, taking) in cases {
        write_file(directory.path(), name, text);
        let with = match name {
            "in.cri" => json!({ "path": name, "format": "cri" }),
            "in.zeek" => json!({ "path": name, "format": "zeek" }),
            "skipped.csv" => {
                json!({ "path": name, "skip-lines": 1, "comment": "#", "delimiter": ";", "decimal": "," })
            }
            _ => json!({ "path": name }),
        };
        let mut bad = declare(spec(directory.path(), "file", with.clone()), refusing);
        let good = declare(spec(directory.path(), "file", with), taking);
        if name == "in.cri" {
            // Of which no text is a time.
            bad.time = TimeFrom::Column("text".to_owned());
        }
        let expected = read(&good).expect("rows");
        let expected: BTreeMap<_, _> = expected.origins.into_iter().zip(expected.records).collect();
        let found = refused_and_again(&bad, &good);
        assert!(!found.is_empty(), "{name}: nothing was refused");
        for (place, record) in found {
            assert_eq!(record.as_ref().ok(), expected.get(&place), "{name}, {place:?}: {record:?}");
        }
    }
}

#[test]
fn a_row_without_the_time_that_it_should_have_is_kept() {
    let directory = tempdir().expect("a directory");
    for (name, text) in [
        ("in.csv", "n,at\n1,1970-01-01T00:00:01Z\n\"2\",\n3,1970-01-01T00:00:03Z\n"),
        (
            "in.jsonl",
            "{\"n\":1,\"at\":\"1970-01-01T00:00:01Z\"}\n{ \"n\":2 }\n{\"n\":3,\"at\":\"1970-01-01T00:00:03Z\"}\n",
        ),
    ] {
        write_file(directory.path(), name, text);
        let columns = [("n", ColumnType::Int), ("at", ColumnType::Timestamp)];
        let good = declare(spec(directory.path(), "file", json!({ "path": name })), &columns);
        let bad = SourceSpec { time: TimeFrom::Column("at".to_owned()), ..good.clone() };
        let found: Vec<_> = refused_and_again(&bad, &good).into_values().collect();
        assert_eq!(found, [Ok("{\"n\":2,\"at\":null}".to_owned())], "{name}");
        let still: Vec<_> = refused_and_again(&bad, &bad).into_values().collect();
        assert!(matches!(&*still, [Err(why)] if why.contains("`at`, which `time:` names")), "{still:?}");
    }
}

#[test]
fn what_is_several_records_by_now_is_told_and_not_guessed() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "in.csv", "a,b\n1,\"x\ny\",z\n");
    let quoted = spec(directory.path(), "file", json!({ "path": "in.csv" }));
    let bare = spec(directory.path(), "file", json!({ "path": "in.csv", "format": "lines" }));
    let found: Vec<_> = refused_and_again(&quoted, &bare).into_values().collect();
    assert_eq!(found, [Err("its source makes several records of it now; run the source again".to_owned())]);
    // Still refused, for the reason that there is, and not for a line of what was put together.
    let still: Vec<_> = refused_and_again(&quoted, &quoted).into_values().collect();
    assert_eq!(still, [Err("3 fields where the header has 2".to_owned())]);
}
