"""The next DuckDB, from `make duckdb-next`: a whole publish with it, and files of either opened by the other.

The project runs on the DuckDB of the lock. Readers have whatever they installed, and the lock will be renewed one day.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import PROJECT_ROOT, DataPaths
from flywheel_pipelines_tests.lake_samples import WEEKS, write_sample_lake

NEXT = Path(os.environ.get("FLYWHEEL_DUCKDB_NEXT", PROJECT_ROOT / ".duckdb-next"))
ASKED = ("select count(*) from outputs", "select count(*) from performance_as_known('2030-01-01')", "from cycles")
PUBLISH = """
import sys, pathlib, duckdb
from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.paths import DataPaths
report = publish(DataPaths(pathlib.Path(sys.argv[1])))
print(duckdb.__version__, len(report.outcomes), all(outcome.is_good for outcome in report.outcomes))
"""
READ = """
import sys, duckdb
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    print(duckdb.__version__, [connection.execute(query).fetchall() for query in sys.argv[2:]])
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (NEXT / "duckdb").is_dir(), reason="the next DuckDB is not installed: make duckdb-next"),
]


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    paths = DataPaths(tmp_path / "data")
    write_sample_lake(Lake(paths.lake))
    return paths


def with_next(code: str, *arguments: str) -> list[str]:
    """What a program prints, run with the next DuckDB: its release, and the rest of the line."""
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": f"{NEXT}{os.pathsep}{PROJECT_ROOT}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout.strip().split(" ", 1)


def test_models_and_tests_pass_on_it_and_todays_duckdb_opens_the_file(paths: DataPaths):
    release, outcomes = with_next(PUBLISH, str(paths.root))
    assert int(release.split(".")[0]) > int(duckdb.__version__.split(".")[0])
    n_outcomes, is_good = outcomes.split()
    assert int(n_outcomes) > 200
    assert is_good == "True"
    with contextlib.closing(duckdb.connect(str(paths.published_file), read_only=True)) as connection:
        (first,) = connection.execute("select min(cycle) from outputs").fetchall()[0]
    assert first == WEEKS[0]


def test_it_reads_what_todays_duckdb_wrote(paths: DataPaths):
    publish(paths)
    with contextlib.closing(duckdb.connect(str(paths.published_file), read_only=True)) as connection:
        expected = [connection.execute(query).fetchall() for query in ASKED]
    assert expected[0][0][0] > 0
    release, rows = with_next(READ, str(paths.published_file), *ASKED)
    assert release != duckdb.__version__
    assert rows == str(expected)
