"""The dbt project as dbt has parsed it, kept beside its files until one of them changes.

Here: what dbt makes of the project (its manifest, to read and for dbt to start from), and when that must be made anew.
Not here: building and testing (`dbt.py`), and reading marts out of the manifest (`marts.py`).

Parsing costs more than building a small warehouse, and gives the same whenever the files are the same. What dbt calls
partial parsing does not see that here: it takes another path of the database in the profile for another project.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flywheel_pipelines.errors import PublishError
from flywheel_pipelines.paths import PROJECT_ROOT

DBT_PROJECT = PROJECT_ROOT / "dbt_project"
_FILES = ("*.yml", "models/**/*", "macros/**/*", "tests/**/*")
_PREFIX = "parsed-"
_MANIFEST = "manifest.json"
STATE_NAME = "partial_parse.msgpack"
_OUTPUT_TAIL = 4000
CLI = ("-c", "from dbt.cli.main import cli; cli()")
"""dbt's command, for Python. Not `-m dbt.cli.main`: that imports the module twice and warns about it."""


@dataclass(frozen=True)
class ParsedProject:
    """What dbt makes of a project: its `manifest` for readers, and its `state` as the bytes that dbt starts from."""

    manifest: dict[str, Any]
    state: bytes


def parsed(project: Path = DBT_PROJECT) -> ParsedProject:
    """The project as parsed, from the last time these very files were parsed, or anew (3-4 s).

    `make` parses, so that normally nothing is written here.

    Raises:
        PublishError: the project does not parse; dbt's output is quoted.
    """
    target = project / "target"
    folder = target / f"{_PREFIX}{fingerprint(project)}"
    if not folder.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        # Several processes may need it at once: each parses for itself, and the first to rename is taken.
        with tempfile.TemporaryDirectory(dir=target) as making:
            completed = run_dbt([*CLI, "parse", "--quiet"], project, Path(making))
            if completed.returncode or not (Path(making) / _MANIFEST).exists():
                raise PublishError(f"The dbt project in {project} does not parse:\n{tail(completed)}")
            _keep(Path(making), folder)
    manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    return ParsedProject(manifest, (folder / STATE_NAME).read_bytes())


def run_dbt(
    command: Sequence[str],
    project: Path,
    target: Path,
    variables: Mapping[str, str] | None = None,
    share: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a command of Python's that is dbt, on a project, with nothing of the environment's own `DBT_*` variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DBT_")}
    environment = inherited | {
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_VERSION_CHECK": "false",
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target),
        "DBT_USE_COLORS": "false",
        **(variables or {}),
    }
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False, pass_fds=share
    )


def fingerprint(project: Path) -> str:
    """Hash of all that decides what parsing gives: the files, where they are, and who parses."""
    digest = hashlib.sha256(f"{project.resolve()}\0{version('dbt-core')}\0{version('dbt-duckdb')}".encode())
    for path in sorted(path for pattern in _FILES for path in project.glob(pattern) if path.is_file()):
        digest.update(f"\0{path.relative_to(project)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _keep(made: Path, folder: Path) -> None:
    """Put what dbt made in its place, whole, and let go of what it made of earlier files."""
    for former in folder.parent.glob(f"{_PREFIX}*"):
        # Whoever starts from one of these has read it by now, or parses anew.
        if former != folder:
            shutil.rmtree(former, ignore_errors=True)
    kept = made / "kept"
    kept.mkdir()
    for name in (_MANIFEST, STATE_NAME):
        os.replace(made / name, kept / name)
    with contextlib.suppress(OSError):  # Another process was first, with the same.
        kept.rename(folder)


def tail(completed: subprocess.CompletedProcess[str]) -> str:
    """The end of what a command printed."""
    return (completed.stdout + completed.stderr).strip()[-_OUTPUT_TAIL:]


if __name__ == "__main__":
    parsed()
