"""Judging a cycle: the prior comes from mature earlier cycles only, and every published output gets a judgement."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flywheel_pipelines.lake.tables import PERFORMANCE_METRICS, PUBLISHED_OUTPUTS, SCORED_OUTPUTS
from flywheel_pipelines.learning.embedding_features import TextVectors, text_hash
from flywheel_pipelines.learning.floor import FloorRule
from flywheel_pipelines.learning.judgement import judge_cycle, one_row_per_output
from flywheel_pipelines.spec import Metric, RateMetric
from flywheel_pipelines_tests.lake_samples import rows

WEEKS = [date(2026, 1, 5) + timedelta(weeks=number) for number in range(5)]
LAST = WEEKS[-1]
METRICS: dict[str, Metric] = {"ctr": RateMetric(kind="rate", successes="clicks", exposure="views")}
FLOOR = FloorRule("ctr", "control", min_exposure=100, confidence=0.9)
KNOWN_AT = datetime(2026, 3, 1, tzinfo=UTC)


def world(*, briefs: int = 20, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """Five weeks of briefs with four outputs each, all published, the first also for the flywheel arm."""
    rng = np.random.default_rng(seed)
    published, measured, cycles, measured_cycles = [], [], [], []
    for week in WEEKS:
        for brief in range(briefs):
            level = 0.02 * np.exp(rng.normal(0, 0.3))
            for variant in range(4):
                output = {"output_id": f"{week:%m%d}-{brief}-{variant}", "brief_id": f"{week:%m%d}-{brief}"}
                row = {**output, "segment": "all", "text": f"text {variant}", "probability": 0.25}
                arms = [("control", 0.25), *([("flywheel", 1.0)] if variant == 0 else [])]
                published += [{**row, "arm": arm, "weight": weight} for arm, weight in arms]
                cycles += [week] * len(arms)
                clicks = float(rng.binomial(3_000, level * np.exp(rng.normal(0, 0.25))))
                figures = {"numerator": clicks, "exposure": 3_000.0, "value": clicks / 3_000}
                measured.append(
                    {
                        "output_id": output["output_id"],
                        "metric": "ctr",
                        "is_mature": True,
                        "known_at": KNOWN_AT,
                        **figures,
                    }
                )
                measured_cycles.append(week)
    return (
        rows(PUBLISHED_OUTPUTS, published).append_column("cycle", pa.array(cycles, pa.date32())),
        rows(PERFORMANCE_METRICS, measured).append_column("cycle", pa.array(measured_cycles, pa.date32())),
    )


PUBLISHED, MEASURED = world()


def judge(published: pa.Table = PUBLISHED, measured: pa.Table = MEASURED, cycle: date = LAST) -> pa.Table:
    table = judge_cycle(cycle, published, measured, FLOOR, metrics=METRICS, threshold_version="floor-1").scored
    return SCORED_OUTPUTS.conform(table)


def changed(condition: pc.Expression, column: str, value: object) -> pa.Table:
    """MEASURED with a column set where the condition holds."""
    untouched = MEASURED.filter(~condition)
    touched = MEASURED.filter(condition)
    index = touched.schema.get_field_index(column)
    field = touched.schema.field(column)
    touched = touched.set_column(index, field, pa.array([value] * touched.num_rows, field.type))
    return pa.concat_tables([untouched, touched])


VECTORS = TextVectors("m", tuple(text_hash(f"text {n}") for n in range(4)), np.eye(4, dtype=np.float32)[[0, 0, 1, 2]])
"""The first two texts mean the same."""


def apart(scored: pa.Table) -> float:
    """How far the first two texts of a brief are judged apart, on average."""
    values = np.array(scored.sort_by("output_id")["posterior_mean"]).reshape(-1, 4)
    return float(np.abs(values[:, 0] - values[:, 1]).mean())


def test_texts_that_mean_the_same_are_judged_alike() -> None:
    judged = judge_cycle(
        LAST, PUBLISHED, MEASURED, FLOOR, metrics=METRICS, threshold_version="floor-1", vectors=VECTORS
    ).scored
    assert apart(judged) < 0.5 * apart(judge())


def test_vectors_of_other_texts_change_no_judgement() -> None:
    strange = TextVectors("m", tuple(map(text_hash, "abcd")), VECTORS.values)
    judged = judge_cycle(
        LAST, PUBLISHED, MEASURED, FLOOR, metrics=METRICS, threshold_version="floor-1", vectors=strange
    ).scored
    assert SCORED_OUTPUTS.conform(judged) == judge()


def test_every_published_output_of_the_cycle_is_judged_once() -> None:
    ids = judge()["output_id"].to_pylist()
    expected = PUBLISHED.filter(pc.field("cycle") == LAST)["output_id"].to_pylist()
    assert sorted(ids) == sorted(set(expected))


def test_all_three_decisions_occur_and_name_the_floor_that_made_them() -> None:
    judged = judge().to_pylist()
    assert {row["decision"] for row in judged} == {"promote", "hold", "reject"}
    assert {row["threshold_version"] for row in judged} == {"floor-1"}


def test_an_output_that_was_never_measured_is_held_and_immature() -> None:
    missing = f"{LAST:%m%d}-0-0"
    judged = judge(measured=MEASURED.filter(pc.field("output_id") != missing)).to_pylist()
    row = next(row for row in judged if row["output_id"] == missing)
    assert (row["decision"], row["is_mature"], row["exposure"], row["observed"]) == ("hold", False, 0.0, None)


def test_immature_outputs_are_judged_and_marked() -> None:
    judged = judge(measured=changed(pc.field("cycle") == LAST, "is_mature", False)).to_pylist()
    assert {row["is_mature"] for row in judged} == {False}
    assert {row["decision"] for row in judged} >= {"promote", "reject"}


def test_immature_measurements_of_earlier_cycles_do_not_shape_the_prior() -> None:
    third = pc.field("cycle") == WEEKS[3]
    immature = judge(measured=changed(third, "is_mature", False))
    absent = judge(measured=MEASURED.filter(~third))
    assert immature["prior_mean"].equals(absent["prior_mean"])


def test_control_mature_ones_do() -> None:
    third = pc.field("cycle") == WEEKS[3]
    assert not judge()["prior_mean"].equals(judge(measured=MEASURED.filter(~third))["prior_mean"])


def test_later_cycles_change_nothing() -> None:
    until = pc.field("cycle") <= WEEKS[2]
    now = judge(PUBLISHED.filter(until), MEASURED.filter(until), WEEKS[2])
    assert judge(cycle=WEEKS[2]).equals(now)


def test_row_order_changes_nothing() -> None:
    backwards = [table.take(list(reversed(range(table.num_rows)))) for table in (PUBLISHED, MEASURED)]
    assert judge(*backwards).equals(judge())


def test_other_metrics_change_nothing() -> None:
    other = MEASURED.set_column(
        MEASURED.schema.get_field_index("metric"),
        MEASURED.schema.field("metric"),
        pa.array(["share"] * MEASURED.num_rows),
    )
    assert judge(measured=pa.concat_tables([MEASURED, other])).equals(judge())


def test_nothing_published_gives_the_contracts_columns() -> None:
    assert judge(PUBLISHED.filter(pc.field("cycle") < LAST)).num_rows == 0


def test_the_first_cycle_of_all_is_judged_without_a_past() -> None:
    first = pc.field("cycle") == WEEKS[0]
    assert judge(PUBLISHED.filter(first), MEASURED.filter(first), WEEKS[0]).num_rows == 80


def test_an_output_in_both_arms_keeps_its_weight_in_the_control() -> None:
    frame = one_row_per_output(PUBLISHED.filter(pc.field("brief_id") == f"{LAST:%m%d}-0"))
    assert frame["control_weight"].tolist() == [0.25] * 4
    assert "arm" not in frame


@pytest.mark.parametrize("arm", ["flywheel", "challenger"])
def test_an_output_outside_the_control_has_no_weight_in_it(arm: str) -> None:
    table = rows(PUBLISHED_OUTPUTS, [{"output_id": "a", "arm": arm, "weight": 1.0}])
    assert one_row_per_output(table)["control_weight"].tolist() == [0.0]


def without_floor(measured: pa.Table = MEASURED) -> list[dict]:
    rule = FloorRule("ctr", "off", min_exposure=100)
    table = judge_cycle(LAST, PUBLISHED, measured, rule, metrics=METRICS, threshold_version="off").scored
    return SCORED_OUTPUTS.conform(table).to_pylist()


def test_without_a_floor_whatever_was_exposed_is_promoted() -> None:
    judged = without_floor()
    assert {(row["decision"], row["floor_level"], row["p_above"]) for row in judged} == {("promote", None, 0.5)}
    assert all(row["reason"].startswith("no floor: 3,000 views, ctr ") for row in judged)
    assert all(row["reason"].endswith("%, fed back as it is") for row in judged)


def test_without_a_floor_one_exposure_is_enough() -> None:
    scarce = changed(pc.field("cycle") == LAST, "exposure", 1.0)
    scarce = scarce.set_column(
        scarce.schema.get_field_index("numerator"), scarce.schema.field("numerator"), pa.array([0.0] * scarce.num_rows)
    )
    assert {row["decision"] for row in without_floor(scarce)} == {"promote"}


def test_without_a_floor_what_nobody_saw_stays_on_hold() -> None:
    judged = without_floor(MEASURED.filter(pc.field("cycle") != LAST))
    assert {(row["decision"], row["reason"]) for row in judged} == {("hold", "no floor: no views")}
