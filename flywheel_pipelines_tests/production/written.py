"""Small cycles of written production for the tests: briefs, outputs, references."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.tables import BRIEFS, GENERATED_OUTPUTS
from flywheel_pipelines.prompt_text import Reference

WEEK = date(2026, 1, 5)


def brief(brief_id: str = "b0", segment: str = "garages", locale: str | None = "en", **fields: Any) -> dict[str, Any]:
    """A row of `briefs`; `title` is a column, everything else a field of its own."""
    title = fields.pop("title", "A brief")
    return {
        "brief_id": brief_id,
        "segment": segment,
        "title": title,
        "locale": locale,
        "fields": json.dumps(fields),
        "n_candidates": 0,
    }


def briefs(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=BRIEFS.schema)


def output(output_id: str, text: str = "Some text.", **values: Any) -> dict[str, Any]:
    """A row of `generated_outputs`."""
    row = {
        "output_id": output_id,
        "brief_id": "b0",
        "segment": "garages",
        "arm": "flywheel",
        "variant": 0,
        "attempt": 1,
        "is_superseded": False,
        "text": text,
        "content": None,
        "producer": "llm",
        "model": "m",
        "request_key": f"key of {output_id}",
        "blocked": None,
        "candidate_id": None,
        "prompt_version": "p",
        "reference_ids": [],
        "predicted": 0.0,
        "rank": 1,
        "n_references_dropped": 0,
    }
    assert values.keys() <= row.keys()
    return {**row, **values}


def outputs(rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=GENERATED_OUTPUTS.schema)


def references(*texts: tuple[str, str]) -> tuple[Reference, ...]:
    """References of (segment, text), best first."""
    return tuple(Reference(f"o{rank}", segment, text, rank) for rank, (segment, text) in enumerate(texts, start=1))
