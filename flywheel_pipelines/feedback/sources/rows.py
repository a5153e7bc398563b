"""Rows as a source hands them over, one chunk at a time.

Not here: where they come from (`sql`, `dlt_tables`), or the file they end in (`pulled_file`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel_pipelines.errors import FlywheelError

CHUNK_ROWS = 5_000
"""Rows in memory at a time. Of 100,000 rows of 8 columns, a chunk is about 10 MB as Python objects."""


@dataclass(frozen=True)
class SourceRows:
    """Columns and rows of a source; `chunks` can be read once. `in_order`: the order means something, so keep it."""

    names: Sequence[str]
    chunks: Iterator[Sequence[Sequence[Any]]]
    in_order: bool


def check_names(names: Sequence[str], what: str) -> None:
    """Raises FlywheelError when two columns share a name, or one has none."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FlywheelError(
            f"{what}: gives {', '.join(twice)} more than once, so it is unknown which column is meant. "
            "Give every column a name of its own (AS ...)."
        )
    if not names or not all(names):
        raise FlywheelError(f"{what}: gives a column without a name. Give every column one (AS ...).")
