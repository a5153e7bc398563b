"""Registering a floor: a fact with a version of its own, recorded once, read back as the rule it was."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import THRESHOLDS
from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.learning.thresholds import RegisteredThreshold, floor_rule, register_threshold
from flywheel_pipelines.spec import FloorSpec

WEEK = date(2026, 1, 5)
NOW = datetime(2026, 1, 5, tzinfo=UTC)
FLOOR = FloorSpec(metric="ctr", above="control", min_exposure=100, confidence=0.9)


def register(
    floor: FloorSpec = FLOOR, better: Literal["higher", "lower"] = "higher", weeks: int = 0
) -> RegisteredThreshold:
    later = timedelta(weeks=weeks)
    return register_threshold(floor, {floor.metric: better}, WEEK + later, NOW + later)


def append(lake: Lake, threshold: RegisteredThreshold) -> bool:
    return lake.append_batch("news", threshold.header, {THRESHOLDS: threshold.rows})


FLOORS = [
    (FLOOR, "higher"),
    (FloorSpec(metric="ctr", above=0.03, min_exposure=1, confidence=0.6), "lower"),
    (FloorSpec(metric="ctr", above="mean", min_exposure=30), "higher"),
    (FloorSpec(metric="ctr", above="quantile", quantile=0.6, min_exposure=30), "higher"),
    (FloorSpec(metric="ctr", above="off", min_exposure=30), "higher"),
]


@pytest.mark.parametrize(("floor", "better"), FLOORS)
def test_a_registered_floor_is_read_back_as_the_rule_it_was(
    floor: FloorSpec, better: Literal["higher", "lower"]
) -> None:
    threshold = register(floor, better)
    rule = floor_rule(threshold.rows, threshold.version)
    expected = FloorRule(floor.metric, floor.above, floor.min_exposure, floor.confidence, better=better)
    assert (rule.metric, rule.above, rule.min_exposure) == (expected.metric, expected.above, expected.min_exposure)
    assert (rule.confidence, rule.better) == (expected.confidence, better)
    assert floor.quantile is None or rule.quantile == floor.quantile


def test_rules_that_differ_have_versions_that_differ() -> None:
    versions = {register(floor, better).version for floor, better in FLOORS}  # type: ignore[arg-type]
    assert len(versions) == len(FLOORS)


def test_the_version_is_the_rules_and_not_the_days() -> None:
    assert register().version == register(weeks=3).version


def test_the_same_rule_registered_again_keeps_its_first_date(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert append(lake, register())
    assert not append(lake, register(weeks=3))
    rows = lake.read(THRESHOLDS, "news").to_pylist()
    assert [(row["effective_from"], row["recorded_at"]) for row in rows] == [(WEEK, NOW)]


def test_a_changed_rule_stands_beside_the_old_one(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    changed = FLOOR.model_copy(update={"confidence": 0.95})
    old, new = register(), register(changed, weeks=1)
    append(lake, old)
    append(lake, new)
    kept = lake.read(THRESHOLDS, "news")
    assert floor_rule(kept, old.version).confidence == 0.9
    assert floor_rule(kept, new.version).confidence == 0.95


def test_a_version_nobody_registered_is_refused_with_what_to_do() -> None:
    with pytest.raises(FlywheelError, match=r"feedface is not in the ledger.*open the cycle again"):
        floor_rule(register().rows, "feedface")
