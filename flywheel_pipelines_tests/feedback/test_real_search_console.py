"""A real export of Search Console's queries, landed: a content team's articles, each for one of the queries."""

from __future__ import annotations

import csv
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.feedback.performance import known_measurements
from flywheel_pipelines.lake import tables
from flywheel_pipelines.spec import FlywheelSpec, parse_spec
from flywheel_pipelines_tests.feedback.metric_world import NAME, WEEKS, Desk, published_lake
from flywheel_pipelines_tests.shared_data import shared_file

ARTICLES = {f"article{number:02}": number for number in range(21)}
LANDED = datetime(2026, 1, 14, tzinfo=UTC)


def content_spec(tmp_path: Path) -> FlywheelSpec:
    """Articles that are measured by their queries, which a file of the team names."""
    queries = {"preset": "search_console_queries", "path": "queries/*"}
    attributes: dict[str, Any] = {
        "name": NAME,
        "start": WEEKS[0].isoformat(),
        "producer": {"kind": "archive"},
        "metrics": {"ctr": {"kind": "rate", "successes": "clicks", "exposure": "impressions"}},
        "floor": {"metric": "ctr", "above": "mean", "min_exposure": 50},
        "feeds": {"queries": queries, "targets": {"kind": "outputs", "path": "targets/*"}},
    }
    return parse_spec(attributes, str(tmp_path))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """The real file, with the range of days it covers in its name, as the preset asks."""
    return Path(
        shutil.copy(shared_file("search_console", "Queries.csv"), tmp_path / "2026-01-05_2026-01-11 Queries.csv")
    )


@pytest.fixture
def asked(export: Path) -> list[dict[str, str]]:
    """Its rows, as Python's own reader gives them."""
    with export.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def desk(tmp_path: Path, asked: list[dict[str, str]]) -> Desk:
    """Where an article was published for each query but the last, whose article nobody wrote."""
    made = Desk(tmp_path, content_spec(tmp_path), published_lake(tmp_path, {0: list(ARTICLES)[: len(asked) - 1]}))
    rows = [f'article{number:02},"{row["Top queries"]}"' for number, row in enumerate(asked[:-1])]
    made.land("output_id,external_id", *rows, feed="targets", name="targets.csv", at=LANDED)
    return made


def test_every_query_is_counted_for_its_article(desk: Desk, export: Path, asked: list[dict[str, str]]) -> None:
    batch = land_file(desk.lake, desk.spec, "queries", export, recorded_at=LANDED)[0]
    ledger = desk.lake.read(tables.METRIC_LEDGER, NAME, WEEKS[0])
    replaced = desk.lake.read(tables.METRIC_REPLACEMENTS, NAME, WEEKS[0])
    found = {
        (row["output_id"], row["measure"]): row["value"] for row in known_measurements(ledger, replaced).to_pylist()
    }
    expected = {}
    for number, row in enumerate(asked[:-1]):
        expected[f"article{number:02}", "clicks"] = float(row["Clicks"])
        expected[f"article{number:02}", "impressions"] = float(row["Impressions"])
    assert found == expected
    assert found["article00", "clicks"] / found["article00", "impressions"] == pytest.approx(0.0417, abs=0.00005)
    assert desk.header(batch)["n_unmatched"] == 1


def test_the_query_that_nobody_wrote_for_waits_with_its_reason(desk: Desk, export: Path) -> None:
    land_file(desk.lake, desk.spec, "queries", export, recorded_at=LANDED)
    assert desk.aside() == [(21, "Top queries", "unmatched")]


def test_the_same_export_again_changes_nothing(desk: Desk, export: Path) -> None:
    land_file(desk.lake, desk.spec, "queries", export, recorded_at=LANDED)
    before = desk.ledger()
    assert len(before) == 40
    land_file(desk.lake, desk.spec, "queries", export, recorded_at=LANDED.replace(day=20))
    assert desk.ledger() == before


def test_the_days_are_those_of_the_name(desk: Desk, export: Path) -> None:
    land_file(desk.lake, desk.spec, "queries", export, recorded_at=LANDED)
    assert {row["measured_on"] for row in desk.ledger()} <= {date(2026, 1, day) for day in range(5, 12)}
