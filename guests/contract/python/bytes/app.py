"""Proof of the contract: the stage of bytes. What it does stands in ../../README.md."""

import json
from typing import NamedTuple, NoReturn, Optional

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import about, transform
from wit_world.imports import columns, log, outcomes, records

SCHEMA = (
    '{"type":"object","required":["keep"],"properties":{"keep":{"type":"string"},'
    '"separator":{"type":"string"},"busy":{"type":"string"}},"additionalProperties":false}'
)


class Config(NamedTuple):
    keep: int
    separator: int
    busy: Optional[int]


opened: Optional[Config] = None


class About(exports.About):
    def describe(self) -> about.About:
        return about.About(
            name="contract-bytes",
            version="0.1.0",
            summary="Keeps records by their first byte and splits them at a separator",
            config_schema=SCHEMA,
            needs=[],
            hints=[("language", "py")],
        )


class Transform(exports.Transform):
    """An error is answered by raising it."""

    def plan(self, config: str) -> transform.RecordPlan:
        parse(config)
        return transform.RecordPlan(times=True, keys=True, headers=True, outputs=["main", "deleted"])

    def open(self, config: str) -> None:
        global opened
        opened = parse(config)
        log.write(log.Level.INFO, "ready", [("keep", chr(opened.keep))])

    def process(self, input: records.Batch) -> outcomes.Outcome:
        if opened is None:
            raise Err(outcomes.Failure_Fatal("process was called before open"))
        dropped = dropped_records(input.headers)
        main: list[int] = []
        deleted: list[int] = []
        rejections: list[outcomes.Rejection] = []
        made = Made()
        for i in range(input.rows):
            if i in dropped:
                continue
            value = get(input.values, i)
            if value is None:
                deleted.append(i)
            elif not value:
                rejections.append(outcomes.Rejection(i, "empty", "the value has no bytes"))
            elif value[0] == opened.busy:
                raise Err(outcomes.Failure_Retry(outcomes.Retry(250, f"record {i} asks for another try")))
            elif value[0] == opened.keep:
                at = value.find(opened.separator)
                if at < 0:
                    main.append(i)
                else:
                    made.split(input, i, value[:at], value[at + 1 :])
        emissions = [outcomes.Emission(0, forwarded(input.rows, main), made.finish())]
        if deleted:
            emissions.append(outcomes.Emission(1, forwarded(input.rows, deleted), None))
        return outcomes.Outcome(emissions, rejections, held=0)


def parse(text: str) -> Config:
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        invalid("config: a JSON object is wanted")

    def byte(name: str, otherwise: Optional[str] = None) -> int:
        value = config.get(name, otherwise)
        if not isinstance(value, str) or len(value) != 1 or not value.isascii():
            invalid(f"config.{name}: a text of one ASCII character is wanted")
        return ord(value)

    return Config(byte("keep"), byte("separator", "|"), byte("busy") if "busy" in config else None)


def invalid(message: str) -> NoReturn:
    raise Err(outcomes.Failure_Invalid(message))


class Blobs:
    """A blob column that grows."""

    def __init__(self) -> None:
        self.valid = bytearray()
        self.offsets: list[int] = []
        self.bytes = bytearray()
        self.rows = 0

    def push(self, blob: Optional[bytes]) -> None:
        if self.rows == 0:
            self.offsets.append(0)
        if self.rows % 8 == 0:
            self.valid.append(0)
        if blob is not None:
            self.valid[-1] |= 1 << (self.rows % 8)
            self.bytes += blob
        self.offsets.append(len(self.bytes))
        self.rows += 1

    def finish(self) -> columns.BlobColumn:
        return columns.BlobColumn(bytes(self.valid), columns.Varlen(self.offsets, bytes(self.bytes)))


class Made:
    """The records that are made, in the form in which they leave."""

    def __init__(self) -> None:
        self.origins: list[int] = []
        self.times: list[int] = []
        self.keys = Blobs()
        self.values = Blobs()

    def split(self, input: records.Batch, i: int, left: bytes, right: bytes) -> None:
        self.origins += [i, i]
        self.values.push(left)
        self.values.push(right)
        if input.times is not None:
            self.times += [input.times[i], input.times[i] + 1]
        if input.keys is not None:
            key = get(input.keys, i)
            self.keys.push(key)
            self.keys.push(None if key is None else key + b"/2")

    def finish(self) -> Optional[outcomes.MadeRecords]:
        rows = len(self.origins)
        if rows == 0:
            return None
        headers = records.Headers(
            names=["part"],
            of=list(range(rows)),
            name=[0] * rows,
            values=columns.Varlen(list(range(rows + 1)), b"12" * (rows // 2)),
        )
        return outcomes.MadeRecords(
            origins=outcomes.Origins_These(self.origins),
            times=self.times or None,
            keys=self.keys.finish() if self.keys.rows else None,
            headers=headers,
            values=self.values.finish(),
        )


def forwarded(rows: int, these: list[int]) -> outcomes.Forwarded:
    if not these:
        return outcomes.Forwarded_Nothing()
    if len(these) == rows:
        return outcomes.Forwarded_All()
    return outcomes.Forwarded_These(these)


def dropped_records(headers: Optional[records.Headers]) -> set[int]:
    if headers is None:
        return set()
    named = zip(headers.of, headers.name)
    return {of for of, name in named if headers.names[name] == "drop"}


def get(column: columns.BlobColumn, i: int) -> Optional[bytes]:
    if column.valid is not None and not column.valid[i // 8] >> (i % 8) & 1:
        return None
    offsets = column.blobs.offsets
    return column.blobs.bytes[offsets[i] : offsets[i + 1]]
