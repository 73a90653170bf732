"""Files as real writers make them: each writer takes columns and says with which options Conveyor reads the file."""

import csv
import dataclasses
import gzip
import io
import json

import duckdb
import fastparquet
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from kinds import TEXTS, Bool, Bytes, Date, Decimal, Float, Int, List, Map, Struct, Text, Time, Timestamp


@dataclasses.dataclass
class Made:
    """How a file was made and is to be read."""

    writer: str
    options: dict
    # Whether an empty text cannot be told from a null in it.
    blanks_are_nulls: bool = False


# Kinds that a writer keeps as they are; what it does not keep is its own affair: fastparquet has nulls for NaN.
FLAT = [Bool(), Int(), Int(32), Float(), Text(), Date(), Timestamp()]
WIDE = [
    *FLAT, Int(8), Int(16), Int(8, False), Int(16, False), Int(32, False), Int(64, False), Float(32), Bytes(),
    Timestamp("us", "UTC"), Timestamp("ms"), Timestamp("ns"), Time(), Decimal(9, 2), Decimal(18, 0), Decimal(38, 10),
]
NESTED = [
    List(Int()), List(Text()), List(Bytes()), List(List(Float(special=False))), Struct(a=Int(), b=Text()),
    Struct(d=Date(), m=Decimal(18, 3), l=List(Bool())), List(Struct(x=Text(), y=Float())),
]
MAPS = [Map(Int()), Map(Text()), List(Map(Bool()))]
PARQUET = {
    "pyarrow": WIDE + NESTED + MAPS + [Timestamp("s"), Timestamp("ns", "Europe/Oslo"), Time("ms"), Time("ns")],
    "duckdb": WIDE + NESTED + MAPS,
    "polars": WIDE + NESTED,
    "fastparquet": [Bool(), Int(), Int(32), Int(8, False), Float(nan=False), Float(32, nan=False), Text(), Bytes(), Timestamp("ns"), Timestamp("ns", "UTC")],
}
# JSON has no infinities, and its readers no bytes.
LINES = {
    "python": [Bool(), Int(), Int(64, False), Float(special=False), Text(), List(Int()), List(Text()), Struct(a=Int(), b=Text()), List(Struct(x=Text(), y=Float(special=False)))],
    "duckdb": [Bool(), Int(), Int(64, False), Float(special=False), Text(), List(Int()), Struct(a=Int(), b=Text())],
    "polars": [Bool(), Int(), Float(special=False), Text(), List(Text()), Struct(a=Int(), b=Text())],
    "pandas": [Bool(), Int(), Text()],
}
CSV = {
    "python": [*FLAT, Timestamp("us", "UTC"), Decimal(9, 2)],
    "pyarrow": [Bool(), Int(), Text(), Date()],
    "duckdb": [Bool(), Int(), Float(), Text(), Date(), Timestamp()],
    "polars": [Bool(), Int(), Float(special=False), Text(), Date()],
    # Up to Python 3.11.8 and 3.12.2 (gh-67044) it puts no quotes around a carriage return, which may then be the end of a row.
    "pandas": [Bool(), Int(), Text([text for text in TEXTS if "\r" not in text])],
}


def table(columns):
    arrays = {
        name: pa.array([None if value is None else kind.to_arrow(value) for value in values], kind.arrow)
        for name, kind, values in columns
    }
    return pa.table(arrays)


def frame(columns):
    """For pandas: with its own types, of which those that pandas cannot make from Arrow are made here."""
    types = {"bool": "boolean", "int64": "Int64", "int32": "Int32", "uint8": "UInt8", "float": "float32", "double": "float64"}
    series = {}
    for name, kind, values in columns:
        arrow = str(kind.arrow)
        if isinstance(kind, Timestamp):
            data = pd.Series(pd.array(values, "Int64").astype("datetime64[ns]"))
            series[name] = data.dt.tz_localize("UTC") if kind.zone else data
        else:
            series[name] = pd.Series(values, dtype=types.get(arrow, "object"))
    return pd.DataFrame(series)


