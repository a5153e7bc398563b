"""What came into the reference corpus, what stayed and what left, with the reasons: intervals of validity.

An entry is valid from the cycle whose close put it in up to, but not including, the one whose close took it out. Every
close carries `since` on from the close before, so that a range closed again gives the same bytes, and reads one earlier
close and not all of history. Not here: choosing (`corpus`), or the intervals as a table (the mart
`reference_corpus_history`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.tables import REFERENCE_CHANGES
from flywheel_pipelines.learning.corpus import EDITED, PINNED, Chosen, Fate

ENTERED, KEPT, LEFT = "entered", "kept", "left"


def reference_changes(
    chosen: Chosen, before: pa.Table, changes_before: pa.Table, fates: Mapping[str, Fate], *, cycle: date
) -> pa.Table:
    """The changes of one close against the close before.

    Args:
        chosen: the corpus of this close, and what became of the candidates.
        before: REFERENCE_CORPUS of the close before; empty in the first.
        changes_before: REFERENCE_CHANGES of the close before.
        fates: why outputs that are no candidates any more are none (too old, rejected, withdrawn, banned), by id.
        cycle: the cycle that is closed.

    Returns:
        REFERENCE_CHANGES without partition columns. A reference whose text was edited leaves (text_changed) and
        enters (edited) in one close.
    """
    old = {row["reference_id"]: row for row in before.to_pylist()}
    new = {row["reference_id"]: row for row in chosen.corpus.to_pylist()}
    since = {row["reference_id"]: row["since"] for row in changes_before.to_pylist() if row["change"] != LEFT}
    rows = []
    for one in sorted({*old, *new}):
        was, now = old.get(one), new.get(one)
        began = since.get(one, was["source_cycle"] if was else cycle)
        if was and now and was["text"] == now["text"]:
            rows.append(_row(now, KEPT, None, _stayed(was, now), began, now["rank"], was["rank"]))
            continue
        if was:
            fate = chosen.fates.get(one) or fates.get(one) or Fate("withdrawn", "it is no published output any more")
            if was["reason"] == PINNED and fate.reason == "demoted" and not fate.is_pinned:
                fate = Fate("lifted", f"its pin was lifted: {fate.words}")
            if now:
                fate = Fate("text_changed", "its text is another one by now")
            rows.append(_row(was, LEFT, fate.reason, fate.words, began, None, was["rank"]))
        if now:
            reason, words = _why_in(now, changed=was is not None)
            rows.append(_row(now, ENTERED, reason, words, cycle, now["rank"], None))
    return REFERENCE_CHANGES.conform(pa.Table.from_pylist(rows, schema=REFERENCE_CHANGES.schema))


def _why_in(now: Mapping[str, Any], *, changed: bool) -> tuple[str, str]:
    sure = "unjudged" if now["p_above"] is None else f"{now['p_above']:.0%} sure to beat the floor"
    words = f"quality {now['quality']:+.1%}, {sure}, {now['likeness']:.2f} like the nearest chosen before it"
    if now["reason"] == PINNED:
        return PINNED, f"a person pinned it; {words}"
    if now["by_people"] == EDITED:
        return "edited", f"promoted, with the text as a person edited it; {words}"
    return ("promoted", f"promoted, with the text as it went out; {words}") if changed else ("promoted", words)


def _stayed(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return f"rank {was['rank']} to {now['rank']}, quality {was['quality']:+.1%} to {now['quality']:+.1%}"


def _row(
    entry: Mapping[str, Any],
    change: str,
    reason: str | None,
    words: str,
    since: date,
    rank: int | None,
    was: int | None,
) -> dict[str, Any]:
    kept = {key: entry[key] for key in ("reference_id", "segment", "text", "source_cycle")}
    return {
        **kept, "change": change, "reason": reason, "words": words, "since": since, "rank": rank, "rank_before": was,
    }  # fmt: skip
