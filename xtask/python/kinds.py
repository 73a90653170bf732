"""What a column can hold: how values are drawn, and what is equal to them as JSON, as a cell of CSV and as Arrow has them.

A value is None, bool, int, float, Decimal, str, bytes, a list, a dict, a date, or nanoseconds for times.
"""

import base64
import datetime
import decimal
import json
import math
import re
import struct

import pyarrow as pa

TEXTS = [
    "", "a", "null", "NULL", "NA", "nan", "true", "007", "-0", "1.50", "1e5", "2024-02-30", "2024-07-01",
    "2024-07-01T12:00:00Z", "2024-07-01 12:00:00+02:00", "a,b", "a;b", "a\tb", 'say "hi"', '"', "'", "\\", "C:\\temp\\", "line\nbreak",
    "crlf\r\nbreak", "cr\ralone", " padded ", "#hash", "é", "日本", "🙂", "e\u0301", "\u200b", "{\"a\":1}", "[1]", "x" * 300,
    "9223372036854775808", "=1+1", "\\N", "-",
]
DIGITS = 17


class Kind:
    """A scalar kind by the name of its Arrow type; `nested` ones are JSON in CSV."""

    nested = False
    literal = "text"

    def __init__(self, arrow):
        self.arrow = arrow

    def draw(self, rng):
        raise NotImplementedError

    def to_arrow(self, value):
        return value

    def from_arrow(self, value):
        return value

    def from_json(self, value):
        return value

    def from_cell(self, cell):
        return self.from_json(cell.decode())

    def to_cell(self, value):
        return str(value)

    def to_json(self, value):
        return value

    def same(self, expected, found):
        return type(expected) is type(found) and expected == found


class Bool(Kind):
    literal = "bool"

    def __init__(self):
        super().__init__(pa.bool_())

    def draw(self, rng):
        return rng.random() < 0.5

    def from_cell(self, cell):
        return {b"true": True, b"false": False}[cell]

    def to_cell(self, value):
        return "true" if value else "false"


class Int(Kind):
    literal = "int"

    def __init__(self, bits=64, signed=True):
        super().__init__(getattr(pa, f"{'' if signed else 'u'}int{bits}")())
        self.low = -(1 << (bits - 1)) if signed else 0
        self.high = (1 << (bits - 1 if signed else bits)) - 1
        if self.high > (1 << 63):
            self.literal = "json"

    def draw(self, rng):
        return rng.choice([0, 1, self.low, self.high, rng.randint(self.low, self.high), rng.randint(0, min(self.high, 99))])

    def from_json(self, value):
        if isinstance(value, (str, decimal.Decimal)):
            return int(value)
        return value

    def from_cell(self, cell):
        return int(cell)


class Float(Kind):
    literal = "float"
    SPECIAL = [0.0, -0.0, 1.0, 0.1, -1.5, 1e300, 5e-324, 1.7976931348623157e308, 1 / 3, 123456789.125, 2.0**53]

    def __init__(self, bits=64, special=True, nan=True):
        super().__init__(pa.float64() if bits == 64 else pa.float32())
        self.bits, self.special, self.nan = bits, special, nan

    def draw(self, rng):
        if self.special and rng.random() < 0.1:
            return rng.choice([math.nan if self.nan else 0.5, math.inf, -math.inf])
        if self.bits == 32:
            return self.near(rng.choice([0.0, -1.5, 1e30, 0.1, rng.gauss(0, 1000), rng.random()]))
        return rng.choice([*self.SPECIAL, rng.gauss(0, 1e6), rng.random()])

    def near(self, value):
        """The float of 32 bits that it is."""
        if self.bits == 64 or math.isnan(value) or math.isinf(value):
            return value
        return struct.unpack("f", struct.pack("f", value))[0]

    def from_json(self, value):
        names = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, "inf": math.inf, "-inf": -math.inf}
        return self.near(names[value] if value in names else float(value))

    def to_cell(self, value):
        return repr(value).replace("inf", "Infinity").replace("nan", "NaN")

    def same(self, expected, found):
        if isinstance(found, float) and math.isnan(expected):
            return math.isnan(found)
        return isinstance(found, float) and expected == found


