"""Figures in texts: numbers, shares, prices, years, and whether the brief states them.

Here: reading figures as the locale writes them. Not here: number words ("twenty", "half"), which no list of words
covers in every language and which are left to reviewers; numbers inside names (B2B, mp3); the numbers of list items.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from flywheel_pipelines.personal_data import without_personal_data
from flywheel_pipelines.production.guardrails.links import without_links
from flywheel_pipelines.production.guardrails.plain import shortened

if TYPE_CHECKING:
    from flywheel_pipelines.production.guardrails.brief_facts import BriefFacts

PERCENT = "%"
_CURRENCIES = {
    "$": ("us$", "$", "usd", "dollars", "dollar"),
    "€": ("€", "eur", "euros", "euro"),
    "£": ("£", "gbp"),
    "¥": ("¥", "jpy", "yen"),
    "₹": ("₹", "inr", "rs.", "rs"),
    "Fr": ("chf", "sfr"),
    "zł": ("zł", "pln"),
    "kr": ("sek", "nok", "dkk", "kr"),
    "R$": ("r$", "brl"),
    "C$": ("c$", "cad"),
    "A$": ("a$", "aud"),
}
_CURRENCY_OF = {sign: currency for currency, signs in _CURRENCIES.items() for sign in signs}
_MAGNITUDES = {
    10**3: ("k", "thousand", "tausend", "mille", "mila", "mil"),
    10**6: ("mio", "mn", "million", "millions", "millionen", "millones", "milioni", "milhões", "miljoen"),
    10**9: ("bn", "mrd", "billion", "billions", "milliarde", "milliarden", "milliards", "miliardi", "miljard"),
}
_MAGNITUDE_OF = {word: factor for factor, words in _MAGNITUDES.items() for word in words}
_PERCENT_WORDS = (
    r"%|‰|٪|percent(?:age)?\b|per cent\b|pct\b|prozent\b|pour ?cent\b|por ciento\b|por cento\b|per cento\b|procent\b"
)


def _any(words: dict[str, object]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_NUMBER = r"\d{1,3}(?:\ \d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,'’]\d+)*"
_FIGURE = re.compile(
    rf"(?:(?P<before>(?<!\w)(?:{_any(dict(_CURRENCY_OF))}))\ ?|(?<!\w)(?P<attached>[^\W\d]+)?)(?P<number>{_NUMBER})"
    rf"(?:\ ?(?P<magnitude>(?:{_any(dict(_MAGNITUDE_OF))}|m)(?!\w))\.?)?"
    rf"(?:[\ -]?(?:(?P<percent>{_PERCENT_WORDS})|(?P<after>(?:{_any(dict(_CURRENCY_OF))})(?!\w))))?",
    re.IGNORECASE,
)
_LIST_NUMBER = re.compile(r"^[ \t]*(?:\d{1,3}[.)]|\(\d{1,3}\))(?=[ \t])", re.MULTILINE)
_DECIMAL_POINT = frozenset({"en", "ja", "zh", "ko", "th", "he", "hi", "ms"})
# Where Spanish, German or English is written with the other mark than the language has by default.
_REGIONS_WITH_POINT = frozenset({"CH", "LI", "MX", "GT", "HN", "NI", "PA", "PE", "PR", "SV", "DO"})
_REGIONS_WITH_COMMA = frozenset({"ZA"})


@dataclass(frozen=True)
class Figure:
    """A figure as it stands in a text, the values it may mean, and its unit: %, a currency, or None.

    `parts` are what stands between the separators where the whole may be several numbers (dates, versions).
    """

    shown: str
    readings: frozenset[Decimal]
    unit: str | None
    parts: tuple[Decimal, ...] = ()

    def as_percentage(self) -> Figure:
        """The same as a percentage, unless it has a unit."""
        return self if self.unit else replace(self, unit=PERCENT)


def figures_in(text: str, locale: str | None) -> Iterator[Figure]:
    """The figures of a plain text. Without a locale an ambiguous separator (1.234) is read both ways."""
    text = _LIST_NUMBER.sub("", without_personal_data(without_links(text), locale))
    mark = decimal_mark(locale)
    for found in _FIGURE.finditer(text):
        if found["attached"]:
            continue
        readings, parts = _read(found["number"], mark)
        magnitude = (found["magnitude"] or "").casefold()
        if magnitude == "m":
            # 5m may be five metres; 5M is five million.
            factors = {10**6} if found["magnitude"] == "M" else {1, 10**6}
            readings = frozenset(value * factor for value in readings for factor in factors)
        elif magnitude:
            readings = frozenset(value * _MAGNITUDE_OF[magnitude] for value in readings)
        sign = (found["before"] or found["after"] or "").casefold()
        unit = PERCENT if found["percent"] else _CURRENCY_OF.get(sign)
        yield Figure(found[0].strip(), readings, unit, parts)


def invented_figures(text: str, brief: BriefFacts) -> list[str]:
    """The reason when a plain text has figures that the brief does not state.

    The value must be the brief's, however it is written (1,200 and 1200; 3 million and 3,000,000). A percentage needs a
    percentage in the brief, a price the same currency or a figure without a unit; a bare figure needs any.
    """
    unique = figures_beyond(text, brief)
    return [f"figure not in the brief: {', '.join(shortened(shown) for shown in unique[:5])}"] if unique else []


def figures_beyond(text: str, brief: BriefFacts) -> list[str]:
    """The figures of a plain text that the brief does not state, as they stand there, each once."""
    invented = (figure.shown for figure in figures_in(text, brief.locale) if not _is_stated(figure, brief.figures))
    return list(dict.fromkeys(invented))


def decimal_mark(locale: str | None) -> Literal[".", ",", ""]:
    """The sign before decimals in a locale, from the Unicode CLDR for the larger languages; "" when it is unknown."""
    if not locale:
        return ""
    language, *rest = locale.replace("_", "-").split("-")
    region = next((part.upper() for part in rest if len(part) == 2), None)
    if region in _REGIONS_WITH_POINT:
        return "."
    if region in _REGIONS_WITH_COMMA:
        return ","
    return "." if language.lower() in _DECIMAL_POINT else ","


def _is_stated(figure: Figure, stated: tuple[Figure, ...]) -> bool:
    allowed = {value for other in stated if _unit_fits(figure.unit, other.unit) for value in other.readings}
    # What the brief writes as one run (a date) may be taken apart, and the other way round.
    parts = {value for other in stated if _unit_fits(figure.unit, other.unit) for value in other.parts}
    if figure.readings & (allowed | parts):
        return True
    return bool(figure.parts) and set(figure.parts) <= allowed | parts


def _unit_fits(unit: str | None, stated: str | None) -> bool:
    return unit is None or unit == stated or (unit != PERCENT and stated is None)


def _read(number: str, mark: str) -> tuple[frozenset[Decimal], tuple[Decimal, ...]]:
    """The values that a run of digits and separators may mean, and its parts where it may be several numbers."""
    spaced = tuple(Decimal(part) for part in number.split(" ") if part.isdigit()) if " " in number else ()
    digits = re.sub("[ '’]", "", number)
    marks = re.findall("[.,]", digits)
    if not marks:
        return frozenset({Decimal(digits)}), spaced
    if len(set(marks)) == 2:
        thousands, last = marks[0], marks[-1]
        if marks.count(last) == 1:
            return frozenset({_value(digits, thousands, last)}), spaced
        return frozenset(), _parts(digits)
    separator, groups = marks[0], digits.split(marks[0])
    grouped = len(groups[0]) <= 3 and groups[0] != "0" and all(len(group) == 3 for group in groups[1:])
    if len(marks) > 1:
        return (frozenset({_value(digits, separator, "")}), ()) if grouped else (frozenset(), _parts(digits))
    readings = set()
    if not grouped or mark in ("", separator):
        readings.add(_value(digits, "", separator))
    if grouped and mark != separator:
        readings.add(_value(digits, separator, ""))
    return frozenset(readings), spaced


def _value(digits: str, thousands: str, mark: str) -> Decimal:
    whole = digits.replace(thousands, "") if thousands else digits
    return Decimal(whole.replace(mark, ".") if mark else whole)


def _parts(digits: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(part) for part in re.split("[.,]", digits))
