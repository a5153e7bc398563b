"""A small flywheel that was replayed once, for every test that only reads it, and copies of it for those that write."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flywheel_pipelines_tests.small_world import SmallWorld


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    """Eight synthetic weeks, opened, measured, closed and published. Read it; to change something, copy it."""
    world = SmallWorld.make(tmp_path_factory.mktemp("replayed"))
    world.replay(publish=True, keep_runs=True)
    return world


@pytest.fixture
def copied(replayed: SmallWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallWorld]:
    """The replayed flywheel in a folder of its own, in force while the test runs."""
    world = replayed.copy_to(tmp_path_factory.mktemp("copied"))
    with world.in_force():
        yield world
