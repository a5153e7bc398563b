"""What one value of a database is as text, and which Arrow type a whole column of them has.

A column's type is found from all its values, whatever their order and however they come in chunks: the same rows give
the same types. Columns of mixed values, and numbers that no Arrow type holds exactly, stay text.
Not here: fetching (`sql`, `dlt_tables`), or what a cell must say (`feedback.feeds`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum

import pyarrow as pa

MOST_DIGITS = 38
"""Of a 128-bit decimal."""
EXACT_IN_A_DOUBLE = 2**53


@dataclass
class ColumnShape:
    """What the values of one column had in common so far. Order does not matter, so chunks do not either."""

    kinds: set[str] = field(default_factory=set)
    whole_digits: int = 0
    decimals: int = 0
    largest_whole: int = 0

    def texts(self, values: Sequence[object]) -> list[str | None]:
        """The values as text, None where there is none; notes their kinds on the way."""
        return [None if value is None else self._text(value) for value in values]

    def _text(self, value: object) -> str:
        kind, text = _kind_and_text(value)
        self.kinds.add(kind)
        if kind == "whole":
            self.largest_whole = max(self.largest_whole, abs(int(text)))
            self.whole_digits = max(self.whole_digits, len(text.lstrip("-")))
        elif kind == "decimal":
            whole, _, decimals = text.lstrip("-").partition(".")
            self.whole_digits = max(self.whole_digits, len(whole))
            self.decimals = max(self.decimals, len(decimals))
        return text

    @property
    def arrow_type(self) -> pa.DataType:
        """The type that holds every value of the column exactly."""
        if self.kinds == {"whole"} and self.largest_whole < 2**63:
            return pa.int64()
        if self.kinds and self.kinds <= {"whole", "decimal"}:
            digits = self.whole_digits + self.decimals
            return pa.decimal128(digits, self.decimals) if digits <= MOST_DIGITS else pa.string()
        if "double" in self.kinds and self.kinds <= {"double", "whole"} and self.largest_whole <= EXACT_IN_A_DOUBLE:
            return pa.float64()
        return _TYPES.get(next(iter(self.kinds)), pa.string()) if len(self.kinds) == 1 else pa.string()


_TYPES = {
    "boolean": pa.bool_(),
    "day": pa.date32(),
    "moment": pa.timestamp("us"),
    "instant": pa.timestamp("us", "UTC"),
}


def _kind_and_text(value: object) -> tuple[str, str]:
    if isinstance(value, str):
        return "text", value
    if isinstance(value, bool):
        return "boolean", "true" if value else "false"
    if isinstance(value, int):
        return "whole", str(value)
    if isinstance(value, float):
        return "double", repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date):
        return "day", value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        # As PostgreSQL writes them; what a feed could read out of bytes is unknown.
        return "text", "\\x" + bytes(value).hex()
    if isinstance(value, dict | list | tuple):
        return "text", json.dumps(value, ensure_ascii=False, sort_keys=True, default=_inside_json)
    if isinstance(value, Enum):
        return "text", str(value.value)
    # Times of day, lengths of time, UUIDs, addresses, ranges: as Python writes them.
    return "text", str(value)


def _decimal(value: Decimal) -> tuple[str, str]:
    if not value.is_finite():
        return "text", str(value)
    # Without the zeros that only say how the column was declared: 1.50 and 1.5 are one value.
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "decimal", "0" if text in ("-0", "") else text


def _moment(value: datetime) -> tuple[str, str]:
    if value.tzinfo is None:
        return "moment", value.isoformat(sep=" ", timespec="microseconds")
    # Cycles are days of UTC, so that is the clock that the file keeps.
    return "instant", value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def _inside_json(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def as_array(texts: Sequence[str | None]) -> pa.Array:
    """The texts as an Arrow column; what is no Unicode (half a surrogate pair) is written with its escape."""
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([None if text is None else _encodable(text) for text in texts], pa.string())


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
