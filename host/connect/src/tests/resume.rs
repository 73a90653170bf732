//! A source that goes on where it was brings what an undisturbed one would have brought.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::manifest::ColumnType;
use proptest::prelude::*;
use serde_json::json;
use tempfile::tempdir;

use super::*;

/// One record or one refusal, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    split: String,
    offset: u64,
    what: String,
}

/// What is read, and the places behind it.
#[derive(Default)]
struct Reader {
    seen: Vec<Seen>,
    places: Places,
    ended: bool,
}

impl Reader {
    /// Opens the source at its places and pulls `pulls` times, with these limits in turn.
    fn run(&mut self, spec: &SourceSpec, limits: &[PullLimits], pulls: usize) {
        let planned = plan_source(spec).expect("a plan");
        let mut source = planned.open(&Wanted::default(), &self.places).expect("a source");
        let runtime = runtime();
        for pull in 0..pulls {
            let pulled = runtime.block_on(source.pull(limits[pull % limits.len()])).expect("no error");
            let Some(pulled) = pulled else {
                self.ended = true;
                return;
            };
            self.take(pulled);
        }
    }

    fn take(&mut self, pulled: flow::connector::Pulled) {
        let before = self.seen.len();
        if let Some(batch) = &pulled.batch {
            let mut output = Output::default();
            output.add(batch);
            let seen = output.origins.into_iter().zip(output.records);
            self.seen.extend(seen.map(|((split, offset), what)| Seen { split, offset, what }));
        }
        self.seen.extend(pulled.refused.iter().map(|refused| Seen {
            split: refused.split.to_string(),
            offset: refused.offset,
            what: format!("{}: {} {:?}", refused.code, refused.message, refused.raw),
        }));
        // Records and refusals of one pull stand beside each other.
        self.seen[before..].sort();
        let cursor = pulled.cursor.expect("every pull of a file brings its place");
        assert!(self.seen[before..].iter().all(|seen| seen.split == *cursor.split));
        self.places.insert(cursor.split, cursor.place);
    }
}

fn undisturbed(spec: &SourceSpec) -> Vec<Seen> {
    let mut reader = Reader::default();
    reader.run(spec, &[LIMITS], usize::MAX);
    assert!(reader.ended);
    reader.seen
}

/// Stops behind each pull and goes on in a new source.
fn in_single_pulls(spec: &SourceSpec, limits: PullLimits) -> Vec<Seen> {
    let mut reader = Reader::default();
    while !reader.ended {
        reader.run(spec, &[limits], 1);
    }
    reader.seen
}

fn check(spec: &SourceSpec, expected: &[Seen], found: &[Seen], how: &str) {
    let with = serde_json::Value::Object(spec.with.clone());
    for (place, (expected, found)) in expected.iter().zip(found).enumerate() {
        assert_eq!(expected, found, "{with}, {how}: at {place}");
    }
    assert_eq!(expected.len(), found.len(), "{with}, {how}");
}

const AWKWARD_LINES: &str = "one\r\n\n{\"a\":1}\n\u{e9}\u{e9}\n{\"a\":\"no\"}\nlonger than the bound allows, by far\n\n  \nend\r\n{\"a\":7,\"b\":\"x\"}";
const AWKWARD_CSV: &str = "\u{feff}\r\na,b\r\n1,x\n2\n\n3,\"y\n\"\"z\"\nfour,w\n5,\"all too long for\nthe bound of these\nrows, far too\"\n6,u\n7,this one as well is too long in one line\n8,\"never closed\n9,v\n";

const AWKWARD_ZEEK: &str = "#separator \\x09\n#fields\ta\tb\n#types\tcount\tset[string]\n#open\t2026\n1\tx,y\n2\n#close\t2026\n\
    #separator \\x09\n#fields\ta\tb\n#types\tcount\tset[string]\n3\t-\n-\tlonger than the bound allows, by far, so that nobody keeps \
    it, which has to be more than a header has\n5\t(empty)";