def parquet(rng, writer, columns, path):
    if writer == "fastparquet":
        encodings = {name: "bytes" if isinstance(kind, Bytes) else "utf8" for name, kind, _ in columns if isinstance(kind, (Text, Bytes))}
        packing = rng.choice([None, "SNAPPY", "GZIP", "ZSTD"])
        fastparquet.write(str(path), frame(columns), compression=packing, object_encoding=encodings or "infer", write_index=False, has_nulls=True)
        return Made(f"fastparquet {packing}", {})
    data = table(columns)
    packing = rng.choice(["none", "snappy", "zstd", "gzip"])
    rows = rng.choice([1, 64, 100_000])
    how = f"{writer} {packing}, row groups of {rows}"
    if writer == "pyarrow":
        options = {"version": rng.choice(["2.4", "2.6"]), "use_dictionary": rng.random() < 0.5, "data_page_version": rng.choice(["1.0", "2.0"])}
        if any(isinstance(kind, Timestamp) and kind.unit == 1 or isinstance(kind, Time) for _, kind, _ in columns):
            options["version"] = "2.6"
        options |= {"write_page_checksum": rng.random() < 0.5, "store_schema": rng.random() < 0.7}
        if rng.random() < 0.2:
            options["column_encoding"] = {
                name: "DELTA_BINARY_PACKED" for name, kind, _ in columns if isinstance(kind, Int)
            } or None
            options["use_dictionary"] = False
        pa.parquet.write_table(data, path, compression=packing, row_group_size=rows, **options)
        return Made(f"{how}, {options}", {})
    if writer == "polars":
        packing = "uncompressed" if packing == "none" else packing
        pl.from_arrow(data).write_parquet(path, compression=packing, row_group_size=rows, statistics=rng.random() < 0.5)
        return Made(how, {})
    version = rng.choice(["V1", "V2"])
    packing = "uncompressed" if packing == "none" else packing
    with duckdb.connect() as connection:
        connection.register("data", data)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY data TO '{path}' (FORMAT parquet, COMPRESSION {packing}, PARQUET_VERSION {version})")
    return Made(f"duckdb {packing} {version}", {})


def lines(rng, writer, columns, path):
    if writer == "python":
        style = {"ensure_ascii": rng.random() < 0.5, "separators": rng.choice([(",", ":"), (", ", ": ")])}
        skips, end = rng.random() < 0.3, rng.choice(["\n", "\r\n", "\n\n"])
        rows = []
        for at in range(len(columns[0][2])):
            row = {n: None if values[at] is None else kind.to_json(values[at]) for n, kind, values in columns}
            # Another way to say nothing, as long as somebody says what there is.
            rows.append({n: v for n, v in row.items() if not skips or at == 0 or v is not None})
        path.write_bytes(end.join([*(json.dumps(row, **style) for row in rows), ""]).encode())
        return Made(f"python json, {style}, line breaks {end!r}", {})
    if writer == "polars":
        pl.from_arrow(table(columns)).write_ndjson(path)
    elif writer == "pandas":
        frame(columns).to_json(path, orient="records", lines=True, force_ascii=rng.random() < 0.5)
    else:
        with duckdb.connect() as connection:
            connection.register("data", table(columns))
            connection.execute(f"COPY data TO '{path}' (FORMAT json)")
    return Made(writer, {})


def cell(kind, value, comma):
    text = kind.to_cell(value)
    return text.replace(".", ",") if comma and isinstance(kind, Float) else text


