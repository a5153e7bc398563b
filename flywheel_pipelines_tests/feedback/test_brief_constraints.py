"""Constraints that a brief brings: one that cannot be read is put aside at the door, the others land."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from flywheel_pipelines.cycles import Cadence
from flywheel_pipelines.feedback.feeds import FeedBatch, read_briefs
from flywheel_pipelines.lake.tables import BRIEF_LEDGER
from flywheel_pipelines.spec import ConstraintsSpec, FeedSpec

FEED = FeedSpec(kind="briefs", path="wishes/*.jsonl")
OWN = ConstraintsSpec.model_validate({"of_brief": {}})
GOOD = {
    "constraints": {"light": "kb <= 100"},
    "goals": {"few": "1 - n / 3"},
    "schema": {"properties": {"n": {"maximum": 3}}},
}


def read(path: Path, *wishes: dict[str, Any], constraints: ConstraintsSpec | None = OWN) -> FeedBatch:
    lines = [json.dumps({"brief_id": f"b{n}", "date": "2026-01-05", **wish}) for n, wish in enumerate(wishes)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_briefs(
        path,
        FEED,
        flywheel="designs",
        cadence=Cadence.WEEKLY,
        recorded_at=datetime(2026, 1, 5, tzinfo=UTC),
        constraints=constraints,
    )


def test_constraints_that_can_be_read_land(tmp_path: Path) -> None:
    batch = read(tmp_path / "w.jsonl", GOOD)
    [row] = batch.facts[BRIEF_LEDGER].to_pylist()
    assert row["cycle"] == date(2026, 1, 5)
    assert json.loads(row["fields"])["constraints.light"] == "kb <= 100"


def test_those_that_cannot_are_put_aside_with_the_entry_and_what_is_wrong(tmp_path: Path) -> None:
    bad = [
        {"constraints": {"light": "open('x')"}},
        {"goals": {"few": "1 -"}},
        {"schema": {"type": "many"}},
        {"constraints": '["kb <= 100"]'},
    ]
    batch = read(tmp_path / "w.jsonl", GOOD, *bad)
    assert [row["brief_id"] for row in batch.facts[BRIEF_LEDGER].to_pylist()] == ["b0"]
    found = [(problem.source_row, problem.field, problem.reason) for problem in batch.problems]
    assert [one[:2] for one in found] == [
        (2, "constraints.light"), (3, "goals.few"), (4, "schema"), (5, "constraints"),
    ]  # fmt: skip
    for (_, _, reason), said in zip(
        found, ["calls open", "is no expression", "no JSON Schema", "an object"], strict=True
    ):
        assert said in reason
        assert "hand the file in again" in reason


def test_a_flywheel_that_asks_for_none_takes_them_as_they_are(tmp_path: Path) -> None:
    batch = read(tmp_path / "w.jsonl", {"constraints": {"light": "open('x')"}}, constraints=None)
    assert batch.problems == ()


def test_only_the_headers_that_a_feed_names_become_fields(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text("brief_id,date,topic,session\nb1,2026-01-05,dogs,s1\n", encoding="utf-8")
    how: dict[str, Any] = {"flywheel": "f", "cadence": Cadence.WEEKLY, "recorded_at": datetime(2026, 1, 5, tzinfo=UTC)}
    chosen = read_briefs(path, FeedSpec(kind="briefs", path="*", fields=["topic"]), **how)
    everything = read_briefs(path, FeedSpec(kind="briefs", path="*"), **how)
    fields = [json.loads(batch.facts[BRIEF_LEDGER].to_pylist()[0]["fields"]) for batch in (chosen, everything)]
    assert fields == [{"topic": "dogs"}, {"topic": "dogs", "session": "s1"}]
