"""Dates in texts, and whether two agree: 5 March 2026, Mar 5, 05.03.2026, 2026-03-05, March 2026.

Here: months by name in four languages, and days as they are written in figures. Not here: weekdays and quarters, which
are words, or relative days (yesterday), which mean nothing without the day of writing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_MONTHS = (
    ("january", "jan", "januar", "jänner", "enero", "janvier"),
    ("february", "feb", "februar", "febrero", "février"),
    ("march", "mar", "märz", "marzo", "mars"),
    ("april", "apr", "abril", "avril"),
    ("may", "mai", "mayo"),
    ("june", "jun", "juni", "junio", "juin"),
    ("july", "jul", "juli", "julio", "juillet"),
    ("august", "aug", "agosto", "août"),
    ("september", "sep", "sept", "septiembre", "septembre"),
    ("october", "oct", "oktober", "okt", "octubre", "octobre"),
    ("november", "nov", "noviembre", "novembre"),
    ("december", "dec", "dezember", "dez", "diciembre", "décembre"),
)
MONTH_OF = {name: number for number, names in enumerate(_MONTHS, start=1) for name in names}
_NAME = "|".join(sorted(MONTH_OF, key=len, reverse=True))
_DAY, _YEAR = r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.|º)?", r"(?P<year>(?:19|20)\d\d)"
# A month's name needs a day or a year beside it: "may" and "mars" are other words, too.
_WRITTEN = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<![\w.]){_DAY}\s+(?:of\s+|de\s+)?(?P<month>{_NAME})\.?(?!\w)(?:,?\s+(?:de\s+)?{_YEAR}(?!\d))?",
        rf"(?<!\w)(?P<month>{_NAME})\.?\s+{_DAY}(?![\w.]|,\d)(?:,?\s+{_YEAR}(?!\d))?",
        rf"(?<!\w)(?P<month>{_NAME})\.?(?:,?\s+(?:de\s+)?){_YEAR}(?!\d)",
        r"(?<!\d)(?P<year>(?:19|20)\d\d)-(?P<month>\d\d)-(?P<day>\d\d)(?!\d)",
        r"(?<!\d)(?P<day>\d{1,2})\.\s?(?P<month>\d{1,2})\.\s?(?P<year>(?:19|20)\d\d)(?!\d)",
    )
)
# Day or month first, which nobody can tell.
_SLASHES = re.compile(r"(?<!\d)(?P<one>\d{1,2})/(?P<two>\d{1,2})/(?P<year>(?:19|20)\d\d)(?!\d)")


@dataclass(frozen=True)
class Date:
    """A date as it stands in a text; day or year are None where it does not say them."""

    shown: str
    month: int
    day: int | None
    year: int | None

    def agrees_with(self, other: Date) -> bool:
        """Whether the other one says all that this one does: a day that is not there is not the same day."""
        same_day = self.day is None or self.day == other.day
        return self.month == other.month and same_day and (self.year is None or other.year in (None, self.year))


def dates_in(text: str) -> Iterator[Date]:
    """The dates of a plain text; one with slashes is read both ways."""
    for pattern in _WRITTEN:
        for found in pattern.finditer(text):
            parts = found.groupdict()
            month = MONTH_OF.get(parts["month"].casefold()) or (int(parts["month"]) if parts["month"].isdigit() else 0)
            day, year = (int(value) if (value := parts.get(key)) else None for key in ("day", "year"))
            yield Date(" ".join(found[0].split()).rstrip("."), month, day, year)
    for found in _SLASHES.finditer(text):
        one, two, year = int(found["one"]), int(found["two"]), int(found["year"])
        yield Date(found[0], one, two, year)
        yield Date(found[0], two, one, year)


def dates_beyond(text: str, sources: Iterable[str]) -> list[str]:
    """The dates of a text that agree with none of the sources', as they stand there, each once."""
    stated = [date for source in sources for date in dates_in(source)]
    said: dict[str, bool] = {}
    for date in dates_in(text):
        said[date.shown] = said.get(date.shown, False) or any(date.agrees_with(other) for other in stated)
    beyond = [shown for shown, is_stated in said.items() if not is_stated]
    # "March 2026" within "5 March 2026" is the same date, seen by two patterns.
    return [shown for shown in beyond if not any(shown in other and shown != other for other in beyond)]
