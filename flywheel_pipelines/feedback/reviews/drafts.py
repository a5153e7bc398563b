"""The drafts that reviews are about: what was published under an id, and whether it still counts.

Not here: what a review says of them (`feedback.feeds.reviews`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.lake.tables import GENERATED_OUTPUTS, PUBLISHED_OUTPUTS, THEME_CANDIDATES


@dataclass(frozen=True)
class Draft:
    """One output as it went out; `is_superseded` when a later attempt took its place."""

    output_id: str
    cycle: date
    text: str
    is_superseded: bool = False

    @property
    def hash(self) -> str:
        """What a sheet keeps of the text, to notice later that it has changed."""
        return draft_hash(self.text)


def draft_hash(text: str) -> str:
    """16 characters that begin with a letter: spreadsheets turn what looks like a number into another one."""
    return f"h{content_hash('draft', text)[:15]}"


def is_same_text(first: str, second: str) -> bool:
    """Whether two texts are one to a reader: alike but for how lines end, blanks there, and around the whole."""
    return first == second or _lines(first) == _lines(second)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def find_drafts(lake: Lake, flywheel: str, output_ids: Collection[str]) -> dict[str, Draft]:
    """The drafts of these ids; ids of nothing that was ever published are left out.

    Texts are read only for the cycles that have one of the ids, so that a sheet costs what it holds and not what the
    history holds.
    """
    published = lake.read(PUBLISHED_OUTPUTS, flywheel, columns=["cycle", "output_id"])
    cycles = _cycles_with(published, output_ids)
    found: dict[str, Draft] = {}
    for cycle in cycles:
        rows = lake.read(PUBLISHED_OUTPUTS, flywheel, cycle, columns=["output_id", "text"])
        texts = zip(rows["output_id"].to_pylist(), rows["text"].to_pylist(), strict=True)
        found |= {name: Draft(name, cycle, text) for name, text in texts if name in output_ids}
    missing = set(output_ids) - found.keys()
    if not missing:
        return found
    return found | _superseded(lake, flywheel, missing) | _themes(lake, flywheel, missing)


def theme_draft(name: str, summary: str) -> str:
    """A theme as people review it: its name in the first line, what customers say below."""
    return f"{name}\n{summary}"


def _themes(lake: Lake, flywheel: str, theme_ids: Collection[str]) -> dict[str, Draft]:
    """Themes of an insight flywheel, which are reviewed as outputs are, in the words that the model gave them."""
    rows = lake.read(THEME_CANDIDATES, flywheel, columns=["cycle", "theme_id", "name", "summary"]).to_pylist()
    return {
        row["theme_id"]: Draft(row["theme_id"], row["cycle"], theme_draft(row["name"], row["summary"]))
        for row in rows
        if row["theme_id"] in theme_ids
    }


def _superseded(lake: Lake, flywheel: str, output_ids: Collection[str]) -> dict[str, Draft]:
    columns = ["cycle", "output_id", "is_superseded"]
    cycles = _cycles_with(lake.read(GENERATED_OUTPUTS, flywheel, columns=columns), output_ids)
    return {
        row["output_id"]: Draft(row["output_id"], cycle, row["text"], is_superseded=True)
        for cycle in cycles
        for row in lake.read(GENERATED_OUTPUTS, flywheel, cycle, columns=[*columns, "text"]).to_pylist()
        if row["is_superseded"] and row["output_id"] in output_ids
    }


def _cycles_with(rows: pa.Table, output_ids: Collection[str]) -> list[date]:
    # With its type: of no ids at all, as of a file without one readable row, Arrow cannot tell.
    wanted = pa.array(list(output_ids), pa.string())
    return sorted(set(rows.filter(pc.field("output_id").isin(wanted))["cycle"].to_pylist()))