class Text(Kind):
    def __init__(self, texts=TEXTS):
        super().__init__(pa.string())
        self.texts = texts

    def draw(self, rng):
        if rng.random() < 0.2:
            return "".join(rng.choice("ab ,;\"'\\\n\t|é0") for _ in range(rng.randint(0, 12)))
        return rng.choice(self.texts)

    def loosely(self, expected, found):
        """Where its type was guessed: a number, a truth value or a time that is written so."""
        if isinstance(found, bool):
            return expected.strip().lower() == str(found).lower()
        if isinstance(found, (int, float, decimal.Decimal)):
            return decimal.Decimal(expected.strip()) == decimal.Decimal(str(found))
        if isinstance(found, tuple):
            nanos, is_zoned = found
            return Timestamp("us", "UTC" if is_zoned else None).from_json(expected) == nanos
        return expected == str(found)


class Bytes(Kind):
    literal = "bytes"

    def __init__(self):
        super().__init__(pa.binary())

    def draw(self, rng):
        return bytes(rng.randint(1, 255) for _ in range(rng.randint(0, 6)))

    def from_json(self, value):
        return base64.b64decode(value, validate=True)

    def from_cell(self, cell):
        return cell


class Date(Kind):
    literal = "date"

    def __init__(self):
        super().__init__(pa.date32())

    def draw(self, rng):
        day = rng.choice([1, 719163, rng.randint(1, 3652059), rng.randint(710000, 740000)])
        return datetime.date.fromordinal(day)

    def from_json(self, value):
        return datetime.date.fromisoformat(value)


UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|\+00:00)?")


