//! Connectors as a pipeline uses them: planned from options, opened, and driven through their traits.

mod again;
mod aside;
mod commits;
mod csv;
mod dialects;
mod errors;
mod follow;
mod generate;
pub(crate) mod http_sink;
mod http_source;
mod locks;
mod parquet_files;
mod resume;
mod rotated;
mod sinks;
mod sources;
mod types;
mod values;
mod zeek;

use std::path::Path;
use std::time::Duration;

use flow::connector::{ConnectError, Misfits, Places, PullLimits, Refused, Source};
use model::batch::Batch;
use model::convert::JsonWriter;
use model::manifest::{ColumnType, TimeFrom, UnknownFields};
use model::outcome::Rejection;
use serde_json::Value;

use crate::{SourceSpec, SpecError, Wanted, plan_source};

pub(crate) const LIMITS: PullLimits =
    PullLimits { records_max: 1000, bytes_max: 1 << 20, delay: Duration::from_millis(2) };

pub(crate) fn spec(directory: &Path, connector: &str, with: Value) -> SourceSpec {
    SourceSpec {
        pipeline: "p".into(),
        stage: "in".into(),
        connector: connector.to_owned(),
        with: with.as_object().cloned().expect("options are a map"),
        schema: Vec::new(),
        time: TimeFrom::Now,
        unknown: UnknownFields::Reject,
        base: directory.to_owned(),
        roots: crate::Roots::default(),
        secrets: crate::Secrets::default(),
        spool: None,
        presence: crate::Presence::There,
    }
}

pub(crate) fn declare(mut spec: SourceSpec, columns: &[(&str, ColumnType)]) -> SourceSpec {
    spec.schema = columns.iter().map(|(name, of_type)| ((*name).to_owned(), Some(*of_type))).collect();
    spec
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// What came out of a source.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Opaque values, or rows as JSON.
    pub(crate) records: Vec<String>,
    /// Split and offset of each record.
    pub(crate) origins: Vec<(String, u64)>,
    pub(crate) refused: Vec<Refused>,
    pub(crate) batches: usize,
}

impl Output {
    pub(crate) fn add(&mut self, batch: &Batch) {
        self.batches += 1;
        self.records.extend(texts(batch));
        let origins = (0..batch.rows()).map(|row| batch.lineage().origin(row));
        self.origins.extend(origins.map(|origin| (origin.split.to_string(), origin.offset)));
    }

    /// Code, offset and message of what was refused.
    pub(crate) fn refusals(&self) -> Vec<(&str, u64, &str)> {
        self.refused
            .iter()
            .map(|refused| (refused.code.as_str(), refused.offset, refused.message.as_str()))
            .collect()
    }
}

pub(crate) fn texts(batch: &Batch) -> Vec<String> {
    use arrow::array::AsArray as _;
    let flat = batch.to_arrow().expect("flat");
    if batch.schema() == &model::batch::opaque_schema() {
        let values = flat.column(0).as_binary::<i32>();
        return values
            .iter()
            .map(|value| String::from_utf8_lossy(value.unwrap_or(b"<none>")).into_owned())
            .collect();
    }
    let mut lines = Vec::new();
    JsonWriter::new(batch.schema()).write_lines(batch, &mut lines).expect("JSON");
    String::from_utf8(lines).expect("JSON is text").lines().map(str::to_owned).collect()
}

pub(crate) fn drain(source: &mut dyn Source, limits: PullLimits) -> (Output, Option<ConnectError>) {
    let runtime = runtime();
    let mut output = Output::default();
    loop {
        match runtime.block_on(source.pull(limits)) {
            Ok(None) => return (output, None),
            Err(error) => return (output, Some(error)),
            Ok(Some(pulled)) => {
                let refuses = !pulled.refused.is_empty() || pulled.misfits.is_some();
                let brings = pulled.batch.is_some() || refuses || pulled.cursor.is_some();
                assert!(brings, "a pull brought nothing");
                if let Some(batch) = &pulled.batch {
                    assert!(!batch.is_empty() && batch.rows() <= limits.records_max);
                    output.add(batch);
                }
                output.refused.extend(pulled.refused);
                output.refused.extend(pulled.misfits.into_iter().flat_map(as_bytes));
            }
        }
    }
}

/// Rows that do not fit, each as JSON.
fn as_bytes(misfits: Misfits) -> Vec<Refused> {
    let Misfits { rows, rejections } = misfits;
    let refused = |(rejection, text): (Rejection, String)| {
        let origin = rows.lineage().origin(rejection.row as usize);
        let (code, message, raw) = (rejection.code, rejection.message, text.into_bytes());
        Refused { split: origin.split, offset: origin.offset, code, message, raw, is_cut: false }
    };
    rejections.into_iter().zip(texts(&rows)).map(refused).collect()
}

/// All of a source, with the wanted columns.
pub(crate) fn read_wanted(spec: &SourceSpec, wanted: &Wanted) -> Result<Output, SpecError> {
    let mut source = plan_source(spec)?.open(wanted, &Places::new())?;
    match drain(&mut *source, LIMITS) {
        (output, None) => Ok(output),
        (_, Some(error)) => Err(error.into()),
    }
}

pub(crate) fn read(spec: &SourceSpec) -> Result<Output, SpecError> {
    read_wanted(spec, &Wanted::default())
}

pub(crate) fn write_file(directory: &Path, name: &str, contents: impl AsRef<[u8]>) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    std::fs::write(path, contents).expect("a file");
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
