#!/usr/bin/env bash
# pyarrow 26.0.1 reads JSON lines whose times have an offset or none as one column of times without a zone: the offset is
# applied to those that have one, then forgotten, and the others stand beside them as they were.
#
# One would expect the two kinds kept apart, as the CSV reader of the same library does: times with offsets are a column in UTC,
# and a column of both kinds stays text. From JSON, noon by an unknown clock and noon in India are 12:00 and 06:30 of one
# column. Its type cannot have a fraction of a second: with one in a row the column is text, and the offsets are there.
# Who reads JSON with pyarrow asks for text, `ParseOptions(explicit_schema=...)` with `pa.string()`; a type in UTC takes the
# unknown clock for UTC.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet pyarrow==26.0.1
"$dir/venv/bin/python" - <<'PYTHON'
import io

import pyarrow as pa
import pyarrow.csv
import pyarrow.json

print("pyarrow", pa.__version__)
bare, india, fraction = "2024-01-01T12:00:00", "2024-01-01T12:00:00+05:30", "2024-01-01T12:00:00.5Z"


def read(by, times):
    if by == "JSON":
        text = "".join(f'{{"t":"{time}"}}\n' for time in times)
        column = pyarrow.json.read_json(io.BytesIO(text.encode()))["t"]
    else:
        text = "t\n" + "".join(f"{time}\n" for time in times)
        column = pyarrow.csv.read_csv(io.BytesIO(text.encode()))["t"]
    return str(column.type), column.cast(pa.string()).to_pylist()


found = []
for times in [india], [bare, india], [india, fraction]:
    print("written:", times)
    for by in "JSON", "CSV":
        type_, values = read(by, times)
        print(f"  {by:4} {type_:22} {values}")
        found.append((by, type_))
types = [
    ("JSON", "timestamp[s]"), ("CSV", "timestamp[s, tz=UTC]"),
    ("JSON", "timestamp[s]"), ("CSV", "string"),
    ("JSON", "string"), ("CSV", "timestamp[ns, tz=UTC]"),
]  # fmt: skip
assert read("JSON", [bare, india])[1] == ["2024-01-01 12:00:00", "2024-01-01 06:30:00"], "the values are others now"
assert found == types, found
utc = pyarrow.json.ParseOptions(explicit_schema=pa.schema([("t", pa.timestamp("s", "UTC"))]))
lines = io.BytesIO(f'{{"t":"{bare}"}}'.encode())
asked = pyarrow.json.read_json(lines, parse_options=utc)["t"].cast(pa.string()).to_pylist()
print(f"{bare} as JSON, asked for in UTC: {asked}")
assert asked == ["2024-01-01 12:00:00Z"], asked
PYTHON
