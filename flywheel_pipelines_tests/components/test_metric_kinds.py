"""A small flywheel per kind of metric, through Dagster: open, a file of feedback, close, decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld, later

FIRST, SECOND = WEEKS[:2]
N_BRIEFS = 12
DAYS = 5
Draw = Callable[[np.random.Generator, float], dict[str, float]]


@dataclass(frozen=True)
class Case:
    """A metric, what a day of an output says given how good it is (1 best, -1 worst), and words of a reason."""

    metric: dict[str, Any]
    day: Draw
    says: str
    min_exposure: float = 20


def _time(rng: np.random.Generator, good: float) -> dict[str, float]:
    return {"minutes": float(np.round(rng.lognormal(5.0 - 0.8 * good, 0.5, 10).sum(), 1)), "tickets": 10}


CASES = {
    "rate": Case(
        {"kind": "rate", "successes": "replies", "exposure": "sends"},
        lambda rng, good: {"replies": rng.binomial(200, 0.1 + 0.08 * good), "sends": 200},
        "1,000 sends, quality ",
    ),
    "mean": Case(
        {"kind": "mean", "amount": "revenue", "exposure": "orders", "unit": "EUR"},
        lambda rng, good: {"revenue": round(rng.normal(2.0 + 10 * good, 3), 2), "orders": 10},
        " EUR, floor ",
    ),
    "count": Case(
        {"kind": "count", "events": "calls", "exposure": "hours"},
        lambda rng, good: {"calls": rng.poisson(8.5 * np.exp(good)), "hours": 8.5},
        "42.5 hours, quality ",
    ),
    "per_output": Case(
        {"kind": "count", "events": "calls"},
        lambda rng, good: {"calls": rng.poisson(40 * np.exp(good))},
        "1 output, quality ",
        min_exposure=1,
    ),
    "duration": Case(
        {"kind": "duration", "time": "minutes", "exposure": "tickets", "unit": "minutes"}, _time, "50 tickets, quality "
    ),
    "top_k": Case(
        {"kind": "top_k", "position": "position", "k": 3},
        lambda rng, good: {"position": round(max(1.0, 3.2 - 2 * good + rng.normal(0, 0.8)), 1)},
        "5 reports, quality ",
        min_exposure=3,
    ),
}


def world_of(root: Path, case: Case, **changes: Any) -> WrittenWorld:
    settings = {
        "metrics": {"quality": case.metric},
        "floor": {"metric": "quality", "above": "mean", "min_exposure": case.min_exposure, "confidence": 0.8},
        **changes,
    }
    return WrittenWorld.make(root, n_briefs=N_BRIEFS, **settings)


def goodness(world: WrittenWorld, cycle: Any) -> dict[str, float]:
    """How good each output is: alternately one of the best and one of the worst."""
    ids = sorted({row["output_id"] for row in world.rows(tables.PUBLISHED_OUTPUTS, cycle)})
    return {output_id: (-1.0, 1.0)[number % 2] for number, output_id in enumerate(ids)}


def report(world: WrittenWorld, case: Case, cycle: Any, *, name: str = "week") -> dict[str, float]:
    """Land a file with a row per output and day; how good each output is."""
    good = goodness(world, cycle)
    rng = np.random.default_rng(cycle.toordinal())
    rows = [
        {"output_id": output_id, "day": cycle + timedelta(days=day), **case.day(rng, value)}
        for output_id, value in good.items()
        for day in range(DAYS)
    ]
    path = world.root / f"{name}-{cycle}.csv"
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    batch, _ = land_file(world.lake, world.spec, "mailer", path, recorded_at=later(cycle, days=8))
    assert batch.n_quarantined == 0, batch.problems[:3]
    return good


def turn(world: WrittenWorld, case: Case, cycle: Any) -> dict[str, float]:
    assert world.open(cycle).success
    good = report(world, case, cycle)
    assert world.run("close", cycle, momentum={"plot": False}).success
    return good


@pytest.mark.parametrize("name", CASES)
def test_a_flywheel_of_every_kind_turns_and_tells_good_from_bad(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    world = world_of(tmp_path / "world", case)
    turn(world, case, FIRST)
    good = turn(world, case, SECOND)
    judged = {row["output_id"]: row for row in world.rows(tables.SCORED_OUTPUTS, SECOND)}
    assert judged.keys() == good.keys()
    decisions = {output_id: row["decision"] for output_id, row in judged.items()}
    assert "promote" in decisions.values()
    assert all(good[output_id] > 0 for output_id, decision in decisions.items() if decision == "promote")
    assert all(good[output_id] < 0 for output_id, decision in decisions.items() if decision == "reject")
    assert all(case.says in row["reason"] for row in judged.values()), next(iter(judged.values()))["reason"]
    assert all(row["is_mature"] for row in judged.values())
    references = {row["reference_id"] for row in world.rows(tables.REFERENCE_CORPUS, SECOND)}
    promoted = {output_id for output_id, decision in decisions.items() if decision == "promote"}
    assert promoted.intersection(references)
    cumulative = next(row for row in world.rows(tables.MOMENTUM, SECOND) if row["scope"] == "cumulative")
    assert cumulative["flywheel_mean"] is not None


def test_closing_again_gives_the_same_bytes_for_decimals_too(tmp_path: Path) -> None:
    case = CASES["mean"]
    world = world_of(tmp_path / "world", case)
    turn(world, case, FIRST)
    before = world.bytes_of()
    assert world.run("close", FIRST, momentum={"plot": False}).success
    assert world.bytes_of() == before


# -- guardrails ------------------------------------------------------------------------------------------------------
GUARDED = {
    "metrics": {
        "quality": CASES["rate"].metric,
        "unsubscribe_rate": {"kind": "rate", "successes": "unsubscribes", "exposure": "sends", "better": "lower"},
    },
    "floor": {
        "metric": "quality",
        "above": "mean",
        "min_exposure": 20,
        "confidence": 0.8,
        "veto": {"unsubscribe_rate": 0.02},
    },
}


def _liked_and_left(rng: np.random.Generator, good: float) -> dict[str, float]:
    """What is replied to most is also what half of the readers leave for."""
    leaves = good > 0 and rng.random() < 2
    return {
        "replies": rng.binomial(200, 0.1 + 0.08 * good),
        "sends": 200,
        "unsubscribes": rng.binomial(200, 0.08 if leaves else 0.004),
    }


def test_a_guardrail_vetoes_what_the_floor_would_promote(tmp_path: Path) -> None:
    case = Case(CASES["rate"].metric, _liked_and_left, "")
    world = world_of(tmp_path / "world", case, **GUARDED)
    turn(world, case, FIRST)
    good = turn(world, case, SECOND)
    judged = {row["output_id"]: row for row in world.rows(tables.SCORED_OUTPUTS, SECOND)}
    guarded = [row for row in world.rows(tables.GUARDRAIL_SCORES, SECOND) if row["is_veto"]]
    assert {row["output_id"] for row in guarded} == {output_id for output_id, value in good.items() if value > 0}
    for row in guarded:
        assert (row["verdict"], row["decision"]) == ("past", "reject")
        reason = judged[row["output_id"]]["reason"]
        assert judged[row["output_id"]]["decision"] == "reject"
        assert judged[row["output_id"]]["is_vetoed"]
        assert "; vetoed: 1,000 sends, unsubscribe rate " in reason
        assert "limit 2.0% at most, under 1% sure it is within" in reason
    assert {row["floor_decision"] for row in guarded} == {"promote"}
    assert world.rows(tables.REFERENCE_CORPUS, SECOND) == []


def test_without_the_veto_the_same_outputs_are_promoted(tmp_path: Path) -> None:
    """The control that must fail."""
    case = Case(CASES["rate"].metric, _liked_and_left, "")
    floor = {name: value for name, value in GUARDED["floor"].items() if name != "veto"}
    world = world_of(tmp_path / "world", case, metrics=GUARDED["metrics"], floor=floor)
    turn(world, case, FIRST)
    good = turn(world, case, SECOND)
    promoted = {row["output_id"] for row in world.rows(tables.SCORED_OUTPUTS, SECOND) if row["decision"] == "promote"}
    assert promoted == {output_id for output_id, value in good.items() if value > 0}
    assert world.rows(tables.GUARDRAIL_SCORES, SECOND) == []


# -- files -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "row", "says"),
    [
        ("mean", ",10", "empty, but orders is 10; expected the revenue that goes with it"),
        ("duration", "-3,10", "below 0; expected 0 or more"),
        ("top_k", "0", "below 1; expected 1 or more"),
        ("count", "3,", "empty, but calls is 3"),
        ("count", "2.5,8", "whole"),
    ],
)
def test_a_row_that_no_metric_of_the_kind_can_mean_is_put_aside(tmp_path: Path, name: str, row: str, says: str) -> None:
    case = CASES[name]
    world = world_of(tmp_path / "world", case)
    assert world.open(FIRST).success
    output_id = next(iter(goodness(world, FIRST)))
    path = world.root / "bad.csv"
    header = ",".join(["output_id", "day", *case.day(np.random.default_rng(0), 0.0)])
    path.write_text(f"{header}\n{output_id},{FIRST},{row}\n", encoding="utf-8")
    batch, _ = land_file(world.lake, world.spec, "mailer", path, recorded_at=later(FIRST, days=8))
    assert batch.n_rows == 0
    assert says in " ".join(problem.reason for problem in batch.problems)


def test_a_refund_is_an_amount_like_any_other(tmp_path: Path) -> None:
    world = world_of(tmp_path / "world", CASES["mean"])
    assert world.open(FIRST).success
    output_id = next(iter(goodness(world, FIRST)))
    path = world.root / "refund.csv"
    path.write_text(f"output_id,day,revenue,orders\n{output_id},{FIRST},-12.5,2\n", encoding="utf-8")
    land_file(world.lake, world.spec, "mailer", path, recorded_at=later(FIRST, days=8))
    assert world.run("close", FIRST, momentum={"plot": False}).success
    (known,) = world.lake.read(tables.PERFORMANCE_METRICS, NAME, FIRST).to_pylist()
    assert (known["numerator"], known["exposure"], known["value"]) == (-12.5, 2.0, -6.25)
    assert (known["n_reports"], known["squares"]) == (1, 78.125)
