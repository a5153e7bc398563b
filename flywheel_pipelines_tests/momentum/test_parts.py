"""What moved the lift: contributions are found where they are, and not where there are none."""

from __future__ import annotations

import re

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.tables import MOMENTUM_PARTS
from flywheel_pipelines.momentum.anytime import anytime_lift
from flywheel_pipelines.momentum.intervals import BriefSums, lift_of
from flywheel_pipelines.momentum.parts import SHARED_CONFIDENCE, part_lines, part_rows, parts_as_markdown
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines.sequential import Comparison, compared
from flywheel_pipelines_tests.momentum.worlds import performance, published

ARMS = ("flywheel", "control", "no_references", "no_selection")
GAINS = {"flywheel": 2.0, "control": 1.0, "no_references": 1.0, "no_selection": 2.0}
"""References do it all: without them nothing is left of the lift, without selection all of it."""


def cycle(seed: int, gains: dict[str, float] = GAINS, briefs: int = 12) -> tuple[pa.Table, pa.Table]:
    """What each arm published, on briefs of its own, and how it did."""
    random = np.random.default_rng(seed)
    names = {(arm, n): f"{arm}-{seed}-{n}" for arm in gains for n in range(briefs)}
    rows = [(f"brief {name}", arm, name, 1.0) for (arm, _), name in names.items()]
    values = {name: 0.04 * gains[arm] * float(np.exp(random.normal(0, 0.3))) for (arm, _), name in names.items()}
    return published(*rows), performance(values)


def closed(n_cycles: int, gains: dict[str, float] = GAINS, better: str = "higher") -> dict[str, dict]:
    rows = None
    for seed in range(n_cycles):
        rows = part_rows(*cycle(seed, gains), rows, metric="click_rate", better=better)  # type: ignore[arg-type]
    assert rows is not None
    return {row["part"]: row for row in rows.to_pylist()}


def test_the_part_that_moved_it_is_proven_and_the_other_is_not() -> None:
    found = closed(8)
    assert found.keys() == {"references", "selection"}
    references, selection = found["references"], found["selection"]
    assert 0 < references["lower"] < 1 < references["upper"]
    assert references["lift_lower"] < 0 < references["lift_upper"]
    assert selection["lower"] < 0 < selection["upper"]
    assert selection["lift_lower"] > 0


def test_control_with_the_gains_exchanged_the_other_part_is_proven() -> None:
    found = closed(8, GAINS | {"no_references": 2.0, "no_selection": 1.0})
    assert found["selection"]["lower"] > 0 > found["references"]["lower"]


def test_where_lower_is_better_a_part_that_halves_the_metric_contributes() -> None:
    found = closed(8, GAINS | {"flywheel": 0.5, "no_references": 1.0}, better="lower")
    assert found["references"]["contribution"] == pytest.approx(0.5, abs=0.15)
    assert found["references"]["lower"] > 0


def test_a_contribution_is_the_ratio_of_the_means_within_the_cycle() -> None:
    out, measured = cycle(3)
    row = part_rows(out, measured, metric="click_rate", better="higher").to_pylist()[0]
    values = dict(zip(*(measured[name].to_pylist() for name in ("output_id", "value")), strict=True))
    means = {arm: np.mean([values[name] for name in values if name.startswith(f"{arm}-")]) for arm in ARMS}
    assert row["contribution"] == pytest.approx(means["flywheel"] / means["no_references"] - 1)
    assert row["lift"] == pytest.approx(means["no_references"] / means["control"] - 1)
    assert (row["n_flywheel"], row["n_without"], row["n_control"]) == (12, 12, 12)


def test_without_ablation_arms_there_are_no_rows() -> None:
    found = part_rows(*cycle(1, {"flywheel": 2.0, "control": 1.0}), metric="click_rate", better="higher")
    assert found.num_rows == 0
    assert found.schema.names == MOMENTUM_PARTS.schema.names


def test_an_arm_that_is_switched_off_later_keeps_what_was_found() -> None:
    rows = part_rows(*cycle(1), metric="click_rate", better="higher")
    later = part_rows(*cycle(2, {"flywheel": 2.0, "control": 1.0}), rows, metric="click_rate", better="higher")
    found = [{row["arm"]: row for row in table.to_pylist()}["no_references"] for table in (rows, later)]
    assert found[0]["contribution"] == found[1]["contribution"]


