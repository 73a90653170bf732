#!/usr/bin/env bash
# The crate parquet 59.3.2 cannot open a file without rows by fastparquet 2026.9.0, which pyarrow, DuckDB and Polars read.
#
# An empty list in the footer (here, of row groups) is one zero byte by fastparquet: no elements, and no type of them. The crate
# once refused that, and was taught to take it: `read_list_begin` gives such a list the type "byte". A later check of every
# list's type (`validate_list_type`) then finds a byte where a struct belongs: one hardening undid the other. A day without
# events is then the day on which a pipeline fails.
# The same table with one row is read by all four. Who writes with fastparquet writes no file where there are no rows.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/src"
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet fastparquet==2026.9.0 pandas==3.1.1 pyarrow==26.0.1 duckdb==2.0.1 polars==2.1.0
venv/bin/python - <<'PY'
import duckdb
import fastparquet
import pandas
import polars
import pyarrow
import pyarrow.parquet

print("fastparquet", fastparquet.__version__)
frame = pandas.DataFrame({"n": [1]})
for name, rows in ("none", frame[:0]), ("one", frame):
    path = f"{name}.parquet"
    fastparquet.write(path, rows)
    counts = [
        pyarrow.parquet.read_table(path).num_rows,
        len(duckdb.read_parquet(path).fetchall()),
        polars.read_parquet(path).height,
    ]
    print(f"{path}: rows by pyarrow {pyarrow.__version__}, DuckDB {duckdb.__version__}, Polars {polars.__version__}: {counts}")
    assert counts == [len(rows)] * 3, "they read something else now"
PY
cat > Cargo.toml <<'TOML'
[package]
name = "empty"
version = "0.0.0"
edition = "2024"

[dependencies]
parquet = { version = "=59.3.2", default-features = false }
TOML
cat > src/main.rs <<'RUST'
use std::fs::File;

use parquet::file::reader::{FileReader, SerializedFileReader};

fn rows(path: &str) -> Result<i64, String> {
    let reader = SerializedFileReader::new(File::open(path).expect("a file")).map_err(|error| error.to_string())?;
    Ok(reader.metadata().file_metadata().num_rows())
}

fn main() {
    let (none, one) = (rows("none.parquet"), rows("one.parquet"));
    println!("parquet 59.3.2\nnone.parquet: {none:?}\none.parquet: {one:?}");
    assert_eq!(one, Ok(1));
    assert!(none.is_err_and(|error| error.contains("list element type")), "it reads the file now");
}
RUST
CARGO_TARGET_DIR="$dir/target" cargo run --quiet
