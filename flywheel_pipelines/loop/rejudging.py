"""Judging cycles again by another threshold than the one they were opened with, because a person asked for it.

Here: registering the threshold, and the fact that it judges these cycles from now on. Not here: closing them again
(`closing`), what that would change (`restating`), or what a threshold is (`learning.thresholds`).

The manifest keeps what the cycle was opened with. The ledger `rejudgements` says who judges it since, and a close reads
both, so that closing again, also everything from nothing, comes to the same judgements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from flywheel_pipelines.cycles import shift_cycle
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.learning.thresholds import floor_rule, judged_by, register_threshold, rejudge
from flywheel_pipelines.spec import FlywheelSpec


@dataclass(frozen=True)
class Rejudged:
    """What a person's wish came to.

    Attributes:
        version: the threshold that judges from now on.
        cycles: the cycles that it did not judge before, in order.
        closing: the cycles to close again: from the first of these to the newest closed one, since corpora and prompts
            carry over.
    """

    version: str
    cycles: tuple[date, ...]
    closing: tuple[date, ...]


def rejudge_cycles(
    spec: FlywheelSpec, store: Lake, cycles: Sequence[date], version: str | None, now: datetime
) -> Rejudged:
    """Have closed cycles judged by a threshold; what it judges already is left as it is.

    Args:
        spec: the flywheel.
        store: the lake that the wish is recorded in.
        cycles: closed cycles; none: all of them.
        version: a registered threshold; None: the floor as the YAML has it, which is registered if it was not yet, in
            force from the cycle after the newest opened one.
        now: when the person asked.

    Raises:
        FlywheelError: the version was never registered.
    """
    closed = store.cycles(tables.MOMENTUM, spec.name)
    chosen = sorted(cycles or closed)
    if version is None:
        newest = max(store.cycles(tables.CYCLE_MANIFEST, spec.name), default=spec.start)
        threshold = register_threshold(spec.floor, spec.directions, shift_cycle(newest, spec.cadence, 1), now)
        store.append_batch(spec.name, threshold.header, {tables.THRESHOLDS: threshold.rows})
        version = threshold.version
    floor_rule(store.read(tables.THRESHOLDS, spec.name), version)
    present = {cycle: _judge_of(spec, store, cycle) for cycle in chosen}
    replaced = {cycle: before for cycle, before in present.items() if before != version}
    if not replaced:
        return Rejudged(version, (), ())
    header, rows = rejudge(spec.name, version, replaced, now)
    store.append_batch(spec.name, header, {tables.REJUDGEMENTS: rows})
    first = last = min(replaced)
    closing = [first]
    while (last := shift_cycle(last, spec.cadence, 1)) in closed:
        closing.append(last)
    return Rejudged(version, tuple(sorted(replaced)), tuple(closing))


def _judge_of(spec: FlywheelSpec, store: Lake, cycle: date) -> str:
    manifest = store.read(tables.CYCLE_MANIFEST, spec.name, cycle, columns=["threshold_version"])
    pinned = str(manifest["threshold_version"][0].as_py())
    return judged_by(store.read(tables.REJUDGEMENTS, spec.name, cycle), pinned)
