//! How fast CSV becomes columns, and columns JSON lines: `cargo run --release --example csv_speed -- FILE COLUMN
//! VALUE COLUMN...`, best with `taskset -c 0`. Keeps the rows in which the first column is the value and writes
//! the other columns; each way prints its seconds and a sum over what it would have written.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array as _, AsArray as _};
use connect::{SourceSpec, Wanted, plan_source};
use flow::connector::{Places, PullLimits};
use model::convert::JsonWriter;
use model::manifest::{TimeFrom, UnknownFields};
use model::plan::Stream;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, filter, value, columns @ ..] = &arguments[..] else {
        return Err("FILE COLUMN VALUE COLUMN...".into());
    };
    // The first pass brings the file into memory.
    for pass in ["warm-up", "measured"] {
        println!("{pass}");
        timed("  connect, to columns alone", || connect_columns(path, columns, None))?;
        timed("  connect, to JSON lines", || connect_columns(path, columns, Some((filter, value))))?;
        timed("  csv::ByteRecord, JSON by hand", || by_hand(path, filter, value, columns))?;
        timed("  arrow-csv, to columns alone", || arrow_csv(path, columns))?;
    }
    Ok(())
}

fn timed(name: &str, run: impl FnOnce() -> Result<(u64, u64), Failure>) -> Result<(), Failure> {
    let started = Instant::now();
    let (rows, bytes) = run()?;
    println!("{name:34} {:7.3} s  {rows} rows, {bytes} bytes", started.elapsed().as_secs_f64());
    Ok(())
}

fn connect_columns(
    path: &str,
    columns: &[String],
    filter: Option<(&str, &str)>,
) -> Result<(u64, u64), Failure> {
    let spec = SourceSpec {
        pipeline: "speed".into(),
        stage: "in".into(),
        connector: "file".into(),
        with: serde_json::json!({ "path": path, "format": "csv", "null": "NA" })
            .as_object()
            .cloned()
            .unwrap_or_default(),
        schema: Vec::new(),
        time: TimeFrom::Now,
        unknown: UnknownFields::Reject,
        base: PathBuf::from("."),
        roots: connect::Roots::default(),
        secrets: connect::Secrets::default(),
        spool: None,
        presence: connect::Presence::There,
    };
    let planned = plan_source(&spec)?;
    let Stream::Rows(schema) = planned.stream().clone() else { return Err("no columns".into()) };
    let mut names: Vec<&str> = columns.iter().map(String::as_str).collect();
    names.extend(filter.map(|(column, _)| column));
    let wanted = names.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let limits = PullLimits { records_max: 1024, bytes_max: 1 << 20, delay: Duration::from_millis(5) };
    let mut source = planned.open(&Wanted { columns: Some(wanted.clone()), times: false }, &Places::new())?;
    let writer = JsonWriter::new(&schema.project(&wanted[..columns.len()])?);
    let (mut out, mut rows, mut bytes) = (Vec::new(), 0, 0);
    while let Some(pulled) = runtime.block_on(source.pull(limits))? {
        let Some(batch) = pulled.batch else { continue };
        let Some((_, value)) = filter else {
            rows += batch.rows() as u64;
            bytes += batch.weight_bytes() as u64;
            continue;
        };
        let key = batch.columns()[columns.len()].values().as_string::<i32>();
        let picks: Arc<[u32]> =
            (0..batch.rows()).filter(|&row| key.value(row) == value).map(|row| row as u32).collect();
        let picked = batch.pick(&picks);
        out.clear();
        writer.write(&picked.columns()[..columns.len()], picked.rows(), &mut out, |out| out.push(b'\n'))?;
        rows += picked.rows() as u64;
        bytes += out.len() as u64;
    }
    Ok((rows, bytes))
}

/// What somebody would write who needs this one pipeline and nothing else: numbers are copied as they stand.
fn by_hand(path: &str, filter: &str, value: &str, columns: &[String]) -> Result<(u64, u64), Failure> {
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(256 << 10).from_path(path)?;
    let header = reader.byte_headers()?.clone();
    let find = |name: &str| header.iter().position(|found| found == name.as_bytes()).ok_or("no such column");
    let (filter, places) =
        (find(filter)?, columns.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?);
    let mut record = csv::ByteRecord::new();
    let (mut out, mut rows, mut bytes) = (Vec::new(), 0, 0);
    while reader.read_byte_record(&mut record)? {
        if &record[filter] != value.as_bytes() {
            continue;
        }
        for (place, name) in places.iter().zip(columns) {
            let field = &record[*place];
            let number = field.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-');
            out.push(if out.last() == Some(&b'\n') || out.is_empty() { b'{' } else { b',' });
            match (field, number) {
                (b"" | b"NA", _) => write!(out, "\"{name}\":null")?,
                (_, true) => {
                    write!(out, "\"{name}\":")?;
                    out.extend_from_slice(field);
                }
                _ => {
                    write!(out, "\"{name}\":\"")?;
                    out.extend_from_slice(field);
                    out.push(b'"');
                }
            }
        }
        out.extend_from_slice(b"}\n");
        rows += 1;
        if out.len() > 256 << 10 {
            bytes += out.len() as u64;
            out.clear();
        }
    }
    Ok((rows, bytes + out.len() as u64))
}

fn arrow_csv(path: &str, columns: &[String]) -> Result<(u64, u64), Failure> {
    let format = arrow::csv::reader::Format::default().with_header(true);
    let (schema, _) = format.infer_schema(std::fs::File::open(path)?, Some(1000))?;
    let places = columns.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
    let reader = arrow::csv::ReaderBuilder::new(Arc::new(schema)).with_format(format).with_projection(places);
    let reader = reader
        .with_batch_size(1024)
        .build_buffered(std::io::BufReader::with_capacity(256 << 10, std::fs::File::open(path)?))?;
    let (mut rows, mut bytes) = (0, 0);
    for batch in reader {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        bytes += batch.columns().iter().map(|column| column.get_buffer_memory_size() as u64).sum::<u64>();
    }
    Ok((rows, bytes))
}