const AWKWARD_CRI: &str = "2026-01-02T03:04:05.000000001Z stdout P one, \n2026-01-02T03:04:05.000000002Z stderr F between\r\n2026-01-02T03:04:06Z stdout P two, \nno log at all\n2026-01-02T03:04:07Z stderr P beginning\n2026-01-02T03:04:08Z stdout F three\n2026-01-02T03:04:08Z stdout F \n\n2026-01-02T03:04:09Z stdout F again\n2026-01-02T03:04:09Z stderr P  and far too long for\n2026-01-02T03:04:09Z stdout P left\n2026-01-02T03:04:09Z stderr P and longer\n2026-01-02T03:04:10Z stderr F the bound\n2026-01-02T03:04:10Z stderr F:x in one line far longer than the bound, and than what may stand before a text, which is a hundred and twenty-eight bytes, so that nobody keeps all of it at once\n2026-01-02T03:04:11Z stderr F last\n2026-01-02T03:04:12Z stdout P over";

fn write_forms(directory: &Path, name: &str, contents: &[u8]) -> Vec<String> {
    let zstd = zstd::encode_all(contents, 1).expect("memory");
    let middle = contents.len() / 2;
    let members = [gzip(&contents[..middle]), gzip(&contents[middle..])].concat();
    let (packed, frames) = (format!("{name}.gz"), format!("{name}.zst"));
    write_file(directory, name, contents);
    write_file(directory, &packed, members);
    write_file(directory, &frames, zstd);
    vec![name.to_owned(), packed, frames]
}

#[test]
fn a_source_goes_on_behind_every_pull() {
    let directory = tempdir().expect("a directory");
    let columns = [("a", ColumnType::Int), ("b", ColumnType::Text)];
    let cases = [
        ("t.txt", AWKWARD_LINES, json!({ "record-bytes-max": 20 })),
        ("t.jsonl", AWKWARD_LINES, json!({ "record-bytes-max": 20 })),
        ("t.csv", AWKWARD_CSV, json!({ "record-bytes-max": 20 })),
        ("h.csv", &AWKWARD_CSV[8..], json!({ "header": false, "columns": ["a", "b"] })),
        (
            "cr.csv",
            "a,b\r1,x\r\r2\r3,\"y\rz\"\r4,long, too long for all of it\r5,\"u\"\r\n6,v\n7,w\r",
            json!({ "record-bytes-max": 20 }),
        ),
        ("hcr.csv", "1,\"x\ry\"\r2,z\r\n3,w\r", json!({ "header": false, "columns": ["a", "b"] })),
        ("skipped.csv", "Report, \"of\r\n\r\nMay\r\na,b\r\n1,x\r\n2,y", json!({ "skip-lines": 3 })),
        (
            "hskipped.csv",
            "\u{feff}by hand\r1,x\r2,y\r",
            json!({ "skip-lines": 1, "header": false, "columns": ["a", "b"] }),
        ),
        ("noted.csv", "# a \"note\na,b\n1,x\n# more, of \"them\n2,y\n", json!({ "comment": "#" })),
        ("escaped.csv", "a,b\n1,\"x\\\"\n2,y\"\n2,z\\\nw\n3,end", json!({ "escape": "\\" })),
        ("t.zeek", AWKWARD_ZEEK, json!({ "format": "zeek", "record-bytes-max": 90 })),
        ("t.bin", "all of it", json!({ "format": "bytes" })),
        ("long.bin", "more than there may be", json!({ "format": "bytes", "record-bytes-max": 5 })),
        ("t.cri", AWKWARD_CRI, json!({ "format": "cri", "record-bytes-max": 20 })),
        ("empty.txt", "", json!({})),
    ];
    for (name, text, options) in cases {
        for path in write_forms(directory.path(), name, text.as_bytes()) {
            let mut with = options.clone();
            with["path"] = path.into();
            let spec = spec(directory.path(), "file", with);
            let spec =
                if name.contains(".csv") || name.contains(".json") { declare(spec, &columns) } else { spec };
            let expected = undisturbed(&spec);
            assert!(name.starts_with("empty") || !expected.is_empty());
            for records_max in [1, 2, 1000] {
                let found = in_single_pulls(&spec, PullLimits { records_max, ..LIMITS });
                check(&spec, &expected, &found, &format!("{records_max} records in each run"));
            }
        }
    }
}

