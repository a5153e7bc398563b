"""docs/sources.md does what it says: its YAML loads, and its commands run from a source to the ledgers."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flywheel_pipelines.cli import shared
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.feedback.sources.dlt_pipelines import DltWorld
from flywheel_pipelines_tests.postgres import Postgres, postgres
from flywheel_pipelines_tests.pulled_world import FEED_YAML, VARIABLE, landed, measured, outputs_of, with_feeds
from flywheel_pipelines_tests.written_world import WEEKS, WrittenWorld

__all__ = ["postgres"]
TEXT = (PROJECT_ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
YAML = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
LINES = [line for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
PULLS = [shlex.split(line)[1:] for line in LINES if line.startswith(".venv/bin/flywheel ")]


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenWorld]:
    made = with_feeds(played.copy_to(tmp_path), "\n".join(YAML))
    monkeypatch.setattr(shared, "DEFS_DIR", made.root / "defs")
    with made.in_force():
        yield made


def test_every_line_is_one_of_those_that_are_tested_here() -> None:
    kinds = {line.split()[0] for line in LINES}
    assert kinds == {"pip", "export", ".venv/bin/flywheel"}
    assert [words[0] for words in PULLS] == ["pull", "pull"]
    assert len(YAML) == 2


def test_the_extras_that_are_installed_exist() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"flywheel-pipelines\[(\w+)\]", "\n".join(LINES))
    assert named == ["sql", "dlt"]
    assert set(named) <= set(project["optional-dependencies"])


def test_the_url_is_one_and_its_variable_is_that_of_the_feed() -> None:
    import sqlalchemy

    (line,) = [line for line in LINES if line.startswith("export")]
    name, _, url = shlex.split(line)[1].partition("=")
    assert name == yaml.safe_load(YAML[0])["warehouse"]["sql"]["url_variable"] == VARIABLE
    assert sqlalchemy.make_url(url).get_dialect().name == "postgresql"


def test_the_feed_of_the_other_tests_is_the_one_that_people_read() -> None:
    assert yaml.safe_load(YAML[0]) == yaml.safe_load(FEED_YAML)


def test_the_query_lands(world: WrittenWorld, run: Run, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    database = postgres.new_database()
    output = measured(world, postgres, database)
    monkeypatch.setenv(VARIABLE, postgres.url(database))
    ran = run(*PULLS[0])
    assert ran.code == 0, ran.said
    assert landed(world, output) == {"sends": 50.0, "replies": 5.0}


def test_what_dlt_has_loaded_lands_and_so_does_what_it_loads_later(
    world: WrittenWorld, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = DltWorld(world.root, "duckdb", "data/dlt")
    for name, value in pipeline.environment.items():
        monkeypatch.setenv(name, value)
    first, second = outputs_of(world)[:2]
    pipeline.drop("monday.csv", f"{first},{WEEKS[0]},70,7")
    pipeline.load()
    ran = run(*PULLS[1])
    assert ran.code == 0, ran.said
    assert landed(world, first) == {"sends": 70.0, "replies": 7.0}
    pipeline.drop("tuesday.csv", f"{second},{WEEKS[0]},60,6")
    pipeline.load()
    assert "2 rows landed" in run(*PULLS[1]).said
    assert landed(world, second) == {"sends": 60.0, "replies": 6.0}
