"""From published outputs and their metrics to one row per brief."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pytest

from flywheel_pipelines.lake.tables import BRIEF_OUTCOMES
from flywheel_pipelines.momentum.intervals import Better
from flywheel_pipelines.momentum.lift import brief_outcomes
from flywheel_pipelines_tests.momentum.worlds import performance, published

WITHIN = published(
    ("b1", "flywheel", "x", 1.0),
    ("b1", "control", "x", 1 / 3),
    ("b1", "control", "y", 1 / 3),
    ("b1", "control", "z", 1 / 3),
)


def one(table: pa.Table, values: Mapping[str, float | None], better: Better = "higher") -> dict:
    rows = brief_outcomes(table, performance(values), "click_rate", better).to_pylist()
    assert len(rows) == 1
    return rows[0]


def test_control_within_a_brief_is_the_expected_value_of_a_random_choice():
    row = one(WITHIN, {"x": 0.03, "y": 0.02, "z": 0.01})
    assert row["flywheel_value"] == pytest.approx(0.03)
    assert row["control_value"] == pytest.approx(0.02)
    assert row["n_measured"] == 3


def test_unmeasured_outputs_leave_the_average_instead_of_counting_as_zero():
    assert one(WITHIN, {"x": 0.03, "y": 0.01, "z": None})["control_value"] == pytest.approx(0.02)


def test_weights_need_not_be_equal():
    table = published(("b1", "control", "x", 0.75), ("b1", "control", "y", 0.25))
    assert one(table, {"x": 0.04, "y": 0.08})["control_value"] == pytest.approx(0.05)


def test_a_brief_in_one_arm_has_no_value_in_the_other_and_counts():
    row = one(published(("b1", "control", "x", 1.0)), {"x": 0.02})
    assert (row["flywheel_value"], row["control_value"], row["is_counted"]) == (None, 0.02, True)
    assert row["hit"] is None


def test_the_best_choice_is_a_hit_and_chance_is_one_in_n():
    row = one(WITHIN, {"x": 0.03, "y": 0.02, "z": 0.01})
    assert row["hit"] is True
    assert row["chance"] == pytest.approx(1 / 3)
    assert one(WITHIN, {"x": 0.02, "y": 0.03, "z": 0.01})["hit"] is False


def test_outputs_that_tie_for_best_share_the_hit_and_the_chance():
    row = one(WITHIN, {"x": 0.03, "y": 0.03, "z": 0.01})
    assert row["hit"] is True
    assert row["chance"] == pytest.approx(2 / 3)


def test_lower_is_better_turns_the_hit_round():
    values = {"x": 0.01, "y": 0.02, "z": 0.03}
    assert one(WITHIN, values, better="lower")["hit"] is True
    assert one(WITHIN, values, better="higher")["hit"] is False


def test_an_unmeasured_choice_is_neither_hit_nor_miss():
    row = one(WITHIN, {"y": 0.02, "z": 0.01})
    assert row["hit"] is None
    assert row["chance"] is None


def test_a_single_candidate_does_not_count():
    assert one(published(("b1", "flywheel", "x", 1.0), ("b1", "control", "x", 1.0)), {"x": 0.02})["is_counted"] is False


def test_a_random_control_that_drew_the_choice_counts_as_no_difference():
    row = one(published(("b1", "flywheel", "x", 1.0), ("b1", "control", "x", 1.0, 1 / 3)), {"x": 0.02})
    assert row["is_counted"] is True
    assert row["flywheel_value"] == row["control_value"]


def test_a_brief_of_which_only_the_choice_was_measured_does_not_count():
    assert one(WITHIN, {"x": 0.03, "y": None, "z": None})["is_counted"] is False


def test_where_some_briefs_are_in_both_arms_the_others_do_not_count():
    alone = ("b2", "flywheel", "w", 1.0)
    values = {"x": 0.03, "y": 0.02, "z": 0.01, "w": 0.04, "v": 0.05}
    pair = published(("b1", "flywheel", "x", 1.0), ("b1", "control", "y", 1.0), alone)
    apart = published(("b1", "flywheel", "x", 1.0), ("b3", "control", "v", 1.0), alone)
    within, between = (brief_outcomes(table, performance(values), "click_rate", "higher") for table in (pair, apart))
    assert within["is_counted"].to_pylist() == [True, False]
    assert between["is_counted"].to_pylist() == [True, True, True]


def test_a_brief_without_feedback_stays_visible_and_does_not_count():
    row = one(WITHIN, {})
    assert (row["n_measured"], row["is_counted"], row["flywheel_value"]) == (0, False, None)


def test_challengers_and_other_metrics_are_left_out():
    table = published(("b1", "flywheel", "x", 1.0), ("b1", "challenger", "y", 1.0))
    rows = brief_outcomes(table, performance({"x": 0.5}, "unsubscribe_rate"), "click_rate", "higher").to_pylist()
    assert [row["n_measured"] for row in rows] == [0]
    assert one(table, {"x": 0.02, "y": 0.9})["n_measured"] == 1


def test_row_order_does_not_matter():
    table = published(*[(f"b{n % 7}", "control", f"o{n}", 0.1) for n in range(50)])
    values = {f"o{n}": 0.1 / (n + 3) for n in range(50)}
    backwards = dict(reversed(values.items()))
    forward = brief_outcomes(table, performance(values), "click_rate", "higher")
    reverse = brief_outcomes(table.take(list(range(49, -1, -1))), performance(backwards), "click_rate", "higher")
    assert forward.equals(reverse)


def test_nothing_published_gives_an_empty_table_of_the_contract():
    assert brief_outcomes(published(), performance({}), "click_rate", "higher").equals(BRIEF_OUTCOMES.empty())
