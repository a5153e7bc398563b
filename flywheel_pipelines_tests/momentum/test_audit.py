"""Seven questions, each with evidence that passes and evidence that fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flywheel_pipelines.lake.tables import AUDIT
from flywheel_pipelines.momentum.audit import Evidence, audit, verdict, verdict_words

REGISTERED = datetime(2026, 1, 5, tzinfo=UTC)

SOUND = Evidence(
    n_generated=200,
    n_categorised=200,
    n_published_mature=100,
    n_tracked=95,
    n_references=24,
    n_references_proven=24,
    n_prompt_refreshes=12,
    n_prompt_versions=9,
    longest_refresh_gap_days=7.0,
    n_measured=190,
    feedback_lag_days=2.0,
    threshold_recorded_at=REGISTERED,
    first_metric_recorded_at=REGISTERED + timedelta(hours=36),
    lift_lower=0.05,
    skill_lower=0.08,
)


def item(evidence: Evidence, number: int) -> dict:
    return audit(evidence).to_pylist()[number - 1]


@pytest.mark.parametrize(
    ("number", "decided_by"), [(1, 1.0), (2, 0.95), (3, 1.0), (4, 7.0), (5, 2.0), (6, 36.0), (7, 0.05)]
)
def test_sound_evidence_passes_and_shows_its_number(number: int, decided_by: float):
    row = item(SOUND, number)
    assert row["passed"]
    assert row["number"] == pytest.approx(decided_by)


@pytest.mark.parametrize(
    ("number", "flaw", "decided_by"),
    [
        (1, {"n_categorised": 150}, 0.75),
        (2, {"n_tracked": 40}, 0.4),
        (3, {"n_references_proven": 23}, 23 / 24),
        (4, {"longest_refresh_gap_days": 42.0}, 42.0),
        (4, {"n_prompt_versions": 1}, 7.0),
        (5, {"feedback_lag_days": 60.0}, 60.0),
        (6, {"first_metric_recorded_at": REGISTERED - timedelta(hours=3)}, -3.0),
        (6, {"first_metric_recorded_at": REGISTERED}, 0.0),
        (7, {"lift_lower": -0.01, "skill_lower": None}, -0.01),
        (7, {"lift_lower": -0.01, "skill_lower": -0.2}, -0.01),
        (7, {"lift_lower": None, "skill_lower": -0.2}, -0.2),
    ],
)
def test_a_flaw_fails_its_own_item_and_no_other(number: int, flaw: dict, decided_by: float):
    rows = audit(replace(SOUND, **flaw)).to_pylist()
    assert [row["item"] for row in rows if not row["passed"]] == [number]
    assert rows[number - 1]["number"] == pytest.approx(decided_by)


@pytest.mark.parametrize("lift", [None, -0.01])
def test_skill_on_later_cycles_counts_where_the_lift_is_not_proven(lift: float | None):
    row = item(replace(SOUND, lift_lower=lift), 7)
    assert row["passed"]
    assert row["number"] == 0.08


def test_an_empty_lake_is_a_treadmill_in_clear_words():
    table = audit(Evidence())
    assert verdict(table) == "treadmill"
    assert table["number"].null_count == 7
    assert "no outputs were generated yet" in verdict_words(table)
    assert "the reference corpus is empty" in verdict_words(table)


@pytest.mark.parametrize(
    ("n_flaws", "expected"), [(0, "flywheel"), (3, "flywheel"), (4, "treadmill"), (7, "treadmill")]
)
def test_fewer_than_four_passed_is_a_treadmill(n_flaws: int, expected: str):
    flaws = [
        {"n_categorised": 0},
        {"n_tracked": 0},
        {"n_references": 0},
        {"n_prompt_versions": 1},
        {"n_measured": 0},
        {"threshold_recorded_at": None},
        {"lift_lower": None, "skill_lower": None},
    ]
    evidence = SOUND
    for flaw in flaws[:n_flaws]:
        evidence = replace(evidence, **flaw)
    table = audit(evidence)
    assert verdict(table) == expected
    assert f"{7 - n_flaws} of 7 passed" in verdict_words(table)


def test_a_monthly_flywheel_is_monthly_enough():
    assert item(replace(SOUND, longest_refresh_gap_days=31.0), 4)["passed"]
    assert not item(replace(SOUND, longest_refresh_gap_days=31.1), 4)["passed"]


def test_rows_keep_the_contract():
    assert audit(SOUND).schema.equals(AUDIT.schema)
