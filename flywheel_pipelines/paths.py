"""Where a run keeps its files. Here: paths and the variable that moves them. Not here: reading or writing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DATA_DIR_VARIABLE = "FLYWHEEL_DATA_DIR"
PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEFS_DIR = Path(__file__).resolve().parent / "defs"
RECIPES_DIR = Path(__file__).resolve().parent / "recipes"
"""Flywheels to copy as a start; unlike those in DEFS_DIR none of them is loaded."""


@dataclass(frozen=True)
class DataPaths:
    """The folders below one data directory. `FLYWHEEL_DATA_DIR` moves them all (tests and replays use their own)."""

    root: Path

    @classmethod
    def from_environment(cls) -> DataPaths:
        """`FLYWHEEL_DATA_DIR` when set, else `data/` beside the package."""
        return cls(Path(os.environ.get(DATA_DIR_VARIABLE) or PROJECT_ROOT / "data").expanduser().resolve())

    @property
    def lake(self) -> Path:
        """Hive-partitioned Parquet: the source of truth."""
        return self.root / "lake"

    @property
    def journal(self) -> Path:
        """Answers of language models that are not yet in the lake: a write-ahead log, empty between runs."""
        return self.root / "journal"

    @property
    def inbox(self) -> Path:
        """Where people and systems drop files."""
        return self.root / "inbox"

    @property
    def inbox_seen(self) -> Path:
        """Which files of the inbox its sensors have read; to lose it costs reading them again."""
        return self.root / "inbox_seen"

    @property
    def outbox(self) -> Path:
        """What a cycle published, ready to be picked up."""
        return self.root / "outbox"

    @property
    def training(self) -> Path:
        """What a model may be trained on, by flywheel and cycle: JSON lines and a data card."""
        return self.root / "training"

    @property
    def reports(self) -> Path:
        """Pages and plots for people."""
        return self.root / "reports"

    @property
    def published_file(self) -> Path:
        """The DuckDB file that analysts open."""
        return self.root / "flywheel.duckdb"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own storage: runs, events, schedules."""
        return Path(os.environ.get("DAGSTER_HOME") or self.root / "dagster_home")
