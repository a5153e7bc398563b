"""A small flywheel that was replayed once, for every test that only reads it, and copies of it for those that write."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from flywheel_pipelines_tests.small_world import SmallWorld
from flywheel_pipelines_tests.warehouse_world import WarehouseWorld
from flywheel_pipelines_tests.written_world import WrittenWorld

# A shared machine is slow at times; how long an example may take is the business of pytest's timeout.
settings.register_profile("flywheel", deadline=None)
settings.load_profile("flywheel")


BEGAN = time.monotonic()
SLOW_SECONDS = "FLYWHEEL_SLOW_SECONDS"
"""Environment variable: so many seconds after the beginning, no further slow test is begun; unset: all are."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where there is a limit, slow tests that would begin too late are skipped, and the summary names their files."""
    seconds = os.environ.get(SLOW_SECONDS)
    if seconds and item.get_closest_marker("slow") and time.monotonic() - BEGAN > float(seconds):
        pytest.skip(f"{item.path.name}: {seconds} s were over before it began; `make test-all` has no such limit")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that may take longest come first, so that at the end no processor waits for one of them.

    With several processors that needs `--no-loadscope-reorder`: left alone, pytest-xdist begins with the files that
    have most tests, and ends with the longest proofs.
    """
    longest: dict[Path, float] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        seconds = float(marker.args[0]) if marker and marker.args else float(config.getini("timeout") or 0)
        longest[item.path] = max(seconds, longest.get(item.path, 0.0))
    items.sort(key=lambda item: -longest[item.path])


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    """Eight synthetic weeks, opened, measured, closed and published. Read it; to change something, copy it.

    Made once, by the first worker that asks, and shared: it takes as long as fifty other tests.
    """

    def make(root: Path) -> None:
        SmallWorld.make(root).replay(publish=True, keep_runs=True)

    return SmallWorld(made_once(tmp_path_factory, "replayed", make))


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """Three cycles of a written flywheel, opened and closed through Dagster, offline, before a simulated audience.

    Made once, as above. Read it; to change something, copy it.
    """

    def make(root: Path) -> None:
        WrittenWorld.make(root).play(3)

    return WrittenWorld(made_once(tmp_path_factory, "played", make))


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> WarehouseWorld:
    """A published file that has everything the warehouse tells of, corrections included.

    Made once, as above, in half a minute: tests that ask for it are slow ones. Read it; to change something, copy it.
    """
    return WarehouseWorld(made_once(tmp_path_factory, "warehouse", WarehouseWorld.make))


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first worker fills and the others wait for."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    root, finished = folder / name, folder / f"{name}.finished"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            make(root)
            finished.touch()
    return root


@pytest.fixture
def copied(replayed: SmallWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallWorld]:
    """The replayed flywheel in a folder of its own, in force while the test runs."""
    world = replayed.copy_to(tmp_path_factory.mktemp("copied"))
    with world.in_force():
        yield world
