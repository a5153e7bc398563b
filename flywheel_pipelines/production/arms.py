"""Which of the generated outputs go out, and for which arm.

Here: assignment of briefs to arms and the rows of `published_outputs`. Not here: making, blocking or ranking outputs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.tables import PUBLISHED_OUTPUTS
from flywheel_pipelines.production.identity import uniform
from flywheel_pipelines.spec import ABLATIONS, ArmsSpec

FLYWHEEL, CONTROL, CHALLENGER = "flywheel", "control", "challenger"
NO_REFERENCES, NO_GUIDELINES, NO_SELECTION = ABLATIONS
ARMS = (FLYWHEEL, CONTROL, CHALLENGER, *ABLATIONS)
BEST, EXPLORED, DRAWN, ALL = "best", "explored", "drawn", "all"


def arms_of(brief_id: str, arms: ArmsSpec, *, flywheel: str, cycle: date) -> tuple[str, ...]:
    """The arms that answer a brief: by hash of (flywheel, cycle, brief), so a rerun never reassigns.

    One uniform draw decides. The control takes the low end and the challenger the high end, so that a change of one
    share moves no brief in or out of the other; ablation arms stand above the control, in the order of `ABLATIONS`, and
    take their briefs from the flywheel alone. Within briefs each ablation arm has a draw of its own.
    """
    draw = uniform("arm", flywheel, cycle, brief_id)
    control = 0.0 if arms.control == "off" else arms.control
    is_control, is_challenger = draw < control, draw >= 1 - arms.challenger
    declared = [(arm, arms.ablations[arm]) for arm in ABLATIONS if arm in arms.ablations]
    if arms.comparison == "within_brief":
        switched_off = [arm for arm, share in declared if uniform("arm", flywheel, cycle, brief_id, arm) < share]
        return (
            FLYWHEEL,
            *([CONTROL] if is_control else []),
            *([CHALLENGER] if is_challenger else []),
            *switched_off,
        )
    if is_control or is_challenger:
        return (CONTROL,) if is_control else (CHALLENGER,)
    top = control
    for arm, share in declared:
        top += share
        if draw < top:
            return (arm,)
    return (FLYWHEEL,)


def publish(
    generated: pa.Table,
    arms: ArmsSpec,
    *,
    publish_all: bool,
    flywheel: str,
    cycle: date,
    explore: float = 0.0,
    already: pa.Table | None = None,
) -> pa.Table:
    """Rows of `published_outputs` for one cycle, from rows of `generated_outputs`.

    Only outputs that are neither blocked nor superseded go out; a brief without any publishes nothing (`unanswered`
    counts them). An arm chooses among the outputs that were written for it, and among those written for no arm.

    Flywheel, challenger and ablation arms publish the best-ranked of K candidates with probability 1 - e + e/K and
    each other with e/K, e being `explore`: with probability e one of all K is drawn, and that row says `explored`,
    also where the draw fell on the best. The control, unless it fits all segments, and the arm without selection
    draw one of their K outputs, each with probability 1/K; with `publish_all` all K of the control go out, each
    with weight 1/K, which measures the expected value of that draw without its noise.

    `already` holds what the cycle published before. Where an arm answered a brief with an output of the present
    attempt, those rows stay as they are: completing a run that failed in part only adds briefs.
    """
    present = [row for row in generated.to_pylist() if not row["is_superseded"]]
    kept = _kept(already, {row["output_id"] for row in present})
    by_brief: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in present:
        if row["blocked"] is None:
            by_brief[row["brief_id"]].append(row)
    published = [row for rows in kept.values() for row in rows]
    for brief_id, outputs in by_brief.items():
        for arm in arms_of(brief_id, arms, flywheel=flywheel, cycle=cycle):
            candidates = [row for row in outputs if row["arm"] in (None, arm)]
            if not candidates or (brief_id, arm) in kept:
                continue
            # The first attempt's draws are those from before there were attempts.
            again = [candidates[0]["attempt"]] if candidates[0]["attempt"] > 1 else []
            place = (flywheel, cycle, brief_id, *again)
            if arm == NO_SELECTION or (arm == CONTROL and not arms.pools_segments):
                published.extend(_drawn(candidates, arm, place, publish_all=publish_all))
            else:
                published.append(_chosen(candidates, arm, place, explore))
    return pa.Table.from_pylist(published, schema=PUBLISHED_OUTPUTS.schema)


def unanswered(generated: pa.Table, published: pa.Table) -> dict[str, int]:
    """Per arm, the briefs whose outputs of the present attempt are all blocked. Arms without any are left out."""
    going_out = set(zip(published["brief_id"].to_pylist(), published["arm"].to_pylist(), strict=True))
    answered = {brief for brief, _ in going_out}
    asked = {(row["brief_id"], row["arm"]) for row in generated.to_pylist() if not row["is_superseded"]}
    silent = [arm for brief, arm in asked if ((brief, arm) not in going_out if arm else brief not in answered)]
    # An output written for no arm is first of all the flywheel's, which answers every brief of an archive.
    return dict(sorted(Counter(arm or FLYWHEEL for arm in silent).items()))


def _kept(already: pa.Table | None, present: set[str]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Rows published before that are of the present attempt, by brief and arm."""
    kept: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in already.select(PUBLISHED_OUTPUTS.columns).to_pylist() if already is not None else []:
        if row["output_id"] in present:
            kept[row["brief_id"], row["arm"]].append(row)
    return kept


def _chosen(candidates: Sequence[dict[str, Any]], arm: str, place: Sequence[object], explore: float) -> dict[str, Any]:
    """The learned choice among an arm's candidates, best-ranked or explored."""
    ranked = sorted(candidates, key=lambda row: row["rank"])
    share = explore / len(ranked)
    draw = uniform("explore", *place, arm)
    explored = len(ranked) > 1 and draw < explore
    # A quotient just below 1 may round up to it.
    chosen = ranked[min(int(draw / explore * len(ranked)), len(ranked) - 1)] if explored else ranked[0]
    probability = share if chosen is not ranked[0] else 1 - explore + share
    return _row(chosen, arm, weight=1.0, probability=probability, choice=EXPLORED if explored else BEST)


def _drawn(
    candidates: Sequence[dict[str, Any]], arm: str, place: Sequence[object], *, publish_all: bool
) -> list[dict[str, Any]]:
    """The treadmill's choice: one at random, or all of them by weight."""
    share = 1 / len(candidates)
    if publish_all:
        return [_row(output, arm, weight=share, probability=share, choice=ALL) for output in candidates]
    # Ranks must not leak into the draw, so the outputs stand in the order of their ids.
    by_id = sorted(candidates, key=lambda row: row["output_id"])
    drawn = by_id[int(uniform(arm, *place) * len(by_id))]
    return [_row(drawn, arm, weight=1.0, probability=share, choice=DRAWN)]


def _row(output: dict[str, Any], arm: str, *, weight: float, probability: float, choice: str) -> dict[str, Any]:
    kept = {name: output[name] for name in ("output_id", "brief_id", "segment", "text", "predicted")}
    return {**kept, "arm": arm, "weight": weight, "probability": probability, "choice": choice}
