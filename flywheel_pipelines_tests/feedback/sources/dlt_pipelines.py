"""Real dlt pipelines over files, run in a process of their own as their owners run them. Run it to load: see `load`."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from flywheel_pipelines.paths import PROJECT_ROOT

PIPELINE, DATASET = "mail", "marketing"
SCRIPT = """
import os, sys
import dlt
from dlt.sources.filesystem import filesystem, read_csv_duckdb

files, pipelines, destination, breaks = sys.argv[1:5]
pipeline = dlt.pipeline("mail", pipelines_dir=pipelines, destination=destination, dataset_name="marketing")
changed = dlt.sources.incremental("modification_date")
found = filesystem(bucket_url=f"file://{files}", file_glob="*.csv", incremental=changed)
rows = (found | read_csv_duckdb(header=True)).with_name("mailer")
if breaks == "aborts":
    # The rows are in the table when the other job of the same load fails, which aborts the load.
    from dlt.destinations.impl.duckdb.duck import DuckDbClient
    finish = DuckDbClient.complete_load
    def refuse(self, load_id):
        raise RuntimeError("the machine went away")
    DuckDbClient.complete_load = refuse
if breaks == "nested":
    pipeline.run([{"id": 1, "parts": [{"sends": 1}]}], table_name="letters")
else:
    pipeline.run(rows)
"""


@dataclass(frozen=True)
class DltWorld:
    """A folder with files, the pipelines that load them, and what they load into."""

    root: Path
    destination: str
    pipelines_dir: str = "pipelines"

    @property
    def pipelines(self) -> Path:
        return self.root / self.pipelines_dir

    @property
    def environment(self) -> dict[str, str]:
        """What dlt's configuration is, for whoever loads and whoever reads; home is a folder that must stay empty."""
        return {
            "DESTINATION__DUCKDB__CREDENTIALS": str(self.root / "mail.duckdb"),
            "DESTINATION__FILESYSTEM__BUCKET_URL": f"file://{self.root / 'bucket'}",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "HOME": str(self.root / "home"),
        }

    def drop(self, name: str, *lines: str, header: str = "output_id,day,sends,replies") -> None:
        """Put a file where the pipeline looks."""
        files = self.root / "files"
        files.mkdir(exist_ok=True)
        (files / name).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")

    def load(self, how: str = "works") -> None:
        """Run the pipeline: `works`, `aborts` (after its rows are in the table), or `nested` (another table)."""
        (self.root / "home").mkdir(exist_ok=True)
        (self.root / "files").mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(self.root / "files"), str(self.pipelines), self.destination, how],
            env={**os.environ, **self.environment}, cwd=self.root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == (how != "aborts"), done.stderr
        assert how != "aborts" or "the machine went away" in done.stderr, done.stderr


def read_apart(world: DltWorld, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script that reads the pipeline, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **world.environment, "PYTHONPATH": str(PROJECT_ROOT)},
        cwd=world.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
