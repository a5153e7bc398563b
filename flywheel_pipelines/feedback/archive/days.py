"""From what an archive writes for time to a day: dates, months, and weeks that carry no day.

Here: which formats are taken, and parsing. Not here: which cycle a day belongs to (`flywheel_pipelines.cycles`).
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

EARLIEST, LATEST = date(1990, 1, 1), date(2100, 1, 1)
"""One mistyped year would otherwise make thousands of empty cycles between it and the others."""

_WEEK_OF_YEAR = {"%W": ("%Y", "%w"), "%V": ("%G", "%u")}


class DayFormat:
    """A strptime format, and how to read it.

    A week without a day is its Monday. `%Y%W` counts Monday-based weeks from 00, the days before the year's first
    Monday, so the last week of a year and week 00 of the next can be one and the same week: 201452 and 201500 both
    begin on 2014-12-29, and are one cycle. `%G-W%V` is the ISO week.
    """

    def __init__(self, text: str) -> None:
        """Check the format; raises ValueError saying what is allowed."""
        self.text = text
        week = next((directive for directive in _WEEK_OF_YEAR if directive in text), None)
        self._is_week = week is not None and not any(day in text for day in ("%w", "%u", "%a", "%A"))
        self._read = f"{text} {_WEEK_OF_YEAR[week][1]}" if self._is_week and week else text
        year = _WEEK_OF_YEAR[week][0] if week else "%Y"
        example = date(2024, 3, 4)
        try:
            if year not in text or self.parse(example.strftime(text)) not in {example, example.replace(day=1)}:
                raise ValueError("it does not say which year and day")
        except ValueError as error:
            raise ValueError(
                "expected a date such as %Y-%m-%d, a month such as %Y-%m, "
                f"a Monday-based week of the year such as %Y%W, or an ISO week such as %G-W%V ({error})"
            ) from error

    def parse(self, value: str) -> date:
        """The day meant; the Monday of a week, the first of a month. Raises ValueError saying what was expected."""
        value = value.strip()
        try:
            day = datetime.strptime(f"{value} 1" if self._is_week else value, self._read).date()
        except (ValueError, OverflowError):
            raise ValueError(f"expected {self._meaning()}") from None
        if self._is_week and not any(
            (day + timedelta(days=offset)).strftime(self.text) == value for offset in range(7)
        ):
            # strptime would silently make week 53 of a year with 52 weeks the first of the next.
            raise ValueError(f"that year has no such week; expected {self._meaning()}")
        if not EARLIEST <= day < LATEST:
            raise ValueError(f"the year is outside {EARLIEST.year} to {LATEST.year - 1}; expected {self._meaning()}")
        return day

    def _meaning(self) -> str:
        return f"{self.text}, for example {date(2024, 3, 4).strftime(self.text)}"
