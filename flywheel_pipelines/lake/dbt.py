"""Running dbt on a DuckDB file, and its results in words and rows.

Here: the dbt command in a process of its own, its results read back, and the manifest that describes the project.
Not here: the models and tests (`dbt_project/`), and what a failure means for the published file (`publish.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from flywheel_pipelines.errors import PublishError
from flywheel_pipelines.paths import PROJECT_ROOT

DBT_PROJECT = PROJECT_ROOT / "dbt_project"
BUILD_FILE_VARIABLE = "FLYWHEEL_BUILD_FILE"
FEEDS = "source.flywheel_warehouse.feeds."
"""The declared feeds, whose contracts are tested where they are read."""
SAMPLE_ROWS = 5
_OUTPUT_TAIL = 4000

Status = Literal["pass", "warn", "fail", "error", "skipped"]
_STATUS: dict[str, Status] = {"success": "pass", "pass": "pass", "warn": "warn", "fail": "fail", "skipped": "skipped"}


@dataclass(frozen=True)
class NodeOutcome:
    """What became of one model or test. `rows` holds the first rows that a test objected to."""

    name: str
    kind: Literal["model", "test", "unit_test"]
    status: Status
    tested_models: tuple[str, ...]
    n_failures: int
    message: str
    rows: tuple[dict[str, Any], ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether it does not stand in the way of publishing; a warning does not."""
        return self.status in {"pass", "warn"}

    def explain(self) -> str:
        """The outcome in a few lines: what, how many rows, which."""
        if self.kind == "model" or self.status == "error" or not self.n_failures:
            return f"{self.kind} {self.name}: {self.status}. {self.message}"
        models = ", ".join(self.tested_models)
        lines = [f"{self.kind} {self.name} (on {models}): {self.n_failures} row(s) object. For example:"]
        lines += ["  " + ", ".join(f"{column}={_shorten(value)}" for column, value in row.items()) for row in self.rows]
        return "\n".join(lines)


def dbt_build(project: Path, build_file: Path, target: Path, share: Sequence[int] = ()) -> list[NodeOutcome]:
    """Build every model into the file and run every test on it; models and tests that fail are outcomes, not errors.

    dbt runs in a process of its own: when that ends the file is closed for certain, which an adapter that caches
    connections in this process could not promise, and an interrupted run cannot leave a lock behind. That process
    keeps the descriptors in `share` open for as long as it lives.

    Raises:
        PublishError: dbt did not get as far as results (a model does not compile, dbt itself broke); its output is
            quoted.
    """
    completed = _run_dbt(["build", "--quiet"], project, target, {BUILD_FILE_VARIABLE: str(build_file)}, share)
    results = target / "run_results.json"
    if not results.exists():
        raise PublishError(f"dbt build stopped before it had results:\n{_tail(completed)}")
    nodes = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    with contextlib.closing(duckdb.connect(str(build_file), read_only=True)) as connection:
        return [
            _outcome(result, nodes, connection) for result in json.loads(results.read_text(encoding="utf-8"))["results"]
        ]


def dbt_manifest(project: Path = DBT_PROJECT) -> dict[str, Any]:
    """The project's manifest, parsed anew when it is missing or older than the project's files.

    `make` keeps it fresh, so that normally nothing is written here; a clone that was never built pays once (3-4 s).

    Raises:
        PublishError: the project does not parse; dbt's output is quoted.
    """
    manifest = project / "target" / "manifest.json"
    sources = [
        path
        for pattern in ("*.yml", "models/**/*.*", "macros/**/*.sql", "tests/**/*.sql")
        for path in project.glob(pattern)
    ]
    newest = max((path.stat().st_mtime for path in sources), default=0.0)
    if not manifest.exists() or manifest.stat().st_mtime < newest:
        manifest.parent.mkdir(parents=True, exist_ok=True)
        # Several processes may load the definitions at once: each parses for itself, and renames.
        with tempfile.TemporaryDirectory(dir=manifest.parent) as folder:
            completed = _run_dbt(["parse", "--quiet"], project, Path(folder))
            parsed = Path(folder) / "manifest.json"
            if completed.returncode or not parsed.exists():
                raise PublishError(f"The dbt project in {project} does not parse:\n{_tail(completed)}")
            os.replace(parsed, manifest)
    return json.loads(manifest.read_text(encoding="utf-8"))


def _run_dbt(
    arguments: Sequence[str],
    project: Path,
    target: Path,
    variables: Mapping[str, str] | None = None,
    share: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DBT_")}
    environment = inherited | {
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target),
        "DBT_USE_COLORS": "false",
        **(variables or {}),
    }
    # Not `-m dbt.cli.main`: that imports the module twice and warns about it.
    command = [sys.executable, "-c", "from dbt.cli.main import cli; cli()", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, pass_fds=share)


def _outcome(result: dict[str, Any], manifest: dict[str, Any], connection: duckdb.DuckDBPyConnection) -> NodeOutcome:
    unique_id: str = result["unique_id"]
    kind: Any = unique_id.split(".")[0]
    node = manifest["unit_tests" if kind == "unit_test" else "nodes"][unique_id]
    status = _STATUS.get(result["status"], "error")
    # A test that compares two models is declared on one of them; a test in a file of its own is about all it reads.
    about = [node["attached_node"]] if node.get("attached_node") else node["depends_on"]["nodes"]
    tested = tuple(parent.split(".")[-1] for parent in about if parent.startswith(("model.", FEEDS)))
    rows: tuple[dict[str, Any], ...] = ()
    if kind == "test" and status in {"fail", "warn"} and result.get("compiled_code"):
        rows = _sample(connection, result["compiled_code"], first=node.get("column_name"))
    return NodeOutcome(
        name=node["name"],
        kind=kind,
        status=status,
        tested_models=tested if kind != "model" else (),
        n_failures=result.get("failures") or 0,
        message=(result.get("message") or "").strip(),
        rows=rows,
    )


def _sample(connection: duckdb.DuckDBPyConnection, query: str, first: str | None) -> tuple[dict[str, Any], ...]:
    """The first rows that a test selects, the column it is about before the others."""
    found = connection.execute(f"select * from (\n{query}\n) limit {SAMPLE_ROWS}")
    names = [column[0] for column in found.description or []]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return tuple({first: row[first]} | row if first in row else row for row in rows)


def _shorten(value: object, length: int = 80) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def _tail(completed: subprocess.CompletedProcess[str]) -> str:
    return (completed.stdout + completed.stderr).strip()[-_OUTPUT_TAIL:]
