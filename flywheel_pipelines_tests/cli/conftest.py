"""Running `flywheel ...` in this process, on an empty or on a replayed data directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flywheel_pipelines import cli
from flywheel_pipelines.paths import DATA_DIR_VARIABLE
from flywheel_pipelines_tests.cli.runner import Ran, Run
from flywheel_pipelines_tests.small_world import SmallWorld, quick_replays


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs `flywheel ...` in this process, through its entry point; its replays do not publish."""

    def flywheel(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["flywheel", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Ran(int(caught.value.code or 0), captured.out, captured.err)

    with quick_replays(publish=False, keep_runs=True):
        yield flywheel


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory in force in which nothing ever ran."""
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "data" / "dagster_home"))
    return tmp_path / "data"


@pytest.fixture
def there(replayed: SmallWorld) -> Iterator[SmallWorld]:
    """The replayed flywheel in force; only for commands that read."""
    with replayed.in_force():
        yield replayed
