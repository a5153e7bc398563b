"""How platforms write numbers, and what is read from them: once in Python with words, once in SQL for speed.

Here: `NumberFormat` of a feed. Not here: days (`day_formats`), which cells are numbers (`metrics`), or what a missing
number means for a row (whoever asks).

The Python parser decides. The SQL expression gives a number only for text that is *plainly* fine, and then the very
same number; NULL means "ask Python", never "wrong". A property test holds the two together.

Decisions:
- A thousands separator stands between groups of three, and the first group does not begin with 0: under "1,234.5" the
  text 1,5 or 0,125 was written with a decimal comma, and reading it as 15 or 125 would be a silent error.
- Written without any thousands separator a number is fine under every format.
- A trailing % divides by 100, in decimal: 4.17% is the double nearest to 0.0417, not 4.17 / 100.
- N/A, -- and - are how platforms write "not measured": missing, never zero.
- Exponents, NaN and infinities are refused: spreadsheets make them of long ids and of overflows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from flywheel_pipelines.feedback.counts import WHOLE_NUMBER, why_no_count
from flywheel_pipelines.feedback.files.cells import AGAIN, CellError
from flywheel_pipelines.spec.feeds import NumberFormat

MISSING = frozenset({"n/a", "--", "-", "–", "—"})
"""How platforms write that there is no number, casefolded."""

BLANKS = " \t\r\n\f\v\u00a0\u200b\ufeff"
"""What is taken off both ends of a cell; spreadsheets pad with no-break spaces and leave byte-order marks behind."""

_SPACES = " \u00a0\u2009\u202f"
"""Space, no-break, thin and narrow no-break space: all of them separate thousands in practice."""
_SIGN = "[+\\-\u2212]?"
_NO_NUMBERS = frozenset({"nan", "inf", "infinity", "null", "none", "na", "#n/a", "#div/0!", "#value!", "#ref!"})


@dataclass(frozen=True)
class _Grammar:
    """The parts of one number format: regular expressions that Python's re and DuckDB's RE2 read alike."""

    decimal: str
    separators: str
    example: str
    count_example: str

    @property
    def whole(self) -> str:
        """Digits of the whole part, grouped or not; 15 digits are what a double holds exactly."""
        if not self.separators:
            return "[0-9]{1,15}"
        return f"(?:[0-9]{{1,15}}|[1-9][0-9]{{0,2}}(?:[{self.separators}][0-9]{{3}}){{1,4}})"

    @property
    def fraction(self) -> str:
        return f"{re.escape(self.decimal)}[0-9]{{1,30}}"


_GRAMMARS: dict[NumberFormat, _Grammar] = {
    "plain": _Grammar(".", "", "1234.5", "1250"),
    "1,234.5": _Grammar(".", ",", "1,234.5", "1,250"),
    "1.234,5": _Grammar(",", ".", "1.234,5", "1.250"),
    "1 234,5": _Grammar(",", _SPACES, "1 234,5", "1 250"),
}


def parse_number(value: str | None, written: NumberFormat = "plain") -> float | None:
    """The number in a cell; None when it is blank or says that nothing was measured (MISSING).

    Args:
        value: the cell.
        written: how the feed writes numbers. A trailing % divides by 100, whatever the format.

    Raises:
        CellError: it is no number in this format.
    """
    text = (value or "").strip(BLANKS)
    if not text or text.casefold() in MISSING:
        return None
    if not _number_pattern(written).fullmatch(text):
        raise CellError(f"{_why_no_number(text, written)}; expected a number such as {_examples(written)}. {AGAIN}")
    is_share = text.endswith("%")
    plain = _plain(text.rstrip("%"), written)
    return float(f"{plain}e-2") if is_share else float(plain)


def parse_count(value: str | None, written: NumberFormat = "plain") -> float | None:
    """The whole, non-negative number in a cell; None as in `parse_number`.

    Raises:
        CellError: it is no count in this format. A share (5%) is none, and neither is 12.5; 12.0 is one.
    """
    text = (value or "").strip(BLANKS)
    if not text or text.casefold() in MISSING:
        return None
    if not _count_pattern(written).fullmatch(text):
        raise CellError(why_no_count(text) if written == "plain" else _why_no_count(text, written))
    return float(_plain(text, written))


def number_sql(text: str, written: NumberFormat = "plain") -> str:
    """A DOUBLE of DuckDB from a text expression: as `parse_number`, or NULL where that is to be asked."""
    grammar = _GRAMMARS[written]
    number = f"{grammar.whole}(?:{re.escape(grammar.decimal)}[0-9]{{1,15}})?"
    plain, share = _plain_sql(text, written), _plain_sql(f"rtrim({text}, '%')", written)
    return (
        f"CASE WHEN regexp_full_match({text}, {_quoted(number)}) THEN CAST({plain} AS DOUBLE) "
        f"WHEN regexp_full_match({text}, {_quoted(number + '%')}) THEN CAST({share} || 'e-2' AS DOUBLE) END"
    )


def count_sql(text: str, written: NumberFormat = "plain") -> str:
    """A DOUBLE of DuckDB from a text expression: as `parse_count`, or NULL where that is to be asked."""
    # Most cells of most files are plain digits; to say so, ltrim and translate take four times as long as RE2.
    digits = f"regexp_full_match({text}, '[0-9]{{1,15}}')"
    if written == "plain":
        return f"CASE WHEN {digits} THEN CAST({text} AS DOUBLE) END"
    return (
        f"CASE WHEN {digits} THEN CAST({text} AS DOUBLE) "
        f"WHEN regexp_full_match({text}, {_quoted(_GRAMMARS[written].whole)}) "
        f"THEN CAST({_plain_sql(text, written)} AS DOUBLE) END"
    )


@cache
def _number_pattern(written: NumberFormat) -> re.Pattern[str]:
    grammar = _GRAMMARS[written]
    return re.compile(
        f"{_SIGN}(?:{grammar.whole}(?:{grammar.fraction}|{re.escape(grammar.decimal)})?|{grammar.fraction})[{_SPACES}]*%?"
    )


@cache
def _count_pattern(written: NumberFormat) -> re.Pattern[str]:
    if written == "plain":
        return re.compile(WHOLE_NUMBER)
    grammar = _GRAMMARS[written]
    return re.compile(f"{grammar.whole}(?:{re.escape(grammar.decimal)}0*)?")


def _plain(text: str, written: NumberFormat) -> str:
    """Text that fits the format, in the digits that `float` reads."""
    grammar = _GRAMMARS[written]
    for separator in (*grammar.separators, *_SPACES):
        text = text.replace(separator, "")
    return text.replace(grammar.decimal, ".").replace("\u2212", "-")


def _plain_sql(text: str, written: NumberFormat) -> str:
    grammar = _GRAMMARS[written]
    if grammar.separators:
        text = f"translate({text}, {_quoted(grammar.separators)}, '')"
    return text if grammar.decimal == "." else f"replace({text}, {_quoted(grammar.decimal)}, '.')"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _examples(written: NumberFormat) -> str:
    grammar = _GRAMMARS[written]
    return f"{grammar.example} or 4{grammar.decimal}17% (the feed's numbers: {written})"


def _why_no_number(text: str, written: NumberFormat) -> str:
    """What a cell that is no number in this format looks like."""
    if text.casefold().lstrip("+-") in _NO_NUMBERS:
        return "not a number"
    if text[0] in "=@" or re.match(r"[+\-][^0-9.,]", text):
        return "a formula or text, not a number"
    if re.fullmatch(r"[+-]?[0-9.,]+[eE][+-]?[0-9]+", text):
        return "written with an exponent, as spreadsheets write long numbers"
    if re.fullmatch(r"[0-9]+:[0-9:.]+", text):
        return "a duration or a time, which is read as no number (leave the column out of the feed's columns)"
    if re.fullmatch(r"\(.+\)|[+-]?[$€£¥].*|.*[$€£¥]", text):
        return "an amount with a currency sign or in brackets"
    if re.fullmatch(r"[+-]?[0-9]{16,}([.,][0-9]*)?%?", text):
        return "too large (more than 15 digits)"
    other = [name for name in _GRAMMARS if name != written and _number_pattern(name).fullmatch(text)]
    if other:
        return f"written as {' or '.join(other)}, while the feed says {written}"
    return "not a number in plain digits"


def _why_no_count(text: str, written: NumberFormat) -> str:
    if _number_pattern(written).fullmatch(text):
        what = "negative" if text[0] in "-\u2212" else "not a whole number"
    else:
        what = _why_no_number(text, written)
    example = _GRAMMARS[written].count_example
    return f"{what}; expected a count such as 0 or {example} (the feed's numbers: {written}). {AGAIN}"
