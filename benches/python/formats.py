"""Writes the files of the bench of formats into a directory, from the CSV with all flights of 2013, repeated.

Arguments: the CSV, the directory, how often its rows are repeated. What each file is, its name says.
"""

import gzip
import json
import pathlib
import sys

import duckdb

PARTS = 8


def main(source: str, directory: str, repeats: str) -> None:
    target = pathlib.Path(directory)
    (target / "parts").mkdir(parents=True)
    header, *rows = pathlib.Path(source).read_bytes().splitlines(keepends=True)
    rows = rows * int(repeats)
    whole = target / "flights.csv"
    whole.write_bytes(header + b"".join(rows))
    with gzip.open(target / "flights.csv.gz", "wb", compresslevel=6) as packed:
        packed.write(whole.read_bytes())
    size = -(-len(rows) // PARTS)
    for part in range(PARTS):
        piece = rows[part * size:(part + 1) * size]
        (target / "parts" / f"part-{part}.csv").write_bytes(header + b"".join(piece))
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET preserve_insertion_order = true")
    connection.execute(
        f"CREATE TABLE flights AS FROM read_csv('{whole}', header = true, nullstr = 'NA', parallel = false, "
        "types = {'carrier': 'VARCHAR', 'tailnum': 'VARCHAR', 'origin': 'VARCHAR', 'dest': 'VARCHAR'})"
    )
    connection.execute(f"COPY flights TO '{target}/flights.parquet' (FORMAT parquet, COMPRESSION zstd)")
    columns = [name for name, *_ in connection.execute("DESCRIBE flights").fetchall()]
    query = connection.execute("SELECT * REPLACE (CAST(time_hour AS VARCHAR) AS time_hour) FROM flights")
    with open(target / "flights.jsonl", "w") as flat, open(target / "nested.jsonl", "w") as nested:
        while rows := query.fetchmany(10_000):
            for row in rows:
                record = dict(zip(columns, row))
                print(json.dumps(record, separators=(",", ":")), file=flat)
                print(json.dumps(folded(record), separators=(",", ":")), file=nested)


def folded(flight: dict) -> dict:
    """The same flight with objects and lists inside."""
    return {
        "dep_delay": flight["dep_delay"],
        "carrier": flight["carrier"],
        "route": {"origin": flight["origin"], "dest": flight["dest"], "distance": flight["distance"]},
        "times": [flight["dep_time"], flight["arr_time"]],
        "plane": {"tailnum": flight["tailnum"], "legs": [{"flight": flight["flight"], "air_time": flight["air_time"]}]},
    }


main(*sys.argv[1:])
