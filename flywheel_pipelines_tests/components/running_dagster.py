"""What tests of a running `dagster dev` share: a free port, definitions as a file, and the script that drives it."""

from __future__ import annotations

import importlib
import socket
import sys
from types import ModuleType

from flywheel_pipelines.paths import PROJECT_ROOT

DEFINITIONS = """from pathlib import Path

from flywheel_pipelines_tests.written_world import WrittenWorld

defs = WrittenWorld(Path({root!r})).definitions()
"""


def load_driving() -> ModuleType:
    """`scripts/driving.py` as a module."""
    folder = str(PROJECT_ROOT / "scripts")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("driving")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
