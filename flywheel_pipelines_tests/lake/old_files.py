"""Files of the lake as other versions of this project write them: what they say, and putting others in their place."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel_pipelines.lake.contracts import VERSION_KEY
from flywheel_pipelines_tests.written_world import WrittenWorld

WORLD_OF_BEFORE = Path(__file__).with_name("before_ablation_arms") / "world.tar.xz"
ADDED_SINCE = {
    "cycle_manifest": ("no_references_prompt_version", "no_guidelines_prompt_version"),
    "generated_outputs": ("soft_score", "soft_scores"),
    "tickets": ("locale", "removed"),
}
"""Columns of text, by table, that came after that world was written; null in its rows."""


def world_of_before(root: Path) -> WrittenWorld:
    """The world of the last commit before the ablation arms, in a folder of its own."""
    with tarfile.open(WORLD_OF_BEFORE) as archive:
        archive.extractall(root, filter="data")
    return WrittenWorld(root)


def stamp_of(path: Path) -> bytes | None:
    """The version that a file says it was written by."""
    return (pq.read_metadata(path).metadata or {}).get(VERSION_KEY)


def raw(path: Path) -> pa.Table:
    """What stands in a file, and nothing else."""
    return pq.ParquetFile(path).read()


def rewrite(path: Path, table: pa.Table, version: int | str | None) -> None:
    """Put a table in the place of a file, said to be of a version, or of none; it is a new file, as after any write."""
    beside = path.with_name(f".{path.name}")
    pq.write_table(table.replace_schema_metadata(None if version is None else {VERSION_KEY: str(version)}), beside)
    beside.replace(path)
