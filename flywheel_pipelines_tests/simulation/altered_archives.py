"""Archives with a lie in them, for controls: later clicks turned round, or texts handed out anew."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from datetime import date

import numpy as np
import pyarrow as pa

from flywheel_pipelines.feedback.archive import ArchiveBatch


def with_column(table: pa.Table, name: str, values: list) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))


def falsified(archive: ArchiveBatch, since: date) -> ArchiveBatch:
    """From a week on, the best candidate of a brief gets the rate of the worst, the second best of the second worst."""
    rows = archive.measurements.to_pylist()
    briefs = defaultdict(list)
    for row in rows:
        if row["cycle"] >= since:
            briefs[row["brief_id"]].append(row)
    for brief in briefs.values():
        rates = sorted(row["successes"] / row["exposure"] for row in brief)
        ordered = sorted(brief, key=lambda row: row["successes"] / row["exposure"], reverse=True)
        for row, rate in zip(ordered, rates, strict=True):
            row["successes"] = round(rate * row["exposure"])
    return dataclasses.replace(
        archive, measurements=with_column(archive.measurements, "successes", [row["successes"] for row in rows])
    )


def shuffled_texts(archive: ArchiveBatch, seed: int = 0) -> ArchiveBatch:
    """The same outcomes, with the texts of each brief handed out at random among its candidates."""
    rng = np.random.default_rng(seed)
    rows = archive.candidates.to_pylist()
    briefs = defaultdict(list)
    for row in rows:
        briefs[row["brief_id"]].append(row)
    for brief in briefs.values():
        texts = rng.permutation([row["text"] for row in brief])
        for row, text in zip(brief, texts, strict=True):
            row["text"] = str(text)
    return dataclasses.replace(
        archive, candidates=with_column(archive.candidates, "text", [row["text"] for row in rows])
    )