#[test]
fn a_pattern_goes_on_with_the_file_it_was_in_and_takes_in_new_ones() {
    let directory = tempdir().expect("a directory");
    for name in ["a", "b", "c"] {
        write_file(directory.path(), &format!("{name}.txt"), format!("{name}1\n{name}2\n{name}3"));
    }
    let spec = spec(directory.path(), "file", json!({ "path": "*.txt" }));
    let mut reader = Reader::default();
    reader.run(&spec, &[PullLimits { records_max: 2, ..LIMITS }], 3);
    assert_eq!(reader.seen.last().map(|seen| seen.what.as_str()), Some("b2"));
    write_file(directory.path(), "aa.txt", "new");
    // What was read to its end may go.
    std::fs::remove_file(directory.path().join("a.txt")).expect("removed");
    reader.run(&spec, &[LIMITS], usize::MAX);
    let found: Vec<_> = reader.seen.iter().map(|seen| seen.what.as_str()).collect();
    assert_eq!(found, ["a1", "a2", "a3", "b1", "b2", "new", "b3", "c1", "c2", "c3"]);
    // And once everything is read, nothing comes again.
    let before = reader.seen.len();
    reader.run(&spec, &[LIMITS], usize::MAX);
    assert_eq!(reader.seen.len(), before);
}

#[test]
fn a_file_that_has_grown_since_it_was_read_to_its_end_goes_on_there() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "a.csv", "n\n1\n2\n");
    write_file(directory.path(), "b.csv", "n\n3");
    let spec = spec(directory.path(), "file", json!({ "path": "*.csv" }));
    let mut reader = Reader::default();
    reader.run(&spec, &[LIMITS], usize::MAX);
    let before = reader.seen.len();
    assert_eq!(before, 3);
    write_file(directory.path(), "a.csv", "n\n1\n2\n4\n5\n");
    // Its last line was not whole: what has come is a part of a record that was read.
    write_file(directory.path(), "b.csv", "n\n31\n");
    reader.run(&spec, &[LIMITS], usize::MAX);
    let found: Vec<_> = reader.seen[before..].iter().map(|seen| (&*seen.what, seen.offset)).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].0.contains('4') && found[1].0.contains('5'), "{found:?}");
    assert_eq!((found[0].1, found[1].1), (2, 3), "offsets go on");
    reader.run(&spec, &[LIMITS], usize::MAX);
    assert_eq!(reader.seen.len(), before + 2, "and once everything is read, nothing comes again");
}

