#!/usr/bin/env bash
# pyarrow 26.0.1 loses rows of its own CSV: a table of one column with a null comes back with a row less, without a word.
#
# One would expect what was written to be read. `write_csv` writes a null as an empty field, which alone in its row is an empty
# line; `read_csv` passes over empty lines by default. DuckDB and Polars write the same, and read it as a null. pandas
# writes `""` instead, which pyarrow, DuckDB and pandas read as a null of a column of numbers, so that nothing is lost, but
# pandas with `engine="python"` drops that row as well.
# Who reads such files with pyarrow sets `ParseOptions(ignore_empty_lines=False)`.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet pyarrow==26.0.1 pandas==3.1.1
"$dir/venv/bin/python" - "$dir/t.csv" <<'PY'
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv

path = sys.argv[1]
print("pyarrow", pa.__version__, "pandas", pd.__version__)
table = pa.table({"n": [1, None, 3]})
csv.write_csv(table, path)
print("written:                 ", open(path).read().encode())
back = csv.read_csv(path)
kept = csv.read_csv(path, parse_options=csv.ParseOptions(ignore_empty_lines=False))
print("read:                    ", back.column("n").to_pylist())
print("read with empty lines:   ", kept.column("n").to_pylist())
table.to_pandas().astype("Int64").to_csv(path, index=False)
fast, slow = pd.read_csv(path), pd.read_csv(path, engine="python")
print("written by pandas:       ", open(path).read().encode())
print("read by pandas:          ", fast["n"].tolist(), "by its Python engine:", slow["n"].tolist())
assert back.column("n").to_pylist() == [1, 3], "nothing is lost any more"
assert kept.column("n").to_pylist() == [1, None, 3], kept
assert len(fast) == 3 and len(slow) == 2, "pandas' engines agree"
PY
