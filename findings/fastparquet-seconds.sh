#!/usr/bin/env bash
# fastparquet 2026.9.0 writes 2023-11-14 as 1970-01-01 00:28:19.920 if the column is `datetime64[s]`: a million times too early,
# without a word. 2024.11.0 wrote it right.
#
# One would expect the value, or an error: Parquet has no seconds, and the column says milliseconds. The table of factors holds
# what to divide by where the file is coarser than the column (ns to us) and what to multiply by where it is finer (s
# to ms). The code multiplied by both, was mended to divide, and so the mend of one is the fault of the other.
# `datetime64[s]` is what pandas makes of NumPy's days, of Arrow's seconds and of `.as_unit("s")`. fastparquet reads its own
# file back as wrong, or not at all. Who writes with it casts to `datetime64[ms]` first.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv new
new/bin/pip install --quiet fastparquet==2026.9.0 pandas==3.1.1 pyarrow==26.0.1
python3 -m venv old
old/bin/pip install --quiet fastparquet==2024.11.0 pandas==2.2.3 pyarrow==26.0.1
cat > write.py <<'PYTHON'
import sys

import fastparquet
import numpy
import pandas
import pyarrow
import pyarrow.parquet

day = pandas.Series(numpy.array(["2023-11-14"], "datetime64[D]"))
day_in_ms = day.astype("datetime64[ms]")
whole = pandas.Series(numpy.array([1_700_000_000], "datetime64[s]"))
fastparquet.write("t.parquet", pandas.DataFrame({"day_in_ms": day_in_ms, "day": day, "whole": whole}))
table = pyarrow.parquet.read_table("t.parquet")
print(f"fastparquet {fastparquet.__version__}, pandas {pandas.__version__}, pyarrow {pyarrow.__version__}")
found = {}
for name, column in {"day_in_ms": day_in_ms, "day": day, "whole": whole}.items():
    found[name] = str(table[name][0].as_py())
    try:
        own = fastparquet.ParquetFile("t.parquet").to_pandas(columns=[name])[name][0]
    except ValueError as error:
        own = error
    print(f"{name:9} {column.dtype!s:15} {column[0]!s:19} by pyarrow: {found[name]:26} by fastparquet: {own}")
right = {"day_in_ms": "2023-11-14 00:00:00", "day": "2023-11-14 00:00:00", "whole": "2023-11-14 22:13:20"}
wrong = right | {"day": "1970-01-01 00:28:19.920000", "whole": "1970-01-01 00:28:20"}
assert found == {"right": right, "wrong": wrong}[sys.argv[1]], "it writes something else now"
PYTHON
old/bin/python write.py right
new/bin/python write.py wrong