#[test]
fn a_file_that_changed_since_is_an_error_that_says_how() {
    let text: String = (0..100).map(|line| format!("line {line}\n")).collect();
    let directory = tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let cut = |path: &Path| std::fs::write(path, &text[..50]).expect("written");
    let rewrite = |path: &Path| std::fs::write(path, text.replace("line 3", "LINE 3")).expect("written");
    let replace = |path: &Path| {
        std::fs::write(at("other"), &text).expect("written");
        std::fs::rename(at("other"), path).expect("renamed");
    };
    let grow = |path: &Path| std::fs::write(path, format!("{text}more\n")).expect("written");
    type Case<'a> = (&'a dyn Fn(&Path), Option<&'a str>);
    let cases: [Case<'_>; 4] = [
        (&cut, Some("it was cut off: it has 50 bytes, and had 790 before")),
        (&rewrite, Some("it was written anew: its first 790 bytes are not those")),
        (&replace, Some("another file has that name now")),
        (&grow, None),
    ];
    for (change, expected) in cases {
        write_file(directory.path(), "a.txt", &text);
        let spec = spec(directory.path(), "file", json!({ "path": "a.txt" }));
        let mut reader = Reader::default();
        reader.run(&spec, &[PullLimits { records_max: 10, ..LIMITS }], 1);
        change(&at("a.txt"));
        let opened = plan_source(&spec).expect("a plan").open(&Wanted::default(), &reader.places);
        match (opened.err(), expected) {
            (None, None) => {}
            (Some(error), Some(expected)) => {
                let error = error.to_string();
                assert!(error.starts_with("a.txt: it cannot be gone on with: "), "{error}");
                assert!(
                    error.contains(expected) && error.ends_with("begin anew with `run --reset`"),
                    "{error}"
                );
            }
            (error, expected) => panic!("{error:?}, not {expected:?}"),
        }
    }
    let spec = spec(directory.path(), "file", json!({ "path": "*.txt" }));
    let mut reader = Reader::default();
    write_file(directory.path(), "b.txt", "one");
    reader.run(&spec, &[PullLimits { records_max: 10, ..LIMITS }], 1);
    std::fs::remove_file(at("a.txt")).expect("removed");
    let error = plan_source(&spec).expect("a plan").open(&Wanted::default(), &reader.places).err();
    assert!(
        error.is_some_and(|error| error.to_string().contains("it is gone, and was read only to byte 70"))
    );
}

#[test]
fn generated_records_are_the_same_again() {
    let template = "{{seq}} {{rand 1 1000000}} {{uuid}} {{pick a|b|c}}";
    for (with, format) in [(json!({}), "lines"), (json!({ "seed": 5 }), "lines"), (json!({}), "jsonl")] {
        let mut with = with;
        let json = "{\"n\":{{seq}},\"r\":{{rand 1 1000000}},\"u\":\"{{uuid}}\"}";
        with["template"] = if format == "lines" { template } else { json }.into();
        with["format"] = format.into();
        with["count"] = 50.into();
        let spec = spec(Path::new("."), "generate", with);
        let mut reader = Reader::default();
        let limits = PullLimits { records_max: 7, ..LIMITS };
        reader.run(&spec, &[limits], 1);
        let first = reader.places.clone();
        while !reader.ended {
            reader.run(&spec, &[limits], 2);
        }
        assert!(reader.seen.iter().map(|seen| seen.offset).eq(0..50));
        // The same place gives the same records.
        let mut again = Reader { places: first, ..Reader::default() };
        again.run(&spec, &[LIMITS], usize::MAX);
        assert_eq!(again.seen, reader.seen[7..]);
    }
}

#[test]
fn a_rate_counts_from_where_it_goes_on() {
    let spec = spec(Path::new("."), "generate", json!({ "rate": 1000, "count": 2010 }));
    let place = br#"{"v":1,"next":2000,"seed":1}"#.to_vec();
    let mut reader = Reader { places: Places::from([("generate".into(), place)]), ..Reader::default() };
    let started = std::time::Instant::now();
    reader.run(&spec, &[LIMITS], usize::MAX);
    let took = started.elapsed();
    assert_eq!(reader.seen.len(), 10);
    assert!(took >= Duration::from_millis(9), "they came in {took:?}");
    assert!(took < Duration::from_secs(1), "it made up for records that were made before: {took:?}");
}

