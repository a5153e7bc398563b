"""Arms: a brief keeps its arm, shares are what was asked for, and what goes out is what the arm's rule says."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.lake.tables import GENERATED_OUTPUTS, PUBLISHED_OUTPUTS
from flywheel_pipelines.production.arms import arms_of, publish, unanswered
from flywheel_pipelines.spec import ArmsSpec
from flywheel_pipelines_tests.production.written import output, outputs

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


# -- the challenger --------------------------------------------------------------------------------------------------
TRIAL = ArmsSpec(control=0.2, challenger=0.3)


def test_the_challenger_gets_the_share_asked_for() -> None:
    found = Counter(arms_of(brief, TRIAL, **AT) for brief in briefs())
    assert found[("challenger",)] / 4_000 == pytest.approx(0.3, abs=0.03)
    assert found[("flywheel",)] / 4_000 == pytest.approx(0.5, abs=0.035)


def test_a_challenger_moves_no_brief_in_or_out_of_the_control() -> None:
    for brief in briefs(1_000):
        here, there = (arms_of(brief, arms, **AT) for arms in (TRIAL, BETWEEN))
        assert ("control" in here) == ("control" in there)


def test_within_brief_the_challenger_answers_beside_the_others() -> None:
    arms = ArmsSpec(control=0.7, challenger=0.5, comparison="within_brief")
    assert {arms_of(brief, arms, **AT) for brief in briefs(500)} == {
        ("flywheel", "control"),
        ("flywheel", "challenger"),
        ("flywheel", "control", "challenger"),
    }


# -- written outputs: blocked ones, exploring, reruns ----------------------------------------------------------------
def written(count: int, variants: int = 3, **changes: object) -> pa.Table:
    """Outputs of `count` briefs, each written for the brief's own arm; candidate 0 has rank 1."""
    rows = [
        output(f"b{number}-{arm}-{variant}", brief_id=f"b{number}", arm=arm, variant=variant, rank=variant + 1)
        | changes
        for number in range(count)
        for arm in arms_of(f"b{number}", TRIAL, **AT)
        for variant in range(1 if arm == "control" else variants)
    ]
    return outputs(rows)


def go(table: pa.Table, explore: float = 0.0, already: pa.Table | None = None, arms: ArmsSpec = TRIAL) -> list[dict]:
    found = publish(table, arms, publish_all=False, explore=explore, already=already, **AT)
    return PUBLISHED_OUTPUTS.conform(found).to_pylist()


def test_exploring_publishes_each_candidate_as_often_as_its_row_says() -> None:
    rows = [row for row in go(written(9_000), explore=0.3) if row["arm"] == "flywheel"]
    found = Counter((int(row["output_id"][-1]), row["probability"]) for row in rows)
    chances = {0: 1 - 0.3 + 0.1, 1: 0.1, 2: 0.1}
    assert {variant for variant, _ in found} == {0, 1, 2}
    for (variant, probability), count in found.items():
        assert probability == pytest.approx(chances[variant])
        spread = (probability * (1 - probability) / len(rows)) ** 0.5
        assert count / len(rows) == pytest.approx(probability, abs=4 * spread)
    explored = sum(row["choice"] == "explored" for row in rows)
    assert explored / len(rows) == pytest.approx(0.3, abs=0.03)


def test_without_exploring_the_best_goes_out_with_certainty() -> None:
    rows = [row for row in go(written(200)) if row["arm"] != "control"]
    assert {(row["output_id"][-1], row["probability"], row["choice"]) for row in rows} == {("0", 1.0, "best")}


def test_with_one_candidate_there_is_nothing_to_explore() -> None:
    rows = [row for row in go(written(200, variants=1), explore=0.5) if row["arm"] == "flywheel"]
    assert {(row["probability"], row["choice"]) for row in rows} == {(1.0, "best")}


