#!/usr/bin/env bash
# arrow-json 59.0.0 writes the text of an error where a value belongs, and says that all went well.
#
# A time of day of 24:00:00 (PostgreSQL has it, and Arrow's type has room for it) has no text by its formatter. The JSON writer
# then writes {"t":"ERROR: ..."} and returns Ok: whoever reads the line gets a string like any other. arrow-csv
# refuses the same batch. Who writes JSON with it looks at such columns first.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/src"
cd "$dir"
cat > Cargo.toml <<'TOML'
[package]
name = "written"
version = "0.0.0"
edition = "2024"

[dependencies]
arrow-array = "=59.0.0"
arrow-csv = "=59.0.0"
arrow-json = "=59.0.0"
TOML
cat > src/main.rs <<'RUST'
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, Time32SecondArray};

fn main() {
    let times: ArrayRef = Arc::new(Time32SecondArray::from(vec![43_200, 86_400]));
    let batch = RecordBatch::try_from_iter([("t", times)]).expect("a batch");
    let mut json = arrow_json::LineDelimitedWriter::new(Vec::new());
    let said = json.write(&batch).and_then(|()| json.finish()).is_ok();
    let text = String::from_utf8(json.into_inner()).expect("text");
    print!("arrow-json 59.0.0, ok: {said}\n{text}");
    let mut csv = Vec::new();
    let csv_said = arrow_csv::Writer::new(&mut csv).write(&batch);
    println!("arrow-csv 59.0.0, ok: {}\n{}", csv_said.is_ok(), String::from_utf8_lossy(&csv));
    let last = text.lines().last().expect("a line");
    assert!(said && last.starts_with(r#"{"t":"ERROR: "#), "it writes something else now");
    assert!(csv_said.is_err(), "arrow-csv takes it now");
}
RUST
CARGO_TARGET_DIR="$dir/target" cargo run --quiet
