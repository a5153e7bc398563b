"""A small lake whose feeds take hostile files, and what must hold of every file that goes through the door."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from flywheel_pipelines.errors import FlywheelError, InputFileError
from flywheel_pipelines.feedback.landing import land_file, record_unusable_file
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.spec import FlywheelSpec
from flywheel_pipelines_tests.lake_samples import FLYWHEEL, output_id, write_sample_lake
from flywheel_pipelines_tests.small_world import fingerprint

AT = datetime(2026, 2, 2, tzinfo=UTC)
OUTPUT, OTHER = output_id(1, "a", 0), output_id(1, "b", 1)
FEEDS = ("numbers", "wishes", "addresses", "opinions", "questions")
"""The feeds that every file is handed to, one of each kind: its columns fit all of them."""
SETTINGS: dict[str, Any] = {
    "name": FLYWHEEL,
    "start": "2026-01-05",
    "briefs": {"feed": "wishes"},
    "producer": {
        "kind": "llm",
        "model": "gpt-5-mini",
        "output": "letter.json",
        "prices": {"gpt-5-mini": {"input": 0.25, "output": 2.0}},
    },
    "metrics": {"ctr": {"kind": "rate", "successes": "clicks", "exposure": "impressions"}},
    "floor": {"metric": "ctr", "above": "mean", "min_exposure": 30, "confidence": 0.8},
    "feeds": {
        "numbers": {"kind": "metrics", "path": "numbers/*", "hold_implausible": False},
        "wishes": {"kind": "briefs", "path": "wishes/*"},
        "addresses": {"kind": "outputs", "path": "addresses/*", "columns": {"external_id": "brief_id"}},
        "opinions": {"kind": "reviews", "path": "opinions/*", "columns": {"final_text": "title"}},
        "questions": {
            "kind": "tickets",
            "path": "questions/*",
            "columns": {"ticket_id": "brief_id", "created_at": "date", "text": "title"},
        },
    },
}


@cache
def _sample() -> tempfile.TemporaryDirectory[str]:
    """The sample lake, written once in each process: every partition is synced to disk, which takes a second."""
    folder = tempfile.TemporaryDirectory()
    write_sample_lake(Lake(folder.name))
    return folder


@dataclass(frozen=True)
class Landed:
    """How one file ended: rows taken and put aside, or the words of the refusal."""

    n_rows: int = 0
    n_quarantined: int = 0
    reasons: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Door:
    """One lake and the flywheel whose feeds lead to it."""

    lake: Lake
    spec: FlywheelSpec

    @classmethod
    def make(cls, root: Path) -> Door:
        # By hard links: files of a lake are replaced and never written to.
        shutil.copytree(_sample().name, root, copy_function=os.link)
        return cls(Lake(root), FlywheelSpec.model_validate(SETTINGS))

    def hand_in(self, feed: str, path: Path) -> Landed:
        """Land a file, and hold the lake to what must be true however that ends.

        Anything but a FlywheelError goes through, and fails the test. A file that is refused leaves no trace; one that
        lands adds files and changes none.
        """
        before = fingerprint(self.lake.root)
        try:
            batch, is_new = land_file(self.lake, self.spec, feed, path, recorded_at=AT)
        except FlywheelError as error:
            assert fingerprint(self.lake.root) == before, "a refused file left something in the lake"
            self._check_refusal(feed, path, error)
            check_earlier_files(before, fingerprint(self.lake.root))
            return Landed(error=str(error))
        check_earlier_files(before, fingerprint(self.lake.root))
        assert is_new
        assert batch.n_rows + batch.n_quarantined > 0, "a file that lands says something"
        return Landed(batch.n_rows, batch.n_quarantined, " ".join(problem.reason for problem in batch.problems))

    def _check_refusal(self, feed: str, path: Path, error: FlywheelError) -> None:
        text = str(error)
        assert text.replace("\n", "").isprintable(), "an error can be printed"
        assert len(text) < 20_000, "an error can be read"
        assert "Traceback" not in text
        if isinstance(error, InputFileError):
            batch, _ = record_unusable_file(self.lake, self.spec, feed, path, error, recorded_at=AT)
            assert batch.n_quarantined == 1


def check_earlier_files(before: dict[str, str], after: dict[str, str]) -> None:
    """Every file that was in the lake is still there with the same bytes."""
    changed = [path for path, digest in before.items() if after.get(path) != digest]
    assert changed == [], f"earlier tables changed: {changed}"
