"""How platforms write days, and what is read from them: once in Python with words, once in SQL for speed.

Here: the key `dates` of a feed. Not here: numbers (`formats`), the weeks and months of archives (`archive.days`), or
which cycle a day belongs to (`flywheel_pipelines.cycles`).

The Python parser decides. The SQL expression gives a day only for text that is *plainly* fine, and then the very same
day; NULL means "ask Python", never "wrong". A property test holds the two together.

Decisions:
- Only the declared formats count; nothing is guessed from the other rows. 03/04/2026 under %d/%m/%Y is the third of
  April, and 04/25/2026 is refused there.
- Where two declared formats read the same text as different days, the cell is refused: the order of a list in a YAML
  file cannot know what a platform meant.
- A time of day is read only where a format has one, and then it is dropped. With an offset (%z) the day is the one in
  UTC, as all cycles are; without one it is the day as written.
- %s stands for Unix time in seconds, which strptime does not know and event logs are full of.
- %c, %x, %X and %Z are refused: what they read depends on the machine. A literal UTC or Z can stand in the format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.archive.days import EARLIEST, LATEST
from flywheel_pipelines.feedback.files.cells import AGAIN, CellError

ISO_DAY = ("%Y-%m-%d",)
UNIX_TIME = "%s"

# Not in January: strptime takes the first month for one that a format leaves out.
_EXAMPLE = datetime(2026, 3, 25, 17, 30, tzinfo=UTC)
_BY_MACHINE = ("%c", "%x", "%X", "%Z", "%+")
_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)
_DIGITS = {"Y": "[0-9]{4}", "y": "[0-9]{2}", "m": "[0-9]{2}", "d": "[0-9]{2}", "f": "[0-9]{1,6}"}
_DIGITS |= {"H": "(?:[01][0-9]|2[0-3])", "M": "[0-5][0-9]", "S": "[0-5][0-9]", "%": "%"}
_MONTHS = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"


def parse_day(value: str | None, formats: Sequence[str] = ISO_DAY) -> date:
    """The day in a cell, in one of the declared formats.

    Raises:
        CellError: it is blank, in none of the formats, outside 1990 to 2099, or a different day in two of the formats.
        FlywheelError: a format cannot be read as a day (see `check_day_formats`).
    """
    if value is None or not value.strip():
        raise CellError(f"empty; expected the day the row is about, e.g. {_example(formats[0])}. {AGAIN}")
    check_day_formats(tuple(formats))
    return _parsed(value.strip(), tuple(formats))


def day_sql(text: str, formats: Sequence[str] = ISO_DAY) -> str:
    """A DATE of DuckDB from a text expression: as `parse_day`, or NULL where that is to be asked."""
    check_day_formats(tuple(formats))
    plain = [sql for written in _unmistakable(tuple(formats)) if (sql := _one_sql(text, written)) is not None]
    if not plain:
        return "CAST(NULL AS DATE)"
    day = plain[0] if len(plain) == 1 else f"coalesce({', '.join(plain)})"
    return f"CASE WHEN {day} BETWEEN DATE '{EARLIEST}' AND DATE '{LATEST - timedelta(days=1)}' THEN {day} END"


@cache
def check_day_formats(formats: tuple[str, ...]) -> None:
    """Raises FlywheelError when one of the formats does not say a day, or says it differently on every machine."""
    for written in formats:
        if written == UNIX_TIME:
            continue
        found = {f"%{letter}" for letter in _DIRECTIVE.findall(written)}
        if by_machine := sorted(found.intersection(_BY_MACHINE)):
            raise FlywheelError(
                f"dates: {written!r} has {', '.join(by_machine)}, which depends on the machine. "
                "Write the parts out, e.g. %Y-%m-%d %H:%M:%S UTC, or %z for an offset."
            )
        try:
            is_day = datetime.strptime(_EXAMPLE.strftime(written), written).date() == _EXAMPLE.date()
        except ValueError:
            is_day = False
        if not is_day:
            raise FlywheelError(
                f"dates: {written!r} does not say year, month and day. Write them in strptime's letters, e.g. "
                "%Y-%m-%d for 2026-03-25, %m/%d/%y for 3/25/26, or %s for Unix time in seconds."
            )


@lru_cache(maxsize=4_096)
def _parsed(value: str, formats: tuple[str, ...]) -> date:
    # A file has many rows and few days.
    found: dict[date, str] = {}
    for written in formats:
        day = _strptime(value, written)
        if day is not None:
            found.setdefault(day, written)
    if not found:
        wanted = " or ".join(f"{written} ({_example(written)})" for written in formats)
        raise CellError(
            f"not a day: expected {wanted}. Correct the row, or add how the day is written to the feed's dates."
        )
    if len(found) > 1:
        meanings = " or ".join(f"{day} ({written})" for day, written in found.items())
        raise CellError(
            f"could be {meanings}; which one is unknown. Keep only one of these formats in the feed's dates."
        )
    (day,) = found
    if not EARLIEST <= day < LATEST:
        raise CellError(
            f"not a day: the year is outside {EARLIEST.year} to {LATEST.year - 1}; "
            f"expected for example {_example(formats[0])}. {AGAIN}"
        )
    return day


def _strptime(value: str, written: str) -> date | None:
    if written == UNIX_TIME:
        if not re.fullmatch(r"[0-9]{1,11}(\.[0-9]{1,9})?", value):
            return None
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(value.split(".")[0]))).date()
    try:
        moment = datetime.strptime(value, written)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).date()
    except (ValueError, OverflowError):
        return None


def _example(written: str) -> str:
    return str(int(_EXAMPLE.timestamp())) if written == UNIX_TIME else _EXAMPLE.strftime(written)


@cache
def _unmistakable(formats: tuple[str, ...]) -> tuple[str, ...]:
    """The formats whose texts no other of them reads as another day; found by trying days of every year."""
    if len(formats) == 1:
        return formats
    # 11 is prime to 7, 30 and 365, so that every day of every month and every two-digit year is tried.
    span = (date(2069, 1, 1) - EARLIEST).days
    samples = [
        datetime(EARLIEST.year, 1, 1, 11, 11, 11, tzinfo=UTC) + timedelta(days=day) for day in range(0, span, 11)
    ]
    kept = []
    for written in formats:
        others = [other for other in formats if other != written]
        texts = [(_example_of(sample, written), sample.date()) for sample in samples]
        if all(_strptime(text, other) in (None, day) for other in others for text, day in texts):
            kept.append(written)
    return tuple(kept)


def _example_of(moment: datetime, written: str) -> str:
    return str(int(moment.timestamp())) if written == UNIX_TIME else moment.strftime(written)


def _one_sql(text: str, written: str) -> str | None:
    """The day in one format, or None when the format has parts that are left to Python."""
    if written == UNIX_TIME:
        return (
            f"CASE WHEN regexp_full_match({text}, '[0-9]{{1,10}}') "
            f"THEN CAST(make_timestamp(CAST({text} AS BIGINT) * 1000000) AS DATE) END"
        )
    pattern = _plain_pattern(written)
    if pattern is None:
        return None
    if written == ISO_DAY[0]:
        day = f"TRY_CAST({text} AS DATE)"
    else:
        day = f"CAST(try_strptime({text}, {_quoted(written)}) AS DATE)"
    return f"CASE WHEN regexp_full_match({text}, {_quoted(pattern)}) THEN {day} END"


def _plain_pattern(written: str) -> str | None:
    """A regular expression for texts in this format that leave nothing to interpret; None where there is none.

    Days and months may lack their zero where something that is no digit follows or ends them on both sides.
    """
    pieces: list[str] = []
    position = 0
    for match in _DIRECTIVE.finditer(written):
        letter = match[1]
        if letter != "b" and letter not in _DIGITS:
            return None
        pieces.append(re.escape(written[position : match.start()]))
        is_free = _is_separated(written, match.start(), match.end())
        if letter == "b":
            pieces.append(_MONTHS)
        elif letter in "md" and is_free:
            pieces.append("[0-9]{1,2}")
        else:
            pieces.append(_DIGITS[letter])
        position = match.end()
    return "".join(pieces) + re.escape(written[position:])


def _is_separated(written: str, start: int, end: int) -> bool:
    before = written[start - 1] if start else " "
    after = written[end] if end < len(written) else " "
    # Two directives in a row: the letter of the one before, or the % of the one after.
    follows_directive = start >= 2 and written[start - 2] == "%"
    return not follows_directive and after != "%" and not before.isdigit() and not after.isdigit()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
