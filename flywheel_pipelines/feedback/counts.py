"""What a count looks like in a file, and the sentence about a cell that is none.

Not here: which cells are counts (`archive`, `feeds`), or reading cells (`files`).
"""

from __future__ import annotations

import re

WHOLE_NUMBER = r"[0-9]{1,15}(\.0*)?"
"""Plain digits; spreadsheets write a whole count as 12.0 wherever its column once held a gap."""

_NO_NUMBERS = frozenset({"nan", "inf", "infinity", "null", "none", "na", "n/a"})


def why_no_count(found: str | None) -> str:
    """What is wrong with a cell that does not match WHOLE_NUMBER, and what was expected."""
    if not found:
        what = "empty"
    elif found.casefold().lstrip("+-") in _NO_NUMBERS:
        what = "not a number"
    elif re.fullmatch(r"-[0-9.,]+", found):
        what = "negative"
    elif re.fullmatch(r"\+?[0-9]*[.,][0-9]+", found):
        what = "not a whole number (a decimal or thousands separator)"
    elif re.fullmatch(r"[0-9]{16,}", found) or re.fullmatch(r"\+?[0-9.]+[eE]\+?[0-9]{2,}", found):
        what = "too large, or not written in plain digits"
    else:
        what = "not a number in plain digits"
    return f"{what}; expected a count such as 0 or 1250. Correct the row and hand the file in again."