/// Text with long and short lines, quotes and blank lines, over the borders of pieces of input.
fn text_of(seed: u64, csv: bool) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = if csv { b"a,b\n".to_vec() } else { Vec::new() };
    while text.len() < model::limits::READ_BYTES + model::limits::READ_BYTES / 2 {
        let length = match random.u8(..) {
            0 => random.usize(2000..60_000),
            1..=20 => 0,
            _ => random.usize(1..80),
        };
        let line: String =
            (0..length).map(|_| random.choice(['a', '7', ' ', '\u{e9}']).unwrap_or('a')).collect();
        let line = match random.u8(0..40) {
            0 if csv => format!("{},\"{line}\n{line}\n\"\"\"", random.u32(..)),
            1 if csv => format!("{},\"{line}", random.u32(..)),
            2 => line,
            3 => "{\"a\": \"text\"}".to_owned(),
            _ if csv => format!("{},{line}", random.u32(..)),
            _ => format!("{{\"a\":{},\"b\":\"{line}\"}}", random.u32(..)),
        };
        text.extend_from_slice(line.as_bytes());
        text.extend_from_slice(if random.bool() { b"\n" } else { b"\r\n" });
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_in_pieces_is_what_is_read_at_once(
        seed in any::<u64>(),
        format in prop::sample::select(vec!["lines", "jsonl", "csv"]),
        packed in 0usize..3,
        record_bytes_max in prop::sample::select(vec![1000usize, 30_000, 1 << 20]),
        limits in prop::collection::vec((1usize..700, 1usize..(1 << 18)), 1..4),
        stops in prop::collection::vec(1usize..12, 0..12),
    ) {
        let directory = tempdir().expect("a directory");
        let path = &write_forms(directory.path(), "in", &text_of(seed, format == "csv"))[packed];
        let with = json!({ "path": path, "format": format, "record-bytes-max": record_bytes_max });
        let columns = [("a", ColumnType::Int), ("b", ColumnType::Text)];
        let spec = spec(directory.path(), "file", with);
        let spec = if format == "lines" { spec } else { declare(spec, &columns) };
        let limits: Vec<PullLimits> = limits
            .iter()
            .map(|&(records_max, bytes_max)| PullLimits { records_max, bytes_max, delay: LIMITS.delay })
            .collect();
        let mut reader = Reader::default();
        for stop in stops {
            reader.run(&spec, &limits, stop);
        }
        reader.run(&spec, &limits, usize::MAX);
        check(&spec, &undisturbed(&spec), &reader.seen, "in pieces");
        let offsets: BTreeMap<u64, usize> = reader.seen.iter().fold(BTreeMap::new(), |mut all, seen| {
            *all.entry(seen.offset).or_default() += 1;
            all
        });
        prop_assert!(offsets.values().all(|count| *count == 1), "an offset came twice");
        prop_assert!(offsets.keys().copied().eq(0..offsets.len() as u64), "an offset is missing");
    }
}

#[test]
fn parquet_goes_on_in_the_middle_of_a_row_group() {
    let directory = tempdir().expect("a directory");
    for (name, rows) in [("a.parquet", 5000), ("b.parquet", 0), ("c.parquet", 10)] {
        write_parquet(&directory.path().join(name), rows, 700);
    }
    let spec = spec(directory.path(), "file", json!({ "path": "*.parquet" }));
    let expected = undisturbed(&spec);
    assert_eq!(expected.len(), 5010);
    for records_max in [333, 700, 1024] {
        let found = in_single_pulls(&spec, PullLimits { records_max, ..LIMITS });
        check(&spec, &expected, &found, &format!("{records_max} records in each run"));
    }
    let mut reader = Reader::default();
    reader.run(&spec, &[LIMITS], 1);
    write_parquet(&directory.path().join("a.parquet"), 10, 700);
    let error = plan_source(&spec).expect("a plan").open(&Wanted::default(), &reader.places).err();
    assert!(error.is_some_and(|error| error.to_string().contains("a.parquet: it cannot be gone on with")));
}

fn write_parquet(path: &Path, rows: i64, group: usize) {
    use arrow::array::{ArrayRef, Int64Array};
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let batch = arrow::record_batch::RecordBatch::try_from_iter([("n", column)]).expect("a batch");
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .build();
    let file = std::fs::File::create(path).expect("a file");
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("written");
}
