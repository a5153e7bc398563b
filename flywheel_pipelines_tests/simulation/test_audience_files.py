"""Simulated reports in the form that a feed reads: what is read from them is what was reported."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from flywheel_pipelines.feedback.feeds import read_metrics
from flywheel_pipelines.feedback.feeds.metric_columns import measures_in
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.flywheel import Flywheel
from flywheel_pipelines.paths import RECIPES_DIR
from flywheel_pipelines.simulation.audience import Audience
from flywheel_pipelines.simulation.audience_files import reports_of, split
from flywheel_pipelines.simulation.declared import audience_of
from flywheel_pipelines.simulation.market import World
from flywheel_pipelines.spec import load_spec

MONDAY = date(2026, 1, 5)
AT = datetime(2026, 1, 12, 1, tzinfo=UTC)
OUTPUTS = [f"output{number}" for number in range(30)]


def reported(name: str, folder: Path, world: World = "lively") -> tuple[dict[str, dict[str, float]], Audience]:
    """Totals by output and measure that the feeds of a recipe read from a week's simulated reports."""
    spec = load_spec(RECIPES_DIR / name / "defs.yaml")
    audience = Audience(audience_of(Flywheel(spec, RECIPES_DIR / name)), world=world)
    rows = [{"output_id": one, "brief_id": one, "segment": "all", "text": "Nothing known."} for one in OUTPUTS]
    audience.publish_seen(MONDAY, rows)
    totals: dict[str, dict[str, float]] = {one: {} for one in OUTPUTS}
    for report in reports_of(spec, audience.kind):
        path = folder / f"{report.feed_name}{report.suffix}"
        export = audience.export(MONDAY, report.measures, in_cells=report.in_cells)
        assert report.write(path, export)
        assert b"simulated" in path.read_bytes()
        batch = read_metrics(
            path,
            report.feed,
            measures=measures_in(report.feed, spec),
            outputs=dict.fromkeys(OUTPUTS, MONDAY),
            recorded_at=AT,
            metrics=list(spec.metrics.values()),
        )
        assert bool(batch.problems) == bool(export.broken)
        for row in batch.facts[tables.METRIC_LEDGER].to_pylist():
            of_output = totals[row["output_id"]]
            of_output[row["measure"]] = of_output.get(row["measure"], 0) + row["value"]
    return totals, audience


@pytest.mark.parametrize("name", ["prototypes", "code_suggestions"])
def test_what_feeds_read_is_what_the_audience_did(name: str, tmp_path: Path) -> None:
    totals, audience = reported(name, tmp_path)
    is_whole = [one for one in OUTPUTS if has_everything(totals[one], audience, one)]
    # One row in a hundred arrives damaged, and an output has seven.
    assert len(is_whole) >= 0.6 * len(OUTPUTS)
    assert (tmp_path / "ci.xml").exists() == (name == "prototypes")
    assert (tmp_path / "editor.jsonl").exists() == (name == "code_suggestions")


def has_everything(totals: dict[str, float], audience: Audience, output_id: str) -> bool:
    return all(totals.get(measure) == count for measure, count in audience.settled(output_id).items())


def test_what_nobody_took_is_ignored_and_reported_by_nobody(tmp_path: Path) -> None:
    totals, audience = reported("code_suggestions", tmp_path)
    assert "sessions_ignored" not in audience.kind.measures
    for counts in totals.values():
        assert counts["sessions_ignored"] == counts["sessions_shown"] - counts["sessions_accepted"]
        assert (counts["characters_30s"] > 0) == (counts["sessions_accepted"] > 0)
    shown_rows = (tmp_path / "editor.jsonl").read_text().count('"shown"')
    assert shown_rows > sum(counts["sessions_shown"] for counts in totals.values()), "some were shown twice"


@pytest.mark.parametrize(("whole", "n", "parts"), [(7, 3, [3, 2, 2]), (2, 3, [1, 1, 0]), (0, 2, [0, 0]), (5, 0, [])])
def test_parts_add_up_and_differ_by_one_at_most(whole: int, n: int, parts: list[int]) -> None:
    assert list(split(whole, n)) == parts
