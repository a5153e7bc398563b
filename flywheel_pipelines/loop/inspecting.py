"""What is looked at between the steps of a cycle, so that a bad one does not poison the next.

Each inspection reads the lake and says what it found: passed, warned or stopped, in words and numbers. Here besides
those of the feeds (`checking`) and of the corpus (`choosing`). Not here: what a finding does to a run
(`components.cycle_checks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import pyarrow as pa

from flywheel_pipelines.cycles import shift_cycle
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import CycleWindow, Lake
from flywheel_pipelines.learning.prompt import references_of
from flywheel_pipelines.llm.ledger import spent
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.loop.opening import opened_with
from flywheel_pipelines.production.arms import CONTROL, arms_of
from flywheel_pipelines.production.manifest import NOTHING_LEARNED
from flywheel_pipelines.production.rendering import PromptTooLongError, estimated_tokens, messages_for

Verdict = Literal["passed", "warned", "stopped"]
BY_CHANCE = 0.01
"""Probability below which an arm that got no brief is no accident of the draw."""


@dataclass(frozen=True)
class Finding:
    """What an inspection found, in words and as numbers by name."""

    verdict: Verdict
    words: str
    numbers: Mapping[str, object] = field(default_factory=dict)


def manifest_complete(flywheel: Flywheel, store: Lake, cycle: date) -> Finding:
    """Whether everything that the manifest of a cycle pins can be found, so that the cycle can be produced again."""
    name = flywheel.name
    manifest = _manifest(store, name, cycle)
    prompts = set(store.read(tables.PROMPT_VERSIONS, name, columns=["prompt_version"])["prompt_version"].to_pylist())
    floors = set(store.read(tables.THRESHOLDS, name, columns=["threshold_version"])["threshold_version"].to_pylist())
    pinned = ("prompt_version", "control_prompt_version", "challenger_prompt_version")
    missing = [
        f"{column} {manifest[column]}" for column in pinned if manifest[column] and manifest[column] not in prompts
    ]
    if manifest["threshold_version"] not in floors:
        missing.append(f"threshold_version {manifest['threshold_version']}")
    before = manifest["predecessor"]
    if before is not None and not store.has(tables.MOMENTUM, name, before):
        missing.append(f"predecessor {before}, which is not closed")
    learned = (manifest["corpus_version"], manifest["scoring_model_version"])
    if before is None and learned != (NOTHING_LEARNED, NOTHING_LEARNED):
        missing.append("predecessor, although something learned was carried in")
    if opened_with(flywheel, manifest).writer is not None and not manifest["model"]:
        missing.append("model")
    numbers = {
        "pinned": {column: manifest[column] for column in (*pinned, "corpus_version", "scoring_model_version")},
        "predecessor": str(before or "none"),
        "missing": len(missing),
    }
    if missing:
        words = (
            f"The manifest pins what cannot be found: {'; '.join(missing)}. Restore the lake's ledgers from a backup"
        )
        return Finding("stopped", f"{words}, or open {cycle} with repin: true to pin what there is now.", numbers)
    return Finding("passed", f"All that cycle {cycle} is produced with is on record.", numbers)


def control_arm(flywheel: Flywheel, store: Lake, cycle: date) -> Finding:
    """Whether the treadmill answers some brief of a cycle: without it nothing tells what the flywheel is worth."""
    name = flywheel.name
    opened = opened_with(flywheel, _manifest(store, name, cycle))
    arms = opened.spec.arms
    briefs = store.read(tables.BRIEFS, name, cycle, columns=["brief_id"])["brief_id"].to_pylist()
    if arms.control == "off":
        return Finding("passed", "arms.control is off: whether the flywheel compounds cannot be known.", {"share": 0.0})
    drawn = {brief for brief in briefs if CONTROL in arms_of(brief, arms, flywheel=name, cycle=cycle)}
    answered = drawn & _answered(store.read(tables.GENERATED_OUTPUTS, name, cycle))
    chance = (1 - float(arms.control)) ** len(briefs)
    numbers = {"briefs": len(briefs), "control_briefs": len(drawn), "control_answered": len(answered)}
    numbers |= {"share_wanted": float(arms.control), "chance_of_none": chance}
    if answered or not briefs:
        return Finding("passed", f"{len(answered)} of {len(briefs)} briefs are answered by the control arm.", numbers)
    if drawn:
        words = f"None of the {len(drawn)} briefs of the control arm has an output that may go out. "
        words += (
            "Look at `blocked` in generated_outputs: guardrails, or answers that failed; then open the cycle again."
        )
        return Finding("stopped", words, numbers)
    words = f"None of {len(briefs)} briefs fell to the control arm, whose share is {arms.control}. "
    if chance >= BY_CHANCE:
        return Finding("warned", words + f"With so few that happens by chance ({chance:.0%} of cycles).", numbers)
    return Finding("stopped", words + f"Chance does not explain that ({chance:.2g}).", numbers)


def budget_kept(flywheel: Flywheel, store: Lake, cycle: date) -> Finding:
    """What the answers of a cycle have cost, against `producer.max_cost_per_cycle` as it was when it was opened."""
    writer = opened_with(flywheel, _manifest(store, flywheel.name, cycle)).writer
    cost = spent(store, flywheel.name, cycle)
    numbers: dict[str, object] = {"cost": "unknown" if cost is None else round(cost, 6)}
    if writer is None or writer.max_cost_per_cycle is None:
        return Finding("passed", "No budget is declared for this cycle.", numbers)
    limit = writer.max_cost_per_cycle
    numbers["budget"] = limit
    if cost is None:
        words = "Some answers have no known price, so that nobody can say whether the budget is kept. Write it below"
        return Finding("warned", f"{words} producer.prices.", numbers)
    numbers["share_of_budget"] = round(cost / limit, 4)
    words = f"Cycle {cycle} has cost ${cost:.2f} of ${limit:.2f}"
    if cost > limit:
        return Finding("stopped", f"{words}: more than producer.max_cost_per_cycle allows.", numbers)
    return Finding("passed", f"{words}.", numbers)


def floor_registered(flywheel: Flywheel, store: Lake, cycles: Sequence[date]) -> Finding:
    """Whether the floor that each cycle was opened with was on record before the first of its measurements."""
    name = flywheel.name
    floors = store.read(tables.THRESHOLDS, name, columns=["threshold_version", "recorded_at"]).to_pylist()
    registered: dict[str, datetime] = {}
    for row in sorted(floors, key=lambda row: row["recorded_at"], reverse=True):
        registered[row["threshold_version"]] = row["recorded_at"]
    late, n_measured = [], 0
    for cycle in cycles:
        if not store.has(tables.CYCLE_MANIFEST, name, cycle):
            continue
        version = _manifest(store, name, cycle)["threshold_version"]
        known = store.read(tables.METRIC_LEDGER, name, cycle, columns=["recorded_at"])["recorded_at"].to_pylist()
        n_measured += bool(known)
        if known and (version not in registered or registered[version] > min(known)):
            late.append((cycle, version, registered.get(version), min(known)))
    numbers = {"cycles": len(cycles), "measured_cycles": n_measured, "floors": len(registered), "late": len(late)}
    if not late:
        words = f"The floor of {n_measured} measured cycle(s) was on record before the first measurement."
        return Finding("passed", words, numbers)
    cycle, version, at, first = late[0]
    more = f" {len(late)} cycles are like this." if len(late) > 1 else ""
    return Finding(
        "stopped",
        f"Cycle {cycle}: its floor {version} was registered at {at or 'no time'}, after its first measurement "
        f"({first}).{more} A floor that is chosen after the fact proves nothing: discard these measurements, or open a "
        "cycle that has none yet.",
        numbers,
    )


def prompt_within_budget(flywheel: Flywheel, store: Lake, cycle: date) -> Finding:
    """Whether the prompt that a close hands over fits `producer.max_prompt_tokens`, on the briefs of its cycle."""
    writer = flywheel.writer
    if writer is None:
        return Finding("passed", "Nothing is written, so that no prompt is sent.")
    frame = store.read(tables.REFRESHED_PROMPT, flywheel.name, cycle)["frame"][0].as_py()
    references = references_of(store.read(tables.REFERENCE_CORPUS, flywheel.name, cycle))
    limit, longest, cut, dropped = writer.max_prompt_tokens, 0, 0, 0
    for brief in store.read(tables.BRIEFS, flywheel.name, cycle).to_pylist():
        try:
            rendered = messages_for(frame, references, brief, max_prompt_tokens=limit)
        except PromptTooLongError as error:
            return Finding("stopped", f"The next cycle could not be written. {error}", {"budget_tokens": limit})
        longest = max(longest, sum(estimated_tokens(message.content) for message in rendered.messages))
        cut, dropped = cut + bool(rendered.n_dropped), max(dropped, rendered.n_dropped)
    numbers = {"budget_tokens": limit, "longest_tokens": longest, "references": len(references)}
    numbers |= {"briefs_without_some": cut, "most_dropped": dropped}
    if cut:
        words = f"For {cut} brief(s) the prompt has no room for all references; up to {dropped} give way. Raise "
        return Finding("warned", words + "producer.max_prompt_tokens, or lower corpus.per_segment.", numbers)
    return Finding("passed", f"The longest prompt takes about {longest:,} of {limit:,} tokens.", numbers)


def lift_not_negative(flywheel: Flywheel, store: Lake, cycle: date) -> Finding:
    """Whether the last `schedule.losing_cycles` cycles all did worse than their control arm."""
    length = flywheel.spec.schedule.losing_cycles
    window = CycleWindow(shift_cycle(cycle, flywheel.spec.cadence, 1 - length), cycle)
    rows = store.read(tables.MOMENTUM, flywheel.name, window, columns=["cycle", "scope", "lift"]).to_pylist()
    lifts = {row["cycle"]: row["lift"] for row in rows if row["scope"] == "cycle" and row["lift"] is not None}
    losing = sum(lift < 0 for lift in lifts.values())
    numbers = {"lifts": {str(one): round(lift, 4) for one, lift in sorted(lifts.items())}, "losing": losing}
    numbers["allowed"] = length - 1
    if losing == length:
        words = f"In each of the last {length} cycles the flywheel did worse than the treadmill. Look at the audit, the"
        return Finding("warned", f"{words} corpus and the prompt; `flywheel audit` says what decided it.", numbers)
    return Finding("passed", f"{losing} of the last {length} cycles did worse than their control arm.", numbers)


def _manifest(store: Lake, flywheel: str, cycle: date) -> dict[str, Any]:
    return store.read(tables.CYCLE_MANIFEST, flywheel, cycle).to_pylist()[0]


def _answered(generated: pa.Table) -> set[str]:
    """Briefs with an output that the control arm may publish."""
    return {
        row["brief_id"]
        for row in generated.select(["brief_id", "arm", "blocked", "is_superseded"]).to_pylist()
        if row["arm"] in (None, CONTROL) and row["blocked"] is None and not row["is_superseded"]
    }
