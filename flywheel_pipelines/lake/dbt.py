"""Running dbt on a DuckDB file, and its results in words and rows.

Here: the dbt command in a process of its own, its results read back, and the manifest that describes the project.
Not here: the models and tests (`dbt_project/`), and what a failure means for the published file (`publish.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from flywheel_pipelines.errors import PublishError
from flywheel_pipelines.lake.dbt_project import DBT_PROJECT, STATE_NAME, parsed, run_dbt, tail

BUILD_FILE_VARIABLE = "FLYWHEEL_BUILD_FILE"
INCREMENTAL_VARIABLE = "FLYWHEEL_INCREMENTAL"
SLICES_VARIABLE = "FLYWHEEL_SLICES"
MEMORY_VARIABLE = "FLYWHEEL_BUILD_MEMORY"
MOST_MEMORY = 4 * 2**30
"""What DuckDB may hold while it builds, in bytes, and half of what the machine or the container has where that is less.
Two models of a slice of a long history (`increment.SLICE_BYTES`) fit into it side by side."""
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux says what a container may hold: of version 2 and of version 1. Without a limit there stands `max`, or a
number beyond any machine."""
FEEDS = "source.flywheel_warehouse.feeds."
"""The declared feeds, whose contracts are tested where they are read."""
RULES_TEST = "keeps_its_rules"
"""The test of all that a model's YAML says of its columns; its rows say which column and rule they are about."""
SAMPLE_ROWS = 5
SAMPLE_ROWS_PER_RULE = 2
_WORKER = "flywheel_pipelines.lake.dbt_worker"
_LEFT_OUT = ("--exclude-resource-type", "unit_test", "--exclude-resource-type", "exposure")
"""Unit tests try models on rows of their own, whatever is in the lake: they are for those who change models. An
exposure says who reads a mart: there is nothing to build of it, but dbt would report it among its results."""
_SPARE = ("--quiet", "--log-level-file", "none", *_LEFT_OUT)

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


def dbt_build(
    project: Path,
    build_file: Path,
    target: Path,
    share: Sequence[int] = (),
    *,
    incremental: bool = False,
    n_slices: int = 0,
) -> list[NodeOutcome]:
    """Build every model into the file and run every test on it; models and tests that fail are outcomes, not errors.

    dbt runs in a process of its own: when that ends the file is closed for certain, which an adapter that caches
    connections in this process could not promise, and an interrupted run cannot leave a lock behind. That process
    keeps the descriptors in `share` open for as long as it lives. An incremental build replaces the rows of touched
    cycles in a file that has all models (`macros/by_cycle.sql`), and tests these. With `n_slices` a full build makes
    the models that are kept by cycle from one slice of cycles after the other.

    Raises:
        PublishError: dbt did not get as far as results (a model does not compile, dbt itself broke); its output is
            quoted.
    """
    known = parsed(project)
    target.mkdir(parents=True, exist_ok=True)
    state = target / STATE_NAME
    state.write_bytes(known.state)
    command = ["-m", _WORKER, str(state), "build", *_SPARE]
    variables = {
        BUILD_FILE_VARIABLE: str(build_file),
        INCREMENTAL_VARIABLE: "yes" if incremental else "no",
        SLICES_VARIABLE: str(n_slices),
        MEMORY_VARIABLE: f"{min(MOST_MEMORY, memory() // 2) // 2**20}MiB",
    }
    completed = run_dbt(command, project, target, variables, share)
    results = target / "run_results.json"
    if not results.exists():
        raise PublishError(f"dbt build stopped before it had results:\n{tail(completed)}")
    with contextlib.closing(duckdb.connect(str(build_file), read_only=True)) as connection:
        found = json.loads(results.read_text(encoding="utf-8"))["results"]
        return [_outcome(result, known.manifest, connection) for result in found]


def dbt_manifest(project: Path = DBT_PROJECT) -> dict[str, Any]:
    """The project's manifest.

    Raises:
        PublishError: the project does not parse; dbt's output is quoted.
    """
    return parsed(project).manifest


def memory() -> int:
    """What this process may hold in bytes: the machine's memory, or that of its container where that is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(path.read_text(encoding="ascii")))
    return min(limits)


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
        rows = _sample(connection, result["compiled_code"], node)
    return NodeOutcome(
        name=node["name"],
        kind=kind,
        status=status,
        tested_models=tested if kind != "model" else (),
        n_failures=result.get("failures") or 0,
        message=(result.get("message") or "").strip(),
        rows=rows,
    )


def _sample(connection: duckdb.DuckDBPyConnection, query: str, node: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The first rows that a test selects, the column it is about before the others; of many rules, some of each."""
    if (node.get("test_metadata") or {}).get("name") == RULES_TEST:
        sampled = f"""
            select *, count(*) over (partition by broken_column, broken_rule) as n_rows from (\n{query}\n)
            qualify row_number() over (partition by broken_column, broken_rule) <= {SAMPLE_ROWS_PER_RULE}
            order by broken_column, broken_rule
        """
    else:
        sampled = f"select * from (\n{query}\n) limit {SAMPLE_ROWS}"
    found = connection.execute(sampled)
    names = [column[0] for column in found.description or []]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    first = node.get("column_name")
    return tuple({first: row[first]} | row if first in row else row for row in rows)


def _shorten(value: object, length: int = 80) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= length else text[: length - 3] + "..."
