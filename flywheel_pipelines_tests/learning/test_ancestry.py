"""Generations since human text."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.lake.tables import GENERATED_OUTPUTS
from flywheel_pipelines.learning.ancestry import ancestry
from flywheel_pipelines_tests.lake_samples import rows


def generated(*outputs: dict[str, Any]) -> pa.Table:
    filled = [
        {"producer": "llm", "text": f"text of {one['output_id']}", "prompt_version": "p", **one} for one in outputs
    ]
    return rows(GENERATED_OUTPUTS, filled)


def known(**depths: tuple[int, float]) -> dict[str, dict[str, object]]:
    return {
        one: {"depth": depth, "mean_depth": mean, "text_hash": content_hash(f"text of {one}")}
        for one, (depth, mean) in depths.items()
    }


def depths(
    *outputs: dict[str, Any], of: dict[str, dict[str, object]], shown: dict[str, str] | None = None
) -> list[tuple[int, float]]:
    found = ancestry(generated(*outputs), of, {"p": shown or {}}).to_pylist()
    return [(row["depth"], row["mean_depth"]) for row in found]


def test_what_a_person_wrote_is_generation_zero() -> None:
    assert depths({"output_id": "a", "producer": "archive"}, of={}) == [(0, 0.0)]


def test_what_was_written_without_references_is_the_first_generation() -> None:
    assert depths({"output_id": "a"}, of={}) == [(1, 1.0)]


def test_depth_is_one_more_than_the_deepest_reference_and_mean_depth_than_the_mean() -> None:
    assert depths({"output_id": "c", "reference_ids": ["a", "b"]}, of=known(a=(4, 3.0), b=(1, 1.0))) == [(5, 3.0)]


def test_a_reference_shown_as_it_was_edited_is_human() -> None:
    shown = {"a": "what a person left", "b": "text of b"}
    output = {"output_id": "c", "reference_ids": ["a"]}
    assert depths(output, of=known(a=(4, 3.0)), shown=shown) == [(1, 1.0)]
    assert depths(output, of=known(a=(4, 3.0)), shown={"a": "text of a"}) == [(5, 4.0)]


def test_a_reference_without_ancestry_counts_as_the_first_generation_and_is_counted() -> None:
    found = ancestry(generated({"output_id": "c", "reference_ids": ["lost"]}), {}, {}).to_pylist()[0]
    assert (found["depth"], found["n_unknown"], found["n_references"]) == (2, 1, 1)
