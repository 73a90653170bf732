"""Files of real writers through `conveyor run`, compared by value with what was drawn.

Arguments: the binary, a directory, how many files of each format, a seed. Each file goes into JSON lines, CSV and Parquet.
What is refused has to be refused by name, and is counted; what comes out otherwise ends the script with exit code 1.
"""

import collections
import csv
import dataclasses
import gzip
import io
import json
import pathlib
import random
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet

import writers
from kinds import UNITS, Bytes, Text, Time, Timestamp, read_json, same

csv.field_size_limit(1 << 30)
ROWS = [0, 1, 2, 7, 300]
# Neither a value that is drawn nor a part of one.
NULL = "~null~"


def draw(rng, kinds, rows):
    """Columns as lists of values: some without a null, some with, some of nothing else."""
    columns = []
    for place in range(rng.choice([1, 2, 2, 5, 12])):
        kind = rng.choice(kinds)
        nulls = rng.choice([0, 0, 0.2, 0.5, 1])
        values = [None if rng.random() < nulls else kind.draw(rng) for _ in range(rows)]
        name = rng.choice(["c{}", "c {}", "c.{}", "é{}", "C{}_"]).format(place)
        columns.append((name, kind, values))
    # And rows of nothing else.
    for at in range(rows):
        if rng.random() < 0.05:
            for _, _, values in columns:
                values[at] = None
    return columns


def make(rng, form, directory):
    """Writes a file: its name, its columns and how it is to be read."""
    kind = rng.choice(["csv", "jsonl"]) if form == "packed" else form
    by_form = {"csv": (writers.CSV, writers.separated), "jsonl": (writers.LINES, writers.lines), "parquet": (writers.PARQUET, writers.parquet)}
    choices, write = by_form[kind]
    writer = rng.choice(list(choices))
    columns = draw(rng, choices[writer], rng.choice(ROWS))
    if writer == "pyarrow" and kind == "csv" and len(columns) == 1:
        columns.append(("second", Text(["x"]), ["x"] * len(columns[0][2])))
    path = directory / f"in.{kind}"
    made = write(rng, writer, columns, path)
    if form == "packed":
        path = writers.pack(rng, path)
    # Where a writer says less than there is, or a guess may err, the types are declared: always where there is nothing
    # to guess from.
    unsure = kind != "parquet" and (rng.random() < 0.5 or not columns[0][2] or kind == "jsonl" and not all(any(v is not None for v in values) for _, _, values in columns))
    declared = {name: of.literal for name, of, _ in columns} if unsure else {}
    return path, columns, made, declared


def manifest(path, made, declared, outputs, columns):
    source = {"source": "file", "with": {"path": path.name, **made.options}}
    if declared:
        source["schema"] = declared
    stages = {"in": source}
    for at, name in enumerate(outputs):
        sink = {"path": name}
        # Alone in its row, an empty text is a null.
        if name.startswith("out.csv") and len(columns) == 1:
            sink["null"] = NULL
        stages[f"out-{at}"] = {"sink": "file", "from": "in", "with": sink}
    # JSON is YAML.
    return json.dumps({"pipeline": "p", "stages": stages}, ensure_ascii=False)


def unpacked(path):
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".zst":
        with pa.input_stream(str(path), compression="zstd") as file:
            return file.read()
    return path.read_bytes()


