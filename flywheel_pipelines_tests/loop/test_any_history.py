"""Whatever happens to the feedback, in whatever order, the tables are what a clean rebuild from the ledgers gives.

And what was known at an instant can be had again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.loop.histories import (
    CYCLES,
    MAILER,
    REPLACING,
    Again,
    Close,
    Event,
    History,
    Landing,
    close,
    close_bytes,
    copy_of,
    histories,
    published_world,
    without_closes,
)
from flywheel_pipelines_tests.small_world import changed_files
from flywheel_pipelines_tests.written_world import NAME, WrittenWorld

SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
CORRECTED = (
    Landing(MAILER, ((0, 1, 40, 30), (7, 2, 50, 1))),
    Close(),
    Landing(MAILER, ((0, 1, 40, 2),), killed_at=1),
    Landing(REPLACING, ((3, 0, 20, 20), (4, 1, 30, 3))),
    Close(killed_at=9),
    Again(0),
    Landing(REPLACING, ((4, 0, 20, 1), (5, 1, 30, 3))),
    Close(),
)
"""A correction, a kill while landing, one while closing, a duplicate, and an export that leaves rows out."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """Three closed cycles. Read only; examples play in copies."""
    return published_world(tmp_path_factory.mktemp("published") / "world")


def folder_of(world: WrittenWorld) -> Path:
    return world.root.parent / uuid4().hex


@pytest.fixture(scope="module")
def corrected(published: WrittenWorld) -> History:
    """The fixed history, played. Read only."""
    history = History(copy_of(published, folder_of(published)))
    history.play(CORRECTED)
    return history


def assert_any_history_equals_a_rebuild(published: WrittenWorld, happening: list[Event]) -> None:
    history = History(copy_of(published, folder_of(published)))
    history.play(happening)
    assert_equals_a_rebuild(history)
    shutil.rmtree(history.world.root)


def assert_equals_a_rebuild(history: History) -> None:
    rebuilt = without_closes(history.world, folder_of(history.world))
    assert close_bytes(rebuilt) == {}
    close(rebuilt)
    after = close_bytes(history.world, "input_versions")
    assert changed_files(after, close_bytes(rebuilt, "input_versions")) == []
    assert_knows_what_was_known(history, rebuilt)
    shutil.rmtree(rebuilt.root)


def assert_knows_what_was_known(history: History, rebuilt: WrittenWorld) -> None:
    for instant, known in history.closed_at.items():
        close(rebuilt, cutoff=instant)
        assert changed_files(known, close_bytes(rebuilt)) == [], f"as known at {instant}"


def test_a_history_with_everything_in_it_equals_a_rebuild_and_knows_what_was_known(corrected: History) -> None:
    assert_equals_a_rebuild(corrected)


@settings(max_examples=2, suppress_health_check=SLOW, phases=[Phase.generate])
@given(happening=histories(4))
def test_any_history_equals_a_rebuild_and_knows_what_was_known(published: WrittenWorld, happening: list[Event]) -> None:
    """A few short ones, which differ from run to run; the slow test below plays many."""
    assert_any_history_equals_a_rebuild(published, happening)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@settings(max_examples=40, suppress_health_check=SLOW)
@given(happening=histories(8))
def test_many_histories_equal_a_rebuild_and_know_what_was_known(
    published: WrittenWorld, happening: list[Event]
) -> None:
    assert_any_history_equals_a_rebuild(published, happening)


def test_control_a_close_that_was_left_out_is_seen(published: WrittenWorld) -> None:
    """Feedback that nobody closed for leaves other bytes than a rebuild: the comparison can fail."""
    history = History(copy_of(published, folder_of(published)))
    history.close = lambda: None  # type: ignore[method-assign]
    history.play([Landing(MAILER, ((0, 1, 60, 50),))])
    rebuilt = without_closes(history.world, folder_of(published))
    close(rebuilt)
    changed = changed_files(close_bytes(history.world), close_bytes(rebuilt))
    assert f"performance_metrics/flywheel={NAME}/cycle={CYCLES[0]}/part.parquet" in changed


def test_the_fixed_history_reaches_what_it_is_about(corrected: History) -> None:
    """It corrects, replaces and deletes: without these the property would say little."""
    assert corrected.world.lake.read(tables.METRIC_REPLACEMENTS, NAME).num_rows > 0
    assert len(corrected.closed_at) >= 3
    assert len({tuple(sorted(known.items())) for known in corrected.closed_at.values()}) >= 3
