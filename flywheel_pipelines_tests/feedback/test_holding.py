"""Implausible rows on their way in: held with the reason, counted, and let in when a person says so."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from flywheel_pipelines.feedback.feeds import FeedBatch
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.feedback.releasing import release, retry_unmatched
from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.feedback.quarantine_desk import AT, CYCLE, FLYWHEEL, HEADER, Desk

OUTPUTS = [f"out{number:03d}" for number in range(24)]
NEXT = date(2026, 1, 12)
JUMP = f"{OUTPUTS[0]},{NEXT},400,150,300,2"
LATER = AT + timedelta(days=3)


def ordinary(outputs: list[str], first: date, days: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    lines = []
    for output in outputs:
        for day in range(days):
            sends = int(rng.poisson(400))
            opens, replies = (int(rng.binomial(sends, rng.beta(p * 300, (1 - p) * 300))) for p in (0.35, 0.04))
            lines.append(
                f"{output},{first + timedelta(days=day)},{sends},{opens},{replies},{rng.binomial(sends, 0.005)}"
            )
    return lines


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A week of an ordinary past."""
    made = Desk(tmp_path)
    made.publish(*OUTPUTS)
    assert made.land(*ordinary(OUTPUTS, CYCLE, 7, seed=1)).header["n_held"] == 0
    return made


def attack(desk: Desk, *more: str, hours: int = 24) -> FeedBatch:
    return desk.land(JUMP, *more, *ordinary(OUTPUTS[1:], NEXT, 1, seed=2), hours=hours)


def test_the_row_that_jumped_is_held_and_the_rest_lands(desk: Desk) -> None:
    batch = attack(desk)
    assert (batch.header["n_held"], batch.n_quarantined, batch.n_rows) == (1, 1, 23)
    (row,) = desk.open()
    assert (row.problem, row.source_row, row.cells) == (
        "held",
        1,
        dict(zip(HEADER.split(","), JUMP.split(","), strict=True)),
    )
    (wrong,) = row.wrong
    assert (wrong.field, wrong.found) == ("replies", "300 of 400")
    assert "flywheel quarantine release" in wrong.reason
    assert (OUTPUTS[0], NEXT) not in desk.known()


def test_control_an_ordinary_file_lands_whole(desk: Desk) -> None:
    batch = desk.land(*ordinary(OUTPUTS, NEXT, 7, seed=2), hours=24)
    assert (batch.n_quarantined, batch.n_rows) == (0, 7 * 24)


def test_the_book_of_batches_knows_how_many_are_held(desk: Desk) -> None:
    batch = attack(desk)
    headers = desk.lake.read(tables.BATCHES, FLYWHEEL, where=f"batch_id = '{batch.batch_id}'").to_pylist()
    assert [header["n_held"] for header in headers] == [1]


def test_what_a_person_released_is_not_held_again(desk: Desk) -> None:
    attack(desk)
    (done,) = release(desk.lake, desk.spec, desk.open(), recorded_at=LATER, decided_by="ana", note="it went viral")
    assert (done.batch.n_rows, done.again, desk.open()) == (1, [], [])
    assert desk.known()[(OUTPUTS[0], NEXT)] == 300.0


def test_a_row_that_matches_by_itself_is_judged_like_any_other(desk: Desk) -> None:
    stranger = JUMP.replace(OUTPUTS[0], "unheard")
    desk.land(stranger, *ordinary(OUTPUTS[1:], NEXT, 1, seed=2), hours=24)
    assert [row.problem for row in desk.open()] == ["unmatched"]
    desk.publish(*OUTPUTS, "unheard")
    retry_unmatched(desk.lake, desk.spec, LATER)
    assert [row.problem for row in desk.open()] == ["held"]
    assert ("unheard", NEXT) not in desk.known()


def test_a_feed_may_be_trusted(desk: Desk) -> None:
    trusting = desk.spec.model_copy(deep=True)
    trusting.feeds["mailer"] = trusting.feeds["mailer"].model_copy(update={"hold_implausible": False})
    path = desk.root / "trusted.csv"
    path.write_text(f"{HEADER}\n{JUMP}\n", encoding="utf-8")
    batch, _ = land_file(desk.lake, trusting, "mailer", path, recorded_at=LATER)
    assert (batch.n_rows, batch.n_quarantined) == (1, 0)


def test_the_same_file_twice_is_one_batch_though_it_was_judged(desk: Desk) -> None:
    attack(desk)
    batch = attack(desk, hours=24)
    assert len(desk.open()) == 1
    assert batch.header["n_held"] == 1
