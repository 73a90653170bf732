"""Makes the Parquet files beside it, each with the writer that it is named for.

    python3 -m venv venv
    venv/bin/pip install duckdb==2.0.1 polars==2.1.0 pyarrow==26.0.1 pandas fastparquet
    venv/bin/python make.py

They are small and differ by the writer's version alone, so that they are committed and not made by the tests.
"""

import datetime
import decimal
import json
import uuid

import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
from fastparquet import write as fastparquet_write


def of_duckdb():
    duckdb.sql("set timezone = 'Europe/Berlin'")
    duckdb.sql("""
        copy (
            select
                interval '1 month 2 days 3.5 seconds' as interval,
                uuid '00010203-0405-0607-0809-0a0b0c0d0e0f' as uuid,
                time '24:00:00' as time,
                'b'::enum('a', 'b') as enum,
                '{"a": [1, null]}'::json as json,
                date 'infinity' as date,
                timestamp '9999-12-31 23:59:59.999999' as local,
                timestamptz '2024-07-01 12:00:00+02' as instant,
                '2024-07-01 12:00:00.123456789'::timestamp_ns as nanos,
                12345678901234567890.12::decimal(38, 2) as decimal,
                1234567.89::decimal(9, 2) as money,
                'NaN'::double as double,
                '-infinity'::float as float,
                18446744073709551615::ubigint as ubigint,
                '\\xFF\\x00'::blob as blob,
                {'a': null, 'b': '\\xFB'::blob, 't': timestamptz '2024-07-01 12:00:00+02'} as struct,
                map([7, 8], ['x', null]) as map,
                [interval '1 day', null] as list
            union all
            select null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null
        ) to 'duckdb.parquet' (format parquet)
    """)


def of_polars():
    wide = polars.Series([1, -(2**100), None], dtype=polars.Int128)
    polars.DataFrame(
        {
            "wide": wide,
            "duration": [datetime.timedelta(seconds=90), None, datetime.timedelta(0)],
            "local": [datetime.datetime(2024, 7, 1, 12), None, None],
            "category": polars.Series(["x", None, "x"], dtype=polars.Categorical),
        }
    ).write_parquet("polars.parquet")


def of_pyarrow():
    utc = datetime.timezone.utc
    noon = datetime.datetime(2024, 7, 1, 12, 0, 0, 123456)
    columns = {
        "half": pa.array([0.5, None], pa.float16()),
        "decimal": pa.array([decimal.Decimal("-0.05"), None], pa.decimal256(60, 2)),
        "date64": pa.array([datetime.date(2024, 7, 1), None], pa.date64()),
        "time32": pa.array([datetime.time(1, 2, 3), None], pa.time32("s")),
        "time64": pa.array([datetime.time(1, 2, 3, 4), None], pa.time64("ns")),
        "seconds": pa.array([noon.replace(microsecond=0), None], pa.timestamp("s")),
        "zoned": pa.array([noon.replace(tzinfo=utc), None], pa.timestamp("us", "Europe/Oslo")),
        "duration": pa.array([datetime.timedelta(milliseconds=-1500), None], pa.duration("ms")),
        "dictionary": pa.array(["a", None]).dictionary_encode(),
        "numbers": pa.array([5, None]).dictionary_encode(),
        "fixed": pa.array([b"abc", None], pa.binary(3)),
        "uuid": pa.array([uuid.UUID(int=1).bytes, None], pa.uuid()),
        "json": pa.array([json.dumps({"a": 1}), None], pa.json_()),
        "view": pa.array(["v", None], pa.string_view()),
        "null": pa.nulls(2),
        "list": pa.array([[b"\xfb", None], None], pa.large_list(pa.binary())),
        "times": pa.array([[noon], None], pa.list_(pa.timestamp("us"))),
        "map": pa.array([[(datetime.date(2024, 7, 1), None)], None], pa.map_(pa.date32(), pa.int8())),
        "struct": pa.array([{"n": None, "f": float("inf")}, None], pa.struct({"n": pa.int8(), "f": pa.float32()})),
    }
    pq.write_table(pa.table(columns), "pyarrow.parquet")


def of_fastparquet():
    moments = [datetime.datetime(2024, 7, 1, 12), None]
    frame = pandas.DataFrame({"int96": pandas.Series(moments, dtype="datetime64[ns]"), "json": [{"a": 1}, None]})
    fastparquet_write("fastparquet.parquet", frame, times="int96", object_encoding={"json": "json"})


if __name__ == "__main__":
    of_duckdb()
    of_polars()
    of_pyarrow()
    of_fastparquet()