@dataclasses.dataclass
class Expected:
    columns: list
    guessed: bool
    blanks_are_nulls: bool

    def is_same(self, kind, expected, found):
        """`found`: what the output says, or an error."""
        if isinstance(found, Exception):
            return False
        if self.blanks_are_nulls and isinstance(kind, (Text, Bytes)) and not expected and not found:
            return True
        if expected is not None and found is not None and self.guessed and isinstance(kind, Text):
            return kind.loosely(expected, found)
        return same(kind, expected, found)

    def compare(self, output, rows, read):
        """`rows`: an iterable of rows, each a list of what `read` makes a value of."""
        count = 0
        for count, row in enumerate(rows, 1):
            if count > len(self.columns[0][2]):
                return f"{output}: there are more rows than {count - 1}"
            for (name, kind, values), raw in zip(self.columns, row, strict=True):
                expected = values[count - 1]
                try:
                    found = read(kind, raw)
                except (ValueError, KeyError, ArithmeticError, AttributeError, TypeError) as error:
                    found = error
                if not self.is_same(kind, expected, found):
                    return f"{output}: row {count}, column {name!r} of {kind.arrow}: {expected!r} became {raw!r} ({found!r})"
        if count != len(self.columns[0][2]):
            return f"{output}: {count} rows of {len(self.columns[0][2])}"
        return None

    def check_lines(self, path):
        names = [name for name, *_ in self.columns]
        rows = (read_json(line) for line in unpacked(path).split(b"\n") if line)

        def read(kind, raw):
            if self.guessed and isinstance(kind, Text):
                return raw
            return None if raw is None else kind.from_json(raw)

        return self.compare(path.name, ([row.pop(name) for name in names] for row in rows), read)

    def check_cells(self, path):
        rows = csv.reader(io.StringIO(unpacked(path).decode("latin-1"), newline=""), strict=True)
        header = next(rows, None)
        names = [name for name, *_ in self.columns]
        if header is None or [name.encode("latin-1").decode() for name in header] != names:
            return f"{path.name}: its header is {header}"
        alone = len(names) == 1

        def read(kind, raw):
            if raw == (NULL if alone else ""):
                return None
            cell = raw.encode("latin-1")
            return cell.decode() if isinstance(kind, Text) else kind.from_cell(cell)

        # A null is told from an empty text by the quotes, which Python does not show.
        lenient = dataclasses.replace(self, blanks_are_nulls=True)
        return lenient.compare(path.name, rows, read)

    def check_parquet(self, path):
        data = pa.parquet.ParquetFile(path).read()
        names = [name for name, *_ in self.columns]
        if data.column_names != names:
            return f"{path.name}: its columns are {data.column_names}"
        columns = []
        for column in data.columns:
            of = column.type
            if pa.types.is_timestamp(of) or pa.types.is_time(of):
                unit = UNITS[of.unit]
                whole = column.cast(pa.int32()).cast(pa.int64()) if pa.types.is_time32(of) else column.cast(pa.int64())
                is_zoned = pa.types.is_timestamp(of) and of.tz is not None
                columns.append([None if value is None else (value * unit, is_zoned) for value in whole.to_pylist()])
            elif pa.types.is_map(of):
                columns.append([None if value is None else dict(value) for value in column.to_pylist()])
            else:
                columns.append(column.to_pylist())

        def read(kind, raw):
            if isinstance(kind, (Timestamp, Time)) and isinstance(raw, tuple):
                value, is_zoned = raw
                if isinstance(kind, Timestamp) and is_zoned != (kind.zone is not None):
                    raise ValueError("a zone came or went")
                return value
            if raw is None or self.guessed and isinstance(kind, Text):
                return raw
            if isinstance(raw, str) and not isinstance(kind, Text):
                return kind.from_cell(raw.encode())
            return kind.from_arrow(raw) if not isinstance(raw, (int, float)) else kind.from_json(raw)

        return self.compare(path.name, zip(*columns), read)


def go(conveyor, rng, form, directory):
    """One file: what went wrong, whether it was refused, and how it was made."""
    directory.mkdir(parents=True)
    path, columns, made, declared = make(rng, form, directory)
    outputs = ["out.jsonl" + rng.choice(["", "", ".gz", ".zst"]), "out.csv" + rng.choice(["", "", ".gz"]), "out.parquet"]
    (directory / "p.yaml").write_text(manifest(path, made, declared, outputs, columns))
    ran = subprocess.run([conveyor, "run", "p.yaml"], cwd=directory, capture_output=True, text=True, timeout=120)
    if ran.returncode != 0:
        is_named = ran.returncode in (1, 2) and path.name in ran.stderr and "panicked" not in ran.stderr
        return (None if is_named else f"exit code {ran.returncode}: {ran.stderr}"), ran.stderr, made
    if "refused" in ran.stderr:
        return f"rows were refused: {ran.stderr}", None, made
    expected = Expected(columns, not declared and form != "parquet", made.blanks_are_nulls)
    checks = [expected.check_lines, expected.check_cells, expected.check_parquet]
    for output, check in zip(outputs, checks, strict=True):
        wrong = check(directory / output)
        if wrong:
            return wrong, None, made
    return None, None, made


def path_of(line):
    """Whether a line of a refusal is the one that says why."""
    return "in." in line and "p.yaml" not in line and '"pipeline"' not in line


def main(conveyor, directory, files, seed):
    root, bad, refused = pathlib.Path(directory), [], collections.Counter()
    writers_seen = collections.Counter()
    for form in ["csv", "jsonl", "parquet", "packed"]:
        for number in range(int(files)):
            place = root / f"{form}-{number}"
            wrong, refusal, made = go(conveyor, random.Random(f"{seed} {form} {number}"), form, place)
            writers_seen[f"{form} by {made.writer.split()[0].rstrip(',')}"] += 1
            if wrong:
                bad.append(f"{place}, of {made.writer} read with {made.options}:\n  {wrong.strip()}")
            elif refusal:
                refused[" ".join(line.strip(" ×│╰─▶") for line in refusal.splitlines() if path_of(line))] += 1
    for name, count in sorted(writers_seen.items()):
        print(f"{count:5} {name}")
    for line, count in refused.items():
        print(f"{count:5} refused: {line}")
    for wrong in bad:
        print(wrong)
    total = sum(writers_seen.values())
    print(f"{total} files of seed {seed}: {total - len(bad) - sum(refused.values())} equal, {sum(refused.values())} refused by name, {len(bad)} wrong")
    sys.exit(bool(bad))


main(*sys.argv[1:])
