"""Closing a cycle of an insight flywheel: the library as it leaves it, trends, and effects of fixes.

Every table is a pure function of the ledgers and of `ticket_themes`, so a correction or a ruling is followed by closing
the cycles again. Not here: sorting (`sorting`), the page for people (`report.themes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from flywheel_pipelines.cycles import Cadence, cycle_of, cycle_range, shift_cycle
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.learning.themes.fixes import FixSettings, fix_effect
from flywheel_pipelines.learning.themes.library import current_id, learned, ruled
from flywheel_pipelines.learning.themes.records import Event, Theme
from flywheel_pipelines.learning.themes.trends import TrendSettings, trends
from flywheel_pipelines.loop.insight.measuring import measure_learning
from flywheel_pipelines.loop.insight.sorting import turn_of
from flywheel_pipelines.loop.insight.state import rulings_up_to, settings_of, themes_in, vectors_for
from flywheel_pipelines.loop.recorder import Recorder, Shown
from flywheel_pipelines.spec import InsightSpec

FIX_SETTINGS = FixSettings()


def keep_library(spec: InsightSpec, recorder: Recorder, cycles: Sequence[date]) -> Shown:
    """`theme_library` and `theme_events`."""
    store, settings = recorder.store, settings_of(spec)
    shown: Shown = {}
    for cycle in cycles:
        before = shift_cycle(cycle, spec.cadence, -1)
        earlier, _ = ruled(themes_in(store, spec, before), rulings_up_to(store, spec, before), settings)
        turn = turn_of(store, spec, cycle)
        themes, happened = learned(earlier, turn, vectors_for(store, spec, cycle), settings, cycle)
        themes, decided = ruled(themes, rulings_up_to(store, spec, cycle), settings)
        events = [*happened, *decided]
        read = [(tables.TICKET_THEMES, cycle), (tables.THEME_CANDIDATES, cycle), (tables.REVIEWS, cycle)]
        read += [(tables.THEME_LIBRARY, before)] if cycle > spec.start else []
        recorder.write(tables.THEME_EVENTS, _events(events), cycle, read)
        recorder.write(tables.THEME_LIBRARY, _library(themes), cycle, read)
        shown = {
            status: sum(one.status == status for one in themes) for status in ("accepted", "candidate", "rejected")
        }
    return shown


def follow_trends(spec: InsightSpec, recorder: Recorder, cycles: Sequence[date]) -> Shown:
    """`theme_trends`: shares, and what moves."""
    store = recorder.store
    shown: Shown = {}
    for cycle in cycles:
        window = _window(spec, cycle, spec.trends.reference)
        themes, counts, totals = counted(store, spec, window)
        settings = TrendSettings(
            reference_cycles=spec.trends.reference, false_discoveries=spec.trends.false_discoveries
        )
        found = trends(counts, totals, settings) if themes else []
        rows = [
            {
                "theme_id": theme.theme_id, "name": theme.name, "status": theme.status, "n_tickets": one.n_tickets,
                "n_all": int(totals[-1].sum()), "share": one.share, "share_low": one.share_low,
                "share_high": one.share_high, "expected": one.expected, "ratio": one.ratio, "p_value": one.p_value,
                "q_value": one.q_value, "movement": one.movement, "is_new": theme.founded == cycle,
            }
            for theme, one in zip(themes, found, strict=True)
        ]  # fmt: skip
        read = [(tables.THEME_LIBRARY, cycle), *_partitions(store, spec, window)]
        table = pa.Table.from_pylist(rows, schema=tables.THEME_TRENDS.schema)
        recorder.write(tables.THEME_TRENDS, table, cycle, read)
        shown = {word: [row["name"] for row in rows if row["movement"] == word] for word in ("emerging", "growing")}
    return shown


def judge_fixes(spec: InsightSpec, recorder: Recorder, cycles: Sequence[date]) -> Shown:
    """`fix_effects`: every fix that has shipped, as it is known in the cycle."""
    store = recorder.store
    shown: Shown = {}
    reach = FIX_SETTINGS.cycles_before + FIX_SETTINGS.cycles_after + 1
    for cycle in cycles:
        window = _window(spec, cycle, reach)
        fixes = _fixes(store, spec, window)
        themes, counts, _ = counted(store, spec, window)
        by_cycle = counts.sum(axis=2)
        homes = [_home(row["theme"], themes, themes_in(store, spec, cycle)) for row in fixes]
        rows = []
        for row, home in zip(fixes, homes, strict=True):
            others = frozenset(one for one in homes if one is not None and one != home)
            rows.append(_effect(spec, row, home, themes, by_cycle, window, others))
        read = [(tables.THEME_LIBRARY, cycle), *_partitions(store, spec, window)]
        # Also where none has shipped: one that becomes known later is noticed by that.
        read += [(tables.SHIPPED_FIXES, one) for one in _cycles(spec, window)]
        recorder.write(tables.FIX_EFFECTS, pa.Table.from_pylist(rows, schema=tables.FIX_EFFECTS.schema), cycle, read)
        shown = {row["what"]: row["verdict"] for row in rows}
    return shown


def counted(store: Lake, spec: InsightSpec, window: CycleWindow) -> tuple[list[Theme], np.ndarray, np.ndarray]:
    """Themes in force at the end of a window, their tickets by cycle and weekday, and all tickets.

    A ticket counts in the cycle in which it was written, for the theme that took it last, merges followed.
    """
    assert window.last is not None
    cycles = _cycles(spec, window)
    known = {theme.theme_id: theme for theme in themes_in(store, spec, window.last)}
    themes = [theme for theme in known.values() if theme.status in ("candidate", "accepted")]
    places, numbers = (
        {theme.theme_id: at for at, theme in enumerate(themes)},
        {one: at for at, one in enumerate(cycles)},
    )
    last = {row["ticket_id"]: row for row in store.read(tables.TICKET_THEMES, spec.name, window).to_pylist()}
    counts, totals = np.zeros((len(themes), len(cycles), 7)), np.zeros((len(cycles), 7))
    for row in last.values():
        number = numbers.get(row["ticket_cycle"])
        if number is None:
            continue
        weekday = row["written_on"].weekday() if spec.cadence is not Cadence.DAILY else 0
        totals[number, weekday] += 1
        home = current_id(row["theme_id"], known)
        if home in places:
            counts[places[home], number, weekday] += 1
    return themes, counts, totals


def _window(spec: InsightSpec, cycle: date, length: int) -> CycleWindow:
    return CycleWindow(max(spec.start, shift_cycle(cycle, spec.cadence, -length)), cycle)


def _cycles(spec: InsightSpec, window: CycleWindow) -> list[date]:
    assert window.first is not None and window.last is not None
    return list(cycle_range(window.first, window.last, spec.cadence))


def _partitions(store: Lake, spec: InsightSpec, window: CycleWindow) -> list[tuple[tables.TableContract, date]]:
    return [(tables.TICKET_THEMES, one) for one in store.cycles(tables.TICKET_THEMES, spec.name) if one in window]


def _fixes(store: Lake, spec: InsightSpec, window: CycleWindow) -> list[dict[str, Any]]:
    """The latest word on every fix that shipped in the window."""
    rows = store.read(tables.SHIPPED_FIXES, spec.name, window).to_pylist()
    latest = {row["fix_id"]: row for row in sorted(rows, key=lambda row: (row["recorded_at"], row["source_row"]))}
    return [row for _, row in sorted(latest.items())]


def _home(named: str, themes: Sequence[Theme], everyone: Sequence[Theme]) -> int | None:
    """The place of the theme that a fix names, by id or by name."""
    known = {theme.theme_id: theme for theme in everyone}
    ids = [theme.theme_id for theme in everyone if named.casefold() in (theme.theme_id, theme.name.casefold())]
    homes = {current_id(one, known) for one in ids}
    return next((at for at, theme in enumerate(themes) if theme.theme_id in homes), None)


def _effect(
    spec: InsightSpec,
    row: dict[str, object],
    home: int | None,
    themes: Sequence[Theme],
    counts: np.ndarray,
    window: CycleWindow,
    others: frozenset[int],
) -> dict[str, object]:
    shipped_on = row["shipped_on"]
    assert isinstance(shipped_on, date)
    told: dict[str, object] = {name: row[name] for name in ("fix_id", "shipped_on", "theme", "what")}
    nothing = dict.fromkeys(("ratio", "low", "high")) | dict.fromkeys(
        ("n_before", "n_after", "n_controls", "cycles_after"), 0
    )
    if home is None:
        reason = f"No theme in force is called {row['theme']!r}; name it by an id or a name of theme_library."
        return {**told, **nothing, "theme_id": None, "verdict": "no evidence", "reason": reason}
    cycles = _cycles(spec, window)
    found = fix_effect(
        counts, home, cycles.index(cycle_of(shipped_on, spec.cadence)), FIX_SETTINGS, not_controls=others
    )
    names = ("verdict", "ratio", "low", "high", "n_before", "n_after", "n_controls", "cycles_after", "reason")
    return {**told, "theme_id": themes[home].theme_id, **{name: getattr(found, name) for name in names}}


def _library(themes: Sequence[Theme]) -> pa.Table:
    names = (
        "theme_id", "founded", "status", "name", "summary", "coherence", "n_tickets", "merged_into", "parent_id",
        "last_seen",
    )  # fmt: skip
    rows = [
        {name: getattr(theme, name) for name in names}
        | {
            "example_ids": [one.ticket_id for one in theme.examples],
            "examples": [one.text for one in theme.examples],
        }
        for theme in themes
    ]
    return pa.Table.from_pylist(rows, schema=tables.THEME_LIBRARY.schema)


def _events(events: Sequence[Event]) -> pa.Table:
    rows = [
        {
            "event_number": number, "event": one.event, "theme_id": one.theme_id, "other_id": one.other_id,
            "detail": one.detail,
        }
        for number, one in enumerate(events, start=1)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=tables.THEME_EVENTS.schema)


def close_cycles(spec: InsightSpec, recorder: Recorder, cycles: Sequence[date]) -> None:
    """Every step of closing, for a range of cycles in order."""
    keep_library(spec, recorder, cycles)
    follow_trends(spec, recorder, cycles)
    judge_fixes(spec, recorder, cycles)
    measure_learning(spec, recorder, cycles)
