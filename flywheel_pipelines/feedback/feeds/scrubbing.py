"""Personal data taken out of what customers wrote, before anything is stored.

Here: masking texts and counting what was masked. Not here: finding addresses and numbers (`personal_data`). What was
removed is nowhere kept; only its kind stays in its place, and how many of each kind there were.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from flywheel_pipelines.personal_data import personal_data_in

HANDLE, NAME = "handle", "name"
SHORTEST_NAME = 3
"""Letters; shorter parts of names are words of other languages too often."""
_HANDLE = re.compile(r"(?<![\w@/.])[@＠]\w{2,50}")


def scrubbed(text: str, names: Iterable[str] = (), locale: str | None = None) -> tuple[str, Counter[str]]:
    """The text with kinds in brackets where personal data stood, and how many of each kind there were.

    Args:
        text: what a customer wrote.
        names: what the requester is called; whole names and their parts are masked, whatever their case.
        locale: whose way of writing phone numbers counts besides the international one.
    """
    removed: Counter[str] = Counter()
    for one in sorted(personal_data_in(text, locale), key=lambda one: -one.start):
        text = f"{text[: one.start]}[{one.data.kind}]{text[one.end :]}"
        removed[one.data.kind] += 1
    text, n_handles = _HANDLE.subn(f"[{HANDLE}]", text)
    removed[HANDLE] += n_handles
    for name in _parts(names):
        text, n_names = re.subn(rf"(?<!\w){re.escape(name)}(?!\w)", f"[{NAME}]", text, flags=re.IGNORECASE)
        removed[NAME] += n_names
    return text, +removed


def _parts(names: Iterable[str]) -> list[str]:
    """Whole names and their parts, the longest first, so that no part is taken out of a whole."""
    whole = {" ".join(name.split()) for name in names}
    parts = {part.strip(".,") for name in whole for part in name.split()}
    return sorted((one for one in whole | parts if len(one) >= SHORTEST_NAME), key=lambda one: (-len(one), one))
