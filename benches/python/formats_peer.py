"""Does the work of one row of the bench of formats with DuckDB or Polars on one thread, and prints its seconds.

Arguments: `duckdb` or `polars`, the kind of row, the source (a file or a pattern), the JSON file to write. The clock runs
around the work alone and counts the time that the core worked, user and system, as it does for everybody else.
"""

import os
import sys
import time

os.environ["POLARS_MAX_THREADS"] = "1"

KILOMETRES = 1.609344
SLIM = "carrier, flight, origin, dest, distance, distance * 1.609344::DOUBLE AS kilometres"


def duck(kind: str, source: str, output: str) -> float:
    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    rows = {
        "csv": f"read_csv('{source}', header = true, nullstr = 'NA')",
        "jsonl": f"read_json('{source}', format = 'newline_delimited')",
        "nested": f"read_json('{source}', format = 'newline_delimited')",
        "parquet": f"read_parquet('{source}')",
        "totals": f"read_csv('{source}', header = true, nullstr = 'NA')",
    }[kind]
    statement = {
        "nested": f"SELECT * FROM {rows} WHERE dep_delay >= 20",
        "totals": f"""
            SELECT carrier, count(*) OVER running AS count, sum(distance) OVER running AS flown
            FROM (SELECT carrier, distance, row_number() OVER () AS row FROM {rows})
            WINDOW running AS (PARTITION BY carrier ORDER BY row ROWS UNBOUNDED PRECEDING)
            ORDER BY row
        """,
    }.get(kind, f"SELECT {SLIM} FROM {rows} WHERE dep_delay >= 20")
    start = time.process_time()
    connection.execute(f"COPY ({statement}) TO '{output}' (FORMAT json)")
    return time.process_time() - start


def polar(kind: str, source: str, output: str) -> float:
    import polars as pl

    start = time.process_time()
    match kind:
        case "csv" | "totals":
            rows = pl.scan_csv(source, null_values="NA", infer_schema_length=10_000)
        case "jsonl" | "nested":
            rows = pl.scan_ndjson(source)
        case "parquet":
            rows = pl.scan_parquet(source)
    if kind == "totals":
        count = pl.int_range(1, pl.len() + 1).over("carrier").alias("count")
        rows = rows.select("carrier", count, pl.col("distance").cum_sum().over("carrier").alias("flown"))
    elif kind == "nested":
        rows = rows.filter(pl.col("dep_delay") >= 20)
    else:
        slim = ["carrier", "flight", "origin", "dest", "distance"]
        kilometres = (pl.col("distance") * KILOMETRES).alias("kilometres")
        rows = rows.filter(pl.col("dep_delay") >= 20).select(*slim, kilometres)
    rows.sink_ndjson(output)
    return time.process_time() - start


def main(engine: str, kind: str, source: str, output: str) -> None:
    print({"duckdb": duck, "polars": polar}[engine](kind, source, output))


main(*sys.argv[1:])