def test_an_arm_publishes_only_what_was_written_for_it() -> None:
    rows = go(written(300), explore=0.5)
    assert {row["arm"] for row in rows} == {"flywheel", "control", "challenger"}
    assert all(row["output_id"].split("-")[1] == row["arm"] for row in rows)


def test_within_a_brief_each_arm_chooses_among_its_own() -> None:
    arms = ArmsSpec(control=1.0, comparison="within_brief")
    table = outputs([output("f0", rank=2), output("f1", rank=1), output("c0", arm="control", rank=1)])
    assert {(row["arm"], row["output_id"]) for row in go(table, arms=arms)} == {("flywheel", "f1"), ("control", "c0")}


def test_a_blocked_output_never_goes_out() -> None:
    rows = written(100).to_pylist()
    table = outputs([{**row, "blocked": "why" if row["variant"] == 0 else None} for row in rows])
    found = go(table, explore=0.5)
    assert {row["output_id"][-1] for row in found} == {"1", "2"}
    share = {round(row["probability"], 6) for row in found if row["arm"] == "flywheel"}
    assert share == {0.75, 0.25}, "the chances are those among the candidates that may go out"


def test_a_brief_whose_outputs_are_all_blocked_publishes_nothing_and_is_counted() -> None:
    rows = [{**row, "blocked": "why" if row["brief_id"] in ("b0", "b1") else None} for row in written(50).to_pylist()]
    table = outputs(rows)
    found = publish(table, TRIAL, publish_all=False, **AT)
    assert not {"b0", "b1"} & set(found["brief_id"].to_pylist())
    assert sum(unanswered(table, found).values()) == 2
    assert unanswered(written(50), publish(written(50), TRIAL, publish_all=False, **AT)) == {}


def test_an_archive_whose_outputs_of_a_brief_are_all_blocked_is_counted_too() -> None:
    table = outputs([{**row, "arm": None, "blocked": "why"} for row in generated(3).to_pylist()])
    assert unanswered(table, publish(table, OFF, publish_all=False, **AT)) == {"flywheel": 1}


def test_a_superseded_output_never_goes_out() -> None:
    old, new = written(50, is_superseded=True), written(50, attempt=2).to_pylist()
    both = pa.concat_tables([old, outputs([{**row, "output_id": f"new-{row['output_id']}"} for row in new])])
    assert all(row["output_id"].startswith("new-") for row in go(both))


def test_completing_a_run_only_adds_briefs() -> None:
    whole = written(60)
    part = whole.filter(pc.field("variant") != 0).slice(0, 70)
    first = publish(part, TRIAL, publish_all=False, explore=0.4, **AT)
    both = go(whole, explore=0.4, already=first)
    keys = {(row["brief_id"], row["arm"]) for row in first.to_pylist()}
    assert [row for row in both if (row["brief_id"], row["arm"]) in keys] == PUBLISHED_OUTPUTS.conform(
        first
    ).to_pylist()
    assert len(both) == 60 > first.num_rows
    assert go(whole, explore=0.4, already=publish(whole, TRIAL, publish_all=False, explore=0.4, **AT)) == go(
        whole, explore=0.4
    )


def test_control_without_what_was_published_the_choice_would_move() -> None:
    whole = written(60)
    first = publish(whole.filter(pc.field("variant") != 0), TRIAL, publish_all=False, **AT).to_pylist()
    assert not [row for row in first if row["arm"] == "flywheel" and row in go(whole)]


def test_what_another_attempt_published_does_not_hold_a_place() -> None:
    old = publish(written(20), TRIAL, publish_all=False, **AT)
    renamed = [{**row, "output_id": f"new-{row['output_id']}"} for row in written(20, attempt=2).to_pylist()]
    assert all(row["output_id"].startswith("new-") for row in go(outputs(renamed), already=old))


def test_row_order_does_not_matter_to_the_flywheel() -> None:
    outputs = generated(3, 3)
    backwards = outputs.take(list(reversed(range(outputs.num_rows))))
    here, there = ({row["output_id"] for row in published(table, OFF)} for table in (outputs, backwards))
    assert here == there