class Timestamp(Kind):
    """In nanoseconds since the Unix epoch."""

    def __init__(self, unit="us", zone=None):
        super().__init__(pa.timestamp(unit, zone))
        self.unit, self.zone = UNITS[unit], zone
        self.literal = "timestamp" if zone else "local-timestamp"

    def draw(self, rng):
        span = 9 * 10**18 if self.unit == 1 else 2 * 10**20
        nanos = rng.choice([0, 1_719_835_200 * 10**9, rng.randint(-span // 4, span), rng.randint(0, 2 * 10**18)])
        nanos = min(nanos, 253_402_300_799 * 10**9)
        return nanos // self.unit * self.unit

    def to_arrow(self, value):
        return value // self.unit

    def from_json(self, value):
        day, hour, minute, second, fraction, zone = TIME.fullmatch(value).groups()
        if (zone is not None) != (self.zone is not None):
            raise ValueError(f"{value} for {self.arrow}")
        seconds = datetime.date.fromisoformat(day).toordinal() - 719163
        seconds = seconds * 86400 + int(hour) * 3600 + int(minute) * 60 + int(second)
        return seconds * 10**9 + int((fraction or "").ljust(9, "0") or 0)

    def to_cell(self, value):
        seconds, nanos = divmod(value, 10**9)
        days, seconds = divmod(seconds, 86400)
        day = datetime.date.fromordinal(days + 719163).isoformat()
        text = f"{day}T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{nanos // 1000:06}"
        return text + ("Z" if self.zone else "")


class Time(Kind):
    """In nanoseconds since midnight."""

    def __init__(self, unit="us"):
        super().__init__(pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit))
        self.unit = UNITS[unit]

    def draw(self, rng):
        nanos = rng.choice([0, 86_399 * 10**9, rng.randint(0, 86_400 * 10**9 - 1)])
        return nanos // self.unit * self.unit

    def to_arrow(self, value):
        return value // self.unit

    def from_json(self, value):
        hour, minute, second = value.split(":")
        second, _, fraction = second.partition(".")
        return (int(hour) * 3600 + int(minute) * 60 + int(second)) * 10**9 + int(fraction.ljust(9, "0"))


class Decimal(Kind):
    def __init__(self, precision, scale):
        super().__init__(pa.decimal128(precision, scale))
        self.precision, self.scale = precision, scale

    def draw(self, rng):
        top = 10**self.precision - 1
        digits = rng.choice([0, 1, top, -top, rng.randint(-top, top)])
        return decimal.Decimal(digits).scaleb(-self.scale, decimal.Context(prec=100))

    def from_json(self, value):
        # A float that was guessed is the shortest number that means it.
        return decimal.Decimal(repr(value) if isinstance(value, float) else value)


class List(Kind):
    nested = True
    literal = "json"

    def __init__(self, inner):
        super().__init__(pa.list_(inner.arrow))
        self.inner = inner

    def each(self, how, value):
        return [None if item is None else how(item) for item in value]

    def draw(self, rng):
        return [None if rng.random() < 0.2 else self.inner.draw(rng) for _ in range(rng.choice([0, 1, 3]))]

    def to_arrow(self, value):
        return self.each(self.inner.to_arrow, value)

    def from_arrow(self, value):
        if isinstance(value, (str, bytes)):
            return self.from_json(read_json(value))
        return self.each(self.inner.from_arrow, value)

    def from_json(self, value):
        return self.each(self.inner.from_json, value)

    def from_cell(self, cell):
        return self.from_json(read_json(cell))

    def to_json(self, value):
        return self.each(self.inner.to_json, value)

    def same(self, expected, found):
        return len(expected) == len(found) and all(same(self.inner, *pair) for pair in zip(expected, found))


class Struct(Kind):
    nested = True
    literal = "json"

    def __init__(self, **fields):
        super().__init__(pa.struct([(name, kind.arrow) for name, kind in fields.items()]))
        self.fields = fields

    def each(self, how, value):
        return {
            name: None if value.get(name) is None else getattr(kind, how)(value[name])
            for name, kind in self.fields.items()
        }

    def draw(self, rng):
        return {n: None if rng.random() < 0.2 else kind.draw(rng) for n, kind in self.fields.items()}

    def to_arrow(self, value):
        return self.each("to_arrow", value)

    def from_arrow(self, value):
        if isinstance(value, (str, bytes)):
            return self.from_json(read_json(value))
        return self.each("from_arrow", value)

    def from_json(self, value):
        if value.keys() - self.fields.keys():
            raise ValueError(f"{value} has other fields than {list(self.fields)}")
        return self.each("from_json", value)

    def from_cell(self, cell):
        return self.from_json(read_json(cell))

    def to_json(self, value):
        return self.each("to_json", value)

    def same(self, expected, found):
        return all(same(kind, expected[name], found[name]) for name, kind in self.fields.items())


class Map(Struct):
    """From texts."""

    def __init__(self, inner):
        Kind.__init__(self, pa.map_(pa.string(), inner.arrow))
        self.inner = inner

    def each(self, how, value):
        return {key: None if item is None else getattr(self.inner, how)(item) for key, item in dict(value).items()}

    def draw(self, rng):
        keys = rng.sample(["a", "b c", "", "é"], rng.choice([0, 1, 3]))
        return {key: None if rng.random() < 0.2 else self.inner.draw(rng) for key in keys}

    def to_arrow(self, value):
        return list(self.each("to_arrow", value).items())

    def from_json(self, value):
        return self.each("from_json", value)

    def same(self, expected, found):
        return expected.keys() == found.keys() and all(same(self.inner, expected[key], found[key]) for key in expected)


def read_json(text):
    """Numbers keep their digits."""
    return json.loads(text, parse_float=decimal.Decimal)


def same(kind, expected, found):
    if expected is None or found is None:
        return expected is found
    return kind.same(expected, found)
