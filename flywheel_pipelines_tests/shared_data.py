"""Where tests find real data, which is never copied into the repository, and the skip when it is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED_DATA_VARIABLE = "FLYWHEEL_SHARED_DATA"
_REPOSITORY = Path(__file__).resolve().parent.parent


def shared_data_dir() -> Path:
    """`FLYWHEEL_SHARED_DATA` when set, else `../shared/data` beside the repository."""
    return Path(os.environ.get(SHARED_DATA_VARIABLE) or _REPOSITORY.parent / "shared" / "data")


def shared_file(*parts: str) -> Path:
    """A file of real data; skips the test, with the reason, where it is absent."""
    path = shared_data_dir().joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data not here: {path} (set {SHARED_DATA_VARIABLE} to the folder that holds {parts[0]}/)")
    return path


def upworthy_archive() -> Path:
    """The archive of real headline A/B tests."""
    return shared_file("upworthy", "packages.csv.gz")
