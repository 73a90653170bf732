#!/usr/bin/env bash
# Polars writes Parquet files that PyArrow cannot open, columns of other types included.
#
# A column of Int128 is FIXED_LEN_BYTE_ARRAY(16) without an annotation, which every reader of Parquet can read. Beside it
# stands a schema of Arrow that calls it an integer of 128 bits, which Arrow's format has not. One would expect a reader to
# leave such a hint alone: PyArrow refuses the whole file.
#
# What follows: write such a column as a decimal or as text where somebody else reads the file.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet polars==2.1.0 pyarrow==26.0.1
cd "$dir"
venv/bin/python - <<'PYTHON'
import sys

import polars
import pyarrow
import pyarrow.parquet

print(f"polars {polars.__version__}, pyarrow {pyarrow.__version__}")
frame = polars.DataFrame({"known": [1], "wide": polars.Series([1], dtype=polars.Int128)})
frame.write_parquet("wide.parquet")
try:
    print(pyarrow.parquet.read_table("wide.parquet", columns=["known"]))
except pyarrow.ArrowException as error:
    print(f"PyArrow, asked for the other column: {type(error).__name__}: {error}")
    sys.exit(0)
print("it reads the file now")
sys.exit(1)
PYTHON
