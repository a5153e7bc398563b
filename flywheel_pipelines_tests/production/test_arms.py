"""Arms: a brief keeps its arm, shares are what was asked for, and what goes out is what the arm's rule says."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.lake.tables import GENERATED_OUTPUTS, PUBLISHED_OUTPUTS
from flywheel_pipelines.production.arms import arms_of, publish
from flywheel_pipelines.spec import ArmsSpec

WEEK = date(2026, 1, 5)
AT = {"flywheel": "news", "cycle": WEEK}
BETWEEN = ArmsSpec(control=0.2)
WITHIN = ArmsSpec(control=0.2, comparison="within_brief")
AB_TEST = ArmsSpec(control=1.0, comparison="within_brief")
OFF = ArmsSpec(control="off")


def generated(*sizes: int, best: int = 0) -> pa.Table:
    """Outputs of one brief per size; candidate `best` has rank 1."""
    rows = [
        {
            "output_id": f"b{brief}-{variant}",
            "brief_id": f"b{brief}",
            "segment": "all",
            "arm": None,
            "variant": variant,
            "attempt": 1,
            "is_superseded": False,
            "blocked": None,
            "text": f"text {variant}",
            "producer": "archive",
            "candidate_id": None,
            "prompt_version": "p",
            "reference_ids": [],
            "predicted": 0.1 * variant,
            "rank": 1 + (variant - best) % size,
            "n_references_dropped": 0,
        }
        for brief, size in enumerate(sizes)
        for variant in range(size)
    ]
    return pa.Table.from_pylist(rows, schema=GENERATED_OUTPUTS.schema)


def published(outputs: pa.Table, arms: ArmsSpec, *, publish_all: bool = False) -> list[dict]:
    return publish(outputs, arms, publish_all=publish_all, **AT).to_pylist()


def briefs(count: int = 4_000) -> list[str]:
    return [f"brief {number}" for number in range(count)]


def test_between_briefs_a_brief_belongs_to_one_arm() -> None:
    assert {arms_of(brief, BETWEEN, **AT) for brief in briefs(200)} == {("flywheel",), ("control",)}


def test_within_brief_the_flywheel_answers_every_brief() -> None:
    assert {arms_of(brief, WITHIN, **AT) for brief in briefs(200)} == {("flywheel",), ("flywheel", "control")}


def test_control_off_leaves_the_flywheel_alone() -> None:
    assert {arms_of(brief, OFF, **AT) for brief in briefs(200)} == {("flywheel",)}


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.95])
def test_the_share_of_control_is_the_one_asked_for(share: float) -> None:
    found = Counter(arms_of(brief, ArmsSpec(control=share), **AT) for brief in briefs())
    assert found[("control",)] / 4_000 == pytest.approx(share, abs=4 * (share * (1 - share) / 4_000) ** 0.5)


def test_a_larger_share_takes_no_brief_out_of_control() -> None:
    def control(share: float) -> set[str]:
        return {brief for brief in briefs(500) if arms_of(brief, ArmsSpec(control=share), **AT) == ("control",)}

    assert control(0.1) < control(0.3)


def test_arms_are_drawn_anew_in_every_cycle_and_flywheel() -> None:
    here = [arms_of(brief, BETWEEN, **AT) for brief in briefs(200)]
    assert here != [arms_of(brief, BETWEEN, flywheel="news", cycle=date(2026, 1, 12)) for brief in briefs(200)]
    assert here != [arms_of(brief, BETWEEN, flywheel="mail", cycle=WEEK) for brief in briefs(200)]


def test_a_brief_keeps_its_arm_whatever_is_produced_beside_it() -> None:
    alone = published(generated(3), BETWEEN)
    among = [row for row in published(generated(3, 2, 4), BETWEEN) if row["brief_id"] == "b0"]
    assert alone == among


def test_the_flywheel_publishes_the_best_ranked_output() -> None:
    rows = [row for row in published(generated(4, 4, 4, best=2), OFF) if row["arm"] == "flywheel"]
    assert [row["output_id"] for row in rows] == ["b0-2", "b1-2", "b2-2"]
    assert {(row["weight"], row["probability"]) for row in rows} == {(1.0, 1.0)}


def test_an_ab_test_publishes_every_output_as_control_at_equal_weight() -> None:
    rows = [row for row in published(generated(4), AB_TEST, publish_all=True) if row["arm"] == "control"]
    assert [(row["output_id"], row["weight"], row["probability"]) for row in rows] == [
        (f"b0-{variant}", 0.25, 0.25) for variant in range(4)
    ]


def test_otherwise_the_control_draws_one_output_and_says_how_likely_that_was() -> None:
    rows = [row for row in published(generated(4), AB_TEST) if row["arm"] == "control"]
    assert [(row["weight"], row["probability"]) for row in rows] == [(1.0, 0.25)]


def test_the_control_draw_is_fair_and_ignores_ranks() -> None:
    rows = published(generated(*[4] * 2_000), AB_TEST)
    drawn = Counter(row["output_id"].split("-")[1] for row in rows if row["arm"] == "control")
    assert all(count == pytest.approx(500, abs=80) for count in drawn.values())


def test_control_the_flywheels_choice_is_not_fair() -> None:
    rows = published(generated(*[4] * 100), AB_TEST)
    assert {row["output_id"].split("-")[1] for row in rows if row["arm"] == "flywheel"} == {"0"}


@given(st.lists(st.integers(1, 6), max_size=12), st.sampled_from([BETWEEN, WITHIN, AB_TEST, OFF]), st.booleans())
def test_weights_sum_to_one_per_brief_and_arm(sizes: list[int], arms: ArmsSpec, publish_all: bool) -> None:
    table = publish(generated(*sizes), arms, publish_all=publish_all, **AT)
    weights: Counter[tuple[str, str]] = Counter()
    for row in table.to_pylist():
        weights[row["brief_id"], row["arm"]] += row["weight"]
    assert all(weight == pytest.approx(1) for weight in weights.values())
    assert {brief for brief, _ in weights} == {f"b{number}" for number in range(len(sizes))}
    PUBLISHED_OUTPUTS.conform(table)


def test_row_order_does_not_matter_to_the_flywheel() -> None:
    outputs = generated(3, 3)
    backwards = outputs.take(list(reversed(range(outputs.num_rows))))
    here, there = ({row["output_id"] for row in published(table, OFF)} for table in (outputs, backwards))
    assert here == there
