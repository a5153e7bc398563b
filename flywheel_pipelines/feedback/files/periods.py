"""Which days a file is about when its rows do not say: from its comments, or from its name.

Not here: finding the comments (`layout`), or the period that a person names when a file is landed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.files.cells import shown

Period = tuple[date, date]
_DAY = r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})"
_RANGE = re.compile(rf"(?:date range\W*)?{_DAY}\s*(?:-|–|to|,)\s*{_DAY}", re.IGNORECASE)
_START = re.compile(rf"start date\W*{_DAY}", re.IGNORECASE)
_END = re.compile(rf"end date\W*{_DAY}", re.IGNORECASE)


def period_in_comments(path: Path, comments: Iterable[str]) -> Period | None:
    """The first and last day that comment lines name, e.g. `Start date: 20260101` and `End date: 20260131`.

    Raises:
        InputFileError: they name days that do not exist, or the last before the first.
    """
    first = last = None
    for comment in comments:
        if first is None and (found := _START.match(comment)):
            first = _day(path, comment, found.groups())
        elif last is None and (found := _END.match(comment)):
            last = _day(path, comment, found.groups())
        elif first is None and last is None and (found := _RANGE.fullmatch(comment)):
            first, last = _day(path, comment, found.groups()[:3]), _day(path, comment, found.groups()[3:])
    if first is None or last is None:
        return None
    return _in_order(path, first, last, "its comments")


def period_in_name(path: Path, expression: str, name: str | None = None) -> Period | None:
    """The first and last day that a file's name holds, found by `FeedSpec.file_date`: one group, or two.

    Raises:
        InputFileError: what the expression finds is no day.
    """
    name = path.name if name is None else name
    found = re.search(expression, name)
    if found is None:
        return None
    days = []
    for text in found.groups():
        match = re.fullmatch(_DAY, text or "")
        if match is None:
            raise InputFileError(
                f"{path}: file_date finds {shown(text or '')!r} in its name, expected a day such as 2026-01-31. "
                "Rename the file, or correct the feed's file_date."
            )
        days.append(_day(path, text, match.groups()))
    return _in_order(path, days[0], days[-1], "its name")


def _day(path: Path, text: str, parts: tuple[str | None, ...]) -> date:
    try:
        return date(*(int(part or 0) for part in parts))
    except ValueError as error:
        raise InputFileError(
            f"{path}: {shown(text, 80)!r} names a day that does not exist ({error}). Export the file again."
        ) from error


def _in_order(path: Path, first: date, last: date, where: str) -> Period:
    if last < first:
        raise InputFileError(
            f"{path}: {where} say that it is about {first} to {last}, which ends before it begins. Export it again."
        )
    return first, last
