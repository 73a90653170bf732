"""Does the work of the flights bench with DuckDB on one thread, and prints the seconds of work that it took.

Arguments: the CSV file, the JSON file. The clock runs around the statement alone, without the start of Python
and of DuckDB. It counts the time that the core worked, user and system, as it does for everybody else.
"""

import sys
import time

import duckdb

TYPES = {
    "year": "BIGINT", "month": "BIGINT", "day": "BIGINT", "dep_time": "BIGINT", "sched_dep_time": "BIGINT",
    "dep_delay": "BIGINT", "arr_time": "BIGINT", "sched_arr_time": "BIGINT", "arr_delay": "BIGINT",
    "carrier": "VARCHAR", "flight": "BIGINT", "tailnum": "VARCHAR", "origin": "VARCHAR", "dest": "VARCHAR",
    "air_time": "BIGINT", "distance": "BIGINT", "hour": "BIGINT", "minute": "BIGINT", "time_hour": "VARCHAR",
}


def main(source: str, output: str) -> None:
    connection = duckdb.connect(config={"threads": 1})
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in TYPES.items())
    statement = f"""
        COPY (
            SELECT carrier, flight, origin, dest, distance, distance * 1.609344::DOUBLE AS kilometres
            FROM read_csv('{source}', header = true, delim = ',', nullstr = 'NA', auto_detect = false,
                          columns = {{{columns}}})
            WHERE dep_delay >= 20
        ) TO '{output}' (FORMAT json)
    """
    start = time.process_time()
    connection.execute(statement)
    print(time.process_time() - start)


main(*sys.argv[1:])