def test_briefs_that_both_arms_answered_are_compared_within_themselves() -> None:
    """With noise between briefs alone, pairs leave nothing to be unsure of but the gain."""
    random, rows, values = np.random.default_rng(5), [], {}
    for number in range(40):
        level = float(np.exp(random.normal(0, 0.5)))
        for arm in ("flywheel", "no_references"):
            name = f"{arm}-{number}"
            rows.append((f"brief {number}", arm, name, 1.0))
            values[name] = 0.04 * level * GAINS[arm] * float(np.exp(random.normal(0, 0.02)))
    rows.append(("alone", "flywheel", "alone", 1.0))
    values["alone"] = 0.9
    [found] = part_rows(published(*rows), performance(values), metric="click_rate", better="higher").to_pylist()
    assert (found["n_flywheel"], found["n_without"]) == (40, 40)
    assert found["upper"] - found["lower"] < 0.1


def test_another_metric_begins_anew() -> None:
    before = part_rows(*cycle(1), metric="click_rate", better="higher")
    out, measured = cycle(2)
    other = measured.set_column(1, measured.schema.field("metric"), pa.array(["other"] * measured.num_rows))
    after = part_rows(out, other, before, metric="other", better="higher")
    assert set(after["n_flywheel"].to_pylist()) == {12}


def test_sums_of_another_version_are_refused_with_what_to_do() -> None:
    before = part_rows(*cycle(1), metric="click_rate", better="higher")
    place = before.schema.get_field_index("strata")
    broken = before.set_column(place, before.schema.field(place), pa.array([[1.0]] * before.num_rows))
    with pytest.raises(
        ContractError, match=r"momentum_parts, arm no_references, column strata.*close the cycles again"
    ):
        part_rows(*cycle(2), broken, metric="click_rate", better="higher")


def test_in_words_a_part_says_what_it_brought_and_what_is_left_without_it() -> None:
    [references, _] = part_lines(list(closed(8).values()))
    assert references["briefs"] == "96 with, 96 without"
    assert re.fullmatch(r"\+\d+\.\d% \(95% interval \+\d+\.\d% to \+\d+\.\d%\)", references["contribution"])
    assert parts_as_markdown(list(closed(1).values())).count("\n") == 3


# -- equal arms ------------------------------------------------------------------------------------------------------
def wrongly_claimed(seed: int, *, one_look: bool) -> bool:
    """Whether any of three parts that do nothing is claimed at any of 26 looks, at the demo's traffic."""
    random = np.random.default_rng(seed)
    carried = [Comparison(), Comparison(), Comparison()]
    sums = [BriefSums(), BriefSums(), BriefSums()]
    for _ in range(26):
        flywheel, *others = (np.exp(random.normal(0, 0.5, size)) for size in (10, 3, 3, 3))
        for part, without in enumerate(others):
            first = np.concatenate([flywheel, np.full(len(without), np.nan)])
            second = np.concatenate([np.full(len(flywheel), np.nan), without])
            carried[part] = carried[part].add(compared(first, second))
            sums[part] += BriefSums.of(first, second)
            lift = (
                lift_of(sums[part], "higher") if one_look else anytime_lift(carried[part], "higher", SHARED_CONFIDENCE)
            )
            if lift.lower is not None and lift.upper is not None and (lift.lower > 0 or lift.upper < 0):
                return True
    return False


def test_parts_that_do_nothing_are_claimed_in_at_most_one_history_of_twenty() -> None:
    assert sum(wrongly_claimed(seed, one_look=False) for seed in range(200)) <= 10


def test_control_looking_each_week_at_an_interval_for_one_look_claims_them_often() -> None:
    assert sum(wrongly_claimed(seed, one_look=True) for seed in range(200)) > 40


# -- the document ----------------------------------------------------------------------------------------------------
def test_the_sql_of_the_document_gives_the_intervals_from_the_carried_sums() -> None:
    page = (PROJECT_ROOT / "docs" / "learning" / "momentum.md").read_text(encoding="utf-8")
    [query] = [
        text
        for text in re.findall(r"^```sql\n(.*?)^```", page, re.M | re.S)
        if "from lake.momentum_parts\n    where contribution" in text
    ]
    rows = part_rows(*cycle(0), metric="click_rate", better="higher")
    for seed in range(1, 6):
        rows = part_rows(*cycle(seed), rows, metric="click_rate", better="higher")
    with duckdb.connect() as connection:
        connection.execute("create schema lake")
        connection.register("rows_of_lake", rows)
        connection.execute("create table lake.momentum_parts as select * from rows_of_lake")
        found = connection.execute(query).fetchall()
    assert [row[0] for row in found] == ["references", "selection"]
    for (_, lower, upper), row in zip(found, rows.to_pylist(), strict=True):
        assert (lower, upper) == pytest.approx((row["lower"], row["upper"]))
