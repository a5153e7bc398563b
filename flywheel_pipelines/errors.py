"""The errors a person is meant to read.

Here: one base class, so that the command line and Dagster can tell "you can fix this" from a defect of ours.
Not here: errors of other libraries; those are translated where they are caught.
"""


class FlywheelError(Exception):
    """Something the user can put right. The text names what was found, what was expected and what to do next."""


class SpecError(FlywheelError):
    """A flywheel's YAML was refused."""


class ContractError(FlywheelError):
    """Data does not have the shape that a table contract declares."""


class InputFileError(FlywheelError):
    """A file that was handed in cannot be used at all (single bad rows go to quarantine instead)."""


class CycleOrderError(FlywheelError):
    """A cycle was opened or closed out of order."""


class PublishError(FlywheelError):
    """The DuckDB file was built but did not pass its tests, so the published one stays as it was."""


class UnavailableError(FlywheelError):
    """A system that was asked does not answer now: the one error that trying again may put right."""
