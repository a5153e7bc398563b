"""The `scoring` producer: briefs are leads, and an output is a lead's place on the list of those to be handled.

Here: a lead as a text that the scoring model reads, the order of a list, and which of it is handled. Not here: the
prediction itself (`learning`), who belongs to which arm (`arms`), and the file that goes out (`outbox`).

Each arm has a list of its own and handles the same share of it, so conversions per handled lead can be compared. The
flywheel's list is in order of the prediction, but for some places that are drawn, so that the model also hears of leads
that it thinks little of; the control's is in random order. What goes out is a score that follows from the place alone,
and never the prediction: whoever handles leads cannot tell the arms apart.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from flywheel_pipelines.lake.tables import GENERATED_OUTPUTS, PUBLISHED_OUTPUTS
from flywheel_pipelines.production.arms import BEST, CONTROL, DRAWN, EXPLORED, arms_of
from flywheel_pipelines.production.identity import output_id, uniform
from flywheel_pipelines.production.outputs import in_order_of
from flywheel_pipelines.spec import ArmsSpec, Better, ScoringProducer

PRODUCER = "scoring"
Predict = Callable[[pa.Table], np.ndarray]
"""Predictions for rows with text and segment."""


def traits_text(brief: Mapping[str, Any], traits: Sequence[str]) -> str:
    """A lead as the scoring model reads it: a line `name: value` per trait, in order of name; no traits named: all."""
    fields = json.loads(brief["fields"]) if brief["fields"] else {}
    chosen = sorted(name for name in fields if not traits or name in traits)
    lines = [f"{name}: {fields[name]}" for name in chosen]
    return "\n".join(lines) or str(brief["title"])


def score_leads(
    briefs: pa.Table,
    predict: Predict,
    producer: ScoringProducer,
    arms: ArmsSpec,
    *,
    flywheel: str,
    cycle: date,
    prompt_version: str,
    attempt: int = 1,
    number: int = 1,
    better: Better = "higher",
) -> pa.Table:
    """One output per lead (contract `generated_outputs`): its place on its arm's list.

    Args:
        briefs: rows of `briefs`, in any order; together they are one list per arm. Leads that come in after a list
            went out are the next one.
        predict: the pinned scoring model.
        producer: the settings the cycle was opened with.
        arms: the arms it was opened with.
        flywheel: name of the flywheel.
        cycle: the cycle.
        prompt_version: the manifest's; nothing is written with it.
        attempt: how often the cycle was scored on purpose, from 1.
        number: number of the list within the cycle, from 1.
        better: whether higher or lower values of the floor's metric are better.
    """
    leads = sorted(briefs.to_pylist(), key=lambda row: row["brief_id"])
    if not leads:
        return GENERATED_OUTPUTS.empty()
    texts = [traits_text(lead, producer.traits) for lead in leads]
    read = pa.table({"text": texts, "segment": [lead["segment"] for lead in leads]})
    lists: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for lead, text, predicted in zip(leads, texts, predict(read), strict=True):
        [arm] = arms_of(lead["brief_id"], arms, flywheel=flywheel, cycle=cycle)
        variant = f"{arm}-0" if attempt == 1 else f"{arm}-0-{attempt}"
        lists[arm].append(
            {
                "output_id": output_id(flywheel, cycle, lead["brief_id"], variant),
                "brief_id": lead["brief_id"],
                "segment": lead["segment"],
                "arm": arm,
                "variant": 0,
                "attempt": attempt,
                "is_superseded": False,
                "text": text,
                "producer": PRODUCER,
                "prompt_version": prompt_version,
                "reference_ids": [],
                "predicted": float(predicted),
                "n_references_dropped": 0,
            }
        )
    rows = [
        {**row, "rank": place, "content": json.dumps(_content(place, len(ordered), number, producer))}
        for arm, rows in lists.items()
        for ordered in [_in_order(rows, arm, producer, better)]
        for place, row in enumerate(ordered, start=1)
    ]
    return pa.Table.from_pylist(rows, schema=GENERATED_OUTPUTS.schema).sort_by("output_id")


def handled(generated: pa.Table, producer: ScoringProducer) -> pa.Table:
    """The leads that are handled, as rows of `published_outputs`: the first places of every list.

    Their probability is that of being handled: 1 for a place by prediction, for a drawn one the drawn places over the
    leads that they were drawn from. A list that came later changes no earlier one.
    """
    present = [row for row in generated.to_pylist() if not row["is_superseded"]]
    list_of = {row["output_id"]: (row["arm"], json.loads(row["content"])["list"]) for row in present}
    sizes, rows = Counter(list_of.values()), []
    for output in present:
        n_leads = sizes[list_of[output["output_id"]]]
        places, n_drawn = places_of(n_leads, producer)
        if output["rank"] > places:
            continue
        if output["arm"] == CONTROL:
            probability, choice = places / n_leads, DRAWN
        elif output["rank"] > places - n_drawn:
            probability, choice = n_drawn / (n_leads - places + n_drawn), EXPLORED
        else:
            probability, choice = 1.0, BEST
        kept = {name: output[name] for name in ("output_id", "arm", "brief_id", "segment", "text", "predicted")}
        rows.append({**kept, "weight": 1.0, "probability": probability, "choice": choice})
    return pa.Table.from_pylist(rows, schema=PUBLISHED_OUTPUTS.schema)


def places_of(n_leads: int, producer: ScoringProducer) -> tuple[int, int]:
    """How many leads of a list are handled, at least one, and how many of those places are drawn."""
    places = min(n_leads, max(1, round(producer.handled * n_leads)))
    return places, min(round(producer.explore * places), n_leads - places)


def _in_order(rows: list[dict[str, Any]], arm: str, producer: ScoringProducer, better: Better) -> list[dict[str, Any]]:
    """The list: by a draw for the control; else the best predicted, then drawn ones, then the rest."""
    at_random = sorted(rows, key=lambda row: uniform("lead", arm, row["output_id"]))
    if arm == CONTROL:
        return at_random
    places, n_drawn = places_of(len(rows), producer)
    # Equal predictions, as all are before there is a model, stand in the order of the draw.
    by_prediction = sorted(at_random, key=lambda row: in_order_of(row["predicted"], better))
    best, others = by_prediction[: places - n_drawn], by_prediction[places - n_drawn :]
    left = {row["output_id"] for row in others}
    drawn = [row for row in at_random if row["output_id"] in left][:n_drawn]
    taken = {row["output_id"] for row in drawn}
    return [*best, *drawn, *(row for row in others if row["output_id"] not in taken)]


def _content(place: int, n_leads: int, number: int, producer: ScoringProducer) -> dict[str, Any]:
    """What goes out about a lead: a score from 100 down, and its band where it is handled.

    Neither the place nor the length of the list: arms differ in size, and their ends would tell them apart.
    """
    places, _ = places_of(n_leads, producer)
    band = producer.bands[(place - 1) * len(producer.bands) // places] if place <= places else None
    return {"score": round(100 * (n_leads - place + 1) / n_leads), "band": band, "list": number}
