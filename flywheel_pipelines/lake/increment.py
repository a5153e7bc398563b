"""Which cycles a publish has to build anew, when it starts from the file that was published before.

Here: the record that a publish leaves beside its file, and what the lake has changed since. Not here: the views that an
incremental build reads (`snapshot.py`), replacing rows (`dbt_project/macros/by_cycle.sql`), and the steps of a publish.

Files of the lake are replaced and never changed, so size and time of a file say whether it is the one that was read. A
file of a ledger counts from the publish on that sees its batch. Whatever makes rows of cycles that nobody touched wrong
asks for a full publish: other models, contracts or releases; other settings of a flywheel, by which every cycle is
measured; a published file that somebody has written to.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb

from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.lake.dbt_project import fingerprint
from flywheel_pipelines.lake.files import PARQUET, read_file
from flywheel_pipelines.lake.layer_views import files_of
from flywheel_pipelines.lake.markers import markers_in
from flywheel_pipelines.lake.tables import ALL_TABLES, BATCHES, CYCLE_MANIFEST

RECORD = "published_from.json"
COPIES = "copies"
"""The folder beside a published file with the small tables of the lake, as one file each, that it was made from."""
MOST_TOUCHED = 0.25
"""Above this share of all cycles a full publish is as quick, and leaves the rows in their order."""
SLICE_BYTES = 64 * 2**20
"""A full publish goes through a larger lake in slices of cycles of about this size."""
Cycle = tuple[str, date]
"""A flywheel and the first day of one of its cycles."""


@dataclass(frozen=True)
class LakeState:
    """What a publish reads: by table and cycle, its files with size and time; and what all cycles depend on."""

    files: dict[str, dict[str, list[int]]]
    """By `flywheel=.../cycle=...`, each file below a table that is kept by cycle."""
    rules: str
    """Hash of models, contracts, releases, and the newest settings of each flywheel."""

    @classmethod
    def of(cls, snapshot: Path, project: Path) -> LakeState:
        """The state of a pinned lake."""
        counted = batches_of(snapshot)
        files: dict[str, dict[str, list[int]]] = {}
        for contract in filter(is_kept_by_cycle, ALL_TABLES):
            for path in snapshot.glob(files_of(contract)):
                table, flywheel, cycle = path.relative_to(snapshot).parts[:3]
                if contract.kind == "table" or path.stem in counted.get(flywheel, ()):
                    found = path.stat()
                    name = f"{table}/{path.relative_to(snapshot / table / flywheel / cycle)}"
                    files.setdefault(f"{flywheel}/{cycle}", {})[name] = [found.st_size, found.st_mtime_ns]
        return cls(files, _rules(snapshot, project))


@dataclass(frozen=True)
class Copy:
    """The rows of a table as one file, and the cycles whose rows are other ones by now."""

    path: Path
    outdated: frozenset[Cycle] = frozenset()


@dataclass(frozen=True)
class Increment:
    """A published file to start from, and the cycles whose rows it has wrong by now."""

    base: Path
    cycles: frozenset[Cycle]
    copies: Mapping[str, Copy] = field(default_factory=dict)
    """By table, the copy that lies beside the published file; outdated are the cycles above, too."""


def batches_of(snapshot: Path) -> dict[str, set[str]]:
    """The batches that count, by the folder of their flywheel; files of ledgers have their names."""
    return {folder.name: set(markers_in(folder)) for folder in (snapshot / BATCHES.name).glob("flywheel=*")}


def is_kept_by_cycle(contract: TableContract) -> bool:
    """Whether the rows of a cycle lie in a folder of their own."""
    return "cycle" in contract.partition_by


def find_increment(published: Path, state: LakeState) -> Increment | None:
    """What is to be built on top of the published file; None when only a full publish gives the same rows."""
    base = published.resolve()
    try:
        record: dict[str, Any] = json.loads((base.parent / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not _is_untouched(base, record) or record["rules"] != state.rules:
        return None
    touched = {key for key in {*record["files"], *state.files} if record["files"].get(key) != state.files.get(key)}
    if len(touched) > max(1, MOST_TOUCHED * len(state.files)):
        return None
    cycles = frozenset(map(_cycle_of, touched))
    return Increment(base, cycles, _untouched_copies(base, record, cycles))


def slices_of(state: LakeState) -> list[frozenset[Cycle]]:
    """The cycles of a large lake in several slices, in order of time; none when one would hold them all."""
    sizes = {key: sum(size for size, _ in files.values()) for key, files in state.files.items()}
    slices: list[set[Cycle]] = [set()]
    filled = 0
    for flywheel, cycle in sorted(map(_cycle_of, sizes), key=lambda one: (one[1], one[0])):
        size = sizes[f"flywheel={flywheel}/cycle={cycle}"]
        if filled and filled + size > SLICE_BYTES:
            slices.append(set())
            filled = 0
        slices[-1].add((flywheel, cycle))
        filled += size
    return [frozenset(cycles) for cycles in slices] if len(slices) > 1 else []


def copy_base(increment: Increment, build: Path) -> bool:
    """Copy the published file; False when somebody wrote to it meanwhile, so that the copy is of no use."""
    record = json.loads((increment.base.parent / RECORD).read_text(encoding="utf-8"))
    shutil.copyfile(increment.base, build)
    return _is_untouched(increment.base, record)


def write_record(build: Path, state: LakeState, copies: Iterable[Copy]) -> Path:
    """Leave beside a finished file, and beside its copies of small tables, what it was made from."""
    path = build.with_name(RECORD)
    known = {
        copy.path.stem: {"file": _identity(copy.path), "outdated": sorted(map(_key_of, copy.outdated))}
        for copy in copies
    }
    record = {"file": _identity(build), "rules": state.rules, "files": state.files, "copies": known}
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def files_of_cycles(contract: TableContract, snapshot: Path, cycles: Iterable[Cycle]) -> list[Path]:
    """The pinned files of a table that is kept by cycle, of some cycles."""
    deeper = "/".join(["*"] * (len(contract.partition_by) - 2) + [f"*{PARQUET}"])
    folders = (snapshot / contract.name / f"flywheel={flywheel}" / f"cycle={cycle}" for flywheel, cycle in cycles)
    return sorted(path for folder in folders for path in folder.glob(deeper))


def _is_untouched(base: Path, record: Mapping[str, Any]) -> bool:
    """Whether a published file is as it was put in place, without the log of somebody who writes to it."""
    return _identity(base) == record["file"] and not base.with_name(f"{base.name}.wal").exists()


def _untouched_copies(base: Path, record: Mapping[str, Any], cycles: frozenset[Cycle]) -> dict[str, Copy]:
    found = {}
    for name, known in record["copies"].items():
        path = base.with_name(COPIES) / f"{name}{PARQUET}"
        if path.exists() and _identity(path) == known["file"]:
            found[name] = Copy(path, cycles | frozenset(map(_cycle_of, known["outdated"])))
    return found


def _identity(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _cycle_of(key: str) -> Cycle:
    flywheel, cycle = key.split("/")
    return flywheel.removeprefix("flywheel="), date.fromisoformat(cycle.removeprefix("cycle="))


def _key_of(cycle: Cycle) -> str:
    return f"flywheel={cycle[0]}/cycle={cycle[1]}"


def _rules(snapshot: Path, project: Path) -> str:
    digest = hashlib.sha256(f"{fingerprint(project)}\0{version('duckdb')}\0{duckdb.__version__}".encode())
    for contract in ALL_TABLES:
        fields = [
            f"{field.name} {field.type} {field.nullable} {contract.describe(field.name)}" for field in contract.schema
        ]
        digest.update(
            repr((contract.name, contract.kind, contract.partition_by, contract.key, contract.version, fields)).encode()
        )
    for folder in sorted((snapshot / CYCLE_MANIFEST.name).glob("flywheel=*")):
        digest.update(repr((folder.name, _newest_settings(folder))).encode())
    return digest.hexdigest()


def _newest_settings(manifests: Path) -> str | None:
    """The settings by which every cycle is measured, as in int_metric_definitions and int_cycle_instants."""
    for path in sorted(manifests.glob(f"cycle=*/*{PARQUET}"), reverse=True):
        for settings in read_file(CYCLE_MANIFEST, path, ["settings"]).column("settings").to_pylist():
            with contextlib.suppress(ValueError, TypeError):
                json.loads(settings)
                return settings
    return None
