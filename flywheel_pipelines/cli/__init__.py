"""The `flywheel` command.

Here: arguments, progress and exit codes. Not here: the work (the layers, `simulation`) and how results look
(`terminal`). Modules that are slow to import are imported by the command that needs them.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from flywheel_pipelines.cli import (
    contracts,
    corpus,
    exporting,
    feeds,
    keeping,
    looking,
    making,
    prompting,
    pulling,
    quarantine,
    restating,
    reviewing,
    running,
    training,
)
from flywheel_pipelines.cli.shared import USAGE_ERROR, app, print_error
from flywheel_pipelines.errors import FlywheelError

__all__ = [
    "app",
    "contracts",
    "corpus",
    "exporting",
    "feeds",
    "keeping",
    "looking",
    "main",
    "making",
    "prompting",
    "pulling",
    "quarantine",
    "restating",
    "reviewing",
    "running",
    "training",
]


def main() -> NoReturn:
    """Run the command; errors that the user can put right end with their text and exit code 2."""
    try:
        app()
    except FlywheelError as error:
        print_error(str(error))
        sys.exit(USAGE_ERROR)
    except OSError as error:
        print_error(f"the operating system refused: {error}")
        sys.exit(USAGE_ERROR)
    sys.exit(0)
