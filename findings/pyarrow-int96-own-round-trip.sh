#!/usr/bin/env bash
# pyarrow 21.0.0 writes 9999-12-31 as a Parquet INT96 without a word and reads its own file back as 1816-03-29.
#
# One would expect an error, or the value: INT96 (a day and the nanoseconds in it) holds the year 9999, and the column that
# was written had microseconds. The reader makes nanoseconds of it unless told otherwise, and these wrap silently past
# 2262-04-11. Spark and Hive write INT96, and 9999-12-31 is what their users put where there is no end.
# Who reads such files asks for microseconds: `coerce_int96_timestamp_unit="us"`.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet pyarrow==21.0.0
"$dir/venv/bin/python" - "$dir/t.parquet" <<'PY'
import datetime
import sys

import pyarrow as pa
import pyarrow.parquet as pq

path = sys.argv[1]
written = [datetime.datetime(9999, 12, 31), datetime.datetime(2024, 1, 1)]
pq.write_table(pa.table({"t": pa.array(written, pa.timestamp("us"))}), path, use_deprecated_int96_timestamps=True)
print("pyarrow", pa.__version__)


def read(**how):
    return [str(value) for value in pq.read_table(path, **how).column("t").cast(pa.string()).to_pylist()]


as_it_is, in_micros = read(), read(coerce_int96_timestamp_unit="us")
print("written:        ", [str(value) for value in written])
print("read:           ", as_it_is)
print("read as micros: ", in_micros)
assert as_it_is[0].startswith("1816-03-29 05:56:08"), "it is not read as 1816 any more"
assert as_it_is[1].startswith("2024-01-01"), as_it_is
assert in_micros[0].startswith("9999-12-31"), in_micros
PY
