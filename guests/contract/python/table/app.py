"""Proof of the contract: the stage of tables. What it does stands in ../../README.md."""

import json
from typing import NoReturn, Optional

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import about, table_transform
from wit_world.imports import columns, log, outcomes, tables
from wit_world.imports.columns import Kind

SCHEMA = (
    '{"type":"object","required":["minimum"],'
    '"properties":{"minimum":{"type":"number"}},"additionalProperties":false}'
)
NUMBERS = {Kind.S32S, Kind.S64S, Kind.U64S, Kind.F32S, Kind.F64S, Kind.OPAQUE}
TEXTS = {Kind.TEXTS, Kind.DICTIONARIES}

minimum: Optional[float] = None


class About(exports.About):
    def describe(self) -> about.About:
        return about.About(
            name="contract-table",
            version="0.1.0",
            summary="Keeps rows by their amount and names their region",
            config_schema=SCHEMA,
            needs=[],
            hints=[("language", "py")],
        )


class TableTransform(exports.TableTransform):
    """An error is answered by raising it."""

    def plan(self, config: str, input: list[columns.Field]) -> table_transform.TablePlan:
        _, amount = check(config, input)
        selected = [table_transform.Selection("amount", "amount"), table_transform.Selection("land", "country")]
        return table_transform.TablePlan(
            wanted=[
                columns.Field("amount", Kind.F64S, amount.nullable, ""),
                columns.Field("country", Kind.TEXTS, True, ""),
            ],
            times=True,
            keys=False,
            outputs=[
                table_transform.Output("large", None, [columns.Field("region", Kind.TEXTS, False, "")]),
                table_transform.Output("small", selected, []),
            ],
        )

    def open(self, config: str, input: list[columns.Field]) -> None:
        global minimum
        minimum, _ = check(config, input)
        log.write(log.Level.INFO, "ready", [("columns", str(len(input)))])

    def process(self, input: tables.Table) -> outcomes.TableOutcome:
        if minimum is None:
            raise Err(outcomes.Failure_Fatal("process was called before open"))
        amounts, countries = input.columns
        assert isinstance(amounts.data, columns.Data_F64s)
        large = Large(countries, input.times)
        small: list[int] = []
        rejections: list[outcomes.Rejection] = []
        for i, amount in enumerate(amounts.data.value):
            if not is_valid(amounts.valid, i):
                rejections.append(outcomes.Rejection(i, "no-amount", "amount is null"))
            elif amount < 0:
                rejections.append(outcomes.Rejection(i, "negative-amount", "amount is negative"))
            elif amount >= minimum:
                large.keep(i)
            else:
                small.append(i)
        emissions = [large.finish(input.rows)]
        if small:
            emissions.append(outcomes.TableEmission(1, forwarded(input.rows, small), [], None))
        return outcomes.TableOutcome(emissions, rejections, held=0)


def check(text: str, input: list[columns.Field]) -> tuple[float, columns.Field]:
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        invalid("config: a JSON object is wanted")
    minimum = config.get("minimum")
    if not isinstance(minimum, (int, float)) or isinstance(minimum, bool):
        invalid("config.minimum: a number is wanted")
    by_name = {field.name: field for field in input}
    for name in ("amount", "country"):
        if name not in by_name:
            invalid(f"input: there is no column {name}")
    if by_name["amount"].kind not in NUMBERS:
        invalid("input.amount: a number is wanted")
    if by_name["country"].kind not in TEXTS:
        invalid("input.country: a text is wanted")
    return float(minimum), by_name["amount"]


def invalid(message: str) -> NoReturn:
    raise Err(outcomes.Failure_Invalid(message))


class Texts:
    """A column of texts that grows."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.bytes = bytearray()

    def push(self, text: bytes) -> None:
        if not self.offsets:
            self.offsets.append(0)
        self.bytes += text
        self.offsets.append(len(self.bytes))

    def column(self) -> columns.Column:
        return columns.Column(None, columns.Data_Texts(columns.Varlen(self.offsets, bytes(self.bytes))))


class Large:
    """What leaves by port `large`."""

    def __init__(self, countries: columns.Column, times: Optional[list[int]]) -> None:
        assert isinstance(countries.data, columns.Data_Texts)
        self.valid = countries.valid
        self.countries = countries.data.value
        self.input_times = times
        self.rows: list[int] = []
        self.origins: list[int] = []
        self.times: list[int] = []
        self.regions = Texts()
        self.made_regions = Texts()

    def keep(self, i: int) -> None:
        if not is_valid(self.valid, i):
            self.rows.append(i)
            self.regions.push(b"unknown")
            return
        offsets = self.countries.offsets
        # Of bytes, `upper` changes a-z alone.
        country = self.countries.bytes[offsets[i] : offsets[i + 1]].upper()
        if b"+" not in country:
            self.rows.append(i)
            self.regions.push(country)
            return
        for part, text in enumerate(country.split(b"+")):
            self.origins.append(i)
            self.made_regions.push(text)
            if self.input_times is not None:
                self.times.append(self.input_times[i] + part)

    def finish(self, rows: int) -> outcomes.TableEmission:
        regions = [self.regions.column()]
        return outcomes.TableEmission(0, forwarded(rows, self.rows), regions, self.made())

    def made(self) -> Optional[outcomes.MadeRows]:
        if not self.origins:
            return None
        origins = outcomes.Origins_These(self.origins)
        return outcomes.MadeRows(origins, self.times or None, None, [self.made_regions.column()])


def forwarded(rows: int, these: list[int]) -> outcomes.Forwarded:
    if not these:
        return outcomes.Forwarded_Nothing()
    if len(these) == rows:
        return outcomes.Forwarded_All()
    return outcomes.Forwarded_These(these)


def is_valid(bitmap: Optional[bytes], i: int) -> bool:
    return bitmap is None or bitmap[i // 8] >> (i % 8) & 1 == 1