def by_hand(rng, columns, path):
    """Python's csv in one of its dialects, with what else stands in files of people."""
    delimiter = rng.choice([",", ",", ";", "\t", "|"])
    quote = rng.choice(['"', '"', "'"])
    end = rng.choice(["\n", "\n", "\r\n", "\r"])
    escape = rng.choice([None, None, "\\"])
    header = rng.random() < 0.8
    comma = delimiter != "," and rng.random() < 0.5
    null = rng.choice(["", "NULL!", "\\N"])
    comment = "#" if rng.random() < 0.3 else None
    preamble = rng.choice([0, 0, 2])
    out = io.StringIO(newline="")
    style = {"delimiter": delimiter, "quotechar": quote, "lineterminator": end}
    # What is escaped is not doubled; and a comment sign at the beginning of a row has to be in quotes.
    quoting = csv.QUOTE_ALL if comment or escape else rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    writer = csv.writer(out, quoting=quoting, escapechar=escape, doublequote=escape is None, **style)
    names = [name for name, *_ in columns]
    for line in range(preamble):
        out.write(f'Report {line} with one " in it' + end)
    if comment:
        out.write("# it's a \"comment" + end)
    if header:
        writer.writerow(names)
    # A null is what is not quoted, so that a file with nulls is put together cell by cell.
    for at in range(len(columns[0][2])):
        cells = []
        for _, kind, values in columns:
            if values[at] is None:
                alone = null == "" and len(columns) == 1
                cells.append(quote * 2 if alone else null)
                continue
            one = io.StringIO(newline="")
            csv.writer(one, quoting=csv.QUOTE_ALL, escapechar=escape, doublequote=escape is None, **style).writerow([cell(kind, values[at], comma)])
            cells.append(one.getvalue().removesuffix(end))
        out.write(delimiter.join(cells) + end)
        if comment and rng.random() < 0.05:
            out.write('# "another' + end)
    path.write_bytes(out.getvalue().encode())
    options = {"delimiter": delimiter, "quote": quote}
    options |= {"escape": escape} if escape else {}
    options |= {"comment": comment} if comment else {}
    options |= {"skip-lines": preamble} if preamble else {}
    options |= {"decimal": ","} if comma else {}
    options |= {"null": null} if null else {}
    options |= {} if header else {"header": False, "columns": names}
    return Made(f"python csv, rows end with {end!r}", options, null == "" and len(columns) == 1)


def separated(rng, writer, columns, path):
    if writer == "python":
        return by_hand(rng, columns, path)
    data = table(columns)
    # With one column they write a null as an empty line, which is no row.
    word = "NULL!" if len(columns) == 1 or rng.random() < 0.5 else ""
    delimiter = rng.choice([",", ",", ";", "\t"])
    options = {"delimiter": delimiter} if delimiter != "," else {}
    options |= {"null": word} if word else {}
    if writer == "pyarrow":
        # It has no word for a null.
        options = {"delimiter": delimiter} if delimiter != "," else {}
        pa.csv.write_csv(data, path, pa.csv.WriteOptions(delimiter=delimiter))
        return Made("pyarrow", options)
    if writer == "polars":
        # It would put quotes around nulls as well.
        is_full = not any(None in values for *_, values in columns)
        style = rng.choice(["necessary", "always"]) if is_full else "necessary"
        pl.from_arrow(data).write_csv(path, separator=delimiter, null_value=word, quote_style=style)
        return Made(f"polars, quotes {style}", options)
    if writer == "duckdb":
        with duckdb.connect() as connection:
            connection.register("data", data)
            connection.execute(f"COPY data TO '{path}' (FORMAT csv, HEADER, DELIMITER '{delimiter}', NULLSTR '{word}')")
        return Made("duckdb", options)
    end = rng.choice(["\n", "\r\n"])
    frame(columns).to_csv(path, index=False, sep=delimiter, na_rep=word, lineterminator=end)
    return Made(f"pandas, rows end with {end!r}", options, word == "")


def pack(rng, path):
    """Packs a file as it is done: the name of what comes of it, and how."""
    data = path.read_bytes()
    if rng.random() < 0.5:
        middle = len(data) // 2 if rng.random() < 0.3 else len(data)
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(data[:middle]) + (gzip.compress(data[middle:]) if middle < len(data) else b""))
        return packed
    packed = path.with_name(path.name + ".zst")
    with pa.CompressedOutputStream(str(packed), "zstd") as out:
        out.write(data)
    return packed
